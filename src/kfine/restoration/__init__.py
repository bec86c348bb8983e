"""From a low-resolution image to a high-resolution one: options, choice of method, streaming, resuming."""
