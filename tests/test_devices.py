"""Placement, copies, order and failures of devices, on the simulated one."""

import gc
import threading

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _bind, autograd, device, runtime
from lazyarray.backends import replay
from lazyarray.backends.simulated import opened, simulated
from lazyarray.errors import DeviceError, OutOfMemoryError

DATA = np.arange(12.0).reshape(3, 4)


@pytest.fixture
def there():
    """A simulated device; whatever a test does to it is undone."""
    found = simulated(0)
    backend = opened(0)
    yield found
    backend.gate.set()
    backend.capacity = 1 << 40
    backend.failure = None
    assert device.current_device() == la.cpu()


# ---- where arrays lie


def test_arrays_are_made_and_moved(there):
    x = la.array(DATA, device=there)
    assert x.device == there and (x + 1).device == there
    assert x.to("cpu").device == la.cpu() and x.to(there) is x
    assert x.to_device("simulated:1").device == simulated(1)
    np.testing.assert_array_equal(x.to(simulated(1)).to("cpu").numpy(), DATA)
    with there:
        made = [la.zeros(3), la.arange(4), la.array([1, 2]), la.full((2, 2), 7.0), la.eye(3)]
    assert all(a.device == there for a in made)
    assert la.zeros(3).device == la.cpu() and la.zeros(3, device=there).device == there
    assert la.zeros_like(x).device == there and la.asarray(x).device == there
    with there:
        assert la.zeros_like(la.array([1.0], device="cpu")).device == la.cpu()
        with la.cpu():
            assert la.ones(2).device == la.cpu()
        assert la.ones(2).device == there


def test_use_sets_the_device_of_this_thread_and_of_new_ones(there):
    before = la.use(there)
    try:
        found = []
        thread = threading.Thread(target=lambda: found.append(la.ones(2).device))
        thread.start()
        thread.join()
        assert before == la.cpu() and found == [there] == [la.ones(3).device]
    finally:
        la.use(before)


def test_numbers_and_foreign_data_follow(there):
    x = la.array(DATA, device=there)
    y = x * 2 + np.ones(4) - la.array(3.0) + la.ones((3, 4))
    assert y.device == there
    np.testing.assert_array_equal(y.numpy(), DATA * 2 - 1)
    np.testing.assert_array_equal(x[[2, 0]].numpy(), DATA[[2, 0]])
    np.testing.assert_array_equal(x[DATA > 5].numpy(), DATA[DATA > 5])
    x[1] = np.full(4, -1.0)
    x[:, 0] = 9
    wanted = DATA.copy()
    wanted[1], wanted[:, 0] = -1, 9
    assert x.device == there
    np.testing.assert_array_equal(x.numpy(), wanted)


@pytest.mark.parametrize(
    "spoil", [lambda x, y: x + y, lambda x, y: x @ y.T, lambda x, y: la.concatenate([x, y])]
)
def test_operands_on_two_devices_raise_with_both_lines(there, spoil):
    x, y = la.array(DATA, device=there), la.array(DATA)
    with pytest.raises(DeviceError, match=r"(?s)test_devices.*test_devices.*\.to\(") as raised:
        spoil(x, y)
    assert "on simulated:0" in str(raised.value) and "on cpu" in str(raised.value)
    with pytest.raises(DeviceError, match="written to an array on simulated:0"):
        x[...] = y
    with pytest.raises(DeviceError, match="simulated:1"):
        _ = x + la.array(DATA, device="simulated:1")
    np.testing.assert_array_equal((x + y.to(there)).numpy(), 2 * DATA)


@pytest.mark.parametrize("name", ["tpu", "gpu:x", "simulated:7", "cpu:1"])
def test_unknown_devices_raise(there, name):
    with pytest.raises(DeviceError):
        la.zeros(3, device=name)


def test_what_leaves_the_device_is_a_copy(there):
    x = la.array(DATA, device=there)
    out = np.asarray(x)
    x += 1
    np.testing.assert_array_equal(out, DATA)
    with pytest.raises(ValueError, match="cannot be shared"):
        np.asarray(x, copy=False)
    with pytest.raises(BufferError):
        memoryview(x)
    assert x.__dlpack_device__() != (1, 0)
    np.testing.assert_array_equal(np.from_dlpack(x.to("cpu")), DATA + 1)


# ---- what is computed


def test_views_and_writes(there):
    x, wanted = la.array(DATA, device=there), DATA.copy()
    v, w = x[1:, ::2], wanted[1:, ::2]
    v *= 3
    w *= 3
    x[1:] += x[:-1]
    wanted[1:] += wanted[:-1]
    x.T[0] = 5
    wanted.T[0] = 5
    np.testing.assert_array_equal(x.numpy(), wanted)
    np.testing.assert_array_equal(v.numpy(), w)


def test_gradients_and_updates(there):
    def trained(where):
        with where:
            w = la.array(DATA.T / 10)
            x, y = la.array(DATA), la.array(np.eye(3))
            w.attach_grad()
            for _ in range(3):
                with autograd.record():
                    loss = ((la.tanh(x @ w) - y) ** 2).mean()
                loss.backward()
                w -= 0.1 * w.grad
            assert w.device == loss.device == where
            return w.numpy(), loss.item()

    for ours, cpu in zip(trained(there), trained(la.cpu()), strict=True):
        np.testing.assert_array_equal(ours, cpu)


def test_gradients_of_numbers_alone_lie_with_their_array(there):
    x = la.array(DATA, device=there)
    x.attach_grad()
    assert x.grad.device == there
    with autograd.record():
        loss = (x * 3).sum() + x[0, 0]
    loss.backward()
    assert x.grad.device == there
    wanted = np.full((3, 4), 3.0)
    wanted[0, 0] = 4
    np.testing.assert_array_equal(x.grad.numpy(), wanted)
    x -= 0.5 * x.grad
    np.testing.assert_array_equal(x.numpy(), DATA - 0.5 * wanted)
    x.zero_grad()
    assert x.grad.device == there and not x.grad.numpy().any()
    for f in (lambda a: a[0, 0] * 2, lambda a: (a * 0).sum(), lambda a: la.diff(a).sum()):
        assert la.grad(f)(x).device == there
    assert la.grad(lambda a, b: a.sum(), argnums=1)(x, x + 1).device == there
    _, pull = la.vjp(lambda a: a * 2, x)
    assert pull(np.ones((3, 4)))[0].device == there


def test_what_is_joined_and_taken_lies_with_its_parts(there):
    """Bases and indices made of numbers alone lie on the CPU at first."""
    x, on_cpu = la.array(DATA, device=there), la.array(DATA)
    for f in (
        lambda a: la.concatenate([a, a]),
        lambda a: la.block([[a, a], [a, a]]),
        lambda a: la.pad(a, 1),
        lambda a: la.roll(a, 1),
        lambda a: la.diag(a[0]),
        lambda a: la.vander(a[0]),
        lambda a: la.take(a, 1),
        lambda a: a[la.arange(2)],
        lambda a: la.take_along_axis(a, la.zeros((1, 4), int), 0),
        lambda a: la.unique(a),
        lambda a: la.nonzero(a)[1],
        lambda a: la.argwhere(a),
        lambda a: la.flatnonzero(a),
        lambda a: la.insert(a, 1, 2.0, axis=0),
        lambda a: la.delete(a, 1, 0),
        lambda a: la.grad(lambda b: la.median(b))(a),
        lambda a: la.grad(lambda b: (b[0] * b[1]).sum())(a),
        lambda a: a.imag,
    ):
        got = f(x)
        assert got.device == there
        np.testing.assert_array_equal(got.numpy(), f(on_cpu).numpy())
    base = la.zeros((3, 4))
    with pytest.raises(DeviceError, match="written to an array on cpu"):
        base[0] = x[0]
    with pytest.raises(IndexError, match="out of bounds"):
        la.take(x, la.arange(20)).numpy()


def test_a_gradient_crosses_devices(there):
    x = la.array(DATA)
    x.attach_grad()
    with autograd.record():
        loss = (x.to(there) ** 2).sum()
    loss.backward()
    assert x.grad.device == la.cpu()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * DATA)


def test_jit_and_nets(there):
    with there:
        net = la.nn.Sequential(la.nn.Dense(8, activation="relu"), la.nn.Dense(3))
        x = la.array(DATA.astype(np.float32))
        step = la.jit(lambda a: net(a).sum(axis=1))
        first, second = step(x), step(x + 1)
        assert first.device == second.device == there
        np.testing.assert_array_equal(second.numpy(), net(x + 1).sum(axis=1).numpy())


# ---- order, and who waits


def test_python_goes_on_while_the_device_is_behind(there):
    backend = opened(0)
    x = la.array(DATA, device=there)
    backend.gate.clear()
    y = x
    for _ in range(100):
        y = y * 1.01 + x
        la.eval(y)
    held = backend.issued
    on_cpu = (la.array(DATA) + 1).sum().item()
    backend.gate.set()
    wanted = DATA
    for _ in range(100):
        wanted = wanted * 1.01 + DATA
    assert held >= 100 and on_cpu == DATA.sum() + 12
    np.testing.assert_array_equal(y.numpy(), wanted)


def test_memory_that_comes_back_early_is_written_late(there):
    backend = opened(0)
    x = la.array(DATA, device=there)
    la.eval(x)
    before = backend.in_use
    backend.gate.clear()
    kept = []
    for i in range(50):
        la.eval(y := x + i)
        la.eval(z := y * 2)
        kept.append(z)
        del y
    blocks = backend.in_use - before
    backend.gate.set()
    for i, z in enumerate(kept):
        np.testing.assert_array_equal(z.numpy(), (DATA + i) * 2)
    assert blocks <= 512 * 56


def test_plans_that_come_again_are_captured(there):
    """Numbers change, new data come in, results are read: none of it is in what is captured."""
    w, wanted = la.array(DATA, device=there), DATA.copy()
    before = runtime.stats()
    for turn in range(30):
        x = np.full((3, 4), turn, float)
        w -= (1.5 + turn) * la.array(x, device=there) + la.tanh(w)
        wanted -= (1.5 + turn) * x + la.tanh(la.array(wanted)).numpy()
        if turn % 5 == 0:
            np.testing.assert_array_equal(w.numpy(), wanted)
        else:
            la.eval(w)
    np.testing.assert_array_equal(w.numpy(), wanted)
    after = runtime.stats()
    assert after["captured"] - before["captured"] < 12
    assert after["replayed"] - before["replayed"] > 15


def test_graphs_are_bounded(there):
    kept = [la.array(DATA + i, device=there) for i in range(20)]
    la.eval(*kept)
    for turn in range(4):
        for i, x in enumerate(kept):
            np.testing.assert_array_equal((x * turn).numpy(), (DATA + i) * turn)
    graphs = sum(
        graph is not None
        for each in gc.get_objects()
        if type(each) is replay.Replay
        for graph in each.met.values()
    )
    assert 0 < graphs <= 8 * sum(type(each) is replay.Replay for each in gc.get_objects())


def test_a_value_of_the_cpu_is_waited_for(there):
    slow = la.array(np.ones((300, 300)))
    for _ in range(20):
        slow = slow @ slow / 300
    x = slow.to(there) + 1
    np.testing.assert_array_equal(x.numpy(), np.full((300, 300), 2.0))


# ---- failures


def test_out_of_memory_leaves_everything_as_it_was(there):
    backend = opened(0)
    x = la.array(DATA, device=there)
    la.eval(x)
    backend.synchronize()
    backend.spare.clear()
    backend.pooled = 0
    backend.capacity = backend.in_use + 4096
    big = la.zeros((1000, 1000), device=there) + 1
    with pytest.raises(OutOfMemoryError, match="simulated:0"):
        la.eval(big)
    np.testing.assert_array_equal((x + 1).numpy(), DATA + 1)
    assert la.memory.stats(there)["in_use"] == backend.in_use > 0
    backend.capacity = 1 << 40
    assert big.sum().item() == 1_000_000


def test_out_of_memory_names_those_who_hold_it(there):
    backend = opened(0)
    kept = la.ones((500, 500), device=there) * 3
    la.eval(kept)
    backend.synchronize()
    backend.capacity = backend.in_use + 4096  # the pool's blocks are given up
    with pytest.raises(OutOfMemoryError, match="no memory for 8008000 bytes") as raised:
        la.eval(la.zeros((1000, 1001), device=there) + 1)
    text = str(raised.value)
    assert "float64[500, 500], held by array, from" in text and "test_devices.py" in text
    held = la.memory.holders(1, device=there)[0]
    assert held.shape == (500, 500) and held.where.split(":")[0].endswith("test_devices.py")
    assert all(each.shape != (500, 500) for each in la.memory.holders(100))


def test_what_lies_unused_is_given_up_first(there):
    """Blocks of the pool, arrays in reference cycles: then the same is tried once more."""
    backend = opened(0)
    backend.synchronize()
    circle = [la.ones((400, 400), device=there) + 1]
    circle.append(circle)
    spare = la.ones((300, 300), device=there) + 1
    la.eval(circle[0], spare)
    backend.synchronize()
    gc.disable()
    try:
        del spare, circle
        backend.capacity = backend.in_use + backend.pooled
        x = la.ones((410, 410), device=there) + 1
        assert x.sum().item() == 2 * 410 * 410
    finally:
        gc.enable()


def test_an_index_out_of_bounds_names_its_line(there):
    x = la.array(DATA, device=there)
    y = x[la.array([0, 7], device=there)]
    with pytest.raises(IndexError, match="out of bounds"):
        y.numpy()
    np.testing.assert_array_equal(x[[0]].numpy(), DATA[:1])


def test_a_device_that_fails_leaves_the_cpu_alone(there):
    backend = opened(0)
    x = la.array(DATA, device=there) + 1

    def fault():
        raise RuntimeError("illegal address")

    backend.issue(fault)
    with pytest.raises(DeviceError, match="illegal address"):
        x.numpy()
    assert (la.array(DATA) + 1).sum().item() == DATA.sum() + 12


def test_plans_tell_devices_apart(there):
    def program():
        return (la.array(DATA) + 1).sum()

    _bind.clear_plans()
    program().item()
    before = runtime.stats()["lowerings"]
    with there:
        program().item()
    assert runtime.stats()["lowerings"] > before
