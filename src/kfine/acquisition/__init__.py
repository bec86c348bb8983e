"""Acquisition: measured block of k-space, times, target grid, and the plan of a restoration."""
