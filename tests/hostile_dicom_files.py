"""DICOM files made to do harm, or damaged, each with the pixels of its right image, if any."""

import struct
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
from dicom_files import (
    EXPLICIT,
    UNDEFINED,
    dicom_dataset,
    element,
    encapsulated,
    grey_elements,
    implicit_element,
    lut,
    palette,
    raw_file,
    write_dicom,
)
from pydicom import dcmwrite
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "big-endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "jpeg": "1.2.840.10008.1.2.4.50",
    "jpeg-12": "1.2.840.10008.1.2.4.51",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
    "mpeg-2": "1.2.840.10008.1.2.4.100",
    "htj2k": "1.2.840.10008.1.2.4.201",
    "rle": "1.2.840.10008.1.2.5",
    "unknown": "1.2.3.4.5",
    "none": "",
}
BASE = list(range(16))
"""The pixels of `grey_elements()`."""
ANY: list[int] = []
"""Any image is right: the standard does not tell which."""

Made = bytes | Callable[[], bytes]
CASES: dict[str, tuple[Made, list[int] | None]] = {}
"""Name -> content, and the pixels of the right image, if there is one."""


def case(name: str, content: Made, right: list[int] | None = None) -> None:
    assert name not in CASES
    CASES[name] = content, right


def changed(**values: object) -> bytes:
    """The small grey image with other elements, named by tag: t00280010=element(...) or None."""
    elements = grey_elements()
    for name, value in values.items():
        tag = int(name[1:], 16)
        elements.pop(tag, None)
        if isinstance(value, bytes):
            elements[tag] = value
    return raw_file(elements)


def with_text(tag: int, vr: str, texts: Iterable[str], name: str, right: list[int] | None) -> None:
    """A case for each text as the value of a tag."""
    for text in texts:
        shown = text if len(text) < 20 else f"{len(text)} characters"
        case(f"{name} {shown!r}", changed(**{f"t{tag:08x}": element(tag, vr, text)}), right)


VALID = raw_file(grey_elements())

# --- truncated, and not DICOM --------------------------------------------------------------------
case("empty", b"")
case("preamble alone", bytes(128) + b"DICM")
case("no preamble's end", bytes(131))
case("random after the preamble", bytes(128) + b"DICM" + bytes(range(256)) * 8)
case("zeros after the preamble", bytes(128) + b"DICM" + bytes(4096))
case("all ones", bytes(128) + b"DICM" + b"\xff" * 4096)
for cut in (133, 140, 200, 300, 350, 400, len(VALID) - 24, len(VALID) - 16, len(VALID) - 1):
    case(f"cut at {cut}", VALID[:cut])

# --- sizes ---------------------------------------------------------------------------------------
for rows, columns in ((8, 8), (60000, 60000), (65535, 65535), (9000, 9000), (0, 4), (4, 0), (0, 0)):
    case(f"{rows} x {columns}, 16 bytes", raw_file(grey_elements(rows, columns, pixels=bytes(16))))
case("1 x 65534", raw_file(grey_elements(1, 65534)))
case("more pixels than rows", raw_file(grey_elements(pixels=bytes(range(64)))), BASE)
case("no pixels", raw_file(grey_elements(pixels=b"")))

# --- missing, empty and repeated elements --------------------------------------------------------
for tag in grey_elements():
    if tag >= 0x00280000:
        derivable = tag in (0x00280002, 0x00280101, 0x00280102, 0x00280103)
        case(f"without {tag:08x}", changed(**{f"t{tag:08x}": None}), BASE if derivable else None)
        if tag < 0x7FE00000:
            vr = "CS" if tag == 0x00280004 else "US"
            blank = element(tag, vr, b"")
            case(f"empty {tag:08x}", changed(**{f"t{tag:08x}": blank}), BASE if derivable else None)
            twice = element(tag, "US", struct.pack("<HH", 4, 8))
            if vr == "US":
                case(f"two values in {tag:08x}", changed(**{f"t{tag:08x}": twice}), ANY)
case("no elements", raw_file({}))
case("pixels twice", raw_file([*grey_elements().values(), grey_elements()[0x7FE00010]]), BASE)
case("elements in reverse", raw_file(list(grey_elements().values())[::-1]), BASE)
case("a structured report", changed(t7fe00010=None, t00080060=element(0x00080060, "CS", "SR")))
case(
    "an icon without an image",
    changed(
        t7fe00010=None,
        t00880200=element(
            0x00880200, "SQ",
            struct.pack("<HHI", 0xFFFE, 0xE000, 24 + 4) + element(0x7FE00010, "OB", bytes(16)),
        ),
    ),
)  # fmt: skip

# --- numbers that are none -----------------------------------------------------------------------
NUMBERS = ("nan", "inf", "-inf", "1e400", "abc", "", "1e308", "-1e-320", "0", "1\\2", "9" * 5000)
with_text(0x00281053, "DS", NUMBERS, "slope", ANY)
with_text(0x00281052, "DS", NUMBERS, "intercept", ANY)
for center, width in (
    ("1e400", "1e400"), ("nan", "10"), ("10", "nan"), ("inf", "inf"), ("abc", "def"), ("", ""),
    ("1", "1e-320"), ("-1e308", "1e308"), ("1\\2", "3"), ("1", "2\\3\\4"), ("9" * 9999, "1"),
):  # fmt: skip
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        name = f"window {center[:9]} / {width} {function}"
        tags = {
            "t00281050": element(0x00281050, "DS", center),
            "t00281051": element(0x00281051, "DS", width),
            "t00281056": element(0x00281056, "CS", function),
        }
        case(name, changed(**tags), ANY)
SPACINGS = (
    "0\\0", "-1\\-1", "0\\1", "1\\0", "1e9\\1", "1\\1e9", "nan\\nan", "inf\\1", "1e-300\\1e300",
    "1", "a\\b", "", "1\\1\\1", "1e400\\1",
)  # fmt: skip
with_text(0x00280030, "DS", SPACINGS, "spacing", BASE)
with_text(0x00181164, "DS", SPACINGS, "imager spacing", BASE)
ASPECTS = ("0\\1", "1\\0", "0\\0", "-1\\1", "1\\1000000000", "1000000000\\1", "1", "a\\b", "")
with_text(0x00280034, "IS", ASPECTS, "aspect", BASE)
case(
    "an aspect of 150 of 2000 x 2000",
    lambda: raw_file(grey_elements(2000, 2000) | {0x00280034: element(0x00280034, "IS", "150\\1")}),
    ANY,
)  # fmt: skip
ORIENTATIONS = (
    "0\\0\\0\\0\\0\\0",
    "nan\\0\\0\\0\\1\\0",
    "1\\0\\0\\0\\1",
    "a",
    "1\\0\\0\\1\\0\\0",
    "",
)
with_text(0x00200037, "DS", ORIENTATIONS, "orientation", BASE)
FRAMES = ("-1", "0", "abc", "", "100000", "1e5", "2147483647", "9" * 30, "1\\2", "1.5")
with_text(0x00280008, "IS", FRAMES, "frames", ANY)
case(
    "100,000 frames with their pixels",
    lambda: raw_file(
        {
            **grey_elements(pixels=bytes(BASE) * 100_000),
            0x00280008: element(0x00280008, "IS", "100000"),
        }
    ),
    ANY,
)

# --- bits ----------------------------------------------------------------------------------------


def bits(allocated: int, stored: int, high: int, pixels: bytes = bytes(BASE)) -> bytes:
    return changed(
        t00280100=element(0x00280100, "US", allocated),
        t00280101=element(0x00280101, "US", stored),
        t00280102=element(0x00280102, "US", high),
        t7fe00010=element(0x7FE00010, "OW" if allocated > 8 else "OB", pixels),
    )


case("12 bits stored in 8", bits(8, 12, 11), ANY)
case("0 bits stored", bits(8, 0, 0), ANY)
case("0 bits stored, high bit 65535", bits(8, 0, 65535), ANY)
case("high bit 200", bits(8, 8, 200), ANY)
case("high bit below the stored bits", bits(16, 12, 3, bytes(32)), ANY)
case("65535 bits stored", bits(16, 65535, 65534, bytes(32)), ANY)
case("1 bit", bits(1, 1, 0, b"\x0f\xf0"), ANY)
case("32 bits", bits(32, 32, 31, bytes(64)), ANY)
case("64 bits", bits(64, 64, 63, bytes(128)), ANY)
case("12 bits allocated", bits(12, 12, 11, bytes(24)), ANY)
for allocated in (0, 7, 9, 24, 128, 65535):
    case(f"{allocated} bits allocated", bits(allocated, 8, 7))
for samples in (0, 2, 5, 65535):
    case(f"{samples} samples", changed(t00280002=element(0x00280002, "US", samples)))
case("3 samples of grey", changed(t00280002=element(0x00280002, "US", 3)))
case("colour of 1 sample", changed(t00280004=element(0x00280004, "CS", "RGB")), ANY)
case(
    "planar configuration 7",
    changed(
        t00280002=element(0x00280002, "US", 3), t00280004=element(0x00280004, "CS", "RGB"),
        t00280006=element(0x00280006, "US", 7), t7fe00010=element(0x7FE00010, "OB", bytes(48)),
    ),
    ANY,
)  # fmt: skip
case("constant 16 bits", bits(16, 16, 15, b"\x07\x00" * 16), ANY)
for name, tag, vr, kind in (
    ("float", 0x7FE00008, "OF", "<f4"),
    ("double", 0x7FE00009, "OD", "<f8"),
):
    for content in ("finite", "nan", "infinite"):
        values = np.linspace(-1, 1, 16)
        values[3] = {"finite": 0.5, "nan": np.nan, "infinite": np.inf}[content]
        case(
            f"{name} pixels, {content}",
            changed(
                t7fe00010=None, **{f"t{tag:08x}": element(tag, vr, values.astype(kind).tobytes())},
                t00280100=element(0x00280100, "US", 32 if name == "float" else 64),
            ),
            ANY,
        )  # fmt: skip

# --- LUTs and palettes ---------------------------------------------------------------------------


def dataset_bytes(**settings: object) -> bytes:
    """A file of pydicom, 4 x 4."""
    buffer = DicomBytesIO()
    dataset = dicom_dataset(np.reshape(BASE, (4, 4)), **settings)  # type: ignore[arg-type]
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return bytes(buffer.getvalue())


def lut_files(sequence: str) -> None:
    kind = "US" if sequence == "ModalityLUTSequence" else ""
    for name, table in {
        "65535 entries, 2 there": lambda: lut(0, [1, 2], number=65535, kind=kind),
        "65536 entries, 2 there": lambda: lut(0, [1, 2], number=0, kind=kind),
        "1 entry, 4 there": lambda: lut(0, [1, 2, 3, 4], number=1, kind=kind),
        "0 bits": lambda: lut(0, [1, 2], bits=0, kind=kind),
        "1 bit": lambda: lut(0, [1, 2], bits=1, kind=kind),
        "255 bits": lambda: lut(0, [1, 2], bits=255, kind=kind),
        "65535 bits": lambda: lut(0, [1, 2], bits=65535, kind=kind),
        "entries above the bits": lambda: lut(0, [0, 65535], bits=8, kind=kind),
        "first 65535": lambda: lut(65535, [1, 2], kind=kind),
    }.items():
        case(
            f"{sequence}: {name}",
            lambda table=table: dataset_bytes(**{sequence: table()}),  # type: ignore[misc]
            ANY,
        )

    def without(*names: str, **values: object) -> bytes:
        table = lut(0, [1, 2], kind=kind)
        for keyword in names:
            del table[0][keyword]
        for keyword, value in values.items():
            table[0][keyword].value = value
        return dataset_bytes(**{sequence: table})

    case(f"{sequence}: no items", lambda: dataset_bytes(**{sequence: []}), ANY)
    case(f"{sequence}: no data", lambda: without("LUTData"), ANY)
    case(f"{sequence}: no descriptor", lambda: without("LUTDescriptor"), ANY)
    case(f"{sequence}: empty data", lambda: without(LUTData=None), ANY)
    case(f"{sequence}: 2 values", lambda: without(LUTDescriptor=[2, 0]), ANY)
    case(f"{sequence}: empty descriptor", lambda: without(LUTDescriptor=None), ANY)


lut_files("ModalityLUTSequence")
lut_files("VOILUTSequence")
COLOURS = [(1, 2, 3), (4, 5, 6)]
INDEXED = {"photometric": "PALETTE COLOR"}
case("palette missing", lambda: dataset_bytes(**INDEXED))
for colour in ("Red", "Green", "Blue"):
    for part in ("Descriptor", "Data"):
        keyword = f"{colour}PaletteColorLookupTable{part}"
        case(
            f"palette without {colour} {part}",
            lambda keyword=keyword: dataset_bytes(
                **INDEXED, **{**palette(0, COLOURS), keyword: None}
            ),
            # the three descriptors must be alike, so one is enough
            ANY if part == "Descriptor" else None,
        )  # fmt: skip
for number, entry_bits in ((0, 8), (0, 16), (65535, 16), (2, 1), (2, 255), (2, 12)):
    case(
        f"palette of {number} entries of {entry_bits} bits, 2 there",
        lambda number=number, entry_bits=entry_bits: dataset_bytes(
            **INDEXED,
            **{
                name: _with_bits(value, entry_bits)
                for name, value in palette(0, COLOURS, bits=16, number=number).items()
            },
        ),
        ANY,
    )


def _with_bits(value, entry_bits):
    if value.keyword.endswith("Descriptor"):
        value.value = [*value.value[:2], entry_bits]
    return value


# --- transfer syntaxes ---------------------------------------------------------------------------
for name, syntax in SYNTAXES.items():
    guessed = name in ("implicit", "none", "unknown")
    case(
        f"explicit little endian called {name}",
        raw_file(grey_elements(), syntax=syntax), BASE if guessed else None,
    )  # fmt: skip
    junk = {**grey_elements(), 0x7FE00010: encapsulated([bytes(range(64)), b"\xff" * 64])}
    case(f"fragments of junk called {name}", raw_file(junk, syntax=syntax))
    none = {**grey_elements(), 0x7FE00010: encapsulated([])}
    case(f"no fragments called {name}", raw_file(none, syntax=syntax))
case("fragments called native", raw_file(
    {**grey_elements(), 0x7FE00010: encapsulated([bytes(64)])}, syntax=EXPLICIT
))  # fmt: skip
IMPLICIT = [implicit_element(tag, part[8 if tag < 0x7FE00000 else 12 :]) for tag, part in
            sorted(grey_elements().items())]  # fmt: skip
case("implicit without meta and preamble", b"".join(IMPLICIT), BASE)
case("implicit without meta", raw_file(IMPLICIT, meta=False), BASE)
case("implicit called explicit", raw_file(IMPLICIT), BASE)
case("implicit called big endian", raw_file(IMPLICIT, syntax=SYNTAXES["big-endian"]), BASE)
case("explicit without meta", raw_file(grey_elements(), meta=False), BASE)
case("explicit without preamble", raw_file(grey_elements(), preamble=b""), BASE)
case(
    "explicit without meta and preamble", raw_file(grey_elements(), meta=False, preamble=b""), BASE
)


def deflate_bomb(before: bytes, after: bytes) -> bytes:
    """A deflated data set with a gigabyte of zeros between two parts, in about a megabyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.compress(after) + packer.flush()
    return raw_file([], syntax=SYNTAXES["deflated"], tail=start + zeros * 1024 + end)


ELEMENTS = grey_elements()
HEAD = b"".join(ELEMENTS[tag] for tag in sorted(ELEMENTS) if tag < 0x00280000)
REST = b"".join(ELEMENTS[tag] for tag in sorted(ELEMENTS) if tag >= 0x00280000)
case(
    "a bomb in a private element",
    lambda: deflate_bomb(HEAD + element(0x00091001, "OB", b"", 1 << 30), REST), BASE,
)  # fmt: skip
case("a bomb after the pixels", lambda: deflate_bomb(HEAD + REST, b""), BASE)
case(
    "a bomb as pixels",
    lambda: deflate_bomb(
        HEAD + REST.replace(ELEMENTS[0x7FE00010], element(0x7FE00010, "OB", b"", 1 << 30)), b""
    ),
    [0] * 16,
)

# --- compressed pixels ---------------------------------------------------------------------------


@cache
def stream(syntax: str) -> bytes:
    """The one frame of 64 x 64 pixels, compressed by pydicom."""
    dataset = dicom_dataset(np.arange(64 * 64).reshape(64, 64) % 251, compress=syntax)
    item = dataset.PixelData[8:]
    return bytes(item[8 : 8 + struct.unpack("<I", item[4:8])[0]])


def compressed(content: bytes, syntax: str, rows: int = 64, columns: int = 64) -> bytes:
    elements = grey_elements(rows, columns, pixels=b"")
    return raw_file({**elements, 0x7FE00010: encapsulated([content])}, syntax=syntax)


def resized(syntax: str, rows: int, columns: int) -> bytes:
    """The stream with another size in its own header."""
    content = bytearray(stream(syntax))
    if syntax == JPEG2000Lossless:  # SIZ: marker, length, capabilities, width, height
        place = content.index(b"\xff\x51") + 6
        content[place : place + 8] = struct.pack(">II", columns, rows)
        tile = place + 16
        content[tile : tile + 8] = struct.pack(">II", columns, rows)
    else:  # SOF: marker, length, bits, height, width
        place = content.index(b"\xff\xf7") + 5
        content[place : place + 4] = struct.pack(">HH", rows, columns)
    return bytes(content)


for name, uid in (("jpeg-2000", JPEG2000Lossless), ("jpeg-ls", JPEGLSLossless)):
    for inner, outer in (
        ((60000, 60000), (64, 64)), ((60000, 60000), (60000, 60000)), ((64, 64), (32, 32)),
        ((64, 64), (128, 128)), ((9000, 9000), (9000, 9000)), ((64, 64), (9000, 9000)),
        ((32, 32), (64, 64)), ((0, 0), (64, 64)), ((1, 60000), (64, 64)),
    ):  # fmt: skip
        case(
            f"{name} of {inner}, called {outer}",
            lambda uid=uid, inner=inner, outer=outer: compressed(
                resized(uid, *inner) if inner != (64, 64) else stream(uid), uid, *outer
            ),
        )
    for share in (0.1, 0.5, 0.9):
        case(
            f"{name} cut at {share}",
            lambda uid=uid, share=share: compressed(
                stream(uid)[: int(len(stream(uid)) * share)], uid
            ),
            ANY if name == "jpeg-2000" else None,  # JPEG 2000 is made to be cut
        )  # fmt: skip


def siz(place: int, layout: str, *values: int) -> bytes:
    """A JPEG 2000 stream with other numbers in SIZ, from a place after the marker."""
    content = bytearray(stream(JPEG2000Lossless))
    start = content.index(b"\xff\x51") + place
    content[start : start + struct.calcsize(layout)] = struct.pack(layout, *values)
    return compressed(bytes(content), JPEG2000Lossless)


case("jpeg-2000 of tiles of 1 x 1", lambda: siz(22, ">II", 1, 1))
case("jpeg-2000 of 16384 components", lambda: siz(38, ">H", 16384))
case("jpeg-2000 of 38 bits", lambda: siz(40, ">B", 37))
case("jpeg-2000 at an offset of 2^32 - 2", lambda: siz(14, ">II", 2**32 - 2, 2**32 - 2))


def jpeg(rows: int, columns: int) -> bytes:
    """A baseline JPEG of 64 x 64 with another size in its own header."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (64, 64), 99).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", rows, columns)
    return bytes(content)


for inner, outer in (
    ((60000, 60000), (64, 64)), ((60000, 60000), (60000, 60000)), ((64, 64), (32, 32)),
    ((64, 64), (128, 128)), ((64, 64), (9000, 9000)), ((0, 0), (64, 64)),
):  # fmt: skip
    case(
        f"jpeg of {inner}, called {outer}",
        lambda inner=inner, outer=outer: compressed(jpeg(*inner), SYNTAXES["jpeg"], *outer),
    )
case(
    "jpeg of 9000 x 9000, cut",
    lambda: compressed(jpeg(9000, 9000), SYNTAXES["jpeg"], 9000, 9000),
    ANY,
)


def rle(
    count: int, offsets: Iterable[int], content: bytes, rows: int = 4, columns: int = 4
) -> bytes:
    header = struct.pack("<16I", count, *[*offsets, *[0] * 15][:15])
    return compressed(header + content, RLELossless, rows, columns)


LITERAL = b"\x0f" + bytes(BASE) + b"\x80"
case("rle, right", rle(1, [64], LITERAL), BASE)
case("rle of 0 segments", rle(0, [], LITERAL))
case("rle of 15 segments", rle(15, [64] * 15, LITERAL))
case("rle of 2^32 - 1 segments", rle(2**32 - 1, [64], LITERAL))
case("rle beyond the end", rle(1, [2**32 - 1], LITERAL))
case("rle inside its header", rle(1, [4], LITERAL), ANY)
case("rle downwards", rle(2, [80, 64], LITERAL))
case("rle too short", rle(1, [64], b"\x03\x00\x01\x02\x03"))
case("rle too long", rle(1, [64], LITERAL + b"\x0f" + bytes(16)), BASE)
case("rle much too long", rle(1, [64], b"\x81\x07" * 100_000), ANY)
case("rle of 9000 x 9000", rle(1, [64], LITERAL, 9000, 9000))
case("rle of 60000 x 60000", rle(1, [64], LITERAL, 60000, 60000))
case("rle cut in its header", compressed(b"\1\0\0\0\x40", RLELossless, 4, 4))

# --- lengths, nesting, and much of everything ----------------------------------------------------


def nested(depth: int) -> bytes:
    start = struct.pack("<HH2sHI", 0x0009, 0x1001, b"SQ", 0, UNDEFINED)
    start += struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
    end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return raw_file([HEAD, start * depth + end * depth, REST])


case("1,000 sequences in each other", lambda: nested(1000), BASE)
case("100,000 sequences in each other", lambda: nested(100_000), BASE)
case("sequences without an end", raw_file([HEAD, nested(50)[-900:-400]]))
case("pixels of undefined length, native", changed(
    t7fe00010=element(0x7FE00010, "OB", bytes(BASE), UNDEFINED)
), BASE)  # fmt: skip
for length in (0xFFFFFFFE, 0x7FFFFFFF, 1 << 30, 17, 1000):
    case(
        f"pixels of {length} bytes, 16 there",
        changed(t7fe00010=element(0x7FE00010, "OB", bytes(BASE), length)), BASE,
    )  # fmt: skip
    case(
        f"an element of {length} bytes, 16 there",
        changed(t00091001=element(0x00091001, "OB", bytes(BASE), length)),
    )
case("an unknown element of undefined length", changed(
    t00091001=element(0x00091001, "UN", bytes(BASE), UNDEFINED)
))  # fmt: skip
case("10,000 empty fragments", lambda: raw_file(
    {**grey_elements(), 0x7FE00010: encapsulated([b""] * 10_000)}, syntax=SYNTAXES["rle"]
))  # fmt: skip
case("a header of 100 MB", lambda: changed(
    t00091001=element(0x00091001, "OB", bytes(100_000_000))
), BASE)  # fmt: skip
case("a text of 10 MB", lambda: changed(t00104000=element(
    0x00104000, "UT", "x" * 10_000_000
)), BASE)  # fmt: skip
case("300,000 elements", lambda: raw_file(
    [*(element(0x00090000 + (n % 60000) + ((n // 60000) << 17), "LO", "") for n in range(300_000)),
     HEAD, REST]
), BASE)  # fmt: skip

# --- wrong types ---------------------------------------------------------------------------------
case("rows as text", changed(t00280010=element(0x00280010, "LO", "4")), ANY)
case("rows as a float", changed(t00280010=element(0x00280010, "FL", struct.pack("<f", 4))), ANY)
case("rows as a sequence", changed(t00280010=element(0x00280010, "SQ", b"")))
case("pixels as text", changed(t7fe00010=element(0x7FE00010, "UT", bytes(BASE))), BASE)
case("pixels as a sequence", changed(t7fe00010=element(0x7FE00010, "SQ", bytes(BASE))), BASE)
case("pixels as unknown", changed(t7fe00010=element(0x7FE00010, "UN", bytes(BASE))), BASE)
case("a window as bytes", changed(t00281050=element(0x00281050, "OB", b"\1\2"),
                                  t00281051=element(0x00281051, "OB", b"\1\2")), ANY)  # fmt: skip
case("a window as a sequence", changed(t00281050=element(0x00281050, "SQ", b""),
                                       t00281051=element(0x00281051, "SQ", b"")), ANY)  # fmt: skip
case("a VR of no letters", changed(t00100010=element(0x00100010, "??", "x")), BASE)
case("a VR of zeros", changed(t00100010=element(0x00100010, "\0\0", "x")), BASE)
case("a name as a sequence", changed(t00100010=element(0x00100010, "SQ", b"")), BASE)
case("a LUT sequence as text", changed(t00283010=element(0x00283010, "LO", "x")), ANY)
case("padding as text", changed(t00280120=element(0x00280120, "LO", "x")), ANY)
case("a padding limit alone", changed(t00280121=element(0x00280121, "US", 3)), BASE)
case("two photometric interpretations", changed(
    t00280004=element(0x00280004, "CS", "MONOCHROME2\\RGB")
), ANY)  # fmt: skip
case("two modalities", changed(t00080060=element(0x00080060, "CS", "CT\\MR")), ANY)
case("two body parts", changed(t00180015=element(0x00180015, "CS", "HEAD\\CHEST")), BASE)
case("a character set that does not exist", changed(
    t00080005=element(0x00080005, "CS", "ISO 9999"),
    t00180015=element(0x00180015, "CS", b"\xff\xfe"),
), BASE)  # fmt: skip
case("functional groups as text", changed(
    t00280008=element(0x00280008, "IS", "1"), t52009229=element(0x52009229, "LO", "x"),
    t52009230=element(0x52009230, "LO", "x"),
), BASE)  # fmt: skip
case("functional groups without items", changed(
    t00280008=element(0x00280008, "IS", "1"), t52009229=element(0x52009229, "SQ", b""),
    t52009230=element(0x52009230, "SQ", b""),
), BASE)  # fmt: skip


def write_seeds(folder: Path) -> list[Path]:
    """Valid files of the kinds of pixels and tables that there are; returns their paths.

    Args:
        folder: The folder to write to.
    """
    ramp = np.arange(32 * 32).reshape(32, 32) % 251
    colours = np.stack([ramp, ramp.T, ramp[::-1]], -1)
    frames = np.stack([ramp, ramp.T])
    window = {"WindowCenter": [40, 50], "WindowWidth": [80, 90]}
    deep = {"allocated": 16, "bits": 12, "signed": True, "modality": "CT", **window}
    oriented = {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0], "PixelSpacing": [1, 1.5]}
    seeds = {
        "grey": (ramp, {}),
        "ct": (ramp, {**deep, **oriented, "RescaleSlope": 1, "RescaleIntercept": -100}),
        "lut": (ramp % 4, {"ModalityLUTSequence": lut(0, [0, 10, 20, 30], kind="US"),
                           "VOILUTSequence": lut(0, list(range(31)), bits=8)}),
        "implicit": (ramp, {**deep, "syntax": SYNTAXES["implicit"]}),
        "deflated": (ramp, {**deep, "syntax": SYNTAXES["deflated"]}),
        "palette": (ramp % 2, {**INDEXED, **palette(0, COLOURS)}),
        "rle": (colours, {"photometric": "RGB", "compress": RLELossless}),
        "jpeg-ls": (np.kron(ramp, np.ones((2, 2), int)), {"compress": JPEGLSLossless}),
        "jpeg-2000": (np.kron(ramp, np.ones((2, 2), int)), {"compress": JPEG2000Lossless}),
        "frames": (frames, {"modality": "USM", "frames": True}),
    }  # fmt: skip
    paths = [
        write_dicom(folder / f"{name}.dcm", stored, **tags)
        for name, (stored, tags) in seeds.items()
    ]
    lossless = get_testdata_file("SC_rgb_jpeg_gdcm.dcm", download=False)  # comes with pydicom
    assert lossless
    contents = {
        "jpeg": compressed(jpeg(64, 64), SYNTAXES["jpeg"]),
        "jpeg-lossless": Path(str(lossless)).read_bytes(),
    }
    for name, content in contents.items():
        paths.append(folder / f"{name}.dcm")
        paths[-1].write_bytes(content)
    return paths


SEEDS = (
    "grey", "ct", "lut", "implicit", "deflated", "palette", "rle", "jpeg-ls", "jpeg-2000", "frames",
    "jpeg", "jpeg-lossless",
)  # fmt: skip
