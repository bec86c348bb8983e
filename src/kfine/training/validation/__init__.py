"""Validation during training: figures and pictures."""
