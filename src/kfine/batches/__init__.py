"""Batches: images below a folder, names of their results, finished work."""
