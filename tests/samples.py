"""One row of samples for every registered op: what it is called with, and what must come out.

A row is a list of `Sample`; a test fails when a registered op has none. A sample names the shapes
of the array inputs and where their values lie; dtypes and layouts are the test's business. The
reference is NumPy's function of the same name unless `reference` says otherwise; it is called with
NumPy arrays and the sample's attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import references
from lazyarray._floats import TELLING
from scipy import special

from lazyarray import _ir
from lazyarray.ops import linalg
from lazyarray.ops.host import Result

# Where values lie: an interval for floating inputs (both parts of complex ones), and one for
# integers. Distinct multiples of a step, shuffled, keep central differences away from ties and
# kinks.


@dataclass(frozen=True, slots=True)
class Values:
    """How to fill an input: uniformly from an interval; `distinct` values lie well apart."""

    low: float = -2.0
    high: float = 2.0
    int_low: int = -9
    int_high: int = 9
    distinct: bool = False
    dtype: str | None = None  # fixed, whatever the test asks for
    make: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] | None = None

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an array of these values."""
        dtype = np.dtype(self.dtype) if self.dtype is not None else dtype
        if self.make is not None:
            with np.errstate(invalid="ignore"):
                return np.asarray(self.make(rng, shape)).astype(dtype)
        if dtype.kind == "b":
            return rng.random(shape) < 0.5
        if dtype.kind in "iu":
            low = 0 if dtype.kind == "u" else self.int_low
            return rng.integers(max(low, self.int_low), self.int_high + 1, shape).astype(dtype)
        if dtype.kind == "c":
            return (self._real(rng, shape) + 1j * self._real(rng, shape)).astype(dtype)
        return self._real(rng, shape).astype(dtype)

    def _real(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        if not self.distinct:
            return rng.uniform(self.low, self.high, shape)
        count = int(np.prod(shape))
        steps = np.linspace(self.low, self.high, count + 2)[1:-1] + (self.high - self.low) / (
            3 * count + 9
        )
        return rng.permutation(steps).reshape(shape)


@dataclass(frozen=True, slots=True)
class Sample:
    """One way to call an op."""

    shapes: tuple[tuple[int, ...], ...]
    values: Values | tuple[Values, ...] = Values()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    reference: Callable[..., Any] | None = None  # None: np.NAME
    call: Callable[..., Any] | None = None  # call(op, *inputs, **attributes); None: just op(...)
    kinds: str = "biufc"  # dtype kinds to try; where the reference raises TypeError, so must we
    ulp: float = 0.0  # allowed units in the last place of the result's dtype; 0 asks for equal bits
    wide: float = 0.0  # the same, relative to the result's largest element (sums that cancel)
    offset: float = 0.0  # the same, in units of 1.0 (what cancels to 0)
    gradient: tuple[int, ...] = ()  # inputs to check against central differences
    second: bool = True  # check the gradient's gradient, too
    complex_gradient: bool = False  # check it for complex inputs, too
    arrays: bool = True  # callable from the array front end under its name

    def draw(self, dtype: np.dtype, seed: int = 0) -> list[np.ndarray]:
        """Return the inputs."""
        rng = np.random.default_rng(seed)
        values = (
            self.values if isinstance(self.values, tuple) else (self.values,) * len(self.shapes)
        )
        return [v.draw(rng, s, dtype) for v, s in zip(values, self.shapes, strict=True)]


PLAIN = Values()
APART = Values(distinct=True)
POSITIVE = Values(0.3, 3.0, int_low=1)
UNIT = Values(-0.9, 0.9, int_low=0, int_high=1)
ABOVE_ONE = Values(1.2, 4.0, int_low=1)
NONZERO = Values(make=lambda rng, shape: rng.choice([-5, -4, -3, -2, -1, 1, 2, 3, 4, 5], shape))
INDEX = Values(int_low=0, int_high=2, dtype="int64")
BITS = Values(int_low=-128, int_high=127)
MASK = Values(dtype="bool")
SOUND = Values(make=lambda rng, shape: np.ones(shape), dtype="bool")
RISING_ROW = Values(make=lambda rng, shape: np.sort(rng.integers(0, 4, shape)))
TRUE = Values(make=lambda rng, shape: np.ones(shape), dtype="bool")
THREE = Values(make=lambda rng, shape: np.full(shape, 3), dtype="int64")

SHAPE = (3, 4)
ONE = (SHAPE,)
TWO = (SHAPE, SHAPE)
BROADCAST = ((3, 1, 4), (5, 1))


def unary(values: Values = PLAIN, **options: Any) -> list[Sample]:
    """Samples of an elementwise op of one input."""
    return [
        Sample(ONE, values, **options),
        Sample(((),), values, **options),
        Sample(((0, 3),), values, **options),
    ]


def smooth(values: Values = PLAIN, **options: Any) -> list[Sample]:
    """Samples of an elementwise op of one input with a gradient."""
    options = {"gradient": (0,), "ulp": 4, **options}
    return unary(values, **options)


def binary(left: Values = PLAIN, right: Values | None = None, **options: Any) -> list[Sample]:
    """Samples of an elementwise op of two inputs."""
    values = (left, left if right is None else right)
    options.setdefault("gradient", ())
    return [
        Sample(shapes, values, **options) for shapes in (TWO, BROADCAST, ((), (4,)), ((0, 3), (3,)))
    ]


BOTH: dict[str, Any] = {"gradient": (0, 1)}
LIBM: dict[str, Any] = {"ulp": 4}
ROUNDED: dict[str, Any] = {"ulp": 64, "wide": 64}


def scipy_logsumexp(a: np.ndarray, axis: Any = None, keepdims: bool = False) -> Any:
    return special.logsumexp(a, axis=axis, keepdims=keepdims)


def stacked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` taking its arrays as one list."""
    return lambda *arrays, **attributes: function(list(arrays), **attributes)


def reduced(
    values: Values = PLAIN,
    axes: tuple[Any, ...] = (None, 0, -1, (0, 2), (), (1, 2)),
    **options: Any,
) -> list[Sample]:
    """Samples of a reduction of (3, 4, 5), empty and 0-d arrays, without and with keepdims."""
    rows = [Sample(((3, 4, 5),), values, {"axis": axis}, **options) for axis in axes]
    rows.append(Sample(((3, 4, 5),), values, {"axis": 1, "keepdims": True}, **options))
    rows.append(Sample(((3, 0, 5),), values, {"axis": 2}, **options))
    rows.append(Sample(((),), values, **options))
    return rows


def scanned(values: Values, **options: Any) -> list[Sample]:
    """Samples of a scan."""
    rows = [Sample(((3, 4, 2),), values, {"axis": axis}, **options) for axis in (None, 0, 1, -1)]
    return [*rows, Sample(((),), values, **options)]


def philox() -> list[Sample]:
    """Samples of keyed random numbers; their values are checked in test_random.py."""
    word = Values(int_low=0, int_high=1 << 20, dtype="uint64")
    place = Values(make=lambda rng, shape: np.arange(np.prod(shape)).reshape(shape), dtype="int64")
    return [
        Sample(((4, 5), (), ()), (place, word, word), reference=unchecked, kinds="f", arrays=False)
    ]


def unchecked(*inputs: Any, **attributes: Any) -> None:
    """Stand for a reference where there is none: the op must run."""


TIE = Values(make=lambda rng, shape: rng.integers(-2, 3, shape))
ZEROS = Values(make=lambda rng, shape: rng.choice([0.0, 1.5, -0.5, 2.0], shape), dtype=None)
STEEP = Values(-30.0, 30.0, int_low=-30, int_high=30, distinct=True)


SPECIAL = Values(make=lambda rng, shape: rng.choice([0.0, 1.0, np.nan, np.inf, -np.inf], shape))


def holes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values well apart, some of them NaN but never a whole line."""
    found = APART.draw(rng, shape, np.dtype(np.float64))
    found[0, 1] = found[2, 2] = np.nan
    return found


HOLES = Values(make=holes)


def gelu(x: np.ndarray, approximate: bool = False) -> np.ndarray:
    if approximate:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi).astype(x.dtype) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + special.erf(x / np.sqrt(2).astype(x.dtype)).astype(x.dtype))


def angle(z: np.ndarray, deg: bool = False) -> np.ndarray:
    found = np.arctan2(z.imag if z.dtype.kind == "c" else 0, z.real)
    return found * (180 / np.pi) if deg else found


def topk(a: np.ndarray, k: int, axis: int = -1) -> np.ndarray:
    order = np.flip(np.argsort(np.flip(a, axis), axis, kind="stable"), axis)
    return np.take(a.shape[axis] - 1 - order, np.arange(k), axis)


AROUND = Values(int_low=-3, int_high=2, dtype="int64")


def listed(op: Any, *arrays: Any, **attributes: Any) -> Any:
    """Call an op that takes its arrays as one list."""
    return op(list(arrays), **attributes)


def joined(function: Callable[..., Any], *cases: tuple[tuple[int, ...], ...]) -> list[Sample]:
    """Samples of an op that joins a list of two arrays."""
    return [
        Sample(shapes, PLAIN, {}, stacked(function), listed, gradient=(0, 1)) for shapes in cases
    ]


def convolution(
    reference: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], **attributes: Any
) -> Sample:
    """A sample of a bilinear part of a convolution."""
    options = {"stride": (1, 1), "pad": (0, 1), "dilation": (1, 2), "groups": 2}
    return Sample(
        shapes,
        PLAIN,
        {**attributes, **options},
        reference,
        gradient=(0, 1),
        kinds="f",
        arrays=False,
        **ROUNDED,
    )


SAMPLES: dict[str, list[Sample]] = {
    # ---- arithmetic
    "add": binary(**BOTH, complex_gradient=True),
    "subtract": binary(**BOTH, complex_gradient=True),
    "multiply": binary(**BOTH, complex_gradient=True),
    "divide": binary(APART, NONZERO, **BOTH, complex_gradient=True),
    "floor_divide": binary(APART, NONZERO),
    "remainder": binary(APART, Values(0.7, 3.0, int_low=1), **BOTH),
    "fmod": binary(APART, Values(0.7, 3.0, int_low=1), **BOTH),
    "float_power": binary(POSITIVE, APART, **BOTH, **LIBM, complex_gradient=True),
    "pow": binary(
        POSITIVE,
        Values(-2, 2, int_low=0, int_high=5),
        **BOTH,
        **LIBM,
        reference=np.power,
        arrays=False,
    ),
    "power": [
        *binary(
            POSITIVE, Values(-2, 2, int_low=0, int_high=5), **BOTH, **LIBM, complex_gradient=True
        ),
        Sample(
            ONE,
            APART,
            call=lambda op, x: op(x, 3),
            reference=lambda x: np.power(x, 3),
            gradient=(0,),
            **LIBM,
        ),
        Sample(
            ONE,
            APART,
            call=lambda op, x: op(x, 0),
            reference=lambda x: np.power(x, 0),
            gradient=(0,),
        ),
        Sample(
            ONE,
            POSITIVE,
            call=lambda op, x: op(x, 0.5),
            reference=lambda x: np.power(x, 0.5),
            gradient=(0,),
            **LIBM,
        ),
    ],
    "_exponent": [
        Sample(ONE, Values(int_low=0), reference=np.copy, kinds="i", arrays=False),
        Sample(((0,),), reference=np.copy, kinds="i", arrays=False),
    ],
    "negative": smooth(ulp=0, complex_gradient=True),
    "positive": smooth(ulp=0, complex_gradient=True),
    "absolute": smooth(APART, ulp=0, complex_gradient=True),
    "fabs": smooth(APART, ulp=0),
    "sign": smooth(APART, ulp=0, complex_gradient=True),
    "square": smooth(ulp=0, complex_gradient=True),
    "sqrt": smooth(POSITIVE, ulp=0, complex_gradient=True),
    "cbrt": smooth(POSITIVE),
    "reciprocal": smooth(POSITIVE, ulp=0, complex_gradient=True),
    "hypot": binary(POSITIVE, **BOTH, **LIBM),
    "conjugate": smooth(ulp=0, complex_gradient=True),
    # ---- exponentials and logarithms
    "exp": smooth(complex_gradient=True),
    "exp2": smooth(),
    "expm1": smooth(complex_gradient=True),
    "log": smooth(POSITIVE, complex_gradient=True),
    "log2": smooth(POSITIVE, complex_gradient=True),
    "log10": smooth(POSITIVE, complex_gradient=True),
    "log1p": smooth(POSITIVE, complex_gradient=True),
    "logaddexp": binary(**BOTH, **LIBM),
    "logaddexp2": binary(**BOTH, **LIBM),
    # ---- trigonometry
    "sin": smooth(complex_gradient=True),
    "cos": smooth(complex_gradient=True),
    "tan": smooth(UNIT, complex_gradient=True),
    "arcsin": smooth(UNIT, complex_gradient=True),
    "arccos": smooth(UNIT, complex_gradient=True),
    "arctan": smooth(UNIT, complex_gradient=True),
    "arctan2": binary(POSITIVE, APART, **BOTH, **LIBM),
    "sinh": smooth(complex_gradient=True),
    "cosh": smooth(complex_gradient=True),
    "tanh": smooth(UNIT, complex_gradient=True),
    "arcsinh": smooth(UNIT, complex_gradient=True),
    "arccosh": smooth(ABOVE_ONE, complex_gradient=True),
    "arctanh": smooth(Values(-0.9, 0.9, int_low=0, int_high=0), complex_gradient=True),
    "deg2rad": smooth(),
    "rad2deg": smooth(),
    # ---- extremes and rounding
    "maximum": [*binary(APART, Values(-1.9, 2.1, distinct=True), **BOTH), *binary(TIE)],
    "minimum": [*binary(APART, Values(-1.9, 2.1, distinct=True), **BOTH), *binary(TIE)],
    "fmax": binary(APART, Values(-1.9, 2.1, distinct=True), **BOTH),
    "fmin": binary(APART, Values(-1.9, 2.1, distinct=True), **BOTH),
    "floor": smooth(APART, ulp=0),
    "ceil": smooth(APART, ulp=0),
    "trunc": smooth(APART, ulp=0),
    "rint": smooth(APART, ulp=0),
    "copysign": binary(APART, APART, gradient=(0,)),
    "nextafter": binary(APART, APART, gradient=(0,), second=False),
    "ldexp": binary(PLAIN, Values(int_low=-3, int_high=3, dtype="int64"), gradient=(0,)),
    "heaviside": binary(TIE, PLAIN, gradient=(1,)),
    "round": [
        *(Sample(ONE, Values(-200, 200), {"decimals": d}, gradient=()) for d in (0, 1, -2)),
        Sample(ONE, Values(int_low=-999, int_high=999), {"decimals": -2}, kinds="iu"),
    ],
    "clip": [
        Sample(
            (SHAPE, (), (4,)), (APART, Values(-1.5, -0.5), Values(0.5, 1.5)), gradient=(0, 1, 2)
        ),
        Sample(ONE, APART, {"a_min": None, "a_max": 1}, kinds="iufc", gradient=(0,)),
        Sample(ONE, APART, {"a_min": -1, "a_max": None}, kinds="ifc", gradient=(0,)),
    ],
    # ---- truth
    **{
        name: [*binary(TIE), *binary(APART)]
        for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
    },
    **{name: binary(TIE) for name in ("logical_and", "logical_or", "logical_xor")},
    "logical_not": unary(TIE),
    **{
        name: unary(
            Values(
                make=lambda rng, shape: rng.choice(
                    [0.0, -0.0, 1.0, -2.5, np.nan, np.inf, -np.inf], shape
                )
            ),
            kinds="fc",
        )
        for name in ("isnan", "isinf", "isfinite", "signbit")
    },
    # ---- bits and integers
    "bitwise_and": binary(BITS),
    "bitwise_or": binary(BITS),
    "bitwise_xor": binary(BITS),
    "invert": unary(BITS),
    "left_shift": binary(BITS, Values(int_low=0, int_high=70)),
    "right_shift": binary(BITS, Values(int_low=0, int_high=70)),
    "bitwise_count": unary(BITS),
    "gcd": binary(BITS),
    "lcm": binary(Values(int_low=-12, int_high=10)),
    # ---- conversion, choice, position
    "where": [
        Sample(((3, 1), *shapes), (MASK, PLAIN, PLAIN), gradient=(1, 2), complex_gradient=True)
        for shapes in (((3, 4), (3, 4)), ((), (4,)), ((2, 3, 1), (3, 1)))
    ],
    "cast": [
        Sample(
            ONE,
            Values(int_low=0),
            call=lambda op, x, dtype: _ir.cast(x, np.dtype(dtype)),
            reference=lambda x, dtype: (
                x.real if x.dtype.kind == "c" and np.dtype(dtype).kind != "c" else x
            ).astype(dtype),
            attributes={"dtype": dtype},
            kinds="biuf" if dtype == "bool" else "biufc",
            gradient=(0,) if dtype in ("float64", "complex128") else (),
            arrays=False,
        )
        for dtype in (
            "bool",
            "int8",
            "int64",
            "uint16",
            "float16",
            "float32",
            "float64",
            "complex64",
            "complex128",
        )
    ],
    "stop_gradient": unary(reference=np.copy),
    "iota": [
        Sample(
            (),
            call=lambda op: op.node((), (3, 4), np.dtype(np.int64)),
            reference=lambda: np.arange(12).reshape(3, 4),
            arrays=False,
        )
    ],
    "real": smooth(ulp=0, complex_gradient=True),
    "imag": unary(complex_gradient=True, gradient=(0,)),
    "angle": [
        Sample(ONE, APART, {"deg": deg}, angle, gradient=(0,), complex_gradient=True, ulp=8)
        for deg in (False, True)
    ],
    # ---- special functions
    "erf": smooth(reference=special.erf, complex_gradient=True),
    "erfc": smooth(reference=special.erfc, complex_gradient=True),
    "erfinv": smooth(UNIT, reference=special.erfinv),
    "expit": smooth(reference=special.expit),
    "logit": smooth(Values(0.1, 0.9, int_low=0, int_high=1), reference=special.logit),
    "gammaln": smooth(POSITIVE, reference=special.gammaln),
    "digamma": smooth(POSITIVE, reference=special.digamma),
    "zeta": binary(
        ABOVE_ONE, POSITIVE, gradient=(1,), reference=special._ufuncs._zeta, kinds="biuf", **LIBM
    ),
    # ---- activations
    "relu": smooth(APART, reference=lambda x: np.maximum(x, 0), ulp=0, kinds="iuf"),
    "leaky_relu": smooth(
        APART, reference=lambda x: np.where(x > 0, x, x * 0.01), ulp=0, kinds="iuf"
    ),
    "elu": smooth(
        APART, reference=lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), kinds="f"
    ),
    "softplus": smooth(STEEP, reference=lambda x: np.logaddexp(x, 0), kinds="f"),
    "sigmoid": smooth(reference=lambda x: special.expit(x).astype(x.dtype), kinds="f"),
    "silu": smooth(reference=lambda x: x * special.expit(x).astype(x.dtype), kinds="f"),
    "softsign": smooth(APART, reference=lambda x: x / (1 + np.abs(x)), kinds="f"),
    "gelu": [
        *smooth(reference=gelu, ulp=16, kinds="f"),
        Sample(ONE, PLAIN, {"approximate": True}, gelu, ulp=32, gradient=(0,), kinds="f"),
    ],
    # ---- reductions
    "sum": [
        *reduced(gradient=(0,), complex_gradient=True, **ROUNDED),
        Sample(
            ((3, 4, 5),),
            attributes={"axis": 1, "dtype": "float64"},
            gradient=(0,),
            kinds="biuf",
            **ROUNDED,
        ),
        Sample(((3, 4, 5),), attributes={"axis": 1, "dtype": "int32"}, kinds="biu"),
        Sample(((0, 3),), attributes={"axis": 0}),
        Sample(((70, 300),), attributes={"axis": 1}, **ROUNDED),
    ],
    "prod": [
        *reduced(gradient=(0,), complex_gradient=True, **ROUNDED),
        Sample(
            ((4, 5),),
            ZEROS,
            {"axis": 1},
            gradient=(0,),
            kinds="fc",
            complex_gradient=True,
            **ROUNDED,
        ),
        Sample(((3, 4),), attributes={"axis": 0, "dtype": "float32"}, kinds="biuf", **ROUNDED),
        Sample(((0, 3),), attributes={"axis": 0}),
    ],
    "min": reduced(APART, gradient=(0,)),
    "max": reduced(APART, gradient=(0,)),
    "argmin": reduced(TIE, (None, 0, 1, -1)),
    "argmax": reduced(TIE, (None, 0, 1, -1)),
    "any": reduced(TIE),
    "all": reduced(TIE),
    "mean": reduced(axes=(None, 0, (0, 2)), gradient=(0,), complex_gradient=True, **ROUNDED),
    "var": [
        *reduced(axes=(None, 0, (0, 2)), gradient=(0,), complex_gradient=True, ulp=512, offset=512),
        Sample(((3, 4, 5),), attributes={"axis": 1, "ddof": 1}, gradient=(0,), ulp=512, offset=512),
    ],
    "std": [
        Sample(
            ((3, 4, 5),), attributes={"axis": axis, "ddof": 1}, gradient=(0,), ulp=512, offset=512
        )
        for axis in (None, 0, (0, 2))
    ],
    "ptp": reduced(APART, gradient=(0,)),
    "count_nonzero": reduced(TIE, (None, 0, (0, 2))),
    "logsumexp": reduced(reference=scipy_logsumexp, gradient=(0,), kinds="f", **ROUNDED),
    "softmax": [
        Sample(
            ((3, 4),),
            attributes={"axis": axis},
            reference=special.softmax,
            gradient=(0,),
            kinds="f",
            **ROUNDED,
        )
        for axis in (0, -1, None)
    ],
    "log_softmax": [
        Sample(
            ((3, 4),),
            attributes={"axis": axis},
            reference=special.log_softmax,
            gradient=(0,),
            kinds="f",
            **ROUNDED,
        )
        for axis in (0, -1, None)
    ],
    "cumsum": scanned(PLAIN, gradient=(0,), complex_gradient=True),
    "cumprod": [
        *scanned(APART, gradient=(0,), complex_gradient=True),
        Sample(((4, 5),), ZEROS, {"axis": 1}, gradient=(0,), second=False, kinds="fc"),
    ],
    "average": [
        Sample(
            ((3, 4), (3, 4)),
            (PLAIN, POSITIVE),
            {"axis": axis},
            call=lambda op, a, w, axis: op(a, axis, w),
            reference=lambda a, w, axis: np.average(a, axis, w),
            gradient=(0, 1),
            complex_gradient=True,
            kinds="iufc",
            **ROUNDED,
        )
        for axis in (None, 0)
    ]
    + [
        Sample(((3, 4),), attributes={"axis": 1}, kinds="iufc", **ROUNDED),
        Sample(
            ((3, 4), (4,)),
            (PLAIN, POSITIVE),
            call=lambda op, a, w: op(a, 1, w),
            reference=lambda a, w: np.average(a, 1, w),
            gradient=(0, 1),
            kinds="iufc",
            **ROUNDED,
        ),
    ],
    # ---- missing values
    **{
        name: [
            Sample(((3, 4),), HOLES, {"axis": axis}, gradient=(0,), kinds="iuf", **ROUNDED)
            for axis in (None, 0, 1)
        ]
        for name in ("nansum", "nanprod", "nanmin", "nanmax", "nanmean")
    },
    "nan_to_num": [
        Sample(ONE, SPECIAL, kinds="iufc"),
        Sample(ONE, SPECIAL, {"nan": 2.0, "posinf": 9.0, "neginf": -9.0}, kinds="f"),
    ],
    "isclose": [
        Sample(TWO, (SPECIAL, SPECIAL), {"equal_nan": flag}, kinds="fc") for flag in (False, True)
    ]
    + [
        Sample(TWO, (TIE, TIE), {"rtol": 0.5}),
        Sample(BROADCAST, (PLAIN, PLAIN), {"atol": 1.0}),
    ],
    # ---- sorting
    "sort": [
        Sample(((3, 4, 2),), APART, {"axis": axis}, gradient=(0,)) for axis in (0, 1, -1, None)
    ],
    "argsort": [
        Sample(
            ((3, 4, 2),), TIE, {"axis": axis}, lambda a, axis: np.argsort(a, axis, kind="stable")
        )
        for axis in (0, 1, -1, None)
    ],
    "topk": [
        Sample(((3, 5, 2),), TIE, {"k": k, "axis": axis}, topk, kinds="biuf")
        for k, axis in ((2, -1), (3, 1), (0, 0))
    ],
    # ---- keyed random numbers
    **{
        f"philox_{kind}_{dtype}": philox()
        for kind, dtypes in (("uniform", "f"), ("normal", "f"), ("bits", "u"))
        for dtype in (("float32", "float64") if dtypes == "f" else ("uint32", "uint64"))
    },
    # ---- views
    "broadcast_to": [
        Sample((shape,), attributes={"shape": (2, 3, 4)}, gradient=(0,), complex_gradient=True)
        for shape in ((), (4,), (3, 1), (2, 3, 4))
    ],
    "broadcast_arrays": [Sample(((3, 1), (4,), ()), gradient=(0, 1, 2))],
    "reshape": [
        Sample(((3, 4),), attributes={"shape": shape, "order": order}, gradient=(0,))
        for shape in ((2, 6), (-1,), (2, -1, 3))
        for order in "CF"
    ]
    + [
        Sample(((0, 3),), attributes={"shape": (3, 0)}),
        Sample(((),), attributes={"shape": (1, 1)}),
    ],
    "ravel": unary(gradient=(0,)),
    "transpose": [
        Sample(((2, 3, 4),), attributes={"axes": axes}, gradient=(0,), complex_gradient=True)
        for axes in (None, (1, -1, 0))
    ],
    "swapaxes": [Sample(((2, 3, 4),), attributes={"axis1": 0, "axis2": -1}, gradient=(0,))],
    "moveaxis": [
        Sample(((2, 3, 4),), attributes={"source": s, "destination": d}, gradient=(0,))
        for s, d in ((0, -1), ((0, 1), (-1, 0)))
    ],
    "rollaxis": [
        Sample(((2, 3, 4),), attributes={"axis": a, "start": s}, gradient=(0,))
        for a, s in ((2, 0), (0, 3), (-1, -2))
    ],
    "expand_dims": [
        Sample(((2, 3),), attributes={"axis": axis}, gradient=(0,)) for axis in (0, -1, (0, 2))
    ],
    "squeeze": [
        Sample(((1, 3, 1),), attributes={"axis": axis}, gradient=(0,)) for axis in (None, 0, (0, 2))
    ],
    **{
        name: [Sample((shape,), gradient=(0,)) for shape in ((), (3,), (2, 3), (2, 3, 2))]
        for name in ("atleast_1d", "atleast_2d", "atleast_3d")
    },
    "flip": [
        Sample(((2, 3, 4),), attributes={"axis": axis}, gradient=(0,), complex_gradient=True)
        for axis in (None, 0, (0, 2))
    ],
    **{name: [Sample(((2, 3, 4),), gradient=(0,))] for name in ("flipud", "fliplr")},
    "rot90": [
        Sample(((2, 3, 4),), attributes={"k": k, "axes": (2, 0)}, gradient=(0,))
        for k in range(-1, 4)
    ],
    "diagonal": [
        Sample(((3, 4, 2),), attributes={"offset": k, "axis1": i, "axis2": j}, gradient=(0,))
        for k, i, j in ((0, 0, 1), (1, 1, 0), (-2, 0, 1), (9, 0, 1), (1, 2, 1))
    ],
    "sliding_window_view": [
        Sample(
            ((4, 5),),
            attributes={"window_shape": window, "axis": axis},
            reference=np.lib.stride_tricks.sliding_window_view,
            gradient=(0,),
            complex_gradient=True,
        )
        for window, axis in (((2, 3), None), (3, 1), ((2, 2), (0, 0)))
    ],
    "diag": [
        Sample((shape,), attributes={"k": k}, gradient=(0,))
        for shape in ((3,), (3, 4), (0,))
        for k in (0, 1, -2)
    ],
    **{
        name: [
            Sample(((2, 3, 4),), attributes={"k": k}, gradient=(0,), complex_gradient=True)
            for k in (0, 1, -2, 7)
        ]
        for name in ("tril", "triu")
    },
    # ---- joining and splitting
    "concatenate": [
        Sample(shapes, PLAIN, {"axis": axis}, stacked(np.concatenate), listed, gradient=(0, 1, 2))
        for shapes, axis in (
            (((2, 3), (1, 3), (2, 3)), 0),
            (((2, 3), (2, 0), (2, 1)), -1),
            (((2, 3), (2,), (1, 1)), None),
        )
    ]
    + [
        Sample(
            ((2, 3), (1, 3)),
            (PLAIN, Values(dtype="float64")),
            {"axis": 0, "dtype": dtype},
            stacked(np.concatenate),
            listed,
            kinds="biuf",
        )
        for dtype in (None, "float64")
    ],
    "stack": [
        Sample(TWO, PLAIN, {"axis": axis}, stacked(np.stack), listed, gradient=(0, 1))
        for axis in (0, 1, -1)
    ],
    "vstack": joined(np.vstack, ((3,), (3,)), ((2, 3), (3,))),
    "hstack": joined(np.hstack, ((3,), (2,)), ((2, 3), (2, 1)), ((), ())),
    "dstack": joined(np.dstack, ((3,), (3,)), ((2, 3), (2, 3))),
    "column_stack": joined(np.column_stack, ((3,), (3,)), ((3, 2), (3,))),
    "append": [
        Sample(((2, 3), (1, 3)), PLAIN, {"axis": axis}, gradient=(0, 1)) for axis in (None, 0)
    ],
    **{
        name: [
            Sample(((6, 4),), attributes={"indices_or_sections": cut, "axis": 0}, gradient=(0,))
            for cut in cuts
        ]
        for name, cuts in (("split", (2, 3, [1, 4])), ("array_split", (4, [2, 1, 9, -1], 7)))
    },
    **{
        name: [Sample(((2, 4, 2),), attributes={"indices_or_sections": 2}, gradient=(0,))]
        for name in ("vsplit", "hsplit", "dsplit")
    },
    "roll": [
        Sample(((3, 4),), attributes={"shift": shift, "axis": axis}, gradient=(0,))
        for shift, axis in ((2, None), (-7, 0), ((1, 2), (0, 1)), (1, (0, 1)), ((1, 2), 0), (4, 1))
    ],
    "tile": [
        Sample(((2, 3),), attributes={"reps": reps}, gradient=(0,))
        for reps in (2, (2, 1), (2, 1, 3), 0)
    ],
    "repeat": [
        Sample(((3, 2),), attributes={"repeats": repeats, "axis": axis}, gradient=(0,))
        for repeats, axis in ((2, None), (3, 1), ([1, 0, 2], 0), (0, 0))
    ],
    "pad": [
        Sample(((3, 4),), attributes={"pad_width": width, "mode": mode}, gradient=(0,))
        for width in (1, ((2, 1), (0, 3)), ((7, 2), (5, 9)))
        for mode in ("constant", "edge", "reflect", "symmetric", "wrap")
    ]
    + [
        Sample(((3, 4),), attributes={"pad_width": 2, "constant_values": values}, gradient=(0,))
        for values in (1, (1, 0), ((1, 2), (3, 4)))
    ],
    "diff": [
        Sample(((3, 4),), attributes={"n": n, "axis": axis}, gradient=(0,))
        for n, axis in ((1, -1), (2, 0), (0, 0), (5, 1))
    ],
    # ---- searching, counting and masks
    "searchsorted": [
        Sample(
            ((7,), shape),
            (RISING_ROW, TIE),
            {"side": side},
        )
        for side in ("left", "right")
        for shape in ((), (40,), (2, 3))
    ],
    "count_bins": [
        Sample(
            ((50,),),
            INDEX,
            {"bins": 4},
            lambda x, bins: np.bincount(x, minlength=bins),
            kinds="i",
            arrays=False,
        )
    ],
    "sum_bins": [
        Sample(
            ((50,), (50,)),
            (INDEX, PLAIN),
            {"bins": 4},
            lambda x, weights, bins: np.bincount(x, weights, bins),
            kinds="if",
            gradient=(1,),
            arrays=False,
            **ROUNDED,
        )
    ],
    "count_between": [
        Sample(
            ((50,), (4,)),
            (PLAIN, Values(make=lambda rng, shape: np.linspace(-1, 1, 4), dtype="float64")),
            {"uniform": uniform},
            lambda x, edges, uniform: np.histogram(x, edges)[0],
            kinds="iuf",
            arrays=False,
        )
        for uniform in (False, True)
    ],
    "count_mask": [Sample(((50,),), MASK, {}, lambda x: np.array([x.sum()]), arrays=False)],
    "take_masked": [
        Sample(
            ((3, 2), (3,), (1,)),
            (PLAIN, TRUE, THREE),
            {"total": 3},
            lambda x, mask, counts, total: x[mask],
            gradient=(0,),
            complex_gradient=True,
            arrays=False,
        )
    ],
    "put_masked": [
        Sample(
            ((3, 2), (3,), (1,), (3, 2)),
            (PLAIN, TRUE, THREE, PLAIN),
            reference=references.put_masked,
            gradient=(0, 3),
            complex_gradient=True,
            arrays=False,
        )
    ],
    "mask_index": [
        Sample(
            ((3,), (1,)),
            (TRUE, THREE),
            {"total": 3},
            lambda mask, counts, total: np.flatnonzero(mask),
            arrays=False,
        )
    ],
    "run_flags": [
        Sample(
            ((9,),),
            RISING_ROW,
            {},
            lambda x: np.append(True, x[1:] != x[:-1]),
            arrays=False,
        )
    ],
    "tally": [Sample(((60,),), PLAIN, {}, references.tally, kinds="biuf", arrays=False)],
    # ---- indexing
    "take_axis": [
        Sample(
            ((2, 3, 2), (5,)),
            (PLAIN, INDEX),
            {"axis": axis},
            lambda x, i, axis: np.take(x, i % x.shape[axis], axis),
            call=lambda op, x, i, axis: op(x, _ir.registry["remainder"](i, x.shape[axis]), axis),
            gradient=(0,),
            complex_gradient=True,
            arrays=False,
        )
        for axis in (0, 1, 2)
    ],
    "take_rows": [
        Sample(
            ((3, 2, 2), (5,)),
            (PLAIN, INDEX),
            reference=lambda x, i: x[i],
            gradient=(0,),
            complex_gradient=True,
            arrays=False,
        )
    ],
    "put_rows": [
        Sample(
            ((3, 2), (5,), (5, 2)),
            (PLAIN, INDEX, PLAIN),
            reference=references.put_rows,
            gradient=(0, 2),
            complex_gradient=True,
            arrays=False,
        )
    ],
    **{
        name: [
            Sample(
                ((3, 2), (3, 2)),
                (PLAIN, SOUND),
                reference=lambda x, sound: x,
                gradient=(0,),
                complex_gradient=True,
                arrays=False,
            )
        ]
        for name in TELLING.keys() - {"all_nan_slice"}
    },
    "all_nan_slice": unary(reference=lambda x: x, gradient=(0,), arrays=False),
    "mantissa": unary(APART, reference=references.mantissa, kinds="f", arrays=False),
    "exponent": unary(APART, reference=references.exponent, kinds="f", arrays=False),
    "put_along": [
        Sample(
            ((2, 3, 2), (2, 4, 2), values),
            (PLAIN, INDEX, PLAIN),
            {"axis": 1},
            references.put_along,
            gradient=(0, 2),
            complex_gradient=True,
            arrays=False,
        )
        for values in ((2, 4, 2), ())
    ],
    "add_rows": [
        Sample(
            ((3, 2), (5,), (5, 2)),
            (PLAIN, INDEX, PLAIN),
            reference=references.add_rows,
            gradient=(0, 2),
            complex_gradient=True,
            kinds="iufc",
            arrays=False,
        )
    ],
    "flat_index": [
        Sample(
            ((3, 1), (4,)),
            (INDEX, Values(int_low=-4, int_high=3, dtype="int64")),
            {"dims": (3, 4)},
            lambda i, j, dims: np.ravel_multi_index((i, np.where(j < 0, j + 4, j)), dims),
            kinds="b",
            arrays=False,
        )
    ],
    "scatter_add": [
        Sample(
            ((3, 2), (2, 4), (4, 2)),
            (PLAIN, INDEX, PLAIN),
            reference=references.add_rows,
            gradient=(0, 2),
            kinds="iufc",
        )
    ],
    "take": [
        Sample(
            ((3, 4), (2, 3)),
            (PLAIN, AROUND if mode == "raise" else Values(int_low=-9, int_high=9, dtype="int32")),
            {"axis": axis, "mode": mode},
            gradient=(0,),
        )
        for axis in (None, 0, 1, -1)
        for mode in ("raise", "wrap", "clip")
    ],
    "take_along_axis": [
        Sample(shapes, (PLAIN, AROUND), {"axis": axis}, gradient=(0,), complex_gradient=True)
        for shapes, axis in (
            (((3, 4), (3, 5)), 1),
            (((3, 4), (2, 4)), 0),
            (((3, 4), (1, 2)), 1),
            (((6,), (4,)), None),
            (((2, 3, 4), (2, 5, 4)), 1),
        )
    ],
    "put_along_axis": [
        Sample(
            shapes,
            (PLAIN, AROUND, PLAIN),
            {"axis": axis},
            references.put_along_axis,
            gradient=(0, 2),
            arrays=False,  # there it writes to its argument
        )
        for shapes, axis in ((((3, 4), (3, 5), (3, 5)), 1), (((3, 4), (2, 4), ()), 0))
    ],
    "one_hot": [
        Sample(((3, 2),), AROUND, {"depth": 3, "dtype": dtype}, references.one_hot, kinds="b")
        for dtype in ("float32", "bool", "complex128")
    ],
    # ---- products
    "gemm": [
        Sample(
            shapes,
            reference=np.matmul,
            arrays=False,
            gradient=(0, 1),
            complex_gradient=True,
            **ROUNDED,
        )
        for shapes in (((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 1)), ((2, 1, 2), (2, 2, 3)))
    ],
    "matmul": [
        Sample(shapes, gradient=(0, 1), complex_gradient=True, **ROUNDED)
        for shapes in (
            ((3, 4), (4, 5)),
            ((4,), (4, 2)),
            ((3, 4), (4,)),
            ((4,), (4,)),
            ((2, 3, 4), (4, 2)),
            ((2, 1, 3, 4), (5, 4, 2)),
            ((2, 3, 4), (4,)),
            ((4,), (2, 4, 3)),
        )
    ]
    + [Sample(((3, 0), (0, 2))), Sample(((0, 3), (3, 2)))],
    "dot": [
        Sample(shapes, gradient=(0, 1), complex_gradient=True, **ROUNDED)
        for shapes in (
            ((3, 4), (4, 2)),
            ((), (4,)),
            ((4,), (4,)),
            ((2, 3), (4, 3, 2)),
            ((2, 2, 3), (3,)),
        )
    ],
    "inner": [
        Sample(shapes, gradient=(0, 1), **ROUNDED)
        for shapes in (((3, 4), (2, 4)), ((4,), (4,)), ((), (3,)), ((2, 3, 4), (4,)))
    ],
    "vdot": [
        Sample(shapes, gradient=(0, 1), complex_gradient=True, **ROUNDED)
        for shapes in (((4,), (4,)), ((2, 3), (3, 2)))
    ],
    "spacing": unary(APART),
    "matvec": [
        Sample(shapes, gradient=(0, 1), complex_gradient=True, **ROUNDED)
        for shapes in (((3, 4), (4,)), ((2, 3, 4), (2, 1, 4)))
    ],
    "vecmat": [
        Sample(shapes, gradient=(0, 1), complex_gradient=True, **ROUNDED)
        for shapes in (((4,), (4, 3)), ((2, 1, 4), (2, 4, 3)))
    ],
    "_ufunc_method": [
        Sample(
            ((3, 4),),
            call=lambda op, x: op(
                np.subtract, "reduce", 0, (("axis", 0),), Result((4,), x.dtype), (x,)
            ),
            reference=lambda x: np.subtract.reduce(x, axis=0),
            arrays=False,
            kinds="f",
        )
    ],
    "_ufunc_at": [
        Sample(
            ((3, 2), (5,), (5, 2)),
            (PLAIN, INDEX, PLAIN),
            {"ufunc": np.maximum},
            reference=references.maximum_at,
            arrays=False,
        )
    ],
    "vecdot": [
        Sample(shapes, attributes={"axis": axis}, gradient=(0, 1), complex_gradient=True, **ROUNDED)
        for shapes, axis in ((((3, 4), (4,)), -1), (((2, 3, 4), (3, 4)), 0 - 1))
    ],
    "outer": [
        Sample(shapes, gradient=(0, 1), complex_gradient=True)
        for shapes in (((3,), (4,)), ((2, 2), (3, 1)))
    ],
    "kron": [Sample(shapes, gradient=(0, 1)) for shapes in (((2, 3), (3, 2)), ((2,), (2, 2)))],
    "tensordot": [
        Sample(((2, 3, 4), shape), attributes={"axes": axes}, gradient=(0, 1), **ROUNDED)
        for shape, axes in (((3, 4, 2), 2), ((2, 5), 0), ((4, 2), ((0, 2), (1, 0))), ((3,), (1, 0)))
    ],
    "trace": [
        Sample(
            ((3, 4, 2),), attributes={"offset": k, "axis1": i, "axis2": j}, gradient=(0,), **ROUNDED
        )
        for k, i, j in ((0, 0, 1), (1, 1, 2))
    ],
    "norm": [
        Sample(
            ((3, 4),),
            APART,
            {"ord": order, "axis": axis, "keepdims": keep},
            np.linalg.norm,
            gradient=(0,),
            complex_gradient=order is None,
            kinds="iufc",
            **ROUNDED,
        )
        for order, axis, keep in (
            (None, None, False),
            (None, 1, True),
            (2, 0, False),
            (1, 1, False),
            (3, 1, False),
            (np.inf, 0, False),
            (-np.inf, -1, True),
            (0, 1, False),
            ("fro", (0, 1), True),
            (1, (0, 1), False),
            (np.inf, (0, 1), True),
            (-1, (1, 0), False),
        )
    ],
    "einsum": [
        Sample(
            shapes,
            PLAIN,
            {"subscripts": text},
            lambda *x, subscripts: np.einsum(subscripts, *x),
            lambda op, *x, subscripts: op(subscripts, *x),
            gradient=tuple(range(len(shapes))),
            complex_gradient=True,
            **ROUNDED,
        )
        for text, *shapes in (
            ("ij,jk->ik", (3, 4), (4, 2)),
            ("ij,jk", (3, 4), (4, 2)),
            ("ba", (2, 3)),
            ("ii", (3, 3)),
            ("ii->i", (3, 3)),
            ("ij->", (2, 3)),
            ("i,i", (4,), (4,)),
            ("i,j->ji", (2,), (3,)),
            ("bij,bjk->bki", (2, 3, 4), (2, 4, 2)),
            ("...ij,jk->...ik", (2, 2, 3), (3, 2)),
            ("...i,...i->...", (2, 3), (4, 1, 3)),
            ("ij,ij->i", (2, 3), (2, 3)),
            ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
            ("iij,jk->ik", (2, 2, 3), (3, 2)),
            ("i,ij,j->", (2,), (2, 3), (3,)),
        )
    ],
    # ---- layers
    "correlate2d": [convolution(references.convolved, ((2, 5, 4, 4), (3, 2, 2, 6)))],
    "conv2d_data_grad": [
        convolution(references.convolved_images, ((2, 3, 4, 6), (3, 2, 2, 6)), extents=(5, 4))
    ],
    "conv2d_weight_grad": [
        convolution(references.convolved_kernel, ((2, 5, 4, 4), (2, 3, 4, 6)), window=(3, 2))
    ],
    "conv2d": [
        Sample(
            shapes,
            PLAIN,
            options,
            references.convolved,
            gradient=tuple(range(len(shapes))),
            kinds="f",
            **ROUNDED,
        )
        for shapes, options in (
            (((2, 5, 4, 1), (3, 3, 1, 2)), {}),
            (((2, 5, 4, 3), (3, 2, 3, 2), (2,)), {"pad": 1, "stride": (2, 1)}),
            (((1, 6, 5, 4), (2, 3, 2, 4), (4,)), {"groups": 2, "dilation": (2, 1), "pad": (0, 1)}),
        )
    ],
    **{
        name: [
            Sample(((2, 5, 4, 3),), APART, options, reference, gradient=(0,), kinds="f", **ROUNDED)
            for options in ({}, {"window": (3, 2), "stride": (2, 1), "pad": (1, 0)}, *more)
        ]
        for name, reference, more in (
            ("max_pool2d", references.max_pooled, ()),
            (
                "avg_pool2d",
                references.avg_pooled,
                ({"window": 3, "pad": 1, "count_include_pad": False},),
            ),
        )
    },
    "max_pool2d_grad": [
        Sample(
            ((2, 5, 4, 3), g),
            (APART, PLAIN),
            options,
            references.max_pooled_back,
            gradient=(1,),
            kinds="f",
            arrays=False,
            **ROUNDED,
        )
        for g, options in (
            ((2, 2, 2, 3), {"window": (2, 2), "stride": (2, 2), "pad": (0, 0)}),
            ((2, 3, 3, 3), {"window": (3, 2), "stride": (2, 1), "pad": (1, 0)}),
        )
    ],
    "avg_pool2d_grad": [
        Sample(
            ((2, 3, 3, 3),),
            PLAIN,
            {
                "extents": (5, 4),
                "window": (3, 2),
                "stride": (2, 1),
                "pad": (1, 0),
                "count_include_pad": count,
            },
            references.avg_pooled_back,
            gradient=(0,),
            kinds="f",
            arrays=False,
            **ROUNDED,
        )
        for count in (True, False)
    ],
    "global_avg_pool2d": [
        Sample(
            ((2, 3, 4, 2),), reference=lambda x: x.mean((1, 2)), gradient=(0,), kinds="f", **ROUNDED
        )
    ],
    "dense": [
        Sample(
            shapes,
            reference=references.dense,
            gradient=tuple(range(len(shapes))),
            kinds="f",
            **ROUNDED,
        )
        for shapes in (((3, 4), (2, 4)), ((2, 3, 4), (5, 4), (5,)), ((4,), (2, 4), (2,)))
    ],
    "batch_norm": [
        Sample(
            (shape, *((4,),) * 4),
            (PLAIN, PLAIN, PLAIN, PLAIN, POSITIVE),
            {"axis": axis},
            references.batch_norm,
            gradient=(0, 1, 2, 3, 4),
            kinds="f",
            ulp=64,
            wide=64,
            offset=64,
        )
        for shape, axis in (((3, 2, 4), -1), ((3, 4, 2), 1))
    ],
    "layer_norm": [
        Sample(
            (shape, (4,), (4,)),
            APART,
            {"axis": axis},
            references.layer_norm,
            gradient=(0, 1, 2),
            kinds="f",
            ulp=512,
            wide=512,
            offset=512,
        )
        for shape, axis in (((3, 4), -1), ((4, 3), 0))
    ],
    "dropout": [
        Sample(
            ((20, 30),),
            APART,
            {"key": 3, "counter": 5, "p": p},
            None if p else lambda x, key, counter, p: x,
            gradient=(0,),
            kinds="fc",
        )
        if not p
        else Sample(
            ((20, 30),),
            APART,
            {"key": 3, "counter": 5, "p": p},
            unchecked,
            gradient=(0,),
            kinds="fc",
        )
        for p in (0.0, 0.3)
    ],
    "softmax_cross_entropy": [
        Sample(
            shapes,
            (PLAIN, AROUND),
            {"axis": axis},
            references.cross_entropy,
            gradient=(0,),
            kinds="f",
            ulp=64,
            wide=64,
            offset=64,
        )
        for shapes, axis in ((((5, 4), (5,)), -1), (((2, 4, 3), (2, 3)), 1), (((4,), ()), 0))
    ],
    "l2_loss": [
        Sample(shapes, reference=references.l2_loss, gradient=(0, 1), kinds="f", **ROUNDED)
        for shapes in (((3, 4), (3, 4)), ((3,), (3,)), ((2, 3, 4), (2, 3, 4)))
    ],
}


# ---- what NumPy computes


def regular(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices with singular values well apart and far from 0."""
    rows, columns = shape[-2:]
    steps = np.arange(1.0, min(rows, columns) + 1)
    left, _ = np.linalg.qr(rng.normal(size=(*shape[:-2], rows, len(steps))))
    right, _ = np.linalg.qr(rng.normal(size=(*shape[:-2], columns, len(steps))))
    return (left * steps) @ np.swapaxes(right, -1, -2)


REGULAR = Values(make=regular)
DOMINANT = Values(make=lambda rng, shape: rng.integers(1, 5, shape) + 9 * np.eye(shape[-1]))
VECTOR = Values(-1.0, 1.0)


def positive_definite(a: Any) -> Any:
    """``a @ a.conj().T``, of Nodes or arrays."""
    if isinstance(a, np.ndarray):
        if a.dtype == np.float16 or a.dtype.kind in "biu":
            raise TypeError("made for LAPACK's dtypes")
        return a @ np.swapaxes(a.conj(), -1, -2)
    return _ir.operators["matmul"](a, linalg.adjoint(a))


def selfadjoint(a: Any) -> Any:
    """``a + a.conj().T``, of Nodes or arrays."""
    if isinstance(a, np.ndarray):
        return a + np.swapaxes(a.conj(), -1, -2)
    return a + linalg.adjoint(a)


def matrices(
    name: str,
    *shapes: tuple[int, ...],
    made: Callable[[Any], Any] | None = None,
    values: Values = REGULAR,
    **options: Any,
) -> list[Sample]:
    """Samples of a function of `numpy.linalg` of one matrix, or of a stack of them."""
    function = getattr(np.linalg, name)
    prepare = made or (lambda a: a)
    options = {"gradient": (0,), "kinds": "f", **ROUNDED, **options}
    return [
        Sample(
            (shape,),
            values,
            reference=lambda a, **attributes: function(prepare(a), **attributes),
            call=lambda op, a, **attributes: op(prepare(a), **attributes),
            arrays=False,
            **options,
        )
        for shape in shapes or ((2, 3, 3),)
    ]


def transformed(reference: Callable[..., Any], real: bool, *cases: Any) -> list[Sample]:
    """Samples of a Fourier transform: (shape, extents, axes, norm)."""
    return [
        Sample(
            (shape,),
            PLAIN,
            {"s": s, "axes": axes, "norm": norm},
            reference,
            gradient=(0,),
            complex_gradient=not real,
            kinds="biuf" if real else "biufc",
            arrays=False,
            **ROUNDED,
        )
        for shape, s, axes, norm in cases
    ]


def taken(reference: Callable[..., Any], *cases: Any, **options: Any) -> list[Sample]:
    """Samples of a function that NumPy computes: (shapes, values, attributes)."""
    return [
        Sample(shapes, values, attributes, reference, **options)
        for shapes, values, attributes in cases
    ]


FFT_CASES = (
    ((3, 4), (4,), (1,), "backward"),
    ((3, 4), (5, 3), (0, 1), "ortho"),
    ((3, 6), (2, 6), (0, 1), "forward"),
    ((2, 3, 4), (3, 5), (1, 2), "backward"),
)
RISING = Values(make=lambda rng, shape: np.linspace(-1.5, 1.5, shape[0]) + 0.01 * rng.random(shape))
BYTES = Values(int_low=0, int_high=255, dtype="uint8")

SAMPLES |= {
    "linalg.inv": [
        *matrices("inv", complex_gradient=True, kinds="fc"),
        *matrices("inv", (1, 3, 3), values=DOMINANT,
                  kinds="iu", gradient=()),
    ],
    "linalg.solve": [
        Sample(
            shapes,
            (REGULAR, PLAIN),
            reference=np.linalg.solve,
            gradient=(0, 1),
            complex_gradient=True,
            kinds="fc",
            arrays=False,
            **ROUNDED,
        )
        for shapes in (((1, 3, 3), (3, 2)), ((2, 3, 3), (2, 3, 2)), ((2, 3, 3), (3,)))
    ],
    "linalg.det": matrices("det", complex_gradient=True, kinds="fc"),
    "linalg.slogdet": matrices("slogdet", complex_gradient=True, kinds="fc", offset=64),
    "linalg.cholesky": [
        *matrices("cholesky", made=positive_definite, complex_gradient=True, kinds="fc"),
        *matrices("cholesky", (1, 3, 3), made=positive_definite, attributes={"upper": True}),
    ],
    "linalg.eigvalsh": matrices("eigvalsh", made=selfadjoint, complex_gradient=True, kinds="fc"),
    "linalg.eigh": [
        *matrices("eigh", made=selfadjoint, offset=256),
        *matrices("eigh", (3, 3), made=selfadjoint, attributes={"UPLO": "U"}, offset=256),
    ],
    "linalg.svd": [
        *matrices("svd", (3, 3), (2, 3, 2), (2, 4), attributes={"full_matrices": False},
                  offset=256),
        *matrices("svd", (3, 3), (4, 2), attributes={"compute_uv": False}, complex_gradient=True),
        *matrices("svd", (3, 2), gradient=(), offset=256),
    ],
    "linalg.qr": [
        *matrices("qr", (2, 4, 3), values=PLAIN, complex_gradient=True, kinds="fc", offset=64),
        *matrices("qr", (3, 3), offset=64),
        *matrices("qr", (4, 3), attributes={"mode": "r"}, offset=64),
        *matrices("qr", (3, 4), attributes={"mode": "complete"}, gradient=(), offset=64),
        *matrices("qr", (4, 3), attributes={"mode": "raw"}, gradient=(), offset=64),
    ],
    "linalg.pinv": matrices("pinv", (3, 3), (2, 4, 2), (2, 4), complex_gradient=True, kinds="fc"),
    "linalg.cond": matrices("cond", gradient=()),
    "fft.c2c": transformed(np.fft.fftn, False, *FFT_CASES),
    "fft.inverse": transformed(np.fft.ifftn, False, *FFT_CASES),
    "fft.r2c": transformed(np.fft.rfftn, True, *FFT_CASES),
    "fft.c2r": transformed(np.fft.irfftn, False, *FFT_CASES),
    "interp": taken(
        np.interp,
        (((3, 4), (5,), (5,)), (APART, RISING, PLAIN), {}),
        (((4,), (5,), (5,)), (APART, RISING, PLAIN), {"left": 0.0}),
        kinds="f",
        gradient=(0, 2),
    ),
    **{
        name: taken(
            getattr(np, name),
            *(
                (shapes, PLAIN, {"mode": mode})
                for mode in ("full", "same", "valid")
                for shapes in (((5,), (3,)), ((2,), (6,)), ((4,), (4,)))
            ),
            gradient=(0, 1),
            complex_gradient=True,
            **ROUNDED,
        )
        for name in ("convolve", "correlate")
    },
    "digitize": taken(np.digitize, (((3, 4), (5,)), (PLAIN, RISING), {}), kinds="f"),
    "lexsort": [Sample(TWO, TIE, {}, stacked(np.lexsort), listed, kinds="biuf")],
    "partition": taken(np.partition, (ONE, APART, {"kth": 1}), (ONE, APART, {"kth": 2, "axis": 0})),
    "argpartition": taken(np.argpartition, (ONE, APART, {"kth": 1})),
    "median": taken(
        np.median,
        (ONE, APART, {}),
        (ONE, APART, {"axis": 1, "keepdims": True}),
        (((2, 3, 3),), APART, {"axis": (0, 2)}),
        kinds="iuf",
        gradient=(0,),
    ),
    "nanmedian": taken(np.nanmedian, (ONE, APART, {}), (ONE, HOLES, {"axis": 1}), kinds="f"),
    **{
        name: taken(
            getattr(np, name),
            (ONE, APART, {"q": 0.3}),
            (ONE, APART, {"q": (0.1, 0.6), "axis": 1}),
            (((2, 3, 3),), APART, {"q": 0.9, "axis": (0, 2), "keepdims": True}),
            kinds="iuf",
            gradient=() if "nan" in name else (0,),
        )
        for name in ("percentile", "quantile", "nanpercentile", "nanquantile")
    },
    **{
        name: taken(getattr(np, name), (ONE, HOLES, {"axis": 1}), (ONE, APART, {}), kinds="f")
        for name in ("nanargmax", "nanargmin")
    },
    "i0": taken(np.i0, (ONE, PLAIN, {}), kinds="biuf", ulp=4),
    "isin": taken(np.isin, (((3, 4), (5,)), TIE, {})),
    "_padded": taken(
        np.pad,
        *[
            (ONE, PLAIN, {"pad_width": ((1, 2), (0, 3)), "mode": mode})
            for mode in ("linear_ramp", "maximum", "mean", "median", "minimum")
        ],
        kinds="iuf",
        arrays=False,
    ),
    "packbits": taken(np.packbits, (ONE, BITS, {}), (ONE, BITS, {"axis": 0}), kinds="biu"),
    "unpackbits": taken(np.unpackbits, (ONE, BYTES, {}), (ONE, BYTES, {"axis": 1, "count": 5})),
    "choose": [
        Sample((SHAPE, SHAPE, (4,)),
               (Values(int_low=0, int_high=1, dtype="int64"), PLAIN, PLAIN), {},
               lambda i, *parts: np.choose(i, parts), lambda op, i, *parts: op(i, parts)),
    ],
    "unravel_index": taken(
        np.unravel_index, (ONE, INDEX, {"shape": (2, 2)}), arrays=False, kinds="i"
    ),
    "ravel_multi_index": [
        Sample(TWO, INDEX, {"dims": (3, 4)}, lambda i, j, dims: np.ravel_multi_index((i, j), dims),
               listed, arrays=False, kinds="i"),
    ],
    "histogram": taken(np.histogram, (ONE, PLAIN, {}), (((20,),), PLAIN, {"bins": 4}), kinds="iuf"),
    "histogram_bin_edges": taken(np.histogram_bin_edges, (ONE, PLAIN, {"bins": 4}), kinds="iuf"),
}  # fmt: skip
