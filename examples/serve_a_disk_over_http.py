"""How do I use a disk inside a web application, and stream a part of it?

Output::

    206 bytes 1048570-5242880/16777216
    4194311 bytes, the first b'......hello'
"""  # noqa: D400  (a question)

from __future__ import annotations

import asyncio
import re
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from asyncvddk import AsyncDisk, Vddk
from asyncvddk.testing import make_disk_sync  # you have a disk already

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


async def parts(disk: AsyncDisk, offset: int, end: int) -> AsyncIterator[bytes]:
    """Yield a range of the disk in MiBs; a client that goes away cancels the read under way."""
    for start in range(offset, end, 1 << 20):
        yield await disk.read_at(start, min(1 << 20, end - start))


async def get_range(request: Request) -> Response:
    """Answer ``Range: bytes=first-last``; any number of requests share the open disk."""
    disk: AsyncDisk = request.app.state.disk
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
    first, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, disk.size)
    if not first < end <= disk.size:
        return Response(status_code=416)
    headers = {"content-range": f"bytes {first}-{end - 1}/{disk.size}"}
    return StreamingResponse(parts(disk, first, end), 206, headers)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Open the disk when the application starts, close it when it ends."""
    async with Vddk() as vddk, vddk.open_disk(app.state.path) as app.state.disk:
        yield


async def main(app: Starlette) -> None:
    """Ask for a range, as a browser would; uvicorn runs ``app`` the same way."""
    async with lifespan(app), httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        answer = await client.get("http://app/disk", headers={"range": "bytes=1048570-5242880"})
        print(answer.status_code, answer.headers["content-range"])
        print(len(answer.content), "bytes, the first", answer.content[:11].replace(b"\0", b"."))


if __name__ == "__main__":
    app = Starlette(routes=[Route("/disk", get_range)], lifespan=lifespan)
    with tempfile.TemporaryDirectory() as folder:
        app.state.path = make_disk_sync(Path(folder, "disk.vmdk"), {1 << 20: b"hello"}, size=16 << 20)
        asyncio.run(main(app))
