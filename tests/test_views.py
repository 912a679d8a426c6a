"""Views alias, and results are laid out, as in NumPy."""

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _handle
from lazyarray.errors import ArrayIndexError, ShapeError

# Expressions over x of shape (4, 6) that NumPy answers with a view.
VIEWS = [
    "x[...]", "x[1:3]", "x[:, 2]", "x[::-1]", "x[::-1, ::-2]", "x[2]", "x[-1, 1:]", "x[1:3, 2:5]",
    "x[None]", "x[:, None, :]",
    "x.T", "x.T[1:]", "x.T[::-1]", "x[1:][::-1][1:]", "x.reshape(24)", "x.reshape(2, 12)",
    "x.reshape(2, 2, -1)",
    "x[::2].reshape(2, 2, 3)", "x.T.reshape(6, 2, 2)", "x.ravel()", "x.T.ravel(order='F')",
    "x.transpose(1, 0)",
    "x.swapaxes(0, 1)", "x.diagonal()", "x.reshape(2, 2, 6).diagonal(0, 0, 1)", "x[0:0]",
    "x[:, 3:1]", "x.view()", "x.real",
    "x.reshape(4, 1, 6).squeeze(1)", "x[2, 3, ...]", "x[..., 1]",
    "x.reshape(2, 12)[1].reshape(3, 4).T", "x.mT",
    "xp.flip(x)", "xp.flip(x, 1)", "xp.rot90(x)", "xp.moveaxis(x, 0, 1)", "xp.expand_dims(x, 1)",
    "xp.split(x, 2)[1]",
    "xp.array_split(x, 4, axis=1)[2]", "xp.atleast_3d(x)", "xp.broadcast_to(x, (3, 4, 6))",
    "xp.squeeze(x[:1])",
]  # fmt: skip
COPIES = [
    "x.T.reshape(24)", "x.T.ravel()", "x[:, :3].reshape(12)", "x[::-1].ravel()", "x.flatten()",
    "x.copy()", "x + 0",
    "x[[0, 1]]", "x[x > 2]", "x.ravel(order='F')", "xp.array(x)", "x.astype('float32')",
    "x.reshape(24, order='F')",
    "x.T[1:].ravel(order='F')", "x.repeat(1)", "x.take([0, 1])", "+x", "xp.concatenate([x])",
    "x.reshape(24, copy=True)",
]  # fmt: skip


def both(text):
    """X of shape (4, 6) and what an expression makes of it, on NumPy and on lazyarray."""
    found = []
    for xp in (np, la):
        x = xp.arange(24.0).reshape(4, 6)
        found.append((x, eval(text, {"xp": xp, "x": x})))
    return found


def same(ours, theirs):
    np.testing.assert_array_equal(np.array(ours), theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("text", VIEWS)
def test_view(text):
    """A write to either is seen by the other; strides are NumPy's."""
    (x, v), (y, w) = both(text)
    assert np.shares_memory(x, v) or not v.size
    same(w, v)
    assert all(
        a == b for a, b, n in zip(w.strides, v.strides, v.shape, strict=True) if n > 1 and v.size
    )
    for a in (x, y):
        a[1:3, ::2] *= -1
    same(w, v)
    if not v.flags.writeable:
        with pytest.raises(ValueError, match="read-only"):
            w[...] = 7
        return
    for a in (v, w):
        a[...] = np.arange(v.size).reshape(v.shape) + 100
    same(y, x)
    for a in (v, w):
        a += 1
    same(y, x)
    same(w, v)


@pytest.mark.parametrize("text", COPIES)
def test_copy(text):
    (x, v), (y, w) = both(text)
    assert not np.shares_memory(x, v)
    for a in (x, y):
        a[...] = -1
    same(w, v)
    for a in (v, w):
        a[...] = 5
    same(y, x)


@pytest.mark.parametrize(
    "shape", [(24,), (4, 6), (2, 12), (6, 4), (2, 2, 6), (4, 2, 3), (3, 8), (4, 3, 2), (1, 24)]
)
@pytest.mark.parametrize("base", ["x", "x.T", "x[::2]", "x[:, ::2]", "x[:, :3]", "x[::-1]",
    "x[:, ::-1]", "x[1:2]", "x[None]",
                                  "x.reshape(2, 2, 6).swapaxes(0, 1)",
                                  "xp.broadcast_to(x[:1], (4, 6))"])  # fmt: skip
@pytest.mark.parametrize("order", ["C", "F", "A"])
def test_reshape_is_a_view_exactly_where_numpy_has_one(base, shape, order):
    (x, v), (y, w) = both(base)
    if v.size != np.prod(shape):
        with pytest.raises(ShapeError):
            w.reshape(shape, order=order)
        return
    r, s = v.reshape(shape, order=order), w.reshape(shape, order=order)
    same(s, r)
    assert all(a == b for a, b, n in zip(s.strides, r.strides, r.shape, strict=True) if n > 1)
    x[...] = 0
    y[...] = 0
    same(s, r)


def test_reshape_without_copy():
    x = la.arange(6).reshape(2, 3)
    with pytest.raises(ValueError, match="copy"):
        x.T.reshape(6, copy=False)
    v = x.reshape(6, copy=False)
    v[0] = 9
    assert int(x[0, 0]) == 9


def test_view_of_complex_parts():
    z = la.array([1 + 2j, 3 + 4j])
    z.real[...] = z.imag
    z.imag *= 2
    np.testing.assert_array_equal(np.asarray(z), [2 + 4j, 4 + 8j])
    z.real = 0
    np.testing.assert_array_equal(np.asarray(z), [4j, 8j])


def test_imag_of_real_data_is_read_only_zero():
    x = la.ones((2, 2))
    same(x.imag, np.ones((2, 2)).imag)
    with pytest.raises(ValueError, match="read-only"):
        x.imag[0] = 1
    with pytest.raises(TypeError):
        x.imag = 3


@pytest.mark.parametrize(
    ("dtype", "other"),
    [("float64", "int64"), ("float32", "uint8"), ("uint8", "uint16"), ("complex64", "float32")],
)
def test_view_with_another_dtype(dtype, other):
    x = np.arange(12).astype(dtype).reshape(3, 4)
    y = la.array(x)
    same(y.view(other), x.view(other))
    y.view(other)[1] = 1
    x.view(other)[1] = 1
    same(y, x)


def test_writes_that_overlap_what_they_read():
    for text in ("x[1:] = x[:-1]", "x[:-1] = x[1:]", "x[::-1] = x", "x[1:] += x[:-1]",
        "x[...] = x[::-1]", "x += x[::-1]",
                 "x[:4:2] = x[1::2]", "x[:3] *= x[2:5]", "x[[1, 0]] = x[[0, 1]]",
                     "x[[4, 3, 2, 1, 0]] = x", "x[:] = x[2]",
                 "x[2:] -= x[2]", "x[x > 2] += 1", "x[1:-1] = x[:-2] + x[2:]"):  # fmt: skip
        a, b = np.arange(5.0), la.arange(5.0)
        exec(text, {"x": a})
        exec(text, {"x": b})
        np.testing.assert_array_equal(np.asarray(b), a, text)


def test_two_views_of_one_update():
    """Both sides of a butterfly read the values before either is written."""
    a, b = np.arange(8.0), la.arange(8.0)
    for x in (a, b):
        low, high = x[:4], x[4:]
        total, difference = low + high, low - high
        low[...] = total
        high[...] = difference
    same(b, a)


def test_names_that_hold_old_values():
    x = la.arange(4.0)
    before = x + 0
    twice = x * 2
    x += 1
    np.testing.assert_array_equal(np.asarray(before), [0, 1, 2, 3])
    np.testing.assert_array_equal(np.asarray(twice), [0, 2, 4, 6])
    np.testing.assert_array_equal(np.asarray(x), [1, 2, 3, 4])


# ---- layout


@pytest.mark.parametrize("text", [
    "x + x", "x.T + x.T", "x.T + 1", "-x.T", "x.T * y.T", "x.T + y.T", "x + f", "f + f",
    "f * 2 > 3", "xp.sqrt(f)",
    "xp.where(f > 2, f, 0)", "xp.where(x.T > 2, x.T, x.T)", "c.transpose(2, 0, 1) + 1",
    "c.transpose(1, 2, 0) * c.transpose(1, 2, 0)",
    "c[:, ::-1].swapaxes(0, 2) - 1", "c.transpose(2, 0, 1) + c.transpose(2, 0, 1)[:1]",
    "x[::-1, ::-1] + 1", "x.T[:, :1] + x.T",
    "f.copy()", "f.copy('K')", "f.copy('C')", "c.transpose(2, 0, 1).copy('K')",
    "f.astype('float32')",
    "c.transpose(1, 2, 0).astype('int64')", "xp.array(f)", "xp.array(c.transpose(2, 0, 1))",
    "xp.clip(f, 0, 1)", "xp.round(x.T)",
    "xp.broadcast_to(x, (3, 4, 6)).copy('K')", "xp.broadcast_to(x, (3, 4, 6)) + 1",
    "xp.broadcast_to(x[:, :1], (4, 6)) + x",
    "xp.maximum(x.T, 3)", "abs(x.T)", "~(x.T > 3)", "x.T ** 2", "x.reshape(6, 4, order='F')",
    "f.reshape(4, 6, order='A')",
    "xp.zeros_like(x)", "f.ravel('K')", "f.flatten('F')", "n + x.T", "x.T + n", "xp.exp(n)",
])  # fmt: skip
def test_results_are_laid_out_as_in_numpy(text):
    found = []
    n = np.asfortranarray(np.ones((6, 4)))
    for xp in (np, la):
        x = xp.arange(24.0).reshape(4, 6)
        names = {"xp": xp, "x": x, "y": x + 1,
            "f": xp.asarray(np.asfortranarray(np.arange(24.0).reshape(4, 6))), "n": n,
                 "c": xp.arange(24.0).reshape(2, 3, 4)}  # fmt: skip
        found.append(eval(text, names))
    theirs, ours = found
    same(la.asarray(ours), theirs)
    assert ours.strides == theirs.strides
    assert ours.flags.c_contiguous == theirs.flags.c_contiguous
    assert ours.flags.f_contiguous == theirs.flags.f_contiguous


def test_layout_of_other_functions_is_c_order():
    n = np.asfortranarray(np.ones((2, 3, 4)))
    x = la.array(n)
    for function in ("sort", "concatenate"):
        assert getattr(la, function)([x, x] if function == "concatenate" else x).flags.c_contiguous
        found = getattr(np, function)([n, n] if function == "concatenate" else n)
        assert not found.flags.c_contiguous


@pytest.mark.parametrize("function", ["sum", "max", "mean", "any", "nanmin"])
def test_layout_of_reductions_is_numpys(function):
    n = np.asfortranarray(np.ones((2, 3, 4)))
    for axis in (0, 1, 2, (0, 2)):
        ours, theirs = getattr(la, function)(la.array(n), axis), getattr(np, function)(n, axis)
        assert ours.strides == theirs.strides


def test_functions_of_numpy_arrays_copy():
    n = np.arange(3.0)
    v, w = la.broadcast_to(n, (2, 3)), la.reshape(n, (3, 1))
    n[...] = 9
    assert v.tolist() == [[0, 1, 2]] * 2
    assert w.tolist() == [[0], [1], [2]]


# ---- scalars


def test_full_index_is_a_scalar_with_a_value_of_its_own():
    x = la.arange(4.0)
    s = x[1]
    t = s
    x[1] = 9
    assert float(s) == 1
    s += 5  # rebinds
    assert (float(s), float(t), float(x[1])) == (6, 1, 9)
    with pytest.raises(TypeError, match="item assignment"):
        s[...] = 2
    with pytest.raises(TypeError, match="item assignment"):
        s[()] = 2
    assert hash(t) == hash(1.0)
    assert {la.arange(3)[1]: "one"}[1] == "one"
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)


def test_view_of_a_scalar_has_memory_of_its_own():
    s = la.arange(4.0).sum()
    v = s[None]
    w = s.reshape(1)
    v[0] = 1
    w[...] = 2
    assert float(s) == 6
    assert not v.is_scalar
    assert s.T.is_scalar
    assert not s[...].is_scalar


@pytest.mark.parametrize("text", ["x[0, 0]", "x.sum()", "x.max()", "x[0, 0] + 1", "x[0, ...][0]",
    "xp.array(2.0) + 1", "xp.sqrt(xp.array(2.0))",
                                  "xp.array(1.0)", "x[0, 0, ...]", "xp.zeros(())",
                                  "xp.array(1.0)[()]", "xp.array(1.0)[...]",
                                  "xp.array(1.0).copy()", "xp.array(1.0).astype('int8')",
                                  "x.sum().astype('int8')", "x[0] @ x[0]",
                                  "xp.where(xp.array(True), 1.0, 2.0)", "xp.array(1.0).T",
                                  "xp.array(x.sum())", "x.sum().copy()",
                                  "xp.asarray(x.sum())", "x.argmax()", "x.any()",
                                  "xp.array(1.0) > 0", "xp.reshape(x.sum(), ())",
                                  "xp.squeeze(x[0, 0])", "x[0, 0].real",
                                  "xp.broadcast_to(x[0, 0], ())"])  # fmt: skip
def test_scalar_where_numpy_has_one(text):
    (_, v), (_, w) = both(text)
    assert w.is_scalar == isinstance(v, np.generic)
    same(w, v)


def test_ellipsis_keeps_a_view_of_no_axes():
    x = la.arange(6.0).reshape(2, 3)
    v = x[1, 2, ...]
    v += 10
    v[...] += 1
    v[()] *= 2
    assert x.tolist() == [[0, 1, 2], [3, 4, 32]]


# ---- writes


def test_write_to_the_same_view_is_nothing():
    x = la.arange(6.0)
    records = la.stats()["records"]
    x[2:4] = x[2:4]
    x[...] = x
    assert la.stats()["records"] == records


def test_write_that_covers_everything_drops_the_old_value():
    """What was pending is never run."""
    for whole in (
        "x[...] = 3",
        "x[:] = 3",
        "x.T[...] = 3",
        "x[::-1] = 3",
        "x.reshape(-1)[...] = 3",
        "x.fill(3)",
    ):
        x = la.ones((4, 5)) @ la.ones((5, 5))
        exec(whole, {"x": x})
        tasks = la.stats()["tasks"]
        assert x.tolist() == [[3.0] * 5] * 4
        assert la.stats()["tasks"] - tasks <= 2, whole
        assert "gemm" not in _handle.storage_node(x).op.name if _handle.storage_node(x).op else True


def test_mask_write_observes_nothing():
    y = la.arange(-3.0, 3.0)
    flushes = la.stats()["flushes"]
    y[y < 0] = 0
    y[la.isnan(y)] = la.array(1.0)
    y[y > 1] = y.sum()
    assert la.stats()["flushes"] == flushes
    assert y.tolist() == [0, 0, 0, 0, 1, 3]


@pytest.mark.parametrize("key", [7, -5, (0, 9), [0, 4], np.array([1, -5]), (slice(None), [9]),
    ([0], [0], [0]), (0, 0, 0), "a", 1.5,
                                 np.array([0.5]), np.zeros(3, bool), np.zeros((4, 5), bool), ([0,
                                     1], [0, 1, 2])])  # fmt: skip
def test_bad_index_writes_nothing(key):
    x, y = np.arange(8).reshape(4, 2), la.arange(8).reshape(4, 2)
    with pytest.raises(IndexError):
        x[key] = 1
    with pytest.raises(ArrayIndexError):
        y[key] = 1
    with pytest.raises(ArrayIndexError):
        y[key]
    same(y, x)


def test_mask_write_reads_the_old_values():
    a, b = np.arange(5), la.arange(5)
    a[a >= 0] = a[::-1]
    b[b >= 0] = b[::-1]
    assert a.tolist() == [4, 3, 2, 3, 4]
    assert b.tolist() == [4, 3, 2, 1, 0]


def test_last_of_equal_indices_stays():
    index = np.asfortranarray([[0, 0], [1, 0]])
    for at in (index, la.array(index)):
        x = la.zeros(2, int)
        x[at] = la.array([[1, 2], [3, 4]])
        assert x.tolist() == [4, 3]


def test_bad_lazy_index_is_found_before_anything_is_written():
    x = la.arange(4.0)
    keep = x + 0
    index = la.array([0, 2]) + la.array([0, 9])
    x[index] = 5
    for _ in range(2):
        with pytest.raises(IndexError, match=r"out of bounds[\s\S]*test_views\.py"):
            x.tolist()
    assert keep.tolist() == [0, 1, 2, 3]
    x[...] = 1
    assert x.tolist() == [1, 1, 1, 1]


def test_wrong_shapes_and_casts_write_nothing():
    x = la.arange(6).reshape(2, 3)
    with pytest.raises(ShapeError):
        x[0] = la.arange(4)
    with pytest.raises(ValueError):
        x += la.ones((2, 2), int)
    with pytest.raises(TypeError):
        x += 0.5
    with pytest.raises(TypeError):
        x /= 2
    with pytest.raises(TypeError):
        x[0] = 1j
    with pytest.raises(ValueError):
        x[0, 0] = la.arange(2)
    with pytest.raises(ValueError):
        la.add(x, 1, out=la.zeros(2, int))
    with pytest.raises(TypeError):
        la.add(x, 1.0, out=x)
    with pytest.raises(OverflowError):
        x.astype("int8")[...] = 300
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_out_writes_through_a_view():
    x = la.arange(6.0)
    result = la.add(x[:3], 10, out=x[3:])
    assert x.tolist() == [0, 1, 2, 10, 11, 12]
    result[0] = -1
    assert float(x[3]) == -1
    la.multiply(x[0], 3, out=x)
    assert x.tolist() == [0] * 6
    la.sum(la.ones((2, 6)), axis=0, out=x)
    assert x.tolist() == [2] * 6


def test_read_only_views():
    x = la.ones(3)
    x.setflags(write=False)
    for statement in ("x[0] = 1", "x += 1", "x[:] = x", "x[[0]] = 1", "x[x > 0] = 1",
        "xp.add(x, 1, out=x)", "x[:1] = x[:1]",
                      "x.sort()", "x.fill(1)"):  # fmt: skip
        with pytest.raises(ValueError, match="read-only"):
            exec(statement, {"x": x, "xp": la})
    x.setflags(write=True)
    x += 1
    assert x.tolist() == [2, 2, 2]


# ---- in place


def address(x):
    """Where the value of an array lies."""
    return _handle.peek_numpy(x).ctypes.data


@pytest.mark.parametrize("statement", ["w -= 0.1 * g", "w[...] = w - 0.1 * g",
    "w[1:] -= 0.1 * g[1:]", "w *= 2", "w[::2] = 0",
                                       "w.T[...] += g.T", "w[[0, 2]] = 1", "w[0] += g[1]",
                                           "np.subtract(w, g, out=w)"])  # fmt: skip
def test_update_in_place_keeps_its_buffer(statement):
    w, g = la.ones((50, 40)), la.ones((50, 40)) * 0.5
    la.eval(w, g)
    start = address(w)
    names = {"w": w, "g": g, "np": np}
    used = la.stats()["bytes_in_use"]
    for _ in range(20):
        exec(statement, names)
        names["w"].wait()
        assert address(names["w"]) == start
    assert la.stats()["bytes_in_use"] <= used + 4096


def test_pending_updates_need_one_buffer():
    w = la.zeros((100, 100))
    w.wait()
    start, used = address(w), la.stats()["bytes_allocated"]
    for _ in range(10):
        w += 1
    w.wait()
    assert address(w) == start
    assert la.stats()["bytes_allocated"] - used <= 1000
    assert float(w.sum()) == 100_000


def test_another_reference_costs_a_copy_and_never_a_wrong_value():
    w = la.zeros(1000)
    w.wait()
    for holder in (
        "w.copy()",
        "w + 0",
        "w[...]",
        "la.array(w)",
        "w[10:20]",
        "w.reshape(10, 100)",
        "w.sum()",
        "w[::-1] * 2",
    ):
        w[...] = 1
        w.wait()
        kept = eval(holder, {"w": w, "la": la})
        alias = holder in ("w[...]", "w[10:20]", "w.reshape(10, 100)")
        before = np.array(kept)
        w += 1
        w.wait()
        np.testing.assert_array_equal(np.array(kept), before + alias)
        np.testing.assert_array_equal(np.array(w), np.full(1000, 2.0))


# ---- exports


def test_export_shares_memory_in_both_directions():
    x = la.arange(6.0)
    e = np.asarray(x)
    f = np.asarray(x[::2])
    assert np.shares_memory(e, f)
    e[0] = 10
    assert float(x[0]) == 10
    x[1] = 20
    assert e[1] == 20
    x += 1
    assert e.tolist() == x.tolist() == [11, 21, 3, 4, 5, 6]
    f[...] = 0
    assert x.tolist() == e.tolist() == [0, 21, 0, 4, 0, 6]
    x[x > 4] = -1
    x[[1, 3]] = la.array([7.0, 8.0])
    assert e.tolist() == [0, 7, 0, 8, 0, -1]
    la.add(x, 1, out=x)
    x.reshape(2, 3).T[0] = 0
    assert e.tolist() == [0, 8, 1, 0, 1, 0]


def test_what_is_recorded_on_exported_memory_sees_the_value_of_then():
    x = la.arange(3.0)
    e = np.asarray(x)
    y = x * 2
    z = x.copy()
    s = x[1]
    w = la.zeros(3)
    w[...] = x
    flipped = la.flip(la.asarray(x))
    e[...] = 100
    assert y.tolist() == [0, 2, 4]
    assert z.tolist() == w.tolist() == [0, 1, 2]
    assert float(s) == 1
    assert flipped.tolist() == [100, 100, 100]  # a view


def test_what_was_pending_before_the_export_keeps_its_value():
    x = la.arange(3.0) + 1
    y = x * 2
    e = np.asarray(x)
    e[...] = 0
    x[0] = 5
    assert y.tolist() == [2, 4, 6]
    assert e.tolist() == [5, 0, 0]


def test_export_ends_with_the_last_array_on_it():
    x = la.zeros(1000)
    e = np.asarray(x)[10:20].reshape(2, 5)
    x += 1
    assert e[0, 0] == 1
    del e
    flushes = la.stats()["flushes"]
    x += 1
    y = x * 2
    assert la.stats()["flushes"] == flushes  # lazy again
    assert float(y.sum()) == 4000


def test_storage_never_takes_over_exported_memory():
    x, y = la.zeros(3), la.ones(3)
    e = np.asarray(x)
    y[...] = x
    z = la.asarray(x.copy())
    e[...] = 9
    assert y.tolist() == z.tolist() == [0, 0, 0]
    y += 1
    assert e.tolist() == [9, 9, 9]


def test_exports_of_shared_values_are_apart():
    x = la.arange(4.0)
    y = la.zeros(4)
    y[...] = x  # one Node under two Storages
    e, f = np.asarray(x), np.asarray(y)
    assert not np.shares_memory(e, f)
    e[0] = 5
    assert y.tolist() == f.tolist() == [0, 1, 2, 3]


def test_export_of_a_scalar_or_constant():
    s = la.arange(3.0).sum()
    e = np.asarray(s)
    e[...] = 0
    assert float(s) == 3
    c = la.array(2.5)
    f = np.asarray(c)
    f[...] = 3
    assert float(c) == 3


def test_read_only_view_exports_read_only():
    e = np.asarray(la.broadcast_to(la.arange(3), (2, 3)))
    assert not e.flags.writeable
    assert e.tolist() == [[0, 1, 2]] * 2


def test_asarray_without_copy_aliases():
    n = np.arange(6.0)
    x = la.asarray(n, copy=False)
    n[0] = 7
    assert float(x[0]) == 7
    x[1] = 8
    x *= 2
    assert n.tolist() == [14, 16, 4, 6, 8, 10]
    v = x[2:]
    n[2] = 0
    v += 1
    assert n[2:].tolist() == [1, 7, 9, 11]
    with pytest.raises(ValueError, match="copy"):
        la.asarray(n[::2], copy=False)
    with pytest.raises(ValueError, match="copy"):
        la.asarray([1, 2], copy=False)
    with pytest.raises(ValueError, match="copy"):
        la.asarray(n, "float32", copy=False)


def test_foreign_data_is_copied_before_the_call_returns():
    n = np.arange(3.0)
    x, y = la.array(n), la.zeros(3) + n
    z = la.zeros(3)
    z[...] = n
    index = np.array([0, 1])
    w = y[index]
    n[...] = 50
    index[...] = 2
    assert x.tolist() == y.tolist() == z.tolist() == [0, 1, 2]
    assert w.tolist() == [0, 1]


def test_array_from_read_only_memory():
    n = np.arange(3.0)
    n.flags.writeable = False
    x = la.asarray(n, copy=False)
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 1
    assert (x + 1).tolist() == [1, 2, 3]
