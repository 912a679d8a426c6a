"""Generator: NumPy's, with lazy draws of the very same numbers."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from lazyarray import _handle, _trace
from lazyarray._handle import shadow
from lazyarray._record import ArrayBase
from lazyarray.array import Array, asarray
from lazyarray.errors import AxisError, DTypeError, OptionError, ShapeError, fail, require
from lazyarray.number import fixed

from .distributions import Distributions
from .fast import extents
from .stream import (
    FLOAT64,
    INT64,
    fitted,
    in_memory_order,
    parameter,
    read,
    spare,
    stored,
    succeeds,
)

FILLS = {
    ("random", np.dtype(np.float64)): "random_standard_uniform_fill",
    ("random", np.dtype(np.float32)): "random_standard_uniform_fill_f",
    ("standard_normal", np.dtype(np.float64)): "random_standard_normal_fill",
    ("standard_normal", np.dtype(np.float32)): "random_standard_normal_fill_f",
    ("zig", np.dtype(np.float64)): "random_standard_exponential_fill",
    ("zig", np.dtype(np.float32)): "random_standard_exponential_fill_f",
    ("inv", np.dtype(np.float64)): "random_standard_exponential_inv_fill",
    ("inv", np.dtype(np.float32)): "random_standard_exponential_inv_fill_f",
}
GAMMAS = {
    np.dtype(np.float64): ("d1", "random_standard_gamma"),
    np.dtype(np.float32): ("f1", "random_standard_gamma_f"),
}


class Generator(Distributions):
    """Random numbers from a bit generator: `numpy.random.Generator`, drawn lazily.

    A draw returns at once; NumPy's C code runs when the numbers are wanted, and gives the bits that
    NumPy gives. Draws follow one another in the order of the program, whichever is read first.

    Parameters
    ----------
    bit_generator : numpy.random.BitGenerator
        It advances as NumPy would advance it. While the caller holds it, draws run at once.

    Examples
    --------
    >>> rng = la.random.default_rng(7)
    >>> x = rng.normal(size=3)
    >>> bool((x.numpy() == np.random.default_rng(7).normal(size=3)).all())
    True
    """

    family = "Generator"

    def __init__(self, bit_generator: Any) -> None:
        super().__init__(bit_generator, True)

    @property
    def bit_generator(self) -> Any:
        """The bit generator, after all draws so far; waits for them."""
        self._expose()
        return self._bits

    def __repr__(self) -> str:
        return f"{self} at 0x{id(self):X}"

    def __str__(self) -> str:
        return f"Generator({type(self._bits).__name__})"

    def __reduce__(self) -> Any:
        return Generator, (self.bit_generator,)

    def spawn(self, n_children: int) -> list[Generator]:
        """Return new generators with streams of their own; as `numpy.random.Generator.spawn`."""
        _trace.cannot("it spawns generators")
        return [owner(bits) for bits in self._bits.spawn(n_children)]

    # ---- standard distributions

    def random(self, size: Any = None, dtype: Any = np.float64, out: Array | None = None) -> Array:
        """Draw from [0, 1); as `numpy.random.Generator.random`."""
        return self._fill("random", "random", size, dtype, out)

    def standard_normal(
        self, size: Any = None, dtype: Any = np.float64, out: Array | None = None
    ) -> Array:
        """Draw standard normal numbers; as `numpy.random.Generator.standard_normal`."""
        return self._fill("standard_normal", "standard_normal", size, dtype, out)

    def standard_exponential(
        self,
        size: Any = None,
        dtype: Any = np.float64,
        method: str = "zig",
        out: Array | None = None,
    ) -> Array:
        """Draw standard exponentials; as `numpy.random.Generator.standard_exponential`."""
        # To NumPy every other method is the inverse.
        kind = "zig" if method == "zig" else "inv"
        return self._fill("standard_exponential", kind, size, dtype, out, (("method", kind),))

    def standard_gamma(
        self,
        shape: Any,
        size: Any = None,
        dtype: Any = np.float64,
        out: Array | None = None,
    ) -> Array:
        """Draw standard Gamma numbers; as `numpy.random.Generator.standard_gamma`."""
        wanted = supported("standard_gamma", dtype)
        if out is not None:
            size = stored(out, "standard_gamma", wanted, size)
            if not shadow(out).flags.c_contiguous:
                what = "Supplied output array must be C-contiguous, writable and aligned."
                fail(ShapeError, "standard_gamma", what)
            return stored_in(out, out, self.standard_gamma(shape, size, wanted))
        return self._sample(
            "standard_gamma", (shape,), size, wanted, (("dtype", wanted),), GAMMAS[wanted]
        )

    def _fill(
        self,
        name: str,
        kind: str,
        size: Any,
        dtype: Any,
        out: Array | None,
        options: tuple[tuple[str, Any], ...] = (),
    ) -> Array:
        """Numbers without parameters."""
        wanted = supported(name, dtype)
        flat = None
        if out is not None:
            stored(out, name, wanted, size)
            flat = in_memory_order(out)
            size = flat.shape
        native = ("fill", FILLS[kind, wanted])
        drawn = self._sample(name, (), size, wanted, (("dtype", wanted), *options), native)
        return drawn if out is None else stored_in(out, flat, drawn)

    # ---- integers and choices

    def integers(
        self,
        low: Any,
        high: Any = None,
        size: Any = None,
        dtype: Any = np.int64,
        endpoint: bool = False,
    ) -> Array:
        """Draw integers from `low` to below `high`; as `numpy.random.Generator.integers`."""
        return self._integers("integers", low, high, size, dtype, bool(endpoint))

    def choice(
        self,
        a: Any,
        size: Any = None,
        replace: bool = True,
        p: Any = None,
        axis: int = 0,
        shuffle: bool = True,
    ) -> Any:
        """Draw elements of `a`, or integers below it; as `numpy.random.Generator.choice`.

        Elements that lazyarray does not hold, such as text, come as NumPy returns them.
        """
        return self._chosen(a, size, replace, p, index(axis), {"shuffle": bool(shuffle)})

    # ---- orders

    def shuffle(self, x: Any, axis: int = 0) -> None:
        """Put the parts of `x` along an axis in random order, in place."""
        self._shuffled(x, index(axis))

    def permutation(self, x: Any, axis: int = 0) -> Any:
        """Return a shuffled copy of `x`, or of ``arange(x)``."""
        return self._permutation(x, index(axis))

    def permuted(self, x: Any, *, axis: int | None = None, out: Array | None = None) -> Array:
        """Shuffle each line along an axis by itself; as `numpy.random.Generator.permuted`."""
        with self._lock:
            given = x if isinstance(x, ArrayBase) else asarray(parameter(x))
            if axis is not None and not -given.ndim <= index(axis) < given.ndim:
                raise AxisError(axis, given.ndim, "permuted")
            if out is not None:
                self._check_permuted(given, out)
            if not self._leads():
                drawn = self._wrapped("permuted", given, axis=axis)
            elif axis is None and turned(given if out is None else out, out is None):
                drawn = self._general("permuted", (given.T,), {}, given.T.shape, given.dtype).T
            else:
                options = {"axis": None if axis is None else index(axis)}
                drawn = self._general("permuted", (given,), options, given.shape, given.dtype)
            return drawn if out is None else stored_in(out, out, drawn)

    def _check_permuted(self, x: Array, out: Any) -> None:
        """Raise as NumPy where `out` cannot take the result."""
        if not isinstance(out, ArrayBase):
            fail(DTypeError, "permuted", "out must be a lazyarray array")
        if out.shape != x.shape:
            fail(ShapeError, "permuted", "out must have the same shape as x")
        if not np.can_cast(x.dtype, out.dtype, "safe"):
            fail(DTypeError, "permuted", f"Cannot cast from {x.dtype!r} to {out.dtype!r}")
        if not shadow(out).flags.writeable:
            fail(ShapeError, "permuted", "out is read-only")

    # ---- several numbers at once

    def multinomial(self, n: Any, pvals: Any, size: Any = None) -> Array:
        """Draw from multinomial distributions; as `numpy.random.Generator.multinomial`."""
        with self._lock:
            if not self._leads():
                return self._wrapped("multinomial", n, pvals, size=size)
            n, pvals = parameter(n), parameter(pvals)
            require(getattr(pvals, "ndim", 0) > 0, OptionError, "multinomial", "pvals is a number")
            lead, width = pvals.shape[:-1], pvals.shape[-1:]
            several = getattr(n, "ndim", 0) > 0 or len(lead) > 0
            shape = () if size is None else extents(size)
            if several:
                given = [getattr(n, "shape", ()), lead]
                shape = fitted("multinomial", None if size is None else shape, given)
            if not isinstance(n, ArrayBase) and not isinstance(pvals, ArrayBase):
                trial = (0, *shape) if several else 0
                if not succeeds(spare("Generator").multinomial, n, pvals, size=trial):
                    return self._refused("multinomial", n, pvals, size=size)
            options = {"size": None if size is None else shape}
            return self._general("multinomial", (n, pvals), options, shape + width, INT64)

    def multivariate_hypergeometric(
        self, colors: Any, nsample: int, size: Any = None, method: str = "marginals"
    ) -> Array:
        """Draw so many of each; as `numpy.random.Generator.multivariate_hypergeometric`."""
        args = (colors, fixed(nsample))
        return self._rows("multivariate_hypergeometric", args, size, {"method": method}, INT64)

    def multivariate_normal(
        self,
        mean: Any,
        cov: Any,
        size: Any = None,
        check_valid: str = "warn",
        tol: float = 1e-8,
        *,
        method: str = "svd",
    ) -> Array:
        """Draw normal vectors; as `numpy.random.Generator.multivariate_normal`."""
        options = {"check_valid": check_valid, "tol": fixed(tol), "method": method}
        return self._rows("multivariate_normal", (mean, cov), size, options, FLOAT64)


def owner(bits: Any) -> Generator:
    """A Generator on a bit generator that nobody else holds."""
    found = Generator.__new__(Generator)
    Distributions.__init__(found, bits, False)
    return found


def default_rng(seed: Any = None) -> Generator:
    """Return a Generator with NumPy's default bit generator; as `numpy.random.default_rng`.

    Parameters
    ----------
    seed : None, int, array_like of int, SeedSequence, BitGenerator, Generator or RandomState
        None asks the operating system. A bit generator, or that of a generator of NumPy's, goes on
        where it is; a Generator of lazyarray's is returned as it is.
    """
    if isinstance(seed, Generator):
        return seed
    if isinstance(seed, np.random.BitGenerator):
        return Generator(seed)
    if isinstance(seed, np.random.Generator):
        return Generator(seed.bit_generator)
    bits = getattr(seed, "_bit_generator", None)
    if bits is not None:
        return Generator(bits)
    if not isinstance(seed, int):
        _trace.cannot("it makes a generator whose seed is not a number")
    return owner(np.random.PCG64(read(seed)))


def turned(x: Array, copied: bool) -> bool:
    """Whether the order of memory, in which NumPy shuffles, is that of Fortran."""
    flags = (np.empty_like(shadow(x)) if copied else shadow(x)).flags
    return bool(flags.f_contiguous and not flags.c_contiguous)


def supported(name: str, dtype: Any) -> np.dtype:
    """A dtype that standard distributions come in."""
    wanted = np.dtype(dtype)
    if wanted not in GAMMAS or not wanted.isnative:
        fail(DTypeError, name, f"Unsupported dtype {wanted!r} for {name}")
    return wanted


def stored_in(out: Array, flat: Any, drawn: Array) -> Array:
    """Write a sample through a view of `out`, which is returned."""
    _handle.assign(flat, _handle.to_node(drawn), "random")
    return out
