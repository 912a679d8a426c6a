"""How much of NumPy there is: ``python -m lazyarray.coverage`` prints a table, name by name.

Native is what lazyarray computes itself, or what is no computation; host what NumPy's or SciPy's
function computes, as a task of the engine or after a wait; different what behaves otherwise on
purpose, with the reason; missing what is not there.
"""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

import lazyarray as la

TASK = "a task that runs NumPy's function"
RUNS = {
    "own": ("native", ""),
    "types": ("native", "looks at shapes and dtypes alone"),
    "task": ("host", TASK),
    "waits": ("host", "waits for its arguments and runs NumPy's function"),
    "made": ("host", "arrays that NumPy makes of numbers"),
    "file": ("host", "NumPy reads or writes a file"),
}
READ = {"allclose", "array_equal"}  # observers that compare with NumPy

KEPT = "raises TypeError: keep such data in NumPy"
NOT_THERE = "not there: use NumPy's"
NUMPYS_OWN = "NumPy's own: for dtypes that lazyarray does not compute with"
DIFFERENT = {
    "numpy": {
        **dict.fromkeys(
            ("asmatrix", "bmat", "busday_count", "busday_offset", "datetime_as_string",
             "datetime_data", "is_busday", "isnat"),
            KEPT,
        ),
        **dict.fromkeys(
            ("char", "core", "ctypeslib", "f2py", "ma", "polynomial", "rec", "strings", "test"),
            NOT_THERE,
        ),
        **dict.fromkeys(
            ("busdaycalendar", "bytes_", "character", "clongdouble", "complex256", "datetime64",
             "flexible", "float128", "longdouble", "matrix", "object_", "recarray", "record",
             "str_", "timedelta64", "void"),
            NUMPYS_OWN,
        ),
        "frombuffer": "memory that is read-only is copied",
        "frompyfunc": "raises TypeError: use vectorize",
        "memmap": "an array on the file's memory, no subclass",
        "ndarray": "lazyarray's class, Array",
        "poly1d": "coefficients stay in NumPy",
    },
    "numpy.random": {"test": NOT_THERE, "mtrand": NOT_THERE, "bit_generator": NOT_THERE},
}  # fmt: skip
DRAWN = "NumPy's own code on the generator's state, as a task"


@dataclass(frozen=True, slots=True)
class Row:
    """One name of NumPy's."""

    space: str
    name: str
    status: str
    note: str = ""


def spaces() -> dict[str, tuple[Any, Any, list[str]]]:
    """NumPy's namespaces by name, lazyarray's for each, and their public names."""
    return {
        "numpy": (np, la, public(np.__all__)),
        "numpy.linalg": (np.linalg, la.linalg, public(np.linalg.__all__)),
        "numpy.fft": (np.fft, la.fft, public(np.fft.__all__)),
        "numpy.random": (np.random, la.random, public(np.random.__all__)),
        "ndarray": (np.ndarray, la.Array, public(dir(np.ndarray))),
    }


def public(names: Any) -> list[str]:
    """The names that are not private, sorted."""
    return sorted({name for name in names if not name.startswith("_")})


def status(space: str, name: str, ours: Any) -> Row:
    """What there is of one name."""
    different = DIFFERENT.get(space, {}).get(name)
    if different is not None:
        return Row(space, name, "different", different)
    found = getattr(ours, name, None)
    if found is None and not hasattr(ours, name):
        return Row(space, name, "missing")
    if space == "numpy.random":
        return Row(space, name, "host", DRAWN)
    if space == "ndarray" and hasattr(la, name):
        found = getattr(la, name)  # a method is what the function is
    found = getattr(found, "ours", found)
    runs = "waits" if space == "numpy" and name in READ else getattr(found, "runs", "own")
    return Row(space, name, *RUNS.get(runs, ("different", KEPT)))


def rows() -> list[Row]:
    """Every public name of NumPy's, with what there is of it."""
    return [
        status(space, name, ours) for space, (_, ours, names) in spaces().items() for name in names
    ]


def counts(table: list[Row]) -> dict[str, Counter[str]]:
    """How many names of each namespace have which status."""
    found: dict[str, Counter[str]] = {}
    for row in table:
        found.setdefault(row.space, Counter())[row.status] += 1
    return found


STATUSES = ("native", "host", "different", "missing")


def summary(table: list[Row]) -> list[str]:
    """The counts as the lines of a table."""
    lines = ["| namespace | " + " | ".join(STATUSES) + " |", "| --- |" + " ---: |" * len(STATUSES)]
    for space, found in counts(table).items():
        lines.append(f"| {space} | " + " | ".join(str(found[s]) for s in STATUSES) + " |")
    return lines


def version() -> str:
    """The NumPy that there is, major and minor."""
    return ".".join(np.__version__.split(".")[:2])


def page() -> str:
    """The page of the documentation."""
    table = rows()
    lines = [
        "# Coverage",
        "",
        f"Every public name of NumPy {version()} and what there is of it here. *Native* is what",
        "lazyarray computes, or no computation at all; *host* is computed by NumPy's or",
        "SciPy's function, as a task of the engine or after a wait for the arguments; *different*",
        "behaves otherwise, on purpose.",
        "`LAZYARRAY_FALLBACK=warn` (or `error`) tells where a program waits like that, with the",
        "line. This page is made by `python -m lazyarray.coverage --markdown`.",
        "",
        *summary(table),
    ]
    for space in counts(table):
        lines += ["", f"## {space}", ""]
        for kind in STATUSES:
            chosen = [row for row in table if row.space == space and row.status == kind]
            notes = sorted({row.note for row in chosen})
            for note in notes:
                names = ", ".join(f"`{row.name}`" for row in chosen if row.note == note)
                head = f"{kind.capitalize()}, {note}" if note else kind.capitalize()
                lines += [*textwrap.wrap(f"**{head}**: {names}", 100), ""]
        lines.pop()
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Print the table, or with ``--markdown`` the page of the documentation."""
    if "--markdown" in arguments:
        print(page(), end="")
        return
    table = rows()
    for row in table:
        print(f"{row.space:13} {row.name:26} {row.status:10} {row.note}".rstrip())
    print()
    for space, found in counts(table).items():
        print(f"{space:13} " + ", ".join(f"{found[s]} {s}" for s in STATUSES))


if __name__ == "__main__":
    main(sys.argv[1:])
