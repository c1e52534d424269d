"""Lines to stdout and stderr, also when nobody reads them any more."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any


def say(text: str) -> None:
    """Write a line to stderr; what we do goes on when its reader has gone."""
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def tell(text: str) -> None:
    """Write a line of what a command was asked for to stdout; BrokenPipeError: its reader has seen enough."""
    sys.stdout.write(f"{text}\n")


def emit(event: str, **fields: Any) -> None:  # noqa: ANN401  (whatever JSON can hold)
    """Write one JSON object and a line's end to stdout; what we do goes on when its reader has gone."""
    try:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()


def silence_stdout() -> None:
    """Send all further output nowhere, so that nothing fails for the lack of a reader."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
