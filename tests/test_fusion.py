"""Reductions, rows and stencils in one kernel: how many tasks, and the bits of single steps."""

import warnings
from functools import partial

import numpy as np
import programs
import pytest
import writer
from loops import DTYPES, same_bits, sample

import lazyarray as la
from lazyarray import _bind, passes, schedule


@pytest.fixture
def lowered(monkeypatch):
    """The programs of every lowering from here on."""
    found = []
    lower = schedule.lower

    def keep(graph):
        program = lower(graph)
        found.append(program)
        return program

    monkeypatch.setattr(schedule, "lower", keep)
    _bind.clear_plans()
    return found


def arrays(*values):
    """Their arrays, with nothing pending."""
    found = [la.array(value) for value in values]
    la.wait_all(found)
    return found


def read(results):
    """The values of one array, or of several evaluated together."""
    results = results if isinstance(results, tuple) else (results,)
    la.eval(*results)
    return [np.array(result.numpy()) for result in results]


def both(fn, *values):
    """The results of `fn` with every pass, and with none."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _bind.clear_plans()
        fused = read(fn(*arrays(*values)))
        with passes.chosen("none"):
            _bind.clear_plans()
            plain = read(fn(*arrays(*values)))
    _bind.clear_plans()
    return fused, plain


def check(fn, *values):
    """The results of `fn` have the same bits in one kernel and step by step."""
    fused, plain = both(fn, *values)
    assert len(fused) == len(plain)
    for one, other in zip(fused, plain, strict=True):
        assert same_bits(one, other)
    return fused


def tasks(fn, *values):
    """The labels of the tasks of `fn`."""
    lowered = []
    lower = schedule.lower

    def keep(graph):
        lowered.append(lower(graph))
        return lowered[-1]

    inputs = arrays(*values)
    _bind.clear_plans()
    schedule.lower = keep
    try:
        read(fn(*inputs))
    finally:
        schedule.lower = lower
        _bind.clear_plans()
    return [task.label for program in lowered for task in program.tasks]


def numbers(*shape, dtype=np.float32, seed=0):
    return sample(np.random.default_rng(seed), dtype, shape)


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(3).standard_normal(shape).astype(dtype)


# ---- how many tasks

ONE_TASK = {
    "softmax": lambda x: la.softmax(x),
    "log_softmax": lambda x: la.log_softmax(x),
    "logsumexp": lambda x: la.logsumexp(x, axis=1),
    "var": lambda x: x.var(axis=1),
    "std": lambda x: x.std(axis=-1, keepdims=True),
    "mean": lambda x: x.mean(axis=1),
    "centered": lambda x: x - x.mean(axis=1, keepdims=True),
    "normalised": lambda x: x / x.sum(axis=1, keepdims=True),
    "min and max": lambda x: (x.min(axis=1), x.max(axis=1)),
    "sum and squares": lambda x: (x * x).sum(axis=1) / x.sum(axis=1),
    "kept value": lambda x: (lambda y: (y, y.sum(axis=1)))(x * 2 + 1),
    "columns": lambda x: (x * x + 1).sum(axis=0),
    "all": lambda x: (x > 0).sum(),
    "loss": lambda x: ((x - 1) ** 2).mean() * 0.5,
    "argmax of a sum": lambda x: (x + x[0]).argmax(axis=1),
    "panel": lambda x: (
        x.reshape(x.shape[0], 2, -1) - x.reshape(x.shape[0], 2, -1).max(axis=1, keepdims=True)
    ),
}


@pytest.mark.parametrize("name", ONE_TASK)
@pytest.mark.parametrize("shape", [(64, 100), (33, 1024), (5, 10), (300, 16), (3, 5000)], ids=str)
def test_one_task(name, shape):
    x = normal(*shape)
    assert len(tasks(ONE_TASK[name], x)) == 1, tasks(ONE_TASK[name], x)
    check(ONE_TASK[name], x)


def test_layer_norm_is_one_task():
    x, gamma, beta = normal(40, 96), normal(96), normal(96)
    (label,) = tasks(la.layer_norm, x, gamma, beta)
    assert label.count("sum") == 2
    check(la.layer_norm, x, gamma, beta)


def softmax_gradient(y, g):
    return y * (g - (g * y).sum(axis=1, keepdims=True))


def norm_gradient(x, g, gamma):
    n = x.shape[1]
    away = x - x.mean(axis=1, keepdims=True)
    scale = 1 / la.sqrt((away * away).mean(axis=1, keepdims=True) + 1e-5)
    hat, h = away * scale, g * gamma
    inner = h - h.sum(axis=1, keepdims=True) / n - hat * (h * hat).sum(axis=1, keepdims=True) / n
    return inner * scale


def test_gradients_of_rows_are_one_task():
    x, g, gamma = normal(40, 96), normal(40, 96), normal(96)
    assert len(tasks(softmax_gradient, x, g)) == 1
    assert len(tasks(norm_gradient, x, g, gamma)) == 1
    check(softmax_gradient, x, g)
    check(norm_gradient, x, g, gamma)


def test_long_rows_take_a_sweep_for_each_reduction():
    x = normal(2, 200_000)
    assert len(tasks(la.softmax, x)) == 3
    assert len(tasks(lambda x: x.var(axis=1), x)) == 2
    check(la.softmax, x)
    check(lambda x: x.var(axis=1), x)


def test_what_only_a_reduction_reads_is_not_stored(lowered):
    (x,) = arrays(normal(300, 400))
    la.sqrt(x * x + 1).sum(axis=0).wait()
    assert max(slot.nbytes for slot in lowered[-1].slots if slot.leaf < 0) < 300 * 400


def test_reductions_of_one_value_share_a_sweep():
    x = normal(2000, 300)
    assert len(tasks(lambda x: (x.sum(axis=0), x.max(axis=0), x.argmin(axis=0)), x)) == 1
    assert len(tasks(lambda x: ((x * x).sum(axis=0), (x * x).max(axis=0)), x)) == 1


def test_reductions_wait_for_nothing_that_only_their_lines_need():
    a, b = normal(50, 60), normal(70, 80)
    labels = tasks(lambda a, b: (a * a).sum() + (b * b).sum(), a, b)
    assert labels[-1] == "add"


# ---- the same bits

REDUCTIONS = ("sum", "prod", "min", "max", "any", "all", "argmin", "argmax")
SHAPES = [
    (1, 1),
    (7, 1),
    (1, 7),
    (3, 31),
    (50, 33),
    (17, 100),
    (5, 1024),
    (3, 2500),
    (2, 9000),
    (700, 3),
    (1100, 40),
    (2050, 7),
    (40, 1100),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("axis", [0, 1, None])
def test_every_reduction_of_a_program(shape, axis):
    def program(x):
        y = x * x - x
        return tuple(getattr(y, name)(axis=axis) for name in REDUCTIONS)

    check(program, numbers(*shape))
    check(program, numbers(*shape, dtype=np.int32))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_every_dtype(dtype, name):
    def program(x, axis):
        found = getattr(la.where(x == 1, x, x + x), name)(axis=axis)
        lines = getattr(x, name)(axis=axis, keepdims=True).astype(dtype)
        return found, la.where(x == lines, x, lines * x)

    for shape, axis in (((33, 70), 1), ((70, 33), 0), ((3, 40, 6), 1), ((9000,), 0), ((50, 4), 1)):
        check(partial(program, axis=axis), numbers(*shape, dtype=dtype))


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 1, 9), (4, 6, 1), (1, 1, 1), (8, 40, 3)], ids=str)
def test_rows_of_every_axis(shape):
    def normalised(x, axis):
        return x / x.sum(axis=axis, keepdims=True)

    for axis in (0, 1, 2, (0, 1), (1, 2), (0, 2), (0, 1, 2), None):
        for fn in (la.softmax, la.log_softmax, la.logsumexp, la.var, normalised):
            check(partial(fn, axis=axis), numbers(*shape))


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (3, 0, 2)], ids=str)
def test_nothing(shape):
    x = np.empty(shape, np.float32)
    check(lambda x: (x * 2).sum(axis=0), x)
    check(lambda x: x - (x + 1).sum(axis=-1, keepdims=True), x)
    check(lambda x: la.softmax(x), x)


VIEWS = {
    "inside": np.s_[:, 1:-1],
    "every other": np.s_[::2],
    "backwards": np.s_[:, ::-1],
    "a column": np.s_[3:40, 5:6],
    "rows": np.s_[5:],
    "one more axis": np.s_[:, None, 2:],
}


@pytest.mark.parametrize("index", VIEWS.values(), ids=VIEWS.keys())
def test_strided_operands(index):
    def program(x, axis):
        part, other = x[index], x.T[index]
        peak = part.max(axis=axis, keepdims=True)
        return (part * 2).sum(axis=axis), part - peak, (other + 1).min(axis=axis), peak * other[:1]

    for axis in (0, 1, None):
        check(partial(program, axis=axis), numbers(60, 60))


def test_operands_read_across_their_rows():
    x = numbers(200, 200)
    check(lambda x: (x * x.T).sum(axis=0), x)
    check(lambda x: x.T - x.max(axis=1), x)


def test_lines_in_other_shapes():
    x = numbers(12, 30)
    check(lambda x: x - x.sum(axis=1).reshape(3, 4).reshape(12, 1), x)
    check(lambda x: x.sum(axis=1).reshape(3, 4) * 2 + x.max(axis=1).reshape(3, 4), x)
    check(lambda x: x + (x.sum(axis=1)[:12] + la.arange(12))[:, None], x)
    check(lambda x: x + (x.sum(axis=1)[::-1])[:, None], x)
    check(lambda x: x[:, :12] + x.sum(axis=1), x)  # a line across the rows


def test_index_in_a_program():
    x = numbers(12, 30)
    check(lambda x: (la.arange(360).reshape(12, 30) * x).sum(axis=1), x)
    check(lambda x: x.sum(axis=1) * la.arange(12), x)
    check(lambda x: (x * la.arange(30)).argmax(axis=1), x)


def test_kept_lines_and_elements():
    x = numbers(20, 50)

    def program(x):
        peak = x.max(axis=1, keepdims=True)
        shifted = x - peak
        weights = la.exp(shifted)
        total = weights.sum(axis=1)
        return peak, shifted, weights, total, weights / total[:, None], la.log(total)

    check(program, x)


def test_updates_by_lines_and_elements():
    x = normal(20, 50)

    def lines(x):
        out = la.zeros((22,), dtype="float32")
        out[1:-1] = x.sum(axis=1) * 2
        return out

    def elements(x):
        out = la.zeros((22, 60), dtype="float32")
        out[1:-1, 5:-5] = la.softmax(x)
        return out

    def running(x):
        mean = la.ones((50,), dtype="float32")
        mean[...] = mean * 0.9 + x.mean(axis=0) * 0.1
        return mean

    for fn in (lines, elements, running):
        check(fn, x)


def test_results_do_not_depend_on_the_workers():
    x, y = numbers(3000, 257), numbers(100_000)

    def program(x, y):
        return la.softmax(x), (x * 2).sum(axis=0), (y + 1).sum(), (y * y).argmax(), y.var()

    fused, _ = both(program, x, y)
    for workers in (1, 3):
        la.set_workers(workers)
        try:
            again, _ = both(program, x, y)
        finally:
            la.set_workers(2)
        for one, other in zip(fused, again, strict=True):
            assert same_bits(one, other)


def split_run(task, program, x, pieces):
    """What a task of one leaf stores when its kernel runs in pieces, in any order."""
    slots = program.slots
    memory = {
        slot: x if slots[slot].leaf >= 0 else np.empty(slots[slot].nbytes, np.uint8)
        for slot, _ in task.args
    }
    count = task.kernel.n_args
    task.kernel.call(*[memory[slot] for slot, _ in task.args[:count]], pieces=pieces, seed=pieces)
    return [memory[slot].tobytes() for _, slot in program.kept]


def test_a_piece_of_one_row(lowered):
    x, gamma = np.arange(40 * 64, dtype=np.float32).reshape(40, 64), np.arange(64, dtype=np.float32)
    a, b = arrays(x, gamma)
    ((a - a.max(axis=1, keepdims=True)) * b).wait()
    (task,) = lowered[-1].tasks
    out = np.zeros_like(x)
    leaves = {0: x, 1: gamma, -1: out}
    operands = [leaves[lowered[-1].slots[slot].leaf] for slot, _ in task.args]
    task.kernel.call_spans([(row, row + 1) for row in range(40)], *operands)
    assert same_bits(out, (x - x.max(axis=1, keepdims=True)) * gamma)


@pytest.mark.parametrize("shape", [(5000, 40), (40, 5000), (3, 300_000), (70, 3, 999)], ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_pieces_in_any_order(lowered, shape, axis):
    x = np.random.default_rng(5).integers(-99, 99, shape).astype(np.float32)
    (a,) = arrays(x)
    square = a * a
    la.eval(square.sum(axis=axis), square.argmax(axis=axis), square.min(axis=axis), square)
    with np.errstate(all="ignore"):
        la.eval(a / a.sum(axis=axis, keepdims=True))
    for program in lowered[-2:]:
        (task, *_) = program.tasks
        if len(program.tasks) == 1 and task.kernel is not None:
            wanted = split_run(task, program, x, None)
            for pieces in (2, 7, 100):
                assert split_run(task, program, x, pieces) == wanted


# ---- stencils


def heat(u):
    for _ in range(5):
        inside = u[1:-1, 1:-1]
        around = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2]
        u[1:-1, 1:-1] = inside + 0.1 * (around - 4 * inside)
    return u


def shifted(u):
    for _ in range(5):
        u[1:] += u[:-1]
    return u


def swept(u):
    u[:, 1:] = u[:, :-1] * 2
    u[:] = u[::-1] + 1
    u[:-1, :] = (u[:-1] + u[1:]) / 2
    return u


def stepped(u):
    u[::2] += u[1::2] if u.shape[0] % 2 == 0 else u[::2] * 2
    u[:, ::2] = u[:, ::2] * u[0, 0]
    return u


STENCILS = (heat, shifted, swept, stepped)


@pytest.mark.parametrize("fn", STENCILS)
@pytest.mark.parametrize(
    "shape", [(3, 3), (4, 9), (16, 16), (40, 300), (130, 2100), (1, 5), (2, 2)]
)
def test_stencils(fn, shape):
    x = normal(*shape, dtype=np.float64)
    (ours,) = check(fn, x)
    wanted = fn(x.copy())
    np.testing.assert_allclose(ours, wanted, rtol=1e-12)


def test_a_stencil_is_one_task_a_step_and_two_buffers(lowered):
    (u,) = arrays(normal(64, 64))
    with passes.chosen("-rolling"):  # with it: test_stencils.py
        read(heat(u))
    program = lowered[-1]
    assert len(program.tasks) == 5
    assert len([slot for slot in program.slots if slot.nbytes == 64 * 64 * 4]) == 2


def test_a_small_part_is_not_worth_a_second_buffer(lowered):
    (u,) = arrays(normal(1000))
    u[3:8] = u[2:7] + 1
    u.wait()
    assert all(slot.nbytes <= 20 or slot.leaf >= 0 for slot in lowered[-1].slots)


def test_the_old_value_stays_where_it_is_kept():
    def program(u):
        old = u.copy()
        u[1:] += u[:-1]
        return old, u

    x = normal(50)
    old, new = check(program, x)
    assert same_bits(old, x)
    np.testing.assert_array_equal(new[1:], x[1:] + x[:-1])


# ---- every program


@pytest.mark.parametrize("names", ["none", "-rows", "-reductions", "-stencil", "-rolling"])
def test_passes_change_no_bits(names):
    for seed in range(9000, 9060):
        lines = writer.write(seed)
        wanted = programs.run_in("threaded", lines)
        with passes.chosen(names):
            _bind.clear_plans()
            got = programs.run_in("threaded", lines)
        _bind.clear_plans()
        assert not programs.differences(got, wanted), "\n".join(lines)
