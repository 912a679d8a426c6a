"""How long Python stands still while kernels are compiled and loaded in the background.

    python benchmarks/stalls.py
    python benchmarks/stalls.py --kernels 40

The main thread does nothing but look at the clock; two looks should be 100 ns apart. Each line is a
process of its own: one in which nothing else happens, one whose kernels the helper process compiles
(the cache on disk is empty), and one that finds them on disk. Its longest gaps are printed, those
apart in which the system gave the processor to somebody else (an involuntary switch of the thread):
on a busy machine only the others are ours. Milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 60.0  # that compiling may take
GAP = 50e-6  # seconds from which a gap is noted
LANES = {"idle": "0", "compile": "auto", "load": "auto"}


def watch(kernels: int, wanted: str) -> dict[str, object]:
    """Look at the clock until so many kernels are compiled or loaded."""
    import lazyarray as la

    x = la.arange(200_000.0) / 200_000
    x.wait()
    before = la.stats()
    for k in range(2 * kernels):  # each is hot when it has run twice
        y = x
        for bit in range(7):
            y = la.sin(y) + 1.0 if (k // 2 + 1) >> bit & 1 else la.cos(y) * 0.5
        y.wait()
    gaps = []
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    forced = usage.ru_nivcsw
    begin = last = time.perf_counter()
    until = begin + (1.0 if wanted == "idle" else SECONDS)
    looks = 0
    while last < until:
        now = time.perf_counter()
        looks += 1
        if now - last > GAP:
            switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
            gaps.append((now - last, switches > forced))
            forced = switches
            now = time.perf_counter()
        if looks % 65536 == 0 and wanted != "idle":
            after = la.stats()
            name = "compiled" if wanted == "compile" else "cache_hits"
            if after[name] - before[name] >= kernels:
                until = 0.0
            now = time.perf_counter()
        last = now
    return {
        "seconds": last - begin,
        "ours": sorted((gap for gap, other in gaps if not other), reverse=True)[:5],
        "others": sorted((gap for gap, other in gaps if other), reverse=True)[:5],
        "total": sum(gap for gap, other in gaps if not other),
        "swaps": la.stats()["swaps"] - before["swaps"],
    }


def main() -> None:
    """Print the gaps of each lane."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kernels", type=int, default=3, help="different kernels, up to 127")
    parser.add_argument("--watch", choices=LANES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        print(json.dumps(watch(options.kernels, options.watch)))
        return
    with tempfile.TemporaryDirectory(prefix="stalls-") as folder:
        for lane, tier in LANES.items():
            paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
            variables = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "LAZYARRAY_CACHE": folder,
                "LAZYARRAY_TIER": tier,
            }
            done = subprocess.run(
                [sys.executable, __file__, "--kernels", str(options.kernels), "--watch", lane],
                env=variables, capture_output=True, text=True, check=True,
            )  # fmt: skip
            found = json.loads(done.stdout)
            ours, others = (
                " ".join(f"{1e3 * gap:.2f}" for gap in found[name]) or "none"
                for name in ("ours", "others")
            )
            print(f"{lane:8} {found['seconds']:6.1f} s, {found['swaps']:.0f} kernels swapped in")
            print(f"         longest gaps {ours} (together {1e3 * found['total']:.1f})")
            print(f"         of which the system made {others}")


if __name__ == "__main__":
    main()
