"""Which machines, and which of their disks: rules as people write them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Self

from asyncvddk.vsphere.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from asyncvddk.vsphere._machines import VirtualMachine, VirtualMachineDisk

_KINDS: Final = ("name", "moref", "uuid", "folder", "datastore", "datastore-cluster", "cluster", "host", "all")
_DISK_KINDS: Final = ("key", "label", "path", "address", "datastore")
_MOREF: Final = re.compile(r"(?:moref=)?(vm-\d+)")


def _fits(pattern: str, text: str) -> bool:
    """Compare as vSphere does, letter case apart; ``*`` is anything, ``?`` any one character, brackets themselves."""
    expression = "".join(".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.fullmatch(expression, text, re.IGNORECASE | re.DOTALL) is not None


def _split(text: str, kinds: Sequence[str], default: str) -> tuple[str, str]:
    """Return kind and pattern of ``kind:pattern``. Raises ValueError."""
    kind, colon, pattern = text.partition(":")
    if not colon or kind not in kinds:
        kind, pattern = default, text
    if not pattern.strip():
        raise ValueError(f"{text!r}: nothing is named")
    return kind, pattern.strip()


def _with_those_above(folder: str) -> Iterator[str]:
    """Yield a folder's path and those of the folders that it lies in."""
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class MachineRule:
    """Names some machines. Made by ``parse``."""

    kind: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``web*`` (a name or a path), ``vm-16``, ``all``, or ``kind:pattern``.

        The kinds: name, moref, uuid, folder (with those below), datastore, datastore-cluster, cluster, host. In a
        pattern ``*`` stands for anything and ``?`` for one character; letter case does not count. Raises ValueError.
        """
        if text.strip().casefold() == "all":
            return cls("all", "*")
        if match := _MOREF.fullmatch(text.strip()):
            return cls("moref", match[1])
        kind, pattern = _split(text, _KINDS, "name")
        return cls(kind, pattern.removeprefix("moref=") if kind == "moref" else pattern)

    def takes(self, machine: VirtualMachine) -> bool:
        """Tell whether it names this one."""
        if self.kind == "all":
            return True
        texts: dict[str, tuple[str | None, ...]] = {
            "name": (machine.path if self.pattern.startswith("/") else machine.name,),
            "moref": (machine.moref,),
            "uuid": (machine.uuid, machine.bios_uuid),
            "folder": tuple(_with_those_above(machine.folder)),
            "datastore": machine.datastores,
            "datastore-cluster": machine.datastore_clusters,
            "cluster": (machine.cluster,),
            "host": (machine.host,),
        }
        pattern = self.pattern.rstrip("/") if self.kind == "folder" else self.pattern
        return any(text is not None and _fits(pattern, text) for text in texts[self.kind])

    def __str__(self) -> str:
        """As it can be parsed."""
        return "all" if self.kind == "all" else f"{self.kind}:{self.pattern}"


@dataclass(frozen=True, slots=True)
class DiskRule:
    """Names some disks of each machine. Made by ``parse``."""

    kind: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``2000`` (a device key), ``scsi0:1``, ``[ds] web/*.vmdk``, ``Hard disk 2``, or ``kind:pattern``.

        The kinds: key, label, path, address, datastore. Raises ValueError.
        """
        text = text.strip()
        if text.isdecimal():
            return cls("key", text)
        if re.fullmatch(r"(?:scsi|sata|nvme|ide)(?:\d+|\*):(?:\d+|\*)", text):
            return cls("address", text)
        kind, pattern = _split(text, _DISK_KINDS, "path" if text.startswith("[") else "label")
        return cls(kind, pattern)

    def takes(self, disk: VirtualMachineDisk) -> bool:
        """Tell whether it names this one."""
        texts = {"key": str(disk.key), "label": disk.label, "path": disk.path, "address": disk.address}
        return _fits(self.pattern, texts.get(self.kind, disk.datastore))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Rules for machines and for their disks. What is excluded is left out, whatever includes it."""

    include: tuple[MachineRule, ...]
    exclude: tuple[MachineRule, ...] = ()
    include_disks: tuple[DiskRule, ...] = ()
    """Empty: all."""
    exclude_disks: tuple[DiskRule, ...] = ()
    templates: bool = False
    """Take templates, too, where a rule does not name one by moref or uuid."""

    @classmethod
    def parse(
        cls,
        include: Iterable[str],
        *,
        exclude: Iterable[str] = (),
        include_disks: Iterable[str] = (),
        exclude_disks: Iterable[str] = (),
        templates: bool = False,
    ) -> Self:
        """Read rules as ``MachineRule.parse`` and ``DiskRule.parse`` do. Raises ValueError."""
        found = cls(
            include=tuple(map(MachineRule.parse, include)),
            exclude=tuple(map(MachineRule.parse, exclude)),
            include_disks=tuple(map(DiskRule.parse, include_disks)),
            exclude_disks=tuple(map(DiskRule.parse, exclude_disks)),
            templates=templates,
        )
        if not found.include:
            raise ValueError("no machine is named: give some, or 'all'")
        return found

    def machines(self, inventory: Sequence[VirtualMachine]) -> tuple[VirtualMachine, ...]:
        """Return the selected machines, in the inventory's order.

        Raises NotFoundError: a rule that includes names none, so that a mistyped name is not a backup that is missing;
        or nothing is left.
        """
        for rule in self.include:
            if not any(rule.takes(machine) for machine in inventory):
                raise NotFoundError(_nothing(rule, inventory))
        found = [machine for machine in inventory if self._takes(machine)]
        if not found:
            raise NotFoundError(f"of {len(inventory)} machines none is left: all that are included are excluded, too")
        return tuple(found)

    def _takes(self, machine: VirtualMachine) -> bool:
        including = [rule for rule in self.include if rule.takes(machine)]
        if machine.template and not self.templates and not any(rule.kind in {"moref", "uuid"} for rule in including):
            return False
        return bool(including) and not any(rule.takes(machine) for rule in self.exclude)

    def disks(self, machine: VirtualMachine) -> tuple[VirtualMachineDisk, ...]:
        """Return the selected disks of a machine, those that cannot be backed up among them."""
        return tuple(disk for disk in machine.disks if self.takes_disk(disk))

    def takes_disk(self, disk: VirtualMachineDisk) -> bool:
        """Tell whether a disk is selected."""
        if self.include_disks and not any(rule.takes(disk) for rule in self.include_disks):
            return False
        return not any(rule.takes(disk) for rule in self.exclude_disks)


def _nothing(rule: MachineRule, inventory: Sequence[VirtualMachine]) -> str:
    """Return what to say of a rule that names nothing."""
    known = {
        "name": {machine.name for machine in inventory},
        "moref": {machine.moref for machine in inventory},
        "folder": {machine.folder for machine in inventory},
        "datastore": {name for machine in inventory for name in machine.datastores},
        "datastore-cluster": {name for machine in inventory for name in machine.datastore_clusters},
        "cluster": {machine.cluster for machine in inventory if machine.cluster},
        "host": {machine.host for machine in inventory if machine.host},
    }.get(rule.kind, set())
    near = get_close_matches(rule.pattern, sorted(known), n=3, cutoff=0.5)
    hint = f"; is one of these meant: {', '.join(near)}?" if near else ""
    return f"{rule}: none of {len(inventory)} machines{hint}"
