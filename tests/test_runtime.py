"""Repeated programs find their plans, work is bounded, failures are located, threads mix."""

import contextlib
import gc
import os
import re
import threading

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _engine, _handle, _ir
from lazyarray.ops import elementwise


@pytest.fixture(params=["threaded", "naive", "one worker"])
def mode(request):
    """Each engine mode."""
    workers = la_workers()
    la.set_engine("naive" if request.param == "naive" else "threaded")
    la.set_workers(1 if request.param == "one worker" else workers)
    yield request.param
    la.set_engine("threaded")
    la.set_workers(workers)


def la_workers():
    from lazyarray import _engine

    return _engine.workers()


def lowerings_by_turn(turn, turns=8):
    """How many plans each turn of a loop makes."""
    counts = []
    for i in range(turns):
        before = la.stats()["lowerings"]
        turn(i)
        counts.append(la.stats()["lowerings"] - before)
    return counts


# ---- plans


def test_minibatch_slices_find_their_plan():
    x, w = la.array(np.random.default_rng(0).random((1024, 7))), la.ones(7)
    starts = [0, 128, 256, 640, 384, 128, 896, 512]

    def turn(i):
        batch = x[starts[i] : starts[i] + 128]
        assert float((batch @ w).mean()) > 0

    assert lowerings_by_turn(turn)[2:] == [0] * 6


@pytest.mark.parametrize("look", [True, False])
def test_heat_stencil_finds_its_plan(look):
    u = la.zeros((20, 30))
    u[5:9, 7:11] = 100
    v = np.asarray(u).copy()

    def turn(i):
        u[1:-1, 1:-1] += 0.1 * (
            u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * u[1:-1, 1:-1]
        )
        v[1:-1, 1:-1] += 0.1 * (
            v[2:, 1:-1] + v[:-2, 1:-1] + v[1:-1, 2:] + v[1:-1, :-2] - 4 * v[1:-1, 1:-1]
        )
        if look:
            u.tolist()
        else:
            la.eval(u)

    assert lowerings_by_turn(turn)[2:] == [0] * 6
    np.testing.assert_array_equal(np.asarray(u), v)


def test_ring_buffer_finds_its_plan():
    ring, wanted = la.zeros((5, 3)), np.zeros((5, 3))

    def turn(i):
        ring[i % 5] = la.arange(3.0) * i
        wanted[i % 5] = np.arange(3.0) * i
        np.testing.assert_array_equal(ring.mean(axis=0).tolist(), wanted.mean(axis=0))

    assert lowerings_by_turn(turn, 12)[2:] == [0] * 10


def test_ring_buffer_of_numbers_finds_its_plan():
    ring = la.zeros(7)

    def turn(i):
        ring[i % 7] = i
        assert float(ring.max()) == i

    assert lowerings_by_turn(turn, 20)[2:] == [0] * 18


def test_momentum_update_finds_its_plan():
    w, v = la.ones((30, 20)), la.zeros((30, 20))
    n, m = np.ones((30, 20)), np.zeros((30, 20))

    def turn(i):
        nonlocal v, w, m, n
        rate = 0.1 / (i + 1)  # a number, and so no part of the plan
        v = 0.9 * v + w
        w -= rate * v
        la.eval(w, v)
        m = 0.9 * m + n
        n -= rate * m

    assert lowerings_by_turn(turn)[2:] == [0] * 6
    np.testing.assert_array_equal(np.asarray(w), n)


def test_growing_loop_finds_its_plan():
    """A loop that is only cut by the bound is cut at the same place in every turn."""
    x = la.ones(10)

    def turn(i):
        nonlocal x
        for _ in range(6000):
            x *= 1.0001
            x -= 0.0001 * x

    assert lowerings_by_turn(turn)[3:] == [0] * 5


def test_a_number_is_no_structure():
    x = la.arange(10.0)

    def turn(i):
        assert float((x * i + i / 2).sum()) == 45 * i + 5 * i

    assert lowerings_by_turn(turn)[2:] == [0] * 6


def test_equal_offsets_are_a_coincidence():
    """Views with the same offset now need not have it in the next turn."""
    x = la.arange(12.0)

    def turn(i):
        a, b = x[0:4], x[i : i + 4]
        np.testing.assert_array_equal((a - b).tolist(), [-i] * 4)

    assert lowerings_by_turn(turn, 8)[2:] == [0] * 6


def test_overlap_is_decided_at_every_turn():
    x, y = la.arange(20.0), np.arange(20.0)

    def turn(i):
        x[2:8] += x[i : i + 6]
        y[2:8] += y[i : i + 6].copy()
        np.testing.assert_array_equal(np.asarray(x).copy(), y)

    lowerings_by_turn(turn, 8)


# ---- bounds


def test_loop_without_reading_stays_small():
    x, g = la.zeros(100), la.ones(100)
    x.wait()
    recorder = _ir.current()
    gc.collect()
    most = 0
    used = la.stats()["bytes_in_use"]
    for i in range(50_000):
        x = x * 0.5 + g
        if i % 500 == 0:
            most = max(most, recorder.count)
            assert la.stats()["bytes_in_use"] - used < 4 << 20
    assert most <= 2 * 4096 + 4
    np.testing.assert_array_equal(np.asarray(x), np.full(100, 2.0))


def test_large_values_are_bounded_by_bytes():
    x = la.ones(1 << 22)  # 32 MiB
    gc.collect()
    for _ in range(100):
        x = x + 1
        assert _ir.current().nbytes <= 2 << 30
    assert float(x[5]) == 101
    assert la.stats()["bytes_in_use"] < 3 << 30


def test_abandoned_values_are_not_computed():
    tasks = la.stats()["tasks"]
    x = la.ones((30, 30))
    for _ in range(100):
        y = x @ x + 1
    del y
    assert _ir.current().count < 50
    assert la.stats()["tasks"] == tasks


def test_long_chain_runs():
    x = la.zeros(3)
    for _ in range(100_000):
        x = x + 1
    assert x.tolist() == [100_000] * 3


def test_very_long_chain_is_freed_by_a_loop():
    recorder = _ir.current()
    gc.collect()
    before = recorder.count
    one = _ir.scalar(1.0, np.dtype("float64"))
    node = la_node(la.zeros(3))
    for _ in range(1_000_000):
        node = elementwise.add(node, one)
    assert recorder.count >= before + 1_000_000
    del node
    assert recorder.count <= before + 1


def la_node(x):
    from lazyarray import _handle

    return _handle.to_node(x)


def test_long_chain_of_nodes_runs_in_one_flush():
    from lazyarray import runtime

    one = _ir.scalar(1.0, np.dtype("float64"))
    node = la_node(la.zeros(3))
    for _ in range(20_000):
        node = elementwise.add(node, one)
    assert runtime.value(node).tolist() == [20_000] * 3


# ---- failures


def here():
    """The line of the caller, as errors name it."""
    import inspect

    frame = inspect.currentframe().f_back
    return re.escape(f"{__file__}:{frame.f_lineno - 1}")


def test_failure_is_raised_at_every_wait_with_its_line(mode):
    x = la.arange(4)
    bad = x ** la.array([1, 2, -1, 2])
    line = here()
    after = bad + 1
    other = x * 2
    for _ in range(2):
        for each in (bad, after, bad[1:], after.reshape(2, 2)):
            with pytest.raises(ValueError, match=line):
                each.tolist()
            with pytest.raises(ValueError, match=line):
                each.wait()
            with pytest.raises(ValueError, match=line):
                np.asarray(each)
    assert other.tolist() == [0, 2, 4, 6]
    assert x.tolist() == [0, 1, 2, 3]


def test_lazy_index_out_of_bounds(mode):
    x = la.arange(4.0)
    index = la.arange(3) * 2
    taken = x[index]
    line = here()
    for _ in range(2):
        with pytest.raises(IndexError, match=line):
            taken.tolist()
    x[index] = 0
    line = here()
    with pytest.raises(IndexError, match=line):
        x.tolist()


def test_overwritten_array_is_clean(mode):
    x = la.arange(4) ** la.array([1, -1, 1, 1])
    y = la.ones(4, int)
    y[1:] = x[1:]
    with pytest.raises(ValueError, match="power"):
        x.wait()
    x[...] = 7
    assert x.tolist() == [7] * 4
    y[:2] = 0  # what is left of it stays poisoned
    with pytest.raises(ValueError, match="power"):
        y.tolist()
    y[:] = 1
    y += 1
    assert y.tolist() == [2] * 4


def test_failure_does_not_leak_into_other_arrays(mode):
    """A buffer comes back to the pool from a failed value; its next owner is clean."""
    for _ in range(20):
        bad = la.arange(6) ** la.array([1, -1, 1, 1, 1, 1])
        la.eval(bad)
        with pytest.raises(ValueError):
            bad.wait()
        del bad
        assert la.array([1, 2, 3, 4, 5, 6]).tolist() == [1, 2, 3, 4, 5, 6]
        fresh = la.empty(6, int)
        fresh[:3] = 1
        fresh[3:] = 2
        assert fresh.tolist() == [1, 1, 1, 2, 2, 2]
        assert (la.zeros(6, int) + 1).tolist() == [1] * 6


def test_failure_in_one_of_many_results(mode):
    x = la.arange(3)
    good, bad = x + 1, x ** la.array([-1, 1, 1])
    la.eval(good, bad)
    assert good.tolist() == [1, 2, 3]
    with pytest.raises(ValueError):
        bad.wait()
    with pytest.raises(ValueError):
        la.wait_all([good, bad])


def test_failure_of_a_leaf_spares_what_does_not_depend_on_it(mode):
    bad = la.arange(3) ** la.array([-1, 1, 1])
    la.eval(bad)
    x = la.arange(3) + 1
    y, z = bad + x, x * 2
    la.eval(y, z)
    assert z.tolist() == [2, 4, 6]
    with pytest.raises(ValueError, match="power"):
        y.tolist()


def test_failure_spares_what_takes_over_its_buffer(mode):
    bad = la.arange(3) ** la.array([-1, 1, 1])
    la.eval(bad)
    x = la.arange(3) + 1
    y, z = x + bad, x * 2
    del bad
    la.eval(z, y)
    assert z.tolist() == [2, 4, 6]
    with pytest.raises(ValueError, match="power"):
        y.tolist()


def test_update_of_a_failed_array_spares_its_value(mode):
    base = la.arange(4) ** la.array([1, 1, -1, 1])
    la.eval(base)
    value = la.arange(3) + 1
    base[1:] = doubled = value * 2
    tripled = doubled + value
    la.eval(base, doubled, tripled)
    assert doubled.tolist() == [2, 4, 6]
    assert tripled.tolist() == [3, 6, 9]
    with pytest.raises(ValueError, match="power"):
        base.tolist()


def test_two_failures_reach_what_depends_on_each(mode):
    x = la.arange(3)
    power, index = x ** la.array([-1, 1, 1]), x[la.arange(3) * 2]
    la.eval(power, index)
    y, z, both, none = power + x, x - index, power * index, x * x
    la.eval(y, z, both, none)
    assert none.tolist() == [0, 1, 4]
    with pytest.raises(ValueError, match="power"):
        y.tolist()
    with pytest.raises(IndexError):
        z.tolist()
    with pytest.raises((ValueError, IndexError)):
        both.tolist()


class Mirror:
    """Arrays beside NumPy's and whether each has failed; one random statement at a time."""

    def __init__(self, seed, count=6, length=8):
        self.rng = np.random.default_rng(seed)
        self.length = length
        self.theirs = [self.rng.integers(1, 9, length) for _ in range(count)]
        self.ours = [la.array(each) for each in self.theirs]
        self.failed = [False] * count

    def step(self):
        """Run a statement on three arrays, the last of which gets the result."""
        a, b, c = self.rng.integers(0, len(self.ours), 3)
        start = int(self.rng.integers(1, 4))
        part, from_front = slice(start, start + 4), slice(0, 4)
        failed = self.failed[a] or self.failed[b]
        kind = self.rng.integers(0, 10)
        for x in (self.theirs, self.ours):
            if kind < 3:
                x[c] = x[a] * 3 - x[b]
            elif kind == 3:
                x[c] = x[a][::-1] + x[b]
            elif kind == 4:
                x[c][part] = x[a][from_front] - x[b][part]
            elif kind == 5:
                x[c][...] = x[a] + x[b]
            elif kind == 6:
                x[c] += x[a] ^ x[b]
            elif kind == 7:
                x[c] = x[a].cumsum() + x[b].max()
            elif kind == 8:
                x[c] = x[c].copy()
                x[c][part] += 1
        if kind == 9:
            # The exponents are a pending value: what is wrong with them shows when they are used.
            bad = bool(self.rng.integers(0, 2))
            power = la.arange(self.length) * 0 + (-1 if bad else 2)
            self.ours[c] = self.ours[a] ** power
            self.theirs[c] = self.theirs[a] ** 2
            failed = self.failed[a] or bad
        if kind in (4, 6, 8):
            failed = self.failed[c] or (failed and kind != 8)
        self.failed[c] = failed

    def compare(self):
        """Look at every array."""
        for ours, theirs, failed in zip(self.ours, self.theirs, self.failed, strict=True):
            if failed:
                with pytest.raises(ValueError, match="power"):
                    ours.tolist()
            else:
                assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("seed", range(60))
def test_failures_reach_exactly_what_depends_on_them(mode, seed):
    mirror = Mirror(seed)
    for turn in range(40):
        mirror.step()
        if turn % 7 == 3:
            la.eval(*(mirror.ours[i] for i in mirror.rng.permutation(6)[:3]))
        if turn % 19 == 18:
            mirror.compare()
            for i in range(0, 6, 2):  # and begin with sound ones again
                mirror.theirs[i] = mirror.rng.integers(1, 9, 8)
                mirror.ours[i][...] = la.array(mirror.theirs[i])
                mirror.failed[i] = False
    mirror.compare()
    with contextlib.suppress(ExceptionGroup):  # what was overwritten before anybody looked
        _engine.wait_all()


def test_failure_under_the_bound(mode):
    x = la.arange(3)
    bad = x ** la.array([-1, 1, 1])
    for _ in range(5000):
        x = x + 1
    assert x.tolist() == [5000, 5001, 5002]
    with pytest.raises(ValueError, match="power"):
        bad.tolist()


def test_failure_of_an_export(mode):
    bad = la.arange(3) ** la.array([1, 1, -1])
    e = None
    with pytest.raises(ValueError):
        e = np.asarray(bad)
    assert e is None
    bad[...] = 0
    e = np.asarray(bad)
    bad += 1
    assert e.tolist() == [1, 1, 1]


# ---- modes and threads


def test_modes_give_the_same_bits(mode):
    rng = np.random.default_rng(3)
    x, y = la.array(rng.random((60, 50))), la.array(rng.random((50, 40)).astype("float32"))
    z = la.tanh(x @ y).sum(axis=0) / la.exp(y.mean(axis=0))
    z[1:] -= z[:-1].cumsum()
    found = z.numpy().tobytes()
    assert SEEN.setdefault("bits", found) == found


SEEN = {}


def in_threads(function, count=4):
    """Run function(i) in threads; the first exception is raised here."""
    errors = []

    def run(i):
        try:
            function(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if errors:
        raise errors[0]


def test_threads_with_arrays_of_their_own():
    def work(i):
        x = la.full((40, 40), float(i))
        for turn in range(200):
            x[1:] = x[1:] * 0.5 + x[:-1] * 0.5
            if turn % 50 == 7:
                x.sum().item()
        np.testing.assert_array_equal(np.asarray(x), np.full((40, 40), float(i)))

    in_threads(work)


def test_threads_read_one_pending_value():
    x = la.ones((50, 50)) @ la.ones((50, 50))
    y = x + 1

    def work(i):
        for _ in range(50):
            assert float((y * i)[3, 4]) == 51 * i
            assert y[i].tolist() == [51] * 50

    in_threads(work)


def test_value_recorded_by_a_thread_that_has_ended():
    found = []
    in_threads(lambda i: found.append(la.arange(5.0) * i), 3)
    total = found[0] + found[1] + found[2]
    assert total.tolist() == [0, 3, 6, 9, 12]


def test_threads_in_one_direction():
    """One thread updates under a lock that others read under."""
    x, lock = la.zeros(1000), threading.Lock()

    def work(i):
        nonlocal x
        for _ in range(100):
            with lock:
                if i == 0:
                    x += 1
                else:
                    y = x * 2
            if i:
                values = y.numpy()
                assert (values == values[0]).all()

    in_threads(work)
    assert x.tolist() == [100] * 1000


def test_failures_in_threads():
    def work(i):
        for _ in range(20):
            bad = la.arange(3) ** la.array([1, -1 if i % 2 else 1, 1])
            if i % 2:
                with pytest.raises(ValueError, match="power"):
                    bad.tolist()
            else:
                assert bad.tolist() == [0, 1, 2]

    in_threads(work)


# ---- waiting


def test_eval_and_wait():
    x = la.ones(10) * 3
    y = x + 1
    flushes = la.stats()["flushes"]
    la.eval(x, [y, {"z": (y * 2,)}], "not an array", None)
    assert la.stats()["flushes"] == flushes + 1  # together
    la.eval(x, y)
    assert la.stats()["flushes"] == flushes + 1
    assert x.wait() is x
    assert y.wait().tolist() == [4] * 10
    assert la.eval() is None


def test_eval_twice_is_no_work():
    x = la.ones(10) + 1
    x.wait()
    tasks = la.stats()["tasks"]
    x.wait()
    x.tolist()
    la.eval(x)
    assert la.stats()["tasks"] == tasks


def test_time_waits():
    calls = []

    def work():
        calls.append(1)
        return [la.ones((100, 100)) @ la.ones((100, 100))]

    seconds = la.time(work, repeat=3)
    assert len(calls) == 4
    assert 0 < seconds < 60


def test_statistics():
    before = la.stats()
    assert {
        "records",
        "flushes",
        "lowerings",
        "plan_hits",
        "tasks",
        "bytes_allocated",
        "bytes_in_use",
        "tape_bytes",
    } <= before.keys()
    x = la.ones(1000) + la.ones(1000)
    assert la.stats()["records"] > before["records"]
    x.wait()
    after = la.stats()
    assert after["flushes"] == before["flushes"] + 1
    assert after["bytes_allocated"] >= before["bytes_allocated"] + 8000
    assert after["tape_bytes"] == before["tape_bytes"]
    for name, value in after.items():
        assert isinstance(value, int | float if name.endswith("_seconds") else int), name


def test_what_is_shared_is_computed_once():
    x = la.ones((64, 64))
    y = x @ x
    a, b = y + 1, y * 2
    before = la.stats()["tasks"]
    la.eval(a, b)
    shared = la.stats()["tasks"] - before
    assert float(a[0, 0]) == 65
    assert float(b[0, 0]) == 128
    before = la.stats()["tasks"]
    assert float(y[0, 0]) == 64  # kept, because it has a name
    assert la.stats()["tasks"] - before <= 1
    assert shared <= 6


@pytest.mark.parametrize("read", [np.asarray, lambda y: y.wait(), lambda y: (y + 1).wait(), str])
def test_an_empty_result_fails_with_what_it_depends_on(read):
    index = la.array([2]) + 0
    empty = la.take(la.zeros((1, 0)), index, axis=0)
    for _ in range(2):
        with pytest.raises(IndexError, match=r"(?s)test_runtime\.py:\d+"):
            read(empty)


def test_many_tiny_tasks_are_run_rather_than_handed_over():
    a = la.arange(10.0)
    a.wait()
    for _ in range(100):
        a = la.concatenate([a[3:], a[:3]])
    before = la.stats()["inline"]
    _handle.cut()
    assert la.stats()["inline"] == before + (os.environ.get("LAZYARRAY_ENGINE") != "naive")
    assert a.tolist() == np.roll(np.arange(10.0), -300).tolist()
