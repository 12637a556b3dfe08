"""Edited reasoning: constructed models with known truth, and the embedded model."""

import json
from dataclasses import replace

import msgspec
import pytest
from click.testing import CliRunner

from medr1.cli import cli
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.documents.summary import Summary
from medr1.errors import InputError
from medr1.evaluate.judging import Settings
from medr1.evaluate.metrics.reasoning_use import edit_of, reasoning_use
from medr1.evaluate.reading.results import Results
from medr1.files import sha256_of
from medr1.infer.edited_reasoning import edit_reasoning
from medr1.records import Failure, Prediction, Sample, prediction_to_dict

QUICK = Settings(num_resamples=200)
ORGANS = ["Lung", "Heart", "Knee", "Brain", "Liver", "Spleen"]


def completed(sample, reasoning, letter, **more):
    text = f"<think> {reasoning} </think> <answer> {letter} </answer>"
    return Prediction(sample, text, reasoning=reasoning or None, extracted_answer=letter, **more)


def questions(n=24):
    """Question i shows organ i; its options are three neighbours, the right one at any letter."""
    made = []
    for i in range(n):
        names = [ORGANS[(i + k) % 6] for k in range(3)]
        options = dict(zip("ABC", names, strict=True))
        letter = "ABC"[i % 3]
        made.append(Sample(f"q{i}", (f"{i}.png",), "Which?", options, letter, "multiple_choice"))
    return made


def own_run(samples):
    """Each reasoning names the organ that is answered, in two sentences."""
    return [
        completed(
            s, f"The image is grey. It shows the {s.options[s.ground_truth]}.", s.ground_truth
        )
        for s in samples
    ]


def decorative(sample, reasoning, own):
    """Answers the same whatever the reasoning is."""
    return own.extracted_answer


def follower(sample, reasoning, own):
    """Answers the organ that the reasoning names; any other option if it names none of them."""
    for letter, name in sample.options.items():
        if name in reasoning:
            return letter
    return next(letter for letter in sample.options if letter != own.extracted_answer)


def edited_run(model, own, edit):
    """What a model answers from edited reasoning: the edits are those of medr1 infer."""
    samples = [prediction.sample for prediction in own]
    edited = edit_reasoning(samples, own, edit, 0)
    made = []
    for position, sample in enumerate(samples):
        if failure := edited.failures.get(position):
            made.append(Prediction(sample, error=failure))
            continue
        prefill = edited.prefills[position]
        reasoning = prefill.text.removeprefix("<think>").removesuffix("</think>").strip()
        letter = model(sample, reasoning, own[position])
        made.append(completed(sample, reasoning, letter, reasoning_from=prefill.source_id))
    return made


def meta(edit, sha256=None):
    source = {"edit": edit, "results": "think.json", "results_sha256": sha256}
    return {"edited_reasoning": source}


def measured(model, edit, own=None):
    own = own or own_run(questions())
    edited = Results(meta(edit), edited_run(model, own, edit))
    return reasoning_use(own, "think.json", "0", edited, f"{edit}.json", QUICK)


@pytest.mark.parametrize("edit", ["cut", "shuffle", "empty", "swap", "none"])
def test_a_model_whose_reasoning_is_decorative(edit):
    part = measured(decorative, edit)
    assert (part.edit, part.n, part.n_left_out) == (edit, 24, 0)
    assert part.same_answer.value == 1 and part.changed_answer.value == 0
    assert part.accuracy.value == part.accuracy_edited.value == 1
    assert part.difference.value == 0 and part.difference.ci95[1] > 0
    if edit == "swap":
        assert part.other_answer.value == 0 and part.other_answer.n > 5
        assert part.other_letter.value == 0
    else:
        assert part.other_answer is msgspec.UNSET


def test_a_model_whose_answer_follows_its_reasoning():
    for edit in ("swap", "empty", "cut"):  # the second half of the reasoning names the organ
        part = measured(follower, edit)
        assert part.same_answer.value == 0 and part.changed_answer.value == 1
        assert part.accuracy.value == 1 and part.accuracy_edited.value == 0
        assert part.difference.value == -1 and part.difference.ci95[1] < -0.8
    for edit in ("none", "shuffle"):  # the organ is still there
        assert measured(follower, edit).same_answer.value == 1
    swap = measured(follower, "swap")
    assert swap.other_answer.value == 1 and 5 < swap.other_answer.n < 24


def test_a_model_that_copies_letters():
    """The letter of the other reasoning's answer is taken, whatever it stands for here."""
    own = [completed(s, f"It is {s.ground_truth}.", s.ground_truth) for s in questions()]
    part = measured(lambda sample, reasoning, own: reasoning[-2], "swap", own)
    assert part.other_letter.value == 1 and part.other_letter.n > 5


def test_items_without_an_edit_are_left_out():
    own = own_run(questions())
    own[0] = replace(own[0], model_output="<answer> A </answer>", reasoning=None)
    own[1] = completed(own[1].sample, "one sentence", own[1].sample.ground_truth)
    part = measured(decorative, "shuffle", own)
    assert (part.n, part.n_left_out) == (22, 2)
    assert measured(decorative, "none", own).n == 23
    failed = edited_run(decorative, own, "shuffle")
    failed[5] = Prediction(own[5].sample, error=Failure("out_of_memory", "too large"))
    edited = Results(meta("shuffle"), failed)
    part = reasoning_use(own, "a", "0", edited, "b", QUICK)
    assert part.n == 22 and part.changed_answer.value == pytest.approx(1 / 22)
    alone = [completed(s, "one sentence", "A") for s in questions(3)]
    part = measured(decorative, "shuffle", alone)
    assert part.same_answer.value is None and part.difference.reason


def test_files_that_do_not_fit_are_refused():
    own = own_run(questions())
    plain = Results({}, own)
    with pytest.raises(InputError, match="does not say that reasoning was edited"):
        reasoning_use(own, "think.json", "0", plain, "plain.json", QUICK)
    other = Results(meta("cut", "1"), edited_run(decorative, own, "cut"))
    with pytest.raises(InputError, match=r"is not that of think\.json"):
        reasoning_use(own, "think.json", "0", other, "cut.json", QUICK)
    assert reasoning_use(own, "think.json", "1", other, "cut.json", QUICK).n == 24
    assert edit_of({}) is None and edit_of({"edited_reasoning": "cut"}) is None


def results(path, run_meta, predictions):
    entries = [prediction_to_dict(prediction) for prediction in predictions]
    document = {"schema": "medr1.results/1", "meta": run_meta, "results": entries}
    path.write_text(json.dumps(document))
    return str(path)


def test_the_command_shows_them_everywhere(tmp_path):
    own = own_run(questions())
    think = results(tmp_path / "think.json", {}, own)
    sha256 = sha256_of(tmp_path / "think.json")
    files = [
        results(tmp_path / f"{edit}.json", meta(edit, sha256), edited_run(follower, own, edit))
        for edit in ("cut", "swap")
    ]
    out = tmp_path / "out"
    args = ["eval", think, "--edited", files[0], "--edited", files[1]]
    done = CliRunner().invoke(cli, [*args, "--output-dir", str(out)])
    assert done.exit_code == 0, done.output
    assert "after edited reasoning (swap)" in done.output
    summary = msgspec.json.decode((out / "summary.json").read_bytes(), type=Summary)
    assert [part.edit for part in summary.reasoning_use] == ["cut", "swap"]
    assert summary.reasoning_use[1].changed_answer.value == 1
    page = (out / "report.html").read_text()
    assert "Answers from edited reasoning" in page and "-reasoning-use" in page
    assert "reasoning swap,other_answer" in (out / "summary.csv").read_text()
    twice = CliRunner().invoke(cli, ["eval", think, "--edited", files[0], "--edited", files[0]])
    assert twice.exit_code == 2 and "has the same edit (cut)" in twice.output
    alone = CliRunner().invoke(cli, ["eval", files[0]])
    assert alone.exit_code == 0 and "from earlier reasoning (edit: cut)" in alone.output
    explained = CliRunner().invoke(cli, ["eval", "--explain", "other_answer"])
    assert explained.exit_code == 0 and "other question" in explained.output


def test_without_edited_files_the_key_is_missing(tmp_path):
    think = results(tmp_path / "think.json", {}, own_run(questions(3)))
    done = CliRunner().invoke(cli, ["eval", think, "--json"])
    assert "reasoning_use" not in json.loads(done.stdout)


def test_the_embedded_model_follows_the_letter_in_its_reasoning(tmp_path):
    """It writes the name and the letter of an option, then the letter again."""
    common = ["infer", "--model-path", str(tiny_vl_folder().with_name("tiny-vl-letters"))]
    common += ["--batch-file", str(tiny_vqa_folder() / "validation.json"), "--limit", "24"]
    common += ["--batch-size", "24", "--max-new-tokens", "16", "--prompt", "think"]
    think = str(tmp_path / "think.json")
    assert CliRunner().invoke(cli, [*common, "--output-file", think]).exit_code == 0
    args = ["eval", think, "--json"]
    for edit in ("none", "swap"):
        output = str(tmp_path / f"{edit}.json")
        given = ["--reasoning-from", think, "--edit", edit, "--output-file", output]
        assert CliRunner().invoke(cli, [*common, *given]).exit_code == 0
        args += ["--edited", output]
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0, done.output
    control, swap = json.loads(done.stdout)["reasoning_use"]
    assert control["changed_answer"]["value"] == 0 and control["n"] == 24
    assert swap["changed_answer"]["value"] > 0.5 and swap["other_letter"]["value"] > 0.8
