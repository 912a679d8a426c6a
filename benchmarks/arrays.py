"""Array programs in lazyarray and in its peers: NumPy, numexpr, PyTorch, JAX and MLX.

    python benchmarks/arrays.py
    python benchmarks/arrays.py --rows chain softmax --peers numpy torch.compile --quick
    python benchmarks/arrays.py --table-of-bits

The same data and program for all (`peers/programs.py`), in processes of their own that take turns,
so that a change of the machine's speed meets every one. A row prints for each the median time, the
first call (what it compiles included), how much memory grew at most, and last what ours is of the
best peer's beside the goal. The limit is bytes over the bandwidth or flops over the rate of a
product, both measured in the same run. Peers that are not installed are said to be absent.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.bits import table_of_bits
from peers.frameworks import OURS, PEERS, cores
from peers.limits import limits
from peers.programs import ROWS, Row

HERE = Path(__file__).parent
QUIET = 0.05  # seconds between turns: OpenBLAS's threads spin for 30 ms after a product
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


class Failed(Exception):
    """A child that ended."""


class Child:
    """A process that runs one row in one lane."""

    def __init__(self, lane: str, row: str, environment: dict[str, str]) -> None:
        self.lane = lane
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "peers.child", lane, row],
            cwd=HERE, env=environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        """What it says next."""
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            self.errors.seek(0)
            lines = self.errors.read().strip().splitlines()
            raise Failed(lines[-1] if lines else "ended")
        return json.loads(line)

    def ask(self, order: str) -> dict[str, Any]:
        """Let it do something, and wait."""
        self.process.stdin.write(order + "\n")  # type: ignore[union-attr]
        return self.answer()

    def close(self) -> None:
        """Let it end."""
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]
        self.errors.close()


@dataclass(slots=True)
class Found:
    """What was measured of one lane; times in seconds."""

    lane: str
    why: str | None = None  # nothing was measured
    first: float = 0.0
    rounds: list[list[float]] = field(default_factory=list)
    peak: float = 0.0

    @property
    def median(self) -> float:
        """Seconds of a run."""
        return statistics.median(t for turn in self.rounds for t in turn)

    @property
    def spread(self) -> tuple[float, float]:
        """The fastest and the slowest turn."""
        middles = [statistics.median(turn) for turn in self.rounds]
        return min(middles), max(middles)


# ---- measuring


def environment(caches: Path) -> dict[str, str]:
    """The environment of children, whose compilers shall know nothing from before."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        "LAZYARRAY_CACHE": str(caches / "lazyarray"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "torch"),
        "JAX_COMPILATION_CACHE_DIR": str(caches / "jax"),
    }


def measure(row: Row, lanes: list[str], rounds: int) -> list[Found]:
    """Run one row in all lanes, which take turns."""
    with tempfile.TemporaryDirectory(prefix="arrays-") as folder:
        variables = environment(Path(folder))
        found = {lane: Found(lane) for lane in lanes}
        if row.twice:
            for child in opened(row, found, variables).values():
                guarded(found[child.lane], child, ["first"] + ["turn"] * rounds)
                child.close()
        children = opened(row, found, variables)
        for lane, child in children.items():
            guarded(found[lane], child, ["first"] if row.fresh else ["first", "settle"])
        for each in found.values():
            each.rounds.clear()
        for _ in range(rounds):
            for lane, child in children.items():
                time.sleep(QUIET)
                guarded(found[lane], child, ["turn"])
        for lane, child in children.items():
            guarded(found[lane], child, ["peak"])
            child.close()
        return list(found.values())


def opened(row: Row, found: dict[str, Found], variables: dict[str, str]) -> dict[str, Child]:
    """A child for each lane that has the row's program, one after the other."""
    children = {}
    for lane, each in found.items():
        if each.why is not None:
            continue
        child = Child(lane, row.name, variables)
        try:
            each.why = child.answer().get("absent")
        except Failed as error:
            each.why = f"failed: {error}"
        if each.why is None:
            children[lane] = child
        else:
            child.close()
    return children


def guarded(found: Found, child: Child, orders: list[str]) -> None:
    """Let a child do several things, unless it has failed."""
    for order in orders:
        if found.why is not None:
            return
        try:
            answer = child.ask(order)
        except (Failed, BrokenPipeError) as error:
            found.why = f"failed: {error}"
            return
        found.first = answer.get("first", found.first)
        found.peak = answer.get("peak", found.peak)
        if "times" in answer:
            found.rounds.append(answer["times"])


# ---- printing


def text_of(seconds: float, unit: str | None = None) -> str:
    """A time with three digits."""
    if unit is None:
        unit = next((u for u in ("s", "ms", "us") if seconds * UNITS[u] >= 1), "ns")
    value = seconds * UNITS[unit]
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


def limit_of(row: Row, rates: dict[str, float]) -> tuple[float, str]:
    """The least seconds that a run can take, and why."""
    return max(
        (row.bytes / rates["bytes"], "memory"), (row.flops * row.calls / rates["flops"], "products")
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a row came to."""

    row: Row
    ours: float | None  # seconds of one call
    best: str | None  # the lane it is compared with
    theirs: float | None

    @property
    def value(self) -> float | None:
        """The figure that stands beside the goal."""
        if self.ours is None:
            return None
        if self.row.unit:
            return self.ours * UNITS[self.row.unit]
        return self.ours / self.theirs if self.theirs else None

    def text(self) -> str:
        """The figure, the goal, and whether it was reached."""
        row, value = self.row, self.value
        if value is None:
            return "not measured"
        if row.unit:
            shown, goal = f"{value:.3g} {row.unit}", f"{row.goal:g} {row.unit}"
        else:
            shown, goal = f"{value:.3g} of {self.best}", f"{row.goal}"
        if row.goal is None:
            return f"{shown} (no goal)"
        stretch = f", stretch {row.stretch}" if row.stretch else ""
        return f"{shown}; goal {goal}{stretch}: {'met' if value <= row.goal else 'NOT MET'}"


def judged(row: Row, found: list[Found]) -> Verdict:
    """Ours beside the best peer's, or beside the one that the goal names."""
    seconds = {f.lane: f.median / row.calls for f in found if f.why is None}
    peers = {lane: s for lane, s in seconds.items() if lane not in OURS}
    if row.against is not None:
        peers = {lane: s for lane, s in peers.items() if lane == row.against}
    best = min(peers, key=lambda lane: peers[lane], default=None)
    return Verdict(row, seconds.get(row.ours), best, peers[best] if best else None)


def report(row: Row, found: list[Found], rates: dict[str, float]) -> Verdict:
    """Print one row."""
    least, why = limit_of(row, rates)
    head = f"{row.name}: {row.title}"
    print(head + (f" (limit {text_of(least / row.calls)}, {why})" if least else ""))
    for each in found:
        if each.why is not None:
            print(f"    {each.lane:15} {each.why}")
            continue
        low, high = (text_of(t / row.calls) for t in each.spread)
        print(
            f"    {each.lane:15} {text_of(each.median / row.calls):>9}   {low:>9} to {high:<9}   "
            f"first call {text_of(each.first):>9}   memory +{each.peak / 1e6:,.0f} MB"
        )
    verdict = judged(row, found)
    print(f"    ours: {verdict.text()}\n", flush=True)
    return verdict


def summary(verdicts: list[Verdict]) -> None:
    """Print the table."""
    print("| work | ours | peer | ours / peer | goal |\n|---|---|---|---|---|")
    for v in verdicts:
        ours = "-" if v.ours is None else text_of(v.ours)
        peer = "-" if v.best is None or v.theirs is None else f"{v.best} {text_of(v.theirs)}"
        ratio = f"{v.ours / v.theirs:.2f}" if v.ours and v.theirs else "-"
        goal = f"{v.row.goal or '-'}{' ' + v.row.unit if v.row.unit else ''}"
        if v.row.goal is not None and (v.value is None or v.value > v.row.goal):
            goal += " (not met)"
        print(f"| {v.row.title} | {ours} | {peer} | {ratio} | {goal} |")


# ---- the command


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS), metavar="ROW",
                        help=", ".join(ROWS))  # fmt: skip
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), metavar="PEER",
                        help=", ".join(PEERS))  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7, help="turns of each lane")
    parser.add_argument("--quick", action="store_true", help="two turns of each lane")
    parser.add_argument("--json", type=Path, help="a file to leave all figures in")
    parser.add_argument(
        "--table-of-bits", action="store_true",
        help="hashes of every program's result, however lazyarray runs it",
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = arguments()
    if args.table_of_bits:
        raise SystemExit(table_of_bits(args.rows, environment))
    print(f"{cores()} cores, load {os.getloadavg()[0]:.1f} before\n")
    verdicts, figures = [], {}
    rates = {"bytes": 0.0, "flops": 0.0}
    for name in args.rows:
        row = ROWS[name]
        rates = {what: max(rate, rates[what]) for what, rate in limits().items()}
        lanes = [lane for lane in row.lanes if lane in OURS or lane in args.peers]
        found = measure(row, lanes, 2 if args.quick else args.rounds)
        verdicts.append(report(row, found, rates))
        figures[name] = {
            f.lane: {"why": f.why, "first": f.first, "rounds": f.rounds, "peak": f.peak}
            for f in found
        }
        if args.json:
            args.json.write_text(json.dumps({"rates": rates, "rows": figures}, indent=1))
    summary(verdicts)
    print(f"\n{rates['bytes'] / 1e9:.1f} GB/s, {rates['flops'] / 1e9:.0f} GF/s in float32 products")


if __name__ == "__main__":
    main()
