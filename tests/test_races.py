"""Every extension built for ThreadSanitizer, and programs whose kernels run on several workers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sanitizer

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"


def test_programs_have_the_same_bits_on_all_workers():
    """The programs themselves, on the build that the other tests run on."""
    done = subprocess.run(
        [sys.executable, str(TESTS / "racing.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "same bits\n"), done.stdout + done.stderr


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """Folder with the package built for ThreadSanitizer."""
    sanitizer.library()
    pytest.importorskip("Cython.Build", reason="needs Cython to build")
    folder = tmp_path_factory.mktemp("sanitized")
    ignored = shutil.ignore_patterns("*.so", "*.cpp", "__pycache__")
    shutil.copytree(ROOT / "lazyarray", folder / "lazyarray", ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--parallel"]
    subprocess.run(
        [*build, str(os.cpu_count())],
        cwd=folder, env={**os.environ, "LAZYARRAY_BUILD": "tsan"}, capture_output=True, check=True,
    )  # fmt: skip
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thread_sanitizer_finds_nothing_in_kernels(sanitized):
    sanitizer.finds_nothing(sanitized, str(TESTS / "racing.py"), timeout=1800, LAZYARRAY_TIER="0")
