"""Nothing that identifies a patient leaves a DICOM file: the planted values, and the search."""

import base64
import gzip
import io
import json
import zipfile

import pydicom
import pytest
from dicom_files import PLANTED, write_planted
from leaks import assert_nothing_leaks, forms, leaks
from PIL import Image, PngImagePlugin

NAME = "Zwetschkenbaum"


def zipped(content, name="a.txt"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def png(compressed):
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("Comment", f"of {NAME} " * 9, zip=compressed)
    Image.new("L", (4, 4)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


TEXT = f"patient: {NAME}, Quirin".encode()
HIDDEN = {
    "text": TEXT,
    "capitals": TEXT.upper(),
    "binary": b"\0\xff" * 9 + TEXT + b"\0\xff",
    "utf-16": TEXT.decode().encode("utf-16"),
    "utf-16-be": TEXT.decode().encode("utf-16-be"),
    "json-escapes": json.dumps(NAME).replace("Z", "\\u005a").replace("k", "\\u006b").encode(),
    "url": b"file:///%5Awetschkenbaum",
    "html": b"&#90;wetschken&#98;aum",
    "base64": base64.b64encode(TEXT),
    "base64-url": b"data:text/plain;base64," + base64.urlsafe_b64encode(b"\xff\xfe" + TEXT),
    "base64-of-gzip": base64.b64encode(gzip.compress(TEXT)),
    "hexadecimal": TEXT.hex().encode(),
    "gzip": gzip.compress(TEXT * 100),
    "gzip-inside": b"header" + gzip.compress(TEXT) + b"tail",
    "zip": zipped(TEXT),
    "zip-name": zipped(b"x", f"{NAME}.txt"),
    "zip-in-zip": zipped(zipped(TEXT)),
    "png-text": png(False),
    "png-compressed-text": png(True),
    "page-with-png": b'<img src="data:image/png;base64,' + base64.b64encode(png(True)) + b'">',
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_name_is_seen_wherever_it_hides(kind, tmp_path):
    (tmp_path / "report").write_bytes(HIDDEN[kind])
    assert any("PatientName" in place for place in leaks(tmp_path))
    with pytest.raises(AssertionError):
        assert_nothing_leaks(tmp_path)


def test_names_of_files_folders_and_links_are_searched(tmp_path):
    for name in ("file", "folder/file", "link"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    folder = {planted.name: planted.value for planted in PLANTED}
    (tmp_path / f"x-{folder['file name']}.json").write_text("{}")
    assert leaks(tmp_path) == [f"file name (as it is) in x-{folder['file name']}.json, the name"]
    (tmp_path / f"x-{folder['file name']}.json").rename(tmp_path / "a")
    (tmp_path / "b").symlink_to(f"/{folder['folder name']}/c")
    assert leaks(tmp_path) == ["folder name (as it is) in b, the target of the link"]


def test_dates_are_seen_in_the_usual_ways(tmp_path):
    for text in ("19310917", "1931-09-17", "17.09.1931", "09/17/1931", "1931/09/17"):
        (tmp_path / "a").write_text(f"born {text}.")
        assert [place.split()[0] for place in leaks(tmp_path)] == ["PatientBirthDate"], text


def test_nothing_is_seen_where_nothing_is(tmp_path):
    with pytest.raises(AssertionError, match="nothing was written"):
        assert_nothing_leaks(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({"modality": "CT", "window": "40/80"}))
    (tmp_path / "a.zip").write_bytes(zipped(bytes(range(256)) * 99))
    assert_nothing_leaks(tmp_path)


def test_every_planted_value_is_in_the_file_and_is_seen(tmp_path):
    """The search would be worth nothing for a value that the file does not have."""
    path = write_planted(tmp_path, [[0, 1], [2, 3]], modality="CT", allocated=16)
    seen = {place.split(" (")[0] for place in leaks(tmp_path)}
    assert seen == {planted.name for planted in PLANTED}
    dataset = pydicom.dcmread(path)
    assert len(PLANTED) >= 30
    for planted in PLANTED:
        if planted.vr and not planted.name.startswith("("):
            assert str(dataset[planted.name].value) == planted.value


def test_no_planted_value_contains_another():
    values = [value for planted in PLANTED for value in forms(planted).values()]
    assert len(set(values)) == len(values) and min(map(len, values)) >= 8
    shorts = [item.value.lower() for item in PLANTED]
    assert not [(a, b) for a in shorts for b in shorts if a != b and a in b]
