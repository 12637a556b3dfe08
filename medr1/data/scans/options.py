"""How scans are shown: the options of the commands that open images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medr1.data.scans.view import PLANES, parse_slices
from medr1.errors import InputError


@dataclass(frozen=True)
class ScanOptions:
    """How scans are shown whose names have no view of their own.

    Attributes:
        window: --window; empty for the window of the file.
        slices: --slices; empty for DEFAULT_SLICES.
        plane: --plane, of a NIfTI volume; empty for the plane in which it was acquired.
        magnification: --magnification, of a slide; 0 for a thumbnail.
        with_manufacturer: Whether the manufacturer of the machine is told.
    """

    window: str = ""
    slices: str = ""
    plane: str = ""
    magnification: float = 0.0
    with_manufacturer: bool = False

    def checked(self) -> ScanOptions:
        """The options, with the window as a view has it.

        Raises:
            InputError: One of them is not possible.
        """
        from medr1.data.scans.windows import parse_window

        if self.slices:
            parse_slices(self.slices)
        if self.plane not in ("", *PLANES):
            raise InputError(f"--plane {self.plane!r} is not one of {', '.join(PLANES)}.")
        if self.magnification < 0:
            raise InputError(f"--magnification {self.magnification:g} is not above 0.")
        return replace(self, window=parse_window(self.window) if self.window else "")


OWN_VIEW = ScanOptions()
"""Each scan with its own window; of a series, volume or clip a montage, of a slide a thumbnail."""
