"""kfine restore: everything that can be wrong, its exit code, and that nothing is written then."""

import gzip
import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

import kfine

USAGE = [
    ([], "got neither"),
    (["--scale", 2, "--matrix", "32x24"], "got both"),
    (["--matrix", "32"], "ROWSxCOLUMNS"),
    (["--matrix", "0x24"], "ROWSxCOLUMNS"),
    (["--matrix", "32x-24"], "ROWSxCOLUMNS"),
    (["--matrix", "1e2x24"], "ROWSxCOLUMNS"),
    (["--matrix", "9" * 5000 + "x24"], "ROWSxCOLUMNS"),
    (["--scale", "two"], "--scale"),
    (["--scale", "nan"], "at least 1"),
    (["--scale", "inf"], "at least 1"),
    (["--scale", "-2"], "at least 1"),
    (["--scale", "1e6"], "32767"),
    (["--scale", 2, "--slices", "1"], "A:B"),
    (["--scale", 2, "--slices", "2:1"], "A < B"),
    (["--scale", 2, "--slices", "1:4"], "<= 3"),
    (["--scale", 2, "--slices", "7:"], "<= 3"),
    (["--scale", 2, "--slices", "9" * 5000 + ":"], "A:B"),
    (["--scale", 2, "--seed", "-1"], "--seed"),
    (["--scale", 2, "--samples", 0], "--samples"),
    (["--scale", 2, "--samples", 10**12], "at most"),
    (["--scale", 2, "--steps", 1.5], "--steps"),
    (["--scale", 2, "--steps", 10**12], "at most"),
    (["--scale", 2, "--strength", 2], "strength"),
    (["--scale", 2, "--noise", "nan"], "noise"),
    (["--scale", 2, "--start", 0], "start"),
    (["--scale", 2, "--method", "magic"], "zero-filling"),
    (["--scale", 2, "--sampler", "magic"], "dpm-solver-2m"),
    (["--scale", 2, "--device", "tpu"], "cuda"),
    (["--scale", 2, "--precision", "int8"], "bfloat16"),
    (["--scale", 2, "--series", "3"], "series, echo and part"),
    (["--scale", 2, "--method", "bicubic"], "no use for model"),
    (["--scale", 2, "--figure", "f.gif"], ".png"),
    (["--scale", 2, "--figure", "."], "figure ."),
    (["--scale", 2, "--bogus"], "--bogus"),
    (["--scale", 2, "-o", "out.dcm"], ".nii.gz"),
    (["--scale", 2, "-o", ".nii.gz"], ".nii.gz"),
    (["--scale", 2, "-o", "no/such/folder/out.nii.gz"], "folder does not exist"),
    (["--scale", 2, "-o", "x" * 300 + ".nii.gz"], "not a usable file name"),
]


@pytest.mark.parametrize(("arguments", "says"), USAGE, ids=lambda x: " ".join(map(str, x))[:40])
def test_a_wrong_call_is_a_usage_error(
    command, low, tiny_model_folder, monkeypatch, tmp_path, files, arguments, says
):
    monkeypatch.chdir(tmp_path)
    before = files()
    done = command("restore", low, "--model", tiny_model_folder, *arguments)
    assert done.code == 2
    assert says in done.err
    assert files() == before


def test_output_in_the_place_of_something_else(command, low, tmp_path):
    (tmp_path / "folder.nii.gz").mkdir()
    done = command("restore", low, "-o", tmp_path / "folder.nii.gz", "--scale", 2, "--overwrite")
    assert (done.code, "it is a folder" in done.err) == (2, True)
    os.mkfifo(tmp_path / "pipe.nii.gz")
    done = command("restore", low, "-o", tmp_path / "pipe.nii.gz", "--scale", 2, "--overwrite")
    assert (done.code, "device or pipe" in done.err) == (2, True)
    (tmp_path / "dangling.nii.gz").symlink_to("nowhere")
    assert command("restore", low, "-o", tmp_path / "dangling.nii.gz", "--scale", 2).code == 2


def test_inputs_that_cannot_be_used(command, low, tmp_path, files, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cut.nii.gz").write_bytes(low.read_bytes()[:400])
    Path("a.txt").write_text("hello, this is no image")
    Path("e.nii").touch()
    Path("hollow").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 8, 2), np.float32), np.eye(4)), "flat.nii")
    voxels = np.random.default_rng(0).uniform(size=(8, 8, 2)).astype(np.float32)
    voxels[2, 3, 1] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), "nan.nii")
    before = files()
    for name in ("missing.nii.gz", "cut.nii.gz", "a.txt", "e.nii", "flat.nii", "nan.nii", "hollow"):
        done = command("restore", name, "-o", "o.nii.gz", "--scale", 2, "--method", "bicubic")
        assert (done.code, name in done.err) == (4, True), done.err
    assert files() == before


def test_a_pipe_is_no_input(command, tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    done = command("restore", tmp_path / "pipe.nii", "--scale", 2, "--method", "bicubic")
    assert (done.code, "device or pipe" in done.err) == (4, True)


def test_a_bomb_is_refused(command, tmp_path):
    image = nibabel.Nifti1Image(np.ones((8, 8, 2), np.float32), np.eye(4))
    head = bytearray(image.header.binaryblock)
    head[40:56] = np.array([3, 30000, 30000, 30000, 1, 1, 1, 1], "<i2").tobytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(bytes(head) + bytes(100)))
    done = command("restore", tmp_path / "bomb.nii.gz", "--scale", 2, "--method", "bicubic")
    assert done.code in {4, 6}


def test_targets_that_do_not_fit_the_image(command, low):
    done = command("restore", low, "--matrix", "8x32", "--method", "bicubic")
    assert (done.code, "kfine degrade" in done.err) == (4, True)
    done = command("restore", low, "--matrix", "16x12", "--method", "bicubic")
    assert (done.code, "already" in done.err) == (4, True)


def test_a_target_beyond_memory_is_refused_before_the_work(command, low):
    done = command("restore", low, "--matrix", "32767x32767", "--method", "bicubic")
    assert (done.code, "memory" in done.err) == (6, True)


@pytest.fixture
def broken(tiny_model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    return folder


def damage_hash(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")


def only_a_pickle(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, folder / "weights.pt")


def truncate(folder):
    import hashlib

    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    config = json.loads((folder / "config.json").read_text())
    config["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


def sampling(**table):
    def spoil(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"sampling": table}))

    return spoil


def foreign(folder):
    (folder / "config.json").write_text('{"architectures": ["BertModel"]}')


def no_json(folder):
    (folder / "config.json").write_text("\x1b[31mhello\n\n")


def no_config(folder):
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (damage_hash, "SHA-256"),
        (only_a_pickle, "pickle"),
        (truncate, "damaged or foreign"),
        (foreign, "not a kfine model"),
        (no_json, "cannot be read"),
        (no_config, "found none"),
        (sampling(steps="six"), "sampling.steps"),
        (sampling(samples=0), "sampling.samples"),
        (sampling(sampler="euler"), "sampling.sampler"),
        (sampling(turned=[]), "sampling.turned"),
        (sampling(speed=1), "sampling.speed"),
    ],
)
def test_models_that_cannot_be_trusted(command, low, broken, files, spoil, says):
    spoil(broken)
    before = files()
    done = command("restore", low, "--scale", 2, "--model", broken)
    assert (done.code, says in done.err) == (5, True)
    assert files() == before


def test_a_model_that_is_not_there(command, low):
    done = command("restore", low, "--scale", 2, "--model", "no-such-model")
    assert (done.code, "found neither" in done.err) == (5, True)
    done = command("restore", low, "--scale", 2, "--model", low)
    assert (done.code, "got a file" in done.err) == (5, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there(command, low, tiny_model_folder):
    done = command("restore", low, "--scale", 2, "--model", tiny_model_folder, "--device", "cuda")
    assert (done.code, "--device cpu" in done.err) == (6, True)


def test_a_folder_that_takes_no_files_is_noticed_before_the_work(command, low, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("kfine.files.staging.tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("kfine.io.read", lambda *_, **__: pytest.fail("worked before it looked"))
    done = command("restore", low, "--scale", 2, "--method", "bicubic")
    assert (done.code, "Permission denied" in done.err) == (6, True)


def test_too_little_memory_is_a_resource(command, low, monkeypatch):
    for error in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
        OSError(28, "No space left on device"),
    ):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr("kfine.restoration.restore.restore_planned", fail)
        assert command("restore", low, "--scale", 2, "--method", "bicubic").code == 6


def test_a_fault_of_our_own_is_one_line_too(command, low, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("x\ny\x1b[31m")

    monkeypatch.setattr("kfine.restoration.restore.restore_planned", fail)
    done = command("restore", low, "--scale", 2, "--method", "bicubic")
    assert done.code == 1
    assert "unexpected ZeroDivisionError: x y" in done.err
    monkeypatch.setenv("KFINE_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        command("restore", low, "--scale", 2, "--method", "bicubic")


def test_control_characters_in_names_are_not_printed(command, tmp_path):
    name = "a\x1b[31m\nb\u202e\x07.nii.gz"
    done = command("restore", tmp_path / name, "--scale", 2)
    assert done.code == 4
    done = command("restore", tmp_path / name, "--scale", 2, "-o", tmp_path / f"no\n/{name}")
    assert done.code == 2
    assert "\x1b" not in done.err


def test_results_of_kfine_are_refused(command, low, tmp_path, files):
    """By the header wherever the file went; by the record beside it where another program wrote the header."""
    simple = ["--scale", 2, "--method", "zero-filling"]
    assert command("restore", low, *simple).code == 0
    result = tmp_path / "low_x2_zero-filling_kfine.nii.gz"
    renamed, rewritten = tmp_path / "other.nii.gz", tmp_path / "stripped.nii.gz"
    renamed.write_bytes(result.read_bytes())
    kfine.write(kfine.read(result), rewritten)
    (tmp_path / "stripped.json").write_bytes((tmp_path / "low_x2_zero-filling_kfine.json").read_bytes())
    before = files()
    for again in (result, renamed, rewritten):
        done = command("restore", again, "-o", tmp_path / "twice.nii.gz", *simple)
        assert (done.code, "result of kfine" in done.err, "--force" in done.err) == (4, True, True)
        assert files() == before
    assert command("restore", result, "-o", tmp_path / "twice.nii.gz", *simple, "--force").code == 0


@pytest.mark.parametrize(
    "record", ["{", "[]", '{"software": {"kfine": "1"}, "matrix": {"restored": [7, 7]}}', '"kfine"']
)
def test_what_only_looks_like_a_record_refuses_nothing(command, low, tmp_path, record):
    low.with_name("low.json").write_text(record)
    done = command("restore", low, "--scale", 2, "--method", "zero-filling")
    assert (done.code, (tmp_path / "low_x2_zero-filling_kfine.nii.gz").is_file()) == (0, True)
