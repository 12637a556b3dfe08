"""Open answers: labelled pairs, what a verdict may not do, hostile input."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from measured import at_most

from medr1.answers import claim_differences, claims, judge
from medr1.answers.findings import DIFFERENCES, MAX_CHARACTERS

CASES = [
    tuple(part.strip() for part in line.split("|")[:3])
    for line in (Path(__file__).parent / "finding-cases.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]

MORE_THAN_THE_GOLD = {
    tuple(part.strip() for part in line.split("|")[:2])
    for line in (Path(__file__).parent / "finding-cases.txt").read_text("utf-8").splitlines()
    if not line.startswith("#") and line.count("|") == 3
}


def is_right(answer: str, gold: str, protocol: str = "default") -> bool:
    return judge(
        f"<answer>{answer}</answer>",
        ground_truth=gold,
        options={},
        answer_type="open",
        protocol=protocol,
    ).correct


@pytest.mark.parametrize(("answer", "gold", "label"), CASES)
def test_the_verdict_is_the_labelled_one(answer: str, gold: str, label: str) -> None:
    assert is_right(answer, gold) == (label == "right" or (answer, gold) in MORE_THAN_THE_GOLD)
    if label != "right":
        assert "+".join(claim_differences(answer, gold)) == label


def test_the_table_is_large_and_has_every_label() -> None:
    assert len(CASES) > 300
    labels = {part for _, _, label in CASES for part in label.split("+")}
    assert labels == {"right", *DIFFERENCES}


GOLDS = sorted({gold for _, gold, _ in CASES if "\\" not in gold})


def test_only_the_default_protocol_reads_claims() -> None:
    answer, gold = "There is no pleural effusion.", "no pleural effusion"
    assert is_right(answer, gold)
    for protocol in ("strict", "authors", "authors-nothink"):
        assert not is_right(answer, gold, protocol)


def test_the_trace_says_that_other_words_were_read() -> None:
    for answer, flagged in (("no fracture", False), ("There is no fracture", True)):
        verdict = judge(answer, ground_truth="no fracture", options={}, answer_type="open")
        assert verdict.correct
        assert ("same_claims" in verdict.extraction.trace) == flagged


def test_an_answer_that_lists_everything_is_wrong() -> None:
    for number, joint in enumerate((", ", ". ", " and ", " or ", "; ", "\n")):
        everything = joint.join(GOLDS)
        for gold in GOLDS[number % 3 :: 3]:  # each gold with two joints
            assert not is_right(everything, gold)


def names_a_thing(text: str) -> bool:
    """Whether it clearly asserts something; to deny more than the gold does is no hedge."""
    read = claims(text)
    return read.clear and all(not f.negated and f.words != ("present",) for f in read.findings)


def test_a_hedge_between_two_is_wrong() -> None:
    rng = random.Random(5)
    things = [gold for gold in GOLDS if names_a_thing(gold)]
    assert len(things) > 60
    for _ in range(1_000):
        gold, other = rng.sample(things, 2)
        if set(gold.lower().split()) & set(other.lower().split()):
            continue
        for joint in (" or ", ", or ", " versus ", " vs "):
            assert not is_right(f"{gold}{joint}{other}", gold), (gold, joint, other)
            assert not is_right(f"either {other}{joint}{gold}", gold), (gold, joint, other)


@pytest.mark.parametrize("gold", ["pleural effusion", "left renal cyst", "enlarged heart"])
def test_one_negation_is_enough_to_be_wrong(gold: str) -> None:
    for denied in (f"no {gold}", f"There is no {gold}.", f"{gold} is absent", f"without {gold}"):
        assert not is_right(denied, gold)
        assert not is_right(gold, denied)
        assert claim_differences(denied, gold) == ("polarity",)
        assert is_right(denied, f"no evidence of {gold}")


def test_one_wrong_side_is_enough_to_be_wrong() -> None:
    swap = {"left": "right", "right": "left"}
    for gold in GOLDS:
        words = gold.split()
        if not {"left", "right"}.isdisjoint(words):
            mirrored = " ".join(swap.get(word, word) for word in words)
            both = {"left", "right"} <= set(words)
            same = claims(mirrored) == claims(gold)
            assert is_right(mirrored, gold) == same
            assert not same or both  # "left and right" only


def test_same_claims_is_symmetric_and_every_clear_text_claims_its_own() -> None:
    for answer, gold, _ in CASES:
        assert (claim_differences(answer, gold) == ()) == (claim_differences(gold, answer) == ())
        for text in (answer, gold):
            read = claims(text)
            certain = read.clear and not any(f.uncertain for f in read.findings)
            assert (claim_differences(text, text) == ()) == certain


def test_hostile_text_is_read_in_linear_time_and_never_raises() -> None:
    pieces = ["no ", "not ", "left ", "right ", ", ", "and ", "or ", ". ", "effusion ", "is ", "a "]
    pieces += [
        "absent ",
        "the image shows ",
        "cannot be ",
        "excluded ",
        "\ud800",
        "\u0301",
        "x" * 40,
    ]
    pieces += ["UNC ", "NEG ", "I ", "AS ", "n't ", "5", ":", "-", "non-", "_", "\u0130", "(", ")"]
    rng = random.Random(3)
    for _ in range(4_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(14)))
        claims(text)
        assert claim_differences(text, "no effusion") != () or claims(text) == claims("no effusion")
    with at_most(300):
        for piece in pieces:
            claims(piece * (MAX_CHARACTERS // len(piece)))
            assert not is_right(piece * 100_000, "no effusion")
