"""Pictures that look the same: pairs of perceptual hashes with few differing bits.

Two pictures count as near duplicates where their discrete-cosine hashes (imagehash.phash) differ in
at most 6 of 64 bits and their gradient hashes (imagehash.dhash) in at most 10. Measured on the
2,555 crops of the embedded data set, 400 of them altered: of copies saved as JPEG of quality 90 and
50, 100 and 99 % are found, made half as large 99.8 %, 384 x 384 100 %, 1.2 times as bright (which
cuts off the lightest) 97 %, with 1.3 times the contrast 99 %, cropped by 2 % at each side 70 %.
Of the 3.26 million pairs of those crops, 323 are within both thresholds: overlapping crops and
neighbouring slices. Mirrored and turned copies are not looked for.

The search is exact. Hashes within 7 bits differ by at most one bit in one of four parts of 16
bits, so each part is looked up with none or one of its bits turned (multi-index hashing, Norouzi
and others, 2012), and only what is found there is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from medr1.data.audit.pictures import Picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]
    Indices = NDArray[np.intp]

MAX_PHASH = 6
MAX_DHASH = 10
_PARTS, _BITS = 4, 16
_PAIRS_AT_ONCE = 2_000_000

assert MAX_PHASH < 2 * _PARTS, "one turned bit in each part would not find all pairs"


def near_pictures(
    asked: Sequence[Picture], known: Sequence[Picture]
) -> list[tuple[int, int, int] | None]:
    """For each asked picture the nearest known one: (its index, bits of phash, bits of dhash).

    None where none is near enough, or a picture has no hash. The first of equally near ones.
    """
    import numpy as np

    found: list[tuple[int, int, int] | None] = [None] * len(asked)
    ours = [i for i, picture in enumerate(asked) if picture.phash is not None]
    theirs: dict[tuple[int | None, int | None], int] = {}  # hashes -> the first that has them
    for i, picture in enumerate(known):
        if picture.phash is not None:
            theirs.setdefault((picture.phash, picture.dhash), i)
    if not ours or not theirs:
        return found
    query = np.array([(asked[i].phash, asked[i].dhash) for i in ours], dtype=np.uint64)
    table = np.array(list(theirs), dtype=np.uint64)
    places = list(theirs.values())
    best: dict[int, tuple[int, int, int]] = {}
    for left, right in _candidates(query[:, 0], table[:, 0]):
        bits = np.bitwise_count(query[left] ^ table[right])
        kept = (bits[:, 0] <= MAX_PHASH) & (bits[:, 1] <= MAX_DHASH)
        rows = zip(left[kept], right[kept], bits[kept].tolist(), strict=True)
        for one, other, (phash, dhash) in rows:
            entry = (phash + dhash, places[other], phash)
            if int(one) not in best or entry < best[int(one)]:
                best[int(one)] = entry
    for one, (bits_in_all, place, phash) in best.items():
        found[ours[one]] = (place, phash, bits_in_all - phash)
    return found


def _candidates(query: Hashes, table: Hashes) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of indices that agree in one part but for one bit; a pair may come several times."""
    import numpy as np

    mask = np.uint64((1 << _BITS) - 1)
    turned = [np.uint64(0), *(np.uint64(1 << bit) for bit in range(_BITS))]
    for part in range(_PARTS):
        shift = np.uint64(part * _BITS)
        keys = (table >> shift) & mask
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        wanted = (query >> shift) & mask
        for bits in turned:
            first = np.searchsorted(keys, wanted ^ bits, side="left")
            counts = np.searchsorted(keys, wanted ^ bits, side="right") - first
            yield from _expanded(first, counts, order)


def _expanded(first: Indices, counts: Indices, order: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Each index with each of its matches, so many pairs at a time that memory stays bounded."""
    import numpy as np

    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        size = counts[start:stop]
        left = np.repeat(np.arange(start, stop), size)
        offset = np.arange(len(left)) - np.repeat(np.cumsum(size) - size, size)
        yield left, order[np.repeat(first[start:stop], size) + offset]
        start = stop
