"""Processes that die at any call that changes a file, calls that fail, and storage that loses what was not synced."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine.driver import LOADER_ENVIRONMENT, SECTOR

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

HERE = Path(__file__).parent
INCLUDE = HERE.parents[1] / "asyncvddk" / "engine" / "include"
RECORD = struct.Struct("<cQQQQ")

Files = dict[str, bytes]


def compile_runner(gcc: str, folder: Path) -> Path:
    """Compile crash_run."""
    program = folder / "crash_run"
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-rdynamic", "-pthread", f"-I{INCLUDE}"]
    subprocess.run([gcc, *flags, HERE / "crash_shim.c", HERE / "crash_run.c", "-o", program, "-ldl"], check=True)
    return program


def names(folder: Path) -> list[str]:
    """Return the sorted paths of files and folders below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def load(folder: Path) -> Files:
    """Return the files below a folder."""
    return {name: (folder / name).read_bytes() for name in names(folder) if (folder / name).is_file()}


def store(folder: Path, files: Files) -> None:
    """Make a folder hold these files and no others; folders are made for them.

    Names with the very same object are two names of one file.
    """
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    places: dict[int, Path] = {}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if len(data) > 1 and id(data) in places:
            (folder / name).hardlink_to(places[id(data)])
        else:
            (folder / name).write_bytes(data)
            places[id(data)] = folder / name


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a process came."""

    returned: int
    """Commands that had returned."""
    met: bool
    """There was the call before which it should die, or which should fail."""
    code: int
    """Error of the command that ended it."""
    text: str


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs commands of crash_run.c in a folder."""

    program: Path
    library: Path
    folder: Path
    settings: Path | None = None
    """Configuration file."""

    def run(self, mode: str, argument: Path | int, commands: tuple[str, ...]) -> Outcome:
        """Run them; ``mode`` is die, tear, fail or log."""
        line = [str(part) for part in (self.program, self.library, mode, argument)]
        environment = LOADER_ENVIRONMENT | ({"CRASH_SETTINGS": str(self.settings)} if self.settings else {})
        done = subprocess.run(
            [*line, *commands], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        lines = done.stdout.split("\n")[:-1]
        killed = done.returncode == -signal.SIGKILL
        assert killed or done.returncode == 0, (done.returncode, done.stderr)
        met = killed or (lines[-1:] == ["met"] and bool(lines.pop()))
        code = int(lines.pop().split()[1]) if lines and lines[-1].startswith("error") else 0
        return Outcome(len(lines), met, code, done.stderr)

    def complete(self, commands: tuple[str, ...]) -> Outcome:
        """Run to the end."""
        return self.run("die", 0, commands)


@dataclass(frozen=True, slots=True)
class Event:
    """One record of crash_shim.c."""

    kind: str
    file: int
    offset: int
    call: int
    data: bytes

    def names(self, folder: Path) -> list[str]:
        """Return the names in the data as seen from a folder."""
        return [os.path.relpath(name, folder.resolve()) for name in self.data.decode().split("\0")]


def events(log: Path) -> Iterator[Event]:
    """Read a log."""
    data = log.read_bytes()
    position = 0
    while position < len(data):
        kind, file, offset, call, length = RECORD.unpack_from(data, position)
        position += RECORD.size
        yield Event(kind.decode(), file, offset, call, data[position : position + length])
        position += length


def apply(image: bytearray, event: Event) -> None:
    """Make one change to a file."""
    if event.kind == "T":
        del image[event.offset :]
        image.extend(bytes(event.offset - len(image)))
        return
    data = event.data if event.kind == "W" else bytes(max(0, min(event.call, len(image) - event.offset)))
    image.extend(bytes(max(0, event.offset + len(data) - len(image))))
    image[event.offset : event.offset + len(data)] = data


@dataclass
class Storage:
    """A folder as storage has it: what is certain, and what was done since and may be lost.

    Of a file any sectors may be lost that were not synced; of a folder the last changes since it was synced.
    """

    folder: Path
    names: dict[str, int]
    files: dict[int, bytearray]
    changes: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))
    moves: list[Event] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Note a change, or make changes certain."""
        if event.kind == "S":
            for change in self.changes.pop(event.file, []):
                apply(self.files.setdefault(event.file, bytearray()), change)
        elif event.kind == "D":
            synced = event.names(self.folder)[0]
            certain = [move for move in self.moves if self.place(move) == synced]
            self.moves = [move for move in self.moves if self.place(move) != synced]
            for move in certain:
                self.move(self.names, move)
        elif event.kind in "WTZ":
            self.changes[event.file].append(event)
        elif event.kind in "OULREMX":
            self.moves.append(event)
        else:
            raise NotImplementedError(event.kind)

    def place(self, event: Event) -> str:
        """Return the folder that an event changes."""
        return str(Path(event.names(self.folder)[-1]).parent)

    def move(self, names: dict[str, int], event: Event) -> None:
        """Make one change to a folder. Folders themselves come and go with their files."""
        paths = event.names(self.folder)
        if event.kind == "O":
            names[paths[0]] = event.file
        elif event.kind == "U":
            names.pop(paths[0], None)
        elif event.kind == "R" and paths[0] in names:
            names[paths[1]] = names.pop(paths[0])
        elif event.kind == "E":
            names[paths[0]], names[paths[1]] = names[paths[1]], names[paths[0]]
        elif event.kind == "L":
            names[paths[1]] = names[paths[0]]

    def after_power_cut(self, choose: random.Random) -> Files:
        """Return what may be found when power is back."""
        return self.files_with(choose, choose.choice((0.0, 0.1, 0.5, 0.9, 1.0)))

    def files_with(self, choose: random.Random, share: float) -> Files:
        """Return the files with a share of what is not certain; 1.0: with all of it, as when a process died."""
        names = dict(self.names)
        for move in self.moves[: choose.randint(0, len(self.moves)) if share < 1 else None]:
            self.move(names, move)
        images: dict[int, bytes] = {}
        for file in dict.fromkeys(names.values()):
            image = bytearray(self.files.get(file, b""))
            for change in self.changes.get(file, []):
                for piece in pieces(change):
                    if choose.random() < share:
                        apply(image, piece)
            images[file] = bytes(image)
        return {name: images[file] for name, file in names.items()}


def pieces(event: Event) -> Iterator[Event]:
    """Split a write where sectors of the file begin; other changes are made as a whole or not."""
    if event.kind != "W":
        yield event
        return
    at = 0
    while at < len(event.data):
        end = at + SECTOR - (event.offset + at) % SECTOR
        yield Event("W", event.file, event.offset + at, 0, event.data[at:end])
        at = end


def certain(folder: Path) -> Storage:
    """Return a folder as it is, with nothing to be lost."""
    paths = {name: folder / name for name in load(folder)}
    return Storage(
        folder,
        {name: path.stat().st_ino for name, path in paths.items()},
        {path.stat().st_ino: bytearray(path.read_bytes()) for path in paths.values()},
    )
