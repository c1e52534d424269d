"""Freeing what nothing uses, beside running backups: the collector's side."""
