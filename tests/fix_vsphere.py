"""A vCenter for tests: ``bench/``, a Go program around govmomi's simulator, with disks that are real files.

Fixtures
    ``bench`` has two machines, ``web`` (two disks, running) and ``db`` (one disk, off), each on a host of its own.
    ``new_bench(*machines, hosts=2, clusters=1, datastores=("ds1",), pods=None)`` makes others; ``pods`` are datastore
    clusters: name -> datastores. ``Machine`` says what a machine is like; its host is counted through all clusters.

Where it is, and who may enter
    ``url``, ``server``, ``port``, ``user``, ``password``, ``sha1``, ``sha256``, ``certificate`` (PEM), ``machines``
    (name -> reference), ``folders`` (datastore -> folder), ``library(**more)``: the engine's configuration, with which
    it plays the hosts and opens ``[ds1] web/web.vmdk``.

What the guest does
    ``guest_writes(vddk, machine, offset, data, key=2000)`` writes through the engine into the file that the machine
    runs on; a snapshot waits for it. ``guest_reads(machine, key=2000)``: all bytes. ``running(machine, key=2000)``:
    the file. ``with guest(machine, key=2000) as path`` is for many writes, between which no snapshot comes.

What goes wrong (``faults(**wanted)``; the last call counts, without arguments all is well)
    ``fail_snapshot``, ``fail_quiesce`` (only those that are quiesced), ``fail_remove``, ``task_in_progress``: so many
    times, -1: always. ``ignore_quiesce``: a snapshot is not quiesced although it is asked for. ``deny``: privileges
    that nobody has, as ["VirtualMachine.State.CreateSnapshot"].
    ``query``: "fault", "lie" (leaves out the last area of a window), "all" (everything changed). ``window`` bytes and
    ``areas`` limit an answer, ``gaps`` puts empty ones between. ``late_tracking``: the first snapshot with tracking has
    no changeId.
    ``slow_ms``: tasks take so long; ``hold="RemoveSnapshot_Task"`` (or "all"): they run until ``faults`` is called
    again. ``lose_answer="CreateSnapshot_Task"``: done, once, but the connection ends without an answer.
    Further: ``expire_sessions()``, ``grow(machine, size)``, ``reset_tracking(machine)``, ``set_mode(machine, mode)``,
    ``encrypt(machine)`` (in name only), ``disable_methods(machine, source, *methods)``.

What there is
    ``snapshots(machine=None)``, ``calls(*methods)`` in order, each with its object (as the snapshot that it removed),
    ``forget_calls()``, ``sessions()``, ``disabled_methods(machine)``.

What a snapshot froze stays under the name that its configuration has; the machine goes on in a copy of all of it,
``web-000001.vmdk``. Layers, as ESXi makes them, would be smaller, but the engine, which is under test, would write and
read them, and copies show its mistakes. Changed areas come from comparing digests of what snapshots froze.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import urllib.request
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

import pytest

from asyncvddk import LibraryConfig
from tests.fix_tools import Tool, find, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from asyncvddk import Vddk

MIB = 1 << 20
GO = Tool("go", "golang-go")
GOPATH = Path("/usr/share/gocode")
GOVMOMI = GOPATH / "src/github.com/vmware/govmomi"
SOURCES = Path(__file__).parent / "vsphere" / "bench"
USER, PASSWORD = "backup@vsphere.local", "bench-Secret-1"


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine to make."""

    name: str
    disks: Sequence[int] = (2 * MIB,)
    """Bytes; their device keys are 2000, 2001, ..."""
    datastore: str = "ds1"
    host: int = 0
    on: bool = True


class Call(NamedTuple):
    """A call that a client made, as ``CreateSnapshot_Task`` of ``vm-28``."""

    method: str
    object: str


@dataclass
class Bench:
    """A running vCenter."""

    folders: dict[str, Path]
    """Datastores, by name."""
    process: subprocess.Popen[str]
    ready: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the API."""
        return str(self.ready["url"])

    @property
    def user(self) -> str:
        """Who may log in."""
        return USER

    @property
    def password(self) -> str:
        """By what."""
        return PASSWORD

    @property
    def server(self) -> str:
        """Its address."""
        return str(urlsplit(self.ready["url"]).hostname)

    @property
    def port(self) -> int:
        """Port of the API."""
        return int(urlsplit(self.ready["url"]).port or 443)

    @property
    def sha1(self) -> str:
        """Thumbprint of its certificate, in hexadecimal digits."""
        return str(self.ready["sha1"])

    @property
    def sha256(self) -> str:
        """The longer one."""
        return str(self.ready["sha256"])

    @property
    def certificate(self) -> str:
        """Its certificate, which it signed itself, as PEM."""
        return str(self.ready["certificate"])

    @property
    def machines(self) -> dict[str, str]:
        """References of the machines that were there at the start, by name."""
        return dict(self.ready["machines"])

    def library(self, **more: str) -> LibraryConfig:
        """Return what lets the engine play the hosts: it serves the datastores to whoever knows user and password."""
        datastores = {f"openEngine.datastore.{name}": str(folder) for name, folder in self.folders.items()}
        login = {"openEngine.user": USER, "openEngine.password": PASSWORD, "openEngine.thumbPrint": self.sha1}
        return LibraryConfig(extra=datastores | login | more)

    def faults(self, **wanted: str | int | bool | Sequence[str]) -> None:
        """Let things go wrong, see above; without arguments no more."""
        self._ask("faults", wanted)

    def expire_sessions(self) -> None:
        """End all sessions."""
        self._ask("expire")

    def calls(self, *methods: str) -> list[Call]:
        """Return the calls since the start, or since ``forget_calls``, those of ``methods`` if any are given."""
        found = [Call(**call) for call in self._ask("calls")]
        return [call for call in found if not methods or call.method in methods]

    def forget_calls(self) -> None:
        """Begin a new list of calls."""
        self._ask("forget")

    def sessions(self) -> list[str]:
        """Return the keys of all sessions."""
        return list(self._ask("sessions"))

    def disabled_methods(self, machine: str) -> dict[str, list[str]]:
        """Return what is disabled for a machine, by who disabled it (as PrepareForAccess of VMware's library does)."""
        return dict(self._ask("machines")[machine]["disabled"] or {})

    def disable_methods(self, machine: str, source: str, *methods: str) -> None:
        """Disable methods, as ``RelocateVM_Task``, for ``source``; none: enable all that it has disabled."""
        self._ask("disable", {"machine": machine, "key": 2000, "source": source, "methods": methods})

    def snapshots(self, machine: str | None = None) -> list[str]:
        """Return the references of all snapshots, or of those of a machine."""
        every = self._ask("machines")
        return [one for name, shown in every.items() if machine in {None, name} for one in shown["snapshots"]]

    def running(self, machine: str, key: int = 2000) -> Path:
        """Return the file that a machine writes to."""
        return Path(self._ask("machines")[machine]["running"][str(key)])

    def guest_reads(self, machine: str, key: int = 2000) -> bytes:
        """Return all of a disk as the guest sees it."""
        with self.guest(machine, key) as path:
            return path.with_name(f"{path.stem}-flat.vmdk").read_bytes()

    async def guest_writes(self, vddk: Vddk, machine: str, offset: int, data: bytes, *, key: int = 2000) -> None:
        """Write to a disk as the guest. A snapshot has all of it or nothing."""
        with self.guest(machine, key) as path:
            async with vddk.open_disk(path, read_only=False) as disk:
                await disk.write_at(offset, data)

    @contextmanager
    def guest(self, machine: str, key: int = 2000) -> Iterator[Path]:
        """Give the file that a machine writes to; snapshots and their removal wait as long as the block runs."""
        place = {"machine": machine, "key": key}
        path = self._ask("begin", place)
        try:
            yield Path(path)
        finally:
            self._ask("end", place)

    def grow(self, machine: str, size: int, *, key: int = 2000) -> None:
        """Make a disk larger."""
        self._ask("grow", {"machine": machine, "key": key, "size": size})

    def reset_tracking(self, machine: str, *, key: int = 2000) -> None:
        """Begin changed-block tracking anew: another UUID."""
        self._ask("reset", {"machine": machine, "key": key})

    def set_mode(self, machine: str, mode: str, *, sharing: str = "sharingNone", key: int = 2000) -> None:
        """Give a disk another mode, as ``independent_persistent``, or sharing, as ``sharingMultiWriter``."""
        self._ask("mode", {"machine": machine, "key": key, "mode": mode, "sharing": sharing})

    def encrypt(self, machine: str, *, key: int = 2000) -> None:
        """Let the machine and a disk of it be called encrypted; it is read as before."""
        self._ask("encrypt", {"machine": machine, "key": key})

    def _ask(self, what: str, body: object = None) -> Any:  # noqa: ANN401  (JSON)
        data = json.dumps(body).encode() if body is not None else b"{}"
        with urllib.request.urlopen(f"{self.ready['control']}/{what}", data=data) as answer:  # noqa: S310  (http)
            text = answer.read()
        return json.loads(text) if text else None

    def __enter__(self) -> Self:
        """Wait until it listens."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the bench has ended"
        self.ready = json.loads(line)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture(scope="session")
def bench_program(pytestconfig: pytest.Config) -> Path:
    """Compile the program, once for what its sources and govmomi say; Debian has the library, nothing is fetched."""
    go = find(GO)
    if not (GOVMOMI / "simulator").is_dir():
        unavailable("govmomi is missing (Debian package golang-github-vmware-govmomi-dev)")
    read = hashlib.sha256(subprocess.run([go, "version"], check=True, capture_output=True).stdout)
    for source in sorted([*SOURCES.glob("*.go"), GOVMOMI / "simulator" / "virtual_machine.go"]):
        read.update(source.name.encode() + source.read_bytes())
    folder = pytestconfig.cache.mkdir("bench")
    program = folder / read.hexdigest()
    if not program.exists():
        for old in folder.iterdir():
            old.unlink()
        environment = {"GOCACHE": str(folder.parent / "bench-objects")} | os.environ
        environment |= {"GO111MODULE": "off", "GOPATH": str(GOPATH), "CGO_ENABLED": "0"}
        made = folder / f".{os.getpid()}.part"
        subprocess.run([go, "build", "-o", made, "."], cwd=SOURCES, env=environment, check=True)
        made.replace(program)
    return program


@pytest.fixture
def new_bench(bench_program: Path, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Return what starts a vCenter, see above."""
    running: list[Bench] = []

    def start(
        *machines: Machine,
        hosts: int = 2,
        clusters: int = 1,
        datastores: Sequence[str] = ("ds1",),
        pods: Mapping[str, Sequence[str]] | None = None,
    ) -> Bench:
        folders = {name: tmp_path / f"datastore-{len(running)}-{name}" for name in datastores}
        for folder in folders.values():
            folder.mkdir()
        wanted = {
            "datastores": {name: str(folder) for name, folder in folders.items()},
            "pods": {name: list(members) for name, members in (pods or {}).items()},
            "clusters": clusters,
            "hosts": hosts,
            "user": USER,
            "password": PASSWORD,
            "machines": [asdict(one) for one in machines],
        }
        process = subprocess.Popen(
            [bench_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        assert process.stdin
        process.stdin.write(json.dumps(wanted) + "\n")
        process.stdin.flush()
        bench = Bench(folders, process)
        running.append(bench)
        return bench.__enter__()

    try:
        yield start
    finally:
        for bench in running:
            bench.__exit__()


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:
    """Return a vCenter with two machines."""
    return new_bench(Machine("web", (4 * MIB, MIB + 512)), Machine("db", host=1, on=False))
