"""Object files into this process, by llvmlite alone."""

from __future__ import annotations

import ctypes
import os
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lazyarray._loops import Loop, loop_at

SYMBOL = "la_sweep"

# Held while llvmlite is imported or used, so that no fork happens in between: see tiers.py.
lock = threading.Lock()


def preload() -> None:
    """Let the system map LLVM: Python would hold the GIL meanwhile, for 6 to 20 ms."""
    found = find_spec("llvmlite")
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / "binding" / "libllvmlite.so"
        program = ctypes.CDLL(None)
        if path.exists() and hasattr(program, "dlopen"):
            program.dlopen.restype = ctypes.c_void_p
            program.dlopen(os.fsencode(path), ctypes.DEFAULT_MODE | os.RTLD_NOW)


@cache
def binding() -> Any:
    """llvmlite, imported when the first loop is loaded: it takes 60 ms."""
    preload()
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@cache
def target() -> str:
    """What object files of this machine depend on."""
    with lock:
        llvm = binding()
        version = ".".join(map(str, llvm.llvm_version_info))
        parts = (version, llvm.get_process_triple(), llvm.get_host_cpu_name())
        return " ".join((*parts, llvm.get_host_cpu_features().flatten()))


def load(code: bytes, name: str, types: tuple[str, ...], nin: int) -> Loop:
    """The loop in an object file; its code is freed with the last kernel that uses it."""
    with lock:
        llvm = binding()
        machine = llvm.Target.from_default_triple().create_target_machine()
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
        engine.finalize_object()
        address = engine.get_function_address(SYMBOL)
    if not address:
        raise ValueError(f"no {SYMBOL} in the object file")
    return loop_at(address, name, types, nin, engine)
