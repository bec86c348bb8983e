"""The option memory: peaks of processes below the limit, the same voxels, and refusals."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kfine
from kfine.cli import run
from kfine.errors import ResourceError, UsageError
from kfine.networks.core import CoreNet
from kfine.restoration import memory
from tests.conftest import phantom

STATUS = Path("/proc/self/status")
# The tightest limit that is not refused, the peak below it with all files written, and how far the voxels are from
# those without a limit.
SCRIPT = """
import json, re, sys, warnings
import numpy as np
import kfine
warnings.simplefilter("ignore")
shape, thick, options, figure, folder = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
rows, columns = np.mgrid[-1:1:1j * shape[-2], -1:1:1j * shape[-1]]
voxels = 200 * (rows**2 + columns**2 < 0.7) + 20 * rng.random(shape)
times = {"frame_times": tuple(np.arange(shape[0]) / shape[0]), "period": 1.0} if shape[0] > 1 else {}
image = kfine.Image(voxels.astype(np.float32), np.diag([thick, 1, 1, 1.0]), **times)
kfine.write(image, folder + "/low.nii.gz")
low = kfine.read(folder + "/low.nii.gz")
needed, result = 1.0, None
while result is None:  # a refusal loads the model and modules, so the next one needs more
    try:
        result = kfine.restore(low, memory=f"{needed}M", **options)
    except kfine.errors.ResourceError as error:
        needed = float(re.search("needs about ([0-9.]+) MB", str(error))[1]) + 4
result.save(folder + "/out.nii.gz", figure=folder + "/out.png" if figure else None)
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak = int(lines["VmHWM"].split()[0]) / 1024
plain = kfine.restore(low, **options)
print(json.dumps({
    "limit": needed, "peak": peak, "largest": float(np.abs(plain.mean.voxels).max()),
    "apart": float(np.abs(plain.mean.voxels - result.mean.voxels).max()),
}))
"""
CASES = {
    "planes": ([1, 12, 64, 64], 1, {"scale": 2, "method": "core"}),
    "interval": ([1, 40, 128, 128], 1, {"scale": 2, "confidence": 0.9, "effort": "fast", "method": "core"}),
    "tiles": ([1, 1, 512, 512], 1, {"scale": 2, "effort": "fast", "method": "core"}),
    "sharp": ([1, 4, 96, 96], 1, {"scale": 2, "effort": "fast", "method": "core", "sharp": True}),
    "srresnet": ([1, 2, 128, 128], 1, {"scale": 2, "effort": "fast", "method": "srresnet"}),
    "samples": ([1, 2, 64, 64], 1, {"scale": 2, "method": "vdm", "samples": 4, "steps": 2}),
    "latents": ([1, 2, 64, 64], 1, {"scale": 2, "method": "ldm", "samples": 4, "steps": 2}),
    "slices": ([1, 10, 96, 96], 4, {"isotropic": True, "method": "core"}),
    "cine": ([12, 2, 48, 48], 8, {"scale": 2, "frames_scale": 2}),
    "baseline": ([1, 6, 256, 256], 1, {"scale": 4, "method": "zero-filling"}),
}


@pytest.fixture
def seen(monkeypatch):
    """The shapes that the core network gets, in a process that takes no memory itself."""
    plain, shapes = CoreNet.forward, []

    def forward(self, image, *rest):
        shapes.append(tuple(image.shape))
        return plain(self, image, *rest)

    monkeypatch.setattr(CoreNet, "forward", forward)
    monkeypatch.setattr(memory, "resident", lambda: 0)
    monkeypatch.setattr(memory, "_REST", 0)
    return shapes


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="peaks of memory are those of Linux")
@pytest.mark.parametrize("case", CASES)
def test_the_peak_stays_below_the_tightest_limit(case, tmp_path):
    shape, thick, options = CASES[case]
    call = json.dumps([shape, thick, options | {"precision": "float32"}, case == "interval", str(tmp_path)])
    done = subprocess.run([sys.executable, "-c", SCRIPT, call], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["peak"] <= found["limit"], found
    assert found["apart"] <= 1e-4 * found["largest"], found


def same(a, b):
    np.testing.assert_allclose(a.mean.voxels, b.mean.voxels, atol=1e-4 * float(np.abs(b.mean.voxels).max()))


def test_smaller_batches(tiny_core_folder, seen):
    image = kfine.Image(phantom((1, 8, 110, 75), 1))  # 220 x 150
    options = {
        "scale": 2,
        "model": tiny_core_folder,
        "precision": "float32",
        "effort": "fast",
        "slices": (0, 4),
    }
    plain = kfine.restore(image, **options)
    for limit, planes in (("120M", 3), ("60M", 1)):
        seen.clear()
        same(kfine.restore(image, **options, memory=limit), plain)
        assert max(shape[0] for shape in seen) == planes
    with pytest.raises(ResourceError, match=r"memory 20\.0 MB: this restoration needs about 2"):
        kfine.restore(image, **options, memory="20M")


def test_then_tiles(tiny_core_folder, seen):
    image = kfine.Image(phantom((1, 1, 350, 310), 1))  # 700 x 620
    options = {"scale": 2, "model": tiny_core_folder, "precision": "float32", "effort": "fast"}
    plain = kfine.restore(image, **options)
    same(kfine.restore(image, **options, memory="400M"), plain)
    assert seen == [(1, 700, 620)] * 2
    same(kfine.restore(image, **options, memory="240M"), plain)
    assert len(seen) > 2
    assert max(rows for _, rows, _ in seen[2:]) < 700


def test_a_limit_takes_no_more_than_is_asked_for(tiny_core_folder, seen):
    image = kfine.Image(phantom((1, 8, 24, 20), 1))
    options = {"scale": 2, "model": tiny_core_folder, "precision": "float32", "effort": "fast"}
    kfine.restore(image, **options, planes_a_call=2, memory="1T")
    assert {planes for planes, _, _ in seen} == {2}


@pytest.mark.parametrize("size", ["4X", "", "-1G", "0", "1 2G", 0, "nan"])
def test_no_size(size):
    with pytest.raises(UsageError, match="expected a size such as 4G or 800M"):
        kfine.restore(kfine.Image(phantom((1, 2, 24, 20), 1)), scale=2, method="zero-filling", memory=size)


def test_a_fit_to_the_volume_has_no_limit():
    image = kfine.Image(phantom((1, 6, 20, 16), 1), np.diag([4.0, 1.0, 1.0, 1.0]))
    with pytest.raises(UsageError, match="does not limit the fit"):
        kfine.restore(image, isotropic=True, adapt=5, memory="4G")


def test_the_command_refuses_with_a_line(tmp_path, capsys):
    kfine.write(kfine.Image(phantom((1, 2, 24, 20), 1)), tmp_path / "low.nii.gz")
    call = ["restore", str(tmp_path / "low.nii.gz"), "--scale", "2", "--method", "zero-filling", "--memory"]
    assert run([*call, "1M"]) == 6
    said = capsys.readouterr().err
    assert said.startswith("kfine: memory 1.0 MB: this restoration needs about ")
    assert said.endswith("; raise the limit, or restore fewer slices at a time with --slices A:B\n")
    assert run([*call, "some"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["low.nii.gz"]
    assert run([*call, "16G", "--quiet"]) == 0


def test_a_batch_refuses_what_does_not_fit_and_knows_its_results(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    kfine.write(kfine.Image(phantom((1, 2, 24, 20), 1)), tmp_path / "in" / "low.nii.gz")
    call = ["batch", str(tmp_path / "in"), str(tmp_path / "out"), "--scale", "2", "--method", "zero-filling"]
    assert run([*call, "--memory", "1M"]) == 3
    assert "failed: low.nii.gz: memory 1.0 MB: this restoration needs" in capsys.readouterr().out
    assert run([*call, "--memory", "16G"]) == 0
    assert capsys.readouterr().out == "1 image: 1 restored\n"
    assert run(call) == 0
    assert capsys.readouterr().out == "1 image: 1 finished before\n"
