"""``asyncvddk ls``, ``diff``, ``verify``, ``compare``, ``stats``, ``benchmark``: what they say is so."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk.copy import RawTarget
from asyncvddk.repository import SnapshotDisk
from tests.cli.conftest import MIB, TEXT, change, names, spawn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command, Ran, Repo

pytestmark = pytest.mark.usefixtures("repo")

VERBS = ["ls", "diff", "verify", "compare", "forget", "gc", "key", "stats", "benchmark"]


def sparse(path: Path, size: int, *places: int) -> Path:
    """Make a raw image with a MiB of ones at each place, and holes."""
    with path.open("wb") as file:
        file.truncate(size)
        for place in places:
            file.seek(place)
            file.write(b"\1" * MIB)
    return path


def areas(ran: Ran) -> list[tuple[str, int, int]]:
    """Return the areas among the events."""
    return [(one["key"], one["offset"], one["length"]) for one in ran.events if one["event"] == "area"]


def chunks(repo: Path) -> set[Path]:
    """Return the files of chunks."""
    return {file for file in (repo / "chunks").rglob("*") if file.is_file()}


def damage(chunk: Path) -> None:
    """Change a byte of a chunk."""
    chunk.chmod(0o600)
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)


@pytest.mark.parametrize("name", VERBS)
def test_commands_explain_themselves(command: Command, name: str) -> None:
    """Each is in the list, too."""
    assert f"Usage: asyncvddk {name}" in command(name, "--help").out
    assert f" {name} " in command("--help").out


def test_ls_tells_what_is_stored_of_each_disk(run: Repo, tmp_path: Path) -> None:
    """In chunks; a failed disk has a line; --blocks lists what a map would."""
    image = sparse(tmp_path / "a.img", 8 * MIB + MIB // 2, 2 * MIB, 7 * MIB + MIB // 2)
    empty = sparse(tmp_path / "b.img", 5 * MIB)
    missing = tmp_path / "missing.vmdk"
    identifier = run.backup(image, empty, missing, "--source", "vm", "--tag", "monday", status=3)
    first, second, failed = run("ls", identifier[:8], "--json").events
    if first["name"] != "a.img":
        first, second = second, first
    assert (first["key"], first["size"], first["allocated"], first["chunks"]) == (
        str(image),
        17 * MIB // 2,
        5 * MIB // 2,
        3,
    )
    assert (first["mode"], first["change_id"], len(first["root"])) == ("allocated", None, 64)
    assert (second["name"], second["allocated"], second["chunks"], second["areas"]) == ("b.img", 0, 0, 0)
    assert (failed["event"], failed["key"]) == ("failed", str(missing))
    headline, head, *rows, end = run("ls", "latest").out.splitlines()
    assert headline.startswith(f"snapshot {identifier} of vm, ")
    assert headline.endswith(", tags monday")
    assert head.split() == ["KEY", "NAME", "SIZE", "ALLOCATED", "CHUNKS", "MODE", "CHANGE", "ID", "ROOT"]
    assert any(row.split()[:3] == [str(image), "a.img", "8.5"] for row in rows)
    assert end.startswith(f"{missing}: not in the snapshot")
    ran = run("ls", "latest", "a.img", "--blocks", "--json")
    assert areas(ran) == [(str(image), 2 * MIB, MIB), (str(image), 7 * MIB, 3 * MIB // 2)]
    shown = run("ls", "latest", "a.img", "--blocks").out.splitlines()
    assert [line.split() for line in shown[:2]] == [
        ["OFFSET", "LENGTH", "END"],
        [str(2 * MIB), str(MIB), str(3 * MIB)],
    ]
    assert shown[3] == "2 areas: 2.5 MiB of 8.5 MiB stored (29.4%)"


def test_diff_tells_what_became_of_each_disk(run: Repo, tmp_path: Path) -> None:
    """Changed, grown, shrunk, the same, added, gone, failed; and where, in chunks."""
    folder = tmp_path / "vm"
    folder.mkdir()
    for name in ("changed", "grown", "shrunk", "same", "gone", "failed"):
        sparse(folder / f"{name}.img", 4 * MIB, MIB)
    old = run.backup(*sorted(folder.iterdir()))
    sparse(folder / "changed.img", 4 * MIB, MIB, 3 * MIB)
    sparse(folder / "grown.img", 6 * MIB, MIB, 5 * MIB)
    sparse(folder / "shrunk.img", 2 * MIB, MIB)
    sparse(folder / "added.img", 2 * MIB, 0)
    (folder / "gone.img").unlink()
    (folder / "failed.img").unlink()
    new = run.backup(*sorted(folder.iterdir()), folder / "failed.img", "--source", "vm", status=3)
    ran = run("diff", old, "latest", "--blocks", "--json")
    found = {one["key"].rpartition("/")[2][:-4]: one for one in ran.events if one["event"] == "disk"}
    assert {name: (one["state"], one["different"]) for name, one in found.items()} == {
        "changed": ("changed", MIB),
        "grown": ("grown", MIB),
        "shrunk": ("shrunk", 0),
        "same": ("same", 0),
        "added": ("added", MIB),
        "gone": ("gone", None),
        "failed": ("failed", None),
    }
    assert (f"{folder}/changed.img", 3 * MIB, MIB) in areas(ran)
    summary = ran.events[-1]
    assert (summary["old"], summary["new"], summary["disks"], summary["different_disks"]) == (old, new, 7, 6)
    lines = run("diff", old, new).out.splitlines()
    assert any(line.split() == f"{folder}/grown.img grown 4.0 MiB 6.0 MiB 1.0 MiB".split() for line in lines)
    assert lines[-1] == "6 of 7 disks differ: 3.0 MiB"
    one = run("diff", old, new, "gone.img", "same.img", "--blocks").out
    assert f"{folder}/gone.img: gone\n{folder}/same.img: same\n1 of 2 disks differs: 0 B\n" in one
    assert run("diff", new, new).out.endswith("\nno difference in 6 disks\n")


@pytest.mark.parametrize("level", [0, 1, 2])
def test_verify_says_that_nothing_is_wrong_and_what_it_read(run: Repo, small: Path, level: int) -> None:
    """Or nothing at all, if it is to be quiet."""
    run.backup(small)
    ran = run("verify", "--level", str(level))
    assert ran.status == 0
    assert ran.out.startswith(f"no damage found at level {level}: 1 snapshot")
    assert ("objects with" in ran.out) == (level > 0)
    (_, *_, summary) = run("verify", "--level", str(level), "--json").events
    assert (summary["level"], summary["snapshots"], summary["findings"]) == (level, 1, 0)
    quiet = run("verify", "--level", str(level), "-q")
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


def test_verify_names_what_is_damaged_and_quarantine_heals_it(run: Repo, repo: Path, small: Path, text: Path) -> None:
    """Object, reason, snapshot, disk and range; status 1; the next backup heals. A subset misses it or finds it."""
    untouched = run.backup(small)
    known = chunks(repo)
    identifiers = {run.backup(text), run.backup(text)}
    chunk = min(chunks(repo) - known)
    damage(chunk)
    ran = run("verify", "--json")
    assert ran.status == 1
    (finding,) = [one for one in ran.events if one["event"] == "finding"]
    name = str(chunk.relative_to(repo))
    assert finding["object"] == name
    assert {(hit["snapshot"], hit["disk"]) for hit in finding["hits"]} == {(one, str(text)) for one in identifiers}
    assert ran.events[-1]["damaged_snapshots"] == sorted(identifiers)
    shown = run("verify")
    assert shown.status == 1
    hit = finding["hits"][0]
    assert f"damaged: {name}: {finding['reason']}\n" in shown.out
    assert (
        f"  snapshot {hit['snapshot']}: {hit['length']} bytes from {hit['offset']} on of disk {hit['disk']}\n"
        in shown.out
    )
    assert "DAMAGE found, 1 object; they hit 2 snapshots: " in shown.out
    assert run("verify", untouched).status == 0
    assert run("verify", "--source", "a.vmdk").status == 0
    assert sorted(run("verify", "--subset", f"{part}/2", "-q").status for part in (1, 2)) == [0, 1]
    assert run("verify", "--level", "0").status == 0
    healing = run("verify", "--quarantine")
    assert healing.status == 1
    assert "1 object put aside" in healing.out
    run.backup(text)
    assert run("verify").status == 0


def test_verify_compares_with_the_sources_as_they_are(run: Repo, small: Path, text: Path) -> None:
    """At the paths that are the keys, or those of the disks that are given; of the newest snapshot unless told."""
    first = run.backup(small, text, "--source", "vm")
    ran = run("verify", "--level", "3")
    assert ran.status == 0
    assert f"snapshot {first}, {small}: equal, 16.0 MiB\n" in ran.out
    assert ran.out.splitlines()[-1].startswith("all as backed up: 2 disks, every byte compared in ")
    change(small, 5 * MIB + 512, b"\1" * 1024)
    text.unlink()
    ran = run("verify", "--level", "3", first)
    assert ran.status == 1
    assert f"{small}: different, 1.0 KiB in 1 area: 1024 from byte {5 * MIB + 512} on\n" in ran.out
    assert f"{text}: not compared, {text}: No such file" in ran.out
    assert ran.out.endswith("2 of 2 disks not as backed up: changed since then, or not readable\n")
    second = run.backup(small, "--source", "vm")
    only = run("verify", "--level", "3", "--disk", small, "--json")
    assert only.status == 0
    assert [only.events[0][name] for name in ("event", "key", "snapshot")] == ["progress", str(small), second]
    assert [(one["snapshot"], one["equal"]) for one in only.events if one["event"] == "compared"] == [(second, True)]
    assert "has no disk" in run("verify", "--level", "3", "--disk", text).error


def test_compare_says_equal_or_where_disks_differ(run: Repo, command: Command, small: Path, tmp_path: Path) -> None:
    """Files with files, of any kind, and with a snapshot's; without a repository where none is needed."""
    run.backup(small)
    copy = tmp_path / "copy.raw"
    assert command("copy", "-q", small, copy).status == 0
    for what in ((small, copy), ("latest", "a.vmdk", copy)):
        same = run("compare", *what)
        assert (same.status, same.out) == (0, "equal, 16.0 MiB\n")
    with copy.open("r+b") as file:
        for place in (MIB, 2 * MIB):
            file.seek(place)
            file.write(b"other")
    sector = {"length": 512}
    found = [{"offset": place, **sector, "end": place + 512} for place in (MIB, 2 * MIB)]
    for what in ((small, copy), ("latest", str(small), copy)):
        other = run("compare", *what, "--json")
        assert other.status == 1
        assert other.events[-1] == {
            "event": "compared",
            "equal": False,
            "sizes": [16 * MIB] * 2,
            "different": 1024,
            "areas": found,
        }
    plain = command("compare", small, copy)
    assert plain.out == f"different, 1.0 KiB in 2 areas: 512 from byte {MIB} on, 512 from byte {2 * MIB} on\n"
    assert command("compare", small, copy, "--first").out == f"different, in the sector at byte {MIB}\n"
    listed = command("compare", small, copy, "--blocks").out.splitlines()
    assert [line.split()[0] for line in listed] == ["OFFSET", str(MIB), str(2 * MIB), "2"]
    quiet = command("compare", small, copy, "-q")
    assert (quiet.status, quiet.out, quiet.err) == (1, "", "")
    longer = sparse(tmp_path / "longer.img", 17 * MIB)
    sizes = command("compare", small, longer)
    assert (sizes.status, sizes.out) == (1, f"different sizes, {16 * MIB} and {17 * MIB} bytes\n")
    assert "one disk, please" in command("compare", small, tmp_path).error
    assert command("compare", small, tmp_path / "none.img").status == 1


def test_stats_count_what_is_there(run: Repo, small: Path, text: Path) -> None:
    """Snapshots, disks, what they hold and what is stored of it."""
    run.backup(small, text, "--source", "vm")
    run.backup(small)
    (found,) = run("stats", "--json").events
    logical = 2 * 16 * MIB + len(TEXT)
    assert (found["snapshots"], found["sources"], found["disks"], found["logical"]) == (2, 2, 3, logical)
    assert found["stored"] == found["chunk_bytes"] + found["meta_bytes"] > 0
    shown = run("stats").out
    assert "snapshots     2 of 2 sources, 3 disks\n" in shown
    assert f"in {found['chunks']} objects\n" in shown


def test_benchmark_tells_rates_and_what_limits_and_leaves_nothing(run: Repo, repo: Path) -> None:
    """On stdout, for people and programs."""
    before = names(repo / "probe")
    lines = run("benchmark", "--size", "5M").out.splitlines()
    assert lines[0].startswith("5.0 MiB of data, ")
    assert sum(" MB/s  " in line for line in lines) == 4
    assert [line.split(":")[0] for line in lines[-2:]] == ["a backup of new data", "a restore"]
    (found,) = run("benchmark", "--size", "5M", "--json").events
    assert found["size"] == 5 * MIB
    assert {found["backup_limit"], found["restore_limit"]} <= {"processor", "store"}
    assert min(found[rate] for rate in ("pack", "write", "read", "unpack")) > 0
    assert names(repo / "probe") == before


def test_benchmark_that_is_interrupted_leaves_nothing(repo: Path) -> None:
    """Ctrl-C when data are stored already; status 130."""
    with spawn("benchmark", "--size", "1T", "--repo", repo, "--no-password") as process:
        while process.poll() is None and not any("-" in name for name in names(repo / "probe")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert err == "asyncvddk: Interrupt: cleaning up\n"
    assert names(repo / "probe") == []


@pytest.mark.parametrize(
    "arguments",
    [("verify",), ("verify", "--level", "3"), ("compare", "latest", "a.vmdk", "DISK")],
    ids=["verify", "sources", "compare"],
)
def test_bars_leave_nothing_but_the_result_on_a_terminal(
    run: Repo, repo: Path, small: Path, arguments: tuple[str, ...]
) -> None:
    """The bar is drawn, then taken away."""
    run.backup(small)
    given = [str(small) if word == "DISK" else word for word in arguments]
    words = [sys.executable, "-m", "asyncvddk", *given, "--repo", str(repo), "--no-password"]
    done = subprocess.run(
        ["script", "-qec", shlex.join(words), "/dev/null"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "MiB" in done.stdout
    assert "━" in done.stdout or "\x1b[" in done.stdout
    end = done.stdout.splitlines()[-1].rpartition("\x1b[2K")[2].rpartition("\r")[2]
    assert end.startswith(("no damage found", "all as backed up", "equal", "\x1b[?25h"))


def test_statuses_are_restics(
    command: Command, run: Repo, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 where there is no repository, also as JSON; 12 for a wrong password, for every verb."""
    run.backup(small)
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("ASYNCVDDK_PASSWORD", "none is needed")
    needed: dict[str, tuple[Any, ...]] = {
        "ls": ("latest",),
        "diff": ("latest", "latest"),
        "compare": ("latest", "a.vmdk", small),
        "forget": ("latest",),
        "key": ("list",),
    }
    for verb in VERBS:
        nothing = command(verb, *needed.get(verb, ()), "--repo", tmp_path / "nothing", "--no-password", "--json")
        assert (verb, nothing.status) == (verb, 10)
        assert nothing.events[-1]["type"] == "RepositoryNotFoundError"
        wrong = command(verb, *needed.get(verb, ()), "--repo", tmp_path / "repo")
        assert (verb, wrong.status) == (verb, 12)
        assert "none is needed" not in wrong.err
    assert run("snapshots", "--json").events != []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ls",), "SNAPSHOT"),
        (("diff", "latest"), "NEW"),
        (("verify", "--level", "4"), "--level"),
        (("verify", "--level", "0", "--subset", "1/2"), "--subset"),
        (("verify", "--subset", "3/2"), "3/2"),
        (("verify", "--level", "3", "--quarantine"), "--quarantine"),
        (("verify", "--disk", "a.vmdk"), "--level 3"),
        (("compare", "a.vmdk"), "SNAPSHOT KEY DISK"),
        (("compare", "a.vmdk", "b.vmdk", "--first", "--blocks"), "--first"),
        (("benchmark", "--size", "many"), "no size"),
    ],
)
def test_wrong_usage_is_one_line(run: Repo, arguments: tuple[str, ...], told: str) -> None:
    """Status 2."""
    ran = run(*arguments)
    assert ran.status == 2
    assert told in ran.error


@pytest.mark.parametrize("to", ["b.img", "b.vmdk", "-"])
def test_restores_are_made_by_the_threads_of_the_repository(
    run: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """Not through the interface that others read a backup by, which goes through a cache and the event loop."""
    image = tmp_path / "a.img"
    image.write_bytes(TEXT.encode())
    run.backup(image)
    monkeypatch.setattr(SnapshotDisk, "readinto_at", None)
    monkeypatch.setattr(RawTarget, "write", None)
    ran = run("restore", "latest", "--to", to if to == "-" else tmp_path / to)
    assert ran.status == 0
    if to == "-":
        assert ran.out == TEXT
    elif to == "b.img":
        assert (tmp_path / to).read_bytes() == TEXT.encode()
