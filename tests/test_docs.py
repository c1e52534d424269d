"""``help(asyncvddk)`` is the manual: nothing public without a docstring, nothing named in one that does not exist."""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import keyword
import pydoc
import re
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import pytest

import asyncvddk
import asyncvddk.copy
import asyncvddk.testing
from tests.fix_package import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

MODULES = (asyncvddk, asyncvddk.testing, asyncvddk.copy)
CONSTRUCTED_BY_US = {"Access", "AsyncDisk", "Connection", "Opening"}
OUR_OWN = {
    *(f"AsyncDisk.{name}" for name in ("load", "close_after", "close_alone", "handle")),
    "Access.prepare",
    "Connection.connect",
}
"""Public by name, for the layer above alone."""
WORDS = {
    *(
        "file",
        "nbd",
        "nbdssl",
        "san",
        "hotadd",
        "monolithicSparse",
        "ddb",
        "uuid",
        "callback",
        "adapterType",
        "geometry",
        "cylinders",
    ),  # what libraries say
    *(
        "fork",
        "spawn",
        "lib64",
        "structlog",
        "pytest",
        "CancelledError",
        "cli",
        "errors",
        "examples",
        "ds1",
        "start_soon",
        "create_task",
    ),
    *("vddk_disk", "vddk_engine", "vddk_server", "vddk_no_leaks", "tmp_path"),  # fixtures
    *keyword.kwlist,
}
"""What stands in double backquotes without being a name of ours."""


class Public(NamedTuple):
    """Something that users may name."""

    name: str
    thing: object

    @property
    def doc(self) -> str:
        """Its docstring."""
        return inspect.getdoc(self.thing) or ""


def is_protocol(cls: type) -> bool:
    """Tell whether a class only says what others have."""
    return bool(getattr(cls, "_is_protocol", False))


def members(name: str, cls: type) -> Iterator[Public]:
    """Yield the public methods and properties that a class of ours defines."""
    for attribute, value in vars(cls).items():
        made_by_dataclass = "__dataclass_fields__" in vars(cls)
        inner = getattr(value, "__func__", value)
        if attribute == "__init__" and (made_by_dataclass or name in CONSTRUCTED_BY_US or is_protocol(cls)):
            continue
        if f"{name}.{attribute}" in OUR_OWN:
            continue
        if (not attribute.startswith("_") or attribute in {"__init__", "__call__", "__aenter__"}) and (
            inspect.isfunction(inner) or isinstance(inner, (property, cached_property))
        ):
            yield Public(f"{name}.{attribute}", inner)


def everything() -> Iterator[Public]:
    """Yield every public function, class, method and property."""
    for module in MODULES:
        yield Public(module.__name__, module)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield Public(name, thing)
            if inspect.isclass(thing):
                yield from members(name, thing)


PUBLIC = list(everything())


def known_names() -> set[str]:
    """Return what a docstring may name: public names, their attributes and parameters, Python's own."""
    known = {public.name.rpartition(".")[2] for public in PUBLIC} | set(dir(builtins)) | set(dir(asyncio)) | WORDS
    for module in MODULES:
        known |= set(module.__all__) | {module.__name__}
    for public in PUBLIC:
        if inspect.isclass(public.thing):
            known |= {public.name.lower()}  # an object of it
            known |= set(dir(public.thing)) | set(getattr(public.thing, "__dataclass_fields__", ()))
        if inspect.isroutine(public.thing):
            known |= set(inspect.signature(public.thing).parameters)
        if inspect.isclass(public.thing):
            known |= set(inspect.signature(public.thing.__init__).parameters)
    return known


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.name)
def test_everything_public_has_a_docstring(public: Public) -> None:
    """A sentence of its own: neither inherited nor made by dataclasses."""
    assert public.doc.rstrip().endswith((".", ")", ":", "``")), public.doc
    assert not public.doc.startswith(f"{public.name}("), "made by dataclasses"


def test_every_error_that_a_docstring_names_exists() -> None:
    """As Raises says: ours, or Python's."""
    ours = {name for name in asyncvddk.__all__ if name.endswith("Error")}
    for public in PUBLIC:
        named = set(re.findall(r"\b[A-Z]\w*Error\b", public.doc))
        assert named <= ours | set(dir(builtins)) | {"CancelledError"}, public.name


def test_every_name_in_a_docstring_exists() -> None:
    """What stands in double backquotes and looks like a name is one, in all its parts."""
    known, wrong = known_names(), set()
    for public in PUBLIC:
        for text in re.findall(r"``([A-Za-z_][\w.]*)``", public.doc):
            parts = [] if text.endswith((".so", ".h")) else [part for part in text.split(".") if part]
            if pydoc.locate(text) is None:
                wrong |= {f"{public.name}: {text}" for part in parts if part not in known and not is_c_name(part)}
    assert not wrong


def is_c_name(text: str) -> bool:
    """Tell whether a name is one of C, a variable of the environment, or the name of a file."""
    return text.isupper() or text.startswith(("VixDiskLib", "VIX", "Vix")) or text in C_NAMES


HEADER = (ROOT / "asyncvddk" / "engine" / "include" / "vixDiskLib.h").read_text("utf-8")
C_NAMES = {name.removeprefix("VixDiskLib_") for name in re.findall(r"\bVixDiskLib_\w+", HEADER)}


def test_what_calls_the_library_says_how_it_fails() -> None:
    """Every public coroutine, or its class for all of them: Raises, or whose errors they are."""
    telling = {public.name for public in PUBLIC if re.search(r"\b([Rr]aises?|[Ee]rrors?)\b", public.doc)}
    coroutines = {public.name for public in PUBLIC if inspect.iscoroutinefunction(public.thing)}
    assert not {name for name in coroutines if name not in telling and name.partition(".")[0] not in telling}


def test_the_manual_speaks_of_every_chapter() -> None:
    """``help(asyncvddk)`` begins with them, and each names what it is about."""
    chapters = re.findall(r"^([A-Z][\w, ]+)\n-+$", asyncvddk.__doc__ or "", re.MULTILINE)
    assert chapters == [
        "Start",
        "Connections",
        "Reading and writing",
        "Cancellation",
        "When the library fails",
        "Errors",
        "Threads and processes",
        "Testing your own code",
    ]


def names_used(path: str) -> set[str]:
    """Return all names that a Python file mentions."""
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
        if isinstance(node, (ast.Name, ast.Attribute))
    }


@pytest.mark.parametrize("module", [asyncvddk, asyncvddk.testing], ids=lambda module: module.__name__)
def test_the_typing_file_uses_every_public_name(module: ModuleType) -> None:
    """So that mypy checks each as a user's program would use it, methods included."""
    used = names_used("tests/typing/api.py")
    methods = {
        public.name.rpartition(".")[2]
        for public in PUBLIC
        if "." in public.name and public.name.split(".")[0] in {"Vddk", "Connection", "AsyncDisk"}
    }
    assert {*module.__all__} | {name for name in methods if not name.startswith("_")} <= used
