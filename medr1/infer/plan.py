"""Which questions are answered in one batch, decided from the whole input before the first answer.

Questions about the same image are put together, so that it is encoded once. Questions of similar
size are put together, so that little padding is needed. The plan does not depend on what is already
answered: a run that is resumed makes the same batches as one that was never interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from medr1.data.roots import ImageRoot
from medr1.records import Sample


def plan_batches(
    samples: Sequence[Sample], image_root: ImageRoot, batch_size: int
) -> list[list[int]]:
    """Divide the samples into batches, the largest first, so that too little memory shows at once.

    The size of an image is that of its file, rounded to a power of two; no image is opened.

    Args:
        samples: The questions.
        image_root: Where relative image paths start.
        batch_size: Most questions in a batch.

    Returns:
        Batches of positions in `samples`; each position is in one batch.
    """
    # Questions without an image form a group each; "\0" is in no path.
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault(sample.images or (f"\0{index}",), []).append(index)
    text_lengths = [len(s.conversation) + sum(map(len, s.options.values())) for s in samples]

    def size(images: tuple[str, ...]) -> tuple[int, int, int]:
        """Sort key of a group: size of its images, then its longest text, then its position."""
        members = groups[images]
        num_bytes = sum(_file_size(image_root, name) for name in samples[members[0]].images)
        longest_text = max(text_lengths[index] for index in members)
        return num_bytes.bit_length(), longest_text, -members[0]

    order = [i for images in sorted(groups, key=size, reverse=True) for i in groups[images]]
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _file_size(root: ImageRoot, name: str) -> int:
    """Bytes of a file; 0 for a missing one, which becomes an error when it is opened."""
    try:
        return os.stat(os.path.join(root, name)).st_size
    except (OSError, ValueError):
        return 0
