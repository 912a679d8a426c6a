"""Extensions of lazyarray, and the one place where compiler directives and flags are set."""

import importlib
import os
import platform
import sys
from glob import glob
from pathlib import Path
from types import ModuleType

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KIND = os.environ.get("LAZYARRAY_BUILD", "release")
KINDS = ("release", "checked", "tsan")
if KIND not in KINDS:
    raise SystemExit(f"LAZYARRAY_BUILD={KIND!r}: expected one of {', '.join(KINDS)}")

CHECKED = KIND == "checked"
DIRECTIVES = {
    "language_level": "3str",
    "boundscheck": CHECKED,
    "wraparound": CHECKED,
    "initializedcheck": CHECKED,
    "cdivision": not CHECKED,
    "embedsignature": True,
}

# No contraction: an fma is written where it is wanted, so every build gives the same bits.
FLAGS = ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"]
FLAGS += ["-Wno-unused-function", "-Wno-cpp"]
LINK = ["-pthread"]
if KIND == "release":
    FLAGS += ["-g0"]  # Python's own flags ask for debugging information: 56 MB of 69
if KIND == "tsan":
    FLAGS += ["-fsanitize=thread", "-g", "-O1"]
    LINK += ["-fsanitize=thread"]
if platform.system() != "Linux":
    raise SystemExit("lazyarray builds on Linux (x86-64, aarch64) so far")

MODULES = [
    "_engine",
    "_loops",
    "_order",
    "_draw",
    "_blas",
    "_lapack",
    "_spectra",
    "_fft",
    "_bundle",
    "_fused",
    "_rolling",
    "_vmath",
    "_trace",
    "_memory",
    "_dlpack",
    "_floats",
    "_ir",
    "_walk",
    "_plan",
    "_bind",
    "_handle",
    "_stream",
    "_record",
    "_jit",
]
HEADERS = sorted(glob("lazyarray/native/*"))
GENERATED = Path("build/generated")


def generate() -> None:
    """Write the loops of the scalar programs, where they have changed.

    The folder is loaded as a package of its own: lazyarray's extensions are not there yet.
    """
    package = ModuleType("codegen")
    package.__path__ = [os.path.abspath("lazyarray/codegen")]
    sys.modules["codegen"] = package
    operations = importlib.import_module("codegen.operations")
    text = importlib.import_module("codegen.emit_c").source(operations.compiled())
    GENERATED.mkdir(parents=True, exist_ok=True)
    header = GENERATED / "vmath_loops.hpp"
    if not header.exists() or header.read_text() != text:
        header.write_text(text)


def extension(name: str) -> Extension:
    """Describe one of MODULES to the compiler."""
    vector = name == "_vmath"
    return Extension(
        f"lazyarray.{name}",
        [f"lazyarray/{name}.pyx"],
        depends=[*HEADERS, *map(str, GENERATED.glob("*.hpp"))] if vector else HEADERS,
        include_dirs=[numpy.get_include(), "lazyarray/native", str(GENERATED)],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        # Vector code computes both sides of a select, also where one of them sets a flag.
        extra_compile_args=[*FLAGS, "-fno-trapping-math"] if vector else FLAGS,
        extra_link_args=LINK,
        language="c++",
    )


class Build(build_ext):
    """Translates the sources when they are compiled, not for a source distribution or metadata."""

    def run(self) -> None:
        """Generate, translate, compile."""
        generate()
        translated = cythonize(
            [extension(name) for name in MODULES],
            compiler_directives=DIRECTIVES,
            build_dir=f"build/cython-{KIND}",
            nthreads=os.cpu_count() if KIND == "release" else 0,
        )
        for each, made in zip(self.extensions, translated, strict=True):
            each.sources = made.sources
            each.depends = made.depends
        super().run()


setup(ext_modules=[extension(name) for name in MODULES], cmdclass={"build_ext": Build})
