"""Programs on one GPU in lazyarray and in its peers: CuPy, PyTorch (eager and compiled), JAX.

    python benchmarks/gpu.py                    # every row, every peer that is installed
    python benchmarks/gpu.py --rows chain softmax --peers cupy jax.jit --repeat 20

All lanes run in this process, on GPU 0, in turns. A time is the median of `--repeat` runs between
two CUDA events that CuPy records on the legacy default stream, after and before a wait for the
whole device, so that launches which the CPU is too slow to issue count. Bandwidth is that of a copy
of 400 MB, measured in the same run. Without a GPU, or without CuPy, it says so and ends with 2.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

LARGE = 100_000_000
ROWS = (65536, 1024)
SQUARE = 16384
PRODUCT = 8192
SMALL = 1000
WIDTHS = (784, 512, 512, 10)
# Goals: the share of the copy's bandwidth, or our time over that of the peer.
GOALS = {
    "chain": "85 % of the bandwidth, 0.5 of cupy, 1.0 of jax.jit and torch.compile",
    "black_scholes": "85 % of the bandwidth, 0.5 of cupy, 1.0 of jax.jit and torch.compile",
    "softmax": "80 % of the bandwidth",
    "layer_norm": "80 % of the bandwidth",
    "sum0": "85 % of the bandwidth",
    "sum1": "85 % of the bandwidth",
    "matmul": "1.03 of torch",
    "small": "0.2 of cupy",
    "mlp128": "0.5 of torch, 1.0 of the better of torch.compile and jax.jit",
    "mlp4096": "0.5 of torch, 1.0 of the better of torch.compile and jax.jit",
    "control": "100 us until Python goes on after recording a step of mlp128",
}

Program = Callable[..., Any]


# ---- what is computed, in the names of a namespace `xp`


def chain(xp: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """A chain of elementwise functions."""
    return a * b + xp.sin(c) * xp.exp(-d * d) - xp.sqrt(xp.abs(a) + 1)


def normal(xp: Any, x: Any) -> Any:
    """The normal distribution's function, by the formula 26.2.17 of Abramowitz and Stegun."""
    t = 1 / (1 + 0.2316419 * xp.abs(x))
    tail = t * (
        0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    )
    tail = tail * 0.3989422804 * xp.exp(-0.5 * x * x)
    return xp.where(x >= 0, 1 - tail, tail)


def black_scholes(xp: Any, s: Any, k: Any, t: Any) -> Any:
    """Prices of calls and puts."""
    rate, sigma = 0.02, 0.3
    root = sigma * xp.sqrt(t)
    d1 = (xp.log(s / k) + (rate + 0.5 * sigma * sigma) * t) / root
    d2 = d1 - root
    discounted = k * xp.exp(-rate * t)
    call = s * normal(xp, d1) - discounted * normal(xp, d2)
    return call, call - s + discounted


def softmax(xp: Any, x: Any) -> Any:
    """Over the last axis."""
    e = xp.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layer_norm(xp: Any, x: Any) -> Any:
    """Over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / xp.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)


def small(xp: Any, x: Any, y: Any) -> Any:
    """A thousand small operations that depend on each other."""
    for _ in range(SMALL // 2):
        x = x * 0.999 + y
    return x


def normals(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Arrays of float32."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def options() -> list[np.ndarray]:
    """Prices, strikes and times."""
    rng = np.random.default_rng(0)
    bounds = ((50, 150), (50, 150), (0.1, 2))
    return [rng.uniform(low, high, LARGE).astype(np.float32) for low, high in bounds]


# name: (program, data, bytes that must be moved or None, flops or None)
PROGRAMS: dict[str, tuple[Program, Callable[[], list[np.ndarray]], float | None]] = {
    "chain": (chain, lambda: normals(*[(LARGE,)] * 4), 5 * 4.0 * LARGE),
    "black_scholes": (black_scholes, options, 5 * 4.0 * LARGE),
    "softmax": (softmax, lambda: normals(ROWS), 8.0 * ROWS[0] * ROWS[1]),
    "layer_norm": (layer_norm, lambda: normals(ROWS), 8.0 * ROWS[0] * ROWS[1]),
    "sum0": (lambda xp, x: x.sum(0), lambda: normals((SQUARE, SQUARE)), 4.0 * SQUARE**2),
    "sum1": (lambda xp, x: x.sum(1), lambda: normals((SQUARE, SQUARE)), 4.0 * SQUARE**2),
    "matmul": (lambda xp, a, b: a @ b, lambda: normals(*[(PRODUCT, PRODUCT)] * 2), None),
    "small": (small, lambda: normals((10,), (10,)), None),
}


# ---- lanes: how each library gets data, runs a program, and waits


class Ours:
    """lazyarray."""

    def __init__(self) -> None:
        import lazyarray as la

        self.xp, self.device = la, la.gpu(0)

    def array(self, data: np.ndarray) -> Any:
        return self.xp.array(data, device=self.device)

    def ready(self, program: Program) -> Program:
        def run(*data: Any) -> Any:
            found = program(self.xp, *data)
            self.xp.eval(*found) if isinstance(found, tuple) else self.xp.eval(found)
            return found

        return run

    def step(self, batch: int) -> Callable[[], Any]:
        la = self.xp
        rng = np.random.default_rng(0)
        with self.device:
            net = la.nn.Sequential(
                *[la.nn.Dense(n, activation="relu") for n in WIDTHS[1:-1]], la.nn.Dense(WIDTHS[-1])
            )
            x = la.array(rng.standard_normal((batch, WIDTHS[0]), np.float32))
            y = la.array(rng.integers(0, WIDTHS[-1], batch))
            net(x)
            optimizer = la.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

        def run() -> Any:
            with la.autograd.record():
                loss = la.softmax_cross_entropy(net(x), y).mean()
            loss.backward()
            optimizer.step()
            return loss

        return run


class Cupy:
    """CuPy."""

    def __init__(self) -> None:
        import cupy

        self.xp = cupy

    def array(self, data: np.ndarray) -> Any:
        return self.xp.asarray(data)

    def ready(self, program: Program) -> Program:
        return lambda *data: program(self.xp, *data)

    step = None


class Torch:
    """PyTorch, eager or compiled; TF32 stays off, as it is by default."""

    def __init__(self, compiled: bool = False) -> None:
        import torch

        if not torch.cuda.is_available():
            raise ImportError("torch sees no GPU")
        self.torch, self.compiled = torch, compiled

    def array(self, data: np.ndarray) -> Any:
        return self.torch.from_numpy(data).cuda()

    def ready(self, program: Program) -> Program:
        xp = TorchNames(self.torch)

        def run(*data: Any) -> Any:
            return program(xp, *data)

        return self.torch.compile(run) if self.compiled else run

    def step(self, batch: int) -> Callable[[], Any]:
        torch = self.torch
        layers: list[Any] = []
        for m, n in itertools.pairwise(WIDTHS):
            layers += [torch.nn.Linear(m, n), torch.nn.ReLU()]
        net = torch.nn.Sequential(*layers[:-1]).cuda()
        rng = np.random.default_rng(0)
        x = self.array(rng.standard_normal((batch, WIDTHS[0]), np.float32))
        y = self.array(rng.integers(0, WIDTHS[-1], batch))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        loss_of = torch.nn.functional.cross_entropy

        def forward(x: Any, y: Any) -> Any:
            return loss_of(net(x), y)

        if self.compiled:
            forward = torch.compile(forward)

        def run() -> Any:
            optimizer.zero_grad(set_to_none=True)
            loss = forward(x, y)
            loss.backward()
            optimizer.step()
            return loss

        return run


class TorchNames:
    """PyTorch under NumPy's names."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.torch, name)


class Jax:
    """JAX, compiled."""

    def __init__(self) -> None:
        import jax

        if jax.default_backend() != "gpu":
            raise ImportError("jax sees no GPU")
        self.jax, self.xp = jax, jax.numpy

    def array(self, data: np.ndarray) -> Any:
        return self.xp.asarray(data)

    def ready(self, program: Program) -> Program:
        return self.jax.jit(lambda *data: program(self.xp, *data))

    def step(self, batch: int) -> Callable[[], Any]:
        jax, jnp = self.jax, self.xp
        rng = np.random.default_rng(0)
        shapes = list(itertools.pairwise(WIDTHS))
        parameters = [
            (jnp.asarray(rng.standard_normal(s, np.float32) / s[0] ** 0.5), jnp.zeros(s[1]))
            for s in shapes
        ]
        x = jnp.asarray(rng.standard_normal((batch, WIDTHS[0]), np.float32))
        y = jnp.asarray(rng.integers(0, WIDTHS[-1], batch))

        def loss_of(parameters: Any) -> Any:
            h = x
            for i, (w, b) in enumerate(parameters):
                h = h @ w + b
                h = jnp.maximum(h, 0) if i < len(parameters) - 1 else h
            return -jnp.take_along_axis(jax.nn.log_softmax(h), y[:, None], 1).mean()

        @jax.jit
        def update(parameters: Any, moments: Any) -> Any:
            loss, slopes = jax.value_and_grad(loss_of)(parameters)
            moments = jax.tree.map(lambda m, g: 0.9 * m + g, moments, slopes)
            return loss, jax.tree.map(lambda p, m: p - 0.05 * m, parameters, moments), moments

        state = [parameters, jax.tree.map(jnp.zeros_like, parameters)]

        def run() -> Any:
            loss, state[0], state[1] = update(*state)
            return loss

        return run


LANES: dict[str, Callable[[], Any]] = {
    "lazyarray": Ours,
    "cupy": Cupy,
    "torch": Torch,
    "torch.compile": lambda: Torch(True),
    "jax.jit": Jax,
}


# ---- measuring


class Clock:
    """Milliseconds between CUDA events around work on any stream."""

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy

    def __call__(self, run: Callable[[], Any]) -> float:
        event = self.cupy.cuda.Event
        runtime = self.cupy.cuda.runtime
        runtime.deviceSynchronize()
        begin, end = event(), event()
        begin.record(self.cupy.cuda.Stream.null)
        kept = run()
        runtime.deviceSynchronize()
        end.record(self.cupy.cuda.Stream.null)
        end.synchronize()
        del kept
        return float(self.cupy.cuda.get_elapsed_time(begin, end))


def bandwidth(cupy: Any, clock: Clock) -> float:
    """Bytes a second of a copy, read and written."""
    source = cupy.ones(LARGE, cupy.float32)
    target = cupy.empty_like(source)
    spans = [clock(lambda: cupy.copyto(target, source)) for _ in range(20)]
    return 8e3 * LARGE / statistics.median(spans[5:])


def measure(
    runs: dict[str, Callable[[], Any]], clock: Clock, repeat: int
) -> dict[str, list[float]]:
    """Milliseconds of each lane: the first call, then the others in turns."""
    found: dict[str, list[float]] = {}
    for lane, run in list(runs.items()):
        try:
            found[lane] = [clock(run)]
            for _ in range(3):
                clock(run)
        except Exception as error:
            print(f"    {lane}: {type(error).__name__}: {str(error).splitlines()[0]}")
            found.pop(lane, None)
            del runs[lane]
    for _ in range(repeat):
        for lane, run in runs.items():
            found[lane].append(clock(run))
    return found


def show(name: str, found: dict[str, list[float]], nbytes: float | None, rate: float) -> None:
    """Print a row."""
    medians = {lane: statistics.median(spans[1:]) for lane, spans in found.items()}
    ours = medians.get("lazyarray")
    print(f"{name}: goal {GOALS[name]}")
    for lane, median in medians.items():
        text = f"    {lane:14} {median:9.3f} ms   first {found[lane][0]:9.1f} ms"
        if nbytes is not None:
            text += f"   {nbytes / (median / 1e3) / rate:5.0%} of the bandwidth"
        if ours is not None and lane != "lazyarray":
            text += f"   ours / its {ours / median:5.2f}"
        print(text)


def control(lanes: dict[str, Any], repeat: int) -> None:
    """Microseconds until Python goes on after a step was recorded and asked for."""
    ours = lanes.get("lazyarray")
    if ours is None:
        return
    run = ours.step(128)
    for _ in range(20):
        run()
    ours.xp.wait_all()
    spans = []
    for _ in range(repeat):
        begin = time.perf_counter()
        run()
        spans.append(time.perf_counter() - begin)
        ours.xp.wait_all()
    print(f"control: goal {GOALS['control']}")
    print(f"    lazyarray      {statistics.median(spans) * 1e6:9.1f} us")


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=tuple(GOALS), default=list(GOALS))
    parser.add_argument("--peers", nargs="+", choices=tuple(LANES)[1:], default=list(LANES)[1:])
    parser.add_argument("--repeat", type=int, default=30)
    asked = parser.parse_args()
    try:
        import cupy

        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except Exception as error:
        print(f"no GPU can be used here: {error}")
        return 2
    clock = Clock(cupy)
    rate = bandwidth(cupy, clock)
    print(f"{name}, {time.strftime('%Y-%m-%d')}: a copy moves {rate / 1e9:.0f} GB/s")
    lanes: dict[str, Any] = {}
    for lane in ["lazyarray", *asked.peers]:
        try:
            lanes[lane] = LANES[lane]()
        except ImportError as error:
            print(f"{lane}: absent ({error})")
    for row in asked.rows:
        runs: dict[str, Callable[[], Any]] = {}
        nbytes = None
        if row == "control":
            control(lanes, asked.repeat)
            continue
        if row.startswith("mlp"):
            runs = {k: v.step(int(row[3:])) for k, v in lanes.items() if v.step is not None}
        else:
            program, data, nbytes = PROGRAMS[row]
            made = data()
            for lane, opened in lanes.items():
                placed = [opened.array(x) for x in made]
                ready = opened.ready(program)
                runs[lane] = lambda ready=ready, placed=placed: ready(*placed)
        show(row, measure(runs, clock, asked.repeat), nbytes, rate)
        runs.clear()
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()
    return 0


if __name__ == "__main__":
    sys.exit(main())
