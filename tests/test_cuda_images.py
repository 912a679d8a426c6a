"""CUDA kernels of windows over images, without a GPU: pooling has the bits of the CPU's kernels."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from cuda_loops import Shim, needs_compiler, needs_nvrtc
from loops import same_bits

from lazyarray import _blas
from lazyarray.codegen import emit_cuda_images, emit_cuda_source, nvrtc
from lazyarray.codegen.emit_cuda_images import Images

KINDS = ("float16", "bfloat16", "float32", "float64")
# (batch, height, width, channels), window, stride, pad
POOLS = [
    ((2, 8, 6, 16), (2, 2), (2, 2), (0, 0)),
    ((2, 7, 9, 8), (3, 3), (2, 2), (1, 1)),
    ((2, 7, 9, 6), (3, 2), (1, 2), (1, 1)),
    ((1, 9, 11, 3), (2, 3), (3, 4), (1, 2)),  # pixels that no window has
    ((2, 9, 8, 4), (4, 5), (2, 1), (2, 3)),  # too large to be written out
    ((3, 6, 5, 1), (6, 5), (6, 5), (0, 0)),
    ((2, 5, 5, 2), (1, 1), (2, 2), (0, 0)),
]
NAMES = ("max_pool2d", "max_pool2d_grad", "avg_pool2d", "avg_pool2d_grad")
CONVOLUTIONS = [
    Images((2, 6, 7, 8), (6, 7), (3, 3), (1, 1), (1, 1)),
    Images((3, 9, 8, 4), (4, 7), (3, 2), (2, 1), (1, 2), (1, 3), 2),
    Images((2, 7, 5, 3), (3, 5), (2, 1), (2, 1), (0, 0)),
    Images((1, 6, 6, 6), (2, 2), (2, 2), (3, 2), (0, 0), (2, 3), 3),
]  # fmt: skip


def dtype_of(kind):
    return np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)


def on(shape, window, stride, pad):
    extents = tuple(
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape[1:3], window, stride, pad, strict=True)
    )
    return Images(shape, extents, window, stride, pad)


def cases():
    for name, kind, pool in itertools.product(NAMES, KINDS, POOLS):
        for counted in (True, False) if name.startswith("avg") else (False,):
            yield name, kind, on(*pool), counted


def bounds():
    for name, kind, images, counted in cases():
        yield emit_cuda_images.pooling(name, kind, images, counted)
    for kind, images in itertools.product(KINDS, CONVOLUTIONS):
        yield emit_cuda_images.windows_to_rows(kind, images)
        yield emit_cuda_images.rows_to_images(kind, images)
    yield large()


def large():
    """One whose places need 64 bits."""
    return emit_cuda_images.pooling(
        "max_pool2d_grad", "float32", on((1 << 20, 64, 64, 2), (3, 3), (2, 2), (1, 1))
    )


def kernels():
    return list({k.name: k for bound in bounds() for k in bound.source.kernels}.values())


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return Shim(tmp_path_factory.mktemp("images"), kernels())


def drawn(rng, kind, shape):
    """Numbers of which windows have several that are the same, and some that are none."""
    x = (rng.integers(-3, 4, shape) * 1.5).astype(dtype_of(kind))
    x.flat[rng.integers(0, x.size, x.size // 20)] = np.nan
    x.flat[rng.integers(0, x.size, x.size // 20)] = -np.inf
    x.flat[rng.integers(0, x.size, x.size // 20)] = -0.0
    return x


def moved(x, offset):
    """The same numbers, so many elements past a place of 64 bytes."""
    memory = np.zeros(x.nbytes + 64 + offset * x.itemsize, np.uint8)
    start = -memory.ctypes.data % 64 + offset * x.itemsize
    there = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    there[...] = x
    return there


def run_both(shim, name, kind, images, counted, offset):
    rng = np.random.default_rng(3)
    pooled = (images.shape[0], *images.extents, images.shape[3])
    x = drawn(rng, kind, images.shape)
    g = rng.standard_normal(pooled).astype(x.dtype)
    g.flat[:: max(g.size // 7, 1)] = -0.0
    inputs = {"max_pool2d": [x], "avg_pool2d": [x], "max_pool2d_grad": [x, g]}.get(name, [g])
    out = images.shape if name.endswith("grad") else pooled
    options = {"count_include_pad": counted} if name.startswith("avg") else {}
    if name == "avg_pool2d":  # sums whose order is seen
        inputs = [rng.standard_normal(images.shape).astype(x.dtype)]
    cpu = np.full(out, 7, x.dtype)
    cpu_kernel = getattr(_blas, name)(
        x.dtype, images.shape, images.window, images.stride, images.pad, **options
    )
    cpu_kernel.call(*inputs, cpu)
    cuda = moved(np.full(out, 9, x.dtype), offset)
    bound = emit_cuda_images.pooling(name, kind, images, counted)
    assert len(bound.launches) == 1
    shim.run(bound, *(moved(each, offset) for each in inputs), cuda)
    return cpu, cuda


@needs_compiler
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_pooling_has_the_bits_of_the_cpu(shim, name, kind):
    for title, own, images, counted in cases():
        if (title, own) == (name, kind):
            for offset in (0, 1):
                cpu, cuda = run_both(shim, name, kind, images, counted, offset)
                assert same_bits(cuda, cpu), (images, counted, offset)


def patches(x, images, fill=0):
    """What NumPy makes of windows: (groups, windows, row)."""
    (top, left), (dh, dw) = images.pad, images.dilation
    wide = np.pad(x, ((0, 0), (top, top), (left, left), (0, 0)))
    (oh, ow), (kh, kw), (sh, sw) = images.extents, images.window, images.stride
    parts = [
        wide[:, a * dh : a * dh + (oh - 1) * sh + 1 : sh, b * dw : b * dw + (ow - 1) * sw + 1 : sw]
        for a in range(kh)
        for b in range(kw)
    ]
    stacked = np.stack(parts, axis=3).reshape(images.count, kh * kw, images.groups, -1)
    return stacked.transpose(2, 0, 1, 3).reshape(images.groups, images.count, images.row)


@needs_compiler
@pytest.mark.parametrize("images", CONVOLUTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_windows_and_rows(shim, kind, images):
    rng = np.random.default_rng(4)
    x = rng.standard_normal(images.shape).astype(dtype_of(kind))
    for offset in (0, 1):
        rows = np.full((images.groups, images.count, images.row), 9, x.dtype)
        shim.run(emit_cuda_images.windows_to_rows(kind, images), moved(x, offset), rows)
        assert rows.tobytes() == patches(x, images).tobytes()
    # Back: each pixel's sum of what its windows hold, in the order of the window's places.
    rows = rng.integers(-4, 5, rows.shape).astype(x.dtype)
    found = np.full(images.shape, 9, x.dtype)
    shim.run(emit_cuda_images.rows_to_images(kind, images), rows, found)
    number = np.arange(1, x.size + 1, dtype=np.int64).reshape(images.shape)
    where = patches(number, images)
    wanted = np.zeros(x.size + 1)
    np.add.at(wanted, where.reshape(-1), rows.astype("f8").reshape(-1))
    np.testing.assert_array_equal(found.astype("f8").reshape(-1), wanted[1:])


def test_places_take_64_bits_where_32_are_short():
    assert "int64_t d[" in large().source.text
    small = emit_cuda_images.pooling("avg_pool2d", "float32", on(*POOLS[0]))
    assert "Divisor d[" in small.source.text
    assert emit_cuda_images.pooling("avg_pool2d", "int32", on(*POOLS[0])) is None
    huge = Images((1, 1 << 31, 1, 1), (1, 1), (2, 2), (2, 2), (1, 1))
    assert emit_cuda_images.pooling("avg_pool2d", "float32", huge) is None


@needs_nvrtc
def test_images_compile():
    some = [
        emit_cuda_images.pooling(name, kind, on(*pool))
        for name, kind, pool in itertools.product(NAMES, ("bfloat16", "float64"), POOLS[1:4:2])
    ]
    some += [emit_cuda_images.windows_to_rows("float16", CONVOLUTIONS[0]), large()]
    some += [emit_cuda_images.rows_to_images("float32", CONVOLUTIONS[1])]
    text = emit_cuda_source.source(
        list({k.name: k for bound in some for k in bound.source.kernels}.values())
    )
    assert nvrtc.compile_source(text, "images", (*nvrtc.OPTIONS, "--gpu-architecture=compute_90"))


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 120])
def test_images_compile_to_machine_code(capability):
    if capability not in nvrtc.architectures():
        pytest.skip("this NVRTC makes no code for it")
    code = nvrtc.compile_source(
        emit_cuda_source.source(kernels()), "images", nvrtc.options(capability)
    )
    assert code.startswith(b"\x7fELF")
