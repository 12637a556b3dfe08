"""Metrics against independent implementations, and the mistakes that peers made."""

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from msgspec import to_builtins
from predictions import prediction, tag

from medr1 import answers
from medr1.data.audit import blind_panel
from medr1.documents.metric import Missing
from medr1.errors import InputError
from medr1.evaluate.metrics.summary import compare_accuracy, item_rows, summarize
from medr1.evaluate.metrics.text import corpus_estimates, corpus_scores, item_scores
from medr1.files import to_json
from medr1.metrics.registry import CORPUS_METRICS, METRICS
from medr1.records import Failure, Prediction, Sample

OPTIONS = {"A": "CT scan", "B": "MRI scan", "C": "X-ray"}
WORDS = [
    "the",
    "a",
    "left",
    "right",
    "lung",
    "nodule,",
    "no",
    "of",
    "(small)",
    "in",
    "liver.",
    "an",
]
WORDS += ["x-ray;", "3", "mass"]


def choice(said, gold, **more):
    return prediction(tag(said), gold, options=OPTIONS, **more)


def value(predictions, metric, **options):
    return summarize(predictions, num_resamples=200, **options).metrics[metric].value


def random_texts(n, seed):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 7))) for _ in range(n)]


def corpus_metrics(said, golds, clusters, **options):
    parts = corpus_scores(said, golds)
    return {k: v for part in parts for k, v in corpus_estimates(part, clusters, **options).items()}


# --- oracles ----------------------------------------------------------------------------------


def test_exact_match_and_multiset_f1_equal_squad():
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    golds, said = random_texts(300, 1), random_texts(300, 2)
    said = [g if i % 4 == 0 else s for i, (g, s) in enumerate(zip(golds, said, strict=True))]
    items = [prediction(tag(s), g, answer_type="open") for s, g in zip(said, golds, strict=True)]
    read = [row.extracted_answer for row in item_rows(items)]
    kept = [i for i, answer in enumerate(read) if answer is not None]
    assert len(kept) > 280
    theirs = squad(
        [{"prediction_text": read[i], "id": str(i)} for i in kept],
        [{"answers": {"answer_start": [0], "text": [golds[i]]}, "id": str(i)} for i in kept],
    )
    ours = summarize([items[i] for i in kept], num_resamples=10).metrics
    assert ours["exact_match"].value == pytest.approx(theirs["exact_match"].item() / 100)
    assert ours["token_f1_multiset"].value == pytest.approx(theirs["f1"].item() / 100)
    assert ours["token_f1"].value != ours["token_f1_multiset"].value


@pytest.mark.parametrize("seed", range(4))
def test_corpus_scores_equal_sacrebleu_exactly(seed):
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    golds, said = random_texts(80, seed), random_texts(80, seed + 100)
    said[:20] = golds[:20]
    said[20:25] = [""] * 5
    found = corpus_metrics(said, golds, range(80), seed=0, num_resamples=50)
    for k in (1, 2, 3, 4):
        theirs = BLEU(max_ngram_order=k, lowercase=True).corpus_score(said, [golds])
        assert found[f"bleu{k}"].value == theirs.score / 100
        assert "case:lc" in found[f"bleu{k}"].signature
        assert "tok:13a|smooth:exp" in found[f"bleu{k}"].signature
    assert found["chrf"].value == CHRF().corpus_score(said, [golds]).score / 100
    for metric in found.values():
        low, high = metric.ci95
        assert low < metric.value < high


def test_bleu_interval_equals_sacrebleus_own_bootstrap():
    from sacrebleu.metrics.bleu import BLEU

    golds, said = random_texts(150, 5), random_texts(150, 6)
    said[:60] = golds[:60]
    ours = corpus_metrics(said, golds, range(150), seed=0, num_resamples=2000)["bleu4"]
    theirs = BLEU(lowercase=True).corpus_score(said, [golds], n_bootstrap=2000)
    half = (ours.ci95[1] - ours.ci95[0]) / 2
    assert half == pytest.approx(theirs._ci / 100, rel=0.1)


def test_bleu_golden():
    # Papineni et al. (2002), example 2: unigram precision 7/7 clipped to 2/7
    said, gold = "the the the the the the the", "the cat is on the mat"
    found = corpus_metrics([said], [gold], [0], seed=0, num_resamples=10)
    assert found["bleu1"].value == pytest.approx(2 / 7)
    assert found["bleu1"].ci95 is None


def test_rouge_and_set_f1_equal_the_formulas():
    golds, said = random_texts(60, 8), random_texts(60, 9)
    found = item_scores(said, golds)
    for i, (s, g) in enumerate(zip(said, golds, strict=True)):
        a, b = _alphanumeric(s), _alphanumeric(g)
        common = _lcs(a, b)
        expected = 2 * common / (len(a) + len(b)) if common else 0
        assert found["rouge_l"][0][i] == pytest.approx(expected)
        a, b = set(answers.normalize(s).split()), set(answers.normalize(g).split())
        if a and b:
            precision, recall = len(a & b) / len(a), len(a & b) / len(b)
            expected = 2 * precision * recall / (precision + recall) if a & b else 0
            assert found["token_f1"][0][i] == pytest.approx(expected)


def _alphanumeric(text):
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def _lcs(a, b):
    best = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            best[i + 1, j + 1] = best[i, j] + 1 if x == y else max(best[i, j + 1], best[i + 1, j])
    return best[-1, -1]


# --- what counts ------------------------------------------------------------------------------


def test_accuracy_is_the_protocols_verdict():
    outputs = [tag("C"), "C", "The answer is C", tag("x-ray"), "<think>C</think>", "", tag("Z")]
    items = [prediction(output, "C", options=OPTIONS) for output in outputs]
    for protocol in answers.PROTOCOLS:
        verdicts = [
            answers.judge(
                p.model_output,
                ground_truth="C",
                options=OPTIONS,
                answer_type="multiple_choice",
                protocol=protocol,
            ).correct
            for p in items
        ]
        summary = summarize(items, protocol=protocol, num_resamples=10)
        assert summary.metrics["accuracy"].value == pytest.approx(np.mean(verdicts))
        assert summary.protocol == ("authors-vqa" if protocol == "authors" else protocol)
        assert [r.correct for r in item_rows(items, protocol=protocol)] == verdicts


def test_errors_and_unread_answers_count_as_wrong():
    lost = Failure("image_missing", "no file")
    items = [
        choice("C", "C"),
        choice("A", "C"),
        prediction("hm", "C", options=OPTIONS),
        prediction(None, "C", options=OPTIONS, error=lost),
        prediction(tag("C"), "C", options=OPTIONS, error=lost),
        prediction("<think>and so on", "C", options=OPTIONS, finish_reason="length"),
    ]
    summary = summarize(items, num_resamples=10)
    counts = (summary.n, summary.n_error, summary.n_unparsed, summary.n_truncated)
    assert counts == (6, 2, 2, 1)
    for name, metric in summary.metrics.items():
        if METRICS[name].items in ("all", "closed"):
            assert metric.n == 6
            if METRICS[name].higher_is_better and name not in CORPUS_METRICS:
                assert metric.value <= 0.5
    assert summary.metrics["accuracy"].value == pytest.approx(1 / 6)
    assert summary.metrics["exact_match"].value == pytest.approx(1 / 6)
    assert sum(c.count for c in summary.confusion) == 6
    assert len(summary.warnings) >= 3
    assert [row.error for row in item_rows(items)] == [None] * 3 + ["image_missing"] * 2 + [None]


def test_a_letter_and_its_options_text_are_the_same_answer():
    letters = summarize([choice("B", "B"), choice("A", "B")], num_resamples=10)
    texts = summarize([choice("MRI scan", "B"), choice("CT scan", "B")], num_resamples=10)
    assert letters.metrics == texts.metrics
    # of two wrong options one may be nearer: "CT scan" shares a word with "MRI scan"
    assert letters.metrics["token_f1"].value == pytest.approx((1 + 0.5) / 2)
    assert value([choice("C", "B")], "token_f1") == 0


def test_counting_takes_items_whose_gold_is_a_number():
    items = [
        prediction(tag("four"), "4"),
        prediction(tag("3 or 4"), "4"),
        prediction(tag("1,200"), "1200"),
        prediction(tag("yes"), "yes"),
        choice("A", "A"),
    ]
    metric = summarize(items, num_resamples=10).metrics["counting_accuracy"]
    assert (metric.value, metric.n) == (pytest.approx(2 / 3), 3)
    none = summarize([choice("A", "A")], num_resamples=10).metrics["counting_accuracy"]
    assert none.value is None and none.n == 0
    assert none.reason == "no item has a number as its ground truth"


def test_confusion():
    items = [choice("A", "A"), choice("C", "A"), choice("C", "A"), prediction("hm", "yes")]
    assert to_builtins(summarize(items, num_resamples=10).confusion) == [
        {"ground_truth": "A", "predicted": "C", "count": 2},
        {"ground_truth": "A", "predicted": "A", "count": 1},
        {"ground_truth": "yes", "predicted": None, "count": 1},
    ]


def test_groups_and_macro():
    items = [choice("A", "A", modality="CT") for _ in range(8)]
    items += [choice("B", "A", modality="MR", dataset="x"), choice("A", "A", modality="MR")]
    summary = summarize(items, num_resamples=10)
    groups = summary.groups["modality"]
    assert list(groups) == ["CT", "MR"]
    assert groups["MR"].n == 2
    assert groups["MR"].metrics["accuracy"].value == 0.5
    assert summary.macro["modality"].accuracy.value == 0.75
    assert summary.metrics["accuracy"].value == 0.9
    assert summary.groups["question_type"] == {}
    assert summary.macro["question_type"].accuracy.value is None
    assert summary.groups["dataset"]["x"].n == 1
    assert any("9 of 10 items have no dataset" in w for w in summary.warnings)


def test_interval_follows_the_images():
    own = [choice("A" if i % 2 else "B", "A") for i in range(100)]
    assert summarize(own).metrics["accuracy"].method == "wilson"
    shared = [choice("A" if i % 2 else "B", "A", image=f"{i % 50}.png") for i in range(100)]
    metric = summarize(shared).metrics["accuracy"]
    assert metric.method == "bootstrap over images"
    wide = metric.ci95[1] - metric.ci95[0]
    narrow = np.diff(summarize(own).metrics["accuracy"].ci95)[0]
    assert wide > 1.3 * narrow  # an image's two questions are right or wrong together


def test_nobody_is_certain():
    right = [choice("A", "A", image=f"{i % 5}.png") for i in range(10)]
    metric = summarize(right).metrics["accuracy"]
    assert (metric.value, metric.method) == (1.0, "wilson over images")
    assert metric.ci95[0] == pytest.approx(0.5655, abs=1e-4)  # Wilson, 5 of 5
    one = [choice("A", "A", image="1.png"), choice("B", "A", image="1.png")]
    metric = summarize(one).metrics["accuracy"]
    assert metric.ci95 is None and metric.method == "one image only: no interval"
    bleu = summarize(right).metrics["bleu1"]
    assert bleu.value == pytest.approx(1)
    assert bleu.ci95 is None and bleu.method == "no spread: no interval"


def sample_of(options, gold):
    letters = dict(zip("ABC", options, strict=False))
    return Sample("", (), "Which?", letters, gold, "multiple_choice")


def test_blind_and_chance():
    """The prior knows that "CT scan" is right; the items where it is not need the image."""
    train = [sample_of(("CT scan", "MRI scan"), "A")] * 40
    golds = "A" * 15 + "B" * 5
    items = [choice("A" if i < 18 else "B", gold) for i, gold in enumerate(golds)]
    panel = blind_panel(train, [item.sample for item in items])
    found = summarize(items, blind=panel).blind
    assert found.chance == pytest.approx(1 / 3)
    assert found.option_prior.value == found.best.value == 0.75
    assert found.image_gain.value == pytest.approx((15 + 2) / 20 - 0.75)
    low, high = found.image_gain.ci95
    assert low < 0.1 < high
    assert (found.image_needed.value, found.image_needed.n) == (2 / 5, 5)
    assert summarize(items).blind is None
    mixed = [*items, prediction(tag("x"), "lung")]  # without options nobody guesses
    panel = blind_panel(train, [item.sample for item in mixed])
    again = summarize(mixed, blind=panel).blind
    assert (again.option_prior.value, again.option_prior.n) == (0.75, 20)
    assert again.image_gain == found.image_gain
    with pytest.raises(ValueError, match="blind"):
        summarize(items[1:], blind=panel)


def test_compare():
    base = [choice("B", "A", name=str(i)) for i in range(20)]
    trained = [choice("A" if i < 15 else "B", "A", name=str(i)) for i in range(20)]
    found = compare_accuracy(base, trained)
    assert found.base.value == 0 and found.trained.value == 0.75
    assert found.difference.value == 0.75
    assert found.difference.ci95 == pytest.approx([0.55, 0.9], abs=0.06)
    same = compare_accuracy(base, base).difference
    assert (same.value, same.method) == (0, "wilson over images")
    assert same.ci95 == pytest.approx([-0.1611, 0.1611], abs=1e-4)  # Wilson, 0 of 20
    scans = [
        choice("A" if i < 15 else "B", "A", name=str(i), metadata={"scan": i // 5})
        for i in range(20)
    ]
    wide = compare_accuracy(base, scans, cluster_by="scan").difference
    assert wide.method == "paired bootstrap over scans"
    assert wide.ci95 == pytest.approx([0.25, 1], abs=1e-9)  # four scans, one of them all wrong
    right = [choice("A", "A", name=str(i)) for i in range(20)]
    assert compare_accuracy(base, right).difference.ci95 == pytest.approx([0.8389, 1], abs=1e-4)
    assert compare_accuracy(right, base).difference.ci95[0] == -1
    with pytest.raises(InputError, match="same items"):
        compare_accuracy(base, trained[1:])


# --- traps ------------------------------------------------------------------------------------


def test_wrong_yes_no_stays_in_the_denominator():
    items = [prediction(tag(said), "Yes") for said in ("Yes", "No", "maybe", "no")]
    metric = summarize(items, num_resamples=10).metrics["accuracy"]
    assert (metric.value, metric.n) == (0.25, 4)


def test_no_inside_abnormal_is_no_answer():
    assert value([prediction("The scan is abnormal", "No")], "accuracy") == 0
    assert value([prediction("Nothing notable, normal", "No")], "accuracy") == 0


def test_f1_is_neither_precision_nor_recall():
    item = prediction(tag("left lung nodule seen today"), "lung nodule")
    assert value([item], "token_f1") == pytest.approx(2 * 0.4 * 1 / 1.4)
    swapped = prediction(tag("lung nodule"), "left lung nodule seen today")
    assert value([swapped], "token_f1") == value([item], "token_f1")


def test_an_unread_letter_is_never_drawn():
    items = [prediction("I cannot tell", "A", options=OPTIONS) for _ in range(40)]
    first, second = summarize(items), summarize(items)
    assert first == second
    assert first.metrics["accuracy"].value == 0
    assert first.n_refused == 40


def test_empty_answers_do_not_crash_or_win():
    outputs = ["", "<answer></answer>", "<answer> </answer>", "\x00", None]
    for gold in ("A", "the", "+", "lung", "4", "yes"):
        for options in ({}, OPTIONS):
            gold_here = "A" if options else gold
            items = [prediction(o, gold_here, options=options) for o in outputs]
            metrics = summarize(items, num_resamples=10).metrics
            for metric in metrics.values():
                assert metric.value in (0, None)


def test_a_gold_that_normalisation_empties_is_still_compared():
    assert value([prediction(tag("B"), "A")], "exact_match") == 0  # "A" is an article
    assert value([prediction(tag("a"), "A")], "exact_match") == 1
    assert value([prediction(tag("an"), "the")], "exact_match") == 0
    assert value([prediction(tag("the"), "The")], "exact_match") == 1
    assert value([prediction(tag("The Lung."), "lung")], "exact_match") == 1


def test_missing_gold_is_refused():
    item = prediction(tag("A"), "A", name="q-17")
    item = Prediction(Sample("q-17", ("a",), "Which?"), item.model_output)
    with pytest.raises(InputError, match="q-17"):
        summarize([item])


def test_repeated_ids_are_counted_and_said():
    summary = summarize([choice("A", "A", name="x"), choice("B", "A", name="x")])
    assert summary.n == 2
    assert any("1 of 2 items repeat the id" in w for w in summary.warnings)


def test_short_references_are_said():
    warnings = summarize([choice("A", "A")], num_resamples=10).warnings
    assert any("2.0 words" in w and "BLEU" in w for w in warnings)
    long = prediction(tag("x"), "a nodule in the left upper lobe")
    assert not any("BLEU" in w for w in summarize([long], num_resamples=10).warnings)


def test_one_word_answers_have_no_bleu2_interval():
    metrics = summarize([prediction(tag("lung"), "lung") for _ in range(9)]).metrics
    assert metrics["bleu1"].value == pytest.approx(1)
    assert metrics["bleu2"].value == 0 and metrics["bleu2"].ci95 is None


def test_nothing_at_all():
    summary = summarize([])
    assert summary.n == 0
    assert all(m.value is None and m.reason for m in summary.metrics.values())
    to_json(summary)


def test_summary_is_json_and_the_same_again():
    items = [choice("A", "A"), prediction("\ud800 \x1b[31m" + "x" * 500, "lung")]
    summary = summarize(items, seed=3)
    assert to_json(summary) == to_json(summarize(items, seed=3))
    keys = "schema results sha256 meta protocol n n_error n_unparsed n_refused"
    assert list(to_builtins(summary))[:9] == keys.split()
    for part in (summary.calibration, summary.selective):
        assert isinstance(part, Missing) and part.reason


def test_import_is_cheap():
    code = (
        "import sys, medr1.evaluate.metrics.summary, medr1.evaluate.reading.results; "
        "import medr1.report.terminal.tables, medr1.report.charts.learning_curve; "
        "heavy = {'torch', 'scipy', 'sacrebleu', 'rouge_score', 'nltk', "
        "'matplotlib', 'datasets', 'transformers'}; assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_corpus_score_is_about_all_items():
    with pytest.raises(ValueError, match="about all items"):
        replace(METRICS["bleu1"], items="open")
