"""The names at the top: every public op has a function, nothing internal shows."""

import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import lazyarray as la
from lazyarray import functions
from lazyarray.lift import ALIASES, HIDDEN, LIFTED

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def registered():
    """The ops of a fresh process; in this one tests register theirs."""
    program = "import json, lazyarray; print(json.dumps(list(lazyarray._ir.registry)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(json.loads(done.stdout))


def test_every_public_op_has_a_function(registered):
    public = {
        n
        for n in registered - HIDDEN
        if "." not in n and n[0] != "_" and not n.startswith("philox")
    }
    assert public <= set(la.__all__)
    for name in sorted(public | set(ALIASES)):
        assert callable(getattr(la, name)), name


def test_hidden_ops_and_aliases_exist(registered):
    assert registered >= HIDDEN
    assert set(ALIASES.values()) <= registered
    assert not set(LIFTED) & HIDDEN


def test_names_exist_once_and_are_documented():
    assert la.__all__ == sorted(set(la.__all__))
    for name in la.__all__:
        value = getattr(la, name)
        if callable(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), name


def test_nothing_else_shows():
    names = {n for n in vars(la) if not n.startswith("_")}
    for name in sorted(names - set(la.__all__)):
        value = getattr(la, name)
        assert inspect.ismodule(value), name
        assert value.__name__ == f"lazyarray.{name}"


def test_a_function_wins_over_the_op_of_its_name():
    for name in functions.__all__:
        found = getattr(la, name)
        assert getattr(found, "ours", found) is getattr(functions, name)


def test_version_is_that_of_the_distribution():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert la.__version__ == project["version"]


def test_what_only_numpy_has_is_said_to_be_there():
    missing = [n for n in np.__all__ if not n.startswith("_") and not hasattr(la, n)]
    assert set(missing) <= {*np.__all__} - {*vars(la)}
    for name in missing:
        with pytest.raises(
            AttributeError, match=f"lazyarray has no {name}: .*NumPy, np.{name}"
        ) as raised:
            getattr(la, name)
        assert raised.value.name == name
    with pytest.raises(AttributeError, match=r"^module 'lazyarray' has no attribute 'nope'$"):
        la.nope  # noqa: B018
    with pytest.raises(ImportError):
        exec("from lazyarray import nope")
