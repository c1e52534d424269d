"""Every error that asyncvddk raises on purpose.

::

    VddkError
    ├── ClosedError                      the object was used after its close
    ├── LibraryLoadError                 no library was found, or it cannot be loaded or used
    ├── NotSupportedError                this library, server or disk cannot do it
    │   └── UnsupportedError             ... says the library (also a NativeError)
    └── NativeError                      a call of the library failed; the class follows from the code
        ├── UnsupportedError
        ├── AccessDeniedError            rights on the file or datastore are missing
        ├── AccessLockedError            relocation of the VM is already disabled, or under way
        ├── AuthenticationError          the server refuses the user
        ├── ConnectionFailedError        network, host or session is gone
        ├── InvalidArgumentError         the library refuses an argument
        ├── OperationCancelledError      the library was told to stop
        ├── OutOfMemoryError             here or on the ESXi host
        └── DiskError                    something is wrong with the disk itself
            ├── ChainError               parent missing, changed or of another size
            ├── DiskExistsError          a disk of that name exists
            ├── DiskFullError            its file system is full
            ├── DiskLockedError          somebody else has it open
            ├── DiskNotFoundError        there is no such disk
            ├── EncryptedDiskError       key missing or wrong
            ├── InvalidDiskError         no virtual disk, or a damaged one
            ├── MetadataKeyError         the disk database has no such entry (also a KeyError)
            ├── NeedsRepairError         was not closed cleanly
            └── OutOfRangeError          access beyond the end

Wrong arguments from Python are ``ValueError`` or ``TypeError``, raised before anything reaches the library.
"""

from __future__ import annotations

from typing import ClassVar, Final

from asyncvddk._codes import HINTS, SYMBOLS

_CODE_MASK: Final = 0xFFFF


class VddkError(Exception):
    """Base of every error that asyncvddk raises on purpose."""


class ClosedError(VddkError):
    """The connection, disk or library was closed before; the message names it and the call."""


class LibraryLoadError(VddkError):
    """The native library cannot be used; the message says what was tried and what to do."""


class NotSupportedError(VddkError):
    """This library, server or disk cannot do what was asked; another one may."""


class NativeError(VddkError):
    """A call of the native library failed.

    Made by :func:`native_error`, which picks the class. Every instance pickles, whatever its class.
    """

    _by_code: ClassVar[dict[int, type[NativeError]]] = {}
    _by_family: ClassVar[dict[range, type[NativeError]]] = {}

    def __init_subclass__(cls, *, codes: tuple[int, ...] = (), families: tuple[range, ...] = ()) -> None:
        """Register the class for ``codes``, and for those of ``families`` that no class names singly."""
        super().__init_subclass__()
        if taken := [code for code in codes if code in NativeError._by_code]:
            raise TypeError(f"{cls.__name__}: another class has the codes {taken}")
        NativeError._by_code.update(dict.fromkeys(codes, cls))
        NativeError._by_family.update(dict.fromkeys(families, cls))

    def __init__(
        self, function: str, code: int, text: str, *, path: str | None = None, detail: str | None = None
    ) -> None:
        """Take what the library told: ``code`` as returned, with all its bits, and the ``text`` for it."""
        super().__init__(function, code, text)  # complete positional args: that is how it pickles
        self.function = function
        """C function that failed, as ``VixDiskLib_Open``."""
        self.raw_code = code
        """What the function returned, 64 bits."""
        self.text = text
        """The library's own words for the code."""
        self.path = path
        """Disk concerned, if it is known."""
        self.detail = detail
        """The warning that the library gave with the failure; whoever catches the error may set it."""

    @property
    def code(self) -> int:
        """Number of the error, the low 16 bits of what the function returned."""
        return self.raw_code & _CODE_MASK

    @property
    def symbol(self) -> str:
        """Name of the code in ``vixDiskLib.h``; ``VIX_E_<number>`` for a number that no header knows."""
        return SYMBOLS.get(self.code, f"VIX_E_{self.code}")

    @property
    def hint(self) -> str | None:
        """What to do about it, for the codes that users meet."""
        return HINTS.get(self.code)

    def __str__(self) -> str:
        """One line: the call, the disk, symbol and code, the library's words, what to do."""
        place = f" {self.path!r}" if self.path is not None else ""
        reasons = "; ".join(_one_line(reason) for reason in (self.text, self.detail) if reason)
        reason = f": {reasons}" if reasons else ""
        hint = f". Hint: {self.hint}" if self.hint else ""
        return f"{self.function}{place}: {self.symbol} ({self.code}){reason}{hint}"


class UnsupportedError(NativeError, NotSupportedError, codes=(6, 20, 1001, 16009, 16011, 16013, 16022, 16066, 26000)):
    """The library says that it, the server or this kind of disk cannot do it."""


class AccessDeniedError(NativeError, codes=(11, 13, 16064, 32)):
    """Rights on the file or datastore are missing, or the licence does not cover the call."""


class AccessLockedError(NativeError, codes=(20005,)):
    """The VM's relocation is already disabled (an earlier run ended badly) or a migration is under way."""


class AuthenticationError(NativeError, codes=(3014, 3031, 3032, 3046, 3047)):
    """The server refuses the user: login, session or role."""


class ConnectionFailedError(
    NativeError,
    codes=(26, 34, 36, 16054),
    families=(range(14006, 14100), range(18000, 19000), range(30000, 31000)),
):
    """Server, host or session cannot be reached, or is gone. Connect again."""


class InvalidArgumentError(NativeError, codes=(3, 22, 27, 44, 1000, 16000, 20004)):
    """The library refuses an argument that looked right from here."""


class OperationCancelledError(NativeError, codes=(10,)):
    """The library was told to stop."""


class OutOfMemoryError(NativeError, codes=(2, 3011)):
    """No memory: in this process or, on a remote disk, on the ESXi host."""


class DiskError(NativeError, codes=(7, 5, 14, 21), families=(range(14003, 14006), range(16000, 17000))):
    """Something is wrong with the disk itself."""


class ChainError(DiskError, codes=(16003, 16008, 16012, 16028, 16030, 16067, 16068, 16069)):
    """The links of a snapshot chain do not fit: a parent is missing, changed or of another size."""


class DiskExistsError(DiskError, codes=(12, 23, 41)):
    """A disk of that name exists already."""


class DiskFullError(DiskError, codes=(8,)):
    """The file system that holds the disk is full; the last write is not saved."""


class DiskLockedError(DiskError, codes=(15,)):
    """Somebody else has the disk open."""


class DiskNotFoundError(DiskError, codes=(4, 25, 4000, 16065, 20001)):
    """There is no such disk, file or virtual machine."""


class EncryptedDiskError(DiskError, codes=(30, 35, *range(16014, 16018), 16020), families=(range(17000, 18000),)):
    """The disk is encrypted and the key is missing or wrong."""


class InvalidDiskError(DiskError, codes=(9, 16018, 16061, 16062, 16063)):
    """The file is no virtual disk, or one that is damaged beyond use."""


class MetadataKeyError(DiskError, KeyError, codes=(16052,)):
    """The disk database has no entry of that name; also a ``KeyError``."""


class NeedsRepairError(DiskError, codes=(16006,)):
    """The disk was not closed cleanly: check and repair it first."""


class OutOfRangeError(DiskError, codes=(16007, 14005)):
    """The access goes beyond the end of the disk."""


def native_error(
    function: str, code: int, text: str, path: str | None = None, detail: str | None = None
) -> NativeError:
    """Return the error for what ``function`` returned: its class follows from the low 16 bits of ``code``.

    A code that no class names falls to the class of its family, then to :class:`NativeError` itself.
    """
    number = code & _CODE_MASK
    cls = NativeError._by_code.get(number) or _family(number)  # noqa: SLF001  (the registry's other half)
    return cls(function, code, text, path=path, detail=detail)


def _family(number: int) -> type[NativeError]:
    """Return the class whose range holds ``number``."""
    families = NativeError._by_family.items()  # noqa: SLF001
    return next((cls for span, cls in families if number in span), NativeError)


def _one_line(text: str) -> str:
    """Return ``text`` on one line and without closing punctuation; what no terminal should get is escaped."""
    line = " ".join(text.split()).rstrip(".;: ")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
