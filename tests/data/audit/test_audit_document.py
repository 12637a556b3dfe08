"""A whole audit on made files whose every count is known by hand, each kind of leak planted."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from medr1.data.audit.document import audit, failed_gates
from medr1.data.audit.leakage import LEAKS
from medr1.data.readers import read_questions
from medr1.documents.audit import Leak, Wording
from medr1.errors import InputError


def picture(seed: int) -> Image.Image:
    """Smooth blobs that no other seed makes alike."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 6), dtype=np.uint8)
    return Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC).convert("RGB")


def jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def item(image, question="What is shown?", options="CT MRI", gold="A", **more):
    listed = ", ".join(f"{k}){v}" for k, v in zip("ABCD", options.split(), strict=False))
    return {
        "image": image,
        "problem": f"{question} {listed}",
        "solution": f"<answer> {gold} </answer>",
        **more,
    }


def write(path, items):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(items, indent=1))
    return path


@pytest.fixture
def planted(tmp_path):
    """(test.json, train.json): item i of test meets the training file in the way named there."""
    folder = tmp_path / "img"
    folder.mkdir()
    for n in range(8):
        picture(n).save(folder / f"train{n}.png")
    (folder / "PAT_7_1.png").write_bytes((folder / "train7.png").read_bytes())
    picture(20).save(folder / "PAT_7_2.png")
    (folder / "copy.png").write_bytes((folder / "train1.png").read_bytes())
    half = picture(2).resize((80, 60))
    (folder / "smaller.jpg").write_bytes(jpeg(half, 60))
    (folder / "brighter.jpg").write_bytes(
        jpeg(ImageEnhance.Brightness(picture(3)).enhance(1.1), 85)
    )
    picture(4).save(folder / "Train4.png")
    picture(30).save(folder / "own.png")
    train = [item(f"img/train{n}.png", f"Question {n} of train?") for n in range(7)]
    train.append(item("img/PAT_7_1.png", "What does this patient have?"))
    test = [
        item("./img//train0.png", "Something else?", "X-Ray PET", "B"),  # same_image, bytes
        item("img/copy.png", "Something else?", "X-Ray PET", "B"),  # same_bytes
        item("img/smaller.jpg", "Something else?", "X-Ray PET", "B"),  # near_image
        item("img/brighter.jpg", "Question 3 of train?", "X-Ray PET", "B"),  # near, near_question
        item("img/Train4.png", "Something else?", "X-Ray PET", "B"),  # by case, same bytes
        item("img/PAT_7_2.png", "Something else?", "X-Ray PET", "B"),  # same_patient
        item("img/train5.png", "question 5 of TRAIN"),  # same image, question and answer
        item("img/train6.png", "Question 6 of a train?", "X-Ray CT", "B"),  # nearly, same answer
        item("img/own.png", "Question 5 of train?"),  # the wording alone: no leak
    ]
    return write(tmp_path / "test.json", test), write(tmp_path / "train.json", train)


def test_every_planted_leak_is_found_and_nothing_else(planted):
    test, train = planted
    found = audit(test, [train])
    flagged = {kind: set() for kind in LEAKS}
    for row in found.items:
        if row.kind in flagged:
            flagged[row.kind].add(row.item - 1)
    assert flagged == {
        "same_image": {0, 6, 7},
        "same_image_by_case": {4},
        "same_bytes": {0, 1, 4, 6, 7},
        "near_image": {2, 3},
        "same_patient": {5},
        "same_series": set(),
        "same_image_and_question": {6},
        "near_question": {3, 7},
        "same_image_and_answer": {6, 7},
    }
    leaks = found.document.leakage
    assert leaks["same_image"] == Leak(items=3, share=3 / 9, images=3)
    assert leaks["same_patient"] == Leak(items=1, share=1 / 9, patients=1)
    assert leaks["same_series"] == Leak(items=0, share=0.0, series=0)
    assert leaks["near_question"] == Leak(items=2, share=2 / 9)
    assert found.document.against[0].wordings == {
        "same_question": Wording(items=3, wordings=2),
        "same_question_and_options": Wording(items=2),
        "near_question": Wording(items=1, wordings=1),
    }
    assert found.document.notes == []


def test_each_flagged_item_says_where_it_and_its_counterpart_stand(planted):
    test, train = planted
    row = next(r for r in audit(test, [train]).items if r.kind == "same_image_and_question")
    assert (row.file, row.line, row.item) == (str(test), 32, 7)
    assert (row.other_file, row.other_line, row.other_item) == (str(train), 27, 6)
    assert test.read_text().splitlines()[row.line - 1].strip() == "{"


def test_without_images_the_rest_is_audited_and_that_is_said_once(planted, tmp_path):
    texts = [write(tmp_path / "texts" / p.name, json.loads(p.read_text())) for p in planted]
    document = audit(texts[0], [texts[1]]).document
    assert document.leakage["same_image"].items == 3
    assert document.leakage["near_image"].items is None
    assert document.file.defects["missing_image"] is None
    (note,) = document.notes
    assert note == f"no images found below {tmp_path / 'texts'}; image checks were not done."


def test_equal_paths_of_different_pictures_are_no_leak(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        picture(seed).save(tmp_path / name / "1.png")
        write(tmp_path / name / "set.json", [item("1.png", f"Question {seed}?")])
    document = audit(tmp_path / "a/set.json", [tmp_path / "b/set.json"]).document
    assert {kind: leak.items for kind, leak in document.leakage.items()} == dict.fromkeys(LEAKS, 0)
    (note,) = document.notes
    assert note.startswith("1 image paths") and f"{tmp_path}/b/set.json" in note


def test_missing_and_corrupt_images_are_defects(tmp_path):
    picture(1).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    path = write(tmp_path / "t.json", [item("good.png"), item("gone.png"), item("bad.png")])
    found = audit(path)
    rows = [(row.kind, row.item) for row in found.items]
    assert rows == [("missing_image", 2), ("corrupt_image", 3)]
    assert found.document.file.defects["missing_image"] == 1
    assert "gone.png" in found.items[0].detail


def test_several_training_files_are_counted_each_and_together(tmp_path):
    test = write(tmp_path / "t.json", [item(f"{n}.png") for n in range(4)])
    one = write(tmp_path / "one.json", [item("0.png", "a?"), item("1.png", "b?")])
    two = write(tmp_path / "two.json", [item("1.png", "c?"), item("2.png", "d?")])
    document = audit(test, [one, two]).document
    assert [f.leakage["same_image"].items for f in document.against] == [2, 2]
    assert document.leakage["same_image"] == Leak(items=3, share=0.75, images=3)
    assert [f.fitted for f in document.against] == [True, False]
    with pytest.raises(InputError, match="twice"):
        audit(test, [one, one])


def test_gates_say_why(tmp_path):
    test = write(tmp_path / "t.json", [item("0.png", options="CT CT")])
    train = write(tmp_path / "train.json", [item("0.png")])
    said = failed_gates(audit(test, [train]).document)
    assert said["defects"] == "defects (1 duplicate_options)"
    assert said["leakage"].startswith("leakage (1 same_image, ")
    assert "shortcut" not in said  # one item shows nothing
    assert failed_gates(audit(test).document).keys() == {"defects"}


def test_the_image_hashes_are_kept_and_used_again(planted, tmp_path, caplog):
    test, train = planted
    kept = tmp_path / "hashes.jsonl"
    first = audit(test, [train], image_hashes=kept).document
    lines = len(kept.read_text().splitlines())
    with kept.open("a") as file:
        file.write('{"key": "half a li')
    with caplog.at_level("INFO", "medr1"):
        again = audit(test, [train], image_hashes=kept).document
    assert again == first and "were hashed before" in caplog.text
    assert len(kept.read_text().splitlines()) == lines + 1
    with pytest.raises(InputError, match=r"train\.json"):
        audit(test, [train], image_hashes=train)


def test_the_same_files_and_seed_give_the_same_audit(planted):
    test, train = planted
    one, other = audit(test, [train], seed=3), audit(test, [train], seed=3)
    assert one == other
    assert one.document.file.sha256 == read_questions(test).sha256
