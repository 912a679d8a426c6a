"""Convolutions, pooling, normalisation on a stand-in for a GPU: which kernels, what they give."""

import warnings

import blas_stand_in
import cuda_loops
import cudnn_stand_in
import loops
import numpy as np
import pytest
import stand_in

import lazyarray as la
from lazyarray import _bind, autograd, device
from lazyarray.backends import convolutions, cuda, cudnn, driver, products, tasks
from lazyarray.codegen.emit_cuda_images import Images
from lazyarray.errors import FallbackWarning

pytestmark = cuda_loops.needs_compiler
# stride, pad, dilation, groups; images (2, 9, 8, 4), a kernel of (3, 2) or one pixel, 6 outputs
OPTIONS = [
    ((1, 1), (0, 0), (1, 1), 1),
    ((2, 1), (1, 2), (1, 1), 1),
    ((1, 2), (2, 1), (2, 1), 2),
    ((3, 2), (0, 1), (1, 2), 2),
]


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """A device of kind "images" whose backend is a Gpu's."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in.install(patch, tmp_path_factory.mktemp("kernels"))
        patch.setitem(device.openers, "images", cuda.Gpu)
        yield device.as_device("images:0")


@pytest.fixture
def issued(monkeypatch, gpu):
    """The names of kernels and products that are issued."""
    found = []
    launch, multiply = driver.launch, blas_stand_in.Blas.cublasGemmStridedBatchedEx_64

    def launched(*args):
        found.append(args[-1].rsplit("_", 1)[0])
        launch(*args)

    def multiplied(*args):
        found.append("product")
        return multiply(*args)

    def detoured(self, args):
        raise AssertionError(f"{self.label}: computed by the CPU")

    monkeypatch.setattr(driver, "launch", launched)
    monkeypatch.setattr(blas_stand_in.Blas, "cublasGemmStridedBatchedEx_64", multiplied)
    monkeypatch.setattr(tasks.Detour, "issue", detoured)
    return found


def small(rng, shape, dtype):
    """Numbers whose sums are exact in any order."""
    return rng.integers(-4, 5, shape).astype(dtype)


def gradients(where, x, kernel, options):
    """A convolution and its gradients."""
    stride, pad, dilation, groups = options
    with where:
        x, kernel = la.array(x), la.array(kernel)
        x.attach_grad()
        kernel.attach_grad()
        with autograd.record():
            y = la.conv2d(x, kernel, None, stride, pad, dilation, groups)
            loss = (y * y).sum()
        loss.backward()
        return [each.numpy() for each in (y, x.grad, kernel.grad)]


@pytest.mark.parametrize("window", [(3, 2), (1, 1)])
@pytest.mark.parametrize("options", OPTIONS)
def test_convolutions_are_the_cpus(gpu, issued, options, window):
    rng = np.random.default_rng(6)
    for dtype in ("f4", "f8"):
        x = small(rng, (2, 9, 8, 4), dtype)
        kernel = small(rng, (*window, 4 // options[3], 6), dtype)
        for ours, cpu in zip(
            gradients(gpu, x, kernel, options),
            gradients(la.cpu(), x, kernel, options),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, cpu)
    assert issued.count("product") == 6


@pytest.mark.parametrize("window", [(3, 2), (1, 1)])
@pytest.mark.parametrize("options", OPTIONS)
def test_rows_that_take_too_much_memory_pass_in_parts(gpu, issued, monkeypatch, options, window):
    monkeypatch.setattr(convolutions, "ROWS", 2000)
    rng = np.random.default_rng(7)
    x = small(rng, (11, 9, 8, 4), "f4")
    kernel = small(rng, (*window, 4 // options[3], 6), "f4")
    for ours, cpu in zip(
        gradients(gpu, x, kernel, options), gradients(la.cpu(), x, kernel, options), strict=True
    ):
        np.testing.assert_array_equal(ours, cpu)
    parted = window != (1, 1) or options != OPTIONS[0]
    assert (issued.count("product") > 3) == parted


def test_convolutions_without_cublas(gpu, monkeypatch):
    """The library's own products take its place."""
    monkeypatch.setattr(products, "library", lambda: None)
    rng = np.random.default_rng(8)
    for options in OPTIONS:
        x, kernel = small(rng, (3, 9, 8, 4), "f8"), small(rng, (3, 2, 4 // options[3], 6), "f8")
        for ours, cpu in zip(
            gradients(gpu, x, kernel, options), gradients(la.cpu(), x, kernel, options), strict=True
        ):
            np.testing.assert_array_equal(ours, cpu)


def test_convolutions_of_nothing(gpu, issued):
    common = {"stride": (1, 1), "pad": (0, 0), "dilation": (1, 1), "groups": 1}
    for x, kernel in (((0, 5, 5, 2), (3, 3, 2, 4)), ((2, 5, 5, 2), (3, 3, 2, 0))):
        ours = gradients(gpu, np.ones(x, "f4"), np.ones(kernel, "f4"), tuple(common.values()))
        assert [each.shape for each in ours[1:]] == [x, kernel]
        assert not any(each.any() for each in ours)
    ours = gradients(
        gpu, np.ones((2, 5, 5, 0), "f4"), np.ones((3, 3, 0, 4), "f4"), tuple(common.values())
    )
    assert ours[0].shape == (2, 3, 3, 4) and not ours[0].any()
    assert "product" not in issued


@pytest.mark.parametrize("dtype", ["f2", "bfloat16", "f4", "f8"])
def test_pooling_is_one_launch(gpu, issued, dtype):
    rng = np.random.default_rng(9)
    x = la.array(rng.standard_normal((2, 7, 9, 6)), dtype=dtype)
    for window, stride, pad in ((2, 2, 0), (3, 2, 1)):
        for pool, options in (
            (la.max_pool2d, {}),
            (la.avg_pool2d, {}),
            (la.avg_pool2d, {"count_include_pad": False}),
        ):
            found = []
            for where in (gpu, la.cpu()):
                y = x.to(where)
                y.attach_grad()
                issued.clear()
                with autograd.record():
                    out = pool(y, window, stride, pad, **options)
                out.backward()
                found.append((out.to("cpu").tobytes(), y.grad.to("cpu").tobytes()))
                kernels = [name for name in issued if "pool" in name]
                assert len(kernels) == (2 if where == gpu else 0)
            assert found[0] == found[1]


def lenet():
    return la.nn.Sequential(
        la.nn.Conv2D(4, 5, padding=2),
        la.nn.Activation("relu"),
        la.nn.MaxPool2D(2),
        la.nn.Conv2D(6, 3),
        la.nn.Activation("tanh"),
        la.nn.AvgPool2D(2),
        la.nn.Flatten(),
        la.nn.Dense(10),
    )


def trained(make, where, steps, shape=(16, 12, 12, 1)):
    """Losses of some training steps, and the parameters after them."""
    rng = np.random.default_rng(5)
    images, labels = rng.standard_normal(shape).astype("f4"), rng.integers(0, 10, shape[0])
    with where:
        net = make()
        net.initialize(seed=2)
        images, labels = la.array(images), la.array(labels)
        net(images)
        for p in net.parameters():
            fixed = np.linspace(-0.2, 0.2, int(np.prod(p.shape)), dtype="f4")
            p.set_data(la.array(fixed.reshape(p.shape)))
        optimizer = la.optim.SGD(net.parameters(), lr=0.1)
        losses = []
        for _ in range(steps):
            with autograd.record():
                loss = la.softmax_cross_entropy(net(images), labels).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, [p.data().numpy() for p in net.parameters()]


def test_a_step_of_lenet(gpu, issued):
    """Steps are captured from the third on: what they compute stays what the CPU computes."""
    ours, cpu = trained(lenet, gpu, 6), trained(lenet, la.cpu(), 6)
    np.testing.assert_allclose(ours[0], cpu[0], rtol=1e-5)
    for x, y in zip(ours[1], cpu[1], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
    assert issued.count("product") > 0


# ---- cuDNN's frontend


@pytest.fixture
def frontend(monkeypatch, gpu):
    """A stand-in for the module, met by the device for the first time."""
    module = cudnn_stand_in.Module(stand_in.issued)
    monkeypatch.setattr(cudnn, "frontend", lambda: module)
    backend = device.backend_of(device.number_of(gpu))
    monkeypatch.setattr(backend, "cudnn", None)
    _bind.clear_plans()  # those of before have chosen products
    yield module
    _bind.clear_plans()


def compared(gpu, options, dtype="f4", window=(3, 2)):
    """A convolution and its gradients are the CPU's; so small that halves hold each window's."""
    rng = np.random.default_rng(12)
    x = np.sign(small(rng, (2, 9, 8, 4), dtype))
    kernel = np.sign(small(rng, (*window, 4 // options[3], 6), dtype))
    for ours, cpu in zip(
        gradients(gpu, x, kernel, options), gradients(la.cpu(), x, kernel, options), strict=True
    ):
        np.testing.assert_array_equal(ours, cpu)


@pytest.mark.parametrize("options", OPTIONS)
def test_cudnn_computes_convolutions(gpu, issued, frontend, options):
    for _ in range(3):
        compared(gpu, options)
    assert sorted(graph.name for graph in frontend.graphs) == ["dgrad", "fprop", "wgrad"]  # once
    assert frontend.stream == device.backend_of(device.number_of(gpu)).stream.ptr
    for graph in frontend.graphs:
        assert {"NONDETERMINISTIC", "TENSOR_CORE", "DOWN_CONVERT_INPUTS"} <= graph.notes
    assert "product" not in issued


def test_cudnn_is_not_asked_for_products(gpu, issued, frontend):
    compared(gpu, OPTIONS[0], window=(1, 1))
    compared(gpu, OPTIONS[1], dtype="f8")
    assert not frontend.graphs and issued.count("product") == 6


def test_tensor_cores_are_for_halves(gpu, frontend):
    backend = device.backend_of(device.number_of(gpu))
    with backend.lock:
        backend.cudnn = cudnn.Cudnn(backend)
    images = Images((2, 9, 8, 4), (7, 7), (3, 2), (1, 1), (0, 0))
    graph = backend.cudnn.graph("correlate2d", images, 6, "bfloat16")
    assert backend.cudnn.graph("correlate2d", images, 6, "bfloat16") is graph
    assert "NONDETERMINISTIC" in frontend.graphs[0].notes
    assert "TENSOR_CORE" not in frontend.graphs[0].notes


@pytest.mark.parametrize("how", ["refuses", "breaks", "absent"])
def test_products_take_the_place_of_cudnn(gpu, issued, frontend, monkeypatch, how):
    """Where cuDNN has no plan, fails to run it, or is not there: that is told once."""
    setattr(frontend, how, True)
    monkeypatch.setenv("LAZYARRAY_FALLBACK", "warn")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            compared(gpu, OPTIONS[1])
    assert issued.count("product") == 9
    assert len(told) == (1 if how == "absent" else 3)  # for the convolution and each gradient
    assert all(issubclass(each.category, FallbackWarning) for each in told)
    assert all("cuDNN refuses" in str(each.message) for each in told)
    assert len(frontend.graphs) == (0 if how == "absent" else 3)


def test_memory_that_cudnn_cannot_read(gpu, issued, frontend):
    """A view that lies at no multiple of 16 bytes."""
    rng = np.random.default_rng(13)
    x, kernel = small(rng, (1 + 2 * 9 * 8 * 4,), "f4"), small(rng, (3, 2, 4, 6), "f4")
    found = []
    for where in (gpu, la.cpu()):
        images = la.array(x, device=where)[1:].reshape(2, 9, 8, 4)
        found.append(la.conv2d(images, la.array(kernel, device=where)).numpy())
    np.testing.assert_array_equal(*found)


def test_a_module_that_cannot_be_imported(monkeypatch, tmp_path):
    (tmp_path / "broken_cudnn.py").write_text("raise OSError('libcudnn.so: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cudnn, "MODULE", "broken_cudnn")
    monkeypatch.setenv("LAZYARRAY_FALLBACK", "warn")
    cudnn.frontend.cache_clear()
    with pytest.warns(FallbackWarning, match="its module .libcudnn"):
        assert cudnn.frontend() is None
    monkeypatch.setattr(cudnn, "MODULE", "there_is_no_cudnn")
    cudnn.frontend.cache_clear()
    assert cudnn.frontend() is None
    cudnn.frontend.cache_clear()


def test_a_step_of_lenet_by_cudnn(gpu, frontend):
    ours, cpu = trained(lenet, gpu, 6), trained(lenet, la.cpu(), 6)
    np.testing.assert_allclose(ours[0], cpu[0], rtol=1e-5)
    for x, y in zip(ours[1], cpu[1], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
    assert len(frontend.graphs) > 4


@pytest.mark.parametrize("dtype", ["f2", "bfloat16"])
@pytest.mark.parametrize("how", ["cuBLAS", "CuPy", "cuDNN"])
def test_halves_are_convolved_as_they_are(gpu, issued, monkeypatch, request, how, dtype):
    """Sums are float32 and rounded once: exact numbers say so, beside the CPU."""
    module = request.getfixturevalue("frontend") if how == "cuDNN" else None
    if how == "CuPy":
        monkeypatch.setattr(products, "library", lambda: None)
        _bind.clear_plans()
    dtype = la.array([0.0], dtype=dtype).numpy().dtype
    for options in OPTIONS:
        issued.clear()
        compared(gpu, options, dtype)
        assert "la_cast" not in issued
    if module is not None:
        assert {each.kind for graph in module.graphs for each in graph.inputs} == {
            cudnn_stand_in.data_type.HALF if dtype == "f2" else cudnn_stand_in.data_type.BFLOAT16
        }
    _bind.clear_plans()


# ---- normalisation


def normalised(make, where, shape, dtype):
    """A layer's result in training, and its gradients."""
    rng = np.random.default_rng(14)
    x, g = rng.standard_normal(shape), rng.standard_normal(shape)
    with where:
        net = make(dtype=dtype)
        net.initialize(seed=0)
        x, g = la.array(x, dtype=dtype), la.array(g, dtype=dtype)
        x.attach_grad()
        with autograd.record():
            y = net(x)
        y.backward(g)
        slopes = [p.grad for p in net.parameters() if p.grad_req != "null"]
        slopes = [each() if callable(each) else each for each in slopes]
        la.wait_all([y, x.grad, *slopes])
        return [np.array(each.to("cpu")) for each in (y, x.grad, *slopes)]


@pytest.mark.parametrize(
    ("make", "shape", "dtype", "most"),
    [
        (la.nn.BatchNorm, (8, 6, 6, 4), "f4", 6),  # so small that a kernel takes all lines whole
        (la.nn.BatchNorm, (2048, 40), "f4", 12),  # sums in parts, which another launch each joins
        (la.nn.LayerNorm, (200, 64), "f4", 5),
        (la.nn.LayerNorm, (64, 1500), "bfloat16", 5),
    ],
)
def test_normalisation_is_fused(gpu, issued, make, shape, dtype, most):
    """Forward and backward in training: kernels of our own alone, with the CPU's bits."""
    cpu = normalised(make, la.cpu(), shape, dtype)
    issued.clear()
    for ours, theirs in zip(normalised(make, gpu, shape, dtype), cpu, strict=True):
        assert loops.same_bits(ours, theirs)
    launched = [name for name in issued if not name.startswith("la_copy")]
    assert 0 < len(launched) <= most, launched
