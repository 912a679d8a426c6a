"""Devices: where arrays lie, and which backend computes there.

A device has a number: 0 is the CPU, whose tasks are the engine's; others get one when they are
first named, with a `Backend` that issues their tasks.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from lazyarray import _ir
from lazyarray.errors import DeviceError, OptionError, OutOfMemoryError, fail


class Event(NamedTuple):
    """What a device's stream has done, with times of the device in ns, as `time.monotonic_ns`."""

    kind: str  # "kernel", "graph", "into" or "out of"
    name: str
    device: str
    stream: str  # "compute", "into" or "out of"
    start: int
    end: int
    nbytes: int  # of a copy


class Memory(Protocol):
    """A device's memory, which is given back when the object goes."""

    ptr: int


class Launch(Protocol):
    """What issues a task again and again, each time on other memory."""

    lane: Any  # the engine's, which runs it where it cannot be issued at once
    waits: bool  # for the device or for the memory of the CPU: never issued by who records
    turn: int  # among the tasks of a plan: FIRST, AMID or LAST

    def __call__(self, args: list[Any]) -> None:
        """Issue it: addresses of its operands, or the bytes of those that are numbers."""


class Backend(Protocol):
    """A device that runs what it is given in order, and says when it is done."""

    def allocate(self, nbytes: int) -> Memory:
        """Return memory, or raise OutOfMemoryError."""

    def prepare(self, task: Any) -> Launch:
        """Return what issues a task of a plan."""

    def custom(self, op: Any, call: Any) -> bool:
        """Compile a user's CUDA source for a call; False where the device runs none."""

    def write(self, memory: Memory, data: bytes) -> None:
        """Let the stream put a few bytes there."""

    def capture(self, issue: Callable[[], None]) -> Any:
        """Return what `issue` issues, to be issued by a `launch()` of it; None: not now."""

    def synchronize(self) -> None:
        """Wait until all that was issued is done; raise what failed in it."""

    def start_log(self) -> None:
        """Keep what streams do, and when."""

    def stop_log(self) -> list[Event]:
        """Return what streams have done since `start_log`, which is waited for."""

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Let the stream copy within the device's memory."""

    def dlpack_device(self) -> tuple[int, int]:
        """Return DLPack's name of the device."""

    def dlpack_stream(self) -> int | None:
        """Return the stream that has to wait for others, as DLPack names it."""

    def lent(self, stream: int | None) -> None:
        """Hand memory over to others: their stream waits for ours."""

    def borrowed(self) -> None:
        """Take memory of others, for which ours waits already."""

    def returned(self, kept: Any) -> None:
        """End what began with `lent` or `borrowed`; `kept` is let go when the stream is done."""

    def await_stream(self, other: int | None) -> None:
        """Let the stream wait for what has been issued to another one."""

    def meet(self) -> None:
        """Let the stream wait for what others do with memory that both see."""

    def part(self) -> None:
        """Let others wait for what the stream does with memory that both see."""

    def statistics(self) -> dict[str, int]:
        """Return memory in use, its peak and what is kept for later, in bytes."""


@dataclass(frozen=True, slots=True)
class Device:
    """A place for arrays; in a ``with`` block, where new ones are made.

    Examples
    --------
    >>> with la.cpu():
    ...     a = la.zeros(3)
    >>> a.device
    Device(kind='cpu', index=0)
    """

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"

    def __enter__(self) -> Device:
        recorder = _ir.current()
        outer.stack.append(recorder.device)
        recorder.device = number_of(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _ir.current().device = outer.stack.pop()


class Outer(threading.local):
    """The devices to go back to, by thread."""

    def __init__(self) -> None:
        self.stack: list[int] = []


outer = Outer()
CPU = Device("cpu")
known: list[Device] = [CPU]  # by number
backends: list[Backend | None] = [None]
adding = threading.Lock()
# A kind's backend: index -> Backend, or DeviceError; and how many there are. Set by higher floors.
openers: dict[str, Callable[[int], Backend]] = {}
counters: dict[str, Callable[[], int]] = {}
locators: dict[str, Callable[[int], int]] = {}  # address -> which of a kind has it


def number_of(device: Device) -> int:
    """Return the number of a device; its backend is opened when it is first asked for."""
    if device is CPU or device == CPU:
        return 0
    with adding:
        if device not in known:
            if device.kind not in openers:
                fail(DeviceError, "device", f"unknown kind of device {device.kind!r}")
            backends.append(openers[device.kind](device.index))
            known.append(device)
            _ir.use_devices(name_of)
        return known.index(device)


def name_of(number: int) -> str:
    """Return the name of a device by its number."""
    return str(known[number])


def backend_of(number: int) -> Backend:
    """Return the backend of a device by its number."""
    found = backends[number]
    assert found is not None
    return found


def meet() -> None:
    """Let devices wait for what others have issued on memory that both see."""
    for backend in backends:
        if backend is not None:
            backend.meet()


def part() -> None:
    """Let others wait for what devices have been issued on memory that both see."""
    for backend in backends:
        if backend is not None:
            backend.part()


def describe_holders(number: int) -> list[str]:
    """Lines that say who holds most of a device's memory; a higher floor sets it."""
    return []


def out_of_memory(backend: Backend, text: str) -> OutOfMemoryError:
    """The error of a device that has no memory, with those who hold most of it."""
    lines = describe_holders(backends.index(backend)) if backend in backends else []
    return OutOfMemoryError("\n".join([text, *lines]))


# Turns of launches in a plan: copies to a device, what it computes, copies from it.
FIRST, AMID, LAST = range(3)


def together(program: Any, launches: list[Launch]) -> tuple[Any, list[int]] | None:
    """Return what issues all that one device computes in a plan, and the turn of each task.

    None where nobody can: where there are several devices, or some task waits or stands alone.
    """
    tasks = program.tasks
    number = tasks[0].device
    turns = [launch.turn for launch in launches]
    amid = [launch for launch in launches if launch.turn == AMID]
    if any(task.device != number for task in tasks) or any(launch.waits for launch in amid):
        return None
    for task, turn in zip(tasks, turns, strict=True):
        if turn == FIRST and any(program.slots[slot].leaf < 0 for slot in task.reads):
            return None
    return (replays(number, amid), turns) if amid else None


def replays(number: int, launches: list[Launch]) -> Any:
    """Return what issues these on a device, one after the other; a higher floor sets it."""
    raise NotImplementedError


def prepared(task: Any) -> Launch:
    """Return what issues a task of a plan on its device."""
    return backend_of(task.device).prepare(task)


def cpu(index: int = 0) -> Device:
    """Return the CPU. All its cores are one device, so only index 0 exists."""
    if index != 0:
        fail(DeviceError, "cpu", f"there is no CPU device {index}", "All cores are la.cpu(0).")
    return CPU


def gpu(index: int = 0) -> Device:
    """Return a GPU.

    Parameters
    ----------
    index : int, default 0
        Which one, as CUDA counts them.

    Raises
    ------
    DeviceError
        Without CuPy, a driver or that GPU; it says what is missing.
    """
    found = Device("gpu", index)
    number_of(found)
    return found


def devices() -> list[Device]:
    """Return the devices that can be used."""
    return [CPU, *(Device(kind, i) for kind, count in counters.items() for i in range(count()))]


def as_device(device: object) -> Device:
    """Return the Device that `device` (a Device, a name such as "gpu:0", or None) stands for.

    None is the device where this thread makes new arrays.
    """
    if device is None:
        return current_device()
    if isinstance(device, Device):
        return device
    name, _, index = str(device).partition(":")
    if not (index or "0").isdecimal():
        fail(DeviceError, "device", f"unknown device {device!r}", 'Known: "cpu", "gpu", "gpu:1".')
    if name == "cpu":
        return cpu(int(index or 0))
    if name in ("gpu", "cuda"):
        return gpu(int(index or 0))
    if name in openers:
        found = Device(name, int(index or 0))
        number_of(found)
        return found
    fail(DeviceError, "device", f"unknown device {device!r}", 'Known: "cpu", "gpu", "gpu:1".')


def current_device() -> Device:
    """Return where this thread makes new arrays."""
    return known[_ir.current().device]


def use(device: object) -> Device:
    """Let this thread, and threads that have recorded nothing yet, make new arrays there.

    Parameters
    ----------
    device : Device or str
        Such as "gpu" or "gpu:1".

    Returns
    -------
    Device
        The device before.
    """
    if device is None:
        fail(OptionError, "use", "expected a device or its name, got None")
    before = current_device()
    _ir.set_device(number_of(as_device(device)))
    return before


def placed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function's `device` say where the arrays that it makes lie."""

    @functools.wraps(function)
    def there(*args: Any, **options: Any) -> Any:
        device = options.get("device")
        if device is None:
            return function(*args, **options)
        with as_device(device):
            return function(*args, **options)

    return there


def placed_as(function: Callable[..., Any]) -> Callable[..., Any]:
    """`placed`, for a function whose first argument, an array, is on the device by default."""

    @functools.wraps(function)
    def there(first: Any, *args: Any, **options: Any) -> Any:
        device = options.get("device")
        if device is None and len(known) > 1:
            device = getattr(first, "device", None)
        if not isinstance(device, Device | str):
            return function(first, *args, **options)
        with as_device(device):
            return function(first, *args, **options)

    return there
