"""Trained models: weights and configuration on disk, domain, sampling defaults; one folder per packaged model."""
