"""Programs on one GPU in lazyarray and in its peers: CuPy, PyTorch (eager and compiled), JAX.

    python benchmarks/gpu.py                    # every row, every peer that is installed
    python benchmarks/gpu.py --rows chain softmax --peers cupy jax.jit --repeat 20

All lanes run in this process, on GPU 0, in turns. A time is the median of `--repeat` runs between
two CUDA events that CuPy records on the legacy default stream, after and before a wait for the
whole device, so that launches which the CPU is too slow to issue count. Bandwidth is that of a copy
of 400 MB, measured in the same run. TensorFloat-32 is off in every lane. The networks are those of
`make train`. Without a GPU, or without CuPy, it says so and ends with 2.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

LARGE = 100_000_000
ROWS = (65536, 1024)
SQUARE = 16384
PRODUCT = 8192
SMALL = 1000
STEADY = 100  # steps
PIXELS, CLASSES = 28, 10
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
RATE, MOMENTUM = 0.05, 0.9
WIDTHS = (784, 256, 128, 10)  # of the MLP
# Of LeNet: channels of its convolutions, 5 x 5, each before a maximum over 2 x 2; then widths.
CHANNELS, WINDOW, BEHIND = (1, 20, 50), 5, (800, 500, 10)
# Goals: the share of the copy's bandwidth, or our time over that of the peer.
GOALS = {
    "chain": "85 % of the bandwidth, 0.5 of cupy, 1.0 of jax.jit and torch.compile",
    "black_scholes": "85 % of the bandwidth, 0.5 of cupy, 1.0 of jax.jit and torch.compile",
    "softmax": "80 % of the bandwidth",
    "layer_norm": "80 % of the bandwidth",
    "sum0": "85 % of the bandwidth",
    "sum1": "85 % of the bandwidth",
    "matmul": "1.03 of torch",
    "matmul16": "1.03 of torch",
    "small": "0.2 of cupy",
    "mlp128": "0.5 of torch, 1.0 of the better of torch.compile and jax.jit",
    "mlp4096": "0.5 of torch, 1.0 of the better of torch.compile and jax.jit",
    "lenet128": "0.5 of torch, 1.0 of the better of torch.compile and jax.jit",
    "lenet4096": "0.5 of torch, 1.0 of the better of torch.compile and jax.jit",
    "control": "100 us until Python goes on after recording a step at batch 128",
    "memory": f"0 bytes more after {STEADY} steps at batch 128",
}
NETS = ("mlp", "lenet")

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


def normals(*shapes: tuple[int, ...], dtype: Any = np.float32) -> list[np.ndarray]:
    """Arrays of a floating dtype."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, np.float32).astype(dtype, copy=False) for shape in shapes]


def batch_of(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images with one channel behind, and their labels."""
    (images,) = normals((count, PIXELS, PIXELS, 1))
    return images, np.random.default_rng(0).integers(0, CLASSES, count)


def options() -> list[np.ndarray]:
    """Prices, strikes and times."""
    rng = np.random.default_rng(0)
    bounds = ((50, 150), (50, 150), (0.1, 2))
    return [rng.uniform(low, high, LARGE).astype(np.float32) for low, high in bounds]


def product(xp: Any, a: Any, b: Any) -> Any:
    """A product of matrices."""
    return a @ b


FLOPS = {"matmul": 2.0 * PRODUCT**3, "matmul16": 2.0 * PRODUCT**3}
SQUARES = [(PRODUCT, PRODUCT)] * 2
# name: (program, data, bytes that must be moved or None)
PROGRAMS: dict[str, tuple[Program, Callable[[], list[np.ndarray]], float | None]] = {
    "chain": (chain, lambda: normals(*[(LARGE,)] * 4), 5 * 4.0 * LARGE),
    "black_scholes": (black_scholes, options, 5 * 4.0 * LARGE),
    "softmax": (softmax, lambda: normals(ROWS), 8.0 * ROWS[0] * ROWS[1]),
    "layer_norm": (layer_norm, lambda: normals(ROWS), 8.0 * ROWS[0] * ROWS[1]),
    "sum0": (lambda xp, x: x.sum(0), lambda: normals((SQUARE, SQUARE)), 4.0 * SQUARE**2),
    "sum1": (lambda xp, x: x.sum(1), lambda: normals((SQUARE, SQUARE)), 4.0 * SQUARE**2),
    "matmul": (product, lambda: normals(*SQUARES), None),
    "matmul16": (product, lambda: normals(*SQUARES, dtype=BFLOAT16), None),
    "small": (small, lambda: normals((10,), (10,)), None),
}


# ---- lanes: how each library gets data, runs a program, and waits


class Ours:
    """lazyarray."""

    def __init__(self, device: Any = None) -> None:
        import lazyarray as la

        self.xp, self.device = la, device or la.gpu(0)

    def array(self, data: np.ndarray) -> Any:
        return self.xp.array(data, device=self.device)

    def ready(self, program: Program) -> Program:
        def run(*data: Any) -> Any:
            found = program(self.xp, *data)
            self.xp.eval(*found) if isinstance(found, tuple) else self.xp.eval(found)
            return found

        return run

    def step(self, net: str, batch: int) -> Callable[[], Any]:
        from train_mnist import build

        la = self.xp
        with self.device:
            made = build(net)
            x, y = map(la.array, batch_of(batch))
            made(x)
            optimizer = la.optim.SGD(made.parameters(), lr=RATE, momentum=MOMENTUM)

        def run() -> Any:
            with la.autograd.record():
                loss = la.softmax_cross_entropy(made(x), y).mean()
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
    """PyTorch, eager or compiled."""

    def __init__(self, compiled: bool = False, where: str = "cuda") -> None:
        import torch

        if where == "cuda" and not torch.cuda.is_available():
            raise ImportError("torch sees no GPU")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.torch, self.compiled, self.where = torch, compiled, where

    def array(self, data: np.ndarray) -> Any:
        if data.dtype == BFLOAT16:
            bits = self.torch.from_numpy(data.view(np.int16))
            return bits.view(self.torch.bfloat16).to(self.where)
        return self.torch.from_numpy(data).to(self.where)

    def ready(self, program: Program) -> Program:
        xp = TorchNames(self.torch)

        def run(*data: Any) -> Any:
            return program(xp, *data)

        return self.torch.compile(run) if self.compiled else run

    def net(self, name: str) -> Any:
        nn = self.torch.nn
        layers: list[Any] = []
        if name == "lenet":
            for m, n in itertools.pairwise(CHANNELS):
                layers += [nn.Conv2d(m, n, WINDOW), nn.ReLU(), nn.MaxPool2d(2)]
        layers.append(nn.Flatten())
        for m, n in itertools.pairwise(BEHIND if name == "lenet" else WIDTHS):
            layers += [nn.Linear(m, n), nn.ReLU()]
        return nn.Sequential(*layers[:-1]).to(self.where)

    def step(self, net: str, batch: int) -> Callable[[], Any]:
        torch = self.torch
        made = self.net(net)
        images, labels = batch_of(batch)
        x, y = self.array(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), self.array(labels)
        optimizer = torch.optim.SGD(made.parameters(), lr=RATE, momentum=MOMENTUM)
        loss_of = torch.nn.functional.cross_entropy

        def forward(x: Any, y: Any) -> Any:
            return loss_of(made(x), y)

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

    def __init__(self, backend: str = "gpu") -> None:
        import jax

        if jax.default_backend() != backend:
            raise ImportError("jax sees no GPU")
        jax.config.update("jax_default_matmul_precision", "highest")
        self.jax, self.xp = jax, jax.numpy

    def array(self, data: np.ndarray) -> Any:
        return self.xp.asarray(data)

    def ready(self, program: Program) -> Program:
        return self.jax.jit(lambda *data: program(self.xp, *data))

    def net(self, name: str) -> tuple[list[Any], Callable[[Any, Any], Any]]:
        """Parameters, and what a network makes of them and of images."""
        jax, jnp = self.jax, self.xp
        windows = [(WINDOW, WINDOW, m, n) for m, n in itertools.pairwise(CHANNELS)]
        shapes = [*(windows if name == "lenet" else ())]
        shapes += itertools.pairwise(BEHIND if name == "lenet" else WIDTHS)
        rng = np.random.default_rng(0)
        parameters = []
        for shape in shapes:
            scale = float(np.prod(shape[:-1])) ** 0.5
            weight = rng.standard_normal(shape, np.float32) / np.float32(scale)
            parameters.append((jnp.asarray(weight), jnp.zeros(shape[-1])))

        def forward(parameters: Any, h: Any) -> Any:
            for i, (w, b) in enumerate(parameters):
                if w.ndim == 4:
                    names = ("NHWC", "HWIO", "NHWC")
                    h = jax.lax.conv_general_dilated(h, w, (1, 1), "VALID", dimension_numbers=names)
                    h = jnp.maximum(h + b, 0)
                    area = (1, 2, 2, 1)
                    h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, area, area, "VALID")
                    continue
                h = h.reshape(len(h), -1) @ w + b
                h = jnp.maximum(h, 0) if i < len(parameters) - 1 else h
            return h

        return parameters, forward

    def step(self, net: str, batch: int) -> Callable[[], Any]:
        jax, jnp = self.jax, self.xp
        parameters, forward = self.net(net)
        x, y = map(jnp.asarray, batch_of(batch))

        def loss_of(parameters: Any, x: Any, y: Any) -> Any:
            logs = jax.nn.log_softmax(forward(parameters, x))
            return -jnp.take_along_axis(logs, y[:, None], 1).mean()

        @jax.jit
        def update(parameters: Any, moments: Any, x: Any, y: Any) -> Any:
            loss, slopes = jax.value_and_grad(loss_of)(parameters, x, y)
            moments = jax.tree.map(lambda m, g: MOMENTUM * m + g, moments, slopes)
            return loss, jax.tree.map(lambda p, m: p - RATE * m, parameters, moments), moments

        state = [parameters, jax.tree.map(jnp.zeros_like, parameters)]

        def run() -> Any:
            loss, state[0], state[1] = update(*state, x, y)
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
    """Print a row: milliseconds, and what share of the copy's bandwidth, or how many flops."""
    medians = {lane: statistics.median(spans[1:]) for lane, spans in found.items()}
    ours = medians.get("lazyarray")
    print(f"{name}: goal {GOALS[name]}")
    for lane, median in medians.items():
        text = f"    {lane:14} {median:9.3f} ms   first {found[lane][0]:9.1f} ms"
        if nbytes is not None:
            text += f"   {nbytes / (median / 1e3) / rate:5.0%} of the bandwidth"
        if name in FLOPS:
            text += f"   {FLOPS[name] / median / 1e9:7.1f} TFLOP/s"
        if ours is not None and lane != "lazyarray":
            text += f"   ours / its {ours / median:5.2f}"
        print(text)


def control(ours: Ours, repeat: int) -> None:
    """Microseconds until Python goes on after a step was recorded and asked for."""
    for net in NETS:
        run = ours.step(net, 128)
        for _ in range(20):
            run()
        ours.xp.wait_all()
        spans = []
        for _ in range(repeat):
            begin = time.perf_counter()
            run()
            spans.append(time.perf_counter() - begin)
            ours.xp.wait_all()
        print(f"    lazyarray {net:6} {statistics.median(spans) * 1e6:9.1f} us")


def memory(ours: Ours) -> None:
    """Bytes that a device's pool has got from it, before and after many steps."""
    for net in NETS:
        run = ours.step(net, 128)
        for _ in range(20):
            run()
        ours.xp.wait_all()
        before, started = held(ours), ours.xp.stats()
        for _ in range(STEADY):
            run()
        ours.xp.wait_all()
        ended = ours.xp.stats()
        graphs, launches = (ended[k] - started[k] for k in ("captured", "replayed"))
        print(
            f"    lazyarray {net:6} {held(ours) - before:9} bytes more than {before};"
            f" {graphs:.0f} graphs captured, {launches:.0f} launched"
        )


def held(ours: Ours) -> int:
    """Bytes that the pool has, in use or not."""
    found = ours.xp.memory.stats(ours.device)
    return found["in_use"] + found["pooled"]


def prepared(row: str, lanes: dict[str, Any]) -> tuple[dict[str, Callable[[], Any]], float | None]:
    """What each lane runs for a row, and the bytes that it must move."""
    runs: dict[str, Callable[[], Any]] = {}
    net = row.rstrip("0123456789")
    if net in NETS:
        for lane, opened in lanes.items():
            if opened.step is not None:
                runs[lane] = opened.step(net, int(row[len(net) :]))
        return runs, None
    program, data, nbytes = PROGRAMS[row]
    made = data()
    for lane, opened in lanes.items():
        try:
            placed = [opened.array(x) for x in made]
        except Exception as error:
            print(f"    {lane}: {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        ready = opened.ready(program)
        runs[lane] = lambda ready=ready, placed=placed: ready(*placed)
    return runs, nbytes


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=tuple(GOALS), default=list(GOALS))
    parser.add_argument("--peers", nargs="+", choices=tuple(LANES)[1:], default=list(LANES)[1:])
    parser.add_argument("--repeat", type=int, default=30)
    asked = parser.parse_args(arguments)
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
        if row in ("control", "memory"):
            print(f"{row}: goal {GOALS[row]}")
            if row == "control":
                control(lanes["lazyarray"], asked.repeat)
            else:
                memory(lanes["lazyarray"])
        else:
            runs, nbytes = prepared(row, lanes)
            show(row, measure(runs, clock, asked.repeat), nbytes, rate)
            runs.clear()
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()
    return 0


if __name__ == "__main__":
    sys.exit(main())
