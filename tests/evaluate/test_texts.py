"""LLaVA-Med's two numbers, and the orders of BLEU, held against formulas written out here."""

import random
import re
from collections import Counter

import pytest
from msgspec.structs import replace
from predictions import prediction, tag

from medr1.answers import normalize
from medr1.documents.metric import no_value
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.metrics.summary import summarize, summary_of
from medr1.report.csv_tables import summary_csv
from medr1.report.pages.methods import methods_text
from medr1.report.terminal.tables import summary_table
from medr1.text.similarity import token_recall

OPTIONS = {"A": "CT scan", "B": "MRI scan"}
WORDS = ["left", "right", "lung", "lobe", "nodule", "no", "of", "in", "liver", "mass", "the"]


def random_pairs(n, seed):
    rng = random.Random(seed)
    return [
        tuple(" ".join(rng.choices(WORDS, k=rng.randint(1, 7))) for _ in range(2)) for _ in range(n)
    ]


def open_item(answer, gold, **more):
    return prediction(tag(answer), gold, answer_type="open", **more)


def metrics(items):
    return summarize(items, num_resamples=100).metrics


# --- open_recall ------------------------------------------------------------------------------


def llava_med_recall(candidate, reference):
    # calculate_f1score of llava/eval/eval_metrics/evaluate_metrics.py, on texts in our normal form
    answer, gold = Counter(normalize(candidate).split()), Counter(normalize(reference).split())
    tp = sum(answer[w] for w in {*answer, *gold} if w in answer and w in gold)
    fn = sum(gold[w] for w in {*answer, *gold} if w not in answer and w in gold)
    return tp / (tp + fn) if tp else 0


def test_recall_is_llava_meds():
    pairs = random_pairs(400, 0)
    expected = [llava_med_recall(*pair) for pair in pairs]
    assert [token_recall(*pair) for pair in pairs] == expected
    metric = metrics([open_item(*pair) for pair in pairs])["open_recall"]
    assert metric.value == pytest.approx(sum(expected) / 400)
    assert (metric.n, metric.method) == (400, "bootstrap over images")
    assert metric.ci95[0] < metric.value < metric.ci95[1]


def test_recall_is_the_share_of_the_golds_tokens_where_none_repeats():
    rng = random.Random(1)
    for _ in range(200):
        answer, gold = (rng.sample(WORDS[:-1], rng.randint(1, 6)) for _ in range(2))
        share = len({*answer} & {*gold}) / len(gold)
        assert token_recall(" ".join(answer), " ".join(gold)) == pytest.approx(share)


def test_recall_by_hand():
    assert token_recall("a mass in the left upper lobe of the lung", "left lung") == 1
    assert token_recall("lung", "left lung") == 0.5
    assert token_recall("lung lung lung", "left lung") == 3 / 4  # so LLaVA-Med has it
    assert token_recall("liver", "lung") == token_recall("", "lung") == token_recall("", "") == 0


def test_open_and_closed_are_all_items():
    items = [
        open_item("left lung", "lung"),
        prediction(tag("four"), "4"),  # a number is asked for without a choice
        prediction(tag("Yes, it is"), "yes"),
        prediction("hm", "no"),
        prediction(None, "A", options=OPTIONS),
        prediction(tag("A"), "A", options=OPTIONS),
        prediction(tag("B"), "B"),  # a letter whose options the file does not give
        open_item("left", "right", metadata={"answer_class": "closed"}),
        open_item("left lung", "right lung", metadata={"answer_class": "open"}),
    ]
    result = metrics(items)
    assert (result["closed_accuracy"].n, result["open_recall"].n) == (6, 3)
    assert result["closed_accuracy"].value == pytest.approx(3 / 6)
    assert result["open_recall"].value == pytest.approx((1 + 0 + 0.5) / 3)
    assert result["closed_accuracy"].method == "wilson"


def test_a_class_that_no_item_has_is_null_with_a_reason():
    texts = metrics([open_item("lung", "lung")])
    letters = metrics([prediction(tag("A"), "A", options=OPTIONS)])
    assert texts["closed_accuracy"] == no_value("no question is closed")
    recall = letters["open_recall"]
    assert replace(recall, signature=None) == no_value("no question is open")


def test_groups_and_their_mean_are_of_the_class():
    items = [prediction(tag("yes"), "yes", modality="CT")] * 3
    items += [prediction(tag("no"), "yes", modality="MR"), open_item("lung", "lung", modality="MR")]
    items += [open_item("left", "left lung", modality="CT")] * 2
    summary = summarize(items, num_resamples=50)
    groups = {k: g.metrics for k, g in summary.groups["modality"].items()}
    by_name = {
        name: [(g[name].value, g[name].n) for g in groups.values()]
        for name in ("closed_accuracy", "open_recall")
    }
    assert by_name == {"closed_accuracy": [(1, 3), (0, 1)], "open_recall": [(0.5, 2), (1, 1)]}
    macro = summary.macro["modality"].metrics
    assert macro["closed_accuracy"].value == pytest.approx(0.5)
    assert macro["open_recall"].value == pytest.approx(0.75)
    assert "(macro),open_recall,0.75" in summary_csv([summary])


def test_only_one_of_them_can_be_asked_for():
    judged = judge_all([prediction(tag("yes"), "yes")], Settings(num_resamples=10, texts=True))
    for name in ("open_recall", "closed_accuracy"):
        assert list(summary_of(judged, metrics=(name,)).metrics) == ["accuracy", name]


def test_the_methods_text_names_them():
    summary = summarize([open_item("lung", "lung"), prediction(tag("yes"), "yes")])
    analysis = "".join(s.text for s in methods_text(summary)[2]["segments"])
    assert "closed questions" in analysis and "open questions" in analysis
    assert "under any protocol" in analysis and "BLEU" in analysis
    bare = replace(summary, metrics={"accuracy": summary.metrics["accuracy"]})
    assert "Metrics of texts" not in str(methods_text(bare))


# --- BLEU's orders ----------------------------------------------------------------------------


def bleu_notes(items):
    summary = summarize(items, num_resamples=10)
    return summary, [w for w in summary.warnings if "BLEU-k" in w]


def test_why_a_higher_order_is_above_a_lower_one_is_said():
    from sacrebleu.metrics.bleu import BLEU

    candidates = ["liver"] * 20 + ["a nodule in the left upper lobe"] * 3
    golds = ["lung"] * 20 + ["a nodule in the left upper lobe"] * 3
    summary, notes = bleu_notes([open_item(*pair) for pair in zip(candidates, golds, strict=True)])
    values = [summary.metrics[f"bleu{k}"].value for k in (1, 2, 3, 4)]
    assert values == sorted(values) and values[0] < values[2]
    for k, value in enumerate(values, 1):
        theirs = BLEU(max_ngram_order=k, lowercase=True).corpus_score(candidates, [golds])
        assert value == theirs.score / 100
    (note,) = notes
    shares = [f"BLEU-{k} ({100 * v:.1f} %)" for k, v in enumerate(values, 1)]
    assert note.startswith(f"{', '.join(shares[1:])} are above {shares[0]}: ")
    assert "of 23 items" in note and "23 for k = 1, 3 for k = 2, 3 for k = 3, 3 for k = 4" in note
    assert "long answers" in note and "smoothing" not in note
    assert note in re.sub(r"\s+", " ", summary_table(summary))


def test_where_smoothing_is_the_cause_that_is_said():
    # no two words in a row match; smoothing counts half a match of the one there is
    summary, notes = bleu_notes([open_item("liver", "lung")] * 9 + [open_item("a lung", "lung a")])
    assert summary.metrics["bleu2"].value > summary.metrics["bleu1"].value
    (note,) = notes
    assert "of 10 items" in note and "10 for k = 1, 1 for k = 2" in note
    assert "smoothing" in note and "long answers" not in note


def test_nothing_is_said_where_orders_fall():
    assert bleu_notes([open_item("left lung nodule", "left lung mass")] * 3)[1] == []
    assert bleu_notes([open_item("left lung nodule", "left lung nodule")] * 3)[1] == []
    assert bleu_notes([open_item("lung", "lung")] * 3)[1] == []
    assert bleu_notes([])[1] == []


def test_orders_that_are_not_asked_for_are_not_compared():
    items = [open_item("liver", "lung")] * 9 + [open_item("a lung", "lung a")]
    judged = judge_all(items, Settings(num_resamples=10, texts=True))
    for names, n in ((("bleu1",), 0), (("bleu1", "bleu2"), 1), (("bleu2", "chrf"), 0)):
        warnings = summary_of(judged, metrics=names).warnings
        assert sum("BLEU-k" in warning for warning in warnings) == n
