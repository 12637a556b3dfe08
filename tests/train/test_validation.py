"""Validation while training: the same numbers as evaluation, and the best step kept."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from medr1.checkpoints.integrity import checksum_faults
from medr1.cli import cli
from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.evaluate.metrics.summary import summarize
from medr1.infer.local.engine import predict
from medr1.models.loading import load_model
from medr1.records import Decoding

pytest.importorskip("trl")

from medr1.train.monitoring.best_checkpoint import BestCheckpoint, Validation
from medr1.train.run import train
from medr1.train.settings import settings_from
from medr1.workflows.held_out import HeldOutEvaluator, validation_questions

SMALL = {"max_steps": 4, "batch_size": 16, "num_generations": 4, "logging_steps": 1}
MODEL = ("--model-path", str(tiny_vl_folder()), "--device", "cpu")
FLAGS = (
    *("--answer-types", "multiple_choice", "--max-steps", "4", "--batch-size", "16"),
    *("--num-generations", "4", "--max-completion-length", "8", "--logging-steps", "1"),
    *("--learning-rate", "1e-3", "--save-strategy", "no", "--eval-steps", "2"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of 40 training questions and 60 for validation."""
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 40), ("validation", 60)):
        items = json.loads((tiny_vqa_folder() / f"{split}.json").read_text())[:count]
        items = [{**item, "image": str(tiny_vqa_folder() / item["image"])} for item in items]
        (folder / f"{split}.json").write_text(json.dumps(items))
    return folder


def lines_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "eval_accuracy" in line]


def accuracy_of(checkpoint, questions):
    """By evaluation's own way, from the checkpoint on the disk."""
    loaded = load_model(checkpoint, device="cpu")
    answers = predict(
        loaded,
        questions.samples,
        image_root=questions.image_root,
        decoding=Decoding("generate", max_new_tokens=8),
        batch_size=7,
    )
    return summarize(answers).metrics["accuracy"]


def test_what_is_logged_is_what_evaluation_finds_and_the_best_is_kept(data, tmp_path):
    command = ("--data", data, "--eval-data", data, "--output-dir", tmp_path / "out")
    result = CliRunner().invoke(cli, ["train", *MODEL, *FLAGS, *map(str, command)])
    assert result.exit_code == 0, result.stderr
    lines = lines_of(tmp_path / "out")
    assert [line["step"] for line in lines] == [0, 2, 4]
    questions = read_questions(data / "validation.json").only(["multiple_choice"])
    best = json.loads((tmp_path / "out" / "best" / "medr1.json").read_text())["validation"]
    assert best["eval_accuracy"] == max(line["eval_accuracy"] for line in lines[1:])
    checkpoints = {
        0: tiny_vl_folder(),
        4: tmp_path / "out",
        best["step"]: tmp_path / "out" / "best",
    }
    for line in lines:
        if line["step"] in checkpoints:
            found = accuracy_of(checkpoints[line["step"]], questions)
            assert found.value == line["eval_accuracy"]
            assert found.ci95 == (line["eval_accuracy_low"], line["eval_accuracy_high"])
            assert found.n == line["eval_n"] == len(questions.samples)
    assert checksum_faults(tmp_path / "out" / "best") == []


def test_a_worse_step_does_not_replace_a_better_one(data, tmp_path):
    loaded = load_model(tiny_vl_folder(), device="cpu")
    questions = read_questions(data / "train.json")
    given = iter([0.9, 0.3, 0.5, 0.5, 0.4])
    settings = settings_from({**tiny_config(), **SMALL, "freeze_vision": False}, tmp_path)
    train(
        loaded,
        questions.only(["multiple_choice"]),
        settings,
        validation=Validation(lambda: {"eval_accuracy": next(given)}, 1),
    )
    kept = json.loads((tmp_path / "best" / "medr1.json").read_text())["validation"]
    assert kept == {"step": 2, "eval_accuracy": 0.5}  # the base does not count, the first does
    assert not (tmp_path / ".best").exists()


def test_a_best_step_that_was_lost_is_not_compared_with(data, tmp_path):
    questions = read_questions(data / "train.json").only(["multiple_choice"])
    for accuracies in ([0.1, 0.2, 0.2, 0.9, 0.1], [0.1, 0.3, 0.2, 0.2, 0.2]):
        given = iter(accuracies)
        loaded = load_model(tiny_vl_folder(), device="cpu")
        settings = settings_from({**tiny_config(), **SMALL}, tmp_path)
        measure = Validation(lambda given=given: {"eval_accuracy": next(given)}, 1)
        train(loaded, questions, settings, validation=measure)
    kept = json.loads((tmp_path / "best" / "medr1.json").read_text())["validation"]
    assert kept == {"step": 1, "eval_accuracy": 0.3}


def test_validation_changes_nothing_about_the_training(data, tmp_path):
    questions = read_questions(data / "train.json").only(["multiple_choice"])
    held_back = read_questions(data / "validation.json").only(["multiple_choice"])

    def losses(folder, validated):
        loaded = load_model(tiny_vl_folder(), device="cpu")
        evaluator = HeldOutEvaluator(loaded, held_back, "nothink", 8, 16)
        validation = Validation(evaluator.accuracy, 1) if validated else None
        settings = settings_from({**tiny_config(), **SMALL}, folder)
        train(loaded, questions, settings, validation=validation)
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        return [
            (line["loss"], line["reward"], line["grad_norm"]) for line in lines if "loss" in line
        ]

    alone = losses(tmp_path / "alone", False)
    assert len(alone) == 4 and losses(tmp_path / "both", True) == alone


def test_a_test_split_and_the_training_data_are_refused(data, tmp_path, caplog):
    training = read_questions(data / "train.json")
    with pytest.raises(InputError, match="is a test split"):
        validation_questions(tiny_vqa_folder() / "test.json", "validation", training)
    with pytest.raises(InputError, match="is the training data"):
        validation_questions(data, "train", training)
    with pytest.raises(InputError, match=r"has no dev\.json"):
        validation_questions(data, "dev", training)
    mixed = [
        *json.loads((data / "train.json").read_text())[:3],
        *json.loads((data / "validation.json").read_text())[:3],
    ]
    (tmp_path / "mixed.json").write_text(json.dumps(mixed))
    caplog.set_level("WARNING", "medr1")
    found = validation_questions(tmp_path / "mixed.json", "validation", training)
    assert len(found.samples) == 6
    images = {name for sample in found.samples[:3] for name in sample.images}
    assert f"{len(images)} images of --eval-data" in caplog.text


@pytest.mark.slow
def test_two_processes_share_the_questions_and_find_the_same(data, tmp_path):
    given = ("--data", str(data), "--eval-data", str(data), "--output-dir", str(tmp_path / "out"))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    result = subprocess.run(
        [sys.executable, *launcher, "-m", "medr1", "train", *MODEL, *FLAGS, *given],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    questions = read_questions(data / "validation.json").only(["multiple_choice"])
    lines = lines_of(tmp_path / "out")
    assert [line["step"] for line in lines] == [0, 2, 4]
    for line, checkpoint in ((lines[0], tiny_vl_folder()), (lines[-1], tmp_path / "out")):
        assert line["eval_accuracy"] == accuracy_of(checkpoint, questions).value
        assert line["eval_n"] == len(questions.samples)


@pytest.mark.parametrize(
    ("whole", "has_best", "kept"),
    [
        (True, False, "new"),
        (True, True, "old"),
        (False, True, "old"),
        (False, False, None),
    ],
)
def test_what_a_kill_left_of_the_best_checkpoint_gets_its_name_or_goes(
    tmp_path, whole, has_best, kept
):
    (tmp_path / ".best").mkdir()
    (tmp_path / ".best" / "config.json").write_text("new")
    if whole:
        (tmp_path / ".best" / "SHA256SUMS").touch()
    if has_best:
        (tmp_path / "best").mkdir()
        (tmp_path / "best" / "config.json").write_text("old")
    trainer = SimpleNamespace(is_world_process_zero=lambda: True)
    BestCheckpoint(trainer, Validation(dict), tmp_path / "best", lambda *_: None)
    assert not (tmp_path / ".best").exists()
    left = tmp_path / "best" / "config.json"
    assert (left.read_text() if left.exists() else None) == kept
