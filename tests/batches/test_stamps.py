"""Stamps identify files by content."""

import json

import pytest

from kfine.batches.worker import State, input_digest, output_digest, stamped, state_of, text_digest


@pytest.fixture
def results(tmp_path):
    """Record, image and a folder of images, stamped with "key"."""
    record, image, folder = tmp_path / "x.json", tmp_path / "x.nii", tmp_path / "x"
    image.write_text("image")
    folder.mkdir()
    (folder / "IM00001.dcm").write_text("one")
    digests = {path.name: output_digest(path) for path in (image, folder)}
    record.write_text(json.dumps(stamped({"seed": 0}, key="key", files=digests)) + "\n")
    return record, image, folder


def state(results, key="key"):
    record, image, folder = results
    return state_of(record, key=key, outputs=[image, folder, record.with_name("std.nii")])


def test_finished_and_foreign(results):
    assert state(results) is State.FINISHED
    assert state(results, "another") is State.FOREIGN


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda record, image, folder: truncate(image),
        lambda record, image, folder: image.write_text("imagf"),
        lambda record, image, folder: image.unlink(),
        lambda record, image, folder: truncate(folder / "IM00001.dcm"),
        lambda record, image, folder: (folder / "IM00002.dcm").touch(),
        lambda record, image, folder: record.write_text(record.read_text().replace('"seed": 0', '"seed": 1')),
        lambda record, image, folder: truncate(record),
        lambda record, image, folder: record.write_text(record.read_text()[:-2]),
        lambda record, image, folder: record.write_text(""),
        lambda record, image, folder: record.with_name("std.nii").touch(),
    ],
)
def test_damage_is_seen(results, damage):
    damage(*results)
    assert state(results) is State.DAMAGED


def test_what_is_not_ours_is_foreign(results):
    record, image, folder = results
    record.write_text('{"seed": 0}')
    assert state(results) is State.FOREIGN
    record.write_text("[1]")
    assert state(results) is State.FOREIGN
    record.unlink()
    assert state(results) is State.FOREIGN
    image.unlink()
    (folder / "IM00001.dcm").unlink()
    folder.rmdir()
    assert state(results) is State.FREE
    image.symlink_to("nowhere")
    assert state(results) is State.FOREIGN


def test_digests(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    a, b = tmp_path / "a", tmp_path / "b"
    assert input_digest([a, b]) == input_digest([b, a]) != input_digest([a])
    assert output_digest(a) == text_digest("a")
    assert output_digest(tmp_path / "c") is None
