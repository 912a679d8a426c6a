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
from lazyarray import _bind, _handle, _ir, autograd, device, runtime
from lazyarray.backends import cudnn
from lazyarray.device import as_device

WHERE = ["simulated:0", pytest.param("gpu:0", marks=pytest.mark.gpu)]
DTYPES = {
    "gpu": ("float32", "float64", "int32", "bool", "complex64", "float16", "bfloat16"),
    "simulated": ("float32", "int32"),
}
PARTITIONS = ("partition", "argpartition")
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
    assert ours.dtype.kind in "fcV", f"{what}: {ours} is not {cpu}"
    eps = float(la.finfo(ours.dtype).eps)
    ours, cpu = (x.astype("f4") if x.dtype == la.bfloat16 else x for x in (ours, cpu))
    good = np.isfinite(cpu)
    assert np.array_equal(np.isfinite(ours), good), f"{what}: {ours} is not {cpu}"
    size = np.abs(cpu[good]).max(initial=0)
    error = np.abs(ours[good] - cpu[good]).max(initial=0)
    assert error <= ROUNDINGS * eps * size, f"{what}: off by {error}"


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
                    elif name in PARTITIONS and where.kind == "gpu":  # in any order
                        check(np.sort(x, axis=None), np.sort(y, axis=None), what)
                    else:
                        check(x, y, what)


# ---- products


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_products(where, dtype):
    """Every layout that BLAS reads, and batches: in the precision that the dtype promises."""
    where = as_device(where)
    rng = np.random.default_rng(0)
    for batch, m, k, n in [((), 33, 70, 5), ((3,), 8, 1, 16), ((2, 3), 17, 129, 31), ((), 1, 9, 1)]:
        a, b = (rng.standard_normal((*batch, *each)) for each in ((m, k), (k, n)))
        if dtype == "complex64":
            a = a + 1j * rng.standard_normal(a.shape)
        x, y = la.array(a, device=where).astype(dtype), la.array(b, device=where).astype(dtype)
        a, b = (np.asarray(each).astype("c16" if dtype == "complex64" else "f8") for each in (x, y))
        eps = float(la.finfo(x.dtype).eps)
        bound = 4 * k * eps * (abs(a) @ abs(b))
        wide = la.concatenate([y, y], axis=-1)[..., :n]
        turned = la.array(x.mT), la.array(y.mT)
        la.eval(*turned)
        for found in (x @ y, x @ wide, turned[0].mT @ y, x @ turned[1].mT, (y.mT @ x.mT).mT):
            assert found.dtype == x.dtype
            assert (abs(np.asarray(found).astype(a.dtype) - a @ b) <= bound).all()
        line = np.arange(n) - 2.0
        found = x @ y + la.array(line, device=where).astype(dtype)  # one call, where there is one
        assert (
            abs(np.asarray(found).astype(a.dtype) - (a @ b + line)) <= bound + 4 * eps * n
        ).all()
    assert (la.ones((2, 0), dtype, device=where) @ la.ones((0, 3), dtype, device=where)).sum() == 0


@pytest.mark.parametrize("where", WHERE)
def test_sums_of_products_are_float32_and_factors_are_not_rounded(where):
    where = as_device(where)
    for dtype in ("bfloat16", "float16"):
        ones = la.ones((3, 4096), dtype, device=where)
        assert ((ones @ ones.T).astype("f4").numpy() == 4096).all()
    x = np.full((64, 64), 1 + 2.0**-20, "f4")  # TensorFloat-32 has 10 bits
    found = la.array(x, device=where) @ la.eye(64, dtype="f4", device=where)
    np.testing.assert_array_equal(found.numpy(), x)


@pytest.mark.parametrize("where", WHERE)
def test_products_are_captured_and_have_the_same_bits_each_time(where):
    where = as_device(where)
    rng = np.random.default_rng(0)
    x, w = (la.array(rng.standard_normal((300, 300)), "f4", device=where) for _ in range(2))
    la.eval(x, w)
    replayed, bits = la.stats()["replayed"], set()
    for _ in range(6):
        bits.add((x @ w * 0.5).numpy().tobytes())
    assert len(bits) == 1 and la.stats()["replayed"] > replayed


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_floats(where, dtype, monkeypatch):
    """What the CPU gives, without its help."""
    where = as_device(where)
    monkeypatch.setenv("LAZYARRAY_FALLBACK", "error")
    data = np.random.default_rng(0).integers(-40, 40, (5, 60)) / 8
    data[1, 2] = np.nan
    cpu = la.array(data).astype(dtype)
    x = la.array(data, device=where).astype(dtype)
    for name in ("max", "min", "argmax", "sum", "any", "sort", "argsort", "cumsum"):
        check(*(getattr(la, name)(each[2:], axis=1).numpy() for each in (x, cpu)), name)
    for call in (
        lambda v: v[v > 1], lambda v: la.median(v, axis=0), lambda v: la.quantile(v[2:], 0.3),
        lambda v: la.sort(la.partition(v, 7)), lambda v: la.softmax(v[2:], axis=1),
        lambda v: la.searchsorted(la.sort(v[0]), v[3]), lambda v: v[2:].T @ v[2:],
    ):  # fmt: skip
        check(call(x).numpy(), call(cpu).numpy(), dtype)


# ---- gradients


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


POOLS = [
    ((4, 28, 28, 16), 2, None, 0),
    ((4, 27, 31, 24), 3, 2, 1),
    ((2, 30, 30, 3), (3, 2), (1, 2), (1, 0)),
    ((2, 56, 56, 1), 5, 3, 2),
]
CONVOLUTIONS = [  # images, kernel, stride, pad, dilation, groups
    ((4, 28, 28, 1), (5, 5, 1, 6), 1, 2, 1, 1),
    ((4, 14, 14, 32), (3, 3, 32, 64), 1, 1, 1, 1),
    ((4, 28, 28, 64), (1, 1, 64, 32), 1, 0, 1, 1),
    ((2, 29, 27, 16), (3, 3, 16, 24), 2, 1, 1, 1),
    ((2, 20, 21, 16), (3, 2, 4, 32), (1, 2), (2, 1), (2, 1), 4),
    ((2, 16, 16, 8), (3, 3, 1, 8), 1, 1, 1, 8),
]


def with_gradients(where, function, *arrays):
    """What a function gives on a device, and its gradients."""
    with where:
        arrays = [la.array(x) for x in arrays]
        for x in arrays:
            x.attach_grad()
        with autograd.record():
            y = function(*arrays)
        y.backward(la.array(np.random.default_rng(9).standard_normal(y.shape).astype(y.dtype)))
        return [each.numpy() for each in (y, *(x.grad for x in arrays))]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("dtype", ["f2", "bfloat16", "f4", "f8"])
@pytest.mark.parametrize("pool", POOLS)
def test_pooling_has_the_bits_of_the_cpu(where, dtype, pool):
    shape, *options = pool
    dtype = la.array([0.0], dtype=dtype).numpy().dtype
    x = np.random.default_rng(8).standard_normal(shape).round(1).astype(dtype)
    for function in (
        lambda x: la.max_pool2d(x, *options),
        lambda x: la.avg_pool2d(x, *options),
        lambda x: la.avg_pool2d(x, *options, count_include_pad=False),
    ):
        ours = with_gradients(as_device(where), function, x)
        for found, cpu in zip(ours, with_gradients(la.cpu(), function, x), strict=True):
            assert found.tobytes() == cpu.tobytes()


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("dtype", ["f2", "bfloat16", "f4", "f8"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions(where, dtype, case):
    """By cuDNN where it is installed, else by products; twice the same bits."""
    shape, window, *options = case
    dtype = la.array([0.0], dtype=dtype).numpy().dtype
    rng = np.random.default_rng(8)
    x, kernel = (rng.standard_normal(each).astype(dtype) for each in (shape, window))

    def function(x, kernel):
        return la.conv2d(x, kernel, None, *options)

    ours = with_gradients(as_device(where), function, x, kernel)
    again = with_gradients(as_device(where), function, x, kernel)
    assert [each.tobytes() for each in ours] == [each.tobytes() for each in again]
    for found, cpu in zip(ours, with_gradients(la.cpu(), function, x, kernel), strict=True):
        found, cpu = found.astype("f8"), cpu.astype("f8")
        precision = {2: 2.0**-7 if dtype != "f2" else 2.0**-10, 4: 2.0**-23, 8: 2.0**-52}
        error = np.abs(found - cpu).max()
        assert error <= ROUNDINGS * precision[dtype.itemsize] * np.abs(cpu).max()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["f2", "bfloat16", "f4"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_cudnn_and_products_agree(monkeypatch, dtype, case):
    """The same convolutions where cuDNN is kept away; `LAZYARRAY_FALLBACK=warn` tells refusals."""
    pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    shape, window, *options = case
    dtype = la.array([0.0], dtype=dtype).numpy().dtype
    rng = np.random.default_rng(8)
    x, kernel = (rng.standard_normal(each).astype(dtype) for each in (shape, window))

    def function(x, kernel):
        return la.conv2d(x, kernel, None, *options)

    where = as_device("gpu:0")
    by_cudnn = with_gradients(where, function, x, kernel)
    backend = device.backend_of(device.number_of(where))
    with monkeypatch.context() as patch:
        patch.setattr(cudnn, "frontend", lambda: None)
        patch.setattr(backend, "cudnn", None)
        _bind.clear_plans()
        by_products = with_gradients(where, function, x, kernel)
    _bind.clear_plans()
    precision = {"f2": 2.0**-10, "f4": 2.0**-23}.get(dtype.str[1:], 2.0**-7)
    for a, b in zip(by_cudnn, by_products, strict=True):
        a, b = a.astype("f8"), b.astype("f8")
        assert np.abs(a - b).max() <= ROUNDINGS * precision * np.abs(b).max()
