# %% [markdown]
# # DICOM and a beating heart
#
# ## DICOM in, DICOM out
#
# pydicom brings a small MR image. The result joins its study: a derived series with the same patient, frame of reference
# and position, and the uncertainty as a Parametric Map.

# %%
from pathlib import Path
from tempfile import mkdtemp

from pydicom import dcmread
from pydicom.data import get_testdata_file

import kfine

path = get_testdata_file("MR_small.dcm", download=False)
kfine.info(path)

# %%
restored = kfine.restore(path, scale=2, effort="fast")
restored.show()

# %%
from importlib.util import find_spec

if find_spec("highdicom"):  # the extra `dicom`
    written = restored.save(Path(mkdtemp()) / "derived")
    image = dcmread(next(file for folder in written if folder.is_dir() for file in folder.iterdir()))
    print(image.ImageType, image.Rows, image.Columns, [float(mm) for mm in image.PixelSpacing])
    print(image.StudyInstanceUID == dcmread(path).StudyInstanceUID)

# %% [markdown]
# ## A beating heart
#
# `kfine.phantom` has a heart whose k-space is known exactly: every matrix is measured for itself. Eight frames of 64 x 64 in
# one beat of 0.9 s become sixteen of 128 x 128. `cine-regression` is the fast one of the methods for cines.

# %%
from kfine.phantom.cine import beating_heart

cine = beating_heart((64, 64), frames=8, period=0.9)
finer = kfine.restore(cine, scale=2, frames_scale=2, method="cine-regression")
finer.mean.frame_times[:3], finer.provenance["frames"]["restored_at_measured_times"]

# %% [markdown]
# *Play* shows it in true time.

# %%
finer.show()

# %% [markdown]
# Against the same heart measured finely, in the restored frames between two measured ones:

# %%
import numpy as np

truth = beating_heart((128, 128), frames=16, period=0.9).voxels
nearest = kfine.restore(
    cine, scale=2, frames_scale=2, method="zero-filling", time_method="nearest"
).mean.voxels
for name, voxels in {"nearest frame": nearest, "kfine": finer.mean.voxels}.items():
    error = np.sqrt(np.mean((voxels - truth)[1::2] ** 2)) / truth.max()
    print(f"{name:14} root mean square error {100 * error:.2f} % of full intensity")
