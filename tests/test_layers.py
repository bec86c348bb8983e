"""The house's imports point one way, and `import kfine` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kfine

ROOT = Path(kfine.__file__).parent

# From the ground up; a module may import from its own layer and those before it.
LAYERS = [
    {"errors", "names", "locks"},
    {"geometry"},
    {"image"},
    {"intensity", "devices", "thermal_noise"},
    {"operators", "io", "phantom"},
    {"blind_degradation", "measured_block"},
    {"networks"},
    {"checkpoint"},
    {"diffusion"},
    {"methods"},
    {"parts"},
    {"streaming"},
    {"degradation", "restoration"},
    {"evaluation"},
    {"training"},
    {"benchmark", "batch"},
    {"cli"},
    {"__main__"},
]
LONGEST_FILE, LONGEST_FUNCTION = 600, 60

# Functions that are longer, with their lengths: this list may only shrink.
LONG_FUNCTIONS = {
    "benchmark/running.py benchmark": 74,
    "cli/batch.py batch": 118,
    "cli/benchmarking.py benchmark": 105,
    "cli/evaluation.py degrade": 82,
    "cli/evaluation.py evaluate": 79,
    "cli/restoration.py restore": 84,
    "degradation.py degrade": 69,
    "methods/choice.py choose_method": 76,
    "restoration.py restore": 121,
    "training/loop.py train": 69,
}
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


HEAVY = "[m for m in ('torch', 'numpy', 'nibabel', 'matplotlib') if m in sys.modules]"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def modules():
    return sorted(ROOT.rglob("*.py"))


def part_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(source):
    """The parts of the package that `source` imports; `kfine.restore` counts as the module that holds it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [alias.name for alias in node.names]
            if node.module == "kfine":
                yield from (home(name) for name in names if name != "__version__")
            elif node.module and node.module.startswith("kfine."):
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("kfine."))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "kfine":
            yield from [home(node.attr)] if node.attr != "__version__" else []


def home(name):
    """The part of the package that `kfine.name` is, or lives in."""
    return kfine._HOMES.get(name, f"kfine.{name}").split(".")[1]


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("from kfine.io.checks import clean_text", ["io"]),
        ("import kfine.cli.app", ["cli"]),
        ("def f():\n    from kfine import cli, restore", ["cli", "restoration"]),
        ("import kfine\nkfine.restore(kfine.__version__)", ["restoration"]),
        ("import numpy", []),
    ],
)
def test_every_way_to_import_is_seen(source, parts):
    assert list(imported(source)) == parts


def test_imports_point_down():
    for path in modules():
        part = part_of(path)
        if part == "__init__":
            continue  # the public names, loaded lazily
        assert part in LEVEL, f"{part} has no layer: add it to LAYERS"
        upward = [name for name in imported(path.read_text("utf-8")) if LEVEL[name] > LEVEL[part]]
        assert upward == [], path


def test_files_stay_short():
    lines = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}


def test_functions_stay_short():
    """A long one may not grow, and its exception goes when it has become short."""
    lengths = {
        f"{path.relative_to(ROOT)} {node.name}": node.end_lineno - node.lineno + 1
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


def test_public_names_are_all_there():
    for name in kfine.__all__:
        assert getattr(kfine, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        kfine.nonsense  # noqa: B018
