"""`medr1 reproduce`: a card is run again without an option, and each change is one sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import ChatServer
from in_process import medr1

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

DATA = tiny_vqa_folder()
ASK = ("--limit", "8", "--batch-size", "8", "--max-new-tokens", "6", "--mode", "generate")
FAST = ("--metrics", "accuracy")


def copy_questions(folder, number):
    """A file with the first questions of the embedded data, and their images."""
    (folder / "images").mkdir(parents=True)
    items = json.loads((DATA / "test.json").read_text())[:number]
    (folder / "test.json").write_text(json.dumps(items))
    for item in items:
        shutil.copy(DATA / item["image"], folder / item["image"])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with questions, a model, a prompt, results and their card.json."""
    folder = tmp_path_factory.mktemp("original")
    copy_questions(folder / "questions", 10)
    shutil.copytree(tiny_vl_folder(), folder / "model")
    # a process reads a prompt once by its name, so no other test has this name
    (folder / "wording.txt").write_text("{problem} Give {answer}.")
    files = ("--model-path", "model", "--batch-file", "questions/test.json", "--prompt")
    done = medr1(
        *("infer", *files, "wording.txt", *ASK, "--output-file", "results.json"), cwd=folder
    )
    assert done.returncode == 0, done.stderr
    done = medr1("eval", "results.json", *FAST, "--card", "card.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy of that folder, which a test may change."""
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"


def reproduced(folder, *options, card="card.json"):
    """The exit code, and reproduction.json."""
    done = medr1("reproduce", card, "--json", *options, cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def output_of(folder, *options):
    """The exit code and what is printed, with single blanks."""
    done = medr1("reproduce", "card.json", *options, cwd=folder)
    return done.returncode, " ".join(done.stdout.split()), done.stderr.splitlines()[-1]


def run(*args, cwd):
    """`medr1 ...` as a process of its own."""
    command = [sys.executable, "-m", "medr1", *map(str, args)]
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_prepared_data_to_a_reproduced_card(tmp_path):
    """Each command is a process, with sampling; the last one has no option but the card."""
    copy_questions(tmp_path / "source", 12)
    options = ("--test-share", "0.5", "--output-dir", "data")
    run("data", "prepare", "source/test.json", *options, cwd=tmp_path)
    sampling = ("--do-sample", "--temperature", "1.5", "--seed", "3", "--num-samples", "1")
    files = ("--batch-file", "data/test.json", "--output-file", "results.json")
    run("infer", "--model-path", tiny_vl_folder(), *files, *ASK, *sampling, cwd=tmp_path)
    run("eval", "results.json", "--data", "data", *FAST, "--card", "cards", cwd=tmp_path)
    page = run("reproduce", "cards/results.json", cwd=tmp_path)
    assert "The same: questions, images, weights, prompt, decoding, protocol." in page
    output = tmp_path / "cards" / "results.reproduced"
    document = json.loads((output / "reproduction.json").read_text())
    n = document["accuracy"]["n"]
    assert n > 0 and document["equal"]
    assert document["answers"] == {
        **dict.fromkeys(("n_card", "n_now", "n_both"), n),
        **dict.fromkeys(("n_other_answer", "n_other_verdict"), 0),
    }
    before = json.loads((tmp_path / "results.json").read_text())
    again = json.loads((output / "results.json").read_text())
    assert again == before  # sampled completions too
    card = json.loads((tmp_path / "cards" / "results.json").read_text())
    assert card["data"]["split"] == "test" and card["blind"]["train_name"] == "train.json"


def test_a_card_is_reproduced_from_another_folder(original, tmp_path):
    """Relative paths are looked up beside the card too."""
    code, document = reproduced(tmp_path, "--output-dir", "again", card=original / "card.json")
    assert (code, document["equal"], document["notes"]) == (0, True, [])


def test_changed_questions_are_told(folder):
    file = folder / "questions" / "test.json"
    items = json.loads(file.read_text())
    results = json.loads((folder / "results.json").read_text())["results"]
    right = [i for i, r in enumerate(results) if r["extracted_answer"] == r["ground_truth"]]
    assert right, "the embedded model gets none of these right"
    items[right[0]]["solution"] = "<answer> nothing of this </answer>"
    items[right[0]]["problem"] = items[right[0]]["problem"].split("A)")[0]
    del items[7]
    file.write_text(json.dumps(items))
    code, printed, error = output_of(folder)
    assert code == 1 and "The questions changed: SHA-256 " in printed
    assert "7 are in both" in printed
    assert error.startswith("Error: card.json was not reproduced: ") and "questions" in error


def test_a_changed_ground_truth_changes_verdicts_and_no_answer(folder):
    file = folder / "questions" / "test.json"
    items = json.loads(file.read_text())
    count = next(item for item in items[:8] if item["question_type"] == "Counting")
    count["solution"] = "<answer> 17 </answer>"
    results = json.loads((folder / "results.json").read_text())["results"]
    was_right = next(
        r["extracted_answer"] == r["ground_truth"] for r in results if r["id"] == count["id"]
    )
    file.write_text(json.dumps(items))
    code, document = reproduced(folder)
    assert code == 1 and document["answers"]["n_other_answer"] == 0
    assert document["answers"]["n_other_verdict"] == was_right


def test_a_changed_image_is_told(folder):
    first, second = sorted((folder / "questions" / "images").iterdir())[:2]
    shutil.copy(second, first)
    code, printed, _ = output_of(folder)
    assert code == 1 and "The images changed: SHA-256 " in printed
    assert "The same: questions, weights, prompt" in printed


def test_a_changed_prompt_file_is_told_and_the_text_of_the_card_is_used(folder):
    (folder / "wording.txt").write_text("Other. {problem}")
    code, printed, _ = output_of(folder)
    assert code == 0 and "The prompt file wording.txt has another text now" in printed


def test_a_prompt_file_whose_text_is_not_on_the_card_is_not_read(folder):
    card = json.loads((folder / "card.json").read_text())
    card["prompt"]["text"] = None
    (folder / "card.json").write_text(json.dumps(card))
    code, _, error = output_of(folder)
    assert code == 2 and "does not have the text of its prompt" in error


def test_a_prompt_that_was_changed_on_the_card_is_refused(folder):
    text = (folder / "card.json").read_text()
    assert "Give {answer}." in text
    (folder / "card.json").write_text(text.replace("Give {answer}.", "Give {answer}!"))
    code, _, error = output_of(folder)
    assert code == 2 and "the text of the prompt does not have the SHA-256" in error


def test_other_weights_are_told(folder):
    from safetensors.torch import load_file, save_file

    file = folder / "model" / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in sorted(tensors) if name.endswith("weight"))
    tensors[name] = tensors[name] * 1.5
    save_file(tensors, file, {"format": "pt"})
    (folder / "model" / "SHA256SUMS").unlink(missing_ok=True)
    code, printed, error = output_of(folder)
    assert code == 1 and "The weights changed: SHA-256 " in printed and "weights" in error


def test_other_versions_are_told_and_decide_nothing(folder):
    text = (folder / "card.json").read_text()
    version = json.loads(text)["versions"]["torch"]
    (folder / "card.json").write_text(text.replace(f'"torch": "{version}"', '"torch": "1.0.0"'))
    code, printed, _ = output_of(folder)
    assert code == 0
    assert f"The version of torch (run) differs: 1.0.0 on the card, {version} now." in printed


@pytest.mark.parametrize(
    ("old", "option", "says"),
    [
        ("questions", "--data", "its questions are not at questions/test.json. Name their place"),
        ("model", "--model-path", "its model is not at model. Name its place with --model-path"),
    ],
)
def test_what_has_moved_is_named_and_can_be_given(old, option, says, folder):
    os.rename(folder / old, folder / "moved")
    code, printed, error = output_of(folder)
    assert code == 2 and not printed and says in error
    assert not (folder / "card.reproduced").exists()
    code, document = reproduced(folder, option, "moved")
    assert (code, document["equal"]) == (0, True)


def test_a_complete_reproduction_is_replaced_only_if_asked(folder):
    assert reproduced(folder)[0] == 0
    code, _, error = output_of(folder)
    assert code == 2 and "has a reproduction already" in error
    code, _, error = output_of(folder, "--overwrite", "--model-path", "elsewhere")
    assert code == 2 and "elsewhere" in error
    assert not (folder / "card.reproduced.bak").exists()
    assert reproduced(folder, "--overwrite")[0] == 0
    assert (folder / "card.reproduced.bak" / "reproduction.json").is_file()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inference": None}, "does not tell how its answers were made"),
        ({"schema": "medr1.summary/2"}, "is no card"),
        ({"seed": "x"}, "is damaged"),
    ],
)
def test_a_card_that_cannot_be_run_is_one_sentence(change, says, folder):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **change}))
    code, _, error = output_of(folder)
    assert code == 2 and says in error


def test_a_model_on_a_server_is_asked_again(tmp_path):
    copy_questions(tmp_path / "questions", 4)
    files = ("--batch-file", "questions/test.json", "--output-file", "results.json")
    with ChatServer() as server:
        ask = ("--engine", "openai", "--base-url", server.url, "--model-path", server.models[0])
        done = medr1("infer", *ask, *files, "--max-new-tokens", 8, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        done = medr1("eval", "results.json", *FAST, "--card", "card.json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert reproduced(tmp_path)[0] == 0
        # an address elsewhere is not asked because a card says so
        text = (tmp_path / "card.json").read_text()
        (tmp_path / "card.json").write_text(text.replace(server.url, "http://192.0.2.1/v1"))
        code, _, error = output_of(tmp_path, "--overwrite")
        assert code == 2 and "Name the server to ask with --base-url" in error
        assert reproduced(tmp_path, "--base-url", server.url, "--overwrite")[0] == 0


def ask_elsewhere(folder, card, *options):
    """The error of a card whose model is to be asked on a machine that does not exist."""
    (folder / "other.json").write_text(json.dumps(card))
    done = medr1(
        "reproduce", "other.json", "--base-url", "http://192.0.2.1/v1", *options, cwd=folder
    )
    assert done.returncode == 2 and not (folder / "other.reproduced" / "results.json").exists()
    return done.stderr.splitlines()[-1]


def test_a_server_elsewhere_gets_only_what_its_reader_expects(folder):
    """Somebody else's card may name questions and images of its reader."""
    card = json.loads((folder / "card.json").read_text())
    card["inference"]["server"] = {"base_url": "http://192.0.2.1/v1"}
    shutil.copytree(folder / "questions", folder / "private")
    items = json.loads((folder / "private" / "test.json").read_text())
    (folder / "private" / "test.json").write_text(json.dumps(items[1:]))
    other = {**card, "inference": {**card["inference"], "batch_file": "private/test.json"}}
    assert "does not have the questions of the card" in ask_elsewhere(folder, other)
    other = {**card, "inference": {**card["inference"], "image_root": "private"}}
    error = ask_elsewhere(folder, other)
    assert "its images are in private" in error and "--image-root" in error


@pytest.mark.parametrize("split", ["../private/test", "/etc/test", ".."])
def test_a_split_does_not_lead_out_of_the_folder_of_data(split, folder):
    card = json.loads((folder / "card.json").read_text())
    card["data"]["split"] = split
    (folder / "card.json").write_text(json.dumps(card))
    shutil.copytree(folder / "questions", folder / "private")
    code, _, error = output_of(folder, "--data", "questions")
    assert code == 2 and "is not the name of a file" in error


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"server": {"base_url": "http://["}}, "not an address"),
        ({"server": {"base_url": "http://127.0.0.1/v1", "timeout": "x"}}, "its server cannot be"),
        ({"scans": {"window": 3}}, "its scans cannot be shown"),
    ],
)
def test_a_damaged_record_of_the_run_is_one_sentence(part, message, folder):
    card = json.loads((folder / "card.json").read_text())
    card["inference"] |= part
    (folder / "card.json").write_text(json.dumps(card))
    code, _, error = output_of(folder)
    assert code == 2 and message in error
