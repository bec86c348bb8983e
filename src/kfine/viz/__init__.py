"""Pictures: figures, animations and their parts."""
