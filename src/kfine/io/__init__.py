"""Input and output of images: `read`, `write`, and `write_dicom` for a series in the study of its source."""

from kfine.io.dicom.derived.writer import write_dicom
from kfine.io.reading import read
from kfine.io.writing import write

__all__ = ["read", "write", "write_dicom"]
