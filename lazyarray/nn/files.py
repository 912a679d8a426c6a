"""Arrays by name in safetensors files, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lazyarray.errors import DataError, FileError, fail
from lazyarray.waiting import wait_all


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays and texts to `path`: to a file beside it first, which then takes its name.

    Raises
    ------
    FileError
        When the folder or the file cannot be written.
    """
    # Imported here: most programs that import lazyarray save nothing.
    from safetensors.numpy import save

    target = Path(path)
    wait_all(dict(arrays))
    data = save(
        {name: np.ascontiguousarray(a.numpy()) for name, a in arrays.items()}, dict(metadata or {})
    )
    part = None
    try:
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o666 & ~umask())
        os.replace(part, target)
        part = None
    except OSError as error:
        fail(
            FileError,
            "save",
            f"cannot write {target}: {error.strerror}",
            "Name a folder that exists and can be written.",
        )
    finally:
        if part is not None:
            Path(part).unlink(missing_ok=True)


def umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays and texts of a safetensors file.

    Raises
    ------
    FileError
        When it is missing or cannot be read.
    DataError
        When it is damaged, or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb"), safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, dict(file.metadata() or {})
    except OSError as error:
        fail(FileError, "load", f"cannot read {path}: {error.strerror or error}")
    except SafetensorError as error:
        fail(
            DataError,
            "load",
            f"{path} is damaged, or no safetensors file: {error}",
            "Save it again; an interrupted copy leaves such files.",
        )
