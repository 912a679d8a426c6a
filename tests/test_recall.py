"""Calls like one before are recorded without their rules; nothing else about them changes."""

import copy
import gc
import inspect
import pickle
import subprocess
import sys
import weakref

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _ir, _record


def counting(**options):
    """A rule that counts its runs, as what recalls it."""
    runs = []

    def rule(*nodes, **given):
        runs.append(len(nodes))
        return _ir.registry["multiply"](nodes[0], 2.0)

    return _record.Recalled(rule, **options), runs


def test_rule_runs_once_for_each_kind_of_call():
    recall, runs = counting()
    a, b = la.arange(4.0), la.arange(5.0)
    others = [1, 1.0, True, 0.0, -0.0, None, "x", (1, 2), [1, 2], np.float32, a, la.arange(4.0)]
    for args in [(a,), (b,), *[(a, other) for other in others]]:
        before = len(runs)
        for _ in range(3):
            np.testing.assert_array_equal(recall(args), np.asarray(args[0]) * 2)
        assert len(runs) == before + 1, args


def test_what_is_not_recalled():
    recall, runs = counting()
    a = la.arange(4.0)
    for args in [
        (a, object()),
        (a, np.float64(1.0)),
        (np.arange(3),),
        (la.zeros(0),),
        (a, 1 << 70),
    ]:
        assert recall(args) is NotImplemented
    assert recall((a,), {"out": a}) is NotImplemented
    assert recall((a,), {"out": None}) is not NotImplemented
    assert len(runs) == 1


def test_number_that_changes_at_every_call_is_forgotten():
    recall, _ = counting()
    a = la.arange(4.0)
    found = [recall((a, i * 0.5)) is NotImplemented for i in range(2000)]
    assert found[-1]
    assert not found[0]
    assert recall((a, 3)) is not NotImplemented  # small integers still are


def test_failing_rule_leaves_it_to_the_long_way():
    def rule(x, y):
        raise TypeError("no")

    recall = _record.Recalled(rule)
    assert recall((la.arange(3.0), 1)) is NotImplemented
    with pytest.raises(TypeError):
        la.clip()
    with pytest.raises(TypeError):
        la.concatenate([la.arange(3.0)], nothing=1)


def test_equal_numbers_of_two_calls_are_no_structure():
    a = la.arange(4.0)

    def run(low, high):
        return np.asarray(la.clip(a, low, 2.0) + la.clip(a * 2.0, high, 5.0))

    run(0.25, 0.75), run(0.5, 0.625)
    before = la.stats()["lowerings"]
    for low, high in [(0.125, 0.375), (1.5, 1.25), (0.75, 1.0)]:
        x = np.arange(4.0)
        np.testing.assert_array_equal(
            run(low, high), np.clip(x, low, 2.0) + np.clip(x * 2, high, 5.0)
        )
    assert la.stats()["lowerings"] == before


@pytest.mark.parametrize(
    "call",
    [
        lambda xp, x: xp.concatenate([x, x]),
        lambda xp, x: xp.concatenate([x, x[::-1]]),
        lambda xp, x: xp.stack([x, x], axis=1),
        lambda xp, x: xp.clip(x, -0.5, 0.5),
        lambda xp, x: x.clip(0.0, None),
        lambda xp, x: x.clip(-0.0, None),
        lambda xp, x: xp.roll(x, 2),
        lambda xp, x: xp.einsum("i,i->", x, x),
        lambda xp, x: xp.zeros(3, "i4") + xp.ones(3),
        lambda xp, x: xp.full(3, -0.0),
        lambda xp, x: xp.full(3, 0.0),
        lambda xp, x: xp.arange(3) + xp.arange(3.0),
        lambda xp, x: x.astype("f4") + x.astype(xp.float64),
        lambda xp, x: x.reshape(2, 3).T.reshape(6),
        lambda xp, x: x.reshape((2, 3)).T.copy("K"),
        lambda xp, x: xp.round(x.reshape(2, 3).T, 1),
        lambda xp, x: x[xp.asarray([1, 3])],
        lambda xp, x: xp.zeros_like(x.reshape(2, 3).T),
        lambda xp, x: x.reshape(2, 3)[1, 2],
        lambda xp, x: x**2 + x**2.0,
        lambda xp, x: xp.dot(x, x) + x[2],
        lambda xp, x: x.reshape(2, 3) @ x[:3],
    ],
)
def test_as_numpy_twice(call):
    x = np.arange(-2.5, 3)
    for _ in range(3):
        theirs, ours = call(np, x), call(la, la.array(x))
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert ours.flags.f_contiguous == np.asarray(theirs).flags.f_contiguous
        assert ours.is_scalar == isinstance(theirs, np.generic)
        np.testing.assert_array_equal(np.asarray(ours), theirs)
        np.testing.assert_array_equal(np.signbit(np.asarray(ours)), np.signbit(theirs))


# ---- views


def test_views_made_alike_alias():
    for _ in range(3):
        a, b = la.arange(6.0), np.arange(6.0)
        for xp_a in (a, b):
            v, w = xp_a[1:5], xp_a.reshape(2, 3)
            v[1:3] = 9.0
            v += 1
            w.T[0] = v[:2]
            w[1, 2] = 0.5
            xp_a[::2] += xp_a[1::2]
        np.testing.assert_array_equal(a, b)


def test_view_of_another_type_is_another_view():
    a, b = la.arange(6.0), la.arange(8)
    assert a[2:].shape == (4,)
    assert b[2:].shape == (6,)
    assert b[2:].dtype == b.dtype
    a.shape = (2, 3)
    assert a[1:].shape == (1, 3)
    assert a.T.shape == (3, 2)


@pytest.mark.parametrize("key", [7, -7, (0, 0), (slice(None), None, 9), 1 << 70])
def test_errors_at_every_call(key):
    a = la.arange(6.0)
    for _ in range(3):
        with pytest.raises(IndexError):
            a[key]


def test_indices_that_are_equal_but_not_the_same():
    x = np.arange(6.0).reshape(2, 3)
    a = la.array(x)
    for key in [1, True, np.int64(1), (1, 2), (1, True), slice(0, 1), slice(False, True), (1, ...)]:
        for _ in range(2):
            ours, theirs = a[key], x[key]
            assert ours.shape == theirs.shape
            np.testing.assert_array_equal(ours, theirs)


def test_read_only_views_stay_read_only():
    a = la.broadcast_to(la.arange(3.0), (2, 3))
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            a[0] = 1.0
        with pytest.raises(ValueError, match="read-only"):
            a[0][1] = 1.0


def test_many_views():
    """More than are remembered."""
    a = la.arange(200.0)
    x = np.arange(200.0)
    total = 0.0
    for i in range(100):
        for n in range(60):
            assert a[i : i + n].shape == (n,)
        total += float(a[i : i + 3].sum()) - x[i : i + 3].sum()
    assert total == 0


def test_views_hold_no_storage():
    class Kept(la.Array):
        pass

    a = la.arange(10.0)
    reference = weakref.ref(a)
    a[1:], a.reshape(2, 5), a.T, a[3]
    del a
    gc.collect()
    assert reference() is None


# ---- functions


def test_out_of_a_ufunc():
    x, y = np.linspace(0, 1, 5), np.linspace(1, 2, 5)
    a, b, out = la.array(x), la.array(y), la.zeros(5)
    view = out[1:]
    assert la.add(a, b, out=out) is out
    np.testing.assert_array_equal(out, x + y)
    assert la.sin(a, out=out) is out
    np.testing.assert_array_equal(view, np.asarray(la.sin(a))[1:])
    with pytest.raises(ValueError, match="broadcast"):
        la.add(a, b, out=la.zeros(4))
    with pytest.raises(TypeError):
        la.add(a, b, out=la.zeros(5, "i4"))
    locked = la.zeros(5)
    locked.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        la.add(a, b, out=locked)


def test_class_with_a_call_of_its_own():
    class Mine(type(la.add)):
        def __call__(self, *args):
            return "mine"

    assert Mine(np.add, _ir.registry["add"])(1, 2) == "mine"
    assert la.add.__call__(la.arange(3), 1).shape == (3,)


def test_end_of_a_process():
    """What is remembered is not freed when there is no Python any more."""
    text = """
import lazyarray as la
a = la.arange(6.0)
a[1:], a.T, la.clip(a, 1.0, 2.0), la.zeros(3), a.reshape(2, 3).T.reshape(6)
"""
    subprocess.run([sys.executable, "-c", text], check=True, timeout=120)


@pytest.mark.parametrize(
    "call",
    [
        lambda xp, x: xp.expand_dims(x, 0),
        lambda xp, x: xp.expand_dims(x, (0, -1)),
        lambda xp, x: xp.expand_dims(x, axis=1),
        lambda xp, x: xp.squeeze(x[None]),
        lambda xp, x: xp.squeeze(x[None, :, None], 2),
        lambda xp, x: xp.transpose(x.reshape(2, 3)),
        lambda xp, x: xp.transpose(x.reshape(2, 1, 3), (2, 0, 1)),
        lambda xp, x: xp.moveaxis(x.reshape(2, 3, 1), 0, -1),
        lambda xp, x: xp.flip(x),
        lambda xp, x: xp.flip(x.reshape(2, 3), 1),
        lambda xp, x: xp.flip(x[1:2].reshape(())),
        lambda xp, x: xp.rot90(x.reshape(2, 3), 3),
        lambda xp, x: xp.diagonal(x.reshape(2, 3), 1),
        lambda xp, x: xp.atleast_2d(x),
        lambda xp, x: xp.atleast_1d(x),
        lambda xp, x: xp.swapaxes(x.reshape(2, 3), 0, 1),
        lambda xp, x: x.reshape(2, 3).T + x.reshape(3, 2),
        lambda xp, x: x.reshape(2, 3).T * x.reshape(2, 3).T,
        lambda xp, x: x[::-1].reshape(2, 3).T - x[:3, None],
        lambda xp, x: xp.power(xp.abs(x), x),
        lambda xp, x: xp.power(x, 2),
        lambda xp, x: x**3,
        lambda xp, x: xp.linalg.norm(x),
        lambda xp, x: xp.linalg.norm(x.reshape(2, 3), axis=1, keepdims=True),
        lambda xp, x: xp.linalg.norm(x.reshape(2, 3), 2),
        lambda xp, x: xp.linalg.multi_dot([x.reshape(2, 3), x.reshape(3, 2), x[:2]]),
        lambda xp, x: xp.linalg.matrix_power(x[:4].reshape(2, 2), 3),
        lambda xp, x: x.argmax() + xp.argmin(x),
        lambda xp, x: x.clip(max=0.5),
        lambda xp, x: x.round(1),
        lambda xp, x: xp.eye(3, k=1) + xp.zeros((3, 3)),
        lambda xp, x: xp.zeros((2, 3), order="F") + x.reshape(2, 3),
        lambda xp, x: xp.linspace(0, 1, num=4),
        lambda xp, x: xp.concatenate((x[:2], x), axis=0, dtype="f4"),
    ],
)
def test_functions_as_numpy_twice(call):
    x = np.arange(-2.5, 3)
    for _ in range(3):
        with np.errstate(all="ignore"):
            theirs, ours = call(np, x), call(la, la.array(x))
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape
            assert ours.is_scalar == isinstance(theirs, np.generic)
            if theirs.ndim > 1:
                assert ours.flags.c_contiguous == np.asarray(theirs).flags.c_contiguous
                assert ours.flags.f_contiguous == np.asarray(theirs).flags.f_contiguous
            np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-13)


@pytest.mark.parametrize(
    ("function", "args", "error"),
    [
        (la.expand_dims, (3,), np.exceptions.AxisError),
        (la.squeeze, (0,), ValueError),
        (la.transpose, ((0, 0),), ValueError),
        (la.flip, (2,), np.exceptions.AxisError),
        (la.concatenate, (), ValueError),
        (la.linalg.norm, (3,), ValueError),
        (la.power, (), TypeError),
    ],
)
def test_mistakes_of_functions_at_every_call(function, args, error):
    a = la.arange(6.0)
    for _ in range(3):
        with pytest.raises((error, TypeError, ValueError)):
            function(a, *args, 1, 2, 3)
        if args:
            with pytest.raises(error):
                function(a.reshape(2, 3) if function is la.linalg.norm else a, *args)


def test_views_of_functions_alias():
    a = la.zeros((2, 3))
    for i in range(3):
        la.transpose(a)[0, 1] = i
        la.flip(a)[0, 0] = i + 1
        la.expand_dims(a, 0)[0, 0, 0] = i + 2
        np.testing.assert_array_equal(a, [[i + 2, 0, 0], [i, 0, i + 1]])


def test_remembered_functions_are_functions():
    for name in ("concatenate", "clip", "zeros", "expand_dims", "flip"):
        function = getattr(la, name)
        assert inspect.isroutine(function)
        assert function.__name__ == name
        assert function.__doc__
        assert inspect.signature(function).parameters
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.deepcopy(function) is function

    class Holder:
        join = la.concatenate
        first = staticmethod(la.expand_dims)

        def __iter__(self):
            return iter((la.arange(2.0), la.arange(1.0)))

        def __len__(self):
            return 2

    assert Holder.join is la.concatenate
    assert Holder.first(la.arange(2.0), 0).shape == (1, 2)
    bound = la.arange(4.0).cumsum
    assert bound() is not bound()
    np.testing.assert_array_equal(bound(), [0, 1, 3, 6])


def test_option_that_a_function_does_not_have():
    a = la.arange(3.0)
    for _ in range(2):
        la.clip(a, 0.0, 1.0, out=None)
        with pytest.raises(TypeError):
            la.repeat(a, 2, device=None)
        with pytest.raises(TypeError):
            la.concatenate([a, a], nowhere=None)


def test_warnings_of_what_is_recalled():
    a, b = la.array([0.0, 1.0]), la.array([-1.0, 1.0])
    for _ in range(3):
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            la.power(a, b).wait()
        with np.errstate(divide="ignore"):
            la.power(a, b).wait()
        with pytest.warns(RuntimeWarning, match="overflow"):
            (b * 1e300).astype("f4").wait()
