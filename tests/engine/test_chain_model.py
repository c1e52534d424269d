"""Random lives of a snapshot chain: every link must show, at any time, what a bytearray says."""

from __future__ import annotations

import tempfile
from ctypes import byref, c_uint32, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.driver import (
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SINGLE_LINK,
    SPLIT_SPARSE,
    VMFS_THIN,
    Disk,
    Engine,
)

if TYPE_CHECKING:
    from tests.engine.qemu import Qemu

SECTORS = 5 * 128 + 3

Step = tuple[str, int, int]

STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, SECTORS - 1), st.integers(1, 300)),
    st.tuples(st.just("write"), st.integers(0, 4).map(lambda grain: 128 * grain), st.just(128)),
    st.tuples(st.just("child"), st.sampled_from((MONOLITHIC_SPARSE, SPLIT_SPARSE)), st.booleans().map(int)),
    st.tuples(st.sampled_from(("reopen", "attach", "move", "metadata", "flush")), st.integers(0, 9), st.just(0)),
)


class Chain:
    """The disks of a chain from the bottom to the top, and what each of them shows."""

    def __init__(self, engine: Engine, folder: Path, base_type: int) -> None:
        """Begin with one disk of zeros, open."""
        self.engine, self.folder, self.moves = engine, folder, 0
        self.links = [engine.create(folder / "link-0.vmdk", SECTORS, base_type)]
        self.content = [bytearray(SECTORS * SECTOR)]
        self.keys: list[dict[str, str]] = [{}]
        self.disk = self.open()

    def open(self, flags: int = 0) -> Disk:
        """Open the top link."""
        handle = c_void_p()
        self.engine.call("Open", self.engine.connection, bytes(self.links[-1]), c_uint32(flags), byref(handle))
        return Disk(self.engine, handle)

    def write(self, start: int, count: int) -> None:
        """Write to both."""
        count = min(count, SECTORS - start)
        data = bytes([(start + count + len(self.links)) % 255 + 1]) * count * SECTOR
        self.disk.write(start, data)
        self.content[-1][start * SECTOR : (start + count) * SECTOR] = data

    def child(self, disk_type: int, elsewhere: int) -> None:
        """Put a link on top, beside the parent or in a folder of its own, and go on with it."""
        folder = self.folder / f"sub-{len(self.links)}" if elsewhere else self.folder
        folder.mkdir(exist_ok=True)
        path = self.disk.create_child(folder / f"link-{len(self.links)}.vmdk", disk_type)
        self.disk.close()
        self.links.append(path)
        self.content.append(bytearray(self.content[-1]))
        self.keys.append(dict(self.keys[-1]))
        self.disk = self.open()

    def reopen(self, *_: int) -> None:
        """Close and open."""
        self.disk.close()
        self.disk = self.open()

    def attach(self, *_: int) -> None:
        """Open the top link alone and give it its parent."""
        if len(self.links) == 1:
            return
        self.disk.close()
        self.disk = self.open(SINGLE_LINK)
        with self.engine.open(self.links[-2], READ_ONLY) as parent:
            parent.attach(self.disk)

    def move(self, *_: int) -> None:
        """Give the folder another name: relative hints still lead to the parents, absolute ones do not."""
        if any(link.parent != self.folder for link in self.links):
            return
        self.disk.close()
        self.moves += 1
        self.folder = self.folder.rename(self.folder.with_name(f"moved-{self.moves}"))
        self.links = [self.folder / link.name for link in self.links]
        self.disk = self.open()

    def metadata(self, number: int, _: int) -> None:
        """Set a key of the top link."""
        self.disk.set_metadata(f"key{number % 3}", "v" * 37 * number)
        self.keys[-1][f"key{number % 3}"] = "v" * 37 * number

    def flush(self, *_: int) -> None:
        """Flush."""
        self.disk.flush()

    def check(self) -> None:
        """Compare the open disk."""
        assert self.disk.read(0, SECTORS) == self.content[-1]
        assert self.disk.info()["links"] == len(self.links)
        for key, value in self.keys[-1].items():
            assert self.disk.metadata(key) == value

    def close(self, qemu: Qemu) -> None:
        """Compare every link, and let QEMU compare the top one."""
        self.disk.close()
        for path, content, keys in zip(self.links, self.content, self.keys, strict=True):
            assert self.engine.read(path) == content
            with self.engine.open(path, READ_ONLY) as disk:
                assert {key: disk.metadata(key) for key in keys} == keys
            qemu.check(path)
        qemu.same(self.links[-1], bytes(self.content[-1]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base_type=st.sampled_from((MONOLITHIC_SPARSE, MONOLITHIC_FLAT, SPLIT_SPARSE, VMFS_THIN)),
    steps=st.lists(STEPS, max_size=25),
)
def test_a_chain_agrees_with_a_bytearray_for_each_link(
    base_type: int, steps: list[Step], engine: Engine, qemu: Qemu
) -> None:
    """Writes, children, reopening, attaching, moving the folder, metadata; for QEMU, too."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "disks").mkdir()
        chain = Chain(engine, Path(folder) / "disks", base_type)
        try:
            for name, first, second in steps:
                getattr(chain, name)(first, second)
                chain.check()
            chain.close(qemu)
        finally:
            if chain.disk.handle.value:
                engine.code("Close", chain.disk.handle)
