"""What scratch disks hold, and how disks are compared with it."""

from __future__ import annotations

import pytest

from asyncvddk.testing import Image, assert_content, assert_same_content, random_blocks, random_bytes

MIB = 1 << 20


def test_random_content_is_the_same_on_every_run() -> None:
    """For a seed; another seed gives another one."""
    assert random_bytes(4).hex() == "cd072cd8"
    assert random_bytes(100, seed=1) == random_bytes(100, seed=1) != random_bytes(100, seed=2)
    assert random_blocks(MIB, seed=3) == random_blocks(MIB, seed=3) != random_blocks(MIB, seed=4)


def test_random_blocks_lie_apart_within_the_disk() -> None:
    """As many as asked for, as long as asked for, up to all there is room for."""
    blocks = random_blocks(MIB + 100, count=16, length=65536)
    assert list(blocks) == [place * 65536 for place in range(16)]
    assert {len(data) for data in blocks.values()} == {65536}
    assert random_blocks(MIB, count=0) == {}
    for count, length in ((17, 65536), (-1, 65536), (1, 0)):
        with pytest.raises(ValueError, match="room for 0 to"):
            random_blocks(MIB, count=count, length=length)


async def test_later_contents_lie_over_earlier_ones() -> None:
    """As the links of a chain; what nobody gives is zeros."""
    image = Image(1024, b"aaaa", {2: b"bb", 510: b"cccc"}, {3: b"d"})
    assert await image.read_at(0, 6) == b"aabd\0\0"
    assert await image.read_at(508, 8) == b"\0\0cccc\0\0"
    assert await image.read_at(511, 2) == b"cc"
    assert await image.read_at(1024, 0) == b""
    assert await image.read_at(0, 1024) == b"aabd" + bytes(506) + b"cccc" + bytes(510)


@pytest.mark.parametrize(("size", "content"), [(1000, b""), (0, b""), (512, {-1: b"a"}), (512, {511: b"ab"})])
def test_an_image_that_no_disk_could_have_is_refused(size: int, content: dict[int, bytes]) -> None:
    """Sizes between sectors, pieces beyond the ends."""
    with pytest.raises(ValueError, match=r"512 bytes|leave a disk"):
        Image(size, content)


async def test_an_image_is_not_read_beyond_its_ends() -> None:
    """As a disk is not."""
    for offset, length in ((-1, 1), (512, 1), (0, 513), (0, -1)):
        with pytest.raises(ValueError, match="leave a disk of 512 bytes"):
            await Image(512).read_at(offset, length)


async def test_a_difference_is_told_with_its_place() -> None:
    """The first byte that differs, and what is there; also behind the first part that is compared."""
    large = Image(8 * MIB, {5 * MIB + 7: b"x"})
    await assert_content(large, {5 * MIB + 7: b"x"})
    with pytest.raises(AssertionError, match=rf"byte {5 * MIB + 7}: b'x\\x00.* is read, b'y\\x00.* is expected"):
        await assert_content(large, {5 * MIB + 7: b"y"})
    with pytest.raises(AssertionError, match="512 bytes, 1024 are expected"):
        await assert_same_content(Image(512), Image(1024))
