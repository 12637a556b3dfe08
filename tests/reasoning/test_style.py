"""Length, repetition and changes of language of a reasoning."""

import pytest

from medr1.reasoning import style

PROSE = (
    "The image shows a cross-section of the abdomen. The bone is bright and the lumen is dark. "
    "These grey levels follow the density of the tissue, so this is a CT scan."
)


def test_length_in_characters_and_words():
    measured = style("One two, three-four 5.")
    assert (measured.characters, measured.words) == (22, 4)


def test_repetition_is_one_minus_the_distinct_4_grams():
    assert style("a b c d e").repetition == 0
    assert style("a b c d a b c d").repetition == pytest.approx(1 - 4 / 5)
    assert style("a b c").repetition == 0 == style("").repetition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is B. " * 4, True),
        ("The answer is B. " * 3, False),
        (PROSE + " so so so so so so so so so so so so", True),
        ("no no no no", False),
        (PROSE, False),
        (f"{PROSE} " * 4, True),
    ],
    ids=["4 times", "3 times", "one word", "short", "prose", "paragraph"],
)
def test_a_loop_is_the_same_words_four_times_in_a_row(text, expected):
    assert style(text).has_loop == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROSE, False),
        ("", False),
        ("The diameter is 3 μm.", False),
        (f"{PROSE} 图像显示肿块。", True),
        ("CT图像显示肝脏,MRI没有异常。", False),
        ("图像显示肝脏。The image shows the liver with a mass.", True),
        ("영상에 골절이 보입니다. The image shows a fracture.", True),
        ("Der Tumor liegt auf der Niere und ist nicht groß. The mass is on the kidney.", True),
        ("画像には肝臓が見えます。", False),
    ],
    ids=["English", "empty", "Greek", "Han", "names", "sentence", "Korean", "German", "Japanese"],
)
def test_changes_of_language(text, expected):
    assert style(text).switches_language == expected
