"""The paragraph says what the manifest knows, and nothing else."""

from msgspec.structs import replace

from medr1.documents.metric import Clusters, Missing, no_value
from medr1.documents.summary import ImageAblation
from medr1.documents.trust import Ensemble, EnsembleAccuracy
from medr1.evaluate.judging import Settings
from medr1.evaluate.metrics.summary import summarize
from medr1.evaluate.trust.robustness import robustness
from medr1.records import Prediction, Sample
from medr1.report.pages.checklist import FILLED, OPEN, checklist
from medr1.report.pages.methods import methods_text


def text_of(summary, gaps=None):
    return " ".join(
        segment.text
        for paragraph in methods_text(summary)
        for segment in paragraph["segments"]
        if gaps is None or segment.gap is gaps
    )


def further_parts():
    """Parts of a summary that the methods only mention, without their numbers."""
    number = no_value("not needed here")
    return {
        "image_ablation": ImageAblation(
            results="blank.json",
            ablation="blank",
            paired_by="id",
            accuracy_without_image=number,
            ablation_gain=number,
            same_answer=number,
            image_sensitivity=number,
            visual_claims=number,
            hallucinated_visual_reasoning=number,
        ),
        "ensemble": Ensemble(
            members=["a", "b", "c"],
            n=1,
            majority=EnsembleAccuracy(accuracy=number, differences={}),
            mean_probabilities=Missing(reason="not needed here"),
            all_agree=number,
            pairs=[],
            kappa={},
        ),
        "robustness": robustness([], settings=Settings(num_resamples=10)),
    }


def test_what_is_known_is_said(rich_summary):
    said = text_of(rich_summary, gaps=False)
    for expected in ("1,200 questions about 830 images from test.json", "checkpoints/tiny-vl",
                     "Decoding was greedy, with at most 512 new tokens and seed 0", "bfloat16",
                     "torch 2.15.0", "resample images rather than questions", "2,000 resamples",
                     "Accuracy was 68.4 % (95 % CI 65.4 to 71.4), n = 1,200",
                     "Chance accuracy (random guessing) is 29.0 %",
                     "61 completions had no readable answer"):  # fmt: skip
        assert expected in said, expected
    assert "counting accuracy" not in said  # it has no value


def test_sampling_and_ablation_are_said(rich_summary):
    meta = rich_summary.meta
    decoding = {"do_sample": True, "temperature": 0.7, "ablate_image": "blank"}
    said = text_of(replace(rich_summary, meta={**meta, "decoding": decoding}))
    assert "by sampling at temperature 0.7" in said and "ablation: blank" in said


def test_what_was_asked_beside_the_answer_is_said(rich_summary):
    meta = rich_summary.meta
    more = {"mode": "options", "permute": 4, "num_samples": 8, "dropout_samples": 6}
    decoding = {"do_sample": False, "temperature": 0.7, **more}
    summary = replace(rich_summary, meta={**meta, "decoding": decoding}, **further_parts())
    said = text_of(summary)
    for expected in ("no text was generated", "means over 4 rotations", "8 answers were sampled at",
                     "in 6 more passes with dropout on", "of 3 results files were combined",
                     "without their images", "as described in robustness.html"):  # fmt: skip
        assert expected in said, expected
    plain = {**meta, "decoding": {**decoding, **dict.fromkeys(more, 0), "permute": 1}}
    said = text_of(replace(rich_summary, meta=plain))
    for absent in ("rotations", "sampled", "passes", "combined", "robustness.html"):
        assert absent not in said, absent


def test_what_is_not_known_is_a_gap():
    nothing = summarize([])
    gaps = text_of(nothing, gaps=True)
    for expected in ("ground truth", "training data", "prompt", "confidence intervals",
                     "eligibility", "could not be computed"):  # fmt: skip
        assert expected in gaps, expected
    states = {row["topic"]: row["state"] for row in checklist(nothing)}
    assert [topic for topic, state in states.items() if state == FILLED] == [
        "Missing answers and failures",
        "Sensitivity of the result to analysis choices",
    ]


def test_wilson_intervals_are_called_so(rich_summary):
    accuracy = replace(rich_summary.metrics["accuracy"], method="wilson")
    said = text_of(replace(rich_summary, metrics={"accuracy": accuracy}))
    assert "Wilson score intervals" in said and "bootstrap" not in said


def test_clusters_other_than_images_are_named(rich_summary):
    accuracy = replace(rich_summary.metrics["accuracy"], method="bootstrap over patients")
    summary = replace(rich_summary, metrics={"accuracy": accuracy})
    assert "resample patients rather than" in text_of(summary)


def test_the_study_itself_stays_with_the_authors(rich_summary):
    states = {row["topic"]: row["state"] for row in checklist(rich_summary)}
    assert states["Model, with version"] == states["Prompt and decoding"] == FILLED
    for topic in ("Reference standard", "Sample size", "De-identification, ethics, consent"):
        assert states[topic] == OPEN


def test_what_questions_are_about_is_named(rich_summary):
    patients = replace(rich_summary, clusters=Clusters(unit="patient", n=1))
    assert "1,200 questions about 1 patient from" in text_of(patients)


def test_approximate_matching_is_named_where_a_protocol_does_it():
    sample = Sample("1", ("a.png",), "Which?", {"A": "CT", "B": "MRI"}, "A", "multiple_choice")
    for protocol, is_exact in (("default", True), ("medvlthinker", True), ("medevalkit", False)):
        summary = summarize([Prediction(sample, "CT")], protocol=protocol, num_resamples=20)
        text = text_of(summary)
        assert ("without approximate matching" in text) is is_exact
        assert ("the option with the most similar letters" in text) is not is_exact
