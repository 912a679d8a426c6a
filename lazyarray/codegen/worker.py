"""The helper process that compiles loops: reads requests from stdin, writes object files to stdout.

It is run as a file, so that nothing of lazyarray (no engine, no user's script) is imported here,
only this folder's emitter. A message is a header, JSON behind its length in 4 bytes, and then
`bytes` bytes. The process ends with its input: with the one that started it.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

# Symbols that every process resolves, and whose results are exact or correctly rounded.
RESOLVED = {"memcpy", "memset", "memmove"} | {
    name + kind
    for name in ("fma", "sqrt", "floor", "ceil", "trunc", "rint", "fabs")
    for kind in ("", "f")
}


def read(stream: BinaryIO) -> dict[str, Any] | None:
    """One request; None at the end of the stream."""
    size = stream.read(4)
    if len(size) < 4:
        return None
    request: dict[str, Any] = json.loads(stream.read(struct.unpack("<I", size)[0]))
    return request


def write(stream: BinaryIO, header: dict[str, Any], content: bytes = b"") -> None:
    """Send one answer."""
    text = json.dumps({**header, "bytes": len(content)}).encode()
    stream.write(struct.pack("<I", len(text)) + text + content)
    stream.flush()


def main() -> None:
    """Serve until the input ends."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(19)
    hello = read(source)
    if hello is None:
        return
    sys.path[:] = hello["path"]
    compiled = load()
    write(sink, {"ready": True})
    while (request := read(source)) is not None:
        # Who would end this process when it hangs may be gone by then.
        signal.alarm(int(request["seconds"]) + 1)
        begin = time.process_time()
        try:
            code = compiled(request)
        except Exception:
            write(sink, {"error": traceback.format_exc(limit=-3)})
        else:
            write(sink, {"seconds": time.process_time() - begin}, code)
        signal.alarm(0)


def load() -> Callable[[dict[str, Any]], bytes]:
    """Import LLVM and the emitter, and get ready for this processor."""
    import llvmlite.binding as llvm

    # The folder as a package of its own: lazyarray's __init__ would import all of it.
    package = ModuleType("kernels")
    package.__path__ = [str(Path(__file__).parent)]
    sys.modules["kernels"] = package
    from kernels import emit_columns, emit_lines, emit_llvm, sweep  # type: ignore[import-not-found]

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    # By itself LLVM uses half of AVX-512's width, for the sake of programs that mix.
    wide = ",-prefer-256-bit" if features.get("avx512f") else ""
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=features.flatten() + wide,
        opt=3,
        reloc="pic",
        codemodel="small",
    )
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True

    def compiled(request: dict[str, Any]) -> bytes:
        wanted = sweep.parsed(request["sweep"])
        if wanted.form:
            emitter = emit_lines if wanted.form == "lines" else emit_columns
            text = str(emitter.module_of(wanted, emit_columns.bytes_of_vectors(features)))
        else:
            text = str(emit_llvm.module_of(wanted))
        module = llvm.parse_assembly(text)
        module.verify()
        builder = llvm.create_pass_builder(machine, tuning)
        builder.getModulePassManager().run(module, builder)
        code: bytes = machine.emit_object(module)
        unknown = unresolved(code) - RESOLVED
        if unknown:
            raise RuntimeError(f"the loop calls {', '.join(sorted(unknown))}")
        return code

    return compiled


def unresolved(code: bytes) -> set[str]:
    """The symbols that an ELF object file (64 bits, little endian) asks of others."""
    (sections,) = struct.unpack_from("<Q", code, 40)
    entry, count = struct.unpack_from("<HH", code, 58)
    table = [struct.unpack_from("<IIQQQQIIQQ", code, sections + i * entry) for i in range(count)]
    found = set()
    for _, kind, _, _, offset, size, link, _, _, each in table:
        if kind != 2:  # SHT_SYMTAB
            continue
        for at in range(offset, offset + size, each):
            name, _, _, section = struct.unpack_from("<IBBH", code, at)
            if name and section == 0:
                start = table[link][4] + name
                found.add(code[start : code.index(b"\0", start)].decode())
    return found


if __name__ == "__main__":
    main()
