"""Copies that overlap what a device computes, and the times that show it."""

import itertools
import threading

import cuda_loops
import numpy as np
import pytest
import stand_in

import lazyarray as la
from lazyarray import device
from lazyarray.backends import arrivals, cuda, tasks
from lazyarray.backends.simulated import opened, simulated

LARGE = np.arange(20_000.0)  # 160 kB


@pytest.fixture
def there():
    yield simulated(0)
    opened(0).gate.set()


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """A device of kind "overlap-gpu" whose backend is a Gpu's."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in.install(patch, tmp_path_factory.mktemp("kernels"))
        patch.setitem(device.openers, "overlapgpu", cuda.Gpu)
        yield device.as_device("overlapgpu:0")


def backend_of(where):
    return device.backend_of(device.number_of(where))


def long_kernel(begun, done):
    """A kernel that runs until it is told to end."""

    def run(x, y):
        begun.set()
        assert done.wait(60)
        y[...] = x * 2

    return la.kernel("x: T[n] -> y: T[n]", cpu=run, name="long")


def test_a_copy_overlaps_a_kernel(there):
    """The next batch goes to the device while a kernel runs there, and nothing mixes them up."""
    begun, done = threading.Event(), threading.Event()
    x = la.array(LARGE, device=there)
    la.eval(x)
    opened(0).synchronize()
    with la.debug.timeline() as events:
        y = long_kernel(begun, done)(x)
        la.eval(y)
        assert begun.wait(60)
        z = la.array(LARGE + 1, device=there)
        la.eval(z)
        while not any(event.kind == "into" for event in opened(0).log):
            done.wait(0.001)  # the copy ends before the kernel does, which waits for it
        done.set()
        total = (y + z).sum()
        assert total.item() == (LARGE * 3 + 1).sum()
    kernel = next(event for event in events if event.kind == "kernel")
    copy = next(event for event in events if event.kind == "into")
    assert (kernel.device, kernel.stream, copy.stream) == ("simulated:0", "compute", "into")
    assert kernel.start < copy.start <= copy.end < kernel.end
    assert copy.nbytes == LARGE.nbytes


def test_what_comes_back_overlaps_what_follows(there):
    """A copy to the CPU waits for what was issued before it, not for what has been since."""
    begun, done = threading.Event(), threading.Event()
    x = la.array(LARGE, device=there)
    y = x + 1
    la.eval(y)
    issued = opened(0).issued
    home = y.to("cpu")
    la.eval(home)
    while opened(0).issued == issued:  # a lane does it, which has no turn among what follows
        begun.wait(0.001)
    z = long_kernel(begun, done)(y)
    la.eval(z)
    np.testing.assert_array_equal(home.numpy(), LARGE + 1)
    done.set()
    np.testing.assert_array_equal(z.numpy(), (LARGE + 1) * 2)


def test_targets_may_be_memory_that_is_still_in_use(there):
    """A block goes back early and is written late: the copy waits aside for it."""
    backend = opened(0)
    x = la.array(LARGE, device=there)
    la.eval(x)
    backend.synchronize()
    backend.gate.clear()
    kept = []
    for i in range(12):
        part = la.array(LARGE + i, device=there)
        kept.append((part * 2 + x).sum())
        la.eval(kept[-1])
        del part
    backend.gate.set()
    for i, total in enumerate(kept):
        assert total.item() == ((LARGE + i) * 2 + LARGE).sum()


def test_a_timeline_has_one_clock(there):
    with la.debug.timeline() as events:
        cpu = la.tanh(la.ones((300, 300))) @ la.ones((300, 300))
        la.wait_all([cpu])
        (la.array(cpu.numpy(), device=there) + 1).numpy()
    kinds = [(event.kind, event.device) for event in events]
    order = [("task", "cpu"), ("into", "simulated:0"), ("kernel", "simulated:0"),
             ("out of", "simulated:0")]  # fmt: skip
    places = [kinds.index(each) for each in order]
    assert places == sorted(places)
    for before, after in itertools.pairwise(places):
        assert events[before].end <= events[after].start
    assert opened(0).log is None


# ---- on the stand-in: which stream waits for which


@cuda_loops.needs_compiler
def test_streams_wait_where_a_value_crosses(gpu):
    backend = backend_of(gpu)
    ours, into, out = (stream.ptr for stream in (backend.stream, backend.into, backend.out))
    stand_in.LOG.clear()
    x = la.array(LARGE, device=gpu)
    la.eval(x)
    # The copy goes ahead once its block is free; the computing stream waits for the copy alone.
    assert [each for each in stand_in.LOG if each[0] == "wait"] == [
        ("wait", into, ours),
        ("wait", ours, into),
    ]
    stand_in.LOG.clear()
    np.testing.assert_array_equal((x * 2).numpy(), LARGE * 2)
    assert [each for each in stand_in.LOG if each[0] == "wait"] == [("wait", out, ours)]
    stand_in.LOG.clear()
    small = la.array(np.ones(5), device=gpu)
    la.eval(small)
    assert not [each for each in stand_in.LOG if each[0] == "wait"]


@cuda_loops.needs_compiler
def test_blocks_aside_are_used_again_and_bounded(gpu, monkeypatch):
    backend = backend_of(gpu)
    backend.arrivals.clear()
    for i in range(5):
        x = la.array(LARGE + i, device=gpu)
        np.testing.assert_array_equal((x + 1).numpy(), LARGE + i + 1)
    assert len(backend.arrivals.blocks) == 1
    monkeypatch.setattr(stand_in.Event, "done", False)
    monkeypatch.setattr(arrivals, "KEPT", 3 * LARGE.nbytes)
    shares = [la.array(LARGE + i, device=gpu) for i in range(9)]
    la.eval(*shares)
    assert len(backend.arrivals.blocks) <= 3
    for i, x in enumerate(shares):
        np.testing.assert_array_equal(x.numpy(), LARGE + i)
    monkeypatch.undo()
    used = backend.pool.used
    backend.arrivals.clear()
    assert backend.pool.used < used


@cuda_loops.needs_compiler
def test_a_gpus_timeline(gpu):
    x = la.array(LARGE, device=gpu)
    la.eval(x)
    with la.debug.timeline() as events:
        for i in range(4):
            y = la.array(LARGE + i, device=gpu) * x
            y.numpy()
    ours = [event for event in events if event.device == "overlapgpu:0" or "gpu:" in event.device]
    assert {event.kind for event in ours} >= {"into", "out of", "kernel"}
    assert all(event.start <= event.end for event in ours)
    assert {event.nbytes for event in ours if event.kind == "into"} == {LARGE.nbytes}
    assert sum(event.kind in ("kernel", "graph") for event in ours) == 4


@cuda_loops.needs_compiler
def test_no_graph_is_captured_while_another_thread_issues(gpu):
    backend = backend_of(gpu)
    entered, leave = threading.Event(), threading.Event()

    def busy():
        with backend.turns:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=busy)
    thread.start()
    assert entered.wait(60)
    try:
        assert backend.capture(lambda: None) is None
        x = la.array(LARGE[:10], device=gpu)
        for _ in range(5):
            np.testing.assert_array_equal((x * 3).numpy(), LARGE[:10] * 3)
    finally:
        leave.set()
        thread.join()
    assert backend.capture(lambda: None) is not None
    assert LARGE.nbytes > tasks.ASIDE
