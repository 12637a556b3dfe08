"""Which questions are answered together: fixed by the whole input before the first is asked.

Questions about the same image stand together, so that it is encoded once, and batches hold what is
of like size, so that little is padded. What is finished already changes nothing in the plan: a run
that goes on makes the same batches as one that was never stopped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from medr1.data.roots import ImageRoot
from medr1.records import Sample


def plan_batches(
    samples: Sequence[Sample], image_root: ImageRoot, batch_size: int
) -> list[list[int]]:
    """Indices of the samples in batches, the largest first: what does not fit shows at once.

    The size of an image is taken from its file, to a factor of two, without opening it.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(sample.images or (f"\0{index}",), []).append(index)
    texts = [len(s.question) + sum(map(len, s.options.values())) for s in samples]

    def size(images: tuple[str, ...]) -> tuple[int, int, int]:
        members = groups[images]
        weight = sum(_bytes(image_root, name) for name in samples[members[0]].images)
        return weight.bit_length(), max(texts[index] for index in members), -members[0]

    order = [i for images in sorted(groups, key=size, reverse=True) for i in groups[images]]
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _bytes(root: ImageRoot, name: str) -> int:
    """The size of a file; 0 where there is none, which is said when it is opened."""
    try:
        return os.stat(os.path.join(root, name)).st_size
    except (OSError, ValueError):
        return 0
