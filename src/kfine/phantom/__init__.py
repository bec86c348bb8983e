"""Synthetic beating heart with exactly known k-space, for demonstrations and tests."""
