"""Who issues to a stream: any number of threads, or one that captures a graph, alone."""

from __future__ import annotations

import threading
from types import TracebackType


class Turns:
    """In a ``with`` block a thread issues; what it issues is in no other thread's graph."""

    def __init__(self) -> None:
        self.change = threading.Condition()
        self.issuing = 0
        self.alone: int | None = None  # the thread that captures

    def __enter__(self) -> None:
        with self.change:
            while self.alone not in (None, threading.get_ident()):
                self.change.wait()
            self.issuing += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self.change:
            self.issuing -= 1

    def begin_alone(self) -> bool:
        """Let this thread capture; False where others issue, who may wait for the device."""
        with self.change:
            if self.issuing or self.alone is not None:
                return False
            self.alone = threading.get_ident()
            return True

    def end_alone(self) -> None:
        """Let others go on."""
        with self.change:
            self.alone = None
            self.change.notify_all()
