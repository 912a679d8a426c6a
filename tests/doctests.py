"""The examples in NumPy's own docstrings, run with ``np`` bound to lazyarray, beside NumPy itself.

What counts is what NumPy prints here and now, not what its text says; an example that NumPy prints
differently in a second run is left out, and so is one that fails with NumPy.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
import warnings
from collections import Counter
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

import lazyarray as la

SPACES = ("", "linalg", "fft", "random")
KEEP = re.compile(r"keep .* in NumPy", re.IGNORECASE)
FOREIGN = ("matplotlib", "scipy", "ctypes", "input(", "np.test(", "show_config", "show_runtime")


@dataclass
class Report:
    """How many examples print the same, by function; and those that do not."""

    same: int = 0
    foreign: Counter[str] = field(default_factory=Counter)  # of dtypes that lazyarray has not
    others: list[tuple[str, str, str, str]] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the examples on supported dtypes."""
        return self.same / max(1, self.same + len(self.others))


def documented() -> dict[str, str]:
    """Every public name with examples in its docstring."""
    found: dict[str, str] = {}
    seen: set[int] = set()
    for space in SPACES:
        module = getattr(np, space) if space else np
        for name in sorted(getattr(module, "__all__", None) or dir(module)):
            thing = getattr(module, name, None)
            if name.startswith("_") or isinstance(thing, ModuleType) or id(thing) in seen:
                continue
            seen.add(id(thing))
            add(found, f"{space}.{name}" if space else name, thing)
            if isinstance(thing, type) and name in ("ndarray", "Generator", "RandomState"):
                for part in dir(thing):
                    if not part.startswith("_"):
                        add(found, f"{name}.{part}", getattr(thing, part))
    return found


def add(found: dict[str, str], name: str, thing: Any) -> None:
    text = getattr(thing, "__doc__", None)
    if isinstance(text, str) and ">>>" in text:
        found[name] = text


def run(examples: list[doctest.Example], module: ModuleType) -> list[tuple[str, Exception | None]]:
    """What each example prints, and raises; later ones see the names of earlier ones."""
    names: dict[str, Any] = {"np": module, "__name__": "examples"}
    results = []
    before = np.get_printoptions()
    state = np.random.get_state()
    module.random.seed(1234)
    for example in examples:
        source = example.source
        if module is not np:
            source = re.sub(r"\bimport numpy as np\b", "pass", source)
            source = re.sub(r"\bfrom numpy\b", "from lazyarray", source)
        out = io.StringIO()
        error = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            hook, sys.displayhook = sys.displayhook, sys.__displayhook__
            try:
                exec(compile(source, "<example>", "single"), names)
            except Exception as raised:
                error = raised
            finally:
                sys.displayhook = hook
        results.append((out.getvalue(), error))
    names.clear()
    with contextlib.suppress(BaseExceptionGroup):  # of what was never looked at
        la.wait_all()
    np.set_printoptions(**before)
    np.random.set_state(state)
    return results


def plainly(text: str) -> str:
    """An output without what is documented to differ: the name of arrays, white space."""
    text = re.sub(r"\bArray\(", "array(", text)
    text = re.sub(r"\blazyarray\b|\bla\.", "numpy", text)
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    return re.sub(r"\s+", "", text)


def examine(names: dict[str, str]) -> Report:
    """Run the examples of these docstrings with both."""
    report = Report()
    parser = doctest.DocTestParser()
    for name, text in names.items():
        examples = [
            e
            for e in parser.get_examples(text)
            if doctest.SKIP not in e.options and not any(word in e.source for word in FOREIGN)
        ]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            first, second = run(examples, np), run(examples, np)
            ours = run(examples, la)
        spoiled = False  # by an example that needed another dtype: the rest lack its names
        for example, (one, error), (two, _), (mine, raised) in zip(
            examples, first, second, ours, strict=True
        ):
            if one != two or (error is not None and not example.exc_msg):
                continue
            if raised is not None and (KEEP.search(str(raised)) or spoiled) and error is None:
                spoiled = True
                report.foreign[name] += 1
            elif (raised is None) == (error is None) and (
                error is not None or plainly(one) == plainly(mine)
            ):
                report.same += 1
            else:
                got = repr(raised) if raised is not None else mine
                report.others.append((name, example.source, one or repr(error), got))
    return report
