"""Contents of the documentation site: its navigation, API reference and tutorials."""

import re
from pathlib import Path

import pytest

import kfine

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAVIGATION = (ROOT / "mkdocs.yml").read_text("utf-8").split("\nnav:", 1)[1]
REFERENCE = "\n".join(path.read_text("utf-8") for path in sorted((DOCS / "reference").glob("*.md")))


def test_every_page_is_in_the_navigation():
    pages = [path for path in DOCS.rglob("*") if path.suffix == ".md" and "decisions" not in path.parts]
    pages += (DOCS / "tutorials").glob("*.py")
    assert [path.name for path in pages if f": {path.relative_to(DOCS).as_posix()}\n" not in NAVIGATION] == []


def test_every_page_of_the_navigation_exists():
    generated = re.findall(r'"([a-z/]+\.md)"', (DOCS / "site.py").read_text("utf-8"))
    listed = re.findall(r": ([a-z_/-]+\.(?:md|py))$", NAVIGATION, re.MULTILINE)
    assert len(listed) > 20
    assert [page for page in listed if page not in generated and not (DOCS / page).is_file()] == []


@pytest.mark.parametrize("name", kfine.__all__)
def test_every_public_name_is_in_the_reference(name):
    found = getattr(kfine, name)
    home = found.__module__
    assert f"::: {home}\n" in REFERENCE or f"::: {home}.{name}\n" in REFERENCE


def test_every_module_of_the_reference_exists():
    from importlib.util import find_spec

    for name in re.findall(r"^::: (\S+)$", REFERENCE, re.MULTILINE):
        assert any(_there(part, find_spec) for part in (name, name.rpartition(".")[0])), name


def _there(name, find_spec):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_tutorials_need_no_data_of_their_own():
    """They run wherever kfine is installed."""
    for path in (DOCS / "tutorials").glob("*.py"):
        assert not re.search(r"/work/|/home/|https?://(?!\S*license)", path.read_text("utf-8")), path.name
