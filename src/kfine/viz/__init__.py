"""Figures and animations of images and results."""
