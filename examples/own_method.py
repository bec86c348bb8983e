"""A method of one's own in kfine's benchmark: unsharp masking of the zero-filled image.

python examples/own_method.py FOLDER_OF_IMAGES REPORT_FOLDER
"""

import sys
from dataclasses import replace

from scipy import ndimage

import kfine
from kfine.benchmark import Outcome, benchmark


class UnsharpMask:
    """Zero filling, and what a Gaussian blur takes away from it once more."""

    name = "unsharp mask"
    kind = "baseline"  # nothing learnt

    def __init__(self, amount):
        self.settings = {"amount": amount}  # everything that decides the result besides this code

    def restore(self, low, *, matrix, seed):
        """Return the image restored to `matrix`."""
        image = kfine.restore(low, matrix=matrix, method="zero-filling").mean
        smooth = ndimage.gaussian_filter(image.voxels, sigma=1, axes=(-2, -1))
        sharper = image.voxels + self.settings["amount"] * (image.voxels - smooth)
        return Outcome(mean=replace(image, voxels=sharper))


if __name__ == "__main__":
    benchmark(*sys.argv[1:3], methods=["zero-filling", "bicubic", UnsharpMask(0.3)], slices=3)
