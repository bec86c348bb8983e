"""Derived DICOM series: restored images in the study of their source."""
