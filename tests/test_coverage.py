"""The table of what there is of NumPy: it does not shrink, and the documentation shows it."""

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lazyarray as la
from lazyarray import coverage, signatures

ROOT = Path(__file__).parent.parent
FLOOR = Path(__file__).parent / "coverage_floor.txt"
RANK = {"missing": 0, "different": 1, "host": 2, "native": 3}
STANDARD = """
e inf nan newaxis pi arange asarray empty empty_like eye from_dlpack full full_like linspace
meshgrid ones ones_like tril triu zeros zeros_like astype can_cast finfo iinfo isdtype result_type
bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128 abs acos
acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_invert bitwise_or
bitwise_right_shift bitwise_xor ceil clip conj copysign cos cosh divide equal exp expm1 floor
floor_divide greater greater_equal hypot imag isfinite isinf isnan less less_equal log log1p log2
log10 logaddexp logical_and logical_not logical_or logical_xor maximum minimum multiply negative
nextafter not_equal positive pow real reciprocal remainder round sign signbit sin sinh square sqrt
subtract tan tanh trunc take take_along_axis matmul matrix_transpose tensordot vecdot
broadcast_arrays broadcast_to concat expand_dims flip moveaxis permute_dims repeat reshape roll
squeeze stack tile unstack argmax argmin count_nonzero nonzero searchsorted where unique_all
unique_counts unique_inverse unique_values argsort sort cumulative_prod cumulative_sum max mean min
prod std sum var all any diff __array_namespace_info__ __array_api_version__ linalg fft
"""
LINALG = """
cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power matrix_rank
matrix_transpose outer pinv qr slogdet solve svd svdvals tensordot trace vecdot vector_norm
"""
FFT = """
fft ifft fftn ifftn rfft irfft rfftn irfftn hfft ihfft fftfreq rfftfreq fftshift ifftshift
"""


def shown(table):
    return [f"{row.space} {row.name} {row.status}" for row in table]


def test_nothing_is_missing():
    assert [row for row in coverage.rows() if row.status == "missing"] == []


def test_the_standard_is_native():
    status = {(row.space, row.name): row.status for row in coverage.rows()}
    spaces = (("numpy", STANDARD), ("numpy.linalg", LINALG), ("numpy.fft", FFT))
    hosted = [
        f"{space}.{name}"
        for space, names in spaces
        for name in names.split()
        if not name.startswith("__") and status[space, name] != "native"
    ]
    assert hosted == []


def test_coverage_does_not_shrink():
    now = {(row.space, row.name): row.status for row in coverage.rows()}
    for line in FLOOR.read_text().splitlines():
        space, name, before = line.split()
        if (space, name) not in now:  # another NumPy
            continue
        status = now[space, name]
        assert RANK[status] >= RANK[before], f"{space}.{name} was {before}, is {status}"


@pytest.mark.skipif(
    f"NumPy {coverage.version()} " not in (ROOT / "docs/coverage.md").read_text(),
    reason="docs/coverage.md is about another NumPy",
)
def test_documentation_shows_it():
    assert (ROOT / "docs/coverage.md").read_text() == coverage.page(), (
        "run: python -m lazyarray.coverage --markdown > docs/coverage.md"
    )


def test_table_is_printed():
    command = [sys.executable, "-m", "lazyarray.coverage"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) > 600
    assert any(line.split()[:3] == ["numpy.linalg", "cond", "host"] for line in lines)


def test_what_is_said_to_be_different_is():
    for space, names in coverage.DIFFERENT.items():
        ours = coverage.spaces()[space][1]
        for name, note in names.items():
            found = getattr(ours, name, None) if name != "ndarray" else la.Array
            assert (note == coverage.NOT_THERE) == (found is None), f"{space}.{name}: {note}"


def test_array_api_standard():
    x = la.arange(3)
    xp = x.__array_namespace__()
    assert xp is la and xp.__array_api_version__ == "2024.12"
    assert x.__array_namespace__(api_version="2023.12") is la
    with pytest.raises(ValueError, match=r"version '1999\.12' of the array API standard"):
        x.__array_namespace__(api_version="1999.12")
    for name in STANDARD.split():
        assert hasattr(xp, name), name
    info = xp.__array_namespace_info__()
    assert info.default_device() in info.devices()
    assert info.capabilities()["max dimensions"] == 64
    assert info.default_dtypes(device="cpu")["indexing"] == np.int64
    assert set(info.dtypes(kind=("bool", "complex floating"))) == {
        "bool",
        "complex64",
        "complex128",
    }
    assert len(info.dtypes()) == 13
    with pytest.raises(ValueError, match="unsupported kind"):
        info.dtypes(kind="text")


def test_sorting_may_descend():
    x = la.array([[3, 1, 3, 2], [0, 5, 5, 0]])
    assert la.sort(x, descending=True).tolist() == [[3, 3, 2, 1], [5, 5, 0, 0]]
    assert la.sort(x, axis=0, descending=True)[0].tolist() == [3, 5, 5, 2]
    assert la.argsort(x, descending=True).tolist() == [[0, 2, 3, 1], [1, 2, 0, 3]]
    assert la.argsort(x, axis=None, descending=True).tolist()[:2] == [5, 6]
    for function in (la.sort, la.argsort):
        with pytest.raises(ValueError, match="no fields"):
            function(x, order="f")


def test_creation_takes_a_device():
    x = la.ones(2)
    for made in (
        la.empty_like(x, device="cpu"),
        la.zeros_like(x, device=la.cpu()),
        la.ones_like(x, device="cpu"),
        la.full_like(x, 3, device="cpu"),
        la.eye(2, device="cpu"),
        la.astype(x, la.int8, device="cpu"),
        la.arange(2, device="cpu"),
    ):
        assert made.device == la.cpu()
    with pytest.raises(RuntimeError):
        la.eye(2, device="gpu")


def test_functions_with_fewer_parameters_are_listed():
    short = set()
    for name in la.__all__:
        ours, theirs = getattr(la, name), getattr(np, name, None)
        ours = getattr(ours, "ours", ours)
        if callable(ours) and callable(theirs) and ours is not theirs and not inspect.isclass(ours):
            short |= {name} if signatures.lacking(ours, theirs) else set()
    assert short <= set(signatures.FEWER)


@pytest.mark.parametrize("space", [la, la.linalg, la.fft], ids=lambda space: space.__name__)
def test_functions_travel(space):
    for name in space.__all__:
        found = getattr(space, name)
        if inspect.isroutine(found):
            assert pickle.loads(pickle.dumps(found)) is found, name


NUMPYS_NAMES = {
    "take(a=x, indices=[1])": None,
    "clip(x, min=2)": None,
    "clip(x, min=1, max=2)": None,
    "concatenate(([1], [2.5]), casting='unsafe', dtype=int)": None,
    "diff(a=x, prepend=0, append=[9])": None,
    "average(x, returned=True)": None,
    "pad(array=x, pad_width=1, mode='linear_ramp', end_values=5)": None,
    "linspace(0, 1, 3, retstep=True)": None,
    "linspace([0, 1], 2, 3, axis=1)": None,
    "sort(x, order=None)": None,
    "zeros((2, 3), order='F')": None,
    "array(object=[1, 2], order='C', subok=True)": None,
    "einsum('i,i', x, x, optimize=True)": None,
    "repeat(a=x, repeats=2)": None,
    "tile(A=x, reps=2)": None,
    "size(m, axis=1)": None,
    "vstack(tup=(x, x))": None,
    "tril(m=m)": None,
    "nan_to_num(x, copy=True)": None,
    "clip(x, nope=1)": TypeError,
    "sort(x, 0, None, None, nope=1)": TypeError,
    "atleast_2d(x, m)": None,
}


@pytest.mark.parametrize("call", NUMPYS_NAMES)
def test_functions_take_numpys_parameters(call):
    mine = {"x": la.array([1, 3, 2]), "m": la.arange(6).reshape(2, 3)}
    theirs = {name: value.numpy() for name, value in mine.items()}
    if NUMPYS_NAMES[call]:
        with pytest.raises(NUMPYS_NAMES[call]):
            eval(f"la.{call}", {"la": la, **mine})
        return
    found, wanted = eval(f"la.{call}", {"la": la, **mine}), eval(f"np.{call}", {"np": np, **theirs})
    for a, b in zip(
        *([x] if not isinstance(x, tuple) else x for x in (found, wanted)), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(a), b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
