"""Executor: a Symbol bound to arrays, whose passes are compiled programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import lazyarray._bind as _bind
from lazyarray import _handle, _ir, autodiff, random, runtime
from lazyarray._handle import from_node, to_node
from lazyarray._ir import Node
from lazyarray._record import ArrayBase
from lazyarray.array import Array, array, asarray
from lazyarray.device import Device
from lazyarray.dtypes import is_inexact, kind_of
from lazyarray.errors import (
    DTypeError,
    GradientError,
    OptionError,
    ShapeError,
    fail,
    require,
)
from lazyarray.ops.shaping import full

from .binding import Types, found_types, parameter_names, starts
from .program import Entry, Output, Shape, in_order
from .replay import Replay, apart, copied


class Outputs(Sequence[Array]):
    """The outputs of one pass, which is run when one of them is asked for."""

    __slots__ = ("_arrays", "_run")

    def __init__(self, run: Any) -> None:
        self._run = run
        self._arrays: list[Array] | None = None

    @property
    def arrays(self) -> list[Array]:
        """The arrays themselves."""
        if self._arrays is None:
            self._arrays = [from_node(node, False) for node in self._run()]
            self._run = None
        return self._arrays

    def __getitem__(self, place: Any) -> Any:
        return self.arrays[place]

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        return repr(self.arrays)


class Programs:
    """What passes of a bound Symbol run: a prediction, and a training pass whole and in halves.

    Parameters of each are the arguments, the auxiliary states, and key and counter of every draw;
    of those with gradients also the cotangents of the heads and the gradients to add to.
    """

    def __init__(
        self, entries: list[Entry], heads: Sequence[Output], types: Types, requests: dict[str, str]
    ) -> None:
        self.names = list(types.arguments) + list(types.auxiliary)
        self.wanted = [name for name, request in requests.items() if request != "null"]
        with apart(False, False):
            self.compile_prediction(*self.replayed(entries, heads, types, frozenset(), False))
            wanted = frozenset(self.wanted)
            try:
                self.compile_training(*self.replayed(entries, heads, types, wanted, True), requests)
            except GradientError as error:
                error.add_note('For prediction alone, bind with grad_req="null".')
                raise

    def replayed(
        self, entries: list[Entry], heads: Sequence[Output], types: Types,
        wanted: frozenset[str], training: bool,
    ) -> tuple[Replay, list[Node]]:  # fmt: skip
        """A replay on the types that were found when the Symbol was bound."""
        known = types.arguments | types.auxiliary
        shapes = {name: shape for name, (shape, _) in known.items()}
        dtypes = {name: dtype for name, (_, dtype) in known.items()}
        replay = Replay(shapes, dtypes, training, wanted)
        return replay, replay.run(entries, heads)

    def parameters(self, replay: Replay) -> list[Node]:
        """The nodes that a pass replaces."""
        return [replay.leaves[n] for n in self.names] + [n for pair in replay.draws for n in pair]

    def compile_prediction(self, replay: Replay, heads: list[Node]) -> None:
        """The prediction."""
        self.predicted = runtime.Compiled([own(n) for n in heads], self.parameters(replay))
        self.predict_draws = len(replay.draws)

    def compile_training(self, replay: Replay, heads: list[Node], requests: dict[str, str]) -> None:
        """The training pass as one program, and as a forward and a backward half.

        The halves pass on dear values of the forward pass; cheap ones are computed again.
        """
        parameters = self.parameters(replay)
        self.updated = list(replay.updates)
        self.draws = len(replay.draws)
        self.n_heads = len(heads)
        outputs = [own(n) for n in (*heads, *replay.updates.values())]
        self.seeded = [i for i, n in enumerate(heads) if n.tracked and is_inexact(n.dtype)]
        seeds = [like(heads[i]) for i in self.seeded]
        leaves = [replay.leaves[name] for name in self.wanted]
        pairs = autodiff.gradients([heads[i] for i in self.seeded], seeds, leaves, retain=True)
        found = {node.serial: g for node, g in pairs}
        self.added = [name for name in self.wanted if requests[name] == "add"]
        previous = {name: like(replay.leaves[name]) for name in self.added}
        grads = []
        for name, node in zip(self.wanted, leaves, strict=True):
            g = found.get(node.serial)
            if name in previous:
                g = previous[name] if g is None else previous[name] + g
            grads.append(own(full(node.shape, 0, node.dtype) if g is None else g))
        between = residuals(outputs, grads)
        below = [*seeds, *previous.values()]
        self.whole = runtime.Compiled(outputs + grads, parameters + below)
        self.first = runtime.Compiled(outputs + between, parameters)
        self.rest = runtime.Compiled(grads, parameters + below + between)
        self.head_types = [(n.shape, n.dtype) for n in heads]


def like(node: Node) -> Node:
    """A leaf of a node's type that a pass is given."""
    return _ir.placeholder(node.shape, node.dtype, node.device)


def own(node: Node) -> Node:
    """`node`, or a copy where it is a leaf that a pass is given."""
    return copied(node) if node.op is None else node


def residuals(outputs: list[Node], grads: list[Node]) -> list[Node]:
    """What a backward pass needs of a forward pass: its dear values and its outputs."""
    forward = reached(outputs, lambda node: False)
    kept = {node.serial for node in outputs}

    def stops(node: Node) -> bool:
        return node.serial in forward and (node.op.dear or node.serial in kept)

    return [node for node in reached(grads, stops).values() if stops(node)]


def reached(targets: list[Node], stops: Any) -> dict[int, Node]:
    """Computed nodes that `targets` depend on, themselves included, up to where it stops."""
    found = {node.serial: node for node in targets if node.op is not None}
    todo = list(found.values())
    while todo:
        node = todo.pop()
        if stops(node):
            continue
        for source in node.inputs:
            if source.op is not None and source.serial not in found:
                found[source.serial] = source
                todo.append(source)
    return found


class Training:
    """One training pass: what it reads, and as much as has been run of it."""

    __slots__ = ("executor", "heads", "residuals", "values")

    def __init__(self, executor: Executor, values: list[Node]) -> None:
        self.executor = executor
        self.values: list[Node] | None = values
        self.heads: list[Node] | None = None
        self.residuals: list[Node] | None = None

    def forward(self) -> list[Node]:
        """The heads: by the forward half, if they are not known yet."""
        if self.heads is None:
            programs = self.executor._programs
            found = programs.first(self.values)
            self.residuals = found[programs.n_heads + len(programs.updated) :]
            self.take(found)
        assert self.heads is not None
        return self.heads

    def backward(self, below: list[Node]) -> list[Node]:
        """The gradients: by the backward half, or by the whole program if nothing has been run."""
        programs = self.executor._programs
        assert self.values is not None
        if self.residuals is None:
            found = programs.whole(self.values + below)
            grads = found[programs.n_heads + len(programs.updated) :]
            self.take(found)
        else:
            grads = programs.rest(self.values + below + self.residuals)
        # What stays referenced could not be reused by the update of the parameters.
        self.values = self.residuals = None
        return grads

    def take(self, found: list[Node]) -> None:
        """Keep the heads, move the auxiliary states."""
        programs = self.executor._programs
        self.heads = found[: programs.n_heads]
        for name, new in zip(programs.updated, found[programs.n_heads :], strict=False):
            _handle.assign(self.executor._aux[name], new, name)


class Executor:
    """A Symbol bound to arrays; made by `Symbol.bind`.

    Attributes
    ----------
    arg_dict, grad_dict, aux_dict : dict of str to array
        Arguments, their gradients where one was asked for, and auxiliary states. Write to these
        arrays (``executor.arg_dict["data"][:] = x``) to change what the next pass reads.
    outputs : sequence of array
        Of the last pass.

    Notes
    -----
    A pass records nothing: it runs a program that was compiled from one replay of the Symbol. A
    training pass waits for `backward`, which then runs forward and backward as one program; reading
    the outputs before that runs the forward half alone, and `backward` goes on from there. Both
    give the same bits. Not for use by several threads at once.
    """

    def __init__(
        self, heads: Sequence[Output], device: Device, types: Types, values: Mapping[str, Array],
        grads: Mapping[str, Array], requests: dict[str, str],
    ) -> None:  # fmt: skip
        self._heads = tuple(heads)
        self._entries = in_order(heads)
        self._device = device
        self._requests = requests
        initial = starts(self._entries)
        self._aux_seen = any(name in values for name in types.auxiliary)

        def made(name: str, shape: Shape, dtype: np.dtype) -> Array:
            if name in values:
                return values[name]
            return from_node(full(shape, initial.get(name, 0), dtype), False)  # type: ignore[arg-type]

        self.grad_dict: dict[str, Array] = {}
        with device:
            self.arg_dict: dict[str, Array] = {n: made(n, *t) for n, t in types.arguments.items()}
            self._aux: dict[str, Array] = {n: made(n, *t) for n, t in types.auxiliary.items()}
            for name, request in requests.items():
                if request != "null":
                    shape, dtype = types.arguments[name]
                    given = grads.get(name)
                    fresh = from_node(full(shape, 0, dtype), False) if given is None else given
                    self.grad_dict[name] = fresh
            self._programs = Programs(self._entries, self._heads, types, requests)
        self._ones: list[Node] | None = None
        self._pass: Training | None = None
        self._outputs: Outputs | None = None

    # ---- what is bound

    @property
    def aux_dict(self) -> dict[str, Array]:
        """Auxiliary states by name."""
        self._settle()
        # Whoever holds one of these arrays may read it at any time: from now on no pass is put off.
        self._aux_seen = True
        return dict(self._aux)

    @property
    def arg_arrays(self) -> list[Array]:
        """Arguments in the order of `Symbol.list_arguments`."""
        return list(self.arg_dict.values())

    @property
    def grad_arrays(self) -> list[Array | None]:
        """Gradients in the order of `Symbol.list_arguments`, None where none was asked for."""
        return [self.grad_dict.get(name) for name in self.arg_dict]

    @property
    def aux_arrays(self) -> list[Array]:
        """Auxiliary states in the order of `Symbol.list_auxiliary_states`."""
        return list(self.aux_dict.values())

    @property
    def outputs(self) -> Outputs:
        """The outputs of the last pass."""
        if self._outputs is None:
            fail(OptionError, "outputs", "no pass has been run", "Call forward() first.")
        return self._outputs

    @property
    def output_dict(self) -> dict[str, Array]:
        """The outputs of the last pass by name."""
        names = [entry.output_names[place] for entry, place in self._heads]
        return dict(zip(names, self.outputs, strict=True))

    # ---- passes

    def forward(self, is_train: bool = False, **arrays: Any) -> Outputs:
        """Start a pass.

        Parameters
        ----------
        is_train : bool, default False
            Whether layers act as in training, and `backward` may follow.
        **arrays : array_like
            Arguments to be set first, by name: their shapes, converted to their dtypes.

        Returns
        -------
        sequence of array
            The outputs.

        Raises
        ------
        OptionError
            For a name that is no argument.
        ShapeError, DTypeError
            When an array does not fit its argument. No argument is changed then.
        """
        self._set(arrays, "forward")
        self._settle()
        programs = self._programs
        count = programs.draws if is_train else programs.predict_draws
        draws = [random.fast.draw() for _ in range(count)]
        values = [captured(a) for a in (*self.arg_dict.values(), *self._aux.values())]
        values += [_ir.scalar(np.uint64(word), np.uint64) for pair in draws for word in pair]
        if not is_train:
            self._pass = None
            found = programs.predicted(values)
            self._outputs = Outputs(lambda: found)
            return self._outputs
        self._pass = Training(self, values)
        self._outputs = Outputs(self._pass.forward)
        if not programs.wanted or (programs.updated and self._aux_seen):
            self._pass.forward()
        return self._outputs

    def backward(self, out_grads: Any = None) -> None:
        """Compute the gradients of the last training pass into `grad_dict`.

        Parameters
        ----------
        out_grads : array_like or sequence of array_like, optional
            The cotangent of each output, ones by default. Layers that are a loss ignore theirs.

        Raises
        ------
        GradientError
            When there was no training pass, or its gradients have been computed.
        ShapeError
            When a cotangent does not have its output's shape.
        """
        current = self._pass
        if current is None or current.values is None:
            fail(GradientError, "backward", "there is no training pass to go back through",
                 "Call forward(is_train=True) before each backward().")  # fmt: skip
        programs = self._programs
        below = self._cotangents(out_grads)
        below += [captured(self.grad_dict[name]) for name in programs.added]
        for name, g in zip(programs.wanted, current.backward(below), strict=True):
            _handle.assign(self.grad_dict[name], g, name)

    def _cotangents(self, out_grads: Any) -> list[Node]:
        """The Nodes of the heads' cotangents, of those heads that have one."""
        programs = self._programs
        if out_grads is None:
            if self._ones is None:
                types = [programs.head_types[i] for i in programs.seeded]
                with self._device:
                    self._ones = [to_node(array(np.ones(shape, dtype))) for shape, dtype in types]
            return list(self._ones)
        given = list(out_grads) if isinstance(out_grads, list | tuple) else [out_grads]
        require(len(given) == programs.n_heads, ShapeError, "backward",
                f"{programs.n_heads} outputs need as many gradients, got {len(given)}")  # fmt: skip
        found = []
        for place in programs.seeded:
            entry, index = self._heads[place]
            shape, dtype = programs.head_types[place]
            name = f"the gradient of {entry.output_names[index]}"
            g = fitted(given[place], shape, dtype, name, "backward")
            found.append(captured(g.to(self._device)))
        return found

    def _settle(self) -> None:
        """Run what the last training pass still owes: moved auxiliary states."""
        if self._pass is not None and self._pass.heads is None and self._programs.updated:
            self._pass.forward()

    def _set(self, arrays: Mapping[str, Any], op: str) -> None:
        """Write arguments, all of them or none."""
        unknown = [name for name in arrays if name not in self.arg_dict]
        if unknown:
            fail(OptionError, op, f"there is no argument {unknown[0]!r}",
                 f"Arguments are {', '.join(self.arg_dict)}.")  # fmt: skip
        new = {}
        for name, value in arrays.items():
            target = self.arg_dict[name]
            new[name] = fitted(value, target.shape, target.dtype, name, op)
        for name, value in new.items():
            _handle.assign(self.arg_dict[name], captured(value.to(self._device)), op)

    # ---- parameters

    def copy_params_from(
        self, arg_params: Mapping[str, Any], aux_params: Mapping[str, Any] | None = None,
        allow_extra_params: bool = False,
    ) -> None:  # fmt: skip
        """Set arguments and auxiliary states.

        Parameters
        ----------
        arg_params, aux_params : dict of str to array_like
        allow_extra_params : bool, default False
            Pass over names that the Symbol does not have.

        Raises
        ------
        OptionError
            For such a name otherwise.
        ShapeError, DTypeError
            When an array does not fit. Nothing is changed then.
        """
        self._settle()
        new: list[tuple[Array, Array]] = []
        for group, params in ((self.arg_dict, arg_params), (self._aux, aux_params or {})):
            for name, value in params.items():
                if name in group:
                    target = group[name]
                    value = fitted(value, target.shape, target.dtype, name, "copy_params_from")
                    new.append((target, value))
                elif not allow_extra_params:
                    fail(OptionError, "copy_params_from", f"the symbol has no parameter {name!r}",
                         "allow_extra_params=True passes over it.")  # fmt: skip
        for target, value in new:
            _handle.assign(target, captured(value.to(self._device)), "copy_params_from")

    def reshape(self, **shapes: Any) -> Executor:
        """Return an executor for inputs of other shapes, which shares all arrays that keep theirs.

        Parameters
        ----------
        **shapes : tuple of int
            By argument name.

        Raises
        ------
        OptionError
            For a name that is no argument.
        ShapeError
            When a parameter would change its shape.
        """
        unknown = [name for name in shapes if name not in self.arg_dict]
        if unknown:
            fail(OptionError, "reshape", f"there is no argument {unknown[0]!r}",
                 f"Arguments are {', '.join(self.arg_dict)}.")  # fmt: skip
        self._settle()
        everything = self.arg_dict | self.aux_dict
        dtypes = {name: a.dtype for name, a in everything.items()}
        types = found_types(self._entries, self._heads, shapes, dtypes)
        kept = {}
        for name, (shape, _) in (types.arguments | types.auxiliary).items():
            if everything[name].shape == shape:
                kept[name] = everything[name]
            elif name not in shapes and name in parameter_names(self._entries):
                old = everything[name].shape
                fail(ShapeError, "reshape", f"parameter {name} would change from {old} to {shape}",
                     "Bind the symbol anew.")  # fmt: skip
        grads = {n: g for n, g in self.grad_dict.items() if n in kept}
        return Executor(self._heads, self._device, types, kept, grads, dict(self._requests))


def captured(a: Array) -> Node:
    """The array's value now; a copy of what is also seen from outside."""
    node = to_node(a)
    return to_node(from_node(copied(node))) if _bind.is_pinned(node) else node


def fitted(value: Any, shape: tuple[int, ...], dtype: np.dtype, name: str, op: str) -> Array:
    """`value` as an array of exactly this shape, converted to `dtype`."""
    given = value if isinstance(value, ArrayBase) else np.asarray(value)
    require(given.shape == shape, ShapeError, op, f"{name} has shape {shape}, got {given.shape}",
            "executor.reshape(...) gives an executor for other shapes.")  # fmt: skip
    kind = kind_of(given.dtype)
    known = kind in "biuf" or (kind == "c" and dtype.kind == "c")
    require(known, DTypeError, op, f"{name} is {dtype}, got {given.dtype}", "Convert with astype.")
    if given.dtype != dtype:
        given = given.astype(dtype)
    return asarray(given)
