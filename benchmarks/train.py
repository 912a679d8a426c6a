"""Train the example's networks in lazyarray and in PyTorch, and print images per second of both.

    python benchmarks/train.py
    python benchmarks/train.py --models lenet --batch-size 128 --repeat 5

The same data and batch size; each run is a process of its own, and the two frameworks take turns,
so that a change of the machine's speed meets both. PyTorch gets its batches by indexing one float32
tensor, the cheapest way there is; lazyarray gets them from its `DataLoader`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

WARMUP = 10  # steps that are not counted
WINDOW = 50  # steps between two waits
RATE, MOMENTUM, DECAY = 0.05, 0.9, 1e-4


def dataset() -> Any:
    """MNIST, or the digits where it cannot be had."""
    from train_mnist import load

    return load("auto")[2]


def lazyarray_steps(model: str, batch: int) -> Iterator[Callable[[], float]]:
    """Steps in lazyarray: each item but the first has done one, and gives its loss when called."""
    from train_mnist import build

    import lazyarray as la

    net = build(model)
    net.initialize(seed=0)
    net(la.zeros((1, 28, 28, 1), "float32"))
    optimizer = la.optim.SGD(net.parameters(), RATE, MOMENTUM, DECAY)
    measure = la.nn.SoftmaxCrossEntropyLoss()
    loader = la.data.DataLoader(dataset(), batch, shuffle=True, drop_last=True)
    yield float
    while True:
        for images, labels in loader:
            with la.autograd.record():
                loss = measure(net(images), labels).mean()
            loss.backward()
            optimizer.step()
            yield loss.item


def torch_steps(model: str, batch: int) -> Iterator[Callable[[], float]]:
    """Steps in PyTorch, in the same way."""
    import torch
    from torch import nn

    torch.set_num_threads(int(os.environ["LAZYARRAY_WORKERS"]))
    torch.manual_seed(0)
    if model == "mlp":
        net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 256),
            nn.ReLU(),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )
    else:
        net = nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
        )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), RATE, MOMENTUM, weight_decay=DECAY)
    measure = nn.CrossEntropyLoss()
    data = dataset()
    images = torch.from_numpy(np.ascontiguousarray(data.images.transpose(0, 3, 1, 2)))
    labels = torch.from_numpy(data.labels)
    yield float
    while True:
        order = torch.randperm(len(labels))
        for begin in range(0, len(labels) - batch + 1, batch):
            picked = order[begin : begin + batch]
            optimizer.zero_grad()
            loss = measure(net(images[picked]), labels[picked])
            loss.backward()
            optimizer.step()
            yield loss.item


STEPS = {"lazyarray": lazyarray_steps, "torch": torch_steps}


def measured(framework: str, model: str, batch: int, windows: int) -> dict[str, Any]:
    """One run: seconds of the first step, images per second of each window, peak memory in MB."""
    steps = STEPS[framework](model, batch)
    next(steps)
    begin = time.perf_counter()
    next(steps)()
    first = time.perf_counter() - begin
    for _ in range(WARMUP - 1):
        loss = next(steps)
    loss()
    speeds = []
    for _ in range(windows):
        begin = time.perf_counter()
        for _ in range(WINDOW):
            loss = next(steps)
        last = loss()
        speeds.append(WINDOW * batch / (time.perf_counter() - begin))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": first, "speeds": speeds, "peak": peak, "loss": last}


def in_process(framework: str, model: str, batch: int, windows: int) -> dict[str, Any]:
    """A run in a process of its own."""
    command = [sys.executable, __file__, "--run", framework, "--models", model]
    command += ["--batch-size", str(batch), "--windows", str(windows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def compare(model: str, batch: int, windows: int, repeat: int) -> None:
    """Print one network's figures."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in STEPS}
    for _ in range(repeat):
        for name in STEPS:
            runs[name].append(in_process(name, model, batch, windows))
    speed = {
        n: statistics.median(s for r in found for s in r["speeds"]) for n, found in runs.items()
    }
    for name, found in runs.items():
        first = statistics.median(r["first"] for r in found)
        peak = statistics.median(r["peak"] for r in found)
        print(
            f"{model:6} {name:10} {speed[name]:9,.0f} images/s   "
            f"first step {first * 1e3:6.0f} ms   peak {peak:5.0f} MB   loss {found[-1]['loss']:.3f}"
        )
    ratios = [
        statistics.median(a["speeds"]) / statistics.median(b["speeds"])
        for a, b in zip(runs["lazyarray"], runs["torch"], strict=True)
    ]
    print(
        f"{model:6} lazyarray / torch: {statistics.median(ratios):.2f} "
        f"(of {repeat} pairs, {min(ratios):.2f} to {max(ratios):.2f})\n"
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=("lenet", "mlp"), default=["lenet", "mlp"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--windows", type=int, default=6, help=f"windows of {WINDOW} steps in a run"
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of each framework")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both frameworks")
    parser.add_argument("--run", choices=tuple(STEPS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(measured(args.run, args.models[0], args.batch_size, args.windows)))
        return
    os.environ["LAZYARRAY_WORKERS"] = str(args.threads)
    load = os.getloadavg()[0]
    print(
        f"{args.threads} threads, {os.cpu_count()} cores (load {load:.1f} before), "
        f"batch size {args.batch_size}, float32"
    )
    for model in args.models:
        compare(model, args.batch_size, args.windows, args.repeat)


if __name__ == "__main__":
    main()
