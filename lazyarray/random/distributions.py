"""The distributions that a Generator and a RandomState have in common."""

from __future__ import annotations

import math
from operator import index
from typing import Any

import numpy as np

from lazyarray import _handle
from lazyarray._handle import from_node, shadow, to_node
from lazyarray._record import ArrayBase
from lazyarray.array import Array, asarray
from lazyarray.errors import AxisError, DTypeError, OptionError, require
from lazyarray.lift import LIFTED
from lazyarray.number import Number

from .fast import extents
from .stream import INT64, UINT64, Stream, fitted, node_of, parameter, read, spare, succeeds

# The C functions, and how they are called: float64 (d) or int64 (l) results of so many numbers.
GENERATOR = {
    "beta": ("d2", "random_beta"),
    "binomial": ("binomial", "random_binomial"),
    "chisquare": ("d1", "random_chisquare"),
    "exponential": ("d1", "random_exponential"),
    "f": ("d2", "random_f"),
    "gamma": ("d2", "random_gamma"),
    "geometric": ("l1", "random_geometric"),
    "gumbel": ("d2", "random_gumbel"),
    "hypergeometric": ("l3", "random_hypergeometric"),
    "laplace": ("d2", "random_laplace"),
    "logistic": ("d2", "random_logistic"),
    "lognormal": ("d2", "random_lognormal"),
    "logseries": ("l1", "random_logseries"),
    "negative_binomial": ("l2", "random_negative_binomial"),
    "noncentral_chisquare": ("d2", "random_noncentral_chisquare"),
    "noncentral_f": ("d3", "random_noncentral_f"),
    "normal": ("d2", "random_normal"),
    "pareto": ("d1", "random_pareto"),
    "poisson": ("l1", "random_poisson"),
    "power": ("d1", "random_power"),
    "rayleigh": ("d1", "random_rayleigh"),
    "standard_cauchy": ("d0", "random_standard_cauchy"),
    "standard_t": ("d1", "random_standard_t"),
    "triangular": ("d3", "random_triangular"),
    "uniform": ("d2", "random_uniform"),
    "vonmises": ("d2", "random_vonmises"),
    "wald": ("d2", "random_wald"),
    "weibull": ("d1", "random_weibull"),
    "zipf": ("l1", "random_zipf"),
}
# What draws the places of elements that are exchanged.
SHUFFLE = "random_interval"
BOUNDED = {
    np.dtype(np.bool_): ("bool", "random_bounded_bool_fill"),
    np.dtype(np.int8): ("u8", "random_bounded_uint8_fill"),
    np.dtype(np.uint8): ("u8", "random_bounded_uint8_fill"),
    np.dtype(np.int16): ("u16", "random_bounded_uint16_fill"),
    np.dtype(np.uint16): ("u16", "random_bounded_uint16_fill"),
    np.dtype(np.int32): ("u32", "random_bounded_uint32_fill"),
    np.dtype(np.uint32): ("u32", "random_bounded_uint32_fill"),
    np.dtype(np.int64): ("u64", "random_bounded_uint64_fill"),
    np.dtype(np.uint64): ("u64", "random_bounded_uint64_fill"),
}


class Distributions(Stream):
    """Distributions, as methods: NumPy's names, parameters and numbers."""

    native: dict[str, tuple[str, str]] = GENERATOR

    def _drawn(self, name: str, params: tuple[Any, ...], size: Any) -> Array:
        """Floating-point numbers."""
        return self._sample(name, params, size, native=self.native.get(name))

    def _counted(self, name: str, params: tuple[Any, ...], size: Any) -> Array:
        """Whole numbers."""
        return self._sample(name, params, size, INT64, native=self.native.get(name))

    def beta(self, a: Any, b: Any, size: Any = None) -> Array:
        """Draw from a Beta distribution; as `numpy.random.Generator.beta`."""
        return self._drawn("beta", (a, b), size)

    def binomial(self, n: Any, p: Any, size: Any = None) -> Array:
        """Draw from a binomial distribution; as `numpy.random.Generator.binomial`."""
        return self._counted("binomial", (n, p), size)

    def chisquare(self, df: Any, size: Any = None) -> Array:
        """Draw from a chi-square distribution; as `numpy.random.Generator.chisquare`."""
        return self._drawn("chisquare", (df,), size)

    def exponential(self, scale: Any = 1.0, size: Any = None) -> Array:
        """Draw from an exponential distribution; as `numpy.random.Generator.exponential`."""
        return self._drawn("exponential", (scale,), size)

    def f(self, dfnum: Any, dfden: Any, size: Any = None) -> Array:
        """Draw from an F distribution; as `numpy.random.Generator.f`."""
        return self._drawn("f", (dfnum, dfden), size)

    def gamma(self, shape: Any, scale: Any = 1.0, size: Any = None) -> Array:
        """Draw from a Gamma distribution; as `numpy.random.Generator.gamma`."""
        return self._drawn("gamma", (shape, scale), size)

    def geometric(self, p: Any, size: Any = None) -> Array:
        """Draw from a geometric distribution; as `numpy.random.Generator.geometric`."""
        return self._counted("geometric", (p,), size)

    def gumbel(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Array:
        """Draw from a Gumbel distribution; as `numpy.random.Generator.gumbel`."""
        return self._drawn("gumbel", (loc, scale), size)

    def hypergeometric(self, ngood: Any, nbad: Any, nsample: Any, size: Any = None) -> Array:
        """Draw from a hypergeometric distribution; as `numpy.random.Generator.hypergeometric`."""
        return self._counted("hypergeometric", (ngood, nbad, nsample), size)

    def laplace(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Array:
        """Draw from a Laplace distribution; as `numpy.random.Generator.laplace`."""
        return self._drawn("laplace", (loc, scale), size)

    def logistic(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Array:
        """Draw from a logistic distribution; as `numpy.random.Generator.logistic`."""
        return self._drawn("logistic", (loc, scale), size)

    def lognormal(self, mean: Any = 0.0, sigma: Any = 1.0, size: Any = None) -> Array:
        """Draw from a log-normal distribution; as `numpy.random.Generator.lognormal`."""
        return self._drawn("lognormal", (mean, sigma), size)

    def logseries(self, p: Any, size: Any = None) -> Array:
        """Draw from a logarithmic series; as `numpy.random.Generator.logseries`."""
        return self._counted("logseries", (p,), size)

    def negative_binomial(self, n: Any, p: Any, size: Any = None) -> Array:
        """Draw from a negative binomial; as `numpy.random.Generator.negative_binomial`."""
        return self._counted("negative_binomial", (n, p), size)

    def noncentral_chisquare(self, df: Any, nonc: Any, size: Any = None) -> Array:
        """Draw from a noncentral chi-square; as `numpy.random.Generator.noncentral_chisquare`."""
        return self._drawn("noncentral_chisquare", (df, nonc), size)

    def noncentral_f(self, dfnum: Any, dfden: Any, nonc: Any, size: Any = None) -> Array:
        """Draw from a noncentral F distribution; as `numpy.random.Generator.noncentral_f`."""
        return self._drawn("noncentral_f", (dfnum, dfden, nonc), size)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Array:
        """Draw from a normal distribution; as `numpy.random.Generator.normal`."""
        return self._drawn("normal", (loc, scale), size)

    def pareto(self, a: Any, size: Any = None) -> Array:
        """Draw from a Pareto II distribution; as `numpy.random.Generator.pareto`."""
        return self._drawn("pareto", (a,), size)

    def poisson(self, lam: Any = 1.0, size: Any = None) -> Array:
        """Draw from a Poisson distribution; as `numpy.random.Generator.poisson`."""
        return self._counted("poisson", (lam,), size)

    def power(self, a: Any, size: Any = None) -> Array:
        """Draw from a power distribution; as `numpy.random.Generator.power`."""
        return self._drawn("power", (a,), size)

    def rayleigh(self, scale: Any = 1.0, size: Any = None) -> Array:
        """Draw from a Rayleigh distribution; as `numpy.random.Generator.rayleigh`."""
        return self._drawn("rayleigh", (scale,), size)

    def standard_cauchy(self, size: Any = None) -> Array:
        """Draw from a Cauchy distribution; as `numpy.random.Generator.standard_cauchy`."""
        return self._drawn("standard_cauchy", (), size)

    def standard_t(self, df: Any, size: Any = None) -> Array:
        """Draw from Student's t distribution; as `numpy.random.Generator.standard_t`."""
        return self._drawn("standard_t", (df,), size)

    def triangular(self, left: Any, mode: Any, right: Any, size: Any = None) -> Array:
        """Draw from a triangular distribution; as `numpy.random.Generator.triangular`."""
        return self._drawn("triangular", (left, mode, right), size)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Array:
        """Draw from a uniform distribution; as `numpy.random.Generator.uniform`."""
        return self._drawn("uniform", (low, high), size)

    def vonmises(self, mu: Any, kappa: Any, size: Any = None) -> Array:
        """Draw from a von Mises distribution; as `numpy.random.Generator.vonmises`."""
        return self._drawn("vonmises", (mu, kappa), size)

    def wald(self, mean: Any, scale: Any, size: Any = None) -> Array:
        """Draw from an inverse Gaussian distribution; as `numpy.random.Generator.wald`."""
        return self._drawn("wald", (mean, scale), size)

    def weibull(self, a: Any, size: Any = None) -> Array:
        """Draw from a Weibull distribution; as `numpy.random.Generator.weibull`."""
        return self._drawn("weibull", (a,), size)

    def zipf(self, a: Any, size: Any = None) -> Array:
        """Draw from a Zipf distribution; as `numpy.random.Generator.zipf`."""
        return self._counted("zipf", (a,), size)

    # ---- several numbers at once

    def dirichlet(self, alpha: Any, size: Any = None) -> Array:
        """Draw from a Dirichlet distribution; as `numpy.random.Generator.dirichlet`."""
        return self._rows("dirichlet", (alpha,), size, {}, np.dtype(np.float64))

    def _rows(
        self,
        name: str,
        args: tuple[Any, ...],
        size: Any,
        options: dict[str, Any],
        dtype: np.dtype,
    ) -> Array:
        """Vectors whose length is that of the first argument that is a vector."""
        with self._lock:
            if not self._leads():
                return self._wrapped(name, *args, size=size, **options)
            args = tuple([parameter(each) for each in args])
            lead = () if size is None else extents(size)
            if not any(isinstance(each, ArrayBase) for each in args):
                if not succeeds(getattr(spare(self.family), name), *args, size=0, **options):
                    return self._refused(name, *args, size=size, **options)
                if "check_valid" in options:
                    options = {**options, "check_valid": "ignore"}  # it has been looked at
            vector = next((a for a in args if getattr(a, "ndim", 0)), None)
            require(vector is not None, OptionError, name, "expected a vector, got a number")
            assert vector is not None
            width = vector.shape[-1:]
            size = None if size is None else lead
            return self._general(name, args, {"size": size, **options}, lead + width, dtype)

    # ---- integers and choices

    def _integers(
        self, name: str, low: Any, high: Any, size: Any, dtype: Any, endpoint: bool
    ) -> Array:
        """Whole numbers from `low` to `high`."""
        options: tuple[tuple[str, Any], ...] = (("dtype", dtype),)
        if name == "integers":
            options += (("endpoint", endpoint),)
        with self._lock:
            if not self._leads():
                return self._wrapped(name, low, high, size=size, **dict(options))
            given = (low,) if high is None else (low, high)
            drawn = self._known.draw(self._state, name, given, size, options)
            if drawn is not None:
                return drawn
            low, high = parameter(low), parameter(high)
            if any(isinstance(x, ArrayBase | np.ndarray) for x in (low, high)):
                return self._bounded(name, low, high, size, options)
            found = bounds(self.family, name, low, high, options)
            if found is None:
                return self._refused(name, low, high, size=size, **dict(options))
            off, span, wanted = found
            native = BOUNDED[wanted]
            numbers = [(np.uint64(each), UINT64) for each in (off, span)]
            if self._trusts(name, (low, high), dict(options), numbers, wanted, native):
                self._known.accept(name, given, options, numbers)
                recipe = self._native(name, size, options, wanted, native)
                return recipe.draw(self._state, numbers)
            shape = () if size is None else extents(size)
            args = {"size": None if size is None else shape, **dict(options)}
            return self._general(name, (low, high), args, shape, wanted, size is None)

    def _bounded(
        self, name: str, low: Any, high: Any, size: Any, options: tuple[tuple[str, Any], ...]
    ) -> Array:
        """Whole numbers in ranges that arrays give."""
        given = [x for x in (low, high) if isinstance(x, ArrayBase | np.ndarray)]
        shape = fitted(name, size, [x.shape for x in given])
        lazy = any(isinstance(x, ArrayBase) for x in given)
        wanted = np.dtype(dict(options)["dtype"])
        if not lazy and not succeeds(getattr(spare(self.family), name), low, high, **dict(options)):
            return self._refused(name, low, high, size=size, **dict(options))
        require(wanted in BOUNDED, DTypeError, name, f"Unsupported dtype {wanted!r} for {name}")
        for each in given:
            require(each.dtype.kind in "biuf", DTypeError, name, f"bounds of dtype {each.dtype}")
        is_scalar = size is None and not shape
        args = {"size": None if size is None else shape, **dict(options)}
        return self._general(name, (low, high), args, shape, wanted, is_scalar)

    def _chosen(
        self, a: Any, size: Any, replace: bool, p: Any, axis: int, options: dict[str, Any]
    ) -> Any:
        """Elements of `a`, or integers below it."""
        with self._lock:
            if not self._leads():
                return self._chosen_at_once(a, size, replace, p, axis, options)
            a = a if isinstance(a, ArrayBase) and a.ndim else parameter(read(a))
            p = None if p is None else parameter(p)
            count = population(a, axis)
            if count is None or not self._can_choose(a, count, size, replace, p):
                return self._chosen_at_once(a, size, replace, p, axis, options)
            indices = self._indices(count, size, replace, p, options)
            if not isinstance(a, ArrayBase | np.ndarray):
                return indices
            if isinstance(a, np.ndarray) and a.dtype.kind not in "biufc":
                # What lazyarray does not hold stays with NumPy.
                return a.take(read(indices), axis=axis)
            found = LIFTED["take"](asarray(a), indices, axis)
            return found if size is None or found.ndim else from_node(to_node(found), False)

    def _chosen_at_once(
        self, a: Any, size: Any, replace: bool, p: Any, axis: int, options: dict[str, Any]
    ) -> Any:
        """Elements of `a`, drawn now."""
        if self.family == "Generator":
            options = {"axis": axis, **options}
        found = self._at_once("choice", a, size=size, replace=replace, p=p, **options)
        data = np.asarray(found)
        if data.dtype.kind not in "biufc":
            return found
        return _handle.from_numpy(data, not isinstance(found, np.ndarray))

    def _can_choose(self, a: Any, count: int, size: Any, replace: bool, p: Any) -> bool:
        """Whether NumPy takes a call of `choice`, as far as that is known."""
        wanted = 1 if size is None else math.prod(extents(size))
        if wanted and (count <= 0 or (not replace and wanted > count)):
            return False
        if p is None:
            return True
        if getattr(p, "shape", None) != (count,):
            return False
        if isinstance(p, ArrayBase):
            return p.dtype.kind in "biuf"
        few = not replace and np.count_nonzero(p > 0) < wanted
        return not few and succeeds(spare(self.family).choice, count, size=0, p=p)

    def _indices(
        self, count: int, size: Any, replace: bool, p: Any, options: dict[str, Any]
    ) -> Array:
        """Integers below `count`."""
        if p is None and replace and count > 0:
            if self.family == "Generator":
                return self._integers("integers", 0, count, size, np.int64, False)
            return self._integers("randint", 0, count, size, int, False)
        shape = () if size is None else extents(size)
        given = {"size": None if size is None else shape, "replace": bool(replace), "p": p}
        return self._general("choice", (count,), {**given, **options}, shape, INT64, size is None)

    def bytes(self, length: int) -> bytes:
        """Draw random bytes; waits for them."""
        with self._lock:
            if not self._leads():
                found: bytes = self._at_once("bytes", length)
                return found
            count = len(spare(self.family).bytes(length)) if length < 64 else index(length)
            drawn = self._general("bytes", (count,), {}, (count,), np.dtype(np.uint8))
        return bytes(drawn.tobytes())

    # ---- orders

    def _shuffled(self, x: Any, axis: int | None) -> None:
        """Shuffle `x` in place."""
        axes = () if axis is None else (axis,)
        with self._lock:
            if not isinstance(x, ArrayBase):
                self._at_once("shuffle", x, *axes)
                return
            require(not x.is_scalar, DTypeError, "shuffle", "a scalar cannot be shuffled")
            if x.ndim == 0 and axis is None:
                raise TypeError("len() of unsized object")
            if axis is not None and not -x.ndim <= axis < x.ndim:
                raise AxisError(axis, x.ndim, "shuffle")
            if not shadow(x).flags.writeable:
                raise ValueError("shuffle: array is read-only")
            if not self._leads():
                data = x.numpy()
                self._at_once("shuffle", data, *axes)
                x[...] = data
            elif x.size:
                drawn = self._reordered("shuffle", x, axis)
                _handle.assign(x, _handle.to_node(drawn), "shuffle")

    def _permutation(self, x: Any, axis: int | None) -> Any:
        """The elements of `x` along an axis, or the integers below it, in random order."""
        axes = () if axis is None else (axis,)
        with self._lock:
            if isinstance(x, ArrayBase) and x.ndim == 0:
                x = read(x)
            if type(x) is Number or not isinstance(x, ArrayBase):
                x = parameter(x)
            if not self._leads() or (isinstance(x, np.ndarray) and x.dtype.kind not in "biufc"):
                found = self._at_once("permutation", x, *axes)
                return found if found.dtype.kind not in "biufc" else _handle.from_numpy(found)
            if not isinstance(x, ArrayBase | np.ndarray):
                count = len(spare(self.family).permutation(x)) if not isinstance(x, int) else x
                return self._order(max(int(count), 0))
            if axis is not None and not -x.ndim <= axis < x.ndim:
                raise AxisError(axis, x.ndim, "permutation")
            return self._reordered("permutation", x, axis)

    def _reordered(self, name: str, x: Any, axis: int | None) -> Array:
        """The elements of an array in the order that NumPy's method gives."""
        native = ("rows", SHUFFLE)
        first = axis is None or axis % x.ndim == 0
        if first and self._trusts("permutation", (), {}, (), INT64, native):
            given = (x.shape, x.dtype, (), (), False, False, native)
            return self._record(name, [node_of(x)], *given)
        return self._general(name, (x,) if axis is None else (x, axis), {}, x.shape, x.dtype)

    def _order(self, count: int) -> Array:
        """The integers below `count` in random order."""
        native = ("order", SHUFFLE)
        if not self._trusts("permutation", (), {}, (), INT64, native):
            return self._general("permutation", (count,), {}, (count,), INT64)
        return self._native("permutation", count, (), INT64, native).draw(self._state, ())


def population(a: Any, axis: int) -> int | None:
    """How many elements there are to choose from; None where NumPy raises."""
    if isinstance(a, ArrayBase | np.ndarray):
        return a.shape[axis] if -a.ndim <= axis < a.ndim else None
    try:
        return index(a)
    except TypeError:
        return None


def bounds(
    family: str, name: str, low: Any, high: Any, options: tuple[tuple[str, Any], ...]
) -> tuple[int, int, np.dtype] | None:
    """The lowest integer, as an unsigned one, the span above it and the dtype; None: refused."""
    given = dict(options)
    if not succeeds(getattr(spare(family), name), low, high, **given):
        return None
    dtype = np.dtype(given["dtype"])
    first, end = (0, int(low)) if high is None else (int(low), int(high))
    span = end - first - (not given.get("endpoint", False))
    return first % (1 << (8 * dtype.itemsize)), span, dtype
