"""Plans between bytes and sectors."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncvddk import Block
from asyncvddk.disks import _sectors

OFFSETS = st.integers(0, 5000)
LENGTHS = st.integers(1, 5000)


@given(OFFSETS, LENGTHS)
def test_pieces_of_a_write_cover_its_bytes_once_and_in_order(offset: int, length: int) -> None:
    """Each byte of the data goes out once, to its own place, and only whole sectors go out unread."""
    at = 0
    for piece in _sectors.plan_write(offset, length):
        assert piece.start == at
        at = piece.end
        assert piece.first_sector * 512 + piece.skip == offset + piece.start
        assert piece.partial == (piece.skip != 0 or (piece.end - piece.start) % 512 != 0)
        assert not piece.partial or piece.num_sectors == 1
        assert piece.skip + piece.end - piece.start <= piece.num_sectors * 512
    assert at == length


@given(OFFSETS, LENGTHS)
def test_cover_is_the_smallest_run_of_sectors(offset: int, length: int) -> None:
    """No sector too many, none too few."""
    first, count = _sectors.cover(offset, length)
    assert first * 512 <= offset < (first + 1) * 512
    assert (first + count - 1) * 512 < offset + length <= (first + count) * 512


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (0, 1025), (1025, 0), (2**64, 1)])
def test_range_outside_the_disk_is_refused(offset: int, length: int) -> None:
    """Negative, huge and too long: the message names the range and the disk's size."""
    with pytest.raises(ValueError, match=f"offset={offset}, length={length}.*1024 bytes"):
        _sectors.check_range(offset, length, 1024)


def test_empty_range_at_the_end_is_fine() -> None:
    """Reading nothing at the end of a disk is no error."""
    _sectors.check_range(1024, 0, 1024)


CHUNK = 128


@given(st.integers(1, CHUNK * 10), st.data())
def test_queries_keep_the_limits_of_the_c_call(capacity: int, data: st.DataObject) -> None:
    """Aligned, never beyond the last whole chunk, at most 524288 chunks; with the tail they cover the range."""
    first = data.draw(st.integers(0, capacity - 1))
    end = data.draw(st.integers(first + 1, capacity))
    windows, tail = _sectors.plan_queries(first, end, capacity, CHUNK)
    covered = [(w.first_sector, w.first_sector + w.num_sectors) for w in windows]
    for start, stop in covered:
        assert start % CHUNK == 0
        assert (stop - start) % CHUNK == 0
        assert start < stop <= capacity
    if tail:
        assert tail.offset // 512 % CHUNK == 0 or tail.offset // 512 >= first
        covered.append((tail.offset // 512, tail.end // 512))
    assert covered[0][0] <= first
    assert covered[-1][1] >= end
    assert all(left[1] == right[0] for left, right in pairwise(covered))


def test_one_query_never_has_more_than_524288_chunks() -> None:
    """A disk of 100 GiB at 64 KiB takes four queries."""
    capacity = 100 * 2**30 // 512
    windows, tail = _sectors.plan_queries(0, capacity, capacity, CHUNK)
    assert [w.num_sectors // CHUNK for w in windows] == [524288, 524288, 524288, 65536]
    assert tail is None


def test_touching_blocks_of_several_queries_become_one() -> None:
    """A border between two queries is no border between blocks."""
    merger = _sectors.Merger(100, 10_000)
    found = [*merger.add([(0, 200), (300, 100)]), *merger.add([(400, 100), (900, 50)]), *merger.add([])]
    found += merger.finish(Block(950, 20_000))
    assert found == [Block(100, 100), Block(300, 200), Block(900, 9100)]


@pytest.mark.parametrize("chunk_size", [0, 512, 65535, 3 * 65536, 2 * 65536 * 1024, -65536])
def test_chunk_size_that_the_library_would_refuse_is_refused(chunk_size: int) -> None:
    """The message says which values are possible."""
    with pytest.raises(ValueError, match=f"chunk_size={chunk_size}.*65536"):
        _sectors.check_chunk(chunk_size)
