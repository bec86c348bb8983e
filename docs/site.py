"""Hooks of the documentation site: pages from files outside docs/, and links from one to the other."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "src" / "kfine" / "models"
# Files of the repository that are pages of the site.
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    contents = {page: _linked(ROOT / source) for source, page in PAGES.items()}
    contents |= {"models.md": _models(), "decisions.md": _decisions(), "reference/commands.md": _commands()}
    for page, content in contents.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to files outside docs/ to their pages."""
    if page.file.generated_by or not page.file.src_uri.endswith(".md"):
        return markdown
    return _relinked(markdown, ROOT / "docs" / page.file.src_uri)


def _linked(path: Path) -> str:
    return _relinked(path.read_text("utf-8"), path, page=ROOT / "docs" / PAGES.get(path.name, "models.md"))


def _relinked(text: str, source: Path, page: Path | None = None) -> str:
    """Return `text` of the file `source` with its links as `page` needs them, without those to what is no page."""
    page = page or source

    def link(match: re.Match[str]) -> str:
        name, target, anchor = match[1], match[2], match[3] or ""
        place = Path(os.path.normpath(source.parent / target))
        inside = place.relative_to(ROOT).as_posix() if place.is_relative_to(ROOT) else ""
        if inside in PAGES:
            place = ROOT / "docs" / PAGES[inside]
        elif place.is_relative_to(MODELS) and place.name == "README.md":
            place, anchor = ROOT / "docs" / "models.md", f"#{place.parent.name}"
        elif inside == "docs/decisions":
            place = ROOT / "docs" / "decisions.md"
        elif not inside.startswith("docs/"):
            return f"{name}"
        return f"[{name}]({os.path.relpath(place, page.parent)}{anchor})"

    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)", link, text)


def _models() -> str:
    cards = []
    for card in sorted(MODELS.glob("*/README.md")):
        text = re.sub(r"^#", "##", _linked(card), flags=re.MULTILINE)
        cards.append(
            re.sub(
                r"^## .*$",
                f"## {card.parent.name} {{ #{card.parent.name} }}",
                text,
                count=1,
                flags=re.MULTILINE,
            )
        )
    return "# Models\n\nThe cards of the packaged models.\n\n" + "\n\n".join(cards)


def _decisions() -> str:
    lines = []
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        title = path.read_text("utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}](decisions/{path.name})")
    return (
        "# Decisions\n\nDesign choices that somebody will ask about, and their reasons.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _commands() -> str:
    """Return the help of every command, as the tests hold it."""
    texts = []
    for path in sorted((ROOT / "tests" / "golden" / "help").glob("*.txt")):
        name = "kfine" if path.stem == "kfine" else f"kfine {path.stem.replace('train-', 'train ', 1)}"
        texts.append(f"## {name}\n\n```text\n{path.read_text('utf-8').strip()}\n```")
    return "# Command line\n\n" + "\n\n".join(texts) + "\n"
