"""Plans: which are kept, how much they take, and in which order their tasks run."""

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _bind, _engine, _plan, passes, schedule
from lazyarray.plan import NATIVE

PLENTY = 1 << 40  # bytes


@pytest.fixture
def bounds():
    """Set the bounds of the cache, which is empty at first."""
    _bind.clear_plans()
    before = _bind.bound_plans(1024, PLENTY)
    yield _bind.bound_plans
    _bind.bound_plans(*before)
    _bind.clear_plans()


@pytest.fixture
def programs(monkeypatch):
    """What is lowered, as (graph, program)."""
    found = []
    lower = schedule.lower

    def spy(graph):
        program = lower(graph)
        found.append((graph, program))
        return program

    monkeypatch.setattr(schedule, "lower", spy)
    _bind.clear_plans()
    yield found
    _bind.clear_plans()


def run(size):
    """A program whose structure is its size."""
    return (la.ones(size) + 1).sum().item()


def hits(sizes):
    """For each program whether it found its plan."""
    found = []
    for size in sizes:
        before = la.stats()["lowerings"]
        assert run(size) == 2 * size
        found.append(la.stats()["lowerings"] == before)
    return found


# ---- the cache


def test_plans_used_longest_ago_go_first(bounds):
    run(2)
    per_run = la.stats()["plans"]
    bounds(8 * per_run, PLENTY)
    evictions = la.stats()["plan_evictions"]
    for size in range(3, 10):
        run(size)
    assert la.stats()["plans"] == 8 * per_run
    assert la.stats()["plan_evictions"] == evictions
    assert hits([2, 3]) == [True, True]
    run(10)
    assert la.stats()["plans"] <= 8 * per_run
    assert la.stats()["plan_evictions"] > evictions
    assert hits([2, 3, 10]) == [True, True, True]
    assert hits([4]) == [False]


def test_plans_are_bounded_by_bytes(bounds):
    run(2)
    one = la.stats()["plan_bytes"]
    assert one > 0
    bounds(1024, 10 * one)
    for size in range(3, 100):
        run(size)
        assert la.stats()["plan_bytes"] <= 10 * one
    assert la.stats()["plans"] > la.stats()["plan_bytes"] // one // 2
    assert hits([99, 98]) == [True, True]
    assert hits([3]) == [False]


def test_a_plan_that_takes_more_than_all_may_is_kept_alone(bounds):
    bounds(1024, 0)
    for _ in range(3):
        x = la.ones(3)
        for _ in range(100):
            x = x * 2 - 1
        assert x.tolist() == [1, 1, 1]
    assert la.stats()["plans"] == 1
    run(2)
    assert la.stats()["plans"] == 1


def test_lowering_a_bound_forgets_at_once(bounds):
    for size in range(2, 12):
        run(size)
    before = bounds(4, PLENTY)
    assert before == (1024, PLENTY)
    assert la.stats()["plans"] <= 4
    assert hits([11]) == [True]
    _bind.clear_plans()
    assert la.stats()["plans"] == la.stats()["plan_bytes"] == 0


def test_forgotten_plans_run_to_their_end(bounds):
    bounds(1, 0)
    results = []
    for size in range(2, 60):
        x = la.ones(size * 1000) * 3
        la.eval(x)
        results.append(x)
    assert [x.sum().item() for x in results] == [3000 * size for size in range(2, 60)]


def chain(n=1000):
    x = la.ones(n)
    for _ in range(300):
        x = x * 2 - 1
    return [x]


def many(n=1000):
    x = la.ones(n)
    return [x * i for i in range(200)]


def rows(n=1000):
    x = la.ones((64, n), "float32")
    x = x - x.mean(1, keepdims=True)
    with np.errstate(all="ignore"):
        return [x / (x * x).sum(1, keepdims=True), x @ x.T]


def step(n):
    x, w, v = la.ones((n, 20)), la.full((20, 30), 0.1), la.full((30, 5), 0.1)
    w.attach_grad()
    v.attach_grad()
    with la.autograd.record():
        loss = (la.tanh(la.tanh(x @ w) @ v) ** 2).mean()
    loss.backward()
    return [loss, w - 0.1 * w.grad, v - 0.1 * v.grad]


def stencil(n):
    x = la.zeros(n)
    for _ in range(20):
        x[1:-1] = 0.5 * (x[:-2] + x[2:])
    return [x]


def sums(n):
    return [(la.ones((n, i)) * 2).sum(axis=0) for i in range(2, 12)]


# What forgetting plans gives back to malloc, which with PYTHONMALLOC serves Python's objects too,
# beside what they are said to take; and what of lowering the plans of two programs hold.
TAKEN = """
import ctypes, gc
import lazyarray as la
from lazyarray import _bind
from test_plans import chain, many, rows, step, stencil, sums

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost")]

info = ctypes.CDLL(None).mallinfo2
info.restype = Info

def used():
    gc.collect()
    found = info()
    return found.uordblks + found.hblkhd

kinds = chain, many, rows, step, stencil, sums
la.seterr(all="ignore")
for make in kinds:
    la.eval(*make(99))
for make in kinds:
    _bind.clear_plans()
    for n in range(100, 130):
        la.eval(*make(n))
        la.wait_all()
    said = la.stats()["plan_bytes"]
    before = used()
    _bind.clear_plans()
    print(said / (before - used()))
la.eval(*rows(50), *step(50))
gc.collect()
held = [type(each).__name__ for each in gc.get_objects()]
print(held.count("Plan"), held.count("Lowering") + held.count("Steps"))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc's mallinfo2")
def test_bytes_of_plans_are_what_forgetting_them_frees():
    done = subprocess.run(
        [sys.executable, "-c", TAKEN], cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONMALLOC": "malloc"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *ratios, plans, graphs = map(float, done.stdout.split())
    assert len(ratios) == 6
    assert all(0.75 < ratio < 1.25 for ratio in ratios), ratios
    assert plans > 0 and graphs == 0  # no plan holds the graph that it was made of


def test_bounds_in_the_environment():
    program = """
import lazyarray as la
for size in range(2, 40):
    (la.ones(size) + 1).sum().item()
print(la.stats()["plans"] <= 5, la.stats()["plan_evictions"] > 30)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LAZYARRAY_PLANS": "5"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True"]


# ---- lines that need ever new plans

GROWING = """
import warnings
import lazyarray as la

def total(size):
    x = la.ones(size) * 2
    return x.sum().item()

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for size in range(1, {sizes}):
        assert total(size) == 2 * size
        la.ones(3).sum().item()
for each in caught:
    print(each.category.__name__, each.lineno, each.message)
"""


@pytest.mark.parametrize(
    ("setting", "sizes", "count"), [("5", 20, 6), (None, 270, 257), ("0", 20, 0)]
)
def test_a_line_of_many_variants_is_warned_of_once(tmp_path, setting, sizes, count):
    path = tmp_path / "growing.py"
    path.write_text(GROWING.format(sizes=sizes))
    variables = {k: v for k, v in os.environ.items() if k != "LAZYARRAY_VARIANTS"}
    if setting is not None:
        variables["LAZYARRAY_VARIANTS"] = setting
    done = subprocess.run(
        [sys.executable, path], env=variables, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == (count > 0), done.stdout
    if count:
        assert lines[0].startswith("RuntimeWarning 7 ")
        assert f"in {count} variants" in lines[0]


# ---- control flow that depends on data


def root(xp, a, start):
    """Newton's method to a bound that is looked at in each turn, with a branch."""
    x, turns = start, 0
    while True:
        step = (x * x - a) / (2 * x)
        x = x - step
        turns += 1
        if bool(xp.max(xp.abs(step)) < 1e-12):
            return x, turns
        if float(xp.min(x)) < 1.5:
            x = xp.maximum(x, 1.0 + 1 / turns)


def test_control_flow_that_depends_on_data(bounds):
    for seed in range(3):
        data = np.random.default_rng(seed).random(50) * 9 + 1
        expected, turns = root(np, data, data + 1.0)
        before = la.stats()
        found, ours = root(la, la.array(data), la.array(data + 1.0))
        after = la.stats()
        assert ours == turns
        assert found.numpy().tobytes() == expected.tobytes()
        # Each look ends a flush, and no turn after the first needs plans of its own.
        assert after["flushes"] - before["flushes"] >= turns
        assert after["lowerings"] - before["lowerings"] <= (12 if seed == 0 else 2)


# ---- which task runs first


@pytest.fixture
def two_workers():
    kind, workers = _engine.engine_kind(), _engine.workers()
    _engine.set_engine("threaded")
    _engine.set_workers(2)
    yield
    _engine.set_workers(workers)
    _engine.set_engine(kind)


def chain_behind_many(n=12, size=100_000):
    """Sums along one line, which no two workers can share: many alone, then some in a chain.

    Also the arrays they read, which somebody holds: nobody takes over their memory.
    """
    rng = np.random.default_rng(0)
    arrays = [la.asarray(rng.random(size)) for _ in range(n)]
    first = last = la.asarray(rng.random(size))
    la.eval(*arrays, last)
    found = [la.cumsum(x) for x in arrays]
    for _ in range(n // 2):
        last = la.cumsum(last)
    return [*found, last], [*arrays, first]


def test_a_chain_behind_many_runs_first(two_workers, programs):
    values, _held = chain_behind_many()
    _engine.start_log()
    la.eval(*values)
    for value in values:
        value.wait()
    log = [event for event in _engine.stop_log() if event.name == "cumsum"]
    tasks = programs[-1][1].tasks
    ranks = [task.priority for task in tasks]
    assert len(set(ranks[:12])) == 1
    assert ranks[12:] == sorted(ranks[12:], reverse=True)
    assert ranks[12] > ranks[0]
    pushed = [event.task for event in log if event.kind == "push"]
    rank_of = dict(zip(pushed, ranks, strict=True))
    ready = set()
    for event in log:
        if event.kind == "ready":
            ready.add(event.task)
        elif event.kind == "start":
            assert rank_of[event.task] == max(rank_of[each] for each in ready)
            ready.discard(event.task)


@pytest.mark.parametrize("make", [chain, many, rows])
def test_where_order_gains_nothing_it_is_that_of_recording(two_workers, programs, make):
    la.eval(*make())
    assert all(task.priority == 0 for _, program in programs for task in program.tasks)


def test_large_kernels_are_shared_instead(two_workers, programs):
    x = la.ones((1000, 1000))
    values = [la.sin(x) * i for i in range(6)]
    y = x
    for _ in range(6):
        y = (y @ y) * 0.001
    la.eval(*values, y)
    graph, program = max(programs, key=lambda found: len(found[0].ops))
    assert any(op.kind == NATIVE for op in graph.ops)
    assert all(task.priority == 0 for task in program.tasks)


def test_priorities_change_no_bits(two_workers):
    _bind.clear_plans()
    with passes.chosen("-urgency"):
        expected = [x.numpy().tobytes() for x in chain_behind_many()[0]]
    _bind.clear_plans()
    assert [x.numpy().tobytes() for x in chain_behind_many()[0]] == expected


# ---- one task on all cores, or several on one core each


def starts(log, names):
    """By the name of a task the threads that started it, in order."""
    return [
        (event.name, event.thread) for event in log if event.kind == "start" and event.name in names
    ]


def held_workers():
    """Two tasks that keep both workers until the event is set."""
    release = threading.Event()
    met = threading.Barrier(3)

    def hold():
        met.wait(30)
        release.wait(30)

    for _ in range(2):
        _engine.push(hold, name="hold")
    met.wait(30)
    return release


def test_as_many_kernels_as_workers_run_on_one_core_each(two_workers):
    a, b = la.ones(400_000), la.ones(500_000)
    la.eval(a, b)
    a.wait()
    b.wait()
    x, y = la.sin(a), la.cos(b)
    _engine.start_log()
    release = held_workers()
    la.eval(x)
    la.eval(y)
    release.set()
    x.wait()
    y.wait()
    found = starts(_engine.stop_log(), {"sin", "cos"})
    assert [name for name, _ in found[:2]] == ["sin", "cos"]


def test_one_large_kernel_is_shared(two_workers):
    a = la.ones(2_000_000, "float32").wait()
    for _ in range(100):  # on a busy machine the second worker may come too late
        x = la.sin(a)
        _engine.start_log()
        la.eval(x)
        _engine.wait_all()
        if len({thread for _, thread in starts(_engine.stop_log(), {"sin"})}) > 1:
            return
    pytest.fail("one worker ran all of it")


def test_small_kernels_are_not_shared(two_workers):
    a = la.ones(2_000)
    la.eval(a)
    a.wait()
    values = [la.sin(a) for _ in range(1)]
    _engine.start_log()
    release = held_workers()
    la.eval(*values)
    release.set()
    values[0].wait()
    assert len(starts(_engine.stop_log(), {"sin"})) == 1


# ---- libraries' own threads


def test_blas_has_one_thread_while_host_functions_run(two_workers):
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads():
        found = threadpoolctl.threadpool_info()
        return [lib["num_threads"] for lib in found if lib["user_api"] == "blas"]

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads()
        seen = []
        released = threading.Event()
        hold = _plan.single_threaded

        def first(xp, out):
            released.wait(30)
            seen.append(threads())

        def second(xp, out):
            seen.append(threads())
            released.set()

        for function in (first, second):
            call = _plan.HostCall(function, {"out": None}, [], "linalg.test", None, None)
            _engine.push(call, name="host")
        _engine.wait_all()
        assert hold.inside == 0
        assert seen and all(count == 1 for counts in seen for count in counts)
        assert threads() == before


def test_a_failing_host_function_gives_the_threads_back():
    def fails(xp, out):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        _plan.HostCall(fails, {"out": None}, [], "linalg.test", None, None)()
    assert _plan.single_threaded.inside == 0
