"""Slices are put together, and have square pixels."""

import numpy as np
import pytest

from medr1.data.scans.montage import (
    MAX_PIXELS,
    are_usable,
    check_montage,
    montage,
    square_pixels,
    square_size,
)
from medr1.errors import ItemError


def plain(rows, columns, level):
    return np.full((rows, columns), level, np.uint8)


def test_slices_are_placed_row_by_row():
    result = montage([plain(2, 3, level) for level in (10, 20, 30, 40, 50)], 3)
    assert result.shape == (4, 9)
    assert result[::2, ::3].tolist() == [[10, 20, 30], [40, 50, 0]]


def test_a_smaller_slice_is_in_the_middle_on_black():
    result = montage([plain(4, 6, 200), plain(2, 2, 100)], 2)
    place = result[:, 6:]
    assert place.shape == (4, 6)
    assert (place[1:3, 2:4] == 100).all() and place.sum() == 400


def test_one_slice_is_returned_as_it_is():
    part = plain(5, 4, 7)
    assert montage([part], 3) is part


def test_fewer_slices_than_columns_leave_no_empty_column():
    assert montage([plain(2, 2, 1)] * 2, 5).shape == (2, 4)


def test_colours_stay():
    part = np.zeros((2, 2, 3), np.uint8)
    part[..., 1] = 9
    assert montage([part, part], 1).shape == (4, 2, 3)
    assert (montage([part, part], 1)[..., 1] == 9).all()


@pytest.mark.parametrize(
    ("spacing", "size"),
    [
        ((1, 1), (40, 30)),
        ((2, 1), (40, 60)),
        ((0.5, 5), (400, 30)),
        ((0, 1), (40, 30)),
        ((float("nan"), 1), (40, 30)),
        ((1, float("inf")), (40, 30)),
        ((1, -1), (40, 30)),
        ((1, 201), (40, 30)),
    ],
)
def test_the_coarser_side_is_enlarged(spacing, size):
    assert square_size((30, 40), spacing) == size
    assert square_pixels(plain(30, 40, 1), spacing).size == size


def test_spacing_is_usable_up_to_200_times():
    assert are_usable((1, 200)) and are_usable((200, 1)) and not are_usable((1, 200.1))


def test_rows_are_interpolated():
    levels = np.array([[0, 0], [100, 100]], np.uint8)
    image = np.asarray(square_pixels(levels, (2, 1)))
    assert image.shape == (4, 2)
    assert image[:, 0].tolist() == [0, 25, 75, 100]


def test_square_pixels_takes_flipped_slices_and_colours():
    levels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[::-1, ::-1]
    assert np.array_equal(np.asarray(square_pixels(levels, (1, 1))), levels)


def test_a_montage_that_is_too_large_or_too_narrow_is_refused():
    check_montage((512, 512), 100, 10, "'a'")
    with pytest.raises(ItemError, match=f"100 slices .* more than {MAX_PIXELS:,}") as error:
        check_montage((1024, 512), 100, 10, "'a'")
    assert error.value.code == "image_too_large"
    with pytest.raises(ItemError, match="'a': 4 x 900 pixels") as error:
        check_montage((4, 900), 1, 1, "'a'")
    assert error.value.code == "image_bad_shape"
