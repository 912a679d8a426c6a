"""Tier 1: compiled loops have the bits of tier 0, and no failure of a compiler reaches the user.

Loops are compiled in this process where only their bits matter; the tests of the helper process
start one, and it is shared by the tests of this file.
"""

import os
import random
import re
import stat
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _bind, _loops, tiers
from lazyarray.codegen import cache, fused, loader, service, sweep, worker
from lazyarray.codegen.operations import lookup
from lazyarray.codegen.service import HelperError, Service

F4, F8, I4, I8, U1, B1 = map(np.dtype, ("f4", "f8", "i4", "i8", "u1", "?"))


# ---- loops, compiled in this process


@pytest.fixture(scope="module")
def compiler():
    """The helper process's function, in this process."""
    compiled = worker.load()
    made = {}

    def once(request):
        key = repr(request)
        if key not in made:
            made[key] = compiled(request)
        return made[key]

    return once


def find(name, *dtypes):
    loop = _loops.find_loop(name, tuple(map(np.dtype, dtypes)))
    assert loop is not None
    return loop


def recipe_of(size, inputs, registers, steps, outputs, uniform=()):
    """A kernel over `size` elements: inputs and outputs are registers."""
    ins = [(r, (0 if r in uniform else registers[r],), registers[r]) for r in inputs]
    outs = [(r, (registers[r],), registers[r]) for r in outputs]

    def make(registers, steps):
        return _loops.elementwise((size,), ins, outs, registers, steps)

    return tiers.Recipe(registers, steps, outputs, make, list(uniform))


def improved(compiler, recipe):
    """The kernel of a recipe in tier 1."""
    found = {}
    for part in tiers.parts_of(recipe):
        if isinstance(part, fused.Run):
            code = compiler({"sweep": sweep.plain(part.sweep)})
            found[part.sweep] = tiers.loaded(part.sweep, code)
    before, tiers.state.loops = tiers.state.loops, found
    try:
        return tiers.improved(tiers.Task(recipe.kernel(), None, [], [], [], 0, "", recipe=recipe))
    finally:
        tiers.state.loops = before


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 3e-39, -1e-45, 1e30, -1e30, 88.5, -104.0, 720.0, 3e38,
           np.inf, -np.inf, np.nan, 1e5, 123456.7, 2.0**60, 1e300]  # fmt: skip


def data(dtype, size, seed):
    """Numbers of all magnitudes, and every special one."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, size).astype(bool)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        wide = rng.integers(info.min, info.max, size, dtype=dtype, endpoint=True)
        return np.where(rng.random(size) < 0.5, wide, rng.integers(0, 9, size).astype(dtype))
    found = rng.standard_normal(size) * 10.0 ** rng.integers(-3, 4, size)
    at = rng.random(size) < 0.1
    found[at] = rng.choice(SPECIAL, size)[at]
    with np.errstate(all="ignore"):
        return found.astype(dtype)


def same(ours, theirs):
    """The same bytes, any NaN being any other."""
    if ours.dtype.kind == "f":
        ours, theirs = (np.where(np.isnan(x), np.nan, x) for x in (ours, theirs))
    return ours.tobytes() == theirs.tobytes()


def unary(name, *kinds):
    return [(name, (kind, kind)) for kind in kinds]


def binary(name, *kinds):
    return [(name, (kind,) * 3) for kind in kinds]


FLOATING = ("sqrt", "reciprocal", "floor", "ceil", "trunc", "rint", "exp", "exp2", "expm1", "log",
            "log2", "log10", "log1p", "sin", "cos", "tan", "tanh", "sinh", "cosh", "erf",
            "expit")  # fmt: skip
CANDIDATES = [
    *(each for name in FLOATING for each in unary(name, F4, F8)),
    *(each for name in ("negative", "absolute", "square", "sign")
      for each in unary(name, F4, F8, I4, I8)),
    *(each for name in ("add", "subtract", "multiply", "maximum", "minimum")
      for each in binary(name, F4, F8, I4, I8)),
    *(each for name in ("add", "multiply", "bitwise_xor") for each in binary(name, U1)),
    *(each for name in ("divide", "fmax", "fmin", "copysign", "power")
      for each in binary(name, F4, F8)),
    *(each for name in ("bitwise_and", "bitwise_or", "left_shift", "right_shift")
      for each in binary(name, I4, I8)),
    *((name, (kind, kind, B1)) for name in ("less", "greater_equal", "equal", "not_equal")
      for kind in (F4, F8, I4, I8)),
    *((name, (kind, B1)) for name in ("isnan", "isfinite", "signbit") for kind in (F4, F8)),
    *(("where", (B1, kind, kind, kind)) for kind in (F4, F8, I4)),
    *(("cast", (a, b)) for a in (F4, F8, I4, I8, U1, B1) for b in (F4, F8, I4, I8, U1, B1)),
    *(("logical_and", (kind, kind, B1)) for kind in (F4, B1)), ("logical_not", (B1, B1)),
]  # fmt: skip


def can_fuse(name, dtypes):
    return lookup(name, tuple(map(str, dtypes))) is not None and _loops.find_loop(name, dtypes)


def write(seed, length):
    """A random program of loops: (registers, input registers, steps, output registers, dtypes)."""
    rng = random.Random(seed)
    choices = [each for each in CANDIDATES if can_fuse(*each)]
    kinds = [rng.choice((F4, F4, F8, I4, B1)) for _ in range(rng.randint(1, 5))]
    inputs = list(range(len(kinds)))
    steps = []
    while len(steps) < length:
        name, dtypes = rng.choice(choices)
        sources = [[r for r, k in enumerate(kinds) if k == want] for want in dtypes[:-1]]
        if not all(sources):
            continue
        # Late registers mostly, so that the program is deep.
        reads = tuple(max(rng.choice(s), rng.choice(s)) for s in sources)
        kinds.append(dtypes[-1])
        steps.append((find(name, *dtypes), reads, (len(kinds) - 1,)))
    computed = list(range(len(inputs), len(kinds)))
    outputs = sorted({computed[-1], *rng.sample(computed, min(len(computed), rng.randint(0, 3)))})
    uniform = [r for r in inputs if rng.random() < 0.2 and len(inputs) > 1]
    return kinds, inputs, steps, outputs, uniform


def check(compiler, seed, length, size=1500):
    kinds, inputs, steps, outputs, uniform = write(seed, length)
    registers = [kind.itemsize for kind in kinds]
    recipe = recipe_of(size, inputs, registers, steps, outputs, uniform)
    xs = [data(kinds[r], 1 if r in uniform else size, seed + r) for r in inputs]
    results = []
    for kernel in (recipe.kernel(), improved(compiler, recipe)):
        ys = [np.empty(size, kinds[r]) for r in outputs]
        kernel.call(*xs, *ys)
        results.append(ys)
    for register, ours, theirs in zip(outputs, results[1], results[0], strict=True):
        assert same(ours, theirs), (seed, register, steps)


@pytest.mark.parametrize("seed", range(15))
def test_bits_of_random_programs(compiler, seed):
    check(compiler, seed, 2 + seed % 12)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(10))
def test_bits_of_many_random_programs(compiler, share):
    for seed in range(1000 + share, 3000, 10):
        check(compiler, seed, 2 + seed % 40)


def groups():
    """The candidates that fuse, a few of the same dtypes together."""
    found = {}
    for name, dtypes in CANDIDATES:
        if can_fuse(name, dtypes):
            found.setdefault(dtypes, []).append(name)
    for dtypes, names in found.items():
        for begin in range(0, len(names), 6):
            yield dtypes, names[begin : begin + 6]


def test_every_operation_is_compiled(compiler):
    """Those of the same dtypes side by side; one more where there is only one, for a run."""
    size = 700
    for dtypes, names in groups():
        nin = len(dtypes) - 1
        names = names if len(names) > 1 else names * 2
        outputs = list(range(nin, nin + len(names)))
        steps = [
            (find(name, *dtypes), tuple(range(nin)), (out,))
            for name, out in zip(names, outputs, strict=True)
        ]
        registers = [kind.itemsize for kind in dtypes[:-1]] + [dtypes[-1].itemsize] * len(names)
        recipe = recipe_of(size, list(range(nin)), registers, steps, outputs)
        xs = [data(kind, size, 3 + i) for i, kind in enumerate(dtypes[:-1])]
        results = []
        for kernel in (recipe.kernel(), improved(compiler, recipe)):
            results.append([np.empty(size, dtypes[-1]) for _ in names])
            kernel.call(*xs, *results[-1])
        for name, ours, theirs in zip(names, *results[::-1], strict=True):
            assert same(ours, theirs), (name, dtypes)


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 511, 512, 513, 1024, 5000, 20_000])
@pytest.mark.parametrize("rare", [False, True])
def test_an_output_in_an_inputs_memory(compiler, size, rare):
    """Elements that need the full program are computed from what the input was."""
    steps = [(find("sin", F4, F4), (0,), (2,)), (find("add", F4, F4, F4), (2, 1), (3,)),
             (find("multiply", F4, F4, F4), (3, 0), (4,))]  # fmt: skip
    recipe = recipe_of(size, [0, 1], [4] * 5, steps, [3, 4])
    a, b = data(F4, size, 1), data(F4, size, 2)
    if rare:
        a[size // 2] = 3e37
    else:
        a, b = np.tanh(a), np.tanh(b)
    wanted = [np.empty(size, F4) for _ in range(2)]
    recipe.kernel().call(a, b, *wanted)
    faster = improved(compiler, recipe)
    for first, second in ((0, None), (None, 1), (1, 0), (None, None)):
        xs = [a.copy(), b.copy()]
        ys = [np.empty(size, F4) if i is None else xs[i] for i in (first, second)]
        faster.call(*xs, *ys, pieces=3)
        assert all(map(same, ys, wanted)), (first, second)


def test_a_loop_calls_nothing(compiler):
    """Neither the mathematics library, nor Python."""
    steps = [(find("exp", F4, F4), (0,), (1,)), (find("sin", F4, F4), (1,), (2,)),
             (find("sqrt", F4, F4), (2,), (3,))]  # fmt: skip
    (run,) = fused.compress(steps, [3])
    code = compiler({"sweep": sweep.plain(run.sweep)})
    assert worker.unresolved(code) <= {"memcpy"}


# ---- sweeps


def test_a_sweep_knows_no_register_and_no_size():
    add, root = find("add", F4, F4, F4), find("sqrt", F4, F4)
    (a,) = fused.compress([(add, (0, 1), (2,)), (root, (2,), (3,))], [3])
    (b,) = fused.compress([(add, (7, 5), (5,)), (root, (5,), (7,))], [7])
    assert a.sweep == b.sweep
    assert (a.reads, a.writes, b.reads, b.writes) == ((0, 1), (3,), (7, 5), (7,))
    (c,) = fused.compress([(add, (0, 0), (2,)), (root, (2,), (3,))], [3])
    assert c.sweep != a.sweep
    (d,) = fused.compress([(add, (0, 1), (2,)), (root, (2,), (3,))], [3], uniform=[1])
    assert d.sweep.inputs == (("float32", False), ("float32", True))
    assert sweep.expression(d.sweep) == "sqrt((x0 + x1))"


def test_a_sweep_can_be_read():
    add, root, less = find("add", F4, F4, F4), find("sqrt", F4, F4), find("less", F4, F4, B1)
    steps = [(add, (0, 1), (2,)), (root, (2,), (3,)), (add, (2, 3), (4,)), (less, (4, 0), (5,))]
    (run,) = fused.compress(steps, [4, 5], uniform=[1])
    assert sweep.listing(run.sweep) == textwrap.dedent("""\
        # t0 = x0 + x1; t2 = t0 + sqrt(t0); t2 < x0
        def sweep(x0: float32, x1: float32):
            # one element for all: x1
            t0 = add[float32](x0, x1)
            t1 = sqrt[float32](t0)
            y2 = add[float32](t0, t1)
            y3 = less[float32, bool](y2, x0)
            return y2, y3
    """)


def test_what_is_read_later_is_stored():
    add = find("add", F4, F4, F4)
    steps = [(add, (0, 1), (2,)), (add, (2, 1), (3,)), ("other", (2,), (4,)),
             (add, (4, 3), (2,)), (add, (2, 2), (5,))]  # fmt: skip
    first, other, second = fused.compress(steps, [5])
    assert (first.reads, first.writes) == ((0, 1), (2, 3))
    assert other == steps[2]
    assert (second.reads, second.writes) == ((4, 3), (5,))


def test_a_register_that_a_step_writes_is_uniform_no_more():
    add = find("add", F4, F4, F4)
    steps = [(add, (0, 1), (2,)), (add, (2, 1), (1,)), ("other", (), ()), (add, (0, 1), (3,)),
             (add, (3, 3), (3,))]  # fmt: skip
    first, _, second = fused.compress(steps, [3], uniform=[1])
    assert [uniform for _, uniform in first.sweep.inputs] == [False, True]
    assert [uniform for _, uniform in second.sweep.inputs] == [False, False]


def test_a_loop_without_a_program_stays():
    half = find("add", "f2", "f2", "f2")
    single = find("add", F4, F4, F4)
    steps = [(half, (0, 1), (2,)), (single, (3, 4), (5,)), (half, (2, 2), (2,))]
    assert fused.compress(steps, [2, 5]) == steps


def test_a_value_read_as_another_type_is_stored():
    add, shift = find("add", F4, F4, F4), find("add", I4, I4, I4)
    steps = [(add, (0, 1), (2,)), (add, (2, 1), (2,)), (shift, (2, 2), (3,)), (shift, (3, 3), (4,))]
    first, second = fused.compress(steps, [4])
    assert first.writes == (2,) and second.reads == (2,)
    assert second.sweep.inputs == (("int32", False),)


def test_a_run_ends_where_its_operands_are_too_many(compiler):
    add = find("add", F4, F4, F4)
    inputs = list(range(100))
    steps = [(add, (0, 1), (100,))]
    steps += [(add, (i, 100), (100,)) for i in range(2, 100)]
    parts = fused.compress(steps, [100])
    assert len(parts) > 2
    assert all(len(p.reads) + len(p.writes) <= fused.OPERANDS for p in parts)
    recipe = recipe_of(300, inputs, [4] * 101, steps, [100])
    xs = [data(F4, 300, i) for i in inputs]
    ys = [np.empty(300, F4) for _ in range(2)]
    recipe.kernel().call(*xs, ys[0])
    improved(compiler, recipe).call(*xs, ys[1])
    assert same(*ys)


# ---- cache


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("LAZYARRAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "loops"


KEY = cache.key_of("a")


def test_cache_keeps_content(store):
    assert cache.get(KEY) is None
    cache.put(KEY, b"content")
    assert cache.get(KEY) == b"content"
    assert [p.name for p in store.iterdir()] == [KEY]
    assert cache.key_of("a", "b") != cache.key_of("ab") != cache.key_of("a")


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-1] + b"?", lambda b: b""])
def test_damaged_entry_is_a_miss_and_is_removed(store, damage):
    cache.put(KEY, b"content")
    path = store / KEY
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(KEY) is None
    assert not path.exists()
    cache.put(KEY, b"content")
    assert cache.get(KEY) == b"content"


def test_cache_is_bounded(store, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 10_000)
    (store.parent / "mine").mkdir(parents=True)
    stranger = store / "notes.txt"
    keys = [cache.key_of(str(i)) for i in range(20)]
    for turn, key in enumerate(keys):
        cache.put(key, b"x" * 1000)
        os.utime(store / key, (turn, turn))
        if not turn:
            stranger.write_text("y" * 20_000)
            os.utime(stranger, (0, 0))
        elif (store / keys[0]).exists():
            assert cache.get(keys[0]) is not None  # which makes it the newest
    assert sum(p.stat().st_size for p in store.iterdir() if p != stranger) <= 10_000
    assert (store / keys[0]).exists() and (store / keys[-1]).exists()
    assert not (store / keys[1]).exists()
    assert stranger.exists()


def test_folder_that_cannot_be_used_is_no_cache(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", "/proc/nowhere", "/dev/full/x"):
        monkeypatch.setenv("LAZYARRAY_CACHE", str(place))
        cache.put(KEY, b"content")
        assert cache.get(KEY) is None


def test_full_disk_leaves_nothing(store, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.put(KEY, b"content")
    assert list(store.iterdir()) == []


def test_folder_that_anybody_can_write_is_not_trusted(store):
    cache.put(KEY, b"content")
    store.chmod(0o777)
    assert cache.get(KEY) is None
    store.chmod(0o755)
    assert cache.get(KEY) == b"content"
    assert stat.S_IMODE((store / KEY).stat().st_mode) == 0o600


# ---- plans


@pytest.fixture
def auto(store, monkeypatch):
    """Tier 1 as users have it, with a cache of its own; plans are hot at their second run."""
    yield from in_mode(tiers.AUTO, monkeypatch)


@pytest.fixture
def always(store, monkeypatch):
    yield from in_mode(tiers.ALWAYS, monkeypatch)


def in_mode(mode, monkeypatch):
    fresh = tiers.State(mode)
    monkeypatch.setattr(tiers, "state", fresh)
    monkeypatch.setattr(tiers, "HEAT", 1)
    _bind.clear_plans()
    yield fresh
    tiers.state = fresh
    tiers.close()
    _bind.clear_plans()
    tiers.complaints.clear()


def expression(xp, x, y):
    return xp.sqrt(xp.abs(x) + y) * x - y * y


def arrays(size=3000):
    rng = np.random.default_rng(size)
    return rng.standard_normal(size, F4), rng.random(size, F4)


def evaluate():
    x, y = arrays()
    return expression(la, la.asarray(x), la.asarray(y)).numpy()


def wanted():
    return expression(np, *arrays())


def ran_compiled():
    return la.stats()["compiled_tasks"]


def test_a_plan_that_runs_twice_is_compiled(auto):
    results = [evaluate(), evaluate()]
    tiers.settle()
    before = ran_compiled()
    results.append(evaluate())
    assert ran_compiled() == before + 1
    assert auto.counts["compiled"] == auto.counts["swaps"] == 1
    assert auto.counts["compile_seconds"] > 0
    assert all(same(each, wanted()) for each in results)


def test_a_plan_that_runs_once_is_not(auto):
    evaluate()
    tiers.settle()
    assert auto.counts["compiled"] == 0 and auto.service.process is None


def test_a_plan_that_takes_long_is_compiled_at_once(auto, monkeypatch):
    monkeypatch.setattr(tiers, "FIRST_HEAT", 1)
    evaluate()
    tiers.settle()
    assert auto.counts["swaps"] == 1


def test_another_shape_finds_the_loop(auto):
    evaluate(), evaluate()
    tiers.settle()
    before = ran_compiled()
    x, y = arrays(77)
    found = expression(la, la.asarray(x), la.asarray(y)).numpy()
    assert ran_compiled() == before + 1
    assert auto.counts["compiled"] == 1
    assert same(found, expression(np, x, y))


def test_another_number_finds_the_loop(auto):
    x = la.asarray(arrays()[0])
    for number in (2.0, 3.0, 4.0):
        (la.tanh(x) * number + 1).wait()
        tiers.settle()
    assert auto.counts["compiled"] == 1


def test_a_later_process_finds_the_loop_on_disk(auto, monkeypatch):
    evaluate(), evaluate()
    tiers.settle()
    for mode, urge in ((tiers.AUTO, "LOOK_HEAT"), (tiers.AUTO, "HEAT"), (tiers.ALWAYS, "HEAT")):
        monkeypatch.setattr(tiers, urge, 1)
        second = tiers.State(mode)
        monkeypatch.setattr(tiers, "state", second)
        _bind.clear_plans()
        evaluate(), evaluate()
        tiers.settle()
        assert second.counts["cache_hits"] == 1 and second.counts["compiled"] == 0
        assert second.service.process is None
        assert same(evaluate(), wanted())
        tiers.close()


def test_entry_that_is_no_loop_is_compiled_again(auto, store):
    evaluate(), evaluate()
    tiers.settle()
    (entry,) = store.iterdir()
    auto.loops.clear()
    _bind.clear_plans()
    entry.write_bytes(entry.read_bytes()[:-5])
    evaluate(), evaluate()
    tiers.settle()
    assert auto.counts["compiled"] == 2
    assert same(evaluate(), wanted())


def test_compiled_before_the_first_run(always):
    before = ran_compiled()
    assert same(evaluate(), wanted())
    assert ran_compiled() == before + 1


def test_kernels_in_flight_keep_theirs(auto):
    """Swapped while frames of the plan wait for their turn."""
    x, y = (la.asarray(each) for each in arrays(200_000))
    gate = threading.Event()
    results = []
    for turn in range(50):
        results.append(expression(la, x, y))
        la.eval(results[-1])
        if turn == 25:
            tiers.settle()
            gate.set()
    assert auto.counts["swaps"] == 1
    want = expression(np, *arrays(200_000))
    assert all(same(each.numpy(), want) for each in results)


def test_executors_are_compiled(always):
    net = la.symbol.Variable("x")
    net = la.symbol.tanh(net * 2 + 1)
    bound = net.bind(args={"x": la.asarray(arrays()[0])})
    before = ran_compiled()
    bound.forward()[0].wait()
    assert ran_compiled() > before


def test_traced_functions_are_compiled(auto):
    @la.jit
    def function(x, y):
        return expression(la, x, y)

    x, y = (la.asarray(each) for each in arrays())
    for _ in range(4):
        assert same(function(x, y).numpy(), wanted())
        tiers.settle()
    before = ran_compiled()
    assert same(function(x, y).numpy(), wanted())
    assert ran_compiled() > before


# ---- what goes wrong


def fake(tmp_path, monkeypatch, body):
    """A helper process that does something else."""
    path = tmp_path / "fake.py"
    source = Path(worker.__file__).read_text().replace("code = compiled(request)", body)
    assert body in source
    path.write_text(source.replace("Path(__file__)", f"Path({worker.__file__!r})"))
    monkeypatch.setattr(service, "WORKER", path)


def test_failed_compile_is_one_warning_with_the_line(auto, tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "raise RuntimeError('this one cannot be')")
    evaluate(), evaluate()
    tiers.settle()
    with pytest.warns(RuntimeWarning) as caught:
        assert same(evaluate(), wanted())
    (warning,) = caught
    text = str(warning.message)
    assert "(sqrt((absolute(x0) + x1)) * x0) - (x1 * x1)" in text and "this one cannot be" in text
    assert warning.filename == __file__
    line = Path(__file__).read_text().splitlines()[warning.lineno - 1]
    assert line.strip() == "return xp.sqrt(xp.abs(x) + y) * x - y * y"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            assert same(evaluate(), wanted())
    tiers.settle()
    assert auto.counts["compile_failures"] == 1
    assert auto.service.failures == 0


FAULTS = {
    "dies": "os._exit(1)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "hangs": "time.sleep(1000)",
    "spins": "exec('while True: pass')",
    "babbles": "os.write(sink.fileno(), b'hello, world'); os._exit(0)",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.replace(" ", "_"))
def test_helper_process_that_fails_is_replaced(auto, tmp_path, monkeypatch, fault):
    broken = 1 if fault in ("hangs", "spins") else 2
    monkeypatch.setattr(service, "COMPILE_SECONDS", 0.2 if broken == 1 else 60.0)
    flag = tmp_path / "runs"
    fake(tmp_path, monkeypatch, f"with open({str(flag)!r}, 'a') as f: f.write('x')\n"
         + " " * 12 + FAULTS[fault] + "\n            code = b''")  # fmt: skip
    evaluate(), evaluate()
    tiers.settle()
    assert same(evaluate(), wanted())
    assert auto.counts["compile_failures"] == 1 and flag.read_text() == "x"
    assert auto.service.process is None and not auto.service.absent
    monkeypatch.setattr(service, "WORKER", Path(worker.__file__))
    monkeypatch.setattr(service, "COMPILE_SECONDS", 60.0)
    x = la.asarray(arrays()[0])
    for _ in range(2):
        (x * x + 1).wait()
    tiers.settle()
    assert auto.counts["compiled"] == 1


def test_helper_process_that_always_fails_is_not_started_for_ever(auto, tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "os._exit(1)")
    x = la.asarray(arrays()[0])
    for turn in range(6):
        for _ in range(2):
            y = x
            for _ in range(turn + 2):
                y = y * x
            y.wait()
        tiers.settle()
    assert auto.service.absent
    assert auto.counts["compile_failures"] == service.FAILURES


@pytest.mark.parametrize("program", ["", "/nowhere/python", "/bin/false"])
def test_no_helper_process(auto, monkeypatch, program):
    monkeypatch.setattr(sys, "executable", program)
    for _ in range(3):
        evaluate()
        tiers.settle()
    assert same(evaluate(), wanted())
    assert auto.counts["compiled"] == 0 and auto.service.process is None


def test_helper_process_takes_what_is_left(auto):
    """The lowest priority, away from the terminal's signals, and its memory back when idle."""
    evaluate(), evaluate()
    tiers.settle()
    pid = auto.service.process.pid
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    assert os.getpgid(pid) == pid and os.getsid(pid) == os.getsid(0)


def test_idle_helper_process_is_ended(auto, monkeypatch):
    monkeypatch.setattr(tiers, "IDLE_SECONDS", 0.01)
    evaluate(), evaluate()
    tiers.settle()
    process = auto.service.process
    if process is not None:
        process.wait(60)
    (la.asarray(arrays()[0]) * 2 + 1).wait()
    assert auto.service.failures == 0


def test_no_llvmlite(auto, monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    loader.binding.cache_clear()
    loader.target.cache_clear()
    evaluate(), evaluate()
    tiers.settle()
    assert same(evaluate(), wanted()) and not tiers.complaints
    assert auto.counts["compile_failures"] == 0
    loader.binding.cache_clear()


def test_request_when_there_is_no_room_is_made_again(auto, monkeypatch):
    monkeypatch.setattr(tiers, "REQUESTS", 0)
    for _ in range(3):
        evaluate()
    tiers.settle()
    assert auto.counts["compiled"] == 0
    monkeypatch.setattr(tiers, "REQUESTS", 256)
    for _ in range(12):
        evaluate()
    tiers.settle()
    assert auto.counts["compiled"] == 1


def test_mode_is_checked():
    with pytest.raises(la.errors.OptionError, match="LAZYARRAY_TIER: expected 0, 1 or auto"):
        tiers.set_mode("2")


def test_service_reports_what_happened(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "os._exit(1)")
    helper = Service()
    for _ in range(service.FAILURES):
        with pytest.raises(HelperError, match="ended"):
            helper.compile([])
    with pytest.raises(HelperError, match="absent"):
        helper.compile([])


# ---- processes


PROGRAM = """
    import os, sys, numpy as np
    import lazyarray as la
    from lazyarray import tiers
    tiers.HEAT = 1
    def run(scale=2.0, size=5000):
        x = la.asarray(np.linspace(-3, 3, size, dtype="f4"))
        return (la.sqrt(la.abs(x) + 1) * scale - x * x).numpy().tobytes()
"""


def python(body, cache_at, tier="auto", **environment):
    """Run a script; what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM) + textwrap.dedent(body)],
        env={**os.environ, "LAZYARRAY_TIER": tier, "LAZYARRAY_CACHE": str(cache_at), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        cwd=cache_at,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split()


def gone(pid):
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


HANGING = """
    from lazyarray.codegen import service
    import pathlib
    text = service.WORKER.read_text().replace("code = compiled(request)", "time.sleep(1000)")
    path = pathlib.Path("fake.py").absolute()
    path.write_text(text.replace("Path(__file__)", f"pathlib.Path({str(service.WORKER)!r})")
        .replace("import json", "import json, pathlib", 1))
    service.WORKER = path
    run(), run()
    while tiers.state.service.process is None: pass
    print(tiers.state.service.process.pid)
"""


def test_exit_while_it_compiles(tmp_path):
    (pid,) = python(HANGING, tmp_path)
    assert gone(pid)


def test_exit_without_helper(tmp_path):
    python("run(), run(), run()", tmp_path)


def test_process_that_is_killed_leaves_no_helper(tmp_path):
    """The helper ends with its input, as soon as it is done."""
    script = """
        run(), run()
        tiers.settle()
        print(tiers.state.service.process.pid, flush=True)
        os._exit(0)
    """
    (pid,) = python(script, tmp_path)
    descriptor = os.pidfd_open(int(pid)) if not gone(pid) else None
    if descriptor is not None:
        import select

        assert select.select([descriptor], [], [], 60)[0]
        os.close(descriptor)


def test_two_processes_share_the_cache(tmp_path):
    script = """
        a = run(); run(); tiers.settle(); assert run() == a
        s = la.stats()
        print(s["compiled"], s["cache_hits"], s["swaps"])
    """
    first = python(script, tmp_path)
    second = python(script, tmp_path)
    assert first == ["1", "0", "1"] and second == ["0", "1", "1"]


def test_processes_at_the_same_time(tmp_path):
    script = """
        for scale in range(3):
            a = run(); run(); tiers.settle(); assert run() == a
        print(la.stats()["swaps"])
    """
    threads = []
    results = []
    for _ in range(3):
        threads.append(threading.Thread(target=lambda: results.append(python(script, tmp_path))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert results == [["1"]] * 3


FORK = """
    a = run(); run(); {before}
    child = os.fork()
    if not child:
        for _ in range(2): assert run(size=777) and run() == a
        x = la.asarray(np.linspace(1, 3, 5000, dtype="f4"))
        for _ in range(2): (x * x * x).wait()
        tiers.settle()
        assert la.stats()["swaps"] >= 1, la.stats()
        print("child", flush=True)
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    assert run() == a
    tiers.settle()
    assert la.stats()["swaps"] >= 1
    print("parent")
"""


@pytest.mark.parametrize("before", ["pass", "tiers.settle()"])
def test_fork(tmp_path, before):
    script = FORK.format(before=before)
    assert python(script, tmp_path, PYTHONWARNINGS="ignore") == ["child", "parent"]


def test_tier_0_starts_nothing(tmp_path):
    script = """
        for _ in range(5): run()
        import threading
        assert "llvmlite" not in sys.modules and threading.active_count() == 1
        assert tiers.state.service.process is None
    """
    python(script, tmp_path, tier="0")


def test_the_import_is_light(tmp_path):
    python("assert not {'llvmlite', 'numba'} & set(sys.modules)", tmp_path)


def test_explains_itself():
    doc = la.stats.__doc__
    for name in tiers.counters():
        assert re.search(rf"\b{name}\b", doc), name
