"""Scans from the first command to the last, and nothing of a patient in any of their outputs."""

import gzip
import json
import struct

import numpy as np
import pytest
from dicom_files import PLANTED, plant, write_dicom, write_planted, write_series
from in_process import medr1 as run_medr1
from leaks import assert_nothing_leaks, leaks
from PIL import Image
from pydicom import dcmread

from medr1.data.images import load_image
from medr1.data.readers import read_questions
from medr1.data.roots import ImageRoot, resolve_image
from medr1.data.scans.options import ScanOptions
from medr1.data.scans.private_names import _OF_FOLDER, FILE_NAME, PrivateNames

MODEL = "checkpoints/tiny-vl"
QUESTION = {"question": "Which modality? A)CT, B)MRI", "ground_truth": "A"}
FOLDER = next(planted.value for planted in PLANTED if planted.name == "folder name")


def medr1(*args, code=0):
    done = run_medr1(*args)
    assert done.returncode == code, done.stderr
    return done


def volume():
    """A head of 12 axial slices in HU: (slices from the head down, rows, columns)."""
    z, y, x = np.mgrid[:12, :40, :32]
    inside = ((x - 16) / 12) ** 2 + ((y - 20) / 16) ** 2 + ((z - 6) / 6) ** 2 < 1
    return np.where(inside, 30 + 4 * z + (x > 16), -1000).astype(np.int16)


def nifti(values):
    """The same volume as .nii.gz, in the order and the directions of NIfTI (RAS)."""
    ras = values.transpose(2, 1, 0)[::-1, ::-1, ::-1]
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *ras.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 2, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<2f", header, 112, 1, 0)
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0)
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + ras.tobytes(order="F"))


@pytest.fixture
def data(tmp_path):
    """A folder with a PNG, a NIfTI volume, and a patient's series and single file."""
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (40, 30), (90, 20, 20)).save(folder / "photo.png")
    (folder / "brain.nii.gz").write_bytes(nifti(volume()))
    settings = {"BodyPartExamined": "HEAD", "PatientAge": "045Y", "PatientSex": "F"}
    write_planted(folder, volume()[5], modality="CT", allocated=16, signed=True, **settings)
    # -z: the first slice of the volume is the highest one
    paths = write_series(folder / FOLDER / "series", volume(), step=-2.0, **settings)
    for path in paths:
        dataset = dcmread(path)
        uid = dataset.SeriesInstanceUID
        plant(dataset)
        dataset.SeriesInstanceUID = uid
        dataset.save_as(path, enforce_file_format=True)
    yield folder
    _OF_FOLDER.clear()


def write_questions(data):
    single = next((data / FOLDER).glob("*.dcm"))
    names = [
        *("photo.png", f"{FOLDER}/series", f"{FOLDER}/{single.name}", "brain.nii.gz"),
        *("brain.nii.gz#plane=coronal&slice=20&window=bone", f"{FOLDER}/none.dcm"),
    ]
    items = [{"image": name, **QUESTION} for name in names]
    (data / "questions.json").write_text(json.dumps(items))
    return data / "questions.json"


def test_a_series_is_answered_from_the_command_line(data):
    done = medr1(
        *("infer", "--model-path", MODEL, "--image-path", data / FOLDER / "series"),
        *("--slices", "9", "--window", "brain", "--question", QUESTION["question"], "--json"),
    )
    record = json.loads(done.stdout)
    alias = record["images"][0].partition("#")[0]
    numbers = [1, 3, 4, 5, 7, 8, 9, 11, 12]
    assert record["images"] == [f"{alias}#slice={n}&window=brain" for n in numbers]
    assert record["image_notes"][0] == "slice 1 of 12" and record["option_probs"]
    assert not (data / FILE_NAME).exists() and not (data / FOLDER / FILE_NAME).exists()


def test_all_kinds_in_one_file_and_nothing_of_a_patient_in_any_output(data, tmp_path):
    questions, out = write_questions(data), tmp_path / "out"
    out.mkdir()
    infer = ("infer", "--model-path", MODEL, "--batch-file", questions, "--mode", "options")
    log = [
        medr1(
            *(*infer, "--output-file", out / "results.json", "--slices", "3", "--window", "brain"),
            code=3,
        ),
        medr1(
            *("eval", out / "results.json", "--output-dir", out / "report"),
            *("--image-root", data, "--group-by", "age_band"),
        ),
        medr1(
            *("data", "audit", questions, "--against", questions, "--output-dir", out / "audit"),
            *("--image-hashes", out / "hashes.jsonl"),
        ),
        medr1(
            *("data", "prepare", questions, "--output-dir", out / "prepared", "--size", "32"),
            *("--max-errors", "1", "--workers", "1"),
        ),
        medr1(
            *("robustness", "--model-path", MODEL, "--batch-file", questions, "--mode", "options"),
            *("--output-dir", out / "robustness", "--perturbations", "gaussian_noise"),
            *("--severities", "1", "--max-errors", "3"),
        ),
        medr1(*(*infer[:-2], "--output-file", out / "verbose.json", "--verbose"), code=3),
    ]
    (out / "log.txt").write_text("\n".join(done.stdout + done.stderr for done in log))
    assert_nothing_leaks(out)
    assert leaks(data)  # the search finds them where they are

    entries = json.loads((out / "results.json").read_text())["results"]
    assert [len(entry["images"]) for entry in entries] == [1, 3, 1, 3, 1, 1]
    assert [bool(entry["error"]) for entry in entries] == [False] * 5 + [True]
    assert entries[1]["modality"] == "CT" and entries[1]["metadata"]["age_band"] == "40-49"
    summary = json.loads((out / "report/summary.json").read_text())
    assert summary["groups"]["age_band"]["40-49"]["n"] == 2
    # thumbnails of every image but the missing one
    assert (out / "report/report.html").read_text().count("data:image/jpeg;base64,") >= 9
    manifest = json.loads((out / "prepared/manifest.json").read_text())
    assert manifest["counts"]["images"] == 5 and len(manifest["errors"]) == 1


def test_a_slice_is_the_same_array_from_dicom_and_from_nifti(data):
    questions = write_questions(data)
    options = ScanOptions(window="brain", slices="2,7,11").checked()
    samples = read_questions(questions, scans=options).samples
    root = ImageRoot(data)

    def arrays(sample):
        images = (load_image(resolve_image(name, root)).image for name in sample.images)
        return [np.asarray(image) for image in images]

    series, from_nifti = arrays(samples[1]), arrays(samples[3])
    assert len(series) == 3 and all(map(np.array_equal, series, from_nifti))
    expected = np.where(volume()[6] > 0, volume()[6] / 79 * 255, 0)
    assert np.abs(series[1][..., 0] - expected).max() <= 0.5


def test_converted_questions_keep_the_names_of_their_file(data, tmp_path):
    questions = write_questions(data)
    read_questions(questions, scans=ScanOptions())
    medr1("data", "convert", questions, tmp_path / "out.csv")
    assert f"{FOLDER}/series" in (tmp_path / "out.csv").read_text()


def test_runs_pair_and_another_key_gives_other_names(data, monkeypatch):
    questions = write_questions(data)

    def names(key=None):
        _OF_FOLDER.clear()
        monkeypatch.delenv("MEDR1_ID_KEY", raising=False)
        if key:
            monkeypatch.setenv("MEDR1_ID_KEY", key)
        samples = read_questions(questions, scans=ScanOptions()).samples
        return [(sample.id, *sample.images) for sample in samples]

    first = names()
    assert names() == first and (data / FILE_NAME).stat().st_mode & 0o077 == 0
    own = names("a key of my own")
    assert own[0] == first[0] and own[1] != first[1] and names("a key of my own") == own
    assert "a key of my own" not in (data / FILE_NAME).read_text()


def test_processes_that_begin_together_have_one_key(tmp_path):
    first, second = PrivateNames(tmp_path), PrivateNames(tmp_path)
    assert first.key != second.key and not (tmp_path / FILE_NAME).exists()
    first.make_key()
    second.make_key()
    alias = first.add("a.dcm", (("a.dcm", 0),))
    assert second.add("a.dcm", ()) == alias and second.add("b.dcm", (("b.dcm", 0),)) != alias
    first.save()
    second.save()
    assert PrivateNames(tmp_path).slices(alias) == (("a.dcm", 0),)
    assert {path.name for path in tmp_path.iterdir()} <= {FILE_NAME, f"{FILE_NAME}.lock"}


def test_results_pair_with_the_questions_and_with_another_window(data, tmp_path):
    questions = write_questions(data)
    items = json.loads(questions.read_text())[:5]
    items += [{**items[2], "image": f"{FOLDER}/../{items[2]['image']}"}]  # the same file
    questions.write_text(json.dumps(items))
    infer = ("infer", "--model-path", MODEL, "--mode", "options", "--batch-file")
    brain, own = tmp_path / "brain.json", tmp_path / "own.json"
    medr1(*infer, questions, "--output-file", brain, "--window", "brain", "--slices", "3")
    medr1(*infer, questions, "--output-file", own)
    results = json.loads(brain.read_text())
    ids = [entry["id"] for entry in results["results"]]
    assert ids == [entry["id"] for entry in json.loads(own.read_text())["results"]]
    assert len(set(ids)) == 6 and ids[5] == f"{ids[2]}-2"

    for entry in results["results"]:
        del entry["ground_truth"]
    brain.write_text(json.dumps(results))
    _OF_FOLDER.clear()
    compared = medr1("compare", brain, own, "--data", questions, "--json")
    assert json.loads(compared.stdout)["n"] == 6
    out = tmp_path / "out"
    medr1("eval", brain, "--data", questions, "--image-root", data, "--output-dir", out / "report")
    assert json.loads((out / "report/summary.json").read_text())["n"] == 6
    medr1(
        *("data", "filter", questions, "--results", brain, "--output-file", out / "easy.json"),
        *("--min-pass", "0", "--max-pass", "1"),
    )
    assert_nothing_leaks(out)

    chosen = medr1(
        *(*infer, out / "easy.json", "--image-root", data, "--slices", "2"),
        *("--output-file", out / "again.json"),
    )
    again = json.loads((out / "again.json").read_text())["results"]
    assert len(again) == 6 and not any(entry["error"] for entry in again), chosen.stderr
    by_id = {entry["id"]: entry for entry in again}
    assert [len(by_id[item_id]["images"]) for item_id in ids] == [1, 2, 1, 2, 1, 1]
    assert by_id[ids[1]]["metadata"]["age_band"] == "40-49"


def test_names_of_dicom_files_that_cannot_be_read_are_private_too(data, tmp_path):
    folder, single = data / FOLDER, next((data / FOLDER).glob("*.dcm"))
    stem = single.stem
    (folder / f"{stem}_cut.dcm").write_bytes(single.read_bytes()[:900])
    (folder / f"{stem}.1.2.840.4").write_bytes(single.read_bytes()[132:])  # without DICM
    (folder / f"{stem}_empty").mkdir()
    (data / f"{stem}_link.dcm").symlink_to(single)
    (folder / f"{stem}.nii.gz").write_bytes(single.read_bytes())
    names = [
        *(f"{FOLDER}/{stem}{end}" for end in ("_cut.dcm", ".1.2.840.4", "_empty", ".nii.gz")),
        *(f"{FOLDER}/{stem}{end}" for end in ("_none", "_none.IMA", "_none.1.2.840.113")),
        *(f"{FOLDER}/{stem}.dcm#{view}" for view in ("slice=9", "slice=1x")),
        *(f"{FOLDER}/series", f"{FOLDER}/series#series=4", f"../{FOLDER}/{stem}.dcm"),
        *(f"{stem}_link.dcm", f"https://example.org/{stem}.dcm"),
    ]
    items = [{"image": name, **QUESTION} for name in names]
    (data / "questions.json").write_text(json.dumps(items))
    out = tmp_path / "out"
    out.mkdir()
    done = medr1(
        *("infer", "--model-path", MODEL, "--batch-file", data / "questions.json"),
        *("--output-file", out / "results.json", "--mode", "options", "--max-errors", "99"),
    )
    (out / "log.txt").write_text(done.stdout + done.stderr)
    entries = json.loads((out / "results.json").read_text())["results"]
    errors = [entry["error"]["code"] if entry["error"] else "" for entry in entries]
    # the nii.gz is DICOM; a series that was asked for by a wrong number is still known itself
    assert [not code for code in errors] == [n in (3, 9, 12) for n in range(len(names))]
    assert errors[11] == "image_outside_root" and errors[13] == "image_remote"
    _OF_FOLDER.clear()
    medr1("eval", out / "results.json", "--data", data / "questions.json", "--output-dir",
          out / "report")  # fmt: skip
    assert_nothing_leaks(out)


def test_the_folder_may_be_read_only(data, monkeypatch, caplog):
    questions = write_questions(data)
    monkeypatch.setattr("medr1.data.scans.private_names._write_private", _refuse)
    samples = read_questions(questions, scans=ScanOptions()).samples
    assert "Cannot write .medr1-private-names.json" in caplog.text
    location = resolve_image(samples[1].images[0], ImageRoot(data))
    assert load_image(location).image.size == (96, 120)


def _refuse(*_):
    raise PermissionError


def test_a_window_in_a_name_is_checked(data):
    infer = ("infer", "--model-path", MODEL, "--question", "Where?", "--json", "--image-path")
    path = next((data / FOLDER).glob("*.dcm"))
    done = medr1(*infer, f"{path}#window=40,400")
    assert json.loads(done.stdout)["images"][0].endswith("#window=40,400")
    assert "unknown window 'brian'" in medr1(*infer, f"{path}#window=brian", code=2).stderr
    assert "Did you mean" in medr1(*infer, f"{path}.dcm", code=2).stderr


def test_a_folder_with_several_series_names_them(data, tmp_path):
    write_dicom(data / FOLDER / "series" / "scout", np.zeros((8, 8)), modality="MR")
    path = data / FOLDER / "series"
    infer = ("infer", "--model-path", MODEL, "--question", "Where?")
    done = medr1(*infer, "--image-path", path, code=2)
    assert "the folder has 2 series (1: CT, 12 images; 2: MR, 1 image)" in done.stderr
    assert FOLDER not in done.stderr
    assert medr1(*infer, "--image-path", f"{path}#series=2").stdout


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--window", "brian", "Did you mean brain?"),
        ("--window", "40/0", "unknown window '40/0'"),
        ("--slices", "0", "--slices '0' is not known"),
        ("--slices", "3,99", "there are 12 slices"),
        ("--slices", "montage:20x20", "a montage of at most 100"),
    ],
)
def test_wrong_options_say_what_is_possible(option, value, words, data):
    done = medr1(
        *("infer", "--model-path", MODEL, "--image-path", data / FOLDER / "series"),
        *("--question", "Where?", option, value),
        code=2,
    )
    assert words in done.stderr and "Traceback" not in done.stderr
