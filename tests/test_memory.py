"""Memory: figures, prediction, the limit, what happens when there is none left, the pool."""

import gc
import itertools
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import programs
import pytest
import writer

import lazyarray as la
from lazyarray import _bind, _engine, _handle, _memory, passes, schedule, sharing
from lazyarray.errors import DTypeError, OptionError, OutOfMemoryError

MB = 1 << 20
HERE = Path(__file__).name


@pytest.fixture(autouse=True)
def clean():
    """Each test starts without garbage and without idle blocks, and leaves no limit behind."""
    gc.collect()
    la.wait_all()
    la.memory.release()
    yield
    assert la.memory.stats()["limit"] is None


def value(nbytes: int) -> la.Array:
    """A float64 array of that size, computed."""
    return (la.arange(nbytes // 8, dtype=float) % 1000).wait()


# ---- figures


def test_figures_add_up():
    before = la.memory.stats()
    x = value(MB)
    now = la.memory.stats()
    assert now["in_use"] - before["in_use"] == MB
    assert now["buffers"] - before["buffers"] == 1
    assert now["reserved"] == now["in_use"] + now["busy"] + now["idle"]
    del x
    after = la.memory.stats()
    assert after["in_use"] == before["in_use"]
    assert after["buffers"] == before["buffers"]
    assert after["idle"] > before["idle"]


def test_release_gives_back_what_lies_idle():
    value(8 * MB)
    value(MB)
    idle, blocks = la.memory.stats()["idle"], la.memory.stats()["blocks"]
    assert idle >= 9 * MB
    assert la.memory.release() == idle
    assert la.memory.stats()["idle"] == 0
    assert la.memory.stats()["blocks"] < blocks
    assert la.memory.release() == 0


def test_peak_is_the_most_at_once():
    la.memory.peak(reset=True)
    base = la.memory.stats()["in_use"]
    x, y = value(4 * MB), value(4 * MB)
    del x, y
    z = value(MB)
    assert la.memory.peak() == base + 8 * MB
    assert la.memory.peak(reset=True) == base + 8 * MB
    assert la.memory.peak() == base + MB
    del z


def test_recorded_and_tape_bytes_are_told():
    x = value(MB)
    y = x + 1
    assert la.memory.stats()["recorded"] >= MB
    y.wait()
    assert la.memory.stats()["recorded"] == 0
    before = la.memory.stats()["tapes"]
    x.attach_grad()
    with la.autograd.record():
        z = la.cumsum(x).wait()
    assert la.memory.stats()["tapes"] - before >= MB
    del y, z


def test_temporaries_nobody_can_reach_are_never_stored():
    x = value(MB)
    before = _memory.stats()["allocated"]
    y = x
    for i in range(30):
        y = la.sqrt(y * y + float(i))
    y.wait()
    assert _memory.stats()["allocated"] - before == MB
    del x, y


# ---- prediction


def chain(x):
    return [la.exp(-x * x) * 0.5 + x]


def two_results(x):
    y = x * 2 + 1
    return [y, la.sqrt(y)]


def softmax(x):
    x = x.reshape(-1, 64)
    e = la.exp(x - x.max(axis=1, keepdims=True))
    return [e / e.sum(axis=1, keepdims=True)]


def moments(x):
    x = x.reshape(64, -1)
    centred = x - x.mean(axis=0)
    return [(centred * centred).mean(axis=0), centred.sum()]


def stencil(x):
    x = x.reshape(512, -1).copy()
    for _ in range(10):
        x[1:-1] = 0.25 * (x[:-2] + x[2:]) + 0.5 * x[1:-1]
    return [x]


def products(x):
    x = x.reshape(512, -1)
    y = la.tanh(x @ x.T)
    return [la.tanh(y @ y) @ x]


def sorted_parts(x):
    return [la.concatenate([la.sort(x)[:1000], la.cumsum(x)])]


def training_step(x):
    x = x.reshape(512, -1)
    w1, w2 = la.full((x.shape[1], 300), 1e-3).wait(), la.full((300, 10), 1e-3).wait()
    w1.attach_grad()
    w2.attach_grad()
    with la.autograd.record():
        loss = (la.tanh(la.tanh(x @ w1) @ w2) ** 2).mean()
    loss.backward()
    return [loss, w1 - 0.1 * w1.grad, w2 - 0.1 * w2.grad]


PROGRAMS = [chain, two_results, softmax, moments, stencil, products, sorted_parts, training_step]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_predicted_peak_is_the_measured_one(program):
    x = value(2 * MB)
    results = program(x)
    la.memory.release()
    predicted = la.memory.needed(*results)
    base, reserved = la.memory.peak(reset=True), la.memory.stats()["reserved"]
    base = la.memory.stats()["in_use"]
    la.eval(*results)
    assert la.memory.peak() - base == predicted > 0
    la.wait_all()
    # Nothing lay idle before: the system gave just as much.
    assert la.memory.stats()["reserved"] - reserved == predicted
    again = program(x)
    assert la.memory.needed(*again) == predicted  # by the cached plan
    assert la.memory.needed(*results) == 0


def compare_prediction(seeds):
    """Of random programs: what evaluating all that they leave behind takes."""
    for seed in seeds:
        lines = [line for line in writer.write(seed) if not line.startswith(("look", "start"))]
        found = programs.run(lines, la).names
        arrays = [x for x in found.values() if isinstance(x, la.Array)]
        predicted = la.memory.needed(*arrays)
        la.memory.peak(reset=True)
        base = la.memory.stats()["in_use"]
        with programs.quiet():
            la.eval(*arrays)
        assert la.memory.peak() - base == predicted, "\n".join([f"seed {seed}", *lines])


@pytest.mark.parametrize("large", [1, sharing.LARGE])
def test_predicted_peak_of_random_programs(large, monkeypatch):
    monkeypatch.setattr(sharing, "LARGE", large)
    _bind.clear_plans()
    compare_prediction(range(100))
    _bind.clear_plans()


@pytest.mark.slow
def test_predicted_peak_of_many_random_programs():
    compare_prediction(range(150, 6_000))


def test_needed_runs_nothing():
    x = value(MB)
    y = x + 1
    flushes = la.stats()["flushes"]
    assert la.memory.needed(y, x) == MB
    assert la.stats()["flushes"] == flushes
    with pytest.raises(DTypeError, match="expected arrays, got int"):
        la.memory.needed(3)


def network(batch, widths):
    """A step of gradients: activations and their gradients of many sizes."""
    x = la.full((batch, widths[0]), 0.01).wait()
    weights = [la.full((m, n), 1e-2).wait() for m, n in itertools.pairwise(widths)]
    for w in weights:
        w.attach_grad()
    with la.autograd.record():
        h = x
        for w in weights:
            h = la.tanh(h @ w)
        loss = (h * h).mean()
    loss.backward()
    return [loss, *(w - 0.1 * w.grad for w in weights)]


def test_large_temporaries_share_buffers():
    """Close to what is wanted at once; without sharing it would be much more."""
    results = network(512, [400, 350, 300, 250, 200, 150, 100])
    graph = _bind.sketch([_handle.storage_node(x) for x in results])[0]
    with passes.chosen("-share"):
        apart = schedule.lower(graph)
    together = schedule.lower(graph)
    assert fresh_bytes(together) < 0.9 * fresh_bytes(apart)
    assert fresh_bytes(together) < 1.25 * most_at_once(apart)
    wanted = [np.array(x).tobytes() for x in results]
    again = network(512, [400, 350, 300, 250, 200, 150, 100])
    with passes.chosen("-share"):
        _bind.clear_plans()
        assert [np.array(x).tobytes() for x in again] == wanted
    _bind.clear_plans()


def fresh_bytes(program):
    return sum(slot.nbytes for slot in program.slots if slot.leaf < 0)


def most_at_once(program):
    """The most bytes of slots that are between their first and last task."""
    kept = {slot for _, slot in program.kept}
    spans = {}
    for turn, task in enumerate(program.tasks):
        for slot in {*task.reads, *task.writes}:
            spans.setdefault(slot, [turn, turn])[1] = turn
    fresh = {s: t for s, t in spans.items() if program.slots[s].leaf < 0}
    return max(
        sum(
            program.slots[s].nbytes
            for s, (first, last) in fresh.items()
            if first <= turn and (turn <= last or s in kept)
        )
        for turn in range(len(program.tasks))
    )


# ---- who holds it


def test_holders_name_lines_and_reasons():
    line = sys._getframe().f_lineno
    plain = la.array(np.zeros(4 * MB // 8))
    shared = (la.zeros(3 * MB // 8) + 1).wait()
    seen = np.asarray(shared)
    source = la.ones(5 * MB // 8).wait()
    pending = source + 1
    del source
    found = la.memory.holders(3)
    assert [h.nbytes for h in found] == [5 * MB, 4 * MB, 3 * MB]
    assert [h.held_by for h in found] == [("pending",), ("array",), ("array", "export")]
    lines = [h.where.rsplit(":", 1) for h in found]
    assert [int(n) - line for _, n in lines] == [4, 1, 2]
    assert all(file.endswith(HERE) for file, _ in lines)
    assert found[1].shape == (4 * MB // 8,) and found[1].dtype == np.float64
    assert f"{HERE}:{line + 4}" in str(found[0]) and "pending" in str(found[0])
    del plain, seen, pending


def test_holders_know_tapes():
    x = value(4 * MB)
    x.attach_grad()
    with la.autograd.record():
        y = (la.cumsum(x) ** 2).sum()
    y.wait()
    assert ("tape",) in [h.held_by for h in la.memory.holders(2)]


@pytest.mark.parametrize(("n", "error"), [(-1, OptionError), (1.5, DTypeError), (True, DTypeError)])
def test_holders_want_a_count(n, error):
    with pytest.raises(error, match="holders: n is a count"):
        la.memory.holders(n)
    assert la.memory.holders(0) == []


# ---- the limit


@pytest.mark.parametrize(
    ("size", "nbytes"),
    [
        ("2GB", 2 * 10**9),
        ("512MiB", 512 << 20),
        (" 1.5 GB ", 15 * 10**8),
        ("100kB", 10**5),
        ("3TiB", 3 << 40),
        ("12345678B", 12345678),
        (10**9, 10**9),
        (np.int64(10**9), 10**9),
        (None, None),
    ],
)
def test_sizes(size, nbytes):
    with la.memory.limit(size):
        assert la.memory.stats()["limit"] == nbytes


@pytest.mark.parametrize("size", ["2gb", "GB", "-1GB", "1e9", "", "2 G", "10", 0, -5, "0MB"])
def test_sizes_that_are_none(size):
    with pytest.raises(OptionError, match=r"Write it like"):
        la.memory.limit(size)


@pytest.mark.parametrize("size", [1.5e9, True, [1], b"2GB"])
def test_sizes_of_another_type(size):
    with pytest.raises(DTypeError, match=r"Write it like"):
        la.memory.limit(size)


def test_limits_nest_and_stay():
    with la.memory.limit("1GB"):
        with la.memory.limit("500MB"):
            assert la.memory.stats()["limit"] == 5 * 10**8
        assert la.memory.stats()["limit"] == 10**9
        with pytest.raises(ZeroDivisionError), la.memory.limit(None):
            raise ZeroDivisionError
        la.memory.limit("2GB")
        assert la.memory.stats()["limit"] == 2 * 10**9
    assert la.memory.stats()["limit"] is None


def within(nbytes: int):
    """A limit that leaves so much beside what is in use."""
    la.memory.release()
    return la.memory.limit(la.memory.stats()["reserved"] + nbytes)


def test_idle_blocks_go_first():
    with within(20 * MB):
        for size in (16, 12, 18, 20, 8):
            value(size * MB)
            assert la.memory.stats()["reserved"] <= la.memory.stats()["limit"]


def test_a_pusher_waits_for_running_tasks():
    """What a pending task still uses is not free; asking for more waits, and then gets it."""
    workers = _engine.workers()
    go, asked = threading.Event(), threading.Event()
    seen = []

    def let_go():
        asked.wait()
        seen.append(la.memory.stats()["busy"])
        go.set()

    x = value(4 * MB)
    helper = threading.Thread(target=let_go)
    helper.start()
    la.set_workers(1)
    try:
        with within(10 * MB):
            _engine.push(go.wait)
            y = la.cumsum(x)
            la.eval(y)
            del y
            assert la.memory.stats()["busy"] == 4 * MB
            asked.set()
            z = la.concatenate([x, x])
            la.eval(z)
            assert la.memory.stats()["reserved"] <= la.memory.stats()["limit"]
            assert go.is_set()
        assert float(z.sum()) == 2 * float(x.sum())
    finally:
        asked.set()
        go.set()
        helper.join()
        la.set_workers(workers)


def test_what_is_busy_when_a_limit_is_set_counts():
    """Blocks of tasks under way cannot go at once; they are not taken again either."""
    workers = _engine.workers()
    go = threading.Event()
    x = value(4 * MB)
    la.set_workers(1)
    try:
        _engine.push(go.wait)
        results = [la.cumsum(x * i) for i in range(8)]
        la.eval(*results)
        del results  # busy, and held by nobody
        assert la.memory.stats()["busy"] >= 32 * MB
        with la.memory.limit(la.memory.stats()["in_use"] + 10 * MB):
            threading.Timer(0, go.set).start()
            la.memory.peak(reset=True)
            assert float(la.cumsum(x * 2)[0]) == 0.0
            assert la.memory.peak() <= la.memory.stats()["limit"]
            assert la.memory.stats()["reserved"] <= la.memory.stats()["limit"]
    finally:
        go.set()
        la.set_workers(workers)


def bound_chain(x):
    """Eight values, each of the size of x, all held."""
    held = [x]
    for i in range(8):
        held.append(held[-1] * 1.5 + i)
    return held


def test_values_not_asked_for_are_computed_again():
    x = value(4 * MB)
    wanted = [np.asarray(h).tobytes() for h in bound_chain(la.array(np.asarray(x)))]
    with within(10 * MB):
        held = bound_chain(x)
        total = float(held[-1].sum())
        for i in range(len(held)):
            # Read, and let go of: what comes after it must not need it.
            copy = np.array(held[i])
            assert copy.tobytes() == wanted[i]
            if i:
                held[i] = None
        assert la.memory.stats()["reserved"] <= la.memory.stats()["limit"]
    np.testing.assert_allclose(total, np.frombuffer(wanted[-1]).sum(), rtol=1e-12)


@pytest.fixture
def frugal(monkeypatch):
    """Plans keep as little, and share as much, as they ever do."""
    monkeypatch.setattr(sharing, "LARGE", 1)
    _bind.clear_plans()
    _bind.set_frugal(True)
    yield
    _bind.set_frugal(False)
    _bind.clear_plans()


def compare(seeds):
    for seed in seeds:
        lines = writer.write(seed)
        difference = programs.check(lines)
        assert not difference, "\n".join([f"seed {seed}", *lines, difference])


def test_programs_that_keep_little(frugal):
    """Random programs as in test_programs, where nothing cheap is stored unless it is asked for."""
    compare(range(60))


@pytest.mark.slow
@pytest.mark.parametrize("share", range(4))
def test_many_programs_that_keep_little(frugal, share):
    compare(range(share, 4_000, 4))


def test_what_was_not_kept_is_found_again_at_the_bound():
    """A cheap value on a tape is not stored; a flush of all that is pending computes it again."""
    x = la.arange(1000, dtype=float) / 500
    x.attach_grad()
    with la.autograd.record():
        loss = la.tanh(x * 1.5).sum()
    loss.wait()
    loss.backward()
    _handle.cut()
    wanted = 1.5 * (1 - np.tanh(np.arange(1000) / 500 * 1.5) ** 2)
    np.testing.assert_allclose(np.asarray(x.grad), wanted, rtol=1e-12)


def test_values_computed_again_do_not_see_later_writes():
    x = value(4 * MB)
    with within(10 * MB):
        a = x + 1
        b = a * 2
        c = b - 3
        c.wait()
        x[:] = -1.0
        x.wait()
        start = np.arange(4 * MB // 8) % 1000.0
        del c
        np.testing.assert_array_equal(np.array(b), (start + 1) * 2)
        del b
        np.testing.assert_array_equal(np.array(a), start + 1)
    assert float(x[0]) == -1


def test_tapes_give_up_what_is_cheap():
    def gradient(x):
        x.attach_grad()
        with la.autograd.record():
            h = [x]
            for i in range(6):
                h.append(la.tanh(h[-1] + i))
                h[-1].wait()  # each is stored
            loss = h[-1].sum()
        loss.backward(retain_graph=True)
        return loss, h, x.grad

    start = np.arange(4 * MB // 8) / 1e6
    _, _, g = gradient(la.array(start))
    wanted = np.array(g).tobytes()
    del g, _
    gc.collect()
    x = la.array(start)
    with within(18 * MB):
        loss, h, g = gradient(x)
        assert np.array(g).tobytes() == wanted
    np.testing.assert_allclose(np.array(h[1]), np.tanh(start), rtol=1e-14)
    del loss


def test_out_of_memory_names_what_and_who():
    line = sys._getframe().f_lineno
    big = la.zeros(8 * MB // 8).wait()
    with within(4 * MB):
        y = la.exp(big)
        with pytest.raises(OutOfMemoryError) as caught:
            y.wait()
        text = str(caught.value)
        assert text.startswith("exp: no memory for 8.4 MB on the way to float64[1048576]")
        assert f"{HERE}:{line + 3}" in text.splitlines()[1]
        assert "la.memory.limit" in text
        assert (
            f"8.4 MB  float64[1048576], held by array and pending, from {__file__}:{line + 1}"
            in text
        )
        assert isinstance(caught.value, MemoryError)
        # Nothing is half done: the same works when there is room, other work at once.
        assert float((big[:10] + 1).sum()) == 10
        with pytest.raises(MemoryError):
            y.wait()
    assert float(y.sum()) == MB


def test_out_of_memory_of_data_from_numpy():
    data = np.ones(8 * MB // 8)
    with within(MB):
        with pytest.raises(OutOfMemoryError, match=r"8\.4 MB"):
            la.array(data)
        assert float(la.array([1.0, 2.0]).sum()) == 3


def test_an_update_that_finds_no_memory_changes_nothing():
    x = value(4 * MB)
    wanted = np.array(x)
    with within(MB):
        before = x[:]
        y = x * 2
        x[10:] += 1  # a new version: y wants the old one
        with pytest.raises(MemoryError):
            la.eval(x, y)
        with pytest.raises(MemoryError):
            x.wait()
        assert before.shape == x.shape
    np.testing.assert_array_equal(np.asarray(y), wanted * 2)
    wanted[10:] += 1
    np.testing.assert_array_equal(np.asarray(x), wanted)
    np.testing.assert_array_equal(np.asarray(before), wanted)


def test_arrays_in_reference_cycles_make_room():
    class Ring:
        def __init__(self):
            self.me = self
            self.array = value(4 * MB)

    gc.disable()
    try:
        with within(9 * MB):
            for _ in range(6):
                Ring()
    finally:
        gc.enable()


def test_many_threads_under_a_limit():
    failures = []

    def work(seed):
        try:
            for i in range(30):
                x = la.full(MB // 8, float(seed + i))
                y = la.cumsum(x)
                if float(y[-1]) != (seed + i) * (MB // 8):
                    failures.append((seed, i))
        except Exception as error:
            failures.append(error)

    with within(24 * MB):
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_compiled_programs_find_room():
    s = la.symbol
    out = s.tanh(s.Variable("x") * 2.0)
    x = value(4 * MB)
    ex = out.bind(args={"x": x}) if hasattr(out, "bind") else None
    with within(9 * MB):
        for _ in range(5):
            (y,) = ex.forward()
            y.wait()
            del y


def test_the_system_says_no():
    """A real failure of mmap: MemoryError, located, and the process goes on."""
    program = """
import resource
import lazyarray as la
x = la.ones(1000).wait()
(x @ x).wait()
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (200 << 20), -1))
kept = la.ones((4000, 2000)).wait()
for _ in range(3):
    try:
        la.cumsum(la.ones((10000, 5000)), axis=0).wait()
    except MemoryError as error:
        print(error)
    else:
        print("got it")
print(float(kept.sum()), float((kept[0] * 2).sum()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        cwd=Path(__file__).parent.parent, env={**os.environ, "LAZYARRAY_TIER": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no memory for 400.0 MB") == 3, done.stdout
    assert "Recorded at <string>:12." in done.stdout
    assert "float64[4000, 2000], held by array, from <string>:9" in done.stdout
    assert done.stdout.splitlines()[-1] == "8000000.0 4000.0"


# ---- the pool


def test_varying_sizes_do_not_grow():
    draw = random.Random(0)
    seen = []
    held = [None] * 8
    for i in range(10_000):
        held[i % 8] = la.empty(draw.randrange(1, 1 << draw.randrange(6, 18)))
        held[i % 8].wait()
        if i % 1000 == 999:
            seen.append(la.memory.stats()["reserved"])
    assert max(seen[5:]) <= max(seen[:5]) + 4 * MB
    assert seen[-1] < 80 * MB


def test_what_lies_idle_is_bounded():
    for _ in range(2 * 4096 + 1):  # the recent peak is that of two windows: of nothing else, now
        _memory.buffer_of(MB)
    la.memory.release()
    base = la.memory.stats()["reserved"]
    for k in range(60):
        _memory.buffer_of((4 * MB) + k * MB // 2)  # a class of its own now and then
    assert la.memory.stats()["reserved"] - base <= 64 * MB + 64 * MB


def test_a_warm_pool_asks_the_system_for_nothing():
    x = value(8 * MB)
    for _ in range(3):
        (x + 1).wait()
    before = _memory.stats()["system_allocations"]
    for _ in range(50):
        (x + 1).wait()
    assert _memory.stats()["system_allocations"] == before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_drops_idle_blocks():
    value(8 * MB)
    assert la.memory.stats()["idle"] >= 8 * MB
    child = os.fork()
    if child == 0:
        idle = la.memory.stats()["idle"]
        right = float(la.ones(1000).sum()) == 1000
        os._exit(0 if idle == 0 and right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert la.memory.stats()["idle"] >= 8 * MB


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_a_million_iterations_nobody_reads():
    x = la.zeros(1000)
    seen = []
    for i in range(1_000_000):
        x = x * 0.999 + 1.0
        if i % 100_000 == 99_999:
            seen.append(resident())
    assert max(seen[2:]) - seen[1] < 16 * MB
    np.testing.assert_allclose(np.asarray(x), 1000.0)
