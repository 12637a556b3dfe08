"""Synthetic DICOM files for tests: one image, a series in a folder, planted identifiers."""

import random
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from medr1.data.images import load_image
from medr1.data.scans.location import ImageLocation
from medr1.data.scans.view import View

EXPLICIT = str(ExplicitVRLittleEndian)
SOP_CLASSES = {
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "ECT": "1.2.840.10008.5.1.4.1.1.2.1",  # enhanced CT: multi-frame
    "EMR": "1.2.840.10008.5.1.4.1.1.4.1",  # enhanced MR: multi-frame
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "OT": "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "USM": "1.2.840.10008.5.1.4.1.1.3.1",  # ultrasound: multi-frame
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
}
"""Modality -> its storage class; a key that is no modality is told in the comment."""
_MODALITIES = {"ECT": "CT", "EMR": "MR", "USM": "US"}


def uid(*parts: object) -> str:
    """A UID that is always the same for the same parts."""
    return str(generate_uid(entropy_srcs=[str(part) for part in parts]))


def item(**tags: Any) -> Dataset:
    """An item of a sequence.

    Args:
        **tags: Its elements by keyword; a value that is a DataElement is added as it is.
    """
    dataset = Dataset()
    _set(dataset, tags)
    return dataset


def lut(
    first: int,
    entries: Sequence[int],
    *,
    bits: int = 16,
    number: int | None = None,
    packed: bool = False,
    kind: str = "",
) -> list[Dataset]:
    """The sequence of one modality or VOI LUT.

    Args:
        first: The first value mapped; it is written as SS if it is negative, else as US.
        entries: The values of the table.
        bits: The third value of the descriptor.
        number: The first value of the descriptor, if it is not the number of entries.
        packed: Two 8-bit entries in a word (OW), not one (US).
        kind: ModalityLUTType, which a modality LUT must have.
    """
    number = len(entries) if number is None else number
    signed = first < 0
    if signed and number > 32767:
        number -= 65536
    table = Dataset()
    descriptor = [number % 65536 if not signed else number, first, bits]
    table.add(DataElement(0x00283002, "SS" if signed else "US", descriptor))
    if kind:
        table.ModalityLUTType = kind
    if packed:
        table.add(DataElement(0x00283006, "OW", _even(bytes(entries))))
    elif len(entries) > 30_000:  # more than the length of US can tell
        table.add(DataElement(0x00283006, "OW", np.array(entries, "<u2").tobytes()))
    else:
        table.add(DataElement(0x00283006, "US", list(entries)))
    return [table]


def palette(
    first: int, colours: Sequence[tuple[int, int, int]], *, bits: int = 8, number: int | None = None
) -> dict[str, DataElement]:
    """The six elements of a palette.

    Args:
        first: The first value mapped.
        colours: Red, green and blue of each entry.
        bits: 8 (two entries in a word) or 16.
        number: The first value of the descriptors, if it is not the number of entries.
    """
    number = len(colours) % 65536 if number is None else number
    elements = {}
    for place, name in enumerate(("Red", "Green", "Blue")):
        values = np.array([colour[place] for colour in colours], "u1" if bits == 8 else "<u2")
        descriptor = DataElement(0x00281101 + place, "US", [number, first, bits])
        elements[f"{name}PaletteColorLookupTableDescriptor"] = descriptor
        data = DataElement(0x00281201 + place, "OW", _even(values.tobytes()))
        elements[f"{name}PaletteColorLookupTableData"] = data
    return elements


def dicom_dataset(
    stored: Any,
    *,
    modality: str = "OT",
    photometric: str = "MONOCHROME2",
    allocated: int = 8,
    bits: int | None = None,
    high_bit: int | None = None,
    signed: bool = False,
    unused: int = 0,
    planar: int = 0,
    frames: bool = False,
    pixel_data: bytes | None = None,
    syntax: str = EXPLICIT,
    compress: str = "",
    name: str = "image",
    **tags: Any,
) -> FileDataset:
    """A DICOM image in memory.

    Args:
        stored: Stored values: a row, or (rows, columns), with (3,) at the end for three samples a
            pixel, and (frames,) in front with `frames`.
        modality: A key of SOP_CLASSES.
        photometric: PhotometricInterpretation.
        allocated: BitsAllocated.
        bits: BitsStored; BitsAllocated if None.
        high_bit: HighBit; BitsStored - 1 if None.
        signed: Two's complement in BitsStored bits.
        unused: A word whose bits outside the stored ones are added to every word.
        planar: PlanarConfiguration of colour.
        frames: The first axis of `stored` is the frames.
        pixel_data: The bytes of PixelData, instead of those made from `stored`.
        syntax: The transfer syntax of native pixels.
        compress: A transfer syntax that pydicom encodes to.
        name: UIDs follow from it.
        **tags: Further elements by keyword. None removes one; a DataElement is added as it is.
    """
    values = np.asarray(stored, np.int64)
    samples = 1 if photometric.startswith(("MONO", "PALETTE")) else 3
    image_axes = 2 if samples == 1 else 3
    if values.ndim == image_axes - 1:
        values = values[None]
    rows, columns = values.shape[int(frames) : int(frames) + 2]
    bits = bits or allocated
    high_bit = bits - 1 if high_bit is None else high_bit

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SOP_CLASSES[modality]
    meta.MediaStorageSOPInstanceUID = uid(name, "instance")
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.set_original_encoding(syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
    dataset.SOPClassUID, dataset.SOPInstanceUID = SOP_CLASSES[modality], uid(name, "instance")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(name, "study"), uid(name, "series")
    dataset.Modality = _MODALITIES.get(modality, modality)
    dataset.PatientName, dataset.PatientID = "Test^Synthetic", "SYNTHETIC"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = samples, photometric
    if samples == 3:
        dataset.PlanarConfiguration = planar
    if frames:
        dataset.NumberOfFrames = len(values)
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, high_bit
    dataset.PixelRepresentation = int(signed)
    _set(dataset, tags)

    words = (values & ((1 << bits) - 1)) << (high_bit + 1 - bits) | unused
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    array = words.astype(f"{order}u{allocated // 8}")
    if samples == 3 and planar:
        array = np.moveaxis(array, -1, int(frames))
    content = array.tobytes() if pixel_data is None else pixel_data
    if order == ">" and allocated == 8 and len(content) > 1:  # 8-bit pixels lie in OW words there
        content = np.frombuffer(_even(content), "<u2").byteswap().tobytes()
    dataset.add(DataElement(0x7FE00010, "OW" if allocated > 8 or order == ">" else "OB", b""))
    dataset["PixelData"].value = _even(content)
    if compress:
        dataset.compress(compress, generate_instance_uid=False)
    return dataset


def write_dicom(path: Path, stored: Any, **settings: Any) -> Path:
    """Write a DICOM image, and return its path.

    Args:
        path: The file to write; its folder is made.
        stored: As in `dicom_dataset`.
        **settings: As in `dicom_dataset`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    settings.setdefault("name", path.name)
    dicom_dataset(stored, **settings).save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    volume: Any,
    *,
    step: float = 1.0,
    spacing: tuple[float, float] = (1.0, 1.0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    seed: int = 0,
    name: str = "series",
    suffix: str = ".dcm",
    **settings: Any,
) -> list[Path]:
    """Write a volume as a series, a file for each slice, and return the paths by position.

    Names and instance numbers are shuffled, each in its own way, so that only the positions tell
    the order.

    Args:
        folder: The folder to write to; it is made.
        volume: Stored values, (slices, rows, columns).
        step: Millimetres from one slice to the next, along the normal of the slices.
        spacing: PixelSpacing: millimetres between rows, and between columns.
        origin: ImagePositionPatient of the first slice.
        orientation: ImageOrientationPatient.
        seed: Of the shuffling.
        name: UIDs of study and series follow from it.
        suffix: End of the file names.
        **settings: As in `dicom_dataset`; CT, 16 bits and signed unless they say otherwise.
    """
    volume = np.asarray(volume)
    shuffled = random.Random(seed)
    names, numbers = list(range(len(volume))), list(range(1, len(volume) + 1))
    shuffled.shuffle(names)
    shuffled.shuffle(numbers)
    across, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(across, down)
    settings = {"modality": "CT", "allocated": 16, "signed": True, **settings}
    paths = []
    for place, plane in enumerate(volume):
        position = np.array(origin, float) + place * step * normal
        tags = {
            "StudyInstanceUID": uid(name, "study"),
            "SeriesInstanceUID": uid(name, "series"),
            "FrameOfReferenceUID": uid(name, "frame of reference"),
            "SeriesNumber": 1,
            "InstanceNumber": numbers[place],
            "PixelSpacing": list(spacing),
            "SliceThickness": abs(step),
            "ImageOrientationPatient": [float(value) for value in orientation],
            "ImagePositionPatient": [round(float(value), 6) for value in position],
            **settings,
        }
        path = folder / f"I{names[place]:04d}{suffix}"
        paths.append(write_dicom(path, plane, **{**tags, "name": f"{name} {place}"}))
    return paths


# --- bytes, for files that no writer would write -------------------------------------------------

_LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"}
UNDEFINED = 0xFFFFFFFF
"""The length of an element that ends with a delimiter."""


def element(tag: int, vr: str, value: bytes | str | int, length: int | None = None) -> bytes:
    """One element in explicit VR little endian, with any content.

    Args:
        tag: Group and element: 0x00280010.
        vr: Its value representation, or a wrong one.
        value: Its bytes; a text is padded to an even length; a whole number is two bytes.
        length: The length to write, if it is not that of the value.
    """
    content = _content(value)
    number = len(content) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in _LONG:
        return head + struct.pack("<HI", 0, number) + content
    return head + struct.pack("<H", number & 0xFFFF) + content


def implicit_element(tag: int, value: bytes | str | int, length: int | None = None) -> bytes:
    """One element in implicit VR little endian.

    Args:
        tag: Group and element.
        value: As in `element`.
        length: As in `element`.
    """
    content = _content(value)
    number = len(content) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, number) + content


def raw_file(
    elements: Mapping[int, bytes] | Iterable[bytes],
    *,
    syntax: str = EXPLICIT,
    preamble: bytes = bytes(128) + b"DICM",
    meta: bool = True,
    tail: bytes = b"",
) -> bytes:
    """The bytes of a DICOM file made of elements.

    Args:
        elements: Encoded elements in their order; a mapping by tag is sorted.
        syntax: TransferSyntaxUID of the file meta information.
        preamble: What is in front of the file meta information.
        meta: Whether there is file meta information.
        tail: What comes after the last element.
    """
    if isinstance(elements, Mapping):
        elements = [elements[tag] for tag in sorted(elements)]
    group = b""
    if meta:
        version = element(0x00020001, "OB", b"\0\1")
        group = version + element(0x00020002, "UI", SOP_CLASSES["OT"])
        group += element(0x00020003, "UI", "1.2.3.4") + element(0x00020010, "UI", syntax)
        group = element(0x00020000, "UL", struct.pack("<I", len(group))) + group
    return preamble + group + b"".join(elements) + tail


def encapsulated(fragments: Sequence[bytes]) -> bytes:
    """PixelData of a compressed transfer syntax, with an empty table of offsets.

    Args:
        fragments: The fragments, each padded to an even length.
    """
    parts = [struct.pack("<HHI", 0xFFFE, 0xE000, 0)]
    for fragment in map(_even, fragments):
        parts.append(struct.pack("<HHI", 0xFFFE, 0xE000, len(fragment)) + fragment)
    parts.append(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    return element(0x7FE00010, "OB", b"".join(parts), UNDEFINED)


def grey_elements(
    rows: int = 4, columns: int = 4, *, pixels: bytes | None = None, allocated: int = 8
) -> dict[int, bytes]:
    """The elements of a small valid grey image by tag, to be replaced one by one.

    Args:
        rows: Rows as the header tells.
        columns: Columns as the header tells.
        pixels: The bytes of PixelData; by default as many as fit.
        allocated: BitsAllocated and BitsStored.
    """
    if pixels is None:
        pixels = bytes(place % 251 for place in range(rows * columns * allocated // 8))
    return {
        0x00080016: element(0x00080016, "UI", SOP_CLASSES["OT"]),
        0x00080018: element(0x00080018, "UI", "1.2.3.4"),
        0x00080060: element(0x00080060, "CS", "OT"),
        0x00280002: element(0x00280002, "US", 1),
        0x00280004: element(0x00280004, "CS", "MONOCHROME2"),
        0x00280010: element(0x00280010, "US", rows),
        0x00280011: element(0x00280011, "US", columns),
        0x00280100: element(0x00280100, "US", allocated),
        0x00280101: element(0x00280101, "US", allocated),
        0x00280102: element(0x00280102, "US", allocated - 1),
        0x00280103: element(0x00280103, "US", 0),
        0x7FE00010: element(0x7FE00010, "OB" if allocated == 8 else "OW", pixels),
    }


# --- identifiers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """An identifier that a test puts into a file, and that nothing may repeat."""

    name: str
    """The keyword of the tag, a private tag as (group,element), or "file name", "folder name"."""
    vr: str
    value: str


PLANTED = (
    Planted("PatientName", "PN", "Zwetschkenbaum^Quirinusberg"),
    Planted("PatientID", "LO", "PID-7305518842"),
    Planted("IssuerOfPatientID", "LO", "ISSUER-KQXW"),
    Planted("OtherPatientIDs", "LO", "MRN-5529017764"),
    Planted("PatientBirthDate", "DA", "19310917"),
    Planted("PatientAddress", "LO", "Xaveriusgasse 4711"),
    Planted("PatientTelephoneNumbers", "SH", "+43 660 7719203"),
    Planted("PatientMotherBirthName", "PN", "Ypsilanti^Wilhelmine"),
    Planted("PatientComments", "LT", "COMMENT-patient-JQZV"),
    Planted("EthnicGroup", "SH", "ETHNIC-WXQ"),
    Planted("Occupation", "SH", "Orgelbauer-QJ"),
    Planted("AccessionNumber", "SH", "ACC-8840271635"),
    Planted("StudyID", "SH", "STUDY-66120937"),
    Planted("StudyDate", "DA", "20170823"),
    Planted("SeriesDate", "DA", "20170824"),
    Planted("AcquisitionDateTime", "DT", "20170825071913.654321"),
    Planted("StudyTime", "TM", "071429.183726"),
    Planted("InstitutionName", "LO", "Sankt Xanthippe Klinikum"),
    Planted("InstitutionAddress", "ST", "Jodokusplatz 93, Quedlinburg"),
    Planted("InstitutionalDepartmentName", "LO", "DEPARTMENT-VYXK"),
    Planted("StationName", "SH", "STATION-QZ77"),
    Planted("ReferringPhysicianName", "PN", "Jablonowski^Xenophonia"),
    Planted("PerformingPhysicianName", "PN", "Quackernack^Yvonnette"),
    Planted("OperatorsName", "PN", "Wyszomirski^Zdzislawa"),
    Planted("RequestedProcedureDescription", "LO", "PROCEDURE-ZKQJ"),
    Planted("StudyDescription", "LO", "DESCRIPTION-study-XWVQ"),
    Planted("SeriesDescription", "LO", "DESCRIPTION-series-KZJX"),
    Planted("ProtocolName", "LO", "PROTOCOL-JWQX"),
    Planted("ImageComments", "LT", "COMMENT-image-VXZQ"),
    Planted("DeviceSerialNumber", "LO", "SERIAL-904417728"),
    Planted("DeviceUID", "UI", "1.2.826.0.1.3680043.8.498.90311447726015"),
    Planted("StudyInstanceUID", "UI", "1.2.826.0.1.3680043.8.498.51170029384756"),
    Planted("SeriesInstanceUID", "UI", "1.2.826.0.1.3680043.8.498.62280039485767"),
    Planted("SOPInstanceUID", "UI", "1.2.826.0.1.3680043.8.498.73390049586778"),
    Planted("FrameOfReferenceUID", "UI", "1.2.826.0.1.3680043.8.498.84400059687789"),
    Planted("(0009,1001)", "LO", "PRIVATE-text-QXJZ"),
    Planted("(0029,1010)", "OB", "PRIVATE-bytes-ZWXQ"),
    Planted("file name", "", "Zwetschkenfile_Q_1931"),
    Planted("folder name", "", "Zwetschkenfolder_Q_1931"),
)
"""Each value stands in one place, and is in no program or page of the project."""


def plant(dataset: Dataset) -> None:
    """Put the planted identifiers into a dataset: public tags, private tags, a nested item."""
    for planted in PLANTED:
        if planted.name.startswith("("):
            group, number = (int(part, 16) for part in planted.name.strip("()").split(","))
            dataset.add(DataElement(Tag(group, 0x10), "LO", "MEDR1 TEST"))
            value = planted.value.encode() if planted.vr == "OB" else planted.value
            dataset.add(DataElement(Tag(group, number), planted.vr, value))
        elif planted.vr:
            setattr(dataset, planted.name, planted.value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.RequestAttributesSequence = [
        item(RequestedProcedureDescription=dataset.RequestedProcedureDescription)
    ]


def write_planted(root: Path, stored: Any, **settings: Any) -> Path:
    """Write a file with all planted identifiers in a folder below `root`, and return its path.

    Args:
        root: The folder in which the planted folder is made.
        stored: As in `dicom_dataset`.
        **settings: As in `dicom_dataset`.
    """
    values = {planted.name: planted.value for planted in PLANTED}
    path = root / values["folder name"] / f"{values['file name']}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = dicom_dataset(stored, **settings)
    plant(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


def load(path: Path, **view: Any) -> Any:
    """The image of a file, as medr1 loads it.

    Args:
        path: The file.
        **view: Window, slices and plane.
    """
    return load_image(ImageLocation(path, repr(path.name), View(**view)))


def _set(dataset: Dataset, tags: Mapping[str, Any]) -> None:
    for keyword, value in tags.items():
        if isinstance(value, DataElement):
            dataset.add(value)
        elif value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)


def _content(value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return struct.pack("<H", value)
    if isinstance(value, str):
        return _even(value.encode())
    return value


def _even(content: bytes) -> bytes:
    return content + b"\0" * (len(content) % 2)
