"""The stored values of one frame of a DICOM file, after a check of all sizes that it states.

Sizes that the header states are compared with those of the pixel data and of each compressed frame
before anything is decoded, because a file may lie about them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.data.containers import LimitExceeded, read_container
from medr1.data.scans.compressed_sizes import codestream_size
from medr1.data.scans.dicom_file import (
    BIG_ENDIAN,
    NATIVE,
    PLUGINS,
    DicomHeader,
    LimitedFile,
    keep_values_out_of_logs,
)
from medr1.data.scans.jpeg_process import decode_jpeg
from medr1.errors import ItemError

MAX_FRAME_PIXELS = 18_000_000
"""Most pixels of a frame, for which about 300 MB are needed; a mammogram has 14 million."""
MAX_COMPRESSED = 200 * 1024**2
"""Most bytes that are read to find one compressed frame."""

_RLE = "1.2.840.10008.1.2.5"
_JPEG_SYNTAXES = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTECOLOR")
"""Photometric interpretations with one value a pixel; blanks are left out."""
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
"""Those with three values a pixel."""


@dataclass(frozen=True)
class PixelLayout:
    """How the values of one frame are stored."""

    rows: int
    columns: int
    samples: int
    """Values of a pixel: 1 for grey or a palette, 3 for colour."""
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    """Such as "MONOCHROME2"."""
    planar: int
    """1 if the colours follow each other as planes."""


def pixel_layout(header: DicomHeader) -> PixelLayout:
    """How the values of a frame are stored.

    Args:
        header: The header of the file.

    Raises:
        ItemError: An element is missing, or its value is not possible (image_unreadable).
    """
    if not header.pixel_keyword:
        raise ItemError("image_unreadable", "it has no pixels (such as a report or a plan)")
    photometric = "".join(str(header.elements.get("PhotometricInterpretation") or "").split())
    allocated = header.whole("BitsAllocated")
    is_float = header.pixel_keyword != "PixelData"
    layout = PixelLayout(
        rows=header.whole("Rows"),
        columns=header.whole("Columns"),
        samples=header.whole("SamplesPerPixel", 1),
        bits_allocated=allocated,
        bits_stored=header.whole("BitsStored", allocated),
        high_bit=header.whole("HighBit", header.whole("BitsStored", allocated) - 1),
        signed=header.whole("PixelRepresentation", 0) == 1,
        photometric=photometric.upper(),
        planar=header.whole("PlanarConfiguration", 0),
    )
    widths = (32, 64) if is_float else (1, 8, 16, 32)
    possible = (
        layout.rows > 0
        and layout.columns > 0
        and layout.samples in (1, 3)
        and allocated in widths
        and 1 <= layout.bits_stored <= allocated
        and layout.bits_stored - 1 <= layout.high_bit < allocated
        and layout.photometric in (_ONE_SAMPLE if layout.samples == 1 else _COLOURS)
        and (layout.samples == 1 or layout.bits_allocated in (8, 16))
        and layout.planar in (0, 1)
    )
    if not possible:
        raise ItemError("image_unreadable", "what its header states of its pixels is not possible")
    if layout.rows * layout.columns > MAX_FRAME_PIXELS:
        raise LimitExceeded(f"a frame has more than {MAX_FRAME_PIXELS:,} pixels")
    return layout


def stored_values(header: DicomHeader, layout: PixelLayout, frame: int) -> NDArray[Any]:
    """The values of one frame as they are stored.

    Args:
        header: The header of the file.
        layout: How they are stored.
        frame: Number of the frame, from 1.

    Returns:
        (rows, columns), or (rows, columns, 3) in the colour model of the layout, except that JPEG
        and JPEG 2000 are RGB.

    Raises:
        ItemError: The pixels are not as the header states (image_unreadable).
        One of CANNOT_READ: They are damaged.
    """
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.processing import convert_color_space

    total = header.frames
    if not 1 <= frame <= total:
        raise ItemError("image_missing", f"it has {total} frames, and not number {frame}")
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "photometric_interpretation": str(header.elements.get("PhotometricInterpretation")),
        "pixel_representation": int(layout.signed),
        "pixel_keyword": header.pixel_keyword,
        "number_of_frames": 1,
        "raw": True,
    }
    if layout.samples > 1:
        options["planar_configuration"] = layout.planar
    decoder = get_decoder(header.transfer_syntax)
    if header.transfer_syntax in (*NATIVE, _RLE):
        # pydicom would clear the unused bits as if the used ones were always the lowest
        options["bits_stored"] = layout.bits_allocated
    keep_values_out_of_logs()
    if header.transfer_syntax in NATIVE:
        source = _native_frame(header, layout, frame)
        is_swapped = _has_swapped_bytes(header, layout)
        options["pixel_vr"] = "OB" if is_swapped else header.pixel_vr
    else:
        source = _compressed_frame(header, layout, frame, total)
        options["decoding_plugin"] = PLUGINS[header.transfer_syntax]
        if options["decoding_plugin"] == "gdcm":
            return _from_gdcm(source, header, layout, options)
    try:
        values, described = decoder.as_array(source, index=0, **options)
    except MemoryError:  # a frame takes little; its compressed form states too much
        raise ItemError("image_unreadable", "its compressed image is damaged") from None
    photometric = str(described.get("photometric_interpretation", ""))
    if values.ndim == 3 and photometric.startswith("YBR_FULL"):
        values = convert_color_space(values, photometric, "RGB")
    return values


def _from_gdcm(
    source: io.BytesIO, header: DicomHeader, layout: PixelLayout, options: Mapping[str, Any]
) -> NDArray[Any]:
    """The values of a frame that only GDCM decodes, in the shape of `stored_values`."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.processing import convert_color_space

    content = get_frame(source, 0, number_of_frames=1)
    described = {"transfer_syntax": header.transfer_syntax, "planar_configuration": layout.planar}
    values = decode_jpeg(content, {**options, **described})
    kind = np.dtype(f"<{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}")
    shape = (layout.rows, layout.columns, layout.samples)[: 2 if layout.samples == 1 else 3]
    if len(values) != kind.itemsize * math.prod(shape):
        raise ItemError("image_unreadable", "its compressed image is damaged")
    array = np.frombuffer(values, kind)
    if layout.samples > 1 and layout.planar:
        array = array.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
    array = array.reshape(shape)
    if layout.photometric.startswith("YBR_FULL"):
        return convert_color_space(array, "YBR_FULL", "RGB")
    return array


def _native_frame(header: DicomHeader, layout: PixelLayout, frame: int) -> io.BytesIO:
    """The bytes of a frame that is not compressed."""
    if header.pixel_bytes < 0:
        raise ItemError("image_unreadable", "its pixels are in fragments, but not compressed")
    values = layout.rows * layout.columns * layout.samples
    if layout.photometric == "YBR_FULL_422":
        values = values // 3 * 2
    bits = values * layout.bits_allocated
    total_bits = bits * header.frames
    if header.pixel_bytes < (total_bits + 7) // 8:
        raise ItemError(
            "image_unreadable",
            f"its pixels have {header.pixel_bytes:,} bytes, and {(total_bits + 7) // 8:,} are "
            "stated",
        )
    if bits % 8 and header.frames > 1:  # frames of single bits follow each other without a gap
        raise ItemError("image_unreadable", "its frames do not begin at a byte")
    start, length = (frame - 1) * (bits // 8), (bits + 7) // 8
    first = start - start % 2  # whole words, because their bytes may be in the other order
    header.body.seek(header.pixel_start + first)
    content = header.body.read(start - first + length + (start - first + length) % 2)
    if len(content) < start - first + length:
        raise ItemError("image_unreadable", "it is cut off")
    if _has_swapped_bytes(header, layout):
        content = swapped_words(content)
    content = content[start - first : start - first + length]
    return io.BytesIO(content + b"\0" * (length % 2))


def _has_swapped_bytes(header: DicomHeader, layout: PixelLayout) -> bool:
    """Whether pixels of 8 bits lie in big-endian words, two in each."""
    in_words = header.pixel_vr == "OW" and layout.bits_allocated == 8
    return in_words and header.transfer_syntax == BIG_ENDIAN


def swapped_words(content: bytes) -> bytes:
    """The bytes of 16-bit words in the other order.

    Args:
        content: The words; a last odd byte is taken as the first of a word.
    """
    words = np.frombuffer(content + b"\0" * (len(content) % 2), ">u2")
    return words.astype("<u2").tobytes()


def _compressed_frame(
    header: DicomHeader, layout: PixelLayout, frame: int, total: int
) -> io.BytesIO:
    """One compressed frame, as encapsulated pixel data of its own, after a check of its size."""
    from pydicom.encaps import encapsulate, get_frame

    if header.pixel_bytes >= 0:
        raise ItemError("image_unreadable", "its pixels are not in fragments, but compressed")
    offsets = (
        header.elements.get("ExtendedOffsetTable"),
        header.elements.get("ExtendedOffsetTableLengths"),
    )
    header.body.seek(header.pixel_start)
    limited: Any = LimitedFile(header.body, header.size, MAX_COMPRESSED, "compressed frame")
    content = get_frame(
        limited,
        frame - 1,
        number_of_frames=total,
        extended_offsets=offsets if all(isinstance(o, bytes) for o in offsets) else None,
    )
    stated = layout.columns, layout.rows
    if header.transfer_syntax == _RLE:
        expected = layout.rows * layout.columns * layout.samples * layout.bits_allocated // 8
        if len(content) > 2 * expected + 4096:
            raise ItemError("image_unreadable", "its pixels are longer than its size needs")
    elif (size := codestream_size(content)) != stated:
        real_size = f"{size[0]} x {size[1]}" if size else "of an unknown size"
        raise ItemError(
            "image_unreadable",
            f"its compressed image is {real_size}, and the header states {stated[0]} x {stated[1]}",
        )
    if header.transfer_syntax in _JPEG_SYNTAXES:
        num_scans = read_container(io.BytesIO(content), content[:132]).num_scans
        if num_scans > 8:
            raise LimitExceeded(f"its JPEG has {num_scans} scans")
    return io.BytesIO(encapsulate([content], has_bot=False))
