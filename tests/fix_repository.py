"""Stores of every kind that there is, for the tests of the repository."""

from __future__ import annotations

import logging
import os
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from asyncvddk.repository import open_store

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
    """Address of an S3 server with one empty bucket, ``bucket``."""
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    list(open_store("memory://").list(""))  # obstore's own threads start here, once for the process
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT")):
        pass
    yield endpoint
    server.stop()


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3_endpoint: str) -> Place:
    """A new place of each kind that outlives its store object."""
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
    monkeypatch.setattr("asyncvddk.repository._manifests.CHUNK_SIZES", (1 << 12, 1 << 18))
