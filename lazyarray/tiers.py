"""Tier 1: kernels that are hot get compiled loops, in the background.

A kernel starts as a program of C loops (tier 0). When its plan is hot, a thread of this process
looks up each run of its loops, on disk and then with the helper process, and swaps a kernel of the
compiled loops into the plan. Both tiers give the same bits; no one waits for a compiler, except
under LAZYARRAY_TIER=1, which is for tests: there a plan is compiled before it first runs.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lazyarray.codegen import cache, loader
from lazyarray.codegen.fused import Run, compress
from lazyarray.codegen.service import HelperError, Service
from lazyarray.codegen.sweep import Sweep, expression, keeps_flags, listing, plain
from lazyarray.errors import OptionError, require

from .plan import Program, Recipe, Task

NEVER, ALWAYS, AUTO = "0", "1", "auto"
MODES = (NEVER, ALWAYS, AUTO)

# Estimated kernel time, in nanoseconds, from which compiling pays: it takes the helper process
# about a second, which it takes from nobody, and the loops are two to five times as fast.
FIRST_HEAT = 10_000_000  # of one run
HEAT = 200_000  # of two runs or more
LOOK_HEAT = 1_000_000  # of one run, to look on disk when a plan is made
NO_HEAT = 1 << 62  # more than any plan has

LOOPS = 4096  # kept in memory for plans to come
REQUESTS = 256  # that wait; a plan whose request finds no room asks again when it is hotter
IDLE_SECONDS = 60.0  # until the helper process, which holds 150 MB, is ended


@dataclass(order=True, slots=True)
class Request:
    """A plan whose kernels are wanted in tier 1."""

    urgency: float
    turn: int
    program: Program = field(compare=False)
    sites: list[Any] = field(compare=False)  # where each task's op was recorded
    swap: Callable[[int, Any], None] = field(compare=False)  # (task, kernel)
    compiling: bool = field(compare=False)  # or only what is on disk
    done: threading.Event | None = field(compare=False, default=None)


class State:
    """What the thread and the others share."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.loops: dict[Sweep, Any] = {}  # None: it cannot be compiled
        self.requests: queue.PriorityQueue[Request] = queue.PriorityQueue()
        self.current: Request | None = None
        self.thread: threading.Thread | None = None
        self.service = Service()
        self.closing = False
        self.counts: dict[str, float] = dict.fromkeys(
            ("compiled", "compile_failures", "cache_hits", "swaps", "compile_seconds"), 0
        )


def mode_of(name: str) -> str:
    """Check the name of a mode."""
    require(name in MODES, OptionError, "LAZYARRAY_TIER", f"expected 0, 1 or auto, got {name!r}")
    return name


state = State(mode_of(os.environ.get("LAZYARRAY_TIER", AUTO)))
turns = itertools.count()
starting = threading.Lock()
complaints: list[tuple[str, Any]] = []  # (message, site): to be warned of by the user's thread


def set_mode(name: str) -> str:
    """Choose "0" (never compile), "1" (compile before a plan runs) or "auto"; the mode before."""
    before, state.mode = state.mode, mode_of(name)
    return before


def can_gain(task: Task) -> bool:
    """Whether a task's kernel may have loops that can be computed together."""
    return task.tier == 0 and task.recipe is not None and len(task.recipe.steps) > 1


# ---- called when plans are made and run


def first_heat(program: Program) -> int:
    """The heat from which a new plan is to be reported by `heated`."""
    hopeless = state.mode != AUTO or not any(map(can_gain, program.tasks))
    return NO_HEAT if hopeless else FIRST_HEAT


def improve(program: Program, sites: list[Any]) -> None:
    """Give a program that was just lowered the compiled loops that are there."""
    if state.mode == NEVER:
        return
    if state.mode == ALWAYS and any(map(can_gain, program.tasks)):
        done = threading.Event()
        ask(Request(-1.0, next(turns), program, sites, ignore, True, done))
        done.wait()
    if state.loops:
        for task in program.tasks:
            kernel = improved(task)
            if kernel is not None:
                task.kernel = kernel
                task.tier = 1


def look(program: Program, sites: list[Any], swap: Callable[[int, Any], None]) -> None:
    """Let the thread load what is on disk for a program whose kernels take long."""
    if state.mode == AUTO and any(map(can_gain, program.tasks)):
        ask(Request(-1.0, next(turns), program, sites, swap, False))


def heated(program: Program, sites: list[Any], heat: int, swap: Callable[[int, Any], None]) -> int:
    """Let the thread compile for a program that is hot; the heat at which to report it again."""
    if state.mode != AUTO or not any(map(can_gain, program.tasks)):
        return NO_HEAT
    if state.requests.qsize() >= REQUESTS:
        return 4 * heat
    ask(Request(1.0 / heat, next(turns), program, sites, swap, True))
    return NO_HEAT


def ignore(index: int, kernel: Any) -> None:
    """Leave the kernel to `improve`."""


def ask(request: Request) -> None:
    """Hand a request to the thread, started when there is none."""
    state.requests.put(request)
    with starting:
        if state.thread is None and not state.closing:
            state.thread = threading.Thread(
                target=serve, args=(state,), name="lazyarray-tiers", daemon=True
            )
            state.thread.start()


def settle() -> None:
    """Wait until every request so far is done."""
    done = threading.Event()
    ask(Request(math.inf, next(turns), Program([], []), [], ignore, False, done))
    done.wait()


def counters() -> dict[str, float]:
    """Counts since the process started."""
    return dict(state.counts)


# ---- the thread


def serve(state: State) -> None:
    """Work on requests, the hottest first."""
    while not state.closing:
        try:
            request = state.requests.get(timeout=IDLE_SECONDS if state.service.process else None)
        except queue.Empty:
            state.service.stop()
            continue
        state.current = request
        try:
            fulfil(request)
        except Exception as error:
            complaints.append((f"compiling failed: {error!r}", (None, 0)))
        finally:
            state.current = None
            if request.done is not None:
                request.done.set()


def fulfil(request: Request) -> None:
    """Get the loops of each task, and swap its kernel."""
    for index, task in enumerate(request.program.tasks):
        if state.closing:
            return
        if not can_gain(task):
            continue
        for sweep in sweeps_of(task.recipe):
            obtain(sweep, request.sites[index], request.compiling)
        kernel = improved(task)
        if kernel is not None:
            request.swap(index, kernel)
            state.counts["swaps"] += 1


def sweeps_of(recipe: Recipe | None) -> Iterator[Sweep]:
    """The sweeps that a recipe is best made of; then those of its loops, where one has failed."""
    compiled = recipe.compiled() if recipe is not None and recipe.compiled is not None else None
    if compiled is not None:
        yield from compiled.sweeps
        if all(state.loops.get(sweep) for sweep in compiled.sweeps):
            return
    yield from (part.sweep for part in parts_of(recipe) if isinstance(part, Run))


def parts_of(recipe: Recipe | None) -> list[Any]:
    """The steps of a recipe, with runs of them put together."""
    return compress(recipe.steps, recipe.results, recipe.uniform) if recipe is not None else []


def improved(task: Task) -> Any:
    """The kernel of a task made of the compiled loops there are, or None."""
    recipe = task.recipe
    if recipe is None or not can_gain(task):
        return None
    compiled = recipe.compiled() if recipe.compiled is not None else None
    if compiled is not None:
        if not all(sweep in state.loops for sweep in compiled.sweeps):
            return None  # the rest may still be compiled
        loops = [state.loops[sweep] for sweep in compiled.sweeps]
        if all(loops):
            task.exact = all(map(keeps_flags, compiled.sweeps))
            return compiled.kernel(loops)
    parts = parts_of(recipe)
    runs = [part for part in parts if isinstance(part, Run)]
    if not any(state.loops.get(run.sweep) for run in runs):
        return None
    if not all(run.sweep in state.loops for run in runs):
        return None  # the rest may still be compiled
    task.exact = all(keeps_flags(run.sweep) for run in runs)
    steps: list[Any] = []
    for part in parts:
        loop = state.loops.get(part.sweep) if isinstance(part, Run) else None
        if loop is not None:
            steps.append((loop, part.reads, part.writes))
        else:
            steps += part.steps if isinstance(part, Run) else [part]
    used = set(recipe.results)
    for _, reads, writes in steps:
        used.update(reads, writes)
    # A register that held what is now a register of the processor takes no room in the cache.
    temporary = {register for _, _, writes in recipe.steps for register in writes} - used
    sizes = [0 if i in temporary else size for i, size in enumerate(recipe.registers)]
    return recipe.make(sizes, steps)


def obtain(sweep: Sweep, site: Any, compiling: bool) -> None:
    """Find the loop of a sweep in memory, on disk, or by compiling it."""
    if sweep in state.loops:
        return
    try:
        key = cache.key_of(versions(), loader.target(), repr(sweep))
        loop = on_disk(sweep, key)
        if loop is None:
            if not compiling or state.service.absent:
                return
            loop = compiled(sweep, key)
    except ImportError:  # no llvmlite
        state.mode = NEVER
        return
    except HelperError:
        loop = None
        state.counts["compile_failures"] += 1
    except Exception as error:
        loop = None
        state.counts["compile_failures"] += 1
        reason = str(error).strip().rpartition("\n")[2]
        complaints.append((f"{expression(sweep)} stays as it is: {reason}", site))
    while len(state.loops) >= LOOPS:
        state.loops.pop(next(iter(state.loops)))
    state.loops[sweep] = loop


@functools.cache
def versions() -> str:
    """The emitter's sources: another version of them makes another loop of a sweep."""
    sources = sorted(Path(cache.__file__).parent.glob("*.py"))
    return cache.key_of(*(source.read_text() for source in sources))


def on_disk(sweep: Sweep, key: str) -> Any:
    """The loop of a sweep that some process has compiled before."""
    code = cache.get(key)
    if code is None:
        return None
    loop = loaded(sweep, code)
    state.counts["cache_hits"] += 1
    return loop


def compiled(sweep: Sweep, key: str) -> Any:
    """The loop of a sweep, compiled by the helper process."""
    code, seconds = state.service.compile(plain(sweep))
    loop = loaded(sweep, code)
    cache.put(key, code)
    if os.environ.get("LAZYARRAY_SHOW_KERNELS") == "1":
        print(f"# {key}\n{listing(sweep)}", file=sys.stderr)
    state.counts["compiled"] += 1
    state.counts["compile_seconds"] += seconds
    return loop


def loaded(sweep: Sweep, code: bytes) -> Any:
    """The loop of a sweep from its object file."""
    name = "+".join(statement.name for statement in sweep.statements)
    return loader.load(code, name, sweep.types, len(sweep.inputs))


# ---- exit and fork


def close() -> None:
    """End the helper process and, unless it is slow, the thread."""
    state.closing = True
    thread = state.thread
    if thread is not None:
        state.requests.put(Request(-2.0, next(turns), Program([], []), [], ignore, False))
        limit = time.monotonic() + 2.0
        while thread.is_alive() and time.monotonic() < limit:
            process = state.service.process
            if process is not None:
                process.kill()
            thread.join(0.05)
        if thread.is_alive():
            return
    state.service.stop()


def after_in_child() -> None:
    """The thread and its process are the parent's; what it had to do is asked of a new one."""
    global starting
    loader.lock.release()
    starting = threading.Lock()
    waiting = [state.current, *state.requests.queue]
    state.current = None
    state.thread = None
    state.requests = queue.PriorityQueue()
    for request in waiting:
        if request is not None:
            state.requests.put(request)
    state.service.forget()


atexit.register(close)
os.register_at_fork(
    before=loader.lock.acquire,
    after_in_parent=loader.lock.release,
    after_in_child=after_in_child,
)
