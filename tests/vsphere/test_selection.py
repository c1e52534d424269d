"""Rules for machines and disks: what a person writes names what a person means."""

from __future__ import annotations

import pytest

from asyncvddk.vsphere import DiskRule, MachineRule, NotFoundError, Selection
from tests.vsphere.fakes import a_disk, a_machine

WEB = a_machine("web", moref="vm-1", folder="/DC0/vm/prod/front", datastores=("fast", "slow"), host="esx1.test")
WEB2 = a_machine("Web-2", moref="vm-12", folder="/DC0/vm/prod", cluster=None, datastore_clusters=("pod",))
DB = a_machine("db [old] 100%", moref="vm-3", folder="/DC0/vm/production", host=None, template=True)
ALL = (WEB, WEB2, DB)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("all", "web Web-2"),
        ("ALL", "web Web-2"),
        ("web", "web"),
        ("WEB*", "web Web-2"),
        ("web-?", "Web-2"),
        ("name:web", "web"),
        ("/DC0/vm/prod/*", "web Web-2"),
        ("/DC0/vm/prod/front/web", "web"),
        ("vm-1", "web"),
        ("moref=vm-12", "Web-2"),
        ("moref:moref=vm-12", "Web-2"),
        ("moref:vm-3", "db [old] 100%"),
        ("uuid:INSTANCE-web", "web"),
        ("uuid:bios-web", "web"),
        ("folder:/dc0/vm/prod", "web Web-2"),
        ("folder:/DC0/vm/prod/", "web Web-2"),
        ("folder:/DC0/vm/prod/front", "web"),
        ("folder:*", "web Web-2"),
        ("datastore:slow", "web"),
        ("datastore:ds*", "Web-2"),
        ("datastore-cluster:pod", "Web-2"),
        ("cluster:gold", "web"),
        ("host:esx1*", "web Web-2"),
    ],
)
def test_a_rule_names_machines(text: str, names: str) -> None:
    """By name, path, reference and place; a template only when it is named itself."""
    found = Selection.parse([text]).machines(ALL)
    assert " ".join(machine.name for machine in found) == names
    assert MachineRule.parse(str(MachineRule.parse(text))) == MachineRule.parse(text)


def test_brackets_stand_for_themselves() -> None:
    """Names of machines and paths of disks have them; as a shell has them they would mean something else."""
    assert Selection.parse(["db [old]*"], templates=True).machines(ALL) == (DB,)
    assert DiskRule.parse("[ds1] web/*").takes(a_disk())
    assert not DiskRule.parse("[ds2] web/*").takes(a_disk())


def test_what_is_excluded_is_left_out() -> None:
    """Whatever includes it."""
    assert Selection.parse(["all", "vm-12"], exclude=["web-2"]).machines(ALL) == (WEB,)
    with pytest.raises(NotFoundError, match="none is left"):
        Selection.parse(["web"], exclude=["datastore:fast"]).machines(ALL)


def test_a_rule_that_names_nothing_is_an_error() -> None:
    """A mistyped name would be a backup that is missing; near ones are told. An exclusion may name nothing."""
    with pytest.raises(NotFoundError, match=r"name:wep: none of 3 machines; is one of these meant: web"):
        Selection.parse(["all", "wep"]).machines(ALL)
    assert Selection.parse(["all"], exclude=["none-such"]).machines(ALL) == (WEB, WEB2)


@pytest.mark.parametrize("text", ["", "  ", "folder:", "host: "])
def test_an_empty_rule_is_refused(text: str) -> None:
    """At once, with its text; so is a selection of nothing."""
    with pytest.raises(ValueError, match="nothing is named"):
        MachineRule.parse(text)
    with pytest.raises(ValueError, match="no machine is named"):
        Selection.parse([])


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("2001", 2001),
        ("key:2001", 2001),
        ("scsi0:1", 2001),
        ("scsi*:1", 2001),
        ("Hard disk 2", 2001),
        ("hard disk 2", 2001),
        ("[ds2] other/data.vmdk", 2001),
        ("path:*data*", 2001),
        ("datastore:ds2", 2001),
        ("scsi0:0", 2000),
    ],
)
def test_a_rule_names_disks(text: str, key: int) -> None:
    """By key, address, label, path and datastore, to take or to leave."""
    disks = (a_disk(2000), a_disk(2001, path="[ds2] other/data.vmdk"))
    machine = a_machine(disks=disks)
    (taken,) = Selection.parse(["all"], include_disks=[text]).disks(machine)
    (other,) = Selection.parse(["all"], exclude_disks=[text]).disks(machine)
    assert (taken.key, other.key) == (key, 4001 - key)
