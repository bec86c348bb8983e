"""DICOM series."""
