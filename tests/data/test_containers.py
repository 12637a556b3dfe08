"""What a file may cost: a second of the processor and 300 MB, whatever it is (all made here)."""

import io
import json
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from medr1.data.images import decode_image, image_size, load_image
from medr1.errors import ItemError

SECONDS, MEGABYTES = 1.0, 300
MEASURE = """
import io, json, sys, time
from pathlib import Path
from PIL import Image
from medr1.data.images import decode_image, load_image
from medr1.errors import ItemError

warm = io.BytesIO()
Image.new("RGB", (16, 16)).save(warm, "PNG")
decode_image(warm.getvalue(), "warm")

def peak(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))

for path in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
    before, started = peak("VmRSS"), time.process_time()
    try:
        code = str(load_image(Path(path)).image.size)
    except ItemError as error:
        code = error.code
    print(json.dumps([code, time.process_time() - started, (peak("VmHWM") - before) / 1024]))
"""


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, kind: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def segment(code: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(data) + 2) + data


def directory(*entries: tuple[int, int, int, int]) -> bytes:
    """A TIFF of one directory: (tag, type, count, value or place) for each entry."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0" * 4


def run_length(width: int, height: int, body: bytes) -> bytes:
    """A BMP whose rows are packed by run lengths."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(body), 0, 0, 1078) + info + bytes(1024) + body


def with_scans(image: Image.Image, scans: int) -> bytes:
    """A progressive JPEG with its last scan again and again."""
    data = encoded(image, "JPEG", progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:]


def hostile() -> dict[str, tuple[bytes, str]]:
    """name -> (file, what comes of it)."""
    small = encoded(Image.new("RGB", (64, 64)), "JPEG")
    many_tags = directory(*((700 + i, 7, 60_000, 8) for i in range(5_000)))[:60_000]
    tile = zlib.compress(bytes(20_000 * 10_000), 1)
    header = ((256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1))
    one_strip = ((273, 4, 1, 8), (278, 4, 1, 9000), (279, 4, 1, 81_000_000))
    numbers = ((273, 4, 2_000_000, 200), (279, 4, 2_000_000, 200))
    many_chunks = [chunk(b"IDAT", b"\0")] * 200_000
    empty_blocks = b"\x78\x01" + b"\0\0\0\xff\xff" * 1_000_000
    return {
        "lossless.webp": (encoded(Image.new("RGB", (9400, 9400)), "WEBP", lossless=True), "large"),
        "scans.jpg": (with_scans(Image.new("L", (5000, 5000)), 60), "large"),
        "large.png": (encoded(Image.new("L", (9000, 9000)), "PNG"), "large"),
        "large.jpg": (encoded(Image.new("L", (9000, 9000)), "JPEG"), "large"),
        "large.tif": (
            directory((256, 4, 1, 9000), (257, 4, 1, 9000), *header[2:], *one_strip),
            "large",
        ),
        "chunks.png": (png(1000, 1000, 8, 0, *many_chunks), "large"),
        "blocks.png": (png(1000, 1000, 8, 0, chunk(b"IDAT", empty_blocks)), "large"),
        "deep.png": (png(5000, 5000, 16, 6, chunk(b"IDAT", b"")), "large"),
        "comments.jpg": (small[:2] + segment(0xFE, b"") * 1_000_000 + small[2:], "large"),
        "filling.jpg": (small[:2] + b"\xff" * 4_000_000 + small[2:], "unreadable"),
        "exif.jpg": (small[:2] + segment(0xE1, b"Exif\0\0" + many_tags) + small[2:], "(64, 64)"),
        "mpf.jpg": (small[:2] + segment(0xE2, b"MPF\0" + many_tags) + small[2:], "(64, 64)"),
        "resources.jpg": (
            small[:2] + segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4" * 9_000) * 200 + small[2:],
            "(64, 64)",
        ),
        "tags.tif": (
            directory(*header, *((40_000 + i, 7, 9_000_000, 8) for i in range(900)))
            + bytes(9_000_000),
            "large",
        ),
        "strips.tif": (directory(*header, *numbers) + bytes(16_000_000), "large"),
        "tile.tif": (
            directory(
                *(*header, (259, 3, 1, 8), (322, 4, 1, 20_000), (323, 4, 1, 10_000)),
                *((324, 4, 1, 134), (325, 4, 1, len(tile))),
            )
            + tile,
            "large",
        ),
        "lines.bmp": (run_length(6000, 6000, b"\0\0" * 6000), "large"),
        "runs.bmp": (run_length(700, 700, b"\1\1" * 2_000_000), "large"),
    }


def levels() -> Image.Image:
    """30 megapixels of 12 bits in 16, which a radiograph may have."""
    deep = np.zeros((5000, 6000), np.uint16)
    deep[::2] = 4095
    return Image.fromarray(deep)


def radiographs() -> dict[str, bytes]:
    turned = Image.Exif()
    turned[0x112] = 6
    colour = Image.new("RGB", (6000, 5000), (30, 20, 10))
    return {
        "deep.png": encoded(levels(), "PNG", compress_level=1),
        "turned.jpg": encoded(colour, "JPEG", exif=turned),
        "progressive.jpg": encoded(colour, "JPEG", progressive=True, subsampling=0),
    }


def others() -> dict[str, bytes]:
    """The largest of other kinds."""
    colour = Image.new("RGB", (6000, 5000), (30, 20, 10))
    return {
        "colour.png": encoded(colour, "PNG", compress_level=1),
        "colour.bmp": encoded(colour, "BMP"),
        "deep.tif": encoded(levels(), "TIFF"),
        "float.tif": encoded(Image.fromarray(np.asarray(levels()).astype(np.float32)), "TIFF"),
        "cmyk.tif": encoded(colour.convert("CMYK"), "TIFF"),
        "lossless.webp": encoded(Image.new("RGB", (4300, 4300)), "WEBP", lossless=True),
        "alpha.png": encoded(Image.new("RGBA", (4700, 4700), (9, 9, 9, 9)), "PNG"),
    }


def measured(folder, files: dict[str, bytes]) -> dict[str, tuple[str, float, float]]:
    """name -> (size or code, seconds of the processor, MB above what was held before)."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    command = [sys.executable, "-c", MEASURE, *(str(folder / name) for name in files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(zip(files, map(json.loads, done.stdout.splitlines()), strict=True))


linux = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")


@linux
def test_hostile_files_take_a_second_and_300_mb_at_most(tmp_path):
    files = hostile()
    results = measured(tmp_path, {name: data for name, (data, _) in files.items()})
    for name, (code, seconds, megabytes) in results.items():
        assert files[name][1] in code, name
        assert seconds < SECONDS and megabytes < MEGABYTES, (name, seconds, megabytes)


@linux
@pytest.mark.parametrize("files", [radiographs, pytest.param(others, marks=pytest.mark.slow)])
def test_large_images_are_accepted_within_the_same_bounds(tmp_path, files):
    for name, (code, seconds, megabytes) in measured(tmp_path, files()).items():
        assert code.startswith("("), (name, code)
        assert seconds < SECONDS and megabytes < MEGABYTES, (name, seconds, megabytes)


@linux
def test_a_strip_of_a_whole_picture_counts_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(TiffImagePlugin, "STRIP_SIZE", 1 << 31)
    files = {
        f"{side}.tif": encoded(Image.new("RGB", (side, side)), "TIFF", compression="tiff_lzw")
        for side in (5400, 6100)
    }
    results = measured(tmp_path, files)
    assert [code for code, *_ in results.values()] == ["(5400, 5400)", "image_too_large"]
    assert all(megabytes < MEGABYTES for _, _, megabytes in results.values()), results


def test_a_single_flipped_bit_of_a_png_never_passes_unnoticed():
    rows, columns = np.mgrid[0:64, 0:64]
    smooth = Image.fromarray((rows + columns).astype(np.uint8))
    data, draw, refused = encoded(smooth, "PNG"), random.Random(0), 0
    for _ in range(500):
        place = draw.randrange(8 * len(data))
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        try:
            loaded = decode_image(bytes(flipped), "x.png")
        except ItemError as error:
            refused += error.code == "image_unreadable"
        else:
            assert place // 8 >= len(data) - 12, place  # IEND holds no pixels
            assert loaded.image == smooth.convert("RGB") and loaded.notes == ()
    assert refused > 400


def test_the_message_names_the_chunk_whose_checksum_is_wrong():
    data = bytearray(encoded(Image.new("L", (40, 40), 7), "PNG"))
    data[data.index(b"IDAT") + 8] ^= 1
    with pytest.raises(ItemError, match="the checksum of its chunk IDAT is wrong") as caught:
        decode_image(bytes(data), "x.png")
    assert caught.value.code == "image_unreadable"


@pytest.mark.parametrize("pieces", [1, 3, 500])
def test_pixels_may_come_in_any_number_of_chunks(pieces):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    raw = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    step = -(-len(raw) // pieces)
    parts = [chunk(b"IDAT", raw[i : i + step]) for i in range(0, len(raw), step)]
    loaded = decode_image(png(50, 40, 8, 0, *parts), "x.png")
    assert np.array_equal(np.asarray(loaded.image)[..., 0], rows)


def test_what_a_decoder_does_not_need_does_not_reach_it():
    """A JPEG's own markers decide its colours; those of its metadata are left out."""
    image = Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 50).convert("RGB")
    plain = encoded(image, "JPEG", quality=90)
    extra = b"".join(segment(code, b"CANARY") for code in (0xE1, 0xE3, 0xED, 0xFE))
    assert decode_image(plain[:2] + extra + plain[2:], "a").image == decode_image(plain, "b").image
    cmyk = encoded(image.convert("CMYK"), "JPEG", quality=90)
    assert decode_image(cmyk, "c").notes == ("cmyk_to_rgb",)


def test_filling_and_junk_between_markers_is_passed_over():
    data = encoded(Image.new("RGB", (64, 48), (9, 8, 7)), "JPEG")
    place = data.index(b"\xff\xdb")
    for junk in (b"\xff\xff\xff", b"\0\0", b"\xff\0", b"\xff\xd0", b"\xff\x01"):
        loaded = decode_image(data[:place] + junk + data[place:], "x.jpg")
        assert loaded.image == decode_image(data, "x.jpg").image


def test_a_tag_of_another_type_is_damage():
    """Pillow's decoder seeks to the place of a strip, whatever kind of number it is."""
    data = bytearray(encoded(Image.new("L", (8, 8)), "TIFF"))
    place = data.index(struct.pack("<HH", 273, 4)) + 2
    data[place] = 5  # a fraction
    with pytest.raises(ItemError) as caught:
        decode_image(bytes(data), "x.tif")
    assert caught.value.code == "image_unreadable"


def test_scans_behind_false_ends_are_counted(tmp_path):
    """An end that stands in a segment's content is none."""
    data = encoded(Image.new("L", (5000, 5000)), "JPEG", progressive=True)
    first, last = data.index(b"\xff\xda"), data.rfind(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    comment = segment(0xFE, b"\xff\xd9")
    again = data[last:-2] * 60
    with pytest.raises(ItemError, match="a JPEG of 66 scans"):
        decode_image(data[:second] + comment + data[second:-2] + again + data[-2:], "x.jpg")


def test_a_jpeg_is_decoded_smaller_where_a_smaller_one_is_wanted(tmp_path):
    rows, columns = np.mgrid[0:3000, 0:4000]
    wave = (127 + 120 * np.sin(rows / 200) * np.cos(columns / 300)).astype(np.uint8)
    path = tmp_path / "x.jpg"
    Image.fromarray(wave).save(path, quality=95)
    assert load_image(path).image.size == image_size(path) == (4000, 3000)
    smaller = load_image(path, side=400).image
    assert smaller.size == (1000, 750)
    whole = load_image(path).image.resize((400, 300), Image.Resampling.BICUBIC)
    smaller = smaller.resize((400, 300), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(whole).astype(int) - np.asarray(smaller)).max() <= 2
    assert load_image(path, side=2001).image.size == (4000, 3000)


def test_more_pixels_may_be_stored_than_are_decoded(tmp_path):
    """A photograph of 48 megapixels can be prepared, though not used as it is."""
    path = tmp_path / "x.jpg"
    Image.new("RGB", (8000, 6000), (9, 8, 7)).save(path)
    with pytest.raises(ItemError, match="take 384 MB to decode"):
        load_image(path)
    assert load_image(path, side=384).image.size == (1000, 750)
