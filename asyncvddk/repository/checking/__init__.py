"""Checks of what is stored, and whose data is damaged."""
