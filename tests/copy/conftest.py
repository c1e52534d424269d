"""QEMU's tools, the other implementation of the format."""

from __future__ import annotations

import pytest

from tests.engine.qemu import Qemu


@pytest.fixture(scope="session")
def qemu(qemu_img: str, qemu_io: str) -> Qemu:
    """Return the tools, or leave the test where they are missing."""
    return Qemu(qemu_img, qemu_io)
