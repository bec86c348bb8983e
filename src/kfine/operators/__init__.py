"""Forward model y = A x + n."""
