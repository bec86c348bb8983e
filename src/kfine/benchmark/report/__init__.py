"""Report: one self-contained HTML page.  Its layout cannot change a score."""
