"""The configuration file of InitEx: its form, and the keys that make calls fail or synchronous."""

from __future__ import annotations

import os
import re
import threading
from ctypes import byref, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING

from asyncvddk.engine import build
from tests.engine.session import VIX_ASYNC, Completions, Session, sectors

if TYPE_CHECKING:
    from pathlib import Path

FULL, BUSY = 8, 5


def test_file_that_is_missing_is_only_logged(library: Path, tmp_path: Path) -> None:
    """InitEx succeeds without the file, and names it in a warning."""
    with Session(library, tmp_path) as session:
        assert ["session-0.conf: No such file" in line for line in session.warned] == [True]


def test_lines_have_the_forms_that_clients_write(library: Path, tmp_path: Path) -> None:
    """Quotes, comments, blank lines, any letter case are taken; a wrong line is named by its number."""
    text = (
        '# comment\n\nOPENENGINE.fail = "Read:1:8" # first\nvixDiskLib.nfc.LogLevel=2\n'
        'no value\nvixDiskLib.phoneHome.ProductName = "open\nnot.a.key = 1\n'
    )
    with Session(library, tmp_path, text) as session:
        assert [line.split(".conf:")[1][0] for line in session.warned] == ["5", "6"]
        assert [line.split(".conf:")[1][0] for line in session.logged if ".conf:" in line] == ["7"]
        handle = session.open(session.connect())
        assert session.code("Read", handle, c_uint64(0), c_uint64(1), sectors(1)) == FULL


def test_wrong_value_is_named_and_the_default_used(library: Path, tmp_path: Path) -> None:
    """Numbers outside of their range and words that are no switch do not stop InitEx."""
    text = "openEngine.threads = 0\nopenEngine.async = maybe\nopenEngine.fail = Read:x:1\n"
    with Session(library, tmp_path, text) as session:
        wrong = ("openEngine.fail", "openEngine.threads", "openEngine.async")
        assert [line.startswith(key) for line, key in zip(session.warned, wrong, strict=True)] == [True] * 3


def test_nth_call_fails_and_no_other(library: Path, tmp_path: Path) -> None:
    """openEngine.fail counts the calls of each function; 0 is every call; the prefix may be written."""
    rules = "openEngine.fail = Read:2:8, VixDiskLib_Read:3:5,Flush:0:7"
    with Session(library, tmp_path, rules) as session:
        handle, buffer = session.open(session.connect()), sectors(1)
        codes = [session.code("Read", handle, c_uint64(0), c_uint64(1), buffer) for _ in range(4)]
        assert codes == [0, FULL, BUSY, 0]
        assert [session.code("Flush", handle) for _ in range(2)] == [7, 7]


def test_synchronous_and_asynchronous_calls_can_be_counted_together(library: Path, tmp_path: Path) -> None:
    """Read.any counts both; calls whose names only begin alike are others."""
    with Session(library, tmp_path, "openEngine.fail = Read.any:3:8, Read:2:7") as session:
        handle, done, buffer = session.open(session.connect()), Completions(), sectors(1)
        where = (handle, c_uint64(0), c_uint64(1), buffer)
        assert session.code("Read", *where) == 0
        assert session.code("ReadMetadata", handle, b"adapterType", None, c_uint64(0), byref(c_uint64())) == 24
        assert session.code("ReadAsync", *where, done.function, None) == VIX_ASYNC
        assert session.code("Wait", handle) == 0
        assert session.code("ReadAsync", *where, done.function, None) == FULL
        assert session.code("Read", *where) == 7
        assert session.code("Write", *where) == 0
    assert done.results == [0]


def test_failing_close_still_closes(library: Path, tmp_path: Path) -> None:
    """A Close or Disconnect that fails on demand has released all the same, as after a failed flush."""
    with Session(library, tmp_path, "openEngine.fail = Close:1:7,Disconnect:1:7") as session:
        connection = session.connect()
        handle = session.open(connection)
        assert [session.code("Close", handle) for _ in range(2)] == [7, 3]
        assert [session.code("Disconnect", connection) for _ in range(2)] == [7, 16054]


def test_failed_open_gives_no_handle(library: Path, tmp_path: Path) -> None:
    """The result is NULL, also where it held something before."""
    with Session(library, tmp_path, "openEngine.fail = Open:1:13") as session:
        handle = c_void_p(1)
        assert session.code("Open", session.connect(), b"/x", c_uint32(0), byref(handle)) == 13
        assert handle.value is None


def test_asynchronous_call_is_refused_or_called_back_with_the_code(library: Path, tmp_path: Path) -> None:
    """ReadAsync fails without callback; ReadAsync.callback hands the code over, exactly once."""
    with Session(library, tmp_path, "openEngine.fail = ReadAsync:1:8,ReadAsync.callback:2:14009") as session:
        handle, done, buffer = session.open(session.connect()), Completions(), sectors(1)
        where = (handle, c_uint64(0), c_uint64(1), buffer, done.function, None)
        assert [session.code("ReadAsync", *where) for _ in range(3)] == [FULL, VIX_ASYNC, VIX_ASYNC]
        assert session.code("Wait", handle) == 0
        assert done.results == [0, 14009]


def test_async_off_completes_before_the_call_returns(library: Path, tmp_path: Path) -> None:
    """Large reads and writes are called back on the caller's thread, and are VIX_ASYNC nevertheless."""
    with Session(library, tmp_path, "openEngine.async = off  # as HotAdd") as session:
        handle, done, buffer = session.open(session.connect()), Completions(), sectors(4096)
        where = (handle, c_uint64(0), c_uint64(4096), buffer, done.function, None)
        assert session.code("WriteAsync", *where) == VIX_ASYNC
        assert done.results == [0]
        assert session.code("ReadAsync", *where) == VIX_ASYNC
        assert done.results == [0, 0]
        assert done.threads == {threading.get_native_id()}


def test_configuration_ends_with_the_last_exit(library: Path, tmp_path: Path) -> None:
    """The next Init reads its file anew and counts from the beginning."""
    session = Session(library, tmp_path, "openEngine.fail = Connect:1:5")
    for _ in range(2):
        with session:
            assert [session.code("Connect", None, byref(c_void_p())) for _ in range(2)] == [BUSY, 0]


def documented_keys() -> list[str]:
    """Return VDDK's keys in all spellings that its documentation uses."""
    names = (
        "tmpDirectory log.fileName log.fileLevel vixDiskLib.transport.LogLevel vixDiskLib.nfc.LogLevel "
        "vixDiskLib.nfc.AcceptTimeoutMs vixDiskLib.nfc.RequestTimeoutMs vixDiskLib.nfc.ReadTimeoutMs "
        "vixDiskLib.nfc.ReadTimeoutsMs vixDiskLib.nfc.WriteTimeoutMs vixDiskLib.nfc.WriteTimeoutsMs "
        "vixDiskLib.nfcFssrvr.TimeoutMs vixDiskLib.nfcFssrvrWrite.TimeoutMs vixDiskLib.nfcAio.Session.BufSizeIn64KB "
        "vixDiskLib.nfcAio.Session.BufSizeIN64K vixDiskLib.nfcAio.Session.BufCount vixDiskLib.disklib.EnableCache "
        "vixDiskLib.linuxSSL.verifyCertificates vixDiskLib.ssl.enableSslFIPS vixDiskLib.phoneHome.EnablePhoneHome "
        "vixDiskLib.phoneHome.ProductName vixDiskLib.phoneHome.ProductVersion "
        "vixDiskLib.transport.hotadd.NoNfcSession vixDiskLib.transport.san.blacklist "
        "vixDiskLib.transport.san.whitelist vixDiskLib.transport.san.denyList vixDiskLib.transport.san.allowList "
        "vixMntapi.cfg.LogLevel"
    )
    return names.split()


def test_every_documented_key_is_taken_without_a_word(library: Path, tmp_path: Path) -> None:
    """As documented, and with the capital V of some clients; so are ours, which are few enough to be listed."""
    ours = (
        "bandwidth fail hang latencyMs threads grainTableCacheBytes server user password cookie thumbPrint vm snapshot"
    )
    keys = [*documented_keys(), *(f"openEngine.{name}" for name in ours.split())]
    lines = "".join(
        f"{key} = 1\n{key[0].upper()}{key[1:]} = 1\n" for key in keys if "ail" not in key and "ang" not in key
    )
    lines = lines.replace("og.fileName = 1", f"og.fileName = {tmp_path}/log")
    with Session(library, tmp_path, lines) as session:
        assert session.warned == []
        assert [line for line in session.logged if ".conf:" in line] == []


def test_the_header_explains_the_keys_that_are_known_and_used() -> None:
    """Ours: the same in config.h, in the list that complains of unknown ones, and in the code."""
    base = build.PACKAGE / build.ENGINE.sources / "base"
    header, list_of_keys = ((base / name).read_text("utf-8") for name in ("config.h", "keys.c"))
    sources = [path.read_text("utf-8") for path in base.parent.rglob("*.c") if path.name != "keys.c"]
    known = set(re.findall(r'"openEngine\.(\w+)', list_of_keys))
    used = set(re.findall(r'"openEngine\.(\w+)\.?"', "".join(sources)))
    assert set(re.findall(r"openEngine\.(\w+)", header)) == known == used


def test_wrong_value_of_a_documented_key_is_named(library: Path, tmp_path: Path) -> None:
    """One line each, with the line's number; InitEx succeeds; the value is not repeated."""
    text = "vixDiskLib.nfc.ReadTimeoutMs = soon\nvixDiskLib.disklib.EnableCache = 7\nlog.fileLevel = -1\n"
    with Session(library, tmp_path, text) as session:
        assert [line.split(".conf:")[1].split(" ")[0] for line in session.warned] == ["1:", "2:", "3:"]
        assert "soon" not in "".join(session.warned)


def test_log_file_gets_what_the_callbacks_get(library: Path, tmp_path: Path) -> None:
    """By name, inside of tmpDirectory, from the configuration on; level 2 keeps the warnings alone."""
    for level, kept in ((3, ["info", "warning"]), (2, ["warning"]), (0, [])):
        text = f"tmpDirectory = {tmp_path}\nlog.fileName = level{level}.log\nlog.fileLevel = {level}\n"
        with Session(library, tmp_path, text) as session:
            assert session.code("Open", session.connect(), b"/missing", c_uint32(0), byref(c_void_p())) == 4
        lines = (tmp_path / f"level{level}.log").read_text().splitlines()
        assert sorted({line.split(" ")[1].rstrip(":") for line in lines}) == kept
        assert any("/missing" in line for line in lines) is bool(kept)


def test_client_without_callbacks_finds_its_log_in_the_temporary_directory(library: Path, tmp_path: Path) -> None:
    """Named after the process; nothing is written where no directory is given."""
    session = Session(library, tmp_path, f"tmpDirectory = {tmp_path}\n")
    session._callbacks = [None, None, None]
    with session:
        pass
    assert "Unmatched Init calls" in (tmp_path / f"vixDiskLib-{os.getpid()}.log").read_text()


def test_log_file_that_cannot_be_written_is_only_logged(library: Path, tmp_path: Path) -> None:
    """InitEx succeeds without it."""
    with Session(library, tmp_path, f"log.fileName = {tmp_path}/missing/x.log\n") as session:
        assert [line.startswith("log file") for line in session.warned] == [True]
