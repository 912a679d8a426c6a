"""`la.fft` against `numpy.fft`: dtypes, shapes, values, exceptions, gradients."""

import numpy as np
import pytest
from oracle import agree, calls, outcome

import lazyarray as la

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
    with pytest.raises(ValueError, match="real floating"):
        la.fft.fftfreq(4, dtype=int)


def test_nothing_runs_before_it_is_read():
    before = la.stats()["flushes"]
    found = la.fft.irfft(la.fft.rfft(la.array(X)) * 2)
    assert la.stats()["flushes"] == before
    np.testing.assert_allclose(found, X * 2, atol=1e-14)


def test_rows_have_the_same_bits_alone_and_together():
    rows = RNG.normal(size=(13, 100))
    together = la.fft.rfft(la.array(rows)).numpy()
    alone = np.stack([la.fft.rfft(la.array(row)).numpy() for row in rows])
    assert together.tobytes() == alone.tobytes()


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
