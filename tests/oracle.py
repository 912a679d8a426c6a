"""Calls of NumPy's functions on either namespace: what they return, and whether it is the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import lazyarray as la


def calls(table: str) -> list[str]:
    """The calls in a table, separated by bars and lines."""
    return [call.strip() for line in table.strip().splitlines() for call in line.split(" | ")]


def outcome(call: str, namespace: Any, inputs: dict[str, Any]) -> Any:
    """What a call returns, or the exception it raises."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = eval(f"namespace.{call}", {"np": np, "namespace": namespace, **inputs})
            for each in flat(found):
                if isinstance(each, la.Array):
                    each.wait()
            return found
        except Exception as error:
            return error


def flat(tree: Any) -> Iterator[Any]:
    """What nested lists and tuples hold."""
    if isinstance(tree, tuple | list):
        for part in tree:
            yield from flat(part)
    else:
        yield tree


def agree(found: Any, wanted: Any, call: str, close: bool = False) -> None:
    """Assert that a result is what NumPy's is."""
    if isinstance(wanted, Exception):
        assert isinstance(found, Exception), f"{call}: {found!r}, but NumPy raises {wanted!r}"
        assert isinstance(found, type(wanted)), f"{call}: {found!r}, but NumPy raises {wanted!r}"
        return
    assert not isinstance(found, Exception), f"{call}: {found!r}, but NumPy gives {wanted!r}"
    if isinstance(wanted, tuple | list):
        assert type(found).__name__ == type(wanted).__name__ and len(found) == len(wanted), call
        for one, other in zip(found, wanted, strict=True):
            agree(one, other, call, close)
        return
    if isinstance(wanted, np.ndarray | np.generic):
        assert isinstance(found, la.Array), f"{call}: {type(found)}"
        assert found.dtype == wanted.dtype, f"{call}: {found.dtype}, not {wanted.dtype}"
        assert found.shape == wanted.shape, f"{call}: {found.shape}, not {wanted.shape}"
        value = found.numpy()
        if close:
            eps = np.finfo(wanted.dtype).eps if wanted.dtype.kind in "fc" else 0
            np.testing.assert_allclose(value, wanted, rtol=64 * eps, atol=64 * eps, err_msg=call)
        else:
            np.testing.assert_array_equal(value, wanted, err_msg=call)
        return
    assert type(found) is type(wanted) and found == wanted, f"{call}: {found!r}, not {wanted!r}"


def agree_values(found: Any, wanted: Any, call: str) -> None:
    """As `agree`, arrays being of either kind."""
    if isinstance(wanted, Exception):
        assert isinstance(found, type(wanted)), f"{call}: {found!r}, but NumPy raises {wanted!r}"
    elif isinstance(wanted, tuple | list):
        assert len(found) == len(wanted), call
        for one, other in zip(found, wanted, strict=True):
            agree_values(one, other, call)
    elif isinstance(wanted, np.ndarray | np.generic):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape, call
        np.testing.assert_array_equal(np.asarray(found), wanted, err_msg=call)
    else:
        assert found == wanted or "isscalar" in call, call
