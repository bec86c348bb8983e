"""kfine demo on the MR image in pydicom's package."""

import json

import kfine


def test_the_demo_leaves_an_image_and_a_picture(command, tiny_model_folder, tmp_path):
    folder = tmp_path / "new" / "demo"
    done = command("demo", "-o", folder, "--model", tiny_model_folder)
    assert done.code == 0, done.err
    assert {p.name for p in folder.iterdir()} == {
        "mr_small.nii.gz",
        "mr_small_std.nii.gz",
        "mr_small.json",
        "mr_small.png",
    }
    assert kfine.read(folder / "mr_small.nii.gz").matrix == (128, 128)
    assert json.loads((folder / "mr_small.json").read_text())["input"]["kind"] == "dicom"
    assert done.lines[-1] == f"The picture: {folder.resolve() / 'mr_small.png'}"
    assert command("demo", "-o", folder, "--model", tiny_model_folder).code == 2
    again = command("demo", "-o", folder, "--model", tiny_model_folder, "--overwrite", "--quiet")
    assert (again.code, again.out, again.err) == (0, "", "")


def test_a_demo_that_fails_leaves_no_folder(command, tmp_path):
    assert command("demo", "-o", tmp_path / "a" / "b", "--model", "no-such-model").code == 5
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert command("demo", "-o", tmp_path / "file").code == 2
