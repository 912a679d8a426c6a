"""Symbols that are made of nothing but names, other Symbols or texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lazyarray.dtypes import canonical
from lazyarray.errors import OptionError, require

from .program import Input, as_shape, attribute, users_site
from .symbol import Symbol, as_attributes
from .text import read_text


def Variable(
    name: str, attr: Mapping[str, str] | None = None, shape: Any = None,
    lr_mult: float | None = None, wd_mult: float | None = None, dtype: Any = None, init: Any = None,
) -> Symbol:  # fmt: skip
    """Return the Symbol of a named input.

    Parameters
    ----------
    name : str
    attr : dict of str to str, optional
        Anything to be kept with it.
    shape : tuple of int, optional
        Stated where it is known; None or 0 leaves an extent open.
    lr_mult, wd_mult : float, optional
        Kept as the attributes ``__lr_mult__`` and ``__wd_mult__``.
    dtype : dtype, optional
        By default that of what is bound, or of the layer's data.
    init : number, or anything that JSON can hold, optional
        What it starts from when it is bound by its shape; what is no number is kept for a trainer.

    Returns
    -------
    Symbol
    """
    require(
        isinstance(name, str) and bool(name),
        OptionError,
        "Variable",
        f"name must be a text, got {name!r}",
    )
    attributes = as_attributes(attr, name)
    for key, value in (("__lr_mult__", lr_mult), ("__wd_mult__", wd_mult)):
        if value is not None:
            attributes[key] = str(float(value))
    known = None if shape is None else as_shape(shape, name)
    kind = None if dtype is None else canonical(dtype, name)
    start = None if init is None else attribute(init, name)
    return Symbol([(Input(name, known, kind, start, attributes, users_site()), 0)])


def Group(symbols: Sequence[Symbol]) -> Symbol:
    """Return one Symbol with the outputs of several.

    Parameters
    ----------
    symbols : sequence of Symbol

    Returns
    -------
    Symbol
    """
    parts = list(symbols)
    require(bool(parts), OptionError, "Group", "needs at least one Symbol")
    for part in parts:
        if not isinstance(part, Symbol):
            raise TypeError(f"Group: expected Symbols, got {type(part).__name__}")
    return Symbol([output for part in parts for output in part._outputs])


def load(path: Any) -> Symbol:
    """Return the Symbol that `Symbol.save` wrote to a file.

    Raises
    ------
    FileError
        When the file cannot be read.
    DataError
        As `load_json`.
    """
    return Symbol(read_text(path, "load", file=True))
