"""``asyncvddk benchmark``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from asyncvddk.cli import _exit
from asyncvddk.cli._options import size_parameter
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import PLACE, Place, run_with_repository
from asyncvddk.cli._text import format_size

if TYPE_CHECKING:
    from asyncvddk.repository import BenchmarkReport, Repository


def benchmark(*, size: Annotated[int, size_parameter(show_default=False)] = 256 << 20, place: Place = PLACE) -> int:
    """Measure how fast this machine and a repository's place can be, with data made up for it.

    Rates are bytes of a disk per second, before compression. Nothing stays in the repository, not after Ctrl-C either.
    How fast the disks can be read is not measured: asyncvddk copy shows it.

    Parameters
    ----------
    size
        Bytes of data (default: 256M); more of them make a slow place show its true rate.
    """

    async def command(repository: Repository) -> int:
        report = await repository.benchmark(size)
        if place.json:
            _emit(report)
        else:
            _show(report, encrypted=repository.config.encryption != "none", local=repository.local)
        return _exit.DONE

    return run_with_repository(command, place)


def _show(report: BenchmarkReport, *, encrypted: bool, local: bool) -> None:
    tell(f"{format_size(report.size)} of data, {format_size(report.stored)} as stored")
    seal, unseal = ("encrypt", "decrypt, ") if encrypted else ("seal", "")
    cached = ", maybe from the system's cache" if local else ""
    requests = f"{report.threads} at once"
    lines = (
        (report.pack, f"processor: hash, compress, {seal}"),
        (report.write, f"store: write, {requests}" + (", up to stable storage" if local else "")),
        (report.read, f"store: read, {requests}{cached}"),
        (report.unpack, f"processor: {unseal}decompress, check"),
    )
    for rate, what in lines:
        tell(f"{_megabytes(rate):>12}  {what}")
    backup, restore = min(report.pack, report.write), min(report.unpack, report.read)
    tell(f"a backup of new data: up to {_megabytes(backup)}, limited by the {report.backup_limit}")
    tell(f"a restore: up to {_megabytes(restore)}, limited by the {report.restore_limit}")


def _megabytes(rate: float) -> str:
    return f"{rate / 1e6:.0f} MB/s"


def _emit(report: BenchmarkReport) -> None:
    emit(
        "benchmark",
        size=report.size,
        stored=report.stored,
        threads=report.threads,
        pack=round(report.pack),
        write=round(report.write),
        read=round(report.read),
        unpack=round(report.unpack),
        backup_limit=report.backup_limit,
        restore_limit=report.restore_limit,
    )
