"""What the library says, as the program's log shows it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from asyncvddk import NativeError, Vddk
from asyncvddk.native import _core, _log

if TYPE_CHECKING:
    from tests.fix_stub import Stub

PROGRAM = "import asyncio, asyncvddk\nasync def main():\n    async with asyncvddk.Vddk(): pass\nasyncio.run(main())"


async def test_messages_are_debug_events_with_their_connection() -> None:
    """The library's text, and which of our threads it came from."""
    with capture_logs() as logs:
        async with Vddk() as vddk:
            assert vddk.version == "8.0.0"
    banner = next(log for log in logs if "VixDiskLib (8.0.0)" in log["text"])
    assert (banner["log_level"], banner["connection"]) == ("debug", "vddk-library")


def test_program_that_configures_no_log_prints_nothing() -> None:
    """The library's chatter never gets into a program's output."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


async def test_warning_of_a_call_that_failed_is_in_its_error_and_not_logged_as_warning(stub: Stub) -> None:
    """Whoever handles the error decides what is shown; the log has it as debug."""
    stub.fail("ConnectEx", 7)
    with capture_logs() as logs:
        async with Vddk(stub.root) as vddk:
            with pytest.raises(NativeError, match="ConnectEx says 7 times no"):
                await vddk.connect()
    assert [log["log_level"] for log in logs if "times no" in log["text"]] == ["debug"]


def test_secrets_are_masked_as_often_as_they_are_in_use() -> None:
    """Two connections with one password: masked until both are closed."""
    _log.add_secret("hunter2")
    _log.add_secret("hunter2")
    _log.drop_secret("hunter2")
    assert _log.masked("login as me with hunter2") == "login as me with ***"
    _log.drop_secret("hunter2")
    assert _log.masked("hunter2") == "hunter2"


async def test_phone_home_noise_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """VDDK says harmless things as warnings."""
    message = _core.LogMessage(tag=0, worker=0, level=1, text="VDDK_PhoneHome: Get CEIP status failed")
    monkeypatch.setattr(_core, "pop_log", iter([message, None]).__next__)
    with capture_logs() as logs:
        _log.drain()
    assert [log["log_level"] for log in logs] == ["debug"]
