"""The helper process, seen from here: started when first wanted, replaced when it fails.

One thread uses it. Each wait is bounded and lets go of the GIL. A process that hangs is killed, one
that dies is replaced, and after `FAILURES` of them there is none any more: nothing is compiled
then, and nothing else changes.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
FAILURES = 3  # processes that died or hung before no more are started
START_SECONDS = 300.0  # for importing LLVM at the lowest priority of a busy machine
COMPILE_SECONDS = 300.0  # for one loop, likewise


class HelperError(Exception):
    """The helper process is absent, died, or took too long."""


class CompileError(Exception):
    """The helper process could not compile a loop, and said why."""


class Service:
    """A helper process and the pipes to it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.failures = 0

    @property
    def absent(self) -> bool:
        """Whether no process is started any more."""
        return self.failures >= FAILURES

    def compile(self, sweep: list[object]) -> tuple[bytes, float]:
        """The object file of a sweep's loop, and the seconds it took.

        Raises
        ------
        CompileError
            When the loop could not be compiled.
        HelperError
            When there is no helper process, or this request cost it.
        """
        try:
            self.start()
            self.send({"sweep": sweep, "seconds": COMPILE_SECONDS})
            header, code = self.receive(COMPILE_SECONDS)
        except (OSError, ValueError, HelperError) as error:
            self.failures += 1
            self.stop()
            raise HelperError(f"the helper process: {error}") from error
        if "error" in header:
            raise CompileError(header["error"])
        return code, header["seconds"]

    def start(self) -> None:
        """Start the process if there is none."""
        if self.process is not None:
            return
        if self.absent:
            raise HelperError("is absent")
        # The user's settings of Python and Numba are none of its business. It has a process group
        # of its own, away from the terminal's signals, but no session: on a desktop each session
        # gets the same share of the processor, whatever its priority.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NUMBA_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-W", "ignore", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env=kept,
            process_group=0,
        )
        self.send({"path": [os.path.abspath(p) for p in sys.path]})
        self.receive(START_SECONDS)

    def send(self, header: dict[str, Any]) -> None:
        """Write a message."""
        assert self.process is not None and self.process.stdin is not None
        text = json.dumps(header).encode()
        left = memoryview(struct.pack("<I", len(text)) + text)
        limit = time.monotonic() + START_SECONDS
        os.set_blocking(self.process.stdin.fileno(), False)
        while left:
            self.ready(self.process.stdin.fileno(), select.POLLOUT, limit)
            left = left[os.write(self.process.stdin.fileno(), left) :]

    def receive(self, seconds: float) -> tuple[dict[str, Any], bytes]:
        """Read a message."""
        limit = time.monotonic() + seconds
        (size,) = struct.unpack("<I", self.read(4, limit))
        header = json.loads(self.read(size, limit))
        return header, self.read(header["bytes"], limit)

    def read(self, size: int, limit: float) -> bytes:
        """Read exactly `size` bytes."""
        assert self.process is not None and self.process.stdout is not None
        parts = []
        while size:
            self.ready(self.process.stdout.fileno(), select.POLLIN, limit)
            part = os.read(self.process.stdout.fileno(), size)
            if not part:
                raise HelperError("ended")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    @staticmethod
    def ready(fd: int, event: int, limit: float) -> None:
        """Wait until a pipe takes or gives something."""
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(0.0, limit - time.monotonic()) * 1000):
            raise HelperError("took too long")

    def stop(self) -> None:
        """End the process, if there is one, and wait for that."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        self.close(process)

    @staticmethod
    def close(process: subprocess.Popen[bytes]) -> None:
        """Close the pipes."""
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def forget(self) -> None:
        """In a forked child: leave the process to the parent."""
        process, self.process = self.process, None
        if process is not None:
            process.returncode = 0  # not ours to wait for
            self.close(process)
