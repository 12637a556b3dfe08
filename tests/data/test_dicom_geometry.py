"""Orientation, pixel aspect and frames of DICOM files."""

import numpy as np
import pytest
from dicom_files import item, load, write_dicom
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

UPRIGHT = np.arange(20).reshape(4, 5) * 12
"""An image without symmetry, as it must be shown: 4 rows, 5 columns."""
RIGHT_AND_DOWN = {
    # plane -> what the viewer sees to the right and below, in x to the left, y to the back, z to
    # the head of the patient
    "axial": ((1, 0, 0), (0, 1, 0)),  # the patient's left; the back
    "coronal": ((1, 0, 0), (0, 0, -1)),  # the patient's left; the feet
    "sagittal": ((0, 1, 0), (0, 0, -1)),  # the back; the feet
}
ARRANGEMENTS = {
    # name -> how the file stores it, and the directions of its rows and its columns
    "upright": (lambda image: image, ("right", "down")),
    "mirrored": (lambda image: image[:, ::-1], ("left", "down")),
    "upside-down": (lambda image: image[::-1], ("right", "up")),
    "turned-180": (lambda image: image[::-1, ::-1], ("left", "up")),
    "transposed": (lambda image: image.T, ("down", "right")),
    "turned-left": (lambda image: image.T[::-1], ("down", "left")),
    "turned-right": (lambda image: image.T[:, ::-1], ("up", "right")),
    "transverse": (lambda image: image.T[::-1, ::-1], ("up", "left")),
}


def gray(path, **view):
    """The image of a grey file; its channels are alike."""
    values = np.asarray(load(path, **view).image).astype(int)
    assert (values == values[..., :1]).all()
    return values[..., 0]


def orientation(plane, directions):
    """ImageOrientationPatient of an arrangement."""
    right, down = (np.array(vector) for vector in RIGHT_AND_DOWN[plane])
    vectors = {"right": right, "left": -right, "down": down, "up": -down}
    return [float(value) for direction in directions for value in vectors[direction]]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("plane", RIGHT_AND_DOWN)
def test_cross_sections_are_shown_in_the_radiological_convention(plane, arrangement, tmp_path):
    store, directions = ARRANGEMENTS[arrangement]
    path = write_dicom(
        tmp_path / "a.dcm", store(UPRIGHT), modality="MR", PixelSpacing=[1, 1],
        ImageOrientationPatient=orientation(plane, directions), ImagePositionPatient=[0, 0, 0],
    )  # fmt: skip
    assert gray(path).tolist() == UPRIGHT.tolist()


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        # the nearest axes decide; cos 20 = 0.93969, sin 20 = 0.34202
        ([1, 0, 0, 0, 0.93969, -0.34202], UPRIGHT),
        ([-0.93969, 0, 0.34202, 0, 1, 0], UPRIGHT[:, ::-1]),
        ([0.93969, 0.34202, 0, -0.34202, 0.93969, 0], UPRIGHT),
        ([-0.93969, -0.34202, 0, 0.34202, -0.93969, 0], UPRIGHT[::-1, ::-1]),
        ([0.34202, 0.93969, 0, 0.93969, -0.34202, 0], UPRIGHT.T),
        ([0, 0.93969, 0.34202, 0, 0.34202, -0.93969], UPRIGHT),  # sagittal
        ([0.93969, 0, 0.34202, 0.34202, 0, -0.93969], UPRIGHT),  # coronal
    ],
    ids=["tilted", "mirrored", "rotated", "turned", "transposed", "sagittal", "coronal"],
)
def test_an_oblique_image_is_turned_by_the_nearest_axes(values, stored, tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", stored, modality="CT", ImageOrientationPatient=values,
        ImagePositionPatient=[0, 0, 0], PixelSpacing=[1, 1],
    )  # fmt: skip
    assert gray(path).tolist() == UPRIGHT.tolist()


@pytest.mark.parametrize("modality", ["CR", "DX", "MG", "XA"])
def test_projections_stay_as_stored(modality, tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", UPRIGHT, modality=modality, PatientOrientation=["R", "H"],
        ImageOrientationPatient=[-1, 0, 0, 0, -1, 0],
    )  # fmt: skip
    assert gray(path).tolist() == UPRIGHT.tolist()


# --- pixels that are not square ------------------------------------------------------------------

HALVES = np.repeat([[40] * 5 + [200] * 5], 10, 0)
"""(10, 10): the left half is dark."""


@pytest.mark.parametrize(
    ("tags", "rows", "columns"),
    [
        # spacing between rows (the height of a pixel) first, then between columns
        ({"PixelSpacing": [1, 1]}, 10, 10),
        ({"PixelSpacing": [2, 1]}, 20, 10),
        ({"PixelSpacing": [1, 2]}, 10, 20),
        ({"PixelSpacing": [0.5, 0.2]}, 25, 10),
        ({"PixelSpacing": [0.70312, 0.70313]}, 10, 10),
        ({"ImagerPixelSpacing": [0.1, 0.15]}, 10, 15),
        ({"PixelSpacing": [1, 1], "ImagerPixelSpacing": [1, 2]}, 10, 10),
        ({"PixelSpacing": [2, 1], "PixelAspectRatio": [1, 3]}, 20, 10),
        ({"PixelAspectRatio": [1, 1]}, 10, 10),
        ({"PixelAspectRatio": [6, 5]}, 12, 10),  # PS3.3 C.7.6.3.1.7: height, then width
        ({"PixelAspectRatio": [5, 6]}, 10, 12),
    ],
)
@pytest.mark.parametrize("modality", ["DX", "MR"])
def test_pixels_become_square(tags, rows, columns, modality, tmp_path):
    path = write_dicom(tmp_path / "a.dcm", HALVES, modality=modality, **tags)
    values = gray(path)
    assert values.shape == (rows, columns)
    assert set(values[:, [0, 1]].ravel()) == {40} and set(values[:, [-1, -2]].ravel()) == {200}


def test_pixels_become_square_in_colour(tmp_path):
    stored = HALVES[..., None] + np.array([0, 10, 20])
    path = write_dicom(tmp_path / "a.dcm", stored, photometric="RGB", PixelAspectRatio=[2, 1])
    values = np.asarray(load(path).image)
    assert values.shape == (20, 10, 3)
    assert values[0, 0].tolist() == [40, 50, 60] and values[-1, -1].tolist() == [200, 210, 220]


def test_spacing_turns_with_the_image(tmp_path):
    """Stored transposed: what are columns of the file, 3 mm apart, become rows."""
    path = write_dicom(
        tmp_path / "a.dcm", HALVES.T, modality="MR", PixelSpacing=[1, 3],
        ImageOrientationPatient=[0, 1, 0, 1, 0, 0], ImagePositionPatient=[0, 0, 0],
    )  # fmt: skip
    values = gray(path)
    assert values.shape == (30, 10)
    assert set(values[:, 0]) == {40} and set(values[:, -1]) == {200}


# --- frames ---------------------------------------------------------------------------------------


def frame(*values):
    """(4, 4) with a few values along each row."""
    return [[*values, *[values[-1]] * (4 - len(values))]] * 4


FRAMES = [frame(1064, 1044), frame(1024, 1124), frame(1000, 1100)]


def voi(center, width):
    return [item(WindowCenter=center, WindowWidth=width)]


def rescale(intercept):
    return [item(RescaleSlope=1, RescaleIntercept=intercept, RescaleType="HU")]


def place(z):
    return [item(ImagePositionPatient=[0, 0, z])]


SHARED = {
    "PixelMeasuresSequence": [item(PixelSpacing=[1, 1], SliceThickness=1)],
    "PlaneOrientationSequence": [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
}


def enhanced(path, shared, frames, **settings):
    groups = {
        "SharedFunctionalGroupsSequence": [item(**SHARED, **shared)],
        "PerFrameFunctionalGroupsSequence": [
            item(PlanePositionSequence=place(z), **groups) for z, groups in enumerate(frames)
        ],
    }
    settings = {"modality": "ECT", "allocated": 16, "bits": 12, "frames": True, **settings}
    return write_dicom(path, FRAMES, **{**groups, **settings})


def all_frames(path, **view):
    """The first row of each frame. They may be sorted by position: the order is not compared."""
    return sorted(gray(path, slices=(number,), **view)[0].tolist() for number in (1, 2, 3))


def test_frames_have_rescale_and_window_of_their_own(tmp_path):
    path = enhanced(
        tmp_path / "a.dcm",
        {},
        [
            {"PixelValueTransformationSequence": rescale(b), "FrameVOILUTSequence": voi(c, w)}
            for b, c, w in ((-1024, 40, 80), (-1024, 50, 350), (-1000, 40, 400))
        ],
    )
    # 40 and 20 under 40/80; 0 and 100 under 50/350; 0 and 100 under 40/400, as in the truth table
    assert all_frames(path) == [[91, 164, 164, 164], [102, 166, 166, 166], [129, 65, 65, 65]]


def test_frames_share_rescale_and_window(tmp_path):
    shared = {
        "PixelValueTransformationSequence": rescale(-1024),
        "FrameVOILUTSequence": voi(40, 400),
    }
    path = enhanced(tmp_path / "a.dcm", shared, [{}, {}, {}])
    # units 40, 20; 0, 100; -24, 76: 255 ((x - 39.5) / 399 + 0.5) = 127.82, 115.04; 86.92, 150.83
    assert all_frames(path) == [[87, 151, 151, 151], [102, 166, 166, 166], [128, 115, 115, 115]]


def test_functional_groups_win_over_the_top_level(tmp_path):
    shared = {
        "PixelValueTransformationSequence": rescale(-1024),
        "FrameVOILUTSequence": voi(40, 400),
    }
    path = enhanced(
        tmp_path / "a.dcm", shared, [{}, {}, {}], RescaleSlope=5, RescaleIntercept=7,
        WindowCenter=1, WindowWidth=2,
    )  # fmt: skip
    assert all_frames(path) == [[87, 151, 151, 151], [102, 166, 166, 166], [128, 115, 115, 115]]


def test_a_window_that_is_asked_for_holds_for_every_frame(tmp_path):
    shared = {"FrameVOILUTSequence": voi(1, 2)}
    frames = [{"PixelValueTransformationSequence": rescale(b)} for b in (-1024, -1024, -1000)]
    path = enhanced(tmp_path / "a.dcm", shared, frames)
    assert all_frames(path, window="40/400") == [
        [102, 166, 166, 166], [102, 166, 166, 166], [128, 115, 115, 115],
    ]  # fmt: skip
    assert all_frames(path, window="brain") == [
        [0, 255, 255, 255], [0, 255, 255, 255], [129, 65, 65, 65],
    ]  # fmt: skip


def test_frames_are_turned_by_their_orientation(tmp_path):
    shared = {
        "PixelValueTransformationSequence": rescale(-1024),
        "FrameVOILUTSequence": voi(40, 400),
    }
    turned = [item(ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])]
    groups = {**SHARED, "PlaneOrientationSequence": turned, **shared}
    path = enhanced(
        tmp_path / "a.dcm", {}, [{}, {}, {}], SharedFunctionalGroupsSequence=[item(**groups)]
    )
    assert all_frames(path) == [[115, 115, 115, 128], [151, 151, 151, 87], [166, 166, 166, 102]]


@pytest.mark.parametrize(
    "settings",
    [{}, {"compress": RLELossless}, {"compress": JPEGLSLossless}, {"compress": JPEG2000Lossless}],
    ids=["native", "rle", "jpeg-ls", "jpeg-2000"],
)
def test_frames_without_positions_keep_their_order(settings, tmp_path):
    frames = [np.full((64, 64), 20 * number) + np.arange(64) for number in (1, 2, 3)]
    path = write_dicom(tmp_path / "a.dcm", frames, modality="USM", frames=True, **settings)
    for number in (1, 2, 3):
        assert gray(path, slices=(number,)).tolist() == frames[number - 1].tolist()


@pytest.mark.parametrize("planar", [0, 1])
def test_frames_in_colour(planar, tmp_path):
    frames = np.arange(3 * 4 * 4 * 3).reshape(3, 4, 4, 3)
    path = write_dicom(
        tmp_path / "a.dcm", frames, modality="USM", photometric="RGB", frames=True, planar=planar
    )
    for number in (1, 2, 3):
        image = load(path, slices=(number,)).image
        assert np.asarray(image).tolist() == frames[number - 1].tolist()


def test_percentiles_of_a_frame_without_window(tmp_path):
    """A file of one frame is like a file without NumberOfFrames."""
    path = write_dicom(
        tmp_path / "a.dcm", [[[0, 0, 1000, 3000, 4000, 4000]]], allocated=16, frames=True
    )
    assert gray(path)[0].tolist() == [0, 0, 64, 191, 255, 255]
