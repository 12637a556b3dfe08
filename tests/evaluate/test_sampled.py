"""The column of the samples beside the one answer."""

import pytest
from predictions import prediction, tag

from medr1 import answers
from medr1.evaluate.judging import Columns, SampledAnswers, Settings, judge_all

OPTIONS = {"A": "CT", "B": "MRI"}


def sampled(*items, **settings):
    return list(judge_all(items, Settings(**settings)).columns.sampled)


def test_each_sample_is_extracted_and_judged_as_the_one_answer_is():
    item = prediction(
        tag("A"), "A", options=OPTIONS, samples=(tag("A"), "CT", tag("B"), "", tag("E"))
    )
    (found,) = sampled(item)
    assert found == SampledAnswers(("A", "A", "B", None, None), (True, True, False, False, False))
    for text, answer, right in zip(item.samples, found.answers, found.correct, strict=True):
        verdict = answers.judge(text, ground_truth="A", options=OPTIONS, answer_type="open")
        assert (verdict.extraction.answer, verdict.correct) == (answer, right)


def test_free_answers_that_say_the_same_are_written_alike():
    said = ("No.", "no", "There is no effusion.", "no effusion", "No effusion is seen", "effusion")
    (found,) = sampled(prediction("no effusion", "no effusion", answer_type="open", samples=said))
    assert found.answers == ("No.", "No.", *("no effusion",) * 3, "effusion")
    assert found.correct == (False, False, True, True, True, False)


def test_the_one_answer_names_its_class_even_where_it_is_unlike_the_first_sample():
    (found,) = sampled(
        prediction("The liver.", "x", answer_type="open", samples=("liver", "Liver"))
    )
    assert set(found.answers) == {"The liver."}


def test_numbers_are_compared_as_numbers():
    (found,) = sampled(prediction("4", "4", answer_type="count", samples=("four", "4.0", "5")))
    assert found.answers == ("4", "4", "5") and found.correct == (True, True, False)


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("default", ("no",) * 3),
        ("strict", ("no", "no", None)),
        ("authors", (tag("no"), tag("No"), "no")),
    ],
)
def test_samples_are_judged_under_the_protocol(protocol, expected):
    said = (tag("no"), tag("No"), "no")
    (found,) = sampled(
        prediction(tag("no"), "no", answer_type="open", samples=said), protocol=protocol
    )
    assert found.answers == expected


def test_an_item_without_samples_or_with_an_error_has_none():
    item = prediction(tag("A"), "A", options=OPTIONS)
    judged = judge_all([item, item, item])
    assert judged.columns.sampled.values == [SampledAnswers()]


def test_parts_are_joined_in_order():
    items = [
        prediction(tag("A"), gold, options=OPTIONS, samples=(tag("A"), tag("B")))
        for gold in ("A", "B", "A")
    ]
    whole = judge_all(items).columns
    parts = [judge_all(items[:1]).columns, judge_all(items[1:]).columns]
    joined = Columns.concatenate(parts)
    assert list(joined.sampled) == list(whole.sampled)
    assert len(joined.sampled.values) == 2


def test_every_completion_is_read_once(monkeypatch):
    calls = []
    judge = answers.judge
    monkeypatch.setattr(answers, "judge", lambda *a, **k: calls.append(a) or judge(*a, **k))
    judge_all([prediction(tag("A"), "A", options=OPTIONS, samples=(tag("A"),) * 8)])
    assert len(calls) == 2


@pytest.mark.parametrize("answer_type", ["multiple_choice", "yes_no", "count", "open"])
@pytest.mark.parametrize("protocol", answers.PROTOCOLS)
def test_an_answer_is_the_same_as_itself(answer_type, protocol):
    options = OPTIONS if answer_type == "multiple_choice" else {}
    about = {"options": options, "answer_type": answer_type, "protocol": protocol}
    assert answers.same_answer("A", "A", **about)
    assert not answers.same_answer("A", "B", **about)
