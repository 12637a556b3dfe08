"""From an archive of OmniMedVQA's layout to a data set: what comes out, and what a kill leaves."""

import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from medr1.cli import cli
from medr1.data import resizing
from medr1.data.images import load_image
from medr1.data.readers import read_questions, split_file
from medr1.data.resizing import ResizeJob, resize_images
from medr1.data.roots import resolve_image

NAMES = [
    "a b (1).png", "unbalanced (2.PNG", "c#?%&.jpg", "D.JPEG", "e.tif", "F.BMP", "sixteen.png",
    "g).jpg", "sub dir/h.TIF", "i.bmp", "j.png", "k.Jpg",
]  # fmt: skip
KINDS = ["Modality Recognition", "Lesion Grading"]


def picture(name, number):
    """A small picture in the format that its name says, another for each number."""
    width, height = 30 + 7 * (number % 5), 40 - 3 * (number % 4)
    levels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(levels)
    if name.startswith("sixteen"):
        deep = levels[..., 0].astype(np.uint16) * 16
        image = Image.fromarray(deep)
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".bmp": "BMP", ".png": "PNG"}
    out = io.BytesIO()
    image.save(out, kind[Path(name).suffix.lower()])
    return out.getvalue()


def records(dataset, modality, start, n=24):
    """Raw records, two questions about each image."""
    texts = ["CT, plain", "MRI (IQA)", "X-ray", "Ultrasound"]
    made = []
    for number in range(n):
        image = NAMES[(number // 2) % len(NAMES)]
        made.append(
            {
                "dataset": dataset,
                "question_id": f"{dataset}_{start + number:04d}",
                "question_type": KINDS[number % 2],
                "question": f"What is shown, case {number}?",
                "gt_answer": texts[number % 4],
                "image_path": f"Images/{dataset}/{image}",
                **{f"option_{letter}": text for letter, text in zip("ABCD", texts, strict=True)},
                "modality_type": modality,
            }
        )
    return made


def material():
    """Name -> content of a small OmniMedVQA, with its one record that spells a key otherwise."""
    ct, mr = records("Chest CT Scan", "CT(Computed Tomography)", 0), records("Brain", "MR", 100)
    ct[5]["modality"] = ct[5].pop("modality_type")
    files = {
        "QA_information/Open-access/Chest CT Scan.json": json.dumps(ct).encode(),
        "QA_information/Open-access/Brain.json": json.dumps(mr).encode(),
        "QA_information/Restricted-access/Held.json": json.dumps(
            records("Held", "MR", 500, 2)
        ).encode(),
        "README.md": b"OmniMedVQA",
    }
    for offset, dataset in ((0, "Chest CT Scan"), (50, "Brain")):
        for number, name in enumerate(NAMES):
            files[f"Images/{dataset}/{name}"] = picture(name, offset + number)
    return files


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same material as zip, tar, tar.gz and folder."""
    top = tmp_path_factory.mktemp("omni")
    with zipfile.ZipFile(top / "OmniMedVQA.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in material().items():
            packed.writestr(f"OmniMedVQA/{name}", content)
    for ending, mode in (("tar", "w"), ("tar.gz", "w:gz")):
        with tarfile.open(top / f"OmniMedVQA.{ending}", mode) as tar:
            for name, content in material().items():
                info = tarfile.TarInfo(f"./OmniMedVQA/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    for name, content in material().items():
        path = top / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return {
        "zip": top / "OmniMedVQA.zip",
        "tar": top / "OmniMedVQA.tar",
        "tar.gz": top / "OmniMedVQA.tar.gz",
        "folder": top / "folder",
    }


def prepared(source, output, *args, code=0):
    """What the command says."""
    words = ["data", "prepare", str(source), "--output-dir", str(output), "--workers", "1", *args]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def manifest_of(output):
    return json.loads((output / "manifest.json").read_text())


def tree(folder):
    """Every file's name and hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "folder"])
def test_every_form_of_the_source_gives_the_same(kind, sources, tmp_path):
    before = tree(sources[kind].parent)
    prepared(sources[kind], tmp_path / "out", "--size", "32")
    prepared(sources["folder"], tmp_path / "again", "--size", "32")
    assert tree(sources[kind].parent) == before
    one, other = tree(tmp_path / "out"), tree(tmp_path / "again")
    for files in (one, other):
        del files["manifest.json"]
    assert one == other
    assert {"train.json", "test.json", "dataset_dict.json", "train/state.json"} <= one.keys()
    assert sum(name.startswith("Images/") for name in one) == 24


def test_what_is_written(sources, tmp_path):
    out = tmp_path / "out"
    result = prepared(sources["zip"], out, "--size", "32", "--test-share", "0.25")
    assert result.stdout == f"{out}\n"
    manifest = manifest_of(out)
    assert manifest["counts"] | {"by": None} == {
        "items": 48, "images": 24, "train": 36, "test": 12, "by": None,
    }  # fmt: skip
    assert manifest["counts"]["by"]["modality"] == {
        "CT(Computed Tomography)": {"test": 6, "train": 18},
        "MR": {"test": 6, "train": 18},
    }
    assert manifest["counts"]["by"]["question_type"]["Lesion Grading"] == {"test": 6, "train": 18}
    assert manifest["image_notes"] == {"windowed": 2} and manifest["errors"] == []
    files = tree(out)
    del files["manifest.json"]
    assert manifest["files"] == files
    assert str(tmp_path) not in (out / "manifest.json").read_text()

    items = json.loads((out / "train.json").read_text())
    assert {tuple(item) for item in items} == {("image", "problem", "solution")}
    images = {split: {i["image"] for i in json.loads((out / f"{split}.json").read_text())}
              for split in ("train", "test")}  # fmt: skip
    assert not images["train"] & images["test"]

    loaded = datasets.load_from_disk(str(out))
    assert len(loaded["train"]) == 36 and loaded["train"].features["image"].decode
    row = loaded["test"][0]
    assert max(row["image"].size) == 32 and row["image"].mode == "RGB"
    assert row["problem"].startswith("What is shown") and "A)CT, plain, B)MRI" in row["problem"]

    for path in (split_file(out, "train"), out / "train"):  # medr1's own readers
        questions = read_questions(path)
        samples = questions.require_complete()
        assert len(samples) == 36
        for sample in samples:
            image = load_image(resolve_image(sample.images[0], questions.image_root)).image
            assert max(image.size) == 32
            assert sample.options["B"] == "MRI (IQA)"
    assert {s.modality for s in samples} == {"CT(Computed Tomography)", "MR"}
    assert {s.question_type for s in samples} == set(KINDS)
    assert samples[0].id.startswith("Brain_0")


def test_size_and_square(sources, tmp_path):
    prepared(sources["zip"], tmp_path / "square", "--square", "--size", "20", "--modality", "mr")
    loaded = datasets.load_from_disk(str(tmp_path / "square" / "train"))
    assert {row["image"].size for row in loaded} == {(20, 20)}
    assert set(loaded["modality"]) == {"MR"}
    prepared(sources["zip"], tmp_path / "whole", "--size", "0", "--modality", "CT")
    loaded = datasets.load_from_disk(str(tmp_path / "whole" / "train"))
    assert {max(row["image"].size) for row in loaded} > {40}
    assert set(loaded["modality"]) == {"CT(Computed Tomography)"}


def test_a_folder_for_each_domain(sources, tmp_path):
    out = tmp_path / "out"
    prepared(sources["zip"], out, "--by", "question_type", "--size", "16")
    assert {path.name for path in out.iterdir()} == {*KINDS, "manifest.json"}
    for kind in KINDS:
        assert set(datasets.load_from_disk(str(out / kind))["train"]["question_type"]) == {kind}
        questions = read_questions(split_file(out / kind, "test"))
        for sample in questions.require_complete():
            assert resolve_image(sample.images[0], questions.image_root).path.is_file()


def test_the_published_splits_are_followed(sources, tmp_path):
    prepared(sources["zip"], tmp_path / "first", "--size", "16", "--seed", "3")
    splits = tmp_path / "splits"
    splits.mkdir()
    for split in ("train", "test"):
        items = json.loads((tmp_path / "first" / f"{split}.json").read_text())
        (splits / f"All_{split}.json").write_text(
            json.dumps(items[:-2] if split == "train" else items)
        )
    out = tmp_path / "out"
    result = prepared(sources["zip"], out, "--size", "16", "--splits", str(splits))
    assert "2 of 48 items are in no published split" in result.stderr
    for split in ("train", "test"):
        expected = json.loads((splits / f"All_{split}.json").read_text())
        assert json.loads((out / f"{split}.json").read_text()) == expected
    # the split files themselves, with the archive as the place of the images
    prepared(splits, tmp_path / "third", "--image-root", str(sources["tar.gz"]), "--size", "16")
    assert (tmp_path / "third/test.json").read_bytes() == (out / "test.json").read_bytes()
    prepared(sources["zip"], tmp_path / "x", "--split", "published", code=2)
    (splits / "More_test.json").write_text((splits / "All_train.json").read_text())
    said = prepared(sources["zip"], tmp_path / "x", "--splits", str(splits), code=2).stderr
    assert "the same item is also in a test file" in said or "train file" in said


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "pics").mkdir()
    rows = ["file,text,label,pid,age"]
    for number in range(20):
        (tmp_path / "pics" / f"{number}.png").write_bytes(picture("x.png", number))
        rows.append(
            f"{number}.png,Is case {number} ill?,{'Yes' if number % 2 else 'No'},p{number // 4},7"
        )
    (tmp_path / "my.csv").write_text("\n".join(rows))
    mapping = [f"--map={key}" for key in
               ("image=file", "question=text", "ground_truth=label", "patient=pid")]  # fmt: skip
    prepared(
        tmp_path / "my.csv", tmp_path / "out", *mapping, "--image-root", str(tmp_path / "pics"),
        "--group-by", "patient",
    )  # fmt: skip
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    assert set(loaded["train"]["patient"]).isdisjoint(loaded["test"]["patient"])
    assert len(loaded["test"]) == 4
    assert loaded["test"][0]["solution"] in ("<answer> Yes </answer>", "<answer> No </answer>")


def test_missing_and_damaged_images_are_named_and_over_the_budget(tmp_path):
    for name, content in material().items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "in/Images/Brain/j.png").unlink()
    damaged = tmp_path / "in/Images/Brain/c#?%&.jpg"
    damaged.write_bytes(damaged.read_bytes()[:100])
    qa = tmp_path / "in/QA_information/Open-access/Brain.json"
    held = json.loads(qa.read_text())
    held[0]["gt_answer"] = "none of them"
    held[1]["image_path"] = "../../etc/passwd"
    qa.write_text(json.dumps(held))
    out = tmp_path / "out"
    said = prepared(tmp_path / "in", out, "--size", "16", code=3).stderr
    assert "6 of 48 items were left out" in said and "Traceback" not in said
    errors = manifest_of(out)["errors"]
    assert [(e["code"], e["image"]) for e in errors] == [
        ("bad_ground_truth", "Images/Brain/a b (1).png"),
        ("image_outside_root", "../../etc/passwd"),
        ("image_unreadable", "Images/Brain/c#?%&.jpg"),
        ("image_unreadable", "Images/Brain/c#?%&.jpg"),
        ("image_missing", "Images/Brain/j.png"),
        ("image_missing", "Images/Brain/j.png"),
    ]
    assert "Brain.json, item 1" in errors[0]["message"]
    assert (
        len(json.loads((out / "train.json").read_text()))
        + len(json.loads((out / "test.json").read_text()))
        == 42
    )
    prepared(tmp_path / "in", out, "--size", "16", "--max-errors", "6")  # complete, and allowed
    assert not (tmp_path / "passwd").exists()


def run(*args):
    command = [sys.executable, "-m", "medr1", "data", "prepare", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(pid):
    """The processes that a process started and that live."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@pytest.mark.slow  # a dozen processes
def test_killed_and_resumed_it_ends_with_the_same_bytes(sources, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    # enlarged, so that there is time to be killed
    size = ["--size", "1500", "--modality", "CT"]
    prepared(sources["zip"], whole, *size)
    random.seed(1)
    kills = 0
    for attempt in range(20):
        begun, workers = _made(out), str(1 + attempt % 2)
        process = run(sources["zip"], "--output-dir", out, *size, "--workers", workers)
        while kills < 4 and _made(out) == begun and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.1 * random.random())
        started = children(process.pid)
        if kills == 4 or process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
        until = time.monotonic() + 60
        while any(map(_lives, started)):
            assert time.monotonic() < until, "its processes outlive it"
            time.sleep(0.05)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert kills >= 2
    assert tree(out) == tree(whole)


def _made(out):
    """How many lines its journal has."""
    journal = out / "prepare.journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_two_processes_write_what_one_does(sources, tmp_path):
    prepared(sources["tar.gz"], tmp_path / "one", "--size", "48")
    process = run(
        sources["tar.gz"], "--output-dir", tmp_path / "two", "--size", "48", "--workers", "2"
    )
    assert process.wait(600) == 0, process.stderr.read()
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_the_same_command_again_and_another_one(sources, tmp_path):
    out = tmp_path / "out"
    prepared(sources["zip"], out, "--size", "16")
    before = tree(out)
    assert "complete already" in prepared(sources["zip"], out, "--size", "16").stderr
    said = prepared(sources["zip"], out, "--size", "17", code=2).stderr
    assert "(different: options)" in said
    assert tree(out) == before
    prepared(sources["zip"], out, "--size", "17", "--overwrite")
    assert tree(tmp_path / "out.bak") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    assert "is not empty" in prepared(sources["zip"], tmp_path / "mine", code=2).stderr


def test_begun_otherwise_it_is_refused_until_overwrite(sources, tmp_path):
    out = tmp_path / "out"
    process = run(sources["zip"], "--output-dir", out, "--size", "3000", "--workers", "1")
    while process.poll() is None and not (out / "Images").exists():
        time.sleep(0.02)
    said = prepared(sources["zip"], out, "--size", "3000", code=5).stderr
    assert "is being written by another run" in said
    process.kill()
    process.wait()
    said = prepared(sources["zip"], out, "--size", "16", code=2).stderr
    assert "belongs to another run (different: options)" in said
    prepared(sources["zip"], out, "--size", "16", "--overwrite")


def test_an_image_changed_between_is_found(sources, tmp_path, monkeypatch):
    from medr1.data import prepare

    def killed(*args):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_with_images", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare(prepare.PreparationOptions(sources["zip"], size=16), out)
    (out / "Images/Brain/j.png").write_bytes(b"x")
    assert (
        "has changed since it was written"
        in prepared(sources["zip"], out, "--size", "16", code=4).stderr
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.json", None, "file not found: none.json"),
        ("none.zip", None, "file not found: none.zip"),
        ("bad.jsonl", '{"image": "a.png", "question": "q"}\n{"image" 1}', "bad.jsonl, line 2"),
        ("bad.csv", "image,question\na,b,c\n", "bad.csv, line 2"),
        ("bad.zip", "PK nothing", "bad.zip cannot be read as an archive"),
        ("bad.tar", "x" * 2000, "bad.tar cannot be read as an archive"),
        ("one.json", '[{"image": "a.png", "question": "q"}]', "item 1: has no ground_truth"),
        ("one.txt", "x", "the extension '.txt' is not known"),
        ("two.json", '[{"image": "a.png", "question": "q", "ground_truth": "Yes"}]', "split"),
    ],
)
def test_bad_input_is_one_sentence(name, content, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_text(content)
    said = prepared(name, "out", code=2).stderr
    assert says in said and "Traceback" not in said, said
    assert not Path("out").exists() or not any(Path("out").iterdir())


def test_a_faulty_file_of_records_is_named_with_its_line(sources, tmp_path):
    shutil.copytree(sources["folder"], tmp_path / "in")
    (tmp_path / "in/QA_information/Open-access/Zoo.json").write_text('[\n{"a": 1},\n{"b" 2}]')
    said = prepared(tmp_path / "in", tmp_path / "out", code=2).stderr
    assert "Zoo.json, line 3, column" in said
    said = prepared(sources["zip"], tmp_path / "out", "--modality", "Dermoscopy", code=2).stderr
    assert "there are CT(Computed Tomography), MR" in said
    said = prepared(sources["zip"], tmp_path / "out", "--group-by", "patient", code=2).stderr
    assert "48 of 48 items" in said and "--map patient=KEY" in said


def test_the_restricted_records_are_read_when_asked_for(sources, tmp_path):
    said = prepared(sources["zip"], tmp_path / "out", "--restricted", "--size", "8", code=3).stderr
    assert "2 of 50 items were left out" in said and "is not in OmniMedVQA.zip" in said


def test_an_output_that_cannot_be_is_said(sources, tmp_path):
    (tmp_path / "file").write_text("x")
    prepared(sources["zip"], tmp_path / "file", code=6)
    prepared(sources["zip"], tmp_path / "file" / "out", code=6)


def test_few_bytes_of_files_wait_in_memory(tmp_path, monkeypatch):
    """Members of an archive may have 256 MB each."""
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "PNG")
    begun = []

    def jobs():
        for number in range(6):
            begun.append(number)
            target = tmp_path / f"{number}.png"
            yield ResizeJob(number, target.name, out.getvalue(), target, 4, False)

    monkeypatch.setattr(resizing, "MAX_WAITING", len(out.getvalue()))
    ahead = [len(begun) - done for done, _ in enumerate(resize_images(jobs(), 2), 1)]
    assert len(ahead) == 6 and max(ahead) <= 1
