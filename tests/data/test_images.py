"""The image loader against a zoo of files, made here: none lies in git."""

import io
import os
import socket
import struct
import subprocess
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from measured import at_most
from PIL import Image, PngImagePlugin

from medr1.data.images import MAX_BYTES, LoadedImage, load_image
from medr1.data.roots import ImageRoot, resolve_image
from medr1.errors import ItemError

STARTS = 60
"""No file may take longer to load or to refuse."""


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG by hand: any header, rows with their filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png16(channels: np.ndarray, kind: int) -> bytes:
    """A 16-bit PNG of (H, W, channels)."""
    height, width = channels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in channels)
    return png(width, height, 16, kind, rows)


def colours(width: int = 24, height: int = 16) -> Image.Image:
    """An image without symmetry, so that every turn shows."""
    grid = np.mgrid[0:height, 0:width]
    pixels = np.stack([grid[0] * 8, grid[1] * 8, (grid[0] + grid[1]) * 4], -1)
    return Image.fromarray(pixels.astype(np.uint8))


def ramp(dtype: type, least: float = 0, greatest: float = 4095) -> np.ndarray:
    """(32, 128): grey levels from least to greatest."""
    levels = np.linspace(least, greatest, 128)
    return np.tile(levels if dtype is np.float32 else np.rint(levels), (32, 1)).astype(dtype)


RAMP8 = ramp(np.uint8, 0, 255)


@pytest.fixture
def load(tmp_path: Path):
    """Write bytes to a file and load it, within the time."""

    def write_and_load(data: bytes, name: str = "x.png") -> LoadedImage:
        (tmp_path / name).write_bytes(data)
        with at_most(STARTS):
            return load_image(tmp_path / name)

    return write_and_load


@pytest.fixture
def refused(load):
    """The code and the message that a file is refused with."""

    def code_of(data: bytes) -> str:
        with pytest.raises(ItemError) as caught:
            load(data)
        assert "'x.png'" in str(caught.value)
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)
        return caught.value.code

    return code_of


def pixels(loaded: LoadedImage) -> np.ndarray:
    assert loaded.image.mode == "RGB"
    assert type(loaded.image) is Image.Image
    assert loaded.image.info == {}
    return np.asarray(loaded.image)


def off_by(loaded: LoadedImage, grey: np.ndarray) -> int:
    """The largest difference, in levels, from a grey image (H, W)."""
    return int(np.abs(pixels(loaded).astype(int) - grey.astype(int)[..., None]).max())


# --- what is exact ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_are_exact(load, kind, options):
    loaded = load(encoded(colours(), kind, **options))
    assert np.array_equal(pixels(loaded), np.asarray(colours()))
    assert loaded.notes == ()


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg(load, options):
    loaded = load(encoded(colours(), "JPEG", quality=95, **options))
    assert np.abs(pixels(loaded).astype(int) - np.asarray(colours()).astype(int)).max() < 24
    assert loaded.notes == ()


def test_grey_one_bit_and_palette(load):
    assert off_by(load(encoded(Image.fromarray(RAMP8), "PNG")), RAMP8) == 0
    half = Image.fromarray(RAMP8 > 99)
    assert off_by(load(encoded(half, "PNG")), (RAMP8 > 99) * 255) == 0
    assert off_by(load(encoded(half, "TIFF", compression="group4")), (RAMP8 > 99) * 255) == 0
    palette = colours().quantize(16)
    loaded = load(encoded(palette, "PNG"))
    assert np.array_equal(pixels(loaded), np.asarray(palette.convert("RGB")))
    assert loaded.notes == ()


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1)])
def test_smallest_sizes(load, size):
    assert load(encoded(Image.new("RGB", size, (9, 8, 7)), "PNG")).image.size == size


# --- turned, transparent, other colours -------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_orientation_is_applied_once(load, kind, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}
    extra = {"tiffinfo": {0x112: orientation}} if kind == "TIFF" else {"exif": exif}
    upright = np.asarray(colours()).astype(int)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: upright[::-1].swapaxes(0, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: upright[:, ::-1].swapaxes(0, 1),
    }[orientation]
    loaded = load(encoded(colours(), kind, **options.get(kind, {}), **extra))
    assert pixels(loaded).shape == turned.shape
    assert np.abs(pixels(loaded) - turned).max() < (24 if kind == "JPEG" else 1)
    assert loaded.notes == (() if orientation == 1 else (f"exif_orientation_{orientation}",))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_out_of_range_is_ignored(load, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    assert load(encoded(colours(), "PNG", exif=exif)).notes == ()


def see_through(mode: str, kind: str, **options: object) -> bytes:
    """Left half black, right half transparent."""
    image = Image.new("RGBA", (8, 4), (0, 0, 0, 255))
    image.paste((200, 0, 0, 0), (4, 0, 8, 4))
    return encoded(image.convert(mode), kind, **options)


def keyed(mode: str, colour: object, key: object) -> bytes:
    """Left half black; right half a colour that a tRNS chunk declares transparent."""
    image = Image.new(mode, (8, 4), 0)
    if mode == "P":
        image.putpalette([level for level in range(256) for _ in range(3)])
    image.paste(colour, (4, 0, 8, 4))
    return encoded(image, "PNG", transparency=key)


@pytest.mark.parametrize(
    "data",
    [
        see_through("RGBA", "PNG"),
        see_through("LA", "PNG"),
        see_through("RGBA", "TIFF"),
        see_through("LA", "TIFF"),
        see_through("RGBA", "WEBP", lossless=True),
        keyed("L", 7, 7),
        keyed("RGB", (1, 2, 3), (1, 2, 3)),
        keyed("P", 5, 5),
        keyed("P", 1, b"\xff\x00"),
        keyed("1", 1, 1),
    ],
    ids=[
        "rgba",
        "la",
        "tiff_rgba",
        "tiff_la",
        "webp",
        "key_l",
        "key_rgb",
        "key_p",
        "key_bytes",
        "key_1",
    ],
)
def test_transparency_is_laid_on_white(load, data):
    loaded = load(data)
    assert pixels(loaded)[:, :4].max() == 0
    assert pixels(loaded)[:, 4:].min() == 255
    assert loaded.notes == ("alpha_on_white",)


def test_half_transparency_is_mixed(load):
    loaded = load(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"))
    assert abs(int(pixels(loaded)[0, 0, 0]) - 127) <= 1


def test_alpha_that_shows_all_or_nothing(load):
    opaque = load(encoded(colours().convert("RGBA"), "PNG"))
    assert opaque.notes == ()
    assert np.array_equal(pixels(opaque), np.asarray(colours()))
    unused = colours().convert("RGBA")
    unused.putalpha(0)
    empty = load(encoded(unused, "PNG"))
    assert empty.notes == ("empty_alpha_ignored",)
    assert np.array_equal(pixels(empty), np.asarray(colours()))


@pytest.mark.parametrize(
    ("mode", "kind", "note"),
    [
        ("CMYK", "JPEG", "cmyk_to_rgb"),
        ("CMYK", "TIFF", "cmyk_to_rgb"),
        ("YCbCr", "TIFF", "ycbcr_to_rgb"),
    ],
)
def test_other_colour_spaces(load, mode, kind, note):
    loaded = load(
        encoded(colours().convert(mode), kind, **{"quality": 95} if kind == "JPEG" else {})
    )
    assert loaded.notes == (note,)
    assert np.abs(pixels(loaded).astype(int) - np.asarray(colours()).astype(int)).max() < 24


def test_lab(load):
    loaded = load(encoded(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF"))
    assert loaded.notes == ("lab_to_rgb",)
    assert pixels(loaded).min() >= 250


# --- deep pixels ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "note"),
    [
        (ramp(np.uint16), "PNG", "windowed 0..4095 (16-bit)"),
        (ramp(np.uint16), "TIFF", "windowed 0..4095 (16-bit)"),
        (ramp(np.uint16, 0, 65535), "PNG", "windowed 0..65535 (16-bit)"),
        (ramp(np.uint16, 1000, 5095), "PNG", "windowed 1000..5095 (16-bit)"),
        (ramp(np.int32, -1024, 3071), "TIFF", "windowed -1024..3071 (integer)"),
        (ramp(np.float32, 0, 1), "TIFF", "windowed 0..1 (float)"),
        (ramp(np.float32, -3e38, 3e38), "TIFF", "windowed -3.00000001e+38..3.00000001e+38 (float)"),
    ],
    ids=[
        "12_in_16_png",
        "12_in_16_tiff",
        "full_16",
        "offset_16",
        "hounsfield",
        "unit_float",
        "huge_float",
    ],
)
def test_deep_grey_equals_its_8_bit_reference(load, values, kind, note):
    loaded = load(encoded(Image.fromarray(values), kind))
    assert off_by(loaded, RAMP8) <= 1
    assert loaded.notes == (note,)


def test_big_endian_and_compressed_16_bit(load):
    values = ramp(np.uint16)
    assert (
        off_by(load(encoded(Image.fromarray(values), "TIFF", compression="tiff_lzw")), RAMP8) <= 1
    )
    assert off_by(load(tiff(values.astype(">u2"), 16)), RAMP8) <= 1


def tiff(values: np.ndarray, bits: int, photometric: int = 1, sample_format: int = 1) -> bytes:
    """An uncompressed TIFF by hand, in the byte order of the values (H, W)."""
    order, mark = (">", b"MM\0*") if values.dtype.str[0] == ">" else ("<", b"II*\0")
    height, width = values.shape
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: height,
        279: values.nbytes,
        339: sample_format,
    }
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, v) for tag, v in tags.items())
    start = 8 + values.nbytes
    directory = struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4
    return mark + struct.pack(f"{order}I", start) + values.tobytes() + directory


def test_white_is_zero(load):
    loaded = load(tiff(ramp(np.uint16), 16, photometric=0))
    assert off_by(loaded, 255 - RAMP8) <= 1
    assert loaded.notes == ("windowed 0..4095 (16-bit)", "white_is_zero_inverted")
    floats = load(tiff(ramp(np.float32), 32, photometric=0, sample_format=3))
    assert off_by(floats, 255 - RAMP8) <= 1


def test_signs_are_read_right(load):
    large = load(tiff(ramp(np.uint32, 0, 4_000_000_000), 32))
    assert off_by(large, RAMP8) <= 1
    small = load(tiff(ramp(np.int8, -128, 127), 8, sample_format=2))
    assert off_by(small, RAMP8) <= 1
    assert small.notes == ("windowed -128..127 (8-bit signed)",)
    signed = load(tiff(ramp(np.int16, -1024, 3071), 16, sample_format=2))
    assert off_by(signed, RAMP8) <= 1


def test_not_finite(load, refused):
    values = ramp(np.float32)
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
    loaded = load(encoded(Image.fromarray(values), "TIFF"))
    assert pixels(loaded)[0, :3, 0].tolist() == [0, 255, 0]
    assert np.abs(pixels(loaded)[1:, :, 0].astype(int) - RAMP8[1:]).max() <= 1
    assert loaded.notes == ("windowed 0..4095 (float)", "nonfinite_pixels 3")
    nothing = np.full((4, 4), np.nan, np.float32)
    assert refused(encoded(Image.fromarray(nothing), "TIFF")) == "image_unreadable"


def test_constant_is_black(load):
    loaded = load(encoded(Image.fromarray(np.full((4, 4), 700, np.uint16)), "PNG"))
    assert pixels(loaded).max() == 0
    assert loaded.notes == ("constant 700 (16-bit) shown black",)


def test_transparent_level_of_16_bit(load):
    values = ramp(np.uint16)[..., None]
    data = png16(values, 0).replace(
        chunk(b"IHDR", struct.pack(">IIBBBBB", 128, 32, 16, 0, 0, 0, 0)),
        chunk(b"IHDR", struct.pack(">IIBBBBB", 128, 32, 16, 0, 0, 0, 0)) + chunk(b"tRNS", b"\0\0"),
    )
    loaded = load(data)
    assert pixels(loaded)[:, 0].min() == 255
    assert loaded.notes == ("windowed 0..4095 (16-bit)", "alpha_on_white")


@pytest.mark.parametrize(("channels", "kind"), [(3, 2), (4, 6), (2, 4)])
def test_16_bit_colour_keeps_the_high_byte(load, channels, kind):
    values = np.stack([ramp(np.uint16, 0, 65535)] * channels, -1)
    if channels in (2, 4):
        values[..., -1] = 65535
    loaded = load(png16(values, kind))
    assert off_by(loaded, RAMP8) <= 1
    assert loaded.notes == ("color16_high_byte",)


def test_12_bit_colour_in_16_is_refused_rather_than_black(refused):
    assert refused(png16(np.stack([ramp(np.uint16)] * 3, -1), 2)) == "image_unreadable"


# --- refused ----------------------------------------------------------------------------------

GOOD = encoded(colours(), "PNG")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"hello",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\0" * 128 + b"DICM" + b"\0" * 99,
        b"BM" + b"\xff" * 60,
        b"II*\0" + b"\xff" * 60,
        b"RIFF\x10\0\0\0WEBPVP8 " + b"\0" * 60,
        b"\xff\xd8\xff" + b"\0" * 60,
        GOOD[:8],
        GOOD[:40],
        GOOD[: len(GOOD) // 2],
        encoded(colours(), "JPEG")[:-200],
        encoded(colours(), "BMP")[:-200],
        encoded(colours(), "TIFF")[:-200],
        encoded(colours(), "WEBP")[:-200],
        encoded(colours(), "GIF"),
        GOOD[:60] + b"\xff\xff" + GOOD[62:],
        png(0, 5, 8, 0, b""),
        png(5, 0, 8, 0, b""),
    ],
    ids=[
        "empty",
        "byte",
        "text",
        "svg",
        "eps",
        "dicom",
        "bmp",
        "tiff",
        "webp",
        "jpeg",
        "png_head",
        "png_cut",
        "png_half",
        "jpeg_cut",
        "bmp_cut",
        "tiff_cut",
        "webp_cut",
        "gif",
        "png_flipped",
        "no_width",
        "no_height",
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_unreadable(refused, data):
    assert refused(data) == "image_unreadable"


def test_dicom_gets_a_hint(tmp_path):
    (tmp_path / "scan.png").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(ItemError, match="DICOM"):
        load_image(tmp_path / "scan.png")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_more_than_one_picture(refused, kind):
    data = encoded(colours(), kind, save_all=True, append_images=[colours().rotate(180)])
    assert refused(data) == "image_animated"


def test_a_phone_jpeg_is_its_first_picture(load):
    data = encoded(colours(), "MPO", save_all=True, append_images=[Image.new("RGB", (24, 16))])
    loaded = load(data, "x.jpg")
    assert loaded.notes == ("first_of_2_pictures",)
    assert pixels(loaded).max() > 100


@pytest.mark.parametrize(
    ("width", "height"), [(20_000, 20_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)]
)
def test_too_many_pixels_is_known_from_the_header(tmp_path, width, height):
    (tmp_path / "x.png").write_bytes(png(width, height, 8, 2, b"\0" * 100_000))
    with at_most(5), pytest.raises(ItemError) as caught:
        load_image(tmp_path / "x.png")
    assert caught.value.code == "image_too_large"


def test_a_large_webp_header_is_refused(refused):
    data = bytearray(encoded(colours(), "WEBP", lossless=True, exif=b"Exif\0\0" + b"\0" * 20))
    assert data[12:16] == b"VP8X"
    data[24:30] = struct.pack("<I", 16382)[:3] * 2
    assert refused(bytes(data)) in ("image_too_large", "image_unreadable")


def test_no_warning_below_the_limit_or_above(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for side in (9_440, 9_700):  # 89.1 and 94.1 million pixels: Pillow warns from 89.5
            (tmp_path / "x.png").write_bytes(png(side, side, 8, 2, b""))
            with pytest.raises(ItemError, match="pixels"):
                load_image(tmp_path / "x.png")


def test_a_file_may_not_be_larger_than_any_picture(tmp_path):
    (tmp_path / "x.png").write_bytes(GOOD)
    os.truncate(tmp_path / "x.png", MAX_BYTES)
    assert load_image(tmp_path / "x.png").image.size == (24, 16)
    os.truncate(tmp_path / "x.png", MAX_BYTES + 1)
    assert code_of(tmp_path / "x.png") == "image_too_large"


@pytest.mark.parametrize("size", [(1, 201), (1, 300), (2010, 10), (5, 1001)])
def test_too_long_for_the_grid(refused, size):
    assert refused(encoded(Image.new("L", size), "PNG")) == "image_bad_shape"


def test_text_that_inflates_is_passed_over(load):
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 60_000_000))
    assert load(png(1, 1, 8, 0, b"\0\7", bomb)).image.getpixel((0, 0)) == (7, 7, 7)


def test_metadata_stays_behind(load):
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", "CANARY")
    exif = Image.Exif()
    exif[0x10E] = "CANARY"
    loaded = load(encoded(colours(), "PNG", pnginfo=text, exif=exif, dpi=(72, 72)))
    assert loaded.image.info == {}
    assert dict(loaded.image.getexif()) == {}
    assert not hasattr(loaded.image, "text")
    assert b"CANARY" not in encoded(loaded.image, "PNG")


# --- files that are none ----------------------------------------------------------------------


def code_of(path: Path) -> str:
    with at_most(STARTS), pytest.raises(ItemError) as caught:
        load_image(path)
    return caught.value.code


def test_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    assert code_of(tmp_path / "fifo.png") == "image_not_file"
    assert code_of(tmp_path) == "image_not_file"
    for device in ("/dev/zero", "/dev/null", "/dev/tty"):
        if os.path.exists(device):
            assert code_of(Path(device)) in ("image_not_file", "image_unreadable")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert code_of(tmp_path / "s") == "image_not_file"


def test_missing(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(GOOD)
    names = ("none.png", "none/x.png", "loop", "file/x.png", "n" * 5000, "n\0l", "\ud800")
    assert {code_of(tmp_path / name) for name in names} == {"image_missing"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path):
    (tmp_path / "x.png").write_bytes(GOOD)
    (tmp_path / "x.png").chmod(0)
    assert code_of(tmp_path / "x.png") == "image_unreadable"


def test_messages_do_not_name_the_folder(tmp_path):
    (tmp_path / "x.png").write_bytes(b"text")
    for name in ("x.png", "none.png", "n" * 5000):
        with pytest.raises(ItemError) as caught:
            load_image(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_files_are_closed(tmp_path):
    (tmp_path / "x.png").write_bytes(GOOD)
    (tmp_path / "bad.png").write_bytes(GOOD[:60])
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        load_image(tmp_path / "x.png")
        code_of(tmp_path / "bad.png")
        code_of(tmp_path)
    assert len(os.listdir("/dev/fd")) <= before


def test_starts_no_process(tmp_path, monkeypatch):
    def fail(*args: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", fail)
    monkeypatch.setattr(os, "system", fail)
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert code_of(tmp_path / "x.png") == "image_unreadable"


def test_threads(tmp_path):
    (tmp_path / "deep.tif").write_bytes(encoded(Image.fromarray(ramp(np.uint16)), "TIFF"))
    (tmp_path / "bad.png").write_bytes(GOOD[:60])

    def once(number: int) -> bool:
        if number % 2:
            return code_of(tmp_path / "bad.png") == "image_unreadable"
        return off_by(load_image(tmp_path / "deep.tif"), RAMP8) <= 1

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(once, range(80)))


# --- names ------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside.png").write_bytes(GOOD)
    folder = tmp_path / "data"
    (folder / "Images").mkdir(parents=True)
    (folder / "Images" / "a (1) #?%&.png").write_bytes(GOOD)
    (folder / "out").symlink_to(tmp_path)
    (folder / "out.png").symlink_to(tmp_path / "outside.png")
    (folder / "in.png").symlink_to(folder / "Images" / "a (1) #?%&.png")
    (folder / "loop").symlink_to("loop")
    return folder


@pytest.mark.parametrize(
    "name",
    ["Images/a (1) #?%&.png", "./Images/a (1) #?%&.png", "Images/../in.png", "in.png"],
)
def test_names_inside(root, name):
    assert load_image(resolve_image(name, ImageRoot(root))).image.size == (24, 16)


def test_absolute_names_stand_as_they_are(root):
    outside = root.parent / "outside.png"
    assert resolve_image(str(outside), ImageRoot(root)).path == outside


def test_root_may_be_relative_or_a_link(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    (root.parent / "link").symlink_to(root)
    for start in (Path("data"), Path("link")):
        assert load_image(resolve_image("in.png", ImageRoot(start))).image.size == (24, 16)
    assert resolve_image("data/in.png", ImageRoot(Path("."))).path.is_file()
    assert resolve_image("x.png", ImageRoot(Path("/"))).path == Path("/x.png")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../outside.png", "image_outside_root"),
        ("Images/../../outside.png", "image_outside_root"),
        ("out/outside.png", "image_outside_root"),
        ("out.png", "image_outside_root"),
        ("../data2/x.png", "image_outside_root"),
        ("http://example.org/x.png", "image_remote"),
        ("HTTPS://example.org/x.png", "image_remote"),
        (" https://example.org/x.png", "image_remote"),
        ("ftp://example.org/x.png", "image_remote"),
        ("s3://bucket/x.png", "image_remote"),
        ("file:///etc/passwd", "image_remote"),
        ("FILE:/etc/passwd", "image_remote"),
        ("//example.org/x.png", "image_remote"),
        ("\\\\server\\share\\x.png", "image_remote"),
        ("data:image/png;base64,iVBORw0KGgo=", "image_remote"),
        ("", "image_missing"),
        (" ", "image_missing"),
        ("a\0b.png", "image_missing"),
        ("\ud800.png", "image_missing"),
    ],
)
def test_names_refused(root, name, code):
    with pytest.raises(ItemError) as caught:
        resolve_image(name, ImageRoot(root))
    assert caught.value.code == code
    assert str(root) not in str(caught.value)


@pytest.mark.parametrize("name", ["n" * 5000, "iVBORw0KGgo" * 400, "loop", "none.png", "a:b.png"])
def test_names_of_nothing(root, name):
    with pytest.raises(ItemError) as caught:
        load_image(resolve_image(name, ImageRoot(root)))
    assert caught.value.code == "image_missing"
