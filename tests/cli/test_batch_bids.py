"""A BIDS dataset gives a BIDS derivative: the validator says so, and its files say where they come from."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kfine
from tests.cli.conftest import save, tree

SIMPLE = ["--scale", 2, "--method", "zero-filling"]
FOLDER = "sub-01/ses-a/anat"


@pytest.fixture
def dataset(tmp_path):
    top = tmp_path / "data"
    save(top / FOLDER / "sub-01_ses-a_T1w.nii.gz")
    save(top / FOLDER / "sub-01_ses-a_acq-x_T2w.nii.gz", 1)
    save(top / "sub-02" / "anat" / "sub-02_T1w.nii.gz", 2)
    save(top / "sub-02" / "fmap" / "sub-02_magnitude1.nii.gz", 2)
    (top / "sub-02" / "anat" / "sub-02_T1w.json").write_text('{"SkullStripped": true}')
    (top / "dataset_description.json").write_text(
        json.dumps({"Name": "Brains", "BIDSVersion": "1.8.0", "License": "CC0"})
    )
    return top


@pytest.fixture
def validator():
    """A function that returns the validator's errors of a dataset."""
    pytest.importorskip("bids_validator_deno", reason="pip install bids-validator-deno")
    program = Path(sys.executable).with_name("bids-validator-deno")
    found = str(program) if program.is_file() else shutil.which("bids-validator-deno")
    if found is None:
        pytest.skip("bids-validator-deno is not on the path")

    def errors(folder):
        done = subprocess.run([found, "--json", str(folder)], capture_output=True, text=True, check=False)
        issues = json.loads(done.stdout)["issues"]["issues"]
        return [issue for issue in issues if issue["severity"] == "error"]

    return errors


def test_the_derivative_of_a_dataset(batch, dataset, tiny_model_folder, validator):
    out = dataset / "derivatives" / "kfine"
    for path in (dataset / FOLDER).glob("*.nii.gz"):  # a derivative must say it, and takes it from its source
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text('{"SkullStripped": false}')
    call = [dataset, out, "--scale", 2, "--model", tiny_model_folder]
    done = batch(*call)
    assert (done.code, done.lines) == (
        0,
        ["3 images: 3 restored", "left out: 1 (fmap: only anat is restored)"],
    )
    first = tree(out)
    name = f"{FOLDER}/sub-01_ses-a_acq-x_res-2x_desc-kfine"
    assert {path for path in first if "acq-x" in path} == {
        f"{name}{ending}" for ending in ("_T2w.nii.gz", "_T2w.json", "Std_T2w.nii.gz", "Std_T2w.json")
    }
    assert validator(out) == []
    # it is a judge: what is wrong is an error
    record = json.loads(first[f"{name}_T2w.json"])
    (out / f"{name}_T2w.json").write_text(json.dumps({"stamp": record["stamp"]}))
    assert {issue["subCode"] for issue in validator(out)} == {"Resolution", "SkullStripped"}
    done = batch(*call)
    assert done.lines[0] == "3 images: 1 restored, 2 finished before"
    assert tree(out) == first


def test_sidecars(batch, dataset, tmp_path):
    # the first image is masked: most of its voxels are 0
    path = dataset / FOLDER / "sub-01_ses-a_T1w.nii.gz"
    image = kfine.read(path)
    voxels = np.where(image.voxels > np.quantile(image.voxels, 0.8), image.voxels, 0)
    kfine.write(image.with_plane(voxels), path, overwrite=True)
    image = kfine.read(dataset / FOLDER / "sub-01_ses-a_acq-x_T2w.nii.gz")
    kfine.write(image.with_plane(image.voxels + 1), tmp_path / "air.nii.gz")
    (tmp_path / "air.nii.gz").rename(dataset / FOLDER / "sub-01_ses-a_acq-x_T2w.nii.gz")
    assert batch(dataset, tmp_path / "out", *SIMPLE).code == 0
    said = {
        path.name.split("_desc")[0]: json.loads(path.read_text())
        for path in tmp_path.glob("out/sub*/**/*.json")
    }
    assert {name: content.get("SkullStripped", "not known") for name, content in said.items()} == {
        "sub-01_ses-a_res-2x": "not known", "sub-01_ses-a_acq-x_res-2x": False, "sub-02_res-2x": True,
    }  # fmt: skip
    one = said["sub-01_ses-a_res-2x"]
    assert one["Sources"] == [f"bids:source:{FOLDER}/sub-01_ses-a_T1w.nii.gz"] == [one["SpatialReference"]]
    assert one["Resolution"].startswith("1 x 1 mm in plane: matrix 32x24, of which the central 16x12")
    assert one["kfine"]["method"] == "zero-filling"
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert (description["DatasetType"], description["DatasetLinks"]) == ("derivative", {"source": "../data"})


def test_another_dataset_is_not_added_to(batch, dataset, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset_description.json").write_text('{"Name": "mine", "BIDSVersion": "1.8.0"}')
    done = batch(dataset, tmp_path / "out", *SIMPLE)
    assert (done.code, "another dataset" in done.err) == (2, True)
    assert list(tree(tmp_path / "out")) == ["dataset_description.json"]
    done = batch(dataset, dataset / "results", *SIMPLE)
    assert (done.code, "folder derivatives" in done.err) == (2, True)


@pytest.mark.parametrize("said", ['{"Name": "x"}', "{", "[]", ""])
def test_a_damaged_description(batch, dataset, tmp_path, said):
    (dataset / "dataset_description.json").write_text(said)
    done = batch(dataset, tmp_path / "out", *SIMPLE)
    assert (done.code, "BIDSVersion" in done.err, done.err.count("\n")) == (4, True, 1)
    assert not (tmp_path / "out").exists()


def test_no_description(batch, dataset, tmp_path):
    (dataset / "dataset_description.json").unlink()
    done = batch(dataset, tmp_path / "out", *SIMPLE)
    assert (done.code, done.err.count("without a dataset_description.json")) == (0, 1)
    assert (tmp_path / "out" / FOLDER / "sub-01_ses-a_T1w_kfine.nii.gz").is_file()
