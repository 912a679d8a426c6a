"""Nets, optimisers, symbols and loaders on a device: wholly there, and with the CPU's values."""

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _engine, autograd
from lazyarray import symbol as sym
from lazyarray.backends.simulated import opened, simulated
from lazyarray.errors import DeviceError

SIZE = 8  # of a batch


@pytest.fixture
def there():
    yield simulated(0)
    opened(0).gate.set()


def network():
    return la.nn.Sequential(
        la.nn.Conv2D(3, 3, activation="relu"),
        la.nn.BatchNorm(),
        la.nn.MaxPool2D(2),
        la.nn.Flatten(),
        la.nn.Dropout(0.25),
        la.nn.Dense(5),
    )


def batches(count):
    rng = np.random.default_rng(7)
    for _ in range(count):
        yield rng.random((SIZE, 8, 8, 1), np.float32), rng.integers(0, 5, SIZE)


def trained(where, steps=5, log=None):
    """Losses and weights of a few steps, the net being on a device before its shapes are known."""
    la.random.seed(3)
    net = network().to(where)
    net.initialize(seed=0)
    optimizer = la.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for turn, (images, labels) in enumerate(batches(steps)):
        if log is not None and turn == steps - 2:
            _engine.start_log()
            opened(0).start_log()
        x, y = la.array(images, device=where), la.array(labels, device=where)
        with autograd.record():
            loss = la.nn.SoftmaxCrossEntropyLoss()(net(x), y).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if log is not None:
        log += opened(0).stop_log()
        _engine.stop_log()
    return losses, net, optimizer


def test_a_net_trains_wholly_on_its_device(there):
    log = []
    losses, net, optimizer = trained(there, log=log)
    wanted, cpu, _ = trained(la.cpu())
    assert losses == wanted
    for (name, ours), (_, theirs) in zip(net.named_state(), cpu.named_state(), strict=True):
        assert ours.data().device == there, name
        np.testing.assert_array_equal(ours.data().numpy(), theirs.data().numpy())
    assert all(s.device == there for state in optimizer.kept for s in state.values())
    # Two steps: images and labels go there, the loss comes back, nothing else.
    into = sorted(event.nbytes for event in log if event.kind == "into")
    out = [event.nbytes for event in log if event.kind == "out of"]
    assert into == [SIZE * 8] * 2 + [SIZE * 64 * 4] * 2 and out == [4, 4]


def test_a_constant_gradient_can_be_looked_at(there):
    """Of a sum, that by the bias is made of numbers alone."""
    net = la.nn.Sequential(la.nn.Dense(2, in_units=3)).to(there)
    net.initialize(seed=0)
    bias = next(p for p in net.parameters() if "bias" in p.name)
    assert bias.data().grad.device == there
    with autograd.record():
        loss = net(la.ones((4, 3), "f4", device=there)).sum()
    loss.backward()
    assert bias.data().grad.device == there and bias.data().grad.tolist() == [4.0, 4.0]
    la.optim.SGD(net.parameters(), lr=0.5).step()
    assert bias.data().tolist() == [-2.0, -2.0]


def test_moving_in_the_midst_of_training(there):
    losses, net, optimizer = trained(la.cpu())
    assert net.to(there) is net
    x, y = (la.array(part, device=there) for part in next(batches(1)))

    def step():
        with autograd.record():
            loss = la.nn.SoftmaxCrossEntropyLoss()(net(x), y).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    before = step()
    assert all(s.device == there for state in optimizer.kept for s in state.values())
    net.to("cpu")
    x, y = x.to("cpu"), y.to("cpu")
    assert before < losses[0] and np.isfinite(step())
    assert all(p.data().device == la.cpu() for p in net.parameters())
    with pytest.raises(DeviceError, match=r"\.to\("):
        net(x.to(there))


def test_a_hybridized_net_moves(there):
    net = la.nn.Sequential(la.nn.Dense(4, activation="tanh"), la.nn.Dense(2))
    net.initialize(seed=0)
    net.hybridize()
    x = la.ones((3, 5), "f4")
    wanted = [net(x).numpy() for _ in range(3)]
    net.to(there)
    for _ in range(3):
        found = net(x.to(there))
        assert found.device == there
        np.testing.assert_array_equal(found.numpy(), wanted[0])


def test_states_are_loaded_where_the_net_is(there, tmp_path):
    _, net, optimizer = trained(there, steps=2)
    net.save(tmp_path / "net")
    optimizer.save(tmp_path / "state")
    _, other, follower = trained(there, steps=1)
    other.load(tmp_path / "net")
    follower.load(tmp_path / "state")
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert theirs.data().device == there
        np.testing.assert_array_equal(ours.data().numpy(), theirs.data().numpy())
    assert all(s.device == there for state in follower.kept for s in state.values())
    cpu = network()
    cpu.load_state_dict(net.state_dict())
    assert {p.data().device for p in cpu.parameters()} == {there}
    cpu.to("cpu").load_state_dict(net.state_dict())
    assert {p.data().device for p in cpu.parameters()} == {la.cpu()}


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_loader_sends_batches(there, prefetch):
    data = la.data.ArrayDataset(np.arange(20.0).reshape(10, 2), np.arange(10))
    loader = la.data.DataLoader(data, 4, device=there, prefetch=prefetch, shuffle=True)
    plain = la.data.DataLoader(data, 4, shuffle=True)
    for (x, y), (a, b) in zip(loader, plain, strict=True):
        assert x.device == y.device == there and a.device == la.cpu()
        np.testing.assert_array_equal(x.numpy(), a.numpy())
        np.testing.assert_array_equal((y + 0).numpy(), b.numpy())
    with pytest.raises(DeviceError):
        la.data.DataLoader(data, 4, device="nowhere")


def softmax_net():
    net = sym.FullyConnected(sym.Variable("data"), num_hidden=6, name="hidden")
    net = sym.Activation(net, act_type="tanh")
    net = sym.BatchNorm(net, name="norm")
    return sym.SoftmaxOutput(sym.FullyConnected(net, num_hidden=3, name="last"), name="softmax")


def symbol_steps(where, **place):
    executor = softmax_net().simple_bind(data=(4, 5), type_dict={"softmax_label": "int64"}, **place)
    rng = np.random.default_rng(0)
    for name, array in executor.arg_dict.items():
        assert array.device == where, name
        if name not in ("data", "softmax_label"):
            array[...] = rng.standard_normal(array.shape).astype("f4")
    found = []
    for turn in range(3):
        x = rng.random((4, 5), np.float32)
        executor.forward(True, data=x, softmax_label=la.array([0, 1, 2, turn % 3], device="cpu"))
        executor.backward()
        for name, g in executor.grad_dict.items():
            assert g.device == where, name
            if name not in ("data", "softmax_label"):
                executor.arg_dict[name][...] -= 0.1 * g
        found.append(executor.outputs[0].numpy())
    assert all(a.device == where for a in executor.aux_arrays)
    return found


def test_a_symbol_is_bound_to_a_device(there):
    ours = symbol_steps(there, device=there)
    for a, b in zip(ours, symbol_steps(la.cpu()), strict=True):
        np.testing.assert_array_equal(a, b)
    with there:
        symbol_steps(there)


def test_a_symbol_follows_its_arrays(there):
    x, y = sym.Variable("x"), sym.Variable("y")
    a, b = la.array([1.0, 2.0], device=there), la.array([3.0, 4.0])
    executor = (x * y).bind(args={"x": a, "y": b})
    assert executor.arg_dict["x"] is a and executor.arg_dict["y"].device == there
    executor.forward(is_train=True)
    executor.backward(la.array([1.0, 10.0]))
    assert executor.outputs[0].device == executor.grad_dict["x"].device == there
    assert executor.grad_dict["x"].tolist() == [3.0, 40.0]
    with pytest.raises(DeviceError, match="gradient of x"):
        (x * y).bind(args={"x": a, "y": a}, args_grad={"x": la.zeros(2)})
    assert (x + y).eval(there, x=b, y=b)[0].device == there
