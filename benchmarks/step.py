"""One training step of a small network, in every framework and task by task in ours.

    python benchmarks/step.py                   # ms a step of each lane, and over the best peer
    python benchmarks/step.py --lanes lazyarray jax.jit --repeat 9
    python benchmarks/step.py --tasks           # our tasks: when each ran, on which threads

The network, its data and how each framework writes the step are those of `peers/training.py`. Each
turn of a lane is a process of its own, and the lanes take turns, so that a change of the machine's
speed meets all of them. The limit is the step's multiply-adds at the rate of OpenBLAS's largest
products, measured in the same run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from peers.frameworks import OPENERS, OURS, open_framework
from peers.training import STEPS, WIDTHS, training_step

BATCH = 128
LANES = ("lazyarray", "lazyarray.jit", "torch", "torch.compile", "jax.jit", "mlx", "mlx.compile")
SETTLED = 1.0  # seconds of steps before any is counted: compilers work in the background
RUNS = 15  # of STEPS steps, in one turn
GEMM = 2048


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((BATCH, WIDTHS[0]), "f4")
    return images, rng.integers(0, WIDTHS[-1], BATCH)


def flops() -> float:
    """Multiplications and additions of the products of one step; images need no gradient."""
    forward = sum(2.0 * BATCH * m * n for m, n in itertools.pairwise(WIDTHS))
    return 3 * forward - 2.0 * BATCH * WIDTHS[0] * WIDTHS[1]


def turn(lane: str) -> dict[str, Any]:
    """Milliseconds a step of each run, and of the first run with all that it compiles."""
    framework = open_framework(lane)
    run = training_step(framework)
    assert run is not None
    data = [framework.array(x) for x in batch()]
    framework.ready(data)

    def timed() -> float:
        begin = time.perf_counter()
        framework.ready(run(*data))
        return (time.perf_counter() - begin) / STEPS * 1e3

    first = timed()
    end = time.perf_counter() + SETTLED
    while time.perf_counter() < end:
        timed()
    return {"first": first * STEPS, "steps": [timed() for _ in range(RUNS)]}


def gemm_limit() -> dict[str, Any]:
    """Milliseconds that the products of a step would take at the rate of a large one."""
    a = np.random.default_rng(0).standard_normal((GEMM, GEMM), "f4")
    found = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        a @ a
        found.append(2.0 * GEMM**3 / (time.perf_counter() - begin))
    return {"first": 0.0, "steps": [flops() / rate * 1e3 for rate in found]}


def in_process(lane: str) -> dict[str, Any] | None:
    """A turn in a process of its own; None where the framework is missing or fails."""
    command = [sys.executable, __file__, "--run", lane]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        print(f"{lane:14} left out: {(done.stderr.splitlines() or ['no message'])[-1]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def compare(lanes: list[str], repeat: int) -> None:
    """Print the figures of each lane."""
    turns: dict[str, list[dict[str, Any]]] = {lane: [] for lane in ["limit", *lanes]}
    for _ in range(repeat):
        for lane in list(turns):
            found = in_process(lane)
            if found is None:
                del turns[lane]
            else:
                turns[lane].append(found)
    medians = {
        lane: [statistics.median(t["steps"]) for t in found] for lane, found in turns.items()
    }
    peers = [lane for lane in medians if lane not in (*OURS, "limit")]
    best = min(peers, key=lambda lane: statistics.median(medians[lane]), default=None)
    for lane, found in medians.items():
        line = (
            f"{lane:14} {statistics.median(found):6.2f} ms ({min(found):.2f} to {max(found):.2f})"
        )
        if lane != "limit":
            first = statistics.median(t["first"] for t in turns[lane])
            line += f"   first {STEPS} steps {first:6.0f} ms"
        if lane in OURS and best is not None:
            pairs = [a / b for a, b in zip(found, medians[best], strict=True)]
            ratio = f"{statistics.median(pairs):.2f} of {best}"
            line += f"   {ratio} ({min(pairs):.2f} to {max(pairs):.2f})"
        print(line)


def show_tasks() -> None:
    """Print one step of ours, task by task, from the end of the step before."""
    from lazyarray import _engine

    framework = open_framework("lazyarray")
    run = training_step(framework)
    assert run is not None
    data = [framework.array(x) for x in batch()]
    end = time.perf_counter() + SETTLED
    while time.perf_counter() < end:
        framework.ready(run(*data))
    _engine.start_log()
    run(*data)
    _engine.wait_all()
    spans: dict[int, list[list[Any]]] = {}
    names: dict[int, str] = {}
    for event in _engine.stop_log():
        names[event.task] = event.name
        if event.kind == "start":
            spans.setdefault(event.task, []).append([event.thread, event.time, 0])
        elif event.kind == "end" and event.task in spans:
            next(s for s in spans[event.task] if s[0] == event.thread and not s[2])[2] = event.time
    tasks = sorted(spans)
    count = len(tasks) // STEPS
    start = max(e for task in tasks[-2 * count : -count] for _, _, e in spans[task])
    tasks = tasks[-count:]
    tasks.sort(key=lambda task: spans[task][0][1])
    busy = stop = 0
    for task in tasks:
        parts = [
            f"{t % 1000:03}: {(b - start) / 1e3:6.0f} {(e - b) / 1e3:5.0f} us"
            for t, b, e in spans[task]
        ]
        busy += sum(e - b for _, b, e in spans[task])
        stop = max(stop, *(e for _, _, e in spans[task]))
        print(f"{names[task][:40]:40} {'   '.join(parts)}")
    wall = (stop - start) / 1e3
    print(f"{len(tasks)} tasks, {wall:.0f} us, {busy / 1e3:.0f} us of them in all threads")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lanes", nargs="+", choices=tuple(OPENERS), default=list(LANES))
    parser.add_argument("--repeat", type=int, default=5, help="turns of each lane")
    parser.add_argument("--tasks", action="store_true", help="our tasks instead")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(gemm_limit() if args.run == "limit" else turn(args.run)))
    elif args.tasks:
        show_tasks()
    else:
        print(
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, batch {BATCH}, float32"
        )
        compare(args.lanes, args.repeat)


if __name__ == "__main__":
    main()
