"""Stores of every kind that there is, for the tests of the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repository can be made."""

    url: str
    options: dict[str, str] | None = None


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 server with one empty bucket, ``bucket``: a process of its own, on a port that is free."""
    from asyncvddk.repository import open_store  # noqa: PLC0415  (the other tests need not load it)

    list(open_store("memory://").list(""))  # obstore's own threads start here, once for the process
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        try:
            said = iter(server.stderr.readline, "")
            endpoint = next(match[0] for line in said if (match := re.search(r"http://127\.0\.0\.1:\d+", line)))
            drain = threading.Thread(target=server.stderr.read, daemon=True)  # a line for each request
            drain.start()
            request = urllib.request.Request(f"{endpoint}/bucket", method="PUT")  # noqa: S310  (it is http)
            with urllib.request.urlopen(request):  # noqa: S310
                pass
            yield endpoint
        finally:
            server.terminate()


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3_endpoint: str) -> Place:
    """Return a new place of each kind that outlives its store object."""
    if request.param == "local":
        return Place(str(tmp_path / "repository"))
    return s3_place(s3_endpoint)


def s3_place(endpoint: str) -> Place:
    """Return a new place in the bucket of the server."""
    options = {
        "endpoint": endpoint,
        "access_key_id": "test",
        "secret_access_key": "test",
        "region": "us-east-1",
    }
    return Place(f"s3://bucket/{os.urandom(8).hex()}", options)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let repositories have chunks of 4 KiB."""
    monkeypatch.setattr("asyncvddk.repository.format._manifests.CHUNK_SIZES", (1 << 12, 1 << 18))
