"""Reductions across columns of results: the bits of the plain tree, for every shape and operand."""

import functools
import warnings

import numpy as np
import pytest
from loops import same_bits, sample

import lazyarray as la
from lazyarray import _bind, passes, schedule, tiers
from lazyarray.codegen import cache, worker


class Compiler:
    """The helper process's function, in this process."""

    absent = False
    process = None

    def __init__(self):
        self.load = functools.cache(worker.load)
        self.found = {}

    def compile(self, lists):
        key = repr(lists)
        if key not in self.found:
            self.found[key] = self.load()({"sweep": lists})
        return self.found[key], 0.0

    def stop(self):
        """Nothing was started."""


COMPILER = Compiler()


@pytest.fixture
def compiled(monkeypatch):
    """Plans are compiled before they run; the tasks lowered from here on."""
    monkeypatch.setattr(tiers.state, "service", COMPILER)
    monkeypatch.setattr(cache, "get", lambda key: None)
    monkeypatch.setattr(cache, "put", lambda key, code: None)
    tasks = []
    lower = schedule.lower

    def keep(graph):
        program = lower(graph)
        tasks.extend(program.tasks)
        return program

    monkeypatch.setattr(schedule, "lower", keep)
    before = tiers.set_mode("1")
    _bind.clear_plans()
    yield tasks
    tiers.set_mode(before)
    _bind.clear_plans()


def values(fn, *data):
    """What `fn` gives of arrays."""
    _bind.clear_plans()
    arrays = [la.array(each) for each in data]
    la.wait_all(arrays)
    results = fn(*arrays)
    results = results if isinstance(results, tuple) else (results,)
    la.eval(*results)
    return [np.array(each.numpy()) for each in results]


def check(compiled, fn, *data, columns=True):
    """The bits of the program in tier 1 are those of its single steps in tier 0.

    Whether its reductions are done across columns is `columns`; None where that may be.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del compiled[:]
        found = values(fn, *data)
        recipes = [t.recipe for t in compiled if t.recipe is not None and t.recipe.compiled]
        forms = [sweep.form for r in recipes if r.compiled() for sweep in r.compiled().sweeps]
        assert columns is None or bool({"columns", "strips"} & {*forms}) is columns
        assert all(t.tier == 1 for t in compiled if t.recipe in recipes and t.recipe.compiled())
        before = tiers.set_mode("0")
        with passes.chosen("none"):
            plain = values(fn, *data)
        tiers.set_mode(before)
    assert len(found) == len(plain)
    for one, other in zip(found, plain, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert same_bits(one, other)
    return found


def distances(x, y):
    return la.sqrt(la.sum((x[:, None] - y[None]) ** 2, -1))


@pytest.mark.parametrize("depth", [2, 3, 5, 16, 31, 32, 33, 47, 64, 100, 1023, 1024, 1025, 4100])
def test_every_part_of_the_tree(compiled, depth):
    """Lanes that are missing, full stripes and what is left of one, several blocks."""
    rng = np.random.default_rng(depth)
    x, y = rng.standard_normal((9, depth), "f4"), rng.standard_normal((37, depth), "f4")
    (found,) = check(compiled, distances, x, y)
    want = np.sqrt(((x[:, None].astype("f8") - y) ** 2).sum(-1))
    np.testing.assert_allclose(found, want, rtol=1e-5)


@pytest.mark.parametrize("columns", [16, 17, 31, 63, 64, 65, 80, 127, 1000])
def test_columns_that_fill_no_vector(compiled, columns):
    rng = np.random.default_rng(columns)
    x, y = rng.standard_normal((70, 7), "f4"), rng.standard_normal((columns, 7), "f4")
    check(compiled, distances, x, y)


def test_bands(compiled):
    """More columns than a cache holds, in bands; their results are apart."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 300), "f4"), rng.standard_normal((1500, 300), "f4")
    check(compiled, distances, x, y)


FAST = {("f4", "max"), ("f8", "sum"), ("i4", "min"), ("u8", "prod"), ("i1", "mean")}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=[] if (kind, name) in FAST else [pytest.mark.slow])
        for kind in ("f4", "f8", "i1", "i4", "i8", "u2", "u8")
        for name in ("sum", "prod", "min", "max", "mean")
    ],
)
def test_types_and_folds(compiled, kind, name):
    rng = np.random.default_rng(1)
    x, y = sample(rng, np.dtype(kind), (20, 40)), sample(rng, np.dtype(kind), (70, 40))
    check(compiled, lambda x, y: getattr(la, name)(x[:, None] * y - y, -1), x, y)


def test_several_folds_and_lines(compiled):
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((50, 24), "f4"), rng.standard_normal((64, 24), "f4")
    w = rng.standard_normal((50, 64), "f4")

    def fn(x, y, w):
        d = abs(x[:, None] - y)
        return la.sum(d, -1) * w, la.max(d, -1) + w, la.min(d * d, -1)

    check(compiled, fn, x, y, w)


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8, np.nan])
def test_rare_elements(compiled, scale):
    """Vector math whose short program does not serve some elements."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((40, 35), "f4"), rng.standard_normal((90, 35), "f4")
    x[7, 3] *= scale
    check(compiled, lambda x, y: la.sum(la.sin(x[:, None] * y), -1), x, y)
    check(compiled, lambda x, y: la.sum(la.exp(-(x[:, None] - y)), -1), x[:, :9], y[:, :9])


def test_long_programs(compiled):
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((40, 50)), rng.standard_normal((33, 50))
    check(compiled, lambda x, y: la.sum(la.tanh(x[:, None] - y) * la.exp(y), -1), x, y)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, y: la.sum(x[:, :, None] * y[:, None], -1),  # batches
        lambda x, y: la.sum(x[:, :, None, ::2] * y[:, None, :, 1::2], -1),
        lambda x, y: la.sum(x[:, :, None, ::-1] + y[:, None], -1),
        lambda x, y: la.sum(x[:, :, None] * y[:, None, :, :1] + 1, -1),  # one for a line
        lambda x, y: la.sum(abs(x[0, :, None] - y[0]), (-1,), keepdims=True),
        lambda x, y: la.sum(x[:2, None, :, None] - y[None, :2, None], -1),
        lambda x, y: la.sum(x.reshape(4, 30, 1, 4, 6) - y.reshape(4, 1, 40, 4, 6), (-2, -1)),
    ],
)
def test_layouts(compiled, fn):
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((4, 30, 24), "f4"), rng.standard_normal((4, 40, 24), "f4")
    check(compiled, fn, x, y)


def test_where_nothing_repeats(compiled):
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((400, 64), "f4"), rng.standard_normal((400, 64), "f4")
    check(compiled, lambda x, y: la.sum(x * y, -1), x, y, columns=False)


def test_cast_and_flags(compiled):
    """Elements of another type than the sum's, and a mask."""
    rng = np.random.default_rng(7)
    x, y = rng.integers(0, 9, (40, 12), "i4"), rng.integers(0, 9, (50, 12), "i4")
    check(compiled, lambda x, y: la.sum(x[:, None] == y, -1), x, y)
    check(compiled, lambda x, y: la.mean(la.where(x[:, None] > y, x[:, None], 0), -1), x, y)


def test_into_a_view(compiled):
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((200, 12), "f4"), rng.standard_normal((300, 12), "f4")

    def fn(x, y):
        out = la.zeros((200, 2, 300), "f4")
        out[:, 1] = la.sum(x[:, None] * y, -1)
        return out

    check(compiled, fn, x, y)


# ---- strips: results behind the reduced axis


def variance(x):
    return la.var(x, 0), la.sum(abs(x), 0), la.max(x * x, 0)


@pytest.mark.parametrize("rows", [5, 32, 33, 300, 1024, 1100, 5000])
@pytest.mark.parametrize("columns", [64, 65, 100, 1500])
def test_rows_into_lanes(compiled, rows, columns):
    """Groups of rows, blocks and chunks; columns that fill no vector."""
    rng = np.random.default_rng(rows + columns)
    check(compiled, variance, rng.standard_normal((rows, columns), "f4"), columns=None)


def test_strips_are_used(compiled):
    rng = np.random.default_rng(0)
    found = check(compiled, variance, rng.standard_normal((3000, 1500), "f4"))
    assert len(found) == 3


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, w, v: la.sum(x * w, 1),  # one factor for a column
        lambda x, w, v: la.sum(x - v[:, :, None], 1),  # one for a row
        lambda x, w, v: la.sum(x * 2 + w[0], 1),
        lambda x, w, v: la.sum(la.exp(x * 30) * w, 1),
        lambda x, w, v: la.min(la.tanh(x) + v[:1, :, None], 1),
        lambda x, w, v: la.sum(x[:, ::-1] * x, 1) + w[None],
        lambda x, w, v: la.sum(x > w, 1),
    ],
)
def test_operands_of_strips(compiled, fn):
    rng = np.random.default_rng(9)
    x, w = rng.standard_normal((3, 500, 700), "f4"), rng.standard_normal(700, "f4")
    check(compiled, fn, x, w, rng.standard_normal((3, 500), "f4"))


# ---- lines: loops over contiguous lines between programs of their results


def layer_norm(x, g, b):
    return la.layer_norm(x, g, b)


def variances(x, g, b):
    return la.sum(x, -1), la.mean(x * g, -1), la.var(x + b, -1)


@pytest.mark.parametrize("depth", [32, 33, 64, 100, 1023, 1024, 1025, 2048, 2100, 4096])
@pytest.mark.parametrize("fn", [layer_norm, variances])
def test_lines(compiled, fn, depth):
    rng = np.random.default_rng(depth)
    x = rng.standard_normal((700, depth), "f4") + 3
    g, b = rng.standard_normal(depth, "f4"), rng.standard_normal(depth, "f4")
    check(compiled, fn, x, g, b, columns=False)
    forms = [s.form for t in compiled if t.recipe and t.recipe.compiled for s in sweeps(t.recipe)]
    assert "lines" in forms or fn is variances  # whose small tasks are bundled


def sweeps(recipe):
    found = recipe.compiled()
    return found.sweeps if found is not None else ()


@pytest.mark.parametrize("depth", [32, 100, 1024, 1025, 3000])
@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize(
    "fn",
    [
        lambda x: la.logsumexp(x, 1),
        lambda x: la.softmax(x, 1),
        lambda x: (la.exp(la.sin(x - x.max(1, keepdims=True))).sum(1), (x * 2).min(1)),
        lambda x: la.log1p(la.tanh(x) ** 2) - la.exp(x).mean(1, keepdims=True),
    ],
)
def test_long_steps_between_lines(compiled, fn, kind, depth):
    """Loops over elements in their turn; several batches of lines, and elements that are rare."""
    x = np.random.default_rng(depth).standard_normal((150, depth)).astype(kind) * 4
    x[3, 5], x[4], x[5, 7], x[6] = np.nan, -np.inf, np.inf, 200
    check(compiled, fn, x, columns=False)
    forms = [s.form for t in compiled if t.recipe and t.recipe.compiled for s in sweeps(t.recipe)]
    assert "lines" in forms or depth < 1024  # small tasks are bundled


@pytest.mark.parametrize("kind", ["f4", "f8", "i4", "i8", "u1"])
@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x - x.max(1, keepdims=True),
        lambda x: (x * 2, (x * 2).sum(1), (x * 2).min(1)),
        lambda x: (x > x.mean(1, keepdims=True)).sum(1),
        lambda x: la.where(x > 1, x, x.sum(1, keepdims=True) * x.prod(1, keepdims=True)),
        lambda x: la.cumsum(x - x.min(1, keepdims=True), 1),
    ],
)
def test_programs_of_lines(compiled, fn, kind):
    x = sample(np.random.default_rng(1), np.dtype(kind), (50, 1100))
    check(compiled, fn, x, columns=None)


@pytest.mark.parametrize("kind", ["f4", "f8", "i4", "u8", "i1"])
@pytest.mark.parametrize("depth", [32, 45, 1000, 1024, 1025])
def test_positions_in_lines(compiled, kind, depth):
    """The first of equals, or the first NaN; beside other reductions, and spread again."""
    x = np.random.default_rng(depth).integers(0, 9, (300, depth)).astype(kind)
    if x.dtype.kind == "f":
        x[3, 7] = x[4] = x[5, 20:] = np.nan
        x[6], x[7] = -0.0, np.inf
        x[6, ::2] = 0

    def fn(x):
        y = x * 2 - 1
        nearest = la.argmin(y, 1)
        return nearest, la.argmax(y, 1), la.sum(y, 1), nearest[:, None] == la.arange(x.shape[1])

    found = check(compiled, fn, x, columns=False)
    assert (found[0] == np.argmin(x * 2 - 1, 1)).all()
    assert (found[1] == np.argmax(x * 2 - 1, 1)).all()


@pytest.mark.parametrize("depth", [40, 1500])
def test_lines_in_place(compiled, depth):
    """A result that takes its operand's memory, which is read again."""
    rng = np.random.default_rng(2)

    def fn(x, w):
        y = x * 2 + 1
        y -= y.mean(1, keepdims=True)
        y *= w / la.sqrt((y * y).sum(1, keepdims=True))
        x[:, 1:] -= y[:, 1:].sum(1, keepdims=True) * w[:, 1:]
        return y, x

    x, w = rng.standard_normal((300, depth), "f4"), rng.standard_normal((300, depth), "f4")
    check(compiled, fn, x, w, columns=None)
