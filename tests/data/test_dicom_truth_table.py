"""Grey levels of DICOM against values worked out by hand from the standard."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_dicom import described, with_pydicom
from dicom_files import load, write_dicom
from dicom_truth_table import CASES, TruthCase
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement

ALL = [pytest.param(case, id=case.name) for case in CASES]


@pytest.mark.parametrize("case", ALL)
def test_grey_levels(case, tmp_path):
    path = write_dicom(tmp_path / "image.dcm", case.stored, **case.settings)
    loaded = load(path, window=case.window)
    assert loaded.image.mode == "RGB"
    pixels = np.asarray(loaded.image).reshape(-1, 3)
    expected = np.array(case.expected).reshape(len(pixels), -1)  # one value a pixel, or three
    assert pixels.tolist() == np.broadcast_to(expected, pixels.shape).tolist()
    assert not case.noted or any(word in " ".join(loaded.notes) for word in case.noted)


def test_there_are_enough_cases_each_with_its_own_name():
    assert len({case.name for case in CASES}) == len(CASES) >= 60
    assert all(np.size(case.stored) <= 16 for case in CASES if "outliers" not in case.name)


REAL = (
    "MR_small.dcm",  # 16 bits signed, window
    "examples_overlay.dcm",  # two windows, an overlay
    "J2K_pixelrep_mismatch.dcm",  # CT, three windows, padding
    "693_UNCR.dcm",  # CT, 14 bits signed, padding
    "RG1_UNCR.dcm",  # MONOCHROME1, 15 bits; its spacing is 0
    "RG3_UNCR.dcm",  # MONOCHROME1, 10 bits
    "MR-SIEMENS-DICOM-WithOverlays.dcm",
    "vlut_04.dcm",  # a VOI LUT
)


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_shown_as_by_pydicom(name):
    """Every pixel is the level of pydicom's functions, rounded, or padding."""
    path = get_testdata_file(name, download=False)
    if not path:
        pytest.skip(f"needs pydicom-data for {name}")
    dataset = dcmread(path)
    levels = with_pydicom(Path(path), None)
    if "PixelPaddingValue" in dataset:
        levels[dataset.pixel_array == dataset.PixelPaddingValue] = 0
    values = np.asarray(load(Path(path)).image)[..., 0]
    assert values.shape == levels.shape
    assert np.abs(values - levels).max() < 0.5 + 1e-6


def test_the_page_has_the_table():
    """If this fails: python scripts/compare_dicom.py --markdown."""
    page = Path(__file__).parents[2] / "medr1" / "data" / "scans" / "README.md"
    if not page.parent.exists():
        pytest.skip("DICOM is not read yet")
    rows = {
        tuple(cell.strip() for cell in line.split("|")[1:6])
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    }
    assert {tuple(described(case)) for case in CASES} <= rows


# --- the literals of the table, computed again with fractions, without any library of images ------


def number(value: Any, place: int = 0) -> Fraction:
    """A number of a tag: of several, the one at `place`."""
    return Fraction(str(value[place] if isinstance(value, list) else value).strip())


def looked_up(table: Any, x: Fraction) -> Fraction:
    """The entry of a LUT."""
    count, first, bits = table.LUTDescriptor
    data = table.LUTData
    if isinstance(data, bytes):
        data = list(data) if bits == 8 else np.frombuffer(data, "<u2").tolist()
    return Fraction(data[min(max(int(x) - first, 0), (count or 65536) - 1)])


def windowed(x: Fraction, center: Fraction, width: Fraction, function: str) -> Fraction:
    """0..255 by PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        exponent = float(-4 * (x - center) / width)
        return Fraction(255 / (1 + math.exp(exponent)) if exponent < 700 else 0)
    if function != "LINEAR_EXACT":
        center, width = center - Fraction(1, 2), width - 1
    if x <= center - width / 2:
        return Fraction(0)
    return (
        Fraction(255) if x > center + width / 2 else 255 * ((x - center) / width + Fraction(1, 2))
    )


def is_padding(x: int, tags: dict[str, Any]) -> bool:
    if "PixelPaddingValue" not in tags:
        return False
    value = tags["PixelPaddingValue"]
    if isinstance(value, DataElement):
        value = value.value - 65536
    limits = sorted((value, tags.get("PixelPaddingRangeLimit", value)))
    return bool(limits[0] <= x <= limits[1])


PRESETS = {
    "brain": (40, 80), "subdural": (75, 215), "stroke": (40, 40), "lung": (-600, 1500),
    "mediastinum": (50, 350), "bone": (400, 1800), "liver": (30, 150),
}  # fmt: skip
PARTS = {
    **dict.fromkeys(("HEAD", "BRAIN", "SKULL"), PRESETS["brain"]),
    **dict.fromkeys(("CHEST", "LUNG", "THORAX"), PRESETS["mediastinum"]),
}


def own_window(tags: dict[str, Any]) -> tuple[Fraction, Fraction, str] | None:
    """The window of the file, if the standard allows it."""
    if "WindowWidth" not in tags:
        return None
    function = tags["VOILUTFunction"] or "LINEAR"
    center, width = number(tags["WindowCenter"]), number(tags["WindowWidth"])
    allowed = width > 0 if function in ("LINEAR_EXACT", "SIGMOID") else width >= 1
    return (center, width, function) if allowed else None


def levels(case: TruthCase) -> list[list[Fraction]]:
    """What becomes of each pixel before it is rounded: one value, or three."""
    tags, stored = case.settings, [int(x) for x in np.ravel(case.stored)]
    is_ct = tags.get("modality") == "CT"
    slope, intercept = number(tags.get("RescaleSlope", 1)), number(tags.get("RescaleIntercept", 0))
    units = [slope * x + intercept for x in stored]
    if "ModalityLUTSequence" in tags:
        units = [looked_up(tags["ModalityLUTSequence"][0], Fraction(x)) for x in stored]
    window = own_window(tags)
    asked = case.window if is_ct or "/" in case.window else ""
    bits = tags.get("bits") or tags.get("allocated", 8)
    if asked == "medgemma":
        ramps = [(Fraction(low + high, 2), Fraction(high - low)) for low, high in
                 ((-1024, 1024), (-135, 215), (0, 80))]  # fmt: skip
        y = [[windowed(x, *ramp, "LINEAR_EXACT") for ramp in ramps] for x in units]
    elif asked:
        center, width = PRESETS.get(asked) or asked.split("/")
        y = [[windowed(x, number(center), number(width), "LINEAR")] for x in units]
    elif "VOILUTSequence" in tags:
        table = tags["VOILUTSequence"][0]
        y = [[255 * looked_up(table, x) / (2 ** table.LUTDescriptor[2] - 1)] for x in units]
    elif window:
        y = [[windowed(x, *window)] for x in units]
    elif bits == 8 and not tags.get("signed") and units == stored:
        y = [[x] for x in units]
    elif is_ct:
        center, width = PARTS.get(tags.get("BodyPartExamined", ""), (40, 400))
        y = [[windowed(x, Fraction(center), Fraction(width), "LINEAR")] for x in units]
    else:
        counted = [float(u) for u, x in zip(units, stored, strict=True) if not is_padding(x, tags)]
        low, high = (Fraction(float(np.percentile(counted, share))) for share in (0.5, 99.5))
        y = [[min(max(255 * (x - low) / (high - low), Fraction(0)), Fraction(255))] for x in units]
    if tags.get("photometric") == "MONOCHROME1":
        y = [[255 - level for level in pixel] for pixel in y]
    return [
        [Fraction(0)] * len(pixel) if is_padding(x, tags) else pixel
        for x, pixel in zip(stored, y, strict=True)
    ]


@pytest.mark.parametrize("case", ALL)
def test_the_expected_values_follow_from_the_formulas(case):
    exact = [level for pixel in levels(case) for level in pixel]
    assert [round(level) for level in exact] == np.ravel(case.expected).tolist()
    assert all(abs(level % 1 - Fraction(1, 2)) > Fraction(1, 200) for level in exact)  # no tie
