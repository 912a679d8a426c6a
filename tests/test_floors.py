"""The tower of imports: a file imports only from floors below its own, and nothing in circles."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lazyarray"

# Lowest floor first. A floor is a tuple of groups; a name is a file's stem or a folder (its native
# headers aside). Files import from the floors below, and from their own group without a circle.
TOWER = (
    (("errors", "dtypes", "passes"), ("_dlpack",)),
    (
        ("_engine",),
        (
            "_loops",
            "_order",
            "_draw",
            "_blas",
            "_lapack",
            "_fft",
            "_spectra",
            "_bundle",
            "_fused",
            "_rolling",
            "_vmath",
        ),
    ),
    (("_ir", "_floats", "_memory", "_trace", "number", "device"),),
    (("lines",),),
    (("ops",), ("codegen",)),
    (
        ("autodiff",),
        (
            "schedule",
            "simplify",
            "validate",
            "plan",
            "floats",
            "fuse",
            "products",
            "crossing",
            "steps",
            "stencils",
            "works",
            "columns",
            "assign",
            "bundle",
            "sharing",
            "parts",
            "urgency",
        ),
    ),
    (("tiers",),),
    (("_walk", "_plan", "_bind", "runtime"),),
    (("backends",),),
    (
        (
            "_handle",
            "_stream",
            "_record",
            "layouts",
            "waiting",
            "array",
            "observers",
            "ufunc",
            "ufunc_calls",
            "flat",
            "methods",
            "iteration",
            "names",
            "lib",
            "lift",
            "hosted",
            "signatures",
            "catalog",
            "functions",
            "reductions",
            "composed",
            "elements",
            "edges",
            "grids",
            "writers",
            "files",
            "classes",
            "linalg",
            "fft",
            "namespace",
            "dispatch",
            "clients",
            "kernel",
            "lending",
            "random",
        ),
    ),
    (("autograd", "jit", "_jit", "tracer", "reach"), ("explain", "notation", "debug"), ("memory",)),
    (("nn", "optim", "metric", "data"), ("symbol",)),
    (("parallel", "onnx", "viz"),),
    (("testing", "coverage", "__init__"),),
)
FLOOR = {name: i for i, floor in enumerate(TOWER) for group in floor for name in group}
GROUP = {name: group for floor in TOWER for group in floor for name in group}

SOURCES = (".py", ".pyx", ".pxd")
BUILT = (".so", ".c", ".cpp", ".html", ".o", ".pyc")
HEADERS = (".hpp", ".inc", ".pxi")
DATA = (".npz",)
VAGUE = {"util", "utils", "helper", "helpers", "common", "misc", "base"}
LONGEST = 750  # lines: the house's 650 with room for the last function

TEXT_OR_COMMENT = re.compile(
    r"""(?P<text>(?P<q>\"{3}|'{3}).*?(?P=q)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\#[^\n]*""",
    re.DOTALL,
)
FROM = re.compile(r"^\s*from\s+([.\w]+)\s+c?import\s+(.+)$")
IMPORT = re.compile(r"^\s*c?import\s+(.+)$")
DESIGN = re.compile(r'("""[\s\S]*?"""\s*)?(?P<design># Design.*\n(#.*\n)*)')
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def statements(source: str):
    """Cython source without texts and comments, a logical line at a time."""
    bare = TEXT_OR_COMMENT.sub(lambda m: "''" if m["text"] else "", source)
    joined = re.sub(r"\\\n", " ", bare)
    joined = re.sub(r"\(([^()]*)\)", lambda m: " " + m[1].replace("\n", " ") + " ", joined)
    for line in joined.splitlines():
        yield from re.split(r";|(?<=:)\s(?=\s*(?:from|c?import)\b)", line)


def names_of(clause: str) -> list[str]:
    """The imported names of `a, b.c as d`."""
    return [part.split()[0] for part in clause.split(",") if part.strip()]


def cython_imports(source: str):
    """Pairs (module, names) of every import and cimport."""
    for statement in statements(source):
        if match := FROM.match(statement):
            yield match[1], names_of(match[2])
        elif match := IMPORT.match(statement):
            yield from ((name, []) for name in names_of(match[1]))


def python_imports(source: str):
    """Pairs (module, names) of every import, those inside functions and by a literal too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [a.name for a in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value), []


class Tower:
    """The sources below one package folder, and what is wrong with them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = root.name
        files = [f for f in sorted(root.rglob("*")) if f.is_file() and "__pycache__" not in f.parts]
        self.files = [f for f in files if f.suffix not in BUILT + DATA]
        self.sources = [f for f in self.files if f.suffix in SOURCES]
        self.modules = {self.module(f) for f in self.sources}

    def module(self, file: Path) -> str:
        """Dotted name, without the package's own name; the top package is `__init__`."""
        parts = file.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    def is_package(self, file: Path) -> bool:
        return file.stem == "__init__"

    def resolve(self, file: Path, module: str, names: list[str]):
        """The modules of this package that one import statement reaches."""
        if module.startswith("."):
            level = len(module) - len(module.lstrip("."))
            here = file.relative_to(self.root).parent.parts
            kept = here[: len(here) - (level - 1)]
            module = ".".join((self.package, *kept, *filter(None, [module.lstrip(".")])))
        head, _, path = module.partition(".")
        if head != self.package:
            return
        submodules = [f"{path}.{n}" if path else n for n in names]
        found = [m for m in submodules if m in self.modules]
        yield from found
        if not names or len(found) < len(names):
            yield path or "__init__"

    def imports(self) -> dict[str, set[str]]:
        """For each module, the modules it imports; a `.pxd` counts as part of its module."""
        edges: dict[str, set[str]] = {m: set() for m in self.modules}
        for file in self.sources:
            source = file.read_text()
            found = python_imports(source) if file.suffix == ".py" else cython_imports(source)
            reached = {m for pair in found for m in self.resolve(file, *pair)}
            edges[self.module(file)] |= reached - {self.module(file)}
        return edges

    def headers(self) -> dict[str, set[str]]:
        """For each C++ header, the project's headers that it includes."""
        native = self.root / "native"
        return {
            f.name: set(INCLUDE.findall(f.read_text()))
            for f in self.files
            if f.parent == native and f.suffix in HEADERS
        }

    def unknown(self):
        """Files that the table of floors does not place."""
        for file in self.files:
            where = file.relative_to(self.root)
            native = where.parts[0] == "native" and file.suffix in HEADERS
            listed = file.suffix in SOURCES and where.with_suffix("").parts[0] in FLOOR
            if not native and not listed:
                yield f"{where} stands on no floor: add it to TOWER"

    def vague(self):
        """Files and folders whose name says nothing."""
        for file in self.files:
            where = file.relative_to(self.root)
            for part in where.with_suffix("").parts:
                for word in VAGUE & set(part.lower().split("_")):
                    yield f"{where}: '{word}' says nothing about what is inside"

    def long(self):
        """Files that should have been split."""
        for file in self.files:
            lines = file.read_text().count("\n")
            if lines > LONGEST:
                yield f"{file.relative_to(self.root)} has {lines} lines, more than {LONGEST}"

    def undesigned(self):
        """Cython files that do not open with their design."""
        for file in self.sources:
            if file.suffix != ".pyx":
                continue
            block = DESIGN.match(file.read_text())
            lines = block["design"].count("\n") if block else 0
            if not 0 < lines <= 25:
                yield f"{file.name} opens with {lines} lines of Design comment, not 1 to 25"

    def upward(self):
        """Imports from the same floor's other groups or from a floor above."""
        for importer, reached in sorted(self.imports().items()):
            here = importer.split(".")[0]
            for module in sorted(reached):
                there = module.split(".")[0]
                if here not in FLOOR or there not in FLOOR:
                    yield f"{importer} imports {module}, which the table does not place"
                elif FLOOR[there] >= FLOOR[here] and GROUP[there] != GROUP[here]:
                    yield (
                        f"{importer} (floor {FLOOR[here]}) imports {module} (floor {FLOOR[there]})"
                    )

    def stray(self):
        """Headers that reach out of the native folder."""
        headers = self.headers()
        for name, included in sorted(headers.items()):
            for other in sorted(included - set(headers)):
                if other != "Python.h" and not other.startswith(("numpy/", "internal/")):
                    yield f"native/{name} includes {other}"


def circles(edges: dict[str, set[str]]) -> list[str]:
    """One line for each circle that a walk in depth meets."""
    found, done = [], set()
    for root in sorted(edges):
        path: list[str] = []
        stack = [(root, iter(sorted(edges[root])))] if root not in done else []
        if stack:
            path.append(root)
        while stack:
            node, rest = stack[-1]
            following = next((n for n in rest if n in edges and n not in done), None)
            if following is None:
                done.add(node)
                stack.pop()
                path.pop()
            elif following in path:
                found.append(" -> ".join([*path[path.index(following) :], following]))
            else:
                path.append(following)
                stack.append((following, iter(sorted(edges[following]))))
    return found


@pytest.fixture(scope="module")
def tower():
    return Tower(PACKAGE)


@pytest.mark.parametrize("check", ["unknown", "vague", "long", "undesigned", "upward", "stray"])
def test_tower(tower, check):
    assert not list(getattr(tower, check)())


def test_no_circles(tower):
    assert not circles(tower.imports())
    assert not circles(tower.headers())


def test_import_is_light():
    heavy = ("numba", "llvmlite", "cupy", "matplotlib", "torch", "urllib.request")
    program = f"import lazyarray, sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.stdout.strip() == "[]", done.stderr


# The checks themselves, on small towers with one fault each.

FAULTS = {
    "in a function": ("upward", {"_ir.pyx": "def f():\n    from lazyarray.array import Array\n"}),
    "cimport": ("upward", {"_loops.pyx": "from lazyarray._bind cimport (\n    A,\n    B)\n"}),
    "in a pxd": ("upward", {"_loops.pxd": "cimport lazyarray.runtime as r\n"}),
    "after a colon": ("upward", {"_loops.pyx": "if True: from lazyarray import runtime\n"}),
    "relative": ("upward", {"ops/linalg.py": "from ..schedule import plan\n"}),
    "the top": ("upward", {"ops/linalg.py": "from lazyarray import zeros\n"}),
    "by literal": ("upward", {"ops/a.py": "importlib.import_module('lazyarray.jit')\n"}),
    "type only": ("upward", {"ops/a.py": "if TYPE_CHECKING:\n    import lazyarray.jit\n"}),
    "neighbour": ("upward", {"ops/a.py": "import lazyarray.codegen.c\n"}),
    "new file": ("unknown", {"planner.py": ""}),
    "new kind of file": ("unknown", {"ops/loops.pxi": ""}),
    "stray header": ("unknown", {"ops/loops.hpp": ""}),
    "vague": ("vague", {"ops/shape_utils.py": ""}),
    "vague folder": ("vague", {"ops/common/shape.py": ""}),
    "long": ("long", {"ops/a.py": "\n" * (LONGEST + 1)}),
    "no design": ("undesigned", {"_loops.pyx": "import numpy\n"}),
    "header": ("stray", {"native/cast.hpp": '#include "../ops/x.hpp"\n'}),
}  # fmt: skip

SOUND = {
    "__init__.py": "from lazyarray.array import Array\n",
    "errors.py": "import numpy\n",
    "_engine.pyx": "# Design. x\nfrom lazyarray.errors import EngineError\n",
    "_loops.pyx": '# Design. x\n# import lazyarray.array\n"""\nimport lazyarray.array\n"""\n'
    "cdef extern from 'from lazyarray.array import x':\n    pass\n"
    "c = '#'; from lazyarray import errors\n",
    "ops/__init__.py": "",
    "ops/define.py": "",
    "ops/linalg.py": "from . import define\nfrom .define import op\n"
    "from lazyarray.ops import define\n",
    "array.py": "from lazyarray._record import Record\n",
    "_record.pyx": "# Design. x\nfrom lazyarray._bind cimport bind\n",
    "_bind.pyx": "# Design. x\nfrom lazyarray.runtime import r\n",
    "runtime.py": "",
    "native/cast.hpp": "#include <vector>\n",
    "native/driver.hpp": '#include "cast.hpp"\n',
}  # fmt: skip

CHECKS = ("unknown", "vague", "long", "undesigned", "upward", "stray")


def plant(folder: Path, files: dict[str, str]) -> Tower:
    root = folder / "lazyarray"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Tower(root)


def test_sound_tower_passes(tmp_path):
    tower = plant(tmp_path, SOUND)
    for check in CHECKS:
        assert not list(getattr(tower, check)())
    assert not circles(tower.imports())
    assert tower.imports()["_loops"] == {"errors"}
    assert tower.imports()["ops.linalg"] == {"ops.define"}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.replace(" ", "_"))
def test_fault_is_found(tmp_path, fault):
    check, files = FAULTS[fault]
    assert len(list(getattr(plant(tmp_path, {**SOUND, **files}), check)())) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"ops/a.py": "from lazyarray.ops.b import f\n", "ops/b.py": "from .a import g\n"},
        {"array.py": "import lazyarray._record\n", "_record.pyx": "import lazyarray.array\n"},
        {"ops/__init__.py": "from lazyarray.ops.a import f\n", "ops/a.py": "from . import g\n"},
    ],
)
def test_circle_is_found(tmp_path, files):
    assert len(circles(plant(tmp_path, {**SOUND, **files}).imports())) == 1


def test_circle_of_headers_is_found(tmp_path):
    tower = plant(tmp_path, {**SOUND, "native/cast.hpp": '#include "driver.hpp"\n'})
    assert len(circles(tower.headers())) == 1
