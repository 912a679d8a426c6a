"""Simplify: what each pass takes out, what it must leave alone, and that no bit changes."""

import dataclasses

import numpy as np
import programs
import pytest
import writer

import lazyarray as la
from lazyarray import _bind, _handle, _ir, passes, runtime, schedule, simplify, validate
from lazyarray.errors import OptionError

VIEW, EMPTY = 2, 5


pytestmark = pytest.mark.usefixtures("quiet_floats")  # NaNs and infinities are among the values


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are lowered from here on, as recorded, and their programs."""
    found = []
    lower = schedule.lower

    def keep(graph):
        found.append((graph, lower(graph)))
        return found[-1][1]

    monkeypatch.setattr(schedule, "lower", keep)
    _bind.clear_plans()
    return found


@pytest.fixture
def a():
    """A matrix with values of many kinds, none of them shared by two elements."""
    data = np.arange(24.0).reshape(4, 6) - 11.5
    data[0, :4] = [np.nan, -0.0, np.inf, 1e-310]
    x = la.array(data)
    x.wait()
    return x


def values(make, text):
    """The bytes of what `make` returns, lowered with some passes only."""
    _bind.clear_plans()
    with passes.chosen(text):
        made = make()
        made = made if isinstance(made, tuple) else (made,)
        la.eval(*made)
        return [programs.bits(x) for x in made]


def same_bits(make):
    plain = values(make, "none")
    assert values(make, "") == plain
    for name in simplify.PASSES:
        assert values(make, name) == plain, name


def count(graph):
    """How often each op is computed."""
    found: dict[str, int] = {}
    for op in graph.ops:
        if op.kind not in (VIEW, EMPTY):
            found[op.name] = found.get(op.name, 0) + 1
    return found


def simplified(graphs):
    """What is computed of the newest graph, after all passes."""
    return count(simplify.simplify(graphs[-1][0]))


def labels(graphs):
    return [task.label for task in graphs[-1][1].tasks]


# ---- common subexpressions


def test_what_is_computed_twice_is_computed_once(graphs, a):
    def make():
        return la.exp(a) * a + la.sin(la.exp(a)) + la.exp(a)

    make().wait()
    assert count(graphs[-1][0])["exp"] == 3
    assert simplified(graphs) == {"exp": 1, "multiply": 1, "sin": 1, "add": 2}
    same_bits(make)


def test_equal_chains_become_one(graphs, a):
    (la.sqrt(la.abs(a)).sum(axis=0) / la.sqrt(la.abs(a)).sum(axis=0)).wait()
    assert simplified(graphs) == {"absolute": 1, "sqrt": 1, "sum": 1, "divide": 1}


def test_operands_may_be_exchanged_where_bits_agree(graphs, a):
    b = a.T.copy().T
    b.wait()
    ((a + b) * (b + a) - (a * b) * (b * a)).wait()
    assert simplified(graphs) == {"add": 1, "multiply": 3, "subtract": 1}


def test_operands_are_not_exchanged_where_bits_differ(graphs):
    """The greater of two zeros, and the parts of a complex product, depend on the order."""
    zero, minus = la.array([0.0, -0.0]), la.array([-0.0, 0.0])
    x, y = la.array([1 + 2j, 3 - 1e-8j]), la.array([1e8 - 2j, 7 + 1j])
    la.eval(zero, minus, x, y)
    (la.maximum(zero, minus) + la.maximum(minus, zero)).wait()
    assert simplified(graphs)["maximum"] == 2
    (x * y - y * x).wait()
    assert simplified(graphs)["multiply"] == 2


def test_other_attributes_dtypes_and_numbers_are_not_merged(graphs, a):
    la.eval(
        a.sum(axis=0), a.sum(axis=1), a.astype("float32"), a.astype("float16"), a + 1.0, a + 2.0
    )
    found = simplified(graphs)
    assert (found["sum"], found["cast"], found["add"]) == (2, 2, 2)


def test_equal_numbers_with_which_the_same_is_done_are_one(graphs, a):
    def make():
        return (a - 1) * (a - 1), la.sin(a * 2) / 3 + la.sin(a * 2) / 3, a * 2

    la.eval(*make())
    assert simplified(graphs) == {"subtract": 1, "multiply": 2, "sin": 1, "divide": 1, "add": 1}
    same_bits(make)


def test_equal_numbers_are_no_structure_elsewhere(a):
    """A learning rate that passes the momentum finds its plan."""
    v = la.ones_like(a).wait()

    def step(rate, momentum):
        return (v * momentum - a * rate).numpy().tobytes()

    step(0.1, 0.9)
    lowerings = la.stats()["lowerings"]
    assert step(0.9, 0.9) != step(0.3, 0.9) != step(0.9, 0.3)
    assert la.stats()["lowerings"] == lowerings


@pytest.mark.parametrize(
    ("x", "y"), [(1, 2), (0.0, -0.0), (2.0, 2), (1j, 1), (np.nan, -np.nan), (1.0, 1 + 1e-16)]
)
def test_numbers_that_equal_by_chance_do_so_this_time_only(x, y):
    a, b = np.arange(-2.0, 3), la.arange(-2.0, 3)

    def make(p, q):
        return programs.bits(la.copysign((b * p).real, 1 / (b * q).real) * (b * p).real)

    def expected(p, q):
        with np.errstate(all="ignore"):
            return programs.bits(np.copysign((a * p).real, 1 / (a * q).real) * (a * p).real)

    for p, q in [(x, x), (x, y), (y, y), (y, x), (x, x), (y, x)]:
        assert make(p, q) == expected(p, q)


def test_equal_numbers_of_a_traced_function(graphs, a):
    @la.jit
    def f(x, p, q):
        return (x - 1.5) * (x - 1.5) + (x - p) * (x - q)

    def plain(x, p, q):
        return (x - 1.5) * (x - 1.5) + (x - p) * (x - q)

    for p, q in [(0.5, 0.5), (0.5, 0.5), (0.25, 0.5), (1.5, 1.5), (0.5, 0.5)]:
        assert programs.bits(f(a, p, q)) == programs.bits(plain(a, p, q))
    assert f.stats["runs"] == 4
    f(a, 0.5, 0.5).wait()
    own = [graph for graph, _ in graphs if count(graph).get("subtract") == 4]
    assert {count(simplify.simplify(graph))["subtract"] for graph in own} == {1, 2, 3}


def test_views_at_places_that_are_data_are_not_merged(graphs, a):
    """Both slices start at row 1 now; the next turn of the plan they may not."""

    def make(i, j):
        return la.exp(a[i : i + 2]) + la.exp(a[j : j + 2])

    first = make(1, 1)
    first.wait()
    lowered = len(graphs)
    assert simplified(graphs)["exp"] == 2
    second = make(1, 2)
    second.wait()
    assert len(graphs) == lowered, "the same plan serves"
    data = np.asarray(a)
    np.testing.assert_array_equal(second, np.exp(data[1:3]) + np.exp(data[2:4]))
    assert first.shape == second.shape


def test_what_can_fail_is_not_merged(graphs):
    x, y = la.array([1, 2]), la.array([2, -1])
    la.eval(x, y)
    first = x**y
    second = x**y
    la.eval(first, second)
    assert simplified(graphs) == {"_exponent": 2, "pow": 2}
    for each in (first, second):
        with pytest.raises(ValueError, match="power"):
            each.wait()


def test_empty_values_are_written_apart(a):
    def make():
        return la.concatenate([a, a]), la.concatenate([a, -a])

    same_bits(make)


def test_random_draws_of_other_counters_differ():
    x, y = la.random.fast.normal(size=50), la.random.fast.normal(size=50)
    assert x.tolist() != y.tolist()


def test_two_results_of_one_value_do_not_alias(a):
    b, c = la.exp(a), la.exp(a)
    la.eval(b, c)
    before = c.numpy()
    b += 1
    b[0, 0] = 7
    np.testing.assert_array_equal(c, before)
    c *= 2
    np.testing.assert_array_equal(c, before * 2)
    assert float(b[0, 0]) == 7


def test_exported_result_does_not_alias_its_twin(a):
    b, c = la.exp(a), la.exp(a)
    la.eval(b, c)
    before = c.numpy()
    seen = np.asarray(b)
    seen[...] = 3
    np.testing.assert_array_equal(c, before)
    assert b.tolist() == seen.tolist()


def test_twin_that_is_updated_later(graphs, a):
    """The value is wanted by the second name after the first has been written to."""

    def make():
        b, c = la.exp(a), la.exp(a)
        b[1:, 2:] = 0
        c += b
        return b, c

    same_bits(make)


def test_twin_fails_with_its_own_consumers():
    x = la.array([1, 2])
    bad = x ** la.array([1, -1])
    b, c = bad + 1, bad + 1
    for each in (b, c):
        with pytest.raises(ValueError, match="power"):
            each.wait()


# ---- identities


@pytest.mark.parametrize(
    "make",
    [
        lambda a: la.negative(la.negative(a)),
        lambda a: la.conj(la.conj(a.astype("complex64"))),
        lambda a: la.abs(la.abs(a)),
        lambda a: la.floor(la.floor(a)),
        lambda a: +a * 2,
        lambda a: la.maximum(a, a),
        lambda a: a.astype("float32").astype("float64").astype("float32"),
        lambda a: (a > 0).astype("int64").astype("bool"),
        lambda a: (a > 0).astype("int8").astype("int32").astype("float64"),
        lambda a: a[:, :1].max(axis=1),
        lambda a: a.reshape(1, 4, 6).sum(axis=0, keepdims=True) * 3,
        lambda a: (a > 0).reshape(24, 1).any(axis=1),
    ],
)
def test_identities_take_a_node_out_and_keep_the_bits(graphs, a, make):
    kept = make(a)
    kept.wait()
    graph = graphs[-1][0]
    assert sum(count(simplify.simplify(graph)).values()) < sum(count(graph).values())
    del kept
    same_bits(lambda: make(a))


@pytest.mark.parametrize(
    "make",
    [
        lambda a: -la.abs(a),
        lambda a: la.ceil(la.floor(a)),
        lambda a: a.astype("float32").astype("float64"),
        lambda a: a.astype("int8").astype("int64"),
        lambda a: (a > 0).astype("int8").max(axis=1),
        lambda a: a[:, :2].max(axis=1),
        lambda a: la.where(a > 0, a, a),
        lambda a: a - a,
        lambda a: a * 1.0,
        lambda a: a + 0.0,
        lambda a: (a > 0).sum(axis=1),
    ],
)
def test_what_changes_a_value_or_what_it_depends_on_stays(graphs, a, make):
    kept = make(a)
    kept.wait()
    graph = graphs[-1][0]
    assert count(simplify.simplify(graph)) == count(graph)
    del kept
    same_bits(lambda: make(a))


def test_wide_integers_do_not_pass_through_floats():
    x = la.array([2**62 + 1, 2**53 + 1])

    def make():
        return x.astype("float64").astype("int64")

    same_bits(make)
    assert make().tolist() != x.tolist()


def test_holds_is_exact():
    for narrow in np.typecodes["All"]:
        for wide in np.typecodes["All"]:
            small, large = np.dtype(narrow), np.dtype(wide)
            if small.kind not in "biufc" or large.kind not in "biufc" or "g" in (narrow, wide):
                continue
            if not simplify.holds(small, large):
                continue
            if small.kind in "iu":
                info = np.iinfo(small)
                ends = np.array([info.min, info.max, info.max - 1, info.min + 1], small)
            else:
                ends = np.array([1, 0]).astype(small)
                if small.kind in "fc":
                    info = np.finfo(small)
                    ends = np.array([info.max, info.smallest_subnormal, 1 + info.eps], small)
            wide_ends = ends.astype(large)
            back = wide_ends.real if small.kind != "c" and large.kind == "c" else wide_ends
            np.testing.assert_array_equal(back.astype(small), ends)


# ---- views


def test_transposes_cancel(graphs, a):
    node = _handle.to_node(a) * 2.0
    there = _ir.registry["transpose"](_ir.registry["transpose"](node))
    _handle.from_node(_ir.registry["exp"](there)).wait()
    assert labels(graphs) == ["multiply+exp"]


def test_reshape_of_a_strided_view_needs_no_copy(graphs, a):
    def make():
        ops = _ir.registry
        node = ops["transpose"](_handle.to_node(a) * 2.0, (1, 0))
        split = ops["reshape"](node, (2, 3, 4))
        return _handle.from_node(ops["negative"](split))

    make().wait()
    assert "copy" not in labels(graphs)
    same_bits(make)


def test_through_is_what_numpy_sees():
    rng = np.random.default_rng(5)
    composed = 0
    for _ in range(3000):
        shapes = [(48,), (6, 8), (2, 3, 8), (4, 1, 12), (2, 2, 3, 4)]
        base = np.arange(48).reshape(shapes[rng.integers(5)])
        first = base.transpose(rng.permutation(base.ndim))
        if rng.random() < 0.4:
            first = first[tuple(slice(0, None, rng.integers(1, 3)) for _ in first.shape)]
        if rng.random() < 0.3:
            first = np.broadcast_to(first, (2, *first.shape))
        value = np.ascontiguousarray(first)
        sizes = [d for d in range(1, value.size + 1) if value.size % d == 0]
        head = int(rng.choice(sizes))
        second = value.reshape(head, -1).transpose(rng.permutation(2))
        if rng.random() < 0.5:
            second = second[:, : rng.integers(1, second.shape[1] + 1)]
        kind = _ir.placeholder(second.shape, "int64").type
        seen = _ir.placeholder(value.shape, "int64").type
        strides = simplify.through(kind, second.strides, seen, first.strides)
        if strides is not None:
            composed += 1
            got = np.lib.stride_tricks.as_strided(base, second.shape, strides)
            np.testing.assert_array_equal(got, second)
    assert composed > 500


# ---- dead code


def test_nothing_computed_for_nobody(graphs, a):
    la.negative(la.negative(la.exp(a))).wait()
    after = simplify.simplify(graphs[-1][0])
    assert [op.kind for op in after.ops].count(EMPTY) == 1
    with passes.chosen("-dead"):
        assert simplified(graphs)["negative"] == 1


def test_dead_keeps_what_can_fail(graphs):
    x = la.array([1, 2])
    (x ** la.array([2, 3]) + 1).wait()
    graph = graphs[-1][0]
    nobody = dataclasses.replace(graph, kept=[False] * len(graph.kept))
    assert count(simplify.dead(nobody)) == {"_exponent": 1}


# ---- all of it


@pytest.mark.parametrize("text", ["none", *(f"-{name}" for name in simplify.PASSES)])
def test_random_programs_have_the_same_bits_without_passes(text):
    for seed in range(9000, 9040 if text != "none" else 9100):
        lines = writer.write(seed)
        with_all = programs.run_in("threaded", lines)
        _bind.clear_plans()
        with passes.chosen(text):
            without = programs.run_in("threaded", lines)
            found = {name: programs.bits(x) for name, x in without.names.items()}
        _bind.clear_plans()
        assert without.raised == with_all.raised
        assert without.seen == with_all.seen
        assert found == {name: programs.bits(x) for name, x in with_all.names.items()}, lines


LINES = (
    "{0} = xp.exp({1})",
    "{0} = {1} + {2}",
    "{0} = {2} * {1}",
    "{0} = -{1}",
    "{0} = {1}.T",
    "{0} = {1}.T.copy()",
    "{0} = {1}.copy()",
    "{0} = +{1}",
    "{0} = {1}.reshape(2, 8).T.reshape(4, 4)",
    "{0} = xp.abs({1})",
    "{0} = xp.maximum({1}, {2})",
    "{0} = {1}.astype('float32').astype('float64')",
    "{0} = ({1} > {2}).astype('float64')",
    "{0} = {1} - {1}.max(axis=1, keepdims=True)",
    "{0} = {1}[:, :1].max(axis=1) + {2}",
    "{0} = {1} @ {2}",
    "{0} += {1}",
    "{0}[1:] = {1}[:-1]",
    "{0}[:, ::2] *= {1}[:, 1::2]",
    "{0}[...] = {1}",
    "{0}, {1} = {1}, {0}",
    "start({0})",
)


def repeating(seed):
    """A program of few operations on few names, so that much is computed twice."""
    rng = np.random.default_rng(seed)
    lines = [
        f"a{i} = xp.asarray(np.arange(16.0).reshape(4, 4) * {i + 1} / 8 - 2)" for i in range(3)
    ]
    names = ["a0", "a1", "a2", "a3"]
    lines.append("a3 = a0 * 1.0")
    few = rng.choice(LINES, 6)
    for _ in range(rng.integers(8, 25)):
        chosen = rng.choice(names, 3)
        lines.append(str(rng.choice(few)).format(*chosen))
    return lines


def test_programs_that_repeat_themselves():
    needless = la.stats()["needless"]
    for seed in range(150):
        lines = repeating(seed)
        found = []
        for text in ("", "-views,-identities,-common,-dead"):
            _bind.clear_plans()
            with passes.chosen(text):
                ours = programs.run_in("threaded", lines)
                found.append({name: programs.bits(x) for name, x in ours.names.items()})
                with programs.quiet():  # aliases, by writing through each name
                    for turn, name in enumerate(ours.names):
                        ours.names[name][...] = turn
                    found[-1].update({f"{k}'": programs.bits(x) for k, x in ours.names.items()})
        assert found[0] == found[1], lines
        assert all(error is None for error in ours.raised), lines
    assert la.stats()["needless"] > needless + 150
    _bind.clear_plans()


def test_training_has_the_same_bits_without_passes():
    def step():
        la.random.fast.seed(3)
        x, w = la.random.fast.normal(size=(8, 5)), la.random.fast.normal(size=(5, 4))
        w.attach_grad()
        for _ in range(3):
            with la.autograd.record():
                scores = la.tanh(x @ w)
                p = la.exp(scores) / la.exp(scores).sum(axis=1, keepdims=True)
                loss = -(la.log(p[:, 0]) * p[:, 1]).mean()
            loss.backward()
            w -= 0.1 * w.grad
        return w, loss

    same_bits(step)


def test_every_graph_of_random_programs_is_valid(monkeypatch):
    monkeypatch.setattr(simplify, "DEBUG", True)
    _bind.clear_plans()
    for seed in range(7000, 7100):
        programs.run_in("threaded", writer.write(seed))


def test_passes_are_named_in_the_environment():
    assert passes.parse("") == frozenset()
    assert passes.parse("none") == frozenset(passes.NAMES)
    assert passes.parse("-common, -rows") == {"common", "rows"}
    assert passes.parse("views,dead") == passes.NAMES.keys() - {"views", "dead"}
    assert set(simplify.PASSES) <= set(passes.NAMES)
    with pytest.raises(OptionError, match="comon"):
        passes.parse("-comon")
    with pytest.raises(OptionError, match="mixes"):
        passes.parse("common,-dead")
    with passes.chosen("-common"):
        assert not passes.enabled("common")
        assert passes.enabled("dead")
    assert passes.enabled("common")


def test_stats_count_what_is_left_out(a):
    _bind.clear_plans()
    before = la.stats()["needless"]
    (la.sin(a) * la.sin(a)).wait()
    assert la.stats()["needless"] == before + 1


def test_stats_have_what_providers_add(monkeypatch):
    monkeypatch.setattr(runtime, "providers", [*runtime.providers, lambda: {"extra": 3}])
    assert la.stats()["extra"] == 3


# ---- the validator


def test_validator_finds_what_a_pass_broke(graphs, a):
    kept = (la.exp(a[1:]) + 1.0).sum(axis=0)
    kept.wait()
    graph = graphs[-1][0]
    validate.check(graph, "recording")
    validate.check(graph, "nothing", graph)
    last = len(graph.ops) - 1
    faults = {
        "too early": dataclasses.replace(graph, inputs=[(last,), *graph.inputs[1:]]),
        "other values are kept": dataclasses.replace(graph, kept=[True] * len(graph.kept)),
        "another type": dataclasses.replace(graph, types=[*graph.types[:-1], graph.types[0]]),
        "differ in length": dataclasses.replace(graph, ops=graph.ops[:-1]),
        "bytes seen": dataclasses.replace(graph, attrs=[((4800, 8), True), *graph.attrs[1:]]),
        "not computed": dataclasses.replace(graph, ops=[*graph.ops[:-1], _ir.registry["empty"]]),
    }
    for message, wrong in faults.items():
        with pytest.raises(AssertionError, match=message):
            validate.check(wrong, "a pass", graph)
