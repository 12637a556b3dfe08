"""Who should look at the pixels: by modality, by what DICOM calls it, by a file's header."""

import json

import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from medr1.data.burned_in import burned_in_reason, reason_in_texts, warning
from medr1.data.images import load_image, text_notes
from medr1.records import Sample


def sample(modality=None, **metadata):
    return Sample("q", ("q.png",), "What is shown?", modality=modality, metadata=metadata)


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (sample("Ultrasound"), "ultrasound"),
        (sample("ultrasonography (US)"), "ultrasound"),
        (sample("US"), "ultrasound"),
        (sample("Colour Doppler"), "ultrasound"),
        (sample(Modality="US"), "ultrasound"),
        (sample(SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1"), "ultrasound"),
        (sample(SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1"), "ultrasound"),
        (sample(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "secondary capture"),
        (sample("CT", conversion_type="WSD"), "secondary capture"),
        (sample("Secondary Capture"), "secondary capture"),
        (sample(ImageType=["DERIVED", "SCREEN SAVE", "screenshot"]), "secondary capture"),
        (sample("CT", BurnedInAnnotation="YES"), "burned-in annotation"),
        (sample("US", BurnedInAnnotation="NO"), None),
        (sample("CT"), None),
        (sample(SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6"), None),
        (sample(SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), None),
        (sample("X-Ray", finding="seen on ultrasound before"), None),
        (sample(), None),
    ],
)
def test_by_modality_and_metadata(item, found):
    assert burned_in_reason(item) == found


def png(path, **texts):
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    image = Image.new("L", (120, 60))
    ImageDraw.Draw(image).text((4, 4), "DOE^JANE", fill=255)
    image.save(path, pnginfo=info)


def test_by_the_header_of_the_file(tmp_path):
    exif = Image.Exif()
    exif[0x10E] = "Secondary Capture Image Storage"
    Image.new("L", (30, 30)).save(tmp_path / "film.jpg", exif=exif)
    Image.new("L", (30, 30)).save(tmp_path / "tiff.tif", description="Ultrasound, liver")
    Image.new("L", (30, 30)).save(tmp_path / "comment.jpg", comment=b"ECHO: doppler")
    png(tmp_path / "us.png", Modality="US")
    png(tmp_path / "no.png", Modality="US", BurnedInAnnotation="NO")
    png(tmp_path / "ct.png", Modality="CT")
    wanted = {
        "film.jpg": "secondary capture", "tiff.tif": "ultrasound", "comment.jpg": "ultrasound",
        "us.png": "ultrasound", "no.png": None, "ct.png": None,
    }  # fmt: skip
    for name, why in wanted.items():
        notes = load_image(tmp_path / name).notes
        assert burned_in_reason(sample("CT"), notes) == why, name
        assert text_notes(tmp_path / name) == [n for n in notes if n.startswith("header_says_")]


def test_a_header_of_any_length_costs_little():
    assert reason_in_texts(["x" * 10**7, "modality: us"]) == "ultrasound"


def test_the_sentence_counts_and_says_what_is_not_done():
    assert warning([None, None], "items") is None and warning([], "items") is None
    said = warning(["ultrasound", None, "ultrasound", "secondary capture"], "items")
    assert said.startswith("3 of 4 items") and "burned into the image" in said
    assert "(1 secondary capture, 2 ultrasound)" in said and "does not search" in said


def questions(tmp_path):
    png(tmp_path / "a.png")
    png(tmp_path / "b.png", Modality="US")
    png(tmp_path / "c.png")
    items = [
        {"id": f"q{n}", "image": f"{n}.png", "question": f"What, {n}?", "ground_truth": "A",
         "options": {"A": "liver", "B": "lung"}, "modality": modality}
        for n, modality in (("a", "Ultrasound"), ("b", "CT"), ("c", "CT"))
    ]  # fmt: skip
    (tmp_path / "q.json").write_text(json.dumps(items))
    return items


def test_preparing_and_auditing_warn(tmp_path, caplog):
    from click.testing import CliRunner

    from medr1.cli import cli

    questions(tmp_path)
    command = ["data", "prepare", str(tmp_path / "q.json"), "--output-dir", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, [*command, "--workers", "1", "--test-share", "0.4"])
    assert done.exit_code == 0, done.output
    assert "2 of 3 items may have text burned into the image" in done.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["burned_in"] == {"ultrasound": 2}
    done = CliRunner().invoke(cli, ["data", "audit", str(tmp_path / "q.json")])
    said = " ".join(done.output.split())
    assert "! 1 of 3 items of " in said and "q.json may have text burned into the image" in said


def test_the_page_on_data_says_that_it_stays():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "medr1/data/README.md").read_text(encoding="utf-8")
    assert "Text inside an image is not removed" in text and "Ultrasound" in text
    assert "secondary capture" in text and "Look at the images before you pass them on" in text
