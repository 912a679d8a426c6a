"""Plans that memory is too small for: they go in parts, to the same bits."""

import gc
import itertools

import numpy as np
import programs
import pytest
import writer

import lazyarray as la
from lazyarray import _bind, _handle, parts
from lazyarray.errors import OutOfMemoryError
from lazyarray.plan import NATIVE, Graph

MB = 1 << 20
N = 2 * MB // 8  # elements of a value


@pytest.fixture(autouse=True)
def clean():
    """Each test starts without garbage, idle blocks and plans."""
    gc.collect()
    la.wait_all()
    la.memory.release()
    _bind.clear_plans()
    yield
    assert la.memory.stats()["limit"] is None


def source():
    return la.array(np.arange(N) % 1009 / 7.0)


def within(nbytes):
    """A limit that leaves so much beside what is in use."""
    la.wait_all()
    la.memory.release()
    return la.memory.limit(la.memory.stats()["reserved"] + nbytes)


# ---- programs whose plan is much larger than what has to be held at once


def reduced(x):
    """Ten large values, each wanted as one number, recorded one after the other."""
    large = [la.sort(x * i) for i in range(1, 11)]
    return [each.sum() for each in large]


def joined(x):
    """The same, wanted as a single number."""
    large = [la.sort(x * i) for i in range(1, 11)]
    return [sum(each.sum() for each in large)]


def cheap(x):
    """Large values that are cheap to compute again, each read twice."""
    large = [la.exp(x * (0.001 * i)) for i in range(6)]
    return [la.cumsum(each)[-1] for each in large] + [la.sort(each)[0] for each in large]


def pieces(x):
    """Of each large value a small piece."""
    large = [la.sort(x * i)[i * 10 : i * 10 + 100] for i in range(1, 11)]
    return [la.concatenate(large)]


def rewritten(x):
    """Values of an array between updates of it."""
    a = x.copy()
    seen = []
    for i in range(6):
        seen.append(la.cumsum(a * i))
        a[1:] = a[:-1] * 0.5
    return [each.max() for each in seen] + [a.sum()]


def trained(x):
    """A step of gradients."""
    x = x.reshape(512, -1)
    widths = [x.shape[1], 300, 200, 10]
    weights = [la.full((m, n), 1e-3) for m, n in itertools.pairwise(widths)]
    for w in weights:
        w.attach_grad()
    with la.autograd.record():
        h = x
        for w in weights:
            h = la.tanh(h @ w)
        loss = (h * h).mean()
    loss.backward()
    return [loss, *(w - 0.1 * w.grad for w in weights)]


PROGRAMS = [reduced, joined, cheap, pieces, rewritten, trained]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_parts_fit_where_the_plan_does_not(program):
    wanted = [np.array(r).tobytes() for r in program(source())]
    x = source()
    x.wait()
    needed = la.memory.needed(*program(x))
    room = needed // 2 if program is not trained else needed * 3 // 4
    for _ in range(3):  # the second time as remembered
        before = la.stats()["parts"]
        with within(room):
            results = program(x)
            la.eval(*results)
            assert [np.array(r).tobytes() for r in results] == wanted
            assert la.memory.stats()["reserved"] <= la.memory.stats()["limit"]
        assert la.stats()["parts"] > before + 1
        del results


def test_a_loop_under_a_limit_plans_once():
    x = source()
    x.wait()
    with within(9 * MB):
        for turn in range(6):
            if turn == 2:
                before = la.stats()
            la.eval(*reduced(x))
        now = la.stats()
    assert now["lowerings"] == before["lowerings"]
    assert now["parts"] > before["parts"]


def test_what_cannot_fit_runs_not_at_all():
    """Ten values that are all wanted; nothing is computed that would have to be held."""
    x = source()
    x.wait()
    with within(9 * MB):
        results = [la.cumsum(x * i) for i in range(10)]
        before = la.memory.stats()["in_use"]
        with pytest.raises(OutOfMemoryError, match="with all that runs with it"):
            la.eval(*results)
        assert la.memory.stats()["in_use"] == before
        assert float(results[3].max()) == float(np.cumsum(np.asarray(x) * 3.0)[-1])
    la.eval(*results)


def test_at_the_bound_too():
    """Work that nobody waits for, cut because there is much of it."""
    x = source()
    wanted = [np.array(r).tobytes() for r in reduced(x)]
    with within(9 * MB):
        results = reduced(x)
        _handle.cut()
        assert la.memory.stats()["recorded"] == 0
        assert [np.array(r).tobytes() for r in results] == wanted


def test_what_nobody_waits_for_waits_for_room():
    """At the bound there is no room for all that handles hold; later less is held."""
    x = source()
    wanted = [np.array(r).tobytes() for r in reduced(x)]
    with within(9 * MB):
        large = [la.sort(x * i) for i in range(1, 11)]
        before = la.memory.stats()["in_use"]
        _handle.cut()
        assert la.memory.stats()["in_use"] == before
        results = [each.sum() for each in large]
        with pytest.raises(OutOfMemoryError):
            la.eval(*large)
        del large
        assert [np.array(r).tobytes() for r in results] == wanted


def test_what_waits_for_room_is_bounded():
    """A loop that could never run fails as it is recorded, at last."""
    x = source().wait()
    with within(MB), pytest.raises(OutOfMemoryError, match="no memory for 2"):
        for i in range(20_000):
            x = la.cumsum(x * 0.5 + i)


def test_jitted_functions_go_in_parts():
    f = la.jit(reduced)
    x = source()
    wanted = [np.array(r).tobytes() for r in f(x)]
    assert [np.array(r).tobytes() for r in f(x)] == wanted
    with within(9 * MB):
        for _ in range(2):
            before = la.stats()["parts"]
            results = f(x)
            la.eval(*results)
            assert la.stats()["parts"] > before
            assert [np.array(r).tobytes() for r in results] == wanted
            del results
    assert f.stats["plain"] == 0


def test_symbols_go_in_parts():
    s = la.symbol
    v = s.Variable("x")
    out = sum(s.sum(s.cumsum(v * float(i))) for i in range(1, 9))
    x = source()
    ex = out.bind(args={"x": x})
    wanted = np.array(ex.forward()[0]).tobytes()
    with within(9 * MB):
        assert np.array(ex.forward()[0]).tobytes() == wanted


@pytest.fixture
def always(request):
    """Every flush goes in parts."""
    _bind.set_parts(request.param)
    yield
    _bind.set_parts(0)


def compare(seeds):
    for seed in seeds:
        lines = writer.write(seed)
        difference = programs.check(lines)
        assert not difference, "\n".join([f"seed {seed}", *lines, difference])


@pytest.mark.parametrize("always", [1, 3], indirect=True)
def test_programs_in_parts(always):
    """Random programs as in test_programs, one or three stored values at a time."""
    compare(range(25))


@pytest.mark.slow
@pytest.mark.parametrize("always", [1, 2, 5], indirect=True)
@pytest.mark.parametrize("share", range(4))
def test_many_programs_in_parts(always, share):
    compare(range(share, 2_000, 4))


# ---- the order


class Op:
    """As `parts` sees one."""

    kind, fallible, inplace = NATIVE, False, False


class Type:
    def __init__(self, nbytes):
        self.nbytes = nbytes


def graph(inputs, sizes, kept=(), leaves=((100, False),)):
    n = len(inputs)
    return Graph(
        [Op()] * n, [None] * n, [Type(size) for size in sizes], inputs,
        [i in kept for i in range(n)], [Type(size) for size, _ in leaves], [False] * len(leaves),
        [donatable for _, donatable in leaves],
    )  # fmt: skip


def test_values_are_computed_shortly_before_they_are_read():
    # Three large values, then what is made of each.
    g = graph([(-1,), (-1,), (-1,), (0,), (1,), (2,)], [100, 100, 100, 1, 1, 1], kept=(3, 4, 5))
    values = parts.Values(g, g.kept)
    assert values.depth_first() == [0, 3, 1, 4, 2, 5]
    assert values.memory(values.places) == (301, 300)
    assert values.memory([0, 3, 1, 4, 2, 5]) == (103, 102)
    assert values.order() == [0, 3, 1, 4, 2, 5]


def test_what_takes_most_comes_first():
    # A small value, and one through a large value: the large one first, while nothing is held.
    g = graph([(-1,), (-1,), (1,), (0, 2)], [50, 200, 10, 1], kept=(3,))
    values = parts.Values(g, g.kept)
    assert values.depth_first() == [1, 2, 0, 3]
    assert values.memory([1, 2, 0, 3])[0] < values.memory([0, 1, 2, 3])[0]


def test_a_part_is_the_beginning_and_ends_with_what_is_read_later():
    g = graph([(-1,), (-1,), (0,), (1,), (2, 3)], [100, 100, 1, 1, 1], kept=(4,))
    first = parts.first_part(g, g.kept, 3, 10**6)
    assert (first.places, first.count) == ([2, 1], 3)
    assert parts.first_part(g, g.kept, 0, 10**6).count == 3
    assert parts.first_part(g, g.kept, 0, 50) is None
    assert parts.first_part(g, g.kept, 9, 10**6).places == [4]


def test_a_leaf_that_dies_makes_room():
    g = graph([(-1,), (-2,)], [60, 60], kept=(0, 1), leaves=((100, True), (100, True)))
    values = parts.Values(g, g.kept)
    assert values.memory([0, 1]) == (60, 0)
    g = graph([(-1,), (-2,)], [60, 60], kept=(0, 1), leaves=((100, False), (100, True)))
    assert parts.Values(g, g.kept).memory([0, 1]) == (120, 60)


def test_what_was_too_large_is_forgotten_with_it():
    with pytest.raises(MemoryError):
        la.zeros((1 << 40, 1 << 8)).wait()
    x = la.arange(3) + 1
    la.wait_all()
    flushes = la.stats()["flushes"]
    assert x.tolist() == [1, 2, 3]
    assert la.stats()["flushes"] == flushes
