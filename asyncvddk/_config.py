"""LibraryConfig: the keys of the library's configuration file as typed values."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from asyncvddk._secret import Secret, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Value: TypeAlias = "str | int | Secret | os.PathLike[str]"
"""What a key of the configuration file can be set to; a ``bool`` is written as 1 or 0."""

_BUFFER_UNIT: Final = 64 * 1024
_MOST_BUFFER: Final = 16 * 1024 * 1024
"""Bytes of all buffers of a session; with more, disks on a server do not open (VMware's release notes)."""

_SECRET_KEYS: Final = ("password", "cookie")
"""Endings of keys whose plain values become secrets."""


@dataclass(frozen=True, slots=True)
class _Key:
    """How a field stands in the file."""

    names: tuple[str, ...]
    """All are written: sources differ in the spelling, and a library passes over what it does not know."""
    to_file: Callable[[Any], Value] = lambda value: value
    of_file: Callable[[str], Any] = str


def _number(*names: str, unit: int = 1) -> _Key:
    return _Key(names, lambda value: value // unit, lambda text: int(text) * unit)


def _milliseconds(*names: str) -> _Key:
    return _Key(names, lambda value: round(value * 1000), lambda text: int(text) / 1000)


def _switch(name: str) -> _Key:
    return _Key((name,), int, lambda text: bool(("0", "1", "false", "true").index(text.lower()) % 2))


def _path(name: str) -> _Key:
    return _Key((name,), os.fspath, Path)


_KEYS: Final = {
    "tmp_directory": _path("tmpDirectory"),
    "log_file": _path("log.fileName"),
    "log_file_level": _number("log.fileLevel"),
    "transport_log_level": _number("vixDiskLib.transport.LogLevel"),
    "nfc_log_level": _number("vixDiskLib.nfc.LogLevel"),
    "nfc_accept_timeout_s": _milliseconds("vixDiskLib.nfc.AcceptTimeoutMs"),
    "nfc_request_timeout_s": _milliseconds("vixDiskLib.nfc.RequestTimeoutMs"),
    "nfc_read_timeout_s": _milliseconds("vixDiskLib.nfc.ReadTimeoutMs", "vixDiskLib.nfc.ReadTimeoutsMs"),
    "nfc_write_timeout_s": _milliseconds("vixDiskLib.nfc.WriteTimeoutMs", "vixDiskLib.nfc.WriteTimeoutsMs"),
    "nfc_file_timeout_s": _milliseconds("vixDiskLib.nfcFssrvr.TimeoutMs"),
    "nfc_file_write_timeout_s": _milliseconds("vixDiskLib.nfcFssrvrWrite.TimeoutMs"),
    "nfc_buffer_size": _number(
        "vixDiskLib.nfcAio.Session.BufSizeIn64KB", "vixDiskLib.nfcAio.Session.BufSizeIn64K", unit=_BUFFER_UNIT
    ),
    "nfc_buffer_count": _number("vixDiskLib.nfcAio.Session.BufCount"),
    "read_cache": _switch("vixDiskLib.disklib.EnableCache"),
    "verify_certificates": _switch("vixDiskLib.linuxSSL.verifyCertificates"),
    "fips": _switch("vixDiskLib.ssl.enableSslFIPS"),
    "phone_home": _switch("vixDiskLib.phoneHome.EnablePhoneHome"),
    "product_name": _Key(("vixDiskLib.phoneHome.ProductName",)),
    "product_version": _Key(("vixDiskLib.phoneHome.ProductVersion",)),
    "hotadd_without_nfc": _switch("vixDiskLib.transport.hotadd.NoNfcSession"),
    "san_deny_list": _Key(("vixDiskLib.transport.san.denyList", "vixDiskLib.transport.san.blacklist")),
    "san_allow_list": _Key(("vixDiskLib.transport.san.allowList", "vixDiskLib.transport.san.whitelist")),
}
"""Field -> its key; test_config.py holds it against the fields."""

_FIELDS: Final = {name.lower(): field for field, key in _KEYS.items() for name in key.names}

_LEVELS: Final = {"log_file_level": 6, "transport_log_level": 6, "nfc_log_level": 4}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LibraryConfig:
    """What the library reads from its configuration file when it is initialised; ``None`` leaves it the default.

    ``Vddk(config=LibraryConfig(...))`` writes a file that only this user can read, for the time of the initialisation,
    and removes it whatever happens. Two that were made with the same values are equal; a ``Secret`` equals itself only.
    Raises ValueError.

    Durations are seconds, kept to the millisecond. Not offered are the mount library's keys; whatever has no field here
    goes through ``extra``, as the open engine's own keys do (``openEngine.*``).
    """

    tmp_directory: str | os.PathLike[str] | None = None
    """Folder for the library's own log and for the records that ``Vddk.cleanup`` needs: keep it from run to run.
    Default: ``/tmp/vmware-<user>``."""
    log_file: str | os.PathLike[str] | None = None
    """A log file of the library's own, beside what arrives in this program's log."""
    log_file_level: int | None = None
    """0 to 6, more is more."""
    transport_log_level: int | None = None
    """0 panic, 1 error, 2 warning, 3 audit (default), 4 info, 5 verbose, 6 trivia."""
    nfc_log_level: int | None = None
    """0 quiet, 1 error (default), 2 warning, 3 info, 4 debug."""
    nfc_accept_timeout_s: float | None = None
    """Default: 180."""
    nfc_request_timeout_s: float | None = None
    """Default: 180."""
    nfc_read_timeout_s: float | None = None
    """Default: 60. Sources differ in the spelling of this key and of the next: both spellings are written."""
    nfc_write_timeout_s: float | None = None
    """Default: 600."""
    nfc_file_timeout_s: float | None = None
    """Of the host's file service. Default: 0, none."""
    nfc_file_write_timeout_s: float | None = None
    """Of the host's file service, when writing. Default: 0, none."""
    nfc_buffer_size: int | None = None
    """Bytes of the buffer of one asynchronous request, a multiple of 64 KiB up to 2 MiB; library 7.0.3 (and 6.7U3 EP1)
    or newer. Default: 64 KiB."""
    nfc_buffer_count: int | None = None
    """Buffers of a session; together with their size at most 16 MiB. Default: 4."""
    read_cache: bool | None = None
    """Keep what was read. Default: off."""
    verify_certificates: bool | None = None
    """Libraries from 6.0 on do it always and pass over this. Default: on."""
    fips: bool | None = None
    """FIPS mode of the library's own OpenSSL."""
    phone_home: bool | None = None
    """Tell VMware of use and versions; vCenter must agree as well."""
    product_name: str | None = None
    """Told with it."""
    product_version: str | None = None
    """Told with it."""
    hotadd_without_nfc: bool | None = None
    """HotAdd on VMware Cloud."""
    san_deny_list: str | None = None
    """Devices that SAN transport leaves alone, as VMware's guide writes them; wildcards from library 8.0.1 on."""
    san_allow_list: str | None = None
    """Devices that SAN transport may use."""
    extra: Mapping[str, Value] = field(default_factory=dict)
    """Any other keys, but none that has a field here. A value whose key ends in ``password`` or ``cookie`` becomes a
    ``Secret``."""

    def __post_init__(self) -> None:
        """Refuse what the library would silently read as something else."""
        for name, most in _LEVELS.items():
            _check_range(name, getattr(self, name), 0, most)
        for name in _KEYS:
            if name.endswith("_timeout_s"):
                _check_range(name, getattr(self, name), 0, (1 << 31) // 1000)
        self._check_buffers()
        if named := {key: _FIELDS[key.lower()] for key in self.extra if key.lower() in _FIELDS}:
            raise ValueError(f"extra: keys that have a field of their own: {named}")
        extra = {key: _hidden(key, value) for key, value in self.extra.items()}
        object.__setattr__(self, "extra", MappingProxyType(extra))
        for key, value in self._lines():
            _check_line(key, value)

    def _check_buffers(self) -> None:
        size, count = self.nfc_buffer_size or _BUFFER_UNIT, self.nfc_buffer_count or 4
        if size % _BUFFER_UNIT:
            raise ValueError(f"nfc_buffer_size={size}: a multiple of 64 KiB is needed")
        _check_range("nfc_buffer_size", self.nfc_buffer_size, _BUFFER_UNIT, 32 * _BUFFER_UNIT)
        _check_range("nfc_buffer_count", self.nfc_buffer_count, 1, _MOST_BUFFER // _BUFFER_UNIT)
        if size * count > _MOST_BUFFER:
            raise ValueError(f"nfc_buffer_count={count} of {size} bytes: together they have at most 16 MiB")

    def _lines(self) -> Iterator[tuple[str, Value]]:
        """Yield every key that is set, with its value as the file has it."""
        for name, key in _KEYS.items():
            value = getattr(self, name)
            if value is not None:
                yield from ((spelling, key.to_file(value)) for spelling in key.names)
        yield from self.extra.items()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Return what an existing configuration file says; keys without a field go to ``extra``.

        Raises OSError, ValueError (a line is no ``name = value``, or a value is none that its key can have), with the
        file in the message, and never a value that may be a secret.
        """
        known: dict[str, Any] = {}
        extra: dict[str, Value] = {}
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
        for number, line in enumerate(text.split("\n"), 1):
            try:
                key, value = _parsed(line)
                name = _FIELDS.get(key.lower())
                if name is not None:
                    known[name] = _KEYS[name].of_file(value)
                elif key:
                    extra[key] = value
            except ValueError:
                raise ValueError(f"{path}:{number}: 'name = value' is expected, with a value of its kind") from None
        try:
            return cls(**known, extra=extra)
        except ValueError as exc:
            raise ValueError(f"{path}: {exc}") from None

    def render(self) -> bytearray:
        """Return the file's content, secrets included, in memory that its owner can overwrite. Raises ValueError."""
        parts: list[bytes | memoryview] = []
        for key, value in self._lines():
            parts += (f'{key} = "'.encode(), _content(value), b'"\n')
        return joined(parts)

    @contextlib.contextmanager
    def file(self) -> Iterator[Path]:
        """Write a temporary file that only this user can read, and remove it at the end of the block."""
        content = self.render()
        handle, name = tempfile.mkstemp(prefix="asyncvddk-", suffix=".conf")
        try:
            _write(handle, content)
            yield Path(name)
        finally:
            content[:] = bytes(len(content))
            Path(name).unlink(missing_ok=True)

    def __repr__(self) -> str:
        """Show what is set."""
        values = {name: value for name in _KEYS if (value := getattr(self, name)) is not None}
        if self.extra:
            values["extra"] = dict(self.extra)
        return f"LibraryConfig({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def _write(handle: int, content: bytearray) -> None:
    """Write and close, without a buffer of Python's that would keep secrets."""
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(handle, rest) :]
    finally:
        os.close(handle)


def _check_range(name: str, value: float | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise ValueError(f"{name}={value}: it lies in {least}..{most}")


def _hidden(key: str, value: Value) -> Value:
    return Secret(value) if isinstance(value, str) and key.lower().endswith(_SECRET_KEYS) else value


def _content(value: Value) -> bytes | memoryview:
    """Return a value as the file has it, between its quotation marks."""
    if isinstance(value, Secret):
        return value.view()
    return str(int(value)).encode() if isinstance(value, int) else os.fsencode(value)


def _check_line(key: str, value: Value) -> None:
    """Refuse what would end the key, the value or the line early; secrets are not shown."""
    if not key or key != key.strip() or key.startswith("#") or set(key) & set('="\n\r\0'):
        raise ValueError(f"extra: {key!r} cannot be the name of a key")
    content = memoryview(_content(value))
    if any(byte in content for byte in b'"\n\r\0'):
        raise ValueError(f"{key}: its value has a quotation mark, a line break or NUL, which the file cannot express")


def _parsed(line: str) -> tuple[str, str]:
    """Return key and value of a line, both empty for a comment. Raises ValueError."""
    text = line.strip()
    if not text or text.startswith("#"):
        return "", ""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not key or not equals:
        raise ValueError
    if value.startswith('"'):
        return key, value[1 : value.index('"', 1)]
    return key, value.partition("#")[0].strip()
