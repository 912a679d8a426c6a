"""Optimisers: an update is recorded like everything else, and ends in one flush."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lazyarray import _handle, autograd, device, random, runtime
from lazyarray._handle import from_node, storage_node, to_node
from lazyarray._ir import Node, cast, registry
from lazyarray.array import Array, asarray
from lazyarray.errors import DataError, GradientError, OptionError, ShapeError, fail, require
from lazyarray.nn.files import load_arrays, save_arrays
from lazyarray.nn.parameter import Parameter, as_handle
from lazyarray.number import live
from lazyarray.ops.shaping import full

from .schedule import Scheduler


class Optimizer:
    """What optimisers share. A subclass defines `rule` and the names of its `states`.

    Parameters
    ----------
    params : iterable of Parameter or array, or a mapping to them
        Arrays have `attach_grad`. Parameters with ``grad_req="null"`` are left alone.
    lr : float
        The learning rate; `lr` may be set at any time.
    weight_decay : float, default 0
        Adds this share of the parameter to its gradient.
    clip_gradient : float, optional
        Bounds the absolute value of each element of a gradient.
    lr_scheduler : callable, optional
        Gives the learning rate of a step from its number, counted from 0; `lr` then follows it.

    Notes
    -----
    A parameter's `lr_mult` and `wd_mult` are factors of its own. Everything that is known in Python
    (rates, decays, the number of the step) is folded there and is data of the plan, so a schedule
    finds the same plan at every step.
    """

    states: tuple[str, ...] = ()
    live_names = frozenset({"count", "number", "turn", "_lr"})  # data of a traced step

    def __init__(
        self,
        params: Any,
        lr: float,
        weight_decay: float = 0.0,
        clip_gradient: float | None = None,
        lr_scheduler: Any = None,
    ) -> None:
        name = type(self).__name__
        given = list(params.values()) if isinstance(params, Mapping) else listed(params)
        require(len(given) > 0, OptionError, name, "there are no parameters to learn")
        self.params = unique(given)
        require_number(name, "lr", lr, 0.0)
        require_number(name, "weight_decay", weight_decay, 0.0)
        if clip_gradient is not None:
            require_number(name, "clip_gradient", clip_gradient, 0.0)
        self._lr = float(lr)
        self.weight_decay = float(weight_decay)
        self.clip_gradient = None if clip_gradient is None else float(clip_gradient)
        self.lr_scheduler: Scheduler | Any = lr_scheduler
        self.count = self.number = 0  # steps done; the step being recorded
        self.turn = 0  # of the newest gradient that a step has used
        self.kept: list[dict[str, Array]] = [{} for _ in self.params]

    # ---- the learning rate

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self._lr if self.lr_scheduler is None else float(self.lr_scheduler(self.count))

    @lr.setter
    def lr(self, value: float) -> None:
        require(
            self.lr_scheduler is None,
            OptionError,
            type(self).__name__,
            "the learning rate follows its scheduler",
            "Set lr_scheduler to None first.",
        )
        require_number(type(self).__name__, "lr", value, 0.0)
        self._lr = float(value)

    learning_rate = lr

    def set_learning_rate(self, lr: float) -> None:
        """Set the learning rate."""
        self.lr = lr

    # ---- a step

    def rule(self, w: Node, g: Node, state: list[Node], lr: float, decay: float) -> list[Node]:
        """The new value of a parameter, followed by its new states."""
        raise NotImplementedError(f"{type(self).__name__} does not define rule")

    def step(self, batch_size: int | None = None, ignore_stale_grad: bool = False) -> None:
        """Update every parameter from its gradient, and start computing.

        Forward, backward and update become one plan, which later steps find again. The call does
        not wait.

        Parameters
        ----------
        batch_size : int, optional
            What gradients are divided by, where the loss was summed over the batch.
        ignore_stale_grad : bool, default False
            Take the gradients as they are, such as those set by hand.

        Raises
        ------
        GradientError
            When `backward` has left no gradient of any parameter since the last step.
        ShapeError
            When a parameter has no value yet.
        """
        name = type(self).__name__
        if batch_size is not None:
            require(
                batch_size > 0,
                OptionError,
                name,
                f"batch_size must be at least 1, got {batch_size}",
            )
        arrays = {
            place: as_handle(param, name)
            for place, param in enumerate(self.params)
            if asks_for_gradient(param)
        }
        handles = list(arrays.values())
        lr, number = live(lambda: self.begin(handles, ignore_stale_grad))
        self.number, results = number, []
        try:
            with autograd.pause():
                for place, array in arrays.items():
                    results += self.update(place, self.params[place], array, lr, batch_size)
        finally:
            self.number = self.count
        runtime.flush_step(results)

    def begin(self, arrays: list[Array], ignore_stale_grad: bool) -> tuple[float, int]:
        """Count a step, if there are new gradients; its learning rate and number."""
        newest = max((_handle.variable_of(a).turn for a in arrays), default=0)
        require(
            newest > self.turn or ignore_stale_grad or not arrays,
            GradientError,
            type(self).__name__,
            "no gradient has been left by backward since the last step",
            "Call loss.backward() before each step; ignore_stale_grad=True takes the gradients as "
            "they are.",
        )
        lr = self.lr
        self.count += 1
        self.turn = newest
        return lr, self.count

    def update(
        self, place: int, param: Any, array: Array, lr: float, batch_size: int | None
    ) -> list[Node]:
        """Record the update of one parameter; the Nodes that it and its states hold now."""
        w = storage_node(array)
        g = storage_node(_handle.variable_of(array).of(w))
        if batch_size is not None and batch_size != 1:
            g = g * (1.0 / batch_size)
        if self.clip_gradient is not None:
            g = registry["minimum"](registry["maximum"](g, -self.clip_gradient), self.clip_gradient)
        decay = self.weight_decay * getattr(param, "wd_mult", 1.0)
        state = self.kept[place]
        if not state:
            for name in self.states:
                state[name] = zeros_as(w)
        elif state[self.states[0]].device != array.device:  # the parameter has moved
            state.update({name: whole.to(array.device) for name, whole in state.items()})
        old = [storage_node(state[name]) for name in self.states]
        new = self.rule(w, g, old, lr * getattr(param, "lr_mult", 1.0), decay)
        _handle.replace(array, cast(new[0], w.dtype))
        for name, node in zip(self.states, new[1:], strict=True):
            _handle.replace(state[name], cast(node, w.dtype))
        return [storage_node(array), *[storage_node(state[name]) for name in self.states]]

    def zero_grad(self) -> None:
        """Set every gradient to zero; only ``grad_req="add"`` needs it."""
        for param in self.params:
            param.zero_grad()

    # ---- saving

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs.

        That is the step's number, the learning rate, the states of the parameters, and the state of
        `la.random.fast`, from which dropout draws.
        """
        arrays = {}
        for place, (param, state) in enumerate(zip(self.params, self.kept, strict=True)):
            for name, whole in state.items():
                seen = autograd.as_seen(whole, as_handle(param, type(self).__name__))
                arrays[f"{place}.{name}"] = from_node(to_node(seen), False)
        return {
            "kind": type(self).__name__,
            "count": self.count,
            "lr": self._lr,
            "random": random.fast.get_state(),
            "arrays": arrays,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called, with `la.random.fast` too where the state has it.

        Raises
        ------
        OptionError
            When it is the state of another optimiser, or of other parameters.
        ShapeError
            When a state's shape is not its parameter's. Nothing has been changed then.
        """
        name = type(self).__name__
        missing = sorted({"kind", "count", "lr", "arrays"} - set(state))
        require(not missing, OptionError, name, f"the state lacks {missing}")
        require(state["kind"] == name, OptionError, name, f"the state is that of {state['kind']}")
        kept: list[dict[str, Array]] = [{} for _ in self.params]
        for key, value in state["arrays"].items():
            place, _, part = key.partition(".")
            known = place.isdecimal() and int(place) < len(self.params) and part in self.states
            require(
                known,
                OptionError,
                name,
                f"the state has an unknown entry {key!r}",
                "It belongs to an optimiser of other parameters.",
            )
            param = self.params[int(place)]
            handle = as_handle(param, name)
            require(
                value.shape == handle.shape,
                ShapeError,
                name,
                f"the state {key} has shape {value.shape}, its parameter {handle.shape}",
            )
            with autograd.pause():
                whole = kept[int(place)][part] = zeros_as(storage_node(handle))
                autograd.as_seen(whole, handle)[...] = asarray(value).to(handle.device)
        for place, part in enumerate(kept):
            require(
                len(part) in (0, len(self.states)),
                OptionError,
                name,
                f"the state of parameter {place} has only {sorted(part)}",
            )
        count, lr = int(state["count"]), float(state["lr"])
        if "random" in state:
            random.fast.set_state(state["random"])
        self.kept, self.count, self._lr = kept, count, lr

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `state_dict` to a safetensors file, whole or not at all.

        Raises
        ------
        FileError
            When it cannot be written.
        """
        state = self.state_dict()
        texts = {
            "kind": state["kind"],
            "count": str(state["count"]),
            "lr": state["lr"].hex(),
            "random": "{key} {count}".format_map(state["random"]),
        }
        save_arrays(path, state["arrays"], texts)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read what `save` wrote.

        Raises
        ------
        FileError
            When the file is missing or cannot be read.
        DataError
            When it is damaged, or not what `save` writes.
        OptionError, ShapeError
            As `load_state_dict`.
        """
        arrays, texts = load_arrays(Path(path))
        lacks = sorted({"kind", "count", "lr", "random"} - set(texts))
        require(
            not lacks,
            DataError,
            "load",
            f"{os.fspath(path)} is no state of an optimiser: it lacks {', '.join(lacks)}",
            "Parameters are read by the load of their module.",
        )
        try:
            count, lr = int(texts["count"]), float.fromhex(texts["lr"])
            key, draws = map(int, texts["random"].split())
        except ValueError as error:
            fail(DataError, "load", f"{os.fspath(path)} is no state of an optimiser: {error}")
        numbers = {"key": key, "count": draws}
        self.load_state_dict(
            {"kind": texts["kind"], "count": count, "lr": lr, "random": numbers, "arrays": arrays}
        )


def zeros_as(node: Node) -> Array:
    """Zeros of a node's shape and dtype."""
    with device.known[node.device]:
        return from_node(full(node.shape, 0, node.dtype), False)


def listed(params: Any) -> list[Any]:
    """Parameters in a list; a single array is refused, it would be taken apart into rows."""
    require(
        not isinstance(params, Array | Parameter),
        OptionError,
        "Optimizer",
        "params must be a list of parameters, got one",
        "Write [param].",
    )
    require(
        isinstance(params, Iterable),
        OptionError,
        "Optimizer",
        f"params must be a list of parameters, got {type(params).__name__}",
        "Write net.parameters().",
    )
    return list(params)


def unique(params: Iterable[Any]) -> list[Any]:
    """Each parameter once: a shared one is updated once."""
    return list({id(p): p for p in params}.values())


def require_number(op: str, name: str, value: Any, least: float) -> None:
    """Raise OptionError unless `value` is a finite number of at least `least`."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    require(
        good and math.isfinite(value) and value >= least,
        OptionError,
        op,
        f"{name} must be a number of at least {least:g}, got {value!r}",
    )


def clip_global_norm(params: Iterable[Any], max_norm: float) -> Array:
    """Scale all gradients together, so that their common norm is at most `max_norm`.

    Parameters
    ----------
    params : iterable of Parameter or array
        With gradients.
    max_norm : float

    Returns
    -------
    array, shape ()
        The norm before. Nothing is computed before a value is needed.

    Raises
    ------
    GradientError
        When an array has no gradient.
    """
    require_number("clip_global_norm", "max_norm", max_norm, 0.0)
    arrays = [
        as_handle(p, "clip_global_norm") for p in unique(listed(params)) if asks_for_gradient(p)
    ]
    require(len(arrays) > 0, OptionError, "clip_global_norm", "there are no gradients")
    with autograd.pause():
        found = [_handle.variable_of(a) for a in arrays]
        nodes = [storage_node(f.of(storage_node(a))) for f, a in zip(found, arrays, strict=True)]
        total = registry["sum"](registry["square"](registry["absolute"](nodes[0])))
        for node in nodes[1:]:
            total = total + registry["sum"](registry["square"](registry["absolute"](node)))
        norm = registry["sqrt"](total)
        scale = registry["minimum"](float(max_norm) / (norm + 1e-6), 1.0)
        for gradient, node in zip(found, nodes, strict=True):
            _handle.replace(gradient.array, cast(node * scale, node.dtype))
    return from_node(norm)


def asks_for_gradient(param: Any) -> bool:
    """Whether `backward` leaves a gradient for it."""
    return getattr(param, "grad_req", "write") != "null"
