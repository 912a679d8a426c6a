"""Settings of the test run: hypothesis, a share of the tests, a budget of time."""

import os
import signal
import time
import zlib

import hypothesis
import numpy as np
import pytest

# No deadline: no test checks a time. On CI the same examples every run, so that a red one is news.
hypothesis.settings.register_profile("local", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("local"),
                                     derandomize=True, database=None)  # fmt: skip
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

STARTED = pytest.StashKey[float]()

# No helper process for kernels that happen to get hot: test_tiers.py compiles, and compares.
os.environ.setdefault("LAZYARRAY_TIER", "0")
# Every pass of lowering is checked to leave a well-formed graph.
os.environ.setdefault("LAZYARRAY_DEBUG", "1")

# A test of many programs runs all of them from one line.
os.environ.setdefault("LAZYARRAY_VARIANTS", "0")

# A shell that starts jobs in the background has them ignore SIGINT; tests send it, to children too.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    group = parser.getgroup("lazyarray")
    group.addoption("--share", metavar="K/N", help="run the K-th of N shares of the tests")
    group.addoption(
        "--budget", type=float, metavar="SECONDS", help="skip the tests that would start later"
    )


def pytest_configure(config):
    config.stash[STARTED] = time.monotonic()


def pytest_collection_modifyitems(config, items):
    """Keep one share, chosen by name, so that a new test moves no other."""
    share = config.getoption("--share")
    if share is None:
        return
    turn, _, shares = share.partition("/")
    if not (turn.isdecimal() and shares.isdecimal() and 1 <= int(turn) <= int(shares)):
        raise pytest.UsageError(f"--share={share}: expected K/N with 1 <= K <= N")
    kept = [i for i in items if zlib.crc32(i.nodeid.encode()) % int(shares) == int(turn) - 1]
    config.hook.pytest_deselected(items=[i for i in items if i not in kept])
    items[:] = kept


def pytest_runtest_setup(item):
    budget = item.config.getoption("--budget")
    if budget is not None and time.monotonic() - item.config.stash[STARTED] > budget:
        pytest.skip(f"the run's budget of {budget:g} s is used up")


@pytest.fixture
def quiet_floats():
    """No floating-point warnings of what is recorded meanwhile."""
    with np.errstate(all="ignore"):
        yield
