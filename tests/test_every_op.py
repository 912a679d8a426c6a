"""Every registered op on its samples: against NumPy, and its gradients to second order."""

import importlib
import os
import pkgutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from interpreter import evaluate
from samples import SAMPLES, Sample

import lazyarray as la
import lazyarray.ops
from lazyarray import _ir
from lazyarray.autodiff import gradients
from lazyarray.dtypes import SUPPORTED

for module in pkgutil.iter_modules(lazyarray.ops.__path__):
    importlib.import_module(f"lazyarray.ops.{module.name}")

# Nodes that the array layer makes itself; what they do is tested through views and writes, and
# draws in test_random_streams.py and test_random_lazy.py, transfers in test_devices.py.
STRUCTURE = {"view", "update", "place", "empty", "transfer", "_draw_bytes", "_drawn"}
NAMES = sorted(SAMPLES)
STEP = 1e-6  # of central differences


def placed(x: np.ndarray, layout: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (the memory, a view of it with the values of `x` in the given layout)."""
    if layout == "transposed" and x.ndim:
        memory = np.ascontiguousarray(x.T)
        return memory, memory.T
    if layout == "strided":
        memory = np.zeros([2 * n + 1 for n in x.shape], x.dtype)
        seen = memory[tuple(slice(1, 2 * n, 2) for n in x.shape)][..., ::-1] if x.ndim else memory
        seen[...] = x
        return memory, seen
    if layout == "broadcast" and x.ndim and x.shape[0]:
        memory = np.ascontiguousarray(x[:1])
        return memory, np.broadcast_to(memory, x.shape)
    memory = np.array(x, order="C")
    return memory, memory


LAYOUTS = ("contiguous", "transposed", "strided", "broadcast")
EVERY_LAYOUT = ("float32", "int16", "complex128")  # item sizes of 2, 4 and 16 bytes


def leaf(memory: np.ndarray, seen: np.ndarray, values: dict) -> _ir.Node:
    """Return a node for `seen`, a view of `memory`."""
    base = _ir.placeholder(memory.shape, memory.dtype)
    values[base.serial] = memory
    offset = seen.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
    if not seen.size:
        offset = 0
    return _ir.view(base, seen.shape, seen.strides, offset, offset != 0)


def reference(name: str, sample: Sample, inputs: list[np.ndarray]):
    """Return NumPy's result, or TypeError where NumPy raises it."""
    function = sample.reference or getattr(np, name)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*[np.array(x, order="C") for x in inputs], **sample.attributes)
        except TypeError:
            return TypeError


def recorded(name: str, sample: Sample, nodes: list):
    """Return what the op gives on nodes."""
    op = _ir.registry[name]
    if sample.call is not None:
        return sample.call(op, *nodes, **sample.attributes)
    return op(*nodes, **sample.attributes)


def as_list(result) -> list:
    """Return the outputs of an op as a list."""
    return list(result) if isinstance(result, tuple | list) else [result]


def check_close(got: np.ndarray, wanted, sample: Sample, what: str) -> None:
    """Assert dtype, shape and values, to the sample's tolerance."""
    wanted = np.asarray(wanted)
    assert got.dtype == wanted.dtype, f"{what}: dtype {got.dtype}, NumPy gives {wanted.dtype}"
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, NumPy gives {wanted.shape}"
    same = np.asarray((got == wanted) | ((got != got) & (wanted != wanted)))
    if got.dtype.kind == "f":
        same &= (np.signbit(got) == np.signbit(wanted)) | np.isnan(got)
    if same.all():
        return
    assert got.dtype.kind in "fc", f"{what}: {got} is not {wanted}"
    assert sample.ulp or sample.wide, f"{what}: {got[~same]} has other bits than {wanted[~same]}"
    assert np.array_equal(np.isfinite(got), np.isfinite(wanted)), f"{what}: {got} is not {wanted}"
    good = np.isfinite(got)
    exact = np.complex128 if got.dtype.kind == "c" else np.float64
    error = np.abs(got.astype(exact) - wanted.astype(exact))[good]
    size = np.abs(wanted.astype(exact))[good]
    info = np.finfo(got.dtype)
    limit = sample.ulp * np.maximum(size * info.eps, float(info.smallest_subnormal))
    limit = limit + info.eps * (sample.wide * size.max(initial=0) + sample.offset)
    assert (error <= limit).all(), f"{what}: off by {(error / limit).max()} of the tolerance"


def tried_dtypes(sample: Sample):
    """Yield the dtypes that a sample is drawn in."""
    for dtype in SUPPORTED:
        if dtype.kind in sample.kinds:
            yield dtype
        if not sample.shapes:
            return


def test_every_op_has_a_row():
    missing = set(_ir.registry) - STRUCTURE - set(SAMPLES)
    assert not missing, f"no samples for {sorted(missing)}; add a row to tests/samples.py"
    unknown = set(SAMPLES) - set(_ir.registry)
    assert not unknown, f"samples for ops that do not exist: {sorted(unknown)}"


@pytest.mark.parametrize("name", NAMES)
def test_values(name):
    for number, sample in enumerate(SAMPLES[name]):
        for dtype in tried_dtypes(sample):
            drawn = sample.draw(dtype, seed=number)
            for layout in LAYOUTS if dtype.name in EVERY_LAYOUT else LAYOUTS[:1]:
                what = f"{name}, sample {number}, {dtype}, {layout}"
                values: dict = {}
                pairs = [placed(x, layout) for x in drawn]
                nodes = [leaf(memory, seen, values) for memory, seen in pairs]
                wanted = reference(name, sample, [seen for _, seen in pairs])
                if wanted is TypeError:
                    with pytest.raises(TypeError):
                        recorded(name, sample, nodes)
                        pytest.fail(f"{what}: NumPy raises TypeError")
                    continue
                heads = as_list(recorded(name, sample, nodes))
                found = evaluate(heads, values)
                if wanted is None:
                    continue
                results = (
                    as_list(wanted) if len(heads) > 1 or isinstance(wanted, list) else [wanted]
                )
                assert len(results) == len(heads)
                for got, expected in zip(found, results, strict=True):
                    check_close(got, expected, sample, what)


# ---- arrays


def arranged(memory: np.ndarray, seen: np.ndarray, layout: str):
    """Return an array that sees a copy of `memory` the way `seen` does."""
    array = la.array(memory)
    if layout == "transposed":
        return array.T
    if layout == "strided" and seen.ndim:
        return array[tuple(slice(1, 2 * n, 2) for n in seen.shape)][..., ::-1]
    if layout == "broadcast" and memory.shape != seen.shape:
        return la.broadcast_to(array, seen.shape)
    return array


def run_arrays(name: str, sample: Sample, pairs: list, layout: str) -> list[np.ndarray]:
    """Return what the function of arrays gives."""
    function = getattr(la, name)
    arrays = [arranged(memory, seen, layout) for memory, seen in pairs]
    if sample.call is not None:
        found = sample.call(function, *arrays, **sample.attributes)
    else:
        found = function(*arrays, **sample.attributes)
    return [np.asarray(x) for x in as_list(found)]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Say whether two arrays are equal, bit by bit, any NaN being like any other."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind in "fc":
        part = a.real.dtype
        a, b = (np.ascontiguousarray(x).reshape(-1).view(part) for x in (a, b))
        return np.array_equal(
            a.view(f"u{part.itemsize}")[a == a], b.view(f"u{part.itemsize}")[b == b]
        )
    return np.array_equal(a, b)


@pytest.fixture
def engine():
    yield la.set_engine
    la.set_engine("threaded")


@pytest.mark.parametrize("name", [n for n in NAMES if any(s.arrays for s in SAMPLES[n])])
@pytest.mark.usefixtures("quiet_floats")  # as the reference is
def test_arrays(name, engine):
    for number, sample in enumerate(SAMPLES[name]):
        if not sample.arrays:
            continue
        for dtype in tried_dtypes(sample):
            drawn = sample.draw(dtype, seed=number)
            for layout in LAYOUTS if dtype.name in EVERY_LAYOUT else LAYOUTS[:1]:
                what = f"{name}, sample {number}, {dtype}, {layout}"
                pairs = [placed(x, layout) for x in drawn]
                wanted = reference(name, sample, [seen for _, seen in pairs])
                if wanted is TypeError:
                    with pytest.raises(TypeError):
                        run_arrays(name, sample, pairs, layout)
                    continue
                engine("threaded")
                found = run_arrays(name, sample, pairs, layout)
                engine("naive")
                again = run_arrays(name, sample, pairs, layout)
                for a, b in zip(found, again, strict=True):
                    assert same_bits(a, b), f"{what}: the engines differ: {a}, {b}"
                if wanted is None:
                    continue
                several = len(found) > 1 or isinstance(wanted, list)
                results = as_list(wanted) if several else [wanted]
                for got, expected in zip(found, results, strict=True):
                    check_close(got, expected, sample, what)


LARGE = (128, 1001)  # split over workers, and no multiple of a block
SPREAD = [
    name
    for name in NAMES
    if SAMPLES[name][0].arrays
    and SAMPLES[name][0].shapes in (((3, 4),), ((3, 4), (3, 4)), ((3, 4, 5),))
    and SAMPLES[name][0].call is None
    and not SAMPLES[name][0].attributes.keys() - {"axis"}
    and name not in ("reshape", "l2_loss")
]


@pytest.mark.parametrize("name", SPREAD)
def test_bits_do_not_depend_on_workers(name, engine):
    small = SAMPLES[name][0]
    sample = replace(small, shapes=(LARGE,) * len(small.shapes))
    dtype = np.dtype(np.float32 if "f" in sample.kinds else np.int32)
    pairs = [placed(x, "contiguous") for x in sample.draw(dtype)]
    if reference(name, sample, [seen for _, seen in pairs]) is TypeError:
        dtype = np.dtype(np.int32)
        pairs = [placed(x, "contiguous") for x in sample.draw(dtype)]
    engine("naive")
    serial = run_arrays(name, sample, pairs, "contiguous")
    engine("threaded")
    try:
        for workers in (1, 2, 7):
            la.set_workers(workers)
            for got, expected in zip(
                run_arrays(name, sample, pairs, "contiguous"), serial, strict=True
            ):
                assert same_bits(got, expected), f"{name} with {workers} workers"
    finally:
        la.set_workers(os.cpu_count())


# ---- gradients


def tracked_leaf(x: np.ndarray) -> _ir.Node:
    """Return a leaf that a gradient is wanted for."""
    node = _ir.placeholder(x.shape, x.dtype)
    node.variable = object()
    return node


def project(arrays, weights) -> float:
    """Return the real part of <weights, arrays>."""
    return float(sum(np.real(np.vdot(w, a)) for w, a in zip(weights, arrays, strict=True)))


def random_like(x, rng) -> np.ndarray:
    """Return a random direction."""
    x = np.asarray(x) if isinstance(x, np.ndarray) else np.empty(x.shape, x.dtype)
    found = rng.uniform(-1, 1, x.shape)
    if x.dtype.kind == "c":
        found = found + 1j * rng.uniform(-1, 1, x.shape)
    return np.asarray(found, x.dtype)


def slope(function, drawn, which, directions) -> float:
    """Return the central difference of `function` along `directions` of the inputs `which`."""
    ends = []
    for sign in (1, -1):
        moved = list(drawn)
        for i, v in zip(which, directions, strict=True):
            moved[i] = drawn[i] + sign * STEP * v
        ends.append(function(moved))
    return (ends[0] - ends[1]) / (2 * STEP)


def walked(heads, cotangents, leaves, values) -> list:
    """Return the gradients of `heads` as nodes, zeros where there is none."""
    found = {n.serial: g for n, g in gradients(heads, cotangents, leaves, retain=True)}
    out = []
    for node in leaves:
        gradient = found.get(node.serial)
        if gradient is None:
            gradient = _ir.placeholder(node.shape, node.dtype)
            values[gradient.serial] = np.zeros(node.shape, node.dtype)
        assert gradient.shape == node.shape
        assert gradient.dtype == node.dtype
        out.append(gradient)
    return out


def check_gradients(name: str, sample: Sample, dtype: np.dtype, seed: int) -> None:
    """Compare first and second derivatives with central differences."""
    rng = np.random.default_rng(seed)
    drawn = sample.draw(dtype, seed)
    nodes = [
        tracked_leaf(x) if i in sample.gradient else _ir.placeholder(x.shape, x.dtype)
        for i, x in enumerate(drawn)
    ]
    which = [i for i in sample.gradient if drawn[i].dtype.kind in "fc"]
    leaves = [nodes[i] for i in which]
    constants: dict = {}

    def valued(arrays):
        return {**constants, **{n.serial: a for n, a in zip(nodes, arrays, strict=True)}}

    def constant(array):
        node = _ir.placeholder(array.shape, array.dtype)
        constants[node.serial] = array
        return node

    heads = as_list(recorded(name, sample, nodes))
    heads = [head for head in heads if head.dtype.kind in "fc" and head.tracked]
    if not heads:  # such as imag of a real array
        return
    weights = [random_like(head, rng) for head in heads]
    first = walked(heads, [constant(w) for w in weights], leaves, constants)
    directions = [random_like(drawn[i], rng) for i in which]
    got = project(evaluate(first, valued(drawn)), directions)
    wanted = slope(lambda x: project(evaluate(heads, valued(x)), weights), drawn, which, directions)
    assert abs(got - wanted) <= 2e-6 * (1 + abs(wanted)), f"{name}, {sample}: {got}, not {wanted}"
    if not sample.second:
        return
    inner = [random_like(g, rng) for g in first]
    chosen = [(g, u) for g, u in zip(first, inner, strict=True) if g.tracked]
    got = 0.0
    if chosen:
        cotangents = [constant(u) for _, u in chosen]
        second = walked([g for g, _ in chosen], cotangents, leaves, constants)
        got = project(evaluate(second, valued(drawn)), directions)
    wanted = slope(lambda x: project(evaluate(first, valued(x)), inner), drawn, which, directions)
    assert abs(got - wanted) <= 2e-5 * (1 + abs(wanted)), (
        f"{name}, {sample}, second: {got}, not {wanted}"
    )


@pytest.fixture
def recording():
    recorder = _ir.current()
    recorder.recording = True
    yield
    recorder.recording = False


@pytest.mark.parametrize("name", [n for n in NAMES if any(s.gradient for s in SAMPLES[n])])
def test_gradients(name, recording):
    for number, sample in enumerate(SAMPLES[name]):
        if not sample.gradient or any(0 in sample.shapes[i] for i in sample.gradient):
            continue
        check_gradients(name, sample, np.dtype(np.float64), number)
        if sample.complex_gradient:
            check_gradients(name, sample, np.dtype(np.complex128), number)
