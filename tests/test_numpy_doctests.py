"""The examples in NumPy's docstrings print the same with ``np`` bound to lazyarray."""

import re

import pytest
from doctests import documented, examine

import lazyarray as la

SHARE = 0.97  # of the examples on supported dtypes
LONG = {"cumsum", "cumulative_sum", "einsum", "linalg.multi_dot", "shares_memory", "std", "var"}
DRAWN = re.compile(r"random\.|Generator|RandomState")  # millions of samples


def described(report):
    """The examples that print something else, for the message of a failed test."""
    lines = [f"{report.same} the same, {len(report.others)} not, share {report.share:.4f}"]
    for name, source, theirs, ours in report.others:
        lines += [f"--- {name}", source.rstrip(), theirs.rstrip(), "ours:", ours.rstrip()]
    return "\n".join(lines)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own for the files that examples write."""
    monkeypatch.chdir(tmp_path)


def test_a_sample_prints_the_same(folder):
    names = documented()
    assert len(names) > 500
    quick = [name for name in sorted(names) if name not in LONG and not DRAWN.match(name)]
    report = examine({name: names[name] for name in quick[::4]})
    assert report.same > 500
    assert report.share >= SHARE - 0.02, described(report)


@pytest.mark.slow
def test_examples_print_the_same(folder):
    report = examine(documented())
    assert report.same > 4000
    assert report.share >= SHARE, described(report)
    # What has no array of numbers is refused by name, not computed wrongly.
    assert sum(report.foreign.values()) < 250


def test_another_result_is_seen(folder, monkeypatch):
    text = ">>> np.negative([1, 2])\n>>> np.add(1, 1)\n"
    assert examine({"negative": text}).share == 1
    monkeypatch.setattr(la, "negative", lambda x: la.array(x))
    report = examine({"negative": text})
    assert [row[1] for row in report.others] == ["np.negative([1, 2])\n"]
    assert report.same == 1


def test_foreign_dtypes_are_counted_apart(folder):
    report = examine({"array": ">>> np.array(['a'])\n>>> np.add(1, 1)\n"})
    assert report.foreign == {"array": 1}
    assert (report.same, report.others) == (1, [])


def test_an_error_counts_where_numpy_raises_one(folder):
    text = ">>> np.ones(2).sum(axis=1)\nTraceback (most recent call last):\n    ...\nAxisError: x\n"
    assert examine({"sum": text}).same == 1
