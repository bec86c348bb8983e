"""Trained models: weights and configuration on disk, their domain and their sampling; one folder a packaged model."""
