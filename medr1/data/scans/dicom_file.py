"""Read the header of a DICOM file safely.

pydicom reads only the elements that are listed here, so no other text of the file, and no private
element, is ever in memory.
"""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from medr1.data.containers import DAMAGED, LimitExceeded
from medr1.errors import ItemError

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_HEADER = 4 * 1024**2
"""Most bytes of the elements before the pixels that are read."""
MAX_INFLATED = 200 * 1024**2
"""Most bytes of a deflated file once inflated."""
MAX_FRAMES = 10_000
"""Most frames of a file."""
MAX_FILE = 4 * 1024**3
"""Most bytes of a file: of a clip, only the frame that is shown is read."""

_PREAMBLE = 128
_PIXEL_DATA = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
_PIXEL_DATA |= {0x7FE00010: "PixelData"}
_UNDEFINED = 0xFFFFFFFF
_DEFLATED, BIG_ENDIAN, _IMPLICIT = (
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2",
)
PLUGINS = {
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline, 8 bits
    "1.2.840.10008.1.2.4.51": "gdcm",  # JPEG extended, 12 bits
    "1.2.840.10008.1.2.4.57": "gdcm",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",  # high-throughput JPEG 2000
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
}
"""Transfer syntax of compressed pixels -> pydicom's decoder for it."""
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _DEFLATED, BIG_ENDIAN)
_READ = (
    # what the pixels mean
    *("SOPClassUID", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("RescaleIntercept", "RescaleSlope", "ModalityLUTSequence"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    *("SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData"),
    *("SegmentedBluePaletteColorLookupTableData", "ExtendedOffsetTable"),
    "ExtendedOffsetTableLengths",
    # where the image lies
    *("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio", "ImageOrientationPatient"),
    *("ImagePositionPatient", "InstanceNumber"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    # what may be told of it (dicom_tags.py), and what is only hashed
    *("Modality", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality"),
    *("PatientAge", "PatientSex", "Manufacturer", "BurnedInAnnotation", "ConversionType"),
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
)
"""The elements that are read, by their keywords."""

CANNOT_READ = (*DAMAGED, RuntimeError)
"""What pydicom and the decoders raise if a file is damaged; a nesting that is too deep is a
RecursionError, which is a RuntimeError."""


def is_dicom(head: bytes) -> bool:
    """Whether a file is DICOM.

    Args:
        head: Its first bytes, 132 if it has as many.
    """
    return head[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


@dataclass(frozen=True)
class DicomHeader:
    """The header of a file, and where its pixels are."""

    elements: Dataset
    """The elements that are in the allow-list."""
    transfer_syntax: str
    body: IO[bytes]
    """The file, or the inflated content of a deflated one."""
    size: int
    """Bytes of `body`."""
    pixel_keyword: str
    """"PixelData", or that of float pixels; empty if the file has none."""
    pixel_start: int
    """The position in `body` where the value of the pixel data begins."""
    pixel_bytes: int
    """Bytes of the pixel data; -1 if they are compressed, in fragments."""
    pixel_vr: str
    """Value representation of the pixel data: OB, OW, or that of floats."""

    @property
    def frames(self) -> int:
        """Number of frames, from 1.

        Raises:
            ItemError: The stated number is no number from 1 to MAX_FRAMES.
        """
        value = self.elements.get("NumberOfFrames")
        if value in (None, ""):
            return 1
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = 0
        if not 1 <= number <= MAX_FRAMES:
            raise ItemError(
                "image_unreadable",
                f"it states {number:,} frames, and 1 to {MAX_FRAMES:,} are possible",
            )
        return number

    def whole(self, keyword: str, default: int | None = None) -> int:
        """The value of an element as a whole number.

        Args:
            keyword: Its keyword.
            default: What it is if the element is missing or empty.

        Raises:
            ItemError: It is missing without a default, or no whole number.
        """
        value = self.elements.get(keyword)
        if value in (None, "") and default is not None:
            return default
        try:
            return int(value)
        except (TypeError, ValueError):
            raise ItemError("image_unreadable", f"it has no usable {keyword}") from None


class LimitedFile(io.BufferedIOBase):
    """A file of which only so many bytes are read; bytes that are skipped do not count."""

    def __init__(self, file: IO[bytes], size: int, limit: int, what: str) -> None:
        """Limit a file of `size` bytes to `limit` bytes of `what`."""
        self.file = file
        self.size = size
        self.limit = self.left = limit
        self.what = what

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes, and count them."""
        # a length beyond the end of the file is not asked for, because memory would be taken for it
        most = max(0, self.size - self.file.tell())
        size = most if size is None or size < 0 else min(size, most)
        if size > self.left:
            raise LimitExceeded(f"its {self.what} has more than {self.limit:,} bytes")
        content = self.file.read(size)
        self.left -= len(content)
        return content

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a position, which is returned.

        Args:
            offset: Bytes from the place that `whence` names.
            whence: 0 for the beginning, 1 for the position, 2 for the end.
        """
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self.file.tell()


def keep_values_out_of_logs() -> None:
    """Keep pydicom from writing values of files into warnings and logs, from now on."""
    import pydicom.config

    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom\b")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def read_header(file: IO[bytes], size: int) -> DicomHeader:
    """Read the header of a DICOM file, without its pixels.

    Args:
        file: The file, open for reading.
        size: Its bytes.

    Raises:
        ItemError: It cannot be read (image_unreadable).
        LimitExceeded: It would take too much memory.
        One of CANNOT_READ: It is damaged.
    """
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_dataset

    if size > MAX_FILE:
        raise LimitExceeded(f"the file is larger than {MAX_FILE:,} bytes")
    keep_values_out_of_logs()
    file.seek(_PREAMBLE + 4)
    meta = read_dataset(
        LimitedFile(file, size, MAX_HEADER, "header"),  # type: ignore[arg-type]
        False,
        True,
        stop_when=lambda tag, vr, length: tag >> 16 != 2,
    )
    syntax = str(meta.get("TransferSyntaxUID") or "")
    if syntax not in NATIVE and syntax not in PLUGINS:
        raise ItemError("image_unreadable", _unknown_syntax(syntax))
    body = _inflated(file) if syntax == _DEFLATED else file
    size = len(body.getbuffer()) if isinstance(body, io.BytesIO) else size
    place: dict[str, int] = {}
    representation = "OW"

    def is_pixel_data(tag: int, vr: str | None, length: int) -> bool:
        nonlocal representation
        if tag in _PIXEL_DATA:
            representation = vr or representation
            place.update(tag=tag, start=body.tell(), length=length)
        return tag in _PIXEL_DATA

    tags: list[Any] = [tag for keyword in _READ if (tag := tag_for_keyword(keyword))]
    elements = read_dataset(
        LimitedFile(body, size, MAX_HEADER, "header"),  # type: ignore[arg-type]
        syntax == _IMPLICIT,
        syntax != BIG_ENDIAN,
        stop_when=is_pixel_data,
        specific_tags=tags,
    )
    length = place.get("length", 0)
    if place and length == _UNDEFINED:
        length = -1
    keyword = _PIXEL_DATA.get(place.get("tag", 0), "")
    start = place.get("start", 0)
    return DicomHeader(elements, syntax, body, size, keyword, start, length, representation)


def _unknown_syntax(syntax: str) -> str:
    """Why the pixels of a transfer syntax cannot be read."""
    from pydicom.uid import UID

    name = UID(syntax).name if syntax.startswith("1.2.840.10008.") else ""
    if not syntax:
        return "it states no transfer syntax"
    return f"its transfer syntax {name if name and name != syntax else '(unknown)'} is not read"


def _inflated(file: IO[bytes]) -> io.BytesIO:
    """The rest of a deflated file, inflated."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(file.read(MAX_INFLATED), MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise LimitExceeded(f"it has more than {MAX_INFLATED:,} bytes once inflated")
    return io.BytesIO(content)
