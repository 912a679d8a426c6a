"""The text of kernels that reduce an axis before others; see cuda.py."""

from __future__ import annotations

from .emit_cuda_folds import LANES, Fold
from .emit_cuda_rows import Writer


class Columns(Writer):
    """A kernel that reduces an axis before others: threads lie side by side across results."""

    def most_threads(self) -> int:
        """The largest block."""
        return {1: 128, 32: 256, 16: 16 * 31, 8: 256}[self.work.threads]

    def flat_index(self, index: str) -> str:
        """The flat index of an element."""
        return f"(((int64_t)before * p.n[1] + (int64_t)({index})) * p.n[2] + (int64_t)behind)"

    def body(self) -> None:
        """Tiles of lines, one after the other."""
        work, text = self.work, self.text
        across = {1: 128}.get(work.threads, LANES)
        text.add(f"constexpr int Y = {work.threads}, L = {LANES // work.threads}, U = {work.run};")
        text.add("const int x = threadIdx.x, y = threadIdx.y;")
        if work.threads > 1:
            for number, fold in enumerate(self.folds):
                text.add(f"__shared__ {fold.accumulator} s{number}[2][Y][{across}];")
        text.add("const int64_t lines = p.n[0] * p.n[2];")
        parts = f" * p.n[{self.parts}]" if work.parts else ""
        text.add(f"const int64_t units = (lines + blockDim.x - 1) / blockDim.x{parts};")
        text.open("for (int64_t unit = blockIdx.x; unit < units; unit += gridDim.x)")
        tile = f"unit / p.n[{self.parts}]" if work.parts else "unit"
        text.add(f"const int64_t line = {tile} * blockDim.x + x;")
        text.add("const bool live = line < lines;")
        text.add("const Index own = live ? (Index)line : 0;")
        text.add("const Index before = quotient(own, p.d[0]);")
        text.add("const Index behind = own - before * (Index)extent_of(p.d[0]);")
        if work.parts:
            text.add(f"const Index begin = (Index)(unit % p.n[{self.parts}] * p.n[{self.length}]);")
            text.add(f"const Index end = p.n[1] - begin < p.n[{self.length}] ? (Index)p.n[1] "
                     f": begin + (Index)p.n[{self.length}];")  # fmt: skip
        else:
            text.add("const Index begin = 0, end = (Index)p.n[1];")
        self.bases([(0, "before"), (2, "behind")])
        self.load_lines("live", "own")
        for phase in range(self.phases.last + 1):
            self.lines(phase)
            self.phase_of(phase)
        if work.parts:
            text.open("if (live && y == 0)")
            for number, fold in enumerate(self.folds):
                place = f"p.at[{work.arguments}] + p.n[{self.scratch + number}]"
                index = f"line * p.n[{self.parts}] + unit % p.n[{self.parts}]"
                text.add(f"(({fold.accumulator}*)({place}))[{index}] = t{number};")
            text.close()
        else:
            self.lines(self.phases.last + 1)
            self.store_lines("live && y == 0", "own")
        text.close()

    def phase_of(self, phase: int) -> None:
        """Elements of a phase, and the reductions of these."""
        text, work = self.text, self.work
        folds = self.reduced(phase)
        if not folds and not self.phases.elements(phase, held=False):
            return
        for fold in folds:
            number = self.folds.index(fold)
            text.add(f"{fold.accumulator} t{number}{{}};")
            if work.rounds:
                text.add(f"Counter<{fold.join}, {fold.accumulator}> c{number};")
        if folds and work.threads > 1:
            text.add(f"int turn{phase} = 0;", "__syncthreads();")
        text.open("for (Index start = begin; start < end; start += 1024)")
        text.add("const Index n = end - start < 1024 ? end - start : 1024;")
        for fold in folds:
            text.add(f"{fold.accumulator} f{self.folds.index(fold)}[L];")
        # A run is some of a thread's lanes in a row of lanes, or all of them in several rows.
        lanes = LANES // work.threads
        runs, rows = max(lanes // work.run, 1), max(work.run // lanes, 1)
        text.open(f"for (Index i = 0; i * 32 < n; i += {rows})")
        if runs > 1:
            text.add("#pragma unroll")
            text.open(f"for (int run = 0; run < {runs}; run++)")
        lane = "(run * U + u)" if runs > 1 else "(u % L)"
        row = "(i + u / L)" if rows > 1 else "i"
        place = f"start + {row} * 32 + {lane} * Y + y"
        self.run_elements(phase, place, "live && j < start + n", f"{row} == 0", f"f{{}}[{lane}]")
        if runs > 1:
            text.close()
        text.close()
        if folds:
            self.fold_lanes(phase, folds)
        text.close()
        for fold in folds:
            number = self.folds.index(fold)
            several = self.phases.last > phase and work.threads > 1
            if work.rounds:
                text.add(f"if (y == 0) t{number} = c{number}.total();")
            if several:
                text.add("__syncthreads();", f"if (y == 0) s{number}[0][0][x] = t{number};")
                text.add("__syncthreads();", f"t{number} = s{number}[0][0][x];")
            if not work.parts:
                self.total(fold)

    def fold_lanes(self, phase: int, folds: list[Fold]) -> None:
        """The lanes of a block: first those of a thread, then those of different ones."""
        text, work = self.text, self.work
        text.add("const int used = n < 32 ? (int)n : 32;")
        for fold in folds:
            number = self.folds.index(fold)
            text.add("#pragma unroll")
            text.open("for (int h = L / 2; h; h /= 2)")
            text.add("#pragma unroll")
            text.open("for (int k = 0; k < h; k++)")
            text.add(f"if ((k + h) * Y + y < used) f{number}[k] = "
                     f"{fold.join}::join(f{number}[k], f{number}[k + h]);")  # fmt: skip
            text.close()
            text.close()
        if work.threads > 1:
            for fold in folds:
                number = self.folds.index(fold)
                text.add(f"s{number}[turn{phase}][y][x] = f{number}[0];")
            text.add("__syncthreads();")
        text.open("if (y == 0)")
        for fold in folds:
            number = self.folds.index(fold)
            text.open("")
            if work.threads > 1:
                text.add(f"{fold.accumulator} part[Y];", "#pragma unroll")
                text.add(f"for (int k = 0; k < Y; k++) part[k] = s{number}[turn{phase}][k][x];")
                text.add("#pragma unroll")
                text.open("for (int h = Y / 2; h; h /= 2)")
                text.add("#pragma unroll")
                text.open("for (int k = 0; k < h; k++)")
                text.add(f"if (k + h < used) part[k] = {fold.join}::join(part[k], part[k + h]);")
                text.close()
                text.close()
                found = "part[0]"
            else:
                found = f"f{number}[0]"
            text.add(f"c{number}.push({found});" if work.rounds else f"t{number} = {found};")
            text.close()
        text.close()
        if work.threads > 1:
            text.add(f"turn{phase} ^= 1;")
