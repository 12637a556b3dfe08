"""The guide's own flow: a batch file with absolute paths, its results somewhere else, a report."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

QUESTION = {"problem": "What imaging modality was used? A)CT, B)MRI"}


def medr1(*args):
    command = [sys.executable, "-m", "medr1", *map(str, args)]
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(results.json, the images' folder, another image's path) of a batch of three items."""
    folder = tmp_path_factory.mktemp("flow")
    (folder / "pictures" / "ct").mkdir(parents=True)
    there = sorted((tiny_vqa_folder() / "images").glob("validation_*.jpg"))[:3]
    for path in there[:2]:
        shutil.copy(path, folder / "pictures" / "ct")
    shutil.copy(there[2], folder / "other.jpg")
    names = [*map(str, sorted((folder / "pictures" / "ct").iterdir())), f"{folder}/other.jpg"]
    items = [{"image": name, "solution": "<answer>A</answer>", **QUESTION} for name in names]
    (folder / "batch.json").write_text(json.dumps(items))
    return folder, infer(folder, "out")


def infer(folder, output, *options):
    file = folder / output / "results.json"
    file.parent.mkdir()
    done = medr1(
        "infer", "--model-path", tiny_vl_folder(), "--batch-file", folder / "batch.json",
        "--output-file", file, "--mode", "options", "--max-errors", 9, *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return file


def tiles(page):
    """(pictures, what the grey tiles say)."""
    text = page.read_text()
    return text.count("data:image/jpeg"), re.findall(r'class="missing">(.*?)<br>', text)


def test_absolute_paths_are_answered_and_shown_where_their_folder_is_named(results, tmp_path):
    folder, file = results
    assert [item["error"] for item in json.loads(file.read_text())["results"]] == [None] * 3
    done = medr1("eval", file, "--output-dir", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    words = f"image outside the image folder: --image-root {folder} shows it"
    assert "3 of the 3 images for report.html are not shown" in done.stderr
    assert f"--image-root {folder}" in done.stderr
    assert tiles(tmp_path / "a" / "report.html") == (0, [words] * 3)
    done = medr1("eval", file, "--output-dir", tmp_path / "b", "--image-root", folder)
    assert done.returncode == 0 and "not shown" not in done.stderr
    assert tiles(tmp_path / "b" / "report.html") == (3, [])


def test_nothing_outside_image_root_is_asked_about(results):
    folder, _ = results
    file = infer(folder, "closed", "--image-root", folder / "pictures")
    errors = [item["error"] for item in json.loads(file.read_text())["results"]]
    assert errors[:2] == [None, None] and errors[2]["code"] == "image_outside_root"
    assert str(folder) not in errors[2]["message"]


def test_an_audit_looks_at_nothing_outside(results, tmp_path):
    folder, _ = results
    (tmp_path / "there").mkdir()
    batch = tmp_path / "there" / "batch.json"
    shutil.copy(folder / "batch.json", batch)
    document = json.loads(medr1("data", "audit", batch, "--json").stdout)
    file = document["file"]
    assert file["images_available"] is False and file["defects"]["corrupt_image"] is None
    assert any(f"--image-root {folder}" in note for note in document["notes"])
    done = medr1("data", "audit", batch, "--json", "--image-root", folder)
    file = json.loads(done.stdout)["file"]
    assert file["images_available"] is True and file["defects"]["corrupt_image"] == 0
    closed = medr1("data", "audit", batch, "--json", "--image-root", folder / "pictures")
    assert json.loads(closed.stdout)["file"]["defects"]["corrupt_image"] == 1
