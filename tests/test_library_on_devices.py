"""What a GPU's library computes, through a backend of the stand-in's, against NumPy: no detours."""

import cuda_loops
import numpy as np
import pytest
import stand_in
from lazyarray._handle import from_node, to_node

import lazyarray as la
from lazyarray import _ir, device
from lazyarray.backends import cuda

pytestmark = cuda_loops.needs_compiler
DTYPES = ["float32", "float64", "int32", "bool", "float16"]


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """A device of kind "library-gpu" whose backend is a Gpu's."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in.install(patch, tmp_path_factory.mktemp("kernels"))
        patch.setitem(device.openers, "librarygpu", cuda.Gpu)
        yield device.as_device("librarygpu:0")


@pytest.fixture(autouse=True)
def no_detours(monkeypatch):
    monkeypatch.setenv("LAZYARRAY_FALLBACK", "error")


def drawn(shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(-5, 5, shape)
    if np.dtype(dtype).kind in "fc":
        x = x + rng.integers(0, 8, shape) / 8
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.integers(-4, 4, shape)
    return x.astype(dtype)


def same(found, wanted):
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes(gpu, dtype):
    data = drawn((3, 4, 5), dtype)
    if data.dtype.kind == "f":
        data[1, 2, 3] = np.nan
    x = la.array(data, device=gpu)
    for name in ("max", "min", "any", "all"):
        for axis in (None, 0, 1, (1, 2), (0, 2)):
            same(getattr(la, name)(x, axis=axis), np.asarray(getattr(np, name)(data, axis=axis)))
    for name in ("argmax", "argmin"):
        for axis in (None, 0, 2):
            same(getattr(la, name)(x, axis=axis), np.asarray(getattr(np, name)(data, axis=axis)))
    if data.dtype.kind == "f":
        data[0, :, 0] = np.nan
        x = la.array(data, device=gpu)
        with pytest.warns(RuntimeWarning, match="All-NaN"):
            wanted = np.nanmax(data, axis=1), np.nanmin(data, axis=1)
        with la.errstate(all="ignore"):
            same(nan_extreme("nanmax", x), wanted[0])
            same(nan_extreme("nanmin", x), wanted[1])


def nan_extreme(name, x):
    """The op, without the warning that the function adds."""
    return from_node(_ir.registry[name](to_node(x), axis=1))


@pytest.mark.parametrize("dtype", [*DTYPES, "complex64"])
def test_order(gpu, dtype):
    data = drawn((4, 9), dtype)
    x = la.array(data, device=gpu)
    for axis in (0, 1, None):
        same(la.sort(x, axis=axis), np.sort(data, axis=axis))
        same(la.argsort(x, axis=axis), np.argsort(data, axis=axis, kind="stable"))
    if dtype != "complex64":
        line = np.sort(data.ravel())
        for side in ("left", "right"):
            found = la.searchsorted(la.array(line, device=gpu), x, side=side)
            same(found, np.searchsorted(line, data, side=side))


def test_masks(gpu):
    data = drawn((5000, 2))
    mask = data[:, 0] > 0
    x, chosen = la.array(data, device=gpu), la.array(mask, device=gpu)
    same(x[chosen], data[mask])
    same(la.flatnonzero(chosen), np.flatnonzero(mask))
    x[chosen] = la.array(data[mask] * 10, device=gpu)
    data[mask] *= 10
    same(x, data)
    nothing = chosen & ~chosen
    same(x[nothing], data[:0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_linear_algebra(gpu, dtype):
    close = {"rtol": 1e-3, "atol": 1e-3} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}
    data = drawn((3, 4, 4), dtype) + 9 * np.eye(4, dtype=dtype)
    spd = data @ data.conj().swapaxes(-1, -2)
    a, p = la.array(data, device=gpu), la.array(spd, device=gpu)
    b = drawn((3, 4, 2), dtype, seed=1)
    found = [
        (la.linalg.inv(a), np.linalg.inv(data)),
        (la.linalg.det(a), np.linalg.det(data)),
        (la.linalg.slogdet(a)[1], np.linalg.slogdet(data)[1]),
        (la.linalg.cholesky(p), np.linalg.cholesky(spd)),
        (la.linalg.cholesky(p, upper=True), np.linalg.cholesky(spd, upper=True)),
        (la.linalg.eigvalsh(p), np.linalg.eigvalsh(spd)),
        (la.linalg.svd(a, compute_uv=False), np.linalg.svd(data, compute_uv=False)),
        (la.linalg.solve(a, la.array(b, device=gpu)), np.linalg.solve(data, b)),
        (la.linalg.solve(a, la.array(b[0, :, 0], device=gpu)), np.linalg.solve(data, b[0, :, 0])),
        (la.linalg.solve(a[0], la.array(b, device=gpu)), np.linalg.solve(data[0], b)),
    ]
    for ours, wanted in found:
        assert ours.device == gpu and ours.dtype == wanted.dtype
        np.testing.assert_allclose(ours.numpy(), wanted, **close)
    q, r = la.linalg.qr(a)
    np.testing.assert_allclose((q @ r).numpy(), data, **close)
    values, vectors = la.linalg.eigh(p)
    np.testing.assert_allclose((p @ vectors).numpy(), (vectors * values[:, None]).numpy(), **close)
    u, s, vh = la.linalg.svd(a, full_matrices=False)
    np.testing.assert_allclose(((u * s[:, None]) @ vh).numpy(), data, **close)


def test_what_lapack_finds_is_raised_at_the_wait(gpu):
    singular = la.linalg.inv(la.zeros((3, 3), device=gpu))
    with pytest.raises(np.linalg.LinAlgError):
        singular.numpy()
    with pytest.raises(np.linalg.LinAlgError):
        la.linalg.cholesky(-la.eye(3, device=gpu)).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_transforms(gpu, dtype):
    data = drawn((3, 8, 6), dtype)
    x = la.array(data, device=gpu)
    close = {"rtol": 1e-5, "atol": 1e-4}
    for name in ("fft", "ifft", "fft2", "ifftn"):
        found = getattr(la.fft, name)(x)
        np.testing.assert_allclose(found.numpy(), getattr(np.fft, name)(data), **close)
        assert found.device == gpu
    np.testing.assert_allclose(
        la.fft.fft(x, n=5, axis=1, norm="ortho").numpy(),
        np.fft.fft(data, n=5, axis=1, norm="ortho"),
        **close,
    )
    np.testing.assert_allclose(la.fft.irfft(x).numpy(), np.fft.irfft(data), **close)
    if data.dtype.kind == "f":
        np.testing.assert_allclose(la.fft.rfft2(x).numpy(), np.fft.rfft2(data), **close)


def test_keyed_draws_have_the_cpus_bits(gpu):
    def draws():
        la.random.seed(5)
        fast = la.random.fast
        return [
            fast.integers(0, 1000, 999),
            fast.integers(-(2**62), 2**62, 1001),
            fast.uniform(size=(33, 7)),
            fast.normal(size=1003),
            fast.permutation(100),
        ]

    with gpu:
        ours = draws()
    for mine, cpu in zip(ours, draws(), strict=True):
        assert mine.device == gpu
        assert mine.numpy().tobytes() == cpu.numpy().tobytes()
