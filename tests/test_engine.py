"""The engine against a serial oracle: order, exclusion, failures, waits, bounds, units, log."""

import gc
import random
import signal
import sys
import threading
import time
import traceback
import weakref
from collections import Counter
from contextlib import contextmanager, suppress

import pytest
from lazyarray._engine import EngineError, Lane, Var, push, wait, wait_all

from lazyarray import _engine

MODES = [("naive", 1), ("threaded", 1), ("threaded", 2), ("threaded", 8)]
WORD = (1 << 64) - 1


@pytest.fixture(params=MODES, ids=lambda mode: f"{mode[0]}-{mode[1]}")
def mode(request):
    """Run a test on each kind of engine, and leave it quiet and as it was."""
    kind, workers = request.param
    yield from _configured(kind, workers)


@pytest.fixture(params=[1, 2, 8])
def threaded(request):
    """As `mode`, without naive."""
    yield from _configured("threaded", request.param)


@pytest.fixture
def one_worker():
    """A threaded engine with one worker."""
    yield from _configured("threaded", 1)


@pytest.fixture
def two_workers():
    """A threaded engine with two workers."""
    yield from _configured("threaded", 2)


@pytest.fixture
def naive():
    """The naive engine."""
    yield from _configured("naive", 1)


def _configured(kind, workers):
    before = _engine.engine_kind(), _engine.workers(), _engine.bounds()
    _engine.set_engine(kind)
    _engine.set_workers(workers)
    yield kind, workers
    _engine.set_bounds(*before[2])
    wait_all()
    assert _engine.pending() == (0, 0)
    _engine.set_engine(before[0])
    _engine.set_workers(before[1])


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def random_program(seed, tasks, n_vars=100):
    """Random tasks: 2 to 19 reads, 1 to 3 writes, some of them partial updates."""
    rng = random.Random(seed)
    for tag in range(tasks):
        reads = rng.sample(range(n_vars), rng.randint(2, min(19, n_vars - 1)))
        writes = rng.sample(range(n_vars), rng.randint(1, 3))
        yield reads, writes, tag


def hash_into(values, reads, writes, tag):
    h = tag
    for cell in reads:
        h = mix(h ^ values[cell])
    for i, cell in enumerate(writes):
        values[cell] = mix((h + i) & WORD)


def serial(program, n_vars=100):
    values = [0] * n_vars
    versions = [0] * n_vars
    for reads, writes, tag in program:
        hash_into(values, reads, writes, tag)
        for cell in writes:
            versions[cell] += 1
    return values, versions


# --- Order and exclusion ---


@pytest.mark.parametrize("seed", range(5))
def test_native_tasks_equal_the_serial_run(mode, seed):
    program = list(random_program(seed, 10_000))
    cells = _engine._Cells(100)
    for reads, writes, tag in program:
        cells.push(reads, writes, tag, spin_ns=500 * (tag % 7 == 0), priority=tag % 3 - 1)
    values, versions = serial(program)
    assert [cells.value(i) for i in range(100)] == values
    assert [var.version for var in cells.vars] == versions
    wait_all()
    assert cells.clashes == 0
    assert all(var.idle for var in cells.vars)


@pytest.mark.parametrize("seed", range(2))
def test_python_tasks_equal_the_serial_run(mode, seed):
    program = list(random_program(100 + seed, 1_500))
    values, users, clashes = [0] * 100, Counter(), []
    variables = [Var() for _ in range(100)]

    def task(reads, writes, tag):
        for cell in set(reads) - set(writes):
            users[cell] += 1
        for cell in writes:
            clashes.extend([cell] * users[cell])
            users[cell] += 1000
        hash_into(values, reads, writes, tag)
        for cell in set(reads) - set(writes):
            users[cell] -= 1
        for cell in writes:
            users[cell] -= 1000

    for args in program:
        reads, writes, _ = args
        push(
            lambda args=args: task(*args),
            [variables[i] for i in reads],
            [variables[i] for i in writes],
        )
    wait(*variables)
    expected, versions = serial(program)
    assert values == expected
    assert [var.version for var in variables] == versions
    assert not clashes


def test_native_and_python_tasks_mix(mode):
    cells = _engine._Cells(4)
    seen = []
    for tag in range(300):
        cells.push([0, 1], [2], tag)
        push(lambda: seen.append(1), [cells.vars[2]], [cells.vars[3]])
        cells.push([3], [0], tag)
    wait_all()
    assert len(seen) == 300
    assert [var.version for var in cells.vars] == [300, 0, 300, 300]


def test_pushes_from_four_threads_on_crossing_pairs_end(mode):
    pushes = 50_000
    cells = _engine._Cells(8)
    start = threading.Barrier(4)

    def pusher(seed):
        rng = random.Random(seed)
        start.wait()
        for tag in range(pushes):
            a, b = rng.sample(range(8), 2)
            cells.push([a, b] if tag % 2 else [], [b, a], tag)

    threads = [threading.Thread(target=pusher, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_all()
    assert sum(var.version for var in cells.vars) == 4 * pushes * 2
    assert cells.clashes == 0


def test_settling_waits_for_readers_too(mode):
    cells = _engine._Cells(2)
    for tag in range(200):
        cells.push([], [0], tag)
        cells.push([0], [1], tag, spin_ns=2_000)
        cells.settle(0)
        assert cells.vars[0].idle
        cells.value(1)
        assert cells.vars[1].idle
    cells.push([], [0], 1, code=3)
    with pytest.raises(ValueError, match="failed with 3"):
        cells.settle(0)


def test_duplicate_vars_count_once(mode):
    a, b = Var(), Var()
    push(lambda: None, [a, a, b, b], [b, b])
    wait(b)
    assert (a.version, b.version) == (0, 1)
    push(lambda: None, [a] * 50, [b] * 50)
    wait(b)
    assert b.version == 2


def test_a_var_may_be_dropped_while_tasks_use_it(mode):
    ran = []
    for i in range(200):
        var = Var()
        push(lambda i=i: ran.append(i), writes=[var])
        push(lambda i=i: ran.append(i), reads=[var])
        del var
    wait_all()
    assert len(ran) == 400


def test_priority_is_honoured_among_ready_tasks(one_worker):
    order = []
    with held_worker():
        for i in range(6):
            push(lambda i=i: order.append(i), priority=i % 3)
    wait_all()
    assert order == [2, 5, 1, 4, 0, 3]


@contextmanager
def held_worker():
    """Keep one worker in a task until the end of the block."""
    started, gate = threading.Event(), threading.Event()

    def hold():
        started.set()
        gate.wait()

    push(hold)
    started.wait()
    try:
        yield
    finally:
        gate.set()


def test_at_most_as_many_tasks_as_workers_run_at_once(threaded):
    running, most, lock = 0, 0, threading.Lock()

    def task():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        for _ in range(50):
            time.sleep(0)  # offers the GIL, so that others could be seen running
        with lock:
            running -= 1

    for _ in range(200):
        push(task)
    wait_all()
    assert 1 <= most <= threaded[1]


# --- Failures ---


class LocatedError(ValueError):
    def __init__(self, file, line):
        super().__init__(f"bad value at {file}:{line}")
        self.file, self.line = file, line


def fail():
    raise LocatedError("train.py", 41)


def nop():
    pass


def caught(*variables):
    with pytest.raises(Exception) as info:
        wait(*variables)
    return info.value


def test_a_failure_reaches_every_dependant_every_time(mode):
    a, b, c, other = Var(), Var(), Var(), Var()
    ran = []
    push(fail, writes=[a], name="division")
    push(lambda: ran.append("b"), [a], [b])
    push(lambda: ran.append("c"), [b, other], [c])
    push(lambda: ran.append("other"), writes=[other])
    for _ in range(3):
        for var in (a, b, c):
            error = caught(var)
            assert type(error) is LocatedError
            assert str(error) == "bad value at train.py:41"
            assert (error.file, error.line) == ("train.py", 41)
            (note,) = error.__notes__
            assert note.startswith("In division, pushed at ") and "test_engine.py:" in note
            assert "fail" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    wait(other)
    assert ran == ["other"]
    assert a.poisoned and b.poisoned and c.poisoned and not other.poisoned
    # Overwriting cleans; what was computed from the old value stays failed.
    push(nop, writes=[a])
    push(lambda: ran.append("again"), [a], [b])
    wait(a, b)
    assert ran == ["other", "again"]
    assert type(caught(c)) is LocatedError
    push(nop, writes=[c])
    wait(c)


def test_a_partial_update_of_a_failed_var_stays_failed(mode):
    a = Var()
    ran = []
    push(fail, writes=[a])
    push(lambda: ran.append(1), [a], [a])
    assert type(caught(a)) is LocatedError
    assert not ran
    assert a.version == 2
    push(nop, writes=[a])
    wait(a)


def test_all_writes_of_a_failed_task_are_failed_and_readers_of_the_old_value_are_not(mode):
    a, b, c, kept = Var(), Var(), Var(), Var()
    push(nop, writes=[a, b])
    push(nop, [a], [kept])
    push(fail, [], [a, b, c])
    wait(kept)
    assert {type(caught(var)) for var in (a, b, c)} == {LocatedError}


def test_the_first_of_two_failures_in_argument_order_is_passed_on(mode):
    def other():
        raise KeyError("other")

    for _ in range(20):
        a, b, c = Var(), Var(), Var()
        push(other, writes=[b])
        push(fail, writes=[a])
        push(nop, [a, b], [c])
        assert type(caught(c)) is LocatedError
        assert type(caught(b)) is KeyError


def test_wait_all_reports_each_root_once(mode):
    a, b, c, d = (Var() for _ in range(4))
    push(fail, writes=[a])
    push(nop, [a], [b])
    push(lambda: 1 // 0, writes=[c])
    push(lambda: {}["x"], writes=[d])
    assert type(caught(d)) is KeyError
    with pytest.raises(ExceptionGroup) as info:
        wait_all()
    assert [type(error) for error in info.value.exceptions] == [LocatedError, ZeroDivisionError]
    wait_all()
    assert type(caught(b)) is LocatedError
    wait_all()


def test_wait_all_reports_what_was_overwritten_meanwhile(mode):
    a = Var()
    push(fail, writes=[a])
    push(nop, writes=[a])
    wait(a)
    with pytest.raises(ExceptionGroup):
        wait_all()


def test_many_unreported_failures_are_bounded_and_counted(mode):
    for _ in range(3_000):
        push(fail)
    with pytest.raises(ExceptionGroup, match="more are not kept") as info:
        wait_all()
    assert 0 < len(info.value.exceptions) < 3_000


def test_an_exit_or_interrupt_raised_in_a_task_is_a_failure_of_its_vars(threaded):
    a = Var()
    push(sys.exit, writes=[a])
    with pytest.raises(SystemExit):
        wait(a)
    push(sys.exit)
    with pytest.raises(BaseExceptionGroup):
        wait_all()


def test_native_failures_are_made_by_their_owner(mode):
    cells = _engine._Cells(3)
    cells.push([], [0], 1, code=7)
    cells.push([0], [1], 2)
    for _ in range(2):
        with pytest.raises(ValueError, match="cell 0 failed with 7"):
            cells.value(1)
    cells.push([], [0], 3)
    cells.push([0], [1], 4)
    assert cells.value(1) == mix(mix(4 ^ cells.value(0)))


def dependent_program(seed, tasks, n_vars):
    """Random tasks that say what depends on what; some fail, some let all depend on all."""
    rng = random.Random(seed)
    for tag in range(tasks):
        reads = rng.choices(range(n_vars), k=rng.randint(0, 6))  # with duplicates
        writes = rng.sample(range(n_vars), rng.randint(1, 5))
        depends = [rng.getrandbits(len(writes)) & rng.getrandbits(len(writes)) for _ in reads]
        if rng.random() < 0.2:
            depends = None
        code = 1 + tag if rng.random() < 0.03 else 0
        yield reads, writes, tag, depends, code


def poison_of(reads, writes, depends, poison):
    """What each written cell inherits: the first failure, written cells before read ones."""
    order = list(dict.fromkeys(writes + reads))
    found = {}
    for target in writes:
        bits = sum(1 << w for w, cell in enumerate(writes) if cell == target)
        causes = {cell for i, cell in enumerate(reads) if depends is None or depends[i] & bits}
        found[target] = next((poison[c] for c in order if c in causes and poison[c]), 0)
    return found


def serial_with_failures(program, n_vars):
    """The values, and in each cell the code of the failure that it carries, or 0."""
    values, poison, ran = [0] * n_vars, [0] * n_vars, 0
    for reads, writes, tag, depends, code in program:
        inherits = poison_of(reads, writes, depends, poison)
        if not all(inherits.values()):
            ran += any(inherits.values())
            bits = depends or [(1 << len(writes)) - 1] * len(reads)
            hashes = []
            for w in range(len(writes)):
                h = tag
                for i, cell in enumerate(reads):
                    if bits[i] >> w & 1:
                        h = mix(h ^ values[cell])
                hashes.append(mix((h + w) & WORD))
            for cell, value in zip(writes, hashes, strict=True):
                values[cell] = value
        else:
            code = 0
        for cell in writes:
            poison[cell] = inherits[cell] or code
    return values, poison, ran


@pytest.mark.parametrize("seed", range(4))
def test_a_failure_reaches_only_what_depends_on_it(mode, seed):
    n_vars = 24
    cells = _engine._Cells(n_vars)
    program = list(dependent_program(seed, 3_000, n_vars))
    spared = 0
    for begin in range(0, len(program), 100):
        for reads, writes, tag, depends, code in program[begin : begin + 100]:
            cells.push(
                reads, writes, tag, depends=depends, code=code, spin_ns=2_000 * (tag % 11 == 0)
            )
        values, poison, spared = serial_with_failures(program[: begin + 100], n_vars)
        for cell in range(n_vars):
            if poison[cell]:
                with pytest.raises(ValueError, match=f"failed with {poison[cell]}$"):
                    cells.value(cell)
            else:
                assert cells.value(cell) == values[cell]
    assert spared > 50
    with pytest.raises(ExceptionGroup):
        wait_all()
    assert cells.clashes == 0


def test_a_partial_update_that_names_itself_stays_failed_and_its_neighbour_does_not(mode):
    cells = _engine._Cells(4)
    cells.push([], [0], 1, code=5)
    cells.push([0, 1], [0, 2], 2, depends=[0b01, 0b11])
    with pytest.raises(ValueError, match="failed with 5"):
        cells.value(0)
    assert cells.value(2) == mix(mix(2 ^ 0) + 1)
    # Read, but not for what replaces it: overwritten, and clean.
    cells.push([0, 1], [0, 3], 3, depends=[0b10, 0b11])
    assert cells.value(0) == mix(mix(3 ^ 0))
    with pytest.raises(ValueError, match="failed with 5"):
        cells.value(3)


def test_many_reads_and_writes_with_dependences(mode):
    cells = _engine._Cells(200)
    cells.push([], [7], 1, code=5)
    reads, writes = list(range(100)), list(range(100, 164))
    cells.push(reads, writes, 2, depends=[1 << i % 64 for i in reads])
    with pytest.raises(ValueError, match="failed with 5"):
        cells.value(107)
    assert not any(cells.vars[i].poisoned for i in writes if i != 107)
    assert cells.value(163) == mix(mix(2 ^ 0) + 63)


def test_a_var_written_twice_inherits_for_both(mode):
    cells = _engine._Cells(4)
    cells.push([], [0], 1, code=5)
    cells.push([0, 1], [2, 3, 2], 2, depends=[0b100, 0b011])
    with pytest.raises(ValueError, match="failed with 5"):
        cells.value(2)
    assert cells.value(3) == mix(mix(2 ^ 0) + 1)


def test_a_task_that_fails_itself_does_not_hide_what_its_writes_inherit(mode):
    cells = _engine._Cells(4)
    cells.push([], [0], 1, code=5)
    cells.push([0, 1], [2, 3], 2, depends=[0b01, 0b10], code=6)
    with pytest.raises(ValueError, match="failed with 5"):
        cells.value(2)
    with pytest.raises(ValueError, match="failed with 6"):
        cells.value(3)


def test_raising_one_failure_often_does_not_grow(mode):
    a = Var()
    push(fail, writes=[a])

    def depth():
        return len(traceback.extract_tb(caught(a).__traceback__))

    first = depth()
    assert {depth() for _ in range(50)} == {first}


def test_failures_do_not_keep_the_locals_of_tasks_or_waiters(mode):
    class Big:
        pass

    a = Var()

    def task(big):
        raise ValueError(type(big).__name__)

    big = Big()
    gone = weakref.ref(big)
    push(lambda big=big: task(big), writes=[a])

    def look():
        local = Big()
        with pytest.raises(ValueError):
            wait(a)
        return weakref.ref(local)

    local = look()
    del big
    gc.collect()
    assert local() is None
    assert gone() is None
    assert a.poisoned


def test_one_failure_raised_in_many_threads(mode):
    a = Var()
    push(fail, writes=[a])
    seen = []

    def look():
        for _ in range(200):
            try:
                wait(a)
            except LocatedError as error:
                seen.append((str(error), len(traceback.extract_tb(error.__traceback__))))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 800 and len(set(seen)) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: OSError(2, "No such file", "data.npz"),
        lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        lambda: ImportError("no", name="numba", path="x.py"),
        lambda: KeyError("x"),
        lambda: LocatedError("a.py", 1),
        lambda: ExceptionGroup("two", [ValueError(1), KeyError(2)]),
        lambda: StopIteration(3),
    ],
    ids=lambda make: type(make()).__name__,
)
def test_a_raised_copy_equals_what_was_raised(mode, make):
    original = make()
    a = Var()

    def task():
        raise original

    push(task, writes=[a])
    error = caught(a)
    assert type(error) is type(original)
    assert error.args == original.args and str(error) == str(original)
    for name in ("errno", "filename", "name", "path", "value", "file", "exceptions", "reason"):
        assert getattr(error, name, None) == getattr(original, name, None)


def test_an_exception_that_cannot_be_copied_is_raised_itself(mode):
    class Odd(Exception):
        __slots__ = ("extra",)

        def __init__(self, extra):
            self.extra = extra

        def __str__(self):
            return f"odd {self.extra}"

    a = Var()
    original = Odd(3)

    def task():
        raise original

    push(task, writes=[a])
    lengths = set()
    for _ in range(3):
        error = caught(a)
        assert str(error) == "odd 3"
        lengths.add(len(traceback.extract_tb(error.__traceback__)))
    assert len(lengths) == 1


# --- Tasks that push and wait ---


def test_a_task_that_waits_inside_does_not_block_the_engine(mode):
    done = []

    def outer(i):
        inner = Var()
        push(lambda: done.append(("inner", i)), writes=[inner])
        wait(inner)
        done.append(("outer", i))

    for i in range(20):
        push(lambda i=i: outer(i))
    wait_all()
    assert sorted(done) == sorted((kind, i) for kind in ("inner", "outer") for i in range(20))
    assert all(done.index(("inner", i)) < done.index(("outer", i)) for i in range(20))


def test_waits_inside_waits(mode):
    def descend(depth):
        if depth:
            below = Var()
            push(lambda: descend(depth - 1), writes=[below])
            wait(below)
        reached.append(depth)

    reached = []
    top = Var()
    push(lambda: descend(30), writes=[top])
    wait(top)
    assert reached == list(range(31))


def test_two_tasks_that_wait_for_each_others_predecessors(mode):
    a, b, done_a, done_b = Var(), Var(), Var(), Var()
    order = []
    push(lambda: order.append("a"), writes=[a])
    push(lambda: order.append("b"), writes=[b])

    def first():
        wait(b)
        order.append("first")

    def second():
        wait(a)
        order.append("second")

    push(first, [a], [done_a])
    push(second, [b], [done_b])
    wait(done_a, done_b)
    assert set(order[:2]) <= {"a", "b", "first"} and sorted(order) == ["a", "b", "first", "second"]


def test_a_wait_that_can_never_end_raises(mode):
    a, b, result = Var(), Var(), Var()

    def task():
        push(nop, [a], [b])
        wait(b)

    push(task, [], [a, result])
    with pytest.raises(EngineError, match="only be done after the task itself"):
        wait(result)
    with pytest.raises(EngineError):
        wait(a)
    assert type(caught(b)) is EngineError
    push(wait_all, writes=[result])
    with pytest.raises(EngineError, match="wait_all"):
        wait(result)


def test_a_task_may_wait_for_its_own_vars(mode):
    a, b = Var(), Var()
    seen = []
    push(nop, writes=[a])
    push(lambda: (wait(a, b), seen.append(1)), [a], [b])
    wait(b)
    assert seen == [1]


def test_wait_all_covers_what_tasks_push(mode):
    seen = []

    def spread(depth):
        if depth:
            push(lambda: spread(depth - 1))
            push(lambda: spread(depth - 1))
        else:
            seen.append(depth)

    push(lambda: spread(6))
    wait_all()
    assert len(seen) == 64


def test_wait_all_ends_while_another_thread_goes_on_pushing(threaded):
    stop = threading.Event()

    def pusher():
        while not stop.is_set():
            push(nop)

    thread = threading.Thread(target=pusher)
    thread.start()
    for _ in range(5):
        wait_all()
    stop.set()
    thread.join()
    wait_all()


def test_wait_ends_while_another_thread_goes_on_writing(threaded):
    stop, var = threading.Event(), Var()

    def pusher():
        while not stop.is_set():
            push(nop, writes=[var])

    thread = threading.Thread(target=pusher)
    thread.start()
    for _ in range(20):
        wait(var)
    stop.set()
    thread.join()


# --- Bounds ---


def test_pushes_wait_at_the_bound(threaded):
    _engine.set_bounds(100, 1 << 40)
    most = 0
    for _ in range(2_000):
        push(nop)
        most = max(most, _engine.pending()[0])
    assert most <= 100


def test_bytes_are_bounded_and_a_larger_task_runs_alone(threaded):
    _engine.set_bounds(1000, 1000)
    alone = []
    most = 0
    for _ in range(50):
        for _ in range(10):
            push(nop, nbytes=150)
            most = max(most, _engine.pending()[1])
        push(lambda: alone.append(_engine.pending()), nbytes=5000)
    wait_all()
    assert most <= 5000
    assert alone == [(1, 5000)] * 50


def test_a_task_pushes_past_the_bound(threaded):
    _engine.set_bounds(2, 10)
    ran = []

    def task():
        for _ in range(20):
            push(lambda: ran.append(1), nbytes=100)

    push(task)
    wait_all()
    assert len(ran) == 20


def test_interrupt_reaches_a_pusher_at_the_bound_and_a_waiter(one_worker):
    _engine.set_bounds(1, 1 << 40)
    var = Var()
    with held_worker():
        for blocked in (lambda: push(nop), wait_all):
            threading.Timer(0.05, signal.raise_signal, [signal.SIGINT]).start()
            with pytest.raises(KeyboardInterrupt):
                blocked()
    push(nop, writes=[var])
    wait(var)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize(
    ("kind", "pushes"),
    [
        ("native", 1_000_000),
        ("python", 100_000),
        pytest.param("python", 1_000_000, marks=pytest.mark.slow),
    ],
)
def test_pushing_without_a_wait_does_not_grow(mode, kind, pushes):
    a, b = Var(), Var()

    def burst(n):
        if kind == "native":
            _engine._push_nothing(n, [a], [b])
        else:
            for _ in range(n):
                push(nop, [a], [b])

    burst(50_000)  # once past the bound
    before = resident()
    burst(pushes)
    assert resident() - before < 8 << 20


# --- Units ---


@pytest.mark.parametrize(
    ("extent", "grain"), [(0, 1), (1, 1), (7, 3), (1000, 1), (1000, 64), (5, 9)]
)
def test_units_run_once_each_and_finish_runs_last(mode, extent, grain):
    cells = _engine._Cells(2)
    expected = 0
    for _ in range(20):
        counts = cells.push_units(0, extent, grain, spin_ns=200)
        cells.push([0], [1], 5)
        expected = (expected * 1000003 + (1 if extent else 0)) & WORD
        assert cells.value(0) == expected
        assert counts() == [1] * extent
        assert cells.value(1) == mix(mix(5 ^ expected))


def test_units_of_one_task_spread_over_workers(threaded):
    _, workers = threaded
    threads = set()
    joined = threading.Event()

    def part(begin, end):
        assert 0 <= begin < end <= 64 and begin % 4 == 0
        threads.add(threading.get_native_id())
        if len(threads) == min(workers, 2):
            joined.set()
        joined.wait()  # the first to come stays until another worker has joined

    push(part, writes=[Var()], extent=64, grain=4)
    wait_all()
    assert 1 <= len(threads) <= workers


def test_the_failure_of_units_is_the_first_in_unit_order(mode):
    def part(begin, end):
        for unit in range(begin, end):
            if unit >= 20:
                raise ValueError(unit)

    for _ in range(50):
        var = Var()
        push(part, writes=[var], extent=64)
        assert caught(var).args == (20,)
    cells = _engine._Cells(1)
    for _ in range(50):
        cells.push_units(0, 500, 1, code=3, fails_at=100)
        with pytest.raises(ValueError, match="failed with 3"):
            cells.value(0)


# --- Lanes, modes, log ---


def test_a_lane_runs_its_tasks_on_its_own_threads(threaded):
    lane = Lane("copies", workers=1)
    assert (lane.name, lane.workers) == ("copies", 1)
    ids = {"cpu": set(), "lane": set()}
    a = Var()
    for _ in range(50):
        push(lambda: ids["cpu"].add(threading.get_native_id()), [], [a])
        push(lambda: ids["lane"].add(threading.get_native_id()), [a], [a], lane=lane)
    wait_all()
    assert len(ids["lane"]) == 1 and not ids["lane"] & ids["cpu"]


def test_naive_runs_at_the_call(naive):
    ran = []
    here = threading.get_native_id()
    push(lambda: ran.append(threading.get_native_id()), writes=[Var()])
    assert ran == [here]
    assert _engine.pending() == (0, 0)
    a = Var()
    push(fail, writes=[a])
    assert a.poisoned
    assert type(caught(a)) is LocatedError


def test_naive_from_many_threads(naive):
    cells = _engine._Cells(4)

    def work(seed):
        rng = random.Random(seed)
        for tag in range(2_000):
            a, b = rng.sample(range(4), 2)
            cells.push([a], [b], tag, spin_ns=1000)
            push(nop, [cells.vars[a]], [cells.vars[b]])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_all()
    assert cells.clashes == 0
    assert sum(var.version for var in cells.vars) == 16_000


def test_naive_task_cannot_wait_for_one_under_it(naive):
    """On one stack: the outer task goes on only when the inner one ends."""
    a, b = Var(), Var()
    push(lambda: push(lambda: wait(a), writes=[b]), writes=[a])
    with pytest.raises(EngineError, match="only be done after the task itself"):
        wait(b)
    wait(a)


def test_naive_tasks_that_wait_for_each_other_end(naive):
    """Threads run others' tasks while they wait: one may lie under what waits for it."""
    cells = _engine._Cells(6)

    def act(rng):
        a, b, c = rng.sample(range(6), 3)

        def inside():
            with suppress(EngineError):
                wait(cells.vars[c])

        kind = rng.randrange(4)
        if kind == 0:
            push(inside, [cells.vars[a]], [cells.vars[b]], rng.choice([-1, 0, 1]))
        elif kind == 1:
            push(inside)
        elif kind == 2:
            push(nop, [cells.vars[a]], [cells.vars[b]], rng.choice([-1, 0, 1]))
        else:
            cells.settle(a)

    def work(seed):
        rng = random.Random(seed)
        for _ in range(3_000):
            act(rng)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_all()
    assert _engine.pending() == (0, 0)


def test_switching_workers_and_kind_while_tasks_run(two_workers):
    cells = _engine._Cells(10)
    program = list(random_program(7, 3_000, 10))
    for i, (reads, writes, tag) in enumerate(program):
        if i % 500 == 0:
            _engine.set_engine(("threaded", "naive")[i // 500 % 2])
        if i % 300 == 0:
            _engine.set_workers(1 + i // 300 % 4)
        cells.push(reads, writes, tag)
    assert [cells.value(i) for i in range(10)] == serial(program, 10)[0]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: _engine.set_engine("fast"), "naive"),
        (lambda: _engine.set_workers(0), "at least 1"),
        (lambda: _engine.set_bounds(0, 1), "at least 1"),
        (lambda: Lane("x", workers=0), "at least 1"),
    ],
)
def test_bad_settings(call, match):
    with pytest.raises(EngineError, match=match):
        call()


def test_bad_pushes():
    with pytest.raises(TypeError):
        push(3)
    with pytest.raises(TypeError):
        push(nop, [3])
    with pytest.raises(TypeError):
        push(nop, lane="cpu")
    with pytest.raises(ValueError, match="grain"):
        push(nop, extent=3, grain=0)
    with pytest.raises(ValueError, match="nbytes"):
        push(nop, nbytes=-1)
    assert _engine.pending() == (0, 0)


def test_the_log_tells_the_story(mode):
    a, b = Var(), Var()
    _engine.start_log()
    before = time.monotonic_ns()
    push(nop, writes=[a], name="make a")
    push(nop, [a], [b])
    push(nop, [b], [b], name="update b")
    wait(b)
    wait_all()
    events = _engine.stop_log()
    after = time.monotonic_ns()
    assert Counter(event.kind for event in events) == dict(push=3, ready=3, start=3, end=3)
    assert all(before <= event.time <= after for event in events)
    by_task = {}
    for event in events:
        by_task.setdefault(event.task, []).append(event)
    first, second, third = (by_task[task] for task in sorted(by_task))
    assert [event.kind for event in first] == ["push", "ready", "start", "end"]
    assert {event.name for event in first} == {"make a"}
    assert {event.name for event in second} == {"nop"}
    for story, reads, writes in (
        (first, (), ((a.number, 1),)),
        (second, ((a.number, 1),), ((b.number, 1),)),
        (third, ((b.number, 1),), ((b.number, 2),)),
    ):
        for event in story:
            expected = (reads, writes) if event.kind in ("push", "start") else ((), ())
            assert (event.reads, event.writes) == expected
    times = {event.kind: event.time for event in second}
    assert times["end"] <= min(e.time for e in third if e.kind == "start")
    push(nop)
    wait_all()
    assert _engine.stop_log() == []


def test_the_log_is_bounded(mode):
    _engine.start_log(10)
    for _ in range(100):
        push(nop)
    wait_all()
    assert len(_engine.stop_log()) == 10


def test_what_finished_native_tasks_own_is_released_without_a_push_or_wait(threaded):
    cells = _engine._Cells(1)
    gone = weakref.ref(cells)
    cells.push([], [0], 1)
    var = cells.vars[0]
    wait(var)
    del cells, var
    wait_all()
    gc.collect()
    assert gone() is None


def test_thread_locals_stay_between_tasks_of_a_worker(one_worker):
    local = threading.local()
    seen = []

    def task():
        local.count = getattr(local, "count", 0) + 1
        seen.append(local.count)

    for _ in range(10):
        push(task)
        wait_all()
    assert seen == list(range(1, 11))


@pytest.mark.parametrize(
    "kinds",
    [("naive", "threaded", "threaded"), ("naive", "naive", "threaded")],
    ids=["mostly threaded", "mostly naive"],
)
def test_anything_at_once(two_workers, kinds):
    """Three threads do at random all that the engine offers; it ends, quiet, without a clash."""
    do_anything_at_once(kinds, 5_000, 0)


@pytest.mark.slow
def test_anything_at_once_often(two_workers):
    """As above, with the starts of many runs, where waits in the naive engine meet."""
    for run in range(40):
        do_anything_at_once(("naive", "naive", "threaded"), 3_000, 1 + run)
        _engine.set_bounds(10_000, 1 << 40)
        _engine.set_workers(2)


def do_anything_at_once(kinds, actions, run):
    cells, lane = _engine._Cells(12), Lane("side", workers=2)
    errors = (ValueError, ZeroDivisionError, EngineError)

    def quietly(call, *args):
        try:
            call(*args)
        except errors:
            pass
        except BaseExceptionGroup as group:
            assert group.subgroup(errors) is not None

    def act(rng, seed):
        a, b, c = rng.sample(range(12), 3)
        read, write = [cells.vars[a]], [cells.vars[b]]

        def inside():
            fresh = Var()
            push(nop, writes=[fresh])
            wait(fresh)
            quietly(wait, cells.vars[c])

        kind = rng.randrange(100)
        if kind < 40:
            cells.push([a], [b], 1, spin_ns=rng.choice([0, 0, 5000]), code=kind == 0, nbytes=10)
        elif kind < 50:
            cells.push_units(a, rng.choice([0, 1, 10, 300]), rng.choice([1, 7]), spin_ns=200)
        elif kind < 60:
            push(nop, read, write, rng.choice([-1, 0, 1]), rng.choice([None, lane]))
        elif kind < 65:
            push(inside, read, write)
        elif kind < 70:
            push(inside)
        elif kind < 73:
            push(lambda: 1 // 0, read, write)
        elif kind < 78:
            push(lambda begin, end: None, read, write, extent=rng.choice([0, 5, 50]), grain=3)
        elif kind < 84:
            push(nop, writes=[cells.vars[a], cells.vars[b]])
        elif kind < 92:
            quietly(wait, cells.vars[a])
        elif kind < 95:
            quietly(cells.settle, a)
        elif kind < 97:
            quietly(wait_all)
        elif seed == 0:
            _engine.set_workers(rng.choice([1, 2, 3, 8]))
            _engine.set_bounds(rng.choice([1, 5, 100, 10_000]), rng.choice([5, 100, 1 << 40]))
            _engine.set_engine(rng.choice(kinds))

    def work(seed):
        rng = random.Random(1_000 * run + seed)
        for _ in range(actions):
            act(rng, seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    quietly(wait_all)
    assert _engine.pending() == (0, 0)
    assert cells.clashes == 0
