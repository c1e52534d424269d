"""Reference disks for third-party programs: a raw file, and the VMDKs that qemu-img makes of it."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "asyncvddk" / "engine"
"""The installation root as VDDK's clients know it: the directory that holds lib64."""

SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat")
KIB = 1024
MIB = 1024 * KIB


def make_raw(path: Path, size: int, *, seed: int = 0, areas: int = 24) -> Path:
    """Create a sparse file of ``size`` bytes with random data in random areas, the last sector among them."""
    generator = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size)
        for _ in range(areas):
            data = generator.randbytes(generator.randrange(512, 300 * KIB))
            file.seek(generator.randrange(0, size - len(data)))
            file.write(data)
        file.seek(size - 512)
        file.write(generator.randbytes(512))
    return path


def run(*command: str | Path, stdin: Path | None = None) -> bytes:
    """Run a program, return its standard output; a failure shows what it said."""
    with (stdin or Path("/dev/null")).open("rb") as source:
        done = subprocess.run(list(map(str, command)), stdin=source, capture_output=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.decode()}"
    return done.stdout


def make_vmdk(qemu_img: str, raw: Path, path: Path, subformat: str) -> Path:
    """Convert a raw file to a VMDK with qemu-img."""
    run(qemu_img, "convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={subformat}", raw, path)
    return path


def make_empty_vmdk(qemu_img: str, path: Path, size: int, subformat: str) -> Path:
    """Create a VMDK full of zeros with qemu-img."""
    run(qemu_img, "create", "-f", "vmdk", "-o", f"subformat={subformat}", path, str(size))
    return path


def assert_equal(qemu_img: str, vmdk: Path, raw: Path) -> None:
    """Check with qemu-img that a VMDK has the size and the bytes of a raw file."""
    run(qemu_img, "compare", "-f", "vmdk", "-F", "raw", vmdk, raw)
    told = json.loads(run(qemu_img, "info", "--output=json", vmdk))
    assert told["virtual-size"] == raw.stat().st_size
    if "Sparse" in told["format-specific"]["data"]["create-type"]:
        run(qemu_img, "check", "-f", "vmdk", vmdk)


def assert_covers_data(areas: list[tuple[int, int]], raw: Path) -> None:
    """Check that areas ascend, do not touch, stay inside the disk, and leave out nothing but zeros."""
    content = raw.read_bytes()
    position = 0
    for offset, length in areas:
        assert length > 0
        assert offset > position or position == 0
        assert not content[position:offset].strip(b"\0")
        position = offset + length
    assert position <= len(content)
    assert not content[position:].strip(b"\0")
