"""A backup that is ended by a signal: what it made is removed before it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fix_vsphere import PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_vsphere import Bench


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_no_snapshot(bench: Bench, tmp_path: Path, number: signal.Signals) -> None:
    """It comes when the disks are about to be read; calls under way are waited for. A second backup works."""
    config, library = tmp_path / "config.toml", tmp_path / "vddk.conf"
    config.write_text(
        f'[servers.bench]\nhost = "{bench.server}"\nport = {bench.port}\nuser = "{USER}"\nthumbprint = "{bench.sha1}"\n'
    )
    environment = os.environ | {
        "ASYNCVDDK_CONFIG": str(config),
        "ASYNCVDDK_SERVER": "bench",
        "ASYNCVDDK_SERVER_PASSWORD": PASSWORD,
        "ASYNCVDDK_REPOSITORY": str(tmp_path / "repository"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }

    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "asyncvddk", *arguments, "--no-password"]

    subprocess.run(command("init"), env=environment, check=True, capture_output=True)
    library.write_bytes(bench.library(**{"openEngine.latencyMs": "300"}).render())
    slow = command("backup", "--vm", "web", "--mode", "full", "--json", "--config", str(library))
    with subprocess.Popen(slow, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if '"copying"' in line:
                break
        assert len(bench.snapshots()) == 1
        process.send_signal(number)
        process.communicate()
    assert process.returncode == 128 + number
    assert bench.snapshots() == []
    assert list((tmp_path / "state").rglob("*.journal")) == []
    library.write_bytes(bench.library().render())
    again = command("backup", "--vm", "web", "--quiet", "--config", str(library))
    subprocess.run(again, env=environment, check=True, capture_output=True)
