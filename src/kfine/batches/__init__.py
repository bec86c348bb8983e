"""Whole folders: which images lie below one, what their results are called, and which are finished."""
