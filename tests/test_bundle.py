"""Bundles: which tasks become one, that bits and failures are those of the tasks alone."""

import numpy as np
import programs
import pytest
import writer

import lazyarray as la
from lazyarray import _bind, _blas, _bundle, _engine, _loops, bundle, passes, plan, schedule

F4 = np.dtype("f4")


@pytest.fixture
def plans(monkeypatch):
    """The programs of every lowering from here on."""
    found = []
    lower = schedule.lower

    def keep(graph):
        found.append(lower(graph))
        return found[-1]

    monkeypatch.setattr(schedule, "lower", keep)
    _bind.clear_plans()
    yield found
    _bind.clear_plans()


def settled(*arrays):
    la.wait_all(list(arrays))
    return arrays


# ---- the kernel


def doubled(size):
    loop = _loops.find_loop("add", (F4,) * 3)
    step = (loop, (0, 0), (1,))
    return _loops.elementwise((size,), [(0, (4,), 4)], [(1, (4,), 4)], [4, 4], [step])


@pytest.mark.parametrize("pieces", [None, 1, 2, 7, 40])
def test_a_bundle_runs_each_of_its_kernels(pieces):
    rng = np.random.default_rng(0)
    sizes = [1, 20_000, 0, 5, 8192, 70_001, 0]
    kernels = [doubled(size) for size in sizes]
    kernels.insert(3, _loops.reduce("sum", F4, F4, 3, 50_000, 1))
    kernels.append(_blas.gemm(F4, (), 130, 70, 90, ((), 90, 1), ((), 70, 1)))
    inputs = [rng.standard_normal(max(size, 1), "f4") for size in sizes]
    outputs = [np.zeros_like(x) for x in inputs]
    table, sums = rng.standard_normal((3, 50_000), "f4"), np.zeros(3, "f4")
    a, b = rng.standard_normal((130, 90), "f4"), rng.standard_normal((90, 70), "f4")
    product = np.zeros((130, 70), "f4")
    operands = [[x, y] for x, y in zip(inputs, outputs, strict=True)]
    operands.insert(3, [table, sums])
    operands.append([a, b, product])
    for kernel, arrays in zip(kernels, operands, strict=True):
        if kernel.scratch_bytes:
            arrays.append(np.empty(kernel.scratch_bytes, np.uint8))
    made = _bundle.bundle(kernels)
    for seed in range(3):
        for arrays in operands:
            arrays[-1][...] = 0
        made.call(*(x for arrays in operands for x in arrays), pieces=pieces, seed=seed)
        for x, y, size in zip(inputs, outputs, sizes, strict=True):
            np.testing.assert_array_equal(y[:size], 2 * x[:size])
            assert not y[size:].any()
        alone = np.zeros_like(sums), np.zeros_like(product)
        kernels[3].call(table, alone[0])
        kernels[-1].call(a, b, alone[1])
        assert sums.tobytes() == alone[0].tobytes()
        assert product.tobytes() == alone[1].tobytes()


def test_units_are_the_grains_of_the_members():
    kernels = [doubled(n) for n in (1, 100_000, 0)]
    made = _bundle.bundle(kernels)
    assert made.extent == sum(-(-k.extent // k.grain) for k in kernels)
    assert made.cost == sum(k.cost for k in kernels)
    assert made.n_args == 6


def test_what_may_fail_on_data_is_refused():
    with pytest.raises(ValueError, match="may fail on data"):
        _bundle.bundle([doubled(3), _loops.flat_index((4,), 10)])
    with pytest.raises(ValueError, match="at least one"):
        _bundle.bundle([])


# ---- the pass


def trained(rule=la.optim.SGD, layers=6, **options):
    """A network of small layers after its first step, and a function that does another."""
    net = la.nn.Sequential(*(la.nn.Dense(8 + i, activation="relu") for i in range(layers)))
    net.initialize(seed=0)
    x = la.array(np.random.default_rng(0).standard_normal((4, 5)).astype("f4"))
    net(x)
    optimizer = rule(net.parameters(), **options)

    def step():
        with la.autograd.record():
            loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    step()
    return net, step


@pytest.mark.parametrize(
    ("rule", "options"),
    [(la.optim.SGD, {"lr": 0.1, "momentum": 0.9}), (la.optim.Adam, {}), (la.optim.AdamW, {})],
)
def test_the_update_of_all_weights_is_one_task(plans, rule, options):
    net, step = trained(rule, **options)
    step()
    settled(*(p.data() for p in net.parameters()))
    weights = [p for p in net.parameters() if len(p.shape) == 2]
    updates = [t for t in plans[-1].tasks if t.parts and len(t.parts) >= len(weights)]
    assert len(updates) == 1
    assert len(updates[0].writes) >= 2 * len(weights)


def test_bundled_steps_have_the_bits_of_tasks_alone():
    found = []
    for text in ("", "-bundle"):
        with passes.chosen(text):
            _bind.clear_plans()
            net, step = trained(momentum=0.9)
            losses = [step().item() for _ in range(4)]
            found.append([losses, *(p.data().numpy().tobytes() for p in net.parameters())])
    assert found[0] == found[1]
    _bind.clear_plans()


def test_independent_small_results_of_several_shapes(plans):
    a, b, c = settled(la.arange(10.0), la.arange(12.0).reshape(3, 4), la.ones((2, 2)))
    results = [a + 1, b * 2, la.sqrt(c), a.sum(), c @ c]
    la.wait_all(results)
    assert len(plans[-1].tasks) == 1
    assert len(plans[-1].tasks[0].parts) == 5
    np.testing.assert_array_equal(results[1], np.arange(12.0).reshape(3, 4) * 2)
    np.testing.assert_array_equal(results[3], 45.0)


def test_a_large_task_stays_alone(plans):
    a, b = settled(la.ones(4_000_000), la.ones(10))
    la.wait_all([a * 2, b * 2])
    assert all(task.parts is None for task in plans[-1].tasks)


def test_who_reads_a_member_does_not_wait_for_many(plans):
    xs = settled(*(la.ones((100 + i, 100)) for i in range(30)))
    w, v = settled(la.ones((100, 100)), la.ones((100, 2000)))
    la.wait_all([x @ w @ v for x in xs])
    sizes = [len(task.parts or (task,)) for task in plans[-1].tasks]
    assert sum(sizes) == 60
    assert 1 < max(sizes) < 10


def test_a_task_that_may_fail_on_data_is_no_member(plans):
    a, i = settled(la.arange(5.0), la.array([1, 9]))
    picked, other, third = a[i], a * 3, a - 1
    la.wait_all([other, third])
    with pytest.raises(IndexError):
        picked.wait()
    np.testing.assert_array_equal(other, np.arange(5.0) * 3)
    for program in plans:
        for task in program.tasks:
            assert not any("index" in part.label for part in task.parts or ())


def test_a_failed_read_spoils_only_the_members_that_depend_on_it():
    sound, i = settled(la.arange(5.0), la.array([1, 9]))
    bad = sound[i]
    la.eval(bad)
    x, y, z = bad * 2, sound + 1, (sound * sound).reshape(5, 1) + 1
    la.eval([x, y, z])
    np.testing.assert_array_equal(y, np.arange(5.0) + 1)
    np.testing.assert_array_equal(z, np.arange(5.0).reshape(5, 1) ** 2 + 1)
    with pytest.raises(IndexError):
        x.wait()


def test_a_member_that_updates_in_place_stays_poisoned():
    def run():
        sound, i = settled(la.arange(5.0), la.array([1, 9]))
        bad = la.zeros(2)
        bad += sound[i]
        other = la.ones(7)
        la.eval([bad, other])
        bad[0] = 4.0
        other[1:3] = 2.0
        la.eval([bad, other])
        np.testing.assert_array_equal(other, [1, 2, 2, 1, 1, 1, 1])
        with pytest.raises(IndexError):
            bad.wait()
        bad[...] = 1.0
        np.testing.assert_array_equal(bad, [1, 1])

    run()


def test_more_writes_than_the_engine_tells_apart(plans):
    xs = settled(*(la.ones(i + 1) for i in range(150)))
    results = [x + 1 for x in xs]
    la.wait_all(results)
    assert all(len(task.writes) <= bundle.WRITES for task in plans[-1].tasks)
    assert len(plans[-1].tasks) == -(-150 // bundle.MEMBERS)
    for i, y in enumerate(results):
        np.testing.assert_array_equal(y, np.full(i + 1, 2.0))


def dependencies(tasks):
    """Pairs of tasks, by identity, whose order matters."""
    found = set()
    for i, first in enumerate(tasks):
        for second in tasks[i + 1 :]:
            writes, others = set(first.writes), set(second.writes)
            if writes & (others | set(second.reads)) or others & set(first.reads):
                found.add((id(first), id(second)))
    return found


class Harmless:
    """A graph whose ops cannot fail on data."""

    fallible = False

    def __init__(self):
        self.ops = [self]


@pytest.mark.parametrize("seed", range(50))
def test_order_is_kept_where_it_matters(seed):
    rng = np.random.default_rng(seed)
    kernels = [doubled(1), doubled(5000), doubled(1_000_000)]
    count, slots = int(rng.integers(2, 40)), int(rng.integers(2, 60))

    def some():
        return sorted({int(slot) for slot in rng.integers(0, slots, rng.integers(1, 4))})

    tasks = []
    for _ in range(count):
        reads, writes, depends = some(), some(), None
        if rng.random() < 0.3:
            depends = [int(b) for b in rng.integers(0, 1 << len(writes), len(reads))]
        kernel = kernels[rng.choice(3, p=[0.5, 0.4, 0.1])]
        tasks.append(plan.Task(kernel, None, [], reads, writes, 0, "k", depends=depends))
    program = plan.Program([plan.Slot(8)] * slots, list(tasks))
    after = bundle.bundle(program, Harmless()).tasks
    place = {}
    for i, task in enumerate(after):
        for one in task.parts or (task,):
            assert id(one) not in place
            place[id(one)] = i
    assert place.keys() == {id(task) for task in tasks}
    for first, second in dependencies(tasks):
        assert place[first] < place[second]
    for task in after:
        assert spoils(task) == set().union(*(spoils(one) for one in task.parts or (task,)))


def spoils(task):
    """Pairs of a slot that a task reads and one that fails with it."""
    return {
        (read, write)
        for i, read in enumerate(task.reads)
        for j, write in enumerate(task.writes)
        if task.depends is None or task.depends[i] >> j & 1
    }


def test_random_programs_without_bundles():
    """The fuzz of test_programs bundles; here the same programs do not."""
    for seed in range(40):
        lines = writer.write(seed)
        _bind.clear_plans()
        with passes.chosen("-bundle"):
            alone = programs.run(lines, la)
            kept = {
                name: np.asarray(x).tobytes()
                for name, x in alone.names.items()
                if isinstance(x, la.Array)
            }
        _bind.clear_plans()
        bundled = programs.run(lines, la)
        for name, wanted in kept.items():
            assert np.asarray(bundled.names[name]).tobytes() == wanted


def test_a_bundle_worth_no_second_worker_is_run_by_one(plans):
    xs = settled(*(la.ones(i + 1) for i in range(40)))
    _engine.start_log()
    la.eval([x + 1 for x in xs])
    la.wait_all()
    events = _engine.stop_log()
    (task,) = plans[-1].tasks
    assert task.kernel.extent == len(task.parts) == 40
    assert [event.kind for event in events].count("start") == 1


# ---- recipes


def member(size, slot):
    """A task that adds what it reads to itself."""

    def make(registers, steps):
        inputs, outputs = [(0, (4,), 4)], [(1, (4,), 4)]
        return _loops.elementwise((size,), inputs, outputs, registers, steps)

    step = (_loops.find_loop("add", (F4,) * 3), (0, 0), (1,))
    recipe = plan.Recipe([4, 4], [step], [1], make)
    args = [(slot, ()), (slot + 1, ())]
    return plan.Task(recipe.kernel(), None, args, [slot], [slot + 1], 0, "double", recipe=recipe)


def test_a_bundle_can_be_made_again_of_other_loops():
    reduction = _loops.reduce("sum", F4, F4, 1, 5, 1)
    total = plan.Task(reduction, None, [(2, ()), (3, ())], [2], [3], 0, "sum")
    task = bundle.together([member(4, 0), total, member(3, 4)])
    assert (task.label, task.reads, task.writes) == ("2 x double, sum", [0, 2, 4], [1, 3, 5])
    assert task.depends == [1, 2, 4]
    recipe = task.recipe
    assert [what for what, _, _ in recipe.steps].count(bundle.END) == 3
    assert recipe.results == [1, 3]
    times = _loops.find_loop("multiply", (F4,) * 3)
    steps = [
        (times if isinstance(what, _loops.Loop) else what, *registers)
        for what, *registers in recipe.steps
    ]
    a, b, c = np.arange(4, dtype="f4"), np.arange(5, dtype="f4"), np.arange(3, dtype="f4") + 5
    for kernel, f in ((task.kernel, np.add), (recipe.make(recipe.registers, steps), np.multiply)):
        x, y, z = np.zeros(4, "f4"), np.zeros(1, "f4"), np.zeros(3, "f4")
        kernel.call(a, x, b, y, c, z)
        np.testing.assert_array_equal(x, f(a, a))
        np.testing.assert_array_equal(y, 10)
        np.testing.assert_array_equal(z, f(c, c))
