"""The forward direction: low-resolution scans made from high-resolution images."""
