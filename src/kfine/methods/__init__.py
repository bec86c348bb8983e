"""Methods: from the measurement of slices to restored slices."""
