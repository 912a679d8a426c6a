"""Programs under ThreadSanitizer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def compiler() -> str:
    """Return the compiler; without one the test is skipped."""
    found = shutil.which("g++")
    if found is None:
        pytest.skip("no g++")
    return found


def library() -> str:
    """Return the library to preload; without one the test is skipped."""
    found = subprocess.run(
        [compiler(), "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip("g++ has no libtsan")
    return found


def finds_nothing(folder: Path, *arguments: str, timeout: float, **environment: str) -> None:
    """Run Python there, on the package that was built there; ask for success without a report."""
    options = f"suppressions={TESTS / 'tsan_suppressions.txt'} exitcode=66"
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            **os.environ,
            **environment,
            "PYTHONPATH": str(folder),
            "LD_PRELOAD": library(),
            "TSAN_OPTIONS": f"{options} log_path={folder / 'report'}",
        },
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    reports = [file.read_text() for file in folder.glob("report*")]
    assert not reports, reports[0][:8000]
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
