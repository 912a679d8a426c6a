"""For tests of CUDA sources: compile them by NVRTC, run them on the CPU by the shim."""

import ctypes
import hashlib
import itertools
import shutil
import subprocess
import threading
from pathlib import Path

import loops
import numpy as np
import pytest

from lazyarray import _bind, _ir, assign, steps
from lazyarray.codegen import emit_cuda_program, emit_cuda_scalars, emit_cuda_source, nvrtc
from lazyarray.codegen.sweep import Statement
from lazyarray.ops.define import Elementwise

SHIM = Path(__file__).parent / "cuda_shim"
FLAGS = ("-std=c++17", "-O1", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-w",
         "-fPIC", "-shared", "-include", "cuda_shim.hpp")  # fmt: skip
# Headers whose functions wait for other threads.
FIBERS = {"cuda_folds.hpp", "cuda_moves.hpp"}

needs_nvrtc = pytest.mark.skipif(
    not nvrtc.available(), reason="NVRTC is not there: pip install nvidia-cuda-nvrtc"
)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not there")


class Shim:
    """Kernels compiled by the host compiler."""

    def __init__(self, folder, kernels):
        text = emit_cuda_source.source(kernels)
        for kernel in kernels:
            fibered = str(not FIBERS.isdisjoint(kernel.headers)).lower()
            text += (
                f'extern "C" void run_{kernel.name}(const void* p, const unsigned* grid, '
                f"const unsigned* threads) {{ shim::launch([&] {{ {kernel.name}("
                f"*(const {kernel.name}_parameters*)p); }}, grid, threads, {fibered}); }}\n"
            )
        self.library = built(folder, text)

    def run(self, bound, *arrays):
        """Run what a Bound launches over arrays' memory."""
        addresses = [x.__array_interface__["data"][0] for x in arrays]
        scratch = np.zeros(bound.scratch + 16, np.uint8)
        if bound.scratch:
            at = scratch.__array_interface__["data"][0]
            addresses.append((at + 15) & ~15)
        block = bound.parameters(addresses)
        for launch in bound.launches:
            sizes = [(ctypes.c_uint * 3)(*each) for each in (launch.grid, launch.block)]
            getattr(self.library, f"run_{launch.kernel}")(block, *sizes)


def built(folder, text):
    """The library of a text for the host compiler."""
    stem = hashlib.sha256(text.encode()).hexdigest()[:16]
    library = folder / f"{stem}.so"
    if not library.exists():
        # One that another thread has loaded, and runs, is never written to.
        mine = folder / f"{stem}_{threading.get_ident()}"
        source, made = mine.with_suffix(".cpp"), mine.with_suffix(".so")
        source.write_text(text)
        command = ["g++", *FLAGS, f"-I{SHIM}", str(source), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert not done.returncode, done.stderr[:8000]
        made.replace(library)
    # The GIL is kept: what a stand-in's stream has not done yet, no other thread may free.
    return ctypes.PyDLL(str(library))


CALLER = """
namespace shim {
template <class... P, size_t... I>
void call(void (*kernel)(P...), void** own, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<P>*)own[I]...);
}
template <class... P>
void start(void (*kernel)(P...), void** own, const unsigned* grid, const unsigned* threads) {
    launch([&] { call(kernel, own, std::index_sequence_for<P...>{}); }, grid, threads, true);
}
}
"""


def compiled_source(folder, text, name):
    """The library of a user's source; its function takes the places of the parameters."""
    caller = (
        f'extern "C" void run_{name}(void** own, const unsigned* grid, const unsigned* threads) '
        f"{{ shim::start({name}, own, grid, threads); }}"
    )
    return built(folder, f"#include <utility>\n{text}\n{CALLER}{caller}\n")


def loops_of_ops(kinds):
    """Every loop of a registered elementwise op for inputs of these types."""
    dtypes = [np.dtype(kind) for kind in kinds]
    nodes = {d: _ir.view(_ir.scalar(d.type(1), d), (2,), (0,)) for d in dtypes}
    found = {}
    for _, op in sorted(_ir.registry.items()):
        if not isinstance(op, Elementwise) or not op.nin:
            continue
        for own in itertools.product(dtypes, repeat=op.nin):
            try:
                node = op(*(nodes[d] for d in own))
            except (TypeError, ValueError):
                continue
            if getattr(node, "op", None) is not op:
                continue
            loop = op.loop([i.dtype for i in node.inputs], node.dtype)
            if loop is not None and loop.nout == 1:
                found[loop.name, loop.dtypes] = loop
    return list(found.values())


def one_loop(loop, shape, strides=None):
    """A program of one loop over arrays of one shape."""
    kinds = [str(d) for d in loop.dtypes]
    strides = strides or [c_strides(shape, d.itemsize) for d in loop.dtypes]
    inputs = tuple(
        emit_cuda_program.Input(kind, i, shape, strides[i]) for i, kind in enumerate(kinds[:-1])
    )
    count = len(inputs)
    work = emit_cuda_program.Work(Statement(loop.name, tuple(kinds), tuple(range(count))))
    output = emit_cuda_program.Output(count, count, shape, strides[count])
    return emit_cuda_program.Described(shape, inputs, (work,), (output,), count + 1)


def c_strides(shape, size):
    return tuple(np.cumprod([size, *reversed(shape[1:])])[::-1].tolist()) if shape else ()


def programs(monkeypatch, run):
    """The programs (steps.Steps) that become kernels while `run` runs."""
    found = []

    class Kept(steps.Steps):
        def recipe(self):
            found.append(self)
            return super().recipe()

    with monkeypatch.context() as patch:
        patch.setattr(assign, "Steps", Kept)
        _bind.clear_plans()
        with np.errstate(all="ignore"):
            run()
        _bind.clear_plans()
    return found


def buffer(rng, kind, shape, strides):
    """Memory that holds an operand, and where its first element is."""
    size = emit_cuda_scalars.size_of(kind)
    reach = [(n - 1) * s for n, s in zip(shape, strides, strict=True) if n]
    low, high = sum(r for r in reach if r < 0), sum(r for r in reach if r > 0) + size
    count = -(-(high - low) // size)
    if 0 in shape:
        low, count = 0, 1
    return moderate(rng, kind, count).view(np.uint8), -low


def moderate(rng, kind, count):
    """Numbers with the special ones among them; integers where sums do not all wrap."""
    return loops.sample(rng, kind, count)


def at(memory, offset):
    """An array whose data begins within another one's."""
    return memory[offset:]


def compare(shim, program, bound, seed=0):
    """The CPU's kernel and the CUDA kernels write the same bytes, any NaN equal to any NaN."""
    rng = np.random.default_rng(seed)
    found = emit_cuda_program.described(program)
    operands = [None] * found.arguments
    for each in found.inputs:
        if each.argument >= 0 and operands[each.argument] is None:
            operands[each.argument] = buffer(rng, each.kind, each.shape, each.strides)
    for each in found.outputs:
        memory, start = buffer(rng, found.kind_of(each.value), each.shape, each.strides)
        operands[each.argument] = memory * 0 + 0x5A, start
    other = [(memory.copy(), start) for memory, start in operands]
    with np.errstate(all="ignore"):
        program.recipe().kernel().call(*(at(*each) for each in operands))
    shim.run(bound, *(at(*each) for each in other))
    for each in found.outputs:
        dtype = np.dtype(found.kind_of(each.value))
        cpu, cuda = (pair[each.argument][0].view(dtype) for pair in (operands, other))
        if bound.source.ulp:  # what is rounded elsewhere may differ by more
            alike = np.isclose(cpu, cuda, rtol=1e-3 if dtype.itemsize < 8 else 1e-5, equal_nan=True)
            assert alike.mean() > 0.95, f"{bound.source.name}: {program.label()}"
        else:
            differ = [] if loops.same_bits(cpu, cuda) else np.flatnonzero(cpu != cuda)[:5]
            assert loops.same_bits(cpu, cuda), (
                f"{bound.source.name}: {program.label()} at {differ}: {cpu[differ]}, {cuda[differ]}"
            )
