"""`la.explain`: the text is the plan, and making it changes nothing."""

import linecache
import re
from pathlib import Path

import numpy as np
import programs
import pytest
import writer

import lazyarray as la
from lazyarray import _bind, _handle, _ir, notation, passes

PAGE = Path(__file__).parent.parent / "docs/explain.md"


@pytest.fixture
def x():
    return la.array(np.arange(24.0).reshape(4, 6))


def labels(plan):
    return [kernel.label for kernel in plan.kernels]


def code(plan):
    return [f"{s.name} = {s.code}" for kernel in plan.kernels for s in kernel.statements]


# ---- what it says


def test_one_kernel_is_one_expression(x):
    plan = la.explain(la.exp(-x) * 2 + x)
    assert labels(plan) == ["negative+exp+multiply+add"]
    assert code(plan) == ["y = exp(-x0) * 2.0 + x0"]
    (kernel,) = plan.kernels
    assert (kernel.bytes_in, kernel.bytes_out, kernel.operations) == (192, 192, 4 * 24)
    assert kernel.stores == [("y", "float64 (4, 6)", "asked for")]
    assert kernel.tier == 0
    assert kernel.nanoseconds > 0


def test_lines_are_those_of_the_user(x):
    a = x + 1
    b = a * a  # twice
    (kernel,) = la.explain(b).kernels
    first, second = kernel.statements
    assert (first.name, first.code) == ("t1", "x0 + 1.0")
    assert second.node.site[1] == first.node.site[1] + 1
    text = str(la.explain(b))
    assert "    # test_explain.py:" in text
    assert "b = a * a  # twice" in text


def test_what_goes_between_kernels_is_named_and_accounted_for(x):
    total = (x * 2) @ x.T
    plan = la.explain(la.sqrt(total))
    assert labels(plan) == ["multiply", "gemm", "sqrt"]
    assert code(plan) == ["t1 = x0 * 2.0", "t2 = t1 @ x0.T", "y = sqrt(t2)"]
    first, second, third = plan.kernels
    assert first.stores[0][2] == "read by kernel 2"
    assert second.stores[0][2] == "held by a live array and read by kernel 3"
    assert first.apart == []
    assert second.apart == [(1, "gemm reads its operands from memory")]
    assert third.apart == [(2, "t2 is complete only when gemm is")]
    assert second.operations == 2 * 4 * 4 * 6


def test_reasons(x):
    def reason(y):
        return la.explain(y).kernels[-1].apart[-1][1]

    doubled = x * 2
    assert reason(doubled[1:] + doubled[:-1]).startswith("it reads t1[")
    n = la.array([1, 2]).wait()
    assert reason(n**n + 1) == "exponent can fail on data, and fails alone"
    long = x
    for _ in range(60):
        long = long * 1.5
    assert reason(long) == "together they have more than 48 operations"
    a, part = x + 1, x[1:] * 3
    a[1:] = part
    kept = a + 0
    assert "written in place" in reason(kept)


def test_needless_work_is_counted(x):
    plan = la.explain(la.exp(x) + la.exp(x))
    assert (plan.recorded, plan.computed) == (3, 2)
    assert "3 operations, 1 of them needless" in str(plan)
    assert code(plan) == ["t1 = exp(x0)", "y = t1 + t1"]


def test_update_shows_where_it_writes():
    u, v = la.array(np.arange(12.0).reshape(3, 4)), la.array([[1.0, 2.0]])
    u[1:2, ::2] = v * 3
    assert code(la.explain(u)) == ["y = x1 with [1, None, ::2] = x0 * 3.0"]


def test_broadcasting_is_implied(x):
    row, column = x[0].copy().wait(), x[:, :1].copy().wait()
    la.eval(row, column)
    outer = x + row * column  # pytest keeps the parts of what it asserts
    assert code(la.explain(outer)) == ["y = x2 + x0 * x1"]
    rest = x - row[None, :] - x[:, 0][:, None]
    assert code(la.explain(rest)) == ["y = x0 - x1 - x0[:, 0, None]"]


def test_several_results(x):
    a, b = x + 1, x * 2
    plan = la.explain({"a": a, "rest": [b]})
    assert {s.name for kernel in plan.kernels for s in kernel.statements} == {"y0", "y1"}


def test_function(x):
    def step(a, *, scale):
        return la.tanh(a * scale)

    plan = la.explain(step, x, scale=0.5)
    assert code(plan) == ["y = tanh(x0 * 0.5)"]


def test_what_is_there_already(x):
    assert "is there" in str(la.explain(la.array([1.0])))
    y = x + 1
    y.wait()
    text = str(la.explain(y))
    assert "float64 (4, 6) is computed; recorded as add at " in text
    assert la.explain(y).kernels == []


def test_nothing_to_explain():
    with pytest.raises(TypeError, match="expected arrays"):
        la.explain([1, 2])


# ---- what it leaves alone


def test_nothing_runs_and_no_plan_is_kept(x):
    y = la.sqrt(x) + 1
    _bind.clear_plans()
    before = la.stats()
    first = str(la.explain(y))
    after = la.stats()
    for name in ("flushes", "lowerings", "plans", "tasks", "records"):
        assert after[name] == before[name], name
    assert "(plan new)" in first
    np.testing.assert_array_equal(y, np.sqrt(x.numpy()) + 1)
    assert "(plan known)" in str(la.explain(la.sqrt(x) + 1))


def test_donation_is_undisturbed():
    a = la.ones(1000).wait()
    start = _handle.peek_numpy(a).ctypes.data
    a = a * 2
    la.explain(a)
    a.wait()
    assert _handle.peek_numpy(a).ctypes.data == start


@pytest.mark.parametrize("text", ["", "none"])
def test_every_pending_program_can_be_explained(text):
    """Random programs, explained after each statement, give what they give unexplained."""

    def after(scope):
        arrays = [each for each in scope.values() if isinstance(each, la.Array)]
        if arrays:
            plan = la.explain(arrays)
            assert str(plan)
            for kernel in plan.kernels:
                assert kernel.statements
                assert all(reason for _, reason in kernel.apart)

    with passes.chosen(text):
        for seed in range(8000, 8040):
            lines = writer.write(seed)
            explained = programs.run(lines, la, after)
            plain = programs.run(lines, la)
            for name, value in plain.names.items():
                assert programs.bits(explained.names[name]) == programs.bits(value), lines
    _bind.clear_plans()


# ---- notation


def views(rng):
    """A random array, a random view of it, and its offset in bytes."""
    shapes = [(48,), (6, 8), (2, 3, 8), (4, 1, 12), (1, 5), (7, 1), (2, 1, 3, 4)]
    shape = shapes[rng.integers(len(shapes))]
    base = np.arange(np.prod(shape)).reshape(shape)
    view = base
    for _ in range(rng.integers(1, 3)):
        kind = rng.integers(6)
        if kind == 0:
            view = view.transpose(rng.permutation(view.ndim))
        elif kind == 1:
            ends = rng.integers(-4, 5, (view.ndim, 2)).tolist()
            steps = rng.choice([1, 1, 1, 2, -1, -2], view.ndim).tolist()
            view = view[tuple(slice(*pair, step) for pair, step in zip(ends, steps, strict=True))]
        elif kind == 2:
            view = view[..., None] if rng.random() < 0.5 else view[None]
        elif kind == 3:
            view = np.broadcast_to(view, (2, *view.shape))
        elif kind == 4 and view.ndim > 1 and view.shape[0]:
            view = view[rng.integers(view.shape[0])]
        elif kind == 5 and view.flags.c_contiguous and view.size and view.ndim:
            view = view.reshape(-1, view.shape[-1])
    offset = view.ctypes.data - base.ctypes.data if view.size else 0
    return base, view, offset


def test_views_read_as_they_are():
    rng = np.random.default_rng(2)
    strided = 0
    for _ in range(4000):
        base, view, offset = views(rng)
        if view.size and not np.may_share_memory(view, base):
            continue
        whole = _ir.placeholder(base.shape, "int64").type
        kind = _ir.placeholder(view.shape, "int64").type
        scope = {"x": base, "broadcast_to": np.broadcast_to}
        for broadcasts in (False, True):
            text = notation.seen(notation.Text("x"), whole, kind, view.strides, offset, broadcasts)
            if "as_strided" in text:
                strided += view.size > 0
                continue
            got = eval(text, scope)
            assert broadcasts or got.shape == view.shape
            np.testing.assert_array_equal(np.broadcast_to(got, view.shape), view)
    assert strided < 400


def test_brackets_are_where_they_must_be(x):
    cases = {
        "(x0 + 1.0) * 2.0": (x + 1) * 2,
        "x0 - (x0 - 1.0)": x - (x - 1),
        "x0 - 1.0 - x0": x - 1 - x,
        "-(x0 * 2.0)": -(x * 2),
        "-x0 * 2.0": -x * 2,
        "(x0 > 1.0) == (x0 < 3.0)": (x > 1) == (x < 3),
        "(x0 > 1.0) & (x0 < 3.0)": (x > 1) & (x < 3),
        "2.0 / (x0 / 3.0)": 2 / (x / 3),
        "abs(x0) + -1.0": la.abs(x) + -1,
        "where(x0 > 1.0, x0, 0.0)": la.where(x > 1, x, 0.0),
        "float32(x0)": x.astype("float32"),
    }
    for text, y in cases.items():
        assert code(la.explain(y)) == [f"y = {text}"]


# ---- the page


def test_page_shows_what_comes_out(capsys, monkeypatch, tmp_path):
    found = re.search(r"```python\n(.*?)```\n+.*?```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = found[1]
    lines = script.splitlines(keepends=True)
    monkeypatch.setitem(linecache.cache, "example.py", (len(script), None, lines, "example.py"))
    _bind.clear_plans()
    exec(compile(script, "example.py", "exec"), {})
    assert estimated(capsys.readouterr().out) == estimated(found[2])


def estimated(text):
    """The text without its estimates of time."""
    return re.sub(r"about [\d.]+ \ws of", "about ... of", text)
