"""A descriptor inside a sparse extent is replaced in one step, although storage writes single sectors."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.craft import Sparse, descriptor
from tests.engine.driver import READ_ONLY, SECTOR, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

    Torn: TypeAlias = Callable[..., int | None]

HERE = Path(__file__).parent
ENGINE = HERE.parents[1] / "asyncvddk" / "engine"
AREA = 20 * SECTOR
ROOM = 9 * SECTOR - 1


@pytest.fixture(scope="session")
def torn(gcc: str, tmp_path_factory: pytest.TempPathFactory) -> Torn:
    """Return a function that tries all power cuts while texts are replaced; its result None: there was no room."""
    folder = tmp_path_factory.mktemp("torn")
    program = folder / "torn_descriptor"
    flags = ["-std=c17", "-D_GNU_SOURCE=", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
    flags += ["-fsanitize=address,undefined"]
    flags += [f"-I{ENGINE / 'src'}", f"-I{ENGINE / 'include'}"]
    subprocess.run([gcc, *flags, HERE / "torn_descriptor.c", "-o", program], check=True)

    def run(*texts: bytes) -> int | None:
        files = [folder / str(number) for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_bytes(text)
        done = subprocess.run([program, *files], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return None if done.stdout == "refused\n" else int(done.stdout)

    return run


def lines(count: int, first: int = 0, width: int = 50) -> bytes:
    """Return text of so many lines."""
    return b"".join(b'ddb.key%04d = "%s"\n' % (i, b"x" * width) for i in range(first, first + count))


def area(text: bytes, size: int = AREA) -> bytes:
    """Return an area that holds a text."""
    return text.ljust(size, b"\0")


CHANGES = {
    "one sector": (lines(20), lines(20).replace(b"key0003", b"KEY0003"), 3),
    "two sectors": (lines(20), lines(20).replace(b"key0003", b"KEY0003").replace(b"key0015", b"KEY0015"), 10),
    "appended": (lines(20), lines(23), 5),
    "appended over sectors": (lines(20), lines(60), 10),
    "cut off": (lines(60), lines(20), 5),
    "inserted in front": (lines(20), lines(1, 99) + lines(20), 10),
    "removed in front": (lines(20), lines(20)[70:], 10),
    "all other and longer": (lines(10, 50), lines(50), 10),
    "all other and shorter": (lines(60, 500), lines(10), 10),
    "as large as can be": (lines(60), b"#" * (ROOM - 1) + b"\n", 10),
    "ends with a sector": (lines(8)[:511] + b"\n", lines(16)[:1023] + b"\n", 2),
    "begins with a full sector": (lines(8)[:511] + b"\n", b"#" + lines(8)[:511] + b"\n", 2),
    "last line not ended": (lines(20) + b"ddb.x = 1", lines(22), 3),
    "nothing": (lines(20), lines(20), 1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_after_a_power_cut_the_old_text_or_the_new_is_read(name: str, torn: Torn) -> None:
    """After every step, with every choice of unsynced sectors, and again while the rest is mended."""
    old, new, states = CHANGES[name]
    found = torn(area(old), new)
    assert found is not None
    assert found >= states


def test_a_change_that_takes_back_half_of_the_one_before_is_not_undone(torn: Torn) -> None:
    """What was noted of the first change is not taken for the second."""
    first = lines(20).replace(b"key0003", b"KEY0003").replace(b"key0015", b"KEY0015")
    assert torn(area(lines(20)), first, first.replace(b"KEY0003", b"key0003"))
    assert torn(area(lines(20)), first, first.replace(b"KEY0003", b"key0003") + lines(30))


def test_what_others_left_behind_the_text_does_no_harm(torn: Torn) -> None:
    """QEMU leaves pieces of longer texts there; they are cleared."""
    stale = (lines(20) + b"\0" + b"stale" * 2000)[:AREA]
    for new in (lines(21), lines(60), lines(1), b"#" + lines(20)):
        assert torn(stale, new)


@pytest.mark.parametrize(
    ("size", "old", "new"),
    [
        (AREA, lines(20), b"#" * (ROOM + 1)),
        (AREA, lines(20), b"#" * AREA),
        (AREA, lines(20), b"#" * (AREA + 1)),
        (AREA, lines(140), b"#" + lines(140)),
        (2 * SECTOR, b"text\n", lines(10)),
        (2 * SECTOR, lines(10), b"#" + lines(10)),
    ],
)
def test_what_cannot_be_replaced_in_one_step_is_refused(size: int, old: bytes, new: bytes, torn: Torn) -> None:
    """A text that would leave no room for its own replacement, or for this one; nothing is written."""
    assert torn(area(old, size), new) is None


@pytest.mark.parametrize("size", [SECTOR, 2 * SECTOR, 3 * SECTOR, 5 * SECTOR])
def test_small_areas_take_what_fits_one_sector(size: int, torn: Torn) -> None:
    """Other software makes areas of one sector."""
    assert torn(area(b"CID=12345678\n", size), b"CID=87654321\n")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    old=st.lists(st.integers(1, 300), min_size=1, max_size=25),
    edits=st.lists(st.tuples(st.integers(0, 24), st.one_of(st.none(), st.integers(1, 300))), max_size=4),
)
def test_random_edits_are_made_in_one_step(old: list[int], edits: list[tuple[int, int | None]], torn: Torn) -> None:
    """Lines replaced, removed and appended."""
    text = [b"a" * length + b"\n" for length in old]
    changed = list(text)
    for at, length in edits:
        if length is None and at < len(changed):
            del changed[at]
        elif length is not None:
            changed[at : at + 1] = [b"b" * length + b"\n"]
    before, after = b"".join(text), b"".join(changed)
    found = torn(area(before), after)
    if len(before) < ROOM and len(after) < ROOM:
        assert found


def record(first: int, new: bytes, old: bytes, *, damaged: bool = False) -> bytes:
    """Return the end of an area with the record of a change to sectors from ``first`` on."""

    def checksum(data: bytes, value: int = 0xCBF29CE484222325) -> int:
        for byte in data:
            value = (value ^ byte) * 0x100000001B3 % 2**64
        return value

    count = len(new) // SECTOR
    sums = b"".join(checksum(old[i * SECTOR : (i + 1) * SECTOR]).to_bytes(8, "little") for i in range(count))
    head = b"descriptor redo\n" + first.to_bytes(4, "little") + count.to_bytes(4, "little")
    value = checksum(new, checksum(head + bytes(8) + sums.ljust(480, b"\0"))) ^ damaged
    return new + head + value.to_bytes(8, "little") + sums.ljust(480, b"\0")


def torn_disk(path: Path, torn_text: bytes, tail: bytes) -> Path:
    """Make a disk with this text and this end of its area."""
    image = bytearray(Sparse().build())
    image[SECTOR : SECTOR + AREA] = torn_text.ljust(AREA - len(tail), b"\0") + tail
    path.write_bytes(image)
    return path


def texts() -> tuple[bytes, bytes]:
    """Return a text and another that differs in its first two sectors."""
    old = (descriptor('RW 8192 SPARSE "d.vmdk"') + lines(10).decode()).encode()
    return old, old.replace(b"CID=12345678", b"CID=00000001", 1).replace(b"key0009", b"KEY0009")


def test_a_torn_descriptor_is_read_and_mended(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """A reader completes it in memory and writes nothing, a writer in the file; then other software reads it, too."""
    old, new = (text.ljust(2 * SECTOR, b"\0")[: 2 * SECTOR] for text in texts())
    path = torn_disk(tmp_path / "d.vmdk", new[:SECTOR] + texts()[0][SECTOR:], record(0, new, old))
    before = path.read_bytes()
    for _ in range(2):
        with engine.open(path, READ_ONLY) as disk:
            assert "KEY0009" in disk.metadata_keys()
        assert path.read_bytes() == before
    with engine.open(path) as disk:
        assert "KEY0009" in disk.metadata_keys()
    assert path.read_bytes()[SECTOR : SECTOR + AREA] == area(texts()[1])
    qemu.check(path)


@pytest.mark.parametrize("case", ["foreign", "damaged", "old", "count", "first"])
def test_a_record_that_does_not_fit_is_not_followed(case: str, engine: Engine, tmp_path: Path) -> None:
    """Somebody wrote the descriptor after us, the record itself is torn, nothing was begun, or it is forged."""
    old, new = (text.ljust(2 * SECTOR, b"\0")[: 2 * SECTOR] for text in texts())
    text, tail = texts()[0], bytearray(record(0, new, old, damaged=case == "damaged"))
    if case == "foreign":
        text = text.replace(b"12345678", b"aaaaaaaa", 1)
    elif case == "count":
        tail[-492:-488] = b"\xff\xff\xff\xff"
    elif case == "first":
        tail = bytearray(record(19, new, old))
    path = torn_disk(tmp_path / "d.vmdk", text, bytes(tail))
    for flags in (READ_ONLY, 0, READ_ONLY):
        with engine.open(path, flags) as disk:
            assert "key0009" in disk.metadata_keys()


def test_metadata_beyond_the_room_is_refused_and_the_rest_still_works(engine: Engine, tmp_path: Path) -> None:
    """Half of the area is kept for replacing the other; a text file has no such limit, up to a megabyte."""
    path = engine.create(tmp_path / "d.vmdk", 8192)
    with engine.open(path) as disk:
        disk.set_metadata("a", "x" * 1500)
        disk.set_metadata("b", "x" * 1500)
        with pytest.raises(EngineError) as caught:
            disk.set_metadata("c", "x" * 1500)
        assert caught.value.code == 44
        disk.set_metadata("a", "")
        disk.set_metadata("c", "y" * 1500)
        disk.write(0, bytes(SECTOR))
        assert disk.metadata("c") == "y" * 1500
    with engine.open(path, READ_ONLY) as disk:
        assert [len(disk.metadata(key)) for key in "abc"] == [0, 1500, 1500]
    assert re.search(rb'ddb\.a = ""\n', path.read_bytes())
