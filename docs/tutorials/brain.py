# %% [markdown]
# # A brain in NIfTI
#
# A real scan is measured again at a lower resolution, restored, and compared with what it was. The image comes with
# nibabel, which kfine needs anyway: an echo-planar brain, 128 x 96 pixels of 2 mm.

# %%
from pathlib import Path
from tempfile import mkdtemp

import nibabel
from nibabel.testing import data_path

import kfine

work = Path(mkdtemp())
epi = nibabel.load(Path(data_path) / "example4d.nii.gz")
nibabel.save(epi.slicer[:, :, 10:14, 0], work / "brain.nii.gz")
truth = kfine.read(work / "brain.nii.gz")
truth.voxels.shape, truth.voxel_sizes

# %% [markdown]
# `voxels[frame, slice, row, column]`; sizes in mm along (slice, row, column). `kfine.degrade` measures the centre of its
# k-space: half the rows, half the columns. As a scanner would, it gives magnitudes.

# %%
low = kfine.degrade(truth, scale=2)
low.matrix

# %% [markdown]
# ## Restore
#
# The method is chosen by what the image is. `effort="fast"` takes one evaluation of the network a plane instead of four.

# %%
restored = kfine.restore(low, matrix=truth.matrix, effort="fast")
restored.provenance["method"], round(restored.residual, 4)

# %% [markdown]
# ## Look
#
# Drag *Before ... after*; click a picture to move the line of the profile; choose the difference in the right pane.

# %%
restored.show()

# %% [markdown]
# ## Measure
#
# PSNR in dB and SSIM over slices, against zero filling and bicubic interpolation on the same grid. An echo-planar image has
# little detail beyond the coarse grid, so that the differences are small.

# %%
from kfine.evaluation.comparison import compare

for method in ("bicubic", "zero-filling"):
    simple = kfine.restore(low, matrix=truth.matrix, method=method).mean
    scores = compare(truth, simple).whole
    print(f"{method:14} {scores.psnr:.2f} dB {scores.ssim:.3f}")
scores = compare(truth, restored.mean).whole
print(f"{'core':14} {scores.psnr:.2f} dB {scores.ssim:.3f}")

# %% [markdown]
# ## Is the uncertainty right?
#
# The share of voxels inside the head whose truth lies within 1.64 standard deviations; 90 % is expected.

# %%
import numpy as np

from kfine.evaluation.foreground import foreground

error = np.abs(restored.mean.voxels - truth.voxels)
inside = foreground(truth)
float((error <= 1.64 * restored.std.voxels)[np.broadcast_to(inside, error.shape)].mean())

# %% [markdown]
# ## Write
#
# The mean, the standard deviation and the record, all of them or none.

# %%
[path.name for path in restored.save(work / "fine.nii.gz")]
