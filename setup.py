"""Extensions of lazyarray, and the one place where compiler directives and flags are set."""

import os
import platform
from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

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
if KIND == "tsan":
    FLAGS += ["-fsanitize=thread", "-g", "-O1"]
    LINK += ["-fsanitize=thread"]
if platform.system() != "Linux":
    raise SystemExit("lazyarray builds on Linux (x86-64, aarch64) so far")

MODULES = [
    "_engine",
    "_loops",
    "_blas",
    "_memory",
    "_ir",
    "_walk",
    "_plan",
    "_bind",
    "_handle",
    "_record",
]
HEADERS = sorted(glob("lazyarray/native/*"))


def extension(name: str) -> Extension:
    """Describe one of MODULES to the compiler."""
    return Extension(
        f"lazyarray.{name}",
        [f"lazyarray/{name}.pyx"],
        depends=HEADERS,
        include_dirs=[numpy.get_include(), "lazyarray/native"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=FLAGS,
        extra_link_args=LINK,
        language="c++",
    )


setup(
    ext_modules=cythonize(
        [extension(name) for name in MODULES],
        compiler_directives=DIRECTIVES,
        build_dir=f"build/cython-{KIND}",
        nthreads=os.cpu_count() if KIND == "release" else 0,
    )
)
