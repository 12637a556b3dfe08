"""Grey levels of DICOM, case by case: stored values, tags, and the 8-bit values they must become.

The expected values were worked out by hand from the standard, PS3.3 C.7.6.3 (pixels), C.11.1
(modality LUT, rescale), C.11.2 (VOI LUT, windows) and PS3.4 N.2 (the order), and from the rules in
`RULES` where the standard leaves the choice. The last column has the arithmetic. c' is c - 0.5 and
w' is w - 1, as the function LINEAR has them: y = 255 ((x - c') / w' + 0.5).
"""

from dataclasses import dataclass, field
from typing import Any

from dicom_files import lut
from pydicom.dataelem import DataElement

RULES = """\
- A VOI LUT comes before a window; of several, the first one is used.
- An entry of a LUT of n bits is shown as 255 entry / (2^n - 1), with the n of the descriptor.
- A window that the standard forbids (LINEAR: width below 1; others: 0 or less) is not used.
- Padding is black, before and after MONOCHROME1. It is compared with the stored values.
- Without VOI: stored values of 8 bits without rescale stay as they are; CT has the window of its
  body part; all others go from percentile 0.5 to 99.5 of the pixels that are not padding.
- A window that the user asks for replaces the file's VOI; a name is for CT only.
"""


@dataclass(frozen=True)
class TruthCase:
    """One image of the table."""

    name: str
    stored: list[Any]
    expected: list[Any]
    """8-bit values: one for each pixel, or red, green and blue."""
    arithmetic: str
    window: str
    """What the user asks for."""
    noted: tuple[str, ...]
    """Words of which a note must have one."""
    settings: dict[str, Any] = field(hash=False)
    """Of `dicom_files.dicom_dataset`."""


CASES: list[TruthCase] = []


def _case(
    name: str,
    stored: list[Any],
    expected: list[Any],
    arithmetic: str,
    *,
    window: str = "",
    noted: tuple[str, ...] = (),
    **settings: Any,
) -> None:
    CASES.append(TruthCase(name, stored, expected, arithmetic, window, noted, settings))


def _voi(center: Any, width: Any, function: str | None = None) -> dict[str, Any]:
    return {"WindowCenter": center, "WindowWidth": width, "VOILUTFunction": function}


def _hu(*units: int) -> list[int]:
    """The stored values of Hounsfield units."""
    return [value + 1024 for value in units]


DEEP: dict[str, Any] = {"allocated": 16, "bits": 12}
SIGNED: dict[str, Any] = {"allocated": 16, "bits": 12, "signed": True}
CT: dict[str, Any] = {"modality": "CT", **DEEP, "RescaleSlope": 1, "RescaleIntercept": -1024}
CT_VOI: dict[str, Any] = {**CT, **_voi(300, 1000)}
MONO1: dict[str, Any] = {"photometric": "MONOCHROME1"}
PERCENTILES = ("percentile",)
BRAIN = ("brain", "40/80")
SOFT = ("40/400",)
MEDIASTINUM = ("mediastinum", "50/350")

# --- no VOI, 8 bits: as stored -------------------------------------------------------------------
RAMP = [0, 1, 127, 128, 254, 255]
_case("8-bit", RAMP, RAMP, "as stored")
_case("8-bit-in-16", RAMP, RAMP, "as stored", allocated=16, bits=8)
_case("8-bit-rescale-1-0", RAMP, RAMP, "as stored", RescaleSlope=1, RescaleIntercept=0)
_case("8-bit-ct", RAMP, RAMP, "as stored", modality="CT")
_case("8-bit-center-alone", RAMP, RAMP, "no width, no window: as stored", WindowCenter=10)
_case("8-bit-mono1", RAMP, [255, 254, 128, 127, 1, 0], "255 - x", **MONO1)
_case(
    "8-bit-mono1-inverse", RAMP, [255, 254, 128, 127, 1, 0], "255 - x, once",
    PresentationLUTShape="INVERSE", **MONO1,
)  # fmt: skip
_case("8-bit-identity", RAMP, RAMP, "as stored", PresentationLUTShape="IDENTITY")
_case("8-bit-padding", [0, 100, 255], [0, 100, 0], "255 is padding", PixelPaddingValue=255)
_case(
    "8-bit-mono1-padding", [0, 100, 255], [0, 155, 0], "0 is padding; 255 - 100; 255 - 255",
    PixelPaddingValue=0, **MONO1,
)  # fmt: skip
_case(
    "8-bit-overlay", [0, 100, 255, 7], [0, 100, 255, 7], "as stored, group 6000 left out",
    OverlayRows=DataElement(0x60000010, "US", 1),
    OverlayColumns=DataElement(0x60000011, "US", 4),
    OverlayType=DataElement(0x60000040, "CS", "G"),
    OverlayOrigin=DataElement(0x60000050, "SS", [1, 1]),
    OverlayBitsAllocated=DataElement(0x60000100, "US", 1),
    OverlayBitPosition=DataElement(0x60000102, "US", 0),
    OverlayData=DataElement(0x60003000, "OW", b"\x0f\x00"),
)  # fmt: skip

# --- no VOI, more bits or a rescale: percentiles 0.5 to 99.5 -------------------------------------
_case(
    "16-bit", [0, 0, 1000, 3000, 4000, 4000], [0, 0, 64, 191, 255, 255],
    "255 x / 4000: 63.75, 191.25", allocated=16, noted=PERCENTILES,
)  # fmt: skip
_case(
    "12-bit-signed", [-1000, -1000, -500, 600, 1000, 1000], [0, 0, 64, 204, 255, 255],
    "255 (x + 1000) / 2000: 63.75, 204", **SIGNED, noted=PERCENTILES,
)  # fmt: skip
_case(
    "8-bit-signed", [-100, -100, -50, 60, 100, 100], [0, 0, 64, 204, 255, 255],
    "255 (x + 100) / 200: 63.75, 204", signed=True, noted=PERCENTILES,
)  # fmt: skip
_case(
    "16-bit-mono1", [0, 0, 1000, 3000, 4000, 4000], [255, 255, 191, 64, 0, 0],
    "255 - 64, 255 - 191", allocated=16, **MONO1, noted=PERCENTILES,
)  # fmt: skip
_case(
    "percentiles-without-padding",
    [-2000, -2000, -2000, 0, 0, 100, 400, 400], [0, 0, 0, 0, 0, 64, 255, 255],
    "-2000 is padding; 255 x / 400: 63.75",
    **SIGNED, PixelPaddingValue=-2000, noted=PERCENTILES,
)  # fmt: skip
_case(
    "percentiles-cut-outliers",
    [[0, *[1000] * 199], [1250, *[2000] * 198, 60000]], [*[0] * 200, 64, *[255] * 199],
    "of 400 pixels one is below and one above: 255 (x - 1000) / 1000: 63.75",
    allocated=16, noted=PERCENTILES,
)  # fmt: skip
_case(
    "8-bit-rescale", [0, 0, 10, 30, 40, 40], [0, 0, 64, 191, 255, 255],
    "units 0 to 80; 255 * 20 / 80 = 63.75", RescaleSlope=2, RescaleIntercept=0, noted=PERCENTILES,
)  # fmt: skip
_case(
    "slope-negative", [0, 0, 1000, 4000, 4000], [255, 255, 191, 0, 0],
    "units 4000 - x; 255 * 3000 / 4000 = 191.25",
    allocated=16, RescaleSlope=-1, RescaleIntercept=4000, noted=PERCENTILES,
)  # fmt: skip
_case(
    "modality-lut-alone", [0, 0, 1, 2, 3, 3], [0, 0, 64, 191, 255, 255],
    "units 0, 1000, 3000, 4000: 63.75, 191.25",
    ModalityLUTSequence=lut(0, [0, 1000, 3000, 4000], kind="US"), noted=PERCENTILES,
)  # fmt: skip

# --- no VOI, CT: the window of the body part -----------------------------------------------------
for part in ("HEAD", "BRAIN", "SKULL"):
    _case(
        f"ct-{part.lower()}", _hu(-100, 0, 20, 40, 79, 200), [0, 0, 65, 129, 255, 255],
        "40/80: 255 ((x - 39.5) / 79 + 0.5): 64.56, 129.11", **CT, BodyPartExamined=part,
        noted=BRAIN,
    )  # fmt: skip
for part in ("CHEST", "LUNG", "THORAX"):
    _case(
        f"ct-{part.lower()}", _hu(-200, 0, 100, 224, 900), [0, 91, 164, 255, 255],
        "50/350: 255 ((x - 49.5) / 349 + 0.5): 91.33, 164.40", **CT, BodyPartExamined=part,
        noted=MEDIASTINUM,
    )  # fmt: skip
_case(
    "ct-abdomen", _hu(-160, 0, 100, 239, 900), [0, 102, 166, 255, 255],
    "40/400: 255 ((x - 39.5) / 399 + 0.5): 102.26, 166.17", **CT, BodyPartExamined="ABDOMEN",
    noted=SOFT,
)  # fmt: skip
_case(
    "ct-no-part", _hu(-160, 0, 100, 239, 900), [0, 102, 166, 255, 255],
    "40/400, as ct-abdomen", **CT, noted=SOFT,
)  # fmt: skip
_case(
    "ct-mono1", _hu(-160, 0, 100, 239), [255, 153, 89, 0], "255 - 102, 255 - 166", **CT, **MONO1,
)  # fmt: skip
_case(
    "ct-padding", [0, *_hu(-160, 0, 100)], [0, 0, 102, 166], "40/400; 0 is padding",
    **CT, PixelPaddingValue=0,
)  # fmt: skip
_case(
    "ct-padding-mono1", [0, *_hu(-160, 0, 100)], [0, 255, 153, 89], "255 - y; padding stays 0",
    **CT, **MONO1, PixelPaddingValue=0,
)  # fmt: skip
_case(
    "ct-8-bit-rescale", [0, 64, 70, 80], [0, 102, 164, 255],
    "units 16 x - 1024: -1024, 0, 96, 256; 40/400: 102.26; 255 (56.5 / 399 + 0.5) = 163.61",
    modality="CT", RescaleSlope=16, RescaleIntercept=-1024, noted=SOFT,
)  # fmt: skip

# --- LINEAR --------------------------------------------------------------------------------------
_case("linear-128-256", RAMP, RAMP, "c' 127.5, w' 255: y = x", **_voi(128, 256))
_case(
    "linear-2048-4096", [0, 1000, 2000, 3000, 4095], [0, 62, 125, 187, 255],
    "c' 2047.5, w' 4095: 255 x / 4095: 62.27, 124.54, 186.81", **DEEP, **_voi(2048, 4096),
)  # fmt: skip
_case(
    "linear-stated", [0, 1000, 2000, 3000, 4095], [0, 62, 125, 187, 255],
    "as linear-2048-4096", **DEEP, **_voi(2048, 4096, "LINEAR"),
)  # fmt: skip
_case(
    "linear-16-bit", [0, 25700, 51400, 65535], [0, 100, 200, 255],
    "c' 32767.5, w' 65535: x / 257", allocated=16, **_voi(32768, 65536),
)  # fmt: skip
_case(
    "linear-hu", _hu(-100, 0, 20, 40, 79, 200), [0, 0, 65, 129, 255, 255],
    "255 ((x - 39.5) / 79 + 0.5): 64.56, 129.11", **CT, **_voi(40, 80),
)  # fmt: skip
_case(
    "linear-first-of-three", _hu(-100, 0, 20, 40, 79, 200), [0, 0, 65, 129, 255, 255],
    "40/80, as linear-hu", **CT, **_voi([40, 600, -600], [80, 2800, 1500]),
)  # fmt: skip
_case(
    "linear-text-numbers", _hu(-100, 0, 20, 40, 79, 200), [0, 0, 65, 129, 255, 255],
    "40/80, as linear-hu", **CT, **_voi("+4.0E1", " 80.00 "),
)  # fmt: skip
_case(
    "linear-1", [98, 99, 100, 101], [0, 0, 255, 255],
    "w' 0: a step at 99.5", **_voi(100, 1),
)  # fmt: skip
_case(
    "linear-2", [98, 99, 100, 101], [0, 0, 255, 255],
    "c' 99.5, w' 1: 100: 255 (0.5 + 0.5)", **_voi(100, 2),
)  # fmt: skip
_case(
    "linear-4", [97, 98, 99, 100, 101, 102], [0, 0, 85, 170, 255, 255],
    "c' 99.5, w' 3: 255 (-0.5 / 3 + 0.5) = 85; 255 (0.5 / 3 + 0.5) = 170", **_voi(100, 4),
)  # fmt: skip
_case(
    "linear-narrow-8-bit", [0, 80, 90, 110, 124, 200], [0, 26, 78, 182, 255, 255],
    "c' 99.5, w' 49: -19.5 / 49 + 0.5 = 0.1020: 26.02; 0.3061: 78.06; 0.7143: 182.14",
    **_voi(100, 50),
)  # fmt: skip
_case(
    "linear-fractions", [0, 10, 50, 78, 79], [2, 34, 163, 253, 255],
    "c' 39, w' 79.5: -39 / 79.5 + 0.5 = 0.0094: 2.41; 0.1352: 34.48; 0.6384: 162.78; 252.59",
    **_voi("39.5", "80.5"),
)  # fmt: skip
_case(
    "linear-wider-than-data", [-1000, 0, 999], [102, 128, 153],
    "c' -0.5, w' 9999: -999.5 / 9999 + 0.5 = 0.4000: 102.01; 0.50005: 127.51; 0.6: 152.99",
    **SIGNED, **_voi(0, 10000),
)  # fmt: skip
_case(
    "linear-negative-center", [-2000, -1000, -600, 0, 500], [0, 60, 128, 230, 255],
    "c' -600.5, w' 1499: 59.54, 127.59, 229.65", **SIGNED, **_voi(-600, 1500),
)  # fmt: skip
_case(
    "linear-mono1", [0, 1000, 2000, 3000, 4095], [255, 193, 130, 68, 0],
    "255 - y of linear-2048-4096", **DEEP, **_voi(2048, 4096), **MONO1,
)  # fmt: skip
_case(
    "linear-mono1-inverse", [0, 1000, 2000, 3000, 4095], [255, 193, 130, 68, 0],
    "255 - y, once", **DEEP, **_voi(2048, 4096), **MONO1, PresentationLUTShape="INVERSE",
)  # fmt: skip
_case(
    "linear-slope-2", [0, 50, 60, 80, 100], [0, 0, 51, 153, 255],
    "units 2 x - 100: -100, 0, 20, 60, 100; c' 50, w' 100: y = 2.55 units",
    RescaleSlope=2, RescaleIntercept=-100, **_voi("50.5", "101"),
)  # fmt: skip
_case(
    "linear-slope-negative", [0, 20, 60, 100], [255, 204, 102, 0],
    "units 100 - x; c' 50, w' 100: y = 2.55 units",
    RescaleSlope=-1, RescaleIntercept=100, **_voi("50.5", "101"),
)  # fmt: skip
_case(
    "linear-slope-fraction", [0, 1, 3, 4], [0, 64, 191, 255],
    "units x / 4 + 0.25: 0.25 to 1.25; c' 0.75, w' 1: 255 (units - 0.25): 63.75, 191.25",
    RescaleSlope="0.25", RescaleIntercept="0.25", **_voi("1.25", "2"),
)  # fmt: skip
_case(
    "linear-modality-lut", [0, 1, 2, 3, 9], [0, 85, 171, 255, 255],
    "units 0, 100, 200, 299, 299; c' 149.5, w' 299: 85.28, 170.57",
    ModalityLUTSequence=lut(0, [0, 100, 200, 299], kind="US"), **_voi(150, 300),
)  # fmt: skip
_case(
    "linear-modality-lut-first-2", [0, 2, 3, 4, 9], [85, 85, 171, 255, 255],
    "units 100 for 0 to 2, then 200, 299, 299",
    ModalityLUTSequence=lut(2, [100, 200, 299], kind="US"), **_voi(150, 300),
)  # fmt: skip
_case(
    "linear-modality-lut-8-bit", [0, 1, 2, 3], [0, 50, 100, 255],
    "units 0, 50, 100, 255; y = units",
    ModalityLUTSequence=lut(0, [0, 50, 100, 255], bits=8, kind="US"), **_voi(128, 256),
)  # fmt: skip
_case(
    "linear-modality-lut-signed", [-5, -2, -1, 0, 7], [0, 0, 85, 171, 171],
    "units 0 for -5 and -2, then 100, 200, 200",
    **SIGNED, ModalityLUTSequence=lut(-2, [0, 100, 200], kind="US"), **_voi(150, 300),
)  # fmt: skip
_case(
    "linear-unknown-function", [97, 98, 99, 100, 101, 102], [0, 0, 85, 170, 255, 255],
    "as linear-4", **_voi(100, 4, "CUBIC"),
)  # fmt: skip

# --- padding under a window ----------------------------------------------------------------------
_case(
    "window-padding", [4000, 0, 1000, 2000], [0, 0, 62, 125], "4000 is padding",
    **DEEP, **_voi(2048, 4096), PixelPaddingValue=4000,
)  # fmt: skip
_case(
    "window-padding-mono1", [4000, 0, 1000, 2000], [0, 255, 193, 130], "255 - y; padding stays 0",
    **DEEP, **_voi(2048, 4096), **MONO1, PixelPaddingValue=4000,
)  # fmt: skip
_case(
    "window-padding-range", [3999, 4000, 4050, 4095, 2000], [249, 0, 0, 0, 125],
    "4000 to 4095 are padding; 255 * 3999 / 4095 = 249.02",
    **DEEP, **_voi(2048, 4096), PixelPaddingValue=4000, PixelPaddingRangeLimit=4095,
)  # fmt: skip
_case(
    "window-padding-range-downwards", [3999, 4000, 4050, 4095, 2000], [249, 0, 0, 0, 125],
    "the limit may be below the value",
    **DEEP, **_voi(2048, 4096), PixelPaddingValue=4095, PixelPaddingRangeLimit=4000,
)  # fmt: skip
_case(
    "window-padding-signed-range", [-2000, -1500, -1000, -600, 0], [0, 0, 60, 128, 230],
    "-2000 to -1500 are padding; the rest as linear-negative-center",
    **SIGNED, **_voi(-600, 1500),
    PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1500,
)  # fmt: skip
_case(
    "window-padding-signed-range-mono1", [-2000, -1500, -1000, -600, 0], [0, 0, 195, 127, 25],
    "255 - y; padding stays 0",
    **SIGNED, **_voi(-600, 1500), **MONO1, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1500,
)  # fmt: skip
_case(
    "window-padding-before-rescale", [100, 0, 1124], [0, 0, 166],
    "stored 100 is padding, and the unit 100 (stored 1124) is not; 40/400: 166.17",
    **CT, **_voi(40, 400), PixelPaddingValue=100,
)  # fmt: skip
_case(
    "window-padding-as-us", [-2000, -1000, -600, 0], [0, 195, 127, 25],
    "63536 in US is the word of -2000 in 16 bits; MONOCHROME1",
    allocated=16, signed=True, **_voi(-600, 1500), **MONO1,
    PixelPaddingValue=DataElement(0x00280120, "US", 63536),
)  # fmt: skip

# --- LINEAR_EXACT --------------------------------------------------------------------------------
_case(
    "exact", [0, 50, 75, 110, 150, 151], [0, 0, 64, 153, 255, 255],
    "255 ((x - 100) / 100 + 0.5): 63.75, 153", **_voi(100, 100, "LINEAR_EXACT"),
)  # fmt: skip
_case(
    "exact-4", [97, 98, 99, 101, 102, 103], [0, 0, 64, 191, 255, 255],
    "255 (-1 / 4 + 0.5) = 63.75; 191.25; see linear-4", **_voi(100, 4, "LINEAR_EXACT"),
)  # fmt: skip
_case(
    "exact-1", [99, 100, 101], [0, 102, 255],
    "255 (-0.1 + 0.5) = 102; no step", **_voi("100.1", 1, "LINEAR_EXACT"),
)  # fmt: skip
_case(
    "exact-below-1", [99, 100, 101], [0, 102, 255],
    "255 (-0.05 / 0.5 + 0.5) = 102", **_voi("100.05", "0.5", "LINEAR_EXACT"),
)  # fmt: skip
_case(
    "exact-mono1", [0, 50, 75, 110, 150], [255, 255, 191, 102, 0],
    "255 - y of exact", **_voi(100, 100, "LINEAR_EXACT"), **MONO1,
)  # fmt: skip
_case(
    "exact-rescale", _hu(-1, 0, 20, 60, 80), [0, 0, 64, 191, 255],
    "255 x / 80: 63.75, 191.25", **CT, **_voi(40, 80, "LINEAR_EXACT"),
)  # fmt: skip
_case(
    "exact-fractions-of-units", [0, 25, 60, 100], [0, 64, 153, 255],
    "units x / 100; 255 units", RescaleSlope="0.01", RescaleIntercept=0,
    **_voi("0.5", "1.0", "LINEAR_EXACT"),
)  # fmt: skip

# --- SIGMOID -------------------------------------------------------------------------------------
_case(
    "sigmoid", [0, 60, 90, 110, 140, 200], [0, 10, 79, 176, 245, 255],
    "255 / (1 + exp(-4 (x - 100) / 50)): 0.09, 9.99, 79.06, 175.94, 245.01, 254.91",
    **_voi(100, 50, "SIGMOID"),
)  # fmt: skip
_case(
    "sigmoid-mono1", [0, 60, 90, 110, 140, 200], [255, 245, 176, 79, 10, 0],
    "255 - y of sigmoid", **_voi(100, 50, "SIGMOID"), **MONO1,
)  # fmt: skip
_case(
    "sigmoid-rescale", _hu(-1024, 20, 60, 3000), [0, 69, 186, 255],
    "255 / (1 + exp(-4 (x - 40) / 80)) at 20: 255 / (1 + e) = 68.58; at 60: 186.42",
    **CT, **_voi(40, 80, "SIGMOID"),
)  # fmt: skip
_case(
    "sigmoid-steep", [0, 99, 101, 255], [0, 0, 255, 255],
    "exp(400000) has no float: the limits", **_voi(100, "0.001", "SIGMOID"),
)  # fmt: skip
_case(
    "sigmoid-padding", [0, 60, 90, 255], [0, 10, 79, 0], "255 is padding",
    **_voi(100, 50, "SIGMOID"), PixelPaddingValue=255,
)  # fmt: skip

# --- a window that the standard forbids is not used ----------------------------------------------
for width, function in (
    ("0", "LINEAR"), ("0.5", "LINEAR"), ("-80", "LINEAR"), ("0", "LINEAR_EXACT"),
    ("-5", "LINEAR_EXACT"), ("0", "SIGMOID"), ("-50", "SIGMOID"),
):  # fmt: skip
    _case(
        f"forbidden-{function.lower()}-{width}", RAMP, RAMP, "no window: as stored",
        **_voi(40, width, function), noted=("window", "width"),
    )  # fmt: skip
_case(
    "forbidden-ct", _hu(-100, 0, 20, 40, 79, 200), [0, 0, 65, 129, 255, 255],
    "no window: the preset of the head, 40/80",
    **CT, **_voi(40, 0), BodyPartExamined="HEAD", noted=BRAIN,
)  # fmt: skip

# --- VOI LUT -------------------------------------------------------------------------------------
_case(
    "lut-8-bit", [0, 1, 2, 3, 4, 200], [0, 50, 100, 255, 255, 255], "the entries; above, the last",
    VOILUTSequence=lut(0, [0, 50, 100, 255], bits=8),
)  # fmt: skip
_case(
    "lut-8-bit-packed", [0, 1, 2, 3, 4, 200], [0, 50, 100, 255, 255, 255],
    "two entries in a word, the low byte first",
    VOILUTSequence=lut(0, [0, 50, 100, 255], bits=8, packed=True),
)  # fmt: skip
_case(
    "lut-10-bit", [0, 1, 2, 3], [0, 25, 125, 255], "255 / 1023 entry: 24.93, 124.63",
    VOILUTSequence=lut(0, [0, 100, 500, 1023], bits=10),
)  # fmt: skip
_case(
    "lut-12-bit", [0, 1, 2, 3], [0, 62, 125, 255], "255 / 4095 entry: 62.27, 124.54",
    VOILUTSequence=lut(0, [0, 1000, 2000, 4095], bits=12),
)  # fmt: skip
_case(
    "lut-16-bit", [0, 1, 2, 3], [0, 100, 200, 255], "entry / 257",
    VOILUTSequence=lut(0, [0, 25700, 51400, 65535]),
)  # fmt: skip
_case(
    "lut-first-10", [0, 10, 11, 12, 13], [20, 20, 100, 200, 200], "entry / 257; below, the first",
    VOILUTSequence=lut(10, [5140, 25700, 51400]),
)  # fmt: skip
_case(
    "lut-first-negative", [-9, -2, -1, 0, 5], [0, 0, 100, 200, 200], "entry / 257",
    **SIGNED, VOILUTSequence=lut(-2, [0, 25700, 51400]),
)  # fmt: skip
_case(
    "lut-of-65536", [0, 14135, 65535], [255, 200, 0], "entry 65535 - x; 51400 / 257",
    allocated=16, VOILUTSequence=lut(0, list(range(65535, -1, -1)), number=0),
)  # fmt: skip
_case(
    "lut-downwards", [0, 1, 2, 3], [255, 200, 100, 0], "entry / 257",
    VOILUTSequence=lut(0, [65535, 51400, 25700, 0]),
)  # fmt: skip
_case(
    "lut-first-of-two", [0, 1, 2, 3], [0, 100, 200, 255], "the first",
    VOILUTSequence=lut(0, [0, 25700, 51400, 65535]) + lut(0, [65535, 1, 1, 0]),
)  # fmt: skip
_case(
    "lut-before-window", [0, 1, 2, 3], [0, 100, 200, 255], "the LUT",
    VOILUTSequence=lut(0, [0, 25700, 51400, 65535]), **_voi(2, 4),
)  # fmt: skip
_case(
    "lut-rescale", [0, 100, 101, 102], [0, 0, 100, 200], "units x - 100",
    VOILUTSequence=lut(0, [0, 25700, 51400]), RescaleSlope=1, RescaleIntercept=-100,
)  # fmt: skip
_case(
    "lut-modality-lut", [0, 1, 2, 3], [200, 100, 0, 0], "units 12, 11, 10, 5; then entry / 257",
    ModalityLUTSequence=lut(0, [12, 11, 10, 5], kind="US"),
    VOILUTSequence=lut(10, [0, 25700, 51400]),
)  # fmt: skip
_case(
    "lut-mono1", [0, 1, 2, 3], [255, 155, 55, 0], "255 - y",
    VOILUTSequence=lut(0, [0, 25700, 51400, 65535]), **MONO1,
)  # fmt: skip
_case(
    "lut-padding", [0, 1, 2, 3], [0, 100, 200, 0], "3 is padding",
    VOILUTSequence=lut(0, [0, 25700, 51400, 65535]), PixelPaddingValue=3,
)  # fmt: skip

# --- bits ----------------------------------------------------------------------------------------
TWELVE: tuple[list[int], list[int]] = ([0, 1000, 2000, 3000, 4095], [0, 62, 125, 187, 255])
_case(
    "bits-high-15", *TWELVE, "words x * 16, HighBit 15", **DEEP, **_voi(2048, 4096), high_bit=15,
)  # fmt: skip
_case(
    "bits-overlay-above", *TWELVE, "words x + 0xF000: masked",
    **DEEP, **_voi(2048, 4096), unused=0xF000,
)  # fmt: skip
_case(
    "bits-overlay-below", *TWELVE, "words x * 16 + 0xF: shifted",
    **DEEP, **_voi(2048, 4096), unused=0xF, high_bit=15,
)  # fmt: skip
_case(
    "bits-both-sides", [0, 100, 500, 1023], [0, 25, 125, 255],
    "words 4 x + 0xF003; 255 x / 1023: 24.93, 124.63",
    allocated=16, bits=10, high_bit=11, unused=0xF003, **_voi(512, 1024),
)  # fmt: skip
_case(
    "bits-12-signed", [-2000, -1000, -600, 0, 500], [0, 60, 128, 230, 255],
    "words without sign above bit 11: extended", **SIGNED, **_voi(-600, 1500),
)  # fmt: skip
_case(
    "bits-12-signed-overlay", [-2000, -1000, -600, 0, 500], [0, 60, 128, 230, 255],
    "words + 0x5000: masked, then extended", **SIGNED, **_voi(-600, 1500), unused=0x5000,
)  # fmt: skip
_case(
    "bits-12-signed-high-15", [-2000, -1000, -600, 0, 500], [0, 60, 128, 230, 255],
    "words x * 16", **SIGNED, **_voi(-600, 1500), high_bit=15,
)  # fmt: skip
_case(
    "bits-16-signed", [-32768, -1000, -600, 0, 32767], [0, 60, 128, 230, 255],
    "as linear-negative-center", allocated=16, signed=True, **_voi(-600, 1500),
)  # fmt: skip
_case(
    "bits-14", [0, 4000, 12000, 16383], [0, 62, 187, 255], "255 x / 16383: 62.26, 186.78",
    allocated=16, bits=14, **_voi(8192, 16384),
)  # fmt: skip
_case(
    "bits-9-signed", [-256, -100, 100, 255], [0, 78, 178, 255],
    "255 (x + 256) / 511: 77.85, 177.65", allocated=16, bits=9, signed=True, **_voi(0, 512),
)  # fmt: skip
_case(
    "bits-7-in-8", [0, 30, 100, 127], [0, 60, 201, 255], "255 x / 127: 60.24, 200.79",
    bits=7, unused=0x80, **_voi(64, 128),
)  # fmt: skip
_case(
    "bits-4-in-8-high-7", [0, 3, 9, 15], [0, 51, 153, 255], "words 16 x; y = 17 x",
    bits=4, high_bit=7, **_voi(8, 16),
)  # fmt: skip
_case(
    "bits-8-signed-window", [-128, -78, 72, 127], [0, 50, 200, 255], "y = x + 128",
    signed=True, **_voi(0, 256),
)  # fmt: skip

# --- windows that the user asks for --------------------------------------------------------------
_case(
    "user-brain", _hu(-100, 0, 20, 40, 79, 200), [0, 0, 65, 129, 255, 255],
    "40/80, as linear-hu", **CT_VOI, window="brain", noted=BRAIN,
)  # fmt: skip
_case(
    "user-subdural", _hu(-100, 0, 100, 182), [0, 39, 158, 255],
    "75/215: c' 74.5, w' 214: 38.73, 157.89", **CT_VOI, window="subdural",
    noted=("subdural", "75/215"),
)  # fmt: skip
_case(
    "user-stroke", _hu(20, 30, 50, 59), [0, 65, 196, 255],
    "40/40: c' 39.5, w' 39: 65.38, 196.15", **CT_VOI, window="stroke", noted=("stroke", "40/40"),
)  # fmt: skip
_case(
    "user-lung", _hu(-1024, -1000, -600, 0, 500), [55, 60, 128, 230, 255],
    "-600/1500: c' -600.5, w' 1499: 55.46, 59.54, 127.59, 229.65", **CT_VOI, window="lung",
    noted=("lung", "-600/1500"),
)  # fmt: skip
_case(
    "user-mediastinum", _hu(-200, 0, 100, 224, 900), [0, 91, 164, 255, 255],
    "50/350: 91.33, 164.40", **CT_VOI, window="mediastinum", noted=MEDIASTINUM,
)  # fmt: skip
_case(
    "user-bone", _hu(-500, 0, 1000, 1299), [0, 71, 213, 255],
    "400/1800: c' 399.5, w' 1799: 70.87, 212.62", **CT_VOI, window="bone",
    noted=("bone", "400/1800"),
)  # fmt: skip
_case(
    "user-liver", _hu(-45, 0, 60, 104), [0, 77, 180, 255],
    "30/150: c' 29.5, w' 149: 77.01, 179.70", **CT_VOI, window="liver", noted=("liver", "30/150"),
)  # fmt: skip
_case(
    "user-numbers", _hu(-100, 0, 20, 40, 79, 200), [0, 0, 65, 129, 255, 255],
    "40/80, as linear-hu", **CT_VOI, window="40/80", noted=("40/80",),
)  # fmt: skip
_case(
    "user-numbers-negative", [-2000, -1000, -600, 0, 500], [0, 60, 128, 230, 255],
    "as linear-negative-center", **SIGNED, window="-600/1500",
)  # fmt: skip
_case(
    "user-numbers-fractions", [0, 10, 50, 78, 79], [2, 34, 163, 253, 255],
    "as linear-fractions", modality="US", window="39.5/80.5",
)  # fmt: skip
_case(
    "user-numbers-mr", [0, 1000, 2000, 3000, 4095], [0, 62, 125, 187, 255],
    "2048/4096; the file's 100/50 is replaced",
    modality="MR", **DEEP, **_voi(100, 50), window="2048/4096",
)  # fmt: skip
_case(
    "user-numbers-sigmoid", [97, 98, 99, 100, 101, 102], [0, 0, 85, 170, 255, 255],
    "LINEAR, as linear-4; the file's function is replaced too",
    **_voi(100, 50, "SIGMOID"), window="100/4",
)  # fmt: skip
_case(
    "user-numbers-lut", [97, 98, 99, 100, 101, 102], [0, 0, 85, 170, 255, 255],
    "as linear-4; the file's LUT is replaced",
    VOILUTSequence=lut(0, [65535, 0]), window="100/4",
)  # fmt: skip
_case(
    "user-numbers-mono1", [0, 1000, 2000, 3000, 4095], [255, 193, 130, 68, 0],
    "as linear-mono1", **DEEP, **MONO1, window="2048/4096",
)  # fmt: skip
_case(
    "user-numbers-padding", [4000, 0, 1000, 2000], [0, 0, 62, 125], "as window-padding",
    **DEEP, PixelPaddingValue=4000, window="2048/4096",
)  # fmt: skip
_case(
    "user-brain-on-mr", [0, 1000, 2000, 3000, 4095], [0, 62, 125, 187, 255],
    "the file's own 2048/4096", modality="MR", **DEEP, **_voi(2048, 4096), window="brain",
    noted=("brain",),
)  # fmt: skip
_case(
    "user-brain-on-mr-without", [0, 0, 1000, 3000, 4000, 4000], [0, 0, 64, 191, 255, 255],
    "percentiles, as 16-bit", modality="MR", allocated=16, window="brain", noted=("brain",),
)  # fmt: skip
_case(
    "user-medgemma-on-mr", [0, 1000, 2000, 3000, 4095], [0, 62, 125, 187, 255],
    "the file's own 2048/4096", modality="MR", **DEEP, **_voi(2048, 4096), window="medgemma",
    noted=("medgemma",),
)  # fmt: skip
_case(
    "user-medgemma", _hu(-1024, -50, 20, 60, 100, 1024),
    [[0, 0, 0], [121, 62, 0], [130, 113, 64], [135, 142, 191], [140, 171, 255], [255, 255, 255]],
    "255 (x + 1024) / 2048: 121.27, 129.99, 134.97, 139.95; 255 (x + 135) / 350: 61.93, 112.93, "
    "142.07, 171.21; 255 x / 80: 63.75, 191.25", **CT_VOI, window="medgemma", noted=("medgemma",),
)  # fmt: skip
_case(
    "user-medgemma-padding", [0, *_hu(20, 60)], [[0, 0, 0], [130, 113, 64], [135, 142, 191]],
    "0 is padding", **CT, window="medgemma", PixelPaddingValue=0,
)  # fmt: skip
