"""Calls like one before are recorded without their rules; nothing else about them changes."""

import gc
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
