"""Restored images against their references: numbers, tables and the figure."""
