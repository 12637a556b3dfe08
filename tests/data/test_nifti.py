"""NIfTI volumes: orientation as another reader has it, windows, damaged files, memory."""

import gzip
import itertools
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from nibabel.testing import data_path

from medr1.data.scans.nifti import MAX_SAMPLE, is_nifti, nifti_image, open_volume
from medr1.data.scans.view import PLANES, View
from medr1.errors import ItemError

SHAPE = (4, 5, 6)
REAL = Path(data_path)


def asymmetric(shape=SHAPE, kind=np.int16):
    return np.arange(np.prod(shape)).reshape(shape, order="F").astype(kind)


def saved(path, voxels=None, affine=None, header=None):
    voxels = asymmetric() if voxels is None else voxels
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine, header), path)
    return path


def opened(path):
    return open_volume(path, "'scan'")


def all_slices(volume, plane):
    return np.stack(list(volume.slices(plane, range(1, volume.number(plane) + 1))))


def by_simpleitk(path):
    """Plane -> all slices in the order and orientation of display, as SimpleITK reads the file."""
    image = SimpleITK.ReadImage(str(path))
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    values = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(image, "LPS"))
    from_head = values[::-1]  # axes: down, to posterior, to left
    return {
        "axial": from_head,
        "coronal": from_head.transpose(1, 0, 2),
        "sagittal": from_head.transpose(2, 0, 1),
    }


def affine_of(order, signs, zooms=(1.0, 2.0, 3.0)):
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, (direction, sign) in enumerate(zip(order, signs, strict=True)):
        affine[direction, stored] = sign * zooms[stored]
    affine[:3, 3] = (10, -20, 30)
    return affine


# --- orientation ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)), ids=str)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_all_orientations_are_those_of_simpleitk(order, signs, ending, tmp_path):
    path = saved(tmp_path / f"a{ending}", affine=affine_of(order, signs))
    volume, expected = opened(path), by_simpleitk(path)
    for plane in PLANES:
        assert np.array_equal(all_slices(volume, plane), expected[plane])
    assert not volume.notes


def test_an_oblique_volume_is_shown_in_the_closest_planes(tmp_path):
    angle = np.deg2rad(25)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path = saved(tmp_path / "a.nii", affine=turn @ affine_of((2, 0, 1), (1, -1, 1)))
    for plane, expected in by_simpleitk(path).items():
        assert np.array_equal(all_slices(opened(path), plane), expected)


@pytest.mark.parametrize("name", ["anatomical.nii", "functional.nii", "example4d.nii.gz"])
def test_real_files_are_read_as_by_simpleitk(name):
    volume, expected = opened(REAL / name), by_simpleitk(REAL / name)
    for plane in PLANES:
        np.testing.assert_allclose(all_slices(volume, plane), expected[plane], rtol=1e-6)


def test_a_real_file_of_the_second_version_is_read_as_by_nibabel():
    volume = opened(REAL / "example_nifti2.nii.gz")
    image = nibabel.as_closest_canonical(nibabel.load(REAL / "example_nifti2.nii.gz"))
    values = image.get_fdata()
    first = values.reshape(*values.shape[:3], -1)[..., 0]
    assert np.array_equal(all_slices(volume, "axial"), first[::-1, ::-1, ::-1].transpose(2, 1, 0))


def test_the_sform_goes_before_the_qform_and_a_note_says_if_they_differ(tmp_path):
    image = nibabel.Nifti1Image(asymmetric(), np.eye(4))
    image.set_qform(np.diag([-1, -1, 1, 1]), code=1)
    image.set_sform(np.diag([1, 1, 1, 1]), code=2)
    nibabel.save(image, tmp_path / "both.nii")
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "qform.nii")
    both, qform = (
        next(opened(tmp_path / f"{n}.nii").slices("axial", [1])) for n in ("both", "qform")
    )
    assert np.array_equal(both, qform[::-1, ::-1]) and not np.array_equal(both, qform)
    assert opened(tmp_path / "both.nii").notes == (
        "orientation_of_sform (that of the qform differs)",
    )
    assert not opened(tmp_path / "qform.nii").notes


def test_without_an_orientation_a_note_says_so(tmp_path):
    image = nibabel.Nifti1Image(asymmetric(), None)
    nibabel.save(image, tmp_path / "a.nii")
    volume = opened(tmp_path / "a.nii")
    assert volume.notes == ("orientation_not_stated (left and right may be exchanged)",)
    assert np.array_equal(all_slices(volume, "axial"), asymmetric()[::-1, ::-1, ::-1].T)


def test_slices_are_returned_in_the_order_asked_for(tmp_path):
    volume = opened(saved(tmp_path / "a.nii.gz"))
    for plane in PLANES:
        every = all_slices(volume, plane)
        for numbers in ([3, 1, 3], [2], []):
            assert [s.tolist() for s in volume.slices(plane, numbers)] == [
                every[n - 1].tolist() for n in numbers
            ]


@pytest.mark.parametrize("number", [0, -1, 7])
def test_a_slice_that_does_not_exist_is_an_error(number, tmp_path):
    volume = opened(saved(tmp_path / "a.nii"))
    with pytest.raises(ItemError, match=f"no axial slice {number}; name slices from 1 to 6"):
        volume.slices("axial", [1, number])


# --- values and spacing -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
def test_kinds_of_voxels_and_byte_orders(kind, order, tmp_path):
    voxels = asymmetric(kind=order + kind)
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(order + kind)
    image = nibabel.Nifti1Image(voxels, np.eye(4), header, dtype=voxels.dtype)
    image.header.set_slope_inter(1, 0)
    nibabel.save(image, tmp_path / "a.nii")
    expected = nibabel.load(tmp_path / "a.nii").get_fdata()
    values = all_slices(opened(tmp_path / "a.nii"), "axial")
    assert values.dtype == np.float64
    assert np.array_equal(values, expected[::-1, ::-1, ::-1].T)


def edited(path, **fields):
    """A volume whose header has these fields, as they are; the file is not checked."""
    content = bytearray(saved(path.with_suffix(".source.nii")).read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), "<", check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(content)
    return path


def test_values_are_scaled(tmp_path):
    path = edited(tmp_path / "a.nii", scl_slope=0.5, scl_inter=-1024)
    (values,) = opened(path).slices("axial", [6])
    assert values[-1, -1] == -1024 and values[-1, -2] == -1023.5


@pytest.mark.parametrize("slope", [0, float("nan"), float("inf")])
def test_values_without_a_slope_are_not_scaled(slope, tmp_path):
    path = edited(tmp_path / "a.nii", scl_slope=slope, scl_inter=7)
    (values,) = opened(path).slices("axial", [6])
    assert values[-1, -1] == 0


@pytest.mark.parametrize(
    ("zooms", "plane"),
    [
        ((1, 1, 1), "axial"),
        ((1, 1, 1.001), "axial"),
        ((1.001, 1, 1), "axial"),
        ((1, 1, 5), "axial"),
        ((1, 5, 1), "coronal"),
        ((5, 1, 1), "sagittal"),
        ((1, 5, 5), "axial"),
    ],
)
def test_the_acquired_plane_has_the_coarsest_spacing(zooms, plane, tmp_path):
    volume = opened(saved(tmp_path / "a.nii", affine=affine_of((0, 1, 2), (1, 1, 1), zooms)))
    assert volume.acquired_plane() == plane
    assert volume.number("") == volume.number(plane)
    assert volume.spacing("") == volume.spacing(plane)


def test_a_single_slice_is_the_acquired_plane(tmp_path):
    volume = opened(saved(tmp_path / "a.nii", asymmetric((4, 1, 6))))
    assert volume.acquired_plane() == "coronal" and volume.number("") == 1
    flat = opened(saved(tmp_path / "b.nii", asymmetric((4, 5))))
    assert flat.acquired_plane() == "axial" and flat.number("axial") == 1


def test_spacing_is_of_rows_and_columns_in_mm(tmp_path):
    path = saved(tmp_path / "a.nii", affine=affine_of((2, 0, 1), (1, 1, 1)))  # S: 1, R: 2, A: 3
    volume = opened(path)
    assert [volume.spacing(plane) for plane in PLANES] == [(3, 2), (1, 2), (1, 3)]
    metres = edited(tmp_path / "b.nii", xyzt_units=1)
    assert opened(metres).spacing("axial") == (1000, 1000)


# --- images -----------------------------------------------------------------------------------


def test_an_image_has_square_pixels_and_a_note_on_its_slice(tmp_path):
    volume = opened(saved(tmp_path / "a.nii", affine=affine_of((0, 1, 2), (1, 1, 1))))
    image, notes = nifti_image(volume, View(slices=(2,), plane="coronal"))
    assert image.mode == "RGB" and image.size == (4, 18)
    assert notes == (
        "coronal slice 2 of 5",
        "windowed 0.595..118.405 (percentiles 0.5 and 99.5 of the volume)",
    )


def test_the_empty_view_is_a_montage_of_the_acquired_plane(tmp_path):
    volume = opened(saved(tmp_path / "a.nii.gz", asymmetric((4, 20, 6)), np.diag([1, 3, 1, 1])))
    image, notes = nifti_image(volume, View())
    assert image.size == (3 * 4, 3 * 6)
    assert notes[0] == "coronal slices 2,4,6,8,11,13,15,17,19 of 20"


def test_each_slice_of_a_volume_has_the_same_window(tmp_path):
    volume = opened(saved(tmp_path / "a.nii", asymmetric((10, 10, 10))))
    windows = {nifti_image(volume, View(slices=(n,)))[1][-1] for n in range(1, 11)}
    assert len(windows) == 1
    first, last = (np.asarray(nifti_image(volume, View(slices=(n,)))[0]) for n in (1, 10))
    assert first.min() > 200 and last.max() < 50


def test_a_window_is_applied_as_asked_for(tmp_path):
    voxels = np.linspace(-1000, 1000, 120).reshape(SHAPE).astype(np.float32)
    volume = opened(saved(tmp_path / "a.nii", voxels))
    (values,) = volume.slices("axial", [3])
    image, notes = nifti_image(volume, View(slices=(3,), plane="axial", window="brain"))
    share = np.clip((values - 0) / 79, 0, 1)
    assert np.array_equal(np.asarray(image)[..., 0], np.rint(255 * share))
    assert notes[-1] == "window brain: 40/80"
    image, notes = nifti_image(volume, View(slices=(3, 4), columns=2, window="medgemma"))
    assert image.size == (8, 5) and len(np.unique(image.split()[0])) > 2
    assert image.split()[0].tobytes() != image.split()[2].tobytes()
    assert notes[-1].startswith("window medgemma:")


def test_a_rare_label_is_visible_in_a_mask(tmp_path):
    voxels = np.zeros((130, 130, 130), np.uint8)
    voxels[3, 5, 7] = 4
    assert voxels.size > MAX_SAMPLE
    image, notes = nifti_image(
        opened(saved(tmp_path / "a.nii.gz", voxels)), View(slices=(130 - 7,), plane="axial")
    )
    assert image.getpixel((130 - 1 - 3, 130 - 1 - 5)) == (255, 255, 255)
    assert notes[-1].startswith("windowed 0..4 ")


def test_a_constant_volume_is_black(tmp_path):
    image, notes = nifti_image(
        opened(saved(tmp_path / "a.nii", np.full(SHAPE, 7, np.int16))), View()
    )
    assert image.getextrema() == ((0, 0),) * 3 and notes[-1] == "constant 7 shown black"


def test_voxels_that_are_not_finite(tmp_path):
    voxels = asymmetric(kind=np.float32)
    voxels[0, 0, 0], voxels[1, 0, 0], voxels[2, 0, 0] = np.nan, np.inf, -np.inf
    volume = opened(saved(tmp_path / "a.nii", voxels))
    image, _ = nifti_image(volume, View(slices=(6,), plane="axial"))
    row = np.asarray(image)[-1, ::-1, 0].tolist()
    assert row[:3] == [0, 255, 0]
    nothing = opened(saved(tmp_path / "b.nii", np.full(SHAPE, np.nan, np.float32)))
    with pytest.raises(ItemError, match="its voxels have no finite values"):
        nifti_image(nothing, View())
    assert nifti_image(nothing, View(window="brain"))[0].getextrema() == ((0, 0),) * 3


def test_the_first_volume_of_several_is_read_and_noted(tmp_path):
    voxels = asymmetric((*SHAPE, 2, 3))
    volume = opened(saved(tmp_path / "a.nii.gz", voxels))
    assert volume.notes == ("first_of_6_volumes",)
    first = voxels[..., 0, 0]
    assert np.array_equal(all_slices(volume, "axial"), first[::-1, ::-1, ::-1].T)


def test_an_image_that_would_be_too_large_or_too_narrow_is_refused(tmp_path):
    affine = affine_of((0, 1, 2), (1, 1, 1), (0.01, 1, 1))
    volume = opened(saved(tmp_path / "a.nii", asymmetric((600, 700, 2)), affine))
    with pytest.raises(ItemError, match="more than 37,000,000 pixels") as error:
        nifti_image(volume, View(slices=(1,), plane="axial"))
    assert error.value.code == "image_too_large"
    volume = opened(saved(tmp_path / "a.nii", asymmetric((600, 700, 2))))
    with pytest.raises(ItemError, match="600 x 2 pixels, one side over 200 times") as error:
        nifti_image(volume, View(slices=(1,), plane="coronal"))
    assert error.value.code == "image_bad_shape"


def test_slices_that_are_too_large_together_are_refused_before_they_are_read(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header_of((6000, 60, 2500)), mtime=0))
    with pytest.raises(ItemError, match="60 slices are more than 300,000,000 bytes") as error:
        opened(tmp_path / "a.nii.gz").slices("coronal", range(1, 61))
    assert error.value.code == "image_too_large"


def test_a_magnification_is_refused(tmp_path):
    with pytest.raises(ItemError, match="no magnification"):
        nifti_image(opened(saved(tmp_path / "a.nii")), View(magnification=10))


# --- damaged and hostile files ----------------------------------------------------------------


def dims(*lengths):
    return [len(lengths), *lengths, *[1] * (7 - len(lengths))]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dim": dims(4, 5, 7)}, "cut off"),
        ({"dim": dims(30000, 30000, 1)}, "voxels are more than"),
        ({"dim": dims(32767, 32767, 32767)}, "voxels are more than"),
        ({"dim": dims(1, 1, 32767)}, "cut off"),
        ({"dim": dims(4, -5, 6)}, "impossible dimensions"),
        ({"dim": dims(4, 0, 6)}, "impossible dimensions"),
        ({"dim": dims(-1, 1, 1)}, "impossible dimensions"),
        ({"dim": [0, 4, 5, 6, 1, 1, 1, 1]}, "impossible dimensions"),
        ({"dim": [8, 4, 5, 6, 1, 1, 1, 1]}, "impossible dimensions"),
        ({"dim": [-32768, 4, 5, 6, 1, 1, 1, 1]}, "impossible dimensions"),
        ({"dim": [7, 4, 5, 6, 1, 1, 1, 0]}, "impossible dimensions"),
        ({"magic": b"n+9"}, "an Analyze image, or a damaged NIfTI header"),
        ({"magic": b""}, "an Analyze image, or a damaged NIfTI header"),
        ({"magic": b"ni1"}, "voxels are in another file"),
        ({"datatype": 128}, "its voxels are colours"),
        ({"datatype": 32}, "its voxels are complex numbers"),
        ({"datatype": 1536}, "of a kind that is not read"),
        ({"datatype": -3}, "of a kind that is not read"),
        ({"vox_offset": float("nan")}, "impossible vox_offset"),
        ({"vox_offset": -1}, "impossible vox_offset"),
        ({"vox_offset": 100}, "impossible vox_offset"),
        ({"vox_offset": 3e38}, "impossible vox_offset"),
        ({"vox_offset": 1e6}, "cut off"),
        ({"scl_slope": 1, "scl_inter": float("nan")}, "impossible scl_inter"),
        ({"srow_x": [float("nan")] * 4}, "impossible affine"),
        ({"srow_y": [0, float("inf"), 0, 0]}, "impossible affine"),
        ({"srow_z": [0] * 4}, "impossible affine"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 3}, "impossible affine"),
        ({"sform_code": 0, "qform_code": 1, "quatern_c": float("nan")}, "impossible affine"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value)),
)
def test_a_header_that_lies_is_an_item_error(fields, words, tmp_path):
    path = edited(tmp_path / "Jane Doe.nii", **fields)
    compressed = tmp_path / "Jane Doe.nii.gz"
    compressed.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    for file in (path, compressed):
        with pytest.raises(ItemError) as error:
            nifti_image(opened(file), View())
        message = str(error.value)
        assert words in message and message.startswith("image 'scan': ") and message[-1] == "."
        assert "Jane" not in message and error.value.code in ("image_unreadable", "image_too_large")


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": dims(4, 5, 6, 1, 1, 1, 1)},
        {"pixdim": [float("nan")] * 8},
        {"pixdim": [0, -1, -1, -1, 1, 1, 1, 1], "sform_code": 0, "qform_code": 1},
        {"vox_offset": 0},
        {"quatern_b": float("nan")},
        {"srow_x": [1e-30, 0, 0, 0]},
        {"srow_x": [3e38, 0, 0, 3e38]},
        {"xyzt_units": 255},
        {"bitpix": 1},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_a_header_with_unused_or_repairable_fields_is_read(fields, tmp_path):
    image, _ = nifti_image(opened(edited(tmp_path / "a.nii", **fields)), View(slices=(1,)))
    assert image.size == (4, 5)


@pytest.mark.parametrize("value", [1e200, 1e-200])
def test_lengths_of_the_second_version_that_cannot_be(value, tmp_path):
    nibabel.save(nibabel.Nifti2Image(asymmetric(), np.eye(4)), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    header = nibabel.Nifti2Header(bytes(content[:540]), "<", check=False)
    header["srow_x"] = [value, 0, 0, 0]
    content[:540] = header.binaryblock
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(ItemError, match="impossible affine"):
        opened(tmp_path / "a.nii")


def test_spacing_that_cannot_be_is_noted(tmp_path):
    pixdim = [1, 0, float("nan"), 1, 1, 1, 1, 1]
    path = edited(tmp_path / "a.nii", pixdim=pixdim, sform_code=0)
    volume = opened(path)
    assert volume.notes[-1] == "spacing_not_stated (pixels are taken as square)"
    assert volume.spacing("axial") == (1, 1)


@pytest.mark.parametrize("size", [0, 1, 4, 100, 347, 348, 352, 400, -1])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_file_that_is_cut_off_is_an_item_error(size, ending, tmp_path):
    content = saved(tmp_path / "whole.nii").read_bytes()
    path = tmp_path / f"a{ending}"
    path.write_bytes(
        gzip.compress(content[:size], mtime=0) if ending == ".nii.gz" else content[:size]
    )
    with pytest.raises(ItemError, match=r"^image 'scan': the file is (cut off|damaged)"):
        nifti_image(opened(path), View())


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_compressed_file_that_is_cut_off_or_changed_is_an_item_error(share, tmp_path):
    voxels = np.random.default_rng(0).integers(0, 99, (30, 30, 30)).astype(np.int16)
    content = bytearray(saved(tmp_path / "a.nii.gz", voxels).read_bytes())
    place = int(share * len(content))
    (tmp_path / "b.nii.gz").write_bytes(content[:place])
    content[place : place + 40] = bytes(40)
    (tmp_path / "c.nii.gz").write_bytes(content)
    with pytest.raises(ItemError, match="cut off"):
        nifti_image(opened(tmp_path / "b.nii.gz"), View())
    try:  # zeros may also be valid codes
        nifti_image(opened(tmp_path / "c.nii.gz"), View())
    except ItemError as error:
        assert error.code == "image_unreadable"


def test_texts_and_extensions_of_a_header_are_not_read(tmp_path, caplog):
    header = nibabel.Nifti1Header()
    for name in ("descrip", "aux_file", "intent_name", "db_name"):
        header[name] = b"Jane Doe"
    image = nibabel.Nifti1Image(asymmetric(), np.eye(4), header)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"Jane Doe" * 20))
    nibabel.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    assert content.count(b"Jane Doe") > 20
    content[352:356] = struct.pack("<i", 2**31 - 1)  # the extension lies about its size
    (tmp_path / "a.nii").write_bytes(content)
    volume = opened(tmp_path / "a.nii")
    assert np.array_equal(all_slices(volume, "axial"), asymmetric()[::-1, ::-1, ::-1].T)
    image, notes = nifti_image(volume, View())
    assert "Jane" not in " ".join((*notes, *map(str, image.info.values()), caplog.text))


@pytest.mark.parametrize("name", ["Jane Doe.nii", "folder"])
def test_a_file_that_does_not_exist_is_named_by_its_label(name, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ItemError, match=r"^image 'scan': (no such file|not a regular file)"):
        opened(tmp_path / name)


PEAK = """
import sys
from pathlib import Path
from medr1.data.scans.nifti import nifti_image, open_volume
from medr1.data.scans.view import View
from medr1.errors import ItemError

import nibabel.nifti1, nibabel.nifti2, nibabel.orientations

def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))

Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
before, outcomes = memory("VmRSS"), []
for plane in ("axial", "coronal", "sagittal"):
    try:
        nifti_image(open_volume(Path(sys.argv[1]), "'scan'"), View(plane=plane))
        outcomes.append("shown")
    except ItemError as error:
        outcomes.append(error.code)
print(memory("VmHWM") - before, *outcomes)
"""


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def peak_megabytes(path):
    """(MB that a process needs more while it shows a montage of each plane, what came of each)."""
    result = subprocess.run(
        [sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True
    )
    megabytes, *outcomes = result.stdout.split()
    return float(megabytes), set(outcomes)


def zeros_after(path, beginning, megabytes):
    """A compressed file: `beginning`, and then so many MB of zeros, in members of 32 MB."""
    member = gzip.compress(bytes(32 * 1024**2), 1, mtime=0)
    path.write_bytes(gzip.compress(beginning, mtime=0) + member * (megabytes // 32))
    return path


def header_of(shape):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header.binaryblock + bytes(4)


@needs_proc
def test_memory_does_not_grow_with_the_volume(tmp_path):
    path = zeros_after(tmp_path / "a.nii.gz", header_of((512, 512, 256)), 128)
    megabytes, outcomes = peak_megabytes(path)
    assert outcomes == {"shown"} and megabytes < 100


@needs_proc
@pytest.mark.parametrize(
    ("shape", "outcome"),
    [
        ((32, 32, 32), "shown"),
        ((12000, 12000, 32), "image_too_large"),
        ((3000, 3000, 200), "image_too_large"),
        (None, "image_unreadable"),
    ],
    ids=str,
)
def test_ten_gigabytes_of_zeros_need_neither_time_nor_memory(shape, outcome, tmp_path):
    beginning = header_of(shape) if shape else b""
    path = zeros_after(tmp_path / "a.nii.gz", beginning, 10_240)
    assert path.stat().st_size < 60_000_000
    megabytes, outcomes = peak_megabytes(path)
    assert outcomes == {outcome} and megabytes < 60


def test_a_damaged_compressed_block_is_an_item_error(tmp_path):
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    content = packer.compress(header_of((50, 50, 50))) + packer.flush(zlib.Z_FULL_FLUSH)
    (tmp_path / "a.nii.gz").write_bytes(content + b"\xff" * 5000)
    with pytest.raises(ItemError, match="cut off or damaged"):
        next(opened(tmp_path / "a.nii.gz").slices("axial", [1]))


# --- which files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beginning", "name", "expected"),
    [
        (struct.pack("<i", 348), "a.nii", True),
        (struct.pack(">i", 348), "a", True),
        (struct.pack("<i", 540), "a.bin", True),
        (struct.pack(">i", 540), "a.nii.gz", True),
        (b"\x1f\x8b\x08\0", "a.NII.GZ", True),
        (b"\x1f\x8b\x08\0", "a.nii", True),
        (b"\x1f\x8b\x08\0", "a.csv.gz", False),
        (b"\x89PNG", "a.nii", False),
        (b"", "a.nii.gz", False),
        (b"\x5c\x01", "a.nii", False),
    ],
    ids=str,
)
def test_nifti_is_recognised(beginning, name, expected):
    assert is_nifti(beginning, name) is expected
