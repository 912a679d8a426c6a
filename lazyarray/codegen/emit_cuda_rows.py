"""The text of kernels that reduce rows, and of what joins parts of lines; see cuda.py."""

from __future__ import annotations

from collections.abc import Sequence

from .emit_cuda_folds import (
    HEADER,
    LANES,
    SAME,
    UNIT,
    Element,
    Fold,
    Line,
    Phases,
    Shaped,
    conversions,
    folds_of,
    held_values,
)
from .emit_cuda_program import FLAT, INDEX, STRIDED, UNIFORM, functions_of, named, title
from .emit_cuda_scalars import cuda_type, device_function, stored_type
from .emit_cuda_source import THREADS, Kernel, Text


class Writer:
    """What kernels have in common: parameters, operands, statements."""

    suffix = ""

    def __init__(self, work: Shaped) -> None:
        self.work = work
        self.count = len(work.inputs)
        self.name = named(work.works, work) + self.suffix
        self.phases = Phases(work.inputs, work.works, [value for value, _ in work.outputs])
        folds = folds_of(work.works, self.count)
        assert folds is not None
        self.folds = folds
        self.held = set(held_values(self.phases)) if work.held else set()
        self.text = Text()
        self.names: dict[int, str] = {}  # of values that hold for the whole line, or are kept
        self.index = "int64_t" if work.wide else "int32_t"  # signed: offsets are folded
        self.lay_out()

    def lay_out(self) -> None:
        """Find each operand's numbers among the parameters."""
        work = self.work
        number, divisor = 3, int(work.form == "columns")
        self.divisors = []
        for rank in work.ranks:
            self.divisors.append(divisor)
            divisor += max(rank - 1, 0)
        self.numbers: list[list[int]] = []  # by entry: where its strides begin, by group of axes
        self.line_divisors: list[int] = []
        for form in (*work.inputs, *(form for _, form in work.outputs)):
            starts = []
            self.line_divisors.append(divisor)
            if isinstance(form, Line):
                starts = [number]
                number += form.rank
                divisor += max(form.rank - 1, 0)
            elif form.form == STRIDED:
                for rank in work.ranks:
                    starts.append(number)
                    number += rank
            self.numbers.append(starts)
        self.length, self.parts, self.scratch = number, number + 1, number + 2
        self.count_numbers = number + 2 + (len(self.folds) if work.parts else 0)
        self.count_divisors = divisor

    def kernel(self) -> Kernel:
        """The kernel."""
        work, text = self.work, self.text
        functions = functions_of([w for w in work.works if not w.fold]) or []
        functions = [*functions, *conversions(work.works)]
        text.add(f"// {title(work)}")
        fields = f"char* at[{work.arguments + work.parts}]; la::int64_t n[{self.count_numbers}];"
        if self.count_divisors:
            kind = "int64_t" if work.wide else "Divisor"
            fields += f" la::{kind} d[{self.count_divisors}];"
        text.add(f"struct {self.name}_parameters {{ {fields} }};")
        text.open(
            f'extern "C" __global__ void __launch_bounds__({self.most_threads()})\n'
            f"{self.name}(const __grid_constant__ {self.name}_parameters p)"
        )
        text.add("using namespace la;", f"typedef {self.index} Index;")
        self.body()
        text.close()
        return Kernel(self.name, str(text), tuple(functions), ("cuda_numbers.hpp", HEADER))

    def most_threads(self) -> int:
        """The largest block."""
        return THREADS

    def body(self) -> None:
        """The statements of the kernel."""
        raise NotImplementedError

    # ---- operands

    def offset(self, index: str, strides: int, rank: int, divisors: int) -> str:
        """The byte offset of an element; adds statements where its axes are several."""
        if rank == 0:
            return "0"
        if rank == 1:
            return f"(int64_t)({index}) * p.n[{strides}]"
        text = self.text
        text.add(f"Index rest = {index};", "int64_t offset = 0;")
        for axis in range(rank - 1, 0, -1):
            by = f"p.d[{divisors + axis - 1}]"
            text.open("")
            text.add(f"const Index q = quotient(rest, {by});")
            text.add(
                f"offset += (int64_t)(rest - q * (Index)extent_of({by})) * p.n[{strides + axis}];"
            )
            text.add("rest = q;")
            text.close()
        text.add(f"offset += (int64_t)rest * p.n[{strides}];")
        return "offset"

    def base(self, entry: int, form: Element, groups: Sequence[tuple[int, str]]) -> None:
        """Declare an operand's address for a line."""
        text = self.text
        text.add(f"char* a{entry} = p.at[{form.argument}];")
        for group, index in groups:
            rank = self.work.ranks[group]
            if rank == 0:
                continue
            text.open("")
            found = self.offset(index, self.numbers[entry][group], rank, self.divisors[group])
            text.add(f"a{entry} += {found};")
            text.close()

    def bases(self, groups: Sequence[tuple[int, str]]) -> None:
        """Declare the addresses of all operands of elements for a line."""
        forms = [*self.work.inputs, *(form for _, form in self.work.outputs)]
        for entry, form in enumerate(forms):
            if isinstance(form, Element) and form.form == STRIDED:
                self.base(entry, form, groups)

    def element(self, entry: int, form: Element, index: str) -> str:
        """An element of a line; adds statements where its axes are several."""
        kind, rank = stored_type(form.kind), self.work.ranks[1]
        if self.work.form == "rows" and form.run == UNIT:
            return f"(({kind}*)a{entry})[{index}]"
        if rank == 0 or (self.work.form == "rows" and form.run == SAME):
            return f"*({kind}*)a{entry}"
        found = self.offset(index, self.numbers[entry][1], rank, self.divisors[1])
        return f"*({kind}*)(a{entry} + {found})"

    def line(self, entry: int, form: Line, index: str) -> str:
        """A value of a line."""
        kind = stored_type(form.kind)
        if form.form == FLAT:
            return f"(({kind}*)p.at[{form.argument}])[{index}]"
        if form.form == UNIFORM:
            return f"*({kind}*)p.at[{form.argument}]"
        first = self.numbers[entry][0]
        found = self.offset(index, first, form.rank, self.line_divisors[entry])
        return f"*({kind}*)(p.at[{form.argument}] + {found})"

    def load_lines(self, live: str, index: str) -> None:
        """Load the inputs that lines have."""
        for entry, form in enumerate(self.work.inputs):
            if not isinstance(form, Line):
                continue
            if form.form == INDEX:
                self.names[entry] = f"(int64_t)({index})"
                continue
            kind = stored_type(form.kind)
            self.text.add(f"{kind} w{entry}{{}};")
            self.text.open(f"if ({live})")
            self.text.add(f"w{entry} = {self.line(entry, form, index)};")
            self.text.close()
            self.names[entry] = self.read(f"w{entry}", form.kind)

    def store_lines(self, condition: str, index: str) -> None:
        """Store what is known of a line."""
        found = [(n, v, f) for n, (v, f) in enumerate(self.work.outputs) if isinstance(f, Line)]
        if not found:
            return
        self.text.open(f"if ({condition})")
        for number, value, form in found:
            self.text.open("")
            target = self.line(self.count + number, form, index)
            self.text.add(f"{target} = {self.names[value]};")
            self.text.close()
        self.text.close()

    @staticmethod
    def read(name: str, kind: str) -> str:
        """A value as it was loaded."""
        return f"({name} != 0)" if kind == "bool" else name

    # ---- statements

    def statement(self, value: int, names: dict[int, str]) -> None:
        """One statement; its value gets a name."""
        work = self.phases.work(value)
        assert work is not None
        kind = cuda_type(work.statement.types[-1])
        function = device_function(work.statement.name, work.statement.types)
        assert function is not None
        given = ", ".join(names[a] for a in work.statement.args)
        names[value] = f"{'w' if work.line else 'v'}{value}"
        self.text.add(f"const {kind} {names[value]} = {function.name}({given});")

    def lines(self, phase: int) -> None:
        """The statements of lines that wait for the reductions before a phase."""
        for number, work in enumerate(self.work.works, self.count):
            if work.line and not work.fold and self.phases.phase[number] == phase:
                self.statement(number, self.names)

    def reduced(self, phase: int) -> list[Fold]:
        """The reductions of a phase."""
        return [f for f in self.folds if self.phases.phase[self.count + f.work] == phase + 1]

    def total(self, fold: Fold) -> None:
        """Name a reduction's result, its total being `t` and its number."""
        number, value = self.folds.index(fold), self.count + fold.work
        text = f"t{number}"
        if fold.join.startswith("Position"):
            text += ".index"
        else:
            text = f"({text} != 0)" if fold.via == "bool" else f"({cuda_type(fold.via)}){text}"
            if fold.convert:
                text = f"{fold.convert}({text})"
        self.names[value] = f"w{value}"
        self.text.add(f"const {cuda_type(fold.result)} w{value} = {text};")

    def term(self, fold: Fold, names: dict[int, str], index: str) -> str:
        """What an element adds to a reduction."""
        value = names[fold.value]
        if fold.join.startswith("Position"):
            if fold.via == "bool":
                value = f"(uint8_t){value}"
            return f"{fold.accumulator}{{{value}, (int64_t)({index})}}"
        same = fold.accumulator == cuda_type(fold.via)
        return value if same else f"({fold.accumulator}){value}"

    def run_elements(
        self, phase: int, place: str, condition: str, first: str, accumulator: str
    ) -> None:
        """Load, compute, join and store a run of elements.

        `place` is the index in a line of element `u`, which exists where `condition` holds; it is
        the first that `accumulator` meets where `first` does.
        """
        text, work = self.text, self.work
        folds = self.reduced(phase)
        wanted = self.phases.elements(phase, bool(work.held))
        known = {v for v in self.held if v in self.names}
        values = self.phases.closure(wanted, known)
        inputs = [v for v in values if v < self.count]
        loaded = []
        for entry in inputs:
            form = work.inputs[entry]
            assert isinstance(form, Element)
            if form.form != INDEX:
                loaded.append((entry, form))
                if entry not in self.held:
                    text.add(f"{stored_type(form.kind)} x{entry}[U];")
        if loaded:
            text.add("#pragma unroll")
            text.open("for (int u = 0; u < U; u++)")
            text.add(f"const Index j = {place};")
            for entry, form in loaded:
                text.add(f"x{entry}[u] = {stored_type(form.kind)}{{}};")
                text.open(f"if ({condition})")
                text.add(f"x{entry}[u] = {self.element(entry, form, 'j')};")
                text.close()
            text.close()
        text.add("#pragma unroll")
        text.open("for (int u = 0; u < U; u++)")
        text.add(f"const Index j = {place};")
        text.open(f"if ({condition})")
        names = dict(self.names)
        for entry in inputs:
            form = work.inputs[entry]
            assert isinstance(form, Element)
            names[entry] = self.read(f"x{entry}[u]", form.kind)
            if form.form == INDEX:
                names[entry] = self.flat_index("j")
        for value in values:
            if value >= self.count:
                self.statement(value, names)
                if value in self.held:
                    text.add(f"h{value}[u] = {names[value]};")
        for fold in folds:
            number = self.folds.index(fold)
            into = accumulator.format(number)
            joined = f"{fold.join}::join({into}, {self.term(fold, names, 'j')})"
            text.add(f"{into} = {first} ? {self.term(fold, names, 'j')} : {joined};")
        for number, (value, form) in enumerate(work.outputs):
            if isinstance(form, Element) and value in wanted:
                at = self.phases.phase[value] if work.held else self.phases.last
                if at == phase:
                    text.open("")
                    target = self.element(self.count + number, form, "j")
                    text.add(f"{target} = {names[value]};")
                    text.close()
        text.close()
        text.close()
        for value in values:
            index = value < self.count and work.inputs[value].form == INDEX
            if value in self.held and not index:
                kind = self.work.kind_of(value)
                kept = f"x{value}[u]" if value < self.count else f"h{value}[u]"
                self.names[value] = self.read(kept, kind) if value < self.count else kept

    def flat_index(self, index: str) -> str:
        """The flat index of an element."""
        raise NotImplementedError

    def declare_held(self) -> None:
        """Declare what a thread keeps of its elements."""
        for value in sorted(self.held):
            kind = self.work.kind_of(value)
            form = self.work.inputs[value] if value < self.count else None
            if form is not None and form.form == INDEX:
                continue
            own = stored_type(kind) if form is not None else cuda_type(kind)
            self.text.add(f"{own} {'x' if form is not None else 'h'}{value}[U];")


class Rows(Writer):
    """A kernel that reduces the last axis: `threads` take a line."""

    def most_threads(self) -> int:
        """The largest block."""
        return max(self.work.threads, THREADS)

    def flat_index(self, index: str) -> str:
        """The flat index of an element."""
        return f"((int64_t)row * p.n[1] + (int64_t)({index}))"

    def body(self) -> None:
        """Lines, one after the other."""
        work, text = self.work, self.text
        warps = work.threads // LANES if work.threads > LANES else 0
        text.add(f"constexpr int U = {work.run}, G = {min(work.threads, LANES)};")
        text.add("const int lane = threadIdx.x % G;")
        if warps:
            text.add(f"constexpr int W = {warps};", "const int warp = threadIdx.x / 32;")
            for number, fold in enumerate(self.folds):
                text.add(f"__shared__ {fold.accumulator} s{number}[32];")
        units = "p.n[0]" + (f" * p.n[{self.parts}]" if work.parts else "")
        each = "1" if warps else f"{THREADS} / G"
        text.add(f"const int64_t units = {units};")
        text.open(
            f"for (int64_t unit = (int64_t)blockIdx.x * ({each}); unit < units; "
            f"unit += (int64_t)gridDim.x * ({each}))"
        )
        if warps:
            part = f"unit / p.n[{self.parts}]" if work.parts else "unit"
            text.add("const bool live = true;", f"const Index row = (Index)({part});")
        else:
            text.add("const bool live = unit + threadIdx.x / G < units;")
            text.add("const Index row = live ? (Index)(unit + threadIdx.x / G) : 0;")
        if work.parts:
            text.add(f"const Index begin = (Index)(unit % p.n[{self.parts}] * p.n[{self.length}]);")
            text.add(f"const Index end = p.n[1] - begin < p.n[{self.length}] ? (Index)p.n[1] "
                     f": begin + (Index)p.n[{self.length}];")  # fmt: skip
        else:
            text.add("const Index begin = 0, end = (Index)p.n[1];")
        self.bases([(0, "row")])
        self.load_lines("live", "row")
        self.declare_held()
        for phase in range(self.phases.last + 1):
            self.lines(phase)
            self.phase_of(phase, warps)
        if work.parts:
            self.store_parts()
        else:
            self.lines(self.phases.last + 1)
            here = "live && threadIdx.x == 0" if warps else "live && lane == 0"
            self.store_lines(here, "row")
        if warps:
            text.add("__syncthreads();")
        text.close()

    def phase_of(self, phase: int, warps: int) -> None:
        """Elements of a phase, and the reductions of these."""
        text, work = self.text, self.work
        folds = self.reduced(phase)
        if not folds and not self.phases.elements(phase, bool(work.held)):
            return
        for fold in folds:
            number = self.folds.index(fold)
            name = "c" if work.rounds else "f"
            if work.rounds:
                text.add(f"Counter<{fold.join}, {fold.accumulator}> {name}{number};")
            else:
                text.add(f"{fold.accumulator} f{number}{{}};")
        if warps and work.rounds:
            text.open("for (Index start = begin; start < end; start += W * 1024)")
            for fold in folds:
                text.add(f"{fold.accumulator} f{self.folds.index(fold)}{{}};")
        elif warps:
            text.open("")
            text.add("const Index start = begin;")
        else:
            text.open("")
        if warps:
            text.add("const Index from = start + warp * 1024;")
            text.add("const Index n = from < end ? (end - from < 1024 ? end - from : 1024) : 0;")
        else:
            text.add("const Index from = begin, n = end - begin;")
        if work.held:
            self.run_elements(phase, "from + lane + G * u", "live && j < from + n", "u == 0", "f{}")
        else:
            text.open("for (Index i = 0; i * G < n; i += U)")
            place = "from + lane + G * (i + u)"
            self.run_elements(phase, place, "live && j < from + n", "i + u == 0", "f{}")
            text.close()
        if warps:
            self.join_warps(folds)
            text.close()
            self.total_of_warps(folds)
        else:
            text.close()
            if folds:
                text.add(f"const int used{phase} = p.n[1] < G ? (int)p.n[1] : G;")
            for fold in folds:
                number = self.folds.index(fold)
                folded = f"fold_lanes<{fold.join}, G>(f{number}, lane, used{phase})"
                text.add(f"const {fold.accumulator} t{number} = from_first({folded}, G);")
                self.total(fold)

    def join_warps(self, folds: list[Fold]) -> None:
        """Blocks of the tree to what they have in common."""
        text = self.text
        if not folds:
            return
        text.add("const int used = n < 32 ? (int)n : 32;")
        for fold in folds:
            number = self.folds.index(fold)
            text.open("")
            text.add(
                f"const {fold.accumulator} t = fold_lanes<{fold.join}, G>(f{number}, lane, used);"
            )
            text.add(f"if (lane == 0) s{number}[warp] = t;")
            text.close()
        if not self.work.rounds:
            return
        text.add("__syncthreads();")
        text.open("if (warp == 0)")
        text.add("const Index blocks = (end - start + 1023) / 1024;")
        text.add("const int count = blocks < W ? (int)blocks : W;")
        for fold in folds:
            number = self.folds.index(fold)
            text.open("")
            text.add(f"{fold.accumulator} t{{}};", f"if (lane < W) t = s{number}[lane];")
            text.add(f"t = fold_neighbours<{fold.join}>(t, lane, count);")
            text.add(f"if (lane == 0) c{number}.push(t);")
            text.close()
        text.close()
        text.add("__syncthreads();")

    def total_of_warps(self, folds: list[Fold]) -> None:
        """The totals, known to all threads."""
        text = self.text
        if not folds:
            return
        if self.work.rounds:
            text.open("if (threadIdx.x == 0)")
            for fold in folds:
                number = self.folds.index(fold)
                text.add(f"s{number}[0] = c{number}.total();")
            text.close()
            text.add("__syncthreads();")
        else:
            text.add("__syncthreads();")
        for fold in folds:
            number = self.folds.index(fold)
            if self.work.rounds:
                text.add(f"const {fold.accumulator} t{number} = s{number}[0];")
            else:
                text.add(f"{fold.accumulator} t{number}{{}};")
                text.add(f"if (lane < W) t{number} = s{number}[lane];")
                text.add(
                    f"t{number} = from_first(fold_neighbours<{fold.join}>(t{number}, lane, "
                    f"(int)((end - begin + 1023) / 1024)), 32);"
                )
            if not self.work.parts:
                self.total(fold)

    def store_parts(self) -> None:
        """Leave the parts' totals in the scratch memory."""
        text = self.text
        text.open("if (threadIdx.x == 0)")
        for number, fold in enumerate(self.folds):
            place = f"p.at[{self.work.arguments}] + p.n[{self.scratch + number}]"
            text.add(f"(({fold.accumulator}*)({place}))[unit] = t{number};")
        text.close()


class Parts(Writer):
    """The kernel that joins the parts of lines, a warp for each, and computes what follows."""

    suffix = "_parts"

    def body(self) -> None:
        """Lines, one after the other."""
        text, work = self.text, self.work
        text.add("const int lane = threadIdx.x % 32;", "const int64_t lines = p.n[0] * p.n[2];")
        text.open(
            f"for (int64_t line = (int64_t)blockIdx.x * {THREADS // LANES} + threadIdx.x / 32; "
            f"line < lines; line += (int64_t)gridDim.x * {THREADS // LANES})"
        )
        text.add("const Index own = (Index)line;", f"const int64_t parts = p.n[{self.parts}];")
        self.load_lines("true", "own")
        for number, fold in enumerate(self.folds):
            place = f"p.at[{work.arguments}] + p.n[{self.scratch + number}]"
            kind = fold.accumulator
            text.add(f"const {kind}* s{number} = (const {kind}*)({place}) + line * parts;")
            text.add(f"{kind} t{number}{{}};")
            text.open("")
            text.add(f"Counter<{fold.join}, {kind}> counter;")
            text.open("for (int64_t c = 0; c < parts; c += 32)")
            text.add("const int count = parts - c < 32 ? (int)(parts - c) : 32;")
            text.add(f"{kind} x{{}};", f"if (lane < count) x = s{number}[c + lane];")
            text.add(f"x = fold_neighbours<{fold.join}>(x, lane, count);")
            text.add("if (lane == 0) counter.push(x);")
            text.close()
            text.add(f"if (lane == 0) t{number} = counter.total();")
            text.add(f"t{number} = from_first(t{number}, 32);")
            text.close()
            self.total(fold)
        for phase in range(self.phases.last + 2):
            self.lines(phase)
        self.store_lines("lane == 0", "own")
        text.close()
