"""Training data: files, patches and random low-resolution scans of them."""
