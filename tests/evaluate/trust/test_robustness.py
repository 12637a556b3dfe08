"""What perturbations cost, on results whose answer is known, and against other libraries."""

from dataclasses import replace

import pytest
from msgspec import UNSET
from predictions import tag
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from medr1.errors import InputError
from medr1.evaluate.judging import Settings
from medr1.evaluate.trust.robustness import (
    MIN_ITEMS,
    robustness,
)
from medr1.records import Prediction, Sample
from medr1.report.terminal.robustness import robustness_table, sentences

OPTIONS = {"A": "Heart", "B": "Lung", "C": "Skin"}


def said(name, kind, severity, letter, *, options=OPTIONS, gold="A", confidence=None, image=None):
    keys = ("perturbation", "perturbation_severity", "perturbation_of")
    metadata = dict(zip(keys, (kind, severity, name), strict=True))
    images = (image or f"{name}.png",)
    one = Sample(
        *(f"{name}@{kind}{severity}", images, "What?", options, gold, "multiple_choice"),
        modality="CT" if name < "q20" else "MRI",
        metadata=metadata,
    )
    return Prediction(one, tag(letter), confidence=confidence)


def answers(kind, severity, letters, **more):
    return [said(f"q{i:02d}", kind, severity, a, **more) for i, a in enumerate(letters)]


CLEAN = "A" * 30 + "B" * 10
JPEG_1 = "B" * 5 + "A" * 25 + "A" * 2 + "B" * 7 + "C"
JPEG_5 = "B" * 15 + "A" * 15 + "B" * 10
BLANK = "C" * 34 + "A" * 6


@pytest.fixture(scope="module")
def known():
    found = answers("none", 0, CLEAN, confidence=0.75)
    found += answers("jpeg", 1, JPEG_1, confidence=0.7) + answers("jpeg", 5, JPEG_5, confidence=0.7)
    turned = {"A": "Lung", "B": "Heart", "C": "Skin"}  # the same answers by text
    swapped = CLEAN.translate(str.maketrans("AB", "BA"))
    found += answers("option_order", 1, swapped, options=turned, gold="B")
    found += answers("option_order", 3, "A" * 2 + swapped[2:], options=turned, gold="B")
    found += answers("blank", 1, BLANK)
    return robustness(found, settings=Settings(), excluded={"crop": {"that ask": 2}})


def of(document, kind, severity):
    (one,) = (one for one in document.perturbations if one.name == kind)
    (cell,) = (cell for cell in one.cells if cell.severity == severity)
    return cell


def test_drops_and_flips_are_those_that_were_put_in(known):
    one, five = of(known, "jpeg", 1), of(known, "jpeg", 5)
    assert known.clean.accuracy.value == 30 / 40 == one.clean_accuracy.value
    assert one.accuracy.value == 27 / 40 and five.accuracy.value == 15 / 40
    assert one.difference.value == pytest.approx(-3 / 40)
    assert one.flip_rate.value == 8 / 40  # 5 lost, 2 won, 1 from wrong to another wrong
    assert one.right_to_wrong.value == 5 / 40
    assert one.wrong_to_right.value == 2 / 40
    assert one.relative_drop.value == pytest.approx(0.1)
    assert five.relative_drop.value == pytest.approx(0.5)
    low, high = five.relative_drop.ci95
    assert 0.3 < low < 0.5 < high < 0.7
    assert one.confidence.value == pytest.approx(0.7)
    assert (one.parameter, five.parameter) == (25, 7)
    assert known.grey_image.cell.accuracy.value == 6 / 40
    assert known.excluded == {"crop": {"that ask": 2}}


def test_means_over_all_are_of_scales_only(known):
    assert known.mean_corruption_accuracy.value == pytest.approx((27 + 15) / 80)
    assert known.mean_corruption_accuracy.n == 2
    assert known.mean_relative_drop.value == pytest.approx((30 - 21) / 30)
    low, high = known.mean_relative_drop.ci95
    assert low < 0.3 < high


def test_answers_in_another_order_are_compared_by_their_text(known):
    assert of(known, "option_order", 1).flip_rate.value == 0
    assert of(known, "option_order", 1).accuracy.value == 30 / 40
    assert of(known, "option_order", 3).flip_rate.value == 2 / 40
    (one,) = (one for one in known.perturbations if one.name == "option_order")
    assert one.consistency.metric.value == 38 / 40 and one.consistency.variants == 3
    assert not one.is_scale


def test_p_values_are_mcnemars_exact_corrected_by_holm(known):
    table = [[25, 5], [2, 8]]
    assert of(known, "jpeg", 1).p == pytest.approx(mcnemar(table, exact=True).pvalue)
    cells = [cell for one in known.perturbations for cell in one.cells]
    holm = multipletests([cell.p for cell in cells], method="holm")[1]
    assert [cell.p_holm for cell in cells] == pytest.approx(list(holm))


def test_the_interval_of_a_difference_holds_it_and_repeated_images_widen_it(known):
    low, high = of(known, "jpeg", 5).difference.ci95
    assert low < -15 / 40 < high < 0
    rows = []
    for kind, severity, letters in (("none", 0, CLEAN), ("jpeg", 5, JPEG_5)):
        for i, letter in enumerate(letters):
            rows.append(said(f"q{i:02d}", kind, severity, letter, image=f"{i // 5}.png"))
    wider = of(robustness(rows, settings=Settings()), "jpeg", 5).difference.ci95
    assert wider[1] - wider[0] > 1.5 * (high - low)


def test_modalities_with_enough_items_stand_apart(known):
    groups = known.groups["modality"]
    assert {name: group.n for name, group in groups.items()} == {"CT": 20, "MRI": 20}
    (one, five) = groups["CT"].differences["jpeg"]
    assert one.difference.value == pytest.approx(-5 / 20)
    assert five.difference.value == pytest.approx(-15 / 20)


def test_too_few_items_give_a_sentence_and_no_number():
    few = answers("none", 0, CLEAN[: MIN_ITEMS - 1]) + answers("jpeg", 1, JPEG_1[: MIN_ITEMS - 1])
    document = robustness(few, settings=Settings())
    cell = of(document, "jpeg", 1)
    for metric in (
        *(cell.accuracy, cell.difference, cell.flip_rate, cell.confidence),
        *(cell.ece, cell.relative_drop, cell.clean_accuracy),
    ):
        assert metric.value is None and "fewer than" in metric.reason
    assert cell.p is None and document.clean.accuracy.value is None
    assert document.mean_corruption_accuracy.value is None
    assert "too few" in document.warnings[0]


def test_a_model_that_does_not_look_is_called_so():
    rows = answers("none", 0, CLEAN) + answers("jpeg", 1, CLEAN) + answers("blank", 1, CLEAN)
    document = robustness(rows, settings=Settings())
    assert of(document, "jpeg", 1).difference.value == 0
    assert any("hardly looks" in warning for warning in document.warnings)
    blind = answers("blank", 1, BLANK)
    looks = robustness(rows[:80] + blind, settings=Settings())
    assert not any("hardly looks" in warning for warning in looks.warnings)


def test_without_an_interval_the_value_says_whether_it_looks():
    alike = {"image": "one.png"}
    rows = answers("none", 0, CLEAN, **alike) + answers("jpeg", 1, CLEAN, **alike)
    for blind, warned in ((BLANK, False), (CLEAN, True)):
        document = robustness(rows + answers("blank", 1, blind, **alike), settings=Settings())
        assert any("hardly looks" in said for said in document.warnings) is warned
    rows = answers("none", 0, "A" * 40, **alike) + answers("jpeg", 1, "A" * 30 + "B" * 10, **alike)
    (sentence,) = sentences(robustness(rows, settings=Settings()))
    assert "-25.0 points (one image only: no interval)" in sentence


def test_means_over_all_draw_the_images_that_are_asked():
    """Few images can be rotated; a draw without any of them has no mean."""
    rows = [
        said(f"q{i:03d}", "none", 0, "A" if i % 3 else "B", image=f"{i // 4}.png")
        for i in range(400)
    ]
    rows += [
        said(f"q{i:03d}", "rotation", 1, "A" if i % 5 else "B", image=f"{i // 4}.png")
        for i in range(24)
    ]
    found = robustness(rows, settings=Settings())
    low, high = found.mean_corruption_accuracy.ci95
    assert 0.5 < low < found.mean_corruption_accuracy.value < high < 1
    alone = robustness(rows[:24] + rows[400:], settings=Settings())
    assert found.mean_corruption_accuracy == alone.mean_corruption_accuracy
    assert found.mean_relative_drop == alone.mean_relative_drop


def test_nothing_right_has_no_relative_drop():
    rows = answers("none", 0, "B" * 25) + answers("jpeg", 1, "C" * 25)
    document = robustness(rows, settings=Settings())
    assert of(document, "jpeg", 1).relative_drop.value is None
    assert document.mean_relative_drop.value is None
    assert document.mean_corruption_accuracy.value == 0
    assert of(document, "jpeg", 1).flip_rate.value == 1


def test_an_answer_that_cannot_be_read_is_an_answer_of_its_own():
    rows = answers("none", 0, "A" * 30) + answers("jpeg", 1, ["A"] * 20 + ["nothing at all"] * 10)
    rows += answers("jpeg", 3, ["A"] * 30)
    rows[:5] = [Prediction(row.sample, "") for row in rows[:5]]
    rows[30:35] = [Prediction(row.sample, "") for row in rows[30:35]]
    cell = of(robustness(rows, settings=Settings()), "jpeg", 1)
    assert cell.flip_rate.value == 10 / 30  # none to none is no change


def test_enough_items_with_a_confidence_have_an_ece():
    rows = []
    for kind, severity in (("none", 0), ("jpeg", 1)):
        rows += [said(f"q{i:03d}", kind, severity, "AB"[i % 2], confidence=0.9) for i in range(120)]
    cell = of(robustness(rows, settings=Settings()), "jpeg", 1)
    assert cell.ece.value == pytest.approx(0.4)
    assert cell.ece.ci95 is None and 0.05 < cell.ece.by_chance < 0.4


def test_results_of_another_kind_are_refused():
    plain = Prediction(Sample("x", ("x.png",), "q", OPTIONS, "A", "multiple_choice"), tag("A"))
    with pytest.raises(InputError, match="does not say how it was perturbed"):
        robustness([plain], settings=Settings())
    with pytest.raises(InputError, match="q00 was not asked"):
        robustness(answers("jpeg", 1, "A"), settings=Settings())


def test_rejections_of_a_false_premise_and_refusals_are_counted_apart():
    rows = answers("none", 0, CLEAN) + answers("false_premise", 1, CLEAN)
    question = "Given that the image shows Lung, answer this question: What?"
    texts = {
        **dict.fromkeys(range(40, 48), "The premise is wrong. <answer>A</answer>"),
        **dict.fromkeys(range(48, 52), "This is not the lung. <answer>B</answer>"),
        **dict.fromkeys(range(52, 58), "I'm sorry, but I cannot answer this question."),
    }
    rows = [
        replace(
            row,
            sample=replace(row.sample, question=question if i >= 40 else "What?"),
            model_output=texts.get(i, row.model_output),
        )
        for i, row in enumerate(rows)
    ]
    document = robustness(rows, settings=Settings())
    cell = of(document, "false_premise", 1)
    assert cell.premise_rejected.value == 12 / 40 and cell.refused.value == 6 / 40
    assert cell.accuracy.value == 20 / 40  # 30 of CLEAN, less 4 and 6
    low, high = cell.premise_rejected.ci95
    assert low < 12 / 40 < high
    (sentence,) = sentences(document)
    assert "30.0 % (18.1 to 45.4) of the completions say that the premise is wrong" in sentence
    assert "15.0 % (7.1 to 29.1) of them decline to answer." in sentence
    table = robustness_table(document)
    assert "false premise: completions that say so: 30.0 % (18.1 to 45.4)" in table
    assert "false premise: refusals to answer: 15.0 %" in table


def test_without_completions_no_rejections_are_counted_and_other_kinds_have_no_key(known):
    rows = answers("none", 0, CLEAN) + answers("false_premise", 1, CLEAN)
    # as --mode options writes it: the most probable option, without a length
    rows = [replace(row, option_probs={"A": 0.8, "B": 0.1, "C": 0.1}) for row in rows]
    cell = of(robustness(rows, settings=Settings()), "false_premise", 1)
    assert cell.premise_rejected.value is None and cell.premise_rejected.reason == "no completions"
    assert of(known, "jpeg", 1).premise_rejected is UNSET
