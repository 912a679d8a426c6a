"""NumPy's streams: every distribution draws the bits that NumPy draws."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from streams import ARRAYS, FAMILIES, KINDS, NUMBERS, check, check_state, pair

import lazyarray as la
from lazyarray.ops import draw
from lazyarray.random import stream

SIZES = (None, (), 3, (2, 3), [2, 2], (0, 2), np.int64(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_as_parameters(family, kind):
    ours, theirs = pair(family, kind)
    drawn = []
    for name, rows in NUMBERS.items():
        for params in rows:
            for size in SIZES if kind == "PCG64" else (None, (2, 3)):
                call = [getattr(each, name)(*params, size=size) for each in (ours, theirs)]
                drawn.append(call)
    # The last one is read first.
    for got, wanted in reversed(drawn):
        check(got, wanted)
    check_state(ours, theirs)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lazy", [False, True])
def test_arrays_as_parameters(family, lazy):
    ours, theirs = pair(family)
    made = la.array if lazy else np.array
    for name, params in ARRAYS.items():
        given = [made(each) if isinstance(each, list) else each for each in params]
        shape = np.broadcast_shapes(*[np.shape(each) for each in params])
        for size in (None, shape, (4, *shape), [2, 2, 3]):
            check(getattr(ours, name)(*given, size=size), getattr(theirs, name)(*params, size=size))
    check_state(ours, theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_pending_arrays_as_parameters(family):
    ours, theirs = pair(family)
    x = la.arange(4.0) + 1
    n = np.arange(4.0) + 1
    check(ours.normal(x, x.mean()), theirs.normal(n, n.mean()))
    check(ours.poisson(x.sum()), theirs.poisson(n.sum()))
    check(ours.gamma(x[::-2], size=(3, 2)), theirs.gamma(n[::-2], size=(3, 2)))
    check(ours.uniform(0, x.reshape(2, 2).T), theirs.uniform(0, n.reshape(2, 2).T))
    check_state(ours, theirs)


@pytest.mark.parametrize("dtype", [np.float32, "f8", float])
def test_standard_dtypes(dtype):
    ours, theirs = pair()
    for size in (None, 5, (2, 3)):
        for call in (
            lambda r, size: r.random(size, dtype),
            lambda r, size: r.standard_normal(size, dtype),
            lambda r, size: r.standard_exponential(size, dtype),
            lambda r, size: r.standard_exponential(size, dtype, method="inv"),
            lambda r, size: r.standard_gamma(1.5, size, dtype),
            lambda r, size: r.standard_gamma([0.5, 1.5, 3.0], (2, 3), dtype),
        ):
            check(call(ours, size), call(theirs, size))
    check_state(ours, theirs)


def test_out():
    ours, theirs = pair()
    for made in (
        lambda m: m.zeros(5),
        lambda m: m.zeros((2, 3)),
        lambda m: m.zeros((3, 2)).T,
        lambda m: m.zeros(12)[2:8].reshape(2, 3),
    ):
        a, b = made(la), made(np)
        base = a
        for call in (
            lambda r, out: r.random(out=out),
            lambda r, out: r.standard_normal(out=out),
            lambda r, out: r.standard_exponential(out=out, method="inv"),
            lambda r, out: r.standard_gamma(2.0, out=out),
            lambda r, out: r.standard_gamma(np.ones(out.shape[-1]), out=out, size=out.shape),
        ):
            if not b.flags.c_contiguous and "standard_gamma" in call.__code__.co_names:
                with pytest.raises(ValueError, match="C-contiguous"):
                    call(ours, a)
                continue
            assert call(ours, a) is a
            call(theirs, b)
            np.testing.assert_array_equal(base.numpy(), b)
    single = la.zeros(3, dtype="f4")
    check(ours.random(out=single, dtype="f4"), theirs.random(3, dtype="f4"))
    check_state(ours, theirs)
    for wrong, error in (
        ({"out": la.zeros(3, dtype="f4")}, TypeError),
        ({"out": np.zeros(3)}, TypeError),
        ({"out": la.zeros(3), "size": 4}, ValueError),
        ({"out": la.zeros(6)[::2]}, ValueError),
    ):
        with pytest.raises(error):
            ours.random(**wrong)
    check_state(ours, theirs)


BOUNDS = [
    (10, None, "int64"), (0, 7, "int8"), (-5, 5, "int16"), (200, 256, "uint8"), (0, 2, "bool"),
    (-(2**63), 2**63, "int64"), (0, 2**64, "uint64"), (2**63, 2**63 + 3, "uint64"), (3, 4, "int32"),
    (0, 2**32, "int64"), (0, 2**32, "uint32"), (np.int8(3), np.uint16(900), "int64"),
    (5.0, None, "int64"), (0, 1000, "uint16"), (0, 2**40, "int64"),
]  # fmt: skip


@pytest.mark.parametrize(("low", "high", "dtype"), BOUNDS)
def test_integers(low, high, dtype):
    ours, theirs = pair()
    for size in (None, (), 7, (2, 3), (0,)):
        check(ours.integers(low, high, size, dtype), theirs.integers(low, high, size, dtype))
    if high is not None and int(high) - int(low) > 1:
        end = int(high) - 1
        call = {"size": 9, "dtype": dtype, "endpoint": True}
        check(ours.integers(low, end, **call), theirs.integers(low, end, **call))
    check_state(ours, theirs)
    ours, theirs = pair("RandomState", "MT19937")
    for size in (None, 7, (2, 3)):
        check(ours.randint(low, high, size, dtype), theirs.randint(low, high, size, dtype))
    check_state(ours, theirs)


@pytest.mark.parametrize("lazy", [False, True])
def test_integers_between_arrays(lazy):
    made = la.array if lazy else np.array
    for family, name in (("Generator", "integers"), ("RandomState", "randint")):
        ours, theirs = pair(family)
        for low, high, size in (
            ([1, 2, 3], None, None), (0, [5, 6, 7], None), ([[0], [5]], [10, 11, 12], (4, 2, 3)),
        ):  # fmt: skip
            given = [made(x) if isinstance(x, list) else x for x in (low, high)]
            for dtype in ("int64", "uint8"):
                got = getattr(ours, name)(*given, size=size, dtype=dtype)
                check(got, getattr(theirs, name)(low, high, size=size, dtype=dtype))
        check_state(ours, theirs)


def test_choice():
    p = [0.1, 0.2, 0.3, 0.4]
    rows = np.arange(12.0).reshape(4, 3)
    for family in FAMILIES:
        ours, theirs = pair(family)
        calls = [
            lambda r, m: r.choice(5),
            lambda r, m: r.choice(5, 3),
            lambda r, m: r.choice(5, (2, 2)),
            lambda r, m: r.choice(5, ()),
            lambda r, m: r.choice(5, 3, replace=False),
            lambda r, m: r.choice(20000, 100, replace=False),
            lambda r, m: r.choice(4, 6, p=p),
            lambda r, m: r.choice(4, p=p),
            lambda r, m: r.choice(4, 2, replace=False, p=p),
            lambda r, m: r.choice(4, 2, p=m.array(p)),
            lambda r, m: r.choice(m.array([3, 5, 7]), 4),
            lambda r, m: r.choice(m.array([3.0, 5.0, 7.0])),
            lambda r, m: r.choice(m.array([3.0, 5.0, 7.0]), ()),
            lambda r, m: r.choice([1, 2, 3], 2, False),
            lambda r, m: r.choice(np.array([1, 2, 3]), 2),
        ]
        if family == "Generator":
            calls += [
                lambda r, m: r.choice(m.asarray(rows), 3),
                lambda r, m: r.choice(m.asarray(rows), (2, 2), axis=1),
                lambda r, m: r.choice(m.asarray(rows)),
                lambda r, m: r.choice(m.asarray(rows), 2, axis=-1, replace=False),
                lambda r, m: r.choice(9, 5, replace=False, shuffle=False),
            ]
        for call in calls:
            check(call(ours, la), call(theirs, np))
        names = ["a", "b", "c"]
        assert ours.choice(names) == theirs.choice(names)
        assert ours.choice(names, 5).tolist() == theirs.choice(names, 5).tolist()
        check_state(ours, theirs)


def test_several_numbers_at_once():
    mean, cov = [1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]]
    p = [0.2, 0.3, 0.5]
    for family in FAMILIES:
        ours, theirs = pair(family)
        for size in (None, 4, (2, 3), ()):
            for call in (
                lambda r, m, size: r.dirichlet([1.0, 2.0, 3.0], size),
                lambda r, m, size: r.dirichlet(m.array([0.01, 0.02]), size),
                lambda r, m, size: r.multinomial(20, p, size),
                lambda r, m, size: r.multinomial(20, m.array(p), size),
                lambda r, m, size: r.multivariate_normal(mean, cov, size),
                lambda r, m, size: r.multivariate_normal(m.array(mean), m.array(cov), size),
            ):
                check(call(ours, la, size), call(theirs, np, size))
        if family == "Generator":
            for call in (
                lambda r, m: r.multinomial(m.array([5, 6]), p),
                lambda r, m: r.multinomial([5, 6], p, (3, 2)),
                lambda r, m: r.multinomial(7, m.array([p, p[::-1]])),
                lambda r, m: r.multivariate_normal(mean, cov, 3, method="cholesky"),
                lambda r, m: r.multivariate_normal(mean, cov, method="eigh"),
                lambda r, m: r.multivariate_hypergeometric([5, 6, 7], 8),
                lambda r, m: r.multivariate_hypergeometric(m.array([5, 6, 7]), 8, 4, "count"),
            ):
                check(call(ours, la), call(theirs, np))
        check_state(ours, theirs)


def test_permutations():
    for family in FAMILIES:
        ours, theirs = pair(family)
        for call in (
            lambda r, m: r.permutation(9),
            lambda r, m: r.permutation(np.int64(4)),
            lambda r, m: r.permutation(0),
            lambda r, m: r.permutation(-1),
            lambda r, m: r.permutation(1),
            lambda r, m: r.permutation(m.arange(10.0)),
            lambda r, m: r.permutation(m.arange(10, dtype="i2")),
            lambda r, m: r.permutation(m.arange(24).reshape(6, 4)),
            lambda r, m: r.permutation(m.arange(24).reshape(4, 6).T),
            lambda r, m: r.permutation([3, 1, 2]),
        ):
            check(call(ours, la), call(theirs, np))
        check_state(ours, theirs)
    ours, theirs = pair()
    for call in (
        lambda r, m: r.permutation(m.arange(24).reshape(6, 4), axis=1),
        lambda r, m: r.permuted(m.arange(24).reshape(6, 4)),
        lambda r, m: r.permuted(m.arange(24).reshape(6, 4), axis=0),
        lambda r, m: r.permuted(m.arange(24).reshape(6, 4).T, axis=-1),
        lambda r, m: r.permuted(m.arange(24.0).reshape(6, 4).T),
        lambda r, m: r.permuted([1, 2, 3]),
        lambda r, m: r.permuted(m.arange(6).reshape(2, 3), out=m.zeros((2, 3), dtype="i8")),
        lambda r, m: r.permuted(m.arange(6).reshape(2, 3), out=m.zeros((3, 2), dtype="i8").T),
        lambda r, m: r.permuted(m.arange(6).reshape(2, 3), out=m.zeros((2, 6), "i8")[:, ::2]),
        lambda r, m: r.permuted(
            m.arange(6).reshape(2, 3), axis=1, out=m.zeros((3, 2), dtype="i8").T
        ),
    ):
        check(call(ours, la), call(theirs, np))
    check_state(ours, theirs)


VIEWS = {
    "whole": lambda a: a,
    "part": lambda a: a[3:17],
    "backwards": lambda a: a[::-1],
    "steps": lambda a: a[1::3],
    "rows": lambda a: a.reshape(6, 4),
    "columns": lambda a: a.reshape(6, 4).T,
    "inner": lambda a: a.reshape(6, 4)[1:5, ::2],
    "three": lambda a: a.reshape(2, 3, 4)[:, ::-1],
    "nothing": lambda a: a[:0],
    "one": lambda a: a[4:5],
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("dtype", ["f8", "i2", "?", "c16"])
def test_shuffle_in_place(name, dtype):
    view = VIEWS[name]
    for family in FAMILIES:
        ours, theirs = pair(family)
        a, b = la.arange(24).astype(dtype), np.arange(24).astype(dtype)
        other = a[::2]  # sees what is shuffled
        for _ in range(2):
            ours.shuffle(view(a))
            theirs.shuffle(view(b))
        if family == "Generator" and view(b).ndim > 1:
            ours.shuffle(view(a), axis=1)
            theirs.shuffle(view(b), axis=1)
        np.testing.assert_array_equal(other.numpy(), b[::2])
        np.testing.assert_array_equal(a.numpy(), b)
        check_state(ours, theirs)


def test_shuffle_of_what_is_not_ours():
    for family in FAMILIES:
        ours, theirs = pair(family)
        x, y = list("abcdef"), list("abcdef")
        ours.shuffle(x)
        theirs.shuffle(y)
        assert x == y
        n, m = np.arange(9), np.arange(9)
        ours.shuffle(n)
        theirs.shuffle(m)
        assert (n == m).all()
        assert ours.permutation(x).tolist() == theirs.permutation(y).tolist()
        check_state(ours, theirs)


def test_bytes():
    for family in FAMILIES:
        ours, theirs = pair(family)
        for length in (0, 1, 7, 100, -1):
            assert ours.bytes(length) == theirs.bytes(length)
        check(ours.random(), theirs.random())


def test_functions_of_old():
    la.random.seed(11)
    np.random.seed(11)
    for call in (
        lambda r: r.rand(), lambda r: r.rand(2, 3), lambda r: r.randn(3), lambda r: r.randn(),
        lambda r: r.random_sample(3), lambda r: r.ranf(2), lambda r: r.sample(2),
        lambda r: r.random((2, 2)), lambda r: r.randint(5, size=4), lambda r: r.normal(1, 2, 3),
        lambda r: r.choice(5, 3), lambda r: r.permutation(5), lambda r: r.standard_normal(3),
        lambda r: r.uniform(0, 9, 2),
    ):  # fmt: skip
        check(call(la.random), call(np.random))
    kept, theirs = la.random.get_state(), np.random.get_state()
    assert repr(kept) == repr(theirs)
    first = la.random.randn(3).numpy()
    la.random.set_state(kept)
    np.testing.assert_array_equal(la.random.randn(3).numpy(), first)
    a, b = la.arange(9), np.arange(9)
    np.random.set_state(theirs)
    la.random.set_state(theirs)
    la.random.shuffle(a)
    np.random.shuffle(b)
    np.testing.assert_array_equal(a.numpy(), b)
    state = la.random.RandomState(3)
    for size in (None, 4):
        check(state.tomaxint(size), (theirs := np.random.RandomState(3)).tomaxint(size))
        state.seed(3)
        theirs.seed(3)
    with pytest.warns(DeprecationWarning, match="randint"):
        ours = state.random_integers(2, 5, 6)
    with pytest.warns(DeprecationWarning):
        check(ours, theirs.random_integers(2, 5, 6))


def test_seeding_makes_keyed_draws_follow_as_well():
    draws = []
    for seed in (4, 4, [4, 5], 4.5):
        try:
            la.random.seed(seed)
        except TypeError:
            assert seed == 4.5
            continue
        draws.append(la.random.fast.uniform(size=3).tolist())
    assert draws[0] == draws[1] != draws[2]


def test_bit_generators_of_the_module():
    before = la.random.get_bit_generator()
    try:
        la.random.set_bit_generator(np.random.PCG64(3))
        check(la.random.random(3), np.random.RandomState(np.random.PCG64(3)).random(3))
        assert type(la.random.get_bit_generator()) is np.random.PCG64
    finally:
        la.random.set_bit_generator(before)


@pytest.mark.parametrize(
    "seed",
    [0, 12345678901234567890123, [1, 2, 3], np.random.SeedSequence(4), np.random.PCG64(3), None],
    ids=str,
)
def test_default_rng(seed):
    if seed is None:
        first, second = (la.random.default_rng().random(4).numpy() for _ in range(2))
        assert (first != second).any()
        return
    same = copy.deepcopy(seed)
    check(la.random.default_rng(seed).random(4), np.random.default_rng(same).random(4))


def test_default_rng_of_generators():
    ours = la.random.default_rng(1)
    assert la.random.default_rng(ours) is ours
    theirs = np.random.default_rng(2)
    check(la.random.default_rng(theirs).random(3), np.random.default_rng(2).random(3))
    state = np.random.RandomState(3)
    other = np.random.default_rng(np.random.RandomState(3)._bit_generator)
    check(la.random.default_rng(state).random(3), other.random(3))
    for wrong in ("text", 1.5, -1):
        with pytest.raises((TypeError, ValueError)):
            la.random.default_rng(wrong)
    with pytest.raises((TypeError, AttributeError)):
        la.random.Generator("text")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_generator_that_others_hold_advances_at_once(kind):
    ours, theirs = (getattr(np.random, kind)(3) for _ in range(2))
    a, b = la.random.Generator(ours), np.random.Generator(theirs)
    second = la.random.Generator(ours)
    for _ in range(2):
        check(a.normal(size=3), b.normal(size=3))
        assert ours.random_raw() == theirs.random_raw()
        check(second.integers(9, size=3, dtype="i4"), b.integers(9, size=3, dtype="i4"))
        assert repr(ours.state) == repr(theirs.state)
    x, y = la.arange(6), np.arange(6)
    a.shuffle(x)
    b.shuffle(y)
    np.testing.assert_array_equal(x.numpy(), y)
    del ours, second
    # Nobody else holds it now, so draws are recorded again.
    before = la.stats()["records"]
    check(a.poisson(3, 4), b.poisson(3, 4))
    assert la.stats()["records"] > before
    check_state(a, b)


def test_numpys_generator_on_the_same_stream():
    ours, theirs = pair()
    check(ours.random(3), theirs.random(3))
    numpys = np.random.Generator(ours.bit_generator)
    assert numpys.normal() == theirs.normal()
    check(ours.integers(9, size=3, dtype="i4"), theirs.integers(9, size=3, dtype="i4"))
    assert numpys.integers(9, dtype="i4") == theirs.integers(9, dtype="i4")
    copied = copy.copy(ours)
    check(copied.random(2), theirs.random(2))
    check(ours.random(2), theirs.random(2))
    del numpys, copied
    check(ours.random(2), theirs.random(2))


def test_scalars_as_parameters():
    for family in FAMILIES:
        ours, theirs = pair(family)
        x, n = la.arange(5) + 1, np.arange(5) + 1
        integers = [getattr(r, "integers", None) or r.randint for r in (ours, theirs)]
        check(integers[0](x.sum()), integers[1](n.sum()))
        check(integers[0](x[0], x.max() + 9, size=3), integers[1](n[0], n.max() + 9, size=3))
        check(ours.normal(x.mean(), size=(2, 2)), theirs.normal(n.mean(), size=(2, 2)))
        check(ours.binomial(x[3], 0.5), theirs.binomial(n[3], 0.5))
        check(ours.permutation(x[4]), theirs.permutation(n[4]))
        check(ours.choice(x[4], 3), theirs.choice(n[4], 3))
        check(ours.random(size=x[1]), theirs.random(size=n[1]))
        check_state(ours, theirs)


def test_a_bit_generator_that_lazyarray_does_not_know():
    class Own(np.random.PCG64):
        pass

    ours, theirs = la.random.Generator(Own(3)), np.random.Generator(Own(3))
    check(ours.normal(la.zeros(3)), theirs.normal(np.zeros(3)))
    check(ours.choice(la.arange(5), 3), theirs.choice(5, 3))
    check(ours.random(out=la.zeros(3)), theirs.random(3))
    check(ours.permutation(4), theirs.permutation(4))
    check(ours.integers(la.array([3, 4])), theirs.integers([3, 4]))


def test_the_state_can_be_read_and_set():
    ours, theirs = pair()
    check(ours.random(3), theirs.random(3))
    kept = ours.bit_generator.state
    first = ours.random(3).numpy()
    ours.bit_generator.state = kept
    np.testing.assert_array_equal(ours.random(3).numpy(), first)
    theirs.random(3)
    ours.bit_generator.advance(10)
    theirs.bit_generator.advance(10)
    check(ours.random(3), theirs.random(3))
    children = ours.spawn(2), theirs.spawn(2)
    for a, b in zip(*children, strict=True):
        check(a.random(3), b.random(3))
    check(ours.random(3), theirs.random(3))
    assert str(ours) == str(theirs)


def test_copies():
    for family in FAMILIES:
        ours, theirs = pair(family)
        check(ours.normal(size=3), theirs.normal(size=3))
        lazy = ours.random(3)
        loaded = pickle.loads(pickle.dumps(ours))
        copied = copy.deepcopy(ours)
        theirs.random(3)
        wanted = theirs.normal(size=3)
        for each in (ours, loaded, copied):
            check(each.normal(size=3), wanted)
        assert lazy.shape == (3,)


# ---- C functions


def called_by_name(ours, theirs):
    """Every distribution once, from numbers."""
    for name, rows in NUMBERS.items():
        check(getattr(ours, name)(*rows[0], size=5), getattr(theirs, name)(*rows[0], size=5))
    check(ours.permutation(9), theirs.permutation(9))
    check(
        ours.permutation(la.arange(8).reshape(4, 2)), theirs.permutation(np.arange(8).reshape(4, 2))
    )
    integers = ours.integers if hasattr(theirs, "integers") else ours.randint
    wanted = theirs.integers if hasattr(theirs, "integers") else theirs.randint
    check(integers(3, 90, 5, "i2"), wanted(3, 90, 5, "i2"))
    check_state(ours, theirs)


def test_numpys_c_functions_are_found():
    # On a build of NumPy that hides them, draws are right, but take longer and hold the GIL.
    called_by_name(*pair())
    called_by_name(*pair("RandomState"))
    assert len(stream.trusted) > 40
    assert all(stream.trusted.values()), stream.trusted


@pytest.mark.parametrize("family", FAMILIES)
def test_without_c_functions_numpys_methods_serve(family, monkeypatch):
    monkeypatch.setattr(stream.Stream, "_trusts", lambda *args: False)
    monkeypatch.setattr(stream, "known", {})
    called_by_name(*pair(family))


def test_a_c_function_that_draws_otherwise_is_not_used():
    given = ("normal", (0, 1), {}, [(0.0, np.dtype("f8")), (1.0, np.dtype("f8"))], np.dtype("f8"))
    same = [draw.same_draws("Generator", 1, *given, ("d2", f"random_{name}")) for name in
            ("normal", "laplace")]  # fmt: skip
    assert same == [True, False]


# ---- coverage


def public(owner):
    return {name for name in dir(owner) if not name.startswith("_")}


def test_every_name_is_there():
    modules = {"bit_generator", "mtrand", "test"}
    assert not public(np.random) - modules - public(la.random)
    assert not public(np.random.Generator) - public(la.random.Generator)
    assert not public(np.random.RandomState) - public(la.random.RandomState)


@pytest.mark.parametrize("family", FAMILIES)
def test_signatures_and_texts(family):
    ours, theirs = getattr(la.random, family), getattr(np.random, family)
    for name in sorted(public(theirs)):
        method = getattr(ours, name)
        if not callable(method):
            continue
        assert method.__doc__
        wanted = inspect.signature(getattr(theirs, name)).parameters
        found = inspect.signature(method).parameters
        assert [(n, p.default) for n, p in found.items()] == [
            (n, p.default) for n, p in wanted.items()
        ]
