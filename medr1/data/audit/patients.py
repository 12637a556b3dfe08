"""Which patient and which series an item's images belong to, from its metadata and file names.

Images of one patient in training and test data leak: they look alike. Metadata comes first (keys
such as patient, patient_id, PatientID, subject; series, study). Without it, file names are matched
with the patterns below, each from a public collection. A number means a patient only within its
data set, so the data set's folder is part of the key. A file name that no pattern matches has no
patient: the number of an ISIC file, for example, is that of an image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from medr1.records import Sample

_PATIENT_KEYS = {"patient", "patientid", "patientname", "subject", "subjectid"}
"""Metadata keys in lower case, letters only: "Patient_ID" -> "patientid"."""
_SERIES_KEYS = {
    *("series", "seriesid", "seriesuid", "seriesinstanceuid", "study", "studyid", "studyuid"),
    *("studyinstanceuid", "scan", "scanid", "volume", "volumeid"),
}

_PATIENTS = (
    # PAT_1449_1554_932.png, patient00012/study1/view1_frontal.jpg, sub-04_T1w, subject_7, case 12
    re.compile(r"(?<![a-z])(?:patient|pat|pid|subject|subj|sub|case)[ _-]?(\d+)", re.IGNORECASE),
    # TCGA-02-0006-01Z.svs, LIDC-IDRI-0001, BraTS20_Training_001
    re.compile(r"(?<![a-z])(tcga-\w\w-\w{4}|lidc-idri-\d{4}|brats\w*?_\d+)", re.IGNORECASE),
    # MIMIC-CXR: p10/p10000032/s50414267/02aa804e.jpg
    re.compile(r"(?:^|/)p(\d{8})/"),
    # EyePACS: 405_left.jpeg and 405_right.jpeg
    re.compile(r"(?:^|/)(\d+)_(?:left|right|od|os)(?=[._ ]|$)", re.IGNORECASE),
    # ChestX-ray14: 00000013_005.png is the fifth image of patient 13
    re.compile(r"(?:^|/)(\d{8})_\d{3}\.\w+$"),
)
_SERIES = (
    # 1.3.6.1.4.1.14519.5.2.1.6279.6001.179049373636438705059720603192/000012.dcm
    re.compile(r"(?:^|/)(\d+(?:\.\d+){6,})/[^/]*$"),
    # volume-12_slice_034.png, knee3-frame7.jpg: the name before the running number
    re.compile(r"(?:^|/)([^/]*?\w)[ _-]+(?:slice|frame|slc|img_z)[ _-]?\d+[^/]*$", re.IGNORECASE),
    # CheXpert and MIMIC: .../study1/, .../s50414267/
    re.compile(r"((?:^|/)[^/]+/(?:study\d+|s\d{8}))/", re.IGNORECASE),
)
_SPLITS = re.compile(r"^(?:train(?:ing)?|test(?:ing)?|val|valid(?:ation)?|dev)$", re.IGNORECASE)


def patients(sample: Sample) -> set[str]:
    """The keys of the patients that the item's images show; empty where they are not known.

    Equal keys mean the same patient: "images/padufes20|1449".
    """
    return set(_keys(sample, _PATIENT_KEYS, _PATIENTS))


def series(sample: Sample) -> set[str]:
    """The keys of the series, studies or volumes of the item's images; empty if not known."""
    return set(_keys(sample, _SERIES_KEYS, _SERIES))


def _keys(sample: Sample, names: set[str], patterns: tuple[re.Pattern[str], ...]) -> Iterator[str]:
    """Keys from metadata with one of these names, else from file names by these patterns."""
    in_metadata = False
    for key, value in sample.metadata.items():
        # A bool is an int in Python, but no identifier; "Patient ID" and "patient_id" are one key.
        text = isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip()
        if text and re.sub(r"[^a-z]", "", key.lower()) in names:
            in_metadata = True
            yield f"{(sample.dataset or '').casefold()}|{text.casefold()}"
    # What the data set states is right; a file name is only a guess.
    if in_metadata:
        return
    for image in sample.images:
        for identifier in _identifiers(image, patterns):
            yield f"{collection(image)}|{identifier}"


@lru_cache(maxsize=200_000)
def _identifiers(image: str, patterns: tuple[re.Pattern[str], ...]) -> tuple[str, ...]:
    """The identifier by the first pattern that matches, without leading zeros; else nothing."""
    path = image.replace("\\", "/")
    for pattern in patterns:
        if match := pattern.search(path):
            return (match[1].casefold().lstrip("0") or "0",)
    return ()


def collection(image: str) -> str:
    """The data set's folder: the first two folders of a path, without those named after a split.

    "images/padufes20/train/PAT_1_2.png" -> "images/padufes20"
    """
    folders = image.replace("\\", "/").split("/")[:-1]
    named_folders = [name for name in folders if name not in ("", ".") and not _SPLITS.match(name)]
    return "/".join(named_folders[:2]).casefold()
