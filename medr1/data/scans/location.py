"""Where an image is: its file, the part of it that is shown, and its name in messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medr1.data.scans.view import View
from medr1.errors import ItemError


@dataclass(frozen=True)
class ImageLocation:
    """An image that can be loaded."""

    path: Path
    """Its file. It need not exist."""
    label: str
    """Its name in quotes, for messages. Not the file's own name if that may identify a person."""
    view: View = field(default_factory=View)
    """The part of the file that is shown."""
    slices: tuple[tuple[Path, int], ...] = ()
    """For a DICOM series: file and frame (from 1) of each of its slices. Otherwise empty."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are shown: of a series, those of the chosen slices."""
        if not self.slices:
            return (self.path,)
        numbers = [n for n in self.view.slices if n <= len(self.slices)]
        chosen = [self.slices[n - 1] for n in numbers] or self.slices
        return tuple(dict.fromkeys(path for path, _ in chosen))


def unreadable(label: str, problem: str) -> ItemError:
    """The error for a scan that is damaged, or of a kind that is not read.

    Args:
        label: The name of the image in quotes.
        problem: What is wrong, and what to do; without the full stop.
    """
    return ItemError("image_unreadable", f"image {label}: {problem}.")
