"""Calls of ufuncs, with their options (`out`, `where`, `dtype`, `casting`, `order`, ...)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazyarray import _handle, _record
from lazyarray._handle import from_node, shadow, to_node
from lazyarray._ir import Node, registry
from lazyarray._record import ArrayBase, UfuncBase
from lazyarray.dtypes import BOOL, canonical
from lazyarray.errors import DTypeError, ShapeError, fail
from lazyarray.number import Number

from .array import Array, array, asarray

WEAK = (int, float, complex)
OUT = {"out"}
UNSUPPORTED = set("gGOMmSUV")  # type characters of loops that lazyarray has no arrays for


class Calls(UfuncBase):
    """What a ufunc is, and its calls."""

    def __init__(
        self,
        numpy: np.ufunc,
        *ops: Callable[..., Node],
        name: str | None = None,
        doc: str | None = None,
    ) -> None:
        single_op = len(ops) == 1 and numpy.signature is None
        super().__init__(ops[0] if single_op else None, numpy.nin)
        self.numpy = numpy
        self.ops = ops
        self.__name__ = self.__qualname__ = name or numpy.__name__
        self.__doc__ = doc
        self.__module__ = "lazyarray"

    # ---- what it is

    @property
    def nout(self) -> int:
        """Number of results."""
        return self.numpy.nout

    @property
    def nargs(self) -> int:
        """Number of inputs and results."""
        return self.numpy.nargs

    @property
    def types(self) -> list[str]:
        """The type characters of its loops, as in ``dd->d``."""
        return [text for text in self.numpy.types if not UNSUPPORTED & set(text)]

    @property
    def ntypes(self) -> int:
        """Number of loops."""
        return len(self.types)

    @property
    def identity(self) -> Any:
        """What a reduction starts from, or None."""
        return self.numpy.identity

    @property
    def signature(self) -> str | None:
        """The axes that a generalised ufunc works on, or None."""
        return self.numpy.signature

    @property
    def __signature__(self) -> inspect.Signature:
        try:
            return inspect.signature(self.numpy)
        except ValueError:  # of SciPy's
            raise AttributeError("__signature__") from None

    def resolve_dtypes(self, dtypes: Any, **options: Any) -> tuple[np.dtype, ...]:
        """Return the dtypes of the loop that a call runs; as `numpy.ufunc.resolve_dtypes`."""
        return self.numpy.resolve_dtypes(dtypes, **options)

    def __repr__(self) -> str:
        return f"<ufunc '{self.__name__}'>"

    def __reduce__(self) -> str:
        return self.__name__

    def __copy__(self) -> Calls:
        return self

    def __deepcopy__(self, memo: Any) -> Calls:
        return self

    # ---- calls

    def call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A call with options, or with inputs that are not arrays."""
        if any(map(foreign, args)):
            return self.numpy(*args, **options)  # which asks their classes
        name, nin, nout = self.__name__, self.nin, self.nout
        if len(args) == nin and nout == 1 and options.keys() == OUT:
            out = options["out"]
            if type(out) is Array and not out.is_scalar:
                _record.writeable(out, name)
                _record.store(out, self(*args), name)
                return out
        if not nin <= len(args) <= nin + nout:
            takes = f"from {nin} to {nin + nout}"
            raise TypeError(
                f"{name}() takes {takes} positional arguments but {len(args)} were given"
            )
        outs = self.outputs(args[nin:], options.pop("out", None))
        where, order = options.pop("where", True), options.pop("order", "K")
        options.pop("subok", True)
        casting = options.pop("casting", "same_kind")
        signature = self.chosen_loop(options)
        if options:
            raise TypeError(f"{name}() got an unexpected keyword argument {next(iter(options))!r}")
        inputs: Sequence[Any] = args[:nin]
        if signature is not None or casting != "same_kind":
            inputs = self.converted(inputs, outs, signature, casting)
        if where is not True:
            inputs = self.masked(inputs, where)
        results = tuple([self.laid_out(op, inputs, order) for op in self.ops])
        if outs is not None:
            results = tuple(
                [
                    result if out is None else self.stored(out, result, where, casting)
                    for out, result in zip(outs, results, strict=True)
                ]
            )
        return results if nout > 1 else results[0]

    def outputs(self, given: tuple[Any, ...], out: Any) -> tuple[Any, ...] | None:
        """The arrays to write to, checked: one entry for each result."""
        if given and out is not None:
            raise TypeError("cannot specify 'out' as both a positional and keyword argument")
        if out is None and not given:
            return None
        if not given:
            given = out if isinstance(out, tuple) else (out,)
            if isinstance(out, tuple) and len(out) != self.nout:
                raise ValueError("The 'out' tuple must have exactly one entry per ufunc output")
            if not isinstance(out, tuple) and self.nout > 1:
                raise TypeError("'out' must be a tuple of arrays")
        outs = (*given, *[None] * (self.nout - len(given)))
        for each in outs:
            if each is not None:
                check_out(each, self.__name__)
        return None if all(each is None for each in outs) else outs

    def chosen_loop(self, options: dict[str, Any]) -> tuple[Any, ...] | None:
        """The dtypes asked for by ``dtype=`` or ``signature=``, None where NumPy chooses."""
        asked = [key for key in ("dtype", "signature", "sig") if options.get(key) is not None]
        found = [options.pop(key) for key in ("dtype", "signature", "sig") if key in options]
        if not asked:
            return None
        if len(asked) > 1:
            raise TypeError("cannot specify both 'signature' and 'dtype'")
        (value,) = [each for each in found if each is not None]
        if asked == ["dtype"]:
            wanted = canonical(value, self.__name__)
            return (*[None] * self.nin, *[wanted] * self.nout)
        if isinstance(value, str) and "->" in value:
            left, _, right = value.partition("->")
            value = tuple(left + right)
        elif not isinstance(value, tuple) or len(value) == 1:
            raise TypeError(f"{self.__name__}: use dtype= for the dtype of the results")
        if len(value) != self.nargs:
            raise ValueError(
                f"a type-tuple must be specified of length {self.nargs} for ufunc '{self.__name__}'"
            )
        return tuple([None if each is None else np.dtype(each) for each in value])

    def converted(
        self, inputs: Sequence[Any], outs: Any, signature: Any, casting: str
    ) -> list[Any]:
        """The inputs in the dtypes of the loop that was asked for."""
        arrays = [x if kind_of(x) else asarray(x) for x in inputs]
        kinds = [kind_of(x) or x.dtype for x in arrays]
        made = [None if out is None else out.dtype for out in outs or [None] * self.nout]
        options: dict[str, Any] = {"casting": casting}
        if signature is not None:
            options["signature"] = signature
        try:
            found = self.numpy.resolve_dtypes((*kinds, *made), **options)
        except TypeError as error:
            fail(DTypeError, self.__name__, str(error))
        return [
            array(x, dtype) if kind_of(x) else x.astype(canonical(dtype, self.__name__), copy=False)
            for x, dtype in zip(arrays, found[: self.nin], strict=True)
        ]

    def masked(self, inputs: Sequence[Any], where: Any) -> list[Any]:
        """The inputs where a mask holds, elsewhere what no op minds."""
        mask = as_mask(where)
        calm = self.__name__ != "arctanh"  # a boolean: it changes no dtype
        # Plain numbers stay what they are: they are not looked at element by element.
        arrays = [x if kind_of(x) else asarray(x) for x in inputs]
        if all(kind_of(x) for x in arrays):
            arrays[0] = asarray(arrays[0])
        return [
            x if kind_of(x) else _record.apply(registry["where"], mask, x, calm) for x in arrays
        ]

    def laid_out(self, op: Callable[..., Node], inputs: Sequence[Any], order: str) -> Any:
        """What an op makes of the inputs, in the memory order asked for."""
        if order == "K":
            result = _record.apply(op, *inputs)
            if result is NotImplemented:  # sequences of other kinds, and what is no array at all
                result = _record.apply(op, *[x if kind_of(x) else asarray(x) for x in inputs])
            return result
        if order not in ("C", "F", "A"):
            raise ValueError(f"order must be one of 'C', 'F', 'A', or 'K' (got {order!r})")
        arrays = [x if kind_of(x) else asarray(x) for x in inputs]
        flags = [shadow(x).flags for x in arrays if isinstance(x, ArrayBase)]
        fortran = all(f.f_contiguous for f in flags) and not all(f.c_contiguous for f in flags)
        if order == "C" or (order == "A" and not fortran):
            return from_node(op(*[to_node(x) if isinstance(x, ArrayBase) else x for x in arrays]))
        ndim = max((x.ndim for x in arrays if isinstance(x, ArrayBase)), default=0)
        turned = [
            to_node(x[(None,) * (ndim - x.ndim)].T) if isinstance(x, ArrayBase) else x
            for x in arrays
        ]
        result = from_node(op(*turned))
        return result.T if ndim else result

    def stored(self, out: Any, result: Array, where: Any, casting: str) -> Any:
        """`out`, after the result was written to it where the mask holds."""
        return stored(out, result, where, casting, self.__name__)


# ---- operands


def foreign(value: Any) -> bool:
    """Whether a value is of a class that has its own way with ufuncs."""
    rule = getattr(type(value), "__array_ufunc__", np.ndarray.__array_ufunc__)
    return (
        rule is not np.ndarray.__array_ufunc__
        and not isinstance(value, ArrayBase)
        and (type(value) is not Number and not isinstance(value, np.generic))
    )


def kind_of(value: Any) -> type | None:
    """The type of a plain Python number, None for anything else."""
    if type(value) is Number:
        return value.kind
    return type(value) if type(value) in WEAK else None


def plain(value: Any) -> Any:
    """What NumPy takes for an argument that may be an array, or a tuple of them."""
    if isinstance(value, ArrayBase):
        return _handle.peek_numpy(value)
    return tuple([plain(each) for each in value]) if isinstance(value, tuple) else value


def filled(out: Any, result: Array, name: str, casting: str = "unsafe") -> Any:
    """`out`, of the result's shape, after the result was cast and written to it."""
    if out.shape != result.shape:
        wrong = "dimensions" if out.ndim != result.ndim else "extents"
        fail(
            ShapeError,
            name,
            f"output array has the wrong {wrong}: its shape is {out.shape}, "
            f"the result's {result.shape}",
        )
    return stored(out, result, True, casting, name)


def as_mask(where: Any) -> Array:
    """The mask of ``where=``."""
    mask = asarray(where)
    if mask.dtype != BOOL:
        raise TypeError(
            f"Cannot cast array data from {mask.dtype!r} to dtype('bool') according to the rule "
            "'safe'"
        )
    return mask


def single(out: Any) -> Any:
    """The one array of ``out=``, which may come in a tuple."""
    if isinstance(out, tuple):
        if len(out) != 1:
            raise ValueError("The 'out' tuple must have exactly one entry")
        return out[0]
    return out


def check_out(out: Any, name: str) -> None:
    """Raise what NumPy raises for an `out` that cannot be written."""
    if isinstance(out, ArrayBase) and not out.is_scalar:
        _record.writeable(out, name)
    elif isinstance(out, np.ndarray):
        if not out.flags.writeable:
            raise ValueError(f"{name}: output array is read-only")
    else:
        raise TypeError(f"{name}: return arrays must be arrays, got {type(out).__name__}")


def stored(out: Any, result: Array, where: Any, casting: str, name: str) -> Any:
    """`out`, after `result` was cast and written to it where the mask holds.

    A NumPy array has it when this returns.
    """
    if casting != "same_kind":
        if not np.can_cast(result.dtype, out.dtype, casting):  # type: ignore[arg-type]
            fail(
                DTypeError,
                name,
                f"cannot cast output from {result.dtype!r} to {out.dtype!r} with casting rule "
                f"{casting!r}",
            )
        result = result.astype(out.dtype, copy=False)
    if isinstance(out, ArrayBase):
        if where is not True:
            _record.check_output(shadow(out), shadow(result), name)
            result = _record.apply(
                registry["where"], as_mask(where), result.astype(out.dtype, copy=False), out
            )
        _record.store(out, result, name)
        return out
    _record.check_output(out, result, name)
    chosen = True if where is True else plain(as_mask(where))
    np.copyto(out, _handle.peek_numpy(result), casting="unsafe", where=chosen)
    return out
