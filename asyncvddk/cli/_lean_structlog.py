"""Imports structlog without rich, which it would load for colourful tracebacks: a tenth of a second at each start.

The command line shows no tracebacks through structlog, and starts often.
"""

from __future__ import annotations

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # None makes an import fail, which structlog provides for
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
