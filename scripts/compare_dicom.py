"""Compare the truth table of DICOM grey levels with pydicom, SimpleITK and dcmtk (`dcmj2pnm`).

    python scripts/compare_dicom.py [--markdown] [NAME ...]

Writes the files of tests/dicom_truth_table.py to a temporary folder, reads them with each program
that is installed, and prints who agrees with the expected values, or the largest difference. With
NAME, only cases whose name contains it. `--markdown` prints the table of the documentation.
medr1 itself is a column too. None of the others has windows that a user asks for by a name: those
cases are compared with nobody.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

Levels = np.ndarray[Any, np.dtype[Any]]


def with_pydicom(path: Path, case: Any) -> Levels:
    """Grey levels by pydicom's own functions, scaled to 0..255 by the range that they document."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    dataset = pydicom.dcmread(path)
    units = apply_modality_lut(dataset.pixel_array, dataset)
    output = np.asarray(apply_voi_lut(units, dataset), float)
    bits = dataset.BitsStored
    low, high = 0.0, 2.0**bits - 1
    if "VOILUTSequence" in dataset:
        high = 2.0 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "WindowWidth" in dataset:
        if dataset.PixelRepresentation:
            low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
        if "ModalityLUTSequence" in dataset:
            low, high = 0.0, 2.0 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1
        elif "RescaleSlope" in dataset:
            slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
            low, high = low * slope + intercept, high * slope + intercept
    elif bits != 8 or dataset.PixelRepresentation or not np.array_equal(units, dataset.pixel_array):
        low, high = np.percentile(units, (0.5, 99.5))  # it has no rule without VOI: medr1's is used
    levels = np.clip((output - low) / (high - low), 0, 1) * 255
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


def with_simpleitk(path: Path, case: Any) -> Levels:
    """Grey levels by SimpleITK: its reader applies rescale, its filter the first window."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    image = SimpleITK.ReadImage(str(path))
    units = SimpleITK.GetArrayFromImage(image)
    if image.HasMetaDataKey("0028|1051"):
        center, width = (
            float(image.GetMetaData(f"0028|{tag}").split("\\")[0]) for tag in ("1050", "1051")
        )
        low, high = center - width / 2, center + width / 2
        image = SimpleITK.IntensityWindowing(
            SimpleITK.Cast(image, SimpleITK.sitkFloat64), low, high, 0, 255
        )
        units = SimpleITK.GetArrayFromImage(image)
    elif units.min() < 0 or units.max() > 255 or case.noted:
        low, high = np.percentile(units, (0.5, 99.5))  # it has no rule without VOI: medr1's is used
        units = np.clip((units - low) / (high - low), 0, 1) * 255
    return np.asarray(units, float)  # the reader has turned MONOCHROME1 over


def with_dcmtk(path: Path, case: Any) -> Levels:
    """Grey levels by `dcmj2pnm`: the LUT, else the first window, else its own choice."""
    keys = case.settings
    voi = (
        ["+Wl", "1"] if "VOILUTSequence" in keys else ["+Wi", "1"] if "WindowWidth" in keys else []
    )
    target = path.with_suffix(".pgm")
    command = ["dcmj2pnm", "+opb", "-O", *voi, str(path), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    words = target.read_text().split()
    numbers = [int(word) for word in words if word.isdigit()]
    return np.array(numbers[-np.size(case.stored) :], float)


def with_medr1(path: Path, case: Any) -> Levels:
    """Grey levels as medr1 shows them."""
    from dicom_files import load

    values = np.asarray(load(path, window=case.window).image)
    grey = np.array(case.expected).ndim == 1
    return np.asarray(values[..., 0] if grey else values, float)


def readers() -> dict[str, Callable[[Path, Any], Levels]]:
    """The programs that are installed."""
    installed: dict[str, Callable[[Path, Any], Levels]] = {"pydicom": with_pydicom}
    if importlib.util.find_spec("SimpleITK"):
        installed["SimpleITK"] = with_simpleitk
    if shutil.which("dcmj2pnm"):
        installed["dcmtk"] = with_dcmtk
    if importlib.util.find_spec("medr1.data.scans"):
        installed["medr1"] = with_medr1
    return installed


def compare(reader: Callable[[Path, Any], Levels], path: Path, case: Any) -> str:
    """ "yes", the largest difference from the expected values, or that the file is not read.

    Args:
        reader: One of `readers`.
        path: The file of the case.
        case: The case of the table.
    """
    if case.window and reader is not with_medr1:
        return "-"
    try:
        levels = reader(path, case).ravel()
    except (OSError, RuntimeError, ValueError, ArithmeticError, LookupError, TypeError,
            AttributeError, struct.error, subprocess.CalledProcessError) as error:  # fmt: skip
        return f"not read ({type(error).__name__})"
    difference = np.abs(np.rint(levels) - np.ravel(case.expected)).max()
    return "yes" if difference == 0 else f"{difference:.0f}"


def main() -> None:
    """Print the comparison."""
    from dicom_files import write_dicom
    from dicom_truth_table import CASES

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    programs = readers()
    rows = [["case", "header", "stored", "shown", "why", *programs]]
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if not options.names or any(name in case.name for name in options.names):
                path = write_dicom(Path(folder) / f"{case.name}.dcm", case.stored, **case.settings)
                columns = [compare(reader, path, case) for reader in programs.values()]
                rows.append([*described(case), *columns])
    if options.markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        print("\n".join(f"| {' | '.join(row)} |" for row in rows))
        return
    for row in rows:
        print(f"{row[0]:<36}", *(f"{cell:<12}" for cell in row[5:]))
    for number, name in enumerate(programs, start=5):
        agreeing = sum(row[number] == "yes" for row in rows[1:])
        print(f"{name}: {agreeing} of {sum(row[number] != '-' for row in rows[1:])} agree")


def described(case: Any) -> list[str]:
    """The columns of a case that no program changes: name, header, stored and shown values, why."""
    shown_values = _shortened(case.expected)
    return [case.name, _header(case), _shortened(case.stored), shown_values, case.arithmetic]


_NAMES = {
    "WindowCenter": "center", "WindowWidth": "width", "VOILUTFunction": "", "modality": "",
    "photometric": "", "RescaleSlope": "slope", "RescaleIntercept": "intercept",
    "PixelPaddingValue": "padding", "PixelPaddingRangeLimit": "padding limit",
    "BodyPartExamined": "body part", "VOILUTSequence": "VOI LUT",
    "ModalityLUTSequence": "modality LUT", "PresentationLUTShape": "presentation LUT",
    "unused": "other bits", "high_bit": "HighBit",
}  # fmt: skip


def _header(case: Any) -> str:
    """What the header of a case says, on one line."""
    tags = case.settings
    allocated = tags.get("allocated", 8)
    bits, signed = tags.get("bits", allocated), ", signed" if tags.get("signed") else ""
    parts = [f"{bits} bits{f' of {allocated}' if bits != allocated else ''}{signed}"]
    for keyword, value in tags.items():
        if keyword in _NAMES and value is not None:
            parts.append(f"{_NAMES[keyword]} {_value(keyword, value)}".strip())
    if "OverlayData" in tags:
        parts.append("overlay")
    return "; ".join(parts) + (f"; asked for: {case.window}" if case.window else "")


def _value(keyword: str, value: Any) -> str:
    """The value of a tag; of the LUTs of a sequence, the number of entries, the first and bits."""
    if keyword.endswith("LUTSequence"):
        descriptors = [list(table.LUTDescriptor) for table in value]
        return " and ".join("/".join(map(str, descriptor)) for descriptor in descriptors)
    if keyword == "unused":
        return f"{value:#06x}"
    value = getattr(value, "value", value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value).strip()


def _shortened(values: list[Any]) -> str:
    flat = np.ravel(values) if len(np.shape(values)) < 2 or np.size(values) > 99 else values
    if len(flat) > 99:
        return f"{len(flat)} pixels"
    return ", ".join("/".join(map(str, v)) if isinstance(v, list) else str(v) for v in flat)


if __name__ == "__main__":
    main()
