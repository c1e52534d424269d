"""qemu-img and qemu-io."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SUBFORMATS = (
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
)
"""What qemu-img creates and the engine reads and writes."""


@dataclass(frozen=True, slots=True)
class Qemu:
    """Paths of the two programs."""

    img: str
    io: str

    def _run(self, *command: str | Path) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def create(self, path: Path, size: int, *options: str, backing: Path | str | None = None) -> Path:
        """Create a VMDK of ``size`` bytes; ``options`` as for -o."""
        chosen = [argument for option in options for argument in ("-o", option)]
        below = ["-b", str(backing), "-F", "vmdk"] if backing else []
        self._run(self.img, "create", "-q", "-f", "vmdk", *chosen, *below, path, str(size))
        return path

    def write(self, path: Path, *writes: tuple[int, int, int]) -> None:
        """Write (byte offset, length, fill byte)."""
        commands = [f"write -q -P {fill} {offset} {length}" for offset, length, fill in writes]
        self._run(self.io, "-f", "vmdk", *(part for command in commands for part in ("-c", command)), path)

    def content(self, path: Path, raw: Path) -> bytes:
        """Return all bytes of a disk, through the new file ``raw``."""
        self._run(self.img, "convert", "-f", "vmdk", "-O", "raw", path, raw)
        return raw.read_bytes()

    def check(self, path: Path) -> None:
        """Fail unless qemu-img finds the disk clean."""
        self._run(self.img, "check", "-q", "-f", "vmdk", path)

    def same(self, path: Path, content: bytes) -> None:
        """Fail unless qemu-img reads ``content``."""
        raw = path.with_suffix(".expected")
        raw.write_bytes(content)
        self._run(self.img, "compare", "-f", "vmdk", "-F", "raw", path, raw)
        raw.unlink()

    def info(self, path: Path) -> dict[str, Any]:
        """Return qemu-img's facts."""
        found: dict[str, Any] = json.loads(self._run(self.img, "info", "--output=json", path))
        return found
