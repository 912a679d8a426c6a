"""Gradients of arrays: recording scopes, `backward`, `grad`, functions with their own gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np

from lazyarray import _handle, _ir, _trace, autodiff, device
from lazyarray._handle import from_node, seen, shadow, storage_node, to_node
from lazyarray._ir import Node, Scope
from lazyarray._record import ArrayBase
from lazyarray.array import Array, asarray
from lazyarray.autodiff import full_like, numbers
from lazyarray.dtypes import is_inexact
from lazyarray.errors import DTypeError, GradientError, OptionError, ShapeError, fail, require
from lazyarray.waiting import flatten

REQUESTS = ("write", "add", "null")
turns = count(1)  # of gradients that backward leaves, in this process


def record(train_mode: bool = True) -> Scope:
    """Record what happens in the `with` block, so that it can be differentiated.

    Parameters
    ----------
    train_mode : bool, default True
        Whether layers such as `Dropout` and `BatchNorm` act as in training.

    Examples
    --------
    >>> x = la.array([1.0, 2.0])
    >>> x.attach_grad()
    >>> with la.autograd.record():
    ...     y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    Array([2., 4.])
    """
    return Scope(True, train_mode)


def pause(train_mode: bool = False) -> Scope:
    """Stop recording for gradients in the `with` block."""
    return Scope(False, train_mode)


def train_mode() -> Scope:
    """Let layers act as in training, whether or not something is recorded."""
    return Scope(None, True)


def predict_mode() -> Scope:
    """Let layers act as in prediction, whether or not something is recorded."""
    return Scope(None, False)


def is_recording() -> bool:
    """Say whether this thread records for gradients."""
    return _ir.current().recording


def is_training() -> bool:
    """Say whether layers act as in training on this thread."""
    return _ir.current().training


# ---- variables


class Gradient:
    """Where `backward` leaves the gradient of one Storage."""

    __slots__ = ("array", "fresh", "request", "turn")

    def __init__(self, request: str) -> None:
        self.request = request
        self.array: Array | None = None  # of the Storage's shape
        self.fresh = True  # nothing to add to
        self.turn = 0  # when `backward` left it; 0: never

    def of(self, node: Node) -> Array:
        """The gradient of a Storage that holds `node`; zeros before the first `backward`."""
        if self.array is None:
            with pause():
                self.array = from_node(full_like(node, 0), False)
        return self.array

    def put(self, g: Node) -> None:
        """Write or add one gradient, which is recorded already."""
        if self.request == "add" and not self.fresh and self.array is not None:
            g = storage_node(self.array) + g
        self.done(self.left)
        if self.array is None:
            self.array = from_node(g, False)
        else:
            _handle.replace(self.array, g)

    def clear(self) -> None:
        """Let it be zeros, to which `add` need not add."""
        self.done(self.cleared)
        if self.array is not None:
            with pause():
                _handle.replace(self.array, full_like(storage_node(self.array), 0))

    def done(self, change: Callable[[], None]) -> None:
        """Change the state; every run of a call that is traced changes it, too."""
        trace = _trace.current()
        if trace is not None:
            trace.conditions.setdefault((id(self), "fresh"), (self, self.fresh))
            trace.conditions.setdefault((id(self), "request"), (self, self.request))
            trace.effects.append(change)
        change()

    def left(self) -> None:
        """Note that `backward` has left a gradient."""
        self.fresh = False
        self.turn = next(turns)

    def cleared(self) -> None:
        """Note that there is nothing to add to."""
        self.fresh = True


def attach_grad(self: Array, grad_req: str = "write") -> None:
    """Ask for a gradient by this array: `backward` will leave it in `grad`.

    The array is cut off from what it was computed from. Its views, and the array that it is a view
    of, share the gradient as they share the elements.

    Parameters
    ----------
    grad_req : {"write", "add", "null"}, default "write"
        Whether `backward` replaces the gradient, adds to it, or leaves the array alone.

    Raises
    ------
    OptionError
        For another `grad_req`.
    DTypeError
        When the array is not floating or complex.
    """
    require(
        grad_req in REQUESTS,
        OptionError,
        "attach_grad",
        f"grad_req is {grad_req!r}, expected one of {', '.join(REQUESTS)}",
    )
    require(
        is_inexact(self.dtype),
        DTypeError,
        "attach_grad",
        f"only floating values have gradients, the array is {self.dtype}",
        "Convert it with astype('float32').",
    )
    _handle.set_variable(self, None if grad_req == "null" else Gradient(grad_req))


def mark_variables(
    variables: Array | Sequence[Array],
    gradients: Array | Sequence[Array],
    grad_reqs: str | Sequence[str] = "write",
) -> None:
    """Attach gradients that are kept in given arrays.

    Parameters
    ----------
    variables, gradients : array or sequence of array
        Each gradient of its variable's shape and dtype.
    grad_reqs : str or sequence of str, default "write"

    Raises
    ------
    ShapeError, DTypeError, OptionError
        When they do not fit each other.
    """
    variables, gradients = as_list(variables), as_list(gradients)
    requests = [grad_reqs] * len(variables) if isinstance(grad_reqs, str) else list(grad_reqs)
    for x, g, request in zip(variables, gradients, requests, strict=True):
        whole = storage_node(x)
        same = shadow(x) is shadow(from_node(whole, False)) and storage_node(g).shape == x.shape
        require(
            same and g.shape == x.shape,
            ShapeError,
            "mark_variables",
            f"a variable of shape {x.shape} and a gradient of shape {g.shape}: both must be whole "
            "arrays of one shape",
        )
        require(
            g.dtype == x.dtype,
            DTypeError,
            "mark_variables",
            f"the variable is {x.dtype}, its gradient {g.dtype}",
        )
        attach_grad(x, request)
        gradient = _handle.variable_of(x)
        if gradient is not None:
            gradient.array = g


def get_grad(self: Array) -> Array | None:
    """The gradient that `backward` left, of this array's shape; None without `attach_grad`."""
    gradient = _handle.variable_of(self)
    return None if gradient is None else as_seen(gradient.of(storage_node(self)), self)


def zero_grad(self: Array) -> None:
    """Set the gradient to zero, where there is one."""
    gradient = _handle.variable_of(self)
    if gradient is not None:
        gradient.clear()


def as_seen(whole: Array, handle: Array) -> Array:
    """`whole`, of the shape of a handle's Storage, through the handle's View."""
    view = shadow(handle)
    return whole if view is shadow(whole) else seen(whole, view)


# ---- backward and grad


def as_list(arrays: Any) -> list[Any]:
    """One array or several as a list."""
    return [arrays] if isinstance(arrays, ArrayBase) else list(arrays)


def cotangents_of(heads: list[Array], given: Any) -> list[Node | None]:
    """A Node or None for each head."""
    if given is None:
        return [None] * len(heads)
    parts = as_list(given) if not np.isscalar(given) else [given]
    require(
        len(parts) == len(heads),
        ShapeError,
        "backward",
        f"{len(heads)} heads, but {len(parts)} gradients of heads",
    )
    return [
        None if part is None else cotangent_of(head, part)
        for head, part in zip(heads, parts, strict=True)
    ]


def cotangent_of(head: Array, given: Any) -> Node:
    """The Node of what is given for a head; what is no array yet goes where the head lies."""
    place = None if isinstance(given, ArrayBase) else head.device
    return to_node(asarray(given, getattr(given, "dtype", head.dtype), device=place))


def backward(
    heads: Array | Sequence[Array],
    head_grads: Any = None,
    retain_graph: bool = False,
    train_mode: bool = True,
) -> None:
    """Record the gradients of `heads` by all arrays with `attach_grad`, and leave them in `grad`.

    Nothing is computed before a value is needed.

    Parameters
    ----------
    heads : array or sequence of array, floating
    head_grads : array_like or sequence of them, each of its head's shape, optional
        The weights of the heads' elements; ones by default.
    retain_graph : bool, default False
        Keep the tape, so that it can be walked again.
    train_mode : bool, default True
        What `is_training` says in a `Function.backward`.

    Raises
    ------
    GradientError
        When a head was not recorded, its tape has been released, or it depends on an array through
        an operation without a gradient.
    """
    heads = as_list(heads)
    given = cotangents_of(heads, head_grads)
    with Scope(False, train_mode):
        pairs = autodiff.gradients([to_node(h) for h in heads], given, retain=retain_graph)
        sums: dict[Gradient, Node] = {}
        for node, g in pairs:
            gradient = node.variable
            # Versions of one Storage, before and after a write outside the recording, share it.
            sums[gradient] = sums[gradient] + g if gradient in sums else g
        for gradient, g in sums.items():
            gradient.put(g)


def backward_method(
    self: Array, grad: Any = None, retain_graph: bool = False, train_mode: bool = True
) -> None:
    """Record the gradients of this array; see `autograd.backward`."""
    backward(self, None if grad is None else [grad], retain_graph, train_mode)


def grad(
    heads: Array | Sequence[Array],
    variables: Array | Sequence[Array],
    head_grads: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    train_mode: bool = True,
) -> Any:
    """Return the gradients of `heads` by `variables`, and leave `grad` of every array alone.

    Parameters
    ----------
    heads : array or sequence of array, floating
    variables : array or sequence of array
        Arrays with `attach_grad`, or results that were recorded on the way to the heads.
    head_grads : array_like or sequence of them, optional
        The weights of the heads' elements; ones by default.
    retain_graph : bool, optional
        Keep the tape; by default what `create_graph` says.
    create_graph : bool, default False
        Record the gradients, so that they can be differentiated themselves.
    train_mode : bool, default True

    Returns
    -------
    array or list of array
        As `variables`, each of its variable's shape and dtype.

    Raises
    ------
    GradientError
        As `backward`; and when no head depends on a variable.

    Examples
    --------
    >>> x = la.array(3.0)
    >>> x.attach_grad()
    >>> with la.autograd.record():
    ...     slope = la.autograd.grad(x**3, x, create_graph=True)
    >>> slope.backward()
    >>> x.grad
    Array(18.)
    """
    heads, wanted = as_list(heads), as_list(variables)
    given = cotangents_of(heads, head_grads)
    targets = [storage_node(v) for v in wanted]
    retain = create_graph if retain_graph is None else retain_graph
    with Scope(create_graph, train_mode):
        found = by_serial(
            autodiff.gradients([to_node(h) for h in heads], given, targets, retain=retain)
        )
    results = []
    for place, (variable, target) in enumerate(zip(wanted, targets, strict=True)):
        if target.serial not in found:
            fail(
                GradientError,
                "grad",
                f"no head depends on variable {place}, of shape {variable.shape}",
                "Give it attach_grad() before it is used in autograd.record(), or leave it out.",
            )
        results.append(as_seen(from_node(found[target.serial], variable.is_scalar), variable))
    return results[0] if isinstance(variables, ArrayBase) else results


def by_serial(pairs: Sequence[tuple[Node, Node]]) -> dict[int, Node]:
    """Gradients by the serial number of the node they belong to."""
    return {node.serial: g for node, g in pairs}


# ---- functions with a gradient of their own


class Function:
    """A differentiable function with its own `forward` and `backward`.

    A subclass defines both on arrays. `forward` is not recorded. `backward` gets one cotangent for
    each output (zeros where the loss does not depend on it) and returns one for each input, None
    where there is none; it is recorded when its caller asks for `create_graph`. Make a new instance
    for every call.

    Examples
    --------
    >>> class Square(la.autograd.Function):
    ...     def forward(self, x):
    ...         self.save_for_backward(x)
    ...         return x * x
    ...
    ...     def backward(self, g):
    ...         (x,) = self.saved_arrays
    ...         return 2 * x * g
    >>> x = la.array([1.0, 2.0])
    >>> x.attach_grad()
    >>> with la.autograd.record():
    ...     y = Square()(x).sum()
    >>> y.backward()
    >>> x.grad
    Array([2., 4.])
    """

    saved_nodes: tuple[Node, ...] = ()
    used = False

    def save_for_backward(self, *arrays: Array) -> None:
        """Keep values for `backward`; later writes to the arrays do not change them."""
        self.saved_nodes = tuple(to_node(asarray(a)) for a in arrays)

    @property
    def saved_arrays(self) -> tuple[Array, ...]:
        """What `save_for_backward` kept."""
        return tuple(from_node(node) for node in self.saved_nodes)

    def forward(self, *inputs: Any) -> Any:
        """Compute the outputs, one array or a tuple of them."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def backward(self, *output_grads: Any) -> Any:
        """Compute the inputs' cotangents from those of the outputs."""
        raise NotImplementedError(f"{type(self).__name__} does not define backward")

    def __call__(self, *inputs: Any) -> Any:
        """Run `forward`, and tie its outputs to the inputs by `backward`."""
        name = type(self).__name__
        require(
            not self.used,
            GradientError,
            name,
            "this instance has been called already",
            "Make a new one for every call: it keeps what one backward needs.",
        )
        self.used = True
        arrays = [asarray(x) for x in inputs]
        nodes = [to_node(x) for x in arrays]
        with pause(is_training()):
            result = self.forward(*[from_node(node) for node in nodes])
        several = isinstance(result, tuple | list)
        outputs = [to_node(asarray(y)) for y in (result if several else [result])]
        call = Call(self, nodes, outputs)
        wrapped = [from_node(y) for y in autodiff.custom_call(nodes, outputs, call, name)]
        return tuple(wrapped) if several else wrapped[0]


class Call:
    """The backward of one call of a Function, on Nodes."""

    __slots__ = ("function", "inputs", "outputs", "types")

    def __init__(self, function: Function, inputs: list[Node], outputs: list[Node]) -> None:
        self.function = function
        self.inputs = inputs
        self.types = [(y.shape, y.dtype, y.device) for y in outputs]
        # Not the tracked outputs, which hold this call: a circle of nodes would never be freed.
        saved = any(y is node for y in outputs for node in function.saved_nodes)
        self.outputs = outputs if saved else None

    def __call__(self, cotangents: list[Node | None]) -> list[Node | None]:
        """Return the inputs' cotangents."""
        given = [
            from_node(numbers(shape, 0, dtype, place) if g is None else g)
            for (shape, dtype, place), g in zip(self.types, cotangents, strict=True)
        ]
        function, values = self.function, self.function.saved_nodes
        if self.outputs is not None and is_recording():
            function.saved_nodes = self.tracked(values)
        try:
            parts = function.backward(*given)
        finally:
            function.saved_nodes = values
        parts = parts if isinstance(parts, tuple | list) else (parts,)
        return [None if part is None else to_node(asarray(part)) for part in parts]

    def tracked(self, values: tuple[Node, ...]) -> tuple[Node, ...]:
        """Saved values, the outputs among them tied to the inputs by this same backward."""
        assert self.outputs is not None
        again = autodiff.custom_call(self.inputs, self.outputs, self, type(self.function).__name__)
        by_output = {y.serial: tied for y, tied in zip(self.outputs, again, strict=True)}
        return tuple(by_output.get(node.serial, node) for node in values)


# ---- functions of functions


def mapped(tree: Any, change: Callable[[Array], Any]) -> Any:
    """A copy of nested lists, tuples and dicts with every array changed."""
    if isinstance(tree, dict):
        return {key: mapped(part, change) for key, part in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(mapped(part, change) for part in tree)
    return change(asarray(tree))


def variables_for(
    name: str, args: Sequence[Any], places: Sequence[int]
) -> tuple[list[Any], list[Node]]:
    """The arguments with fresh variables at `places`, and the Nodes of these variables in order."""
    nodes: list[Node] = []

    def fresh(x: Array) -> Array:
        require(
            is_inexact(x.dtype),
            DTypeError,
            name,
            f"only floating arguments have gradients, got {x.dtype} of shape {x.shape}",
            "Convert it with astype, or leave it out of argnums.",
        )
        node = autodiff.alias(to_node(x))
        node.variable = Gradient("null")
        nodes.append(node)
        return from_node(node, x.is_scalar)

    changed = list(args)
    for place in places:
        require(
            -len(args) <= place < len(args),
            OptionError,
            name,
            f"argnums names argument {place}, but the call has {len(args)}",
        )
        changed[place] = mapped(args[place], fresh)
    return changed, nodes


def regrouped(args: Sequence[Any], places: Sequence[int], values: Iterator[Any]) -> tuple[Any, ...]:
    """`values` in the structure of the arguments at `places`."""
    return tuple(mapped(args[place], lambda _: next(values)) for place in places)


def pulled_back(
    heads: list[Node], given: list[Node | None], nodes: list[Node], retain: bool
) -> Iterator[Array]:
    """The gradients by `nodes`, zeros where the heads do not depend on one."""
    pairs = [(h, g) for h, g in zip(heads, given, strict=True) if h.tracked]
    heads, given = [h for h, _ in pairs], [g for _, g in pairs]
    found = by_serial(autodiff.gradients(heads, given, nodes, retain=retain))
    return iter([from_node(found.get(n.serial) or full_like(n, 0)) for n in nodes])


def value_and_grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return a function that gives `fn`'s value and its gradients.

    Parameters
    ----------
    fn : callable
        Returns a floating array, shape ().
    argnums : int or sequence of int, default 0
        The arguments to differentiate by: floating arrays, or nested lists, tuples and dicts of
        them.

    Returns
    -------
    callable
        Gives ``(value, gradient)``; the gradient has the structure of its argument, and is a tuple
        of such for a sequence of `argnums`. It can be differentiated again.

    Raises
    ------
    GradientError
        By the function, when `fn` does not return a floating array of shape ().
    """

    def call(*args: Any, **options: Any) -> tuple[Array, Any]:
        places = [argnums] if isinstance(argnums, int) else list(argnums)
        outer = is_recording()
        with Scope(True, None):
            changed, nodes = variables_for("grad", args, places)
            value = fn(*changed, **options)
        scalar = isinstance(value, ArrayBase) and value.ndim == 0 and is_inexact(value.dtype)
        kind = (
            f"{value.dtype} {value.shape}" if isinstance(value, ArrayBase) else type(value).__name__
        )
        require(
            scalar,
            GradientError,
            "grad",
            f"fn must return a floating array of shape (), got {kind}",
            "Sum it, or use la.vjp.",
        )
        # What an outer recording will walk has to stay.
        with Scope(outer, None):
            found = pulled_back([to_node(value)], [None], nodes, retain=outer)
        parts = regrouped(args, places, found)
        return value, parts[0] if isinstance(argnums, int) else parts

    return call


def functional_grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Return the function that gives the gradients of `fn`; see `value_and_grad`.

    Examples
    --------
    >>> la.grad(lambda x: (x * x * x).sum())(la.array([1.0, 2.0]))
    Array([ 3., 12.])
    >>> la.grad(la.grad(lambda x: x**3))(la.array(2.0))
    np.float64(12.0)
    """
    both = value_and_grad(fn, argnums)

    def call(*args: Any, **options: Any) -> Any:
        return both(*args, **options)[1]

    return call


def vjp(fn: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    """Return ``fn(*primals)`` and the function from its cotangents to those of the primals.

    Parameters
    ----------
    fn : callable
        Returns a floating array, or nested lists, tuples and dicts of them.
    *primals : array_like, or nested lists, tuples and dicts of them, floating

    Returns
    -------
    value : as `fn` returns it
    pull : callable
        Takes cotangents in the structure of `value`; returns a tuple with one for each primal. It
        may be called several times.
    """
    outer = is_recording()
    places = range(len(primals))
    with Scope(True, None):
        changed, nodes = variables_for("vjp", primals, places)
        value = fn(*changed)
    heads = [to_node(y) for y in flatten(value)]
    del changed

    def pull(cotangents: Any) -> tuple[Any, ...]:
        given: list[Node] = []
        with device.known[heads[0].device] if heads else pause():  # data go where the heads lie
            mapped(cotangents, lambda g: given.append(to_node(g)))
        require(
            len(given) == len(heads),
            ShapeError,
            "vjp",
            f"fn returned {len(heads)} arrays, got {len(given)} cotangents",
        )
        with Scope(outer or is_recording(), None):
            return regrouped(primals, places, pulled_back(heads, list(given), nodes, retain=True))

    return value, pull


Array.attach_grad = attach_grad
Array.backward = backward_method
Array.zero_grad = zero_grad
Array.grad = property(get_grad)
