"""Products, convolutions and pools against plain NumPy; their bits against layout and splitting."""

import os
import subprocess
import sys
import threading
from itertools import product

import numpy as np
import pytest

from lazyarray import _blas

FLOATING = ["f", "d", "F", "D", "e"]
INTEGERS = ["b", "B", "h", "H", "i", "I", "q", "Q", "?"]
EPS = {c: np.finfo(c).eps for c in FLOATING}
# Odd, vector-shaped, small-tile and BLAS-sized products; (m, n, k).
EXTENTS = [
    (1, 1, 1), (1, 1, 133), (1, 37, 29), (1, 600, 700), (41, 1, 53), (700, 1, 600), (2, 2, 2),
    (5, 7, 3),
    (13, 65, 17), (16, 64, 32), (33, 47, 65), (100, 100, 100), (7, 130, 500), (6, 900, 700),
    (3, 4, 1200), (201, 150, 170), (0, 3, 2), (3, 0, 2), (3, 4, 0), (1, 5, 0), (5, 1, 0),
]  # fmt: skip
ISAS = ["plain", "avx2", "avx512"]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture(params=ISAS)
def isa(request):
    if not _blas.use_isa(request.param):
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    _blas.use_isa(None)


def sample(rng, shape, char):
    """Random values of a dtype; integers over their whole range."""
    dtype = np.dtype(char)
    if char == "?":
        return rng.random(shape) < 0.2
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if dtype.kind == "c" else x).astype(dtype)


def strides_of(array):
    steps = tuple(s // array.itemsize for s in array.strides)
    return steps[:-2], steps[-2], steps[-1]


def multiply(a, b, pieces=None, seed=0):
    """A @ B by a kernel made for the very strides of these arrays."""
    *batch, m, k = a.shape
    n = b.shape[-1]
    out = np.full((*batch, m, n), 99).astype(a.dtype)
    kernel = _blas.gemm(a.dtype, tuple(batch), m, n, k, strides_of(a), strides_of(b))
    kernel.call(a, b, out, pieces=pieces, seed=seed)
    return out


def layouts(matrix):
    """The same values: contiguous, transposed, with gaps in rows, with gaps in both, reversed."""
    yield matrix
    yield matrix.swapaxes(-1, -2).copy().swapaxes(-1, -2)
    *batch, m, n = matrix.shape
    wide = np.zeros((*batch, m, n + 3), matrix.dtype)
    wide[..., :n] = matrix
    yield wide[..., :n]
    sparse = np.zeros((*batch, 2 * m + 1, 3 * n + 1), matrix.dtype)
    sparse[..., : 2 * m : 2, : 3 * n : 3] = matrix
    yield sparse[..., : 2 * m : 2, : 3 * n : 3]
    yield matrix[..., ::-1, ::-1].copy()[..., ::-1, ::-1]


@pytest.mark.parametrize("extents", EXTENTS)
@pytest.mark.parametrize("char", FLOATING)
def test_gemm_floating(rng, char, extents):
    m, n, k = extents
    a, b = sample(rng, (3, m, k), char), sample(rng, (3, k, n), char)
    wide = "D" if char in "FD" else "d"
    exact, scale = a.astype(wide) @ b.astype(wide), np.abs(a).astype("d") @ np.abs(b).astype("d")
    sums = EPS["f"] if char == "e" else EPS[char]
    # A chain of k sums; float16 is rounded once from float32.
    bound = (k + 4) * sums * scale + (EPS["e"] * (np.abs(exact) + 1) if char == "e" else 0)
    assert (np.abs(multiply(a, b) - exact) <= bound).all()


@pytest.mark.parametrize(
    "extents",
    [
        (1, 5, 40),
        (5, 1, 40),
        (5, 70, 9),
        (33, 130, 65),
        (3, 4, 0),
        (1, 1, 0),
        (2, 3, 1200),
        (1, 600, 999),
    ],
)
@pytest.mark.parametrize("char", INTEGERS)
def test_gemm_integer_is_numpys(rng, char, extents):
    m, n, k = extents
    a, b = sample(rng, (2, m, k), char), sample(rng, (2, k, n), char)
    for x, y in zip(layouts(a), layouts(b), strict=True):
        np.testing.assert_array_equal(multiply(x, y, pieces=3), a @ b)


@pytest.mark.parametrize("extents", [e for e in EXTENTS if min(e)])
@pytest.mark.parametrize("char", FLOATING)
def test_gemm_bits_do_not_depend_on_strides_or_split(rng, char, extents):
    m, n, k = extents
    a, b = sample(rng, (2, m, k), char), sample(rng, (2, k, n), char)
    expected = multiply(a, b).tobytes()
    for seed, (x, y) in enumerate(product(layouts(a), layouts(b))):
        assert multiply(x, y, pieces=7, seed=seed).tobytes() == expected


@pytest.mark.parametrize("char", "fdFD")
def test_gemm_bits_of_large_products(rng, char):
    a, b = sample(rng, (390, 333), char), sample(rng, (333, 301), char)
    expected = multiply(a, b)
    wide = "D" if char in "FD" else "d"
    np.testing.assert_allclose(
        expected, a.astype(wide) @ b.astype(wide), rtol=0, atol=3000 * EPS[char]
    )
    for seed, (x, y) in enumerate(product(layouts(a), layouts(b))):
        assert multiply(x, y, pieces=7, seed=seed).tobytes() == expected.tobytes()


def test_gemm_batch_broadcasts(rng):
    a, b = rng.standard_normal((4, 1, 9, 5)), rng.standard_normal((3, 5, 8))
    x, y = np.broadcast_to(a, (4, 3, 9, 5)), np.broadcast_to(b, (4, 3, 5, 8))
    np.testing.assert_allclose(multiply(x, y), a @ b, atol=1e-13)


@pytest.mark.parametrize(
    "extents", [(9, 33, 21), (1, 33, 50), (33, 1, 50), (60, 20, 25), (64, 100, 300)]
)
@pytest.mark.parametrize("char", FLOATING)
def test_gemm_on_every_instruction_set(rng, isa, char, extents):
    m, n, k = extents
    a, b = sample(rng, (m, k), char), sample(rng, (k, n), char)
    found = multiply(a, b)
    assert multiply(a.T.copy().T, b.T.copy().T, pieces=5).tobytes() == found.tobytes()
    wide = "D" if char in "FD" else "d"
    exact = a.astype(wide) @ b.astype(wide)
    np.testing.assert_allclose(
        found, exact, rtol=EPS[char], atol=100 * k * EPS["f" if char in "Fe" else char]
    )
    if isa != "plain":  # a chain of fused multiply-adds, however wide the vectors are
        _blas.use_isa("avx2")
        assert multiply(a, b).tobytes() == found.tobytes()


@pytest.mark.parametrize("char", "fd")
def test_vector_times_matrix_of_any_width(rng, isa, char):
    v, wide = sample(rng, (1, 37), char), sample(rng, (37, 300), char)
    for n in [*range(1, 140), 256, 300]:
        matrix = wide[:, :n]
        found = multiply(v, matrix)
        assert multiply(v, matrix.T.copy().T).tobytes() == found.tobytes()
        np.testing.assert_allclose(found, v.astype("d") @ matrix, atol=40 * EPS[char])


@pytest.mark.parametrize("char", "fd")
def test_vector_times_matrix_beyond_the_caches(rng, char):
    v, matrix = sample(rng, (1, 1500), char), sample(rng, (1500, 777), char)
    assert matrix.nbytes > 4 << 20
    found = multiply(v, matrix)
    np.testing.assert_allclose(found, v.astype("d") @ matrix, atol=1500 * EPS[char])
    for seed, other in enumerate(layouts(matrix)):
        assert multiply(v, other, pieces=3, seed=seed).tobytes() == found.tobytes()


@pytest.mark.parametrize("extents", [(3, 5, 4), (1, 5, 40), (5, 1, 40), (2, 300, 200)])
def test_gemm_passes_on_nan_and_inf(extents):
    m, n, k = extents
    a, b = np.ones((m, k), "f"), np.ones((k, n), "f")
    a[0, 0], b[1, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(multiply(a, b), a @ b)


@pytest.mark.parametrize("char", FLOATING)
def test_half_and_packed_kernels_from_many_threads(rng, char):
    a, b = sample(rng, (40, 200, 30), char), sample(rng, (40, 30, 25), char)
    expected = multiply(a, b).tobytes()
    results = [None] * 4

    def work(i):
        results[i] = multiply(a, b, pieces=9, seed=i).tobytes()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_gemm_refuses():
    flat = ((), 1, 1)
    with pytest.raises(ValueError, match="bad extents"):
        _blas.gemm(np.dtype("f"), (), -1, 2, 3, flat, flat)
    with pytest.raises(ValueError, match="batch strides"):
        _blas.gemm(np.dtype("f"), (2,), 1, 2, 3, flat, flat)
    with pytest.raises(ValueError, match="no kernel"):
        _blas.gemm(np.dtype("O"), (), 1, 2, 3, flat, flat)
    with pytest.raises(ValueError, match="32 bits"):
        _blas.gemm(np.dtype("F"), (), 300, 300, 300, ((), 2**31, 1), ((), 300, 1))


def test_routes_and_tiles_are_functions_of_shape():
    for dtype, batches, extents in product(
        "fdFDe", [1, 2, 64], [*EXTENTS, (2048,) * 3, (128, 512, 784), (257, 999, 640)]
    ):
        route, rows, columns = _blas.route_of(np.dtype(dtype), batches, *extents)
        assert 1 <= rows <= max(1, *extents) and 1 <= columns <= max(1, *extents)
        if (
            route == 2
        ):  # BLAS: the smallest tile stays above OpenBLAS's small-matrix bound of 100**3
            assert extents[0] // rows * extents[1] * extents[2] > 100**3


# (x, kernel, stride, pad, dilation, groups)
CONVOLUTIONS = [
    ((2, 9, 8, 1), (5, 5, 1, 6), (1, 1), (0, 0), (1, 1), 1),
    ((3, 7, 9, 3), (3, 3, 3, 5), (1, 1), (1, 1), (1, 1), 1),
    ((2, 10, 11, 20), (5, 5, 20, 50), (1, 1), (0, 0), (1, 1), 1),
    ((2, 10, 7, 4), (3, 2, 4, 70), (2, 3), (2, 1), (1, 1), 1),
    ((2, 11, 12, 17), (3, 3, 17, 9), (1, 2), (2, 3), (2, 3), 1),
    ((4, 6, 6, 16), (1, 1, 16, 33), (1, 1), (0, 0), (1, 1), 1),
    ((2, 6, 5, 6), (1, 1, 6, 4), (2, 2), (1, 1), (1, 1), 1),
    ((2, 8, 8, 6), (3, 3, 2, 9), (1, 1), (1, 1), (1, 1), 3),
    ((2, 7, 7, 32), (3, 3, 1, 32), (2, 1), (1, 1), (1, 1), 32),
    ((1, 3, 3, 2), (3, 3, 2, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 4, 4, 2), (3, 3, 2, 3), (3, 3), (2, 2), (1, 1), 1),
    ((1, 40, 40, 24), (3, 3, 24, 24), (1, 1), (1, 1), (1, 1), 1),
    ((3, 7, 7, 160), (3, 3, 160, 130), (1, 1), (1, 1), (1, 1), 1),
    ((64, 12, 12, 4), (5, 5, 4, 8), (1, 1), (0, 0), (1, 1), 1),
    ((0, 5, 5, 2), (3, 3, 2, 3), (1, 1), (0, 0), (1, 1), 1),
    ((2, 5, 5, 2), (3, 3, 2, 0), (1, 1), (0, 0), (1, 1), 1),
]


def windows(x, kernel, stride, pad, dilation):
    """View of the padded images, shape (n, oh, ow, kh, kw, c)."""
    (ph, pw), (kh, kw) = pad, kernel
    padded = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    span = (dilation[0] * (kh - 1) + 1, dilation[1] * (kw - 1) + 1)
    view = np.lib.stride_tricks.sliding_window_view(padded, span, (1, 2))
    view = view[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    return np.moveaxis(view, 3, 5)


def convolve(x, kernel, stride, pad, dilation, groups):
    """Reference: out in float64."""
    kh, kw, cg, _ = kernel.shape
    view = windows(x, (kh, kw), stride, pad, dilation)
    parts = [
        np.einsum("nijklc,klco->nijo", view[..., g * cg : (g + 1) * cg], k)
        for g, k in enumerate(np.split(kernel, groups, axis=-1))
    ]
    return np.concatenate(parts, axis=-1)


def convolve_grads(x, kernel, grad, stride, pad, dilation, groups):
    """Reference: (dx, dkernel) in float64."""
    kh, kw, cg, o = kernel.shape
    n, h, w, c = x.shape
    view = windows(x, (kh, kw), stride, pad, dilation)
    dx = np.zeros((n, h + 2 * pad[0], w + 2 * pad[1], c))
    dk = np.zeros(kernel.shape)
    oh, ow = grad.shape[1:3]
    for g in range(groups):
        channels, outputs = (
            slice(g * cg, (g + 1) * cg),
            slice(g * (o // groups), (g + 1) * (o // groups)),
        )
        dk[..., outputs] = np.einsum("nijklc,nijo->klco", view[..., channels], grad[..., outputs])
        for k, j in product(range(kh), range(kw)):
            rows = slice(k * dilation[0], k * dilation[0] + (oh - 1) * stride[0] + 1, stride[0])
            columns = slice(j * dilation[1], j * dilation[1] + (ow - 1) * stride[1] + 1, stride[1])
            dx[:, rows, columns, channels] += grad[..., outputs] @ kernel[k, j, :, outputs].T
    return dx[:, pad[0] : pad[0] + h, pad[1] : pad[1] + w], dk


def check_convolution(rng, case, char):
    x_shape, k_shape, *attributes = case
    x, kernel = sample(rng, x_shape, char), sample(rng, k_shape, char)
    expected = convolve(x.astype("d"), kernel.astype("d"), *attributes)
    grad = sample(rng, expected.shape, char)
    args = (np.dtype(char), x_shape, k_shape, *attributes)
    dx, dk = convolve_grads(x.astype("d"), kernel.astype("d"), grad.astype("d"), *attributes)
    for made, inputs, exact, terms in [
        (_blas.conv2d(*args), (x, kernel), expected, np.prod(k_shape[:3])),
        (_blas.conv2d_data_grad(*args), (grad, kernel), dx, np.prod(k_shape) / k_shape[2]),
        (_blas.conv2d_weight_grad(*args), (x, grad), dk, np.prod(grad.shape[:3])),
    ]:
        whole, split = np.full(exact.shape, 7, char), np.full(exact.shape, 8, char)
        made.call(*inputs, whole)
        made.call(*inputs, split, pieces=7)
        assert whole.tobytes() == split.tobytes()
        np.testing.assert_allclose(
            whole, exact, rtol=0, atol=12 * EPS[char] * max(terms, 1), err_msg=made.label
        )


@pytest.mark.parametrize("char", "fd")
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_and_gradients(rng, case, char):
    check_convolution(rng, case, char)


@pytest.mark.parametrize("case", [CONVOLUTIONS[i] for i in (1, 2, 4, 7)])
def test_convolution_on_every_instruction_set(rng, isa, case):
    check_convolution(rng, case, "f")
    check_convolution(rng, case, "d")


def test_convolution_spreads_nan_to_its_windows_only():
    x, kernel = np.ones((1, 6, 6, 1), "f"), np.ones((3, 3, 1, 2), "f")
    x[0, 0, 0, 0] = np.nan
    out = np.empty((1, 6, 6, 2), "f")
    _blas.conv2d(np.dtype("f"), x.shape, kernel.shape, (1, 1), (1, 1)).call(x, kernel, out)
    inside = np.zeros((6, 6), bool)
    inside[:2, :2] = True
    np.testing.assert_array_equal(np.isnan(out[0, ..., 1]), inside)


def test_convolution_refuses():
    f = np.dtype("f")
    with pytest.raises(ValueError, match="groups"):
        _blas.conv2d(f, (1, 5, 5, 4), (3, 3, 3, 2))
    with pytest.raises(ValueError, match="exceeds"):
        _blas.conv2d(f, (1, 2, 5, 4), (3, 3, 4, 2))
    with pytest.raises(ValueError, match="bad kernel"):
        _blas.conv2d(f, (1, 5, 5, 4), (3, 3, 4, 2), (0, 1))
    with pytest.raises(ValueError, match="float32 or float64"):
        _blas.conv2d(np.dtype("i"), (1, 5, 5, 4), (3, 3, 4, 2))


# (x, window, stride, pad)
POOLS = [
    ((2, 8, 8, 20), (2, 2), (2, 2), (0, 0)),
    ((3, 9, 7, 5), (3, 2), (2, 1), (1, 1)),
    ((2, 7, 7, 1), (3, 3), (1, 1), (0, 0)),
    ((1, 6, 5, 300), (2, 3), (2, 2), (1, 2)),
    ((2, 24, 24, 17), (2, 2), (2, 2), (0, 0)),
    ((0, 4, 4, 3), (2, 2), (2, 2), (0, 0)),
]


def pool_reference(x, grad, window, stride, pad, kind, count_pad=True):
    """Reference by loops over windows: (out, dx), float64."""
    n, h, w, c = x.shape
    _, oh, ow, _ = grad.shape
    out, dx = np.zeros(grad.shape), np.zeros(x.shape)
    for i, j in product(range(oh), range(ow)):
        rows = slice(max(i * stride[0] - pad[0], 0), min(i * stride[0] - pad[0] + window[0], h))
        columns = slice(max(j * stride[1] - pad[1], 0), min(j * stride[1] - pad[1] + window[1], w))
        part = x[:, rows, columns].astype("d")
        flat = part.reshape(n, part.shape[1] * part.shape[2], c)
        if kind == "max":
            if n == 0:
                continue
            where = flat.argmax(1)  # the first maximum, or the first NaN
            out[:, i, j] = np.take_along_axis(flat, where[:, None], 1)[:, 0]
            share = np.zeros(flat.shape)
            np.put_along_axis(share, where[:, None], grad[:, i, j][:, None].astype("d"), 1)
            dx[:, rows, columns] += share.reshape(part.shape)
        else:
            size = window[0] * window[1] if count_pad else flat.shape[1]
            out[:, i, j] = flat.sum(1) / size
            dx[:, rows, columns] += (grad[:, i, j].astype("d") / size)[:, None, None]
    return out, dx


def pool_shape(x, window, stride, pad):
    return tuple(
        (e + 2 * p - k) // s + 1 for e, p, k, s in zip(x[1:3], pad, window, stride, strict=True)
    )


@pytest.mark.parametrize("char", "fde")
@pytest.mark.parametrize("case", POOLS)
def test_pools(rng, case, char):
    x_shape, window, stride, pad = case
    dtype = np.dtype(char)
    x = np.round(sample(rng, x_shape, char) * 2) / 2  # ties are frequent
    grad = sample(rng, (x_shape[0], *pool_shape(x_shape, window, stride, pad), x_shape[3]), char)
    kernels = [("max", True, _blas.max_pool2d(dtype, *case), _blas.max_pool2d_grad(dtype, *case))]
    for count_pad in (True, False):
        made = (
            _blas.avg_pool2d(dtype, *case, count_pad),
            _blas.avg_pool2d_grad(dtype, *case, count_pad),
        )
        kernels.append(("avg", count_pad, *made))
    for kind, count_pad, forward, backward in kernels:
        expected, dx = pool_reference(x, grad, window, stride, pad, kind, count_pad)
        inputs = (x, grad) if kind == "max" else (grad,)
        for kernel, operands, exact in ((forward, (x,), expected), (backward, inputs, dx)):
            whole, split = np.full(exact.shape, 7, char), np.full(exact.shape, 8, char)
            kernel.call(*operands, whole)
            kernel.call(*operands, split, pieces=7)
            assert whole.tobytes() == split.tobytes()
            if kind == "max" and kernel is forward:
                np.testing.assert_array_equal(whole, exact)
            np.testing.assert_allclose(whole, exact, rtol=2 * EPS[char], atol=10 * EPS[char])


@pytest.mark.parametrize("char", "fde")
def test_max_pool_nan_is_the_maximum(char):
    dtype = np.dtype(char)
    x = np.array([[1, np.nan, 3, -np.inf], [np.nan, 2, -np.inf, -np.inf]], char).reshape(1, 2, 4, 1)
    out, dx = np.empty((1, 1, 2, 1), char), np.empty(x.shape, char)
    case = (x.shape, (2, 2), (2, 2))
    _blas.max_pool2d(dtype, *case).call(x, out)
    np.testing.assert_array_equal(out.ravel(), [np.nan, 3])
    _blas.max_pool2d_grad(dtype, *case).call(x, np.array([5, 7], char), dx)
    np.testing.assert_array_equal(dx[0, ..., 0], [[0, 5, 7, 0], [0, 0, 0, 0]])


def test_pool_refuses():
    with pytest.raises(ValueError, match="smaller than its window"):
        _blas.max_pool2d(np.dtype("f"), (1, 5, 5, 1), (2, 2), (2, 2), (2, 0))
    with pytest.raises(ValueError, match="floating"):
        _blas.avg_pool2d(np.dtype("i"), (1, 5, 5, 1), (2, 2), (2, 2))


def test_scipys_blas_gets_one_thread_and_numpys_keeps_its_own():
    program = """
import ctypes, numpy as np, lazyarray._blas as blas
import scipy.linalg.cython_blas as theirs
import numpy._core._multiarray_umath as ours
def threads(path):
    library = ctypes.CDLL(path)
    for name in ("scipy_openblas_get_num_threads", "scipy_openblas_get_num_threads64_"):
        if hasattr(library, name):
            return getattr(library, name)()
before = threads(ours.__file__)
blas.gemm(np.dtype("F"), (), 300, 300, 300, ((), 300, 1), ((), 300, 1))
print(before == threads(ours.__file__), threads(theirs.__file__) in (1, None))
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2"},
    )
    assert run.stdout.split() == ["True", "True"]


@pytest.mark.parametrize("char", "fd")
def test_long_sums_stay_accurate(char):
    # One chain could err by k eps / 2; pieces of 128 err by about (128 + k / 128) eps.
    k = 100_000
    a, b = np.full((2, k), 0.1, char), np.full((k, 3), 0.7, char)
    exact = float(a[0, 0]) * float(b[0, 0]) * k
    assert np.abs(multiply(a, b).astype("d") / exact - 1).max() <= 1000 * EPS[char]
    assert np.abs(multiply(a[:1], b).astype("d") / exact - 1).max() <= k / 16 * EPS[char]


def random_convolution(rng):
    """A case as in CONVOLUTIONS, of any attributes that fit."""
    while True:
        groups = int(rng.choice([1, 1, 1, 2, 3]))
        kh, kw, dh, dw = (
            rng.integers(1, 6),
            rng.integers(1, 6),
            rng.integers(1, 3),
            rng.integers(1, 3),
        )
        h, w = rng.integers(1, 20, 2)
        ph, pw = rng.integers(0, 4, 2)
        if h + 2 * ph > dh * (kh - 1) and w + 2 * pw > dw * (kw - 1):
            break
    x_shape = (int(rng.integers(1, 5)), int(h), int(w), int(rng.integers(1, 40)) * groups)
    k_shape = (int(kh), int(kw), x_shape[3] // groups, int(rng.integers(1, 80)) * groups)
    strides = tuple(map(int, rng.integers(1, 4, 2)))
    return x_shape, k_shape, strides, (int(ph), int(pw)), (int(dh), int(dw)), groups


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300))
def test_random_convolutions(seed):
    rng = np.random.default_rng(seed)
    check_convolution(rng, random_convolution(rng), "fd"[seed % 2])
