"""README's commands and example, run as they stand there beside a brain.nii.gz and a folder of DICOM files, cine."""

import json
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
from tests.conftest import beating, phantom
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


def test_the_published_settings_run_but_for_their_steps(tmp_path, monkeypatch, capsys):
    """docs/published.md: each system by its publication's settings, with 2 steps."""
    monkeypatch.chdir(tmp_path)
    kfine.write(Image(phantom((1, 1, 32, 32))), "low.nii.gz")
    kfine.write(beating(3, slices=1, matrix=(16, 16)), "coarse.nii.gz")
    text = (ROOT / "docs" / "published.md").read_text("utf-8").replace("\\\n", " ")
    commands = re.findall(r"^kfine restore .+$", text, re.MULTILINE)
    assert [re.search(r"--method (\S+)", command)[1] for command in commands] == ["vdm", "cine-ldm", "ldm"]
    for number, command in enumerate(commands):
        words = shlex.split(re.sub(r"--steps \d+", "--steps 2", command))
        words[words.index("-o") + 1] = f"{number}.nii.gz"
        assert run(words[1:]) == 0, (command, capsys.readouterr().err)
        record = json.loads((tmp_path / f"{number}.json").read_text())
        options = record["options"]
        assert (options["steps"], options["samples"]) == (2, 1)
        assert options.get("strength", options.get("guidance", {}).get("strength")) == (
            1 if number == 0 else 0
        )


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
