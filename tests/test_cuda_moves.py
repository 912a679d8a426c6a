"""CUDA kernels that move data, and single reductions, without a GPU."""

import itertools

import numpy as np
import pytest
from cuda_loops import Shim, c_strides, needs_compiler, needs_nvrtc
from loops import same_bits, sample

from lazyarray import _loops
from lazyarray.codegen import cuda, emit_cuda_source, nvrtc
from lazyarray.codegen import emit_cuda_moves as moves

COPIES = [
    ((40, 50), (1, 0), "float32"),
    ((5, 40, 33), (2, 1, 0), "int16"),
    ((3, 17, 4, 20), (0, 3, 2, 1), "complex128"),
    ((33, 64), (1, 0), "uint8"),
    ((4, 70, 16), (0, 2, 1), "float64"),
    ((7, 3, 2), (2, 0, 1), "float32"),  # too small for tiles
    ((50,), (0,), "float32"),
]
REDUCTIONS = [
    ("sum", "float32", "float32", 3, 500, 1),
    ("sum", "bool", "int64", 3, 70, 1),
    ("sum", "float16", "float16", 2, 3000, 1),
    ("mean", "float32", "float64", 1, 20_000, 1),
    ("prod", "int8", "int64", 3, 9, 4),
    ("max", "float16", "float16", 3, 40, 5),
    ("min", "float64", "float64", 1, 2000, 3),
    ("any", "float32", "bool", 4, 100, 1),
    ("all", "complex64", "bool", 4, 10, 3),
    ("argmax", "float16", "int64", 3, 1500, 1),
    ("argmin", "bool", "int64", 3, 40, 7),
    ("argmax", "complex64", "int64", 5, 40, 1),
    ("argmin", "float32", "int64", 1, 50_000, 1),
    ("fmax", "float32", "float32", 3, 50, 1),
    ("sum", "float32", "float32", 3, 0, 2),
    ("sum", "float32", "float32", 0, 5, 2),
]
SCANS = [
    ("sum", "float32", "float32", 3, 50, 1),
    ("prod", "float64", "float64", 2, 20, 7),
    ("sum", "float16", "float16", 2, 90, 1),
    ("sum", "bool", "int64", 2, 9, 3),
    ("prod", "complex64", "complex64", 4, 9, 1),
]


def all_copies():
    for shape, order, dtype in COPIES:
        x = sample(np.random.default_rng(2), dtype, shape)
        turned = x.transpose(order)
        target = c_strides(turned.shape, x.itemsize)
        yield x, turned, moves.copy(turned.shape, x.itemsize, turned.strides, target)


def all_reductions():
    for name, *rest in REDUCTIONS:
        name = "sum" if name == "mean" else name
        yield (name, *rest), cuda.reduction(name, *rest)


def kernels():
    bounds = [b for *_, b in all_copies()] + [b for *_, b in all_reductions()]
    bounds += [moves.take_axis(2, 9, 5, row, size) for row, size in ((4, 4), (24, 4), (32, 2))]
    bounds += [moves.put_rows(row, 9, 5, size) for row, size in ((4, 4), (24, 8))]
    bounds += [moves.add_rows(kind, 9, 5) for kind in ("float32", "float16", "int8")]
    bounds += [moves.flat_index((9, 4), 5)]
    bounds += [moves.scan(*each) for each in SCANS]
    return list({k.name: k for b in bounds for k in b.source.kernels}.values())


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return Shim(tmp_path_factory.mktemp("moves"), kernels())


@needs_compiler
def test_copies(shim):
    tiles = 0
    for x, turned, bound in all_copies():
        y = np.zeros(turned.shape, x.dtype)
        shim.run(bound, x, y)
        assert y.tobytes() == turned.tobytes()
        tiles += bound.source.name.startswith("la_turned")
    assert tiles == 4


@needs_compiler
@pytest.mark.parametrize(("row", "size"), [(4, 4), (24, 4), (32, 2)])
def test_rows_by_index(shim, row, size):
    rng = np.random.default_rng(3)
    word = np.dtype(f"u{size}")
    for outer, offset in itertools.product((1, 2), (0, 1)):
        memory = rng.integers(0, 255, outer * 9 * row + 16 + size, np.uint8)
        start = -memory.ctypes.data % 16 + offset * size
        x = memory[start : start + outer * 9 * row].view(word).reshape(outer, 9, -1)
        index = rng.integers(0, 9, 5)
        out = np.zeros((outer, 5, x.shape[2]), word)
        shim.run(moves.take_axis(outer, 9, 5, row, size), x, index, out)
        assert np.array_equal(out, x[:, index])


@needs_compiler
@pytest.mark.parametrize(("row", "size"), [(4, 4), (24, 8)])
def test_the_last_row_wins(shim, row, size):
    rng = np.random.default_rng(4)
    index = rng.integers(0, 9, 50)
    values = rng.integers(0, 200, (50, row // size)).astype(f"u{size}")
    out = np.zeros((9, row // size), values.dtype)
    expected = out.copy()
    expected[index] = values
    shim.run(moves.put_rows(row, 9, 50, size), index, values, out)
    assert np.array_equal(out, expected)


@needs_compiler
@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_rows_are_added_in_order(shim, kind):
    rng = np.random.default_rng(5)
    index = rng.integers(0, 9, 60)
    values = sample(rng, kind, (60, 5))
    out = sample(rng, kind, (9, 5))
    expected = out.copy()
    with np.errstate(all="ignore"):
        np.add.at(expected, index, values)
    order = np.argsort(index, kind="stable")
    shim.run(moves.add_rows(kind, 60, 5), index[order], order, values, out)
    assert same_bits(out, expected)


@needs_compiler
def test_flat_index(shim):
    rng = np.random.default_rng(9)
    rows, columns = rng.integers(-9, 9, 70), rng.integers(-4, 4, 70)
    out, status = np.zeros(70, np.int64), np.zeros(1, np.int32)
    shim.run(moves.flat_index((9, 4), 70), rows, columns, out, status)
    assert np.array_equal(out, rows % 9 * 4 + columns % 4) and not status[0]
    columns[33] = 4
    shim.run(moves.flat_index((9, 4), 70), rows, columns, out, status)
    assert status[0] == 2


@needs_compiler
@pytest.mark.parametrize("arguments", SCANS)
def test_scans(shim, arguments):
    _, source, target, *shape = arguments
    x = sample(np.random.default_rng(10), source, shape)
    expected, got = np.empty(shape, target), np.empty(shape, target)
    with np.errstate(all="ignore"):
        _loops.scan(*arguments).call(x, expected)
    shim.run(moves.scan(*arguments), x, got)
    assert same_bits(got, expected)


@needs_compiler
def test_single_reductions(shim):
    for arguments, bound in all_reductions():
        _, source, target, outer, red, inner = arguments
        x = sample(np.random.default_rng(6), source, (outer, red, inner))
        expected, got = np.empty((outer, inner), target), np.empty((outer, inner), target)
        with np.errstate(all="ignore"):
            _loops.reduce(*arguments).call(x, expected)
        shim.run(bound, x, got)
        assert same_bits(got, expected), arguments


@needs_nvrtc
def test_moves_compile():
    text = emit_cuda_source.source(kernels())
    assert nvrtc.compile_source(text, "moves", (*nvrtc.OPTIONS, "--gpu-architecture=compute_90"))
