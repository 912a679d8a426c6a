"""A process that runs one program in one framework and does as it is told, a line at a time.

Started by `arrays.py`. Each line it reads is an order, each line it writes a JSON object.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .frameworks import Framework, open_framework
from .programs import ROWS, Row
from .small import untimed

SETTLED = 0.3  # seconds of runs before any is counted,
PATIENCE = 120.0  # and at most, while a compiler is at work
TURN = 0.25  # seconds of runs in one turn
MOST = 20  # runs in one turn


class Runner:
    """A program with its data."""

    def __init__(self, lane: str, row: Row) -> None:
        self.row = row
        self.framework: Framework = open_framework(lane)
        program = row.program(self.framework)
        if program is None:
            raise NotImplementedError("not written for it")
        self.program: Callable[..., Any] = program
        data = row.data(np.random.default_rng(0))
        self.arrays = [self.framework.array(x) for x in data]
        self.framework.ready(self.arrays)
        del data
        self.floor = reset_peak()

    def run(self) -> float:
        """Seconds of one run; its result is let go within it, as that of a loop's turn is."""
        begin = time.perf_counter()
        result = self.program(*self.arrays)
        told = untimed(result)
        if told is not None:
            return told
        if result is not None:
            self.framework.ready(result)
        del result
        return time.perf_counter() - begin

    def settle(self) -> None:
        """Run until what is compiled in the background is there."""
        begin = time.perf_counter()
        before = -1.0
        while (gone := time.perf_counter() - begin) < PATIENCE:
            self.run()
            if gone > SETTLED and before == (before := self.compiled()):
                break

    def compiled(self) -> float:
        """How many kernels lazyarray has compiled, once none is in the making."""
        if self.framework.family != "lazyarray":
            return 0.0
        from lazyarray import tiers

        tiers.settle()
        return tiers.counters()["swaps"]

    def turn(self) -> list[float]:
        """Seconds of several runs after one that brings data to the caches, or of a long one."""
        begin = time.perf_counter()
        told = self.run()
        gone = time.perf_counter() - begin  # all of it, where a program times a part of itself
        if self.row.fresh or gone > TURN:
            return [told]
        return [self.run() for _ in range(max(1, min(MOST, int(TURN / max(gone, 1e-9)))))]

    def digest(self) -> str:
        """What identifies the bits of three runs, of which a compiler may take over the later ones.

        Any NaN is the same.
        """
        found = hashlib.sha256()
        for _ in range(3):
            result = self.program(*self.arrays)
            for part in result if isinstance(result, tuple | list) else [result]:
                value = np.array(self.framework.numpy(part))
                if value.dtype.kind == "f":
                    value[np.isnan(value)] = np.nan
                found.update(repr((value.shape, value.dtype.str)).encode() + value.tobytes())
            self.compiled()
        return found.hexdigest()

    def peak(self) -> float:
        """Bytes by which memory has grown at most since the data were there."""
        return max(0, status("VmHWM") - self.floor)


def status(field: str) -> int:
    """Bytes in a line of the process's status."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def reset_peak() -> int:
    """Let the high-water mark of memory be what is in use now; return it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return status("VmHWM")
    return status("VmRSS")


def serve(lane: str, row: str) -> None:
    """Do as each line says, until there is none."""
    # What frameworks print goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**found: Any) -> None:
        answers.write(json.dumps(found) + "\n")

    try:
        runner = Runner(lane, ROWS[row])
    except (ImportError, NotImplementedError) as error:
        return answer(absent=str(error) or type(error).__name__)
    answer(version=runner.framework.version)
    for line in sys.stdin:
        match line.strip():
            case "first":
                answer(first=runner.run())
            case "settle":
                runner.settle()
                answer(settled=True)
            case "turn":
                answer(times=runner.turn())
            case "peak":
                answer(peak=runner.peak())
            case "digest":
                answer(digest=runner.digest())
    return None


def main() -> None:
    """Run the command line: a lane and a row."""
    try:
        serve(*sys.argv[1:])
    except Exception as error:  # a peer that fails is a row that says so
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)


if __name__ == "__main__":
    main()
