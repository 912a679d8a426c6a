"""CUDA C++ to machine code by NVRTC, which needs no GPU, through ctypes; kept on disk.

The library is that of the PyPI package nvidia-cuda-nvrtc (or -cu12), of CuPy's installation, or of
the system. `compiled` waits for the compiler: the text of a kernel names no sizes, so there are
few, and cache.py keeps what they became.
"""

from __future__ import annotations

import ctypes
import glob
import os
import re
import threading
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, NoReturn

from lazyarray.errors import SourceError

from . import cache as kept

VERSION = "1"  # of what is stored: changes with the options' meaning
# No product is contracted with a sum, or bits would differ from the CPU's.
OPTIONS = ("--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")
SUCCESS, COMPILATION = 0, 6
NAMES = ("libnvrtc.so.13", "libnvrtc.so.12")
INCLUDES = re.compile(r"#\s*include\b")
TOOLKITS = ("CUDA_HOME", "CUDA_PATH")


class NvrtcError(Exception):
    """NVRTC is absent, or refused a source: the message has its log and the numbered source."""


lock = threading.Lock()  # NVRTC may be called from several threads, but gains nothing from it


def places() -> list[str]:
    """Where the library may be, the best first."""
    found = []
    spec = find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        found += glob.glob(os.path.join(folder, "*", "lib", "libnvrtc.so.1[2-9]"))
    found.sort(key=lambda path: path.rsplit(".", 1)[1], reverse=True)
    return [*found, *NAMES]


@cache
def library() -> Any:
    """The library.

    Raises
    ------
    NvrtcError
        Where there is none; the message says what to install.
    """
    for path in places():
        try:
            found = ctypes.CDLL(path)
        except OSError:
            continue
        found.nvrtcGetErrorString.restype = ctypes.c_char_p
        return found
    raise NvrtcError("NVRTC is not there: pip install nvidia-cuda-nvrtc, or CuPy")


@cache
def headers() -> str | None:
    """The folder of CUDA's own headers, such as cuda_fp16.h, which NVRTC comes without."""
    spec = find_spec("nvidia")
    folders = []
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        folders += sorted(glob.glob(os.path.join(folder, "*", "include")), reverse=True)
    for toolkit in (*map(os.environ.get, TOOLKITS), *sorted(glob.glob("/usr/local/cuda*"))):
        if toolkit:
            folders.append(os.path.join(toolkit, "include"))
    return next((f for f in folders if os.path.exists(os.path.join(f, "cuda_fp16.h"))), None)


def available() -> bool:
    """Whether there is a compiler."""
    try:
        library()
    except NvrtcError:
        return False
    return True


def check(code: int, what: str) -> None:
    """Raise for a code that is no success."""
    if code != SUCCESS:
        raise NvrtcError(f"{what}: {library().nvrtcGetErrorString(code).decode()}")


@cache
def version() -> tuple[int, int]:
    """The compiler's version: major, minor."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    check(library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "nvrtcVersion")
    return major.value, minor.value


@cache
def architectures() -> tuple[int, ...]:
    """The compute capabilities that the compiler makes code for: 80, 90, ..."""
    count = ctypes.c_int()
    check(library().nvrtcGetNumSupportedArchs(ctypes.byref(count)), "nvrtcGetNumSupportedArchs")
    found = (ctypes.c_int * count.value)()
    check(library().nvrtcGetSupportedArchs(found), "nvrtcGetSupportedArchs")
    return tuple(found)


def target(capability: int) -> str:
    """The option for a compute capability: machine code, or PTX where the compiler is older."""
    known = architectures()
    if capability in known:
        return f"--gpu-architecture=sm_{capability}"
    older = [each for each in known if each <= capability]
    if not older:
        raise NvrtcError(f"compute capability {capability} is older than {known[0]}")
    return f"--gpu-architecture=compute_{older[-1]}"


def options(
    capability: int, own: Sequence[str] | None = None, includes: bool = False
) -> tuple[str, ...]:
    """All options of a compilation; with `own`, those of a user's source.

    Where it `includes` something, CUDA's own headers are found after those of the user's folders.
    """
    chosen = OPTIONS if own is None else (OPTIONS[0], *own)
    folder = headers() if includes else None
    return (*chosen, *(() if folder is None else (f"-I{folder}",)), target(capability))


def numbered(source: str) -> str:
    """A source with the numbers of its lines."""
    return "\n".join(f"{n:5} {line}" for n, line in enumerate(source.splitlines(), 1))


def compile_source(source: str, name: str, chosen: Sequence[str]) -> bytes:
    """The code of a source: cubin for an option sm_.., PTX for compute_..

    Raises
    ------
    NvrtcError
        With the compiler's log and the source.
    """
    nvrtc = library()
    program = ctypes.c_void_p()
    text, title = source.encode(), f"{name}.cu".encode()
    check(
        nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, title, 0, None, None),
        "nvrtcCreateProgram",
    )
    try:
        given = (ctypes.c_char_p * len(chosen))(*(each.encode() for each in chosen))
        code = nvrtc.nvrtcCompileProgram(program, len(chosen), given)
        if code != SUCCESS:
            log = taken(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            why = nvrtc.nvrtcGetErrorString(code).decode()
            raise NvrtcError(f"{name}: {why}\n{log}\n{numbered(source)}")
        machine = any("sm_" in each for each in chosen)
        return taken(program, "CUBIN" if machine else "PTX")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def taken(program: Any, what: str) -> bytes:
    """One of a program's results."""
    nvrtc = library()
    size = ctypes.c_size_t()
    check(getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), what)
    room = ctypes.create_string_buffer(size.value)
    check(getattr(nvrtc, f"nvrtcGet{what}")(program, room), what)
    return room.raw


def refuse(name: str, error: NvrtcError) -> NoReturn:
    """Tell a user that a source does not compile: the compiler's messages, each with its line.

    Raises
    ------
    SourceError
        Always.
    """
    log = str(error).split(f"\n{1:5} ", 1)[0].partition("\n")[2].rstrip()
    text = "\n  ".join(line for line in log.splitlines() if line.strip())
    if "could not open source file" in text:
        text += "\n  Pass its folder in options=, as -IFOLDER"
        text += "." if headers() else "; pip install nvidia-cuda-runtime has CUDA's own headers."
    raise SourceError(f"{name}: the CUDA source does not compile\n  {text or error}") from None


def compiled(source: str, name: str, capability: int, own: Sequence[str] | None = None) -> bytes:
    """The code of a source for a compute capability, from the disk where it is there.

    What a source includes may change, and only NVRTC knows what that is: such code is not kept.
    """
    includes = own is not None and (
        INCLUDES.search(source) is not None or any("include" in each for each in own)
    )
    chosen = options(capability, own, includes)
    if includes:
        with lock:
            return compile_source(source, name, chosen)
    made = ".".join(map(str, version()))
    key = kept.key_of("cuda", VERSION, made, *chosen, name, source)
    found = kept.get(key)
    if found is None:
        with lock:
            found = compile_source(source, name, chosen)
        kept.put(key, found)
    return found
