"""kfine demo on the MR image in pydicom's package and on the synthetic heart."""

import json

import kfine


def names(stem, *more):
    return {f"{stem}{end}" for end in (".nii.gz", "_std.nii.gz", ".json", ".png", *more)}


def test_the_demo_leaves_images_and_pictures(command, tiny_model_folder, tiny_cine_folder, tmp_path):
    folder = tmp_path / "new" / "demo"
    call = ("demo", "-o", folder, "--model", tiny_model_folder, "--cine-model", tiny_cine_folder)
    done = command(*call)
    assert done.code == 0, done.err
    assert {p.name for p in folder.iterdir()} == names("mr_small") | names("beating_heart", ".gif")
    assert kfine.read(folder / "mr_small.nii.gz").matrix == (128, 128)
    assert json.loads((folder / "mr_small.json").read_text())["input"]["kind"] == "dicom"
    heart = kfine.read(folder / "beating_heart.nii.gz")
    assert (heart.frames, heart.matrix) == (20, (128, 128))
    assert json.loads((folder / "beating_heart.json").read_text())["kspace"] == "measured"
    assert done.lines[-2:] == [
        f"The pictures: {folder.resolve() / 'mr_small.png'}",
        f"and, moving, {folder.resolve() / 'beating_heart.gif'}",
    ]
    assert command(*call).code == 2
    again = command(*call, "--overwrite", "--quiet")
    assert (again.code, again.out, again.err) == (0, "", "")


def test_a_demo_that_fails_leaves_no_folder(command, tiny_model_folder, tmp_path):
    second = ("--model", tiny_model_folder, "--cine-model", "no-such-model")
    assert command("demo", "-o", tmp_path / "a" / "b", *second).code == 5
    assert list(tmp_path.iterdir()) == []
    assert command("demo", "-o", tmp_path / "a" / "b", "--model", "no-such-model").code == 5
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert command("demo", "-o", tmp_path / "file").code == 2
