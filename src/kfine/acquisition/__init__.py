"""Acquisition: measured block of k-space, frame times, target grid, and the plan of a restoration."""
