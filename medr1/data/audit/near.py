"""Near-duplicate images: pairs whose perceptual hashes differ in few bits.

Two images count as near duplicates where their discrete-cosine hashes (imagehash.phash) differ in
at most 6 of 64 bits and their gradient hashes (imagehash.dhash) in at most 10. Measured on the
2,555 crops of the embedded data set, 400 of them altered: of copies saved as JPEG of quality 90 and
50, 100 and 99 % are found, made half as large 99.8 %, 384 x 384 100 %, 1.2 times as bright (which
clips the lightest pixels) 97 %, with 1.3 times the contrast 99 %, cropped by 2 % at each side 70 %.
Of the 3.26 million pairs of those crops, 323 are within both thresholds: overlapping crops and
neighbouring slices. Mirrored and rotated copies are not searched for.

The search is exact (multi-index hashing, Norouzi and others, 2012). A phash has four parts of 16
bits. If two hashes differ in at most 7 bits, at least one part differs in at most one bit, since
two bits in each part would make 8. So each part is looked up as it is and with each one of its bits
flipped, and only the pairs that this finds are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from medr1.data.audit.images import HashedImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]
    Indices = NDArray[np.intp]

MAX_PHASH = 6
"""Most differing bits of two discrete-cosine hashes of near duplicates."""
MAX_DHASH = 10
"""Most differing bits of two gradient hashes of near duplicates."""
_PARTS, _BITS = 4, 16
_PAIRS_AT_ONCE = 2_000_000
"""Bounds the memory of the comparison."""

assert MAX_PHASH < 2 * _PARTS, "one flipped bit in each part would not find all pairs"


def near_images(
    queries: Sequence[HashedImage], candidates: Sequence[HashedImage]
) -> list[tuple[int, int, int] | None]:
    """Find the nearest candidate of each query image.

    Args:
        queries: Images to find near duplicates of.
        candidates: Images to search in.

    Returns:
        For each query (index of the candidate, differing bits of phash, differing bits of dhash);
        None where no candidate is near enough or the query has no hash. The nearest has the fewest
        differing bits in both hashes together; the first of equals.
    """
    import numpy as np

    matches: list[tuple[int, int, int] | None] = [None] * len(queries)
    hashed_queries = [i for i, image in enumerate(queries) if image.phash is not None]
    # Candidates with equal hashes are one row of the table: the first of them is reported.
    first_with: dict[tuple[int | None, int | None], int] = {}
    for i, image in enumerate(candidates):
        if image.phash is not None:
            first_with.setdefault((image.phash, image.dhash), i)
    if not hashed_queries or not first_with:
        return matches
    query = np.array(
        [(queries[i].phash, queries[i].dhash) for i in hashed_queries], dtype=np.uint64
    )
    table = np.array(list(first_with), dtype=np.uint64)
    candidate_of_row = list(first_with.values())
    best: dict[int, tuple[int, int, int]] = {}
    for query_rows, table_rows in _pairs_to_compare(query[:, 0], table[:, 0]):
        bits = np.bitwise_count(query[query_rows] ^ table[table_rows])
        is_near = (bits[:, 0] <= MAX_PHASH) & (bits[:, 1] <= MAX_DHASH)
        near_pairs = zip(
            query_rows[is_near], table_rows[is_near], bits[is_near].tolist(), strict=True
        )
        for query_row, table_row, (phash, dhash) in near_pairs:
            entry = (phash + dhash, candidate_of_row[table_row], phash)
            if int(query_row) not in best or entry < best[int(query_row)]:
                best[int(query_row)] = entry
    for query_row, (total_bits, index, phash) in best.items():
        matches[hashed_queries[query_row]] = (index, phash, total_bits - phash)
    return matches


def _pairs_to_compare(query: Hashes, table: Hashes) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of rows in which one part is equal but for at most one bit; pairs may repeat."""
    import numpy as np

    mask = np.uint64((1 << _BITS) - 1)
    flips = [np.uint64(0), *(np.uint64(1 << bit) for bit in range(_BITS))]
    for part in range(_PARTS):
        shift = np.uint64(part * _BITS)
        keys = (table >> shift) & mask
        # Sorted, equal keys are neighbours: a lookup is two binary searches, begin and end.
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        query_keys = (query >> shift) & mask
        for flip in flips:
            first = np.searchsorted(keys, query_keys ^ flip, side="left")
            counts = np.searchsorted(keys, query_keys ^ flip, side="right") - first
            yield from _expand_pairs(first, counts, order)


def _expand_pairs(
    first: Indices, counts: Indices, order: Indices
) -> Iterator[tuple[Indices, Indices]]:
    """Each query row with each of its matches, at most about _PAIRS_AT_ONCE pairs at a time.

    Query row q matches the sorted keys first[q] to first[q] + counts[q] - 1; `order` turns a
    position among the sorted keys into a row of the table.
    """
    import numpy as np

    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        num_before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, num_before + _PAIRS_AT_ONCE, side="right")))
        size = counts[start:stop]
        query_rows = np.repeat(np.arange(start, stop), size)
        # 0, 1, 2, ... within each query row: sizes [2, 3] -> [0, 1, 0, 1, 2]
        offset = np.arange(len(query_rows)) - np.repeat(np.cumsum(size) - size, size)
        yield query_rows, order[np.repeat(first[start:stop], size) + offset]
        start = stop
