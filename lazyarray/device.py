"""Devices: where arrays live. One CPU so far; a GPU is refused with what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from lazyarray.errors import DeviceError, fail


@dataclass(frozen=True, slots=True)
class Device:
    """A place for arrays."""

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


CPU = Device("cpu")


def cpu(index: int = 0) -> Device:
    """Return the CPU. All its cores are one device, so only index 0 exists."""
    if index != 0:
        fail(DeviceError, "cpu", f"there is no CPU device {index}", "All cores are la.cpu(0).")
    return CPU


def gpu(index: int = 0) -> Device:
    """Raise DeviceError: this version computes on the CPU only."""
    fail(
        DeviceError,
        "gpu",
        f"gpu:{index} cannot be used: this version has no GPU lane",
        "Use la.cpu(), the default.",
    )


def devices() -> list[Device]:
    """Return the devices that can be used."""
    return [CPU]


def as_device(device: object) -> Device:
    """Return the Device that `device` (None, a Device or a name such as "cpu") stands for."""
    if device is None or isinstance(device, Device):
        return device or CPU
    name, _, index = str(device).partition(":")
    if name == "cpu":
        return cpu(int(index or 0))
    if name in ("gpu", "cuda"):
        return gpu(int(index or 0))
    fail(DeviceError, "device", f"unknown device {device!r}", 'Known: "cpu".')
