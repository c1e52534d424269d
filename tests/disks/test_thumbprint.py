"""The thumbprint of a server's certificate, as openssl prints it, fetched beside everything else that the loop does."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk import ConnectParams, Secret, Vddk
from tests.fix_tools import OPENSSL, find

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a self-signed certificate with its key, as a vCenter has one."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=vc.test", "-days", "2")
    subprocess.run(
        [find(OPENSSL), "req", "-x509", *kind, "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )
    with path.open("ab") as file:
        file.write(path.with_suffix(".crt").read_bytes())
    return path


def fingerprint(certificate: Path, algorithm: str) -> str:
    """Return what openssl prints."""
    command: list[str | Path] = [find(OPENSSL), "x509", "-in", certificate, "-noout", "-fingerprint", f"-{algorithm}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().partition("=")[2]


@asynccontextmanager
async def server(handler: Handler, certificate: Path | None = None) -> AsyncIterator[int]:
    """Serve on this loop; yield the port."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    handling: list[asyncio.Task[None] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.current_task())
        with suppress(OSError):  # the client goes without a word
            await handler(reader, writer)
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context) as serving:
        yield serving.sockets[0].getsockname()[1]
    await asyncio.wait([task for task in handling if task])


async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Wait until the client goes."""
    await reader.read()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_the_thumbprint_is_the_one_that_openssl_prints(certificate: Path, algorithm: Any) -> None:  # noqa: ANN401
    """Upper-case pairs with colons; parameters take it as it is. The server runs on the very loop that waits for it."""
    printed = fingerprint(certificate, algorithm)
    async with server(say_nothing, certificate) as port:
        assert await Vddk.thumbprint_of("127.0.0.1", port, algorithm=algorithm) == printed
        assert await Vddk.thumbprint_of("localhost", port, algorithm=algorithm) == printed
    assert ConnectParams("vc", vmx_spec="moref=2", cookie=Secret("c"), thumbprint=printed).thumbprint == printed


@pytest.mark.parametrize(
    ("host", "address", "place"),
    [
        ("fe80::1", "fe80::1", "[fe80::1]:443"),
        ("[::1]", "::1", "[::1]:443"),
        ("vc.example", "vc.example", "vc.example:443"),
    ],
)
async def test_hosts_are_taken_as_people_write_them(
    monkeypatch: pytest.MonkeyPatch, host: str, address: str, place: str
) -> None:
    """IPv6 with and without brackets; port 443 unless told; names are told to the server, addresses are not."""
    asked: list[tuple[object, ...]] = []

    async def refuse(*where: object, server_hostname: str, **_: object) -> None:
        asked.append((*where, server_hostname))
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    with pytest.raises(ConnectionError) as caught:
        await Vddk.thumbprint_of(host)
    assert str(caught.value).startswith(f"{place}: no certificate")
    assert asked == [(address, 443, "" if ":" in host else host)]


@pytest.mark.parametrize("host", ["vc.example:443", "[::1]:443", "https://vc.example", "", "[]", "vc example", "a:b:c"])
async def test_a_host_with_more_than_a_host_is_refused(host: str) -> None:
    """With the way to say it; nothing is asked of the network."""
    with pytest.raises(ValueError, match=r"^host=.*give the name or address alone"):
        await Vddk.thumbprint_of(host)


@pytest.mark.parametrize("wrong", [{"port": 0}, {"port": 65536}, {"algorithm": "md5"}])
async def test_a_wrong_port_or_algorithm_is_refused(wrong: dict[str, Any]) -> None:
    """Before the network is asked."""
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}="):
        await Vddk.thumbprint_of("vc.example", **wrong)


async def test_a_server_that_says_nothing_is_a_timeout_with_its_name() -> None:
    """It takes the connection and no more."""
    async with server(say_nothing) as port:
        with pytest.raises(TimeoutError, match=rf"^127.0.0.1:{port}: no certificate within 0.05 seconds"):
            await Vddk.thumbprint_of("127.0.0.1", port, timeout_s=0.05)


async def test_a_server_without_tls_is_a_connection_error_with_its_name() -> None:
    """Another service, or a closed port."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 VMware Authentication Daemon\r\n")
        await say_nothing(reader, writer)

    async with server(greet) as port:
        with pytest.raises(ConnectionError, match=rf"^127.0.0.1:{port}: no certificate, is a TLS server there\?"):
            await Vddk.thumbprint_of("127.0.0.1", port)
    with pytest.raises(ConnectionError, match=rf"^127.0.0.1:{port}: "):
        await Vddk.thumbprint_of("127.0.0.1", port)


async def test_a_cancelled_fetch_closes_its_connection() -> None:
    """The server sees the client go."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def watch(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1)
        asked.set()
        await reader.read()
        gone.set()

    async with server(watch) as port:
        fetching = asyncio.create_task(Vddk.thumbprint_of("127.0.0.1", port))
        await asked.wait()
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        await gone.wait()
