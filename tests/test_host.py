"""NumPy's functions without a kernel of their own, against NumPy: called on either namespace."""

import io
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from lazyarray._ir import registry
from oracle import agree, agree_values, calls, flat, outcome

import lazyarray as la
from lazyarray import hosted
from lazyarray.errors import FallbackError, FallbackWarning

RNG = np.random.default_rng(3)
INPUTS = {
    "a": RNG.random(12) * 4 - 2,
    "b": RNG.integers(-5, 6, 12),
    "c": RNG.random(12) + 1j * RNG.random(12),
    "f": RNG.random((3, 4)).astype(np.float32),
    "m": RNG.random((4, 5)) * 10 - 5,
    "t": (RNG.random((5, 4)) * 10 - 5).T,
    "n": np.array([[1.0, np.nan, 3, -2], [np.nan, 5, 0.5, 7], [2, 2, np.nan, 9]]),
    "i": RNG.integers(0, 4, (3, 4)),
    "u": RNG.integers(0, 256, (3, 4)).astype(np.uint8),
    "k": RNG.random(12) < 0.5,
    "q": np.array([10.0, 50, 90]),
    "x": np.linspace(0, 1, 7),
    "y": RNG.random(7),
    "e": np.zeros((0, 3)),
    "z": np.float64(2.5),
    "h": RNG.random((3, 4)).astype(np.float16),
    "s": RNG.random((2, 3, 4)),
}

EXACT = """
interp(a, x, y) | interp(0.3, x, y) | interp(a, x, y, left=-1, right=9)
interp(x, x, y, period=0.5)
interp(a, x, x*1j) | interp(a, x, y[:3]) | interp(a, x[:0], y[:0]) | interp([0.1, 0.2], x, y)
convolve(a, x) | convolve(a, x, 'same') | convolve(a, x, mode='valid') | convolve(b, b)
convolve(a, c)
convolve(f[0], f[1]) | convolve(a, x[:0]) | convolve(m, a) | convolve(a, x, 'no') | correlate(a, x)
correlate(c, a, 'full') | correlate(a, x, 'same') | convolve(a, 2.0)
digitize(a, x) | digitize(b, [-3, 0, 3]) | digitize(a, x[::-1], right=True) | digitize(m, x)
digitize(0.5, x)
digitize(a, m) | digitize(c, x) | lexsort((a, b)) | lexsort((b, a, b)) | lexsort(m)
lexsort(([1, 2], [3, 4]))
partition(a, 3) | partition(m, 2, axis=0) | partition(m, [1, 3]) | partition(m, 7, axis=None)
partition(a, 99) | argpartition(a, 3) | argpartition(m, 2, 0) | partition(b, -2)
median(a) | median(m, axis=1) | median(m, axis=(0, 1), keepdims=True) | median(b) | median(f, 0)
median(n) | median(n, axis=1) | median(h) | median(t, axis=0) | median(m, axis=5) | nanmedian(n)
nanmedian(n, axis=0) | nanmedian(n, 1, keepdims=True) | nanmedian(b)
median(m, overwrite_input=True)
percentile(a, 30) | percentile(m, q, axis=1) | percentile(f, q)
percentile(b, 25, method='nearest')
percentile(m, q, axis=(0, 1), keepdims=True) | percentile(a, 120) | percentile(n, 50)
percentile(a, [])
quantile(a, 0.3) | quantile(m, [0.1, 0.9], 0) | quantile(f, 0.5) | nanquantile(n, 0.5, axis=1)
quantile(a, x, method='median_unbiased') | quantile(a, 0.5, method='nope')
nanpercentile(n, q, axis=0)
quantile(a, [0.5], weights=abs(a), method='inverted_cdf')
nanargmax(n) | nanargmax(n, 0) | nanargmin(n, axis=1, keepdims=True) | nanargmin(b)
nanargmax(n[:, 1:2] * np.nan)
i0(a) | i0(b) | i0(f) | i0(c) | isin(b, [1, 2, 3]) | isin(i, b, invert=True) | isin(a, a[:3])
isin(3, b)
isin(b, [1], kind='table') | isin(b, [1], kind='no')
packbits(k) | packbits(u) | packbits(u, axis=1) | packbits(k, bitorder='little') | packbits(a)
packbits(u, 0)
unpackbits(u) | unpackbits(u, axis=1) | unpackbits(u, count=10) | unpackbits(u, axis=0, count=-3)
unpackbits(u, bitorder='little') | unpackbits(b)
choose(i[0], [b, a, b, a][:4]) | choose([0, 1, 2], [a[:3], b[:3], x[:3]])
choose(i, (f, m[:3, :4], 1, 2))
choose(b, [a, a], mode='wrap') | choose(b, [a, a], mode='clip') | choose(b, [a, a]) | choose(a, [a])
unravel_index([3, 5], (2, 4)) | unravel_index(7, (2, 4)) | unravel_index(i, (2, 2), order='F')
unravel_index([99], (2, 4)) | unravel_index(a, (2, 4)) | unravel_index([1], 5)
ravel_multi_index(([0, 1], [2, 3]), (2, 4)) | ravel_multi_index((i, i), (4, 4))
ravel_multi_index((1, 2), (2, 4))
ravel_multi_index((i, i), (2, 4)) | ravel_multi_index((i, i), (2, 4), mode='clip')
ravel_multi_index(i, (4, 4, 4))
histogram(a) | histogram(m, 5) | histogram(a, x) | histogram(b, bins=4, range=(-3, 3))
histogram(a, density=True)
histogram(a, weights=b) | histogram(a, 'auto') | histogram(f) | histogram(k) | histogram(a, 0)
histogram(u, 3)
histogram(a, [1, 0]) | histogram(n) | histogram_bin_edges(a) | histogram_bin_edges(a, 'sturges')
histogram2d(a, b) | histogram2d(a, b, bins=3) | histogramdd(m, bins=2) | histogram_bin_edges(f, 3)
apply_along_axis(sorted, 1, m) | apply_along_axis(lambda v: v[0], 0, m)
apply_over_axes(np.sum, s, (0, 2))
array_equiv(a, a) | array_equiv(a, b) | array2string(b) | array_str(a) | base_repr(10, 3)
binary_repr(10)
compress(k, a) | compress([True, False, True], m, axis=0) | extract(k, a) | extract(i > 1, i)
delete(a, 3) | delete(m, [0, 2], axis=1) | delete(m, slice(1, 3), 0) | delete(a, 99) | delete(b, k)
delete(m, 1)
insert(a, 2, 9) | insert(m, 1, 5, axis=1) | insert(a, [1, 3], [7, 8]) | insert(b, 0, b[:2])
format_float_positional(z) | geomspace(1, 1000, 4) | logspace(0, 2, 5) | logspace(x[0], x[-1], 3)
intersect1d(b, i) | intersect1d(b, i, return_indices=True) | union1d(b, i) | setdiff1d(b, i)
setxor1d(b, i)
unique_all(b) | unique_counts(b) | unique_inverse(i)
trim_zeros([0, 0, 1, 2, 0])
poly([1, 2, 3]) | polyadd(x, [1, 2]) | polyder(y) | polydiv([1, 5, 6], [1, 2]) | polyfit(x, y, 2)
polyint(y)
polymul(x, y) | polysub(x, y) | roots([1, -3, 2]) | polyfit(x, y, 1, full=True)
polyfit(x, y, 1, cov=True)
real_if_close(c) | real_if_close([1 + 0j]) | bartlett(7) | blackman(7) | hamming(7) | hanning(7)
kaiser(7, 14)
broadcast_shapes((2, 1), (3,)) | common_type(a, b) | common_type(f) | iscomplexobj(c) | isrealobj(a)
isfortran(t)
issubdtype(np.float32, np.floating) | iterable(a) | iterable(3) | mintypecode('fd') | typename('d')
may_share_memory(a, a[3:]) | may_share_memory(a, b) | shares_memory(a[::2], a[1::2])
shares_memory(a, a[1:])
isscalar(3) | isscalar(a) | isscalar(z) | einsum_path('ij,jk', m, t.T)
cov(a, x=1)
repeat(b, abs(b)) | roll(b, i[0, 0])
roll(m, i[0, :2], axis=(0, 1)) | tile(b, i[0, :2] + 1)
repeat(b, repeats=2)
median(k) | tril(a) | triu(b, 1) | nonzero(z) | where(z) | repeat(b, k) | cumulative_prod(z)
diagflat(b[:2], b[0] * 0) | array_split(a, i[0, 0] + 1)
cross([1, 2, 3], [4, 5, 6]) | cross(m[:, :3], m[:, 1:4]) | cross(m[:, :3], [1, 2, 3]) | cross(m, m)
cross(m[:3], m[1:4], axis=0) | cross(s[..., :3], s[..., 1:], axisc=0) | cross(b[:3], b[3:6])
cumulative_sum(b) | cumulative_sum(i, axis=1, include_initial=True) | cumulative_sum(i)
cumulative_prod(i, axis=0)
cumulative_prod(b[:5], include_initial=True) | cumulative_sum(b, dtype='float32')
diagflat([1, 2]) | diagflat(i, 2) | diagflat([1], -1) | ediff1d(b)
ediff1d(a, to_end=[1, 2], to_begin=0)
ediff1d(b, to_end=1.5) | fix(a) | gradient(a) | gradient(m) | gradient(m, axis=0)
gradient(a, 0.5, edge_order=2)
gradient(y, x) | gradient(y, x**2) | gradient(y, x**2, edge_order=2) | gradient(m, 2.0, 3.0)
gradient(b)
gradient(f, 0.3) | gradient(a[:1]) | gradient(m, 1, 2, 3) | gradient(y, x[:3])
gradient(a, edge_order=3) | gradient(u)
iscomplex(c) | iscomplex(a) | isreal(c) | isreal(z) | isposinf(a / 0) | isneginf(a / 0)
isposinf(c) | isposinf(b)
nancumsum(n) | nancumsum(n, axis=1) | nancumsum(b) | nancumprod(n, 0) | polyval([1, 2, 3], a)
polyval(y, x)
polyval([1, 2], b) | polyval([1, 2], 3) | polyval([], a) | polyval(x, m) | resize(a, (3, 5))
resize(b, 5) | resize(m, (7, 9)) | resize(m[:, ::2], 5) | resize(i, i.size) | resize(a[:1], 40)
resize(a, (2, 2)) | resize(e, (2, 2)) | resize(a, (-1, 2)) | resize(a, (0, 3))
select([a < 0, a > 1], [a, a * 2], 7) | select([a < 0], [b], 0.5) | select([], [])
select([a], [a])
select([a > 0], [1]) | select([i > 1, i > 0], [f, 1.0], default=2) | select([k, ~k], [b, 1])
sort_complex(c) | sort_complex(b) | sort_complex(u)
trapezoid(b)
unwrap(a * 3) | unwrap(m, axis=0) | unwrap(b, period=4) | unwrap(b, period=5) | unwrap(m, discont=4)
unwrap(f * 9) | vander(b[:4]) | vander(x, 3) | vander(x, 5, increasing=True) | vander(m)
vander(x, 0)
block([[m, m], [m, m]]) | block([a, 1]) | block(a) | block([[1, 2], [3, 4]]) | block([[a], b])
block([])
block([[m, i[:, :1]], [1, 1]]) | diag_indices(3) | diag_indices_from(m[:, :4])
diag_indices_from(m)
fromfunction(lambda i, j: i + j, (2, 3)) | fromfunction(lambda i, j: i == j, (3, 3), dtype=int)
indices((3, 0)) | indices((4, 1, 2), dtype="f4") | indices((), sparse=True)
indices((3,), dtype=complex)
indices((2, 3)) | indices((2, 3), sparse=True) | indices((2,), dtype=float) | ix_([0, 2], [1, 3])
ix_(k, b)
ix_([[1]]) | ix_([], [1]) | mask_indices(3, np.triu) | mask_indices(3, np.tril, -1)
mgrid[0:3, 0:2] | mgrid[0:1:5j]
ogrid[0:3, 0:2] | r_[a, 0, 1:4] | r_[a, b] | c_[a, b] | r_['0,2', [1, 2], [3, 4]] | c_[m, m]
s_[1:2, ...]
index_exp[1:2] | piecewise(a, [a < 0, a >= 0], [-1, 1])
piecewise(a, [a < 0], [lambda v: -v, lambda v: v])
piecewise(a, [a < 0, a > 1], [1, 2, lambda v: v * 3]) | piecewise(a, [a < 0], [1, 2, 3])
piecewise(b, b > 0, [lambda v, w: v + w], 5)
tri(3) | tri(3, 4, 1) | tri(2, dtype=int) | tril_indices(3) | tril_indices(3, 1, 4)
triu_indices(4, -1)
tril_indices_from(m) | triu_indices_from(m) | triu_indices_from(a) | unstack(m)
unstack(s, axis=-1) | unstack(z)
asanyarray(a) | asanyarray([1, 2], 'f') | ascontiguousarray(t) | ascontiguousarray(3)
asfortranarray(m)
asarray_chkfinite(a) | asarray_chkfinite(n) | require(m, 'f', ['F']) | require(t, requirements='C')
isdtype(np.float32, 'real floating') | isdtype(np.int8, ('bool', 'integral'))
isdtype(np.int8, 'no')
fromiter(range(5), int) | fromstring('1 2 3', sep=' ') | fromiter([1.5], 'f')
min_scalar_type(300) | result_type(a, f) | can_cast(a, 'f') | shape(m) | ndim(m) | size(m)
nanvar(b) | vectorize(lambda v, w: v + w)(a, b) | vectorize(lambda v: v > 0, otypes=[bool])(b)
poly1d(x)(a) | poly1d([1, 2])(3) | sinc(z * 0)
"""

CLOSE = """
einsum('ij,jk', m, m.T) | einsum(m, [0, 1], m.T, [1, 2]) | einsum(m, [0, 1], [1])
einsum(s, [..., 0], [0, ...]) | einsum('ij,jk->ik', m, m.T, optimize=True)
einsum(a, [0], b, [0]) | einsum('ij->j', m, dtype='f', casting='unsafe') | einsum()
einsum('ii', m)
trapezoid(y, x) | trapezoid(y) | trapezoid(m, dx=0.1) | trapezoid(m, axis=0) | trapezoid(m, m * 2)
trapezoid(y, dx=x[:6])
cov(m) | cov(a, b) | cov(m, rowvar=False) | cov(m, bias=True) | cov(m, ddof=0) | cov(c) | cov(f)
cov(i)
cov(a, fweights=abs(b)) | cov(m, aweights=[1, 2, 3, 4, 5])
cov(m, fweights=[1, 2, 1, 2, 1], aweights=m[0]**2)
cov(f, dtype='float32') | cov(a, aweights=-abs(a)) | cov(s) | cov(e.T) | cov(a, ddof=0.5)
cov(a, fweights=a)
corrcoef(m) | corrcoef(a, b) | corrcoef(c, c * 1j) | corrcoef(a) | corrcoef(m, rowvar=False)
nanvar(n) | nanvar(n, axis=0) | nanvar(n, 1, ddof=1) | nanstd(n, axis=1, keepdims=True) | nanstd(n)
nanvar(f)
nanstd(b) | nanstd(n, 0, correction=1) | nanvar(c)
sinc(a) | sinc(b) | sinc(f) | sinc(c) | cumulative_sum(a) | nancumsum(a) | nancumprod(a)
cumulative_prod(m, axis=1)
trapezoid(f, axis=0) | convolve(f[0], f[1], 'same')
"""


def fresh(namespace):
    """The inputs: NumPy's arrays, or lazyarray's, in the same layouts."""
    if namespace is np:
        return {
            key: np.array(x)[()] if not np.ndim(x) else x.copy("K") for key, x in INPUTS.items()
        }
    made = {key: la.array(x) for key, x in INPUTS.items()}
    made["z"] = la.array([INPUTS["z"]])[0]
    return made


@pytest.mark.parametrize("call", calls(EXACT))
def test_values(call):
    agree(outcome(call, la, fresh(la)), outcome(call, np, fresh(np)), call)


@pytest.mark.parametrize("call", calls(CLOSE))
def test_close_values(call):
    agree(outcome(call, la, fresh(la)), outcome(call, np, fresh(np)), call, close=True)


@pytest.mark.parametrize("call", calls(EXACT))
def test_dispatch(call):
    # NumPy's own function, called with lazyarray's arrays.
    wanted = outcome(call, np, fresh(np))
    found = outcome(call, np, fresh(la))
    if not isinstance(found, Exception):
        arrays = [x for x in flat(found) if isinstance(x, np.ndarray | np.generic)]
        used = {name for name in INPUTS if eval_names(call, name)}
        assert (
            not used
            or not arrays
            or "lambda" in call
            or re.split(r"[(\[]", call)[0] in NOT_DISPATCHED
        ), call
    agree_values(found, wanted, call)


# What NumPy does not ask its arguments about.
NOT_DISPATCHED = {
    "asanyarray", "ascontiguousarray", "asfortranarray", "asarray_chkfinite", "require", "poly1d",
    "vectorize", "r_", "c_", "block",
    "min_scalar_type", "trim_zeros", "isscalar",
}  # fmt: skip


def eval_names(call, name):
    return name in compile(call, "", "eval").co_names


# ---- lazy


def test_tasks_are_recorded_not_run():
    before = la.stats()["flushes"]
    a = la.arange(24.0).reshape(4, 6)
    found = la.median(a * 2, axis=1) + la.percentile(a, [10, 20, 30, 40])
    inverse = la.linalg.inv(la.eye(3) + 1)
    assert la.stats()["flushes"] == before
    assert found.shape == (4,) and inverse.shape == (3, 3)
    np.testing.assert_array_equal(found, np.median(np.arange(24.0).reshape(4, 6) * 2, 1)
                                  + np.percentile(np.arange(24.0), [10, 20, 30, 40]))  # fmt: skip


def test_failure_on_data_is_raised_at_every_wait_and_names_the_line():
    a = la.zeros((2, 2))
    found = la.linalg.inv(a) + 1
    line = sys._getframe().f_lineno - 1
    for _ in range(2):
        with pytest.raises(np.linalg.LinAlgError, match="Singular matrix") as raised:
            found.wait()
    assert f"test_host.py:{line}" in "".join(raised.value.__notes__)
    found[...] = 3
    assert found.tolist() == [[3, 3], [3, 3]]


def test_numpys_warnings_come_when_the_task_runs():
    with pytest.warns(RuntimeWarning, match="All-NaN slice"):
        assert np.isnan(float(la.nanmedian(la.array([np.nan]))))


def test_users_functions_get_numpys_arrays():
    seen = set()
    la.apply_along_axis(lambda v: seen.add(type(v)) or 0, 0, la.ones((2, 2)))
    la.vectorize(lambda v: seen.add(type(v)) or 0)(la.ones(2))
    assert seen <= {np.ndarray, np.float64, float}
    la.piecewise(la.ones(2), [la.ones(2) > 0], [lambda v: seen.add(type(v)) or v])
    assert la.Array in seen


def test_results_of_one_task_are_arrays_of_their_own():
    counts, edges = la.histogram(la.arange(10.0), 5)
    counts += 1
    assert counts.tolist() == [3] * 5 and edges.dtype == np.float64
    values, vectors = la.linalg.eigh(la.array([[2.0, 0], [0, 1]]))
    values[0] = 7
    assert vectors.tolist() == np.linalg.eigh(np.array([[2.0, 0], [0, 1]]))[1].tolist()


@pytest.mark.parametrize("engine", ["naive", "threaded"])
def test_bits_do_not_depend_on_the_engine(engine):
    la.set_engine(engine)
    try:
        a = la.array(INPUTS["m"])
        found = [la.percentile(a, 30, 1), *la.linalg.svd(a), la.fft.rfft(a), la.cov(a)]
        found = [x.numpy().tobytes() for x in found]
    finally:
        la.set_engine("threaded")
    a = la.array(INPUTS["m"])
    again = [la.percentile(a, 30, 1), *la.linalg.svd(a), la.fft.rfft(a), la.cov(a)]
    assert found == [x.numpy().tobytes() for x in again]


def test_gradients_flow_through_composed_functions():
    x = la.array(INPUTS["y"])
    x.attach_grad()
    with la.autograd.record():
        loss = (la.trapezoid(x * x) + la.polyval(x[:3], 2.0) + la.gradient(x).sum()
                + la.linalg.det(la.vander(x[:3])))  # fmt: skip
    loss.backward()

    def value(v):
        return (np.trapezoid(v * v) + np.polyval(v[:3], 2.0) + np.gradient(v).sum()
                + np.linalg.det(np.vander(v[:3])))  # fmt: skip

    steps = 1e-6 * np.eye(7)
    wanted = [(value(INPUTS["y"] + e) - value(INPUTS["y"] - e)) / 2e-6 for e in steps]
    np.testing.assert_allclose(x.grad, wanted, atol=1e-8)


# ---- writing

WRITES = """
copyto(a, b) | copyto(a, 3) | copyto(a[::2], 1.5, where=k[::2]) | copyto(b, 2.5)
copyto(b, 2.5, casting='unsafe')
copyto(a, a[::-1]) | copyto(m, m[0]) | copyto(b, a) | copyto(a, x) | copyto(u, 300)
copyto(m, 1, where=[True])
copyto(a, b, where=b) | copyto(m.T, [1, 2, 3, 4]) | copyto(f, m[:3, :4], where=f > 0.5)
copyto(a, 1, where=m)
put(a, [0, 2], [7, 8]) | put(a, [0, -1], 7) | put(m, 3, 9) | put(t, [1, 2], 9) | put(a, 99, 1)
put(a, [99], 1, 'clip')
put(a, [14, -1], [1, 2], mode='wrap') | put(m, [1, 2, 3], [5, 6]) | put(a, [0, 0], [1, 2])
put(a, [], 1)
put(a, [0.5], 1) | put(m[::2, ::2], [0, 1], 3)
putmask(a, k, b) | putmask(a, a > 0, 0) | putmask(m, m > 0, [1, 2, 3]) | putmask(b, k, 1.5)
putmask(b, k, a)
putmask(a, k[:3], 1) | putmask(t, t > 0, t * 2) | putmask(a, k, [])
place(a, k, [1, 2]) | place(a, a > 0, [7]) | place(m, m > 0, [1, 2, 3]) | place(a, k, [])
place(t, t > 1, [5])
fill_diagonal(m, 1) | fill_diagonal(m, [1, 2]) | fill_diagonal(t.T, 3)
fill_diagonal(t.T, 3, wrap=True)
fill_diagonal(a, 1) | fill_diagonal(m[1:3, 1:3], 7) | fill_diagonal(s, 1)
fill_diagonal(m[:, ::-1], 4)
nan_to_num(n, copy=False) | nan_to_num(n) | nan_to_num(n, False, 7)
put_along_axis(m, i[:, :1].argsort(0), 9, 0) | put_along_axis(f, i[:, :2], f[:, :2] * 2, axis=1)
"""


@pytest.mark.parametrize("call", calls(WRITES))
def test_writes(call):
    wanted, ours = fresh(np), fresh(la)
    views = {"a": (slice(1, None, 3),), "m": (slice(None), 1), "t": (1,), "b": (slice(2, 5),)}
    seen = {key: ours[key][at] for key, at in views.items()}
    agree(outcome(call, la, ours), outcome(call, np, wanted), call)
    for key, value in wanted.items():
        np.testing.assert_array_equal(np.asarray(ours[key]), value, err_msg=f"{call}: {key}")
    for key, at in views.items():
        np.testing.assert_array_equal(np.asarray(seen[key]), wanted[key][at], err_msg=call)


def test_writes_need_a_writable_array():
    a = la.broadcast_to(la.arange(3), (2, 3))
    for write in (la.copyto, la.fill_diagonal):
        with pytest.raises(ValueError, match="read-only"):
            write(a, 1)
    with pytest.raises(TypeError, match="must be a lazyarray array"):
        la.copyto([1, 2], 3)


def test_numpys_arrays_are_written_by_numpy():
    for space in (la, np):
        n, a = np.zeros(4), la.arange(4.0)
        space.copyto(n, a)
        space.put(n, [0], la.array([7.0]))
        space.putmask(n, a > 2, a * 2)
        space.place(n, a == 1, la.array([9.0]))
        assert n.tolist() == [7, 9, 2, 6]
        m = np.zeros((2, 2))
        space.fill_diagonal(m, la.arange(1, 3))
        assert m.tolist() == [[1, 0], [0, 2]]


OUTPUTS = """
median(m, axis=0, out=o) | percentile(m, 30, axis=0, out=o) | nancumsum(o, out=o)
fix(x[:5], out=o)
cumulative_sum(x[:5], out=o) | isposinf(x[:5], out=o) | nanmedian(m, 0, out=o)
quantile(m, 0.5, 1, out=o)
compress([True] * 5, x[:5], out=o) | nanargmax(m, axis=0, out=p)
choose([0, 1, 0, 0, 1], [o, o], out=o)
"""


@pytest.mark.parametrize("call", calls(OUTPUTS))
def test_out(call):
    wanted = {**fresh(np), "o": np.zeros(5), "p": np.zeros(5, np.int64)}
    ours = {**fresh(la), "o": la.zeros(5), "p": la.zeros(5, np.int64)}
    found, expected = outcome(call, la, ours), outcome(call, np, wanted)
    agree(found, expected, call)
    assert isinstance(found, Exception) or found is ours["o"] or found is ours["p"]
    for key in ("o", "p"):
        np.testing.assert_array_equal(np.asarray(ours[key]), wanted[key], err_msg=call)


def test_numpys_function_writes_to_numpys_out():
    out = np.zeros(5)
    assert np.median(la.array(INPUTS["m"]), axis=0, out=out) is out
    np.testing.assert_array_equal(out, np.median(INPUTS["m"], axis=0))


# ---- what is not for lazyarray


@pytest.mark.parametrize(
    "call",
    [
        "frompyfunc(max, 2, 1)",
        "datetime_data('M8[s]')",
        "asmatrix([[1]])",
        "is_busday('2020-01-01')",
        "unique_values(np.array(['x', 'y']))",
        "median(np.array([None, 1]))",
        "vectorize(str)([1, 2])",
        "fromiter(['x'], 'U1')",
        "interp(np.array(['x']), [1], [1])",
        "insert(np.array(['x']), 0, 'y')",
    ],
)
def test_other_data_is_kept_in_numpy(call):
    with pytest.raises(TypeError, match=r"Keep such data in NumPy|Use vectorize"):
        eval(f"la.{call}")


# ---- files


def test_files(tmp_path):
    a, m = la.arange(5), la.array(INPUTS["m"])
    la.save(tmp_path / "a.npy", a)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.arange(5))
    found = la.load(tmp_path / "a.npy")
    assert isinstance(found, la.Array) and found.tolist() == a.tolist()
    for save in (la.savez, la.savez_compressed):
        save(tmp_path / "b.npz", a, m=m)
        with la.load(tmp_path / "b.npz") as archive:
            assert sorted(archive) == ["arr_0", "m"] == sorted(archive.files)
            assert len(archive) == 2 and (archive["m"] == m).all()
    la.savetxt(tmp_path / "m.txt", m)
    assert la.allclose(la.loadtxt(tmp_path / "m.txt"), m)
    assert la.genfromtxt(io.StringIO("1,2\n3,"), delimiter=",").shape == (2, 2)
    np.asarray(m).tofile(tmp_path / "raw")
    assert (la.fromfile(tmp_path / "raw") == m.ravel()).all()
    (tmp_path / "r").write_text("1-2,3-4,")
    with pytest.raises(TypeError, match="Keep such data in NumPy"):
        la.fromregex(tmp_path / "r", r"(\d)-(\d)", [("x", int), ("y", int)])


def test_memory_of_others_is_shared(tmp_path):
    mapped = la.memmap(tmp_path / "map", dtype="f8", mode="w+", shape=(3, 2))
    mapped[1] = 5
    del mapped
    assert np.fromfile(tmp_path / "map").tolist() == [0, 0, 5, 5, 0, 0]
    np.save(tmp_path / "x.npy", np.arange(3))
    opened = la.load(tmp_path / "x.npy", mmap_mode="r+")
    opened[0] = 9
    del opened
    assert np.load(tmp_path / "x.npy")[0] == 9
    memory = bytearray(16)
    seen = la.frombuffer(memory, np.int64)
    seen[1] = 1
    assert memory[8] == 1
    fixed = la.frombuffer(b"\x01\x02", np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        fixed[0] = 1


# ---- where a program waits


def test_fallback_is_told_once_a_line(monkeypatch):
    monkeypatch.setattr(hosted, "fallback", "warn")
    monkeypatch.setattr(hosted, "reported", set())
    a = la.arange(5)
    with pytest.warns(FallbackWarning) as told:
        for _ in range(3):
            la.extract(a > 2, a)
        line = sys._getframe().f_lineno - 1
        np.extract(a > 2, a)
    assert [(w.filename, w.lineno) for w in told] == [(__file__, line), (__file__, line + 2)]
    assert "extract waits for its arguments" in str(told[0].message)
    monkeypatch.setattr(hosted, "fallback", "error")
    with pytest.raises(FallbackError, match=r"extract waits .*test_host.py:\d+"):
        la.extract(a > 2, a)
    la.median(a).wait()  # a task
    assert la.hanning(3).tolist() == [0, 1, 0]  # nothing to wait for


def test_fallback_is_set_by_the_environment():
    program = "import lazyarray as la; la.union1d(la.arange(3), 1)"
    for value, text in (("error", "union1d waits"), ("loud", "Set it to warn or error")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "LAZYARRAY_FALLBACK": value},
            capture_output=True,
            text=True,
        )
        assert done.returncode and text in done.stderr


def test_interrupt_in_a_short_task(monkeypatch):
    op, left = registry["median"], []
    compute = op.compute

    def stopped(*args, **options):
        if left and threading.current_thread() is threading.main_thread():
            left.clear()
            raise KeyboardInterrupt
        return compute(*args, **options)

    monkeypatch.setattr(op, "compute", stopped)
    interrupts = 0
    for turn in range(200):  # a worker may be faster than the thread that waits
        left[:] = [True]
        found = la.median(la.array([1.0, turn, 300.0]))
        try:
            found.wait()
        except KeyboardInterrupt:
            interrupts += 1
        assert found.numpy() == np.median([1.0, turn, 300.0])
        if interrupts:
            break
    assert interrupts == 1
