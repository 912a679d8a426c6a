"""Kernels of users: signatures, both sources, gradients, mistakes."""

import copy
import pickle
import threading

import cuda_loops
import numpy as np
import pytest
import stand_in

import lazyarray as la
from lazyarray import autograd, device, runtime
from lazyarray.backends import cuda
from lazyarray.backends.simulated import simulated
from lazyarray.codegen import nvrtc
from lazyarray.errors import (
    DeviceError,
    DTypeError,
    FallbackWarning,
    GradientError,
    OptionError,
    ShapeError,
    SourceError,
)

AXPY = """
extern "C" __global__ void axpy(T a, const T* x, const T* y, T* z, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) z[i] = a * x[i] + y[i];
}
"""
SIGNATURE = "a: T, x: T[n], y: T[n] -> z: T[n]"
# One block for each row; the threads of a block share what they have found.
EXTREMES = """
template <class V> __device__ V larger(V a, V b) { return a < b ? b : a; }
extern "C" __global__ void extremes(const float* x, float* most, int* place, long long m,
                                    long long n) {
    __shared__ float best[32];
    const float* row = x + blockIdx.x * n;
    float own = row[0];
    for (long long j = threadIdx.x; j < n; j += blockDim.x) own = larger(own, row[j]);
    best[threadIdx.x] = own;
    __syncthreads();
    if (threadIdx.x) return;
    for (unsigned k = 1; k < blockDim.x; k++) own = larger(own, best[k]);
    most[blockIdx.x] = own;
    for (long long j = n - 1; j >= 0; j--)
        if (row[j] == own) place[blockIdx.x] = (int)j;
}
"""


def axpy_on_cpu(a, x, y, z):
    np.add(a * x, y, out=z)


def extremes_on_cpu(x, most, place):
    most[...] = x.max(axis=1)
    place[...] = x.argmax(axis=1)


@pytest.fixture
def axpy():
    return la.kernel(SIGNATURE, cuda=AXPY, cpu=axpy_on_cpu)


@pytest.fixture
def extremes():
    return la.kernel(
        "x: float32[m, n] -> most: float32[m], place: int32[m]",
        cuda=EXTREMES,
        cpu=extremes_on_cpu,
        grid=lambda m, n: (m, 32),
    )


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """A device of kind "kernel-gpu" whose backend is a Gpu's."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in.install(patch, tmp_path_factory.mktemp("kernels"))
        patch.setitem(device.openers, "kernelgpu", cuda.Gpu)
        yield device.as_device("kernelgpu:0")


# ---- what it computes


@pytest.mark.parametrize("where", ["cpu", "simulated:0"])
def test_it_is_recorded_and_runs_where_its_inputs_lie(axpy, extremes, where):
    x = la.array([1.0, 2.0, 3.0], device=where)
    z = axpy(2, x + 1, y=x[::-1]) * 10
    assert str(z.device) == where and axpy.name == "axpy"
    np.testing.assert_array_equal(z.numpy(), (2 * np.array([2, 3, 4]) + [3, 2, 1]) * 10.0)
    table = la.array(np.sin(np.arange(24.0)).reshape(4, 6), "f4", device=where)
    most, place = extremes(table)
    assert (most.dtype, place.dtype, place.device) == (np.float32, np.int32, table.device)
    np.testing.assert_array_equal(most.numpy(), table.numpy().max(axis=1))
    np.testing.assert_array_equal((place + 1).numpy(), table.numpy().argmax(axis=1) + 1)


@cuda_loops.needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_cuda_source(axpy, extremes, gpu, dtype):
    x = np.arange(1000).astype(dtype)
    ours = axpy(3, la.array(x, device=gpu), la.array(x[::-1], device=gpu))
    assert ours.device == gpu and ours.dtype == dtype
    np.testing.assert_array_equal(ours.numpy(), 3 * x + x[::-1])
    table = np.sin(np.arange(350.0, dtype=np.float32)).reshape(7, 50)
    for _ in range(4):  # captured, and launched again
        most, place = extremes(la.array(table, device=gpu) * 2)
        np.testing.assert_array_equal(place.numpy(), table.argmax(axis=1))
        np.testing.assert_array_equal(most.numpy(), 2 * table.max(axis=1))


@cuda_loops.needs_compiler
def test_numbers_in_memory_are_data(gpu):
    source = """
extern "C" __global__ void decay(const float* x, const float* rate, float* y, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] * *rate;
}
"""
    decay = la.kernel("x: float32[n], rate: float32[] -> y: float32[n]", cuda=source)
    x = la.array([1.0, 2.0], "f4", device=gpu)
    la.eval(x)
    decay(x, 0.5).numpy()
    before = runtime.stats()["lowerings"]
    for rate in (1.5, 2.5, la.array(3.5, "f4"), np.float32(4.5)):
        assert decay(x, rate).tolist() == [float(rate), 2 * float(rate)]
    assert runtime.stats()["lowerings"] <= before + 1


@cuda_loops.needs_nvrtc
@pytest.mark.parametrize("capability", [80, 90, 120])
def test_cuda_sources_compile(axpy, extremes, capability):
    assert axpy.compile(1, la.ones(3, "f4"), la.ones(3, "f4"), capability=capability)
    assert axpy.compile(1, la.ones(3), la.ones(3), capability=capability)
    assert extremes.compile(la.ones((2, 3), "f4"), capability=capability)


def test_shapes_follow_from_the_inputs():
    def falls(x, out):
        out[...] = x[:-1] - x[1:]

    steps = la.kernel("x: T[n] -> y: T[n - 1]", cpu=falls)
    np.testing.assert_array_equal(steps(la.array([5, 3, 4])).numpy(), [2, -1])
    with pytest.raises(ShapeError, match="shape"):
        steps(la.zeros(0))
    fill = la.kernel("v: float32, n: int64 -> y: float32[2 * n, 3]", cpu=full, name="fill")
    assert fill(v=1.5, n=2).tolist() == [[1.5] * 3] * 4
    with simulated(0):
        assert fill(1.5, 1).device == simulated(0)
    both = la.kernel("x: T[...], y: T[...] -> z: T[...]", cpu=lambda x, y, z: np.add(x, y, out=z),
                     name="both")  # fmt: skip
    assert both(la.ones((2, 3, 4)), la.ones((2, 3, 4))).shape == (2, 3, 4)
    assert both(la.array(1.0), la.array(2.0)).item() == 3
    with pytest.raises(ShapeError, match=r"where \.\.\. is \(2, 3\)"):
        both(la.ones((2, 3)), la.ones((3, 2)))


def full(v, n, y):
    y[...] = v


def test_zeros_of_both_signs_are_two_numbers():
    fill = la.kernel("v: float64 -> y: float64[2]", cpu=lambda v, y: y.fill(v), name="fill")
    assert not np.signbit(fill(0.0).numpy()).any()
    assert np.signbit(fill(-0.0).numpy()).all()


def test_gradients(axpy):
    x = la.array([1.0, 2.0])
    with pytest.raises(GradientError, match="axpy"):
        la.grad(lambda x: axpy(2, x, x).sum())(x)

    @axpy.vjp
    def _(g, z, a, x, y):
        return a * g, g

    assert la.grad(lambda x: (axpy(2, x, x) ** 2).sum())(x).tolist() == [18.0, 36.0]
    cube = la.kernel("x: T[n] -> y: T[n]", cpu=lambda x, y: np.power(x, 3, out=y), name="cube")
    cube.vjp(lambda g, y, x: 3 * g * x * x)
    slope = la.grad(lambda x: cube(x).sum())
    assert slope(x).tolist() == [3.0, 12.0]
    assert la.grad(lambda x: slope(x).sum())(x).tolist() == [6.0, 12.0]


def test_gradients_of_several_outputs():
    split = la.kernel(
        "x: T[n] -> double: T[n], half: T[n]",
        cpu=lambda x, double, half: (np.multiply(x, 2, out=double), np.divide(x, 2, out=half)),
        name="split",
    )

    @split.vjp
    def _(g, y, x):
        return 2 * g[0] + g[1] / 2

    x = la.array([1.0, 3.0])
    x.attach_grad()
    with autograd.record():
        double, half = split(x)
        loss = (double * half).sum()
    loss.backward()
    assert loss.item() == 10 and x.grad.tolist() == [2.0, 6.0]


def test_gradients_of_outputs_of_several_dtypes():
    def best(x, most, place, double):
        most[...], place[...], double[...] = x.max(), x.argmax(), 2.0 * x

    most = la.kernel(
        "x: float32[n] -> most: float32[], place: int32[], double: float64[n]", cpu=best,
        name="most",
    )  # fmt: skip
    x = la.array([1.0, 5.0, 3.0], "f4")

    def loss(x):
        value, place, double = most(x)
        return value**2 * (place + 1.0) + (double * x).sum()

    with pytest.raises(GradientError, match="kernel most has no gradient"):
        la.grad(loss)(x)
    seen = []

    @most.vjp
    def _(g, y, x):
        seen.append(g)
        return g[0] * (x == y[0]) + 2 * g[2].astype("f4")

    assert la.grad(loss)(x).tolist() == [4.0, 40.0, 12.0]
    assert seen[0][1] is None and seen[0][2].dtype == np.float64
    # Where one output is not used its cotangent is zero; and gradients have gradients.
    assert la.grad(lambda x: most(x)[0] ** 3)(x).tolist() == [0.0, 75.0, 0.0]
    twice = la.grad(lambda x: la.grad(lambda x: most(x)[0] ** 3)(x).sum())
    assert twice(x).tolist() == [0.0, 30.0, 0.0]
    step = la.jit(la.grad(loss))
    for _ in range(3):
        assert step(x).tolist() == [4.0, 40.0, 12.0]
    first, rest = la.kernel(
        "x: float32[4] -> y: float32[4], z: float32[0]", cpu=lambda x, y, z: np.add(x, 1, out=y),
        name="first",
    )(la.ones(4, "f4"))  # fmt: skip
    assert first.tolist() == [2.0] * 4 and rest.shape == (0,)


@pytest.mark.parametrize(
    ("found", "cls", "said"),
    [
        (lambda g: g, GradientError, "returned 1 cotangents, the arrays are x, y"),
        (lambda g: (g, g, g), GradientError, "returned 3 cotangents"),
        (lambda g: (g.sum(), None), ShapeError, r"cotangent of x has shape \(\), x \(3,\)"),
        (lambda g: (g, g[None]), ShapeError, r"cotangent of y has shape \(1, 3\)"),
    ],
)
def test_rules_that_do_not_fit(axpy, found, cls, said):
    axpy.vjp(lambda g, z, a, x, y: found(g))
    with pytest.raises(cls, match=said):
        la.grad(lambda x: axpy(2, x, x).sum())(la.ones(3))


def cube_on_cpu(x, y):
    np.power(x, 3, out=y)


def cube_rule(g, y, x):
    return 3 * g * x * x


def test_copies_and_pickles(axpy):
    assert copy.copy(axpy) is axpy and copy.deepcopy([axpy])[0] is axpy
    cube = la.kernel("x: T[n] -> y: T[n]", cpu=cube_on_cpu, name="cube")
    cube.vjp(cube_rule)
    x = la.array([1.0, 2.0])
    cube(x)
    other = pickle.loads(pickle.dumps(cube))
    assert repr(other) == repr(cube) and other(x).tolist() == [1.0, 8.0]
    assert la.grad(lambda x: other(x).sum())(x).tolist() == [3.0, 12.0]
    layer = la.nn.Dense(2)
    layer.kernel = cube
    assert copy.deepcopy(layer).kernel is cube
    with pytest.raises(OptionError, match="cannot be pickled"):
        pickle.dumps(cube.op)


def test_python_numbers_are_weak():
    scale = la.kernel(
        "a: T[], x: T[n] -> y: T[n]", cpu=lambda a, x, y: np.multiply(a, x, out=y), name="scale"
    )
    for dtype in ("f8", "f4", "i4", la.bfloat16):
        y = scale(2, la.ones(3, dtype))
        assert y.dtype == la.ones(1, dtype).dtype and y.tolist() == [2] * 3
    pair = la.kernel("a: T[], b: T[] -> y: T[]", cpu=lambda a, b, y: np.add(a, b, out=y), name="p")
    assert pair(1, 2).dtype == np.int64 and pair(1, 2.5).item() == 3.5
    step = la.jit(lambda k, x: scale(k, x))
    assert [step(k, la.ones(1)).item() for k in (0.5, 1.5, 2.5)] == [0.5, 1.5, 2.5]
    for dtype, value in [("i4", 3.9), ("i1", 300), ("f4", 3j), ("?", 2), ("f4", 10**400)]:
        with pytest.raises(DTypeError, match="a must be a"):
            scale(value, la.ones(3, dtype))


def test_the_cpus_function_cannot_write_to_inputs():
    def spoil(x, y):
        x[...] = 1

    x = la.zeros(2)
    with pytest.raises(ValueError, match="read-only"):
        la.kernel("x: T[n] -> y: T[n]", cpu=spoil)(x).numpy()
    assert x.tolist() == [0.0, 0.0]


def test_kernels_made_by_several_threads():
    failed = []

    def make():
        try:
            for _ in range(200):
                la.kernel("x: T[n] -> y: T[n]", cpu=cube_on_cpu, name="made_by_many")
        except Exception as error:  # of another thread: it goes to the test's own
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failed


def test_under_jit(axpy):
    step = la.jit(lambda x: axpy(2, x, x + 1))
    for i in range(3):
        assert step(la.array([1.0, i])).tolist() == [4.0, 3.0 * i + 1]


# ---- mistakes


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ("x: float32[n]", "has no outputs"),
        ("x: float32[n] -> y: float32", "has no shape"),
        ("x: float32[n] -> x: float32[n]", "a name twice"),
        ("x: float32[n] -> y: float32[m]", "nothing tells 'm'"),
        ("x: float32[n + 1] -> y: float32[n]", "is no name"),
        ("x: float32[n] -> y: float32[n ** 2]", r"none of \+"),
        ("x float32[n] -> y: float32[n]", "no name, dtype and shape"),
        ("x: T[n], n: int64 -> y: T[n]", "'n' is a number and an extent"),
        ("x: T[...], y: T[size] -> z: T[...]", "'size' is what ... is called"),
        ("x: T[...], size: int64 -> z: T[...]", "'size' is what ... is called"),
        ("x: T[..., ...] -> y: T[...]", r"has \.\.\. twice"),
        ("x: T[True] -> y: T[2]", "is no name"),
        ("x: T[n] -> y: T['a']", r"none of \+"),
        ("x: T[n] -> y: T[1.5]", r"none of \+"),
        ("x: T[n] -> y: T[n + True]", r"none of \+"),
        ("x: float[n] -> y: float[n]", "'float' of x is no dtype of ours"),
        ("x: int[n] -> y: int[n]", "'int' of x is no dtype of ours"),
        ("x: char[n] -> y: char[n]", "'char' of x is no dtype of ours"),
    ],
)
def test_signatures_that_are_none(signature, said):
    with pytest.raises(OptionError, match=said):
        la.kernel(signature, cpu=full)


def test_operands_that_do_not_fit(axpy):
    x = la.ones(3)
    for spoil, cls, said in [
        (lambda: axpy(1, x, la.ones(3, "f4")), DTypeError, "signature says T, which is float64"),
        (lambda: axpy(1, x, la.ones(4)), ShapeError, r"says \[n\], where n is 3"),
        (lambda: axpy(1, x, la.ones((3, 1))), ShapeError, r"\(3, 1\)"),
        (lambda: axpy(1, x), DTypeError, "takes a, x, y"),
        (lambda: axpy(1, x, x, x=x), DTypeError, "by name"),
        (lambda: axpy(x.sum(), x, x), DTypeError, "a is a number, got an array"),
        (lambda: axpy("much", x, x), DTypeError, "must be a float64"),
        (lambda: axpy("2", x, x), DTypeError, "must be a float64, got '2'"),
        (lambda: axpy(2j, x, x), DTypeError, "must be a float64, got 2j"),
        (lambda: axpy(1.5, la.ones(2, "i4"), la.ones(2, "i4")), DTypeError, "must be a int32"),
    ]:
        with pytest.raises(cls, match=said):
            spoil()


def test_extents_that_are_none():
    ratio = la.kernel("x: T[n], k: int64 -> y: T[n // k]", cpu=full, name="ratio")
    with pytest.raises(ShapeError, match="divides by 0"):
        ratio(la.ones(4), 0)
    huge = la.kernel("x: T[n] -> y: T[n * 9999999999999999999]", cpu=full, name="huge")
    with pytest.raises(ShapeError, match="would have shape"):
        huge(la.ones(4))
    parts = la.kernel("v: float64 -> y: float64[v]", cpu=full, name="parts")
    with pytest.raises(DTypeError, match="a number that is no integer"):
        parts(2.5)


@pytest.mark.parametrize(
    "head",
    [
        'extern "C" __global__ __launch_bounds__(256) void axpy(',
        'extern "C" __global__ void __launch_bounds__(256, (2)) axpy(',
        'extern "C" void __global__ axpy(',
        'extern  "C" __launch_bounds__(256) __global__ void axpy(',
        '// __global__ void old(\nextern "C" __global__ void axpy(',
        '/* __global__ void old( */ extern "C" __global__ void axpy(',
    ],
)
def test_functions_are_found(head):
    source = AXPY.replace('extern "C" __global__ void axpy(', head)
    found = la.kernel(SIGNATURE, cuda=source)
    assert found.name == "axpy"
    if nvrtc.available():
        assert found.compile(1, la.ones(3), la.ones(3))


@cuda_loops.needs_nvrtc
@pytest.mark.skipif(nvrtc.headers() is None, reason="CUDA's headers are not there")
@pytest.mark.parametrize("dtype", [la.float16, la.bfloat16])
@pytest.mark.parametrize("head", ["", "#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n"])
def test_halves_compile(dtype, head):
    found = la.kernel(SIGNATURE, cuda=head + AXPY)
    assert found.compile(1, la.ones(3, dtype), la.ones(3, dtype))
    wrong = la.kernel(SIGNATURE, cuda=AXPY.replace("a * x", "b * x"))
    with pytest.raises(SourceError, match=r"axpy\.cu\(4\)"):
        wrong.compile(1, la.ones(3, dtype), la.ones(3, dtype))


@cuda_loops.needs_nvrtc
def test_halves_without_headers_say_what_to_do(axpy, monkeypatch):
    monkeypatch.setattr(nvrtc, "headers", lambda: None)
    with pytest.raises(SourceError, match=r"(?s)cuda_fp16\.h.*-IFOLDER; pip install"):
        axpy.compile(1, la.ones(3, "f2"), la.ones(3, "f2"))


@cuda_loops.needs_nvrtc
def test_what_is_included_may_change(tmp_path, monkeypatch):
    monkeypatch.setenv("LAZYARRAY_CACHE", str(tmp_path / "kept"))
    source = '#include "factor.h"\n' + AXPY.replace("a * x[i]", "a * x[i] * FACTOR")
    found = la.kernel(SIGNATURE, cuda=source, options=[f"-I{tmp_path}"])
    made = []
    for factor in (2, 3):
        (tmp_path / "factor.h").write_text(f"#define FACTOR {factor}\n")
        made.append(found.compile(1, la.ones(3), la.ones(3)))
    assert made[0] != made[1]


def test_sources_that_are_none():
    with pytest.raises(OptionError, match="neither"):
        la.kernel(SIGNATURE)
    with pytest.raises(OptionError, match="no function"):
        la.kernel(SIGNATURE, cuda=AXPY, name="other")
    with pytest.raises(OptionError, match='extern "C"'):
        la.kernel(SIGNATURE, cuda=AXPY.replace('extern "C"', ""))
    with pytest.raises(OptionError, match="no name"):
        la.kernel(SIGNATURE, cpu=lambda *a: None)


def test_a_device_without_a_source(gpu, monkeypatch):
    only = la.kernel(SIGNATURE, cuda=AXPY)
    for where in ("cpu", "simulated:0"):
        with pytest.raises(DeviceError, match=f"axpy: has no source for {where}"):
            only(1, la.ones(3, device=where), la.ones(3, device=where))
    monkeypatch.setenv("LAZYARRAY_FALLBACK", "warn")
    host = la.kernel(SIGNATURE, cpu=axpy_on_cpu)
    x = la.array([1.0, 2.0], device=gpu)
    with pytest.warns(FallbackWarning, match="kernel axpy_on_cpu: has no kernel"):
        assert host(2, x, x).tolist() == [3.0, 6.0]


def test_failures_of_the_cpus_function_name_the_line():
    def never(x, y):
        raise ArithmeticError("cannot")

    y = la.kernel("x: T[n] -> y: T[n]", cpu=never)(la.ones(2))
    with pytest.raises(ArithmeticError, match="cannot") as raised:
        y.numpy()
    assert "test_kernel.py" in raised.value.__notes__[0]


@cuda_loops.needs_nvrtc
def test_a_source_that_does_not_compile_names_the_line(gpu, monkeypatch):
    wrong = la.kernel(SIGNATURE, cuda=AXPY.replace("a * x", "b * x"))
    with pytest.raises(SourceError, match=r'(?s)axpy\.cu\(4\): error: identifier "b".*z\[i\] = b'):
        wrong.compile(1, la.ones(3), la.ones(3))
    # The same at the call, where NVRTC compiles for the device.
    monkeypatch.setattr(
        cuda.Gpu, "kernel", lambda self, source: cuda.source_code(source, self.capability)
    )
    with pytest.raises(SourceError, match=r"axpy\.cu\(4\)"):
        wrong(1, la.ones(3, device=gpu), la.ones(3, device=gpu))
