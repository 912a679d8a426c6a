"""`la.debug.nans` names the operation and the line that made the first NaN."""

import threading

import numpy as np
import programs
import pytest
import writer

import lazyarray as la
from lazyarray import _bind
from lazyarray.errors import LazyArrayError, NanError

pytestmark = pytest.mark.usefixtures("quiet_floats")  # errors are asked for here, not warnings


def line_of(text):
    """Where this file says `text`, as errors write it."""
    with open(__file__) as file:
        numbers = [n for n, line in enumerate(file, 1) if line.rstrip().endswith(text)]
    assert len(numbers) == 1, text
    return f"{__file__}:{numbers[0]}"


def test_first_operation_is_named():
    x = la.array([1.0, -4.0, 9.0])
    with pytest.raises(NanError) as caught, la.debug.nans():
        y = la.exp(x) + 1
        z = la.log(x) * y  # the log
        (z + z.sum()).wait()
    message = str(caught.value)
    assert message.startswith("log: made 1 NaN of 3 numbers, float64(3,) from float64(3,)")
    assert "index (1,): log(-4.0)" in message
    assert line_of("# the log") in message


def test_error_is_what_numpy_programs_catch():
    assert issubclass(NanError, FloatingPointError)
    assert issubclass(NanError, LazyArrayError)


def test_what_the_block_wants_runs_at_its_end():
    with pytest.raises(FloatingPointError, match="divide"), la.debug.nans():
        kept = la.zeros(3) / 0.0
    assert np.isnan(kept.tolist()).all(), "the value stays"


def test_nan_in_the_data_is_no_news():
    x = la.array([1.0, np.nan, -1.0])
    with la.debug.nans():
        y = (x * 2 + 1).sum()
        assert np.isnan(float(y))
    pending = la.sqrt(x)
    with la.debug.nans():  # its operand has one already
        pending.wait()


def test_what_was_recorded_before_is_looked_at():
    pending = la.sqrt(la.array([-1.0]))
    with pytest.raises(NanError, match="sqrt"), la.debug.nans():
        pending.wait()


def test_nothing_is_looked_at_outside():
    x = la.array([-1.0])
    with la.debug.nans():
        (x * 2).wait()
    assert np.isnan(la.sqrt(x).tolist()).all()


def test_switch():
    x = la.array([-1.0])
    la.debug.set_nans(True)
    try:
        with pytest.raises(NanError):
            la.sqrt(x).wait()
    finally:
        la.debug.set_nans(False)
    assert np.isnan(la.sqrt(x).tolist()).all()


def test_blocks_nest():
    x = la.array([-1.0])
    with pytest.raises(NanError), la.debug.nans():
        with la.debug.nans():
            (x + 1).wait()
        la.sqrt(x).wait()


def test_exception_of_the_block_comes_through():
    with pytest.raises(KeyError), la.debug.nans():
        kept = la.sqrt(la.array([-1.0]))
        raise KeyError
    assert np.isnan(kept.tolist()).all()


def test_what_fails_otherwise_fails_as_usual():
    x = la.array([1, 2])
    with la.debug.nans():
        bad = x ** la.array([1, -1])
        mixed = bad * 0.5
        la.eval(bad, mixed)
        for each in (bad, mixed):
            with pytest.raises(ValueError, match="power"):
                each.wait()
        assert x.tolist() == [1, 2]
        del bad, mixed


def test_array_operations_and_complex_numbers():
    a, b = la.array([[np.inf, 1.0]]), la.array([[0.0], [1.0]])
    with pytest.raises(NanError, match=r"gemm: made 1 NaN of 1 numbers"), la.debug.nans():
        (a @ b).wait()
    with pytest.raises(NanError, match=r"divide.*complex128"), la.debug.nans():
        (la.array([1j]) / la.array([0j]) - 1).wait()


def test_gradients_are_looked_at():
    x = la.array([0.0, 4.0])
    x.attach_grad()
    with pytest.raises(NanError) as caught, la.debug.nans():
        with la.autograd.record():
            loss = la.where(x > 1, la.sqrt(x), 0.0).sum()
        loss.backward()
        x.grad.wait()
    assert "test_debug.py" in str(caught.value)


def test_writes_in_place():
    u = la.arange(5.0)
    with pytest.raises(NanError, match="subtract"), la.debug.nans():
        u[1:] /= 0.0
        u[2:] -= u[1:-1]
        u.wait()
    with la.debug.nans():
        v = la.arange(6.0)
        v[1:] += v[:-1]
        v[::2] = v[1::2] * 2
        assert v.tolist() == [2.0, 1.0, 10.0, 5.0, 18.0, 9.0]


def test_other_threads():
    caught = []

    def work():
        try:
            la.log(la.array([-1.0])).wait()
        except NanError as error:
            caught.append(error)

    with la.debug.nans():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(caught) == 1


def test_bits_are_those_of_fused_kernels(monkeypatch):
    from lazyarray import debug

    monkeypatch.setattr(debug, "report", lambda *args: None)
    for seed in range(6000, 6040):
        lines = writer.write(seed)
        plain = programs.run_in("threaded", lines)
        la.debug.set_nans(True)
        try:
            looked = programs.run_in("threaded", lines)
            found = {name: programs.bits(x) for name, x in looked.names.items()}
        finally:
            la.debug.set_nans(False)
        assert looked.seen == plain.seen
        assert found == {name: programs.bits(x) for name, x in plain.names.items()}, lines


def test_inspector_is_gone_afterwards():
    with la.debug.nans():
        pass
    assert _bind.set_inspector(None) is None


def test_bound_programs_are_looked_at():
    """What runs without being recorded: each operation is named with the line of its symbol."""
    x = la.symbol.Variable("x")
    program = la.symbol.log(x * 2) + 1
    executor = program.bind(x=la.array([1.0, 3.0]))
    with la.debug.nans():
        assert np.isfinite(executor.forward()[0].tolist()).all()
        with pytest.raises(NanError, match=r"log: made 2 NaNs of 2 numbers.*\n.*log\(-2.0\)"):
            executor.forward(x=la.array([-1.0, -3.0]))[0].wait()
