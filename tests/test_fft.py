"""`la.fft` against `numpy.fft`: dtypes, shapes, values, exceptions, gradients."""

import hashlib

import numpy as np
import pytest
from oracle import agree, calls, outcome
from test_vmath import output

import lazyarray as la
from lazyarray import _fft, _order

RNG = np.random.default_rng(7)
X = RNG.normal(size=(3, 4, 6))
INPUTS = {
    "x": X,
    "c": X + 1j * RNG.normal(size=X.shape),
    "f": X.astype(np.float32),
    "g": (X + 1j).astype(np.complex64),
    "h": X.astype(np.float16),
    "i": RNG.integers(-9, 9, (4, 5)),
    "k": X > 0,
    "t": X.T,
    "e": np.zeros((0, 4)),
    "o": np.zeros((3, 0)),
    "z": X[0, 0, 0],
    "p": RNG.normal(size=17),
}
CALLS = """
fft(x) | fft(c) | fft(f) | fft(g) | fft(i) | fft(k) | fft(t) | fft(p) | fft(x, 4) | fft(x, 9, 0)
fft(x, axis=1)
fft(x, norm='ortho') | fft(x, norm='forward') | fft(x, norm='no') | fft(x, axis=5) | fft(x, 0)
fft(e) | fft(o) | fft(z)
ifft(x) | ifft(c, 5, 1, 'ortho') | ifft(f) | rfft(x) | rfft(x, 5) | rfft(f, axis=0) | rfft(c)
rfft(i) | rfft(p)
irfft(c) | irfft(c, 7) | irfft(x) | irfft(g, axis=0) | irfft(c, norm='forward') | irfft(p)
irfft(i, 4)
hfft(c) | hfft(x, 5) | hfft(g, norm='ortho') | ihfft(x) | ihfft(f, 4) | ihfft(c)
ihfft(x, norm='forward')
fftn(x) | fftn(c, (2, 5)) | fftn(c, axes=(0, 2)) | fftn(f, (3, 3), (0, 1)) | fftn(x, axes=(1, 1))
fftn(x, (2, 3), (0,))
fftn(x, axes=(0, 2), norm='ortho') | ifftn(c) | ifftn(x, (4, 4), (1, 2)) | fft2(x) | fft2(c, (3, 3))
ifft2(c)
fft2(x, axes=(0, 1)) | rfftn(x) | rfftn(x, (3, 5), (0, 2)) | rfft2(f) | rfftn(c)
rfft2(x, norm='forward')
irfftn(c) | irfftn(c, (4, 5), (1, 2)) | irfft2(c) | irfft2(g, (3, 3)) | irfftn(x, axes=(0, 1))
irfftn(c, axes=(1, 1))
fftshift(x) | fftshift(x, axes=1) | ifftshift(x) | ifftshift(p) | fftshift(i, (0, 1))
fftshift(x, 7)
fftfreq(8) | fftfreq(7, 0.1) | rfftfreq(8) | rfftfreq(9, d=2.0) | fftfreq(2.5) | fftn(x, ())
fft2(p)
"""
HALF = (
    "fft(h) | rfft(h) | ifft(h) | irfft(h) | hfft(h) | fftn(h) | irfftn(h) | irfft2(h, axes=(0,))"
)


def fresh(namespace):
    if namespace is np:
        return {key: np.array(x, order="K")[()] for key, x in INPUTS.items()}
    return {key: la.array(x) for key, x in INPUTS.items()}


@pytest.mark.parametrize("call", calls(CALLS))
def test_values(call):
    wanted = outcome(f"fft.{call}", np, fresh(np))
    agree(outcome(f"fft.{call}", la, fresh(la)), wanted, call, close=True)


@pytest.mark.parametrize("call", calls(HALF))
def test_half_precision_is_numpys(call):
    agree(outcome(f"fft.{call}", la, fresh(la)), outcome(f"fft.{call}", np, fresh(np)), call)


def test_numpys_functions_stay_here():
    x = la.array(X)
    assert isinstance(np.fft.rfft(x), la.Array)
    np.testing.assert_allclose(np.fft.ifftn(np.fft.fftn(x)), X, atol=1e-14)


def test_out():
    out = la.zeros((3, 4, 6), complex)
    assert la.fft.fft(la.array(X), out=out) is out
    np.testing.assert_allclose(out, np.fft.fft(X))


def test_frequencies_have_a_dtype():
    assert la.fft.fftfreq(4, dtype=la.float32).dtype == np.float32
    assert la.fft.rfftfreq(4, device="cpu").dtype == np.float64
    for n in (1, 2, 7, 1000):
        for name in ("fftfreq", "rfftfreq"):
            found = getattr(la.fft, name)(n, -0.3).numpy()
            assert found.tobytes() == getattr(np.fft, name)(n, -0.3).tobytes()
    with pytest.raises(ValueError, match="real floating"):
        la.fft.fftfreq(4, dtype=int)


def test_nothing_runs_before_it_is_read():
    before = la.stats()["flushes"]
    found = la.fft.irfft(la.fft.rfft(la.array(X)) * 2)
    assert la.stats()["flushes"] == before
    np.testing.assert_allclose(found, X * 2, atol=1e-14)


# Lengths: of passes of each kind, with a prime that has none, beyond a tile's, odd and even.
LENGTHS = (1, 2, 8, 35, 64, 100, 131, 143, 254, 999, 1000, 2048, 2050, 4096, 5000, 5005, 12_012)


def names_of(dtype):
    return (
        "fft",
        "ifft",
        *(("irfft", "hfft") if np.dtype(dtype).kind == "c" else ("rfft", "ihfft")),
    )


def lines(shape, dtype, seed=5):
    rng = np.random.default_rng(seed)
    found = rng.normal(size=shape)
    return (found + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else found).astype(
        dtype
    )


def near(ours, wanted):
    ours = np.asarray(ours)
    assert ours.dtype == wanted.dtype and ours.shape == wanted.shape
    limit = 2e-6 if wanted.real.dtype == np.float32 else 1e-14
    return np.abs(ours - wanted).max(initial=0) <= limit * np.abs(wanted).max(initial=0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(n, dtype):
    for shape, axis in (((n,), 0), ((9, n), 1), ((2, n, 3), 1), ((n, 17), 0)):
        if np.prod(shape) > 200_000:
            continue
        x = lines(shape, dtype)
        ours = la.array(x)
        for name in names_of(dtype):
            if n == 1 and name in ("irfft", "hfft"):
                continue
            mine, theirs = getattr(la.fft, name), getattr(np.fft, name)
            assert near(mine(ours, axis=axis), theirs(x, axis=axis)), (name, shape)
            for m in (n - 1, n + 4) if n > 4 else ():
                found = mine(ours, m, axis, "ortho"), mine(ours, m, axis, "forward")
                wanted = theirs(x, m, axis, "ortho"), theirs(x, m, axis, "forward")
                assert all(map(near, found, wanted)), (name, shape, m)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_several_axes(dtype):
    names = ("fftn", "ifftn", *(("irfftn",) if np.dtype(dtype).kind == "c" else ("rfftn",)))
    for shape in ((9, 20, 6), (2, 17, 2500), (2500, 2, 3)):
        x = lines(shape, dtype)
        for axes in (None, (0, 1), (2, 0), (1,)):
            for name in names:
                found = getattr(la.fft, name)(la.array(x), axes=axes)
                assert near(found, getattr(np.fft, name)(x, axes=axes)), (name, shape, axes)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("n", [n for n in LENGTHS if n > 1])
def test_rows_have_the_same_bits_alone_and_together(n, dtype):
    rows = lines((19 if n < 2100 else 3, n), dtype)
    for name in names_of(dtype):
        function = getattr(la.fft, name)
        together = function(la.array(rows)).numpy()
        alone = np.stack([function(la.array(row)).numpy() for row in rows])
        assert together.tobytes() == alone.tobytes(), name


@pytest.mark.parametrize(
    ("kind", "n"),
    [(_fft.COMPLEX, 60_000), (_fft.HALF, 60_000), (_fft.REAL, 60_000), (_fft.COMPLEX, 99)],
)
def test_bits_do_not_depend_on_how_lines_are_divided(kind, n):
    half = n // 2 + 1
    given = half if kind == _fft.REAL else n
    x = lines((30, given), "float64" if kind == _fft.HALF else "complex128")
    sizes = {_fft.COMPLEX: ((30, n), complex), _fft.HALF: ((30, half), complex)}
    out = np.empty(*sizes.get(kind, ((30, n), float)))
    found = set()
    for pieces in (None, 2, 7):
        out[...] = 0
        kernels = _fft.transforms(np.dtype(complex), [(kind, 0, 30, 1, given, n, 0, 1, 1.0)])
        _order.run_stages(kernels, x, out, pieces=pieces, seed=pieces)
        found.add(out.tobytes())
    assert len(found) == 1


def digest():
    """One number for transforms of all kinds."""
    found = hashlib.sha256()
    for n in (7, 100, 999, 4096, 5005):
        for dtype in ("float32", "float64", "complex64", "complex128"):
            x = la.array(lines((3, n), dtype))
            for name in names_of(dtype):
                found.update(getattr(la.fft, name)(x).numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("level", [0, 1])
def test_bits_do_not_depend_on_the_instruction_set(level):
    assert output("import test_fft; print(test_fft.digest())", level) == digest()


@pytest.mark.parametrize(
    "call",
    ["fft(x)", "ifft(x, 5)", "rfft(x.real, 7)", "irfft(x)", "irfft(x, 5)", "hfft(x)",
     "ihfft(x.real)", "fftn(x, (3, 5), (0, 1))", "irfftn(x, norm='ortho')",
     "rfftn(x.real, axes=(0, 1))", "fftshift(x)"],
)  # fmt: skip
def test_gradients(call):
    start = INPUTS["c"][0]
    weights = RNG.normal(size=200)

    def value(namespace, x):
        found = eval(f"f.{call}", {"f": namespace.fft, "x": x})
        flat = found.reshape(-1)
        return (flat.real * weights[: flat.size]).sum() + (flat.imag * weights[-flat.size :]).sum()

    x = la.array(start)
    x.attach_grad()
    with la.autograd.record():
        loss = value(la, x)
    loss.backward()
    wanted = np.zeros_like(start)
    for at in np.ndindex(start.shape):
        for unit in (1, 1j):
            step = np.zeros_like(start)
            step[at] = 1e-6 * unit
            wanted[at] += unit * (value(np, start + step) - value(np, start - step)) / 2e-6
    np.testing.assert_allclose(x.grad, wanted, atol=1e-7)


def test_every_name_is_there():
    assert set(np.fft.__all__) <= set(la.fft.__all__)
    for name in la.fft.__all__:
        assert getattr(la.fft, name).__doc__, name
