"""Which call of cuBLAS computes a product, on every layout, interpreted by the rules of cuBLAS."""

import ctypes
import types

import blas_stand_in
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazyarray as la
from lazyarray import passes
from lazyarray.backends import epilogues, products
from lazyarray.backends.simulated import simulated

DTYPES = ["f2", ml_dtypes.bfloat16, "f4", "f8", "c8", "c16"]
EXTENTS = st.sampled_from([1, 1, 2, 3, 5])


@st.composite
def laid_out(draw, batch, rows, columns, dtype):
    """A stack of matrices in some layout, of small whole numbers."""
    shape = (*batch, rows, columns)
    way = draw(st.sampled_from(["c", "turned", "wide", "turned wide", "steps", "any order"]))
    axes = list(range(len(shape)))
    if way.startswith("turned"):
        axes[-2:] = axes[-2:][::-1]
    if way == "any order":
        axes = list(draw(st.permutations(axes)))
    repeated = [i for i in range(len(batch)) if way != "any order" and draw(st.booleans())]
    stored = [1 if i in repeated else shape[i] for i in axes]
    room = list(stored)
    if "wide" in way:
        room[-1] += draw(st.integers(1, 3))
    if way == "steps":
        room[-1] *= 2
    seed = draw(st.integers(0, 99))
    data = np.random.default_rng(seed).integers(-3, 4, room).astype(dtype)
    seen = data[..., ::2] if way == "steps" else data[tuple(slice(n) for n in stored)]
    return np.broadcast_to(seen.transpose(np.argsort(axes)), shape)


@st.composite
def pairs(draw):
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    batch = tuple(draw(st.lists(EXTENTS, max_size=3)))
    m, k, n = draw(EXTENTS), draw(EXTENTS), draw(EXTENTS)
    return draw(laid_out(batch, m, k, dtype)), draw(laid_out(batch, k, n, dtype))


def layout(x):
    return x.shape, x.strides, x.dtype


def multiplied(a, b):
    """The product by the chosen calls, and what was chosen."""
    out = np.full((*a.shape[:-1], b.shape[-1]), 77, a.dtype)
    product = products.decide(layout(a), layout(b), layout(out))
    assert product is not None
    given = [
        np.ascontiguousarray(x) if copied else x
        for x, copied in zip((a, b), product.copied, strict=True)
    ]
    blas = blas_stand_in.Blas()
    blas.workspace = 1
    places = [x.__array_interface__["data"][0] for x in (*given, out)]
    for arguments, batched in products.arguments_of(product, out.dtype, *places):
        name = "cublasGemmStridedBatchedEx_64" if batched else "cublasGemmEx_64"
        assert len(arguments) + 1 == len(products.SIGNATURES[name])
        getattr(blas, name)(None, *arguments)
    return out, product


@settings(max_examples=400, deadline=None)
@given(pairs())
def test_every_layout_is_read_as_it_lies_or_copied_once(pair):
    a, b = pair
    out, product = multiplied(a, b)
    wide = "c16" if a.dtype.kind == "c" else "f8"
    np.testing.assert_array_equal(out, (a.astype(wide) @ b.astype(wide)).astype(a.dtype))
    assert len(product.starts) <= products.CALLS


@pytest.mark.parametrize(
    ("a", "b", "ways", "batch", "starts"),
    [
        (np.ones((4, 3)), np.ones((3, 5)), (False, False), 1, 1),
        (np.ones((3, 4)).T, np.ones((5, 3)).T, (True, True), 1, 1),
        (np.ones((4, 9))[:, 2:5], np.ones((9, 5))[1:4], (False, False), 1, 1),
        (np.ones((7, 4, 3)), np.broadcast_to(np.ones((3, 5)), (7, 3, 5)), (False, False), 7, 1),
        # Axes of a batch that are one axis, and axes that are not.
        (np.ones((2, 7, 4, 3)), np.ones((2, 7, 3, 5)), (False, False), 14, 1),
        (
            np.ones((2, 7, 4, 3)),
            np.broadcast_to(np.ones((7, 3, 5)), (2, 7, 3, 5)),
            *((False, False), 7, 2),
        ),
    ],
)
def test_what_blas_can_read_is_not_copied(a, b, ways, batch, starts):
    out, product = multiplied(a, b)
    np.testing.assert_array_equal(out, a @ b)
    assert product.copied == (False, False)
    assert (product.a.transposed, product.b.transposed) == ways
    assert (product.batch, len(product.starts)) == (batch, starts)


def test_a_batch_of_many_parts_is_copied():
    a = np.broadcast_to(np.arange(40.0 * 6).reshape(1, 40, 2, 3), (20, 40, 2, 3))
    b = np.broadcast_to(np.arange(20.0 * 6).reshape(20, 1, 3, 2), (20, 40, 3, 2))
    out, product = multiplied(a, b)
    np.testing.assert_array_equal(out, a @ b)
    assert product.copied == (True, True) and product.batch == 800


def test_a_product_with_a_line_is_one_task_of_a_device():
    rng = np.random.default_rng(0)
    data = [rng.standard_normal(shape).astype("f4") for shape in ((7, 5), (5, 6), (6,))]
    where = simulated(0)
    x, w, line = (la.array(each, device=where) for each in data)
    la.eval(x, w, line)
    with la.debug.timeline() as events:
        found = (x @ w + line).numpy()
    assert [e.name for e in events if e.kind == "kernel"] == ["gemm+add"]
    assert found.tobytes() == (la.array(data[0]) @ la.array(data[1]) + data[2]).numpy().tobytes()
    with passes.chosen("-products"), la.debug.timeline() as events:
        apart = (line + x @ w).numpy()
    assert [e.name for e in events if e.kind == "kernel"] == ["gemm", "add"]
    assert apart.tobytes() == found.tobytes()


def test_what_cublas_has_no_call_for():
    ints = np.ones((2, 2), int)
    backwards = np.ones((2, 2))[::-1]
    for x in (ints, backwards):
        assert products.decide(layout(x), layout(x), layout(np.ones((2, 2), x.dtype))) is None


def test_what_the_precision_is():
    """No TensorFloat-32; sums of 16-bit floats in float32; four real products for a complex one."""
    asked = {np.dtype(dtype).name: products.KINDS[np.dtype(dtype)] for dtype in DTYPES}
    assert {name: kind.compute for name, kind in asked.items()} == {
        "float16": 68, "bfloat16": 68, "float32": 68, "float64": 70,
        "complex64": 69, "complex128": 71,
    }  # fmt: skip
    for name, kind in asked.items():
        assert np.dtype(blas_stand_in.DTYPES[kind.name]).name == name


def test_the_library_is_prepared_once_and_its_refusal_is_an_error(monkeypatch):
    blas = blas_stand_in.Blas()
    monkeypatch.setattr(products, "library", lambda: blas)
    room = np.zeros(1 << 10, np.uint8)
    place = -(-room.ctypes.data // 256) * 256
    owner = types.SimpleNamespace(
        capability=80,
        allocate=lambda nbytes: types.SimpleNamespace(ptr=place),
        stream=types.SimpleNamespace(ptr=7),
    )
    products.Blas(owner)
    assert blas.workspace == products.WORKSPACE_BEFORE_HOPPER
    blas.cublasSetMathMode = lambda handle, mode: 13
    with pytest.raises(products.DeviceError, match="cuBLAS: a mode failed with status 13"):
        products.Blas(owner)


def test_cublaslt_knows_the_attributes():
    """The library itself, which makes descriptors without a GPU, takes each with its size."""
    if epilogues.library() is None:
        pytest.skip("cuBLASLt is not there")
    a, b = (np.ones(shape, "f4") for shape in ((4, 3), (3, 5)))
    product = products.decide(*map(layout, (a, b, a @ b)))
    asked = epilogues.Sum(product, a.dtype)
    asked.operation.set(epilogues.LINE, ctypes.c_void_p(256))
    wish = epilogues.Descriptor("MatmulPreference")
    wish.set(epilogues.WORKSPACE_BYTES, ctypes.c_uint64(1 << 20))
    wish.set(epilogues.REDUCTIONS, ctypes.c_uint32(epilogues.WHOLE_SUMS))
    for each in epilogues.ALIGNMENTS:
        wish.set(each, ctypes.c_uint32(16))
    with pytest.raises(products.DeviceError, match="attribute 7"):
        asked.operation.set(epilogues.EPILOGUE, ctypes.c_uint64(4))


def test_the_signatures_are_complete():
    """Each argument of a call has a type: ctypes would pass a Python int as 32 bits."""
    assert [len(each) for each in products.SIGNATURES.values()] == [1, 2, 3, 2, 2, 19, 23]
    light = {name: len(arguments) for name, arguments in epilogues.SIGNATURES.items()}
    assert (light["cublasLtMatmul"], light["cublasLtMatmulAlgoGetHeuristic"]) == (16, 10)
    assert ctypes.sizeof(epilogues.Found) == 96
