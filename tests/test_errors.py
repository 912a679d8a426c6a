"""The exception classes: what they derive from, how they read, and that they travel."""

import copy
import pickle

import numpy as np
import pytest

from lazyarray import errors

TWINS = {
    "ShapeError": ValueError,
    "DTypeError": TypeError,
    "ArrayIndexError": IndexError,
    "AxisError": np.exceptions.AxisError,
    "OptionError": ValueError,
    "DeviceError": RuntimeError,
    "SourceError": ValueError,
    "GradientError": RuntimeError,
    "NanError": FloatingPointError,
    "EngineError": RuntimeError,
    "MatrixError": np.linalg.LinAlgError,
    "FallbackError": RuntimeError,
    "FallbackWarning": UserWarning,
    "DataError": ValueError,
    "FileError": OSError,
    "OutOfMemoryError": MemoryError,
}


def classes():
    """Every class that the module defines below the root."""
    return [
        c
        for c in vars(errors).values()
        if isinstance(c, type)
        and c.__module__ == errors.__name__
        and c is not errors.LazyArrayError
    ]


def test_every_class_has_a_numpy_twin():
    assert {c.__name__ for c in classes()} == set(TWINS)


@pytest.mark.parametrize("cls", classes(), ids=lambda c: c.__name__)
def test_is_caught_as_numpy_would(cls):
    with pytest.raises(TWINS[cls.__name__]) as caught:
        errors.fail(cls, "op", "went wrong", "Do this.")
    assert type(caught.value) is cls
    assert isinstance(caught.value, errors.LazyArrayError)
    assert str(caught.value) == "op: went wrong\n  Do this."


@pytest.mark.parametrize("cls", classes(), ids=lambda c: c.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_survives_pickling_and_copying(cls, protocol):
    with pytest.raises(cls) as caught:
        errors.fail(cls, "matmul", "inner dimensions differ", "Transpose b.")
    caught.value.add_note("recorded at train.py:41")
    for twin in (
        pickle.loads(pickle.dumps(caught.value, protocol)),
        copy.copy(caught.value),
    ):
        assert type(twin) is cls
        assert str(twin) == str(caught.value)
        assert twin.__notes__ == ["recorded at train.py:41"]


def test_message_without_op_or_remedy():
    with pytest.raises(errors.OptionError, match=r"^nothing to say$"):
        errors.fail(errors.OptionError, "", "nothing to say")


def test_require():
    errors.require(True, errors.ShapeError, "add", "never said")
    with pytest.raises(ValueError, match=r"add: shapes \(2,\) and \(3,\)\n  Reshape"):
        errors.require(
            False, errors.ShapeError, "add", "shapes (2,) and (3,)", "Reshape one of them."
        )
