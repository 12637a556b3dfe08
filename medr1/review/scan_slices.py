"""The slices of the scans of cases, for a reader who changes the slice or the window."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass, field

from PIL import Image

from medr1.data.roots import ImageRoot, resolve_image
from medr1.data.scans.stack import Stack
from medr1.data.stacks import open_stack
from medr1.errors import ItemError

MAX_OPEN = 16
"""Most scans that are kept open."""
MAX_MEMORY = 600_000_000
"""Most bytes of open scans; the newest one is kept if it has more."""


@dataclass
class CaseSlices:
    """The slices of images that items name; the last few scans are kept open."""

    root: ImageRoot
    _open: OrderedDict[tuple[str, str], Stack | None] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def described(self, name: str, modality: str) -> dict[str, object] | None:
        """What the page needs to know of a scan, as JSON values; None for any other image.

        Args:
            name: The name of the image, as the item has it.
            modality: The modality of the item.

        Raises:
            ItemError: The image is missing, outside the image folder, or cannot be read.
        """
        stack = self._stack(name, modality)
        return asdict(stack.description) if stack else None

    def content(self, name: str, modality: str, number: int) -> tuple[bytes, str]:
        """A slice as bytes, and their media type: values as in `GreySlice.encoded`, or PNG.

        Args:
            name: The name of the image, as the item has it.
            modality: The modality of the item.
            number: Number of the slice, from 1.

        Raises:
            ItemError: As `described`, or the image has no such slice.
        """
        stack = self._stack(name, modality)
        if stack is None or not 1 <= number <= stack.description.total:
            raise ItemError("image_missing", "the image has no such slice")
        try:
            chosen = stack.slice(number)
        except OSError as error:
            raise ItemError("image_unreadable", f"the slice cannot be read: {error}") from None
        if not isinstance(chosen, Image.Image):
            return chosen.encoded(), "application/octet-stream"
        buffer = io.BytesIO()
        chosen.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue(), "image/png"

    def _stack(self, name: str, modality: str) -> Stack | None:
        """The open scan of a name."""
        key = (name, modality)
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        try:
            stack = open_stack(resolve_image(name, self.root), modality)
        except OSError as error:
            raise ItemError("image_unreadable", f"the image cannot be read: {error}") from None
        with self._lock:
            self._open[key] = stack
            while len(self._open) > 1 and (
                len(self._open) > MAX_OPEN or self._memory() > MAX_MEMORY
            ):
                self._open.popitem(last=False)
        return stack

    def _memory(self) -> int:
        return sum(stack.memory for stack in self._open.values() if stack)
