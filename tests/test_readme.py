"""Everything that README shows works as it stands there. Its two first commands are run by ``.ci/run``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.fix_package import ROOT
from tests.fix_vsphere import PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_vsphere import Bench

README = (ROOT / "README.md").read_text()
VMWARE = "/opt/vmware-vix-disklib-distrib"
"""Where README's reader has VMware's library; here the engine stands in for it."""


class Snippet(NamedTuple):
    """A fenced block."""

    language: str
    text: str


SNIPPETS = [Snippet(*match) for match in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]
PYTHON = [snippet.text for snippet in SNIPPETS if snippet.language == "python"]
FIRST, *SHELL = [snippet.text for snippet in SNIPPETS if snippet.language == "sh"]
INSTALL = [text for text in SHELL if "pip install" in text]
AT_SERVER = [text for text in SHELL if "ASYNCVDDK_SERVER" in text]
COMMANDS = [text for text in SHELL if text not in INSTALL + AT_SERVER]


def run_shell(text: str, folder: Path, **environment: str) -> None:
    """Run a block of shell commands, stop at the first that fails."""
    command = ["bash", "-euo", "pipefail", "-c", text.replace(VMWARE, str(ROOT / "asyncvddk" / "engine"))]
    subprocess.run(command, cwd=folder, env=os.environ | environment, check=True)


@pytest.fixture
def path_with_command(tmp_path: Path) -> str:
    """Value of PATH that finds ``asyncvddk``, run by this Python on this tree."""
    program = tmp_path / "bin" / "asyncvddk"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m asyncvddk "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


def test_continuous_integration_runs_the_two_first_commands() -> None:
    """``.ci/run`` takes both from README as they stand and runs the second one last."""
    script = (ROOT / ".ci" / "run").read_text()
    (reading,) = re.findall(r"^mapfile .*", script, re.MULTILINE)
    show = f'{reading}\nprintf "%s\\n" "${{commands[@]}}"'
    told = subprocess.run(["bash", "-c", show], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told == FIRST
    assert len(FIRST.splitlines()) == 2
    assert [number for number, _ in re.findall(r'-c "\$\{commands\[(\d)\]\}"(.*)', script)] == ["0", "1"]


@pytest.mark.parametrize("text", PYTHON, ids=range(len(PYTHON)))
def test_python_snippet_prints_what_its_comments_say(text: str, tmp_path: Path) -> None:
    """The comments behind the print calls are the output, line by line."""
    expected = re.findall(r"^\s*print\(.*?\)  # (.*)$", text, re.MULTILINE)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    make = [sys.executable, "-m", "asyncvddk", "create", "--size", "1M", "disk.vmdk"]
    subprocess.run(make, cwd=tmp_path, env=environment, check=True, capture_output=True)
    command = [sys.executable, "-W", "error", "-c", text]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("text", COMMANDS, ids=lambda text: text.splitlines()[0][:40])
def test_commands_work(text: str, tmp_path: Path, path_with_command: str) -> None:
    """Each block runs from top to bottom in an empty folder, where ``disk.vmdk`` is the reader's own disk."""
    cache = str(tmp_path / "cache")
    run_shell("asyncvddk create --size 1M disk.vmdk", tmp_path, PATH=path_with_command)
    run_shell(text, tmp_path, PATH=path_with_command, XDG_CACHE_HOME=cache)


@pytest.mark.parametrize("text", AT_SERVER, ids=lambda text: text.splitlines()[0][:40])
def test_commands_at_a_vcenter_work(text: str, tmp_path: Path, path_with_command: str, bench: Bench) -> None:
    """The bench is the reader's vCenter, by its name; with the engine as library, which plays the hosts."""
    hosts, config = tmp_path / "hosts.conf", tmp_path / "config.toml"
    hosts.write_bytes(bench.library().render())
    config.write_text(
        f'[servers."vcenter.example"]\nhost = "{bench.server}"\nport = {bench.port}\nthumbprint = "{bench.sha256}"\n'
    )
    program = tmp_path / "bin" / "asyncvddk"
    program.write_text(program.read_text().replace('asyncvddk "$@"', f'asyncvddk "$@" --config "{hosts}"'))
    environment = {
        "PATH": path_with_command,
        "ASYNCVDDK_CONFIG": str(config),
        "ASYNCVDDK_SERVER_PASSWORD": PASSWORD,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    run_shell(text.replace("backup@vsphere.local", USER), tmp_path, **environment)
    assert bench.snapshots() == []
    assert len(bench.calls("CreateSnapshot_Task")) == len(bench.calls("RemoveSnapshot_Task")) > 0


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.sh")), ids=lambda path: path.name)
def test_shell_example_shows_what_it_does(example: Path, tmp_path: Path, path_with_command: str) -> None:
    """The one of the first command: each step of the main job is named, and comes out as it should."""
    ran = subprocess.run(
        ["sh", str(example)],
        cwd=tmp_path,
        env=os.environ | {"PATH": path_with_command, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    for text in ("no damage found", "1 of 2 disks differs: 1.0 MiB", "equal, 256 MiB", "different, 512 B in 1 area"):
        assert text in ran.stdout
    for verb in ("create", "init", "backup", "snapshots", "diff", "verify", "restore", "compare", "write"):
        assert f"asyncvddk {verb}" in ran.stdout


@pytest.mark.skipif(not os.environ.get("CI"), reason="installs from the package index; CI runs it")
@pytest.mark.parametrize("text", INSTALL)
def test_installing_works(text: str, source_tree: Path, tmp_path: Path) -> None:
    """In a fresh environment the library, then the command line, are installed from the sources alone."""
    venv.create(tmp_path / "venv", with_pip=True)
    path = f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}"
    run_shell(f"{text}\nasyncvddk --version", source_tree, PATH=path, PIP_QUIET="1")


def test_readme_is_short_and_its_links_lead_somewhere() -> None:
    """Less than 200 lines; each relative link names a file."""
    assert len(README.splitlines()) < 200
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
