"""What a task costs: ns per push and run, latency, overlap of two kernels, splitting, event log.

Run with ``python benchmarks/engine.py``; best of `REPEATS`, with the goals beside the figures.
"""

import os
import queue
import statistics
import threading
import time

from lazyarray._engine import Var, push, wait, wait_all

from lazyarray import _engine

REPEATS = 5
NATIVE, PYTHON = 300_000, 100_000


def nothing():
    pass


def best(measure):
    """Return the smallest of several measurements."""
    return min(measure() for _ in range(REPEATS))


def push_native(n, reads, writes):
    _engine._push_nothing(n, reads, writes)


def push_python(n, reads, writes):
    for _ in range(n):
        push(nothing, reads, writes)


def push_busy(n, reads, writes):
    for _ in range(n):
        _engine._push_busy(20_000, reads, writes)


def per_task(n, push_all, reads, writes):
    """Return ns per task, from the first push to the end of the last task."""
    start = time.perf_counter_ns()
    push_all(n, reads, writes)
    wait_all()
    return (time.perf_counter_ns() - start) / n


def throughput():
    """Print ns per empty task for several shapes of dependency."""
    a, b = Var(), Var()
    many = [Var() for _ in range(4)]
    shapes = {
        "independent": ([], []),
        "a chain": ([], [a]),
        "reads 1, writes 1": ([a], [b]),
        "reads 4, writes 2": (many, [a, b]),
    }
    for name, (reads, writes) in shapes.items():
        native = best(lambda r=reads, w=writes: per_task(NATIVE, push_native, r, w))
        python = best(lambda r=reads, w=writes: per_task(PYTHON, push_python, r, w))
        report(f"throughput, {name}", f"native {native:5.0f} ns   python {python:5.0f} ns")
    report("", "goals: native < 400 ns, python < 2000 ns")


def latency():
    """Print the median time from a push to the end of its wait."""
    var = Var()

    def median(push_one, n=2_000):
        times = []
        for _ in range(n):
            start = time.perf_counter_ns()
            push_one()
            wait(var)
            times.append(time.perf_counter_ns() - start)
        return statistics.median(times) / 1000

    native = median(lambda: _engine._push_nothing(1, [], [var]))
    python = median(lambda: push(nothing, (), [var]))
    report("latency, push and wait", f"native {native:5.1f} us   python {python:5.1f} us")
    report("latency, queue.Queue and a thread", f"{peer():5.1f} us")


def peer():
    """Return the median us for a round trip through a standard thread."""
    there, back = queue.SimpleQueue(), queue.SimpleQueue()

    def serve():
        while there.get():
            back.put(1)

    thread = threading.Thread(target=serve)
    thread.start()
    times = []
    for _ in range(2_000):
        start = time.perf_counter_ns()
        there.put(1)
        back.get()
        times.append(time.perf_counter_ns() - start)
    there.put(0)
    thread.join()
    return statistics.median(times) / 1000


def overlap():
    """Print the wall time of two independent kernels of 0.2 s, and of one in units."""
    a, b = Var(), Var()

    def two():
        start = time.perf_counter()
        _engine._push_busy(200_000_000, [], [a])
        _engine._push_busy(200_000_000, [], [b])
        wait(a, b)
        return time.perf_counter() - start

    def split():
        start = time.perf_counter()
        _engine._push_busy(100_000, [], [a], extent=4_000)
        wait(a)
        return time.perf_counter() - start

    report("two kernels of 0.2 s", f"{best(two):.3f} s   goal: < 0.25 s on 2 cores")
    report("one kernel of 0.4 s in units", f"{best(split):.3f} s")


def log():
    """Print what the event log adds."""
    a, b = Var(), Var()

    def logged():
        _engine.start_log()
        try:
            return per_task(5_000, push_busy, [a], [b])
        finally:
            _engine.stop_log()

    off = best(lambda: per_task(5_000, push_busy, [a], [b]))
    report("event log on, 20 us tasks", f"{100 * (best(logged) / off - 1):+.1f} %   goal: < 10 %")


def report(name, text):
    """Print one line."""
    print(f"{name:36} {text}")


if __name__ == "__main__":
    print(f"{os.cpu_count()} cores, {_engine.workers()} workers")
    throughput()
    latency()
    overlap()
    log()
