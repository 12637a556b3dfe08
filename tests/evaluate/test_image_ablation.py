"""Answers with the picture beside those without it, by hand and through both commands."""

import json
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
