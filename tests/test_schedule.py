"""Lowering: what is fused, copied, reused and ordered; and what holds for every plan."""

import numpy as np
import programs
import pytest
import writer

import lazyarray as la
from lazyarray import _handle, _loops, assign, passes, schedule


@pytest.fixture
def plans(monkeypatch):
    """The (graph, program) of every lowering from here on."""
    found = []
    lower = schedule.lower

    def keep(graph):
        program = lower(graph)
        found.append((graph, program))
        return program

    monkeypatch.setattr(schedule, "lower", keep)
    forget()
    return found


def forget():
    from lazyarray import _bind

    _bind.clear_plans()


def tasks(plans):
    """The labels of the tasks of the newest plan."""
    return [task.label for task in plans[-1][1].tasks]


def settled(*arrays):
    la.wait_all(list(arrays))
    return arrays


def matrix(*shape):
    x = la.arange(float(np.prod(shape))).reshape(shape) + 1
    x.wait()
    return x


# ---- fusion


def test_elementwise_ops_become_one_task(plans):
    a, b = settled(la.ones(50), la.ones(50))
    (la.sqrt(a * b + 1) - b / 2).wait()
    assert len(tasks(plans)) == 1
    assert set(tasks(plans)[0].split("+")) == {"multiply", "add", "sqrt", "divide", "subtract"}


def test_results_share_a_task(plans):
    (a,) = settled(la.ones(50))
    b = a + 1
    c, d = b * 2, b * 3
    la.eval(c, d)
    assert len(tasks(plans)) == 1
    assert len(plans[-1][1].kept) == 3


def test_broadcast_operands_are_read_in_place(plans):
    a, b = settled(matrix(20, 30), la.ones(30))
    ((a - b) * a.T[:, :1].T).wait()
    assert len(tasks(plans)) == 1


def test_views_of_views_are_read_in_place(plans):
    (a,) = settled(matrix(20, 30))
    (a[2:, ::2].T[1:][::-1] + 1).wait()
    assert tasks(plans) == ["add"]


def test_computed_value_is_stored_before_it_is_seen_through_a_view(plans):
    (a,) = settled(matrix(6, 6))
    b = a * 2
    c = b + b.T
    c.wait()
    assert tasks(plans) == ["multiply", "add"]
    np.testing.assert_array_equal(np.asarray(c), np.asarray(a) * 2 + (np.asarray(a) * 2).T)


def test_update_is_written_by_the_task_that_computes_it(plans):
    (u,) = settled(matrix(10, 10))
    v = la.ones((8, 8))
    v.wait()
    u[1:-1, 1:-1] = v * 2 + 1
    u.wait()
    assert len(tasks(plans)) == 1


def test_update_that_reads_what_it_writes_goes_through_a_buffer(plans):
    (u,) = settled(matrix(10))
    u[1:] += u[:-1]
    with passes.chosen("-rolling"):  # with it: test_stencils.py
        u.wait()
    assert len(tasks(plans)) == 1
    assert len([slot for slot in plans[-1][1].slots if slot.nbytes == 80]) == 2
    np.testing.assert_array_equal(u.tolist(), np.arange(1, 11) + np.r_[0, np.arange(1, 10)])


def test_very_long_programs_are_cut_into_groups(plans):
    (a,) = settled(la.ones(5))
    for _ in range(200):
        a = a * 1.5 - 0.5
    a.wait()
    assert 400 / 48 <= len(tasks(plans)) < 20


def test_no_group_needs_itself(plans):
    """A reduction between two elementwise nodes keeps them apart."""
    (a,) = settled(matrix(8, 8))
    b = a * 2
    c = b - b.mean(axis=0)
    d = c / (b.sum() + c.max(axis=1)[:, None])
    np.testing.assert_allclose(np.asarray(d)[0, 0], d.tolist()[0][0])
    assert len(tasks(plans)) >= 3


def test_what_may_fail_fails_alone(plans):
    """A task that reads a failed value fails with what depends on it, and says what that is."""
    a, e = settled(la.arange(4), la.array([1, 2, -1, 1]))
    sound, risky = a + 1, a**e
    both = sound * risky
    la.eval(sound, risky, both)
    (shared,) = [task for task in plans[-1][1].tasks if task.label == "add+pow+multiply"]
    assert len(shared.writes) == 3
    assert sorted(bits.bit_count() for bits in shared.depends) == [2, 3]
    assert sound.tolist() == [1, 2, 3, 4]
    for each in (risky, both):
        with pytest.raises(ValueError, match="power"):
            each.wait()


# ---- slots


def test_chain_runs_in_two_buffers(plans):
    (a,) = settled(matrix(16, 16) / 300)
    b = a
    for _ in range(20):
        b = b @ a
    b.wait()
    program = plans[-1][1]
    large = [slot for slot in program.slots if slot.nbytes == 16 * 16 * 8]
    assert len(large) <= 3


def test_dying_operand_gives_its_buffer(plans):
    (a,) = settled(la.ones(100))
    start = _handle.peek_numpy(a).ctypes.data
    a = a * 2
    a.wait()
    assert _handle.peek_numpy(a).ctypes.data == start
    assert len(plans[-1][1].slots) == 2  # a and the number


def test_living_operand_keeps_its_buffer(plans):
    (a,) = settled(la.ones(100))
    b = a * 2
    b.wait()
    assert a.tolist() == [1.0] * 100
    assert len({slot.leaf for slot in plans[-1][1].slots}) == 3


def test_reader_comes_before_the_update_that_takes_its_buffer(plans):
    (a,) = settled(matrix(30))
    total = a.sum()
    a[3] = 0
    twice = a * 2
    la.eval(a, total, twice)
    program = plans[-1][1]
    reader = tasks(plans).index("sum")
    writer = next(
        i for i, task in enumerate(program.tasks) if program.slots[task.writes[0]].leaf >= 0
    )
    assert reader < writer
    assert len(program.tasks) == 3
    assert float(total) == 465
    assert float(twice[3]) == 0


def test_numbers_are_never_written(plans):
    x = la.array(3.0)
    x += 1
    y = la.array(3.0)
    y[...] = 5
    la.eval(x, y)
    for _, program in plans:
        for task in program.tasks:
            assert not any(program.slots[i].const for i in task.writes)
    assert (float(x), float(y)) == (4, 5)


def test_scatter_from_its_own_buffer(plans):
    a = la.arange(6).reshape(2, 3)
    a[[1, 0]] = a
    assert a.tolist() == [[3, 4, 5], [0, 1, 2]]


def test_empty_part_is_no_buffer_to_write_to(plans):
    a = la.ones((2, 1, 3))
    a[:, :0] *= 2
    a[:, :0][[0]] = 1
    a += 1
    assert a.tolist() == [[[2.0] * 3]] * 2


# ---- invariants


def extent(shape, strides, itemsize):
    """The bytes that an operand spans."""
    if 0 in shape:
        return 0
    return sum((n - 1) * abs(s) for n, s in zip(shape, strides, strict=True)) + itemsize


class Checked:
    """`_loops`, remembering the operands of each elementwise kernel."""

    def __init__(self):
        self.operands = {}

    def __getattr__(self, name):
        return getattr(_loops, name)

    def elementwise(self, shape, inputs, outputs, registers, steps, label=""):
        kernel = _loops.elementwise(shape, inputs, outputs, registers, steps, label=label)
        operands = [
            (shape, strides, size)
            for _, strides, size in (*inputs, *outputs)
            if strides is not None
        ]
        self.operands[id(kernel)] = (kernel, operands)
        return kernel


def validate(graph, program, checked):
    """What holds for every plan."""
    slots = program.slots
    filled = {i for i, slot in enumerate(slots) if slot.leaf >= 0 or not slot.nbytes}
    for task in program.tasks:
        used = [slot for slot, _ in task.args]
        assert {s for s in used if not slots[s].const} <= {*task.reads, *task.writes}
        assert all(0 <= s < len(slots) for s in used)
        for s in task.writes:
            leaf = slots[s].leaf
            assert leaf < 0 or (graph.leaf_donatable[leaf] and not slots[s].const)
        assert set(task.reads) - set(task.writes) <= filled
        if task.depends is not None:
            assert len(task.depends) == len(task.reads)
            assert all(0 <= bits < 1 << len(task.writes) <= 1 << 64 for bits in task.depends)
        filled |= set(task.writes)
        if task.kernel is not None and id(task.kernel) in checked.operands:
            _, operands = checked.operands[id(task.kernel)]
            assert len(operands) == len(task.args)
            for (shape, strides, size), (slot, places) in zip(operands, task.args, strict=True):
                assert extent(shape, strides, size) <= (
                    16 if slots[slot].const else slots[slot].nbytes
                )
                assert all(graph.ops[place].kind in (2, 3) for place in places)
    for place, slot in program.kept:
        assert graph.kept[place]
        assert slots[slot].nbytes == graph.types[place].nbytes
        assert not slots[slot].const
    assert {place for place, _ in program.kept} == {p for p, kept in enumerate(graph.kept) if kept}


def test_every_plan_of_random_programs(plans, monkeypatch):
    checked = Checked()
    monkeypatch.setattr(assign, "_loops", checked)
    for seed in range(5000, 5250):
        programs.run_in("threaded", writer.write(seed))
        for graph, program in plans:
            validate(graph, program, checked)
        plans.clear()
        checked.operands.clear()


def test_lowering_is_deterministic(plans):
    (a,) = settled(matrix(12, 12))

    def program():
        b = a @ a + a.T
        c = (b - b.mean(axis=0)) / b.std()
        c[1:-1] += b[2:] * c[:-2].sum()
        return c

    program().wait()
    graph, first = plans[-1]
    second = schedule.lower(graph)
    assert [(t.label, t.args, t.reads, t.writes, t.place) for t in first.tasks] == [
        (t.label, t.args, t.reads, t.writes, t.place) for t in second.tasks
    ]
    assert first.kept == second.kept
    forget()
    program().wait()
    assert [t.label for t in plans[-1][1].tasks] == [t.label for t in first.tasks]
