"""Raw k-space: fastMRI, ISMRMRD, BART and NumPy files."""
