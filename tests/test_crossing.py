"""Reductions of rows and of columns in one kernel: what becomes one, and the bits."""

import warnings
from functools import partial

import loops
import numpy as np
import pytest
from test_columns import compiled  # noqa: F401 - a fixture
from test_fusion import arrays, lowered, read  # noqa: F401 - a fixture

import lazyarray as la
from lazyarray import _bind, _fused, crossing, passes

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture
def small(monkeypatch):
    """Small arrays are worth a kernel of both, too."""
    monkeypatch.setattr(crossing, "ALONE", True)
    monkeypatch.setattr(crossing, "LEAST", 0)
    monkeypatch.setattr(crossing, "UNITS", 1)
    _bind.clear_plans()
    yield
    _bind.clear_plans()


def sample(kind, shape):
    """Numbers of many magnitudes and special ones."""
    return loops.sample(np.random.default_rng(7), np.dtype(kind), shape)


def both_ways(fn, *values):
    """The results of `fn`, and those of it without kernels of both."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _bind.clear_plans()
        crossed = read(fn(*arrays(*values)))
        with passes.chosen("-crossing"):
            _bind.clear_plans()
            apart = read(fn(*arrays(*values)))
    _bind.clear_plans()
    return crossed, apart


def check(fn, *values):
    """The results are the same bytes either way."""
    crossed, apart = both_ways(fn, *values)
    for one, other in zip(crossed, apart, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        nan = one != one
        assert np.array_equal(nan, other != other)
        assert np.where(nan, 0, one).tobytes() == np.where(nan, 0, other).tobytes()


def across(programs):
    """How many reductions across lines there are in some programs' kernels."""
    found = 0
    for program in programs:
        for task in program.tasks:
            steps = task.recipe.steps if task.recipe is not None else ()
            found += sum(isinstance(what, _fused.AcrossStep) for what, _, _ in steps)
    return found


def moments(x):
    """Sum, mean and variance over either axis."""
    return tuple(op(x, axis) for axis in (0, 1) for op in (la.sum, la.mean, la.var))


def test_sums_of_rows_and_columns_read_an_array_twice(monkeypatch, lowered):  # noqa: F811
    monkeypatch.setattr(crossing, "ALONE", True)
    x = sample(np.float32, (4096, 300))
    read(moments(*arrays(x)))
    (program,) = lowered
    slot = next(i for i, s in enumerate(program.slots) if s.nbytes == x.nbytes)
    assert sum(slot in task.reads for task in program.tasks) == 2
    assert across(lowered) == 1


@pytest.mark.parametrize("kind", ["f4", "f8", "f2", "i4", "u1", "c8"])
@pytest.mark.parametrize("shape", [(1025, 40), (3000, 33), (64, 1100), (5, 600, 7), (2, 700, 64)])
def test_bits_are_those_of_two_kernels(small, kind, shape):
    check(moments, sample(kind, shape))


@pytest.mark.parametrize("name", ["sum", "prod", "min", "max", "nanmin", "nanmax"])
@pytest.mark.parametrize("red", [1, 31, 32, 33, 1023, 1024, 1025, 2049, 5000])
def test_trees_across_lines(small, lowered, name, red):  # noqa: F811
    op = getattr(la, name)

    def fn(x):
        return op(x, 0), op(x, 1), op(x, 0) * 2

    x = sample(np.float32, (red, 70))
    x[red // 2, 3], x[:, 5] = np.nan, np.nan
    check(fn, x)
    assert across(lowered) >= 1 or red == 1


@pytest.mark.parametrize("kind", ["f4", "f8", "i4"])
def test_compiled_loops_leave_the_bits(small, compiled, kind):  # noqa: F811
    check(moments, sample(kind, (3000, 130)))
    assert any(task.tier for task in compiled)


def test_what_columns_give_is_used_by_rows(small):
    def centred(x):
        away = x - la.mean(x, 0)
        return la.sum(x, 0), la.sum(x, 1), la.sum(away, 1), la.max(x, 1) - la.min(x, 1), away

    check(centred, sample(np.float32, (2100, 90)))


def test_an_array_that_is_overwritten_by_the_kernel(small):
    def fn(x):
        first = la.sum(x, 0), la.sum(x, 1, keepdims=True)
        x *= 2
        x -= first[1]
        return (*first, x)

    check(fn, sample(np.float32, (1500, 64)))


def test_several_workers_join_the_blocks(small):
    x = sample(np.float32, (9000, 65))
    kept = read(moments(*arrays(x)))
    for _ in range(3):
        for one, other in zip(read(moments(*arrays(x))), kept, strict=True):
            assert one.tobytes() == other.tobytes()


def test_a_kernel_of_single_steps():
    x = np.arange(12.0).reshape(4, 3)
    kind = np.dtype(np.float64)
    fold = partial(_fused.FoldStep, "sum", kind, kind)
    steps = [(fold(), (0,), (1,)), (_fused.AcrossStep(fold()), (0,), (2,))]
    kernel = _fused.panels(
        (4, 3), (4, 3, 1), [(0, (4, 3), (24, 8), 8)], [(1, (4,), (8,), 8), (2, (3,), (8,), 8)],
        [8, 8, 0], {1}, steps,
    )  # fmt: skip
    assert kernel.extent == 1 and kernel.scratch_bytes
    rows, columns = np.zeros(4), np.zeros(3)
    kernel.call(x, rows, columns)
    assert np.array_equal(rows, x.sum(1)) and np.array_equal(columns, x.sum(0))
