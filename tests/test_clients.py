"""Other packages on lazyarray's arrays, as they are; docs/clients.md tells how."""

import copy
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clients import DOCUMENTED, MODULES, documented

import lazyarray as la

TESTS = Path(__file__).parent
APART = {"JAX", "SciPy", "scikit-learn", "torch"}
HANG = 240  # seconds


EARLIER = """
import dask.array, einops
import lazyarray as la
assert type(einops.rearrange(la.ones((2, 3)), "a b -> b a")) is la.Array
chunks = dask.array.from_array(la.ones(4), chunks=2, asarray=False)
assert isinstance(la.ones(4) + chunks, dask.array.Array)
"""


def apart(name, package, **env):
    """Run a function of clients.py in a process of its own, where the package is there."""
    pytest.importorskip(package)
    run(str(TESTS / "clients.py"), name, **env)


def run(*arguments, **env):
    """Run Python, which has to succeed."""
    path = os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def made(*shape):
    return la.asarray(np.random.default_rng(0).normal(size=shape))


@pytest.mark.parametrize("package", sorted(DOCUMENTED.keys() - APART))
def test_line_of_the_page(package):
    for module in MODULES.get(package, [package]):
        pytest.importorskip(module)
    found = documented(package)
    if package in ("NumPy", "Dask", "einops", "opt_einsum"):
        assert type(found) is la.Array


def test_page_has_every_package():
    assert DOCUMENTED.keys() >= MODULES.keys() | APART


# ---- NumPy's protocols


def test_array_gives_the_memory():
    a = la.arange(6.0).reshape(2, 3)
    n = np.asarray(a)
    n[0, 0] = 9
    a[1, 2] = 7
    assert a[0, 0] == 9
    assert n[1, 2] == 7
    assert np.asarray(a).ctypes.data == n.ctypes.data
    assert np.array(a).ctypes.data != n.ctypes.data
    assert np.asarray(a, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError):
        np.asarray(a, dtype=np.float32, copy=False)


def test_array_interface_describes_the_memory():
    a = la.arange(6.0)[::2]
    found = a.__array_interface__
    assert (found["shape"], found["typestr"], found["strides"]) == ((3,), "<f8", (16,))
    assert found["data"][0] == np.asarray(a).ctypes.data


def test_numpys_functions_stay_lazy():
    a = made(3, 4)
    n = np.asarray(a).copy()
    for function in (np.sum, np.sort, np.transpose, np.linalg.svd, np.fft.fft, np.median,
                     np.concatenate, np.cumsum, np.exp, np.isfinite, np.diff):  # fmt: skip
        given = ([a, a], [n, n]) if function is np.concatenate else (a, n)
        found, wanted = (function(each) for each in given)
        parts = zip(*((x if isinstance(x, tuple) else (x,)) for x in (found, wanted)), strict=True)
        for f, w in parts:
            assert type(f) is la.Array
            np.testing.assert_allclose(abs(f), abs(w), rtol=1e-12)
    assert type(np.add(n, a)) is la.Array
    assert type(np.add.reduce(a)) is la.Array
    assert type(n + a) is la.Array
    out = np.zeros((3, 4))
    assert np.multiply(a, 2, out=out) is out
    np.testing.assert_array_equal(out, n * 2)


def test_functions_of_other_data_are_numpys():
    a = la.arange(2.0)
    texts = np.array(["x", "y"])
    both = np.broadcast_arrays(a, texts, None)
    assert [type(each) for each in both] == [la.Array, np.ndarray, np.ndarray]
    assert np.where(a > 0, texts, "z").tolist() == ["z", "y"]
    assert np.isin(texts, ["x"]).tolist() == [True, False]
    with pytest.raises(TypeError):
        la.asarray(texts)


def test_operators_leave_it_to_classes_with_their_own_rules():
    class Quantity:
        __array_ufunc__ = None

        def __radd__(self, other):
            return "mine"

        __rmatmul__ = __rlt__ = __gt__ = __radd__

    a = la.ones(3)
    assert a + Quantity() == "mine"
    assert a @ Quantity() == "mine"
    assert (a < Quantity()) == "mine"
    masked = np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])
    assert isinstance(a + masked, np.ma.MaskedArray)
    assert isinstance(a.reshape(1, 3).T + masked, np.ma.MaskedArray)


def test_buffers():
    a = la.arange(6, dtype=np.int32).reshape(2, 3)
    view = memoryview(a)
    assert (view.shape, view.format, view.readonly) == ((2, 3), "i", False)
    view[1, 2] = 50
    assert a[1, 2] == 50
    a += 1
    assert view[0, 0] == 1
    assert memoryview(a.T).strides == (4, 12)
    assert bytes(a) == np.asarray(a).tobytes()
    assert memoryview(la.broadcast_to(a[0], (2, 3))).readonly
    stream = io.BytesIO(np.arange(6, dtype=np.int32).tobytes())
    stream.readinto(a)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_pickle_and_copy():
    base = la.arange(12.0).reshape(3, 4)
    for a in (base, base.T, base[:, ::2], la.asarray(5), base.sum(), la.zeros((0, 3)), base > 3):
        for again in (
            *(pickle.loads(pickle.dumps(a, level)) for level in range(6)),
            copy.copy(a), copy.deepcopy(a), copy.deepcopy({"x": [a]})["x"][0],
        ):  # fmt: skip
            assert type(again) is la.Array
            assert (again.dtype, again.is_scalar) == (a.dtype, a.is_scalar)
            np.testing.assert_array_equal(again, a)
    twin = copy.deepcopy(base)
    twin[0, 0] = 5
    assert base[0, 0] == 0


def test_files(tmp_path):
    a, b = made(3, 4), la.arange(5, dtype=np.uint8)
    for space in (np, la):
        space.save(tmp_path / "a.npy", a)
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), a)
        space.savez(tmp_path / "ab.npz", a=a, b=b)
        space.savez_compressed(tmp_path / "small.npz", b)
        with np.load(tmp_path / "ab.npz") as found:
            assert found["b"].dtype == np.uint8
            np.testing.assert_array_equal(found["a"], a)
        np.savetxt(tmp_path / "a.txt", a)
        np.testing.assert_array_equal(np.loadtxt(tmp_path / "a.txt"), a)
    read = la.load(tmp_path / "a.npy")
    assert type(read) is la.Array
    with la.load(tmp_path / "ab.npz") as found:
        assert type(found["a"]) is la.Array
    np.testing.assert_array_equal(la.load(io.BytesIO((tmp_path / "a.npy").read_bytes())), a)


# ---- both sides see each other's writes


def outside(a, rng, torch):
    """Somebody else's view of an array's memory: how to read it, and how to write an element."""
    kind = rng.choice(["asarray", "memoryview", "dlpack", "torch", "alias"])
    if kind == "memoryview":
        view = memoryview(a)
        flat = view.cast("B").cast("d") if view.c_contiguous and view.nbytes else None
        if flat is not None:
            return lambda: np.array(view), flat.__setitem__
        kind = "asarray"
    if kind == "torch" and torch and min(a.strides) > 0:  # torch aborts at negative strides
        tensor = torch.from_dlpack(a)
        return (
            lambda: tensor.numpy().copy(),
            lambda i, v: (
                tensor.view(-1).__setitem__(i, v)
                if (tensor.is_contiguous())
                else tensor.__setitem__(np.unravel_index(i, tuple(tensor.shape)), v)
            ),
        )
    if kind == "alias":
        shared = la.from_dlpack(np.asarray(a)) if a.flags.c_contiguous else a[...]
        return lambda: np.array(shared), lambda i, v: shared.flat.__setitem__(i, v)
    view = np.from_dlpack(a) if kind == "dlpack" else np.asarray(a)
    if not view.flags.writeable:  # NumPy takes what DLPack gives as read-only
        view = np.asarray(a)
    return view.copy, view.flat.__setitem__


PARTS = [
    np.s_[...], np.s_[1:], np.s_[:, ::2], np.s_[::-1], np.s_[0], np.s_[:, 1], np.s_[None, :, 1:3],
]  # fmt: skip


def play(seed, steps, torch):
    """One program that writes from both sides; NumPy's arrays are the oracle."""
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(3, 4))
    base, want = la.asarray(start) + 0.0, start + 0.0
    views = [(base, want)]
    exports = []
    pending = []
    for _ in range(steps):
        a, w = views[rng.integers(len(views))]
        match rng.integers(9):
            case 0:
                part = PARTS[rng.integers(len(PARTS))]
                if w.ndim == 2 and min(w.shape) > 1:
                    views.append((a[part], w[part]))
            case 1:
                exports.append((*outside(a, rng, torch), w))
            case 2 if exports:
                exports.pop(rng.integers(len(exports)))
            case 3 if exports:
                _, write, theirs = exports[rng.integers(len(exports))]
                if theirs.size:
                    i, value = int(rng.integers(theirs.size)), float(rng.normal())
                    write(i, value)
                    theirs.flat[i] = value
            case 4:
                value = float(rng.normal())
                a[...] = a * 0.5 + value
                w[...] = w * 0.5 + value
            case 5:
                a[a > 0] = -0.25
                w[w > 0] = -0.25
            case 6:
                a += 1
                w += 1
            case 7:  # recorded now, read later: what was there now
                pending.append((a * 2 + 1, w * 2 + 1))
            case 8:
                b, v = views[rng.integers(len(views))]
                if v.shape == w.shape:
                    a[...] = b
                    w[...] = v.copy()
        read, _, theirs = exports[rng.integers(len(exports))] if exports else (None, None, None)
        if read is not None:
            np.testing.assert_array_equal(read(), theirs)
        if rng.random() < 0.3:
            np.testing.assert_array_equal(np.array(a), w)
    for found, wanted in pending:
        np.testing.assert_array_equal(found, wanted)
    for a, w in views:
        np.testing.assert_array_equal(np.array(a), w)
    for read, _, theirs in exports:
        np.testing.assert_array_equal(read(), theirs)


@pytest.mark.parametrize("seed", range(4))
def test_writes_from_both_sides(seed):
    for each in range(40):
        play((seed, each), 40, None)


@pytest.mark.slow
def test_writes_from_both_sides_at_length():
    torch = pytest.importorskip("torch")
    for seed in range(1500):
        play((99, seed), 60, torch)


# ---- packages


def test_torch():
    apart("torch", "torch")


def test_jax():
    apart("jax", "jax")


def test_scipy():
    apart("scipy", "scipy", SCIPY_ARRAY_API="1")


def test_scikit_learn():
    apart("sklearn", "sklearn", SCIPY_ARRAY_API="1")


def test_packages_are_told_when_they_are_imported():
    pytest.importorskip("dask.array")
    apart("imported_later", "einops")
    run("-W", "ignore", "-c", EARLIER)


def test_array_api_compat():
    compat = pytest.importorskip("array_api_compat")
    a = made(3)
    assert compat.is_array_api_obj(a)
    assert compat.array_namespace(a, 1.5) is la
    assert compat.is_array_api_strict_namespace(la) is False
    assert compat.device(a) == la.cpu()
    assert compat.size(a) == 3
    assert compat.to_device(a, compat.device(a)) is not None


def test_pandas():
    pd = pytest.importorskip("pandas")
    a = made(5, 2)
    series, frame = pd.Series(a[:, 0]), pd.DataFrame(a, columns=["x", "y"])
    frame["z"] = a.sum(axis=1)
    assert frame.dtypes.tolist() == [np.dtype(np.float64)] * 3
    np.testing.assert_allclose(frame["z"], frame["x"] + frame["y"])
    for both in (series + a[:, 1], a[:, 1] + series, np.add(a[:, 1], series)):
        assert isinstance(both, pd.Series)
        np.testing.assert_array_equal(both, np.asarray(a[:, 0] + a[:, 1]))
    assert series[np.asarray(a[:, 0] > 0)].size == int((a[:, 0] > 0).sum())
    assert type(la.asarray(frame)) is la.Array
    assert type(la.exp(la.asarray(series))) is la.Array
    assert pd.Series(la.arange(3)).isin(la.asarray([1, 2])).tolist() == [False, True, True]
    target = la.ones(5)
    target += series
    np.testing.assert_array_equal(target, series + 1)
    assert type(target) is la.Array


def test_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    x, y, image = la.linspace(0.0, 1.0, 20), made(20), made(5, 5)
    figure, axes = plt.subplots(2, 3)
    (line,) = axes[0, 0].plot(x, y)
    axes[0, 0].fill_between(x, y, y + 1)
    axes[0, 0].axhline(y.mean())
    axes[0, 0].set_xlim(x.min(), x.max())
    axes[0, 1].scatter(x, y, c=y, s=abs(y) * 10)
    axes[0, 1].errorbar(x, y, yerr=abs(y))
    counts, _, _ = axes[0, 2].hist(y, bins=4)
    axes[0, 2].bar(la.arange(3), la.ones(3), hatch="/")
    axes[1, 0].imshow(image)
    axes[1, 1].contourf(image)
    axes[1, 1].quiver(made(3), made(3), made(3), made(3))
    axes[1, 2].pcolormesh(image)
    axes[1, 2].boxplot(made(10, 2))
    figure.canvas.draw()
    np.testing.assert_array_equal(line.get_ydata(), y)
    assert counts.sum() == 20
    plt.close(figure)


def test_einops():
    einops = pytest.importorskip("einops")
    a = made(2, 3, 4)
    n = np.asarray(a).copy()
    for call in (
        lambda x: einops.rearrange(x, "a b c -> c (a b)"),
        lambda x: einops.reduce(x, "a b c -> a", "mean"),
        lambda x: einops.reduce(x, "a (b k) c -> b c", "max", k=3),
        lambda x: einops.repeat(x, "a b c -> a b c k", k=2),
        lambda x: einops.einsum(x, x[0], "a b c, b c -> a"),
        lambda x: einops.rearrange([x, x], "k a b c -> a k b c"),
        lambda x: einops.pack([x, x[:, 0]], "a * c")[0],
    ):
        assert type(call(a)) is la.Array
        np.testing.assert_allclose(call(a), call(n), rtol=1e-12)
    api = pytest.importorskip("einops.array_api")
    assert type(api.reduce(a, "a b c -> b", "sum")) is la.Array


def test_opt_einsum():
    oe = pytest.importorskip("opt_einsum")
    parts = [made(2, 3), made(3, 4), made(4, 5)]
    found = oe.contract("ab,bc,cd->ad", *parts)
    assert type(found) is la.Array
    np.testing.assert_allclose(found, np.linalg.multi_dot([np.asarray(p) for p in parts]))
    call = oe.contract_expression("ab,bc->ca", (2, 3), (3, 4))
    assert type(call(*parts[:2])) is la.Array
    assert type(oe.contract("aab,b->a", made(2, 2, 3), made(3))) is la.Array


def test_numba():
    numba = pytest.importorskip("numba")

    @numba.njit
    def scan(x):
        for i in range(1, x.size):
            x[i] += x[i - 1]

    a = la.ones(5) * 2
    scan(np.asarray(a))  # writes to the array's memory
    scan(a[1:])
    assert a.tolist() == [2, 4, 10, 18, 28]
    a[:] = [2, 4, 6, 8, 10]

    @numba.njit
    def weighted(x, weight, count):
        total = 0.0
        for i in range(count):
            total += x[i].sum() * weight
        return x.T * total, total

    rows = la.arange(6.0).reshape(3, 2)
    turned, total = weighted(rows, rows[0, 1], la.asarray([1, 2]).sum())
    assert (type(turned), total) == (np.ndarray, 15.0)
    np.testing.assert_array_equal(turned, np.asarray(rows).T * 15)
    again, total = weighted(rows[::2, 1:], 1.0, 2)  # of another layout
    assert (again.tolist(), total) == ([[6, 30]], 6.0)
    with pytest.raises(numba.TypingError, match="Singular matrix"):
        weighted(la.linalg.inv(la.zeros((2, 2))), 1.0, 2)
    with pytest.raises(numba.TypingError):  # read-only
        scan(la.broadcast_to(la.ones(1), (3,)))

    @numba.njit
    def conjugated(z):
        return z.real - 1j * z.imag

    assert conjugated(la.asarray([1 + 2j])[0]) == 1 - 2j

    @numba.vectorize(["float64(float64, float64)"])
    def blend(x, y):
        return x * y + 1

    found = blend(a, 3.0)
    assert type(found) is la.Array
    assert found.tolist() == [7, 13, 19, 25, 31]


def test_pillow():
    Image = pytest.importorskip("PIL.Image")
    pixels = la.asarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    image = Image.fromarray(pixels)
    assert (image.size, image.mode) == ((4, 4), "RGB")
    again = la.asarray(image)
    assert (type(again), again.dtype) == (la.Array, np.uint8)
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_array_equal(la.array(Image.fromarray(pixels[::2, :, 0])), pixels[::2, :, 0])


def test_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    weights = {"w": made(3, 4), "b": la.arange(4, dtype=np.float32)}
    numpy.save_file(
        {name: np.asarray(a) for name, a in weights.items()}, tmp_path / "w.safetensors"
    )
    found = {name: la.asarray(n) for name, n in numpy.load_file(tmp_path / "w.safetensors").items()}
    for name, a in weights.items():
        assert found[name].dtype == a.dtype
        np.testing.assert_array_equal(found[name], a)


# ---- Dask


DASK = {
    "elementwise": lambda da, x: da.exp(x) * 2 + abs(x) ** 0.5,
    "ufunc": lambda da, x: np.hypot(x, x + 1),
    "transposed": lambda da, x: x.T @ x,
    "sum": lambda da, x: x.sum(axis=0),
    "sum of all": lambda da, x: x.sum(),
    "mean": lambda da, x: x.mean(axis=1),
    "std": lambda da, x: x.std(axis=0),
    "max": lambda da, x: x.max(axis=1),
    "argmax": lambda da, x: x.argmax(axis=0),
    "any": lambda da, x: (x > 2).any(axis=0),
    "cumsum": lambda da, x: x.cumsum(axis=0),
    "median": lambda da, x: da.median(x, axis=0),
    "nansum": lambda da, x: da.nansum(x, axis=0),
    "tensordot": lambda da, x: da.tensordot(x, x, axes=((0,), (0,))),
    "einsum": lambda da, x: da.einsum("ij,ik->jk", x, x),
    "singular values": lambda da, x: da.linalg.svd(x)[1],
    "qr": lambda da, x: abs(da.linalg.qr(x)[1]),
    "where": lambda da, x: da.where(x > 0, x, 0),
    "slice": lambda da, x: x[::2, 1:3],
    "list": lambda da, x: x[[1, 5, 2]],
    "concatenate": lambda da, x: da.concatenate([x, x]),
    "stack": lambda da, x: da.stack([x, x]),
    "reshape": lambda da, x: x.reshape(48),
    "rechunk": lambda da, x: x.rechunk((5, 3)),
    "astype": lambda da, x: x.astype(np.float32),
    "clip": lambda da, x: x.clip(0, 1),
    "roll": lambda da, x: da.roll(x, 2, axis=0),
    "blocks": lambda da, x: x.map_blocks(lambda part: part * 2),
    "overlap": lambda da, x: x.map_overlap(lambda part: part + 1, depth=1, boundary="reflect"),
}
NUMPYS = {
    "elementwise": lambda n: np.exp(n) * 2 + abs(n) ** 0.5,
    "ufunc": lambda n: np.hypot(n, n + 1),
    "nansum": lambda n: np.nansum(n, axis=0),
    "median": lambda n: np.median(n, axis=0),
    "tensordot": lambda n: n.T @ n,
    "einsum": lambda n: n.T @ n,
    "singular values": lambda n: np.linalg.svd(n)[1],
    "qr": lambda n: abs(np.linalg.qr(n)[1]),
    "where": lambda n: np.where(n > 0, n, 0),
    "concatenate": lambda n: np.concatenate([n, n]),
    "stack": lambda n: np.stack([n, n]),
    "roll": lambda n: np.roll(n, 2, axis=0),
    "blocks": lambda n: n * 2,
    "overlap": lambda n: n + 1,
    "rechunk": lambda n: n,
}


def chunked(da, shape=(8, 6), chunks=(4, 6)):
    return da.from_array(made(*shape), chunks=chunks, asarray=False)


@pytest.mark.parametrize("name", DASK)
def test_dask(name):
    da = pytest.importorskip("dask.array")
    x, n = chunked(da), np.asarray(made(8, 6))
    call = NUMPYS.get(name, lambda n: DASK[name](None, n))
    lazy = DASK[name](da, x)
    assert type(lazy._meta) is la.Array
    found = lazy.compute(scheduler="threads")
    assert type(found) is la.Array
    assert found.dtype == lazy.dtype
    np.testing.assert_allclose(found, call(n), rtol=1e-6 if name == "astype" else 1e-9)


def test_dask_decompositions():
    da = pytest.importorskip("dask.array")
    x = chunked(da)
    parts = [part.compute(scheduler="threads") for part in da.linalg.svd(x)]
    assert all(type(part) is la.Array for part in parts)
    u, s, v = parts
    np.testing.assert_allclose((u * s) @ v, made(8, 6), atol=1e-12)


def test_dask_and_arrays_in_one_expression():
    da = pytest.importorskip("dask.array")
    a = made(8, 6)
    x = da.from_array(a, chunks=4, asarray=False)
    for both in (a + x, x + a, np.add(a, x), la.add(a, x), a - -x):
        assert isinstance(both, da.Array)
        np.testing.assert_array_equal(both.compute(scheduler="threads"), np.asarray(a) * 2)
    product = a.T @ x
    assert isinstance(product, da.Array)
    np.testing.assert_allclose(product.compute(scheduler="threads"), np.asarray(a.T @ a))
    target = np.zeros((8, 6))
    da.store(x, target, scheduler="threads")
    np.testing.assert_array_equal(target, a)
    ends = da.percentile(da.from_array(a[:, 0], chunks=8, asarray=False), [0, 100]).compute()
    np.testing.assert_allclose(ends, [a[:, 0].min(), a[:, 0].max()])


def test_dask_many_chunks_at_once():
    da = pytest.importorskip("dask.array")
    n = np.random.default_rng(1).normal(size=(400, 60))
    x = da.from_array(la.asarray(n), chunks=(10, 15), asarray=False)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    found = (scaled.T @ scaled / 400).compute(scheduler="threads", num_workers=8)
    np.testing.assert_allclose(found, np.corrcoef(n.T), atol=1e-12)
