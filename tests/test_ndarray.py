"""Methods and attributes of arrays, with their arguments, against those of NumPy's ndarray."""
# ruff: noqa: E501 (tables)

import inspect
import io
import pickle
import warnings

import numpy as np
import pytest

import lazyarray as la
from lazyarray.errors import DTypeError


def same(ours, theirs):
    if isinstance(theirs, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
        return
    if not isinstance(theirs, np.ndarray | np.generic):
        assert ours == theirs or (ours is None and theirs is None)
        return
    assert isinstance(ours, la.Array)
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ours.is_scalar == isinstance(theirs, np.generic)
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-6)


def alike(text, **names):
    """An expression on arrays gives, or raises, what it does on NumPy's."""

    def run(xp):
        made = {
            "xp": xp,
            "x": xp.array((np.arange(12.0) * 7 % 5).reshape(3, 4)),
            "i": xp.array([[2, 0, 1], [1, 1, 0]]),
            "c": xp.array([1 + 2j, 3 - 1j]),
            "b": xp.array([True, False, True]),
        }
        return eval(text, made | names), made

    with np.errstate(all="ignore"):
        try:
            theirs, after = run(np)
        except Exception as error:
            cls = next(
                c for c in type(error).__mro__ if c.__module__ in ("builtins", "numpy.exceptions")
            )
            with pytest.raises(cls):
                la.wait_all(run(la)[0])
            return
        ours, left = run(la)
        same(ours, theirs)
        for key in "xicb":
            same(left[key], after[key])


CALLS = [
    "x.all()", "x.all(0)", "x.any(axis=1, keepdims=True)", "x.all(where=x > 1)", "x.any(0, out=xp.zeros(4, bool))",
    "x.argmax()", "x.argmax(0)", "x.argmin(1, keepdims=True)", "x.argmax(0, xp.zeros(4, int))", "x.argmin(0, xp.zeros(4))", "x.argmax(0, None, True)",
    "x.argpartition(2)", "x.argpartition(1, 0)", "x.argpartition(2, axis=None)", "x.argpartition(9)", "x.partition(1)", "x.partition(1, 0)",
    "x.partition([1, 2], axis=1)", "x.partition(2, axis=None)", "x.partition(9)", "x.argsort()", "x.argsort(0)", "x.argsort(None, 'stable')", "x.argsort(axis=1, kind='stable')",
    "x.argsort(stable=True)", "x.argsort(order='f')", "x.argsort(kind='nope')", "x.sort()", "x.sort(0)", "x.sort(axis=1, kind='stable')", "x.sort(stable=True)",
    "x.sort(None)", "x.sort(5)", "x.sort(order='f')", "x.T.sort()", "x[:, ::2].sort()", "x.sort(-1, 'heapsort')",
    "x.astype('f4')", "x.astype('i4', 'F')", "x.astype('f8', copy=False)", "x.astype('i4', casting='safe')", "x.astype('i4', 'K', 'unsafe', True, False)",
    "x.byteswap().byteswap()", "i.byteswap()", "i.astype('i2').byteswap(True)", "b.byteswap()", "c.byteswap().byteswap()", "i[:, 1].byteswap(inplace=True)",
    "i.choose([[1, 2, 3], [4, 5, 6], [7, 8, 9]])", "i.choose([1, 2], mode='wrap')", "i.choose([1, 2], mode='clip')", "i.choose([1, 2])", "i.choose([1, 2, 3], [4, 5, 6], [7, 7, 7])", "i.choose([5, 6, 7], out=xp.zeros((2, 3), int))", "i.choose()",
    "x.clip(1, 3)", "x.clip(min=2)", "x.clip(max=2)", "x.clip(1, None)", "x.clip(1, 3, xp.zeros((3, 4)))", "x.clip()", "x.clip(1, 3, dtype='f4')", "x.clip([1, 2, 3, 4])",
    "x.compress([True, False, True], 0)", "x.compress([False, True])", "x.compress(b, axis=0)", "x.compress([0, 1, 1], 0, xp.zeros((2, 4)))",
    "c.conj()", "c.conjugate()", "x.conj()", "x.copy()", "x.copy('F')", "x.copy(order='A')", "x.copy('Z')",
    "x.cumprod()", "x.cumprod(0)", "x.cumsum(1, 'f4')", "x.cumsum(0, None, xp.zeros((3, 4)))", "i.cumsum()", "x.cumsum(5)", "i.astype('i1').cumprod(1)",
    "x.diagonal()", "x.diagonal(1)", "x.diagonal(0, 1, 0)", "x.diagonal(axis1=0, axis2=0)", "x.dot(x.T)", "x.dot(2)", "x.dot(x)", "x.dot(x.T, xp.zeros((3, 3)))",
    "pickle.loads(x.dumps())", "x.fill(3)", "x.fill(xp.array(2.0))", "i.fill(2.7)", "x.flatten()", "x.flatten('F')", "x.T.flatten('A')", "x.T.flatten('K')",
    "x.getfield('f4', 4)", "x.getfield('i8')", "c.getfield('f8', 8)", "x.getfield('f8', 4)", "x.setfield(3, 'f8')", "c.setfield(7, 'f8', 8)", "x.setfield(3, 'f8', 1)",
    "x.item(3)", "x.item(1, 2)", "x.item((1, 2))", "x.item()", "x.item(99)", "x[:1, :1].item()", "x.max()", "x.max(0)", "x.max((0, 1))", "x.max(0, None, True)", "x.max(initial=9)", "x.max(0, initial=2, where=x > 3)",
    "x.max(where=x > 3)", "x.min(1, xp.zeros(3))", "x.min(axis=1, out=xp.zeros(3), keepdims=False)", "x.mean()", "x.mean(0)", "x.mean(0, 'f4')", "i.mean(1)", "x.mean(1, None, xp.zeros(3))", "x.mean(0, where=x > 1)",
    "x.nonzero()", "i.nonzero()", "x[0, 0].nonzero()", "x.prod()", "x.prod(0, 'f4')", "i.prod(1, None, xp.zeros(2, int))", "x.prod(0, initial=2)", "x.put([0, 5], [9, 8])", "x.put([-1, 13], 1, 'wrap')",
    "x.put([0, 13], [1, 2], mode='clip')", "x.T.put([1, 2], [5, 6])", "x.put([], [])", "x.ravel()", "x.T.ravel('F')", "x.ravel(order='K')", "x.repeat(2)", "x.repeat(2, 1)", "x.repeat([1, 0, 2], axis=0)", "x.repeat([1, 2])",
    "x.reshape(4, 3)", "x.reshape((2, 6), order='F')", "x.reshape(-1, 2)", "x.reshape(5)", "x.round()", "x.round(1)", "x.round(decimals=-1)", "x.round(0, xp.zeros((3, 4)))", "xp.arange(5).searchsorted(2)",
    "xp.arange(5).searchsorted([1, 7], 'right')", "xp.array([3, 1, 2]).searchsorted([2, 3], sorter=[1, 2, 0])", "x.searchsorted(1)", "x.searchsorted(1, 'nope')", "x.squeeze()", "x[:1].squeeze(0)", "x[None].squeeze(axis=1)",
    "x.std()", "x.std(0, None, None, 1)", "x.std(0, ddof=1, keepdims=True)", "x.var(1, 'f4')", "x.var(0, where=x > 0)", "c.var()", "i.var()", "x.var(0, None, xp.zeros(4))",
    "x.sum()", "x.sum(0)", "x.sum(0, 'f4')", "x.sum(0, None, xp.zeros(4))", "x.sum(0, None, None, True)", "x.sum(initial=5)", "x.sum(where=x > 2)", "x.sum((0, 1))", "x.sum(7)", "i.astype('i1').sum()", "b.sum()",
    "x.swapaxes(0, 1)", "x.swapaxes(0, 5)", "x.take([0, 5])", "x.take([1, 2], 1)", "x.take([0, 99], mode='clip')", "x.take([0, 99])", "x.take([1, 0], 0, xp.zeros((2, 4)))", "x.take(i, 0, None, 'wrap')", "x.take(indices=[0], axis=0)",
    "x.tobytes()", "x.T.tobytes('A')", "x.tolist()", "x[0, 0].tolist()", "x.trace()", "x.trace(1)", "x.trace(0, 1, 0, 'f4')", "x.trace(offset=-1, out=xp.zeros(()))", "x.transpose(1, 0)", "x.transpose((1, 0))", "x.transpose()",
    "x.transpose(0)", "x.view()", "x.view('i8')", "x.view(dtype='f4')", "x.view(xp.ndarray)", "x.view('f8', xp.ndarray)", "x.view('c16')", "x.T.view('f4')", "x.view(type=xp.ndarray)", "x.to_device('cpu')", "x.to_device('cpu', stream=1)",
    "x.mT", "x.T", "c.real", "c.imag", "x.imag", "x.nbytes", "x.itemsize", "x.size", "x.ndim", "x.shape", "x.strides", "len(x)", "x.resize(2, 2, refcheck=False)", "x.resize((4, 5), refcheck=False)", "x.resize(6, refcheck=False)", "x[0].resize(2)", "x.resize(-1)",
]  # fmt: skip


@pytest.mark.parametrize("text", CALLS)
def test_method(text):
    alike(text, pickle=pickle)


def test_every_method_of_ndarray_is_there():
    unsupported = {
        "__array_interface__",
        "__array_struct__",
        "__array_finalize__",
        "__array_wrap__",
    }
    missing = {n for n in dir(np.ndarray) if not hasattr(la.Array, n)} - unsupported
    assert missing <= {"__array_function__", "__array_namespace__"}


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


@pytest.mark.parametrize("name", [n for n in dir(np.ndarray) if not n.startswith("_")])
def test_arguments_have_the_names_and_defaults_of_numpy(name):
    theirs, ours = getattr(np.ndarray, name), getattr(la.Array, name)
    if not callable(theirs) or name in ("reshape", "transpose", "choose", "resize"):
        return
    try:
        ours = parameters(ours)[1:]
    except ValueError:  # written in C
        return
    takes = {p.name: p.default for p in ours}
    if any(
        p.kind == p.VAR_KEYWORD
        for p in inspect.signature(getattr(la.Array, name)).parameters.values()
    ):
        return
    for each in parameters(theirs):
        if each.name == "self":
            continue
        assert each.name in takes, each.name
        assert takes[each.name] == each.default or each.default is inspect.Parameter.empty


# ---- memory order


@pytest.mark.parametrize("order", "CFAK")
@pytest.mark.parametrize(
    "text", ["x", "x.T", "x[:, ::2]", "x.T[::-1]", "x.reshape(2, 3, 4).transpose(2, 0, 1)"]
)
def test_memory_order_of_copies(text, order):
    theirs = eval(text, {"x": np.arange(24.0).reshape(4, 6)})
    ours = eval(text, {"x": la.arange(24.0).reshape(4, 6)})
    for call in (
        "a.copy(o)",
        "a.astype('f4', o)",
        "a.astype('f8', o)",
        "a.flatten(o)",
        "a.ravel(o)",
        "a.astype('f8', o, copy=False)",
    ):
        found, wanted = (eval(call, {"a": a, "o": order}) for a in (ours, theirs))
        same(found, wanted)
        assert found.strides == wanted.strides, call


@pytest.mark.parametrize("order", "CFAK")
@pytest.mark.parametrize("name", ["x", "t", "s", "l"])
def test_memory_order_of_what_is_made(name, order):
    texts = [
        f"xp.{f}({name}, order=o)"
        for f in ("array", "asarray", "zeros_like", "ones_like", "asanyarray")
    ]
    texts += [
        f"xp.empty_like({name}, None, o) * 0",
        f"xp.full_like({name}, 3, order=o)",
        f"xp.full_like({name}, {name}, 'f4', o)",
        f"xp.copy({name}, o)",
    ]
    texts += [
        f"xp.array({name}, 'f4', copy=None, order=o)",
        f"xp.array({name}, order=o, ndmin=1)",
        "xp.zeros((2, 3), order=o)",
        "xp.ones((2, 3), 'f4', o)",
    ]
    texts += [
        "xp.empty((2, 3, 4), order=o) * 0",
        "xp.full((2, 3), [1, 2, 3], None, o)",
        f"xp.zeros_like({name}, shape=(2, 3, 4), order=o)",
    ]
    for text in texts:
        found = []
        for xp in (np, la):
            a = xp.arange(24.0)
            names = {
                "x": a[:6].reshape(2, 3),
                "t": a[:6].reshape(2, 3).T,
                "s": a.reshape(2, 3, 4).transpose(2, 0, 1),
                "l": [[1, 2], [3, 4]],
            }
            try:
                with np.errstate(all="ignore"):
                    made = eval(text, {"xp": xp, "o": order} | names)
                found.append((made.strides, made))
            except ValueError:
                found.append((ValueError, None))
        assert found[0][0] == found[1][0], text
        if found[0][1] is not None and "empty" not in text:
            same(found[1][1], found[0][1])


# ---- flags


def test_flags():
    for xp in (np, la):
        x = xp.zeros((2, 3))
        flags = x.flags
        assert flags.c_contiguous and flags["C"] and flags["C_CONTIGUOUS"]
        assert flags.owndata and flags.writeable and flags.aligned
        assert not x.T.flags.owndata
        assert x.T.flags.f_contiguous and x.T.flags.fnc and x.flags.forc and x.flags.contiguous
        assert (flags.behaved, flags.carray, flags.farray, flags.num) == (
            True,
            True,
            False,
            1281 + 4,
        )
        flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 1
        x.flags["WRITEABLE"] = True
        x[0] = 1
        assert x.flags == x.flags
        for key in ("nope", 3, "c"):
            with pytest.raises(KeyError):
                flags[key]
        with pytest.raises(AttributeError):
            flags.owndata = False
        with pytest.raises(AttributeError):
            flags.nope  # noqa: B018
        y = xp.zeros((2, 3))
        assert y.flags.writeable  # that of others of its type is another
        assert repr(y.flags) == repr(np.zeros((2, 3)).flags)
        y.setflags(write=0)
        assert not y.flags.writeable


# ---- flat


KEYS = [0, -1, 5, slice(1, 9, 3), slice(None, None, -1), [0, 3, 3], np.array([1, 2]), np.arange(12) % 3 == 0, (2,), ..., slice(3, 3), [],
        99, "x", None, 1.5, (1, 2), [99], [[0, 1], [2, 3]]]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("base", ["x", "x.T", "x[::-1]", "x[:, :2]", "x[0, 0, ...]", "x[:0]"])
def test_flat(base, key):
    def run(xp, write):
        x = xp.arange(12.0).reshape(3, 4)
        f = eval(base, {"x": x}).flat
        index = xp.array(key) if isinstance(key, np.ndarray) else key
        if write is None:
            return f[index], x
        f[index] = write
        return x, x

    for write in (None, 7, [7, 8], np.arange(12.0) + 50):
        try:
            theirs = run(np, write)
        except Exception as error:
            cls = next(c for c in type(error).__mro__ if c.__module__ == "builtins")
            with pytest.raises((cls, IndexError)):
                run(la, write)
            continue
        same(run(la, write), theirs)


def test_flat_is_an_iterator():
    for xp in (np, la):
        x = xp.arange(6).reshape(2, 3).T
        f = x.flat
        assert isinstance(f, xp.flatiter)
        assert len(f) == 6
        assert (f.index, f.coords) == (0, (0, 0))
        assert [int(next(f)) for _ in range(3)] == [0, 3, 1]
        assert (f.index, f.coords) == (3, (1, 1))
        assert [int(v) for v in f] == [4, 2, 5]
        assert f.index == 6
        with pytest.raises(StopIteration):
            next(f)
        assert f.base is x
        assert f.copy().tolist() == [0, 3, 1, 4, 2, 5]
        assert np.asarray(x.flat).tolist() == [0, 3, 1, 4, 2, 5]
        assert (x.flat == [0, 3, 1, 0, 0, 0]).tolist() == [True] * 3 + [False] * 3
        assert (x.flat < x.flat).tolist() == [False] * 6
        x.flat = [1, 2]
        assert x.tolist() == [[1, 2]] * 3
        x.flat = 5
        assert x.tolist() == [[5, 5]] * 3
        copied = x.flat[1:3]
        copied[...] = 0
        assert x.tolist() == [[5, 5]] * 3


# ---- attributes


def test_base_data_and_ctypes():
    x = la.arange(6.0)
    assert x.base is None
    assert x[2:].base.shape == (6,)
    x[2:].base[0] = 9
    assert x[0] == 9
    x.data[1] = 5.0
    assert x[1] == 5
    pointer = x.ctypes
    assert pointer.shape[0] == 6
    assert x.ctypes.data == pointer.data


def test_shape_and_dtype_can_be_set():
    for xp in (np, la):
        x = xp.arange(6.0)
        y = x[:]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            x.shape = (2, 3)
            x.shape = 3, -1
            x[1, 1] = 9
            assert (x.shape, y.shape) == ((3, 2), (6,))
            assert y.tolist() == [0, 1, 2, 9, 4, 5]
            with pytest.raises(ValueError):
                x.shape = (4,)
            x = x.T
            with pytest.raises(AttributeError):
                x.shape = (6,)
            y.dtype = "i8"
        assert y.dtype == "i8"
        assert y.shape == (6,)


def test_resize_leaves_views_alone():
    x = la.arange(4.0)
    view = x[:2]
    x.resize((2, 3))
    x[0] = 9
    assert x.tolist() == [[9, 9, 9], [3, 0, 0]]
    assert view.tolist() == [0, 1]
    for xp in (np, la):
        y = xp.array([[0, 1], [2, 3]], order="F")
        y.resize((2, 1), refcheck=False)
        assert y.tolist() == [[0], [2]]
        with pytest.raises(ValueError, match="own"):
            xp.ones((2, 3))[:1].resize(4, refcheck=False)


# ---- constructor


@pytest.mark.parametrize("text", [
    "xp.ndarray((2, 3)).shape", "xp.ndarray(3, int).dtype", "xp.ndarray([1, 2]).shape", "xp.ndarray((2, 3), order='F').strides",
    "xp.ndarray((2, 3), 'f4', strides=(4, 8)).strides", "xp.ndarray((2,), 'i8', raw)", "xp.ndarray((2,), 'i8', raw, 8)", "xp.ndarray((2, 2), 'i4', raw, order='F')",
    "xp.ndarray((2,), 'i4', raw, 4, (8,))", "xp.ndarray((3,), 'i8', raw, 16)", "xp.ndarray((), 'f8', raw)", "xp.ndarray(-1)", "xp.ndarray(2, 'nope')",
    "xp.ndarray((4,), 'i2', raw, 6, (-2,))", "xp.ndarray((2, 2), 'i4', raw, order='Z')", "xp.ndarray()", "xp.ndarray(shape=(2,), dtype='u1', buffer=raw, offset=3)",
])  # fmt: skip
def test_constructor(text):
    alike(text, raw=bytearray(range(32)))


def test_a_constructed_array_shares_the_buffer():
    raw = bytearray(16)
    x = la.ndarray((2,), "i8", raw)
    assert isinstance(x, la.ndarray)
    assert la.ndarray is la.Array
    x[1] = 3
    assert raw[8] == 3
    raw[0] = 7
    assert x.tolist() == [7, 3]
    y = la.ndarray((4,), "i4", raw, 0, (4,))[::2]
    y[...] = 1
    assert x.tolist() == [1, 1]
    with pytest.raises(ValueError, match="read-only"):
        la.ndarray((2,), "u1", b"ab")[0] = 1
    with pytest.raises(ValueError, match="multiples"):
        la.ndarray((1,), "i8", raw, 3)
    with pytest.raises(DTypeError):
        la.ndarray((1,), "O")


# ---- files


def test_files(tmp_path):
    x, n = la.arange(6.0).reshape(2, 3).T, np.arange(6.0).reshape(2, 3).T
    x.tofile(tmp_path / "a")
    n.tofile(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    x.tofile(tmp_path / "a", ",", "%.1f")
    assert (tmp_path / "a").read_text() == "0.0,3.0,1.0,4.0,2.0,5.0"
    x.dump(tmp_path / "c")
    same(pickle.loads((tmp_path / "c").read_bytes()), n)
    file = io.BytesIO()
    x.dump(file)
    same(pickle.loads(file.getvalue()), n)


# ---- byte order, laziness


def test_other_byte_orders_are_refused():
    swapped = ">f8" if np.little_endian else "<f8"
    for make in (
        lambda: la.zeros(2, swapped),
        lambda: la.zeros(2).astype(swapped),
        lambda: la.zeros(2).view(swapped),
        lambda: la.ndarray(2, swapped),
    ):
        with pytest.raises(DTypeError, match="byte order"):
            make()
    found = la.array(np.arange(3, dtype=swapped))  # data is converted
    same(found, np.arange(3.0))
    assert found.dtype.isnative


def test_nothing_runs_before_it_is_read():
    x = la.arange(12.0).reshape(3, 4)
    flushes = la.stats()["flushes"]
    x.sort(0)
    x.partition(1)
    x.put([0, 1], 7.0)
    x.fill(2.0)
    x.flat[1:3] = 5
    x.byteswap().trace().clip(1, 2)
    x.flags.writeable = False
    assert la.stats()["flushes"] == flushes
    assert x.tolist()[0] == [2, 5, 5, 2]


def test_astype_keeps_what_is_no_scalar_and_the_order_of_memory():
    """0-d arrays stay arrays; what is repeated along an axis varies fastest there."""
    for xp in (np, la):
        x = xp.asarray(np.array(3.5))
        for _ in range(3):  # the second call like the first is recalled
            found = x.astype("int32")
            assert found.ndim == 0 and found[...].shape == ()
        found[...] = 7  # no scalar
        assert int(found) == 7
    base = np.array([[1], [2], [3]])
    for _ in range(2):
        ours = la.broadcast_to(la.array(base), (3, 4)).swapaxes(0, 1).astype("float32")
        theirs = np.broadcast_to(base, (3, 4)).swapaxes(0, 1).astype("float32")
        assert ours.strides == theirs.strides
