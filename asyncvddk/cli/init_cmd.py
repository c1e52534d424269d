"""``asyncvddk init``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from asyncvddk.cli import _exit
from asyncvddk.cli._config_file import find_repository
from asyncvddk.cli._options import size_parameter
from asyncvddk.cli._output import emit, say
from asyncvddk.cli._repository import PLACE, Place
from asyncvddk.cli._run import run_command
from asyncvddk.cli._text import format_size

if TYPE_CHECKING:
    from asyncvddk.repository import Config


def init(*, chunk_size: Annotated[int, size_parameter(show_default=False)] = 1 << 20, place: Place = PLACE) -> int:
    """Make a repository for backups, in a folder or a bucket.

    What a lost password locks away is lost. With --no-password whoever can read the place can read the backups.

    Parameters
    ----------
    chunk_size
        Bytes that are stored as one (default: 1M), a power of two from 256K to 8M: small ones share more between disks,
        large ones need fewer requests.
    """

    async def command() -> int:
        from asyncvddk.repository import Repository  # noqa: PLC0415  (numpy and others take their time to load)

        found = find_repository(place.named())
        secret = place.password(new=True)
        config = await Repository.init(found.url, password=secret, chunk_size=chunk_size, options=found.options)
        _tell(found.url, config, json=place.json)
        return _exit.DONE

    return run_command(command, place, logs=True)


def _tell(url: str, config: Config, *, json: bool) -> None:
    if json:
        emit("init", repository=url, id=config.id, chunk_size=config.chunk_size, encryption=config.encryption)
        return
    locked = "not encrypted" if config.encryption == "none" else f"encrypted ({config.encryption})"
    say(f"repository {config.id[:8]} made in {url}: {locked}, chunks of {format_size(config.chunk_size)}")
