"""The report: one HTML page that needs nothing besides itself.  How it looks cannot change a score."""
