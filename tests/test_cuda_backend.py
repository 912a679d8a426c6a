"""The code that drives a GPU, on a stand-in for CuPy: no GPU is tested here."""

import sys

import cuda_loops
import numpy as np
import pytest
import stand_in
from lazyarray._handle import from_node, to_node

import lazyarray as la
from lazyarray import _ir, autograd, device
from lazyarray.backends import cuda, driver, products, replay
from lazyarray.errors import DeviceError, FallbackWarning, OutOfMemoryError
from lazyarray.works import Whole

pytestmark = cuda_loops.needs_compiler
CUPY = cuda.cupy  # before a stand-in takes its place
DATA = np.arange(12.0).reshape(3, 4)


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """A device of kind "stand-in" whose backend is a Gpu's."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in.install(patch, tmp_path_factory.mktemp("kernels"))
        patch.setitem(device.openers, "standin", cuda.Gpu)
        yield device.as_device("standin:0")


@pytest.fixture
def backend(gpu):
    found = device.backend_of(device.number_of(gpu))
    yield found
    found.failure = None
    found.pool.limit = stand_in.MEMORY


def test_elementwise_reductions_and_products(gpu):
    x = la.array(DATA, device=gpu)
    w = la.array(DATA.T.astype(np.float32), device=gpu)
    np.testing.assert_array_equal((x * 2 + 1).numpy(), DATA * 2 + 1)
    np.testing.assert_array_equal(x.sum(axis=0).numpy(), DATA.sum(axis=0))
    np.testing.assert_array_equal(la.softmax(x).numpy(), la.softmax(la.array(DATA)).numpy())
    np.testing.assert_array_equal((x.astype("f4") @ w).numpy(), (DATA @ DATA.T).astype(np.float32))
    np.testing.assert_array_equal(la.tanh(x).T[1].numpy(), la.tanh(la.array(DATA)).T[1].numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64", "complex128"])
def test_products_by_cublas(gpu, backend, dtype):
    rng = np.random.default_rng(0)
    called = backend.xp.blas.calls
    for a, b in [((4, 3), (3, 5)), ((2, 4, 3), (2, 3, 5)), ((2, 3, 0), (2, 0, 5))]:
        data = [rng.integers(-3, 4, each).astype("f4") for each in (a, b)]
        cpu, there = (
            [la.array(x, device=each).astype(dtype) for x in data] for each in (la.cpu(), gpu)
        )
        before = len(called)
        found = there[0] @ there[1]
        np.testing.assert_array_equal(found.numpy(), (cpu[0] @ cpu[1]).numpy())
        turned = (there[1].mT @ there[0].mT).mT
        np.testing.assert_array_equal(turned.numpy(), found.numpy())
        name = "cublasGemmEx_64" if len(a) == 2 else "cublasGemmStridedBatchedEx_64"
        assert called[before:] == [name] * 2 * (0 not in a)


def test_an_operand_in_an_order_that_cublas_cannot_read_is_copied(gpu, backend):
    a = np.arange(24.0).reshape(2, 3, 4)
    given = a.transpose(2, 1, 0)  # neither axis of a matrix has unit steps
    b = np.arange(10.0).reshape(2, 5)
    layouts = [(x.shape, x.strides, x.dtype) for x in (given, np.broadcast_to(b, (4, 2, 5)))]
    layouts.append(((4, 3, 5), (120, 40, 8), b.dtype))
    issue = products.multiply(backend, Whole(None, {}, layouts, None), None)
    out = np.full((4, 3, 5), 77.0)
    issue([x.ctypes.data for x in (given, b, out)])
    np.testing.assert_array_equal(out, given @ b)


def test_products_are_in_graphs_and_what_cannot_be_is_issued(gpu, backend, monkeypatch):
    x, w = la.array(DATA, device=gpu), la.array(DATA.T, device=gpu)
    captured, replayed = (la.stats()[name] for name in ("captured", "replayed"))
    for _ in range(4):
        np.testing.assert_array_equal((x @ w + 1).numpy(), DATA @ DATA.T + 1)
    assert la.stats()["captured"] > captured and la.stats()["replayed"] > replayed

    blas = backend.xp.blas
    monkeypatch.setattr(
        *(blas, "cublasGemmEx_64"),
        lambda *args, call=blas.cublasGemmEx_64: (
            14 if backend.capturing is not None else call(*args)
        ),
    )
    captured = la.stats()["captured"]
    for _ in range(4):
        np.testing.assert_array_equal((x @ w - 3).numpy(), DATA @ DATA.T - 3)
    assert la.stats()["captured"] == captured
    assert backend.turns.alone is None and stand_in.Graph.recording is None


@pytest.mark.parametrize(
    ("dtype", "rows", "finds"),
    [("bfloat16", 7, True), ("float32", 7, True), ("float32", 8, False), ("float64", 7, True)],
)
def test_a_product_with_a_line_is_one_call(gpu, backend, monkeypatch, dtype, rows, finds):
    rng = np.random.default_rng(0)
    data = [rng.integers(-3, 4, shape).astype("f4") for shape in ((rows, 5), (5, 6), (6,))]
    wanted = [la.array(x).astype(dtype) for x in data]
    wanted[1] = la.array(wanted[1].T).T  # a weight that lies transposed
    x, w, line = (la.array(each, device=gpu) for each in wanted)
    light = backend.xp.light
    monkeypatch.setattr(light, "finds", finds)
    for call in (lambda x, w, line: x @ w + line, lambda x, w, line: line + x @ w):
        before = light.calls
        for _ in range(3):  # the third one is a graph
            np.testing.assert_array_equal(call(x, w, line).numpy(), call(*wanted).numpy())
        assert (light.calls > before) == (finds and dtype != "float64")


def test_what_no_line_is_added_to(gpu, backend):
    x, w = la.array(DATA, device=gpu), la.array(DATA.T.copy(), device=gpu)
    called, y = backend.xp.light.calls, DATA @ DATA.T
    product = x @ w
    kept = product + w[0]
    np.testing.assert_array_equal(kept.numpy(), y + DATA.T[0])
    np.testing.assert_array_equal(product.numpy(), y)
    np.testing.assert_array_equal((x @ w + w[0][:, None]).numpy(), y + DATA.T[0][:, None])
    np.testing.assert_array_equal((x @ w + w[:3]).numpy(), y + DATA.T[:3])
    np.testing.assert_array_equal((x @ w + 1).numpy(), y + 1)
    assert backend.xp.light.calls == called


def test_views_writes_and_indices(gpu):
    x, wanted = la.array(DATA, device=gpu), DATA.copy()
    x[1:] += x[:-1]
    wanted[1:] += wanted[:-1]
    x[:, ::2] = 7
    wanted[:, ::2] = 7
    x[[0, 2, 0]] = x[[1, 1, 2]] + np.arange(3.0)[:, None]
    wanted[[0, 2, 0]] = wanted[[1, 1, 2]] + np.arange(3.0)[:, None]
    np.testing.assert_array_equal(x.numpy(), wanted)
    np.testing.assert_array_equal(la.sort(-x, axis=1).numpy(), np.sort(-wanted, axis=1))
    np.testing.assert_array_equal(x[x > 7].numpy(), wanted[wanted > 7])
    with pytest.raises(IndexError, match=r"out of bounds for axis 0 with size 3|of size 3"):
        x[la.array([9], device=gpu)].numpy()
    la.add.at(x, [0, 2, 0], 1.5)
    np.add.at(wanted, [0, 2, 0], 1.5)
    np.testing.assert_array_equal(x.numpy(), wanted)
    np.testing.assert_array_equal(la.take(x, [3, 1], axis=1).numpy(), wanted[:, [3, 1]])
    tall = np.arange(2.0 * 5000).reshape(2, 5000)
    np.testing.assert_array_equal(
        la.cumsum(la.array(tall, device=gpu), axis=0).numpy(), np.cumsum(tall, axis=0)
    )


def test_a_training_step(gpu):
    def trained(where):
        with where:
            w = la.array(DATA.T / 10)
            x, y = la.array(DATA), la.array(np.eye(3))
            w.attach_grad()
            for step in range(3):
                with autograd.record():
                    loss = la.softmax_cross_entropy(x @ w, la.argmax(y, axis=1)).sum()
                loss.backward()
                w -= 0.1 / (step + 1) * w.grad
            return w.numpy()

    np.testing.assert_allclose(trained(gpu), trained(la.cpu()), rtol=1e-13)


def test_numbers_are_written_once_and_in_turn(gpu, backend):
    x = la.array(DATA, device=gpu)
    for i in range(5):
        np.testing.assert_array_equal((x * (i % 2 + 2.5)).numpy(), DATA * (i % 2 + 2.5))
    assert len(backend.numbers.place) < 60
    cuda_numbers = cuda.Numbers(backend)
    places = {cuda_numbers.address(i.to_bytes(16, "little")) for i in range(cuda.NUMBERS)}
    assert len(places) == cuda.NUMBERS
    first = cuda_numbers.address((0).to_bytes(16, "little"))
    assert cuda_numbers.address((10**9).to_bytes(16, "little")) == first
    assert cuda_numbers.address((0).to_bytes(16, "little")) != first


def test_fallback_is_told(gpu, monkeypatch):
    monkeypatch.setenv("LAZYARRAY_FALLBACK", "warn")
    with pytest.warns(FallbackWarning, match="packbits: has no kernel"):
        found = la.packbits(la.array(DATA > 5, device=gpu)).numpy()
    np.testing.assert_array_equal(found, np.packbits(DATA > 5))


def test_all_that_the_cpu_computes_comes_back(gpu):
    """A program of two results that has no kernel."""
    digamma = _ir.registry["digamma"]
    found = []
    for where in (gpu, la.cpu()):
        x = to_node(la.array(DATA + 1, device=where))
        y = digamma(x)
        found.append([from_node(y), from_node(y * 2 - x)])
        la.eval(*found[-1])
    for mine, wanted in zip(*found, strict=True):
        np.testing.assert_array_equal(mine.numpy(), wanted.numpy())


def test_out_of_memory(gpu, backend):
    x = la.array(DATA, device=gpu)
    la.eval(x)
    backend.pool.limit = backend.pool.used + 10_000
    with pytest.raises(OutOfMemoryError, match="no memory for 8000000 bytes"):
        la.eval(la.ones((1000, 1000), device=gpu) + 1)
    np.testing.assert_array_equal((x + 1).numpy(), DATA + 1)


def test_out_of_memory_gives_up_what_is_kept_and_names_the_holders(gpu, backend, monkeypatch):
    x = la.array(np.ones((50, 50)), device=gpu)
    for _ in range(4):  # captured
        la.eval(x * 2.5)
    asked = []
    monkeypatch.setattr(
        backend.pool, "free_all_blocks", lambda: asked.append(len(backend.arrivals.blocks))
    )
    backend.pool.limit = backend.pool.used + 10_000
    with pytest.raises(OutOfMemoryError, match=r"float64\[50, 50\], held by array.*test_cuda"):
        la.eval(la.ones((1000, 1000), device=gpu) + 1)
    assert asked == [0]  # once, after the rest
    graphs = [g for each in replay.every if each.backend is backend for g in each.met.values()]
    assert not any(graphs)
    backend.pool.limit = stand_in.MEMORY
    np.testing.assert_array_equal((x * 2.5).numpy(), np.full((50, 50), 2.5))


def test_a_lost_context_is_named_from_then_on(gpu, backend, monkeypatch):
    x = la.array(DATA, device=gpu)
    la.eval(x)

    def faulty(*args):
        raise driver.DriverError(700, "elements: an illegal memory access was encountered (700)")

    with monkeypatch.context() as patch:
        patch.setattr(driver, "launch", faulty)
        with pytest.raises(DeviceError, match="illegal memory access"):
            (x + 17).numpy()
    with pytest.raises(DeviceError, match="Restart the process"):
        (x + 1).numpy()
    assert (la.array(DATA) + 1).sum().item() == DATA.sum() + 12


def test_a_forked_process_is_refused(gpu, backend, monkeypatch):
    monkeypatch.setattr(backend, "process", -1)
    with pytest.raises(DeviceError, match="forked"):
        la.eval(la.ones(3, device=gpu) + 1)


def test_without_cupy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cuda, "cupy", CUPY)
    CUPY.cache_clear()
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"lazyarray-engine\[cuda\]"):
        cuda.Gpu(0)
    assert cuda.count() == 0
    CUPY.cache_clear()
