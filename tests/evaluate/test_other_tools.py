"""Results of MedEvalKit, VLMEvalKit, ms-swift, EasyR1 and inspect_ai; lmms-eval: test_reading."""

import json
from importlib.util import find_spec
from pathlib import Path

import openpyxl
import pytest

from medr1.errors import InputError
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.reading.results import open_results, read_results, result_files

FILES = Path(__file__).parent / "other-tools"
QUESTION = "What imaging modality was used?"
OPTIONS = {"A": "CT", "B": "MRI", "C": "X-ray", "D": "PET"}


def predictions(name):
    return read_results(FILES / name).predictions


def verdicts(items):
    return [outcome.correct for outcome in judge_all(items, Settings()).outcomes]


# --- MedEvalKit -------------------------------------------------------------------------------


def test_medevalkit_options_lose_their_letters():
    items = predictions("medevalkit-OmniMedVQA.json")
    assert [dict(item.sample.options) for item in items] == [OPTIONS] * 3
    # "B", "The image is an MRI." and "Answer: A"; their own verdicts stand beside ours
    assert verdicts(items) == [item.sample.metadata["correct"] for item in items]
    assert {item.sample.modality for item in items} == {"MR"}


def test_medevalkit_options_with_colons_and_blanks():
    (item,) = predictions("medevalkit-PMC_VQA.json")
    assert (dict(item.sample.options), item.sample.ground_truth) == (OPTIONS, "B")


def test_medevalkit_open_and_closed_questions():
    items = predictions("medevalkit-SLAKE.json")
    assert [item.sample.metadata["answer_class"] for item in items] == ["open", "closed", "closed"]
    assert verdicts(items)[:2] == [True, True]


# --- VLMEvalKit -------------------------------------------------------------------------------

COLUMNS = ("index", "question", "A", "B", "C", "D", "answer", "category", "prediction")


def sheet(path, rows, *more):
    book = openpyxl.Workbook()
    book.active.append((*COLUMNS, *more))
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def row(index, prediction, *more):
    return (index, QUESTION, *OPTIONS.values(), "B", "Modality", prediction, *more)


def test_vlmevalkit_table(tmp_path):
    rows = [row(0, "B"), row(1, "The image is an MRI."), row(2, "It is a CT.")]
    items = read_results(sheet(tmp_path / "Qwen_OmniMedVQA.xlsx", rows)).predictions
    assert [item.sample.id for item in items] == ["0", "1", "2"]
    assert verdicts(items) == [True, True, False]


@pytest.mark.parametrize("said", ["Failed to obtain answer via API.", "Failed to obtain answer: X"])
def test_vlmevalkit_request_that_failed(tmp_path, said):
    (item,) = read_results(sheet(tmp_path / "r.xlsx", [row(0, said)])).predictions
    assert item.model_output is None
    assert item.error.message == said


def test_vlmevalkit_reasoning_apart(tmp_path):
    path = sheet(tmp_path / "r.xlsx", [row(0, "B", "The skull is dark.")], "thinking")
    (item,) = read_results(path).predictions
    assert item.model_output == "<think>The skull is dark.</think>\nB"
    assert "thinking" not in item.sample.metadata


def test_vlmevalkit_several_images(tmp_path):
    path = sheet(tmp_path / "r.xlsx", [row(0, "B", "['a.png', 'b.png']")], "image_path")
    (item,) = read_results(path).predictions
    assert item.sample.images == ("a.png", "b.png")


# --- ms-swift and EasyR1 ----------------------------------------------------------------------


def test_swift_infer():
    first, second = predictions("ms-swift-infer.jsonl")
    assert (first.sample.question, dict(first.sample.options)) == (
        QUESTION, {"A": "CT", "B": "MRI"},
    )  # fmt: skip
    assert (first.sample.images, second.sample.images) == (("img/a.png",), ("img/b.png",))
    assert second.sample.modality == "X-ray"
    assert verdicts([first, second]) == [True, False]


def test_swift_rollouts_are_the_samples_of_a_question():
    first, second = predictions("ms-swift-completions.jsonl")
    assert (first.sample.question, first.samples) == ("Is there a fracture?", ("yes", "no"))
    assert (second.sample.question, second.samples) == ("Which organ?", ("liver", "spleen"))
    assert verdicts([first, second]) == [True, True]


def test_swift_rollouts_of_one_prompt_about_two_images(tmp_path):
    path = tmp_path / "completions.jsonl"
    line = {"step": ["1"] * 6, "prompt": ["<image>Is there a fracture?"] * 6}
    line["completion"] = ["yes", "no", "no", "no", "yes", "yes"]
    line["solution"] = ["yes", "yes", "no", "no", "yes", "yes"]
    line["images"] = [[{"path": name}] for name in ("a.png", "a.png", "b.png", "b.png")]
    line["images"] += [[{"path": "c.png"}]] * 2
    path.write_text(json.dumps(line))
    items = read_results(path).predictions
    assert [item.sample.images for item in items] == [("a.png",), ("b.png",), ("c.png",)]
    assert [item.samples for item in items] == [("yes", "no"), ("no", "no"), ("yes", "yes")]
    assert verdicts(items) == [True, True, True]
    del line["images"]  # then the ground truth tells two of them apart
    path.write_text(json.dumps(line))
    assert verdicts(read_results(path).predictions) == [True, True]


def test_swift_rollouts_of_unequal_columns(tmp_path):
    line = json.loads((FILES / "ms-swift-completions.jsonl").read_text())
    line["completion"].pop()
    path = tmp_path / "completions.jsonl"
    path.write_text(json.dumps(line))
    with pytest.raises(InputError, match="line 1: its columns have several lengths"):
        read_results(path)


def test_easyr1_generations():
    first, second = predictions("easyr1-generations.log")
    assert (first.sample.question, dict(first.sample.options)) == (
        "Which modality?", {"A": "CT", "B": "MRI"},
    )  # fmt: skip
    assert (second.sample.question, second.model_output) == ("Which organ?", "liver\nor spleen")
    assert verdicts([first, second]) == [True, False]


def test_easyr1_log_that_was_cut_off(tmp_path):
    path = tmp_path / "generations.log"
    path.write_text((FILES / "easyr1-generations.log").read_text().partition("[score] 0")[0])
    with pytest.raises(InputError, match="1 of 2 answers"):
        read_results(path)


def test_easyr1_log_without_scores(tmp_path):
    """One expression over the whole file took time with the fourth power of its length."""
    path = tmp_path / "generations.log"
    answers = [f"[prompt] q{n}\n[output] a\n[ground_truth] a\n" for n in range(2000)]
    path.write_text("".join(answers))
    with pytest.raises(InputError, match="0 of 2000 answers"):
        read_results(path)


# --- inspect_ai -------------------------------------------------------------------------------


def inspect_sample(item_id="q1", epoch=1, answer="ANSWER: B", **changes):
    """A sample as inspect_ai 0.3.285 writes it; changed in what a test names."""
    image = {"type": "image", "image": "attachment://ce19919d32313afd839601b68ac638b0"}
    content = [image, {"type": "text", "text": QUESTION}]
    choice = {"message": {"role": "assistant", "content": answer}, "stop_reason": "stop"}
    return {
        "id": item_id,
        "epoch": epoch,
        "input": [{"role": "user", "content": content}],
        "choices": list(OPTIONS.values()),
        "target": "B",
        "output": {"model": "m", "choices": [choice], "completion": answer},
        "metadata": {"modality": "MR"},
    } | changes


def inspect_log(path, *samples, status="success"):
    run = {"model": "openai/m", "task": "vqa", "created": "2026-11-30T09:43:49+00:00"}
    document = {"version": 2, "status": status, "eval": run, "samples": list(samples)}
    path.write_text(json.dumps(document))
    return path


def test_inspect_log(tmp_path):
    path = inspect_log(tmp_path / "log.json", inspect_sample(), inspect_sample("q2", answer="A"))
    results = read_results(path)
    first, _ = results.predictions
    assert (first.sample.id, first.sample.question, first.sample.images) == ("q1", QUESTION, ())
    assert (dict(first.sample.options), first.sample.modality) == (OPTIONS, "MR")
    assert (first.finish_reason, results.meta["model"]) == ("stop", "openai/m")
    assert verdicts(results.predictions) == [True, False]


def test_inspect_epochs_are_samples(tmp_path):
    samples = [inspect_sample(epoch=n, answer=text) for n, text in enumerate("BAB", start=1)]
    (item,) = read_results(inspect_log(tmp_path / "log.json", *samples)).predictions
    assert (item.model_output, item.samples) == ("B", ("B", "A", "B"))


def test_inspect_errors_reasoning_and_length(tmp_path):
    parts = [{"type": "reasoning", "reasoning": "dark"}, {"type": "text", "text": "B"}]
    choice = {"message": {"content": parts}, "stop_reason": "max_tokens"}
    samples = [
        inspect_sample(error={"message": "no connection"}, output={"choices": []}),
        inspect_sample("q2", output={"choices": [choice]}),
        inspect_sample("q3", input="Which organ?", choices=None, target=["liver", "hepar"]),
    ]
    failed, cut, plain = read_results(inspect_log(tmp_path / "log.json", *samples)).predictions
    assert (failed.model_output, failed.error.message) == (None, "no connection")
    assert (cut.model_output, cut.finish_reason) == ("<think>dark</think>\nB", "length")
    assert (plain.sample.question, plain.sample.ground_truth) == ("Which organ?", "liver")


def test_inspect_samples_without_ids_stay_apart(tmp_path):
    samples = [inspect_sample(answer=text) for text in "BA"]
    for sample in samples:
        del sample["id"]
    items = read_results(inspect_log(tmp_path / "log.json", *samples)).predictions
    assert [item.sample.id for item in items] == ["1", "2"]


def test_inspect_log_without_samples(tmp_path):
    with pytest.raises(InputError, match="no samples"):
        read_results(inspect_log(tmp_path / "log.json", status="started"))


@pytest.mark.skipif(find_spec("inspect_ai") is not None, reason="inspect_ai is installed")
def test_eval_file_without_inspect(tmp_path):
    (tmp_path / "log.eval").write_bytes(b"PK\3\4")
    assert result_files([tmp_path]) == [tmp_path / "log.eval"]
    with pytest.raises(InputError, match=r"pip install inspect-ai.* inspect log convert --to json"):
        open_results(tmp_path / "log.eval")
