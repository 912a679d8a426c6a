"""Random NumPy programs give on lazyarray what they give on NumPy, in every engine mode."""

import hypothesis
import programs
import pytest
import writer
from hypothesis import strategies as st

from lazyarray import tiers


def compare(seed):
    """Check one program; what fails is made small and printed as source."""
    lines = writer.write(seed)
    if programs.check(lines):
        small = programs.reduced(
            lines, lambda some: programs.defined(some) and bool(programs.check(some))
        )
        pytest.fail(
            f"seed {seed}\n"
            + "\n".join(small)
            + f"\n{programs.check(small) or programs.check(lines)}"
        )


@hypothesis.settings(
    max_examples=300, phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
)
@hypothesis.given(st.integers(0, 2**62))
def test_programs(seed):
    compare(seed)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(20))
def test_many_programs(share):
    for seed in range(share, 30_000, 20):
        compare(seed)


def compare_compiled(seed):
    """Check that one program has the same bits in both tiers."""
    lines = writer.write(seed)
    if programs.check_compiled(lines):
        small = programs.reduced(lines, lambda some: bool(programs.check_compiled(some)))
        pytest.fail(f"seed {seed}\n" + "\n".join(small) + f"\n{programs.check_compiled(small)}")


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("LAZYARRAY_CACHE", str(tmp_path))
    yield
    tiers.state.service.stop()


def test_compiled_programs(kernels):
    before = tiers.counters()["compiled"]
    for seed in range(40):
        compare_compiled(seed)
    assert tiers.counters()["compiled"] > before


@pytest.mark.slow
@pytest.mark.parametrize("share", range(10))
def test_many_compiled_programs(kernels, share):
    for seed in range(share, 5000, 10):
        compare_compiled(seed)


def test_writer_is_a_function_of_its_seed():
    assert writer.write(11) == writer.write(11)
    assert all(5 <= len(writer.write(seed)) <= 30 for seed in range(50))


def test_writer_reaches_what_matters():
    """Every kind of statement that aliases, writes or observes is in a few hundred programs."""
    text = "\n".join(line for seed in range(300) for line in writer.write(seed))
    for part in ("[::-1] =", "[1:] += ", ".T", "reshape(", "ravel(", "broadcast_to(", "None",
        ".real", "out=", "np.asarray(",
                 "look(", "start(", "del ", "xp.where(", "xp.concatenate(", " @ ", "astype(",
                 "float16", "complex64",
                 "bool", "uint8", " > ", "xp.array([True", "...", "/=", "&="):  # fmt: skip
        assert part in text, part


def test_difference_is_found():
    """The comparison is not blind: values, layout, aliasing and exceptions."""
    wanted = programs.run(["a = xp.arange(4)", "b = a[1:]"], programs.np)
    for lines in (["a = xp.arange(4)", "b = a[1:].copy()"], ["a = xp.arange(4)", "b = a[:3]"],
                  ["a = xp.arange(4)", "b = xp.arange(8)[2::2] * 1 // 2"], ["a = xp.arange(4.0)",
                      "b = a[1:]"]):  # fmt: skip
        assert programs.differences(programs.run(lines, programs.la), wanted)
    raising = programs.run(["a = xp.arange(4)", "b = a[9]"], programs.np)
    assert programs.differences(
        programs.run(["a = xp.arange(4)", "b = a[1]"], programs.la), raising
    )


def test_reduction_keeps_what_fails():
    lines = ["a = 1", "b = 2", "c = a + b", "d = 4", "e = c"]
    assert programs.reduced(lines, lambda some: "b = 2" in some and "d = 4" in some) == [
        "b = 2",
        "d = 4",
    ]
