"""What a GPU's library computes, through a backend of the stand-in's, against NumPy: no detours."""

import warnings

import cuda_loops
import numpy as np
import pytest
import stand_in
from lazyarray._handle import from_node, to_node

import lazyarray as la
from lazyarray import _ir, device
from lazyarray.backends import cuda, library

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


def test_reductions(gpu):
    """By kernels of our own, with the CPU's bits: test_cuda_moves.py and test_cuda_reduce.py."""
    data = drawn((3, 4, 5), "float32")
    data[1, 2, 3] = np.nan
    x, cpu = la.array(data, device=gpu), la.array(data)
    for name in ("sum", "prod", "max", "argmin", "all"):
        for axis in (None, 1):
            found = getattr(la, name)(x, axis=axis)
            same(found, getattr(la, name)(cpu, axis=axis).numpy())
    data[0, :, 0] = np.nan
    with pytest.warns(RuntimeWarning, match="All-NaN"):
        wanted = np.nanmax(data, axis=1)
    same(nan_extreme("nanmax", la.array(data, device=gpu)), wanted)


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


@pytest.mark.parametrize("dtype", DTYPES)
def test_ranks(gpu, dtype):
    data = drawn((4, 3, 9), dtype)
    x = la.array(data, device=gpu)
    # Those of float16 are interpolated in float32, and rounded once.
    close = {"rtol": 1e-6, "atol": 1e-6} if dtype != "float16" else {"rtol": 2e-3, "atol": 1e-2}
    for axis, keepdims in ((None, False), (1, True), ((0, 2), False), ((0, 2), True)):
        options = {"axis": axis, "keepdims": keepdims}
        found, wanted = la.median(x, **options), np.median(data, **options)
        assert found.dtype == wanted.dtype and found.shape == np.shape(wanted)
        np.testing.assert_allclose(found.numpy(), wanted, **close)
        if dtype == "bool":
            continue
        for q in (0.3, [0.1, 0.6], 1, [[0], [0.5]]):
            found, wanted = la.quantile(x, q, **options), np.quantile(data, q, **options)
            assert found.dtype == wanted.dtype and found.shape == wanted.shape
            np.testing.assert_allclose(found.numpy(), wanted, **close)
            found = la.percentile(x, np.multiply(q, 100).tolist(), **options)
            np.testing.assert_allclose(found.numpy(), wanted, **close)
    for axis in (None, 0, -1):
        found = la.partition(x, 2, axis=axis).numpy()
        np.testing.assert_array_equal(found, np.sort(data, axis=axis))
        found = la.argpartition(x, 2, axis=axis)
        same(found, np.argsort(data, axis=axis, kind="stable"))
    if data.dtype.kind == "f":
        data[1, 2, 3] = np.nan
        data[2, 0, 1:8] = np.inf
        x = la.array(data, device=gpu)
        np.testing.assert_array_equal(la.median(x, axis=2).numpy(), np.median(data, axis=2))
        np.testing.assert_array_equal(np.isnan(la.quantile(x[:2], 0.2, axis=2).numpy()).sum(), 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_ranks_of_what_is_no_nan(gpu, dtype):
    data = drawn((4, 3, 9), dtype)
    if data.dtype.kind == "f":
        data[drawn(data.shape, seed=3) > 2] = np.nan
        data[0, 1] = np.nan
        data[2, 0, 1:4] = np.inf
    x = la.array(data, device=gpu)
    for axis, keepdims in ((None, False), (1, True), (2, False)):
        options = {"axis": axis, "keepdims": keepdims}
        with np.errstate(all="ignore"), warnings.catch_warnings(), la.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for name, *q in (("nanmedian",), ("nanquantile", 0.3), ("nanpercentile", [10, 65])):
                found = getattr(la, name)(x, *q, **options)
                wanted = getattr(np, name)(data, *q, **options)
                assert found.dtype == wanted.dtype and found.shape == wanted.shape
                np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
    some = drawn(data.shape, dtype)
    some[1, 2, 3:5] = np.nan if data.dtype.kind == "f" else 0
    for name in ("nanargmax", "nanargmin"):
        found = getattr(la, name)(la.array(some, device=gpu), axis=1)
        same(found, getattr(np, name)(some, axis=1))
        if data.dtype.kind == "f":
            with pytest.raises(ValueError, match="All-NaN"):
                getattr(la, name)(x, axis=2).numpy()


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_bins_and_sets(gpu, dtype):
    data = drawn((4, 9), dtype)
    x = la.array(data, device=gpu)
    bins = np.array([-3, -1, 0, 2], dtype)
    for edges in (bins, bins[::-1]):
        for right in (False, True):
            found = la.digitize(x, la.array(edges, device=gpu), right)
            same(found, np.digitize(data, edges, right))
        same(la.isin(x, la.array(edges, device=gpu)), np.isin(data, edges))
    other = drawn(data.shape, dtype, seed=1)
    for axis in (0, -1):
        found = la.lexsort((la.array(other, device=gpu), x), axis=axis)
        same(found, np.lexsort((other, data), axis=axis))
    with pytest.raises(ValueError, match="monotonically"):
        la.digitize(x, la.array(bins[[1, 0, 2]], device=gpu)).numpy()


def test_16_bit_floats(gpu):
    for dtype in (la.bfloat16, np.float16):
        data = (drawn((4, 40), "float32") * 1.37).astype(dtype)
        data[1, 2] = np.nan
        x, cpu = la.array(data, device=gpu), la.array(data)
        for call in (
            lambda v: la.max(v, axis=1), lambda v: la.sort(v, axis=1),
            lambda v: la.argsort(v, axis=0), lambda v: v[v > 1], lambda v: la.median(v, axis=0),
            lambda v: la.searchsorted(la.sort(la.ravel(v)), v[0]),
            lambda v: la.sort(la.partition(v, 7)), lambda v: la.cumsum(v[2:], axis=1),
        ):  # fmt: skip
            mine, wanted = call(x), call(cpu)
            assert mine.dtype == wanted.dtype
            np.testing.assert_array_equal(mine.numpy().astype("f8"), wanted.numpy().astype("f8"))
        x[x > 1] = la.array(np.zeros(int((data.astype("f4") > 1).sum()), dtype), device=gpu)
        assert not (x.numpy().astype("f4") > 1).any()


def test_the_bits_of_bfloat16_are_rounded_as_on_the_cpu():
    low = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    x = ((np.arange(1 << 16, dtype=np.uint32)[:, None] << 16) | low).view(np.float32)
    with np.errstate(all="ignore"):
        wanted = x.astype(la.bfloat16)
    found = library.bfloat(np, x)
    nan = np.isnan(x)
    np.testing.assert_array_equal(found[~nan], wanted.view(np.uint16)[~nan])
    assert np.isnan(found[nan].view(la.bfloat16)).all()
    exact = np.arange(1 << 16).astype(np.uint16)
    assert (library.single(exact).view(np.uint32) >> 16 == exact).all()


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
