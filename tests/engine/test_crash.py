"""A process that dies, or a machine that loses power, at any moment: what was flushed is there, and the disk opens."""

from __future__ import annotations

import itertools
import os
import random
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.engine.crash import certain, events, load, names, store
from tests.engine.crash_scenarios import SCENARIOS, Kept, Scenario, probes
from tests.engine.driver import READ_ONLY, SECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine.crash import Files, Runner
    from tests.engine.driver import Disk, Engine

SAMPLES = int(os.environ.get("ASYNCVDDK_CRASH_SAMPLES", "8"))
"""Power cuts per scenario, at any moment, and as many right before something is synced."""

UNDONE = {"create", "child", "clone", "grow", "rename"}
"""What leaves all as it was if it fails."""

NEEDS_REPAIR = 16006


class Content:
    """What each sector of the compared areas may hold."""

    def __init__(self, engine: Engine, path: Path | None, scenario: Scenario) -> None:
        """Read a disk before; None: zeros."""
        self.commands = [line.split() for line in scenario.commands]
        self.before: dict[int, bytes] = {}
        self.untouched: dict[tuple[int, int], bytes] = {}
        """Areas as they were before."""
        self.areas: list[tuple[int, int]] = []
        self.capacities = {int(words[2]) for words in self.commands if words[0] == "grow"}
        if path is not None:
            with engine.open(path, READ_ONLY) as disk:
                self.capacities.add(disk.capacity)
                self.areas = probes(disk.capacity)
                self.areas += [(int(words[1]), int(words[2])) for words in self.commands if words[0] == "write"]
                for start, count in self.areas:
                    content = disk.read(start, count)
                    self.before |= {start + i: part(content, i) for i in range(count)}

    def allowed(self, returned: int) -> dict[int, list[bytes]]:
        """Return the possible contents of written sectors when so many commands had returned."""
        values: dict[int, list[bytes]] = {}
        for number, words in enumerate(self.commands[: returned + 1], start=1):
            if words[0] == "write":
                for sector in range(int(words[1]), int(words[1]) + int(words[2])):
                    values.setdefault(sector, [self.before[sector]]).append(bytes([int(words[3])]) * SECTOR)
            elif words[0] in {"flush", "close"} and number <= returned:
                for found in values.values():
                    del found[:-1]
        return values

    def check(self, disk: Disk, returned: int) -> None:
        """Compare; -1 commands have returned: none of them writes to this disk. What a growth adds are zeros."""
        assert not self.areas or disk.capacity in self.capacities
        allowed = self.allowed(returned)
        more = probes(disk.capacity) if disk.capacity == max(self.capacities, default=disk.capacity) else []
        for start, count in [*self.areas, *more]:
            content = disk.read(start, count)
            if content == self.nearest(content, start, allowed):
                continue
            for i in range(count):
                expected = allowed.get(start + i) or [self.before.get(start + i, bytes(SECTOR))]
                found = part(content, i)
                assert found in expected, f"sector {start + i} is {found[0]}, not {[value[0] for value in expected]}"

    def nearest(self, content: bytearray, start: int, allowed: dict[int, list[bytes]]) -> bytearray:
        """Return the area that may be there and is most like ``content``: the very same if each sector is allowed."""
        count = len(content) // SECTOR
        sectors = range(start, start + count)
        if (start, count) not in self.untouched:
            self.untouched[start, count] = b"".join(self.before.get(sector, bytes(SECTOR)) for sector in sectors)
        expected = bytearray(self.untouched[start, count])
        for sector in allowed.keys() & sectors:
            found = part(content, sector - start)
            value = found if found in allowed[sector] else allowed[sector][0]
            expected[(sector - start) * SECTOR : (sector - start + 1) * SECTOR] = value
        return expected


def part(content: bytes | bytearray, sector: int) -> bytes:
    """Return one sector."""
    return bytes(content[sector * SECTOR : (sector + 1) * SECTOR])


@dataclass
class Case:
    """A scenario in its folder, and how things stand without a crash."""

    scenario: Scenario
    engine: Engine
    runner: Runner
    before: Files
    contents: dict[str, Content]
    final: list[str]
    """Files and folders."""
    sizes: dict[str, int]
    """Capacities of the disks."""

    def check(self, returned: int, spare: int = 0) -> None:
        """Whatever a crash left opens, after a repair at most, shows what it must, and takes the commands again.

        If all commands had returned, so many files may be left over.
        """
        folder = self.runner.folder
        for kept in self.scenario.disks:
            present = [name for name in kept.names if (folder / name).exists()]
            assert present or returned < kept.made_by or kept.deleted_by, names(folder)
            assert not (present and kept.deleted_by and returned >= kept.deleted_by), names(folder)
            for name in present:
                self.survive(folder / name, kept, returned)
        self.repeat(returned)
        self.settle(spare if returned == len(self.scenario.commands) else 0)

    def survive(self, path: Path, kept: Kept, returned: int) -> None:
        """Repair, open as a reader, then as a writer; write something; all is well afterwards."""
        engine, content = self.engine, self.content(path, kept, returned)
        error = engine.open_error(path)
        assert error is None or error.code == NEEDS_REPAIR, error
        for repair in (True, False):
            engine.check(path, repair=repair)
        with engine.open(path, READ_ONLY) as disk:
            content.check(disk, returned if kept.writable else -1)
            last = disk.capacity - 1
        if not kept.writable:
            return
        with engine.open(path) as disk:
            content.check(disk, returned)
            disk.write(last, b"\xfe" * SECTOR)
        with engine.open(path, READ_ONLY) as disk:
            content.check(disk, returned)
            assert disk.read(last, 1) == b"\xfe" * SECTOR

    def content(self, path: Path, kept: Kept, returned: int) -> Content:
        """Return what a disk must show: if it is being replaced, all of the old one or all of the new one."""
        if not kept.replaced_by:
            return self.contents[kept.like]
        new = self.contents[kept.replaced_by]
        with self.engine.open(path, READ_ONLY) as disk:
            is_new = disk.read(0, 1) == new.before[0]
        assert is_new or returned < kept.made_by
        return new if is_new else self.contents[kept.like]

    def found(self) -> list[str]:
        """Return the files that there are.

        The entry of a dead process in a lock folder is no harm: the next one who uses a disk of that name removes it.
        """
        return [name for name in names(self.runner.folder) if ".lck" not in name]

    def done(self, returned: int) -> bool:
        """Tell whether what the commands make or delete is made or deleted: they would rightly refuse."""
        disks, found = self.scenario.disks, self.found()
        if returned == len(self.scenario.commands):
            return True
        if any(kept.deleted_by for kept in disks):
            return found == self.final
        made = {kept.names[-1] for kept in disks if (kept.made_by and not kept.replaced_by) or len(kept.names) > 1}
        return bool(made) and made.issubset(found)

    def finish(self) -> None:
        """Delete what a renamed disk has by its old name, too, and what has lost its name but not all extents yet."""
        for kept in self.scenario.disks:
            present = [self.runner.folder / name for name in kept.names if (self.runner.folder / name).exists()]
            if len(present) > 1:
                self.engine.unlink(present[0])
                assert self.engine.open_error(present[1]) is None
        for name in self.found():
            disk = self.runner.folder / name.removeprefix(".").removesuffix(".new")
            if name.endswith(".new") and not disk.exists():
                self.engine.unlink(disk)

    def repeat(self, returned: int) -> None:
        """Give the commands again: they work on what is left."""
        if not self.done(returned):
            outcome = self.runner.complete(self.scenario.commands)
            assert outcome.returned == len(self.scenario.commands), outcome
        else:
            self.finish()

    def settle(self, spare: int) -> None:
        """Compare with what the commands leave without a crash: files, and capacities of the disks."""
        found = self.found()
        if any(kept.replaced_by for kept in self.scenario.disks):  # extents get numbers that the old disk does not use
            assert 0 <= len(found) - len(self.final) <= spare
            assert len([name for name in found if name.startswith(".")]) <= spare
        else:
            assert set(self.final) <= set(found)
            assert len(found) - len(self.final) <= spare, found
        assert capacities(self.engine, self.runner.folder, self.scenario) == self.sizes


def capacities(engine: Engine, folder: Path, scenario: Scenario) -> dict[str, int]:
    """Return the capacities of a scenario's disks that there are."""
    found = {}
    for name in itertools.chain.from_iterable(kept.names for kept in scenario.disks):
        if (folder / name).exists():
            with engine.open(folder / name, READ_ONLY) as disk:
                found[name] = disk.capacity
    return found


@pytest.fixture(params=SCENARIOS)
def case(request: pytest.FixtureRequest, engine: Engine, runner: Runner) -> Iterator[Case]:
    """Prepare the disks of one scenario and run it once without a crash."""
    scenario = SCENARIOS[request.param]
    store(runner.folder, {})
    scenario.prepare(engine, runner.folder)
    before = load(runner.folder)
    likes = {name for kept in scenario.disks for name in (kept.like, kept.replaced_by or kept.like)}
    contents = {like: Content(engine, runner.folder / like if like else None, scenario) for like in likes}
    outcome = runner.complete(scenario.commands)
    assert outcome.returned == len(scenario.commands), outcome
    sizes = capacities(engine, runner.folder, scenario)
    yield Case(scenario, engine, runner, before, contents, names(runner.folder), sizes)
    store(runner.folder, {})


def test_process_may_die_at_any_call_that_changes_a_file(case: Case) -> None:
    """Before each such call, and in the middle of each write."""
    commands, log = case.scenario.commands, case.runner.folder.parent / "log"
    store(case.runner.folder, case.before)
    case.runner.run("log", log, commands)
    torn = [event.call for event in events(log) if event.kind == "W" and len(event.data) > SECTOR]
    moments = (("die", n) for n in itertools.count(1))
    for mode, n in itertools.chain((("tear", n) for n in torn), moments):
        store(case.runner.folder, case.before)
        outcome = case.runner.run(mode, n, commands)
        case.check(outcome.returned)
        if not outcome.met:
            return


def test_any_call_that_changes_a_file_may_fail(case: Case) -> None:
    """What is made, copied, renamed or grown is as meant, or all is as it was, to the byte; nothing is lost otherwise.

    If it is as meant all the same, that file may be left over whose deletion failed. A disk may have its new size
    although it was not certain that the power could not take it back.
    """
    folder, commands = case.runner.folder, case.scenario.commands
    for n in itertools.count(1):
        store(folder, case.before)
        outcome = case.runner.run("fail", n, commands)
        if outcome.code and commands[outcome.returned].split()[0] in UNDONE:
            grown = commands[0].startswith("grow") and capacities(case.engine, folder, case.scenario) == case.sizes
            assert grown or load(folder) == case.before, (n, outcome)
        case.check(outcome.returned, spare=1)
        if not outcome.met:
            return


def test_power_may_fail_at_any_moment(case: Case) -> None:
    """Any sectors that were not synced are lost, and the last changes to the folder that were not."""
    choose = random.Random(case.scenario.name)
    log = case.runner.folder.parent / "log"
    store(case.runner.folder, case.before)
    storage = certain(case.runner.folder)
    case.runner.run("log", log, case.scenario.commands)
    recorded = list(events(log))
    before_sync = [number for number, event in enumerate(recorded[1:]) if event.kind in "SD"]
    moments = choose.choices(range(len(recorded)), k=SAMPLES) + choose.choices(before_sync, k=SAMPLES)
    returned = 0
    for number, event in enumerate(recorded):
        if event.kind == "K":
            returned = event.file
        else:
            storage.take(event)
        for _ in range(moments.count(number)):
            store(case.runner.folder, storage.after_power_cut(choose))
            case.check(returned)


CHANGING = re.compile(
    r"(__)?(p?writev?2?|pwritev?64(v2)?|ftruncate|truncate|(posix_)?fallocate|copy_file_range|sendfile|splice|mmap|"
    r"f?open(at|at2)?|creat|mk[do]?s?temps?|mkdir(at)?|mkfifo|mknod(at)?|rename(at|at2)?|(sym)?link(at)?|unlink(at)?|"
    r"remove|rmdir|fsync|fdatasync|sync|syncfs|sync_file_range|io_uring_setup|fdopen|freopen|fputs|fwrite)(64)?(_chk)?"
)
HARMLESS = {"fopen", "fopen64", "fputs"}
"""Of the functions that could change files, those that the library reads with, or writes to memory."""


def test_no_call_that_changes_a_file_escapes_the_recorder(nm: str, library: Path, runner: Runner) -> None:
    """What the library takes from the C library to change files, crash_shim.c stands before."""
    listings = [
        subprocess.run(
            [nm, "--dynamic", option, "--format=posix", str(path)], check=True, capture_output=True, text=True
        )
        for option, path in (("--undefined-only", library), ("--defined-only", runner.program))
    ]
    used, stood_for = ({line.split()[0].partition("@")[0] for line in found.stdout.splitlines()} for found in listings)
    changing = {name for name in used if CHANGING.fullmatch(name)} - HARMLESS
    assert {"pwritev", "openat", "unlinkat"} <= changing
    assert changing <= stood_for
