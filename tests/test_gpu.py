"""Everything on a device: each registered op, gradients, programs, nets.

They run on the simulated device; ``pytest -m gpu`` runs them on GPU 0.
"""

import math

import numpy as np
import programs
import pytest
import writer
from samples import SAMPLES
from test_every_op import NAMES, arranged, as_list, placed, recorded

import lazyarray as la
from lazyarray import _handle, _ir, autograd, runtime
from lazyarray.device import as_device

WHERE = ["simulated:0", pytest.param("gpu:0", marks=pytest.mark.gpu)]
DTYPES = {
    "gpu": ("float32", "float64", "int32", "bool", "complex64"),
    "simulated": ("float32", "int32"),
}
# Of each dtype's precision, times the largest value: sums, products and libraries of the device
# add in another order. Elementwise results have the CPU's bits.
ROUNDINGS = 64


def on(where, pairs, layout):
    """Arrays on a device that see their memory as the pairs do."""
    with where:
        return [arranged(memory, seen, layout) for memory, seen in pairs]


def check(ours, cpu, what):
    """The device's value is the CPU's; floating sums may differ in their last places."""
    assert (ours.dtype, ours.shape) == (cpu.dtype, cpu.shape), what
    same = (ours == cpu) | ((ours != ours) & (cpu != cpu))
    if np.all(same):
        return
    assert ours.dtype.kind in "fc", f"{what}: {ours} is not {cpu}"
    good = np.isfinite(cpu)
    assert np.array_equal(np.isfinite(ours), good), f"{what}: {ours} is not {cpu}"
    size = np.abs(cpu[good]).max(initial=0)
    error = np.abs(ours[good] - cpu[good]).max(initial=0)
    assert error <= ROUNDINGS * np.finfo(ours.dtype).eps * size, f"{what}: off by {error}"


def values(name, sample, arrays):
    """What an op gives on arrays, and whether it is elementwise."""
    nodes = as_list(recorded(name, sample, [_handle.to_node(a) for a in arrays]))
    elementwise = all(type(n) is _ir.Node and n.op is not None and n.op.kind == 1 for n in nodes)
    return [np.array(runtime.value(n)) for n in nodes], elementwise


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", NAMES)
def test_every_op(name, where):
    where = as_device(where)
    for number, sample in enumerate(SAMPLES[name]):
        for dtype in map(np.dtype, DTYPES[where.kind]):
            if sample.shapes and dtype.kind not in sample.kinds:
                continue
            drawn = sample.draw(dtype, seed=number)
            for layout in ("contiguous", "strided") if dtype.name == "float32" else ("contiguous",):
                what = f"{name}, sample {number}, {dtype}, {layout}"
                pairs = [placed(x, layout) for x in drawn]
                try:
                    cpu, exact = values(name, sample, on(la.cpu(), pairs, layout))
                except (TypeError, ValueError) as error:
                    with pytest.raises(type(error)), where:
                        values(name, sample, on(where, pairs, layout))
                    continue
                with where:
                    ours, _ = values(name, sample, on(where, pairs, layout))
                for x, y in zip(ours, cpu, strict=True):
                    if exact and where.kind == "gpu":
                        assert programs.bits(x) == programs.bits(y), what
                    else:
                        check(x, y, what)


def cotangents(name, sample, arrays):
    """Gradients of an op's first result with respect to the inputs that have some."""
    wanted = [arrays[i] for i in sample.gradient]
    for array in wanted:
        array.attach_grad()
    with autograd.record():
        head = as_list(recorded(name, sample, [_handle.to_node(a) for a in arrays]))[0]
    if not head.tracked:  # the imaginary part of something real
        return []
    _handle.from_node(head).backward()
    return [array.grad.numpy() for array in wanted]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", NAMES)
def test_gradients(name, where):
    where = as_device(where)
    for number, sample in enumerate(SAMPLES[name]):
        if not sample.gradient or any(0 in sample.shapes[i] for i in sample.gradient):
            continue
        pairs = [placed(x, "contiguous") for x in sample.draw(np.dtype("f8"), seed=number)]
        cpu = cotangents(name, sample, on(la.cpu(), pairs, "contiguous"))
        with where:
            ours = cotangents(name, sample, on(where, pairs, "contiguous"))
        for x, y in zip(ours, cpu, strict=True):
            check(x, y, f"gradient of {name}, sample {number}")


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("first", range(0, 100, 25))
def test_programs(first, where):
    """Random programs with views, writes and masks; what leaves the device is a copy."""
    where = as_device(where)
    for seed in range(first, first + 25):
        lines = [line for line in writer.write(seed) if "np.asarray" not in line]
        cpu = programs.run(lines, la)
        with where:
            ours = programs.run(lines, la)
        wrong = programs.unequal(ours, cpu, only_bits=where.kind != "gpu")
        assert wrong is None, f"{wrong}\n" + "\n".join(lines)


def lenet():
    """A small convolutional network."""
    return la.nn.Sequential(
        la.nn.Conv2D(4, 5),
        la.nn.Activation("relu"),
        la.nn.MaxPool2D(2),
        la.nn.Flatten(),
        la.nn.Dense(16, activation="tanh"),
        la.nn.Dense(10),
    )


def mlp():
    """A small network of dense layers."""
    return la.nn.Sequential(
        la.nn.Flatten(), la.nn.Dense(32, activation="relu"), la.nn.BatchNorm(), la.nn.Dense(10)
    )


def trained(make, where, steps=4):
    """Losses of a few training steps, and a parameter after them."""
    rng = np.random.default_rng(5)
    images = rng.standard_normal((16, 12, 12, 1)).astype("f4")
    labels = rng.integers(0, 10, 16)
    la.random.seed(3)
    with where:
        net = make()
        net(la.array(images))
        for parameter in net.parameters():
            size = math.prod(parameter.shape)
            fixed = np.linspace(-0.2, 0.2, size, dtype="f4").reshape(parameter.shape)
            parameter.set_data(la.array(fixed))
        optimizer = la.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        losses = []
        for _ in range(steps):
            with autograd.record():
                loss = la.softmax_cross_entropy(net(la.array(images)), la.array(labels)).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, [p.data().numpy() for p in net.parameters()]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("make", [mlp, lenet])
def test_nets(make, where):
    ours, cpu = trained(make, as_device(where)), trained(make, la.cpu())
    np.testing.assert_allclose(ours[0], cpu[0], rtol=1e-4)
    for x, y in zip(ours[1], cpu[1], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)
