"""Every program's bits, however lazyarray runs it: engine, workers, tier, jit."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from .programs import ROWS, Row

WAYS: dict[str, dict[str, str]] = {
    "tier 0": {"LAZYARRAY_TIER": "0"},
    "tier 1": {"LAZYARRAY_TIER": "1"},
    "tiers": {"LAZYARRAY_TIER": "auto"},
    "naive": {"LAZYARRAY_ENGINE": "naive", "LAZYARRAY_TIER": "0"},
    "1 worker": {"LAZYARRAY_WORKERS": "1"},
    "2 workers": {"LAZYARRAY_WORKERS": "2"},
    "8 workers": {"LAZYARRAY_WORKERS": "8"},
    "jit": {},
}


def digest(row: Row, way: str, environment: dict[str, str]) -> str:
    """The hash of a program's result in a process of its own, or why there is none."""
    lane = "lazyarray.jit" if way == "jit" else "lazyarray"
    done = subprocess.run(
        [sys.executable, "-m", "peers.child", lane, row.name],
        input="digest\n", capture_output=True, text=True, check=False,
        cwd=Path(__file__).parent.parent, env={**environment, **WAYS[way]},
    )  # fmt: skip
    said = [json.loads(line) for line in done.stdout.splitlines()]
    if len(said) == 2:
        return said[1]["digest"][:10]
    if said and "absent" in said[0]:
        return "absent"
    return (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]


def table_of_bits(rows: list[str], environment: Callable[[Path], dict[str, str]]) -> int:
    """Print the table; 1 where two ways differ."""
    differ = 0
    print(f"{'':13}" + "".join(f"{way:>12}" for way in WAYS))
    with tempfile.TemporaryDirectory(prefix="bits-") as folder:
        for name in rows:
            row = ROWS[name]
            if row.unit or name == "unseen_again":  # they time themselves; the same program again
                continue
            found = [digest(row, way, environment(Path(folder))) for way in WAYS]
            equal = len(set(found) - {"absent"}) == 1
            differ += not equal
            print(
                f"{name:13}"
                + "".join(f"{x[:11]:>12}" for x in found)
                + ("" if equal else "   DIFFER")
            )
            for way, text in zip(WAYS, found, strict=True):
                if " " in text:
                    print(f"{'':13}{way}: {text}")
    print("all equal" if not differ else f"{differ} rows differ")
    return int(differ > 0)
