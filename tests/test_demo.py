"""The first of the two commands, whole, on the real embedded model."""

from pathlib import Path

import msgspec
import pytest
from in_process import medr1

from medr1.cli import cli
from medr1.cli.full_demo import EDITS
from medr1.data.tiny import tiny_config
from medr1.documents.comparison import Comparison
from medr1.documents.demo import Demo
from medr1.documents.matrix import Matrix
from medr1.documents.review import ReviewSummary
from medr1.documents.robustness import Robustness
from medr1.documents.summary import Summary
from medr1.workflows.demo import CONFIGS

ROOT = Path(__file__).resolve().parents[1]


def demo(folder, *args):
    result = medr1("demo", "--output-dir", folder, "--json", *args, cwd=folder.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (folder / "demo.json").read_text()
    return msgspec.json.decode(result.stdout, type=Demo), result.stderr


def read(path, kind):
    return msgspec.json.decode(path.read_bytes(), type=kind)


def check(document, folder):
    for protocol in (document.default, document.strict):
        base, trained = protocol.base, protocol.trained
        for side in (base, trained):
            assert side.n == document.n
            assert side.ci95[0] <= side.value <= side.ci95[1]
        gain = protocol.difference.value
        assert gain == pytest.approx(trained.value - base.value, abs=1e-9)
        low, high = protocol.difference_by_source.ci95
        assert low <= gain <= high
    assert abs(document.blind.option_prior.value - document.blind.chance) < 0.05
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_help_states_the_steps_of_the_configurations():
    (option,) = (p for p in cli.commands["demo"].params if p.name == "max_steps")
    steps = {prompt: tiny_config(name)["max_steps"] for prompt, name in CONFIGS.items()}
    stated = ", ".join(f"{number} for {prompt}" for prompt, number in steps.items())
    assert f"[default: {stated}]" in option.help


@pytest.mark.slow  # answers 676 questions twice
@pytest.mark.parametrize(("prompt", "name"), CONFIGS.items())
def test_the_chain_runs_whole_and_is_the_run_of_its_configuration(prompt, name, tmp_path):
    document, said = demo(tmp_path / "out", "--prompt", prompt, "--max-steps", "2")
    check(document, tmp_path / "out")
    assert "Traceback" not in said and "step" in said
    plain = tmp_path / "plain"
    args = ("--config", f"configs/{name}.yaml", "--max-steps", 2, "--output-dir", plain)
    result = medr1("train", *args, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    weights = [f / "model.safetensors" for f in (plain, tmp_path / "out" / "checkpoint")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_grpo_raises_held_out_accuracy(tmp_path):
    document, _ = demo(tmp_path / "out", "--seed", "3")
    check(document, tmp_path / "out")
    assert document.default.difference.value > 0.05
    assert document.strict.difference.value > 0.30


@pytest.mark.slow
def test_the_full_demo_says_how_far_to_trust_the_model(tmp_path):
    document, said = demo(tmp_path / "out", "--full", "--prompt", "think", "--max-steps", "2")
    check(document, tmp_path / "out")
    trust = tmp_path / "out" / "trust"
    for command in ("infer", "eval", "robustness", "compare", "train", "matrix", "data split"):
        assert f"medr1 {command} " in said
    summary = read(trust / "report" / "summary.json", Summary)
    assert len(summary.uncertainty.pass_at_k) == 8
    assert len(summary.ensemble.members) == 3
    page = (trust / "report" / "report.html").read_text()
    for heading in (
        "Calibration",
        "Abstention",
        "Agreement of 8 samples per question",
        "Robustness",
        "Hallucinated claims",
        "Reasoning",
    ):
        assert f">{heading}</h3>" in page
    assert "Ensemble: this file with" in page
    check_image_and_reasoning(summary)
    dropout = read(trust / "report-dropout" / "summary.json", Summary).dropout
    assert dropout.num_samples == 8 and dropout.prediction.mutual_information.value > 0
    page = (trust / "report-dropout" / "report.html").read_text()
    assert "Monte Carlo dropout: 8 passes" in page
    together = read(trust / "compare" / "comparison.json", Comparison).ensemble
    assert together.kappa["multiple_choice"].ci95
    assert "McNemar" in (trust / "compare-formats" / "compare.html").read_text()
    robustness = read(trust / "robustness" / "robustness.json", Robustness)
    assert robustness.n == 240 and robustness.mean_corruption_accuracy.value > 0
    assert "How much accuracy changes" in (trust / "robustness" / "robustness.html").read_text()
    matrix = read(trust / "matrix" / "matrix.json", Matrix).generalization
    assert set(matrix.domains) == {"CT", "MRI", "Microscopy"}
    assert len(matrix.pairs) == 6
    assert all(pair.image_distance is not None for pair in matrix.pairs)
    assert "Leave one domain out" in (trust / "matrix" / "matrix.html").read_text()
    review = read(trust / "review" / "review.json", ReviewSummary)
    assert [reader.name[:9] for reader in review.readers] == ["Simulated"] * 3
    assert "medr1 review summary " in said and "Fleiss' kappa: planted " in said


@pytest.mark.slow
def test_the_full_demo_measures_confidence_where_options_have_probabilities(tmp_path):
    document, _ = demo(tmp_path / "out", "--full", "--max-steps", "2")
    check(document, tmp_path / "out")
    trust = tmp_path / "out" / "trust"
    summary = read(trust / "report" / "summary.json", Summary)
    assert summary.calibration.temperature.temperature.value > 0
    conformal = summary.selective.conformal.split.coverage
    assert conformal.ci95[0] < 0.95 and conformal.ci95[1] > 0.85
    page = (trust / "report" / "report.html").read_text()
    assert "Test-time augmentation: 14 mildly changed views" in page
    together = read(trust / "compare" / "comparison.json", Comparison).ensemble
    assert together.mean_probabilities.accuracy.value > 0
    robustness = read(trust / "robustness" / "robustness.json", Robustness)
    assert robustness.test_time_augmentation.num_views == 14


def check_image_and_reasoning(summary):
    """The parts about the image, the claims, the reasoning and the tokens."""
    assert [part.ablation for part in summary.ablations] == ["blank", "shuffle"]
    assert summary.ablations[1].visual_reliance.ci95
    assert summary.hallucination is not None and summary.reasoning.n > 600
    edits = {part.edit: part for part in summary.reasoning_use}
    assert list(edits) == list(EDITS)
    # the control: unchanged reasoning leads to the same answer
    assert edits["none"].changed_answer.value < 0.02
    assert edits["swap"].changed_answer.value > edits["none"].changed_answer.value
    assert summary.token_uncertainty.variance.n > 0
