# %% [markdown]
# # A method of your own
#
# ## Ten lines
#
# A method takes a coarse image to a finer matrix. This one sharpens the zero-filled image; what was measured is put back by
# the library's projection.

# %%
from dataclasses import replace

from scipy import ndimage

import kfine
from kfine.evaluation.comparison import compare
from kfine.phantom.cine import beating_heart


def unsharp(low, scale, amount):
    """Return `low` zero-filled, with a part of what a Gaussian blur takes away added once more."""
    image = kfine.restore(low, scale=scale, method="zero-filling").mean
    smooth = ndimage.gaussian_filter(image.voxels, sigma=1, axes=(-2, -1))
    return replace(image, voxels=image.voxels + amount * (image.voxels - smooth))


truth = beating_heart((128, 128), frames=3)
low = beating_heart((64, 64), frames=3)
for amount in (0.0, 0.3, 1.0):
    print(f"amount {amount}: {compare(truth, unsharp(low, 2, amount)).whole.psnr:.2f} dB")

# %% [markdown]
# ## Consistent with the scan
#
# An operator and its projection end every method: new detail stays outside the measured block.

# %%
import torch

from kfine.operators.kspace import KSpaceCrop, measurement_of

A = KSpaceCrop((128, 128), (64, 64), real=True)
fine = torch.from_numpy(unsharp(low, 2, 1.0).voxels.copy())
measured = measurement_of(torch.from_numpy(low.voxels.copy()), A)
projected = A.project(fine, measured).numpy()
print(f"{compare(truth, replace(truth, voxels=projected)).whole.psnr:.2f} dB")

# %% [markdown]
# ## In the benchmark
#
# `kfine.benchmark` runs a method beside all others under seeded degradations and writes a report:
#
# ```python
# from kfine.benchmark import Outcome, benchmark
#
#
# class UnsharpMask:
#     name = "unsharp mask"
#     kind = "baseline"
#     settings = {"amount": 0.3}
#
#     def restore(self, low, *, matrix, seed):
#         return Outcome(mean=unsharp(low, matrix[0] / low.matrix[0], 0.3))
#
#
# benchmark("FOLDER_OF_IMAGES", "REPORT", methods=["zero-filling", "bicubic", UnsharpMask()])
# ```
#
# ## Train
#
# `kfine train` reads a configuration and writes a model folder. The same trainer runs from Python. This run takes seconds:
# a network of about thirty thousand parameters sees an echo-planar brain that comes with nibabel. It shows the way, and
# restores nothing well; the packaged network saw many heads, knees and hearts for hours.

# %%
from pathlib import Path
from tempfile import mkdtemp

import nibabel
from nibabel.testing import data_path

from kfine.training.config import CoreTrainingConfig
from kfine.training.loop import Devices, train
from kfine.training.tasks.core import CoreTask

work = Path(mkdtemp())
(work / "data" / "heads").mkdir(parents=True)
epi = nibabel.load(Path(data_path) / "example4d.nii.gz")
for name, first, last in (("train", 6, 14), ("validate", 15, 18)):
    nibabel.save(epi.slicer[:, :, first:last, 0], work / "data" / "heads" / f"{name}.nii")

config = CoreTrainingConfig.model_validate(
    {
        "data": {"sources": [{"folder": "heads"}], "validation": ["heads/validate*"], "patch": 32},
        "network": {"widths": (8, 16), "blocks": 1},
        "optimiser": {"steps": 60, "batch": 4, "warmup": 5, "schedule": "constant"},
        "report": {"checkpoint": 60, "validate_every": 60, "picture": 60, "planes": 1, "matrix": 64},
    }
)
losses = []
model = train(
    CoreTask(config, work / "data"),
    out=work / "run",
    devices=Devices("cpu", workers=0),
    on_step=lambda step, loss: losses.append(loss),
)
print(
    f"loss: {sum(losses[:10]) / 10:.4f} in the first ten updates, {sum(losses[-10:]) / 10:.4f} in the last ten"
)
sorted(path.name for path in (work / "run").iterdir())

# %% [markdown]
# `model` is a folder of weights (safetensors) and a configuration. `kfine.restore` and `kfine restore --model` take it.

# %%
ours = kfine.restore(low, scale=2, method="core", model=model, effort="fast")
print(f"{compare(truth, ours.mean).whole.psnr:.2f} dB, residual {ours.residual:.1e}")

# %% [markdown]
# `kfine train core --config configs/core.toml --data DATA --out runs/core` trains the packaged model's network; the
# configuration names its data, and a run goes on exactly with `--resume`.
