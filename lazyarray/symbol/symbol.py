"""Symbol: a program without shapes, composed from Variables and calls."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lazyarray._ir import Node
from lazyarray.array import Array
from lazyarray.device import as_device
from lazyarray.dtypes import canonical
from lazyarray.errors import DeviceError, OptionError, ShapeError, fail, require

from .binding import as_requests, auxiliary_names, by_name, found_types, held, is_shape
from .executor import Executor
from .program import (
    Call,
    Input,
    Output,
    Reference,
    Shape,
    as_shape,
    attribute,
    fresh_name,
    in_order,
    mapped,
    users_site,
)
from .replay import Replay, Unstated
from .text import read_text, text_of, write_file

Name = str | None


class Symbol:
    """One or several outputs of a program whose inputs have names instead of values.

    Make them with `Variable`, with the layers and ops of `la.symbol`, with operators, and with
    `Group`; a Symbol never changes. `bind` gives it values.

    Examples
    --------
    >>> from lazyarray import symbol
    >>> x = symbol.Variable("x")
    >>> y = symbol.sum(x * x, name="y")
    >>> y.list_arguments(), y.list_outputs()
    (['x'], ['y_output'])
    >>> executor = y.bind(x=la.array([1.0, 2.0]))
    >>> executor.forward(is_train=True)[0]
    Array(5.)
    >>> executor.backward()
    >>> executor.grad_dict["x"]
    Array([2., 4.])
    """

    __slots__ = ("_outputs",)
    __array_ufunc__ = None  # NumPy hands its operators over

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = tuple(outputs)

    # ---- what it consists of

    @property
    def name(self) -> Name:
        """The name of the entry it is an output of, None for a group."""
        entries = {id(entry): entry for entry, _ in self._outputs}
        return next(iter(entries.values())).name if len(entries) == 1 else None

    def attr(self, key: str) -> str | None:
        """The attribute `key` of a symbol that is no group, or None."""
        return self.list_attr().get(key)

    def list_attr(self) -> dict[str, str]:
        """The attributes of a symbol that is no group."""
        return dict(self._outputs[0][0].attributes) if self.name is not None else {}

    def attr_dict(self) -> dict[str, dict[str, str]]:
        """The attributes of every entry that has some, by name."""
        return {e.name: dict(e.attributes) for e in in_order(self._outputs) if e.attributes}

    def _inputs(self) -> list[Input]:
        """Its inputs in order; each name once."""
        entries = in_order(self._outputs)
        found = [entry for entry in entries if isinstance(entry, Input)]
        seen: set[str] = set()
        for entry in found:
            if entry.name in seen:
                fail(OptionError, "symbol", f"two different Variables are named {entry.name!r}",
                     "Use one Variable in both places, or give them different names.")  # fmt: skip
            seen.add(entry.name)
        return found

    def list_arguments(self) -> list[str]:
        """The names of the inputs that are no auxiliary states, in the order of their first use."""
        aux = auxiliary_names(in_order(self._outputs))
        return [entry.name for entry in self._inputs() if entry.name not in aux]

    def list_auxiliary_states(self) -> list[str]:
        """The names of the inputs that a training pass changes, such as moving means."""
        aux = auxiliary_names(in_order(self._outputs))
        return [entry.name for entry in self._inputs() if entry.name in aux]

    def list_inputs(self) -> list[str]:
        """The names of all inputs."""
        return [entry.name for entry in self._inputs()]

    def list_outputs(self) -> list[str]:
        """The names of the outputs."""
        return [entry.output_names[place] for entry, place in self._outputs]

    def get_internals(self) -> Symbol:
        """The group of all outputs of all its entries."""
        entries = in_order(self._outputs)
        return Symbol([(e, i) for e in entries for i in range(len(e.output_names))])

    def get_children(self) -> Symbol | None:
        """The group of what it is computed from directly, None for a Variable."""
        sources = [source for entry, _ in self._outputs for source in entry.sources]
        return Symbol(sources) if sources else None

    def __len__(self) -> int:
        return len(self._outputs)

    def __iter__(self) -> Iterator[Symbol]:
        return (Symbol([output]) for output in self._outputs)

    def __getitem__(self, key: Any) -> Symbol:
        if isinstance(key, str):
            names = self.list_outputs()
            places = [i for i, name in enumerate(names) if name == key]
            if len(places) != 1:
                fail(OptionError, "symbol", f"{len(places) or 'no'} outputs are named {key!r}",
                     f"Outputs are {', '.join(names)}.")  # fmt: skip
            return Symbol([self._outputs[places[0]]])
        if isinstance(key, slice):
            return Symbol(self._outputs[key])
        if not hasattr(key, "__index__"):
            fail(OptionError, "symbol", f"an output is chosen by place or name, got {key!r}",
                 "To index its value, use la.symbol.take and its kin.")  # fmt: skip
        if not -len(self) <= key < len(self):
            raise IndexError(f"symbol: there is no output {key}, only {len(self)}")
        return Symbol([self._outputs[key]])

    def __bool__(self) -> bool:
        raise TypeError("a Symbol has no value, so it is neither true nor false")

    def __repr__(self) -> str:
        return f"<Symbol {self.name or ', '.join(self.list_outputs())}>"

    def __copy__(self) -> Symbol:
        return self

    def __deepcopy__(self, memo: Any) -> Symbol:
        return self

    def __reduce__(self) -> Any:
        return load_json, (self.tojson(),)

    # ---- composition

    def __call__(self, *args: Symbol, name: Name = None, **inputs: Symbol) -> Symbol:
        """Return the program with other symbols in place of some of its arguments.

        Parameters
        ----------
        *args : Symbol
            For the arguments in the order of `list_arguments`.
        name : str, optional
            A new name for the entry whose outputs it is.
        **inputs : Symbol
            By argument name; not together with `args`.

        Raises
        ------
        OptionError
            For a name that is no argument, or too many symbols.
        """
        names = self.list_arguments()
        require(
            not (args and inputs),
            OptionError,
            "compose",
            "give symbols by place or by name, not both",
        )
        require(
            len(args) <= len(names),
            OptionError,
            "compose",
            f"{len(names)} arguments, got {len(args)} symbols",
        )
        given = dict(zip(names, args, strict=False)) if args else inputs
        for key, value in given.items():
            if key not in names:
                fail(
                    OptionError,
                    "compose",
                    f"there is no argument {key!r}",
                    f"Arguments are {', '.join(names)}.",
                )
            single(value, f"compose: argument {key!r}")
        changed: dict[int, Output] = {}  # what stands for output 0 of an entry
        heads = {id(entry) for entry, _ in self._outputs}
        for entry in in_order(self._outputs):
            if isinstance(entry, Input):
                if entry.name in given:
                    changed[id(entry)] = given[entry.name]._outputs[0]
                continue
            renamed = name is not None and self.name is not None and id(entry) in heads
            if renamed or any(id(source) in changed for source, _ in entry.sources):
                sources = tuple(moved(source, changed) for source in entry.sources)
                label = name if renamed else entry.name
                call = Call(entry.op, label, sources, entry.arguments, entry.outputs,  # type: ignore[arg-type]
                            entry.attributes, entry.site)  # fmt: skip
                changed[id(entry)] = (call, 0)
        return Symbol([moved(output, changed) for output in self._outputs])

    # ---- types

    def _known(self, op: str, args: Sequence[Any], known: Mapping[str, Any]) -> dict[str, Any]:
        """Values by input name, from positional and named ones."""
        names = self.list_arguments()
        require(not (args and known), OptionError, op, "give values by place or by name, not both")
        require(
            len(args) <= len(names),
            OptionError,
            op,
            f"{len(names)} arguments, got {len(args)} values",
        )
        if args:
            return {
                name: value for name, value in zip(names, args, strict=False) if value is not None
            }
        every = [*names, *self.list_auxiliary_states()]
        unknown = [name for name in known if name not in every]
        if unknown:
            fail(
                OptionError,
                op,
                f"there is no argument {unknown[0]!r}",
                f"Arguments are {', '.join(every)}.",
            )
        return dict(known)

    def _replay(
        self, shapes: Mapping[str, Any], dtypes: Mapping[str, Any], partial: bool
    ) -> tuple[Any, ...]:
        """Entries, replay and head Nodes."""
        entries = in_order(self._outputs)
        known = {name: as_shape(shape, name) for name, shape in shapes.items()}
        kinds = {name: canonical(dtype, name) for name, dtype in dtypes.items()}
        replay = Replay(known, kinds, partial=partial)
        return entries, replay, replay.run(entries, self._outputs)

    def infer_shape(self, *args: Any, **known: Any) -> tuple[Any, Any, Any]:
        """Find all shapes from some.

        Parameters
        ----------
        *args : tuple of int or None
            For the arguments in the order of `list_arguments`.
        **known : tuple of int
            By argument name; not together with `args`.

        Returns
        -------
        arg_shapes, out_shapes, aux_shapes : list of tuple of int, or None
            In the order of `list_arguments`, `list_outputs` and `list_auxiliary_states`; all three
            are None, with a warning that names what is missing, when too little is known.

        Raises
        ------
        ShapeError
            When shapes contradict each other or an op.
        """
        shapes = self._known("infer_shape", args, known)
        try:
            return self._shapes(shapes, False)
        except Unstated as error:
            warnings.warn(f"infer_shape: {error}", stacklevel=2)
            return None, None, None

    def infer_shape_partial(self, *args: Any, **known: Any) -> tuple[Any, Any, Any]:
        """Find what shapes follow from some; as `infer_shape`, with None for each that does not."""
        return self._shapes(self._known("infer_shape_partial", args, known), True)

    def _shapes(self, shapes: Mapping[str, Any], partial: bool) -> tuple[Any, Any, Any]:
        """The three lists of `infer_shape`."""
        _, replay, nodes = self._replay(shapes, {}, partial)

        def shape(node: Node | None) -> Shape | None:
            return None if node is None else node.shape

        if not partial:
            self._missing(replay)
        arguments = [shape(replay.leaves.get(name)) for name in self.list_arguments()]
        auxiliary = [shape(replay.leaves.get(name)) for name in self.list_auxiliary_states()]
        return arguments, [shape(node) for node in nodes], auxiliary

    def infer_type(
        self, shapes: Mapping[str, Any] | None = None, /, **known: Any
    ) -> tuple[Any, Any, Any]:
        """Find all dtypes from some.

        Parameters
        ----------
        shapes : dict of str to tuple of int, optional
            What `infer_shape` takes; not needed where the Variables declare their shapes.
        **known : dtype
            By argument name; float32 where nothing says otherwise.

        Returns
        -------
        arg_types, out_types, aux_types : list of dtype, or None
            As `infer_shape`.
        """
        dtypes = self._known("infer_type", (), known)
        try:
            _, replay, nodes = self._replay(
                self._known("infer_type", (), shapes or {}), dtypes, False
            )
            self._missing(replay)
        except Unstated as error:
            warnings.warn(f"infer_type: {error}", stacklevel=2)
            return None, None, None
        arguments = [replay.leaves[name].dtype for name in self.list_arguments()]
        auxiliary = [replay.leaves[name].dtype for name in self.list_auxiliary_states()]
        return arguments, [node.dtype for node in nodes], auxiliary

    def _missing(self, replay: Replay) -> None:
        """Raise for an input that no call has needed and whose shape is not known."""
        for entry in self._inputs():
            if entry.name not in replay.leaves:
                raise Unstated(
                    f"Variable {entry.name!r} has no shape\n  Give it as {entry.name}=(...)."
                )

    # ---- binding

    def bind(
        self, device: Any = None, args: Any = None, args_grad: Any = None, grad_req: Any = "write",
        aux_states: Any = None, **inputs: Any,
    ) -> Executor:  # fmt: skip
        """Give the program values, and compile it.

        Parameters
        ----------
        device : Device or str, optional
            Default: where the arrays lie, else that of new arrays. An array that lies elsewhere is
            not shared: the executor has a copy of it.
        args : dict of str to value, or sequence of them in the order of `list_arguments`, optional
            A value is an array, which the executor then reads and shares, or a shape, for which it
            makes an array of zeros (of what the Variable's `init` says).
        args_grad : dict of str to array, or sequence of array or None, optional
            Arrays to write gradients to.
        grad_req : str, or dict of str to str, or sequence of str, default "write"
            "write", "add" or "null": replace the gradient, add to it, or compute none. Arguments
            that a dict does not name, and integers, get none.
        aux_states : dict of str to value, or sequence of them, optional
            As `args`, for auxiliary states.
        **inputs : value
            As `args`, by name.

        Returns
        -------
        Executor

        Raises
        ------
        ShapeError
            When a shape is missing, or does not fit.
        OptionError
            For unknown or repeated names.
        GradientError
            When an op on the way to an argument with a gradient has none.
        """
        names, aux = self.list_arguments(), self.list_auxiliary_states()
        values = by_name("bind", args, names) | by_name("bind", aux_states, aux)
        repeated = sorted(set(values) & set(inputs))
        require(not repeated, OptionError, "bind", f"{', '.join(repeated)} given twice")
        values |= self._known("bind", (), inputs)
        arrays: dict[str, Array] = {}
        shapes: dict[str, Shape] = {}
        for name, value in values.items():
            if is_shape(value):
                shapes[name] = as_shape(value, name)
            else:
                arrays[name] = held(value)
                shapes[name] = arrays[name].shape
        dtypes = {name: a.dtype for name, a in arrays.items()}
        return self._bound(device, shapes, dtypes, arrays, args_grad, grad_req)

    def simple_bind(
        self, device: Any = None, grad_req: Any = "write",
        type_dict: Mapping[str, Any] | None = None, **shapes: Any,
    ) -> Executor:  # fmt: skip
        """Bind to new arrays of the given shapes.

        Parameters
        ----------
        device : Device or str, optional
        grad_req : as for `bind`
        type_dict : dict of str to dtype, optional
            By argument name; float32 where nothing says otherwise.
        **shapes : tuple of int
            By argument name.

        Returns
        -------
        Executor
        """
        known = {n: as_shape(s, n) for n, s in self._known("simple_bind", (), shapes).items()}
        dtypes = self._known("simple_bind", (), type_dict or {})
        dtypes = {name: canonical(dtype, name) for name, dtype in dtypes.items()}
        return self._bound(device, known, dtypes, {}, None, grad_req)

    def _bound(
        self, device: Any, shapes: Mapping[str, Shape], dtypes: Mapping[str, np.dtype],
        arrays: Mapping[str, Array], args_grad: Any, grad_req: Any,
    ) -> Executor:  # fmt: skip
        """The executor for what is known of the inputs."""
        found = [a.device for a in arrays.values()]
        where = found[0] if device is None and found else as_device(device)
        arrays = {name: a.to(where) for name, a in arrays.items()}
        self._inputs()
        entries = in_order(self._outputs)
        types = found_types(entries, self._outputs, shapes, dtypes)
        grads = by_name("bind", args_grad, list(types.arguments))
        grads = {name: g for name, g in grads.items() if g is not None}
        requests = as_requests(grad_req, types)
        for name, g in grads.items():
            shape, dtype = types.arguments[name]
            fits = isinstance(g, Array) and g.shape == shape and g.dtype == dtype
            require(
                fits,
                ShapeError,
                "bind",
                f"the gradient of {name} must be a {dtype} array of shape {shape}",
            )
            require(
                g.device == where,
                DeviceError,
                "bind",
                f"the gradient of {name} is to be written to {g.device}, the program is on {where}",
            )
        return Executor(self._outputs, where, types, arrays, grads, requests)

    def eval(self, device: Any = None, **inputs: Any) -> list[Array]:
        """Bind, run one prediction, and return the outputs.

        Parameters
        ----------
        device : Device or str, optional
        **inputs : array
            By argument name.

        Returns
        -------
        list of array
        """
        return list(self.bind(device, grad_req="null", **inputs).forward())

    # ---- text

    def tojson(self) -> str:
        """The program as JSON text, one entry a line; `load_json` reads it."""
        return text_of(self._outputs)

    def save(self, path: Any) -> None:
        """Write `tojson` to a file; an old one stays whole until the new one is complete.

        Raises
        ------
        FileError
            When the file cannot be written.
        """
        write_file(path, self.tojson())

    # ---- operators

    def __add__(self, other: Any) -> Any:
        return operator("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return operator("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return operator("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return operator("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return operator("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return operator("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return operator("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return operator("divide", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return operator("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return operator("floor_divide", other, self)

    def __mod__(self, other: Any) -> Any:
        return operator("remainder", self, other)

    def __rmod__(self, other: Any) -> Any:
        return operator("remainder", other, self)

    def __pow__(self, other: Any) -> Any:
        return operator("power_operator", self, other, ("x1", "x2"))

    def __rpow__(self, other: Any) -> Any:
        return operator("power_operator", other, self, ("x1", "x2"))

    def __matmul__(self, other: Any) -> Any:
        return operator("matmul", self, other, ("a", "b"))

    def __rmatmul__(self, other: Any) -> Any:
        return operator("matmul", other, self, ("a", "b"))

    def __neg__(self) -> Any:
        return recorded("negative", {"inputs": (self,)})

    def __abs__(self) -> Any:
        return recorded("absolute", {"inputs": (self,)})

    def __eq__(self, other: Any) -> Any:
        return operator("equal", self, other)

    def __ne__(self, other: Any) -> Any:
        return operator("not_equal", self, other)

    def __lt__(self, other: Any) -> Any:
        return operator("less", self, other)

    def __le__(self, other: Any) -> Any:
        return operator("less_equal", self, other)

    def __gt__(self, other: Any) -> Any:
        return operator("greater", self, other)

    def __ge__(self, other: Any) -> Any:
        return operator("greater_equal", self, other)

    __hash__ = object.__hash__


def load_json(text: str) -> Symbol:
    """Return the Symbol that `Symbol.tojson` wrote.

    Raises
    ------
    DataError
        When `text` is damaged, of a newer version, or names an op that there is not.
    """
    return Symbol(read_text(text, "load_json"))


def recorded(
    op: str, arguments: Mapping[str, Any], outputs: int = 1, name: Name = None,
    attr: Mapping[str, str] | None = None,
) -> Symbol:  # fmt: skip
    """The Symbol of a call: `arguments` holds Symbols and attributes, in lists and tuples too."""
    label = name or fresh_name(op.removesuffix("_operator"))
    require(isinstance(label, str), OptionError, op, f"name must be a text, got {name!r}")
    sources: list[Output] = []

    def kept(value: Any) -> Any:
        if isinstance(value, Symbol):
            sources.append(single(value, label))
            return Reference(len(sources) - 1)
        return attribute(value, label)

    plain = {key: mapped(value, kept) for key, value in arguments.items()}
    call = Call(op, label, tuple(sources), plain, outputs, as_attributes(attr, label), users_site())
    return Symbol([(call, i) for i in range(outputs)])


def operator(op: str, x: Any, y: Any, names: tuple[str, str] | None = None) -> Any:
    """What an operator records; NotImplemented for operands it does not know."""
    for value in (x, y):
        if not isinstance(value, Symbol | int | float | complex | np.generic):
            return NotImplemented
    if names is None:
        return recorded(op, {"inputs": (x, y)})
    return recorded(op, dict(zip(names, (x, y), strict=True)))


def single(value: Any, op: str) -> Output:
    """The output of a Symbol that has one."""
    if not isinstance(value, Symbol):
        raise TypeError(f"{op}: expected a Symbol, got {type(value).__name__}")
    if len(value) != 1:
        fail(
            OptionError,
            op,
            f"expected a Symbol with one output, got {len(value)}",
            "Choose one by symbol[i].",
        )
    return value._outputs[0]


def moved(output: Output, changed: Mapping[int, Output]) -> Output:
    """An output after some entries were replaced."""
    entry, place = output
    found = changed.get(id(entry))
    if found is None:
        return output
    return found if isinstance(entry, Input) else (found[0], place)


def as_attributes(attr: Mapping[str, str] | None, name: str) -> dict[str, str]:
    """Checked attributes."""
    found = dict(attr or {})
    for key, value in found.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError(f"{name}: attributes are texts, got {key!r}: {value!r}")
    return found
