"""Mistakes that the field's evaluations made: what they would report, and what is right by hand."""

import difflib
import itertools
import random

import numpy as np
import pytest

from medr1.answers import answer_type_of
from medr1.errors import InputError
from medr1.evaluate.metrics.summary import item_rows, summarize
from medr1.records import Prediction, Sample

OPTIONS = {"A": "Left lung", "B": "Right lung", "C": "Heart", "D": "Spleen"}
NUMBERS = itertools.count()


def asked(output, gold, options=None, modality=None):
    """One prediction about an image of its own."""
    number = next(NUMBERS)
    kind = answer_type_of(gold, options or {})
    sample = Sample(
        f"q{number}", (f"{number}.png",), "?", options or {}, gold, kind, modality=modality
    )
    return Prediction(sample, output)


def figure(items, metric="accuracy"):
    return summarize(items, num_resamples=50).metrics[metric].value


def test_precision_recall_and_f1_are_not_swapped():
    # MedEvalKit returns (f1, precision, recall) and unpacks it as (precision, recall, f1), so what
    # it prints as F1 is the recall.
    pairs = [
        ("left upper lobe nodule", "nodule"),  # precision 1/4, recall 1, F1 2/5
        ("liver", "left liver lobe"),  # precision 1, recall 1/3, F1 1/2
        ("spleen", "kidney"),  # 0
    ]
    printed_as_f1 = (1 + 1 / 3 + 0) / 3
    by_hand = (2 / 5 + 1 / 2 + 0) / 3
    items = [asked(said, gold) for said, gold in pairs]
    for name in ("token_f1", "token_f1_multiset"):
        assert figure(items, name) == pytest.approx(by_hand)
    # one direction for the other gives another precision and recall, and the same F1
    turned = [asked(gold, said) for said, gold in pairs]
    assert figure(turned, "token_f1") == pytest.approx(by_hand)
    assert by_hand != pytest.approx(printed_as_f1)


def test_a_wrong_yes_or_no_stays_in_the_denominator():
    # LLaVA-Med's run_eval appends a hit where the gold stands in the answer, a miss only where
    # neither yes nor no does: a wrong yes or no is in no list.
    def llava_med(items):
        hits = []
        for item in items:
            said = item.model_output.lower()
            if "yes" in said or "no" in said:
                if item.sample.ground_truth in said:
                    hits.append(1)
            else:
                hits.append(0)
        return sum(hits) / len(hits)

    # VQA-RAD's 251 closed questions, as TinyLLaVA's published figures have them
    items = [asked("Yes", "yes")] * 90 + [asked("No.", "no")] * 60
    items += [asked("No", "yes")] * 45 + [asked("Yes.", "no")] * 54 + [asked("Left", "yes")] * 2
    assert f"{llava_med(items):.1%}" == "98.7%"
    summary = summarize(items, num_resamples=50)
    assert summary.metrics["accuracy"].n == 251
    assert f"{summary.metrics['accuracy'].value:.1%}" == "59.8%"
    assert summary.metrics["accuracy"].value == 150 / 251
    assert summary.n_unparsed == 2


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [
        ("abnormal", "no", False),
        ("It is normal", "no", False),
        ("There is a nodule", "no", False),
        ("I do not know", "no", False),
        ("not seen", "no", False),
        ("Nothing", "no", False),
        ("eyes", "yes", False),
        ("No, it is normal", "no", True),
        ("Yes, abnormal", "yes", True),
        ("yes", "no", False),
    ],
)
def test_no_inside_another_word_is_no_answer(said, gold, right):
    # MedEvalKit takes yes or no where the letters stand anywhere in the text.
    substring = "yes" in said.lower() if gold == "yes" else "no" in said.lower()
    assert substring or not right
    assert figure([asked(said, gold)]) == float(right)


def test_no_inside_another_word_is_no_negation():
    assert figure([asked("abnormal", "normal"), asked("not normal", "normal")]) == 0
    assert figure([asked("A nodule.", "nodule"), asked("It is abnormal", "abnormal")]) == 1


def test_an_answer_that_cannot_be_read_is_wrong_and_never_drawn():
    # lmms-eval's MMMU rule draws random.choice(options) where it reads none: other figures each
    # time, and about one in four of them right.
    def lmms_eval(items):
        return np.mean([random.choice(list(OPTIONS)) == i.sample.ground_truth for i in items])

    items = [asked("I cannot tell.", letter, OPTIONS) for letter in "ABCD" for _ in range(25)]
    items += [asked("<answer>A</answer>", "A", OPTIONS)] * 100
    drawn = []
    verdicts = []
    for seed in (0, 0, 1, 2):
        random.seed(seed)
        np.random.seed(seed)
        drawn.append(lmms_eval(items[:100]))
        summary = summarize(items, seed=seed, num_resamples=50)
        assert (summary.n_refused, summary.metrics["accuracy"].value) == (100, 0.5)
        verdicts.append([row.correct for row in item_rows(items)])
    assert len(set(drawn)) > 1 and min(drawn) > 0
    assert verdicts[0] == [False] * 100 + [True] * 100
    assert all(again == verdicts[0] for again in verdicts)


@pytest.mark.parametrize("said", ["Lung", "the lung on the left", "Hart", "Liver", "Spleeny"])
def test_the_nearest_option_is_no_answer(said):
    # MedEvalKit takes difflib's most similar option where it reads none, so every output has one.
    nearest = max(OPTIONS, key=lambda a: difflib.SequenceMatcher(None, OPTIONS[a], said).ratio())
    items = [asked(f"<answer>{said}</answer>", nearest, OPTIONS)]
    summary = summarize(items, num_resamples=50)
    assert (summary.metrics["accuracy"].value, summary.n_unparsed) == (0, 1)


def test_an_empty_answer_scores_zero_and_does_not_crash():
    # MedEvalKit's F1 returns a bare 0 for an empty answer, and unpacking it is a TypeError.
    items = [asked("", "lung"), asked("<answer> </answer>", "lung"), asked("lung", "lung")]
    for name in ("accuracy", "exact_match", "token_f1", "token_f1_multiset", "rouge_l"):
        assert figure(items, name) == pytest.approx(1 / 3)
    # corpus scores have all three references: one word of three, exp(1 - 3 / 1) for brevity
    assert figure(items, "bleu1") == pytest.approx(np.exp(-2))


def test_a_missing_gold_is_refused_and_an_unreadable_one_is_not_skipped():
    # TRL's accuracy_reward gives None where it cannot parse the gold, and the mean leaves it out.
    with pytest.raises(InputError, match="ground_truth"):
        summarize([Prediction(Sample("q", ("q.png",), "?"), "lung")])
    items = [asked("$\\frac{1}{2}$", "$\\frac{$"), asked("", ""), asked("lung", "lung")]
    metric = summarize(items, num_resamples=50).metrics["accuracy"]
    assert (metric.value, metric.n) == (pytest.approx(1 / 3), 3)


def test_bleu_4_of_short_answers_is_said_to_say_little():
    # Peers print nltk's unsmoothed sentence BLEU-4, which is 0 for right answers of one word.
    items = [asked("lung", "lung") for _ in range(10)]
    summary = summarize(items, num_resamples=50)
    assert summary.metrics["accuracy"].value == 1
    assert summary.metrics["bleu1"].value == pytest.approx(1)
    assert summary.metrics["bleu4"].value == 0
    assert any("BLEU-4 most of all" in warning for warning in summary.warnings)


def test_bleu_is_the_corpus_and_no_mean_of_sentences():
    # MedEvalKit and others average sentence scores; the paper's BLEU sums the counts first.
    pairs = [
        ("no acute fracture of the left femur", "no acute fracture of the right femur"),
        ("a mass in the upper lobe of the lung", "a mass in the upper lobe of the lung"),
    ]
    # n-grams in common, of all: (6 of 7) + (9 of 9), (4 of 6) + (8 of 8), (3 of 5) + (7 of 7) ...
    by_hand = (15 / 16 * 12 / 14 * 10 / 12 * 8 / 10) ** (1 / 4)
    sentences = ((6 / 7 * 4 / 6 * 3 / 5 * 2 / 4) ** (1 / 4) + 1) / 2
    found = figure([asked(said, gold) for said, gold in pairs], "bleu4")
    assert found == pytest.approx(by_hand)
    assert abs(found - sentences) > 0.02


def test_rouge_l_is_a_plain_mean_and_not_a_random_one():
    # rouge_score's BootstrapAggregator, which `evaluate` and its users print, is a median of
    # resamples drawn without a seed.
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.scoring import BootstrapAggregator

    pairs = [("left lung", "lung"), ("liver", "liver"), ("the heart", "spleen")] * 5
    scorer = RougeScorer(["rougeL"], use_stemmer=False)

    def aggregated(seed):
        np.random.seed(seed)
        aggregator = BootstrapAggregator(n_samples=20)
        for said, gold in pairs:
            aggregator.add_scores(scorer.score(gold, said))
        return aggregator.aggregate()["rougeL"].mid.fmeasure

    assert len({aggregated(seed) for seed in range(5)}) > 1
    items = [asked(said, gold) for said, gold in pairs]
    found = set()
    for seed in range(5):
        np.random.seed(seed)
        found.add(figure(items, "rouge_l"))
    assert len(found) == 1 and found.pop() == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_overall_is_over_items_and_macro_over_groups():
    # Papers print one for the other: the mean of the modalities as "overall", or the items' mean
    # as the table's average.
    items = [asked("<answer>A</answer>", "A", OPTIONS, "CT")] * 90
    items += [asked("<answer>B</answer>", "A", OPTIONS, "CT")] * 10
    items += [asked("<answer>A</answer>", "A", OPTIONS, "OCT")] * 2
    items += [asked("<answer>B</answer>", "A", OPTIONS, "OCT")] * 8
    summary = summarize(items, num_resamples=50)
    assert summary.metrics["accuracy"].value == pytest.approx(92 / 110)
    assert summary.macro["modality"].accuracy.value == pytest.approx((0.9 + 0.2) / 2)
