"""The tree is the architecture: imports run downwards only, and the border to C has one owner."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "asyncvddk"

LAYERS = (
    ("cli", "__main__"),
    ("vsphere",),
    ("backup",),
    ("copy", "testing"),
    ("repository",),
    ("",),  # asyncvddk/__init__.py: what users import, and what the layers above it may
    ("disks",),
    ("threads",),
    ("native",),
    ("errors", "models", "_params", "_config", "_secret", "_health", "_codes", "_events", "_version"),
)
"""Top first. A module may import its own layer and those below."""

OUTSIDE = ("engine",)
"""Build code: imports nothing of the package, and nothing of the package imports it."""


def module_name(path: Path) -> str:
    """Return the dotted name of a module file, as ``asyncvddk.native._core``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module of the package, parsed."""
    return {module_name(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def nodes(tree: ast.AST, *, run_time: bool) -> Iterator[ast.AST]:
    """Yield all nodes of a tree; with ``run_time`` without what stands under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from nodes(node, run_time=run_time)


def imported_names(name: str, *, run_time: bool = False) -> set[str]:
    """Return the dotted names that a module imports, in functions too; ``run_time``: none for types."""
    found: set[str] = set()
    for node in nodes(modules()[name], run_time=run_time):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            source = node.module or ""
            found |= {
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in modules() else source for alias in node.names
            }
    return found


def inner_imports(name: str) -> set[str]:
    """Return the modules of the package that a module imports."""
    return {other for other in imported_names(name) if other.partition(".")[0] == "asyncvddk"}


def component(name: str) -> str:
    """Return the folder or file directly below the package: ``native`` for ``asyncvddk.native._core``."""
    return name.split(".")[1] if "." in name else ""


def rank(name: str) -> int:
    """Return the number of a module's layer, 0 at the top."""
    return next(number for number, layer in enumerate(LAYERS) if component(name) in layer)


def runs_downwards(name: str, other: str) -> bool:
    """Tell whether the map allows module ``name`` to import ``other``."""
    if component(name) in OUTSIDE or component(other) in OUTSIDE:
        return component(name) == component(other)
    return rank(name) <= rank(other)


def test_every_module_has_a_place_on_the_map() -> None:
    """A new folder or file below the package is put on the map, above, before it can be imported."""
    known = {part for layer in LAYERS for part in layer} | set(OUTSIDE)
    assert {component(name) for name in modules()} <= known


def test_imports_run_downwards_only() -> None:
    """No module imports a layer above its own; the build code stays outside."""
    upward = [
        f"{name} -> {other}"
        for name in modules()
        if component(name) not in OUTSIDE
        for other in inner_imports(name)
        if component(other) in OUTSIDE or rank(other) < rank(name)
    ]
    upward += [
        f"{name} -> {other}" for name in modules() if component(name) in OUTSIDE for other in inner_imports(name)
    ]
    assert not upward


REPOSITORY_LAYERS = (
    ("_repository", ""),
    ("checking", "_stats", "_benchmark"),
    ("_snapshots", "_reader", "_opening"),
    ("writing",),
    ("collection",),
    ("store",),
    ("format", "_keep", "_threads", "_extra", "errors"),
)
"""Folders and files of the repository, the top first."""


def test_the_repositorys_imports_run_downwards_only() -> None:
    """Every folder and file of it is on the map; what stores knows nothing of what backs up, collects or checks."""

    def place(name: str) -> int:
        part = name.removeprefix("asyncvddk.repository").lstrip(".").partition(".")[0]
        return next(number for number, layer in enumerate(REPOSITORY_LAYERS) if part in layer)

    inside = [name for name in modules() if component(name) == "repository" and name != "asyncvddk.repository"]
    upward = [
        f"{name} -> {other}"
        for name in inside
        for other in inner_imports(name)
        if component(other) == "repository" and place(other) < place(name)
    ]
    assert not upward


def test_no_modules_import_each_other_in_a_circle() -> None:
    """The modules form a tree of imports, within a layer too."""
    graph = {name: inner_imports(name) - {name} for name in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]), pytrace=False)


def test_ctypes_is_imported_under_native_alone() -> None:
    """Pointers, structs and function tables have one owner."""
    users = {name for name in modules() if any(part.split(".")[0] == "ctypes" for part in imported_names(name))}
    assert {component(name) for name in users} <= {"native"}


def requirement_names(requirements: list[str]) -> set[str]:
    """Return the bare package names of a list of requirements."""
    return {"".join(c if c.isalnum() or c in "-_" else " " for c in text).split()[0] for text in requirements}


def test_third_party_imports_are_declared_where_they_are_used() -> None:
    """The package needs its dependencies alone; an extra's packages are imported in its own folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    always = requirement_names(project["dependencies"]) | set(sys.stdlib_module_names) | {"asyncvddk"}
    extras = {extra: requirement_names(names) for extra, names in project["optional-dependencies"].items()}
    extras |= {"engine": {"hatchling"}, "testing": {"pytest"}}  # who loads the plugin has pytest
    extras["vsphere"] |= {"pyVmomi"}  # that is how pyvmomi is imported
    extras["repository"] = extras["backup"] | {"compression"}  # of newer standard libraries
    stray = {
        f"{name}: {top}"
        for name in modules()
        for top in {imported.split(".")[0] for imported in imported_names(name, run_time=True)}
        if top not in always | extras.get(component(name), set())
    }
    assert not stray


def test_package_is_imported_without_the_extras() -> None:
    """``import asyncvddk`` works where no extra is installed, and does not load the command line."""
    script = """
        import sys
        extras = ("cyclopts", "rich", "backports", "blake3", "cryptography", "msgspec", "numpy", "obstore", "pyVmomi")
        sys.modules.update(dict.fromkeys(extras))
        import asyncvddk
        above = ("asyncvddk.cli", "asyncvddk.copy", "asyncvddk.repository", "asyncvddk.vsphere")
        assert not [name for name in sys.modules if name.startswith(above)]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=True)


def declared_all(tree: ast.Module) -> list[str] | None:
    """Return the value of ``__all__``, None where a module has none."""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "__all__" and isinstance(node, ast.Assign):
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def bound_names(node: ast.stmt) -> list[str]:
    """Return the names that a statement at the top of a module binds."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case _:
            return []


def defined_names(name: str) -> set[str]:
    """Return the public names a module defines; of a package's ``__init__`` those it gathers from below."""
    tree = modules()[name]
    found = {bound for node in tree.body for bound in bound_names(node)}
    if any(other.startswith(f"{name}.") for other in modules()):
        inner = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
        found |= {
            alias.asname or alias.name
            for node in inner
            if node.module and node.module.split(".")[0] == "asyncvddk"
            for alias in node.names
        }
    return {bound for bound in found if not bound.startswith("_") or bound == "__version__"}


def isort_order(name: str) -> tuple[int, str]:
    """Sort constants first, then classes, then functions, as ruff sorts ``__all__``."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def is_public(name: str) -> bool:
    """Tell whether users may import a module: no part of its name starts with an underscore."""
    return not any(part.startswith("_") for part in name.split("."))


def test_all_is_sorted_and_equals_what_is_defined() -> None:
    """``__all__`` of the package and of every module that has one tells exactly its public names."""
    assert declared_all(modules()["asyncvddk"]), "asyncvddk/__init__.py needs __all__"
    for name, tree in modules().items():
        declared = declared_all(tree)
        if declared is not None:
            assert declared == sorted(declared, key=isort_order), name
            assert set(declared) == defined_names(name), name


def test_every_error_and_value_can_be_imported_from_the_package() -> None:
    """Users import from ``asyncvddk`` alone: the classes of errors and models are there."""
    trees = [modules()[f"asyncvddk.{name}"] for name in ("errors", "models", "_params", "_secret")]
    classes = {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {name for name in classes if not name.startswith("_")} <= set(declared_all(modules()["asyncvddk"]) or [])


ENGINE = ROOT / "asyncvddk" / "engine" / "src"
ENGINE_LAYERS = ("api", "operations", "calls", "remote", "disk", "formats", "base")
"""Folders of the engine, the top first; the exported functions are in the top one."""


def test_the_engines_includes_run_downwards_only() -> None:
    """A C file names headers of its own layer and of those below; every folder is on the map."""
    assert {file.relative_to(ENGINE).parts[0] for file in ENGINE.rglob("*.[ch]")} == set(ENGINE_LAYERS)
    upward = [
        f"{file.relative_to(ENGINE)} -> {folder}"
        for file in ENGINE.rglob("*.[ch]")
        for folder in re.findall(r'^#include "(\w+)/', file.read_text("utf-8"), re.MULTILINE)
        if ENGINE_LAYERS.index(folder) < ENGINE_LAYERS.index(file.relative_to(ENGINE).parts[0])
    ]
    assert not upward
