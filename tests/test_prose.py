"""Prose: labelled answers of every style, what a verdict may never do, and the languages read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medr1.answers import UNDECIDED, answer_type_of, extract, judge
from medr1.answers.prose.languages import language_of
from medr1.answers.prose.reading import read_prose
from medr1.answers.prose.sentences import read_sentence
from medr1.answers.prose.terms import forms_of, terms_of, words_of
from medr1.rewards import accuracy

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "prose" / "cases.jsonl").read_text("utf-8").splitlines()
]
MISSED = {
    "w1-016",  # the liver that the mass extends towards
    "w2-020",  # collapsed lung: pneumothorax or atelectasis
    "w2-039",  # larger on the left
    "w3-045",  # T2-FLAIR: two sequences in one name
    "w3-085",  # A > B > C, with A leading
    "w4-063",  # the ends of a range swapped
    "w4-096",  # both zones, left and right
    "w4-112",  # IJ line, IJ catheter
    "w4-118",  # F for female: a gold of one letter is taken for an option's
    "w5-007",  # still in the calyx: not in the ureter
    "w6-039",  # 5.2 cm, asked for larger than 3 cm
    "w6-102",  # its tip, it: what a pronoun stands for
    "w7-043",  # a necrotic center, joined by "and" to the ring
    "w7-071",  # the lung of a patient with cancer of the liver
    "w7-100",  # the rim in one sentence, rim-enhancing among the possible in another
    "w7-152",  # "MRI was considered" before "probably a CT"
    "w8-059",  # not symmetric: smaller than the other
    "w8-062",  # dense on the right, mild on the left
    "w8-087",  # a guess that is taken back without a word for it
    "w8-104",  # another tube, in another place
    "w8-105",  # 6 mm (normal up to 3 mm)
    "w9-075",  # in a normal position: normal says nothing of the place
    "w9-108",  # the posterior inferior cerebellar artery and the posterior cerebral artery
    "w10-022",  # another diagnosis is favored, the gold is only compared with
    "w10-082",  # the endothelium for its cells
    "w13-011",  # Gleason 7 (primary 4, secondary 3)
    "w13-013",  # discontinuous nodules around its periphery
    "w13-030",  # an adenoma of the adrenal cortex
    "w15-006",  # red plaques with scale: another word for each
    "w15-035",  # Kimmelstiel-Wilson nodules, and nodular sclerosis
    "w16-036",  # pancreatic divisum
    "w16-046",  # inflammation of an epiploic appendage
    "w19-011",  # a hollow, air-filled center
    "w19-026",  # the retina that has come off
    "w19-039",  # hepatic segments, behind "crosses"
    "w19-043",  # lower end of the radius
    "w19-071",  # "rib 4" is a number, not a count
    "w19-078",  # the second decade
    "w19-088",  # both forearm bones
    "w19-089",  # three sinuses for two
    "w19-090",  # fluid in the pleural space, a lobe partly collapsed
    "w19-096",  # fewer echoes
    "w19-099",  # brighter than the muscle
    "w20-038",  # yes, but in the other lobe
    "w20-049",  # a fluid-filled structure of the other kidney
    "w20-063",  # infrarenal aorta
    "w23-037",  # wrong to call it free of nodes: it has them
}
"""What the rules get wrong, with the reason; each is a line of the page on limits."""


def verdict(case: dict[str, str]):
    return judge(
        case["output"],
        ground_truth=case["gold"],
        options={},
        answer_type=answer_type_of(case["gold"], {}),
        question=case["question"],
    )


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_verdict_is_the_labelled_one(case) -> None:
    as_labelled = verdict(case).correct == (case["label"] == "right")
    assert as_labelled == (case["id"] not in MISSED), case["why"]


def test_the_reward_is_the_metric() -> None:
    for case in CASES:
        rewards = accuracy(
            [case["output"]],
            solution=[case["gold"]],
            problem=[case["question"]],
        )
        assert rewards == [float(verdict(case).correct)]


def test_a_refusal_is_counted_in_every_answer_type() -> None:
    text = "I'm sorry, but I cannot determine this from the image."
    for kind, gold in (("open", "liver"), ("yes_no", "no"), ("count", "2")):
        found = judge(text, ground_truth=gold, options={}, answer_type=kind, question="What?")
        assert (found.correct, found.extraction.method) == (False, "refused")
    options = {"A": "CT", "B": "MRI"}
    found = judge(text, ground_truth="A", options=options, answer_type="multiple_choice")
    assert (found.correct, found.extraction.method) == (False, "refused")


def test_undecided_is_never_credited_and_has_a_reason() -> None:
    undecided = [found for case in CASES if (found := verdict(case)).undecided]
    assert len(undecided) > 20
    assert not any(found.correct for found in undecided)
    assert {found.undecided for found in undecided} == {"polarity", "unreadable"} < set(UNDECIDED)


# Answers of real models that earlier rules lost or credited by mistake

OPEN = [
    ("What is the main organ in the image?", "Brain", "The main organ in the image is the brain."),
    ("Where is the lesion?", "left", "it is on the left side of the brain"),
    ("Which side is affected?", "right", "right lung"),
    ("Where is the clot?", "inferior vena cava", "ivc"),
    ("Where is the clot?", "ivc", "The clot is in the inferior vena cava."),
    ("What modality is shown?", "MRI", "MRI scan"),
    ("What modality is shown?", "MRI scan", "MRI"),
    ("Which imaging modality?", "x-ray", "chest x-ray"),
    ("What is it?", "tumor", "tumour"),
    ("What is the diagnosis?", "pneumonia", "The findings would suggest pneumonia."),
    ("At which level is the herniation?", "L4-L5", "The herniation is at L4/5."),
    ("What is the diagnosis?", "pneumonia", "Diagnosis: pneumonia"),
    ("How large is it?", "5 mm", "5 mm in diameter"),
    ("How large is it?", "3-5 cm", "3 to 5 cm"),
    ("Which lungs?", "both lungs", "bilateral"),
    ("Which grade?", "Grade II", "grade 2"),
    ("What is seen?", "portable film", "It is portable."),
    ("What is seen?", "effusion", "There is not only an effusion but also cardiomegaly."),
]
POLARITY = [
    (
        "Does it look normal?",
        "yes",
        "The chest x-ray appears to be normal, with no significant abnormalities detected.",
    ),
    ("Is the heart enlarged?", "yes", "The heart is enlarged, but there is no effusion."),
    ("Is there a fracture?", "yes", "I have no doubt that there is a fracture."),
    ("Is there a dislocation or a fracture?", "yes", "Yes. There is no dislocation."),
    ("Is there a fracture?", "yes", "positive"),
    ("Is there a fracture?", "no", "absent"),
    (
        "Is there a fracture of the left femur?",
        "no",
        "A fracture is seen. The left femur shows no fracture.",
    ),
]


NEAR_MISSES = [
    ("How bad is the stenosis?", "severe", "There are several stenoses."),
    ("What is the diagnosis?", "effusion", "Impression: pneumonia\nFindings: effusion"),
    (
        "What is the diagnosis?",
        "squamous cell carcinoma",
        "The cells resemble squamous cell carcinoma. Overall, this is basal cell carcinoma.",
    ),
    (
        "What is seen?",
        "pneumothorax",
        "The image shows air. It is a pneumothorax or a strange line.",
    ),
    ("What is seen?", "normal", "normal or the frontal lobe on the left"),
    ("What is seen?", "effusion", "effusion-free lungs"),
    ("What is it?", "pneumonia", "Pneumonia may be present and no diagnosis is favored."),
    (
        "What mineral is shown?",
        "quartz",
        "apatite, beryl, calcite, dolomite, quartz, feldspar, galena, halite, ice, jadeite,"
        " kyanite, talc, mica, opal, pyrite, topaz, zircon",
    ),
]


@pytest.mark.parametrize(("question", "gold", "output"), NEAR_MISSES)
def test_what_only_mentions_the_gold_is_wrong(question: str, gold: str, output: str) -> None:
    found = judge(output, ground_truth=gold, options={}, answer_type="open", question=question)
    assert not found.correct


@pytest.mark.parametrize(("question", "gold", "output"), OPEN)
def test_what_asserts_the_gold_is_right(question: str, gold: str, output: str) -> None:
    for answer in (output, f"<answer>{output}</answer>"):
        found = judge(answer, ground_truth=gold, options={}, answer_type="open", question=question)
        assert found.correct


@pytest.mark.parametrize(("question", "gold", "output"), POLARITY)
def test_yes_and_no_are_of_what_was_asked(question: str, gold: str, output: str) -> None:
    for said in ("yes", "no"):
        found = judge(
            output, ground_truth=said, options={}, answer_type="yes_no", question=question
        )
        assert found.correct == (said == gold)


@pytest.mark.parametrize(
    "output",
    [
        "I cannot answer. No diagnosis can be given.",
        "Unable to determine; there is no way to tell.",
    ],
)
def test_a_refusal_is_no_no(output: str) -> None:
    found = extract(output, options={}, answer_type="yes_no", question="Is there a fracture?")
    assert (found.answer, found.method) == (None, "refused")


# Languages

CHINESE = [
    ("图中的主要器官是什么?", "肝脏", "图中主要的器官是肝脏。", True),
    ("图中的主要器官是什么?", "肝脏", "图中主要的器官是脾脏。", False),
    ("病变在哪一侧?", "左侧", "病变位于左侧。", True),
    ("病变在哪一侧?", "左侧", "病变位于左侧和右侧。", False),
    ("图像中有哪些器官?", "肝脏, 脾脏", "图中有肝脏和脾脏", True),
    ("图像中有哪些器官?", "肝脏, 脾脏", "图中有肝脏", False),
    ("图像中有哪些器官?", "肝脏", "没有肝脏", False),
    ("这是什么成像方式?", "MRI", "这是MRI图像", True),
    ("是否有骨折?", "是", "是的", True),
    ("是否有骨折?", "是", "不是", False),
    ("图中有肝脏吗?", "没有", "没有", True),
    ("图中有肝脏吗?", "没有", "有", False),
]


@pytest.mark.parametrize(("question", "gold", "output", "right"), CHINESE)
def test_chinese(question: str, gold: str, output: str, right: bool) -> None:
    found = judge(output, ground_truth=gold, options={}, answer_type="open", question=question)
    assert found.correct == right


def test_other_languages_are_undecided() -> None:
    for text in ("Die Leber ist nicht vergrößert, und die Milz ist normal.", "Это печень."):
        assert language_of(text) == "other"
        found = judge(text, ground_truth="liver", options={}, answer_type="open", question="What?")
        assert (found.correct, found.undecided) == (False, "unreadable")


# Parts


def flagged(text: str, name: str) -> str:
    sentence = read_sentence(text)
    return " ".join(
        w.raw for w, f in zip(sentence.words, getattr(sentence, name), strict=True) if f
    )


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        (
            "No effusion, consolidation, or pneumothorax.",
            "effusion , consolidation , or pneumothorax",
        ),
        ("The heart is enlarged, but there is no effusion.", "effusion"),
        ("The spleen is not seen.", "The spleen is"),
        ("There is no doubt of a fracture.", ""),
        ("A non-displaced fracture.", "displaced"),
        ("The liver lies lower and is not included.", "The liver lies lower and is"),
    ],
)
def test_what_is_denied(text: str, negated: str) -> None:
    assert flagged(text, "negated") == negated


def test_only_what_answers_is_kept() -> None:
    def texts(text: str) -> list[str]:
        return [sentence.text for sentence in read_prose(text).sentences]

    assert texts("FINDINGS: Clear.\nIMPRESSION: Pneumonia.") == ["Pneumonia."]
    assert texts("It is a cyst. Wait, it is an abscess.") == ["it is an abscess."]
    assert read_prose("I cannot determine the diagnosis.").refused
    assert not read_prose(
        "I cannot give a diagnosis. However, the image shows a large mass."
    ).refused


def test_names_of_one_thing() -> None:
    def names(text: str) -> list[str]:
        return [term.name for term in terms_of(words_of(text))]

    assert names("Haemorrhage in the MCA territory") == ["hemorrhage", "middle cerebral artery"]
    assert names("It is MS") == ["multiple sclerosis"] and names("the ms of time") == []
    assert names("RUL") == names("right upper lobe") == ["right"]
    assert ("gallston",) in forms_of("diagnosis", "cholelithiasis")


def test_a_name_written_short_moves_no_other_word() -> None:
    sentence = read_sentence("The RUL holds a nodule of 3 cm.")
    nodule = next(word for word in sentence.words if word.raw == "nodule")
    assert sentence.text[nodule.start :].startswith("nodule of 3 cm")


def test_a_gold_with_a_part_that_names_nothing() -> None:
    verdict = judge(
        "It is big. The kidney is shown.",
        ground_truth="the image, kidney",
        options={},
        answer_type="open",
    )
    assert verdict.extraction.text == "It is big. The kidney is shown."
