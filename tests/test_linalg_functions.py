"""`la.linalg` against `numpy.linalg`: dtypes, shapes, values, exceptions, gradients, names."""

import numpy as np
import pytest
import threadpoolctl
from oracle import agree, agree_values, calls, outcome

import lazyarray as la
from lazyarray import _lapack, _order
from lazyarray.errors import GradientError

RNG = np.random.default_rng(11)
A = RNG.normal(size=(3, 3))
INPUTS = {
    "a": A,
    "p": A @ A.T + np.eye(3),
    "s": RNG.normal(size=(2, 3, 3)),
    "z": A + 1j * RNG.normal(size=(3, 3)),
    "f": A.astype(np.float32),
    "h": A.astype(np.float16),
    "i": RNG.integers(-4, 5, (3, 3)) + 9 * np.eye(3, dtype=int),
    "k": np.eye(3, dtype=bool),
    "w": RNG.normal(size=(2, 4)),
    "t": RNG.normal(size=(4, 2)),
    "b": RNG.normal(size=3),
    "m": RNG.normal(size=(3, 2)),
    "e": np.zeros((0, 3, 3)),
    "o": np.zeros((3, 3)),
    "r": RNG.normal(size=(2, 3, 2, 3)),
    "v": RNG.normal(size=(4, 3)),
}
INPUTS["q"] = INPUTS["z"] @ INPUTS["z"].conj().T + np.eye(3)
INPUTS["g"] = INPUTS["a"].T  # in Fortran order

CALLS = """
inv(a) | inv(s) | inv(z) | inv(f) | inv(h) | inv(i) | inv(k) | inv(w) | inv(b) | inv(e) | inv(o)
inv(g)
solve(a, b) | solve(a, m) | solve(s, m) | solve(s, b) | solve(z, b) | solve(i, i) | solve(f, m)
solve(w, b)
solve(a, t) | solve(o, b) | solve(a, b[:2]) | solve(s, s[0]) | solve(s, s[:, :, 0]) | solve(g, b)
det(a) | det(s) | det(z) | det(f) | det(i) | det(w) | det(e) | det(h) | det([[1, 2], [3, 4]])
slogdet(a) | slogdet(s) | slogdet(z) | slogdet(f) | slogdet(o) | slogdet(i) | slogdet(b)
cholesky(p) | cholesky(q) | cholesky(p, upper=True) | cholesky(-p) | cholesky(w) | cholesky(i @ i.T)
eigvalsh(p) | eigvalsh(q) | eigvalsh(a, 'U') | eigvalsh(a, UPLO='l') | eigvalsh(a, 'X')
eigvalsh(s) | eigvalsh(w)
eigh(p) | eigh(q) | eigh(a, 'U') | eigh(s) | eigh(f @ f.T) | eigh(i) | eigh(e)
eig(a) | eig(p) | eig(z) | eig(i) | eig(s) | eigvals(a) | eigvals(p) | eigvals(w) | eig(f)
svd(a) | svd(w) | svd(t, full_matrices=False) | svd(z) | svd(s, compute_uv=False)
svd(p, hermitian=True)
svd(b) | svd(f) | svd(i) | svd(w, False, True) | svdvals(w) | svdvals(s) | svdvals(z) | svd(h)
qr(a) | qr(w) | qr(t) | qr(t, 'complete') | qr(t, mode='r') | qr(t, 'raw') | qr(s) | qr(z)
qr(t, 'no') | qr(b)
pinv(a) | pinv(w) | pinv(s) | pinv(z) | pinv(t, 0.5) | pinv(p, hermitian=True) | pinv(w, rtol=0.1)
pinv(b)
matrix_rank(a) | matrix_rank(o) | matrix_rank(s) | matrix_rank(b) | matrix_rank(a, tol=1.0)
matrix_rank(w)
matrix_rank(p, hermitian=True) | matrix_rank(s, rtol=0.1)
cond(a) | cond(s) | cond(a, 1) | cond(a, 'fro') | cond(w) | cond(w, 1) | cond(a, -2) | cond(o)
cond(e) | cond(a, 7)
cond(z) | cond(f) | cond(a, 'nuc')
lstsq(v, INPUTS_b4) | lstsq(t, t) | lstsq(w, b[:2])
matrix_power(a, 3) | matrix_power(a, 0) | matrix_power(a, -2) | matrix_power(s, 5)
matrix_power(i, 2)
matrix_power(w, 2) | matrix_power(a, 1.5) | matrix_power(o, -1) | matrix_power(a, 1)
multi_dot([a, p, m]) | multi_dot([b, a, p, b]) | multi_dot([w, t]) | multi_dot([b, a])
multi_dot([a])
multi_dot([a, s, p]) | multi_dot([a, w]) | multi_dot([m.T, a, p, m, w, t])
tensorinv(r, ind=2) | tensorinv(r.reshape(6, 2, 3), ind=1) | tensorinv(r, 0)
tensorsolve(r, w[:, :3])
tensorsolve(r.transpose(2, 0, 3, 1), w[:, :3], axes=(1, 3)) | tensorsolve(r, b) | tensorinv(w)
norm(a) | norm(b) | norm(a, 1) | norm(a, -1) | norm(a, 2) | norm(a, -2) | norm(a, 'nuc')
norm(a, 'fro')
norm(a, np.inf) | norm(b, 3) | norm(b, 0) | norm(s, axis=1) | norm(s, axis=(0, 2))
norm(s, 2, axis=(1, 2))
norm(s, 'nuc', axis=(0, 2), keepdims=True) | norm(a, 'no') | norm(s, 1) | norm(z) | norm(z, 2)
norm(i) | norm(f, 2)
norm(b, 'fro') | norm(a, keepdims=True) | norm(a, 2, axis=(0, 0)) | norm(b, -np.inf) | norm(i, 2)
matrix_norm(s) | matrix_norm(s, ord=2, keepdims=True) | matrix_norm(a, ord='nuc') | vector_norm(s)
vector_norm(b, ord=1)
vector_norm(s, axis=(0, 2)) | vector_norm(s, axis=1, keepdims=True) | vector_norm(s, keepdims=True)
vector_norm(s, axis=(0, 1), ord=3)
trace(s) | trace(a, offset=1) | trace(i, dtype='f') | diagonal(s) | diagonal(w, offset=1)
outer(b, b) | outer(a, b)
cross(a, p) | cross(b, b[::-1]) | cross(w, w) | matmul(a, b) | tensordot(a, p)
tensordot(s, a, axes=1)
vecdot(a, p) | vecdot(z, b) | matrix_transpose(s) | matrix_transpose(b)
"""


def fresh(namespace):
    if namespace is np:
        return {key: x.copy("K") for key, x in INPUTS.items()}
    return {key: la.array(x) for key, x in INPUTS.items()}


@pytest.mark.parametrize("call", calls(CALLS.replace("INPUTS_b4", "v[:, 0]")))
def test_values(call):
    wanted = outcome(f"linalg.{call}", np, fresh(np))
    agree(outcome(f"linalg.{call}", la, fresh(la)), wanted, call, close=True)


@pytest.mark.parametrize(
    "call", ["inv(a)", "svd(w)", "eig(a)", "norm(a, 2)", "matrix_power(a, 3)", "lstsq(t, t)"]
)
def test_numpys_functions_stay_here(call):
    found = outcome(f"linalg.{call}", np, fresh(la))
    first = found[0] if isinstance(found, tuple) else found
    assert isinstance(first, la.Array)
    if "norm" not in call and "power" not in call:
        agree_values(found, outcome(f"linalg.{call}", np, fresh(np)), call)


def test_what_numpys_function_computes_has_its_bits():
    for call in ("inv(a)", "solve(s, m)", "svd(w)", "eigh(p)", "qr(t)", "cholesky(q)", "pinv(w)"):
        agree(
            outcome(f"linalg.{call}", la, fresh(la)), outcome(f"linalg.{call}", np, fresh(np)), call
        )


ORDERS = (1, 3, 40, 255, 256, 300)


@pytest.fixture
def one_thread():
    """NumPy's BLAS with one thread: others wait for each other where cores are few."""
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


def drawn(rng, shape, dtype):
    found = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        found = found + 1j * rng.standard_normal(shape)
    return found.astype(dtype)


def near(ours, wanted):
    ours = np.asarray(ours)
    assert ours.dtype == wanted.dtype and ours.shape == wanted.shape
    limit = 1e-4 if wanted.real.dtype == np.float32 else 1e-9
    return np.abs(ours - wanted).max(initial=0) <= limit * np.abs(wanted).max(initial=0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_equations_of_all_orders(dtype, one_thread):
    rng = np.random.default_rng(5)
    for n in ORDERS:
        a = drawn(rng, (n, n), dtype) + 3 * np.eye(n, dtype=dtype) * np.sqrt(n)
        ours = la.array(a)
        assert near(la.linalg.inv(ours), np.linalg.inv(a)), n
        assert near(la.linalg.inv(ours.T), np.linalg.inv(a.T)), n
        for shape in ((n,), (n, 1), (n, 70)):
            b = drawn(rng, shape, dtype)
            assert near(la.linalg.solve(ours, la.array(b)), np.linalg.solve(a, b)), (n, shape)
        if n < 100:
            assert near(la.linalg.det(ours), np.asarray(np.linalg.det(a))), n
        else:
            scaled = a / np.asarray(np.sqrt(10.0 * n), dtype)
            assert near(la.linalg.det(la.array(scaled)), np.asarray(np.linalg.det(scaled))), n
        for mine, wanted in zip(la.linalg.slogdet(ours), np.linalg.slogdet(a), strict=True):
            assert near(mine, np.asarray(wanted)), n
        p = a @ a.conj().T + np.eye(n, dtype=dtype)
        for upper in (False, True):
            wanted = np.linalg.cholesky(p, upper=upper)
            assert near(la.linalg.cholesky(la.array(p), upper=upper), wanted), n


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "int64"])
@pytest.mark.parametrize("n", [1, 3, 12, 20])
def test_equations_in_batches(dtype, n, one_thread):
    rng = np.random.default_rng(6)
    many = (20, 50) if n < 12 else (5, 20)
    a = rng.uniform(-3, 3, (*many, n, n))
    a = a.astype(dtype) if dtype != "complex128" else a + 1j * a[::-1]
    a = a + (12 * n**0.5 * np.eye(n)).astype(dtype)
    ours = la.array(a)
    assert near(la.linalg.inv(ours), np.linalg.inv(a))
    assert near(la.linalg.det(ours), np.linalg.det(a))
    for mine, wanted in zip(la.linalg.slogdet(ours), np.linalg.slogdet(a), strict=True):
        assert near(mine, wanted)
    p = a @ a.conj().swapaxes(-1, -2)
    assert near(la.linalg.cholesky(la.array(p)), np.linalg.cholesky(p))
    assert near(la.linalg.cholesky(la.array(p), upper=True), np.linalg.cholesky(p, upper=True))
    for shape in ((n,), (n, 2), (many[1], n, 2), (*many, n, 1), (1, many[1], n, 3)):
        b = np.ones(shape, dtype)
        b[..., -1] = 2
        assert near(la.linalg.solve(ours, la.array(b)), np.linalg.solve(a, b)), shape


@pytest.mark.parametrize("shape", [(3, 3), (1000, 3, 3), (40, 30, 30), (256, 256)])
def test_what_has_no_solution(shape):
    a = np.ones(shape)
    assert not np.asarray(la.linalg.det(la.array(a))).any()
    sign, log = la.linalg.slogdet(la.array(a))
    assert not np.asarray(sign).any() and np.isneginf(log).all()
    for call in (lambda x: la.linalg.inv(x), lambda x: la.linalg.solve(x, x[0])):
        with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
            call(la.array(a)).wait()
        with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
            (call(la.array(a)) + 1).wait()
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        la.linalg.cholesky(la.array(-a)).wait()
    nan = la.array(np.full(shape, np.nan))
    assert np.isnan(np.asarray(la.linalg.inv(nan))).all()
    assert np.isnan(np.asarray(la.linalg.det(nan))).all()


@pytest.mark.parametrize("n", [7, 50, 300])
def test_bits_do_not_depend_on_how_equations_are_divided(n):
    rng = np.random.default_rng(7)
    batch = 1 if n == 300 else 9
    a, b = rng.standard_normal((batch, n, n)), rng.standard_normal((batch, n, 130))
    stages = {
        "inv": ((a,), np.empty_like(a), n),
        "solve": ((a, b), np.empty_like(b), 130),
        "det": ((a,), np.empty(batch), 0),
        "slogdet": ((a,), np.empty(2 * batch + 1), 0),
    }
    for name, (inputs, out, k) in stages.items():
        found = set()
        for pieces in (None, 2, 5):
            out[...] = 0
            kernels = _lapack.equations(name, a.dtype, batch, n, k)
            _order.run_stages(kernels, *inputs, out, pieces=pieces, seed=pieces)
            found.add(out.tobytes())
        assert len(found) == 1, name


@pytest.mark.parametrize("scale", [1, 1e-200, 1e200])
@pytest.mark.parametrize("n", [128, 129, 300])
def test_spectra_of_one_large_matrix(n, scale, one_thread):
    x = np.random.default_rng(8).standard_normal((n, n)) * scale
    one = np.eye(n)
    for uplo in "LU":
        half = np.tril(x) if uplo == "L" else np.triu(x)
        whole = half + half.T - np.diag(np.diag(x))
        wanted = np.linalg.eigvalsh(x, uplo)
        values, vectors = map(np.asarray, la.linalg.eigh(la.array(x), uplo))
        assert near(values, wanted) and near(la.linalg.eigvalsh(la.array(x), uplo), wanted)
        assert near(vectors.T @ vectors, one)
        assert np.abs(whole @ vectors - vectors * values).max() < 1e-12 * np.abs(values).max()
    wanted = np.linalg.svd(x, compute_uv=False)
    u, s, vh = map(np.asarray, la.linalg.svd(la.array(x[None])))
    assert near(s[0], wanted) and near(la.linalg.svdvals(la.array(x)), wanted)
    assert near(u[0].T @ u[0], one) and near(vh[0] @ vh[0].T, one)
    assert np.abs((u[0] * s[0]) @ vh[0] - x).max() < 1e-12 * s.max()


@pytest.mark.parametrize("what", [("eigh", True), ("eigh", False), ("svd", True), ("svd", False)])
def test_bits_do_not_depend_on_how_vectors_are_divided(what):
    name, vectors = what
    n = 401
    a = np.random.default_rng(9).standard_normal((n, n))
    squares = (2 if name == "svd" else 1) if vectors else 0
    found = set()
    for pieces in (None, 2, 5):
        out = np.zeros(squares * (n * n + 1) + n + 1)
        kernels = _lapack.spectrum(name, n, vectors)
        _order.run_stages(kernels, a, out, pieces=pieces, seed=pieces)
        found.add(out.tobytes())
    assert len(found) == 1


def test_large_matrices_without_a_spectrum():
    for bad, calls_ in ((np.nan, ("eigvalsh", "svd", "svdvals")), (np.inf, ("eigvalsh", "svd"))):
        x = np.ones((130, 130))
        x[3, 4] = x[4, 3] = bad
        for call in calls_:
            with pytest.raises(np.linalg.LinAlgError, match="did not converge"):
                la.wait_all(getattr(la.linalg, call)(la.array(x)))


def test_results_have_names():
    found = la.linalg.svd(la.array(INPUTS["w"]))
    assert found._fields == ("U", "S", "Vh") and found.S.shape == (2,)
    assert la.linalg.eigh(la.eye(2)).eigenvalues.tolist() == [1, 1]
    assert la.linalg.slogdet(la.eye(2)).logabsdet == 0


def test_shapes_are_looked_at_when_it_is_called():
    with pytest.raises(np.linalg.LinAlgError, match=r"inv: .* must be square, got \(2, 4\)"):
        la.linalg.inv(la.zeros((2, 4)))
    with pytest.raises(TypeError, match="float16 is unsupported in linalg"):
        la.linalg.inv(la.zeros((2, 2), "float16"))


def test_every_name_is_there():
    assert set(np.linalg.__all__) <= set(la.linalg.__all__)
    for name in la.linalg.__all__:
        assert getattr(la.linalg, name).__doc__, name


def slopes(function, x):
    """The gradient by central differences, real and imaginary parts side by side."""
    found = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        for unit in (1, 1j) if x.dtype.kind == "c" else (1,):
            moved = [x.copy(), x.copy()]
            moved[0][at] += 1e-6 * unit
            moved[1][at] -= 1e-6 * unit
            found[at] += unit * (function(moved[0]) - function(moved[1])) / 2e-6
    return found


def weighed(found):
    """A real number that depends on all of a result, not on the phases of vectors."""
    return sum((abs(x) ** 2 * (i + 1)).sum() + (abs(x).reshape(-1)[:1] * 3).sum()
               for i, x in enumerate(found if isinstance(found, tuple) else (found,)))  # fmt: skip


@pytest.mark.parametrize("kind", ["a", "z"])
@pytest.mark.parametrize(
    "call",
    [
        "inv(x)", "solve(x, x[0])", "solve(x + 2, x)", "det(x)", "slogdet(x)", "pinv(x[:, :2])",
        "cholesky(x @ x.conj().T + 3 * ONE)", "eigvalsh(x + x.conj().T)", "svd(x)[1]",
        "svd(x[:, :2], full_matrices=False)", "eigh(x + x.conj().T)", "qr(x)", "norm(x, 2)",
        "norm(x, 'nuc')", "norm(x)", "matrix_power(x, -3)", "multi_dot([x, x, x])",
        "tensorsolve(x, x[0])", "vector_norm(x, axis=0)", "cond(x @ x)",
    ],
)  # fmt: skip
def test_gradients(call, kind):
    def value(namespace, x):
        found = eval(f"f.{call}", {"f": namespace.linalg, "x": x, "ONE": np.eye(3)})
        return weighed(found)

    x = la.array(INPUTS[kind])
    x.attach_grad()
    with la.autograd.record():
        loss = value(la, x)
    loss.backward()
    wanted = slopes(lambda x: value(np, x), INPUTS[kind])
    np.testing.assert_allclose(x.grad, wanted, rtol=1e-6, atol=1e-6 * abs(wanted).max())


def test_no_gradient_is_said():
    x = la.array(INPUTS["w"])
    x.attach_grad()
    for function in (lambda: la.linalg.svd(x).U, lambda: la.linalg.qr(x).R):
        with la.autograd.record():
            loss = function().sum()
        with pytest.raises(GradientError, match="no gradient"):
            loss.backward()


SHAPES = [
    (300, 12, 12),
    (600, 5, 9),
    (20, 10, 9, 5),
    (3000, 3, 3),
    (256, 256),
    (260, 300),
    (300, 260),
]
DECOMPOSITIONS = {
    "qr": lambda xp, a: xp.linalg.qr(a),
    "qr, complete": lambda xp, a: xp.linalg.qr(a, "complete"),
    "qr, r": lambda xp, a: xp.linalg.qr(a, "r"),
    "svd": lambda xp, a: xp.linalg.svd(a),
    "svd, reduced": lambda xp, a: xp.linalg.svd(a, full_matrices=False),
    "svdvals": lambda xp, a: xp.linalg.svdvals(a),
    "eigh": lambda xp, a: xp.linalg.eigh(a),
    "eigh, U": lambda xp, a: xp.linalg.eigh(a, "U"),
    "eigvalsh": lambda xp, a: xp.linalg.eigvalsh(a, "u"),
    "pinv of some rank": lambda xp, a: xp.linalg.pinv(a, rtol=0.25),
    "matrix_rank": lambda xp, a: xp.linalg.matrix_rank(a, rtol=0.25),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", "fdFD")
def test_decompositions_have_numpys_signs(dtype, shape, one_thread):
    rng = np.random.default_rng(3)
    a = rng.standard_normal(shape)
    a = (a + 1j * rng.standard_normal(shape) if dtype in "FD" else a).astype(dtype)
    close = 2e-4 if dtype in "fF" else 1e-9
    for name, function in DECOMPOSITIONS.items():
        if name.startswith("eig") and shape[-1] != shape[-2]:
            continue  # only one triangle is read, so that it may be any square matrix
        wanted, found = function(np, a), function(la, la.array(a))
        pairs = (
            [(wanted, found)] if not isinstance(wanted, tuple) else zip(wanted, found, strict=True)
        )
        for x, y in pairs:
            assert (x.shape, x.dtype) == (y.shape, y.dtype), name
            np.testing.assert_allclose(np.asarray(y), x, rtol=close, atol=close, err_msg=name)


def test_decompositions_have_the_same_bits_alone_and_on_all_workers():
    a = la.array(np.random.default_rng(4).standard_normal((400, 9, 7)))
    together = [np.asarray(part) for part in la.linalg.svd(a, full_matrices=False)]
    for i in range(0, 400, 133):
        few = la.linalg.svd(a[[i] * 200], full_matrices=False)
        for part, whole in zip(few, together, strict=True):
            assert np.asarray(part)[77].tobytes() == whole[i].tobytes()


def test_a_decomposition_that_fails_does_so_at_every_wait():
    a = np.ones((500, 6, 6))
    a[3, 2, 1] = np.nan
    found = la.linalg.svdvals(la.array(a))
    for _ in range(2):
        with pytest.raises(np.linalg.LinAlgError, match="SVD did not converge"):
            found.wait()
