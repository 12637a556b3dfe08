"""Colour models, palettes, planar configuration and transfer syntaxes of DICOM files."""

import io
from pathlib import Path

import numpy as np
import pytest
from dicom_files import EXPLICIT, dicom_dataset, load, palette, write_dicom
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from medr1.errors import ItemError

RGB = [[[0, 10, 255], [20, 128, 3], [200, 100, 50]], [[1, 2, 3], [9, 8, 7], [255, 255, 255]]]
YBR = [
    [100, 128, 128], [150, 128, 178], [150, 178, 128], [50, 100, 100], [250, 128, 200],
]  # fmt: skip
YBR_AS_RGB = [
    [100, 100, 100],  # no colour
    [220, 114, 150],  # 150 + 1.402 * 50 = 220.1; 150 - 0.71414 * 50 = 114.29
    [150, 133, 239],  # 150 - 0.34414 * 50 = 132.79; 150 + 1.772 * 50 = 238.6
    [11, 80, 0],  # 50 - 39.26 = 10.74; 50 + 9.64 + 20.00 = 79.63; 50 - 49.62 = 0.38
    [255, 199, 250],  # 250 + 100.94; 250 - 51.42 = 198.58
]


def pixels(path, **view):
    return np.asarray(load(path, **view).image).astype(int)


# --- colour models -------------------------------------------------------------------------------


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("syntax", [EXPLICIT, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_rgb(planar, syntax, tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", RGB, photometric="RGB", planar=planar, syntax=str(syntax)
    )
    assert pixels(path).tolist() == RGB


@pytest.mark.parametrize("window", ["", "brain", "100/10", "medgemma"])
def test_grey_levels_do_not_apply_to_colour(window, tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", RGB, photometric="RGB", modality="CT", WindowCenter=40, WindowWidth=80,
        RescaleSlope=2, RescaleIntercept=-1024,
    )  # fmt: skip
    assert pixels(path, window=window).tolist() == RGB


def test_rgb_of_16_bits_is_scaled(tmp_path):
    stored = [[value * 257 for value in pixel] for pixel in RGB[0]]  # alike by /257 and by >> 8
    path = write_dicom(tmp_path / "a.dcm", stored, photometric="RGB", allocated=16)
    assert pixels(path)[0].tolist() == RGB[0]


@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_full(planar, tmp_path):
    """RGB within 1 of PS3.3 C.7.6.3.1.2, because decoders round in several steps."""
    path = write_dicom(tmp_path / "a.dcm", YBR, photometric="YBR_FULL", planar=planar)
    assert np.abs(pixels(path)[0] - YBR_AS_RGB).max() <= 1


def test_ybr_full_422(tmp_path):
    """Two pixels share Cb and Cr: the bytes are Y1 Y2 Cb Cr."""
    doubled = [pixel for pixel in YBR for _ in range(2)]
    content = bytes(value for y, cb, cr in YBR for value in (y, y, cb, cr))
    path = write_dicom(tmp_path / "a.dcm", doubled, photometric="YBR_FULL_422", pixel_data=content)
    expected = [pixel for pixel in YBR_AS_RGB for _ in range(2)]
    # a decoder may interpolate Cb and Cr between pairs, so the first pair is exact
    got = pixels(path)[0]
    assert got.shape == (10, 3) and np.abs(got[0] - expected[0]).max() <= 1
    grey = bytes([60, 60, 128, 128, 61, 200, 128, 128])
    path = write_dicom(
        tmp_path / "b.dcm", [[0] * 3] * 4, photometric="YBR_FULL_422", pixel_data=grey
    )
    assert pixels(path)[0].tolist() == [[value] * 3 for value in (60, 60, 61, 200)]


def test_ybr_partial_422_is_right_or_refused(tmp_path):
    """Y from 16 to 235: 1.1644 * (126 - 16) = 128.08; 1.1644 * (235 - 16) = 255.0."""
    content = bytes([126, 126, 128, 128, 16, 235, 128, 128])
    path = write_dicom(
        tmp_path / "a.dcm", [[0] * 3] * 4, photometric="YBR_PARTIAL_422", pixel_data=content
    )
    try:
        values = pixels(path)[0]
    except ItemError as error:
        assert error.code.startswith("image_")
    else:
        assert np.abs(values - np.array([128, 128, 0, 255])[:, None]).max() <= 1


@pytest.mark.parametrize("photometric", ["HSV", "ARGB", "CMYK", "XYZ", ""])
def test_an_unknown_colour_model_is_refused(photometric, tmp_path):
    wrong = {"PhotometricInterpretation": photometric}
    path = write_dicom(tmp_path / "a.dcm", RGB, photometric="RGB", **wrong)
    with pytest.raises(ItemError):
        load(path)


def test_big_endian_words_of_an_odd_frame(tmp_path):
    """Pixels of 8 bits lie two in a word, so the last one of an odd frame is in the word's end."""
    frames = np.arange(2 * 27).reshape(2, 3, 3, 3)
    settings = {"photometric": "RGB", "syntax": str(ExplicitVRBigEndian), "frames": True}
    path = write_dicom(tmp_path / "a.dcm", frames, **settings)
    for number in (1, 2):
        assert pixels(path, slices=(number,)).tolist() == frames[number - 1].tolist()
    single = write_dicom(tmp_path / "b.dcm", frames[:1], **settings)
    assert pixels(single).tolist() == frames[0].tolist()


# --- palettes ------------------------------------------------------------------------------------

COLOURS = [(10, 20, 30), (200, 0, 100), (0, 255, 0), (250, 251, 252)]


def palette_file(path, stored, **settings):
    return write_dicom(path, stored, photometric="PALETTE COLOR", **settings)


@pytest.mark.parametrize("bits", [8, 16])
def test_palette(bits, tmp_path):
    """Entries of 16 bits are scaled: 257 * 10 is 10. Below and above, the first and the last."""
    scaled = [tuple(v * (257 if bits == 16 else 1) for v in colour) for colour in COLOURS]
    path = palette_file(
        tmp_path / "a.dcm", [0, 10, 11, 12, 13, 99], **palette(10, scaled, bits=bits)
    )
    expected = [COLOURS[place] for place in (0, 0, 1, 2, 3, 3)]
    assert [tuple(pixel) for pixel in pixels(path)[0].tolist()] == expected


@pytest.mark.parametrize("window", ["", "brain", "2/2"])
def test_palette_has_no_window(window, tmp_path):
    path = palette_file(
        tmp_path / "a.dcm", [3, 2, 1, 0], **palette(0, COLOURS), WindowCenter=1, WindowWidth=2,
        RescaleSlope=2, RescaleIntercept=1,
    )  # fmt: skip
    values = pixels(path, window=window)[0].tolist()
    assert [tuple(pixel) for pixel in values] == COLOURS[::-1]


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_in_big_endian_words(bits, tmp_path):
    scaled = [tuple(v * (257 if bits == 16 else 1) for v in colour) for colour in COLOURS]
    tags = palette(0, scaled, bits=bits)
    for name, element in tags.items():
        if name.endswith("Data"):
            words = np.frombuffer(element.value, "<u2").astype(">u2")
            tags[name] = DataElement(element.tag, "OW", words.tobytes())
    syntax = str(ExplicitVRBigEndian)
    path = palette_file(tmp_path / "a.dcm", [0, 1, 2, 3], syntax=syntax, **tags)
    assert [tuple(pixel) for pixel in pixels(path)[0].tolist()] == COLOURS


def test_palette_of_65536_entries(tmp_path):
    """0 in the descriptor is 65536 entries: red is the high byte of the index, green the low."""
    entries = [((x >> 8) * 257, (x & 255) * 257, 0) for x in range(65536)]
    tags = palette(0, entries, bits=16)
    assert tags["RedPaletteColorLookupTableDescriptor"].value[0] == 0
    path = palette_file(tmp_path / "a.dcm", [0, 0x1234, 0xFFFF, 0x8000], allocated=16, **tags)
    expected = [[0, 0, 0], [0x12, 0x34, 0], [255, 255, 0], [128, 0, 0]]
    assert pixels(path)[0].tolist() == expected


def test_palette_of_16_bit_indexes(tmp_path):
    path = palette_file(
        tmp_path / "a.dcm", [0, 1000, 1001, 1003, 60000], allocated=16, **palette(1000, COLOURS)
    )
    expected = [COLOURS[place] for place in (0, 0, 1, 3, 3)]
    assert [tuple(pixel) for pixel in pixels(path)[0].tolist()] == expected


def test_segmented_palette_is_right_or_refused(tmp_path):
    """A discrete segment of 2 entries, then a linear one of 2 to 65535: PS3.3 C.7.9.2."""
    tags = {}
    for place, name in enumerate(("Red", "Green", "Blue")):
        words = np.array([0, 2, 0, 257 * 51, 1, 2, 65535], "<u2")
        tags[f"{name}D"] = DataElement(0x00281101 + place, "US", [4, 0, 16])
        tags[f"{name}S"] = DataElement(0x00281221 + place, "OW", words.tobytes())
    path = palette_file(tmp_path / "a.dcm", [0, 1, 2, 3], **tags)
    try:
        values = pixels(path)[0, :, 0].tolist()
    except ItemError as error:
        assert error.code.startswith("image_")
    else:
        assert values == [0, 51, 153, 255]  # 51 + (255 - 51) / 2


@pytest.mark.parametrize("compress", [RLELossless, JPEGLSLossless], ids=["rle", "jpeg-ls"])
def test_palette_compressed(compress, tmp_path):
    path = palette_file(
        tmp_path / "a.dcm", [[3, 2, 1, 0]] * 64, **palette(0, COLOURS), compress=compress
    )
    assert [tuple(pixel) for pixel in pixels(path)[2].tolist()] == COLOURS[::-1]


# --- transfer syntaxes ---------------------------------------------------------------------------

SYNTAXES = {
    "implicit": {"syntax": str(ImplicitVRLittleEndian)},
    "big-endian": {"syntax": str(ExplicitVRBigEndian)},
    "deflated": {"syntax": str(DeflatedExplicitVRLittleEndian)},
    "rle": {"compress": RLELossless},
    "jpeg-ls": {"compress": JPEGLSLossless},
    "jpeg-2000": {"compress": JPEG2000Lossless},
}
BLOCK = np.kron(np.arange(256).reshape(16, 16), np.ones((4, 4), int))
"""(64, 64): every value of 8 bits; JPEG 2000 has no fewer than 32 columns for its resolutions."""


def params(table):
    return [pytest.param(value, id=name) for name, value in table.items()]


@pytest.mark.parametrize("settings", params(SYNTAXES))
def test_grey_of_8_bits(settings, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", BLOCK, **settings)
    assert pixels(path)[..., 1].tolist() == BLOCK.tolist()


@pytest.mark.parametrize("settings", params(SYNTAXES))
def test_grey_of_12_bits_signed(settings, tmp_path):
    """y = 255 (x + 2048) / 4095, with x = 16 k - 2048: no value is a tie."""
    path = write_dicom(
        tmp_path / "a.dcm", BLOCK * 16 - 2048, allocated=16, bits=12, signed=True, **settings,
        WindowCenter=0, WindowWidth=4096,
    )  # fmt: skip
    assert pixels(path)[..., 0].tolist() == np.rint(255 * 16 * BLOCK / 4095).astype(int).tolist()


@pytest.mark.parametrize("settings", params(SYNTAXES))
def test_grey_of_16_bits(settings, tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", BLOCK * 257, allocated=16, **settings,
        WindowCenter=32768, WindowWidth=65536,
    )  # fmt: skip
    assert pixels(path)[..., 2].tolist() == BLOCK.tolist()


@pytest.mark.parametrize("settings", params(SYNTAXES))
def test_rgb_in_every_syntax(settings, tmp_path):
    stored = np.stack([BLOCK, BLOCK[::-1], BLOCK.T], -1)
    path = write_dicom(tmp_path / "a.dcm", stored, photometric="RGB", **settings)
    assert pixels(path).tolist() == stored.tolist()


def test_jpeg_2000_with_a_colour_transform(tmp_path):
    stored = np.stack([BLOCK, BLOCK[::-1], BLOCK.T], -1)
    dataset = dicom_dataset(stored, photometric="RGB")
    dataset.PhotometricInterpretation = "YBR_RCT"
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert pixels(tmp_path / "a.dcm").tolist() == stored.tolist()


def test_jpeg_of_8_bits_wrapped_by_hand(tmp_path):
    """A JPEG that Pillow wrote, in DICOM: Pillow's own pixels, within 2 levels."""
    image = Image.fromarray(np.stack([BLOCK, BLOCK[::-1], BLOCK.T], -1).astype(np.uint8))
    for mode, photometric in (("RGB", "YBR_FULL_422"), ("L", "MONOCHROME2")):
        buffer = io.BytesIO()
        image.convert(mode).save(buffer, "JPEG", quality=95, subsampling=1 if mode == "RGB" else -1)
        stored = np.zeros((*BLOCK.shape, 3) if mode == "RGB" else BLOCK.shape, int)
        dataset = dicom_dataset(stored, photometric=photometric)
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([buffer.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        expected = np.asarray(Image.open(buffer).convert("RGB")).astype(int)
        assert np.abs(pixels(tmp_path / "a.dcm") - expected).max() <= 2


GREY_FILES = {
    # file -> a window from 0 to the largest value, what a decoder may differ by, and the stored
    # values of some (row, column). dcmtk's dcmdjpeg and gdcm agree on every pixel.
    "JPGLosslessP14SV1_1s_1f_8b.dcm": (
        255, 0, {(140, 499): 40, (100, 595): 90, (26, 860): 140, (187, 965): 200, (26, 21): 255},
    ),
    "JPEG-LL.dcm": (
        278, 0, {(95, 133): 50, (144, 145): 101, (145, 136): 150, (415, 136): 200, (420, 143): 278},
    ),
    "JPGExtended.dcm": (
        264, 1, {(97, 127): 50, (141, 139): 101, (228, 148): 150, (415, 139): 200, (421, 143): 264},
    ),
    "JPEG-lossy.dcm": (
        264, 1, {(97, 127): 50, (141, 139): 101, (228, 148): 150, (415, 139): 200, (421, 143): 264},
    ),
}  # fmt: skip


def real_file(name):
    path = get_testdata_file(name, download=False)
    return Path(path) if path else pytest.skip(f"needs pydicom-data for {name}")


def check_places(name):
    largest, difference, places = GREY_FILES[name]
    values = pixels(real_file(name), window=f"{(largest + 1) / 2}/{largest + 1}")
    for place, stored in places.items():
        expected = round(255 * stored / largest)
        assert np.abs(values[place] - expected).max() <= difference, place


@pytest.mark.parametrize("name", ["JPGLosslessP14SV1_1s_1f_8b.dcm", "JPEG-LL.dcm"])
def test_jpeg_lossless(name):
    check_places(name)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_extended_of_12_bits_is_right_or_refused(name):
    """Pillow decodes no JPEG of 12 bits, and pydicom lets gdcm decode none."""
    try:
        check_places(name)
    except ItemError as error:
        assert error.code == "image_unreadable"


TOP, MIDDLE, BOTTOM = (16, 50), (50, 50), (83, 50)
COLOUR_FILES = {
    "SC_rgb_jpeg_gdcm.dcm": ([255, 128, 128], [128, 128, 255], [192, 192, 192]),  # lossless
    "SC_rgb_jpeg_dcmtk.dcm": ([254, 128, 131], [125, 130, 255], [192, 192, 192]),  # YBR_FULL
    "SC_rgb_dcmtk_+eb+cy+s4.dcm": ([254, 128, 131], [125, 130, 255], [192, 192, 192]),
    "SC_rgb_dcmtk_+eb+cr.dcm": ([255, 128, 128], [129, 129, 255], [192, 192, 192]),  # RGB
    "SC_rgb_rle.dcm": ([255, 128, 128], [128, 128, 255], [192, 192, 192]),
}


@pytest.mark.parametrize("name", COLOUR_FILES)
def test_colour_files(name):
    """Within 1 of dcmtk and of gdcm, which agree."""
    values = pixels(real_file(name))
    for place, expected in zip((TOP, MIDDLE, BOTTOM), COLOUR_FILES[name], strict=True):
        assert np.abs(values[place] - expected).max() <= 1, place


def test_colour_of_a_jpeg_with_odd_sides():
    values = pixels(real_file("SC_rgb_small_odd_jpeg.dcm"))
    assert values.shape == (3, 3, 3)
    assert np.abs(values[:, 1] - [[165, 142, 49], [62, 87, 179], [159, 158, 154]]).max() <= 1
