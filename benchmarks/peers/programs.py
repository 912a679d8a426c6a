"""The rows of the table: data, the program as a user of each framework writes it, and its goal.

A program is made for a framework and takes its arrays. Where the frameworks' namespaces agree the
same text serves all; a family that would be written otherwise has its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .frameworks import Framework
from .small import CHAIN, at_once, chain_of_operations, control, read_one, record
from .training import training_step
from .unseen import expressions

Program = Callable[..., Any]
Arrays = tuple[np.ndarray, ...]

EAGER = ("lazyarray", "numpy", "torch", "jax", "mlx")
JITTED = ("lazyarray.jit", "numpy", "jax.jit", "mlx.compile")
ALL = ("lazyarray", "lazyarray.jit", "numpy", "numexpr", "torch", "torch.compile", "jax.jit",
       "mlx", "mlx.compile")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what is measured, in whose hands, and what it shall reach."""

    name: str
    title: str
    data: Callable[[np.random.Generator], Arrays]
    program: Callable[[Framework], Program | None]  # None: not written for it
    goal: float | None = None  # ours over the best peer's, or over `against`, or in `unit`
    stretch: float | None = None
    against: str | None = None  # a lane, where it is not the best peer
    unit: str | None = None  # where the goal is a time: "us" or "ns"
    bytes: float = 0  # that must go through memory: inputs read once, results written once
    flops: float = 0  # of products; other arithmetic is not counted
    lanes: tuple[str, ...] = ALL
    ours: str = "lazyarray"
    calls: int = 1  # steps in one run; times are printed for one
    fresh: bool = False  # every run is another program: nothing is warmed up
    twice: bool = False  # measured in a second process, after a first one filled the caches


def normal(*shapes: tuple[int, ...], dtype: str = "f4") -> Callable[[np.random.Generator], Arrays]:
    """Standard normal arrays."""

    def data(rng: np.random.Generator) -> Arrays:
        return tuple(rng.standard_normal(shape, dtype) for shape in shapes)

    return data


# ---- elementwise


def elementwise_chain(f: Framework) -> Program:
    if f.family == "numexpr":
        text = "a*b + sin(c)*exp(-d*d) - sqrt(abs(a)+1)"
        return lambda a, b, c, d: f.xp.evaluate(text, dict(a=a, b=b, c=c, d=d))
    xp = f.xp
    return f.compile(lambda a, b, c, d: a * b + xp.sin(c) * xp.exp(-d * d) - xp.sqrt(abs(a) + 1))


RATE, VOLATILITY = 0.03, 0.2


def options_data(dtype: str) -> Callable[[np.random.Generator], Arrays]:
    """Prices, strikes and years of four million options."""

    def data(rng: np.random.Generator) -> Arrays:
        bounds = ((80, 120), (80, 120), (0.25, 2))
        return tuple(rng.uniform(*b, 4_000_000).astype(dtype) for b in bounds)

    return data


def black_scholes(f: Framework) -> Program | None:
    """Prices of European calls and puts (Black and Scholes 1973)."""
    xp = f.xp
    if f.family == "numexpr":
        return None  # it has no erf
    if f.family == "numpy":
        from scipy.special import erf
    elif f.family == "jax":
        from jax.scipy.special import erf
    else:
        erf = xp.erf

    def normal_cdf(x: Any) -> Any:
        return 0.5 * (1.0 + erf(x * math.sqrt(0.5)))

    def prices(spot: Any, strike: Any, years: Any) -> Any:
        spread = VOLATILITY * xp.sqrt(years)
        d1 = (xp.log(spot / strike) + (RATE + 0.5 * VOLATILITY**2) * years) / spread
        d2 = d1 - spread
        present = strike * xp.exp(-RATE * years)
        call = spot * normal_cdf(d1) - present * normal_cdf(d2)
        return call, call - spot + present

    return f.compile(prices)


# ---- rows of a matrix


def softmax(f: Framework) -> Program | None:
    xp = f.xp
    if f.family == "numexpr":
        return None
    if f.family == "jax":
        import jax

        return f.compile(jax.nn.softmax)
    if f.family == "numpy":

        def by_hand(x: Any) -> Any:
            e = np.exp(x - x.max(-1, keepdims=True))
            return e / e.sum(-1, keepdims=True)

        return by_hand
    return f.compile(lambda x: xp.softmax(x, -1))


def layer_norm(f: Framework) -> Program | None:
    xp = f.xp
    if f.family == "numexpr":
        return None
    if f.family == "torch":
        return f.compile(lambda x, g, b: xp.nn.functional.layer_norm(x, g.shape, g, b))
    if f.family == "mlx":
        return f.compile(lambda x, g, b: xp.fast.layer_norm(x, g, b, 1e-5))
    if f.family == "lazyarray":
        return f.compile(lambda x, g, b: xp.layer_norm(x, g, b))

    def by_hand(x: Any, g: Any, b: Any) -> Any:
        mean = x.mean(-1, keepdims=True)
        return (x - mean) / xp.sqrt(x.var(-1, keepdims=True) + 1e-5) * g + b

    return f.compile(by_hand)


def logsumexp(f: Framework) -> Program | None:
    xp = f.xp
    if f.family == "numexpr":
        return None
    if f.family == "jax":
        import jax

        return f.compile(lambda x: jax.scipy.special.logsumexp(x, -1))
    if f.family == "numpy":

        def by_hand(x: Any) -> Any:
            top = x.max(-1)
            return top + np.log(np.exp(x - top[:, None]).sum(-1))

        return by_hand
    return f.compile(lambda x: xp.logsumexp(x, -1))


def sums(f: Framework) -> Program | None:
    """Sum, mean and variance over either axis."""
    xp = f.xp
    if f.family == "numexpr":
        return None
    if f.family == "torch":
        return f.compile(
            lambda x: tuple(
                y for a in (0, 1) for y in (x.sum(a), x.mean(a), x.var(a, correction=0))
            )
        )
    return f.compile(lambda x: tuple(op(x, a) for a in (0, 1) for op in (xp.sum, xp.mean, xp.var)))


# ---- distances


def pairwise(f: Framework) -> Program | None:
    """The distances as the formula says, on broadcast differences."""
    xp = f.xp
    if f.family == "numexpr":
        return lambda x: f.xp.evaluate(
            "sqrt(s)", dict(s=f.xp.evaluate("sum((a-b)**2, axis=2)", dict(a=x[:, None], b=x[None])))
        )
    if f.family == "torch":
        return f.compile(lambda x: ((x[:, None] - x[None]) ** 2).sum(-1).sqrt())
    return f.compile(lambda x: xp.sqrt(xp.sum((x[:, None] - x[None]) ** 2, -1)))


def pairwise_called(f: Framework) -> Program | None:
    """The distances by the library's own call, or through a matrix product where it has none."""
    xp = f.xp
    if f.family == "numexpr":
        return None
    if f.family == "torch":
        return f.compile(lambda x: xp.cdist(x, x))
    if f.family == "numpy":
        from scipy.spatial.distance import cdist

        return lambda x: cdist(x, x)

    def by_product(x: Any) -> Any:
        squares = xp.sum(x * x, 1)
        return xp.sqrt(xp.maximum(squares[:, None] + squares - 2 * (x @ x.T), 0))

    return f.compile(by_product)


def k_means(f: Framework) -> Program | None:
    """A step of Lloyd (1982): the nearest centre of each point, then the means of their points."""
    xp = f.xp
    if f.family == "numexpr":
        return None
    if f.family == "torch":

        def by_index(x: Any, centres: Any) -> Any:
            nearest = xp.cdist(x, centres).argmin(1)
            total = xp.zeros_like(centres).index_add_(0, nearest, x)
            return total / xp.bincount(nearest, minlength=len(centres))[:, None]

        return f.compile(by_index)
    single = f.array(np.zeros(1, np.float32)).dtype
    count = f.array(np.arange(32))

    def step(x: Any, centres: Any) -> Any:
        nearest = xp.argmin(xp.sum(centres * centres, 1) - 2 * (x @ centres.T), 1)
        member = (nearest[:, None] == count).astype(single)
        return (member.T @ x) / xp.sum(member, 0)[:, None]

    return f.compile(step)


# ---- a stencil


def heat(f: Framework) -> Program | None:
    """A hundred steps of the heat equation on slices."""
    xp = f.xp
    if f.family == "numexpr":
        return None
    if f.family == "jax":
        import jax

        def step(_: Any, u: Any) -> Any:
            return u.at[1:-1, 1:-1].add(0.1 * laplacian(u))

        return f.compile(lambda u: jax.lax.fori_loop(0, 100, step, u))

    def in_place(u: Any) -> Any:
        u[1:-1, 1:-1] += 0.1 * laplacian(u)
        return u

    # Unrolled a hundred times, it is more than torch.compile and mx.compile take in minutes.
    stepped = in_place if f.lane == "lazyarray.jit" else f.compile(in_place)
    copied = {"torch": lambda u: u.clone(), "mlx": lambda u: xp.array(u)}.get(
        f.family, lambda u: u.copy()
    )

    def run(u: Any) -> Any:
        u = copied(u)
        for _ in range(100):
            u = stepped(u)
        return u

    return f.compile(run) if f.lane == "lazyarray.jit" else run


def laplacian(u: Any) -> Any:
    """The five-point formula inside the border."""
    return u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * u[1:-1, 1:-1]


# ---- products


def product(f: Framework) -> Program | None:
    if f.family == "numexpr":
        return None
    return f.compile(lambda a, b: a @ b)


def labelled(rng: np.random.Generator) -> Arrays:
    """A batch of images as vectors, and their classes."""
    return rng.standard_normal((128, 784), "f4"), rng.integers(0, 10, 128)


MEGA = 1_000_000
ROWS = {
    row.name: row
    for row in (
        Row("chain", "a*b + sin(c)*exp(-d*d) - sqrt(abs(a)+1), 10 M",
            normal(*[(10 * MEGA,)] * 4), elementwise_chain, 0.4, bytes=5 * 40e6),
        Row("options", "Black-Scholes, 4 M", options_data("f4"), black_scholes, 1.0, 0.9,
            bytes=5 * 16e6),
        Row("options64", "Black-Scholes, 4 M, float64", options_data("f8"), black_scholes, 0.5,
            bytes=5 * 32e6),
        Row("softmax", "softmax of rows, (8192, 1024)", normal((8192, 1024)), softmax, 0.6,
            bytes=2 * 33.6e6),
        Row("layer_norm", "layer norm of rows, (8192, 1024)",
            normal((8192, 1024), (1024,), (1024,)), layer_norm, 0.4, bytes=2 * 33.6e6),
        Row("logsumexp", "logsumexp of rows, (8192, 1024)", normal((8192, 1024)), logsumexp, 0.9,
            bytes=33.6e6),
        Row("sums", "sum, mean, var over each axis, (4096, 4096)", normal((4096, 4096)), sums,
            0.3, bytes=67.1e6),
        Row("pairwise", "pairwise distances, 2000 x 64, written out", normal((2000, 64)),
            pairwise, 1.0, 0.9, bytes=16e6),
        Row("cdist", "the same by library call or product", normal((2000, 64)), pairwise_called,
            bytes=16e6, flops=2 * 2000 * 2000 * 64),
        Row("k_means", "k-means step, 200k x 16, k = 32", normal((200_000, 16), (32, 16)),
            k_means, 0.4, bytes=12.8e6, flops=4 * 200_000 * 16 * 32),
        Row("heat", "heat stencil by slices, 1024 x 1024, 100 steps", normal((1024, 1024)), heat,
            0.2, bytes=8.4e6),
        Row("matmul", "matmul 2048^3", normal((2048, 2048), (2048, 2048)), product, 1.03,
            bytes=50e6, flops=2 * 2048**3),
        Row("batched", "64 products of 256^3", normal((64, 256, 256), (64, 256, 256)), product,
            0.9, bytes=50e6, flops=64 * 2 * 256**3),
        Row("small", "operation on ten elements, of 1000 recorded, evaluated",
            normal((10,)), chain_of_operations, 1.0, against="numpy", calls=CHAIN, lanes=EAGER),
        Row("small_jit", "the same under a compiler", normal((10,)), chain_of_operations, 0.1,
            against="numpy", calls=CHAIN, lanes=JITTED, ours="lazyarray.jit"),
        Row("read", "one operation on ten elements, then read", normal((10,), (10,)), read_one,
            2.0, unit="us", calls=1000, lanes=EAGER),
        Row("record", "recording one operation", normal((10,), (10,)), record, 150.0, unit="ns",
            calls=1000, lanes=("lazyarray", "mlx", "jax")),
        Row("control", "Python in control after a 2048^3 matmul was asked to start",
            normal((2048, 2048), (2048, 2048)), control, 50.0, unit="us", lanes=EAGER),
        Row("unseen", "a never-seen expression on 1 M, first call", normal(*[(MEGA,)] * 4),
            expressions, 1.2, against="numpy", fresh=True),
        Row("unseen_again", "the same in a second process", normal(*[(MEGA,)] * 4), expressions,
            1.2, against="numpy", fresh=True, twice=True),
        Row("train", "training step, MLP 784-512-512-10, batch 128, momentum", labelled,
            training_step, 1.0, flops=6 * 128 * (784 * 512 + 512 * 512 + 512 * 10), calls=20),
        Row("endless", "turn of a loop that nobody reads, 1 M turns on ten elements",
            normal((10,)), at_once, calls=MEGA, lanes=("lazyarray", "numpy")),
    )
}  # fmt: skip
