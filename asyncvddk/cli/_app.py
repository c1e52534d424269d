"""Names of the commands; each one is imported when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError

from asyncvddk._version import __version__
from asyncvddk.cli import _exit
from asyncvddk.cli._output import say, silence_stdout

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_app(command: str | None) -> App:
    """Return the command line; errors of usage are raised.

    ``command`` is the one that is called: its help is its own, the others have a line for the list.
    """
    app = App(
        name="asyncvddk",
        help="Virtual disks (VMDK) through VDDK's interface: copy, look at, create, back up, restore.",
        version=__version__,
        help_format="markdown",
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    for name, (usage, purpose) in _COMMANDS.items():
        usage_line = f"asyncvddk {name} [OPTIONS] {usage}".rstrip()
        line = None if name == command else purpose
        app.command(f"asyncvddk.cli.{name}_cmd:{name}", name=name, usage=usage_line, help=line)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` name and return the exit status."""
    command = next(iter(arguments), None)
    try:
        status = make_app(command)(list(arguments))
    except CycloptsError as error:
        meant = f"{command} " if command in _COMMANDS else ""
        say(f"asyncvddk: {_one_line(error)} (see asyncvddk {meant}--help)")
        return _exit.USAGE
    except BrokenPipeError:  # the reader of our output has seen enough
        silence_stdout()
        return _exit.FAILED
    return status if isinstance(status, int) else _exit.DONE


_COMMANDS = {
    "copy": ("SOURCE... DESTINATION", "Copy disks, several at once, to raw images or VMDKs."),
    "info": ("DISK", "Show what a disk is."),
    "map": ("DISK", "List the areas of a disk that were ever written."),
    "create": ("PATH --size SIZE", "Make a disk of zeros, or with example data."),
    "write": ("DISK [FILE]", "Write bytes to a place in a disk."),
    "vms": ("[RULE...]", "List the virtual machines of a vCenter or an ESXi host."),
    "doctor": ("[RULE...]", "Examine machine, library, repository and vCenter, and say what to do."),
    "init": ("--repo PLACE", "Make a repository for backups, in a folder or a bucket."),
    "backup": ("[DISK...]", "Back up disks or virtual machines into a repository; only what is new is stored."),
    "cleanup": ("", "Remove what killed backups of virtual machines left on a server."),
    "snapshots": ("", "List the snapshots of a repository."),
    "ls": ("SNAPSHOT [KEY...]", "List the disks of a snapshot, and how much of each is stored."),
    "diff": ("OLD NEW [KEY...]", "Show what became of the disks between two snapshots."),
    "verify": ("[SNAPSHOT...]", "Prove that what was backed up can be restored, or name what is damaged."),
    "restore": (
        "SNAPSHOT [KEY...] --to PLACE",
        "Write disks of a snapshot to images, VMDKs, an existing disk, or stdout.",
    ),
    "dump": ("SNAPSHOT KEY", "Write bytes of a snapshot's disk to stdout."),
    "compare": ("DISK DISK | SNAPSHOT KEY DISK", "Compare two disks, or one of a snapshot with a disk, byte by byte."),
    "forget": ("[SNAPSHOT...] [--keep-...]", "Forget snapshots: those given, or those that no rule wants to keep."),
    "gc": ("", "Free what no snapshot uses any more; backups may run meanwhile."),
    "key": ("ACTION [ID]", "List, add, change and remove the passwords of a repository."),
    "stats": ("", "Show how much a repository holds, and how little of the store that takes."),
    "benchmark": ("", "Measure how fast this machine and a repository's place can be."),
}
"""Command: its usage, and its purpose for the list of commands."""


def _one_line(error: CycloptsError) -> str:
    """Return what is wrong, without the closing full stop."""
    return " ".join(str(error).split()).rstrip(".")
