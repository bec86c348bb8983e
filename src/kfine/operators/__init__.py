"""The forward model y = A x + n."""
