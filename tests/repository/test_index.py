"""Ids, pages and roots: pure functions against plain Python sets and lists."""

from __future__ import annotations

import hashlib
import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncvddk.models import Block
from asyncvddk.repository.format import _index, _layout
from asyncvddk.repository.format._ids import ID_SIZE, IdSet, places_of, rows
from asyncvddk.repository.format._index import Grid, Root

HEADS = [b"\0" * 8, b"\1" * 8, b"\xff" * 8]
"""Few first words, so that many ids share them."""

ids = st.builds(
    lambda head, tail: head + tail, st.sampled_from(HEADS), st.binary(min_size=24, max_size=24)
) | st.sampled_from([bytes([n]) * ID_SIZE for n in range(4)])


@given(st.lists(ids), st.lists(ids))
def test_a_set_of_ids_is_a_set(one: list[bytes], two: list[bytes]) -> None:
    """Membership, difference and union are those of Python's sets, also for ids with the same beginning."""
    left, right = IdSet.of(one), IdSet.of(two)
    assert sorted(set(left)) == sorted(set(one))
    assert [identifier in left for identifier in one + two] == [identifier in set(one) for identifier in one + two]
    assert set(left.without(right)) == set(one) - set(two)
    assert set(IdSet.union([rows(b"".join(one)), rows(b"".join(two))])) == set(one) | set(two)
    assert places_of(rows(b"".join(two)), left) == [n for n, identifier in enumerate(two) if identifier in set(one)]


def page_id(page: memoryview | None) -> bytes:
    """Stand in for the keyed hash of a page."""
    return bytes(ID_SIZE) if page is None else hashlib.sha256(page).digest()


def index_of(chunks: list[int], entries: int) -> tuple[Root, dict[int, bytes]]:
    """Return the root of a disk whose chunks have the ids of the given numbers (0: zero), and its pages."""
    found = rows(b"".join(bytes([number]) * ID_SIZE for number in chunks))
    pages = {number: bytes(page) for number, page in _index.pages_of(found, entries) if page is not None}
    listed = b"".join(page_id(page) for _, page in _index.pages_of(found, entries))
    return Root(Grid(len(chunks) * 10 - 3, 10, entries), listed), pages


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 5))
def test_an_index_comes_back_from_its_pages(chunks: list[int], entries: int) -> None:
    """Pages of zeros are not stored; the rest gives the index again."""
    root, pages = index_of(chunks, entries)
    assert Root.decode(root.encode()) == root
    assert sorted(pages) == _index.stored_pages(root)
    back = _index.read_ids(root, iter(pages.items()))
    assert [row.tobytes()[0] for row in back] == chunks


@given(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.lists(st.integers(0, 2), min_size=1, max_size=20))
def test_differences_are_the_ranges_that_differ(old: list[int], new: list[int]) -> None:
    """Compared by pages first, chunk by chunk then; what one disk lacks counts as zeros."""
    tables = {}
    roots = []
    for chunks in (old, new):
        root, pages = index_of(chunks, 3)
        tables[id(root)] = (root, pages)
        roots.append(root)

    def page(root: Root, number: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
        start, end = root.grid.page_span(number)
        data = tables[id(root)][1].get(number, bytes((end - start) * ID_SIZE))
        return _index.page_rows(root.grid, number, data)

    found = list(_index.differences(roots[0], roots[1], page))
    padded = old + [0] * len(new)
    different = [number for number, value in enumerate(new) if value != padded[number]]
    size = roots[1].grid.capacity
    assert [n for block in found for n in range(block.offset // 10, -(-block.end // 10))] == different
    assert all(block.end <= size and block.length > 0 for block in found)
    assert all(one.end < two.offset for one, two in itertools.pairwise(found))


def test_disks_that_are_cut_differently_cannot_be_compared() -> None:
    """The index says nothing of the data then."""
    one, _ = index_of([1, 2], 3)
    other = Root(Grid(20, 20, 3), one.pages)
    with pytest.raises(ValueError, match="different sizes"):
        _index.changed_pages(one, other)


@pytest.mark.parametrize("data", [b"", b"root", bytes(24), b"toor" + bytes(60)])
def test_what_is_no_root_is_refused(data: bytes) -> None:
    """Cut, of another version or something else."""
    with pytest.raises(ValueError, match="root"):
        Root.decode(data)
    with pytest.raises(ValueError, match="pages"):
        Root.decode(index_of([1] * 9, 3)[0].encode()[:-1])
    with pytest.raises(ValueError, match="a page"):
        _index.page_rows(Grid(100, 10, 3), 0, bytes(ID_SIZE))


def test_the_last_chunk_may_be_short() -> None:
    """Lengths add up to the capacity, and merged ranges end with it."""
    grid = Grid(25, 10, 2)
    assert (grid.count, grid.pages, [grid.length(n) for n in range(3)]) == (3, 2, [10, 10, 5])
    assert list(_index.merged(grid, iter([0, 2]))) == [Block(0, 10), Block(20, 5)]
    assert list(_index.merged(grid, iter([1, 2]))) == [Block(10, 15)]
    assert list(_index.merged(grid, iter([]))) == []


def test_an_index_and_a_set_take_at_most_forty_bytes_a_chunk() -> None:
    """A 1 TiB disk of 1 MiB chunks has a million of them: memory counts."""
    count = 100_000
    data = np.random.default_rng(1).bytes(count * ID_SIZE)
    tracemalloc.start()
    index = _index.new_ids(Grid(count, 1))
    index[:] = rows(data)
    assert tracemalloc.get_traced_memory()[0] <= 40 * count
    tracemalloc.clear_traces()
    kept = IdSet(rows(data))
    assert tracemalloc.get_traced_memory()[0] <= 41 * count
    tracemalloc.stop()
    assert len(kept) == count


def test_names_and_ids_belong_together() -> None:
    """What ``_layout`` makes it reads again; other names are nobody's."""
    identifier = bytes(range(32))
    assert _layout.id_of(_layout.chunk(identifier)) == _layout.id_of(_layout.meta(identifier)) == identifier
    assert _layout.id_of("quarantine/" + _layout.chunk(identifier)) == identifier
    name = _layout.snapshot("0123456789abcdef", 1e9, "fedcba9876543210")
    gone = _layout.trashed(name, 2e9)
    assert _layout.snapshot_id(name) == _layout.snapshot_id(gone) == "fedcba9876543210"
    assert (_layout.source_of(name), _layout.trashed_since(gone)) == ("0123456789abcdef", 2_000_000_000)
    for stray in ("chunks/x", "snapshots/.pending-1", "config", "snapshots/a/b"):
        assert (_layout.id_of(stray), _layout.snapshot_id(stray), _layout.trashed_since(stray)) == (None, None, None)
