"""What is counted: findings against torchmetrics, confusion, reasons, lengths, contradictions."""

import random

import pytest
from msgspec import to_builtins
from predictions import prediction, tag

from medr1.documents.summary import Contradictions
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.metrics import counts
from medr1.evaluate.metrics.summary import summary_of
from medr1.records import Failure

STAINS = {"A": "H&E", "B": "Fluorescence", "C": "Immunohistochemistry"}


def judged(items, **options):
    return judge_all(items, Settings(num_resamples=200, texts=True, **options))


def yes_no(said, gold, **more):
    return prediction(tag(said), gold, answer_type="yes_no", **more)


@pytest.mark.parametrize("seed", range(3))
def test_findings_equal_torchmetrics(seed):
    import torch
    from torchmetrics.functional import classification

    rng = random.Random(seed)
    golds = rng.choices([0, 1], weights=[3, 1], k=200)
    said = [g if rng.random() < 0.8 else 1 - g for g in golds]
    words = ("No", "Yes")
    found = counts.findings(
        judged([yes_no(words[s], words[g]) for s, g in zip(said, golds, strict=True)])
    )
    assert len(found) == 1
    row = found[0]
    preds, target = torch.tensor(said), torch.tensor(golds)
    for name, oracle in (
        ("sensitivity", classification.binary_recall),
        ("specificity", classification.binary_specificity),
        ("ppv", classification.binary_precision),
        ("npv", classification.binary_negative_predictive_value),
    ):
        metric = getattr(row, name)
        assert metric.value == pytest.approx(oracle(preds, target).item()), name
        low, high = metric.ci95
        assert low < metric.value < high
    assert row.n_positive == sum(golds)
    assert row.prevalence.value == pytest.approx(sum(golds) / 200)


def test_finding_intervals_equal_statsmodels():
    from statsmodels.stats.proportion import proportion_confint

    items = [yes_no("yes" if i < 17 else "no", "yes") for i in range(20)]
    items += [yes_no("yes" if i < 6 else "no", "no") for i in range(30)]
    (row,) = counts.findings(judged(items))
    for name, right, n in (
        ("sensitivity", 17, 20),
        ("specificity", 24, 30),
        ("ppv", 17, 23),
        ("npv", 24, 27),
        ("prevalence", 20, 50),
    ):
        metric = getattr(row, name)
        assert metric.n == n
        expected = proportion_confint(right, n, method="wilson")
        assert metric.ci95 == pytest.approx(expected, abs=1e-9)
        assert metric.method == "wilson"


def test_no_answer_is_no_right_answer():
    items = [yes_no("yes", "yes"), yes_no("maybe", "yes"), yes_no("maybe", "no")]
    items.append(prediction(None, "no", answer_type="yes_no", error=Failure("failed", "x")))
    (row,) = counts.findings(judged(items))
    assert (row.n, row.n_unanswered) == (4, 3)
    assert row.sensitivity.value == 0.5
    assert row.specificity.value == 0
    assert row.ppv.value == 1
    assert row.npv.value is None
    assert row.npv.reason == "the opposite was never answered"


def test_a_question_asked_often_has_its_own_row():
    items = []
    for finding, right in (("effusion", 9), ("nodule", 5)):
        for i in range(20):
            gold = "yes" if i < 10 else "no"
            said = "yes" if i < right else "no"
            items.append(yes_no(said, gold, question=f"Is there {finding}?"))
    items.append(yes_no("no", "yes", question="Is it rare?"))
    found = {row.finding: row for row in counts.findings(judged(items))}
    assert list(found) == ["all yes/no questions", "Is there effusion?", "Is there nodule?"]
    assert found["Is there effusion?"].sensitivity.value == 0.9
    assert found["all yes/no questions"].n == 41
    named = [
        yes_no("yes", gold, question=f"Q{i}?", metadata={"finding": "mass"})
        for i, gold in enumerate(["yes", "no"] * 5)
    ]
    (row,) = counts.findings(judged(named))
    assert (row.finding, row.n) == ("mass", 10)


def test_findings_of_options_are_one_against_those_offered():
    def item(said, gold):
        letters = {text: letter for letter, text in STAINS.items()}
        return prediction(tag(letters[said]), letters[gold], options=STAINS)

    items = [item("H&E", "H&E")] * 6 + [item("Fluorescence", "H&E")] * 2
    items += [item("Fluorescence", "Fluorescence")] * 5 + [item("H&E", "Fluorescence")]
    items += [prediction(tag("A"), "A", options={"A": "CT", "B": "MRI"}) for _ in range(5)]
    found = {row.finding: row for row in counts.findings(judged(items))}
    assert set(found) == {"h&e", "fluorescence"}  # CT is never offered and wrong
    assert found["h&e"].n == 14
    assert found["h&e"].sensitivity.value == 6 / 8
    assert found["h&e"].specificity.value == 5 / 6
    assert found["h&e"].ppv.value == 6 / 7


def test_yes_and_no_as_options_are_a_yes_no_question():
    options = {"A": "No", "B": "Yes"}
    items = [prediction(tag("B" if i < 7 else "A"), "B", options=options) for i in range(10)]
    items += [prediction(tag("A"), "A", options=options) for _ in range(10)]
    (row,) = counts.findings(judged(items))
    assert (row.finding, row.positive) == ("all yes/no questions", "yes")
    assert (row.sensitivity.value, row.specificity.value) == (0.7, 1)


def test_reasons_are_counted_apart():
    items = [
        prediction(tag("A"), "A", options=STAINS),
        prediction("A", "A", options=STAINS),
        prediction("hm", "A", options=STAINS),
        prediction(tag("A") + tag("B"), "A", options=STAINS),
        prediction("I cannot answer this.", "A", options=STAINS),
        prediction("<think>it is", "A", options=STAINS, finish_reason="length"),
        prediction(tag("A"), "A", options=STAINS, finish_reason="length"),
        prediction(None, "A", options=STAINS, error=Failure("failed", "x")),
    ]
    found = judged(items)
    reasons = {"unparsed": 1, "ambiguous": 1, "refused": 1, "truncated": 1}
    assert counts.unanswered(found) == reasons
    assert counts.extraction_methods(found) == {"tag": 2, "untagged": 1}


def test_confusion_by_letter_and_by_text():
    swapped = {"A": "Fluorescence", "B": "H&E", "C": "Immunohistochemistry"}
    items = [prediction(tag("A"), "A", options=STAINS)] * 2
    items += [prediction(tag("A"), "B", options=swapped), prediction("hm", "B", options=swapped)]
    found = judged([*items, prediction(tag("x"), "open text")])
    assert to_builtins(counts.confusion(found)) == [
        {"ground_truth": "A", "predicted": "A", "count": 2},
        {"ground_truth": "B", "predicted": None, "count": 1},
        {"ground_truth": "B", "predicted": "A", "count": 1},
    ]
    assert to_builtins(counts.confusion(found, as_text=True)) == [
        {"ground_truth": "h&e", "predicted": "h&e", "count": 2},
        {"ground_truth": "h&e", "predicted": None, "count": 1},
        {"ground_truth": "h&e", "predicted": "fluorescence", "count": 1},
    ]


def test_lengths():
    items = [prediction("x" * n, "a", num_tokens=n) for n in (1, 2, 3, 10)]
    found = counts.lengths(judged([*items, prediction("abc", "a")]))
    tokens = found.num_tokens
    assert (tokens.n, tokens.mean, tokens.median, tokens.max) == (4, 4.0, 2.5, 10)
    assert sum(n for _, _, n in found.num_tokens.histogram) == 4
    assert found.characters.n == 5
    assert counts.lengths(judged([prediction("x", "a")])).num_tokens is None


def test_contradictions_are_of_polarity_and_side():
    said = [
        ("no pleural effusion", "pleural effusion"),
        ("right lung nodule", "left lung nodule"),
        ("possible effusion", "no effusion"),
        ("fracture", "pleural effusion"),
        ("pleural effusion", "pleural effusion"),
        (None, "pleural effusion"),
    ]
    items = [prediction(tag(text) if text else "", gold) for text, gold in said]
    found = judged(items)
    assert counts.contradictions(found) == Contradictions(n=4, polarity=1, side=1)
    (text,) = (text for text in summary_of(found).warnings if "of 4 wrong open answers" in text)
    assert "1 say the opposite" in text and "1 name the other side" in text
    closed = prediction(tag("B"), "A", options={"A": "left lung", "B": "right lung"})
    nothing = Contradictions(n=0, polarity=0, side=0)
    assert counts.contradictions(judged([closed])) == nothing
