"""Symbols as text: JSON with one entry a line, written whole or not at all."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lazyarray.dtypes import canonical
from lazyarray.errors import DataError, FileError, LazyArrayError, fail
from lazyarray.ops.define import Elementwise

from .layers import Layer, function_named
from .program import (
    Call,
    Entry,
    Input,
    Output,
    Reference,
    as_shape,
    decoded,
    encoded,
    in_order,
    mapped,
)

FORMAT = "lazyarray-symbol"
VERSION = 1


def text_of(outputs: Sequence[Output]) -> str:
    """The program behind `outputs` as JSON."""
    entries = in_order(outputs)
    places = {id(entry): place for place, entry in enumerate(entries)}
    lines = ",\n  ".join(line(entry, places) for entry in entries)
    heads = json.dumps([[places[id(entry)], i] for entry, i in outputs])
    return (
        f'{{\n "format": "{FORMAT}",\n "version": {VERSION},\n'
        f' "entries": [\n  {lines}\n ],\n "outputs": {heads}\n}}\n'
    )


def line(entry: Entry, places: dict[int, int]) -> str:
    """One entry as JSON."""
    found: dict[str, Any] = {"name": entry.name}
    if isinstance(entry, Input):
        if entry.shape is not None:
            found["shape"] = list(entry.shape)
        if entry.dtype is not None:
            found["dtype"] = entry.dtype.name
        if entry.init is not None:
            found["init"] = encoded(entry.init)
    else:
        found = {"op": entry.op, **found}
        found["sources"] = [[places[id(source)], i] for source, i in entry.sources]
        found["arguments"] = {name: encoded(value) for name, value in entry.arguments.items()}
        if entry.outputs != 1:
            found["outputs"] = entry.outputs
    if entry.attributes:
        found["attributes"] = entry.attributes
    return json.dumps(found, allow_nan=False)


def read_text(source: Any, op: str, file: bool = False) -> list[Output]:
    """The outputs written by `text_of`, from a text or a file."""
    where = op
    if file:
        where = f"{op}: {source}"
        try:
            source = Path(source).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            damaged(where, str(error))
        except OSError as error:
            fail(FileError, op, f"cannot read {error.filename}: {error.strerror}")
    try:
        content = json.loads(source)
    except ValueError as error:
        damaged(where, str(error))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        fail(DataError, where, f"is not a symbol: its format is not {FORMAT!r}")
    if content.get("version") != VERSION:
        fail(DataError, where,
             f"has version {content.get('version')!r}, this lazyarray reads {VERSION}",
             "Write it with this version, or read it with the one that wrote it.")  # fmt: skip
    entries: list[Entry] = []
    try:
        for record in content["entries"]:
            entries.append(entry_from(record, entries, where))
        outputs = [output_from(pair, entries) for pair in content["outputs"]]
    except DataError:
        raise
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, LazyArrayError) as error:
        damaged(f"{where}: entry {len(entries)}", f"{type(error).__name__}: {error}")
    if not outputs:
        damaged(where, "it has no outputs")
    return outputs


def entry_from(record: dict[str, Any], entries: list[Entry], where: str) -> Entry:
    """The entry that `line` wrote."""
    name, attributes = record["name"], dict(record.get("attributes", {}))
    if not isinstance(name, str) or not all(isinstance(v, str) for v in attributes.values()):
        raise ValueError("names and attributes are texts")
    if "op" not in record:
        shape = None if record.get("shape") is None else as_shape(record["shape"], name)
        dtype = None if record.get("dtype") is None else canonical(record["dtype"], name)
        return Input(name, shape, dtype, decoded(record.get("init")), attributes)
    op = record["op"]
    function = function_named(op)
    if function is None:
        fail(DataError, where,
             f"symbol {name} calls {op!r}, an op that this lazyarray does not have",
             "Read it with the version that wrote it.")  # fmt: skip
    sources = tuple(output_from(pair, entries) for pair in record["sources"])
    arguments = {key: decoded(value) for key, value in record["arguments"].items()}
    mapped(list(arguments.values()), lambda value: check_source(value, len(sources)))
    check_arguments(function, arguments)
    return Call(op, name, sources, arguments, int(record.get("outputs", 1)), attributes)


def check_arguments(function: Any, arguments: dict[str, Any]) -> None:
    """Raise unless the function can be called with these arguments."""
    if isinstance(function, Elementwise):
        if set(arguments) != {"inputs"} or len(arguments["inputs"]) != function.nin:
            raise ValueError(f"{function.name} takes {function.nin} inputs")
        return
    signature = function.signature if isinstance(function, Layer) else inspect.signature(function)
    known = signature.parameters
    unknown = sorted(set(arguments) - set(known))
    loose = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = {n for n, p in known.items() if p.default is p.empty and p.kind not in loose}
    missing = sorted(needed - set(arguments))
    if unknown or missing:
        raise ValueError(
            f"it has no argument {unknown[0]!r}" if unknown else f"it lacks {missing[0]!r}"
        )


def check_source(value: Any, count: int) -> None:
    """Raise for a reference to a source that there is not."""
    if type(value) is Reference and not 0 <= value.source < count:
        raise IndexError(f"there is no source {value.source}")


def output_from(pair: Any, entries: list[Entry]) -> Output:
    """An entry and an output of it."""
    place, output = pair
    if not 0 <= place < len(entries):
        raise IndexError(f"there is no entry {place}")
    entry = entries[place]
    if not 0 <= output < len(entry.output_names):
        raise IndexError(f"{entry.name} has no output {output}")
    return entry, output


def damaged(where: str, what: str) -> NoReturn:
    """Raise for a text that is not what it should be."""
    fail(DataError, where, f"is damaged ({what})", "Write it again with Symbol.save.")


def write_file(path: Any, text: str) -> None:
    """Write a file by way of a new one beside it."""
    target = Path(path)
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        fail(FileError, "save", f"cannot write {target}: {error.strerror}")
