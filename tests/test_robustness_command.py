"""`medr1 robustness` as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from click.testing import CliRunner
from in_process import medr1

from medr1.cli import cli
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.data.variants import BLIND, DEFAULT_KINDS, KINDS
from medr1.evaluate.trust.robustness_file import read_robustness
from medr1.text.hints import hinted_letter

TEST = str(tiny_vqa_folder() / "test.json")
QUICK = ("--perturbations", "contrast,option_order", "--severities", "1,5", "--mode", "options")


def command(*more):
    return [
        *(sys.executable, "-m", "medr1", "robustness", "--model-path", str(tiny_vl_folder())),
        *("--batch-file", TEST, "--output-dir", "out", "--device", "cpu", *more),
    ]


def run(cwd, *more):
    return subprocess.run(command(*more), capture_output=True, text=True, cwd=cwd, timeout=600)


def invoke(monkeypatch, folder, *more):
    """The same in this process, which has torch already."""
    monkeypatch.chdir(folder)
    return CliRunner().invoke(cli, command(*more)[3:])


def test_the_help_names_every_perturbation_and_the_default_ones():
    help_text = cli.commands["robustness"].help.replace("\n", " ")
    (option,) = (p for p in cli.commands["robustness"].params if p.name == "perturbations")
    assert all(kind in help_text for kind in KINDS if kind != BLIND)
    assert f"[default: {', '.join(DEFAULT_KINDS)}]" in option.help


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run in an empty folder: 30 items, two perturbations at two severities."""
    folder = tmp_path_factory.mktemp("robustness")
    result = medr1(*command(*QUICK, "--limit", "32", "--batch-size", "16")[3:], cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_a_table_a_document_a_page_and_the_answers(done):
    folder, result = done
    assert {path.name for path in (folder / "out").iterdir()} == {
        *("results.json", "results.json.run.json", "robustness.json", "robustness.html"),
    }
    assert "contrast" in result.stdout and "grey image" in result.stdout
    assert "questions" not in result.stdout.splitlines()[0] and "31 original" in result.stderr
    warned = "may have text burned into the image"  # ultrasound is among the questions
    assert warned in result.stderr and warned in (folder / "out" / "robustness.html").read_text()
    document = read_robustness(folder / "out" / "robustness.json")
    assert document.schema == "medr1.robustness/2"
    entries = json.loads((folder / "out" / "results.json").read_text())["results"]
    ways = Counter(
        (e["metadata"]["perturbation"], e["metadata"]["perturbation_severity"]) for e in entries
    )
    n = document.n
    ways_asked = [("none", 0), ("contrast", 1), ("contrast", 5), ("blank", 1)]
    assert all(ways[way] == n for way in ways_asked) and n > 25
    assert document.excluded["none"] == {"without options, which --mode options needs": 32 - n}
    # the numbers are those of the answers themselves
    right = [e["extracted_answer"] == e["ground_truth"] for e in entries]
    for one in document.perturbations:
        for cell in one.cells:
            mine = [
                ok
                for ok, e in zip(right, entries, strict=True)
                if (e["metadata"]["perturbation"], e["metadata"]["perturbation_severity"])
                == (one.name, cell.severity)
            ]
            assert cell.accuracy.value == pytest.approx(sum(mine) / len(mine))
    strongest = document.perturbations[0].cells[-1]
    assert strongest.flip_rate.value > 0.1  # at a twentieth of the contrast


def test_eval_reads_the_answers_by_perturbation(done):
    folder, _ = done
    arguments = ["eval", str(folder / "out" / "results.json"), "--json", "--group-by"]
    result = CliRunner().invoke(cli, [*arguments, "perturbation,perturbation_severity"])
    assert result.exit_code == 0, result.output
    groups = json.loads(result.stdout)["groups"]
    assert set(groups["perturbation"]) == {"none", "blank", "contrast", "option_order"}
    document = read_robustness(folder / "out" / "robustness.json")
    clean = groups["perturbation"]["none"]["metrics"]["accuracy"]["value"]
    assert clean == pytest.approx(document.clean.accuracy.value)


def test_given_again_it_has_nothing_to_do_and_another_run_is_refused(done, monkeypatch):
    folder, _ = done
    before = (folder / "out" / "results.json").read_bytes()
    again = invoke(monkeypatch, folder, *QUICK, "--limit", "32", "--batch-size", "16", "--json")
    assert again.exit_code == 0 and "nothing to do" in again.stderr
    assert json.loads(again.stdout) == json.loads((folder / "out/robustness.json").read_text())
    other = invoke(monkeypatch, folder, *QUICK[:3], "3", *QUICK[4:], "--limit", "32")
    assert other.exit_code == 2 and "number of items, perturbations" in other.stderr
    assert not other.stdout
    assert (folder / "out" / "results.json").read_bytes() == before


def test_few_items_end_in_a_sentence(tmp_path, monkeypatch):
    result = invoke(monkeypatch, tmp_path, *QUICK, "--limit", "12")
    assert result.exit_code == 0, result.stderr
    assert "too few for any conclusion" in result.stdout
    page = (tmp_path / "out" / "robustness.html").read_text()
    assert "too few for any conclusion" in page and "<polyline" not in page


def test_a_dry_run_says_what_would_be_asked(tmp_path):
    arguments = ["robustness", "--model-path", "none", "--batch-file", TEST]
    arguments += ["--output-dir", str(tmp_path / "out"), "--perturbations", "flip,jpeg"]
    result = CliRunner().invoke(cli, [*arguments, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "716 items" in result.stdout and "left out of flip_vertical" in result.stdout
    found = json.loads(CliRunner().invoke(cli, [*arguments, "--dry-run", "--json"]).stdout)
    excluded = sum(found["excluded"]["flip_vertical"].values())
    assert found["n_questions"] == 716 * (1 + 3 + 1 + 1 + 1) - excluded
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--perturbations", "jpg"), "Did you mean jpeg?"),
        (("--severities", "1,6"), "6 is not one of 1, 2, 3, 4, 5"),
        (("--severities", "high"), "list of integers"),
        (("--batch-file", "nothing.json"), "file not found: nothing.json"),
        (("--batch-file", "no-gold.json"), "no item can be asked and judged: 1 without ground"),
        (("--batch-file", "no-image.json"), "that cannot be used (no_image)"),
        (("--cluster-by", "patient"), "no item has this key"),
        (("--prompt", "thinck"), "unknown prompt 'thinck'"),
        (("--model-path", "nothing"), "nothing"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gold = {"question": "Which?", "image": "a.png"}
    (tmp_path / "no-gold.json").write_text(json.dumps([gold]))
    (tmp_path / "no-image.json").write_text(json.dumps([{"question": "q", "ground_truth": "b"}]))
    given = ["robustness", "--model-path", str(tiny_vl_folder()), "--batch-file", TEST]
    result = CliRunner().invoke(cli, [*given, "--output-dir", "out", *arguments])
    assert result.exit_code == 2, result.output
    assert says in result.stderr and not result.stdout


def test_images_that_are_not_there_are_errors_over_the_budget(tmp_path, monkeypatch):
    items = [
        {"image": f"{i}.png", "question": "Which?", "options": ["x", "y"], "ground_truth": "A"}
        for i in range(3)
    ]
    (tmp_path / "q.json").write_text(json.dumps(items))
    result = invoke(monkeypatch, tmp_path, "--batch-file", "q.json", "--perturbations", "jpeg")
    assert result.exit_code == 3, result.stderr
    assert "15 of 15 questions failed" in result.stderr


@pytest.mark.slow
def test_kills_change_no_byte(tmp_path):
    arguments = (*QUICK, "--limit", "200", "--batch-size", "8")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert run(whole, *arguments).returncode == 0
    journal, kills = cut / "out" / "results.json.journal.jsonl", 0
    while kills < 3:
        seen = len(journal.read_bytes()) if journal.exists() else 0
        child = subprocess.Popen(command(*arguments), cwd=cut, stderr=subprocess.DEVNULL)
        while child.poll() is None:
            if journal.exists() and len(journal.read_bytes()) > seen + 50_000:
                os.kill(child.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        assert child.wait() == -signal.SIGKILL
    last = run(cut, *arguments)
    assert last.returncode == 0 and "resuming" in last.stderr
    for name in ("results.json", "robustness.json", "robustness.html"):
        assert (cut / "out" / name).read_bytes() == (whole / "out" / name).read_bytes()


def test_eval_takes_the_document_into_its_report(done, tmp_path):
    folder, _ = done
    found, document = folder / "out" / "results.json", folder / "out" / "robustness.json"

    def evaluated(name, *more):
        args = ["eval", str(found), "--robustness", str(name), "--metrics", "accuracy", *more]
        return CliRunner().invoke(cli, args)

    result = evaluated(document, "--output-dir", str(tmp_path / "out"))
    assert result.exit_code == 0, result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["robustness"] == json.loads(document.read_text())
    page = (tmp_path / "out" / "report.html").read_text()
    assert ">Robustness</h3>" in page and "Lower contrast of severity" in page
    result = evaluated(found)
    assert result.exit_code == 2 and "is not a robustness.json" in result.stderr
    other = json.loads(document.read_text())
    other["meta"]["model_sha256"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(other))
    result = evaluated(tmp_path / "other.json")
    assert result.exit_code == 2 and "of another model" in result.stderr


def test_none_of_the_above_and_a_false_premise_are_asked_and_reported(tmp_path):
    kinds = ("--perturbations", "none_of_the_above,false_premise", "--mode", "generate")
    more = ("--limit", "40", "--batch-size", "40", "--max-new-tokens", "8")
    result = medr1(*command(*kinds, *more)[3:], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "none_of_the_above" in result.stdout and "false premise: refusals" in result.stdout
    document = read_robustness(tmp_path / "out" / "robustness.json")
    cells = {entry.name: entry.cells[0] for entry in document.perturbations}
    assert cells["false_premise"].n == document.n
    assert cells["false_premise"].premise_rejected.n > 0
    left_out = sum(document.excluded["none_of_the_above"].values())
    assert cells["none_of_the_above"].n == document.n - left_out
    entries = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    asked = {kind: [e for e in entries if e["metadata"]["perturbation"] == kind] for kind in cells}
    for entry in asked["none_of_the_above"]:
        assert entry["options"][entry["ground_truth"]] == "None of the above"
    for entry in asked["false_premise"]:
        assert entry["question"].startswith("Given that the image shows ")
    page = (tmp_path / "out" / "robustness.html").read_text()
    assert "False premise in the question" in page and "say that the premise is wrong" in page
    assert "Right option replaced by none of the above" in page


def test_a_hint_is_asked_and_its_effect_is_reported(tmp_path):
    more = ("--perturbations", "hint", "--mode", "generate", "--max-new-tokens", "8")
    result = medr1(*command(*more, "--limit", "40", "--batch-size", "40")[3:], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "hint: answers that change to the hinted option" in result.stdout
    document = read_robustness(tmp_path / "out" / "robustness.json")
    (entry,) = document.perturbations
    hint = entry.cells[0].hint
    answers = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    asked = [e for e in answers if e["metadata"]["perturbation"] == "hint"]
    clean = {e["id"]: e["extracted_answer"] for e in answers}
    swayed = []
    for e in asked:
        letter = hinted_letter(e["question"])
        assert letter in e["options"] and letter != e["ground_truth"]
        if clean[e["metadata"]["perturbation_of"]] != letter:
            swayed.append(e["extracted_answer"] == letter)
    assert len(asked) == entry.cells[0].n == hint.acknowledged.n
    assert hint.swayed.n == len(swayed)
    assert hint.swayed.value == pytest.approx(sum(swayed) / len(swayed))
    page = (tmp_path / "out" / "robustness.html").read_text()
    assert "Hint to a wrong option" in page and "change to the hinted option" in page
