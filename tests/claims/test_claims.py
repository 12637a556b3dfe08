"""Claims of texts and what contradicts what is known, by labelled statements and by hand."""

import json
from pathlib import Path

import pytest
from measure_claims import counts_of, predicted_kinds
from measured import at_most

from medr1.claims import KINDS, SEVERITIES, SEVERITY, check, contradictions, known_of, read_claims
from medr1.records import Sample

FOLDER = Path(__file__).parent


def sample(question="What is seen?", **fields):
    return Sample("q", (), question, **fields)


def kinds(text, item, answer=None):
    return [found.kind for found in contradictions(text, known_of(item, answer))]


@pytest.mark.parametrize(
    ("name", "precision", "recall"),
    [("statements", 0.97, 0.96), ("kept-aside", 0.97, 0.96), ("fresh", 0.95, 0.93)],
)
def test_precision_and_recall_do_not_fall(name, precision, recall):
    right, false, missed = counts_of(FOLDER / f"{name}.jsonl")["all"]
    assert right >= 60
    assert right / (right + false) >= precision
    assert right / (right + missed) >= recall


def test_every_kind_is_labelled_and_has_a_severity():
    lines = (FOLDER / "kept-aside.jsonl").read_text(encoding="utf-8").splitlines()
    statements = list(map(json.loads, lines))
    assert len(statements) == 200
    assert {kind for statement in statements for kind in statement["kinds"]} == set(KINDS)
    assert set(SEVERITY) == set(KINDS) and set(SEVERITY.values()) == set(SEVERITIES)
    assert predicted_kinds({**statements[0], "text": "", "answer": None}) == set()


def test_a_claim_knows_its_place_in_the_text():
    text = "<think>The lungs are clear.\nThere is a 3 cm mass in the left kidney, no effusion."
    claims = {(claim.kind, claim.value): claim for claim in read_claims(text)}
    mass = claims["finding", "mass"]
    assert text[mass.start : mass.end] == "mass" and mass.sentence.startswith("There is")
    assert mass.certain and not mass.negated
    assert mass.sides == {"left"} and mass.parts == {"kidney"}
    assert claims["finding", "effusion"].negated
    assert claims["measurement", "3 cm"].start == text.index("3 cm")
    assert claims["normal", "lung"]


@pytest.mark.parametrize(
    "text",
    [
        "If this were an MRI, bone would be dark.",
        "Is this an MRI?",
        'The report says "this is an MRI".',
        "This is not an MRI.",
        "It might be an MRI.",
        "An MRI is recommended.",
        "The options are CT, MRI and ultrasound.",
        "This image is an MRI. Wait, it is a CT scan.",
        "MRI uses magnetic fields.",
    ],
)
def test_what_is_not_asserted_contradicts_nothing(text):
    assert kinds(text, sample(modality="CT")) == []


def test_what_is_known_comes_from_fields_of_any_spelling():
    assert kinds("This is an MRI.", sample(modality="CT(Computed Tomography)")) == ["modality"]
    dicom = {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
    item = sample(metadata=dicom)
    assert kinds("This CT shows the lung.", item) == ["modality"]
    assert kinds("The lateral X-ray of the knee is normal.", item) == ["plane", "body_part"]
    assert kinds("The frontal chest X-ray shows the ribs.", item) == []
    right = sample(metadata={"ImageLaterality": "R", "BodyPartExamined": "BREAST"})
    assert kinds("There is a mass in the left breast.", right) == ["side"]
    assert kinds("There is a mass in the right breast.", right) == []


def test_parts_contain_each_other():
    item = sample("What is seen in the lung?", ground_truth="right upper lobe", modality="CT")
    assert kinds("The CT of the chest shows the right upper lobe.", item) == []
    assert kinds("The CT of the pelvis is shown.", item) == ["body_part"]


def test_what_cannot_be_checked_is_unchecked():
    result = check("This is an MRI with a mass in the left kidney.", known_of(sample()))
    assert len(result.claims) >= 2
    assert result.n_checked == 0 and not result.checked and not result.contradictions


def test_another_finding_than_the_ground_truth_contradicts_nothing():
    item = sample(ground_truth="pleural effusion", modality="X-Ray")
    assert kinds("There is a pneumothorax.", item) == []
    assert kinds("There is no pleural effusion.", item) == ["finding"]
    normal = sample(ground_truth="normal", modality="X-Ray")
    assert kinds("There is a pneumothorax.", normal) == ["finding"]


def test_the_own_answer_is_known_too():
    options = {"A": "Melanoma", "B": "Nevus"}
    item = sample(options=options, ground_truth="A", answer_type="multiple_choice")
    assert kinds("The lesion is a melanoma.", item, "B") == ["own_answer"]
    assert kinds("The lesion is a melanoma.", item, "A") == []
    assert kinds("There is no nevus.", item, "B") == ["own_answer"]


def test_an_answer_to_whether_it_is_this_modality_is_no_fact_about_another():
    item = sample("Is this an MRI?", ground_truth="no", answer_type="yes_no")
    assert kinds("This is a CT scan.", item) == []
    item = sample("Is this an MRI?", ground_truth="yes", answer_type="yes_no")
    assert kinds("This is a CT scan.", item) == ["modality"]


@pytest.mark.parametrize(
    "text",
    ["the " * 9_000, "this V left mass " * 3_000, "no mass, " * 5_000, "a" * 50_000, "(\n" * 9_000],
)
def test_hostile_texts_take_little_time(text):
    known = known_of(sample(ground_truth="mass", modality="CT"))
    with at_most(1000):  # measured: up to 170
        check(text, known)


@pytest.mark.parametrize(
    ("question", "ground_truth", "text"),
    [
        (
            "Which organ is abnormal?",
            "Pancreas",
            "The CT of the abdomen shows the liver, spleen and kidneys.",
        ),
        ("Is the left lung normal?", "yes", "The left lung is clear. The right lung shows a mass."),
        (
            "Is there a fracture?",
            "yes",
            "The left clavicle has a fracture. There is no fracture on the right.",
        ),
        (
            "Which kidney has the cyst?",
            "left",
            "A cyst is in the left kidney; the right kidney is normal.",
        ),
        (
            "What does the image show?",
            "meningioma",
            "There is a meningioma. The remaining brain is normal.",
        ),
    ],
)
def test_other_parts_and_sides_may_differ(question, ground_truth, text):
    answer_type = "yes_no" if ground_truth == "yes" else "open"
    item = sample(question, ground_truth=ground_truth, answer_type=answer_type, modality="CT")
    assert check(text, known_of(item)).claims
    assert kinds(text, item, ground_truth) == []
