"""Series: which files belong together, the order of their slices, and what a view of them shows."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import uid, write_dicom, write_series

from medr1.data.images import image_size, load_image
from medr1.data.roots import ImageRoot, resolve_image
from medr1.data.scans.items import show_scans
from medr1.data.scans.options import ScanOptions
from medr1.data.scans.private_names import _OF_FOLDER
from medr1.data.scans.series import read_series
from medr1.data.scans.view import View, parse_slices, split_view
from medr1.errors import InputError, ItemError
from medr1.records import Sample

DIRECTIONS = {
    "axial": (1, 0, 0, 0, 1, 0),  # along a row to the left, along a column to the back
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
}


def volume(n=6):
    """Slices of 5 x 4 pixels; the first value of each is 10 times its number, from 1."""
    values = np.arange(n * 20, dtype=np.int16).reshape(n, 5, 4)
    values[:, 0, 0] = 10 * np.arange(1, n + 1)
    return values


def shown(folder, options=ScanOptions(), name="."):  # noqa: B008 - it cannot be changed
    _OF_FOLDER.clear()
    (sample,), failures = show_scans([Sample("1", (name,), "?")], ImageRoot(folder), options)
    assert not failures, failures
    return sample


def first_values(folder, **options):
    """The stored first value of each slice that is shown, by a window that keeps values."""
    sample = shown(folder, ScanOptions(window="128/256", **options).checked())
    root = ImageRoot(folder)
    images = [load_image(resolve_image(name, root)).image for name in sample.images]
    return [int(np.asarray(image)[0, 0, 0]) for image in images]


@pytest.mark.parametrize("plane", DIRECTIONS)
@pytest.mark.parametrize("step", [2.0, -2.0])
def test_slices_follow_their_positions(plane, step, tmp_path):
    """Names and instance numbers are shuffled. The normal of these orientations points to the head
    (axial), to the back (coronal) and to the patient's right (sagittal)."""
    write_series(tmp_path / "s", volume(), step=step, orientation=DIRECTIONS[plane], seed=3)
    expected = [10, 20, 30, 40, 50, 60]
    # shown from the head down, from front to back, from right to left
    starts_last = (step > 0) != (plane == "coronal")
    assert first_values(tmp_path / "s", slices="6") == expected[:: -1 if starts_last else 1]


def test_slices_without_positions_follow_their_instance_numbers(tmp_path):
    (tmp_path / "s").mkdir()
    for number in (3, 1, 10, 2):
        write_dicom(
            tmp_path / "s" / f"{20 - number}",
            np.full((4, 4), number),
            InstanceNumber=number,
            SeriesInstanceUID=uid("one"),
        )
    assert first_values(tmp_path / "s", slices="4") == [1, 2, 3, 10]


def test_a_scout_and_another_size_are_series_of_their_own(tmp_path):
    write_series(tmp_path / "s", volume())
    write_series(tmp_path / "s" / "scout", volume(2), orientation=DIRECTIONS["coronal"])
    write_dicom(tmp_path / "s" / "capture", np.zeros((9, 9)), SeriesInstanceUID=uid("other"))
    (tmp_path / "s" / "README.txt").write_text("not a scan")
    series = read_series(tmp_path / "s", "'s'")
    assert [len(one.slices) for one in series] == [6, 2, 1]


def test_frames_of_a_clip_stay_in_their_order(tmp_path):
    frames = np.stack([np.full((4, 4), 20 * n) for n in range(1, 8)])
    (tmp_path / "s").mkdir()
    write_dicom(tmp_path / "s" / "clip.dcm", frames, modality="US", frames=True)
    sample = shown(tmp_path / "s", ScanOptions(slices="7"), "clip.dcm")
    images = [load_image(resolve_image(n, ImageRoot(tmp_path / "s"))) for n in sample.images]
    assert [int(np.asarray(one.image)[0, 0, 0]) for one in images] == list(range(20, 141, 20))
    assert "header_says_ultrasound" in images[0].notes


def test_a_dicomdir_stands_for_its_folder(tmp_path):
    write_series(tmp_path / "cd" / "IMAGES", volume())
    (tmp_path / "cd" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    sample = shown(tmp_path / "cd", name="DICOMDIR")
    assert sample.images[0].startswith("dicom-") and "#slices=1,2,3,4,5,6&" in sample.images[0]


def test_the_default_is_one_montage_and_its_size_is_known_before(tmp_path):
    write_series(tmp_path / "s", volume(20), spacing=(2.0, 1.0))
    (name,) = shown(tmp_path / "s").images
    location = resolve_image(name, ImageRoot(tmp_path / "s"))
    loaded = load_image(location)
    assert split_view(name)[1].slices == (2, 4, 6, 8, 11, 13, 15, 17, 19)
    assert loaded.image.size == image_size(location) == (3 * 4, 3 * 10)
    assert loaded.notes[0] == "slices 2,4,6,8,11,13,15,17,19 of 20"


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("a/b.nii.gz#plane=coronal&slice=3", View(slices=(3,), plane="coronal")),
        ("a#slices=1,5&columns=2&window=40,400", View((1, 5), 2, window="40,400")),
        ("s.svs#magnification=10&tile=8,9", View(magnification=10.0, tile=(8, 9))),
        ("case#12.png", View()),
        ("a.nii#slice=x&colour=red", View()),
    ],
)
def test_views_are_read_and_written(name, view):
    file_name, parsed = split_view(name)
    assert parsed == view
    assert f"{file_name}{parsed}" == name


def test_evenly_spaced_slices_leave_out_the_ends():
    assert parse_slices("3").of(9) == (2, 5, 8)
    assert parse_slices("montage:2x2").of(100) == (13, 38, 63, 88)
    assert parse_slices("9").of(4) == (1, 2, 3, 4)
    with pytest.raises(InputError, match="there are 4 slices"):
        parse_slices("2,5").of(4)


def test_a_folder_without_scans_is_refused(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.txt").write_text("x")
    with pytest.raises(ItemError, match="a folder without DICOM images") as error:
        read_series(tmp_path / "s", "'s'")
    assert error.value.code == "image_not_file"


@pytest.mark.slow
def test_a_long_series_takes_little_memory(tmp_path):
    """300 slices of 256 x 256: 39 MB on disk; each is read alone."""
    write_series(tmp_path / "s", np.zeros((300, 256, 256), np.int16))
    code = (
        "import sys, resource\n"
        "from pathlib import Path\n"
        "from medr1.data.images import load_image\n"
        "from medr1.data.roots import ImageRoot, resolve_image\n"
        "from medr1.data.scans.items import show_scans\n"
        "from medr1.data.scans.options import ScanOptions\n"
        "from medr1.records import Sample\n"
        "def peak():\n"
        "    text = Path('/proc/self/status').read_text()\n"
        "    return int(text.split('VmHWM:')[1].split()[0])\n"
        "def load(slices):\n"
        "    root = ImageRoot(Path(sys.argv[1]))\n"
        "    samples = [Sample('1', ('.',), '?')]\n"
        "    (sample,), _ = show_scans(samples, root, ScanOptions(slices=slices))\n"
        "    for name in sample.images: load_image(resolve_image(name, root))\n"
        "load('1'); before = peak(); load('300'); print(peak() - before)\n"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("measures memory by Linux's /proc")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True
    )
    assert int(done.stdout) < 30_000, done.stderr  # KB


ATLAS = os.environ.get("MEDR1_CT_ATLAS", "")


@pytest.mark.skipif(not ATLAS, reason="needs MEDR1_CT_ATLAS=ct_brain_atlas_1mm.nii.gz")
def test_the_brain_atlas_is_the_same_from_dicom_and_from_nifti(tmp_path):
    """totalsegmentator's CT atlas of the brain, in Hounsfield units, as 179 DICOM slices."""
    image = nibabel.as_closest_canonical(nibabel.load(ATLAS))
    values = np.rint(np.asarray(image.dataobj)).astype(np.int16)
    slices = np.flip(values, (0, 1)).transpose(2, 1, 0)  # from the feet up; front, right first
    write_series(tmp_path / "s" / "dicom", slices, BodyPartExamined="HEAD")
    (tmp_path / "s" / "atlas.nii.gz").write_bytes(Path(ATLAS).read_bytes())
    root = ImageRoot(tmp_path / "s")
    for window in ("brain", "subdural"):
        options = ScanOptions(window=window, slices=str(len(slices)))
        names = [shown(tmp_path / "s", options, name).images for name in ("dicom", "atlas.nii.gz")]
        assert len(names[0]) == len(names[1]) == len(slices)
        for pair in list(zip(*names, strict=True))[::10]:
            arrays = [np.asarray(load_image(resolve_image(n, root)).image) for n in pair]
            assert np.array_equal(*arrays)
