"""Draws from NumPy's streams are lazy: in program order, once, in every mode, errors located."""

import sys
import threading

import numpy as np
import pytest
from streams import ARRAYS, FAMILIES, check, check_state, pair

import lazyarray as la
from lazyarray import _engine, _ir
from lazyarray.errors import DTypeError


def test_draws_are_recorded():
    ours, theirs = pair()
    before = la.stats()
    drawn = [ours.normal(size=1000) for _ in range(10)]
    after = la.stats()
    assert after["tasks"] == before["tasks"]
    assert after["records"] > before["records"]
    wanted = [theirs.normal(size=1000) for _ in range(10)]
    for got, want in reversed(list(zip(drawn, wanted, strict=True))):
        check(got, want)


def test_dropped_draws_count():
    ours, theirs = pair()
    for _ in range(10):
        ours.normal(size=100)
        theirs.normal(size=100)
    check(ours.random(3), theirs.random(3))
    ours.choice(10, 3, replace=False)
    theirs.choice(10, 3, replace=False)
    check_state(ours, theirs)


def test_pending_work_is_bounded():
    ours, theirs = pair()
    for _ in range(6000):
        ours.random(2)
        theirs.random(2)
    assert _ir.current().count < 10_000
    check(ours.random(3), theirs.random(3))


def test_each_draw_runs_once():
    ours, theirs = pair()
    x = ours.normal(size=100)
    y = x * 2
    z = x + y
    n = theirs.normal(size=100)
    np.testing.assert_array_equal(y.numpy(), n * 2)
    np.testing.assert_array_equal(z.numpy(), n + n * 2)
    check(x, n)
    check(ours.random(), theirs.random())


def test_a_new_draw_finds_the_old_plan():
    ours, _ = pair()
    lowerings = []
    for i in range(5):
        before = la.stats()["lowerings"]
        (ours.normal(i, 1 + i, size=(50, 50)) * 2).wait()
        lowerings.append(la.stats()["lowerings"] - before)
    assert lowerings[2:] == [0, 0, 0]


def test_a_sample_needs_no_copy():
    ours, _ = pair()
    x = ours.normal(size=1 << 20)
    before = la.memory.stats()["in_use"]
    x.wait()
    assert la.memory.stats()["in_use"] - before < 1.3 * x.nbytes


def test_a_generator_holds_no_sample():
    ours, _ = pair()
    before = la.memory.stats()["in_use"]
    x = ours.normal(size=1 << 20).wait()
    held = la.memory.stats()["in_use"]
    x += 1
    x.wait()
    assert la.memory.stats()["in_use"] == held
    del x
    assert la.memory.stats()["in_use"] - before < 1 << 12


def test_samples_are_arrays_like_others():
    ours, theirs = pair()
    x, n = ours.normal(size=(4, 5)), theirs.normal(size=(4, 5))
    x += 1
    n += 1
    v, w = x[1:3].T, n[1:3].T
    v *= 2
    w *= 2
    np.testing.assert_array_equal(x.numpy(), n)
    seen = np.asarray(x)
    seen[0] = 7
    n[0] = 7
    np.testing.assert_array_equal((x + 0).numpy(), n)
    np.testing.assert_array_equal(ours.random((3, 2)).T.numpy(), theirs.random((3, 2)).T)
    np.testing.assert_array_equal(
        (ours.random(5, "f4") @ la.ones(5, dtype="f4")).numpy(),
        (la.array(theirs.random(5, "f4")) @ la.ones(5, dtype="f4")).numpy(),
    )


def program(r, m):
    """Draws of all sorts, one on top of the other."""
    x = r.normal(size=200)
    y = r.integers(1, 50, size=200)
    z = r.poisson(m.abs(x) * y)
    r.random(3)
    order = r.permutation(200)
    w = r.uniform(x.min(), x.max() + 1, (3, 200))
    r.shuffle(y)
    q = r.choice(200, 50, replace=False)
    return [x, y, z, order, w, q, r.standard_normal(5), r.random()]


@pytest.mark.parametrize("workers", [1, 2, 8, "naive"])
def test_engine_modes(workers):
    ours, theirs = pair()
    before = _engine.engine_kind(), _engine.workers()
    try:
        if workers == "naive":
            _engine.set_engine("naive")
        else:
            _engine.set_engine("threaded")
            _engine.set_workers(workers)
        for got, want in zip(program(ours, la), program(theirs, np), strict=True):
            check(got, want)
        check_state(ours, theirs)
    finally:
        _engine.set_engine(before[0])
        _engine.set_workers(before[1])


def test_threads_have_generators_of_their_own():
    wanted = [program(np.random.default_rng(i), np) for i in range(4)]
    found = [None] * 4

    def draw(i):
        found[i] = program(la.random.default_rng(i), la)

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, want in zip(found, wanted, strict=True):
        for a, b in zip(got, want, strict=True):
            check(a, b)


@pytest.mark.parametrize("compiled", [False, True])
def test_threads_share_a_generator(compiled):
    ours, theirs = pair()
    parts = [[] for _ in range(4)]
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    step = la.jit(lambda: ours.random(2)) if compiled else lambda: ours.random(2)

    def draw(part):
        for i in range(200):
            part.append(step() if i % 3 else ours.uniform(np.float64(0), la.ones(2)))
            if i % 50 == 0:
                part[-1].wait()

    threads = [threading.Thread(target=draw, args=(part,)) for part in parts]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(old)
    got = sorted(tuple(x.tolist()) for part in parts for x in part)
    assert got == sorted(tuple(x) for x in theirs.random((800, 2)).tolist())
    check_state(ours, theirs)


# ---- jit


def test_jit_draws_anew():
    ours, theirs = pair()
    step = la.jit(lambda x: x + ours.normal(size=3))
    for i in range(5):
        check(step(la.full(3, float(i))), np.full(3, float(i)) + theirs.normal(size=3))
    assert step.stats["runs"] >= 3
    check_state(ours, theirs)


def test_jit_goes_on_after_the_state_is_set():
    ours, theirs = pair()
    step = la.jit(lambda: ours.normal(size=3))
    check(step(), theirs.normal(size=3))
    check(step(), theirs.normal(size=3))
    for each in (ours, theirs):
        each.bit_generator.state = np.random.PCG64(9).state
    for _ in range(4):
        check(step(), theirs.normal(size=3))
        check(ours.random(), theirs.random())
    check_state(ours, theirs)


def test_jit_with_a_held_bit_generator():
    bits = np.random.PCG64(3)
    ours, theirs = la.random.Generator(bits), np.random.default_rng(np.random.PCG64(3))
    step = la.jit(lambda: ours.normal(size=3))
    for _ in range(5):
        check(step(), theirs.normal(size=3))
    assert repr(bits.state) == repr(theirs.bit_generator.state)


def test_jit_of_numbers_arrays_and_shuffles():
    ours, theirs = pair()

    def one(r, m, x, scale):
        r.shuffle(x)
        return r.normal(x, scale) + r.uniform(0, scale, 4) + r.choice(4, 4, replace=False)

    step = la.jit(lambda x, scale: one(ours, la, x, scale))
    a, b = la.arange(4.0), np.arange(4.0)
    for scale in (1.0, 2.0, 2.0, 3.0, 3.0):
        check(step(a, scale), one(theirs, np, b, scale))
    np.testing.assert_array_equal(a.numpy(), b)
    check_state(ours, theirs)


def test_jit_of_functions_of_old():
    step = la.jit(lambda: la.random.rand(3) + la.random.normal())
    la.random.seed(3)
    np.random.seed(3)
    for _ in range(4):
        check(step(), np.random.rand(3) + np.random.normal())
    assert step.stats["runs"] > 0
    la.random.seed(4)
    np.random.seed(4)
    for _ in range(2):
        check(step(), np.random.rand(3) + np.random.normal())
    before = la.random.get_bit_generator()
    try:
        la.random.set_bit_generator(np.random.PCG64(3))
        theirs = np.random.RandomState(np.random.PCG64(3))
        for _ in range(4):
            check(step(), theirs.rand(3) + theirs.normal())
    finally:
        la.random.set_bit_generator(before)


def test_jit_that_makes_a_generator():
    step = la.jit(lambda: la.random.default_rng(3).random(3))
    for _ in range(3):
        check(step(), np.random.default_rng(3).random(3))
    fresh = la.jit(lambda: la.random.default_rng().random(3))
    assert len({tuple(fresh().tolist()) for _ in range(3)}) == 3


# ---- gradients


def test_samples_are_constants_to_a_gradient():
    ours, theirs = pair()
    w = la.ones(3)
    w.attach_grad()
    for _ in range(3):
        with la.autograd.record():
            loss = (w * ours.normal(size=3) + ours.normal(w, 0.0)).sum()
        loss.backward()
        np.testing.assert_array_equal(w.grad.numpy(), theirs.normal(size=3))
        theirs.normal(np.ones(3), 0.0)
    before = la.stats()["tape_bytes"]
    for _ in range(20):
        with la.autograd.record():
            ours.normal(w, 1.0).wait()
    assert la.stats()["tape_bytes"] == before
    check(ours.random(), [theirs.normal(np.ones(3)) for _ in range(20)] and theirs.random())


# ---- errors

WRONG = {
    "beta": (-1, 2), "binomial": (5, 1.5), "chisquare": (-1,), "exponential": (-1,),
    "f": (0, 1), "gamma": (-1,), "geometric": (0,), "gumbel": (0, -1),
    "hypergeometric": (1, 2, 5), "laplace": (0, -1), "logistic": (0, -1), "lognormal": (0, -1),
    "logseries": (1.5,), "negative_binomial": (5, 2.0), "noncentral_chisquare": (1, -1),
    "noncentral_f": (1, 1, -1), "normal": (0, -1), "pareto": (-1,), "poisson": (-1,),
    "power": (-1,), "rayleigh": (-1,), "standard_gamma": (-1,), "standard_t": (0,),
    "triangular": (2, 1, 3), "vonmises": (0, -1), "wald": (0, 1), "weibull": (-1,), "zipf": (1,),
    "dirichlet": ([-1.0, 1.0],), "multinomial": (5, [0.9, 0.9, 0.1]),
    "multivariate_normal": ([0.0, 1.0], [[1.0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_numbers_are_refused_at_once(family, name):
    ours, theirs = pair(family)
    for size in (None, 3):
        with pytest.raises(ValueError) as wanted:
            getattr(theirs, name)(*WRONG[name], size=size)
        with pytest.raises(ValueError) as found:
            getattr(ours, name)(*WRONG[name], size=size)
        assert str(found.value) == str(wanted.value)
    check(ours.random(3), theirs.random(3))


@pytest.mark.parametrize("name", [name for name in WRONG if name in ARRAYS])
def test_wrong_lazy_parameters_are_refused_at_the_wait(name):
    ours, theirs = pair()
    given = [la.full(2, each) for each in WRONG[name]]
    with pytest.raises(ValueError) as wanted:
        getattr(theirs, name)(*[np.full(2, each) for each in WRONG[name]])
    drawn = getattr(ours, name)(*given)
    dependent = drawn + 1
    after = ours.random(3)
    check(after, theirs.random(3))
    for each in (drawn, dependent, drawn):
        with pytest.raises(ValueError) as found:
            each.wait()
        assert str(wanted.value) in str(found.value)
        assert "test_random_lazy.py" in "".join(found.value.__notes__)
    check_state(ours, theirs)


def test_wrong_calls():
    ours, theirs = pair()
    old, numpys = pair("RandomState", "MT19937")
    for call in (
        lambda r, m: r.integers(5, 5),
        lambda r, m: r.integers(0, 300, dtype="u1"),
        lambda r, m: r.integers(-1, 3, dtype="u1"),
        lambda r, m: r.integers(3, dtype="f4"),
        lambda r, m: r.integers(np.array([3, 4]), np.array([3, 9])),
        lambda r, m: r.integers("a"),
        lambda r, m: r.normal(size=(2, -1)),
        lambda r, m: r.normal(size=2.5),
        lambda r, m: r.normal(m.zeros(3), size=2),
        lambda r, m: r.normal(m.zeros(3), m.ones(2)),
        lambda r, m: r.normal(np.ones(3), -np.ones(3)),
        lambda r, m: r.normal("a"),
        lambda r, m: r.normal(1j),
        lambda r, m: r.binomial(m.array([1.5]), 0.5),
        lambda r, m: r.uniform(-np.finfo(float).max, np.finfo(float).max),
        lambda r, m: r.random(dtype="i4"),
        lambda r, m: r.standard_gamma(1, dtype="f2"),
        lambda r, m: r.choice(0),
        lambda r, m: r.choice(-3, 2),
        lambda r, m: r.choice(2.5),
        lambda r, m: r.choice(m.array([])),
        lambda r, m: r.choice(3, 5, replace=False),
        lambda r, m: r.choice(3, p=[0.5, 0.5]),
        lambda r, m: r.choice(2, p=[0.5, 0.6]),
        lambda r, m: r.choice(3, 3, False, [0.5, 0.5, 0]),
        lambda r, m: r.choice(m.zeros((2, 2)), axis=2),
        lambda r, m: r.shuffle(m.zeros(3), axis=1),
        lambda r, m: r.shuffle(m.broadcast_to(m.zeros(3), (2, 3))),
        lambda r, m: r.permutation(m.zeros(3), axis=1),
        lambda r, m: r.permuted(m.zeros(3), axis=1),
        lambda r, m: r.permuted(m.zeros(3), out=m.zeros(4)),
        lambda r, m: r.dirichlet(m.zeros((2, 2))),
        lambda r, m: r.multinomial(3, 0.5),
        lambda r, m: r.multivariate_normal([0], [[1]], check_valid="maybe"),
        lambda r, m: r.bytes("a"),
    ):
        for r, n in ((ours, theirs), (old, numpys)):
            if not hasattr(n, "integers") and call.__code__.co_names[0] in ("integers", "permuted"):
                continue
            try:
                call(n, np)
            except Exception as error:
                wanted = error
            else:
                if n is theirs:
                    pytest.fail(f"NumPy takes {call.__code__.co_names}")
                continue
            kind = next(
                c
                for c in (ValueError, TypeError, OverflowError, Exception)
                if isinstance(wanted, c)
            )
            with pytest.raises(kind):
                found = call(r, la)
                if found is not None:
                    found.wait()
        check_state(ours, theirs)


def test_a_failed_parameter_spoils_the_stream_until_the_state_is_set():
    ours, theirs = pair()
    kept = ours.bit_generator.state
    bad = la.arange(3)[la.array([7])]
    drawn = ours.normal(bad)
    after = ours.random(2)
    for each in (drawn, after):
        with pytest.raises(IndexError):
            each.wait()
    ours = la.random.default_rng(0)
    ours.bit_generator.state = kept
    check(ours.random(2), theirs.random(2))


def test_complex_parameters():
    ours, _ = pair()
    with pytest.raises(TypeError):
        ours.normal(la.ones(2, dtype="c16"))
    with pytest.raises(DTypeError):
        ours.integers(la.ones(2, dtype="c16"))


# ---- random programs

STEPS = (
    lambda r, m, x: r.normal(size=5),
    lambda r, m, x: r.normal(x, 2.0),
    lambda r, m, x: r.random(),
    lambda r, m, x: r.random(4, "f4"),
    lambda r, m, x: r.integers(10, size=(2, 3)),
    lambda r, m, x: r.integers(3, 200, dtype="u1"),
    lambda r, m, x: r.poisson(m.abs(x) + 1),
    lambda r, m, x: r.permutation(6),
    lambda r, m, x: r.choice(9, 4, replace=False),
    lambda r, m, x: r.choice(x, 3),
    lambda r, m, x: r.uniform(x.min(), x.max() + 1, 3),
    lambda r, m, x: r.standard_exponential(2) * 2,
    lambda r, m, x: r.shuffle(x),
    lambda r, m, x: r.shuffle(x[::2]),
    lambda r, m, x: r.multinomial(9, [0.2, 0.8]),
    lambda r, m, x: r.bit_generator.random_raw(),
    lambda r, m, x: r.bit_generator.advance(3),
    lambda r, m, x: r.standard_normal(out=x),
)


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed):
    ours, theirs = pair(seed=seed)
    decide = np.random.default_rng([seed, 1])
    x, y = la.arange(7.0) + 0, np.arange(7.0)
    compiled = [la.jit(lambda x, step=step: step(ours, la, x)) for step in STEPS[:14]]
    kept, bits = [], None
    for _ in range(40):
        place = int(decide.integers(len(STEPS)))
        wanted = STEPS[place](theirs, np, y)
        if place < len(compiled) and decide.random() < 0.3:
            got = compiled[place](x)
        else:
            got = STEPS[place](ours, la, x)
        if isinstance(got, la.Array) and place != len(STEPS) - 1:
            kept.append((got, np.copy(wanted) if isinstance(wanted, np.ndarray) else wanted))
        elif type(got) is int:
            assert got == wanted
        action = decide.random()
        if action < 0.1:
            check(*kept.pop()) if kept else None
        elif action < 0.2:
            del kept[: len(kept) // 2]
        elif action < 0.25:
            bits = ours.bit_generator if bits is None else None
        elif action < 0.3:
            np.testing.assert_array_equal(x.numpy(), y)
    for got, wanted in reversed(kept):
        check(got, wanted)
    np.testing.assert_array_equal(x.numpy(), y)
    check_state(ours, theirs)
