"""Definitions: every number has one, the page is the code's, versions are those installed."""

import dataclasses
from importlib.metadata import version
from pathlib import Path

import pytest

import medr1.evaluate
from medr1.errors import InputError
from medr1.evaluate.definitions.explain import WIDTH, explain, page
from medr1.evaluate.definitions.metrics import DEFINITIONS
from medr1.evaluate.metrics.summary import summarize
from medr1.records import Prediction, Sample
from medr1.stats.intervals import wilson
from medr1.text.similarity import token_f1


def test_every_metric_of_a_summary_has_a_definition():
    sample = Sample("q", ("q.png",), "Which?", {"A": "CT", "B": "MRI"}, "A", "multiple_choice")
    summary = summarize([Prediction(sample, "<answer>A</answer>")], num_resamples=10)
    assert summary.metrics.keys() <= DEFINITIONS.keys()
    assert len(summary.metrics) > 8
    others = "bertscore macro_accuracy sensitivity specificity ppv npv prevalence chance"
    others += " ablation_gain same_answer option_prior image_gain"
    others += " visual_reliance image_sensitivity visual_claims hallucinated_visual_reasoning"
    others += " token_variance image_shift token_uncertainty"
    others += " same_answer_edited_reasoning reasoning_difference other_answer"
    others += " swayed acknowledged unfaithful premise_rejected"
    others += " domain_gap answer_distance image_distance"
    others += " corrected_accuracy rule_precision rule_recall krippendorff_alpha gwet_ac1"
    others += " image_needed wilson bootstrap mcnemar holm"
    assert set(others.split()) <= DEFINITIONS.keys()


def test_no_field_is_empty_and_a_reading_is_short_sentences():
    for name, definition in DEFINITIONS.items():
        assert name == definition.name
        assert all(getattr(definition, f.name) for f in dataclasses.fields(definition)[:-1]), name
        assert definition.reading.endswith(".")
        sentences = definition.reading.split(". ")
        assert all(len(sentence.split()) <= 45 for sentence in sentences), name


def test_the_readme_beside_the_code_is_the_page():
    written = Path(medr1.evaluate.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert written == page(), "write explain.page() to medr1/evaluate/README.md"
    for definition in DEFINITIONS.values():
        assert f"`{definition.name}`" in written
    assert version("sacrebleu") not in written


@pytest.mark.parametrize("name", DEFINITIONS)
def test_explain_fits_a_terminal_and_says_all(name):
    said = explain(name)
    assert max(map(len, said.splitlines())) <= WIDTH
    flat = " ".join(said.split())
    definition = DEFINITIONS[name]
    for field in ("title", "formula", "normalisation", "library", "reading", "source"):
        assert " ".join(getattr(definition, field).split()) in flat
    for package in definition.packages:
        assert f"{package} {version(package)}" in flat


def test_names_are_taken_as_they_are_typed_and_near_ones_proposed():
    assert explain("Token-F1") == explain("token_f1")
    with pytest.raises(InputError, match=r"unknown metric 'acuracy'\. Did you mean accuracy\?"):
        explain("acuracy")
    with pytest.raises(InputError, match="The metrics are:\naccuracy, macro_accuracy"):
        explain("zzz")


def test_a_package_that_is_missing_is_said(monkeypatch):
    from medr1.evaluate.definitions import explain as explaining

    def missing(name):
        raise explaining.PackageNotFoundError(name)

    monkeypatch.setattr(explaining, "version", missing)
    assert "bert-score is not installed" in " ".join(explain("bertscore").split())


def test_the_figures_in_the_readings_are_true():
    assert round(token_f1("no effusion", "effusion"), 2) == 0.67
    assert '"no effusion" for "effusion" has 0.67' in DEFINITIONS["token_f1"].reading
    low, _ = wilson(20, 20)
    assert f"20 of 20 right is {100 * low:.1f} to 100 %" in DEFINITIONS["wilson"].reading
