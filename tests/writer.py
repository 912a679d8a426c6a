"""Writes random NumPy programs, statement by statement.

The writer runs what it writes on NumPy, which is how it knows shapes, dtypes and values: casts that
C leaves undefined are not written, and what is exact in every order of evaluation flows on, while
the rest ends in a *probe*: a name that is compared within a bound and never used again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from types import CodeType
from typing import Any

import numpy as np
from programs import WORD, accepts, quiet

FLOATS = ("float64", "float64", "float32", "float32", "float16")
INTS = ("int64", "int64", "int32", "int8", "uint8", "int16", "uint16", "uint32", "uint64")
DTYPES = FLOATS * 3 + INTS * 2 + ("bool",) * 4 + ("complex64", "complex128")
SHAPES = ((), (1,), (4,), (5,), (7,), (12,), (2, 3), (3, 4), (4, 3), (3, 1), (1, 4), (4, 4), (2, 3,
    2), (2, 1, 3),
          (0,), (2, 0))  # fmt: skip
SIZE_LIMIT = 64  # elements of a value
# NumPy lays out the results of these like their operands, lazyarray in C order.
C_ORDERED = (".any(", ".all(", ".max(", ".min(", ".sum(", ".prod(", ".mean(", ".cumsum(", "sort(",
    "concatenate(", "stack(",
             "roll(", "arg", "@", "take(", "repeat(", "pad(")  # fmt: skip


class Writer:
    """Writes one program, running it on NumPy as it goes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lines: list[str] = []
        self.count = 0
        self.scope: dict[str, Any] = {
            "xp": np, "np": np, "look": lambda x: None, "start": lambda *x: None,
        }  # fmt: skip
        self.fixed = {*self.scope, "__builtins__", "__warningregistry__", "__turn__"}

    def program(self) -> list[str]:
        """5 to 30 statements."""
        with quiet():
            for _ in range(self.rng.randint(2, 4)):
                self.create()
            kinds, weights = zip(*STATEMENTS, strict=True)
            for _ in range(self.rng.randint(3, 26)):
                kind = self.rng.choices(kinds, weights)[0]
                if kind(self) is False:
                    break
            while len(self.lines) < 5:
                self.create()
        return self.lines

    def bind(self, made: str) -> bool:
        """Name what an expression makes; the name begins with e for a NumPy array in both runs.

        Functions of lazyarray copy those; NumPy's own give views of them.
        """
        own = "a" in {word[0] for word in WORD.findall(made)}
        foreign = not own and bool(WORD.findall(made))
        if foreign:
            made = made.replace("xp.", "np.")
        with quiet():
            try:
                value = eval(compiled_expression(made), self.scope)
            except Exception:
                value = None
        if (
            any(f in made for f in C_ORDERED)
            and isinstance(value, np.ndarray)
            and not value.flags.c_contiguous
        ):
            made = f"({made}).copy()"
        return self.emit(f"{self.name('e' if foreign else 'a')} = {made}")

    def emit(self, line: str) -> bool:
        """Add a statement and run it; False ends the program before it."""
        if not accepts(self.scope, line):
            return False
        self.lines.append(line)
        return True

    # -- choices

    def name(self, prefix: str = "a") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def names(self, want: Callable[[Any], bool] = lambda x: True) -> list[str]:
        found = []
        for name, value in self.scope.items():
            if name in self.fixed or name.startswith("p"):
                continue
            if (
                isinstance(value, np.ndarray | np.generic)
                and value.size <= SIZE_LIMIT
                and want(value)
            ):
                found.append(name)
        return found

    def pick(self, want: Callable[[Any], bool] = lambda x: True) -> str | None:
        """A live name, late ones preferred."""
        found = self.names(want)
        if not found:
            return None
        return self.rng.choice(found[-4:] if self.rng.random() < 0.5 else found)

    def literal(self, dtype: np.dtype) -> str:
        """A Python number."""
        kind = dtype.kind
        r = self.rng.random()
        if kind == "b":
            return self.rng.choice(["True", "False", "2"])
        if kind == "u" or r < 0.6:
            return str(self.rng.randint(0 if kind == "u" and r > 0.03 else -3, 5))
        if kind in "fc" or r > 0.95:
            return self.rng.choice(["0.5", "-1.5", "2.25", "0.1"])
        return str(self.rng.randint(-3, 300))

    def slice(self, extent: int) -> str:
        """A slice of an axis."""
        r = self.rng
        step = r.choice(["", "", "", ":2", ":-1", ":-2", ":3"])
        low = r.choice(["", "", "1", "-2", str(r.randint(-extent, extent + 1))])
        high = r.choice(["", "", "-1", "2", str(r.randint(-extent, extent + 1))])
        return f"{low}:{high}{step}"

    def index(self, value: Any, ints: float = 0.3) -> str:
        """A basic index."""
        parts = []
        for extent in value.shape[: self.rng.randint(1, max(1, value.ndim))]:
            r = self.rng.random()
            if r < ints and extent:
                parts.append(
                    str(self.rng.randint(-extent, extent - 1 + (self.rng.random() < 0.02)))
                )
            elif r < 0.9:
                parts.append(self.slice(extent))
            else:
                parts.append(":")
        if self.rng.random() < 0.15:
            parts.append("...")
        if self.rng.random() < 0.1:
            parts.insert(self.rng.randint(0, len(parts)), "None")
        if not value.ndim:
            parts = [self.rng.choice(["...", "()", "None"])]
        return ", ".join(parts)

    def advanced(self, value: Any) -> str | None:
        """An index with arrays in it."""
        if not value.ndim or not value.size:
            return None
        r = self.rng.random()
        name = self.pick(
            lambda x: isinstance(x, np.ndarray) and x.dtype == bool and x.shape == value.shape
        )
        if r < 0.3 and name:
            return name
        parts = []
        for axis, extent in enumerate(value.shape[: self.rng.randint(1, value.ndim)]):
            inside = self.pick(
                lambda x, n=extent: isinstance(x,
                    np.ndarray) and x.dtype.kind in "iu" and 0 < x.ndim < 3
                and x.flags.c_contiguous and x.size > 0 and -n <= int(x.min()) and int(x.max()) < n
            )  # fmt: skip
            r = self.rng.random()
            if r < 0.25 and inside:
                parts.append(inside)
            elif r < 0.6 or not axis:
                values = [
                    self.rng.randint(-extent, extent - 1)
                    for _ in range(self.rng.choice([1, 2, 3, 3]))
                ]
                parts.append(str(values) if self.rng.random() < 0.7 else f"xp.array({values})")
            elif r < 0.7:
                parts.append(str(self.rng.randint(0, extent - 1)))
            elif r < 0.8 and len(parts) == 1:
                mask = [self.rng.random() < 0.5 for _ in range(extent)]
                parts.append(f"xp.array({mask})")
            else:
                parts.append(self.slice(extent))
        return ", ".join(parts)

    def beside(self, shape: tuple[int, ...], dtype: np.dtype, inplace: bool = False) -> str:
        """A number, a name, a view of one, now and then a misfit for that shape."""
        r = self.rng.random()
        if r < 0.25:
            return self.literal(dtype)

        def fits(x: Any) -> bool:
            try:
                out = np.broadcast_shapes(shape, x.shape)
            except ValueError:
                return False
            return out == shape if inplace else np.prod(out) <= SIZE_LIMIT

        name = self.pick() if r < 0.3 else self.pick(fits)
        if name is None:
            return self.literal(dtype)
        value = self.scope[name]
        if value.ndim == 1 and r > 0.8 and shape == value.shape:
            return f"{name}[::-1]"
        if value.ndim == 2 and r > 0.8 and value.shape[0] == value.shape[1]:
            return f"{name}.T"
        return name

    # -- statements

    def create(self) -> bool:
        r = self.rng
        dtype = np.dtype(r.choice(DTYPES))
        shape = r.choice(SHAPES[:-2] if r.random() < 0.9 else SHAPES)
        size = int(np.prod(shape))
        low = 0 if dtype.kind == "u" else -4
        if dtype.kind == "b":
            values: list[Any] = [r.random() < 0.5 for _ in range(size)]
        elif dtype.kind in "fc" and r.random() < 0.4:
            values = [r.choice([0.5, -1.25, 3.0, 0.1, -0.0, 7.75, -2.0]) for _ in range(size)]
        else:
            values = [r.randint(low, 6) for _ in range(size)]
        text = str(np.array(values, object).reshape(shape).tolist())
        made = f"xp.array({text}, dtype={dtype.name!r})"
        which = r.random()
        if which < 0.15 and len(shape) > 1:
            made = f"xp.asarray(np.asfortranarray({made.replace('xp', 'np')}))"
        elif which < 0.25:
            kind = "int64" if dtype.kind == "b" else dtype.name
            made = f"xp.arange({size}, dtype={kind!r}).reshape({shape})"
        elif which < 0.35:
            made = f"xp.{r.choice(['zeros', 'ones'])}({shape}, dtype={dtype.name!r})"
        elif which < 0.4:
            made = f"xp.full({shape}, {self.literal(dtype)}, dtype={dtype.name!r})"
        return self.bind(made)

    def view(self) -> bool:
        name = self.pick()
        if name is None:
            return self.create()
        x, r = self.scope[name], self.rng
        choice = r.random()
        if choice < 0.45:
            made = f"{name}[{self.index(x)}]"
        elif choice < 0.55 and x.ndim > 1:
            made = r.choice([f"{name}.T", f"{name}.swapaxes(0, -1)", f"xp.moveaxis({name}, 0, -1)"])
        elif choice < 0.75:
            made = self.reshaped(name, x)
        elif choice < 0.8:
            shape = (
                *r.choice([(), (2,), (1,)]),
                *(n if n != 1 else r.choice([1, 3]) for n in x.shape),
            )
            made = f"xp.broadcast_to({name}, {shape})"
        elif choice < 0.9:
            made = r.choice([f"{name}.real",
                f"{name}.imag" if x.dtype.kind == "c" else f"{name}.real",
                             f"xp.flip({name})", f"xp.squeeze({name})",
                             f"xp.expand_dims({name}, 0)"])  # fmt: skip
        elif x.ndim == 2:
            made = f"{name}.diagonal({r.randint(-1, 1)})"
        else:
            made = f"{name}[...]"
        return self.bind(made)

    def reshaped(self, name: str, x: Any) -> str:
        r = self.rng
        options = [f"{name}.ravel()", f"{name}.reshape(-1)", f"{name}.flatten()", f"{name}.copy()",
            f"{name}[None]",
                   f"xp.ravel({name}, order='F')", f"{name}.copy(order='K')"]  # fmt: skip
        for shape in SHAPES:
            if int(np.prod(shape)) == x.size:
                options += [
                    f"{name}.reshape({shape})",
                    f"{name}.reshape({shape}, order={r.choice('CFA')!r})",
                ]
        return r.choice(options)

    def compute(self) -> bool:
        r = self.rng
        name = self.pick()
        if name is None:
            return self.create()
        x = self.scope[name]
        if r.random() < 0.3:
            return self.unary(name, x)
        other = self.beside(x.shape, x.dtype)
        pair = (name, other) if r.random() < 0.7 else (other, name)
        kind = self.kind(*pair)
        which = r.random()
        if which < 0.55:
            op = r.choice(
                ["+", "-", "*", "+", "-", "*", "/"]
                + (["//", "%", "&", "|", "^"] if kind in "biu" else [])
            )
            made = f"{pair[0]} {op} {pair[1]}"
            if kind == "c" and op in "*/":
                return self.probe(f"{made}", 8)
        elif which < 0.75:
            made = f"{pair[0]} {r.choice(['<', '<=', '==', '!=', '>', '>='])} {pair[1]}"
        elif which < 0.85:
            made = f"xp.{r.choice(['maximum', 'minimum', 'fmax', 'fmin'])}({pair[0]}, {pair[1]})"
            if kind in "fc":
                made += " + 0.0"  # which zero of two is unspecified
        else:
            test = self.pick(lambda m: m.dtype == bool) or f"{name} > 0"
            # NumPy lets a number that does not fit wrap around.
            one, two = (x if WORD.search(x) else "2" for x in pair)
            made = f"xp.where({test}, {one}, {two})"
        return self.bind(made)

    def kind(self, *texts: str) -> str:
        """The dtype kind that operands have together."""
        with quiet():
            found = [eval(compiled_expression(text), self.scope) for text in texts]
        kinds = {np.asarray(x).dtype.kind for x in found}
        return next(k for k in "cfiub" if k in kinds)

    def unary(self, name: str, x: Any) -> bool:
        r = self.rng
        kind = x.dtype.kind
        options = [f"-{name}", f"+{name}", f"xp.logical_not({name})", f"xp.isnan({name})",
            f"xp.sign({name})",
                   f"{name}.astype({r.choice(DTYPES)!r})", f"xp.square({name})"]  # fmt: skip
        if kind != "c":
            options += [
                f"abs({name})",
                f"xp.clip({name}, 0, 3) + 0.0" if kind == "f" else f"xp.clip({name}, 0, 3)",
                f"xp.floor({name})",
                f"xp.sqrt({name})",
            ]
        if kind in "biu":
            options.append(f"~{name}")
        if kind in "iu":
            options += [f"{name} << {r.randint(0, 3)}", f"{name} >> {r.randint(0, 3)}"]
        made = r.choice(options)
        if kind == "c" and ("square" in made or "sign" in made):
            return self.probe(made, 8)
        return self.bind(made)

    def probe(self, made: str, ulps: int) -> bool:
        return self.emit(f"{self.name('p')}_{ulps} = {made}")

    def reduce(self) -> bool:
        r = self.rng
        name = self.pick(lambda x: x.ndim > 0)
        if name is None:
            return self.create()
        x = self.scope[name]
        axis = r.choice(["", *(f"axis={i}" for i in range(-x.ndim, x.ndim)), "keepdims=True"])
        axis_only = axis if "keep" not in axis else ""
        exact = [f"{name}.any({axis})", f"{name}.all({axis})", f"xp.argmax({name}, {axis_only})",
                 f"xp.argmin({name}, {axis_only})"]  # fmt: skip
        kind = x.dtype.kind
        zero = " + 0.0" if kind == "f" else ""
        if kind == "c":
            exact = exact[:2]
        else:
            exact += [f"{name}.max({axis}){zero}", f"{name}.min({axis}){zero}",
                f"xp.sort({name}, axis=-1){zero}",
                      f"xp.argsort({name}, axis=-1, kind='stable')"]  # fmt: skip
        if kind in "biu":
            exact += [
                f"{name}.sum({axis})",
                f"{name}.prod({axis})",
                f"{name}.cumsum({axis_only})",
                f"{name}.mean({axis})",
            ]
            return self.bind(r.choice(exact))
        if r.random() < 0.6:
            return self.bind(r.choice(exact))
        with np.errstate(all="ignore"):
            small = bool(np.all(np.abs(x) < 64))
        if not small:
            return True
        # Terms cancel, so the bound is for sums of magnitudes, which the probe adds.
        made = r.choice([f"xp.sum(xp.abs({name}), {axis})", f"{name}.mean({axis}) + 64",
            f"{name}.cumsum({axis_only}) + 640",
                         f"xp.exp(xp.sin(xp.abs({name})))", f"xp.tanh(xp.abs({name}) + 1)",
                         f"xp.var({name}, {axis}) + 640"])  # fmt: skip
        return self.probe(made, 16 if x.dtype != "float16" else 64)

    def combine(self) -> bool:
        r = self.rng
        name = self.pick(lambda x: x.ndim > 0)
        if name is None:
            return self.create()
        x = self.scope[name]
        axis = r.randint(0, x.ndim - 1)
        other = self.pick(
            lambda y: y.ndim == x.ndim and y.size + x.size <= SIZE_LIMIT
            and all(m == n for i, (m, n) in enumerate(zip(x.shape, y.shape,
                strict=True)) if i != axis)
        ) or name  # fmt: skip
        which = r.random()
        if which < 0.35:
            made = f"xp.concatenate([{name}, {other}], axis={axis})"
        elif which < 0.5:
            made = f"xp.stack([{name}, {name}], axis={r.randint(-1, x.ndim)})"
        elif which < 0.6:
            where = f", axis={axis}" if r.random() < 0.5 else ""
            made = f"xp.roll({name}, {r.randint(-2, 3)}{where})"
        elif which < 0.7:
            made = f"xp.pad({name}, {r.randint(0, 2)}, constant_values={r.randint(0, 2)})"
        elif which < 0.8:
            made = f"xp.repeat({name}, {r.randint(0, 2)}, axis={axis})"
        elif which < 0.9 and x.shape[axis]:
            extent = x.shape[axis]
            rows = [r.randint(-extent, extent - 1) for _ in range(3)]
            made = f"xp.take({name}, {rows}, axis={axis})"
        else:
            return self.product(name, x)
        return self.bind(made)

    def product(self, name: str, x: Any) -> bool:
        inner = x.shape[-1]
        other = self.pick(lambda y: y.ndim and y.shape[max(-2, -y.ndim)] == inner) or name
        made = f"{name} @ {other}"
        kinds = {x.dtype.kind, self.scope[other].dtype.kind}
        if kinds <= set("biu"):
            return self.bind(made)
        with np.errstate(all="ignore"):
            small = all(bool(np.all(np.abs(v) < 64)) for v in (x, self.scope[other]))
        return self.probe(f"xp.abs({name}) @ xp.abs({other})", 16) if small else True

    def assign(self) -> bool:
        r = self.rng
        name = self.pick(lambda x: isinstance(x, np.ndarray))
        if name is None:
            return self.create()
        x = self.scope[name]
        key = self.index(x) if r.random() < 0.6 else self.advanced(x)
        if key is None:
            key = "..."
        if r.random() < 0.1 and x.dtype.kind != "c" and x.ndim:
            key = f"{name} > {self.literal(x.dtype)}"
        try:
            with quiet():
                part = np.asarray(eval(compiled_expression(f"{name}[{key}]"), self.scope))
        except Exception:
            part = x
        value = self.beside(part.shape, x.dtype, inplace=True)
        if part.ndim == 0 and x.dtype == bool:
            value = "True"  # NumPy takes the truth of anything
        elif part.ndim == 0 and name[0] == "e":
            value = self.literal(x.dtype)
        if any(np.shares_memory(self.scope[word], x) for word in WORD.findall(value)):
            value += ".copy()"  # NumPy reads what a mask has just written
        if r.random() < 0.4:
            return self.emit(f"{name}[{key}] = {value}")
        op = self.inplace_op(name, value)
        return self.emit(f"{name}[{key}] {op}= {value}")

    def inplace_op(self, name: str, value: str) -> str:
        kind = self.kind(name, value)
        ops = {"b": "&|^", "i": "+-*+-*&|", "u": "+-*+-*&|", "f": "+-*+-*/", "c": "+-"}[kind]
        return self.rng.choice(ops)

    def update(self) -> bool:
        name = self.pick()
        if name is None:
            return self.create()
        x, r = self.scope[name], self.rng
        which = r.random()
        if which < 0.6 or not isinstance(x, np.ndarray):
            value = self.beside(x.shape, x.dtype, inplace=True)
            return self.emit(f"{name} {self.inplace_op(name, value)}= {value}")
        if which < 0.8 and name[0] == "a":
            value = self.beside(x.shape, x.dtype, inplace=True)
            if self.kind(name, value) == "c":
                return self.emit(f"xp.add({value}, {name}, out={name})")
            function = r.choice(["add", "subtract", "multiply"])
            source = self.pick(lambda y: y.shape == x.shape) or name
            if self.scope[source].dtype.kind == "c":
                function = "add"
            return self.emit(f"xp.{function}({source}, {value}, out={name})")
        # what is written overlaps what is read
        if not x.ndim:
            return self.emit(f"{name}[...] = {name}")
        return self.emit(r.choice([
            f"{name}[1:] = {name}[:-1]", f"{name}[1:] += {name}[:-1]", f"{name}[:-1] = {name}[1:]",
            f"{name}[::-1] = {name}", f"{name}[...] = {name}[::-1]", f"{name}[:] = {name}[:1]",
            f"{name} -= {name}[:1]", f"{name} += {name}[::-1]", f"{name}.T[...] = {name}.T[::-1]",
        ]))  # fmt: skip

    def observe(self) -> bool:
        name = self.pick()
        if name is None:
            return self.create()
        x = self.scope[name]
        options = [f"look({name})", f"look({name})", f"look({name}.tolist())",
            f"look(str({name}))", f"start({name})",
                   f"start({name})", f"look({name}.shape)"]  # fmt: skip
        if x.ndim:
            options.append(f"look(len({name}))")
        if x.size == 1:
            options.append(f"look(bool({name}))")
        return self.emit(self.rng.choice(options))

    def export(self) -> bool:
        name = self.pick()
        if name is None:
            return self.create()
        return self.emit(f"{self.name('e')} = np.asarray({name})")

    def delete(self) -> bool:
        found = [n for n in self.scope if n not in self.fixed]
        return self.emit(f"del {self.rng.choice(found)}") if len(found) > 3 else self.create()

    def rebind(self) -> bool:
        name, other = self.pick(), self.pick()
        if name is None or other is None:
            return self.create()
        if (name[0] == "e") != (other[0] == "e"):
            return True
        xp = "np" if name[0] == "e" else "xp"
        made = self.rng.choice(
            [other, f"{xp}.array({other})", f"{other}.copy()", f"{xp}.asarray({other})"]
        )
        return self.emit(f"{name} = {made}")


@cache
def compiled_expression(text: str) -> CodeType:
    """The code of an expression."""
    return compile(text, text, "eval")


STATEMENTS = (
    (Writer.create, 4), (Writer.view, 20), (Writer.compute, 18), (Writer.reduce, 7),
        (Writer.combine, 6),
    (Writer.assign, 18), (Writer.update, 14), (Writer.observe, 7), (Writer.export, 3),
        (Writer.delete, 5),
    (Writer.rebind, 2),
)  # fmt: skip


def write(seed: int) -> list[str]:
    """The program of a seed."""
    return Writer(seed).program()
