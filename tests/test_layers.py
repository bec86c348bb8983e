"""The house's imports point one way, and `import kfine` stays light."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kfine

ROOT = Path(kfine.__file__).parent

# From the ground up.  A module may import from its own part and from parts of layers before it.  A part is a module or
# a folder, without the folders below it that are parts themselves.
LAYERS = [
    {"_version", "allocator", "text"},
    {"errors"},
    {"geometry"},
    {"image", "files"},
    {"intensity", "operators"},
    {"acquisition", "io.checks"},
    {"io.nifti", "io.dicom", "io.kspace"},
    {"io.dicom.derived"},
    {"io"},
    {"degradation"},
    {"phantom", "networks"},
    {"diffusion", "models"},
    {"methods"},
    {"evaluation"},
    {"viz"},
    {"training"},
    {"restoration"},
    {"batches"},
    {"benchmark"},
    {"serve"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

LONGEST_FILE, LONGEST_FUNCTION = 600, 60

# Functions that are longer, with their lengths: this list may only shrink.
LONG_FUNCTIONS: dict[str, int] = {}

HEAVY = "[m for m in ('torch', 'numpy', 'nibabel', 'matplotlib') if m in sys.modules]"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def modules():
    return sorted(ROOT.rglob("*.py"))


def name_of(path):
    """The dotted name of a module without "kfine."; a package's is that of its folder."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


MODULES = {name_of(path): path for path in modules()}


def part_of(name):
    """The part of `LAYERS` that a module belongs to: the longest that holds it."""
    parts = name.split(".")
    found = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((part for part in found if part in LEVEL), None)


def imported(source):
    """The modules of the package that `source` imports; `kfine.restore` counts as the module that holds it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if f"{node.module}.".startswith("kfine."):
                yield from (module_of(f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (module_of(a.name) for a in node.names if a.name.startswith("kfine."))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "kfine":
            yield module_of(f"kfine.{node.attr}")


def module_of(name):
    """The module that holds `name` ("kfine.io.reading.read" or "kfine.read"), "" for the package itself."""
    first, *rest = name.split(".")[1:]
    if not rest and first in kfine._HOMES:
        return kfine._HOMES[first].removeprefix("kfine.")
    parts = [first, *rest]
    found = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((module for module in found if module in MODULES), "")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from kfine.io.checks import digest_of", ["io.checks"]),
        ("from kfine.io import read", ["io"]),
        ("from kfine.viz import drawing", ["viz.drawing"]),
        ("import kfine.cli.app", ["cli.app"]),
        ("def f():\n    from kfine import cli, restore", ["cli", "restoration.restore"]),
        ("import kfine\nkfine.restore(kfine.__version__)", ["restoration.restore", ""]),
        ("import numpy", []),
    ],
)
def test_every_way_to_import_is_seen(source, found):
    assert list(imported(source)) == found


def test_imports_point_down():
    for name, path in MODULES.items():
        if not name:
            continue  # the public names, loaded lazily
        part = part_of(name)
        assert part, f"{name} has no layer: add it to LAYERS"
        others = {part_of(other) for other in imported(path.read_text("utf-8")) if other} - {part}
        assert {other for other in others if LEVEL[other] >= LEVEL[part]} == set(), name


def test_no_imports_in_circles():
    needs = {
        name: {*imported(path.read_text("utf-8"))} - {"", name} for name, path in MODULES.items() if name
    }

    def reached(name):
        found, todo = set(), [name]
        while todo:
            new = needs[todo.pop()] - found
            found |= new
            todo += new
        return found

    assert {name for name in needs if name in reached(name)} == set()


def test_files_stay_short():
    lines = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}


def body_of(node):
    """The statements of a function but for its docstring; that itself where there is nothing else."""
    return node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body


def test_functions_stay_short():
    """Without signature and docstring.  A long one may not grow, and its exception goes when it has become short."""
    lengths = {
        f"{path.relative_to(ROOT)} {node.name}": node.end_lineno - body_of(node)[0].lineno + 1
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    long = {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}
    assert long.keys() == LONG_FUNCTIONS.keys()
    assert {name: length for name, length in long.items() if length > LONG_FUNCTIONS[name]} == {}


def test_import_is_light():
    assert run(f"import sys, kfine; print({HEAVY})").stdout == "[]\n"


def test_help_loads_no_torch():
    code = (
        f"import sys\nfrom kfine.cli import run\nrun(['restore', '--help'])\nprint({HEAVY}, file=sys.stderr)"
    )
    assert run(code).stderr == "[]\n"


def test_the_version_is_of_the_project():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert kfine.__version__ == project["version"]


def test_public_names_are_all_there():
    for name in kfine.__all__:
        assert getattr(kfine, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        kfine.nonsense  # noqa: B018
