"""What the library says, as the program's log shows it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from asyncvddk import NativeError, Secret, Vddk
from asyncvddk.native import _core, _log

if TYPE_CHECKING:
    from tests.fix_stub import Stub

PROGRAM = "import asyncio, asyncvddk\nasync def main():\n    async with asyncvddk.Vddk(): pass\nasyncio.run(main())"


async def test_messages_are_debug_events_with_their_connection() -> None:
    """The library's text, and which of our threads it came from."""
    with capture_logs() as logs:
        async with Vddk() as vddk:
            assert vddk.version == "8.0.1"
    banner = next(log for log in logs if "VixDiskLib (8.0.1)" in log["text"])
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
    hidden = [_log.hide(Secret("hunter2")) for _ in range(2)]
    _log.show(hidden[0])
    assert _log.masked(bytearray(b"login as me with hunter2\n")) == "login as me with ***"
    _log.show(hidden[1])
    assert _log.masked(bytearray(b"hunter2")) == "hunter2"
    assert hidden[1].data == bytes(7)


def test_masking_leaves_nothing_of_a_secret_in_the_message() -> None:
    """Several at once, one the beginning of another, one that the mask itself contains."""
    hidden = [_log.hide(Secret(text)) for text in ("geheim", "geheimer", "*")]
    message = bytearray(b"geheimer geheim *geheim geheimgeheim")
    assert _log.masked(message) == "********* ********* ************ ******************"
    for each in hidden:
        _log.show(each)
    assert b"geheim" not in message


async def test_phone_home_noise_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """VDDK says harmless things as warnings."""
    message = _core.LogMessage(tag=0, worker=0, level=1, data=bytearray(b"VDDK_PhoneHome: Get CEIP status failed"))
    monkeypatch.setattr(_core, "pop_log", iter([message, None]).__next__)
    with capture_logs() as logs:
        _log.drain()
    assert [log["log_level"] for log in logs] == ["debug"]
