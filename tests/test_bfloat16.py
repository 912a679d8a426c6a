"""bfloat16: ml_dtypes and NumPy on the same numbers, and float16 as a peer that has to pass, too.

Conversions are tried on all 65536 numbers. Functions are those of float32, rounded once: the tests
say so by bits, and that ml_dtypes' are no more than a unit in the last place away.
"""

import io
import pickle
import re
import warnings

import ml_dtypes
import numpy as np
import programs as random_programs
import pytest
import writer
from cuda_loops import (
    Shim,
    c_strides,
    compare,
    loops_of_ops,
    needs_compiler,
    needs_nvrtc,
    programs,
)
from loops import apply, same_bits, sample

import lazyarray as la
from lazyarray import _loops, nn, optim
from lazyarray.backends.simulated import simulated
from lazyarray.codegen import (
    cuda,
    emit_cuda,
    emit_cuda_program,
    emit_cuda_source,
    fused,
    loader,
    nvrtc,
    sweep,
    worker,
)
from lazyarray.codegen.emit_cuda_scalars import device_function
from lazyarray.codegen.operations import lookup
from lazyarray.codegen.sweep import Statement
from lazyarray.errors import DTypeError

BF16, F16, F32, F64 = (np.dtype(d) for d in (ml_dtypes.bfloat16, "f2", "f4", "f8"))
HALVES = pytest.mark.parametrize("half", [BF16, F16], ids=str)
ALL = np.arange(65536, dtype=np.uint16)
RNG = np.random.default_rng(16)

EXACT = [
    "negative", "absolute", "positive", "square", "sqrt", "reciprocal", "floor", "ceil", "trunc",
    "rint", "sign", "fabs", "isnan", "isinf", "isfinite", "signbit", "logical_not", "conjugate",
]  # fmt: skip
FUNCTIONS = [
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "arcsin",
    "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "cbrt",
]  # fmt: skip
PAIRS = [
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "fmax", "fmin", "copysign",
    "fmod", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and",
    "logical_or", "logical_xor", "heaviside", "nextafter",
]  # fmt: skip
FUNCTIONS_OF_PAIRS = [
    "power", "hypot", "arctan2", "logaddexp", "logaddexp2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def numbers(half=BF16):
    return ALL.view(half)


def ordered(x):
    """The place of each number among all of its type; NaN as the largest."""
    bits = x.view(np.int16).astype(int)
    place = np.where(bits < 0, -(bits & 0x7FFF), bits)
    return np.where(np.isnan(x), 1 << 20, place)


def near(got, wanted, units):
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    assert np.abs(ordered(got) - ordered(wanted)).max(initial=0) <= units


# ---- conversions


@HALVES
@pytest.mark.parametrize("target", ["f2", "f4", "f8", "c8", "c16", "?", "i8", "i4", BF16], ids=str)
def test_every_number_is_converted(half, target):
    x = numbers(half)
    if np.dtype(target).kind == "i":
        x = x[np.abs(x.astype(F32)) < 2e9]
    got = la.asarray(x).astype(target)
    assert same_bits(np.asarray(got), x.astype(target))


@HALVES
def test_every_number_is_rounded_to(half):
    """Floats around all 65536 numbers and between them: to nearest, ties to even."""
    low = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    x = ((ALL.astype(np.uint32)[:, None] << 16) | low).view(F32)
    assert same_bits(np.asarray(la.asarray(x).astype(half)), x.astype(half))
    wide = x.astype(F64) * (1 + 2.0**-40)
    assert same_bits(np.asarray(la.asarray(wide).astype(half)), wide.astype(half))


@pytest.mark.parametrize("source", ["f2", "i2", "i4", "i8", "u1", "u8", "?", "c8"])
def test_other_types_are_rounded(source):
    x = ALL.view(source) if source == "f2" else sample(RNG, source, 5000)
    assert same_bits(np.asarray(la.asarray(x).astype(la.bfloat16)), x.astype(BF16))


def test_it_is_made_as_other_types_are():
    one = np.ones(3, BF16)
    for made in (
        la.asarray(one), la.ones(3, la.bfloat16), la.ones(3, "bfloat16"), la.full(3, 1.0, BF16),
        la.array([1.0, 1, True], la.bfloat16), la.ones_like(la.asarray(one)),
        la.asarray(list(one)), la.asarray(BF16.type(1)) + la.zeros(3, BF16),
    ):  # fmt: skip
        assert made.dtype == BF16 and same_bits(np.asarray(made), one)
    assert same_bits(np.asarray(la.arange(300, dtype=BF16)), np.arange(300).astype(BF16))
    assert same_bits(np.asarray(la.linspace(0, 1, 7, dtype=BF16)), np.linspace(0, 1, 7, dtype=BF16))
    assert same_bits(np.asarray(la.eye(3, dtype=BF16)), np.eye(3, dtype=BF16))
    assert la.isdtype(BF16, "real floating") and la.isdtype(BF16, (F32, BF16))
    assert not la.isdtype(BF16, ("integral", F16))
    assert la.bfloat16 is ml_dtypes.bfloat16 and la.finfo(la.bfloat16).eps == 2.0**-7
    assert la.finfo(la.ones(2, BF16)).bits == 16 and la.finfo("f4") is np.finfo("f4")


# ---- functions of elements


@pytest.mark.parametrize("name", EXACT)
def test_functions_that_are_exact_or_rounded_once(name):
    x = numbers()
    got, wanted = np.asarray(getattr(la, name)(la.asarray(x))), getattr(np, name)(x)
    wanted = wanted + BF16.type(0) if name == "sign" else wanted  # -0.0 as of other floats
    assert same_bits(got, wanted)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_those_of_float32_rounded(name):
    x = numbers()
    got = np.asarray(getattr(la, name)(la.asarray(x)))
    wide = np.asarray(getattr(la, name)(la.asarray(x.astype(F32))))
    assert same_bits(got, wide.astype(BF16))
    near(got, getattr(np, name)(x), 1)


@pytest.mark.parametrize("name", PAIRS)
def test_functions_of_two(name):
    x, y = sample(RNG, BF16, 20_000), sample(RNG, BF16, 20_000)
    x[:2000] = y[:2000]
    got, wanted = (
        np.asarray(getattr(la, name)(la.asarray(x), la.asarray(y))),
        getattr(np, name)(x, y),
    )
    if name in ("maximum", "minimum", "fmax", "fmin"):  # of two zeros either one
        got, wanted = got + BF16.type(0), wanted + BF16.type(0)
    assert same_bits(got, wanted)


@pytest.mark.parametrize("name", FUNCTIONS_OF_PAIRS)
def test_functions_of_two_that_are_rounded(name):
    x, y = sample(RNG, BF16, 20_000), sample(RNG, BF16, 20_000)
    got = np.asarray(getattr(la, name)(la.asarray(x), la.asarray(y)))
    wide = getattr(la, name)(la.asarray(x.astype(F32)), la.asarray(y.astype(F32)))
    assert same_bits(got, np.asarray(wide).astype(BF16))
    near(got, getattr(np, name)(x, y), 1)


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "divmod", "modf", "frexp"])
def test_parts(name):
    x = sample(RNG, BF16, 5000)
    y = RNG.choice(np.array([0.25, -3, 1.5, 7, -0.125], BF16), 5000)
    x = np.where(np.abs(x.astype(F32)) < 2.0**20, x, y)
    given = (x,) if name in ("modf", "frexp") else (x, y)
    got, wanted = getattr(la, name)(*map(la.asarray, given)), getattr(np, name)(*given)
    if type(wanted) is not tuple:
        got, wanted = (got,), (wanted,)
    for ours, theirs in zip(got, wanted, strict=True):
        ours, finite = np.asarray(ours), np.isfinite(x)
        assert ours.dtype == theirs.dtype
        if name in ("floor_divide", "divmod", "remainder"):  # a quotient of float32 is exact here
            rest = theirs is wanted[-1] and name != "floor_divide"
            wide = (np.remainder if rest else np.floor_divide)(x.astype(F32), y.astype(F32))
            wide = wide.astype(BF16)
            assert same_bits(ours + BF16.type(0), wide + BF16.type(0))
        else:
            assert same_bits(ours[finite], theirs[finite])


def test_spacing_and_next():
    x = numbers()[np.isfinite(numbers())]
    got = np.asarray(la.spacing(la.asarray(x)))
    wide = x.astype(F32)
    after = np.asarray(la.nextafter(la.asarray(x), np.copysign(np.inf, wide).astype(BF16)))
    inside = np.isfinite(after)
    assert same_bits(got[inside], (after.astype(F32) - wide)[inside].astype(BF16))


def test_choice_and_clipping():
    x, y = sample(RNG, BF16, 999), sample(RNG, BF16, 999)
    a, b = la.asarray(x), la.asarray(y)
    assert same_bits(np.asarray(la.where(a > b, a, b)), np.where(x > y, x, y))
    assert same_bits(np.asarray(la.clip(a, -1, 2)), np.clip(x.astype(F32), -1, 2).astype(BF16))
    wide = np.nan_to_num(x.astype(F32), posinf=np.inf, neginf=-np.inf)
    got = np.asarray(la.nan_to_num(a)).astype(F32)
    top = float(ml_dtypes.finfo(BF16).max)
    assert np.array_equal(got, np.clip(wide, -top, top))


# ---- promotion

OTHERS = ["?", "i1", "u1", "i2", "u2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", BF16]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_promotion_is_numpys(other):
    a, b = la.ones(3, BF16), la.ones(3, other)
    x, y = np.ones(3, BF16), np.ones(3, other)
    for name in ("add", "multiply", "divide", "less", "power", "maximum", "subtract"):
        wanted = getattr(np, name)(x, y).dtype
        assert getattr(la, name)(a, b).dtype == wanted == getattr(la, name)(b, a).dtype
    try:
        wanted = np.promote_types(BF16, other)
    except TypeError:
        with pytest.raises(TypeError, match=r"(?i)common dtype"):
            la.concatenate([a, b])
        with pytest.raises(TypeError, match="common DType"):
            la.promote_types(la.bfloat16, other)
        with pytest.raises(TypeError, match="common DType"):
            la.where(a > 0, a, b)
        assert (a @ b).dtype == (x @ y).dtype
    else:
        assert la.concatenate([a, b]).dtype == wanted == la.result_type(a, b)
        assert (a @ b).dtype == wanted


def test_numbers_of_python_are_weak():
    a = la.ones(3, BF16)
    for found in (a + 1, 2 * a, a + 1.5, 1.5 / a, a**2, a**0.5, 2.0**a, a - True,
                  la.maximum(a, 0.0), la.where(a > 0.5, a, 0.25), la.clip(a, 0.5, 2)):  # fmt: skip
        assert found.dtype == BF16
    assert (a + 1j).dtype == np.complex64 and (a < 2.5).dtype == np.bool_
    assert (a + np.float32(1)).dtype == F32
    a += np.ones(3, F32)
    assert a.dtype == BF16


# ---- arrays


@HALVES
@pytest.mark.parametrize("shape", [(0, 3), (7, 5), (40, 300), (3, 2000), (70_001,)])
def test_reductions_are_those_of_float32_rounded_once(half, shape):
    x = RNG.standard_normal(shape).astype(half)
    a, wide = la.asarray(x), la.asarray(x.astype(F32))
    for axis in (None, 0, -1):
        for name in ("sum", "prod", "mean", "max", "min", "argmax", "argmin", "any", "all",
                     "nansum", "nanmax"):  # fmt: skip
            if not x.size and name not in ("sum", "prod", "any", "all"):
                continue
            got = np.asarray(getattr(la, name)(a, axis))
            wanted = np.asarray(getattr(la, name)(wide, axis))
            wanted = wanted.astype(half) if wanted.dtype == F32 else wanted
            assert same_bits(got, wanted), (name, axis)
        own = ("var", "std", "nanmean", "nanvar", "nanstd") if half == BF16 and x.size else ()
        for name in own:
            got = np.asarray(getattr(la, name)(a, axis))
            assert same_bits(got, np.asarray(getattr(la, name)(wide, axis)).astype(half)), name
    if x.ndim > 1 and x.size:
        both, axes = np.stack([x, -x], 1), (0, 2)
        wanted = np.asarray(la.asarray(both.astype(F32)).sum(axes)).astype(half)
        assert same_bits(np.asarray(la.asarray(both).sum(axes)), wanted)
        scans = la.cumsum(a, 0), la.cumprod(a, 1)
        for got, wanted in zip(scans, (np.cumsum(x, 0), np.cumprod(x, 1)), strict=True):
            assert same_bits(np.asarray(got), wanted)
    assert a.sum(dtype=F32).dtype == F32 and a.mean().dtype == half


@HALVES
@pytest.mark.parametrize(("m", "n", "k"), [(1, 5, 9), (4, 3, 2), (64, 48, 100), (130, 70, 5000)])
def test_products_are_summed_in_float32(half, m, n, k):
    x = RNG.integers(-3, 4, (m, k)).astype(half)
    y = RNG.integers(-3, 4, (k, n)).astype(half)
    wanted = (x.astype(F32) @ y.astype(F32)).astype(half)  # sums of integers are exact
    assert same_bits(np.asarray(la.asarray(x) @ la.asarray(y)), wanted)
    assert same_bits(np.asarray(la.asarray(x) @ la.asarray(y.T.copy()).T), wanted)
    assert same_bits(np.asarray(la.einsum("ij,jk->ki", la.asarray(x), la.asarray(y))), wanted.T)
    line = la.dot(la.asarray(x[0]), la.asarray(y[:, 0]))
    assert line.dtype == half and float(line) == float(wanted[0, 0])


@HALVES
@pytest.mark.parametrize("size", [3, 1000, 200_000])
def test_orders(half, size):
    x = sample(RNG, half, size)
    a, wide = la.asarray(x), x.astype(F32)
    assert same_bits(np.asarray(la.sort(a)), np.sort(wide, kind="stable").astype(half))
    assert same_bits(np.asarray(la.argsort(a)), np.argsort(wide, kind="stable"))
    assert np.array_equal(np.asarray(la.unique(a)).astype(F32), np.unique(wide), equal_nan=True)
    some = np.stack([ALL, ALL], 1).ravel().view(half) if size > 65536 else x
    RNG.shuffle(some)
    order = np.argsort(some.astype(F32), kind="stable")
    assert np.asarray(la.sort(la.asarray(some))).tobytes() == some[order].tobytes()
    values, first, back, counts = la.unique(a, True, True, True)
    known, *places = np.unique(wide, True, True, True)
    assert np.array_equal(np.asarray(values).astype(F32), known, equal_nan=True)
    for got, wanted in zip((first, back, counts), places, strict=True):
        assert same_bits(np.asarray(got), wanted)
    line = np.sort(wide[:500])
    got = la.searchsorted(la.asarray(line.astype(half)), a)
    assert same_bits(np.asarray(got), np.searchsorted(line, wide))


def test_what_numpy_sorts_for():
    x = np.array([3, np.nan, 1, 7, np.nan, 2, 5, 5.5], BF16)
    for given in (x, x[[0, 2, 3, 5, 6, 7]]):
        a, wide = la.asarray(given), given.astype(F32)
        for name, *rest in (
            ("median",), ("nanmedian",), ("percentile", 40), ("nanpercentile", [30, 60]),
            ("quantile", 0.25), ("partition", 2), ("nanargmax",), ("nanargmin",),
        ):  # fmt: skip
            got, wanted = getattr(la, name)(a, *rest), getattr(np, name)(wide, *rest)
            same = np.asarray(wanted).astype(got.dtype)
            assert np.array_equal(np.asarray(got).astype(F64), same.astype(F64), equal_nan=True)
        assert same_bits(np.asarray(la.lexsort((a,))), np.lexsort((wide,)))


def test_views_and_writes():
    x = sample(RNG, BF16, (6, 8))
    a = la.asarray(x)
    assert same_bits(np.asarray(a[::2, 3:].T), x[::2, 3:].T)
    assert same_bits(np.asarray(a.view(np.uint16)), x.view(np.uint16))
    assert same_bits(np.asarray(la.asarray(x.view(np.uint16)).view(la.bfloat16)), x)
    assert same_bits(np.asarray(la.take(a, [3, 0, 3], 0)), np.take(x, [3, 0, 3], 0))
    assert same_bits(np.asarray(a[a > 0]), x[x > 0])
    b, y = a.copy(), x.copy()
    for z in (b, y):
        z[0] = 1.7
        z[:, 2] += z[:, 3]
        z[z > 1000] = -1
        z[[1, 2], [3, 3]] = np.array([3.3, 4.4])
        z[5] = np.arange(8)
        part = z[3:5]
        part *= 2
    assert same_bits(np.asarray(b), y)
    added = la.zeros(4, BF16)
    la.add.at(added, [1, 1, 3], la.ones(3, BF16))
    assert added.tolist() == [0, 2, 0, 1]
    joined = la.stack([a, a]), la.roll(a, 3), la.pad(a, 1), la.tile(a, 2), la.flip(a), la.tril(a)
    for got, wanted in zip(joined, (np.stack([x, x]), np.roll(x, 3), np.pad(x, 1), np.tile(x, 2),
                                    np.flip(x), np.tril(x)), strict=True):  # fmt: skip
        assert same_bits(np.asarray(got), wanted)


def test_what_is_printed_and_read():
    x = np.array([1, 2.5, -3], BF16)
    a = la.asarray(x)
    assert str(a) == str(x) and repr(a) == repr(x).replace("array", "Array")
    assert a.tolist() == [1.0, 2.5, -3.0] and float(a[1]) == 2.5 and type(a[1].item()) is float
    assert f"{a[1]:.2f}" == "2.50" and a.itemsize == 2 and a.nbytes == 6


def test_files(tmp_path):
    a = la.asarray(np.array([1, 2.5, -3], BF16))
    assert same_bits(np.asarray(pickle.loads(pickle.dumps(a))), np.asarray(a))
    file = io.BytesIO()
    la.save(file, a)  # NumPy's format has no name for it
    file.seek(0)
    with pytest.raises(DTypeError, match=r"view\(la.bfloat16\)"):
        la.load(file)
    file.seek(0)
    assert same_bits(np.load(file).view(BF16), np.asarray(a))
    layer = nn.Dense(3).astype(la.bfloat16)
    layer.initialize(seed=0)
    layer(la.ones((1, 2), BF16))
    layer.save(tmp_path / "layer")
    other = nn.Dense(3).astype(la.bfloat16)
    other.load(tmp_path / "layer")
    assert same_bits(np.asarray(other.weight.data()), np.asarray(layer.weight.data()))


def test_other_libraries():
    torch = pytest.importorskip("torch", reason="torch is not there")
    a = la.asarray(np.array([[1, 2.5], [-3, 7]], BF16))
    theirs = torch.from_dlpack(a)
    assert theirs.dtype == torch.bfloat16 and theirs.tolist() == a.tolist()
    theirs[0, 0] = 9
    assert float(a[0, 0]) == 9
    ours = la.from_dlpack(theirs)
    assert ours.dtype == BF16 and ours.tolist() == theirs.tolist()
    ours[1] = 0.5
    assert theirs[1].tolist() == [0.5, 0.5]
    assert la.from_dlpack(theirs.T, copy=True).tolist() == theirs.T.tolist()


def test_what_is_not_there_says_so():
    a = la.eye(2, dtype=BF16)
    for call in (la.linalg.inv, la.linalg.qr, la.linalg.svd, la.linalg.cholesky):
        with pytest.raises(TypeError, match="bfloat16 is unsupported in linalg"):
            call(a)
    with pytest.raises(DTypeError, match="not defined for dtypes bfloat16"):
        la.bitwise_and(a, a)
    with pytest.raises(DTypeError, match="not supported"):
        la.zeros(3, ml_dtypes.float8_e4m3fn)
    with pytest.raises(DTypeError, match="not supported"):
        la.zeros(3, "V2")


# ---- gradients and layers


@HALVES
def test_gradients_are_near_those_of_float32(half):
    def measure(x, w):
        y = la.tanh(x @ w) * 2.5 + la.exp(-(x[:, :3] ** 2)) / (1 + la.abs(w[:, 0]).sum())
        return (y.max(axis=0) + y.mean() + la.where(y > 0, y, 0.1 * y).sum(0)).sum()

    x, w = RNG.standard_normal((8, 5)).astype(half), RNG.standard_normal((5, 3)).astype(half)
    got = la.grad(measure, argnums=(0, 1))(la.asarray(x), la.asarray(w))
    wanted = la.grad(measure, argnums=(0, 1))(la.asarray(x.astype(F32)), la.asarray(w.astype(F32)))
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.dtype == half
        np.testing.assert_allclose(
            np.asarray(ours).astype(F32), np.asarray(theirs), rtol=0.1, atol=0.15
        )
    twice = la.grad(lambda a: la.grad(lambda b: (b**3).sum())(a).sum())(la.asarray(x))
    assert twice.dtype == half
    mixed = la.grad(lambda a: (a.astype(F32) ** 2).sum())(la.asarray(x))
    assert same_bits(np.asarray(mixed), 2 * x)


@HALVES
def test_layers_learn(half):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 6)).astype(half)
    labels = la.asarray((x.astype(F32).sum(1) > 0).astype(int))
    net = nn.Sequential(nn.Dense(16, activation="relu"), nn.LayerNorm(), nn.Dense(2))
    net.astype(half).initialize(seed=0)
    net(la.asarray(x))
    optimizer = optim.SGD(net.parameters(), 0.1)
    losses = []
    for _ in range(20):
        with la.autograd.record():
            loss = nn.SoftmaxCrossEntropyLoss()(net(la.asarray(x)), labels).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert all(p.dtype == half for p in net.parameters())
    assert losses[-1] < 0.6 * losses[0]


def test_windows():
    x = np.arange(2 * 6 * 6 * 3, dtype=F32).reshape(2, 6, 6, 3).astype(BF16)
    pool = nn.MaxPool2D(2)
    wide = pool(la.asarray(x.astype(F32)))
    assert same_bits(np.asarray(pool(la.asarray(x))), np.asarray(wide).astype(BF16))
    conv = nn.Conv2D(4, 3).astype(BF16)
    conv.initialize(seed=0)
    assert conv(la.asarray(x)).dtype == BF16


def test_traced_calls_take_numbers_as_data():
    @la.jit
    def scaled(x, by):
        return la.tanh(x * by + 1).sum(-1)

    x = sample(RNG, BF16, (4, 9))
    for by in (2.5, 3.5, -1.25, 0.5):
        wanted = la.tanh(la.asarray(x) * by + 1).sum(-1)
        assert same_bits(np.asarray(scaled(la.asarray(x), by)), np.asarray(wanted))


def test_a_device_has_the_same_bits():
    x = sample(RNG, BF16, (30, 70))

    def program(a):
        y = la.exp(a * 0.001 + 1) / (1 + la.abs(a))
        return [y, y.sum(0), y.max(1), (y @ y.T), la.sort(y), a.astype(F32), y.mean()]

    here, there = program(la.asarray(x)), program(la.array(x, device=simulated(0)))
    for a, b in zip(here, there, strict=True):
        assert same_bits(np.asarray(a), b.to("cpu").numpy())


# ---- both tiers, and CUDA's

CASTS = ["f4", "f8", "i4", "i8", "u1", "u4", "?"]


def loops():
    """Every loop of an op of elements that takes or gives bfloat16."""
    yield from (x for x in loops_of_ops(("bool", "bfloat16")) if BF16 in x.dtypes)
    for each in CASTS:
        yield _loops.find_loop("cast", (BF16, np.dtype(each)))
        yield _loops.find_loop("cast", (np.dtype(each), BF16))


def test_tiers_have_the_same_bits():
    """Every loop with a program, compiled beside a copy of its operands."""
    compiled = worker.load()
    tried = 0
    for loop in loops():
        if lookup(loop.name, loop.dtypes) is None:
            continue
        given = [sample(RNG, d, 3000) for d in loop.dtypes[: loop.nin]]
        steps = [(loop, tuple(range(loop.nin)), (loop.nin,))] * 2
        (run,) = fused.compress(
            [steps[0], (loop, tuple(range(loop.nin)), (loop.nin + 1,))],
            [loop.nin, loop.nin + 1],
        )
        code = compiled({"sweep": sweep.plain(run.sweep)})
        own = loader.load(code, loop.name, run.sweep.types, loop.nin)
        registers = [d.itemsize for d in (*loop.dtypes, loop.dtypes[-1])]
        kernel = _loops.elementwise(
            (3000,),
            [(i, (registers[i],), registers[i]) for i in run.reads],
            [(i, (registers[i],), registers[i]) for i in run.writes],
            registers,
            [(own, run.reads, run.writes)],
        )
        out = [np.empty(3000, loop.dtypes[-1]) for _ in range(2)]
        kernel.call(*[given[i] for i in run.reads], *out)
        assert same_bits(out[0], apply(loop, *given)), loop
        assert same_bits(out[1], out[0]), loop
        tried += 1
    assert tried > 60


def together():
    """Kernels of the loops that read the same inputs, and the loops of each."""
    groups = {}
    for loop in loops():
        if device_function(loop.name, tuple(map(str, loop.dtypes))) is not None:
            groups.setdefault(loop.dtypes[: loop.nin], []).append(loop)
    for types, some in groups.items():
        inputs, works, outputs = [], [], []
        kinds = tuple(map(str, types))
        for i, kind in enumerate(kinds):
            strides = c_strides((900,), types[i].itemsize)
            inputs.append(emit_cuda_program.Input(kind, i, (900,), strides))
        for i, loop in enumerate(some, len(kinds)):
            names = (*kinds, str(loop.dtypes[-1]))
            statement = Statement(loop.name, names, tuple(range(len(kinds))))
            works.append(emit_cuda_program.Work(statement))
            strides = c_strides((900,), loop.dtypes[-1].itemsize)
            outputs.append(emit_cuda_program.Output(i, i, (900,), strides))
        described = emit_cuda_program.Described(
            (900,), tuple(inputs), tuple(works), tuple(outputs), len(kinds) + len(some)
        )
        yield some, emit_cuda.elements_of(described)


SUMS = [("sum", "bfloat16", "bfloat16", 2, 3000, 1), ("max", "bfloat16", "bfloat16", 3, 40, 5),
        ("sum", "bfloat16", "float32", 2, 90, 3)]  # fmt: skip


@needs_compiler
def test_cuda_sources_have_the_same_bits(tmp_path):
    found = list(together())
    sums = [cuda.reduction(*each) for each in SUMS]
    kernels = [b.source.kernels[0] for _, b in found]
    kernels += [k for b in sums for k in b.source.kernels]
    shim = Shim(tmp_path, list({k.name: k for k in kernels}.values()))
    for some, bound in found:
        given = [sample(RNG, d, 900) for d in some[0].dtypes[: some[0].nin]]
        out = [np.zeros(900, loop.dtypes[-1]) for loop in some]
        shim.run(bound, *given, *out)
        for loop, got in zip(some, out, strict=True):
            ulp = device_function(loop.name, tuple(map(str, loop.dtypes))).ulp
            if not ulp:
                assert same_bits(got, apply(loop, *given)), loop
            else:
                near(got, apply(loop, *given), 1)
    for (name, source, target, outer, red, inner), bound in zip(SUMS, sums, strict=True):
        x = RNG.standard_normal((outer, red, inner)).astype(source)
        got, wanted = np.zeros((outer, inner), target), np.zeros((outer, inner), target)
        shim.run(bound, x, got)
        _loops.reduce(name, source, target, outer, red, inner).call(x, wanted)
        assert same_bits(got, wanted)


def fused_programs():
    x, y = (la.asarray(sample(RNG, BF16, shape)) for shape in ((40, 24), (24,)))
    r = la.exp(-x * x) + y
    la.eval(r, la.where(r > 1, r, 0.5))
    la.eval(x.T * 2.5 + 1, x[::2, 3:] * y[:-3], x.astype(F32) + y)
    la.eval((x * y).sum(axis=1), (x + 1).max(axis=0), la.softmax(x[:, :9]))
    x[1:5, ::3] += 2
    la.eval(x)


def test_random_programs_have_the_same_bits_in_every_mode():
    def written(seed):
        return [re.sub(r"\bfloat(16|32)\b", "bfloat16", line) for line in writer.write(seed)]

    for seed in range(60):
        found = [random_programs.run_in(mode, written(seed)) for mode in random_programs.MODES]
        for name, x in found[0].names.items():
            if isinstance(x, la.Array | np.ndarray):
                assert all(same_bits(x, other.names[name]) for other in found[1:]), (seed, name)
        assert all(other.raised == found[0].raised for other in found[1:]), seed


@needs_compiler
def test_fused_programs_have_the_same_bits(monkeypatch, tmp_path):
    found = programs(monkeypatch, fused_programs)
    bounds = [(p, cuda.cuda_kernel(p)) for p in found]
    assert len(bounds) > 6 and all(bound is not None for _, bound in bounds)
    kernels = {k.name: k for _, b in bounds for k in b.source.kernels}
    shim = Shim(tmp_path, list(kernels.values()))
    for program, bound in bounds:
        compare(shim, program, bound)


@needs_nvrtc
def test_cuda_sources_compile():
    text = emit_cuda_source.source([bound.source.kernels[0] for _, bound in together()])
    assert nvrtc.compile_source(text, "bf16", (*nvrtc.OPTIONS, "--gpu-architecture=compute_90"))


def test_large_integers_beside_it():
    x = la.ones(2, la.bfloat16)
    assert (x + 10**30).tolist() == [float(la.bfloat16(1e30))] * 2
    assert (x * 3).tolist() == [3.0, 3.0]


@pytest.mark.parametrize("join", [la.concatenate, la.stack, la.hstack])
def test_no_common_dtype(join):
    with pytest.raises(DTypeError, match="bfloat16, float16 have no common dtype"):
        join([la.ones(2, la.bfloat16), la.ones(2, "f2")])
