"""README's commands and example, run as they stand there beside a brain.nii.gz and a folder of DICOM files, cine."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import kfine
from kfine.cli import run
from kfine.image import Image
from kfine.models.checkpoint import packaged_models
from kfine.phantom.cine import beating_heart
from tests.conftest import phantom
from tests.io.dicom_files import cine

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
CINES = (ROOT / "docs" / "cines.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README + CINES, flags=re.S)


@pytest.mark.skipif(not packaged_models(), reason="no packaged model in this checkout")
def test_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kfine.write(Image(phantom((1, 1, 128, 128))), "brain.nii.gz")
    _write_cine(tmp_path / "cine")
    commands = [
        line for block in blocks("console") for line in block.splitlines() if line.startswith("kfine ")
    ]
    assert len(commands) >= 8
    for command in commands:
        assert run(shlex.split(command)[1:]) == 0, (command, capsys.readouterr().err)
    for name in ("fine.nii.gz", "fine_std.nii.gz", "fine.json", "fine.png", "errors.png", "heart.gif"):
        assert (tmp_path / name).stat().st_size > 0
    for example in blocks("python"):
        exec(compile(example, "README", "exec"), {})
    assert (tmp_path / "mean.nii.gz").exists()


def _write_cine(folder):
    voxels = beating_heart((32, 32), frames=6, slices=1, period=0.3).voxels
    stored = np.rint(1000 * voxels / voxels.max()).clip(0).astype(np.uint16)
    cine(folder, lambda _, frame: 50.0 * frame, stored=stored, NominalInterval=300)


def test_readme_names_what_is_there():
    root = Path(__file__).parents[1]
    named = re.findall(r"\]\(((?!http)[^)]+)\)|`((?:configs|docs)/[^`]+)`", README)
    places = [a or b for a, b in named]
    headings = {
        "#" + title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    }
    assert len(places) >= 3
    assert [p for p in places if not (p in headings or (root / p).exists())] == []
