"""Stencils: updates in place from shifted views, several in one sweep, against NumPy and plain."""

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _bind, _engine, _loops, _rolling, passes, schedule, stencils, tiers

DTYPES = ("float32", "float64", "int16", "int64", "complex64", "bool", "uint8", "float16")


@pytest.fixture(autouse=True)
def cold():
    _bind.clear_plans()
    yield
    _bind.clear_plans()


@pytest.fixture
def lowered(monkeypatch):
    """The programs that are lowered from here on."""
    found = []
    lower = schedule.lower
    monkeypatch.setattr(schedule, "lower", lambda graph: found.append(lower(graph)) or found[-1])
    return found


def values(shape, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(dtype)
    if np.dtype(dtype).kind in "iu":
        return rng.integers(0, 50, shape).astype(dtype)
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def numpys(step, steps, *xs):
    xs = [x.copy() for x in xs]
    for _ in range(steps):
        step(*xs)
    return xs[0]


def ours(step, steps, *xs):
    arrays = [la.array(x) for x in xs]
    for _ in range(steps):
        step(*arrays)
    return np.asarray(arrays[0]).copy()


def plainly(step, steps, *xs):
    """Each step into a second buffer."""
    with passes.chosen("-rolling"):
        _bind.clear_plans()
        found = ours(step, steps, *xs)
    _bind.clear_plans()
    return found


def check(step, steps, *xs, exact=False):
    """The bits of a second buffer, for any number of workers; what NumPy computes."""
    wanted = plainly(step, steps, *xs)
    with np.errstate(all="ignore"):
        known = numpys(step, steps, *xs)
    if exact:
        np.testing.assert_array_equal(wanted, known)
    else:
        limit = {"e": 2e-2, "f": 2e-4, "F": 2e-4}.get(known.dtype.char, 1e-9)
        np.testing.assert_allclose(wanted, known, rtol=limit, atol=limit)
    before = _engine.workers()
    for workers in (1, 2, 8):
        la.set_workers(workers)
        try:
            found = ours(step, steps, *xs)
        finally:
            la.set_workers(before)
        assert found.tobytes() == wanted.tobytes(), f"{workers} workers"
    return wanted


def heat(u):
    u[1:-1, 1:-1] += 0.1 * (
        u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * u[1:-1, 1:-1]
    )


SHAPES = [(3, 3), (4, 9), (16, 16), (40, 300), (130, 2100), (700, 500), (5, 40000), (2000, 7)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("steps", [1, 2, 5, 19])
def test_heat(shape, steps):
    check(heat, steps, values(shape))


@pytest.mark.parametrize("steps", [1, 6])
def test_tiers_and_engines(steps, lowered):
    x = values((600, 700))
    mode = tiers.set_mode("0")
    try:
        wanted = ours(heat, steps, x).tobytes()
        tiers.set_mode("1")
        _bind.clear_plans()
        assert ours(heat, steps, x).tobytes() == wanted
    finally:
        tiers.set_mode(mode)
    assert {task.tier for task in lowered[-1].tasks if task.stages} == {1}
    _engine.set_engine("naive")
    try:
        assert ours(heat, steps, x).tobytes() == wanted
    finally:
        _engine.set_engine("threaded")


def wave(u):
    u[1:-1] = 0.5 * u[1:-1] + 0.25 * (u[2:] + u[:-2])


@pytest.mark.parametrize("length", [3, 4, 100, 4097, 30_000, 400_000])
def test_one_dimension(length):
    for steps in (1, 3, 10):
        check(wave, steps, values((length,)))


def cube(u):
    c = (slice(1, -1),) * 3
    u[c] = (
        0.4 * u[c]
        + 0.1 * (u[2:, 1:-1, 1:-1] + u[:-2, 1:-1, 1:-1])
        + 0.1 * (u[1:-1, 2:, 1:-1] + u[1:-1, :-2, 1:-1])
        + 0.1 * (u[1:-1, 1:-1, 2:] + u[1:-1, 1:-1, :-2])
    )


@pytest.mark.parametrize("shape", [(3, 3, 3), (5, 6, 7), (40, 20, 30), (20, 30, 300), (60, 70, 80)])
def test_three_dimensions(shape):
    for steps in (1, 7):
        check(cube, steps, values(shape))


def test_planes_of_all_columns():
    def step(u):
        u[1:-1] = (u[2:] + u[:-2] + u[1:-1]) / 3

    check(step, 9, values((300, 40, 25)))
    check(step, 9, values((2000, 300)))


def corners(u):
    u[1:-2, 2:-1] = 0.3 * u[3:, 3:] + 0.3 * u[:-3, :-3] + 0.4 * u[3:, :-3]


def down(u):
    u[1:] = 0.5 * u[1:] + 0.5 * u[:-1]


def up(u):
    u[:-1] = 0.5 * u[:-1] + 0.5 * u[1:]


def moved(u):
    u[1:] = u[:-1]


def moved_back(u):
    u[:-1, 1:] = u[1:, :-1]


def right(u):
    u[:, 1:] = 0.5 * u[:, :-1]


def left(u):
    u[:, :-1] = 0.5 * u[:, 1:] + 0.25 * u[:, :-1]


def far(u):
    n = u.shape[0] // 4
    u[n:] = 0.5 * u[n:] + 0.5 * u[:-n]


@pytest.mark.parametrize("step", [corners, down, up, moved, moved_back, right, left, far])
@pytest.mark.parametrize("shape", [(8, 8), (50, 400), (900, 600)], ids=str)
def test_shifts(step, shape):
    for steps in (1, 2, 11):
        check(step, steps, values(shape))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    def step(u):
        if dtype == "bool":
            u[1:-1, 1:-1] = (u[2:, 1:-1] ^ u[:-2, 1:-1]) | u[1:-1, 2:]
        else:
            u[1:-1, 1:-1] = u[2:, 1:-1] + u[:-2, 1:-1] - u[1:-1, 2:] * u[1:-1, :-2]

    for shape in ((20, 30), (600, 700)):
        if np.dtype(dtype).kind in "fc":
            check(lambda u: heat(u), 5, values(shape, dtype))
        else:
            check(step, 5, values(shape, dtype), exact=True)


def test_other_operands():
    x, f = values((300, 400)), values((300, 400), seed=1)
    g = values((398,), seed=2)

    def forced(u, f, g):
        u[1:-1, 1:-1] = 0.5 * u[2:, :-2] + f[1:-1, 1:-1] * g + f.T[1:-1, :][:, :298].sum() * 0

    def driven(u, f, g):
        u[1:-1, 1:-1] = 0.5 * u[2:, :-2] + 0.1 * f[1:-1, 1:-1] + g

    check(forced, 6, x, f, g)
    check(driven, 6, x, f, g)


def test_numbers_that_change():
    x = values((300, 400))

    def run(u):
        for step in range(9):
            u[1:-1] = u[1:-1] + 0.1 / (step + 1) * (u[2:] - u[:-2])
        return u

    with passes.chosen("-rolling"):
        wanted = np.asarray(run(la.array(x))).tobytes()
    _bind.clear_plans()
    assert np.asarray(run(la.array(x))).tobytes() == wanted
    np.testing.assert_allclose(np.asarray(run(la.array(x))), run(x.copy()), rtol=1e-4, atol=1e-5)


def test_parts_that_differ():
    """One program, other places: the kernel finds out when it runs."""

    def step(u):
        u[1:] = 0.5 * u[:-1] + 0.5 * u[1:]
        u[:-1] = 0.5 * u[:-1] + 0.5 * u[1:]

    check(step, 4, values((200, 300)))
    check(step, 4, values((900, 700)))


def test_plans_with_other_offsets(lowered):
    x = values((400, 500))
    for shift in (1, 2, 3):
        u, v = la.array(x), x.copy()
        for a in (u, v):
            for _ in range(4):
                a[3:-3, 3:-3] += 0.1 * (a[3 + shift : 397 + shift, 3:-3] - a[3:-3, 3:-3])
        np.testing.assert_allclose(np.asarray(u), v, rtol=1e-5, atol=1e-6)
    assert len(lowered) == 1


def test_results_that_are_kept():
    def step(u):
        old = u[1:-1] * 2
        u[1:-1] = old + u[2:] - u[:-2]
        return old

    x = values((600, 500))
    u, v = la.array(x), x.copy()
    kept = [(step(u), step(v)) for _ in range(3)]
    before = u.copy()
    step(u)
    for mine, known in kept:
        np.testing.assert_allclose(np.asarray(mine), known, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.asarray(before), v, rtol=1e-4, atol=1e-4)
    step(v)
    np.testing.assert_allclose(np.asarray(u), v, rtol=1e-4, atol=1e-4)


def test_views_of_other_forms_take_a_second_buffer(lowered):
    for step in (
        lambda u: u.__setitem__(slice(1, -1), u[::-1][1:-1] + u[1:-1]),
        lambda u: u.__setitem__((slice(1, -1), slice(1, -1)), u.T[1:-1, 1:-1] + u[2:, 2:]),
        lambda u: u.__setitem__((slice(1, -1), slice(1, -1)), u[0, 1:-1] + u[2:, 2:]),
        lambda u: u[::-1].__setitem__(slice(1, -1), u[2:] + u[:-2]),
    ):
        check(step, 3, values((60, 60)))
        assert all(task.stages == 0 for program in lowered for task in program.tasks)


def test_what_is_planned(lowered):
    u = la.array(values((64, 64)))
    for _ in range(17):
        heat(u)
    la.eval(u)
    assert [task.stages for task in lowered[-1].tasks] == [3, 3, 4, 3, 4]
    assert sum(slot.nbytes == 64 * 64 * 4 for slot in lowered[-1].slots) == 1
    u = la.array(values((1024, 1024)))
    for _ in range(8):
        heat(u)
    la.eval(u)
    assert [task.stages for task in lowered[-1].tasks] == [0, 4, 0, 4]
    whole = 1024 * 1024 * 4
    assert [slot.nbytes for slot in lowered[-1].slots if slot.nbytes > whole // 7] == [whole]


def test_explained():
    u = la.array(values((64, 64)))
    for _ in range(4):
        heat(u)
    assert "still read, 4 updates in one sweep" in str(la.explain(u))


def test_an_error_before():
    u = la.array(values((300, 300)))
    bad = la.array(np.array([2, -1])) ** la.array(np.array([1, -1]))
    for _ in range(3):
        u[1:-1] = u[2:] + u[:-2] + bad[0]
    with pytest.raises(ValueError, match="negative"):
        np.asarray(u)
    u[...] = 1
    heat(u)
    assert (np.asarray(u) == 1).all()


def kernel_of(shape, stages, units):
    """The kernel that shifts rows down and columns left, so many times, and its memory."""
    size = 8
    strides = (shape[1] * size, size)
    part = (shape[0] - 2, shape[1] - 2)
    loop = _loops.find_loop(np.add, (np.dtype("float64"),) * 3)
    return _rolling.rolling(
        part, [(0, strides, size), (1, strides, size)], [(2, strides, size)], [size] * 3,
        [(loop, (0, 1), (2,))], [0, 1], stages, shape[0] * shape[1] * size, units,
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(12, 20), (60, 400), (33, 5000), (400, 12)], ids=str)
@pytest.mark.parametrize("stages", [1, 2, 5])
def test_units_in_any_order(shape, stages):
    """What one unit overwrites, another does not miss."""
    x = values(shape, "float64")
    wanted = x.copy()
    for _ in range(stages):
        wanted[1:-1, 1:-1] = wanted[:-2, 2:] + wanted[2:, :-2]
    for units in (1, 2, 7, 40):
        kernel = kernel_of(shape, stages, units)
        for order in range(3):
            u = x.copy()
            args = [u[:-2, 2:], u[2:, :-2], u[1:-1, 1:-1]] * stages + [u]
            _rolling.call(kernel, kernel.split(units, seed=order), *args)
            np.testing.assert_array_equal(u, wanted)


def test_limits():
    assert stencils.units_of(8, 8200, 4 << 20) == 7
    assert stencils.units_of(1, 8, 1000) == 1
    with pytest.raises(ValueError, match="stages"):
        kernel_of((9, 9), _rolling.STAGES + 1, 1)


# ---- random programs


def random_step(rng, shape, dtype):
    """An update of a random part from views shifted at random, as a function of an array."""
    low = [int(rng.integers(0, 3)) for _ in shape]
    high = [int(rng.integers(0, 3)) for _ in shape]
    part = tuple(slice(a, n - b) for a, b, n in zip(low, high, shape, strict=True))
    reads = []
    for _ in range(int(rng.integers(1, 5))):
        shift = [int(rng.integers(-a, b + 1)) for a, b in zip(low, high, strict=True)]
        reads.append(
            tuple(slice(s.start + d, s.stop + d) for s, d in zip(part, shift, strict=True))
        )
    weights = rng.uniform(-0.5, 0.5, len(reads))

    def step(u):
        total = u[reads[0]] * 1
        for read, weight in zip(reads[1:], weights[1:], strict=True):
            total = total + u[read] if dtype.startswith("int") else total * 0.5 + u[read] * weight
        u[part] = total

    return step


@pytest.mark.parametrize("seed", range(40))
def test_random_stencils(seed):
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    most = {1: 20_000, 2: 400, 3: 50}[rank]
    shape = tuple(int(rng.integers(5, most)) for _ in range(rank))
    dtype = str(rng.choice(["float32", "float64", "int32", "complex128"]))
    steps = [random_step(rng, shape, dtype) for _ in range(int(rng.integers(1, 3)))]
    reverse = rng.random() < 0.3

    def step(u):
        for each in steps:
            each(u[::-1] if reverse else u)

    check(step, int(rng.integers(1, 12)), values(shape, dtype, seed), exact=dtype == "int32")
