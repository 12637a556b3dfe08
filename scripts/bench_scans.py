"""Measure how fast DICOM slices are read, and how much memory a series takes.

    .venv/bin/python scripts/bench_scans.py [--slices 300] [--repeats 30]

The files are made: slices of a CT, 512 x 512 pixels of 16 bits with noise, uncompressed and in each
compressed form that can be written here. The first table has the images that `load_image` reads a
second on one core, from files that the operating system has in memory. Then a series is looked into
(`show_scans`) and nine of its slices are loaded, in a process of its own: processor time, and the
peak of memory beyond that of one slice.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medr1.data.images import load_image
from medr1.data.roots import ImageRoot, resolve_image
from medr1.data.scans.items import show_scans
from medr1.data.scans.options import ScanOptions
from medr1.records import Sample

_SIZE = 512
_COMPRESSED = {
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "deflated": "1.2.840.10008.1.2.1.99",
}
"""Name of a form -> its transfer syntax."""


def slice_of_ct(number: int) -> FileDataset:
    """A slice of a head in 12 bits, with noise as a scanner has it.

    Args:
        number: Number of the slice, from 0.
    """
    y, x = np.mgrid[:_SIZE, :_SIZE] - _SIZE / 2
    inside = (x / 180) ** 2 + (y / 220) ** 2 < 1
    noise = np.random.default_rng(number).normal(0, 12, (_SIZE, _SIZE))
    values = np.where(inside, 1060 + noise, 24).astype(np.uint16)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ct = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ct.SOPClassUID, ct.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ct.Modality, ct.BodyPartExamined, ct.PatientID = "CT", "HEAD", "SYNTHETIC"
    ct.StudyInstanceUID, ct.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    ct.InstanceNumber, ct.ImagePositionPatient = number + 1, [0, 0, number * 2.5]
    ct.ImageOrientationPatient, ct.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.5, 0.5]
    ct.SamplesPerPixel, ct.PhotometricInterpretation = 1, "MONOCHROME2"
    ct.Rows, ct.Columns, ct.PixelRepresentation = _SIZE, _SIZE, 0
    ct.BitsAllocated, ct.BitsStored, ct.HighBit = 16, 12, 11
    ct.RescaleSlope, ct.RescaleIntercept, ct.WindowCenter, ct.WindowWidth = 1, -1024, 40, 80
    ct.PixelData = values.tobytes()
    return ct


def written_slices(folder: Path) -> dict[str, Path]:
    """One slice in each form: name of the form -> file.

    Args:
        folder: The folder to write to.
    """
    paths = {"uncompressed": folder / "uncompressed.dcm"}
    slice_of_ct(0).save_as(paths["uncompressed"], enforce_file_format=True)
    for name, syntax in _COMPRESSED.items():
        ct = slice_of_ct(0)
        if name == "deflated":
            ct.file_meta.TransferSyntaxUID = UID(syntax)
        else:
            ct.compress(syntax, generate_instance_uid=False)
        paths[name] = folder / f"{name}.dcm"
        ct.save_as(paths[name], enforce_file_format=True)
    paths["JPEG lossless"] = folder / "JPEG lossless.dcm"
    _write_jpeg_lossless(paths["uncompressed"], paths["JPEG lossless"])
    return paths


def _write_jpeg_lossless(source: Path, target: Path) -> None:
    """Compress a file by GDCM, which alone can write this form here."""
    import gdcm  # type: ignore[import-untyped]

    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    if not reader.Read():
        raise SystemExit(f"GDCM cannot read {source}.")
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    if not change.Change():
        raise SystemExit("GDCM cannot compress the slice.")
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    if not writer.Write():
        raise SystemExit(f"GDCM cannot write {target}.")


def images_per_second(path: Path, repeats: int) -> float:
    """Images of this file that are read a second, after the first.

    Args:
        path: The file.
        repeats: How often it is read.
    """
    load_image(path)
    start = time.perf_counter()
    for _ in range(repeats):
        load_image(path)
    return repeats / (time.perf_counter() - start)


def _peak_mb() -> float:
    """The peak of this process's memory; that of getrusage would include the parent's."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure_series(folder: Path, single: Path) -> None:
    """Print time and memory of a series; the process should have done nothing else.

    Args:
        folder: The folder of the series.
        single: A file with one slice.
    """
    load_image(single)
    before = _peak_mb()
    sample = Sample(id="0", images=(folder.name,), question="Where?")
    start = time.process_time()
    options = ScanOptions(slices="9").checked()
    (sample,), failures = show_scans([sample], ImageRoot(folder.parent), options)
    if failures:
        raise SystemExit(failures[0].message)
    sorted_at, sorted_peak = time.process_time(), _peak_mb()
    for name in sample.images:
        load_image(resolve_image(name, ImageRoot(folder.parent)))
    seconds = time.process_time() - sorted_at
    print(f"sorting: {sorted_at - start:.2f} s, {sorted_peak - before:.0f} MB")
    print(f"loading 9 slices: {seconds:.2f} s, {_peak_mb() - before:.0f} MB in all")


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slices", type=int, default=300, help="Slices of the series.")
    parser.add_argument("--repeats", type=int, default=30, help="How often a file is read.")
    parser.add_argument("--series", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.series:
        measure_series(*arguments.series)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form, path in written_slices(folder).items():
            print(f"{form:14} {images_per_second(path, arguments.repeats):6.0f} images/s")
        (folder / "series").mkdir()
        for number in range(arguments.slices):
            slice_of_ct(number).save_as(
                folder / "series" / f"{number * 7919 % 10007}.dcm", enforce_file_format=True
            )
        print(f"series of {arguments.slices} slices, beyond one slice:")
        sys.stdout.flush()
        command = [sys.executable, __file__, "--series", folder / "series"]
        subprocess.run([*map(str, command), str(folder / "uncompressed.dcm")], check=True)


if __name__ == "__main__":
    main()
