"""The vector functions: how exact they are, where they end, and that nothing else changes bits."""

import ctypes
import functools
import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from loops import apply, one_step, same_bits
from scipy import special

from lazyarray import _loops, _vmath
from lazyarray.codegen import loader, sweep, worker

ROOT = Path(__file__).parent.parent
F4, F8 = np.dtype("f4"), np.dtype("f8")
LOOPS = {(loop.name, loop.dtypes[0]): loop for loop in _vmath.LOOPS}

# Bounds in units in the last place, which docs/differences.md repeats. In float32 they hold for
# every input (the slow test), in float64 for samples.
SINGLE = {
    "exp": 1, "exp2": 1, "expm1": 1.5, "log": 1, "log2": 2, "log10": 2, "log1p": 2, "sin": 1,
    "cos": 1, "tan": 2, "sinh": 2, "cosh": 2, "tanh": 1, "erf": 1.5, "expit": 2.5,
}  # fmt: skip
DOUBLE = dict.fromkeys(SINGLE, 2)


def expit(x):
    e = np.exp(-np.abs(x))  # SciPy's is 0 where it could be subnormal
    return np.where(x < 0, e, 1) / (1 + e)


REFERENCES = {"erf": special.erf, "expit": expit}
EXACT = {
    "exp2": lambda x: mpmath.power(2, x),
    "log2": lambda x: mpmath.log(x) / mpmath.log(2),
    "log10": lambda x: mpmath.log(x) / mpmath.log(10),
    "expit": lambda x: 1 / (1 + mpmath.exp(-x)),
}
SPECIAL = [
    0, 1, 2, 3, 0.5, 0.25, 1e-3, 10, 100, 1e4, np.inf, np.nan, 88.5, 88.8, 89.5, 103.5, 104.5,
    127.5, 128.5, 150.5, 709.5, 709.9, 710.5, 745.5, 746.5, 1023.5, 1024.5, 1075.5, 1e-38, 1e-40,
    1e-45, 1e-300, 1e-310, 5e-324, 1e30, 3e38, 1e300, 1.7e308, 131072, 131073, 33554432, 33554433,
    np.pi, np.pi / 2, np.pi / 4, 0.9999999, 1.0000001, 6381956970095103 * 2.0**797,
]  # fmt: skip


def specials(dtype):
    """Numbers where something begins or ends, of both signs, and their neighbours."""
    with np.errstate(all="ignore"):
        x = np.array(SPECIAL).astype(dtype)
        x = np.concatenate([x, np.nextafter(x, x.dtype.type(0)), np.nextafter(x, x * 2)])
    return np.concatenate([x, -x])


def reference(name):
    return REFERENCES.get(name) or getattr(np, name)


def units(exact, mantissa, lowest):
    """The unit in the last place of float64 numbers, in a smaller format."""
    power = (exact.view("u8") & np.uint64(0x7FF << 52)).view(F8)
    return np.maximum(power, 2.0**lowest) * 2.0**-mantissa


def check_singles(name, x):
    """Compare with float64 on these float32 numbers; the largest error, in units."""
    got = apply(LOOPS[name, F4], x)
    with np.errstate(all="ignore"):
        exact = reference(name)(x.astype(F8))
        wanted = exact.astype(F4)
        error = np.abs(got.astype(F8) - exact) / units(exact, 23, -126)
    finite = np.isfinite(wanted) & np.isfinite(got)
    assert same_bits(got[~finite], wanted[~finite]), name
    assert np.array_equal(np.signbit(got[finite]), np.signbit(wanted[finite])), name
    worst = int(np.argmax(np.where(finite, error, 0)))
    assert error[finite].max(initial=0) <= SINGLE[name], (name, x[worst], error[worst])
    return float(error[finite].max(initial=0))


@pytest.mark.parametrize("name", SINGLE)
def test_singles(name):
    """A sample of all float32 numbers, evenly in their bits, and those near 1."""
    check_singles(name, np.arange(5, 1 << 32, 10_007, dtype=np.uint32).view(F4))
    check_singles(name, np.linspace(-8, 8, 200_001, dtype=F4))
    check_singles(name, specials(F4))


@pytest.mark.slow
@pytest.mark.parametrize("share", range(8))
@pytest.mark.parametrize("name", SINGLE)
def test_all_singles(name, share):
    block = 1 << 20
    worst = 0.0
    for start in range(share << 29, (share + 1) << 29, block):
        x = np.arange(start, start + block, dtype=np.uint64).astype("u4").view(F4)
        worst = max(worst, check_singles(name, x))
    print(f"{name}: at most {worst:.4f} units in the last place")  # what -rP shows


def drawn(name, count, seed=0):
    """Numbers where a function is worth a look."""
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1.0, 1.0], count)
    parts = [
        rng.standard_normal(count),
        rng.uniform(-40, 40, count),
        np.exp(rng.uniform(-40, 6.5, count)) * sign,
        rng.uniform(-1.1, 1.1, count),
    ]
    if name in ("exp", "exp2", "expm1", "sinh", "cosh"):
        parts += [rng.uniform(-745, 709, count)]
    if name in ("sin", "cos", "tan"):
        turns = rng.integers(1, 1 << 24, count)
        parts += [turns * (np.pi / 2), turns % 1000 * (np.pi / 2), turns * 1.0]
        parts += [np.exp(rng.uniform(10, 709, count)) * sign]
        # The float64 nearest to a multiple of pi/2 (Muller 2006, section 11.2).
        parts += [np.array([6381956970095103 * 2.0**797])]
    if name.startswith("log"):
        parts = [np.abs(x) for x in parts]
        parts += [np.exp(rng.uniform(-740, 709, count)), 1 + 1e-3 * rng.standard_normal(count)]
        parts += [10.0 ** np.arange(-300, 300), rng.integers(1, 5000, count) * 5e-324]
    if name == "log1p":
        parts += [rng.uniform(-1, 1, count), 1e-3 * rng.standard_normal(count)]
    return np.concatenate(parts)


def units_off(got, exact):
    """How far one float64 is from an exact number, in units in its last place."""
    if abs(exact) > mpmath.mpf(2) ** 1024 * (1 - mpmath.mpf(2) ** -54):
        return 0.0 if got == mpmath.sign(exact) * mpmath.inf else mpmath.inf
    unit = mpmath.ldexp(1, max(int(mpmath.frexp(exact)[1]) - 53, -1074))
    return abs(mpmath.mpf(got) - exact) / unit


def check_doubles(name, x):
    """Compare with mpmath on these float64 numbers."""
    function = EXACT.get(name) or getattr(mpmath, name)
    with mpmath.workprec(160):
        for number, got in zip(x.tolist(), apply(LOOPS[name, F8], x).tolist(), strict=True):
            off = units_off(got, function(mpmath.mpf(number)))
            assert off <= DOUBLE[name], (name, number, got, off)


@pytest.mark.parametrize("name", DOUBLE)
def test_doubles(name):
    check_doubles(name, drawn(name, 200))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("name", DOUBLE)
def test_many_doubles(name, seed):
    check_doubles(name, drawn(name, 10_000, seed))


@pytest.mark.parametrize("name", DOUBLE)
def test_special_doubles(name):
    x = specials(F8)
    with np.errstate(all="ignore"):
        wanted = reference(name)(x)
    got = apply(LOOPS[name, F8], x)
    ends = ~np.isfinite(wanted) | (wanted == 0)
    assert same_bits(got[ends], wanted[ends])
    np.testing.assert_allclose(got[~ends], wanted[~ends], rtol=2e-15, atol=1e-323)
    assert np.array_equal(np.signbit(got[~ends]), np.signbit(wanted[~ends]))


@pytest.mark.parametrize("dtype", [F4, F8], ids=str)
def test_exact_where_people_expect_it(dtype):
    whole = np.arange(-126, 128).astype(dtype)
    powers = np.ldexp(dtype.type(1), whole.astype(int))
    assert same_bits(apply(LOOPS["exp2", dtype], whole), powers)
    assert same_bits(apply(LOOPS["log2", dtype], powers), whole)
    tens = np.arange(11 if dtype == F4 else 23).astype(dtype)
    assert same_bits(apply(LOOPS["log10", dtype], dtype.type(10) ** tens), tens)
    a, b = np.meshgrid(np.arange(-30, 31), np.arange(5))
    a, b = a.ravel().astype(dtype), b.ravel().astype(dtype)
    assert same_bits(
        apply(LOOPS["power", dtype], a, b), (a.astype(int) ** b.astype(int)).astype(dtype)
    )


def powers(count, seed=0):
    """Bases and exponents whose powers reach from underflow to overflow."""
    rng = np.random.default_rng(seed)
    base = np.concatenate([
        np.exp(rng.uniform(-5, 5, count)), np.exp(rng.uniform(-700, 700, count)),
        1 + 1e-4 * rng.standard_normal(count), rng.uniform(0.5, 2, count),
    ])  # fmt: skip
    reach = 744 / np.maximum(np.abs(np.log(base)), 1e-300)
    return base, rng.uniform(-1, 1, base.size) * reach


def test_power_of_doubles():
    x, y = powers(400)
    with mpmath.workprec(160):
        for a, b, got in zip(
            *(v.tolist() for v in (x, y, apply(LOOPS["power", F8], x, y))), strict=True
        ):
            off = units_off(got, mpmath.power(mpmath.mpf(a), mpmath.mpf(b)))
            assert off <= 1, (a, b, got, off)


def test_power_of_singles():
    with np.errstate(all="ignore"):
        x, y = (v.astype(F4) for v in powers(50_000))
        exact = x.astype(F8) ** y.astype(F8)
        got, wanted = apply(LOOPS["power", F4], x, y), exact.astype(F4)
    finite = np.isfinite(wanted) & np.isfinite(got)
    assert same_bits(got[~finite], wanted[~finite])
    exact = exact[finite]
    assert (np.abs(got[finite].astype(F8) - exact) <= units(exact, 23, -126)).all()


@pytest.mark.parametrize("dtype", [F4, F8], ids=str)
def test_special_powers(dtype):
    """C99, F.9.4.4, as the C library has it."""
    numbers = [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2, -2, 3, -3, 0.5, -0.5, 1e-45, -1e-45,
               2.0**24, 2.0**24 - 1, 1 - 2.0**24, 1e38, -1e38]  # fmt: skip
    numbers += [5e-324, 2.0**53, 2.0**53 - 1, 1 - 2.0**53, 1e300, -1e300] if dtype == F8 else []
    x, y = (np.ascontiguousarray(v.ravel()) for v in np.meshgrid(*2 * [np.array(numbers, dtype)]))
    got = apply(LOOPS["power", dtype], x, y)
    with np.errstate(all="ignore"):
        wanted = apply(_loops.ufunc_loop(np.power, (dtype,) * 3), x, y)
    ends = ~np.isfinite(wanted) | (wanted == 0)
    assert same_bits(got[ends], wanted[ends])
    np.testing.assert_allclose(got[~ends], wanted[~ends], rtol=1e-6)


@pytest.mark.parametrize("dtype", [F4, F8], ids=str)
@pytest.mark.parametrize("name", ["fmax", "fmin"])
def test_extremes_do_not_depend_on_the_place(name, dtype):
    a, b = (np.ascontiguousarray(v.ravel()) for v in np.meshgrid(*2 * [specials(dtype)]))
    got = apply(LOOPS[name, dtype], a, b)
    assert np.array_equal(got, getattr(np, name)(a, b), equal_nan=True)
    for size in (1, 7, 33):
        assert same_bits(apply(LOOPS[name, dtype], a[:size], b[:size]), got[:size])
    zeros = apply(LOOPS[name, dtype], np.zeros(40, dtype), -np.zeros(40, dtype))
    assert np.signbit(zeros).all()


def inputs(loop, size, seed=0):
    """Arguments of all kinds, some of them rare."""
    rng = np.random.default_rng(seed)
    found = []
    for dtype in loop.dtypes[: loop.nin]:
        x = (rng.standard_normal(size) * 10.0 ** rng.integers(-3, 4, size)).astype(dtype)
        at = rng.random(size) < 0.05
        x[at] = rng.choice(specials(dtype), size)[at]
        found.append(x)
    return found


@pytest.mark.parametrize("loop", _vmath.LOOPS, ids=lambda loop: f"{loop.name}-{loop.dtypes[0]}")
def test_bits_depend_on_the_element_alone(loop):
    """Not on the block's size, on its neighbours, on strides, or on the result's place."""
    xs = inputs(loop, 3000)
    wanted = apply(loop, *xs)
    order = np.random.default_rng(1).permutation(3000)
    assert same_bits(apply(loop, *(x[order] for x in xs)), wanted[order])
    for i in (*range(40), *range(2990, 3000)):
        assert same_bits(apply(loop, *(x[i : i + 1].copy() for x in xs)), wanted[i : i + 1])
    for pieces in (2, 7):
        assert same_bits(apply(loop, *xs, pieces=pieces), wanted)
    same = _loops.elementwise(
        (3000,),
        [(i, x.strides, x.itemsize) for i, x in enumerate(xs)],
        [(loop.nin, wanted.strides, wanted.itemsize)],
        [wanted.itemsize] * (loop.nin + 1),
        [(loop, tuple(range(loop.nin)), (loop.nin,))],
    )
    for i in range(loop.nin):
        copies = [x.copy() for x in xs]
        same.call(*copies, copies[i])
        assert same_bits(copies[i], wanted)


def digest():
    """One number for the results of all loops."""
    found = hashlib.sha256()
    for loop in _vmath.LOOPS:
        y = apply(loop, *inputs(loop, 20_011))
        found.update(np.where(np.isnan(y), np.nan, y).tobytes())
    return found.hexdigest()


def output(program, level):
    """What a program prints on a processor of this instruction-set level."""
    env = {**os.environ, "LAZYARRAY_SIMD": str(level), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.stdout.strip() or done.stderr


@pytest.mark.parametrize("level", [0, 1])
def test_bits_do_not_depend_on_the_instruction_set(level):
    program = "import test_vmath; print(test_vmath.digest())"
    assert output(program, level) == digest()


# ---- floating-point flags

X86 = platform.machine() == "x86_64"
FLAGS = {"invalid": 1, "divide": 4 if X86 else 2, "overflow": 8 if X86 else 4}
LIBM = ctypes.CDLL(None)
FUNCTIONS = [loop for loop in _vmath.LOOPS if loop.name not in ("fmax", "fmin")]
FUNCTION_IDS = [f"{loop.name}-{loop.dtypes[0]}" for loop in FUNCTIONS]


@functools.cache
def compiler():
    return worker.load()


def in_llvm(loop):
    """The loop of the same program through the other emitter."""
    types = tuple(str(d) for d in loop.dtypes)
    inputs = tuple((kind, False) for kind in types[:-1])
    places = tuple(range(loop.nin))
    alone = sweep.Sweep(inputs, (sweep.Statement(loop.name, types, places),), (loop.nin,))
    return loader.load(compiler()({"sweep": sweep.plain(alone)}), loop.name, types, loop.nin)


@pytest.mark.parametrize("loop", FUNCTIONS, ids=FUNCTION_IDS)
def test_bits_are_those_of_the_other_emitter(loop):
    for xs in (inputs(loop, 20_011), everyday(loop)):
        assert same_bits(apply(in_llvm(loop), *xs), apply(loop, *xs))


def raised(loop, *xs):
    """The names of the flags that a loop sets."""
    kernel = one_step(loop, list(xs), [y := np.empty_like(xs[0])])
    LIBM.feclearexcept(63 if X86 else 31)
    kernel.call(*xs, y)
    found = LIBM.fetestexcept(63 if X86 else 31)
    return {name for name, bit in FLAGS.items() if found & bit}


def raised_by_numpy(name, *xs):
    """The same of NumPy's or SciPy's function."""
    found = set()
    with np.errstate(all="call", under="ignore", call=lambda kind, _: found.add(kind.split()[0])):
        reference(name)(*xs)
    return found


def everyday(loop, count=1037):
    """Arguments whose results are neither 0 nor infinite nor NaN, and no flag's reason."""
    rng = np.random.default_rng(0)
    name, dtype = loop.name, loop.dtypes[0]
    reach = 80 if dtype == F4 else 600
    wide = rng.uniform(-reach, reach, count)
    parts = [np.concatenate([rng.standard_normal(count), [0.0, -0.0, 1e-30, -1e-30]])]
    if name in ("exp", "exp2", "expm1", "sinh", "cosh"):
        parts += [wide]
    elif name in ("sin", "cos", "tan"):
        parts += [1e4 * wide, np.arange(-50, 50), np.arange(-9, 9) * (np.pi / 2)]
    elif name == "log1p":
        parts = [np.exp(wide) - 0.99, rng.uniform(-0.9, 1, count), [0.0, -0.0, 1e-40]]
    elif name.startswith("log"):
        parts = [np.exp(wide), [np.finfo(dtype).smallest_subnormal]]
    elif "power" in name:
        parts = [np.exp(rng.uniform(-5, 5, count))]
    else:
        parts += [rng.standard_normal(count) * 10.0 ** rng.integers(-30, 30, count)]
    x = np.concatenate(parts).astype(dtype)
    return [x, rng.uniform(-3, 3, x.size).astype(dtype)][: loop.nin]


@pytest.mark.parametrize("loop", FUNCTIONS, ids=FUNCTION_IDS)
def test_everyday_numbers_raise_no_flag(loop):
    xs = everyday(loop)
    assert raised(loop, *xs) == raised(in_llvm(loop), *xs) == set()


EDGES = [
    0.0, -0.0, 1, -1, 0.5, -0.5, -2, np.inf, -np.inf, np.nan, -np.nan, 40, -40, 88.8, -88, 89.3,
    -104.5, 127.9, 128, 710.2, -746, 1000, -1000, 1024.5, 2e5, -1e10, 1e17, 1e30, -1e30, 3e38,
    -3e38, 1e-40, -1e-40, 1e-45, -1e-45, 1e308, -1e308, 1e-310, -1e-310,
]  # fmt: skip


def wrong_flags(loop, ways):
    """Special arguments, among everyday ones, for which a loop does not set NumPy's flags."""
    with np.errstate(all="ignore"):
        edges = np.unique(
            np.array(EDGES).astype(loop.dtypes[0]).view(f"u{loop.dtypes[0].itemsize}")
        )
    edges = edges.view(loop.dtypes[0])
    everything = everyday(loop)
    cases = [(x,) for x in edges] if loop.nin == 1 else [(x, y) for x in edges for y in edges]
    if loop.nin == 2:
        cases = cases[:: 7 if len(ways) > 1 else 3]
    for case in cases:
        xs = [np.concatenate([x[:50], [c], x[:50]]) for x, c in zip(everything, case, strict=True)]
        wanted = raised_by_numpy(loop.name, *xs)
        if loop.nin == 2 and np.isinf(case[1]):
            wanted -= {"overflow"}  # exact, says C99; NumPy's own loop raises it for some
        for way in ways:
            if (found := raised(way, *xs)) != wanted:
                yield loop.name, case, found, wanted


@pytest.mark.parametrize("loop", FUNCTIONS, ids=FUNCTION_IDS)
def test_special_numbers_raise_the_flags_of_numpy(loop):
    assert not list(wrong_flags(loop, [loop, in_llvm(loop)]))


@pytest.mark.parametrize("level", [0, 1])
def test_flags_do_not_depend_on_the_instruction_set(level):
    program = (
        "import test_vmath as t; "
        "print([w for f in t.FUNCTIONS for w in t.wrong_flags(f, [f])],"
        " [f.name for f in t.FUNCTIONS if t.raised(f, *t.everyday(f))])"
    )
    assert output(program, level) == "[] []"


def test_flags_of_a_fused_sweep_are_those_of_its_operations():
    """What is computed of rare elements before the full program is heard of nowhere."""
    kind = ("float32", "float32")
    chain = (
        sweep.Statement("log", kind, (0,)),
        sweep.Statement("multiply", (*kind, kind[0]), (1, 1)),
    )
    chain += (sweep.Statement("exp", kind, (2,)),)
    loop = loader.load(
        compiler()({"sweep": sweep.plain(sweep.Sweep((("float32", False),), chain, (3,)))}),
        "chain", kind, 1,
    )  # fmt: skip
    x = np.linspace(0.5, 2, 2000, dtype=F4)
    assert raised(loop, x) == set()
    for number, wanted in ((np.nan, set()), (np.inf, set()), (0, {"divide"}), (-1, {"invalid"})):
        x[700] = number
        assert raised(loop, x) == wanted
