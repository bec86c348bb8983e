"""README's commands and example, run as they stand there in a folder that holds a brain.nii.gz."""

import re
import shlex
from pathlib import Path

import pytest

import kfine
from kfine.checkpoint import packaged_models
from kfine.cli import run
from kfine.image import Image
from tests.conftest import phantom

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


@pytest.mark.skipif(not packaged_models(), reason="no packaged model in this checkout")
def test_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kfine.write(Image(phantom((1, 1, 128, 128))), "brain.nii.gz")
    commands = [
        line for block in blocks("console") for line in block.splitlines() if line.startswith("kfine ")
    ]
    assert len(commands) >= 5
    for command in commands:
        assert run(shlex.split(command)[1:]) == 0, (command, capsys.readouterr().err)
    for name in ("fine.nii.gz", "fine_std.nii.gz", "fine.json", "fine.png", "errors.png"):
        assert (tmp_path / name).stat().st_size > 0
    for example in blocks("python"):
        exec(compile(example, "README", "exec"), {})
    assert (tmp_path / "mean.nii.gz").exists()


def test_readme_names_files_that_are_there():
    root = Path(__file__).parents[1]
    named = re.findall(r"\]\(((?!http)[^)]+)\)|`((?:configs|docs)/[^`]+)`", README)
    paths = [a or b for a, b in named]
    assert len(paths) >= 3
    assert [path for path in paths if not (root / path).exists()] == []
