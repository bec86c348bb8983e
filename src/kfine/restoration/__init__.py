"""Restoration: options, choice of method, slices, result."""
