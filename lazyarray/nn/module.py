"""Module: a tree of layers with parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from lazyarray import autograd, random
from lazyarray._handle import from_node, to_node
from lazyarray.array import Array
from lazyarray.errors import DataError, DTypeError, OptionError, ShapeError, fail, require
from lazyarray.jit import jit

from .files import load_arrays, save_arrays
from .parameter import Buffer, Parameter


class Module:
    """A layer, or a network of layers.

    A subclass makes its layers and parameters in ``__init__`` as attributes (or in lists, tuples
    and dicts of them) and defines `forward`. They are named after the attributes, in the order in
    which these were set.

    Examples
    --------
    >>> class Net(la.nn.Module):
    ...     def __init__(self):
    ...         self.hidden = la.nn.Dense(4, activation="relu")
    ...         self.out = la.nn.Dense(2)
    ...
    ...     def forward(self, x):
    ...         return self.out(self.hidden(x))
    >>> net = Net()
    >>> net.initialize(seed=0)
    >>> net(la.ones((3, 5), "float32")).shape
    (3, 2)
    >>> [name for name, _ in net.named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """

    training = True

    def forward(self, *inputs: Any) -> Any:
        """Compute the outputs."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, *inputs: Any) -> Any:
        """Apply `forward`."""
        jitted = self.__dict__.get("_jitted")
        return self.forward(*inputs) if jitted is None else jitted(*inputs)

    def hybridize(self, active: bool = True) -> Self:
        """Let calls run what an earlier call with inputs of the same types has recorded.

        Parameters
        ----------
        active : bool, default True
            False goes back to recording every call.

        Returns
        -------
        Module
            Itself.

        Notes
        -----
        Calls give the same bits as without. As under `la.jit`, what `forward` does besides
        computing on arrays (printing, counting) happens when it is recorded; a `forward` that looks
        at values is recorded every time. Inside `record()` a call's operations are recorded again,
        without Python; `la.jit` on a whole training step spares that, too.
        """
        if active:
            self.__dict__["_jitted"] = jit(self.forward)
        else:
            self.__dict__.pop("_jitted", None)
        return self

    # ---- the tree

    def members(self) -> Iterator[tuple[str, Module | Parameter]]:
        """The modules and parameters that are held directly, by name."""
        for name, value in vars(self).items():
            yield from found_in(name, value)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules held directly, by name."""
        return ((name, each) for name, each in self.members() if isinstance(each, Module))

    def children(self) -> list[Module]:
        """The modules held directly."""
        return [each for _, each in self.named_children()]

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """The module itself and all below it, by path, each once."""
        seen: set[int] = set()
        todo = [(prefix, self)]
        while todo:
            path, module = todo.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            inner = [(f"{path}.{name}" if path else name, m) for name, m in module.named_children()]
            todo.extend(reversed(inner))

    def modules(self) -> list[Module]:
        """The module itself and all below it."""
        return [module for _, module in self.named_modules()]

    def named_state(self) -> Iterator[tuple[str, Parameter]]:
        """Parameters and buffers by path, each once."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, each in module.members():
                if isinstance(each, Parameter) and id(each) not in seen:
                    seen.add(id(each))
                    each.name = f"{path}.{name}" if path else name
                    yield each.name, each

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """What is learnt, by path."""
        return ((name, p) for name, p in self.named_state() if not isinstance(p, Buffer))

    def parameters(self) -> list[Parameter]:
        """What is learnt."""
        return [p for _, p in self.named_parameters()]

    def buffers(self) -> list[Buffer]:
        """What is saved but not learnt."""
        return [p for _, p in self.named_state() if isinstance(p, Buffer)]

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module below this one, then on this one."""
        for module in reversed(self.modules()):
            fn(module)
        return self

    # ---- starting

    def initialize(
        self, init: Any = None, seed: int | None = None, force_reinit: bool = False
    ) -> None:
        """Give every parameter its first value, now or when its shape is known.

        Parameters
        ----------
        init : initialiser, name or number, optional
            For the parameters that are weights (those with inputs and outputs), instead of each
            layer's own.
        seed : int, optional
            The values are a function of it, of the parameters' order and of their shapes. By
            default a draw of `la.random.fast`, so that `la.random.seed` decides.
        force_reinit : bool, default False
            Replace values that are there.
        """
        entropy = list(random.fast.draw()) if seed is None else [checked_seed(seed)]
        for place, (_, parameter) in enumerate(self.named_state()):
            chosen = init if parameter.axes is not None else None
            parameter.initialize(np.random.default_rng([*entropy, place]), chosen, force_reinit)

    def train(self, mode: bool = True) -> Self:
        """Let layers act as in training where `autograd.is_training` says so, the default."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Let layers act as in prediction, inside `autograd.record` too."""
        return self.train(False)

    def acts_as_in_training(self) -> bool:
        """Whether dropout drops and statistics are those of the batch."""
        return self.training and autograd.is_training()

    def astype(self, dtype: Any) -> Self:
        """Convert all parameters and buffers to another floating dtype."""
        for _, parameter in self.named_state():
            parameter.cast(dtype)
        return self

    cast = astype

    def to(self, device: Any) -> Self:
        """Move all parameters and buffers to a device; those without a value get theirs there.

        Inputs have to lie there, too. Optimisers follow: their states move at the next step.
        Gradients start anew.

        Parameters
        ----------
        device : Device or str
            Such as ``la.gpu(0)``, "gpu:0" or "cpu".

        Returns
        -------
        Module
            Itself.
        """
        for _, parameter in self.named_state():
            parameter.to(device)
        return self

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def materialize(self, parameter: Parameter, shape: tuple[int, ...]) -> None:
        """Give a parameter its shape at the first call, and a value if nobody has."""
        if parameter.ready:
            return
        for name, each in self.members():
            if each is parameter and parameter.name == "parameter":
                parameter.name = f"{type(self).__name__}.{name}"
        parameter.initialize(np.random.default_rng(list(random.fast.draw())))
        parameter.complete(shape)

    def check_dtype(self, x: Any, parameter: Parameter) -> None:
        """Raise DTypeError unless the input has the parameters' dtype."""
        if x.dtype == parameter.dtype:
            return
        name = type(self).__name__
        fail(
            DTypeError,
            name,
            f"the input is {x.dtype}, the parameters are {parameter.dtype}",
            f"Convert the input with x.astype('{parameter.dtype}'), "
            f"or the layer with layer.astype('{x.dtype}') if that is floating.",
        )

    # ---- saving

    def state_dict(self) -> dict[str, Array]:
        """Parameters and buffers by path; later changes of the module do not change them.

        Raises
        ------
        ShapeError
            When one has no value yet.
        """
        return {name: from_node(to_node(p.data()), False) for name, p in self.named_state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Set parameters and buffers by path.

        Parameters
        ----------
        state : mapping from str to array_like
        strict : bool, default True
            Whether all names of both sides must meet.

        Raises
        ------
        OptionError
            When a name is missing or unknown.
        ShapeError
            When a shape differs. Nothing has been changed then.
        """
        own = dict(self.named_state())
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if strict and (missing or unknown):
            fail(
                OptionError,
                "load_state_dict",
                f"the state lacks {missing or 'nothing'} and has {unknown or 'nothing'} too much",
                "strict=False takes what fits.",
            )
        for name, parameter in own.items():
            if name in state:
                shape = np.shape(state[name])
                fits = len(shape) == len(parameter.shape) and all(
                    have in (0, n) for have, n in zip(parameter.shape, shape, strict=True)
                )
                require(
                    fits,
                    ShapeError,
                    "load_state_dict",
                    f"{name} has shape {parameter.shape}, the state's has {shape}",
                )
        for name, parameter in own.items():
            if name in state:
                parameter.set_data(state[name])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters and buffers to a safetensors file, whole or not at all.

        Raises
        ------
        FileError
            When it cannot be written.
        """
        save_arrays(path, self.state_dict())

    def load(self, path: str | os.PathLike[str], strict: bool = True) -> None:
        """Read what `save` wrote.

        Raises
        ------
        FileError
            When the file is missing or cannot be read.
        DataError
            When it is damaged, or holds the state of an optimiser.
        OptionError, ShapeError
            As `load_state_dict`.
        """
        arrays, texts = load_arrays(Path(path))
        require(
            not {"kind", "count", "lr"} <= set(texts),
            DataError,
            "load",
            f"{os.fspath(path)} holds the state of an optimiser, {texts.get('kind')}",
            "It is read by the load of the optimiser.",
        )
        self.load_state_dict(arrays, strict)

    # ---- printing

    def describe(self) -> str:
        """What `repr` says between the parentheses, before the children."""
        return ""

    def __repr__(self) -> str:
        lines = [
            f"  ({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self.named_children()
        ]
        head = f"{type(self).__name__}({self.describe()}"
        return head + ("\n" + "\n".join(lines) + "\n)" if lines else ")")


def found_in(name: str, value: Any) -> Iterator[tuple[str, Module | Parameter]]:
    """The modules and parameters in an attribute's value."""
    if isinstance(value, Module | Parameter):
        yield name, value
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            yield from found_in(f"{name}.{place}", each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from found_in(f"{name}.{key}", each)


def checked_seed(seed: Any) -> int:
    """A seed for NumPy's generators."""
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool) and bool(seed >= 0)
    require(
        whole, OptionError, "initialize", f"seed must be an integer of at least 0, got {seed!r}"
    )
    return int(seed)


class Sequential(Module):
    """Layers one after the other.

    Parameters
    ----------
    *layers : Module or callable
        A callable without parameters, such as `la.tanh`, is a layer too.
    """

    def __init__(self, *layers: Any) -> None:
        self.layers: list[Any] = []
        self.add(*layers)

    def add(self, *layers: Any) -> None:
        """Append layers."""
        for layer in layers:
            require(
                callable(layer),
                DTypeError,
                "Sequential",
                f"expected layers, got {type(layer).__name__}",
            )
            self.layers.append(layer)

    append = add

    def members(self) -> Iterator[tuple[str, Module | Parameter]]:
        """The layers, named by their place; further attributes by name."""
        for place, layer in enumerate(self.layers):
            yield from found_in(str(place), layer)
        for name, value in vars(self).items():
            if name != "layers":
                yield from found_in(name, value)

    def forward(self, x: Any) -> Any:
        """Pass `x` through all layers."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return Sequential(*self.layers[place])
        return self.layers[place]
