"""Secret: a password, cookie or key that is shown nowhere and can be overwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never, Self, final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Buffer


@final
class Secret:
    """A password, cookie or key: never printed, formatted, compared, copied or pickled; overwritten by ``wipe``.

    It belongs to whoever made it. The library's copies are overwritten when the last call that needs them is over;
    this one stays, so that one can connect again, until its owner calls ``wipe``, leaves its ``with`` block, or drops
    the last reference. Two secrets are equal only when they are the same object: their content is not looked at.

    Made from a ``str`` it cannot overwrite that ``str``, which is Python's. Whoever cares reads the password into a
    ``bytearray`` (UTF-8) and overwrites it after ``Secret(data)``, which copies. Raises ValueError (a ``str`` that
    UTF-8 cannot hold), TypeError.
    """

    __slots__ = ("_data",)

    def __init__(self, text: str | Buffer) -> None:
        """Copy ``text``, or the UTF-8 bytes of it."""
        self._data: bytearray | None = _encoded(text) if isinstance(text, str) else bytearray(memoryview(text))

    @classmethod
    def of(cls, value: str | Secret | None) -> Secret | None:
        """Wrap a plain string; leave a ``Secret`` and ``None`` as they are."""
        return cls(value) if isinstance(value, str) else value

    @property
    def wiped(self) -> bool:
        """True once ``wipe`` was called: there is no content any more."""
        return self._data is None

    def reveal(self) -> str:
        """Return the text itself, which nobody can overwrite: keep it as short as possible.

        Raises ValueError: it was wiped, or was made from bytes that are no UTF-8.
        """
        try:
            return self._content().decode()
        except UnicodeDecodeError:
            raise ValueError("the Secret is not UTF-8") from None  # that error would show its bytes

    def view(self) -> memoryview:
        """Return the UTF-8 bytes, not a copy and read-only: zeros after ``wipe``. Raises ValueError: it was wiped."""
        return memoryview(self._content()).toreadonly()

    def wipe(self) -> None:
        """Overwrite the content with zeros and forget it. Idempotent."""
        data = getattr(self, "_data", None)
        self._data = None
        if data is not None:
            data[:] = bytes(len(data))

    def _content(self) -> bytearray:
        if self._data is None:
            raise ValueError("the Secret was wiped: its content is gone, make a new one")
        return self._data

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wipe it."""
        self.wipe()

    def __del__(self) -> None:
        """Wipe it: nobody can use it any more."""
        self.wipe()

    def __bool__(self) -> bool:
        """Tell whether there is any content."""
        return bool(self._data)

    def __repr__(self) -> str:
        """Hide the content, and whether there is any."""
        return "Secret('***')"

    def __format__(self, spec: str) -> str:
        """Hide the content, whatever the format."""
        return repr(self)

    def __reduce__(self) -> Never:
        """Refuse: a pickled secret would be plain text in a file."""
        raise TypeError("a Secret can be neither pickled nor copied: its content would be where nobody overwrites it")

    def __getstate__(self) -> Never:
        """Refuse, as pickling."""
        self.__reduce__()


def joined(parts: Sequence[Buffer]) -> bytearray:
    """Join ``parts`` in memory of the right size from the start: growing leaves copies that nobody can overwrite."""
    lengths = [memoryview(part).nbytes for part in parts]
    data, at = bytearray(sum(lengths)), 0
    with memoryview(data) as room:
        for part, length in zip(parts, lengths, strict=True):
            room[at : at + length] = part
            at += length
    return data


def _encoded(text: str) -> bytearray:
    """Encode character by character: ``str.encode`` leaves a copy that nobody can overwrite."""
    try:
        return joined([char.encode() for char in text])
    except UnicodeEncodeError:
        raise ValueError("a Secret is text that UTF-8 can hold") from None  # that error would show the text
