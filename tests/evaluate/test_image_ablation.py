"""Answers with the picture beside those without it, by hand and through both commands."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from predictions import prediction, tag

from medr1.cli import cli
from medr1.documents.summary import Summary
from medr1.errors import InputError
from medr1.evaluate.judging import Settings
from medr1.evaluate.metrics.image_ablation import ablation_of, image_ablation
from medr1.evaluate.reading.results import Results

BLANK = {"decoding": {"ablate_image": "blank"}}
QUICK = Settings(num_resamples=200)


def run(said, gold="ABAB"):
    options = {"A": "CT", "B": "MRI"}
    return [
        prediction(tag(s) if s else "", g, options=options, name=f"q{i}", image=f"{i}.png")
        for i, (s, g) in enumerate(zip(said, gold, strict=True))
    ]


def test_by_hand():
    found = image_ablation(
        run("ABAA"), "seen", Results(BLANK, run(["A", "A", "B", None])), "blank", QUICK
    )
    assert found.ablation == "blank"
    assert found.accuracy_without_image.value == 0.25
    assert found.ablation_gain.value == pytest.approx(0.5)
    assert found.same_answer.value == 0.25
    low, high = found.ablation_gain.ci95
    assert low <= 0.5 <= high


def test_a_model_that_does_not_look():
    rows = run("ABBA" * 20, "ABAB" * 20)
    found = image_ablation(rows, "seen", Results(BLANK, rows), "blank", QUICK)
    assert found.ablation_gain.value == 0 and found.same_answer.value == 1


def test_other_questions_or_a_run_with_images_are_refused():
    with pytest.raises(InputError, match="--ablate-image"):
        image_ablation(
            run("ABAB"),
            "a",
            Results({"decoding": {"ablate_image": "none"}}, run("ABAB")),
            "b",
            QUICK,
        )
    with pytest.raises(InputError, match="not in both"):
        image_ablation(run("ABAB"), "a", Results(BLANK, run("AB", "AB")), "b", QUICK)


@pytest.mark.parametrize("meta", [{}, {"decoding": None}, {"decoding": {"ablate_image": 3}}])
def test_a_foreign_manifest_says_nothing(meta):
    assert ablation_of(meta) is None


def test_infer_then_eval(tmp_path):
    runner = CliRunner()
    for kind in ("none", "shuffle"):
        made = runner.invoke(
            cli,
            ["infer", "--model-path", "tiny-vl", "--batch-file", "data/tiny_vqa_ds/test.json",
             "--limit", "24", "--device", "cpu", "--mode", "generate", "--batch-size", "24",
             "--ablate-image", kind, "--output-file", str(tmp_path / f"{kind}.json"), "--quiet"],
        )  # fmt: skip
        assert made.exit_code == 0, made.output
    seen, unseen = str(tmp_path / "none.json"), str(tmp_path / "shuffle.json")
    done = runner.invoke(
        cli, ["eval", seen, "--ablated", unseen, "--output-dir", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert "without the image (shuffle)" in done.stdout and "gain from the image" in done.stdout
    written = (tmp_path / "out" / "summary.json").read_bytes()
    summary = msgspec.json.decode(written, type=Summary)
    both = [json.loads(Path(name).read_text())["results"] for name in (seen, unseen)]
    same = sum(a["extracted_answer"] == b["extracted_answer"] for a, b in zip(*both, strict=True))
    assert summary.image_ablation.same_answer.value == pytest.approx(same / 24)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "of the answers are the same" in page and "no image (shuffle)" in page
    alone = runner.invoke(cli, ["eval", unseen, "--metrics", "accuracy"])
    assert "(shuffle)" in alone.stdout
    other = json.loads(Path(unseen).read_text())
    other["meta"]["model_sha256"] = "another"
    (tmp_path / "other.json").write_text(json.dumps(other))
    for name in ("--ablated", "--calibrate-on"):
        wrong = runner.invoke(cli, ["eval", seen, name, str(tmp_path / "other.json")])
        assert wrong.exit_code == 2 and f"{name} " in wrong.output
        assert "is of another model than the results" in wrong.output
    wrong = runner.invoke(cli, ["eval", seen, "--ablated", seen])
    assert wrong.exit_code == 2 and "--ablate-image blank" in wrong.output


def test_files_without_ids_and_with_images_in_other_folders(tmp_path):
    rows = [
        {
            "question": "Is it CT?",
            "image": f"/a/{i}.png",
            "ground_truth": "yes",
            "model_output": "yes" if i < 30 else "no",
        }
        for i in range(40)
    ]
    moved = [{**row, "image": row["image"].replace("/a/", "data/")} for row in rows[::-1]]
    right = [{**row, "model_output": "yes"} for row in moved]
    written = {"seen": rows, "blank": {**BLANK, "results": right}, "other": moved}
    for name, document in written.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    seen, blank, other = (str(tmp_path / f"{name}.json") for name in written)
    args = ["eval", seen, "--ablated", blank, "--ensemble", other, "--json"]
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0, done.output
    summary = msgspec.json.decode(done.stdout, type=Summary)
    for part in (summary.image_ablation, summary.ensemble):
        assert part.paired_by == "question and image name"
    assert summary.image_ablation.ablation_gain.value == pytest.approx(-0.25)
    assert summary.ensemble.all_agree.value == 1
    for name in ("--ablated", "--ensemble"):
        assert any(said.startswith(f"{name}: the files do not") for said in summary.warnings)


# --- dependence on the image ----------------------------------------------------------------------

SHUFFLE = {"decoding": {"ablate_image": "shuffle"}}
RIGHT = "ABAB" * 10


def answered(letters, reasoning="", gold=RIGHT):
    options = {"A": "CT", "B": "MRI"}
    think = f"<think>{reasoning}</think>" if reasoning else ""
    return [
        prediction(think + tag(letter), right, options=options, name=f"q{i}", image=f"{i // 2}.png")
        for i, (letter, right) in enumerate(zip(letters, gold, strict=True))
    ]


def dependence(with_image, without, meta=SHUFFLE):
    return image_ablation(with_image, "seen", Results(meta, without), "unseen", QUICK)


def test_a_model_that_ignores_the_image_and_says_so():
    rows = answered("A" * 40, "CT is the most common modality.")
    part = dependence(rows, rows)
    assert part.visual_reliance.value == 0 and part.image_sensitivity.value == 0
    assert part.visual_claims.value == 0 and part.hallucinated_visual_reasoning.value == 0
    assert part.same_answer.value == 1


def test_a_model_that_always_looks():
    part = dependence(
        answered(RIGHT, "The image shows bone in white."), answered("BABA" * 10, "I can see fat.")
    )
    assert part.visual_reliance.value == 1 and part.image_sensitivity.value == 1
    assert part.visual_claims.value == 1 and part.hallucinated_visual_reasoning.value == 0


def test_a_model_whose_claims_are_decorative():
    claims = answered("A" * 40, "The image clearly shows a bright rim.")
    part = dependence(claims, answered("A" * 40))
    assert part.visual_reliance.value == 0 and part.image_sensitivity.value == 0
    assert part.hallucinated_visual_reasoning.value == 1
    low, high = part.hallucinated_visual_reasoning.ci95
    # 20 images with two items each: the interval is about images
    assert 0.8 < low < 0.9 and high == 1
    assert part.hallucinated_visual_reasoning.method == "wilson over images"


def test_a_mixture_has_the_shares_it_was_made_with():
    """Of 40 items 10 look, 20 decorate, and 10 neither look nor claim."""
    looking = answered(RIGHT, "The image shows bone.")
    decorating = answered("A" * 40, "In the image, the rim is bright.")
    silent = answered("B" * 40)
    other = answered("BABA" * 10)
    with_image = looking[:10] + decorating[10:30] + silent[30:]
    without = other[:10] + decorating[10:30] + silent[30:]
    part = dependence(with_image, without)
    assert part.image_sensitivity.value == 0.25
    assert part.visual_reliance.value == 0.25
    assert part.visual_claims.value == 0.75
    assert part.hallucinated_visual_reasoning.value == 0.5
    for metric in (part.image_sensitivity, part.hallucinated_visual_reasoning):
        low, high = metric.ci95
        assert 0 < low < metric.value < high < 1 and "bootstrap" in metric.method


def test_an_answer_that_appears_or_vanishes_changes_and_none_at_all_does_not():
    part = dependence(
        run(["A", None, None, "B"]), run([None, "B", None, "B"]), BLANK
    )  # fmt: skip
    assert part.image_sensitivity.value == 0.5 and part.same_answer.value == 0.25
    assert part.visual_reliance is msgspec.UNSET  # its images were not shuffled


def test_open_answers_in_other_words_are_the_same():
    rows = [
        [prediction(tag(text), "effusion", answer_type="open", name="q", image="q.png")]
        for text in ("No pleural effusion.", "There is no pleural effusion", "pleural effusion")
    ]
    same = dependence(rows[0], rows[1])
    assert same.same_answer.value == 1 and same.image_sensitivity.value == 0
    assert dependence(rows[0], rows[2]).image_sensitivity.value == 1


def test_without_completions_there_is_no_rate():
    rows = answered(RIGHT, "The image shows bone.")
    # as --mode options writes it: the most probable option, without a length
    chosen = [replace(row, option_probs={"A": 0.8, "B": 0.2}) for row in rows]
    for some in (chosen, [replace(row, model_output=None) for row in rows]):
        part = dependence(some, some)
        assert part.hallucinated_visual_reasoning.value is None
        assert part.hallucinated_visual_reasoning.reason == "no completions"
    both = [replace(row, num_tokens=9) for row in chosen]  # --mode both
    assert dependence(both, both).hallucinated_visual_reasoning.value == 1


def test_reasoning_in_a_field_of_its_own_is_read_too():
    rows = [replace(row, reasoning="The scan shows bone.") for row in run("ABAB")]
    assert dependence(rows, rows).visual_claims.value == 1


def test_two_ablations_in_one_evaluation(tmp_path):
    rows = [
        {
            "id": f"q{i}",
            "question": "Is it CT?",
            "image": f"{i}.png",
            "ground_truth": "yes",
            "model_output": f"The scan shows bone. <answer>{'yes' if i < 30 else 'no'}</answer>",
        }
        for i in range(40)
    ]
    yes = [{**row, "model_output": "<answer>yes</answer>"} for row in rows]
    written = {"seen": rows, "blank": {**BLANK, "results": yes}, "again": {**BLANK, "results": yes}}
    written["shuffle"] = {**SHUFFLE, "results": yes[:10] + rows[10:]}
    for name, document in written.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    seen, blank, again, shuffle = (str(tmp_path / f"{name}.json") for name in written)
    out = tmp_path / "out"
    args = ["eval", seen, "--ablated", blank, "--ablated", shuffle, "--output-dir", str(out)]
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0, done.output
    rows_of_table = [
        "without the image (blank)",
        "without the image (shuffle)",
        "image sensitivity",
    ]
    rows_of_table += ["gain from the image (visual reliance)", "hallucinated visual reasoning"]
    for words in rows_of_table:
        assert words in done.stdout, words
    summary = msgspec.json.decode((out / "summary.json").read_bytes(), type=Summary)
    first, second = summary.ablations
    assert (first.ablation, second.ablation) == ("blank", "shuffle")
    assert first.hallucinated_visual_reasoning.value == 0.75
    assert second.hallucinated_visual_reasoning.value == 1
    table = (out / "summary.csv").read_text()
    for row in ("all,blank,image_sensitivity,0.25,", "all,shuffle,visual_reliance,0.0,",
                "all,blank,hallucinated_visual_reasoning,0.75,"):  # fmt: skip
        assert row in table, row
    assert "visual_reliance" not in table.replace("all,shuffle,visual_reliance", "")
    page = (out / "report.html").read_text()
    assert "Dependence on the image" in page and "Visual reliance" in page
    assert "Hallucinated visual reasoning" in page
    twice = CliRunner().invoke(cli, ["eval", seen, "--ablated", blank, "--ablated", again])
    assert twice.exit_code == 2 and "has the same ablation (blank)" in twice.output
