"""Backends of devices other than the CPU: what issues a plan's tasks there."""

from __future__ import annotations

from typing import Any

from lazyarray import device, runtime

from . import replay


def open_gpu(index: int) -> Any:
    """The backend of a GPU; CuPy is imported now."""
    from .cuda import Gpu

    return Gpu(index)


def open_simulated(index: int) -> Any:
    """The backend of a simulated device."""
    from .simulated import opened

    return opened(index)


def count_gpus() -> int:
    """How many GPUs there are."""
    from .cuda import count

    return count()


def locate(address: int) -> int:
    """Which GPU has an address."""
    from .cuda import index_of

    return index_of(address)


def replays(number: int, launches: list[Any]) -> Any:
    """What issues the tasks of a plan on one device."""
    return replay.Replay(device.backend_of(number), launches)


device.replays = replays
runtime.providers.append(replay.counters)
device.openers["gpu"] = open_gpu
device.openers["simulated"] = open_simulated
device.counters["gpu"] = count_gpus
device.locators["gpu"] = locate
