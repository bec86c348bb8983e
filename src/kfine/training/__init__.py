"""Training of models: data, losses, loop."""
