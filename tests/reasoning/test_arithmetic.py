"""Equations and counted lists in a reasoning."""

import pytest

from medr1.reasoning import arithmetic_steps
from medr1.reasoning.arithmetic import MAX_STEPS

RIGHT = (
    "3 + 2 = 5 | 12 mm x 2 = 24 mm | 1 cm + 5 mm = 15 mm | 3 cm x 4 cm = 12 cm2 | 10/3 = 3.33 | "
    "10 / 3 = 3 | 2/3 = 0.66 | 20% of 50 is 10 | 12/50 = 24% | 3/6 = 1/2 | 5 = 3 + 2 | "
    "total of 4 + 3, which is 7 | two plus three is five | (3 + 2) * 2 = 10 | 3 + 2 * 2 = 7 | "
    "2^3 = 8 | 1,200 / 4 = 300 | 14 cm / 28 cm = 0.5 | 3 + 4 ≈ 7.1 | 6:3 = 2:1 | 10 mm / 2 = 5 | "
    r"\frac{3}{4} + \frac{1}{4} = 1 | $4 \times 5 = 20$ | 3 nodules + 2 nodules = 5 nodules | "
    "area = 3 * 2 = 6 mm | Step 2: 2 + 2 = 4 | 1 + 2 makes 3 | "
    "10 / 2 is 5 | 20 - 5 = 15 | 20 minus 5 is 15 | 30 mm - 20 mm is 10 mm | "
    r"\frac{1}{2} is 0.5 | ten divided by two is five | 20/40 = 0.5 | "
    "22/7 = 3.14 | 2 / 3 = 0.67 | 2/3 = 0.6 | 1 / 2 = 1 | 7/2 = 3 | 7/2 = 4 | "
    "There are three nodules: one in the left lung and two in the right lung."
)
WRONG = (
    "3 + 2 = 6 | 12 mm x 2 = 26 mm | 1 cm + 5 mm = 6 mm | 7/2 = 3.2 | 20 % of 50 = 12 | "
    "12/50 = 25% | 5 minus 3 equals 1 | 3 + 2 * 2 = 10 | CTR is 14/28 = 0.6 | 6:3 = 3:1 | "
    "3 + 4 ≈ 9 | 3 cm x 4 cm = 14 cm2 | 10 / 3 = 3.34 | 22/7 = 3.15 | 2/3 = 0.68 | 11/3 = 3 | "
    "1/3 = 0 | 10 / 2 is 4 | 20 minus 5 is 14 | 30 mm - 20 mm is 15 mm | "
    "There are three nodules: two in the left lung, one in the hilum, and two in the right lung."
)
NO_STEP = (
    "x + 3 = 5 | 2x + 3 = 7 | 3 + 2x = 7 | f(2) + 1 = 5 | 10-15 is 12 | C5-C6 = 1 | L4/5 = 1 | "
    "12 / 0 = 3 | 9^9^9 = 3 | 2019-03 = 5 | T2 + 1 = 3 | 3 cm + 2 mg = 5 | grade 3 = 3 | "
    "12 mm = 1.2 cm | -2 + 5 = 3 | There are 3 or 4. | The ratio is 3:1. | 3 + 2 | n = 5 | "
    "5 kg / 2 mm = 2 | visual acuity 20/40 is 3 lines worse | acuity of 6/12 is two lines below | "
    "Kellgren 3/4 is two grades above | a score of 4/6 is two points lower | "
    "a value of 20 - 30 is 5 points above | 10-15 is about 12 | 20/40 is about 3 lines worse | "
    "three nodules: one in the left lung and several in the right lung."
)


def texts(table):
    return [text.strip() for text in table.split(" | ")]


@pytest.mark.parametrize("text", texts(RIGHT))
def test_a_right_step(text):
    (step,) = arithmetic_steps(text)
    assert step.is_right


@pytest.mark.parametrize("text", texts(WRONG))
def test_a_wrong_step(text):
    (step,) = arithmetic_steps(text)
    assert not step.is_right


@pytest.mark.parametrize("text", texts(NO_STEP))
def test_what_cannot_be_computed_is_no_step(text):
    assert arithmetic_steps(text) == []


def test_a_chain_has_a_step_for_each_equation_and_steps_are_in_order():
    steps = arithmetic_steps("First 1 + 1 = 2 = 3 - 1, then 2 * 2 = 5. So 5 - 2 = 3.")
    assert [step.is_right for step in steps] == [True, True, False, True]
    assert steps[2].text == "2 * 2 = 5"


def test_a_degenerate_text_has_a_limit():
    assert len(arithmetic_steps("1 + 1 = 3. " * 1000)) == MAX_STEPS
