"""From the stored values of a grey DICOM frame to what a monitor shows, in the standard's order.

Stored value -> modality LUT or rescale -> VOI LUT or window -> 8 bits -> inverted for MONOCHROME1
(PS3.4 N.2, PS3.3 C.11.1 and C.11.2). README.md in this folder has a table of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medr1.data.scans.dicom_file import BIG_ENDIAN, DicomHeader
from medr1.data.scans.dicom_pixels import PixelLayout
from medr1.data.scans.windows import (
    MEDGEMMA,
    NAMED,
    Levels,
    ct_window,
    linear,
    linear_exact,
    named_levels,
    percentile_range,
    range_levels,
    sigmoid,
    to_levels,
    window_note,
)
from medr1.errors import ItemError

if TYPE_CHECKING:
    from pydicom import Dataset

_MAX_LUT = 65_536


@dataclass(frozen=True)
class _LookupTable:
    """A LUT of the file."""

    first: int
    """The value that the first entry is for; smaller values have the first entry too."""
    entries: NDArray[np.int64]
    bits: int
    """Bits of an entry: the largest possible entry is 2 ** bits - 1."""

    def of(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """The entry of each value.

        Args:
            values: Any shape; rounded to whole numbers.
        """
        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        entries: NDArray[np.int64] = self.entries[places.astype(np.int64)]
        return entries


def first_number(value: object) -> float | None:
    """The first of one or several numbers, if it is finite.

    Args:
        value: The value of an element.
    """
    try:
        number = float(_parts(value)[0])  # type: ignore[arg-type]
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def _parts(value: object) -> Sequence[object]:
    """The values of an element that may have one or several."""
    is_one = isinstance(value, str | bytes) or not isinstance(value, Sequence)
    return [value] if is_one else value  # type: ignore[return-value]


def functional_group(header: DicomHeader, frame: int, sequence: str) -> Dataset | None:
    """The item of a functional group of an enhanced image: of the frame, or shared by all.

    Args:
        header: The header of the file.
        frame: Number of the frame, from 1.
        sequence: Keyword of the group's sequence, such as "FrameVOILUTSequence".
    """
    per_frame = header.elements.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.elements.get("SharedFunctionalGroupsSequence") or []
    for groups in (*per_frame[frame - 1 : frame], *shared[:1]):
        items = groups.get(sequence)
        if items:
            return items[0]  # type: ignore[no-any-return]
    return None


def grey_levels(
    stored: NDArray[Any], header: DicomHeader, layout: PixelLayout, frame: int, window: str
) -> tuple[Levels, list[str]]:
    """The grey levels that are shown.

    Args:
        stored: Stored values, (rows, columns).
        header: The header of the file.
        layout: How the values are stored.
        frame: Number of the frame, from 1.
        window: What `windows.parse_window` returned; empty for the window of the file.

    Returns:
        (levels (rows, columns), or (rows, columns, 3) for the window medgemma; notes).

    Raises:
        ItemError: A LUT or a number of the file cannot be used (image_unreadable).
    """
    values, padding = stored_numbers(stored, header, layout)
    distinct: NDArray[Any] | None = None
    if layout.bits_stored <= 16 and header.pixel_keyword == "PixelData":
        # as many values as 16 bits have: each is converted once
        low = -(1 << layout.bits_stored - 1) if layout.signed else 0
        distinct = np.arange(low, low + (1 << layout.bits_stored), dtype=np.int64)
        places = values.astype(np.int64) - low
    to_modality, is_rescaled = modality_function(header, frame)
    table = to_modality(values if distinct is None else distinct)

    def pixels() -> NDArray[Any]:
        in_image = table if distinct is None else table[places]
        in_image = in_image if padding is None else in_image[~padding]
        finite: NDArray[Any] = in_image[np.isfinite(in_image)]
        return finite

    levels, notes = _displayed(table, pixels, header, layout, frame, window, is_rescaled)
    if distinct is not None:
        levels = levels[places]
    if layout.photometric == "MONOCHROME1":
        levels = 255 - levels
        notes.append("monochrome1_inverted")
    if padding is not None:
        levels[padding] = 0
    return levels, notes


def stored_numbers(
    stored: NDArray[Any], header: DicomHeader, layout: PixelLayout
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The stored numbers without unused bits, and which pixels are padding (None if none are).

    Args:
        stored: Stored values, (rows, columns).
        header: The header of the file.
        layout: How the values are stored.
    """
    if header.pixel_keyword != "PixelData":
        return stored.astype(np.float64), None
    values = _without_unused_bits(stored, layout)
    limits = [header.elements.get(k) for k in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    first, last = (first_number(value) for value in limits)
    if first is None:
        return values, None
    low, high = sorted((first, first if last is None else last))
    kind = np.dtype(f"int{max(8, layout.bits_allocated)}")
    if layout.signed and high > np.iinfo(kind).max:  # written as unsigned
        low, high = (float(np.array(int(v)).astype(kind)) for v in (low, high))
    elif not layout.signed and low < 0:
        low, high = (float(v % (1 << layout.bits_allocated)) for v in (low, high))
    padding = (values >= min(low, high)) & (values <= max(low, high))
    return values, padding if padding.any() else None


def _without_unused_bits(stored: NDArray[Any], layout: PixelLayout) -> NDArray[np.int64]:
    """The numbers in the bits that are used; old overlays may be in the others."""
    shift = layout.high_bit + 1 - layout.bits_stored
    values = (stored.astype(np.int64) >> shift) & ((1 << layout.bits_stored) - 1)
    if layout.signed:
        sign = 1 << (layout.bits_stored - 1)
        values = (values ^ sign) - sign
    return values


def modality_function(header: DicomHeader, frame: int) -> tuple[Any, bool]:
    """The function from numbers to values of the modality, and whether it changes them.

    Args:
        header: The header of the file.
        frame: Number of the frame, from 1.

    Raises:
        ItemError: A number or LUT of the file cannot be used (image_unreadable).
    """
    tables = header.elements.get("ModalityLUTSequence")
    if tables:
        table = _lookup_table(tables[0], header)
        return (lambda numbers: table.of(numbers).astype(np.float64)), True
    place = functional_group(header, frame, "PixelValueTransformationSequence") or header.elements
    slope, intercept = (first_number(place.get(k)) for k in ("RescaleSlope", "RescaleIntercept"))
    for keyword, number in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if number is None and place.get(keyword) not in (None, ""):
            raise ItemError("image_unreadable", f"its {keyword} is not a number")
    factor, offset = 1.0 if slope is None else slope, intercept or 0.0
    if not factor:
        raise ItemError("image_unreadable", "its RescaleSlope is 0")
    return (lambda numbers: numbers * factor + offset), (factor, offset) != (1.0, 0.0)


def _lookup_table(item: Dataset, header: DicomHeader) -> _LookupTable:
    """The LUT of an item of ModalityLUTSequence or VOILUTSequence."""
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    try:
        length, first, bits = (int(value) for value in descriptor)
    except (TypeError, ValueError):
        raise ItemError("image_unreadable", "a LUT of it has no usable descriptor") from None
    length = (length & 0xFFFF) or _MAX_LUT
    if isinstance(data, bytes | bytearray):
        wide = len(data) >= 2 * length
        order = ">" if header.transfer_syntax == BIG_ENDIAN else "<"
        entries = np.frombuffer(
            bytes(data[: 2 * length if wide else length]), f"{order}u{1 + wide}"
        )
    else:
        numbers = [data] if isinstance(data, int) else list(data or ())
        entries = np.array([int(n) & 0xFFFF for n in numbers[:length]], np.int64)
    if not 8 <= bits <= 16 or len(entries) != length:
        raise ItemError("image_unreadable", "a LUT of it is not as long as its descriptor states")
    return _LookupTable(first, entries.astype(np.int64), bits)


def file_windows(header: DicomHeader, frame: int) -> list[tuple[float, float, str] | None]:
    """Centre, width and function of each window of the file; None for one that is not usable.

    Args:
        header: The header of the file.
        frame: Number of the frame, from 1.
    """
    place = functional_group(header, frame, "FrameVOILUTSequence") or header.elements
    function = str(place.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR"
    windows: list[tuple[float, float, str] | None] = []
    for pair in zip(*(_parts(place.get(k)) for k in ("WindowCenter", "WindowWidth")), strict=False):
        center, width = (first_number(part) for part in pair)
        if center is None or width is None:
            windows.append(None)
            continue
        smallest_is_usable = width >= 1 if function == "LINEAR" else width > 0
        windows.append((center, width, function) if smallest_is_usable else None)
    return windows


def _voi_table(header: DicomHeader, frame: int) -> _LookupTable | None:
    """The file's first VOI LUT."""
    place = functional_group(header, frame, "FrameVOILUTSequence") or header.elements
    tables = place.get("VOILUTSequence") or header.elements.get("VOILUTSequence")
    return _lookup_table(tables[0], header) if tables else None


def is_plain(layout: PixelLayout, is_rescaled: bool) -> bool:
    """Whether values without a window are shown as they are.

    Args:
        layout: How the values are stored.
        is_rescaled: Whether the file has a rescale or a modality LUT.
    """
    return layout.bits_stored <= 8 and not layout.signed and not is_rescaled


def modality_of(header: DicomHeader) -> str:
    """The modality of the file, such as "CT"; empty if it is not stated.

    Args:
        header: The header of the file.
    """
    return str(header.elements.get("Modality") or "").strip().upper()


def _is_usable(window: str, header: DicomHeader) -> bool:
    """Whether a window that was asked for is one for this modality; named ones are for CT."""
    return window not in (*NAMED, MEDGEMMA) or modality_of(header) == "CT"


def _displayed(
    values: NDArray[Any],
    pixels: Callable[[], NDArray[Any]],
    header: DicomHeader,
    layout: PixelLayout,
    frame: int,
    window: str,
    is_rescaled: bool,
) -> tuple[Levels, list[str]]:
    """The levels of values of the modality, and notes on the window.

    `pixels` gives the finite values that percentiles are computed from.
    """
    notes: list[str] = []
    if window:
        if _is_usable(window, header):
            levels, note = named_levels(values, window)
            return levels, [note]
        notes.append(f"window {window} not used: it is for CT")
    if (table := _voi_table(header, frame)) is not None:
        return to_levels(table.of(values) / (2**table.bits - 1)), [*notes, "voi_lut of the file"]
    if (windows := file_windows(header, frame)) and windows[0] is not None:
        center, width, function = windows[0]
        functions = {"LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}
        levels = functions.get(function, linear)(values, center, width)
        return levels, [*notes, window_note("of the file", center, width)]
    place = functional_group(header, frame, "FrameVOILUTSequence") or header.elements
    if place.get("WindowWidth") not in (None, ""):
        notes.append("window of the file not usable")
    if is_plain(layout, is_rescaled):
        return to_levels(values / (2**layout.bits_stored - 1)), notes
    if modality_of(header) == "CT":
        name, (center, width) = ct_window(str(header.elements.get("BodyPartExamined") or ""))
        return linear(values, center, width), [
            *notes,
            window_note(f"{name} (CT without one)", center, width),
        ]
    finite = pixels()
    if not finite.size:
        raise ItemError("image_unreadable", "no pixel of it is a finite number")
    levels, note = range_levels(values, *percentile_range(finite))
    return levels, [*notes, note]
