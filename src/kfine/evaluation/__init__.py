"""Restored images against their references: numbers and tables."""
