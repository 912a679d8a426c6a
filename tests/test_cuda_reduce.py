"""CUDA kernels that reduce, without a GPU: run on the CPU they have its kernels' bits."""

from pathlib import Path

import numpy as np
import pytest
from cuda_loops import Shim, compare, needs_compiler, needs_nvrtc, programs
from loops import sample

import lazyarray as la
from lazyarray import _bind
from lazyarray.codegen import cuda, emit_cuda, emit_cuda_source, nvrtc


def array(*shape, dtype="float32"):
    found = la.array(sample(np.random.default_rng(1), dtype, shape))
    la.wait_all([found])
    return found


def softmax(x, axis):
    e = la.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def standardized(x, axis):
    centred = x - x.mean(axis, keepdims=True)
    return centred / la.sqrt((centred * centred).mean(axis, keepdims=True) + 1e-5)


def logsumexp(x, axis):
    top = x.max(axis, keepdims=True)
    return la.log(la.exp(x - top).sum(axis, keepdims=True)) + top


# Shapes and axes: by which kernel, see codegen/cuda.py.
FORMS = {
    "lanes": ((70, 5), 1),
    "a warp": ((9, 1000), 1),
    "a block": ((3, 2500), 1),
    "a block in rounds": ((2, 40_000), 1),
    "columns, short": ((9, 150), 0),
    "columns, few": ((1100, 3), 0),
    "columns": ((2, 1500, 70), 1),
    "two axes": ((4, 5, 6), (1, 2)),
}


def of_form(shape, axis, dtype="float32"):
    """What reduces along an axis, in one phase and in several."""
    x = array(*shape, dtype=dtype)
    la.eval((x * x + 1).sum(axis), x.max(axis))
    if isinstance(axis, int):
        la.eval(x.argmax(axis))
        la.eval(x.argmin(axis))
    la.eval((x > 0).any(axis), (x > 0).all(axis))
    if x.dtype.kind == "f":
        for function in (softmax, standardized, logsumexp):
            la.eval(function(x, axis))


def checked(monkeypatch, folder, run):
    """Check all programs that `run` needs; how many there were."""
    found = programs(monkeypatch, run)
    bounds = [(p, cuda.cuda_kernel(p)) for p in found]
    assert all(bound is not None for _, bound in bounds)
    kernels = {k.name: k for _, bound in bounds for k in bound.source.kernels}
    shim = Shim(folder, list(kernels.values()))
    for program, bound in bounds:
        compare(shim, program, bound)
    return bounds


@needs_compiler
@pytest.mark.parametrize("form", FORMS)
def test_bits_of_forms(monkeypatch, tmp_path, form):
    bounds = checked(monkeypatch, tmp_path, lambda: of_form(*FORMS[form]))
    assert len(bounds) >= 5


@needs_compiler
def test_long_lines_are_done_in_parts(monkeypatch, tmp_path):
    def run():
        la.eval((array(100_000) + 1).sum(), (array(100_000) > 4).any())
        la.eval((array(3000, 5) * 2).sum(0), la.abs(array(3000, 5)).max(0) + 1)
        la.eval((array(70_000, dtype="int32") + 1).argmax())

    bounds = checked(monkeypatch, tmp_path, run)
    parted = [bound for _, bound in bounds if bound.scratch]
    assert len(parted) >= 4
    assert all(len(bound.launches) == 2 for bound in parted)


def operands_of_all_kinds():
    x, g, b = array(64, 48), array(48), array(64, 1)
    la.eval(standardized(x, 1) * g + b)
    la.eval((x[::2, ::3] * 2).sum(1), (x.T * 2).sum(1))
    la.eval((x[:, None, :] * g).sum((1, 2)), (x[::-1] + la.arange(48)).sum(0))
    y = array(6, 7, 8)
    la.eval((y.transpose(1, 0, 2) * 2).sum(1), (y * y.max((0, 2))[:, None]).sum((0, 2)))


@needs_compiler
@pytest.mark.parametrize("wide", [False, True])
def test_operands_that_lie_in_other_ways(monkeypatch, tmp_path, wide):
    if wide:  # places of 64 bits, as in arrays of 2**31 elements
        monkeypatch.setattr(cuda, "NARROW", 1)
        monkeypatch.setattr(emit_cuda, "NARROW", 1)
    checked(monkeypatch, tmp_path, operands_of_all_kinds)


@needs_compiler
def test_bits_do_not_depend_on_the_gpu(tmp_path):
    """Nor on how many parts a line is cut into."""
    x = sample(np.random.default_rng(3), "float32", (200_000,))
    x[~np.isfinite(x)] = 1
    y = x.reshape(50_000, 4)
    machines = [emit_cuda_source.Machine(n) for n in (1, 3, 20, 132, 1000)]
    lines = [cuda.reduction("sum", "float32", "float32", 1, x.size, 1, m) for m in machines]
    columns = [cuda.reduction("sum", "float32", "float32", 1, 50_000, 4, m) for m in machines]
    shim = Shim(
        tmp_path, list({k.name: k for b in lines + columns for k in b.source.kernels}.values())
    )
    for bounds, given, count in ((lines, x, 1), (columns, y, 4)):
        assert len({b.block for b in bounds}) > 2
        found = set()
        for bound in bounds:
            total = np.zeros(count, "float32")
            shim.run(bound, given, total)
            found.add(total.tobytes())
        assert len(found) == 1


@needs_compiler
@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(d, marks=[pytest.mark.slow] if d not in ("int32", "complex64") else [])
        for d in (
            "bool",
            "int8",
            "int32",
            "uint64",
            "float16",
            "float64",
            "complex64",
            "complex128",
        )
    ],
)
def test_other_types(monkeypatch, tmp_path, dtype):
    def run():
        for shape, axis in (((5, 70), 1), ((70, 5), 0)):
            x = array(*shape, dtype=dtype)
            la.eval(x.sum(axis), x.prod(axis))
            la.eval(x.min(axis), x.max(axis))
            la.eval(x.argmax(axis), x.any(axis), x.mean(axis))

    checked(monkeypatch, tmp_path, run)


@needs_nvrtc
def test_forms_compile(monkeypatch):
    def run():
        for shape, axis in FORMS.values():
            x = array(*shape)
            la.eval(softmax(x, axis))
            la.eval(x.sum(axis))
        la.eval(array(100_000).argmin())

    bounds = [cuda.cuda_kernel(p) for p in programs(monkeypatch, run)]
    kernels = {k.name: k for bound in bounds for k in bound.source.kernels}
    text = emit_cuda_source.source(list(kernels.values()))
    assert nvrtc.compile_source(text, "forms", (*nvrtc.OPTIONS, "--gpu-architecture=compute_90"))


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 120])
def test_forms_compile_to_machine_code(monkeypatch, capability):
    if capability not in nvrtc.architectures():
        pytest.skip(f"this NVRTC does not know sm_{capability}")

    def run():
        for shape, axis in FORMS.values():
            of_form(shape, axis)

    for program in programs(monkeypatch, run):
        bound = cuda.cuda_kernel(program)
        code = nvrtc.compile_source(bound.source.text, bound.source.name, nvrtc.options(capability))
        assert code.startswith(b"\x7fELF")


def test_another_shape_finds_the_source(monkeypatch):
    def run(shape):
        x = array(*shape)
        la.eval(softmax(x, 1))

    first, second = (
        [cuda.cuda_kernel(p) for p in programs(monkeypatch, lambda s=s: run(s))]
        for s in ((100, 1000), (33, 900))
    )
    assert [b.source for b in first] == [b.source for b in second]
    assert all(a.source is b.source for a, b in zip(first, second, strict=True))
    assert all(a.block != b.block for a, b in zip(first, second, strict=True))
    _bind.clear_plans()


GOLDEN = Path(__file__).parent / "cuda_shim" / "softmax.cu"


def test_text_for_people(monkeypatch):
    """The kernel of a softmax, as a file to read; where the text is meant to change, so is it."""

    def run():
        x = array(100, 300)
        la.eval(softmax(x, 1))

    (program,) = programs(monkeypatch, run)
    (kernel,) = cuda.cuda_kernel(program).source.kernels
    assert kernel.text == GOLDEN.read_text()
