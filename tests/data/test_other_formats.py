"""Formats that are not read are named, with what to do; a pyramid is read at its largest level."""

import gzip
import io

import pytest
from PIL import Image, TiffImagePlugin

from medr1.data.images import load_image
from medr1.errors import ItemError

NIFTI = (348).to_bytes(4, "little") + bytes(340) + b"n+1\0"


def encoded(kind, **options):
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 10)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.gif", encoded("GIF"), "a GIF; save the frame"),
        ("a.png", encoded("GIF"), "a GIF; save the frame"),
        ("a.pdf", encoded("PDF"), "a PDF; save the page"),
        ("a.heic", b"\0\0\0\x18ftypheic" + bytes(99), "a HEIC photo; save it as JPEG"),
        ("a.avif", b"\0\0\0\x18ftypavif" + bytes(99), "an AVIF image; save it as PNG"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "a JPEG 2000 image; save it as PNG"),
        ("a.svg", b'<?xml version="1.0"?>\n<svg/>', "an SVG, which has no pixels"),
        ("a.png", b"\xef\xbb\xbf <svg/>", "an SVG, which has no pixels"),
        ("a.png", NIFTI, "a NIfTI volume in an archive, or with the name of a picture"),
        ("a.nii", NIFTI, "its header has impossible dimensions; export it again"),
        ("a.nii.gz", gzip.compress(NIFTI), "its header has impossible dimensions"),
        (
            "a.jpg",
            bytes(128) + b"DICM" + bytes(99),
            "a DICOM file in an archive, or with the name of a picture",
        ),
        ("a.dcm", bytes(128) + b"DICM" + bytes(99), "it states no transfer syntax; export it"),
        ("a.dcm", b"not DICOM", "its content is not PNG"),
        ("a.svs", encoded("TIFF"), "the file is damaged, or not a slide that OpenSlide reads"),
        ("a.svs", b"not a TIFF", "a whole-slide image (.svs) that is damaged or in an archive"),
        ("a.mrxs", encoded("JPEG"), "a slide of several files (.mrxs); export the region"),
        ("a.xml", b"<note/>", "its content is not PNG"),
        ("a.gz", gzip.compress(b"x"), "its content is not PNG"),
    ],
    # the bytes of a PDF have the time in them
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_a_format_that_is_not_read_is_named(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ItemError) as error:
        load_image(tmp_path / name)
    assert error.value.code == "image_unreadable"
    assert words in str(error.value) and str(error.value).endswith(".")


def tiff(path, sizes, reduced, **options):
    """A TIFF with a page of each size, of which those in `reduced` are marked as reduced."""
    with TiffImagePlugin.AppendingTiffWriter(str(path), new=True) as file:
        for number, size in enumerate(sizes):
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            tags[254] = int(number in reduced)
            color = (255 - 40 * number, 0, 0)
            Image.new("RGB", size, color).save(file, "TIFF", tiffinfo=tags, **options)
            file.newFrame()
    return path


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_deflate"}, {"compression": "jpeg"}])
def test_of_a_pyramid_the_largest_level_is_read(tmp_path, options):
    loaded = load_image(tiff(tmp_path / "a.tif", [(64, 48), (32, 24), (16, 12)], (1, 2), **options))
    assert loaded.image.size == (64, 48) and loaded.notes == ("largest_of_3_levels",)
    assert loaded.image.getpixel((5, 5))[0] > 240


@pytest.mark.parametrize(
    ("sizes", "reduced"),
    [
        ([(64, 48), (32, 24)], ()),  # two pages that nothing marks
        ([(64, 48), (64, 48)], (1,)),  # no smaller than the first
        ([(32, 24), (64, 48)], (0,)),  # the first is the small one
        ([(64, 48), (32, 24), (64, 48)], (1,)),
        ([(64, 48)] + 40 * [(32, 24)], range(1, 41)),
    ],
)
def test_pages_that_are_no_levels_are_refused(sizes, reduced, tmp_path):
    with pytest.raises(ItemError) as error:
        load_image(tiff(tmp_path / "a.tif", sizes, reduced))
    assert error.value.code == "image_animated"


def test_levels_below_the_first_page_are_counted(tmp_path):
    """As in OME-TIFF: the tag SubIFDs names a directory with the level."""
    file = tiff(tmp_path / "a.tif", [(64, 48), (32, 24)], (1,))
    data = bytearray(file.read_bytes())
    order = "little" if data[:2] == b"II" else "big"
    first = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[first : first + 2], order)
    entries = bytes(data[first + 2 : first + 2 + 12 * count])
    after = first + 2 + 12 * count
    second = data[after : after + 4]
    # a longer first directory at the end of the file, with the tag 330 and without a next page
    new = [entries[i : i + 12] for i in range(0, 12 * count, 12)]
    new.append((330).to_bytes(2, order) + (4).to_bytes(2, order) + (1).to_bytes(4, order) + second)
    new.sort(key=lambda entry: int.from_bytes(entry[:2], order))
    place = len(data)
    data += len(new).to_bytes(2, order) + b"".join(new) + bytes(4)
    data[4:8] = place.to_bytes(4, order)
    file.write_bytes(data)
    assert load_image(file).notes == ("largest_of_2_levels",)
    # at a place that the file does not have, it is no level and no harm
    data[place : place + 2 + 12 * len(new)] = data[place : place + 2 + 12 * len(new)].replace(
        bytes(second), b"\xff\xff\xff\x7f"
    )
    file.write_bytes(data)
    assert load_image(file).notes == ()
