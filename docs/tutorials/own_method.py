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
fine = torch.from_numpy(unsharp(low, 2, 1.0).voxels)
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
# `kfine train` reads a configuration and writes a model folder that `--model` takes. A model of a few hundred parameters,
# trained for a minute, restores nothing well; this shows the way, with the operator in the loop: a convolution learns what
# zero filling lacks of synthetic hearts.

# %%
torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Conv2d(1, 16, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(16, 1, 5, padding=2)
)
optimiser = torch.optim.Adam(network.parameters(), 3e-3)
full = truth.voxels.max()
target = torch.from_numpy(truth.voxels[:2, 0, None] / full)
start = torch.from_numpy(kfine.restore(low, scale=2, method="zero-filling").mean.voxels[:2, 0, None] / full)
for _ in range(60):
    loss = (start + network(start) - target).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
before = (start - target).square().mean()
print(f"mean squared error: {before.item():.2e} before, {loss.item():.2e} after 60 updates")

# %% [markdown]
# `kfine train core --config configs/core.toml --data DATA --out runs/core` trains the packaged model's network; the
# configuration names its data, and a run goes on exactly with `--resume`.
