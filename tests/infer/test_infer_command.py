"""`medr1 infer` as a user types it."""

import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest
from in_process import medr1

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.records import prediction_from_dict

QUESTION = "What imaging modality was used to take this image? A)CT, B)MRI, C)Ultrasound"


def infer(cwd, *args):
    return medr1("infer", "--model-path", tiny_vl_folder(), *args, cwd=cwd)


@pytest.fixture(scope="module")
def image():
    return str(sorted((tiny_vqa_folder() / "images").glob("validation_*.jpg"))[0])


def test_one_image(tmp_path, image):
    args = ("--image_path", image, "--question", QUESTION, "--device", "cpu")
    result = infer(tmp_path, *args, "--max_new_tokens", "12")
    assert result.returncode == 0, result.stderr
    answer, _, heading, *bars = result.stdout.splitlines()
    assert answer and "option" in heading and [bar.split()[0] for bar in bars] == ["A)", "B)", "C)"]
    assert all("%" in bar for bar in bars)
    record = json.loads(infer(tmp_path, *args, "--json").stdout)
    assert prediction_from_dict(record).sample.options == {"A": "CT", "B": "MRI", "C": "Ultrasound"}
    assert sum(record["option_probs"].values()) == pytest.approx(1, abs=1e-5)


def test_options_apart_a_prompt_of_ones_own_and_their_probabilities_alone(tmp_path, image):
    (tmp_path / "prompt.txt").write_text("Look closely. {problem} Say {answer}.\n")
    args = ("--image-path", image, "--question", "Which one?", "--option", "CT", "--option", "MRI")
    more = ("--prompt", "prompt.txt", "--mode", "options", "--permute", "2", "--json")
    result = infer(tmp_path, *args, *more)
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["options"] == {"A": "CT", "B": "MRI"} and len(record["circular_answers"]) == 2
    assert record["model_output"] == record["options"][record["extracted_answer"]]
    (tmp_path / "other.txt").write_text("No place for it.\n")
    refused = infer(tmp_path, *args, "--prompt", "other.txt")
    assert refused.returncode == 2 and "{problem}" in refused.stderr


def test_an_open_answer_is_the_text_alone(tmp_path, image):
    result = infer(tmp_path, "--image-path", image, "--question", "What?", "--max-new-tokens", "4")
    assert result.returncode == 0 and "%" not in result.stdout


def test_on_a_terminal_an_open_answer_is_shown_while_it_is_written(tmp_path, image):
    command = [sys.executable, "-m", "medr1", "infer", "--model-path", str(tiny_vl_folder())]
    args = ["--image-path", image, "--question", "What?", "--max-new-tokens", "4"]
    terminal, end = pty.openpty()
    child = subprocess.Popen([*command, *args], stdout=end, stderr=subprocess.DEVNULL, cwd=tmp_path)
    os.close(end)
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as file, suppress(OSError):
        while piece := file.read(100):
            shown += piece
    assert child.wait() == 0
    record = json.loads(infer(tmp_path, *args, "--json").stdout)
    assert shown.decode().splitlines() == [record["model_output"], record["extracted_answer"]]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--ablate-image", "shuffle"), "--batch-file"),
        (("--mode", "options"), "no options"),
        (("--prompt", "nothing"), "unknown prompt"),
        (("--option", "only one"), "two to"),
        (("--prompt", "Answer in one word. " * 20), "unknown prompt"),
        (("--output-file", "r.json"), "--batch-file"),
        (("--mode", "options", "--num-samples", "2"), "--num-samples"),
        (("--mode", "generate", "--permute", "2"), "--permute needs"),
        (("--mode", "generate", "--dropout-samples", "2"), "--dropout-samples needs"),
        (("--dropout-samples", "2"), "needs a question with options"),
        (("--model-path", "x" * 300), "not found"),
    ],
)
def test_what_cannot_be_done_with_one_image(tmp_path, image, args, says):
    result = infer(tmp_path, "--image-path", image, "--question", "What?", *args)
    assert result.returncode == 2 and says in result.stderr and "Traceback" not in result.stderr


def test_a_batch_with_bad_items_ends_with_3_and_loses_nothing(tmp_path, image):
    batch = tmp_path / "questions.json"
    batch.write_text(
        json.dumps(
            {
                "questions": [
                    {"image": image, "question": QUESTION, "ground_truth": "A", "age": 61},
                    {"image": image},
                    {"image": "nothing.png", "question": "What is seen?", "question_type": "open"},
                ]
            }
        )
    )
    output = tmp_path / "out" / "results.json"
    args = ("--batch_file", str(batch), "--output_file", str(output), "--batch_size", "2")
    result = infer(tmp_path, *args, "--max-new-tokens", "12")
    assert result.returncode == 3, result.stderr
    assert "2 of 3 items" in result.stderr and "Traceback" not in result.stderr
    document = json.loads(output.read_text())
    assert document["schema"] == "medr1.results/1"
    codes = [entry["error"] and entry["error"]["code"] for entry in document["results"]]
    assert codes == [None, "no_question", "image_missing"]
    assert document["results"][0]["metadata"] == {"age": 61}

    again = infer(tmp_path, *args, "--max-new-tokens", "12", "--max-errors", "2")
    assert again.returncode == 0 and "nothing to do" in again.stderr
    other = infer(tmp_path, *args, "--max-new-tokens", "13")
    assert other.returncode == 2 and "decoding" in other.stderr
    anew = infer(tmp_path, *args, "--max-new-tokens", "13", "--max-errors", "2", "--overwrite")
    assert anew.returncode == 0, anew.stderr
    assert json.loads((tmp_path / "out" / "results.json.bak").read_text()) == document


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing.png", "image file not found: nothing.png. Check the path."),
        ("hlaf.jpg", "image file not found: hlaf.jpg. Did you mean half.jpg?"),
        (".", "a folder without DICOM images"),
        ("half.jpg", "half.jpg"),
    ],
)
def test_a_bad_image_is_one_sentence(tmp_path, image, name, says):
    with open(image, "rb") as file:
        (tmp_path / "half.jpg").write_bytes(file.read()[:400])
    result = infer(tmp_path, "--image-path", name, "--question", "What?", "--max-new-tokens", "4")
    assert result.returncode == 2 and says in result.stderr
    assert "Traceback" not in result.stderr and not result.stdout


def test_a_missing_checkpoint_lists_those_that_are_there(tmp_path, image):
    nested = tmp_path / "checkpoints" / "Med-R1" / "VQA_CT"
    nested.mkdir(parents=True)
    (nested / "config.json").write_text("{}")
    asked = ("--image-path", image, "--question", "What?")
    result = medr1("infer", "--model-path", "checkpoints/nothing", *asked, cwd=tmp_path)
    assert result.returncode == 2
    assert "checkpoints/Med-R1/VQA_CT" in result.stderr and "Traceback" not in result.stderr
    (tmp_path / "empty").mkdir()
    result = medr1("infer", "--model-path", "nothing", *asked, cwd=tmp_path / "empty")
    assert "Here are only the embedded tiny-vl and tiny-vl-letters." in result.stderr


@pytest.fixture
def as_in_the_guide(tmp_path, image):
    """The folders that the guide's commands speak of, with the embedded model in them."""
    published = tmp_path / "checkpoints" / "Med-R1" / "Qwen_2.5_3B_nothink"
    for name in ("VQA_AI", "VQA_CT"):
        shutil.copytree(tiny_vl_folder(), published / name)
    (tmp_path / "image.jpg").symlink_to(image)
    questions = [
        {"image": str(tmp_path / "image.jpg"), "question": QUESTION, "question_type": kind}
        for kind in ("multiple_choice", "open", "yes_no")
    ]
    questions[1]["question"] = questions[2]["question"] = "Is this a scan?"
    (tmp_path / "questions.json").write_text(json.dumps({"questions": questions}))
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "--model_path checkpoints/Med-R1/Qwen_2.5_3B_nothink/VQA_AI --image_path image.jpg "
        "--question 'What abnormalities do you observe in this image?' --device cpu",
        "--model_path checkpoints/Med-R1/Qwen_2.5_3B_nothink/VQA_CT --batch_file questions.json "
        "--output_file ./eval_results/results.json --batch_size 1 --device cpu",
        "--model_path VQA_CT --image_path image.jpg --question 'Is this a scan?' "
        "--question_type yes_no --max_new_tokens 8 --do_sample --temperature 0.7",
    ],
)
def test_the_guides_commands_run_as_they_stand(as_in_the_guide, command):
    """With cpu for its mps, and `medr1 infer` for its `python inference.py`."""
    done = medr1("infer", *shlex.split(command), cwd=as_in_the_guide)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    results = as_in_the_guide / "eval_results" / "results.json"
    if results.exists():
        found = json.loads(results.read_text())["results"]
        assert [entry["answer_type"] for entry in found] == ["multiple_choice", "open", "yes_no"]
        assert [bool(entry["option_probs"]) for entry in found] == [True, False, True]
