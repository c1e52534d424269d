"""The Python side says exactly what the C header says: nothing else, nothing more, nothing less."""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, c_bool, c_char_p, c_size_t, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk._codes import SYMBOLS
from asyncvddk.models import SECTOR_SIZE, AdapterType, DiskType, HardwareVersion, OpenFlags
from asyncvddk.native import _constants, _structs
from asyncvddk.native._functions import FUNCTIONS, bind
from tests.native.fix_c import HEADER, engine_library, exported_symbols, parse_header, run_c

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

C_TYPES: dict[str, Any] = {
    "void": None,
    "Bool": c_bool,
    "size_t": c_size_t,
    "size_t *": POINTER(c_size_t),
    "uint32": c_uint32,
    "uint32 *": POINTER(c_uint32),
    "uint64 *": POINTER(c_uint64),
    "const char *": c_char_p,
    "char *": c_void_p,
    "void *": c_void_p,
    "uint8 *": c_void_p,
    "const uint8 *": c_void_p,
    "VixError": c_uint64,
    "VixDiskLibSectorType": c_uint64,
    "VixDiskLibDiskType": c_uint32,
    "VixDiskLibConnection": _structs.Connection,
    "const VixDiskLibConnection": _structs.Connection,
    "VixDiskLibConnection *": POINTER(_structs.Connection),
    "VixDiskLibHandle": _structs.Handle,
    "VixDiskLibHandle *": POINTER(_structs.Handle),
    "VixDiskLibConnectParams *": POINTER(_structs.ConnectParams),
    "const VixDiskLibConnectParams *": POINTER(_structs.ConnectParams),
    "VixDiskLibConnectParams **": POINTER(POINTER(_structs.ConnectParams)),
    "const VixDiskLibCreateParams *": POINTER(_structs.CreateParams),
    "VixDiskLibInfo *": POINTER(_structs.Info),
    "VixDiskLibInfo **": POINTER(POINTER(_structs.Info)),
    "VixDiskLibBlockList *": POINTER(_structs.BlockList),
    "VixDiskLibBlockList **": POINTER(POINTER(_structs.BlockList)),
    "VixDiskLibGenericLogFunc *": _structs.LogFunc,
    "VixDiskLibProgressFunc": _structs.ProgressFunc,
    "VixDiskLibCompletionCB": _structs.CompletionCB,
}
"""The ctypes form of every type in a prototype."""


def header_values(folder: Path, pattern: str) -> dict[str, int]:
    """Return the constants of the header whose names match, with the values that the compiler gives them."""
    names = sorted(name for name in parse_header().constants if re.fullmatch(pattern, name))
    printed = run_c(folder, [f'printf ("%lu\\n", (unsigned long) {name});' for name in names])
    return dict(zip(names, map(int, printed), strict=True))


def leaves(cls: Any, prefix: str = "", base: int = 0) -> Iterator[tuple[str, int, int]]:  # noqa: ANN401
    """Yield path, offset and size of every field of a ctypes structure, those of inner ones too."""
    for name, kind, *_ in cls._fields_:
        field = getattr(cls, name)
        yield f"{prefix}{name}", base + field.offset, field.size
        if issubclass(kind, ctypes.Structure | ctypes.Union):
            yield from leaves(kind, f"{prefix}{name}.", base + field.offset)


def test_error_codes_equal_the_headers(tmp_path: Path) -> None:
    """Every code of the header has its symbol in our table, and the table has no other."""
    assert {symbol: code for code, symbol in SYMBOLS.items()} == header_values(tmp_path, r"VIX_(E_\w+|OK|ASYNC)")


@pytest.mark.parametrize(
    ("pattern", "prefix", "enum", "ours_only"),
    [
        pytest.param(r"VIXDISKLIB_DISK_\w+", "VIXDISKLIB_DISK_", DiskType, set(), id="disk-types"),
        pytest.param(r"VIXDISKLIB_HWVERSION_\w+", "VIXDISKLIB_HWVERSION_", HardwareVersion, set(), id="hardware"),
        pytest.param(r"VIXDISKLIB_ADAPTER_\w+", "VIXDISKLIB_ADAPTER_", AdapterType, set(), id="adapters"),
        pytest.param(r"VIXDISKLIB_FLAG_OPEN_(?!\w*_MASK)\w+", "VIXDISKLIB_FLAG_OPEN_", OpenFlags, {"NONE"}, id="flags"),
    ],
)
def test_public_enumerations_equal_the_headers(
    tmp_path: Path,
    pattern: str,
    prefix: str,
    enum: type[DiskType | AdapterType | HardwareVersion | OpenFlags],
    ours_only: set[str],
) -> None:
    """The members of the public enumeration are the enumerators of the header, with their numbers."""
    ours = {prefix + name: int(value) for name, value in enum.__members__.items() if name not in ours_only}
    assert ours == header_values(tmp_path, pattern)


def test_constants_equal_the_headers(tmp_path: Path) -> None:
    """Every other constant of the header is in ``_constants`` under its C name, and no other is."""
    ours = {name: value for name, value in vars(_constants).items() if name.startswith("VIX")}
    others = r"(?!VIXDISKLIB_(DISK|ADAPTER|HWVERSION|FLAG_OPEN)_)(VIXDISKLIB_\w+|VIX_OK|VIX_ASYNC)"
    mask = "VIXDISKLIB_FLAG_OPEN_COMPRESSION_MASK"
    assert ours == header_values(tmp_path, f"{others}|{mask}")


def test_sector_size_is_the_headers() -> None:
    """The public sector size is that of the C interface."""
    assert SECTOR_SIZE == _constants.VIXDISKLIB_SECTOR_SIZE


def test_every_structure_of_the_header_has_its_class_and_the_same_fields() -> None:
    """No structure or field of the header is missing on our side, and none is ours alone."""
    classes = _structs.STRUCTS
    ours = {name: {path for path, *_ in leaves(cls) if "." not in path} for name, cls in classes.items()}
    ours["VixDiskLibConnectParams"].remove("spec")
    ours["VixDiskLibConnectParams"] |= {f"spec.{name}" for name, *_ in _structs.Spec._fields_}
    assert ours == {name: set(fields) for name, fields in parse_header().structs.items()}


@pytest.mark.parametrize("name", sorted(_structs.STRUCTS))
def test_structure_lies_in_memory_as_the_compiler_lays_it(tmp_path: Path, name: str) -> None:
    """Size of the structure, and offset and size of every field at any depth, are the compiler's."""
    cls = _structs.STRUCTS[name]
    fields = list(leaves(cls))
    probes = [
        f'printf ("%zu %zu\\n", offsetof ({name}, {path}), sizeof ((({name} *) 0)->{path}));' for path, *_ in fields
    ]
    size, *rows = run_c(tmp_path, [f'printf ("%zu\\n", sizeof ({name}));', *probes])
    assert ctypes.sizeof(cls) == int(size)
    measured = [tuple(map(int, row.split())) for row in rows]
    assert [(offset, length) for _, offset, length in fields] == measured


@pytest.mark.parametrize(
    ("generation", "sizes"),
    [(60500, [80, 24, 56]), (60700, [128, 24, 56]), (70000, [128, 32, 64]), (80001, [128, 32, 64])],
)
def test_the_header_has_the_layouts_of_older_libraries(tmp_path: Path, generation: int, sizes: list[int]) -> None:
    """By VDDK_GENERATION, for tests and for clients that keep to one."""
    names = ("VixDiskLibConnectParams", "VixDiskLibCreateParams", "VixDiskLibInfo")
    printed = run_c(
        tmp_path, [f'printf ("%zu\\n", sizeof ({name}));' for name in names], f"VDDK_GENERATION={generation}"
    )
    assert [int(line) for line in printed] == sizes


def test_a_structure_of_another_layout_is_refused_at_definition() -> None:
    """A slip in a field's type ends the import, not a read of somebody else's memory."""
    fields = {"_fields_": (("first", c_uint32), ("second", c_uint32))}
    with pytest.raises(AssertionError, match="Slip: 8 bytes"):
        _structs._layout(16, first=0, second=8)(type("Slip", (ctypes.Structure,), fields))


def test_prototypes_equal_the_headers() -> None:
    """Result and arguments of every function are the ctypes form of what the header declares."""
    declared = parse_header().prototypes
    ours = {function.name: (function.restype, function.argtypes) for function in FUNCTIONS}
    theirs = {
        name: (C_TYPES[result], tuple(C_TYPES[argument] for argument in arguments))
        for name, (result, arguments) in declared.items()
    }
    assert ours == theirs


def test_table_names_every_function_once() -> None:
    """No function stands in the table twice."""
    names = [function.name for function in FUNCTIONS]
    assert len(names) == len(set(names)) == 43


def test_the_engine_exports_the_table_and_nothing_else() -> None:
    """Every function of the table can be loaded from the built engine, and the two names for tests of clients.

    Everything else is hidden.
    """
    header = (HEADER.parent / "vddkFaultInjection.h").read_text()
    injection = set(re.findall(r"\b(VixDiskLib_\w+)(?=;| \()", re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)))
    assert injection == {"VixDiskLib_IsFaultEnabled", "VixDiskLib_SetInjectedFault"}
    assert exported_symbols(engine_library()) == {function.name for function in FUNCTIONS} | injection


def test_the_engine_lacks_no_function() -> None:
    """Binding the built engine leaves nothing out."""
    assert bind(ctypes.CDLL(str(engine_library()))).missing == frozenset()
