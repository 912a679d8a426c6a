"""Parameters: arrays that are learnt, which may not know their shape before the first call."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyarray import _handle, _trace, autograd
from lazyarray.array import Array, asarray
from lazyarray.device import Device, as_device
from lazyarray.dtypes import canonical, is_inexact
from lazyarray.errors import DTypeError, GradientError, OptionError, ShapeError, fail, require

from .initializer import Axes, Initializer, as_initializer

default_dtype = np.dtype(np.float32)


class Parameter:
    """An array that is learnt.

    Parameters
    ----------
    shape : tuple of int
        An extent of 0 (or None) is unknown until the layer meets its first input.
    init : initialiser, name or number, default "xavier"
        How it starts.
    dtype : dtype, default `default_dtype` (float32)
    grad_req : {"write", "add", "null"}, default "write"
        What `backward` does with its gradient.
    axes : (int, int), optional
        The axes that count inputs and outputs, for initialisers that look at them.
    lr_mult, wd_mult : float, default 1
        Factors of the optimiser's learning rate and weight decay.

    Attributes
    ----------
    name : str
        Set by the module that it belongs to.
    """

    def __init__(
        self,
        shape: tuple[int | None, ...],
        init: Any = "xavier",
        dtype: Any = None,
        *,
        grad_req: str = "write",
        axes: Axes | None = None,
        lr_mult: float = 1.0,
        wd_mult: float = 1.0,
    ) -> None:
        require(
            grad_req in autograd.REQUESTS,
            OptionError,
            "Parameter",
            f"grad_req is {grad_req!r}, expected one of {', '.join(autograd.REQUESTS)}",
        )
        self.name = "parameter"
        self.shape = tuple(int(n or 0) for n in shape)
        self.init = as_initializer(init)
        self.dtype = canonical(default_dtype if dtype is None else dtype, "Parameter")
        self.axes = axes
        self.lr_mult = lr_mult
        self.wd_mult = wd_mult
        self._grad_req = grad_req
        self._array: Array | None = None
        self._pending: tuple[Initializer, np.random.Generator] | None = None
        self._home: Device | None = None  # where its first value goes

    @property
    def known(self) -> bool:
        """Whether every extent is known."""
        return all(self.shape)

    @property
    def ready(self) -> bool:
        """Whether it has a value."""
        return self._array is not None

    @property
    def grad_req(self) -> str:
        """What `backward` does with its gradient; may be set."""
        return self._grad_req

    @grad_req.setter
    def grad_req(self, request: str) -> None:
        require(
            request in autograd.REQUESTS,
            OptionError,
            self.name,
            f"grad_req is {request!r}, expected one of {', '.join(autograd.REQUESTS)}",
        )
        self._grad_req = request
        if self._array is not None and is_inexact(self.dtype):
            self._array.attach_grad(request)

    def initialize(
        self, rng: np.random.Generator, init: Any = None, force_reinit: bool = False
    ) -> None:
        """Give it its first value, or remember how until its shape is known."""
        if (self.ready or self._pending) and not force_reinit:
            return
        chosen = self.init if init is None else as_initializer(init)
        self._pending = (chosen, rng)
        if self.known:
            self._start()

    def complete(self, shape: tuple[int, ...]) -> None:
        """State the shape that the first input asks for.

        Raises
        ------
        ShapeError
            When it contradicts what is known.
        """
        fits = len(shape) == len(self.shape) and all(
            have in (0, n) for have, n in zip(self.shape, shape, strict=True)
        )
        require(fits, ShapeError, self.name, f"has shape {self.shape}, its input asks for {shape}")
        require(all(shape), ShapeError, self.name, f"its input asks for the empty shape {shape}")
        self.shape = shape
        if not self.ready and self._pending:
            self._start()

    def _start(self) -> None:
        assert self._pending is not None
        init, rng = self._pending
        self._pending = None
        self._adopt(np.asarray(init(rng, self.shape, self.axes)).astype(self.dtype))

    def _adopt(self, value: Any) -> None:
        _trace.cannot("it gives a parameter its first value", again=True)
        with autograd.pause():
            self._array = asarray(value, copy=True, device=self._home)
        if self._grad_req != "null":
            self._array.attach_grad(self._grad_req)

    def data(self) -> Array:
        """Return the array, always the same handle.

        Raises
        ------
        ShapeError
            When the parameter has no value yet.
        """
        if self._array is None:
            remedy = "Call initialize() on the module first."
            if self._pending:
                remedy = "Call the module on a batch first, or state in_units= or in_channels=."
            fail(ShapeError, self.name, f"has no value yet, its shape is {self.shape}", remedy)
        return self._array

    def set_data(self, value: Any) -> None:
        """Set the value: array_like, of this parameter's shape; it is cast.

        Raises
        ------
        ShapeError
            When the shape differs.
        """
        value = asarray(value)
        fits = len(value.shape) == len(self.shape) and all(
            have in (0, n) for have, n in zip(self.shape, value.shape, strict=True)
        )
        require(fits, ShapeError, self.name, f"has shape {self.shape}, the value has {value.shape}")
        self.shape = value.shape
        if self._array is None:
            self._pending = None
            self._adopt(value.astype(self.dtype, copy=False))
            return
        with autograd.pause():
            self._array[...] = value.to(self._array.device)

    def to(self, device: Any) -> None:
        """Move it to a device, now or when it gets a value; its gradient starts anew."""
        self._home = as_device(device)
        if self._array is not None and self._array.device != self._home:
            self._adopt(self._array.to(self._home))

    @property
    def grad(self) -> Array | None:
        """The gradient that `backward` left; None with ``grad_req="null"``."""
        return self.data().grad

    def zero_grad(self) -> None:
        """Set the gradient to zero."""
        if self._array is not None:
            self._array.zero_grad()

    def cast(self, dtype: Any) -> None:
        """Convert it to another floating dtype; its gradient starts anew."""
        dtype = canonical(dtype, "cast")
        require(is_inexact(dtype), DTypeError, self.name, f"a parameter is floating, not {dtype}")
        if dtype == self.dtype:
            return
        self.dtype = dtype
        if self._array is not None:
            with autograd.pause():
                changed = self._array.astype(dtype)
            self._adopt(changed)

    def update(self, node: Any) -> None:
        """Let it hold a new value, recorded but not tied to a tape (what optimisers do)."""
        _handle.replace(self.data(), node)

    def __repr__(self) -> str:
        shape = "(" + ", ".join(str(n or "?") for n in self.shape) + ")"
        return f"{type(self).__name__} {self.name} {shape} {self.dtype}"


class Buffer(Parameter):
    """A state of a layer that is saved with it and not learnt, such as a running mean."""

    def __init__(self, shape: tuple[int | None, ...], init: Any = 0.0, dtype: Any = None) -> None:
        super().__init__(shape, init, dtype, grad_req="null")


def as_handle(x: Any, name: str) -> Array:
    """The array of a Parameter, or an array itself, that has a gradient."""
    array = x.data() if isinstance(x, Parameter) else x
    if not isinstance(array, Array):
        fail(DTypeError, name, f"expected parameters or arrays, got {type(x).__name__}")
    require(
        _handle.variable_of(array) is not None,
        GradientError,
        name,
        f"an array of shape {array.shape} has no gradient",
        "Call attach_grad() on it first.",
    )
    return array
