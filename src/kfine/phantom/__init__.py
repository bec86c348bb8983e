"""A synthetic beating heart whose k-space is known exactly, for demonstrations and tests."""
