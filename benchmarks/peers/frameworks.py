"""What a program needs of a framework: its arrays, how to wait for them, how to compile a function.

Every framework is optional. A lane is one way to use one: `torch` and `torch.compile` are two.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Framework:
    """One lane, imported."""

    lane: str
    family: str
    xp: Any
    array: Callable[[np.ndarray], Any]
    ready: Callable[[Any], Any]  # waits until a tree of arrays is computed
    compile: Callable[..., Any]  # of a pure function; plain lanes give it back
    numpy: Callable[[Any], np.ndarray]
    version: str

    @property
    def compiles(self) -> bool:
        """Whether it was asked to compile functions."""
        return "." in self.lane


def same(function: Any) -> Any:
    """Return what was given."""
    return function


def with_numpy(lane: str) -> Framework:
    """NumPy."""
    return Framework(lane, "numpy", np, same, same, same, np.asarray, np.__version__)


def with_numexpr(lane: str) -> Framework:
    """numexpr: its programs are texts."""
    import numexpr

    numexpr.set_num_threads(cores())
    return Framework(lane, "numexpr", numexpr, same, same, same, np.asarray, numexpr.__version__)


def with_torch(lane: str) -> Framework:
    """PyTorch, eager or compiled."""
    import torch

    torch.set_num_threads(cores())
    # Inductor warns of its own use of deprecated names.
    warnings.filterwarnings("ignore", module="torch")
    compiled = torch.compile if lane == "torch.compile" else same
    return Framework(
        lane, "torch", torch, lambda x: torch.from_numpy(x.copy()), same, compiled,
        lambda x: x.detach().numpy(), torch.__version__,
    )  # fmt: skip


def with_jax(lane: str) -> Framework:
    """JAX, op by op or jitted."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)  # float32 data stay float32
    if cache := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        # Off unless a user asks for it: on here, for the figure of the second process.
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    return Framework(
        lane, "jax", jnp, jnp.asarray, jax.block_until_ready,
        jax.jit if lane == "jax.jit" else same, np.asarray, jax.__version__,
    )  # fmt: skip


def with_mlx(lane: str) -> Framework:
    """MLX on the CPU, recorded or compiled."""
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
    compiled = mx.compile if lane == "mlx.compile" else same

    def array(x: np.ndarray) -> Any:
        return mx.array(x, mx.float64) if x.dtype == np.float64 else mx.array(x)

    return Framework(lane, "mlx", mx, array, mx.eval, compiled, np.array, mx.__version__)


def with_lazyarray(lane: str) -> Framework:
    """lazyarray, recorded or under `la.jit`."""
    import lazyarray as la

    if lane == "lazyarray.jit" and not hasattr(la, "jit"):
        raise ImportError("this lazyarray has no jit")
    compiled = la.jit if lane == "lazyarray.jit" else same
    return Framework(
        lane, "lazyarray", la, la.array, la.wait_all, compiled, lambda x: x.numpy(), la.__version__
    )


OPENERS = {
    "lazyarray": with_lazyarray,
    "lazyarray.jit": with_lazyarray,
    "numpy": with_numpy,
    "numexpr": with_numexpr,
    "torch": with_torch,
    "torch.compile": with_torch,
    "jax": with_jax,
    "jax.jit": with_jax,
    "mlx": with_mlx,
    "mlx.compile": with_mlx,
}
OURS = ("lazyarray", "lazyarray.jit")
PEERS = tuple(lane for lane in OPENERS if lane not in OURS)


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def open_framework(lane: str) -> Framework:
    """Import the framework of a lane; ImportError where it is not there."""
    return OPENERS[lane](lane)
