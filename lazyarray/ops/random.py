"""Keyed random numbers: pure functions of (key, counter, position).

The generator is Philox 4x32-10 (Salmon et al. 2011). Element i of a result depends on the key, the
counter and i alone, never on workers, blocks or layouts. Key and counter are data, so a new draw
finds the old plan. Every draw should get a counter of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyarray import _ir
from lazyarray._ir import Node, cast
from lazyarray.dtypes import BOOL, INTP, canonical
from lazyarray.errors import DTypeError, OptionError, fail, require
from lazyarray.number import Word

from .define import Elementwise, elementwise, zero_gradient
from .elementary import log1p
from .elementwise import add, iota_node, less, multiply, negative, remainder
from .sorting import argsort

UINT64 = np.dtype(np.uint64)
FLOAT32 = np.dtype(np.float32)
WORD = (1 << 64) - 1

Shape = tuple[int, ...]


def _philox(kind: str, dtype: str) -> Elementwise:
    result = np.dtype(dtype)
    op = elementwise(
        name=f"philox_{kind}_{dtype}",
        nin=3,
        loop=f"philox_{kind}",
        resolver=lambda index, key, counter: ((INTP, UINT64, UINT64), result),
        doc=f"Philox's {kind} numbers of positions `index` under `key` and `counter`, {dtype}.\n",
    )
    zero_gradient(op)
    return op


UNIFORM = {np.dtype(d): _philox("uniform", d) for d in ("float32", "float64")}
NORMAL = {np.dtype(d): _philox("normal", d) for d in ("float32", "float64")}
BITS = {np.dtype(d): _philox("bits", d) for d in ("uint32", "uint64")}


def _word(value: Any) -> Node:
    if type(value) is Word:
        return value.constant(UINT64)
    return value if type(value) is Node else _ir.scalar(np.uint64(int(value) & WORD), UINT64)


def _draw(
    ops: dict[np.dtype, Elementwise], name: str, key: Any, counter: Any, shape: Shape, dtype: Any
) -> Node:
    wanted = canonical(dtype, name)
    if wanted not in ops:
        names = ", ".join(d.name for d in ops)
        fail(
            DTypeError,
            name,
            f"dtype {wanted} is not one of {names}",
            "Convert with astype afterwards.",
        )
    return ops[wanted](iota_node(tuple(shape)), _word(key), _word(counter))


def bits(key: Any, counter: Any, shape: Shape, dtype: Any = np.uint64) -> Node:
    """Random bits.

    Parameters
    ----------
    key, counter : int or uint64 node, shape ()
    shape : tuple of int
    dtype : uint32 or uint64

    Returns
    -------
    node, `shape`, `dtype`
    """
    return _draw(BITS, "bits", key, counter, shape, dtype)


def uniform(
    key: Any, counter: Any, shape: Shape, dtype: Any = np.float64, low: Any = 0.0, high: Any = 1.0
) -> Node:
    """Uniform numbers from `low` up to, but not including, `high` (where rounding leaves a choice).

    Parameters
    ----------
    key, counter : int or uint64 node, shape ()
    shape : tuple of int
    dtype : float32 or float64
        With 24 or 53 random bits.
    low, high : float or node that broadcasts to `shape`

    Returns
    -------
    node, `shape`, `dtype`
    """
    found = _draw(UNIFORM, "uniform", key, counter, shape, dtype)
    if type(low) is not Node and type(high) is not Node:
        if low == 0 and high == 1:
            return found
        return add(multiply(found, float(high) - float(low)), float(low))
    span = high - low
    return cast(add(multiply(found, span), low), found.dtype)


def check_scale(scale: Any, op: str) -> None:
    """Raise OptionError for a number below 0; what an array holds is not looked at."""
    if type(scale) is not Node:
        require(not scale < 0, OptionError, op, f"scale < 0: {scale}")


def normal(
    key: Any, counter: Any, shape: Shape, dtype: Any = np.float64, loc: Any = 0.0, scale: Any = 1.0
) -> Node:
    """Normal numbers with mean `loc` and standard deviation `scale` (Box and Muller 1958).

    Parameters
    ----------
    key, counter : int or uint64 node, shape ()
    shape : tuple of int
    dtype : float32 or float64
    loc, scale : float or node that broadcasts to `shape`

    Returns
    -------
    node, `shape`, `dtype`
    """
    check_scale(scale, "normal")
    found = _draw(NORMAL, "normal", key, counter, shape, dtype)
    if type(scale) is Node or scale != 1:
        found = multiply(found, scale)
    if type(loc) is Node or loc != 0:
        found = add(found, loc)
    return cast(found, canonical(dtype))


def exponential(
    key: Any, counter: Any, shape: Shape, dtype: Any = np.float64, scale: Any = 1.0
) -> Node:
    """Exponential numbers with mean `scale`.

    Parameters
    ----------
    key, counter : int or uint64 node, shape ()
    shape : tuple of int
    dtype : float32 or float64
    scale : float or node that broadcasts to `shape`

    Returns
    -------
    node, `shape`, `dtype`
    """
    check_scale(scale, "exponential")
    found = negative(log1p(negative(_draw(UNIFORM, "exponential", key, counter, shape, dtype))))
    return cast(multiply(found, scale), found.dtype)


def bernoulli(key: Any, counter: Any, shape: Shape, p: Any = 0.5) -> Node:
    """True with probability `p`.

    Parameters
    ----------
    key, counter : int or uint64 node, shape ()
    shape : tuple of int
    p : float or node that broadcasts to `shape`
        Resolved to a multiple of 2**-24.

    Returns
    -------
    node, `shape`, bool
    """
    if type(p) is not Node:
        require(0 <= p <= 1, OptionError, "bernoulli", f"p is {p}, not a probability")
        p = float(p)
    return less(_draw(UNIFORM, "bernoulli", key, counter, shape, FLOAT32), p)


def integers(
    key: Any,
    counter: Any,
    shape: Shape,
    low: int,
    high: int | None = None,
    dtype: Any = np.int64,
    endpoint: bool = False,
) -> Node:
    """Integers from `low` up to, but not including, `high`.

    Parameters
    ----------
    key, counter : int or uint64 node, shape ()
    shape : tuple of int
    low, high : int
        With one bound, the numbers start at 0.
    dtype : bool or integer dtype
    endpoint : bool, default False
        Include `high`.

    Returns
    -------
    node, `shape`, `dtype`

    Raises
    ------
    OptionError
        When there is no such integer, or a bound does not fit `dtype`.

    Notes
    -----
    64 random bits modulo the number of choices n: no probability is off by more than a factor of 1
    + n / 2**64.
    """
    wanted = canonical(dtype, "integers")
    require(wanted.kind in "biu", DTypeError, "integers", f"dtype {wanted} is not an integer dtype")
    if high is None:
        low, high = 0, low
    low, last = int(low), int(high) - (not endpoint)
    least, most = (0, 1) if wanted == BOOL else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    require(low <= last, OptionError, "integers", f"low {low} is not below high {high}")
    require(low >= least, OptionError, "integers", f"low {low} is out of bounds for {wanted}")
    require(last <= most, OptionError, "integers", f"high {high} is out of bounds for {wanted}")
    found = bits(key, counter, shape)
    count = last - low + 1
    if count <= WORD:
        found = remainder(found, _word(count))
    # Modulo 2**64 the sum is right for signed dtypes, too.
    return cast(add(found, _word(low)), wanted)


def permutation(key: Any, counter: Any, n: int) -> Node:
    """A random order of the integers below `n`.

    Parameters
    ----------
    key, counter : int or uint64 node, shape ()
    n : int

    Returns
    -------
    node, shape (n,), int64
    """
    return argsort(bits(key, counter, (n,)))
