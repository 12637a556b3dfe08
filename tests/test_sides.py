"""Which questions a mirrored picture makes wrong."""

import pytest

from medr1.answers.sides import names_height, names_side


@pytest.mark.parametrize(
    ("text", "side", "height"),
    [
        ("Which side is affected?", True, False),
        ("A left-sided pleural effusion", True, False),
        ("bilaterally", True, False),
        ("Both kidneys", True, False),
        ("L lung", True, False),
        ("Opacity in the RUL", True, True),
        ("RIGHT", True, False),
        ("the upper lobe", False, True),
        ("LOWER POLE", False, True),
        ("In which anatomical plane is this slice?", False, False),
        ("Heart", False, False),
        ("Bright spots, rightly so", False, False),
        ("Stupor and topography", False, False),
        ("", False, False),
    ],
)
def test_sides_and_heights(text, side, height):
    assert (names_side(text), names_height(text)) == (side, height)
