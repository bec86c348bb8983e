# %% [markdown]
# # Raw k-space
#
# Raw k-space is complex: what was measured can be reproduced exactly. Four coils see the synthetic heart, each with its own
# sensitivity; their k-space goes to a `.npy` file, as fastMRI, ISMRMRD and BART files would.

# %%
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

import kfine
from kfine.phantom.cine import beating_heart

path = Path(mkdtemp()) / "scan.npy"
matrix = (96, 96)
heart = beating_heart(matrix, frames=4, measured=True).voxels[0, 0]
rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in matrix), indexing="ij")
places = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
coils = np.stack([np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 4 + 1j * r * columns) for r, c in places])
shifted = np.fft.ifftshift(coils * heart, axes=(-2, -1))
kspace = np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1))
noise = np.random.default_rng(0).normal(size=(2, *kspace.shape)) * 0.002 * np.abs(heart).max()
np.save(path, (kspace + noise[0] + 1j * noise[1]).astype(np.complex64))

# %%
image = kfine.read(path, coil_axis=0)
image.measured, image.voxels.dtype, image.matrix

# %% [markdown]
# Coils are combined by sensitivities that are estimated from the data; the record keeps how.

# %%
restored = kfine.restore(image, scale=2, effort="fast")
restored.show()

# %% [markdown]
# Measured again, the result is the measurement: the relative difference is that of single precision.

# %%
print(f"{restored.residual:.1e}", restored.provenance["kspace"])

# %% [markdown]
# ## The operator by itself
#
# `KSpaceCrop` keeps the centre. Its pseudo-inverse fills up with zeros, and `project` changes an image only where it was
# measured.

# %%
import torch

from kfine.operators.kspace import KSpaceCrop

A = KSpaceCrop((192, 192), matrix, real=False)
x = torch.randn(192, 192, dtype=torch.complex64)
y = torch.randn(*matrix, dtype=torch.complex64)
consistent = A.project(x, y)
float((A(consistent) - y).abs().max())
