"""What the documentation shows runs: docstring examples, code blocks, the rows of differences."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import lazyarray as la

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def module_names():
    """Every module with an example in it."""
    for file in sorted((ROOT / "lazyarray").rglob("*.py*")):
        if file.suffix in (".py", ".pyx") and ">>> " in file.read_text():
            parts = file.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def examples(module):
    """The docstring examples of a module, those of operator objects too."""
    names = {"la": la, "np": np}
    yield from doctest.DocTestFinder().find(module, extraglobs=names)
    parser = doctest.DocTestParser()
    for name, value in vars(module).items():
        if inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value):
            continue
        text = getattr(value, "__doc__", None)
        own = getattr(value, "__module__", module.__name__) == module.__name__
        if own and isinstance(text, str) and text != type(value).__doc__ and ">>> " in text:
            label = f"{module.__name__}.{name}"
            yield parser.get_doctest(text, {**vars(module), **names}, label, None, 0)


def run(test):
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
    assert not report, "".join(report)


@pytest.mark.parametrize("name", list(module_names()))
def test_docstrings(name):
    found = [t for t in examples(importlib.import_module(name)) if t.examples]
    assert found, f"{name} has examples that no docstring holds"
    for test in found:
        run(test)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_code_blocks(page, tmp_path, monkeypatch):
    """The blocks of a page run in order, in one namespace, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    text, names = page.read_text(), {"la": la, "np": np}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        if ">>> " in block[1]:
            parsed = doctest.DocTestParser().get_doctest(
                block[1], names, page.name, str(page), line
            )
            run(parsed)
            names = parsed.globs
        else:
            exec(compile("\n" * line + block[1], str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_difference_has_a_test():
    rows = [r for r in (ROOT / "docs/differences.md").read_text().splitlines() if r.startswith("|")]
    assert len(rows) > 2
    for row in rows[2:]:
        cells = [c.strip() for c in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == 4, row
        file, _, name = cells[3].strip("`").partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), row
