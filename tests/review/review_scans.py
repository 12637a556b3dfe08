"""Results about scans of each kind, for the tests of the review."""

import json

import nibabel
import numpy as np
from dicom_files import PLANTED, write_dicom, write_series
from PIL import Image

from medr1.data.roots import ImageRoot
from medr1.data.scans.items import show_scans
from medr1.data.scans.options import ScanOptions
from medr1.records import RESULTS_SCHEMA, Prediction, Sample, prediction_to_dict

SLICES = 24
SIDE = 64
TAGS = {p.name: p.value for p in PLANTED if p.vr and not p.name.startswith("(")}
FOLDER = next(p.value for p in PLANTED if p.name == "folder name")


def ct_volume(side=SIDE):
    """Hounsfield units of a body with structures that differ between slices, from the head down."""
    down, across = np.mgrid[:side, :side] - side / 2
    slices = []
    for number in range(SLICES):
        body = np.where(down**2 + across**2 < (side * 0.45) ** 2, 40, -1000)
        organ = (down - side / 8) ** 2 + across**2 < (side * (0.1 + number / 200)) ** 2
        slices.append(np.where(organ, 20 * number - 100, body) + across.astype(int) // 4)
    return np.stack(slices).astype(np.int16)


def write_scans(folder, side=SIDE):
    """Write scans, and results about them; returns the results file. Items by their questions."""
    volume = ct_volume(side)
    headdown = {"step": -2.5, "spacing": (0.8, 0.8)}
    write_series(
        folder / FOLDER, volume, **headdown, WindowCenter=[40, 400], WindowWidth=[400, 1800], **TAGS
    )
    colours = np.random.default_rng(0).integers(0, 256, (5, 20, 30, 3))
    write_dicom(folder / "clip.dcm", colours, modality="USM", photometric="RGB", frames=True)
    ramp = np.arange(side * side, dtype=np.uint16).reshape(side, side) * 7
    Image.fromarray(ramp).save(folder / "deep.png")
    Image.fromarray((ramp // 256).astype(np.uint8)).save(folder / "plain.png")
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])  # columns to the left, rows to the back
    stored = volume[::-1].transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(stored, affine), folder / "volume.nii.gz")
    nibabel.save(nibabel.Nifti1Image(stored, affine), folder / "volume.nii")
    names = {
        "series": f"{FOLDER}#slice=3&window=brain", "montage": FOLDER, "clip": "clip.dcm#slice=2",
        "deep": "deep.png", "plain": "plain.png", "compressed": "volume.nii.gz#slice=3",
        "volume": "volume.nii#slice=3&window=40,400",
    }  # fmt: skip
    samples = [
        Sample(id=f"i{place}", images=(name,), question=f"{kind}?", options={"A": "yes", "B": "no"},
               ground_truth="A", modality="CT" if kind in ("compressed", "volume") else None)
        for place, (kind, name) in enumerate(names.items())
    ]  # fmt: skip
    samples, failures = show_scans(samples, ImageRoot(folder), ScanOptions())
    assert not failures
    entries = [
        prediction_to_dict(Prediction(sample, "A", extracted_answer="A", confidence=0.9))
        for sample in samples
    ]
    path = folder / "scans.json"
    path.write_text(json.dumps({"schema": RESULTS_SCHEMA, "meta": {}, "results": entries}))
    return path
