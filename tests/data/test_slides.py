"""Whole-slide images: thumbnails, tiles, tissue, what is never read, damaged files."""

import io
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from medr1.data.scans.slides import is_slide, open_slide, slide_image, tissue, tissue_tiles
from medr1.data.scans.view import View
from medr1.errors import ItemError

APERIO = (
    "Aperio Image Library v11.2.1 \r\n4096x3072 [0,0 4096x3072] (256x256) JPEG/RGB Q=70"
    "|AppMag = 20|User = Jane Doe|Filename = Jane Doe|MPP = 0.5000"
)
EMBEDDED = Path(__file__).parents[2] / "data" / "tiny_vqa_ds" / "images"
STAINED = EMBEDDED / "train_1517.jpg"
"""A real section of a colon, stained with DAB and haematoxylin."""
PINK = (200, 80, 160)


def glass(height=3072, width=4096, tissue_at=((1024, 512, 2048, 1024),)):
    """A glass with rectangles of tissue, each (left, top, width, height), and a little noise."""
    pixels = np.random.default_rng(0).integers(240, 248, (height, width, 3)).astype(np.uint8)
    for left, top, columns, rows in tissue_at:
        pixels[top : top + rows, left : left + columns] = PINK
    return pixels


def saved(
    path, pixels, description=APERIO, *, levels=3, step=4, compression="zlib", further=(), **options
):
    """A slide as a pyramid of tiles: level k has each step**k-th pixel.

    `further` has (description, kind in TIFF, pixels) of pictures after the levels.
    """
    with tifffile.TiffWriter(path, **options) as file:
        for number in range(levels):
            file.write(
                pixels[:: step**number, :: step**number],
                tile=(256, 256),
                photometric="rgb",
                compression=compression,
                description=description,
                metadata=None,
                subfiletype=int(number > 0),
            )
        for text, kind, picture in further:
            settings = {"photometric": "rgb", "metadata": None, "rowsperstrip": 16}
            file.write(picture, description=text, subfiletype=kind, **settings)
    return path


def edited(path, source, *fields):
    """A copy of a classic TIFF; `fields`: (tag of its first directory, value as 32 bits)."""
    content = bytearray(source.read_bytes())
    (directory,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, directory)
    for tag, value in fields:
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            if struct.unpack_from("<H", content, entry)[0] == tag:
                struct.pack_into("<HHII", content, entry, tag, 4, 1, value)
    path.write_bytes(content)
    return path


WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, SAMPLES = 256, 257, 259, 262, 277
TILE_WIDTH, TILE_HEIGHT = 322, 323


def saved_as_jpeg(path, pixels, edge=256):
    """A slide whose tiles are JPEG, as scanners write them; the sides are multiples of `edge`."""

    def tiles():
        for top in range(0, pixels.shape[0], edge):
            for left in range(0, pixels.shape[1], edge):
                file = io.BytesIO()
                tile = Image.fromarray(pixels[top : top + edge, left : left + edge])
                tile.save(file, "JPEG", quality=95, subsampling="4:2:0")
                yield file.getvalue()

    # tifffile writes tiles that are encoded already, but JPEG only with a further package
    tifffile.imwrite(
        path.with_suffix(".deflate"),
        tiles(),
        shape=pixels.shape,
        dtype=np.uint8,
        tile=(edge, edge),
        photometric="rgb",
        compression="zlib",
        description=APERIO,
        metadata=None,
    )
    return edited(path, path.with_suffix(".deflate"), (COMPRESSION, 7), (PHOTOMETRIC, 6))


@pytest.fixture(scope="module")
def pixels():
    """Each pixel of a glass tells its place."""
    rows, columns = np.mgrid[:3072, :4096]
    return np.stack([columns // 16, rows // 16, (rows + columns) % 256], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def svs(pixels, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("slides") / "a.svs", pixels)


def opened(path):
    return open_slide(path, "'slide'")


# --- thumbnail --------------------------------------------------------------------------------


def test_the_empty_view_is_a_thumbnail_with_its_scale(svs, pixels):
    slide = opened(svs)
    image, notes = slide_image(slide, View())
    assert image.mode == "RGB" and image.size == (1024, 768)
    assert notes == ("thumbnail of a slide, 5x (2 um per pixel)",)
    assert np.array_equal(np.asarray(image), pixels[::4, ::4])
    smaller, notes = slide_image(slide, View(), 512)
    assert smaller.size == (512, 384)
    assert notes == ("thumbnail of a slide, 2.5x (4 um per pixel)",)
    mean = pixels[::4, ::4].reshape(384, 2, 512, 2, 3).mean(axis=(1, 3))
    assert np.abs(np.asarray(smaller)[..., :2] - mean[..., :2]).max() <= 1


@pytest.mark.parametrize("ending", [".tif", ".svs"])
def test_a_slide_without_magnification_has_a_thumbnail_but_no_tiles(ending, pixels, tmp_path):
    slide = opened(saved(tmp_path / f"a{ending}", pixels[:600, :1500], "", levels=2))
    image, notes = slide_image(slide, View())
    assert image.size == (1024, 410) and notes == ("thumbnail of a slide",)
    for ask in (
        lambda: slide_image(slide, View(magnification=10)),
        lambda: tissue_tiles(slide, 10, 3),
    ):
        with pytest.raises(ItemError, match="states no magnification") as error:
            ask()
        assert error.value.code == "image_unreadable"


def test_a_small_slide_is_not_enlarged(pixels, tmp_path):
    slide = opened(saved(tmp_path / "a.svs", pixels[:300, :400], levels=1))
    assert slide_image(slide, View())[0].size == (400, 300)


def test_the_magnification_is_computed_from_micrometres(pixels, tmp_path):
    description = APERIO.replace("AppMag = 20|", "").replace("0.5000", "0.2525")
    slide = opened(saved(tmp_path / "a.svs", pixels[:600, :600], description, levels=1))
    assert slide.magnification == pytest.approx(39.6, abs=0.01)
    image, notes = slide_image(slide, View(magnification=40, tile=(10, 20)))
    assert np.array_equal(np.asarray(image), pixels[20:532, 10:522])
    assert notes == ("tile at 39.6x (0.253 um per pixel), left 10, top 20 of 600 x 600",)


@pytest.mark.parametrize("value", ["nan", "inf", "-20", "0", "1e99", "x"])
def test_a_magnification_that_cannot_be_is_not_used(value, pixels, tmp_path):
    description = APERIO.replace("= 20", f"= {value}").replace("0.5000", value)
    slide = opened(saved(tmp_path / "a.svs", pixels[:300, :300], description, levels=1))
    assert slide.magnification == 0 == slide.micrometres


# --- tiles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_tile_has_the_pixels_at_its_place(compression, bigtiff, pixels, tmp_path):
    slide = opened(
        saved(tmp_path / "a.svs", pixels, levels=2, compression=compression, bigtiff=bigtiff)
    )
    image, notes = slide_image(slide, View(magnification=20, tile=(1001, 777)))
    assert np.array_equal(np.asarray(image), pixels[777 : 777 + 512, 1001 : 1001 + 512])
    assert notes == ("tile at 20x (0.5 um per pixel), left 1001, top 777 of 4096 x 3072",)


def test_a_tile_of_jpegs_has_the_pixels_at_its_place(pixels, tmp_path):
    smooth = pixels[:1536, :2048].copy()
    smooth[..., 2] = 100
    slide = opened(saved_as_jpeg(tmp_path / "a.svs", smooth))
    image, _ = slide_image(slide, View(magnification=20, tile=(1001, 777)))
    difference = np.asarray(image, int) - smooth[777 : 777 + 512, 1001 : 1001 + 512]
    assert np.abs(difference).max() <= 8 and np.abs(difference).mean() < 1


def test_a_tile_at_the_magnification_of_a_level_is_read_from_it(svs, pixels):
    image, notes = slide_image(opened(svs), View(magnification=5, tile=(1024, 512)))
    assert np.array_equal(np.asarray(image), pixels[512 : 512 + 2048 : 4, 1024 : 1024 + 2048 : 4])
    assert notes[0].startswith("tile at 5x (2 um per pixel), left 1024")


def test_a_tile_between_two_levels_is_reduced_from_the_larger_one(svs, pixels):
    image, notes = slide_image(opened(svs), View(magnification=10, tile=(1024, 512)))
    part = pixels[512 : 512 + 1024, 1024 : 1024 + 1024].reshape(512, 2, 512, 2, 3)
    assert np.abs(np.asarray(image)[..., :2] - part.mean(axis=(1, 3))[..., :2]).max() <= 1
    assert notes[0].startswith("tile at 10x (1 um per pixel)")
    image, _ = slide_image(opened(svs), View(magnification=8, tile=(1024, 512)))
    assert image.size == (512, 512)
    middle = np.asarray(image)[256, 256]
    place = pixels[512 + 640, 1024 + 640]
    assert np.abs(middle[:2].astype(int) - place[:2]).max() <= 1


def test_a_tile_over_the_edge_is_white_beyond_it(svs, pixels):
    image, _ = slide_image(opened(svs), View(magnification=20, tile=(4096 - 100, 3072 - 50)))
    assert np.array_equal(np.asarray(image)[:50, :100], pixels[-50:, -100:])
    assert (np.asarray(image)[50:] == 255).all() and (np.asarray(image)[:, 100:] == 255).all()


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (View(magnification=20, tile=(4096, 0)), "tile 4096,0 is outside the slide of 4096 x 3072"),
        (View(magnification=20, tile=(0, 999999999)), "is outside the slide"),
        (View(magnification=23), "23x is more than the 20x of the slide"),
        (View(slices=(1,)), "a slide has no slices"),
        (View(window="brain"), "a slide has no slices, planes or windows"),
        (View(plane="axial"), "a slide has no slices, planes or windows"),
    ],
    ids=str,
)
def test_a_view_that_a_slide_does_not_have_is_an_item_error(view, words, svs):
    with pytest.raises(ItemError) as error:
        slide_image(opened(svs), view)
    message = str(error.value)
    assert words in message and message.startswith("image 'slide': ") and message[-1] == "."


# --- tissue -----------------------------------------------------------------------------------


def saved_glass(folder, pixels):
    """A slide of which a thumbnail needs no more than its second level."""
    return saved(folder / "a.svs", pixels, levels=2, compression=None)


def test_tissue_is_where_the_colour_is():
    pixels = glass(768, 1024, [(256, 128, 512, 256)])
    expected = np.zeros((768, 1024), bool)
    expected[128:384, 256:768] = True
    assert np.array_equal(tissue(pixels), expected)
    assert not tissue(glass(768, 1024, [])).any()
    assert not tissue(np.full((4, 4, 3), 200, np.uint8)).any()


def test_tiles_with_tissue_are_those_on_it(tmp_path):
    slide = opened(saved_glass(tmp_path, glass()))
    complete = {(x, y) for x in range(1024, 3072, 512) for y in range(512, 1536, 512)}
    tiles = tissue_tiles(slide, 20, 8)
    assert set(tiles) == complete and len(tiles) == 8
    assert tissue_tiles(slide, 20, 100) == tissue_tiles(slide, 20, 9) == tiles  # no more tissue
    for place in tiles:
        image, _ = slide_image(slide, View(magnification=20, tile=place))
        assert image.getextrema() == tuple((level, level) for level in PINK)


def test_tiles_with_tissue_are_spread_over_the_slide(tmp_path):
    corners = [(0, 0), (3584, 0), (0, 2560), (3584, 2560)]
    places = [(left, top, 512, 512) for left, top in corners]
    middle = (1536, 1024, 1024, 1024)
    slide = opened(saved_glass(tmp_path, glass(tissue_at=[*places, middle])))
    tiles = tissue_tiles(slide, 20, 4)
    assert set(tiles) == set(corners)
    assert set(tissue_tiles(slide, 20, 8)) == {*corners} | {
        (x, y) for x in (1536, 2048) for y in (1024, 1536)
    }
    assert tissue_tiles(slide, 20, 4) == tiles


def test_a_tile_with_less_tissue_comes_after_the_others(tmp_path):
    places = [(512, 512, 512, 512), (2048, 2048, 512, 200), (3072, 512, 60, 60)]
    slide = opened(saved_glass(tmp_path, glass(tissue_at=places)))
    assert tissue_tiles(slide, 20, 5) == [(512, 512), (2048, 2048)]


def test_a_glass_without_tissue_has_no_tiles(tmp_path):
    assert tissue_tiles(opened(saved_glass(tmp_path, glass(tissue_at=[]))), 20, 5) == []


def test_tiles_are_on_a_real_section(tmp_path):
    with Image.open(STAINED) as image:
        section = np.asarray(image.convert("RGB").resize((1024, 1024)))
    pixels = glass(tissue_at=[])
    pixels[1024:2048, 2048:3072] = section
    slide = opened(saved_glass(tmp_path, pixels))
    assert set(tissue_tiles(slide, 20, 4)) == {(x, y) for x in (2048, 2560) for y in (1024, 1536)}
    assert tissue_tiles(slide, 10, 1) == [(2048, 1024)]


# --- privacy ----------------------------------------------------------------------------------


def test_label_and_texts_of_a_slide_are_in_no_image_note_or_error(tmp_path):
    red = np.zeros((200, 300, 3), np.uint8)
    red[..., 0] = 255
    further = [
        ("Aperio Image Library v11.2.1 \r\nthumbnail 300x200", 0, red),
        ("Aperio Image Library v11.2.1 \r\nlabel 300x200", 1, red),
        ("Aperio Image Library v11.2.1 \r\nmacro 300x200", 9, red),
    ]
    path = saved(tmp_path / "Jane Doe.svs", glass(1024, 1536), further=further)
    import openslide

    with openslide.OpenSlide(path) as source:
        assert {"label", "macro"} <= set(source.associated_images)
    slide = opened(path)
    for view in (View(), View(magnification=5), View(magnification=20)):
        image, notes = slide_image(slide, view)
        assert "Jane" not in " ".join(notes) and not image.info
        assert image.getextrema()[1][0] >= 80  # no red
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ItemError) as error:
        slide_image(opened(path), View(magnification=20, tile=(1000, 600)))
    assert "Jane" not in str(error.value)


# --- damaged and hostile files ----------------------------------------------------------------


PROGRAM = """
import sys
from pathlib import Path
from medr1.data.scans.slides import open_slide, slide_image
from medr1.data.scans.view import View
from medr1.errors import ItemError

import openslide

def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))

Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
before, outcome = memory("VmRSS"), "shown"
try:
    slide_image(open_slide(Path(sys.argv[1]), "'slide'"), View(magnification=float(sys.argv[2])))
except ItemError as error:
    outcome = error.code
print(outcome, memory("VmHWM") - before)
"""


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def in_a_process(path, magnification):
    """(what comes of an image of a slide, MB that it needs); 0 is the thumbnail.

    OpenSlide ends the process if it cannot have the memory.
    """
    command = [sys.executable, "-c", PROGRAM, path, str(magnification)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    outcome, megabytes = result.stdout.split()
    return outcome, float(megabytes)


@needs_proc
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (((TILE_WIDTH, 60_000), (TILE_HEIGHT, 60_000)), "image_too_large"),
        (((TILE_WIDTH, 2_000_000_000), (TILE_HEIGHT, 16)), "image_too_large"),
        (
            ((WIDTH, 300_000), (HEIGHT, 300_000), (TILE_WIDTH, 30_000), (TILE_HEIGHT, 30_000)),
            "image_too_large",
        ),
        (((WIDTH, 2_000_000_000), (HEIGHT, 2_000_000_000)), "image_unreadable"),
        (((WIDTH, 0),), "image_unreadable"),
        (((SAMPLES, 65_535),), "image_unreadable"),
        (((COMPRESSION, 34_712),), "image_unreadable"),
    ],
    ids=str,
)
@needs_proc
def test_a_header_that_lies_is_an_item_error(fields, code, svs, tmp_path):
    outcome, megabytes = in_a_process(edited(tmp_path / "a.svs", svs, *fields), 20)
    assert outcome == code and megabytes < 100


@needs_proc
def test_memory_does_not_grow_with_the_region(tmp_path):
    pixels = np.broadcast_to(np.uint8(200), (5000, 5000, 3))
    path = saved(tmp_path / "a.svs", pixels, levels=1)
    outcome, megabytes = in_a_process(path, 0)
    assert outcome == "shown" and megabytes < 120


def test_a_region_that_is_too_large_to_read_is_refused(svs, tmp_path):
    sizes = (WIDTH, 60_000), (HEIGHT, 60_000), (TILE_WIDTH, 4096), (TILE_HEIGHT, 4096)
    slide = opened(edited(tmp_path / "a.svs", svs, *sizes))
    with pytest.raises(ItemError, match="no level small enough") as error:
        slide_image(slide, View(magnification=1))
    assert error.value.code == "image_too_large"
    wide = replace(slide, levels=((1_000_000, 1_000_000),))
    with pytest.raises(ItemError, match="3,814,209 tiles, more than 1,000,000") as error:
        tissue_tiles(wide, 20, 3)
    assert error.value.code == "image_too_large"


def test_a_slide_that_is_too_narrow_is_refused(svs, tmp_path):
    slide = opened(edited(tmp_path / "a.svs", svs, (HEIGHT, 17)))
    with pytest.raises(ItemError, match="one side over 200 times") as error:
        slide_image(slide, View())
    assert error.value.code == "image_bad_shape"


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.9])
def test_a_slide_that_is_cut_off_is_an_item_error(share, svs, tmp_path):
    content = svs.read_bytes()
    (tmp_path / "a.svs").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ItemError, match=r"^image 'slide': the file is damaged, or") as error:
        slide_image(opened(tmp_path / "a.svs"), View())
    assert error.value.code == "image_unreadable"


def test_damaged_tiles_are_an_item_error(svs, tmp_path):
    content = bytearray(svs.read_bytes())
    for start in range(2_000, len(content) - 100, 150):
        content[start : start + 40] = b"\xff" * 40
    (tmp_path / "a.svs").write_bytes(content)
    with pytest.raises(ItemError, match=r"^image 'slide': the file is damaged, or"):
        slide_image(opened(tmp_path / "a.svs"), View(magnification=20, tile=(512, 512)))


def test_another_tiff_or_format_is_an_item_error(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.svs", "TIFF")
    Image.new("RGB", (40, 30)).save(tmp_path / "b.svs", "PNG")
    for name in ("a.svs", "b.svs"):
        with pytest.raises(ItemError, match=r"^image 'slide': the file is damaged, or"):
            opened(tmp_path / name)


@pytest.mark.parametrize("ending", [".mrxs", ".vms", ".VMU"])
def test_a_slide_of_several_files_is_refused(ending, tmp_path):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"x")
    with pytest.raises(ItemError, match=rf"a slide of several files \({ending.lower()}\)"):
        opened(path)


def test_a_file_that_does_not_exist_is_named_by_its_label(tmp_path):
    with pytest.raises(ItemError, match=r"^image 'slide': no such file") as error:
        opened(tmp_path / "Jane Doe.svs")
    assert error.value.code == "image_missing"


def test_without_openslide_the_package_is_named(svs, monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(ItemError, match="a slide needs OpenSlide, which is not here: pip install"):
        opened(svs)


@pytest.mark.parametrize(
    ("beginning", "name", "expected"),
    [
        (b"II*\0", "a.svs", True),
        (b"MM\0+", "a.NDPI", True),
        (b"II*\0", "a.scn", True),
        (b"II+\0", "a.bif", True),
        (b"\xff\xd8\xff\xe0", "a.mrxs", True),
        (b"[Vir", "a.vms", True),
        (b"II*\0", "a.tif", False),
        (b"\x89PNG", "a.svs", False),
        (b"", "a.svs", False),
    ],
    ids=str,
)
def test_slides_are_recognised(beginning, name, expected):
    assert is_slide(beginning, name) is expected
