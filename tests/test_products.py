"""Products of matrices: packed before, computed with what reads them, laid out as wanted."""

from itertools import product

import numpy as np
import pytest

import lazyarray as la
from lazyarray import _bind, _blas, _engine, _loops, passes, schedule

FLOAT = np.dtype("f4")


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def sample(rng, shape, char="f"):
    return rng.standard_normal(shape).astype(char)


def layouts(matrix):
    """The same values: contiguous, transposed, with gaps."""
    yield matrix
    yield matrix.T.copy().T
    wide = np.zeros((matrix.shape[0] * 2, matrix.shape[1] + 3), matrix.dtype)
    wide[::2, :-3] = matrix
    yield wide[::2, :-3]


def strides_of(matrix):
    return (), matrix.strides[0] // matrix.itemsize, matrix.strides[1] // matrix.itemsize


def gemm(a, b, stages=False):
    (m, k), n = a.shape, b.shape[-1]
    return _blas.gemm(a.dtype, (), m, n, k, strides_of(a), strides_of(b), stages=stages)


def multiply(a, b):
    """One kernel without stages."""
    out = np.full((len(a), b.shape[1]), 99, a.dtype)
    gemm(a, b).call(a, b, out)
    return out


def tasks_of(fn, monkeypatch):
    """The labels of what computes the result, and the result."""
    found = []
    lower = schedule.lower

    def keep(graph):
        program = lower(graph)
        found.extend(part.label for task in program.tasks for part in task.parts or [task])
        return program

    _bind.clear_plans()
    with monkeypatch.context() as patch:
        patch.setattr(schedule, "lower", keep)
        results = fn()
        results = results if isinstance(results, tuple) else (results,)
        la.eval(*results)
    return found, [np.array(result.numpy()) for result in results]


def same(fn, monkeypatch):
    """The labels of the tasks; the results have the same bits as those of separate kernels."""
    labels, together = tasks_of(fn, monkeypatch)
    with passes.chosen("-products"):
        _, apart = tasks_of(fn, monkeypatch)
    with passes.chosen("none"):
        _, single = tasks_of(fn, monkeypatch)
    _bind.clear_plans()
    for one, two, three in zip(together, apart, single, strict=True):
        assert one.tobytes() == two.tobytes() == three.tobytes()
    return labels, together


# ---- stages


@pytest.mark.parametrize(
    "extents", [(400, 300, 400), (385, 257, 530), (999, 1000, 129), (1030, 272, 256)]
)
@pytest.mark.parametrize("char", "fd")
def test_packing_before_does_not_change_bits(rng, char, extents):
    m, n, k = extents
    a, b = sample(rng, (m, k), char), sample(rng, (k, n), char)
    assert isinstance(gemm(a, b, stages=True), list) == (_blas.isa() != "plain")
    expected = multiply(a, b)
    np.testing.assert_allclose(expected, a @ b, rtol=0, atol=k * np.finfo(char).eps * 10)
    try:
        for workers, (x, y) in product((1, 3, 8), product(layouts(a), layouts(b))):
            la.set_workers(workers)
            assert (la.array(x) @ la.array(y)).numpy().tobytes() == expected.tobytes()
            turned = la.array(np.ascontiguousarray(x.T)).T @ la.array(np.ascontiguousarray(y.T)).T
            assert turned.numpy().tobytes() == expected.tobytes()
    finally:
        la.set_workers(2)


def test_stages_are_bounded_in_memory():
    assert _blas.panel_bytes(FLOAT, 1, 2048, 2048, 2048) == 2048 * 2048 * 4
    assert _blas.panel_bytes(FLOAT, 1, 2048, 1 << 14, 1 << 14) == 0  # would be a gibibyte
    assert _blas.panel_bytes(FLOAT, 64, 256, 256, 256) == 0  # few rows for each
    assert _blas.panel_bytes(np.dtype("F"), 1, 2048, 2048, 2048) == 0


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
@pytest.mark.parametrize("char", "fd")
def test_packing_on_every_instruction_set(rng, isa, char):
    a, b = sample(rng, (400, 300), char), sample(rng, (300, 410), char)
    expected = multiply(a, b).tobytes()
    if not _blas.use_isa(isa):
        pytest.skip(f"this processor lacks {isa}")
    try:
        for x, y in product(layouts(a), layouts(b)):
            _bind.clear_plans()
            assert (la.array(x) @ la.array(y)).numpy().tobytes() == expected
    finally:
        _blas.use_isa(None)
        _bind.clear_plans()


# ---- few rows and columns, a long k

LONG = [
    (32, 16, 20_000), (1, 1, 300_001), (1, 10, 60_000), (10, 1, 60_007), (64, 64, 5_000),
    (3, 200, 4_000), (100, 10, 8_192),
]  # fmt: skip


@pytest.mark.parametrize("extents", LONG)
@pytest.mark.parametrize("char", "fdeFDi?")
def test_parts_of_a_long_k_have_one_definition(rng, char, extents):
    m, n, k = extents
    if char == "?":
        a, b = rng.random((m, k)) < 0.01, rng.random((k, n)) < 0.01
    elif char == "i":
        a, b = (rng.integers(-(2**31), 2**31, s, np.int32) for s in ((m, k), (k, n)))
    else:
        a, b = sample(rng, (m, k), "d"), sample(rng, (k, n), "d")
        a, b = (a * (1 + 1j), b * 1j) if char in "FD" else (a, b)
        a, b = a.astype(char), b.astype(char)
    assert _blas.splits_of(a.dtype, m, n, k) > 1 or char in "FD?"
    out = np.full((m, n), 99).astype(char)
    kernel = gemm(a, b)
    kernel.call(a, b, out)
    expected = out.tobytes()
    kernel.call(a, b, out, pieces=5)
    assert out.tobytes() == expected
    if char in "i?":
        np.testing.assert_array_equal(out, a @ b)
    else:
        wide = "D" if char in "FD" else "d"
        exact, scale = (
            a.astype(wide) @ b.astype(wide),
            np.abs(a).astype("d") @ np.abs(b).astype("d"),
        )
        eps = np.finfo("f" if char == "e" else char).eps
        bound = 200 * eps * scale + (np.finfo("e").eps * np.abs(exact) if char == "e" else 0)
        assert (np.abs(out - exact) <= bound).all()
    try:
        for workers in (1, 2, 3, 8):
            la.set_workers(workers)
            assert (la.array(a) @ la.array(b)).numpy().tobytes() == expected
    finally:
        la.set_workers(2)
    for x, y in product(layouts(a), layouts(b)):
        assert (la.array(x) @ la.array(y)).numpy().tobytes() == expected
        turned = la.array(np.ascontiguousarray(x.T)).T @ la.array(np.ascontiguousarray(y.T)).T
        assert turned.numpy().tobytes() == expected


@pytest.mark.parametrize("char", "fdeF")
def test_parts_of_a_batch_are_those_of_its_products(rng, char):
    # Few products make parts their units; many are units themselves.
    for batch, m, n, k in (
        (3, 24, 24, 9_000),
        (33, 24, 24, 9_000),
        (33, 1, 24, 12_000),
        (33, 96, 70, 2_300),
    ):
        a, b = sample(rng, (batch, m, k), char), sample(rng, (batch, k, n), char)
        assert _blas.splits_of(a.dtype, m, n, k) > 1 or char == "e"
        found = (la.array(a) @ la.array(b)).numpy()
        for i in (0, 1, batch - 1):
            assert found[i].tobytes() == (la.array(a[i]) @ la.array(b[i])).numpy().tobytes()
            exact = a[i].astype("D") @ b[i].astype("D")
            np.testing.assert_allclose(found[i], exact, rtol=0, atol=3000 * np.finfo(char).eps)


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
@pytest.mark.parametrize("extents", LONG)
@pytest.mark.parametrize("char", "fd")
def test_parts_on_every_instruction_set(rng, isa, extents, char):
    m, n, k = extents
    a, b = sample(rng, (m, k), char), sample(rng, (k, n), char)
    expected = multiply(a, b).tobytes()
    if not _blas.use_isa(isa):
        pytest.skip(f"this processor lacks {isa}")
    try:
        for x, y in product(layouts(a), layouts(b)):
            assert multiply(x, y).tobytes() == expected
    finally:
        _blas.use_isa(None)


def test_parts_whatever_runs_them(rng, monkeypatch):
    x, member = sample(rng, (20_000, 16)), sample(rng, (20_000, 32))

    def step():
        a, b = la.array(x), la.array(member)
        sums = b.T @ a
        return sums, sums / 3 + 1, la.tanh((b * 2).T @ (a + 1))

    labels, (sums, *_) = same(step, monkeypatch)
    assert labels.count("gemm") == 2
    assert sums.tobytes() == multiply(np.ascontiguousarray(member.T), x).tobytes()
    compiled = la.jit(lambda a, b: b.T @ a)
    for _ in range(3):
        assert compiled(la.array(x), la.array(member)).numpy().tobytes() == sums.tobytes()
    before = _engine.engine_kind()
    _engine.set_engine("naive")
    try:
        assert (la.array(member).T @ la.array(x)).numpy().tobytes() == sums.tobytes()
    finally:
        _engine.set_engine(before)


def test_how_many_parts():
    parts = _blas.splits_of
    assert parts(FLOAT, 32, 16, 200_000) == 32
    assert parts(FLOAT, 1, 1, 4_000_000) == 32
    assert parts(FLOAT, 128, 512, 784) == parts(FLOAT, 784, 512, 100_000) == 1
    assert parts(FLOAT, 8, 8, 1_500) == parts(FLOAT, 0, 8, 10**6) == parts(FLOAT, 5, 8, 0) == 1
    kernel = _blas.gemm(FLOAT, (), 32, 16, 200_000, ((), 1, 32), ((), 16, 1))
    assert kernel.extent == 32 and kernel.scratch_bytes == 32 * 32 * 16 * 4
    assert not _blas.follows(FLOAT, 1, 32, 16, 200_000)


# ---- what reads a product


@pytest.mark.parametrize("extents", [(512, 384, 300), (401, 30, 50), (1000, 256, 260)])
@pytest.mark.parametrize("char", "fd")
def test_bias_activation_residual(rng, char, extents, monkeypatch):
    m, n, k = extents
    shapes = [(m, k), (k, n), (n,), (m, n)]
    x, w, b, r = (la.array(sample(rng, shape, char)) for shape in shapes)
    labels, _ = same(lambda: la.maximum(x @ w + b, 0) * 2 + r, monkeypatch)
    assert [label for label in labels if "+" in label] == ["gemm+add+maximum+multiply+add"]
    assert set(labels) <= {"pack", "gemm+add+maximum+multiply+add"}


def test_what_else_wants_the_product(rng, monkeypatch):
    x, w = la.array(sample(rng, (500, 300))), la.array(sample(rng, (300, 400)))

    def kept():
        h = x @ w
        return h, la.exp(-h * h)

    labels, (h, _) = same(kept, monkeypatch)
    assert set(labels) == {"pack", "gemm+negative+multiply+exp"}
    assert h.tobytes() == multiply(x.numpy(), w.numpy()).tobytes()

    def crosswise():
        h = x @ w[:, :300]  # not square: reads of its transpose are not in step
        s = h[:300]
        return s + s.T

    same(crosswise, monkeypatch)
    same(lambda: (x @ w) + (x @ w)[::-1], monkeypatch)
    same(lambda: (x @ w) * (x @ w + 1) - (x @ (w * 2)), monkeypatch)


def test_batches_and_other_dtypes(rng, monkeypatch):
    a, b = la.array(sample(rng, (20, 64, 70))), la.array(sample(rng, (20, 70, 50)))
    labels, _ = same(lambda: la.tanh(a @ b * 0.1), monkeypatch)
    assert labels == ["gemm+multiply+tanh"]
    labels, _ = same(lambda: (a @ b > 0).astype("int8"), monkeypatch)
    assert len(labels) == 1
    c = la.array(rng.integers(0, 9, (50, 60)))
    labels, _ = same(lambda: c @ c.T + 1, monkeypatch)
    assert labels == ["gemm", "add"]


def test_operands_that_die_and_residuals_in_place(rng, monkeypatch):
    x, w = la.array(sample(rng, (600, 600))), la.array(sample(rng, (600, 600)))

    def chain():
        y = x * 2
        z = y @ w + y  # y is an operand of the product and a residual: not overwritten
        r = z * 3
        return z @ w + r, (r @ z) * r

    same(chain, monkeypatch)


def test_updates_take_the_gradient_while_it_is_near(rng, monkeypatch):
    values = [sample(rng, s) for s in ((128, 500), (128, 400), (500, 400), (500, 400))]

    def step():
        x, g, w, v = (la.array(value) for value in values)
        v *= 0.9
        v += x.T @ g
        w -= 0.05 * v
        w[:] = w - x.T @ g
        return v, w

    _, (v, _) = same(step, monkeypatch)
    x, g, _, v0 = values
    np.testing.assert_allclose(v, v0 * np.float32(0.9) + x.T @ g, rtol=0, atol=1e-4)

    def partial():
        w = la.array(np.ones((600, 500), "f4"))
        x, g = la.array(values[0]), la.array(values[1])
        w[50:550, 20:420] += x.T @ g
        w[:500, :400] -= w[:500, :500] @ (x.T @ g)
        return w

    same(partial, monkeypatch)

    def reads_what_it_writes():
        w = la.array(sample(np.random.default_rng(1), (500, 500)) / 30)
        w -= w @ w
        w += w.T @ w
        return w

    same(reads_what_it_writes, monkeypatch)


def test_bits_do_not_depend_on_workers(rng):
    x, w, b = (la.array(sample(rng, s)) for s in ((700, 300), (300, 512), (512,)))
    seen = set()
    try:
        for workers in (1, 2, 8):
            la.set_workers(workers)
            seen.add(la.exp(-((x @ w + b) ** 2)).numpy().tobytes())
    finally:
        la.set_workers(2)
    assert len(seen) == 1


def test_failures_reach_what_is_computed_with_a_product(rng):
    x, w = la.array(sample(rng, (500, 300))), la.array(sample(rng, (300, 400)))
    rows = la.array(np.arange(500) + 400)
    with pytest.raises(IndexError):
        la.maximum(la.take(x, rows, axis=0) @ w, 0).numpy()
    assert np.isfinite(la.maximum(x @ w, 0).numpy()).all()


def test_follow_refuses(rng):
    a, b = sample(rng, (8, 9), "F"), sample(rng, (9, 7), "F")
    program = _loops.elementwise((8, 7), [(0, (56, 8), 8)], [(0, (56, 8), 8)], [8], [])
    with pytest.raises(ValueError, match="cannot be followed"):
        _blas.follow(gemm(a, b), program)


# ---- gradients


def test_gradient_of_a_transposed_weight_is_laid_out_as_the_weight(rng, monkeypatch):
    x, w = la.array(sample(rng, (40, 70))), la.array(sample(rng, (30, 70)))
    g = la.array(sample(rng, (40, 30)))
    labels, (found,) = tasks_of(lambda: la.grad(lambda w: ((x @ w.T) * g).sum())(w), monkeypatch)
    assert labels.count("gemm") == 1 and "copy" not in labels
    expected = multiply(np.ascontiguousarray(x.numpy().T), g.numpy()).T
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()
    labels, (found,) = tasks_of(
        lambda: la.grad(lambda x: ((x.T @ g) * 2).sum())(la.array(x.numpy())), monkeypatch
    )
    assert "copy" not in labels
    np.testing.assert_allclose(found, np.tile(2 * g.numpy().sum(1)[:, None], 70), rtol=1e-4)
