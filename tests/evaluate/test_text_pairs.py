"""What metrics of texts compare: not what the verdict reads, and read only where it is needed."""

import json
from dataclasses import replace

import pytest
from predictions import prediction, tag

from medr1 import answers
from medr1.evaluate.evaluation import Evaluation
from medr1.evaluate.judging import Settings, judge_all
from medr1.evaluate.metrics import text_pairs
from medr1.evaluate.metrics.summary import summarize, summary_of
from medr1.evaluate.metrics.text_pairs import TextPair
from medr1.metrics.registry import TEXT_METRICS

OPTIONS = {"A": "CT scan", "B": "MRI scan"}
SENTENCE = "<think>Fluid.</think> <answer>Yes, there is an effusion.</answer>"


def pairs(items, protocol="default"):
    judged = judge_all(items, Settings(protocol, texts=True))
    assert judged.columns.texts is not None
    return list(judged.columns.texts)


def metrics(items, protocol="default"):
    return summarize(items, protocol=protocol, num_resamples=10).metrics


def test_a_sentence_is_no_exact_match_of_yes_or_of_a_number():
    # The defect: "yes" as the verdict reads it was compared, so that exact match was 1 here.
    sentences = [prediction(SENTENCE, "yes"), prediction(tag("There are 4 nodules."), "4")]
    result = metrics(sentences)
    assert result["accuracy"].value == 1
    assert result["exact_match"].value == 0
    assert result["counting_accuracy"].value == 1
    words = [prediction(tag("Yes."), "yes"), prediction("The answer is 4.", "4")]
    assert metrics(words)["exact_match"].value == 1
    assert pairs(sentences) == [
        TextPair("Yes, there is an effusion.", "yes"),
        TextPair("There are 4 nodules.", "4"),
    ]


@pytest.mark.parametrize("protocol", answers.PROTOCOLS)
def test_texts_are_the_same_under_every_protocol(protocol):
    outputs = {
        "yes": SENTENCE,
        "4": "<answer>4</answer> I counted them.",
        "liver": "The answer is **the liver**.",
        r"\frac{1}{2}": r"<think>1/2</think> <answer>$\frac{1}{2}$</answer>",
        "lung": "<think>and so on",
        "C": tag("C) x-ray"),
    }
    items = [prediction(output, gold) for gold, output in outputs.items()]
    items += [
        prediction(answer, "B", options=OPTIONS) for answer in (tag("B"), "It is the MRI scan")
    ]
    expected = [
        answers.extract(
            p.model_output, options=p.sample.options, answer_type="open", protocol="default"
        ).answer
        for p in items
    ]
    assert expected[2:5] == ["the liver", r"$\frac{1}{2}$", None]
    expected[6:] = ["MRI scan"] * 2
    assert [pair.answer for pair in pairs(items, protocol)] == expected
    result, default = metrics(items, protocol), metrics(items)
    for name in TEXT_METRICS:
        assert result[name] == default[name], name
    assert result["exact_match"].value == pytest.approx(5 / 8)


def test_options_are_compared_by_letter():
    # normalisation would make "-5" and "5" one text
    options = {"A": "-5", "B": "5"}
    result = pairs([prediction(tag(letter), "B", options=options) for letter in "AB"])
    assert result == [TextPair("-5", "5", False), TextPair("5", "5", True)]
    assert [pair.is_exact for pair in result] == [False, True]


def test_no_answer_equals_no_gold():
    items = [prediction(None, ""), prediction("", "lung"), prediction(None, "A", options=OPTIONS)]
    assert [pair.answer for pair in pairs(items)] == [None] * 3
    assert not any(pair.is_exact for pair in pairs(items))


@pytest.mark.parametrize(("answer", "gold"), [("A.", "A"), ("+", "+"), ("The", "the")])
def test_a_gold_that_normalisation_empties_is_compared_as_it_is(answer, gold):
    assert TextPair(answer, gold).is_exact and not TextPair("an", gold).is_exact


def test_squad_scores_the_answers_as_they_were_written():
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    outputs = {"yes": ["Yes.", "Yes, an effusion", "no"], "4": ["4", "four", "4 of the 4"]}
    items = [prediction(tag(text), gold) for gold, texts in outputs.items() for text in texts]
    texts = [text for some in outputs.values() for text in some]
    golds = [item.sample.ground_truth for item in items]
    theirs = squad(
        [{"prediction_text": text, "id": str(i)} for i, text in enumerate(texts)],
        [
            {"answers": {"answer_start": [0], "text": [g]}, "id": str(i)}
            for i, g in enumerate(golds)
        ],
    )
    ours = metrics(items)
    assert ours["exact_match"].value == pytest.approx(theirs["exact_match"].item() / 100)
    assert ours["token_f1_multiset"].value == pytest.approx(theirs["f1"].item() / 100)
    assert ours["exact_match"].value == pytest.approx(2 / 6)


def test_nothing_is_read_twice_without_need(monkeypatch):
    items = [
        prediction(tag("the liver"), "liver"),
        prediction(tag("A"), "A", options=OPTIONS),
        prediction(SENTENCE, "yes"),
        prediction(tag("4"), "4"),
        prediction(None, "yes"),
    ]
    golds = []

    def read(output, **options):
        golds.append(output)
        return answers.Extraction(None, "unparsed", None, ())

    monkeypatch.setattr(text_pairs.answers, "extract", read)
    settings = Settings(texts=True)
    judge_all(items, settings)
    assert golds == [SENTENCE, tag("4")]
    judge_all(items, replace(settings, texts=False))
    assert len(golds) == 2
    judge_all(items, replace(settings, protocol="strict"))
    assert len(golds) == 2 + 4


def test_metrics_of_texts_need_texts():
    judged = judge_all([prediction(tag("4"), "4")], Settings(num_resamples=10))
    assert judged.columns.texts is None
    names = ("accuracy", "counting_accuracy", "closed_accuracy")
    assert list(summary_of(judged, metrics=names).metrics) == list(names)
    for name in TEXT_METRICS:
        with pytest.raises(ValueError, match=r"Settings\(texts=True\)"):
            summary_of(judged, metrics=(name,))


def test_a_file_is_read_for_texts_where_they_are_asked_for(tmp_path):
    row = {"id": "1", "image": "1.png", "question": "?", "ground_truth": "yes"}
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({**row, "model_output": SENTENCE}) + "\n", encoding="utf-8")
    for names, texts in (
        (("accuracy", "counting_accuracy"), None),
        (("token_f1",), [TextPair("Yes, there is an effusion.", "yes")]),
    ):
        summary, judged = Evaluation(Settings(num_resamples=10), metrics=names).run(path)
        assert set(names) <= set(summary.metrics)
        assert (judged.columns.texts and list(judged.columns.texts)) == texts
