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
# ## A cine in DICOM
#
# `kfine.phantom` has a heart whose k-space is known exactly: every matrix is measured for itself. Eight frames of 64 x 64
# in one beat of 0.9 s become a DICOM series, as a scanner writes it: a file a frame, with its trigger time and the R-R
# interval in ms.

# %%
import numpy as np
from pydicom.uid import generate_uid

from kfine.phantom.cine import beating_heart

heart = beating_heart((64, 64), frames=8, period=0.9)
study = Path(mkdtemp()) / "cine"
study.mkdir()
header = dcmread(path)
header.SeriesInstanceUID, header.SeriesDescription = generate_uid(), "cine"
header.Rows, header.Columns = heart.matrix
header.AcquisitionMatrix = [64, 0, 0, 64]
header.PixelSpacing, header.NominalInterval = [4, 4], 900
for number, (voxels, seconds) in enumerate(zip(heart.voxels[:, 0], heart.frame_times, strict=True)):
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    header.InstanceNumber, header.TriggerTime = number + 1, 1000 * seconds
    header.PixelData = np.rint(voxels * (1000 / heart.voxels.max())).astype(np.int16).tobytes()
    header.save_as(study / f"{number}.dcm")

cine = kfine.read(study)
cine.voxels.shape, cine.frame_times[:3], cine.period

# %% [markdown]
# Sixteen frames of 128 x 128. `cine-regression` is the fast one of the methods for cines.

# %%
finer = kfine.restore(study, scale=2, frames_scale=2, method="cine-regression")
finer.mean.frame_times[:3], finer.provenance["frames"]["restored_at_measured_times"]

# %% [markdown]
# *Play* shows it in true time.

# %%
finer.show()

# %% [markdown]
# Against the same heart measured finely, in the restored frames between two measured ones:

# %%
truth = beating_heart((128, 128), frames=16, period=0.9).voxels
truth = truth * (1000 / heart.voxels.max())
nearest = kfine.restore(study, scale=2, frames_scale=2, method="zero-filling", time_method="nearest")
for name, restored in {"nearest frame": nearest, "kfine": finer}.items():
    error = np.sqrt(np.mean((restored.mean.voxels - truth)[1::2] ** 2)) / truth.max()
    print(f"{name:14} root mean square error {100 * error:.2f} % of full intensity")

# %% [markdown]
# The finer cine joins the study, with the trigger times of its frames.

# %%
if find_spec("highdicom"):
    written = finer.save(Path(mkdtemp()) / "finer")
    images = [dcmread(file) for folder in written if folder.is_dir() for file in folder.iterdir()]
    print(sorted(float(image.TriggerTime) for image in images)[:4])
