"""Training tasks: one file a stage."""
