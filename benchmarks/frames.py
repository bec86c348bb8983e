"""The Sunnybrook frames of patients, PNG pictures, as one NIfTI file a patient, which kfine benchmark takes.

python benchmarks/frames.py --data FRAMES --out HEARTS [--subjects SC-N-11 SC-HYP-38 SC-HF-NI-33]

A picture has no voxel size: 1.3 mm in plane, as the patients whose DICOM series is known, and 8 mm between slices.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import kfine
from kfine.image import Image
from kfine.training.data.cines import is_of, read_frames

VALIDATION = ("SC-N-11", "SC-HYP-38", "SC-HF-NI-33")
AFFINE = np.diag((8.0, 1.3, 1.3, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--subjects", nargs="+", default=VALIDATION)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for subject in options.subjects:
        volume = frames_of(options.data, subject)
        kfine.write(volume, options.out / f"{subject}.nii.gz")
        print(f"{subject}: {volume.slices} frames")


def frames_of(folder: Path, subject: str) -> Image:
    """Return a patient's pictures as slices of one volume."""
    pictures = sorted(folder.glob("*.png"))
    planes = [read_frames(path).voxels[0, 0] for path in pictures if is_of(path.name, subject)]
    if not planes:
        raise SystemExit(f"expected pictures of {subject} in {folder}, found none")
    return Image(np.stack(planes)[None], AFFINE)


if __name__ == "__main__":
    main()
