"""CONTRIBUTING's "To add" for a reward and for a metric: followed in a copy of the package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

REWARD = """    "brevity": Reward(
        "1 for an answer of at most `limit` words, then lower",
        _brevity,
        (Parameter("limit", int, "words of the answer", minimum=1, default=2),),
    ),
"""
REWARD_FUNCTION = """def _brevity(item: Item, limit: int) -> float:
    words = (item.verdict().extraction.answer or "").split()
    return min(1.0, limit / max(1, len(words)))


"""
PAIR_METRIC = """    RegisteredMetric(
        Definition(
            "length_gap",
            "Gap of lengths",
            "1 - shorter text / longer text, in words; then the mean over items",
            OPTION_TEXT,
            OWN,
            SHARE,
            "It says nothing about the content.",
            "this test",
        ),
        label="gap of lengths",
        meaning="how different the lengths are, in words",
        function=PairScore(lambda: _length_gap, "words between blanks"),
        higher_is_better=False,
    ),
"""
PAIR_FUNCTION = """def _length_gap(answer: str, ground_truth: str) -> float:
    lengths = sorted(len(text.split()) for text in (answer, ground_truth))
    return 1 - lengths[0] / lengths[1] if lengths[1] else 0.0


"""
VERDICT_METRIC = """    RegisteredMetric(
        Definition(
            "open_accuracy",
            "Accuracy of open questions",
            "right open questions / open questions",
            "Open is every question that is not closed.",
            OWN,
            SHARE,
            "These questions have many possible answers.",
            "this test",
        ),
        label="accuracy of open questions",
        meaning="accuracy where there are no options",
        function="verdict",
        items="open",
    ),
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a copy of the package, and the data that the commands need."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "medr1", tmp_path / "medr1", ignore=ignored)
    return tmp_path


def insert(file: Path, text: str, before: str) -> None:
    """Insert a text into a file before another one, which is there once."""
    content = file.read_text(encoding="utf-8")
    assert content.count(before) == 1, before
    file.write_text(content.replace(before, text + before), encoding="utf-8")


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m medr1 ...` of the copy."""
    return subprocess.run(
        [sys.executable, "-m", "medr1", *arguments],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def output(package: Path, *arguments: str) -> str:
    """What the copy prints."""
    done = run(package, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_reward_is_added_by_one_entry(package: Path) -> None:
    insert(
        package / "medr1/rewards/table.py",
        REWARD_FUNCTION,
        "@dataclass(frozen=True)\nclass Reward:",
    )
    insert(package / "medr1/rewards/table.py", REWARD, '    "soft-overlong": Reward(')
    answer = "<answer>a large mass on the left</answer>"
    (package / "completions.jsonl").write_text(json.dumps({"content": answer, "solution": "mass"}))
    scores = json.loads(output(package, "rewards", "completions.jsonl"))
    assert scores["brevity"] == pytest.approx(2 / 6)
    assert list(scores)[-1] == "brevity" and "accuracy" in scores
    names = "brevity:limit=3,format-nothink"
    scores = json.loads(output(package, "rewards", "completions.jsonl", "--rewards", names))
    assert scores == {"brevity": 0.5, "format-nothink": 1.0}
    help_text = output(package, "rewards", "--help")
    assert "  brevity             1 for an answer of at most" in help_text
    assert "limit=N       words of the answer [default: 2]" in help_text


def results_file(package: Path) -> str:
    """A results file with four open questions, two of which are answered right."""
    completions = {
        "left pleural effusion": "left pleural effusion",
        "cardiomegaly": "an enlarged heart or a mass",
        "fracture": "fracture",
        "pneumonia": "",
    }
    items = [
        {
            "id": f"q{i}",
            "image": f"{i}.png",
            "question": "What is seen?",
            "ground_truth": ground_truth,
            "modality": "CT" if i < 2 else "MRI",
            "completion": f"<answer>{answer}</answer>",
        }
        for i, (ground_truth, answer) in enumerate(completions.items())
    ]
    (package / "results.json").write_text(json.dumps(items))
    return "results.json"


def test_metrics_are_added_by_one_entry_each(package: Path) -> None:
    registry = package / "medr1/metrics/registry.py"
    insert(registry, PAIR_FUNCTION, "_LIST = (\n")
    insert(registry, PAIR_METRIC + VERDICT_METRIC, "    *(_bleu(k) for k in BLEU_ORDERS),\n")
    file = results_file(package)
    done = run(package, "eval", file, "--output-dir", "out", "--fail-under", "length_gap=0.4")
    # lower is better, so the share is a maximum
    assert done.returncode == 1 and "length_gap is 0.4583, over 0.4" in done.stderr
    summary = json.loads((package / "out" / "summary.json").read_text())
    metrics, groups, macro = summary["metrics"], summary["groups"], summary["macro"]
    gap = metrics["length_gap"]
    # 3 of 3 words, 1 of 6, 1 of 1, and no answer, which has the worst value
    assert gap["value"] == pytest.approx((0 + 5 / 6 + 0 + 1) / 4)
    assert gap["ci95"][0] < gap["value"] < gap["ci95"][1]
    assert (gap["n"], gap["signature"]) == (4, "words between blanks")
    assert (metrics["open_accuracy"]["value"], metrics["open_accuracy"]["n"]) == (0.5, 4)
    assert groups["modality"]["MRI"]["metrics"]["length_gap"]["value"] == 0.5
    assert macro["modality"]["metrics"]["length_gap"]["value"] == pytest.approx(gap["value"])
    assert "length_gap" in done.stdout and "open_accuracy" in done.stdout
    page = (package / "out" / "report.html").read_text(encoding="utf-8")
    for text in ("gap of lengths", "how different the lengths are", "accuracy of open questions"):
        assert text in page
    explained = output(package, "eval", "--explain", "length-gap")
    assert "1 - shorter text / longer text" in explained
    assert "It says nothing about the content." in explained
