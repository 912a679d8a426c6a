"""CUDA sources without a GPU: NVRTC compiles them, and on the CPU they have the kernels' bits."""

import contextlib

import numpy as np
import programs as random_programs
import pytest
import writer
from cuda_loops import (
    Shim,
    c_strides,
    compare,
    loops_of_ops,
    needs_compiler,
    needs_nvrtc,
    programs,
)
from loops import apply, same_bits, sample

import lazyarray as la
from lazyarray.codegen import cuda, emit_cuda, emit_cuda_program, emit_cuda_source, nvrtc
from lazyarray.codegen.emit_cuda_scalars import device_function
from lazyarray.codegen.sweep import Statement

TOGETHER = 12  # loops in a kernel: it takes the compilers less time than as many kernels
COUNT = 1500
KINDS = {
    "real": ("bool", "int32", "float32"),
    "small": ("int8", "uint8", "int16", "uint16"),
    "wide": ("uint32", "int64", "uint64"),
    "complex": ("complex64", "complex128"),
}
# Where they cross 0, the CPU's functions are not that exact either: near there errors are absolute.
NEAR_ZERO = {"gammaln", "logaddexp", "logaddexp2", "logit"}
# The CPU's loops of these have no kernel on a GPU: their ops run on the CPU there.
ABSENT = {"psi", "_zeta"}


def known(loop):
    return device_function(loop.name, tuple(map(str, loop.dtypes)))


def together(loops):
    """Kernels of several loops that read the same inputs, and the loops of each."""
    groups = {}
    for loop in loops:
        if known(loop) is not None:
            groups.setdefault(loop.dtypes[: loop.nin], []).append(loop)
    for types, all_of_them in groups.items():
        kinds = [str(t) for t in types]
        for begin in range(0, len(all_of_them), TOGETHER):
            some = all_of_them[begin : begin + TOGETHER]
            inputs, works, outputs = [], [], []
            for i, kind in enumerate(kinds):
                strides = c_strides((COUNT,), types[i].itemsize)
                inputs.append(emit_cuda_program.Input(kind, i, (COUNT,), strides))
            for i, loop in enumerate(some):
                names = (*kinds, str(loop.dtypes[-1]))
                works.append(
                    emit_cuda_program.Work(Statement(loop.name, names, tuple(range(len(kinds)))))
                )
                strides = c_strides((COUNT,), loop.dtypes[-1].itemsize)
                place = len(kinds) + i
                outputs.append(emit_cuda_program.Output(place, place, (COUNT,), strides))
            described = emit_cuda_program.Described(
                (COUNT,), tuple(inputs), tuple(works), tuple(outputs), len(kinds) + len(some)
            )
            yield some, emit_cuda.elements_of(described)


SLOW = [pytest.param(k, marks=[pytest.mark.slow] if k in ("small", "wide") else []) for k in KINDS]


@needs_compiler
@pytest.mark.parametrize("kinds", SLOW)
def test_bits_of_every_loop(tmp_path, kinds):
    """The device function of each loop gives what the loop gives."""
    found = list(together(loops_of_ops(KINDS[kinds])))
    shim = Shim(tmp_path, [bound.source.kernels[0] for _, bound in found])
    rng = np.random.default_rng(5)
    for loops, bound in found:
        inputs = [sample(rng, d, COUNT) for d in loops[0].dtypes[: loops[0].nin]]
        outputs = [np.zeros(COUNT, loop.dtypes[-1]) for loop in loops]
        shim.run(bound, *inputs, *outputs)
        for loop, got in zip(loops, outputs, strict=True):
            with np.errstate(all="ignore"):
                expected = apply(loop, *inputs)
            ulp = known(loop).ulp
            if not ulp:
                assert same_bits(got, expected), loop
            elif loop.dtypes[0].kind == "c":  # beside the magnitude of the result
                size = np.abs(expected)
                usual = (size > 1e-30) & (size < 1e30)
                off = np.abs(got[usual] - expected[usual]) / size[usual]
                assert usual.sum() > 50 and off.max() <= ulp * np.finfo(got.dtype).eps, loop
            else:
                nan = ~np.isfinite(expected)
                assert np.array_equal(got[nan], expected[nan], equal_nan=True), loop
                if loop.name in NEAR_ZERO:
                    got, expected = got + np.sign(got), expected + np.sign(expected)
                off = np.abs(got[~nan].astype("f8") - expected[~nan])
                assert (off <= ulp * np.spacing(np.abs(expected[~nan]))).all(), loop


@needs_nvrtc
@pytest.mark.parametrize("kinds", SLOW)
def test_every_loop_compiles(kinds):
    """NVRTC takes the device function of each loop; to PTX, as that is faster."""
    found = list(together(loops_of_ops(KINDS[kinds])))
    text = emit_cuda_source.source([bound.source.kernels[0] for _, bound in found])
    assert nvrtc.compile_source(text, kinds, (*nvrtc.OPTIONS, "--gpu-architecture=compute_90"))


def test_most_loops_have_a_device_function():
    """What has none is computed on the CPU."""
    loops = [loop for kinds in KINDS.values() for loop in loops_of_ops(kinds)]
    real = {loop.name for loop in loops if known(loop) is None and loop.dtypes[0].kind != "c"}
    assert real <= ABSENT | {"nextafter", "spacing"}  # the last two of float16


def leaf(*shape, dtype="float32"):
    found = la.array(sample(np.random.default_rng(7), dtype, shape))
    la.wait_all([found])
    return found


def fused_programs():
    """Programs whose operands lie in every way that kernels tell apart."""
    x, y, z = leaf(40, 24), leaf(24), leaf(40, dtype="int64")
    r = la.exp(-x * x) + y
    la.eval(r, la.where(r > 1, r, z[:, None]))
    la.eval(x.T + 1)
    la.eval(x[::2, 3:] * y[:-3])
    la.eval(x[:, ::-1] + x[::-1])
    x[1:5, ::3] += 2
    la.eval(x)
    la.eval(la.zeros((5, 6)) + la.arange(6))
    la.eval(leaf(6, 1, 24) * y[None, :, None][:, :7] + leaf(1, 7, 1))
    la.eval(leaf(3, 5, 7, dtype="uint8") + leaf(5, 1, dtype="uint8"))
    la.eval(leaf(9, 33, dtype="complex64") * leaf(33, dtype="complex64"))
    la.eval(la.sqrt(leaf(7) * leaf()), leaf(13, 9).T * leaf(9, 13))
    la.eval(la.random.fast.normal(size=50) if hasattr(la.random, "fast") else leaf(3) + 1)


@needs_compiler
def test_bits_of_fused_programs(monkeypatch, tmp_path):
    found = programs(monkeypatch, fused_programs)
    bounds = [(p, cuda.cuda_kernel(p)) for p in found]
    assert len(bounds) > 12 and all(bound is not None for _, bound in bounds)
    shim = Shim(tmp_path, list({b.source.name: b.source.kernels[0] for _, b in bounds}.values()))
    for program, bound in bounds:
        compare(shim, program, bound)


def vectors(sizes):
    """The same program for several shapes: ``x -= rate * g``."""
    for size in sizes:
        x, g, rate = (
            emit_cuda_program.Input("float32", i, (size,), strides)
            for i, strides in enumerate(((4,), (4,), (0,)))
        )
        works = (
            emit_cuda_program.Work(Statement("multiply", ("float32",) * 3, (1, 2))),
            emit_cuda_program.Work(Statement("subtract", ("float32",) * 3, (0, 3))),
        )
        output = emit_cuda_program.Output(4, 3, (size,), (4,))
        yield emit_cuda_program.Described((size,), (x, g, rate), works, (output,), 4)


@needs_compiler
def test_programs_that_differ_in_size_share_a_launch(tmp_path):
    sizes = [5, 1000, 64, 2, 0, 4096, *range(1, 120)]
    parts = emit_cuda.together(list(vectors(sizes)))
    assert sorted(n for _, numbers in parts for n in numbers) == list(range(len(sizes)))
    assert len(parts) == 4  # the empty one, and what has room in a parameter
    assert all(len(bound.block) <= 4096 for bound, _ in parts)
    kernels = {b.source.name: b.source.kernels[0] for b, _ in parts}
    shim = Shim(tmp_path, list(kernels.values()))
    rng = np.random.default_rng(8)
    for bound, numbers in parts:
        operands, expected = [], []
        for n in numbers:
            x, g = (rng.standard_normal(sizes[n]).astype("f4") for _ in range(2))
            rate = np.array([0.5], "f4")
            operands += [x, g, rate, np.zeros_like(x)]
            expected.append(x - rate * g)
        shim.run(bound, *operands)
        for got, wanted in zip(operands[3::4], expected, strict=True):
            assert same_bits(got, wanted)


def test_places_take_64_bits_where_32_are_short():
    def program(count):
        line = emit_cuda_program.Input("float32", 0, (count,), (4,))
        work = emit_cuda_program.Work(Statement("negative", ("float32",) * 2, (0,)))
        return emit_cuda_program.Described(
            (count,), (line,), (work,), (emit_cuda_program.Output(1, 1, (count,), (4,)),), 2
        )

    small, large = (emit_cuda.elements_of(program(n)) for n in (1 << 20, 1 << 31))
    assert "const uint32_t count" in small.source.text
    assert "const int64_t count" in large.source.text


@needs_nvrtc
def test_fused_programs_compile_to_machine_code(monkeypatch):
    bounds = [cuda.cuda_kernel(p) for p in programs(monkeypatch, fused_programs)]
    kernels = {b.source.name: b.source.kernels[0] for b in bounds}
    text = emit_cuda_source.source(list(kernels.values()))
    for capability in {80, 90, 120} & set(nvrtc.architectures()):
        code = nvrtc.compile_source(text, "fused", nvrtc.options(capability))
        assert code.startswith(b"\x7fELF")


@needs_nvrtc
def test_what_does_not_compile_is_shown():
    with pytest.raises(nvrtc.NvrtcError, match=r"(?s)mine.*undeclared.*    1 __global__"):
        nvrtc.compile_source("__global__ void f() { undeclared; }", "mine", nvrtc.options(90))


@needs_nvrtc
def test_compiled_code_is_kept_on_disk(monkeypatch, tmp_path):
    monkeypatch.setenv("LAZYARRAY_CACHE", str(tmp_path))
    text = 'extern "C" __global__ void f(int* x) { *x = 1; }'
    code = nvrtc.compiled(text, "f", 90)
    monkeypatch.setattr(nvrtc, "compile_source", lambda *_: pytest.fail("compiled again"))
    assert nvrtc.compiled(text, "f", 90) == code


@needs_nvrtc
def test_a_newer_gpu_gets_ptx():
    assert nvrtc.target(90) == "--gpu-architecture=sm_90"
    newest = nvrtc.architectures()[-1]
    assert nvrtc.target(newest + 7) == f"--gpu-architecture=compute_{newest}"
    with pytest.raises(nvrtc.NvrtcError, match="older"):
        nvrtc.target(20)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("share", range(8))
def test_bits_of_random_programs(monkeypatch, tmp_path, share):
    """What random NumPy programs become, of those that test_programs.py runs."""

    def run():
        for seed in range(40 * share, 40 * share + 40):
            names = random_programs.run(writer.write(seed), la).names
            for value in names.values():
                if isinstance(value, la.Array):
                    with contextlib.suppress(Exception):  # of a statement that raises
                        value.wait()

    with random_programs.quiet():
        found = programs(monkeypatch, run)
    # Those around an update have operands that the kernel of the part does not see.
    bounds = [(p, cuda.cuda_kernel(p)) for p in found if not p.group.around]
    assert sum(bound is None for _, bound in bounds) < 5
    bounds = [pair for pair in bounds if pair[1] is not None]
    kernels = {k.name: k for _, bound in bounds for k in bound.source.kernels}
    shim = Shim(tmp_path, list(kernels.values()))
    for program, bound in bounds:
        compare(shim, program, bound)


def test_operands_say_how_they_are_aligned():
    """A GPU faults where an address is no multiple of an element's size."""
    shape, strides = (5,), (12,)
    line = emit_cuda_program.Input("complex128", 0, shape, (16,))
    flag = emit_cuda_program.Input("bool", 1, shape, (1,))
    work = emit_cuda_program.Work(Statement("where", ("bool", *("complex128",) * 3), (1, 0, 0)))
    output = emit_cuda_program.Output(2, 2, shape, (16,))
    bound = emit_cuda.elements_of(
        emit_cuda_program.Described(shape, (line, flag), (work,), (output,), 3)
    )
    assert bound.alignments == (8, 1, 8)
    assert bound.aligned((8, 3, 16)) and not bound.aligned((4, 3, 16))
    odd = emit_cuda_program.Input("float64", 0, shape, strides)
    copied = emit_cuda_program.Output(0, 1, shape, (8,))
    assert (
        emit_cuda.elements_of(emit_cuda_program.Described(shape, (odd,), (), (copied,), 2)) is None
    )


@needs_compiler
def test_what_follows_a_product(monkeypatch, tmp_path):
    """A library computes the product; the kernel reads it as its last operand."""
    x, w, b = leaf(96, 64), leaf(64, 48), leaf(48)

    def run():
        la.eval(la.maximum(x @ w + b, 0))

    (program,) = programs(monkeypatch, run)
    assert program.group.product is not None
    bound = cuda.cuda_kernel(program)
    found = emit_cuda_program.described(program)
    rng = np.random.default_rng(11)
    product, bias = (rng.standard_normal(s).astype("f4") for s in ((96, 48), (48,)))
    operands = [np.zeros(2, "f4")] * found.arguments
    for each in found.inputs:
        if each.argument < found.arguments - 1 and each.strides[-1]:
            operands[each.argument] = bias
    operands[-1] = product
    out = operands[found.outputs[0].argument] = np.zeros((96, 48), "f4")
    Shim(tmp_path, list(bound.source.kernels)).run(bound, *operands)
    assert same_bits(out, np.maximum(product + bias, 0))


def test_without_nvrtc(monkeypatch):
    """The error says what to install."""
    monkeypatch.setattr(nvrtc, "places", lambda: ["libnvrtc-that-is-not-there.so"])
    nvrtc.library.cache_clear()
    try:
        assert not nvrtc.available()
        with pytest.raises(nvrtc.NvrtcError, match="pip install"):
            nvrtc.library()
    finally:
        nvrtc.library.cache_clear()
