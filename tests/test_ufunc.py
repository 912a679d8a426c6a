"""Ufuncs: calls with their options, and methods, against NumPy's."""
# ruff: noqa: B023, E501 (functions called in the turn of the loop that makes them; tables)

import copy
import inspect
import pickle

import numpy as np
import pytest
from scipy import special

import lazyarray as la
from lazyarray.errors import DTypeError

NAMES = sorted(n for n in dir(np) if isinstance(getattr(np, n), np.ufunc))
BINARY = [n for n in NAMES if getattr(np, n).nin == 2 and getattr(np, n).signature is None]
PLAIN = [n for n in BINARY if getattr(np, n).nout == 1]


def same(ours, theirs, close=False):
    if isinstance(theirs, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b, close)
        return
    assert isinstance(ours, la.Array)
    assert ours.dtype == theirs.dtype
    assert ours.shape == np.shape(theirs)
    assert ours.is_scalar == (not isinstance(theirs, np.ndarray))
    check = np.testing.assert_allclose if close else np.testing.assert_array_equal
    check(np.asarray(ours), theirs, **({"rtol": 1e-6, "atol": 1e-300} if close else {}))


def alike(function, *, close=False, also=()):
    """What a function of the namespace gives, or raises, is what NumPy gives.

    Where there are two faults, NumPy may look at the other one first: `also`.
    """
    with np.errstate(all="ignore"):
        try:
            theirs = function(np)
        except Exception as error:
            cls = next(c for c in type(error).__mro__ if c.__module__ == "builtins")
            with pytest.raises((cls, *also)):
                la.wait_all(function(la))
            return
        same(function(la), theirs, close)


def data(xp, dtype="float64", shape=(3, 4)):
    n = int(np.prod(shape))
    return xp.array((np.arange(1, n + 1) % 7).reshape(shape).astype(dtype))


# ---- the objects


@pytest.mark.parametrize("name", NAMES)
def test_every_ufunc_of_numpy_is_one_here(name):
    ours, theirs = getattr(la, name), getattr(np, name)
    assert isinstance(ours, la.ufunc)
    for each in ("nin", "nout", "nargs", "identity", "signature"):
        assert getattr(ours, each) == getattr(theirs, each)
    assert ours.types == [t for t in theirs.types if not set("gGOMmSUV") & set(t)]
    assert ours.ntypes == len(ours.types)
    assert ours.__doc__
    assert pickle.loads(pickle.dumps(ours)) is getattr(la, ours.__name__)
    assert copy.deepcopy(ours) is ours
    assert ours.__name__ in repr(ours)


def test_signatures():
    assert inspect.signature(la.add) == inspect.signature(np.add)
    assert callable(la.erf)


def test_dtypes_of_the_loop():
    wanted = np.add.resolve_dtypes((np.dtype("i1"), float, None))
    assert la.add.resolve_dtypes((np.dtype("i1"), float, None)) == wanted


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "uint8", "bool"])
@pytest.mark.parametrize("name", NAMES)
def test_calls(name, dtype):
    ufunc = getattr(np, name)
    if ufunc.signature is not None or name == "arccosh":
        return

    def call(xp):
        inputs = [data(xp, dtype), data(xp, dtype, (4,))][: ufunc.nin]
        return getattr(xp, name)(*inputs)

    alike(call, close=True)


def test_operands_of_any_kind():
    for operands in ((range(4), 3), ([1, 2], (3, 4)), (2, 3), (True, 2.5), (np.float32(2), 3), (bytearray(b"ab"), 1),
                     (np.arange(3)[::2], [5, 6])):  # fmt: skip
        alike(lambda xp: xp.add(*operands))
    for call in (lambda xp: xp.modf(-0.5), lambda xp: xp.frexp(3), lambda xp: xp.divmod(7, 2.5), lambda xp: xp.modf(7),
                 lambda xp: xp.add("a", 1), lambda xp: xp.sqrt(None), lambda xp: xp.add(object(), 1), lambda xp: xp.hypot(range(3), "x")):  # fmt: skip
        alike(call, also=[TypeError])


# ---- options


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "float32"}, {"dtype": "complex128"}, {"dtype": "int64"}, {"casting": "no"},
        {"signature": "dd->d"}, {"sig": "ff->f"}, {"signature": ("f", "f", "f")}, {"order": "C"},
        {"order": "F"}, {"order": "A"}, {"signature": (None, None, "f")}, {"dtype": "i4", "casting": "unsafe"},
        {"order": "Z"}, {"nope": 1}, {"casting": "nope"}, {"dtype": "O"}, {"subok": False},
        {"signature": "d"}, {"dtype": "f4", "signature": "ff->f"}, {"casting": "unsafe"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("name", ["add", "multiply", "hypot", "power"])
@pytest.mark.parametrize("second", [2.0, 3, "array", "int8"])
def test_options(name, options, second):
    if options == {"dtype": "O"}:
        with pytest.raises(DTypeError):
            la.add(data(la), data(la), **options)
        return

    def call(xp):
        other = second
        if isinstance(second, str):
            other = data(xp, "float64" if second == "array" else second, (3, 1))
        return getattr(xp, name)(data(xp), other, **options)

    alike(call, close=True)


@pytest.mark.parametrize("order", "CFAK")
@pytest.mark.parametrize("text", ["x", "x.T", "x[:, ::2]", "x.T[::-1]"])
def test_memory_order(order, text):
    for call in (
        lambda xp, x: xp.negative(x, order=order),
        lambda xp, x: xp.add(x, x[:1], order=order),
        lambda xp, x: xp.add(x, x.copy(), order=order),
    ):
        theirs = call(np, eval(text, {"x": np.arange(24.0).reshape(2, 3, 4)}))
        ours = call(la, eval(text, {"x": la.arange(24.0).reshape(2, 3, 4)}))
        assert ours.strides == theirs.strides
        same(ours, theirs)


@pytest.mark.parametrize("name", ["divide", "power", "arctan2", "floor_divide", "maximum"])
def test_where_writes_only_there(name):
    def call(xp):
        out = xp.full((3, 4), -1.0)
        mask = data(xp) > 2
        result = getattr(xp, name)(data(xp), xp.zeros(4), out=out, where=mask)
        assert result is out
        return out

    alike(call, close=True)


def test_where_does_not_look_elsewhere():
    x = la.array([2, 3])
    found = la.power(x, la.array([-1, 2]), where=la.array([False, True]), out=la.zeros(2, int))
    assert found.tolist() == [0, 9]  # the negative power was not taken
    same(la.add(x, 1, where=np.array([True, False]))[:1], np.array([3]))
    assert la.add(x, 1, where=la.ones((3, 1), bool)).shape == (3, 2)
    with pytest.raises(TypeError, match="safe"):
        la.add(x, 1, where=la.array([1, 0]))


def test_out():
    alike(lambda xp: xp.add(data(xp), 1, xp.zeros((3, 4))))
    alike(lambda xp: xp.add(data(xp), 1, out=(xp.zeros((3, 4), "f4"),)))
    alike(lambda xp: xp.add(data(xp), 1, out=xp.zeros((2, 3, 4))))
    alike(lambda xp: xp.add(data(xp), 1, out=xp.zeros((3, 1))))
    alike(lambda xp: xp.add(data(xp), 1, out=xp.zeros((3, 4), int)))
    alike(lambda xp: xp.add(data(xp), 1, out=xp.zeros((3, 4), int), casting="unsafe"))
    alike(lambda xp: xp.add(data(xp), 1, out=xp.zeros((3, 4), "f4"), casting="safe"))
    alike(lambda xp: xp.add(data(xp), 1, xp.zeros((3, 4)), out=xp.zeros((3, 4))))
    alike(lambda xp: xp.add(data(xp), 1, out=(xp.zeros((3, 4)),) * 2))
    alike(lambda xp: xp.add(data(xp), 1, out=[0.0]))
    alike(lambda xp: xp.add(data(xp), 1, out=xp.broadcast_to(xp.zeros(4), (3, 4))))
    alike(lambda xp: xp.add(1, 2, out=xp.zeros(())))
    alike(lambda xp: xp.less(data(xp), 3, out=xp.zeros((3, 4), "f8")))
    alike(lambda xp: xp.add())
    alike(lambda xp: xp.sqrt(data(xp), data(xp), data(xp)))


@pytest.mark.parametrize("call", [
    lambda xp, x: xp.add.reduce(x, out=xp.zeros(4, int)), lambda xp, x: xp.sum(x, 0, out=xp.zeros(4, int)),
    lambda xp, x: xp.maximum.reduce(x, out=xp.zeros(4, int)), lambda xp, x: xp.max(x, 0, out=xp.zeros(4, int)),
    lambda xp, x: xp.add.reduce(x, out=xp.zeros((3, 4))), lambda xp, x: xp.sum(x, 0, out=xp.zeros((1, 4))),
    lambda xp, x: xp.hypot.accumulate(x, out=xp.zeros((3, 4), int)), lambda xp, x: xp.cumsum(x, 0, out=xp.zeros((3, 4), "f4")),
    lambda xp, x: xp.add.accumulate(x, out=xp.zeros((3, 4), int)), lambda xp, x: xp.add.reduceat(x, [0], out=xp.zeros((1, 4), int)),
    lambda xp, x: xp.add.reduce(x.astype("i1"), 0, out=xp.zeros(4, "i4")), lambda xp, x: xp.sum(x, 0, out=xp.zeros(5)),
    lambda xp, x: xp.add.reduce(x.astype("i1"), 0, out=(xp.zeros(4, "i4"),)), lambda xp, x: xp.mean(x, 0, out=xp.zeros(4, int)),
    lambda xp, x: xp.add.reduce(x, 0, out=xp.zeros((), int)), lambda xp, x: xp.add.reduce(x * 0.7, None, out=xp.zeros((), int)),
])  # fmt: skip
def test_out_of_reductions(call):
    alike(lambda xp: call(xp, data(xp) * 1.9), close=True)


def test_out_of_numpy():
    """A NumPy array given as `out` has the result when the call returns."""
    n = np.zeros((3, 4))
    assert la.add(data(la), 1, out=n) is n
    assert np.array_equal(n, data(np) + 1)
    n[...] = 0
    la.multiply(data(la), 2, out=n, where=data(la) > 3)
    assert np.array_equal(n, np.where(data(np) > 3, data(np) * 2, 0))
    n.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        la.add(data(la), 1, out=n)
    with pytest.raises(TypeError):
        la.add(data(la), 1, out=np.zeros((3, 4), int))
    with pytest.raises(ValueError):
        la.add(data(la), 1, out=np.zeros(4))


def test_out_aliases_an_input():
    x, n = la.arange(6.0), np.arange(6.0)
    for xp, a in ((la, x), (np, n)):
        xp.add(a[1:], a[:-1], out=a[1:])
        xp.multiply(a, a[::-1], out=a)
    same(x, n)


@pytest.mark.parametrize("name", ["modf", "frexp", "divmod"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int16", "bool"])
def test_two_results(name, dtype):
    values = [0.0, -0.0, 2.5, -2.5, np.inf, -np.inf, np.nan, 7, 1e-3]
    if dtype in ("int16", "bool"):
        values = [0, 1, 5, 7]

    def call(xp, **options):
        inputs = [xp.array(values).astype(dtype)] + [2] * (name == "divmod")
        return getattr(xp, name)(*inputs, **options)

    alike(call)
    alike(lambda xp: call(xp, out=(xp.zeros(len(values)), None)))
    alike(lambda xp: call(xp, out=xp.zeros(len(values))))
    if dtype.startswith("float"):
        with np.errstate(all="ignore"):
            for ours, theirs in zip(call(la), call(np), strict=True):
                assert np.array_equal(np.signbit(ours), np.signbit(theirs))


# ---- methods

AXES = [0, 1, -1, (0, 2), None, (), (0, 1, 2), 5, (0, 0), (2, 0)]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_reduce(name, axis):
    for dtype in ("float64", "int16", "bool"):
        for options in ({}, {"keepdims": True}):
            alike(
                lambda xp: getattr(xp, name).reduce(
                    data(xp, dtype, (2, 3, 4)), axis=axis, **options
                ),
                close=True,
            )


@pytest.mark.parametrize("name", PLAIN)
def test_reduce_options(name):
    for options in (
        {"initial": 3},
        {"initial": None},
        {"dtype": "float32"},
        {"dtype": "int64"},
        {"dtype": "bool"},
    ):
        for dtype in ("float64", "int32", "complex64"):
            alike(lambda xp: getattr(xp, name).reduce(data(xp, dtype), **options), close=True)
    for shape in ((0, 3), (3, 0), (1, 3), ()):
        alike(lambda xp: getattr(xp, name).reduce(xp.ones(shape)), close=True)
        alike(lambda xp: getattr(xp, name).reduce(xp.ones(shape, int)), close=True)
        alike(lambda xp: getattr(xp, name).reduce(xp.ones(shape), initial=2.0), close=True)
    mask = data(np) > 2
    for options in ({}, {"initial": 2}):
        for where in (mask, mask[:1], np.zeros((3, 4), bool)):
            for dtype in ("float64", "int32"):
                alike(
                    lambda xp: getattr(xp, name).reduce(
                        data(xp, dtype), where=xp.array(where), **options
                    ),
                    close=True,
                )
    alike(lambda xp: getattr(xp, name).reduce(data(xp), out=xp.zeros(4)), close=True)
    alike(lambda xp: getattr(xp, name).reduce(data(xp), 1, None, xp.zeros(3)), close=True)
    alike(lambda xp: getattr(xp, name).reduce([[1, 2], [3, 4]]), close=True)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor", "logical_xor", "gcd"])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 64, 100])
def test_folds(name, dtype, n):
    rng = np.random.default_rng(n)
    values = rng.integers(0, 2 if dtype == "bool" else 100, (n, 3)).astype(dtype)
    alike(lambda xp: getattr(xp, name).reduce(xp.array(values)))
    alike(lambda xp: getattr(xp, name).reduce(xp.array(values), axis=None, keepdims=True))


@pytest.mark.parametrize("name", BINARY)
def test_accumulate(name):
    for dtype in ("float64", "int16", "bool"):
        for axis in (0, 1, -1, 3):
            alike(lambda xp: getattr(xp, name).accumulate(data(xp, dtype), axis), close=True)
    alike(lambda xp: getattr(xp, name).accumulate(xp.array(1.0)), close=True)
    alike(lambda xp: getattr(xp, name).accumulate(xp.ones((0, 2))), close=True)
    alike(lambda xp: getattr(xp, name).accumulate(data(xp), dtype="float32"), close=True)
    alike(lambda xp: getattr(xp, name).accumulate(data(xp), out=xp.zeros((3, 4))), close=True)


@pytest.mark.parametrize("name", BINARY)
def test_reduceat(name):
    for dtype in ("float64", "int16", "bool"):
        for axis in (0, 1):
            alike(
                lambda xp: getattr(xp, name).reduceat(data(xp, dtype), [0, 2, 1, 2], axis),
                close=True,
            )
    alike(lambda xp: getattr(xp, name).reduceat(data(xp), xp.array([0, 1])), close=True)
    alike(lambda xp: getattr(xp, name).reduceat(data(xp), [7]), also=[TypeError])
    if name in ("add", "hypot", "maximum"):
        alike(lambda xp: getattr(xp, name).reduceat(data(xp), []))
    alike(lambda xp: getattr(xp, name).reduceat(data(xp), xp.array([9])), also=[TypeError])


@pytest.mark.parametrize("name", BINARY)
def test_outer(name):
    alike(
        lambda xp: getattr(xp, name).outer(data(xp, "int32", (2, 2)), data(xp, "int32", (3,))),
        close=True,
    )
    alike(lambda xp: getattr(xp, name).outer(2.0, data(xp)), close=True)
    alike(lambda xp: getattr(xp, name).outer([1, 2], [3.0, 4.0]), close=True)


KEYS = {
    "list": [0, 1, 1, 0, 2], "array": np.array([2, 2, 0]), "negative": [-1, -1, 1], "int": 1,
    "slice": slice(0, 2), "pair": ([0, 0, 1], [1, 1, 2]), "mixed": (slice(None), [1, 1, 3]),
    "mask": np.array([True, False, True]), "apart": ([0, 0], slice(None), None),
    "empty": ([],), "outside": [5], "two": (1, 2), "rest": (..., [0, 0]), "column": [[0], [0]],
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", [*PLAIN, "negative", "sqrt", "modf", "divmod", "matmul"])
def test_at(name, key):
    for dtype, value in (
        ("float64", 2.0),
        ("int32", 3),
        ("int16", 1.5),
        ("bool", True),
        ("float32", "array"),
    ):

        def call(xp):
            x = data(xp, dtype)
            other = value
            if other == "array":
                other = xp.array(
                    np.ones(
                        np.shape(x.take([0])[None] if key == "outside" else data(np)[KEYS[key]])
                    )
                )
            index = KEYS[key]
            if isinstance(index, np.ndarray):
                index = xp.array(index)
            found = getattr(xp, name).at(
                x, index, *([] if name in ("negative", "sqrt", "modf") else [other])
            )
            assert found is None
            return x

        alike(call, close=True, also=[TypeError, IndexError] if key == "outside" else ())


def test_at_a_view_and_a_numpy_array():
    for xp in (np, la):
        x = xp.zeros((3, 4))
        xp.add.at(x[:, ::2], (slice(None), [1, 1]), xp.array([1.0, 2]))
        assert np.array_equal(x, [[0.0, 0, 3, 0]] * 3)
    n = np.zeros(3)
    la.add.at(n, la.array([0, 0, 2]), la.array([1.0, 2, 3]))
    assert n.tolist() == [3, 0, 3]
    np.add.at(n, la.array([1]), 1)
    assert n.tolist() == [3, 1, 3]
    x = la.zeros(3)
    np.add.at(x, [0, 0], 1)
    assert x.tolist() == [2, 0, 0]
    with pytest.raises(TypeError, match="array"):
        la.add.at([1, 2], 0, 1)
    with pytest.raises(ValueError, match="read-only"):
        la.add.at(la.broadcast_to(la.zeros(1), (3,)), 0, 1)


# ---- generalised ufuncs


@pytest.mark.parametrize(
    ("name", "left", "right", "options"),
    [
        ("matmul", (3, 4), (4, 2), {}), ("matmul", (4,), (4, 2), {}), ("matmul", (3, 4), (5, 2), {}),
        ("matmul", (4, 3), (4, 2), {"axes": [(1, 0), (0, 1), (0, 1)]}),
        ("matmul", (3, 2, 4), (2, 4, 5), {"axes": [(0, 2), (-2, -1), (0, 1)]}),
        ("matmul", (3, 4), (4, 2), {"dtype": "float32"}), ("matmul", (3, 4), (4, 2), {"order": "F"}),
        ("matmul", (3, 4), (4, 2), {"casting": "no"}), ("matmul", (3, 4), (4, 2), {"axes": 1}),
        ("matmul", (3, 4), (4, 2), {"where": True}), ("matmul", (3, 4), (4, 2), {"keepdims": True}),
        ("vecdot", (3, 4), (4,), {}), ("vecdot", (3, 4), (3, 1), {"axis": 0}),
        ("vecdot", (3, 4), (3, 4), {"axis": 0, "keepdims": True}), ("vecdot", (3, 4), (5,), {}),
        ("vecdot", (3, 4), (4, 3), {"axes": [0, 1]}), ("vecdot", (3, 4), (4, 3), {"axes": [0, 1, ()]}),
        ("matvec", (2, 3, 4), (4,), {}), ("matvec", (3, 4), (2, 4), {}), ("matvec", (4,), (4,), {}),
        ("vecmat", (4,), (4, 3), {}), ("vecmat", (2, 4), (4, 3), {}),
        ("vecmat", (4, 2), (4, 3), {"axes": [0, (0, 1), 0]}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float64", "complex128", "int32"])
def test_generalised(name, left, right, options, dtype):
    alike(
        lambda xp: getattr(xp, name)(
            data(xp, dtype, left) * (1j if dtype[0] == "c" else 1),
            data(xp, dtype, right),
            **options,
        ),
        close=True,
    )


def test_generalised_out():
    alike(lambda xp: xp.matmul(data(xp), data(xp, shape=(4, 2)), out=xp.zeros((3, 2))))
    alike(lambda xp: xp.matmul(data(xp), data(xp, shape=(4, 2)), xp.zeros((3, 2))))
    alike(lambda xp: xp.matmul(data(xp), data(xp, shape=(4, 2)), out=xp.zeros((3, 3))))
    for method in ("reduce", "accumulate"):
        alike(lambda xp: getattr(xp.matmul, method)(data(xp)))
    alike(lambda xp: xp.matmul.outer(data(xp), data(xp)))


# ---- NumPy's ufuncs on arrays


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.add.reduce(x), lambda x: np.add.reduce(x, axis=None), lambda x: np.frexp(x),
        lambda x: np.add(x, x, where=np.asarray(x) > 2, out=np.zeros((3, 4))),
        lambda x: np.maximum.accumulate(x, axis=1), lambda x: np.multiply.outer(x, [1, 2]),
        lambda x: np.add.reduceat(x, [0, 1]), lambda x: np.add(x, 1, dtype="f4"),
        lambda x: np.divmod(x, 2), lambda x: np.hypot.reduce(x), lambda x: np.isnan(x),
        lambda x: np.degrees(x), lambda x: np.vecdot(x, x, axis=0), lambda x: np.power(x, 2),
        lambda x: special.gamma(x), lambda x: special.jv(2, x), lambda x: special.erf(x),
        lambda x: special.sici(x), lambda x: special.gamma(x, dtype="f4"),
        lambda x: special.xlogy.reduce(x),
    ],
)  # fmt: skip
def test_ufuncs_of_numpy_and_scipy(call):
    theirs = call(data(np))
    ours = call(data(la))
    if type(ours) is np.ndarray:  # the `out` of the call
        np.testing.assert_array_equal(ours, theirs)
    else:
        same(ours, theirs, close=True)


def test_ufuncs_made_by_users():
    double = np.frompyfunc(lambda x: x * 2, 1, 1)
    assert double(la.arange(3)).tolist() == [0, 2, 4]
    n = np.zeros(3)
    x = la.zeros(3)
    assert special.gamma(la.arange(1.0, 4.0), out=n) is n
    assert special.gamma(la.arange(1.0, 4.0), out=x) is x
    assert n.tolist() == x.tolist() == [1, 1, 2]


class Other:
    """Another library's array, which has its own way with ufuncs."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return "other"


def test_other_libraries_get_their_turn():
    assert np.add(la.ones(2), Other()) == "other"
    assert np.add(Other(), la.ones(2)) == "other"


# ---- laziness, gradients


def test_nothing_runs_before_it_is_read():
    x = la.arange(12.0).reshape(3, 4)
    flushes = la.stats()["flushes"]
    y = la.add.reduce(x) + la.subtract.reduce(x, 0)
    y = la.multiply.outer(y, la.maximum.accumulate(x[0]))
    la.add.at(x, [0, 1], y[0])
    la.maximum.at(x, [0, 1], y[1])
    la.add(x, 1, out=x, where=x > 3)
    x += la.hypot.reduce(x, where=x > 2) + la.fmax.reduce(x, where=x > 2, initial=la.array(3.0))
    fraction, _ = la.modf(x)
    mantissa, _ = la.frexp(fraction)
    assert la.stats()["flushes"] == flushes
    assert mantissa.wait().shape == (3, 4)


def test_a_failure_names_its_line():
    bad = la.add.reduceat(la.ones(3), la.array([5]))
    with pytest.raises(IndexError, match="out-of-bounds") as failed:
        bad.wait()
    assert any("test_ufunc.py" in note for note in failed.value.__notes__)


def test_gradients_flow_through_calls_and_methods():
    x = la.array([1.0, 2.0, 4.0])
    x.attach_grad()
    with la.autograd.record():
        safe = la.divide(1.0, x, where=x > 1.5, out=la.zeros(3))
        loss = la.add.reduce(safe) + la.multiply.reduce(x) + la.multiply.outer(x, x).sum()
    loss.backward()
    wanted = np.array([0, -1 / 4, -1 / 16]) + np.array([8.0, 4, 2]) + 2 * 7
    np.testing.assert_allclose(np.asarray(x.grad), wanted)
