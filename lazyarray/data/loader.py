"""Batches of a dataset, prepared on the engine's threads while the program computes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lazyarray._engine import Var, push, wait
from lazyarray.data.dataset import Dataset, Sample, stack
from lazyarray.device import Device, as_device
from lazyarray.errors import DTypeError, OptionError, fail, require

Transform = Callable[..., Any]


class DataLoader:
    """Iterate over a dataset in batches, one epoch for each `iter`.

    Parameters
    ----------
    dataset : Dataset
        A length and items that are tuples; see `Dataset`.
    batch_size : int
        Items in a batch; the last batch may have fewer.
    shuffle : bool, default False
        Visit the items in another order every epoch; the order is a function of `seed` and the
        epoch's number alone.
    drop_last : bool, default False
        Leave out a last batch that is not full.
    seed : int, default 0
        Seeds the order and the generators that `transform` gets.
    prefetch : int, default 2
        Batches that engine threads prepare ahead; 0 prepares each when it is asked for.
    device : Device or str, optional
        Where batches lie; by default where the thread that iterates makes new arrays. On another
        device than the CPU, batches are on their way there while the program computes.
    transform : callable, optional
        ``transform(rng, *parts)`` gets a batch as NumPy arrays and returns a tuple of arrays. It
        runs on several threads at once, in any order; `rng` is a `numpy.random.Generator` of the
        batch's own, so what it draws does not depend on that.

    Yields
    ------
    tuple of array, shape (batch_size, ...)
        The parts of a batch as lazyarray arrays.

    Raises
    ------
    OptionError
        When `batch_size`, `prefetch` or `seed` is out of range.
    Exception
        What the dataset or `transform` raised while it prepared a batch, unchanged, when that
        batch is asked for. The epoch ends with it.

    Examples
    --------
    >>> loader = la.data.DataLoader(la.data.ArrayDataset([10, 20, 30]), batch_size=2)
    >>> [part.tolist() for (part,) in loader]
    [[10, 20], [30]]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        shuffle: bool = False,
        drop_last: bool = False,
        *,
        seed: int = 0,
        prefetch: int = 2,
        device: Any = None,
        transform: Transform | None = None,
    ) -> None:
        _require_int("batch_size", batch_size, 1)
        _require_int("prefetch", prefetch, 0)
        _require_int("seed", seed, 0)
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = int(seed)
        self.prefetch = prefetch
        self.device = None if device is None else as_device(device)
        self.transform = transform
        self.epoch = 0  # the number of the next one

    def __len__(self) -> int:
        items = len(self.dataset)
        return items // self.batch_size if self.drop_last else -(-items // self.batch_size)

    def __iter__(self) -> Iterator[Sample]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._walk(epoch, self._order(epoch))

    def state_dict(self) -> dict[str, int]:
        """Return what a resumed run needs to go on with the next epoch."""
        return {"epoch": self.epoch, "seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was called.

        Raises
        ------
        OptionError
            When `state` lacks an entry, or one is no count.
        """
        for key in ("epoch", "seed"):
            require(
                key in state,
                OptionError,
                "DataLoader.load_state_dict",
                f"the state has no {key!r}, only {sorted(state)}.",
            )
            _require_int(key, state[key], 0)
        self.epoch, self.seed = int(state["epoch"]), int(state["seed"])

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))

    def _walk(self, epoch: int, order: np.ndarray) -> Iterator[Sample]:
        # What the tasks use is fixed here, so that changing the loader changes the next epoch only.
        size, prefetch = self.batch_size, self.prefetch
        sources = self.dataset, self.transform, self.device
        seed, count = self.seed, len(self)
        todo = (
            _Batch(*sources, order[i * size : (i + 1) * size], [seed, epoch, i])
            for i in range(count)
        )
        ahead = deque(map(_pushed, itertools.islice(todo, prefetch)))
        try:
            while batch := ahead.popleft() if ahead else next(todo, None):
                ahead.extend(map(_pushed, itertools.islice(todo, min(prefetch, 1))))
                yield _delivered(batch.collect())
        finally:
            for batch in ahead:
                batch.wanted = False


class _Batch:
    """One batch: what it is made of, then what came of it."""

    __slots__ = (
        "dataset",
        "device",
        "error",
        "indices",
        "key",
        "parts",
        "transform",
        "var",
        "wanted",
    )

    def __init__(
        self,
        dataset: Dataset,
        transform: Transform | None,
        device: Device | None,
        indices: np.ndarray,
        key: list[int],
    ) -> None:
        self.dataset = dataset
        self.transform = transform
        self.device = device
        self.indices = indices
        self.key = key
        self.parts: Sample = ()
        self.error: BaseException | None = None
        self.var: Any = None
        self.wanted = True

    def prepare(self) -> None:
        """Make the parts, or keep the error for the one who asks for them."""
        # Raised into the engine, the error of a batch that nobody asks for would surface later,
        # at an unrelated wait.
        if not self.wanted:
            return
        try:
            take = getattr(self.dataset, "take", None)
            parts = take(self.indices) if take else stack(self.dataset, self.indices)
            if self.transform is not None:
                parts = self.transform(np.random.default_rng(self.key), *parts)
                _require_tuple(parts)
            self.parts = parts if self.device is None else _sent(parts, self.device)
        except BaseException as error:
            self.error = error

    def collect(self) -> Sample:
        """Hand the parts over, waiting for them if they are being made."""
        if self.var is None:
            self.prepare()
        else:
            wait(self.var)
        if self.error is not None:
            raise self.error
        parts, self.parts = self.parts, ()
        return parts


def _pushed(batch: _Batch) -> _Batch:
    batch.var = Var()
    push(batch.prepare, (), (batch.var,), name="DataLoader")
    return batch


def _sent(parts: Sample, device: Device) -> Sample:
    """Start the way of a batch to a device."""
    from lazyarray.array import asarray
    from lazyarray.waiting import evaluate

    arrays = tuple(asarray(part, device=device) for part in parts)
    evaluate(*arrays)
    return arrays


def _delivered(parts: Sample) -> Sample:
    """Make lazyarray arrays, on the consumer's thread: its device is the one that counts."""
    from lazyarray.array import asarray

    return tuple(asarray(part) for part in parts)


def _require_int(name: str, value: Any, least: int) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    require(
        whole and value >= least,
        OptionError,
        "DataLoader",
        f"{name} is {value!r}, expected an integer of at least {least}.",
    )


def _require_tuple(parts: Any) -> None:
    if not isinstance(parts, tuple):
        fail(
            DTypeError,
            "DataLoader",
            f"transform returned a {type(parts).__name__}, expected a tuple of arrays.",
            "Return (value,) where there is only one part.",
        )
