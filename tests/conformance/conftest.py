"""The engine's library as tests/engine loads it."""

from __future__ import annotations

from tests.engine.conftest import engine, library

__all__ = ["engine", "library"]
