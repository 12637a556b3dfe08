"""What may be told of a DICOM file: an allow-list of elements and of their values.

The text of an element never leaves the file. A code is told if it is in a list here, an age only in
a band of ten years, an identifier only as a keyed hash. A file can have any text in any element,
also a name in BodyPartExamined; a value that is in no list is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from medr1.data.burned_in import header_notes
from medr1.data.scans.dicom_file import DicomHeader
from medr1.data.scans.dicom_image import directions, pixel_spacing, plane_of


def _terms(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODALITIES = _terms(
    "AR AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DX ECG EEG EMG EOG EPS ES FID GM HC HD IO "
    "IVOCT IVUS KER KO LEN LS MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA POS PR PT "
    "PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG "
    "SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC"
)
"""The defined terms of Modality (PS3.3 C.7.3.1.1.1)."""
BODY_PARTS = _terms(
    "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE ANUS AORTA ARM ARTERY AXILLA BACK BLADDER BRAIN BREAST "
    "BRONCHUS BUTTOCK CALCANEUS CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN "
    "CHESTABDPELVIS CLAVICLE COCCYX COLON CORNEA CORONARYARTERY CSPINE CTSPINE DUODENUM EAR "
    "ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT FOREARM GALLBLADDER HAND HEAD "
    "HEADNECK HEART HIP HUMERUS IAC ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE "
    "LSSPINE LUNG MANDIBLE MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NOSE ORBIT OVARY PANCREAS "
    "PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RECTUM RETINA RIB SCALP SCAPULA SCLERA "
    "SCROTUM SHOULDER SI SINUS SKIN SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TESTIS THIGH "
    "THORAX THUMB THYMUS THYROID TIBIA TOE TONGUE TRACHEA TSPINE ULNA UPARM URETER URETHRA "
    "UTERUS VAGINA VULVA WBODY WRIST ZYGOMA"
)
"""Defined terms of Body Part Examined (PS3.16 annex L), without blanks."""
VIEWS = _terms(
    "AP PA LL RL LAO RAO LPO RPO LLD RLD LLO RLO LATERAL OBLIQUE AXIAL TANGENTIAL MLO ML LM LMO "
    "CC CCID FB SIO ISO XCCL XCCM XCC GRID SPECIMEN"
)
"""Terms of View Position for projections and mammograms (PS3.3 C.8.1.9, PS3.16 CID 4014)."""
_SIDES = {"L": "left", "R": "right", "B": "both", "U": "unpaired"}
_SEXES = {"M": "male", "F": "female", "O": "other"}
_MANUFACTURERS = {
    **{name: name for name in ("siemens", "philips", "canon", "toshiba", "fujifilm", "agfa")},
    **{name: name for name in ("carestream", "hologic", "samsung", "mindray", "konica", "hitachi")},
    **{name: name for name in ("shimadzu", "esaote", "olympus", "zeiss", "topcon", "heidelberg")},
    **{
        "ge": "ge",
        "general electric": "ge",
        "fuji": "fujifilm",
        "united imaging": "united imaging",
    },
    **{"kodak": "carestream", "medison": "samsung", "acuson": "siemens", "lorad": "hologic"},
}
"""Word in Manufacturer -> the name that is told."""
_AGE = re.compile(r"(\d{1,3})([DWMY])")
OLDEST_BAND = "90+"
"""One band for all from 90 years on: few people are so old."""

Hash = Callable[[str, str], str]
"""(kind of identifier, identifier) -> its keyed hash."""


def described(
    header: DicomHeader, hash_of: Hash, *, with_manufacturer: bool = False
) -> dict[str, object]:
    """What may be told of a file, as metadata of an item; a key without a usable value is left out.

    The keys: modality, body_part, laterality, view, age_band, sex, plane, pixel_spacing_mm (rows,
    columns) and, as hashes, patient, study and series.

    Args:
        header: The header of the file.
        hash_of: Makes the hash of an identifier.
        with_manufacturer: Also tell the manufacturer.
    """
    elements = header.elements

    def text(keyword: str) -> str:
        value = elements.get(keyword)
        return value.strip().upper() if isinstance(value, str) else ""

    orientation, spacing = directions(header, 1), pixel_spacing(header, 1)
    values: dict[str, object] = {
        "modality": _listed(text("Modality"), MODALITIES),
        "body_part": _listed(re.sub(r"[\s_]", "", text("BodyPartExamined")), BODY_PARTS).lower(),
        "laterality": _SIDES.get(text("ImageLaterality") or text("Laterality"), ""),
        "view": _listed(text("ViewPosition"), VIEWS),
        "age_band": age_band(text("PatientAge")),
        "sex": _SEXES.get(text("PatientSex"), ""),
        "plane": plane_of(orientation) if orientation is not None else "",
        "pixel_spacing_mm": [round(mm, 3) for mm in spacing] if spacing else "",
    }
    if with_manufacturer:
        words = text("Manufacturer").lower()
        names = (n for word, n in _MANUFACTURERS.items() if re.search(rf"\b{word}\b", words))
        values["manufacturer"] = next(names, "other") if words else ""
    for name, keyword in (
        ("patient", "PatientID"),
        ("study", "StudyInstanceUID"),
        ("series", "SeriesInstanceUID"),
    ):
        identifier = elements.get(keyword)
        values[name] = hash_of(name, str(identifier).strip()) if identifier else ""
    return {key: value for key, value in values.items() if value}


def _listed(value: str, known: frozenset[str]) -> str:
    """The value if it is in a list, else empty."""
    return value if value in known else ""


def age_band(age: str) -> str:
    """The band of ten years of DICOM's Patient Age, such as "40-49" of "045Y"; empty if unusable.

    Args:
        age: Three digits and D, W, M or Y.
    """
    match = _AGE.fullmatch(age)
    if match is None:
        return ""
    years = int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[match[2]]
    if years >= 90:
        return OLDEST_BAND
    start = int(years // 10) * 10
    return f"{start}-{start + 9}"


def text_in_pixels(header: DicomHeader) -> list[str]:
    """A note if the header suggests text in the pixels, such as ["header_says_ultrasound"].

    Radiofluoroscopy counts as ultrasound and secondary captures do: its machines write into the
    pixels too.

    Args:
        header: The header of the file.
    """
    elements = header.elements
    modality = str(elements.get("Modality") or "").strip().upper()
    texts = [
        f"BurnedInAnnotation: {elements.get('BurnedInAnnotation') or ''}",
        f"Modality: {'SC' if modality == 'RF' else modality}",
        f"SOPClassUID: {elements.get('SOPClassUID') or ''}",
        f"ConversionType: {elements.get('ConversionType') or ''}",
    ]
    return header_notes(texts)
