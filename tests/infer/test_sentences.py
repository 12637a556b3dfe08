"""What the terminal tells of a batch: changes of images, and reasons of failures."""

import json
import shutil

import numpy as np
import pytest
from in_process import medr1
from PIL import Image

from medr1.checkpoints.integrity import checkpoint_sha256
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.infer.sentences import MAX_REASONS, failure_sentences, note_sentences
from medr1.workflows.embedded_model import is_embedded

QUESTION = "Which imaging modality is shown? A)CT, B)MRI"


def entry(images, *notes):
    return {"images": images, "image_notes": list(notes)}


def test_changes_of_images_are_counted_by_kind():
    sentences = note_sentences(
        [
            entry(["a.png"], "windowed 0..4095 (16-bit)"),
            entry(["a.png"], "windowed 0..4095 (16-bit)"),  # another question about it
            entry(["b.png"], "windowed 3..90 (16-bit)", "exif_orientation_6"),
            entry(["c.tif"], "windowed -1..0.5 (float)"),
            entry(["d.tif"], "largest_of_3_levels"),
            entry(["e.jpg"], "first_of_2_pictures"),
            entry(["f.jpg"]),
            entry(["g.dcm"], "windowed 18..3978 (percentiles 0.5 and 99.5)"),
        ]
    )
    assert [sentence.split(":")[0] for sentence in sentences] == [
        "Windowed 2 images with 16-bit pixels",
        "Windowed 1 image with float pixels",
        "Read only the largest level of 1 pyramid (the first",
        "Read only the first image of 1 file with several images (the first",
        "Windowed 1 scan by the percentiles 0.5 and 99.5, because no window is stated (the first",
    ]
    assert "the first: 0..4095" in sentences[0] and "of 3 levels" in sentences[2]


def test_failures_are_grouped_by_reason():
    def error(code, message):
        return {"code": code, "message": message}

    errors = [error("image_missing", f"image 'a{n}.png': no such file; check.") for n in range(3)]
    errors += [error("bad_item", f"item q{n}: has {n} options.") for n in range(5)]
    errors += [error("image_missing", "image 'x': not a file name; correct it.")]
    assert failure_sentences(errors) == [
        "5 items failed, the first of them: item q0: has 0 options.",
        "3 items failed, the first of them: image 'a0.png': no such file; check.",
        "1 item failed: image 'x': not a file name; correct it.",
    ]
    many = failure_sentences([error(f"code{chr(97 + n)}", "why.") for n in range(MAX_REASONS + 2)])
    assert len(many) == MAX_REASONS + 1 and many[-1] == "2 items failed for 2 other reasons."


@pytest.fixture
def folder(tmp_path):
    grey = np.linspace(0, 255, 48 * 48).reshape(48, 48)
    Image.fromarray(grey.astype("uint16") * 16).save(tmp_path / "deep.png")
    Image.fromarray(grey.astype("uint8")).save(tmp_path / "moving.gif")
    return tmp_path


def infer(folder, *args, model="tiny-vl"):
    return medr1(
        *("infer", "--model-path", model, "--device", "cpu", "--mode", "options", *args),
        cwd=folder,
    )


def test_a_batch_tells_what_was_changed_and_why_items_failed(folder):
    names = ["deep.png", "deep.png", "moving.gif", "no.png", "none.png"]
    items = [
        {"id": str(n), "image": name, "question": QUESTION, "ground_truth": "A"}
        for n, name in enumerate(names)
    ]
    (folder / "q.json").write_text(json.dumps(items))
    done = infer(folder, "--batch-file", "q.json", "--output-file", "r.json", "--json")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert document["n_error"] == 3 and len(document["failures"]) == 2
    lines = done.stderr.splitlines()
    assert sum("knows nothing of medicine" in line for line in lines) == 1
    assert sum(line.startswith("Windowed 1 image with 16-bit pixels") for line in lines) == 1
    assert "2 items failed, the first of them: image 'no.png': no such file" in done.stderr
    assert "1 item failed: image 'moving.gif': a GIF; save the frame" in done.stderr
    assert lines[-1] == "Error: 3 of 5 items failed; see their `error` in r.json."
    assert "medicine" not in done.stdout


def test_one_question_tells_of_the_image_and_of_the_embedded_model(folder):
    done = infer(folder, "--image-path", "deep.png", "--question", QUESTION, "--json")
    assert done.stderr.count("Windowed 1 image") == 1
    assert done.stderr.count("tiny-vl is the embedded model of medr1") == 1
    assert "medicine" not in json.dumps(json.loads(done.stdout))


def test_no_warning_for_an_image_of_the_embedded_data(folder):
    image = next((tiny_vqa_folder() / "images").glob("test_*"))
    done = infer(folder, "--image-path", image, "--question", QUESTION)
    assert done.returncode == 0 and "medicine" not in done.stderr


def test_the_embedded_model_is_recognized_in_copies_and_in_what_was_trained_from_it(
    tmp_path, adapter
):
    assert is_embedded(tiny_vl_folder())
    assert is_embedded(tiny_vl_folder().with_name("tiny-vl-letters"))
    copy = tmp_path / "mine"
    shutil.copytree(tiny_vl_folder(), copy)
    (copy / "medr1.json").unlink()
    assert is_embedded(copy)
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert not is_embedded(copy)
    assert is_embedded(adapter[0])
    record = {"base_sha256": checkpoint_sha256(tiny_vl_folder())}
    (copy / "medr1.json").write_text(json.dumps(record))
    assert is_embedded(copy)


def test_a_completion_without_the_tag_has_no_probabilities_and_that_is_said(tmp_path):
    image = str(sorted((tiny_vqa_folder() / "images").glob("validation_*.jpg"))[0])
    command = ("infer", "--model-path", tiny_vl_folder(), "--max-new-tokens", "8")
    one = (*command, "--image-path", image, "--question", QUESTION)
    items = [{"image": image, "question": text, "answer": "CT"} for text in (QUESTION, "What?")]
    batch = tmp_path / "questions.json"
    batch.write_text(json.dumps(items))
    output = tmp_path / "results.json"
    several = (*command, "--batch-file", batch, "--output-file", output, "--overwrite", "--json")
    for args, prompt, is_told in (
        (one, "think", True),
        (one, "nothink", False),
        ((*one, "--mode", "generate"), "think", False),
        (several, "think", True),
        (several, "nothink", False),
    ):
        done = medr1(*args, "--prompt", prompt)
        assert done.returncode == 0, done.stderr
        assert ("No option probabilities for 1 question: " in done.stderr) == is_told
    assert json.loads(done.stdout)["n_without_probabilities"] == 0
