"""What leaves with an evaluation: no identifier of the items' metadata, in any of its files."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from medr1.cli import cli

CANARIES = ("DOE^JANE", "19610203", "ACC0077", "ward-nine", "DOE%5EJANE")


def results(path, *, modality="CT", texts="", **metadata):
    """24 results of six patients, whose names are in metadata, image names and ids as well."""
    (path / "scans").mkdir(exist_ok=True)
    rows = []
    for n in range(24):
        patient = f"DOE^JANE-{n // 4}"
        image = Image.new("L", (64, 48), 40)
        ImageDraw.Draw(image).text((2, 2), "DOE", fill=255)
        image.save(path / f"scans/{patient}_{n}.png")
        found = {
            "id": f"{patient}/q{n}",
            "images": [f"scans/{patient}_{n}.png" if n else f"scans/{patient}_gone.png"],
            "question": f"Which modality is this? {texts}",
            "options": {"A": "CT", "B": "MRI"},
            "ground_truth": "A",
            "modality": modality,
            "metadata": {
                "patient": patient, "PatientBirthDate": "19610203", "accession": f"ACC0077{n}",
                "age": 30 + n, "scanner": ("GE", "Siemens")[n % 2], "site": "ward-nine", **metadata,
            },
            "model_output": "<answer>A</answer>" if n % 3 else "<answer>B</answer>",
        }  # fmt: skip
        if n == 5:
            message = f"image '{patient}_5.png': no such file."
            found |= {"model_output": None, "error": {"code": "image_missing", "message": message}}
        rows.append(found)
    document = {"schema": "medr1.results/1", "meta": {}, "results": rows}
    (path / "results.json").write_text(json.dumps(document))
    return path / "results.json"


def medr1(*args):
    done = CliRunner().invoke(cli, list(map(str, args)))
    assert done.exit_code == 0, done.output
    return done


def evaluated(path, *more, **metadata):
    out = path / "out"
    done = medr1("eval", results(path, **metadata), "--output-dir", out, *more)
    return done, {file.name: file.read_text(encoding="utf-8") for file in out.iterdir()}


@pytest.mark.parametrize(
    "asked", [(), ("--group-by", "patient,scanner", "--cluster-by", "patient")]
)
def test_no_identifier_is_in_what_an_evaluation_writes(tmp_path, asked):
    done, files = evaluated(tmp_path, *asked, "--metrics", "accuracy")
    ids_are_the_items_own = files.pop("items.jsonl")
    for name, text in {**files, "the terminal": done.output}.items():
        assert not [one for one in CANARIES if one in text.replace("\\u005e", "^")], name
    assert "DOE^JANE-0/q0" in ids_are_the_items_own
    assert "19610203" not in ids_are_the_items_own and "ACC0077" not in ids_are_the_items_own
    page = files["report.html"]
    assert ("Siemens" in page) is bool(asked) and "<dt><bdi>age</bdi></dt>" not in page
    if asked:
        assert "<dd><bdi>patient 6</bdi></dd>" in page and "patient 6/q20" in page
        groups = json.loads(files["summary.json"])["groups"]["patient"]
        assert list(groups) == [f"patient {n}" for n in range(1, 7)]
        assert "patient 1_gone.png" in page  # which picture was not found can still be told
        assert "identify a patient" in done.output
    else:
        assert "patient 6" not in page and "…/q20" in page


def test_what_intervals_draw_is_a_number_whatever_it_is_called(tmp_path):
    _, files = evaluated(tmp_path, "--cluster-by", "site", "--group-by", "age")
    assert "ward-nine" not in files["report.html"] and "<bdi>site 1</bdi>" in files["report.html"]
    assert "<dt><bdi>age</bdi></dt><dd><bdi>3" in files["report.html"]


def test_an_object_in_the_metadata_is_numbered_as_well(tmp_path):
    header = {"PatientName": "DOE^JANE-0", "PatientAge": "061Y"}
    _, files = evaluated(tmp_path, "--group-by", "header", header=header, patient=None)
    assert "DOE^JANE-0" not in files["report.html"] + files["summary.json"]
    assert "…/q2" in files["report.html"] and "header 1" in files["summary.csv"]


def test_a_comparison_names_no_patient(tmp_path):
    file = results(tmp_path)
    other = tmp_path / "other.json"
    other.write_text(file.read_text())
    asked = ("--group-by", "patient", "--cluster-by", "patient")
    for form in ((), ("--json",)):
        said = medr1("compare", file, other, *asked, *form).output
        assert "DOE" not in said and "patient 6" in said


def test_an_audit_names_no_patient_by_metadata(tmp_path):
    """The image names of both files differ, so that only the metadata links them."""
    for name in ("train", "test"):
        items = [
            {"image": f"{name}{n}.png", "question": "What?", "options": {"A": "x", "B": "y"},
             "answer": "A", "PatientID": f"DOE^J{n}", "StudyInstanceUID": f"1.2.77.{n}"}
            for n in range(3)
        ]  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps(items))
    out = tmp_path / "out"
    test, train = tmp_path / "test.json", tmp_path / "train.json"
    said = medr1("data", "audit", test, "--against", train, "--output-dir", out).output
    written = {p.name: p.read_text() for p in out.iterdir() if p.name != "image_needed.json"}
    for name, text in {**written, "the terminal": said}.items():
        assert "DOE" not in text and "1.2.77" not in text, name
    assert "patient 3" in written["items.csv"] and "series 3" in written["audit.html"]


@pytest.mark.parametrize(
    ("modality", "metadata", "warned"),
    [("Ultrasound", {}, True), ("CT", {"ConversionType": "WSD"}, True), ("CT", {}, False)],
)
def test_the_page_warns_of_text_in_its_pictures(tmp_path, modality, metadata, warned):
    done, files = evaluated(tmp_path, modality=modality, **metadata)
    page = " ".join(files["report.html"].split())
    said = "may have text burned into the image"
    assert (said in page) is (said in done.output) is warned
    if warned:
        assert "Before you share this page" in page
        assert "23 of 23 questions shown with their images" in page
