"""The terms that claims are read with: modalities, planes, sides, body parts, devices, findings.

Body parts and findings have broader terms: the upper lobe is part of the lung, which is part of the
chest; an epidural hematoma is a hematoma. The tables here are what the comparison needs; further
names of diseases, findings, devices, organs and modalities, some of them from ICD-10-CM, come from
answers/vocabulary.tsv.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

MODALITIES = {
    "x-ray": "x ray, xray, x rays, xr, radiograph, radiography, plain film, roentgenogram, cr, dx, "
    "chest film, digital radiography, computed radiography, cxr, rx, rg",
    "ct": "ct, computed tomography, ct scan, cat scan, computerized tomography, cect, ncct, hrct",
    "mri": "mri, mr, magnetic resonance, magnetic resonance imaging, mr imaging, nmr, fmri, dwi, "
    "diffusion weighted image, t1 weighted image, t2 weighted image, flair image",
    "ultrasound": "ultrasound, us, sonogram, sonography, ultrasonography, ultrasonogram, doppler, "
    "echo, echocardiogram, echocardiography, ultrasonic image",
    "pet": "pet, pt, positron emission tomography, pet scan",
    "pet+ct": "pet ct",
    "nuclear": "scintigraphy, bone scan, spect, nuclear medicine, nm, scintigram",
    "mammography": "mammogram, mammography, mg, tomosynthesis",
    "fluoroscopy": "fluoroscopy, fluoroscopic image, rf, barium swallow, barium enema",
    "angiography": "angiogram, angiography, xa, dsa",
    "fundus": "fundus photograph, fundus photography, fundus image, fundus photo, fundoscopy, "
    "retinal photograph, retinal photography, color fundus, fundus camera, fundus",
    "fluorescein": "fluorescein angiogram, fluorescein angiography, ffa",
    "oct": "oct, optical coherence tomography, oct scan, oct b scan, opt",
    "dermoscopy": "dermoscopy, dermoscopic image, dermatoscopy, dermatoscopic image, dermoscopic, "
    "dermoscopic photograph",
    "endoscopy": "endoscopy, endoscopic image, endoscopic view, endoscopic, es, gastroscopy, "
    "colonoscopy, colonoscopic image, bronchoscopy, laparoscopy, endoscopic photograph, "
    "cystoscopy, capsule endoscopy",
    "microscopy": "microscopy, histopathology, histology, micrograph, photomicrograph, histologic, "
    "histopathological, histological, microscopic image, microscopic, pathology slide, gm, sm, "
    "h e slide, histology slide, histopathology slide, microscopy image, cytology, h e stained, "
    "whole slide image, biopsy slide, electron micrograph, h e",
    "photograph": "clinical photograph, clinical photo, xc",
}
"""Modality -> its names. DICOM codes are among them; `reading` ignores some in sentences."""
CODES = frozenset(
    ("cr", "dx", "us", "pt", "nm", "mg", "rf", "xa", "es", "gm", "sm", "xc", "opt", "rg", "rx")
) | {"echo", "fundus"}
"""Names that stand for a modality in a field, and mean something else, or little, in a sentence."""
SIMILAR_MODALITIES = (
    {"x-ray", "mammography", "fluoroscopy", "angiography"},
    {"ct", "angiography"},
    {"mri", "angiography"},
    {"pet+ct", "pet", "nuclear"},
    {"pet+ct", "ct"},
    {"pet", "nuclear"},
    {"ultrasound", "endoscopy"},
    {"fluorescein", "angiography"},
    {"photograph", "fundus", "dermoscopy", "endoscopy"},
)
"""Modalities that do not contradict each other."""

PLANES = {
    "axial": "axial, transverse, transaxial, transversal, ax",
    "sagittal": "sagittal, midsagittal, parasagittal, sag",
    "coronal": "coronal, cor",
    "frontal": "frontal",
    "pa": "pa, posteroanterior, posterior anterior, postero anterior",
    "ap": "ap, anteroposterior, anterior posterior, antero posterior",
    "lateral": "lateral, ll, rl, lat, profile view",
    "oblique": "oblique, llo, rlo, lao, rao",
    "mlo": "mlo, mediolateral oblique, medio lateral oblique",
    "cc": "cc, craniocaudal, cranio caudal, craniocaudad",
}
"""Plane or view -> its names."""
SIMILAR_PLANES = (
    {"frontal", "pa"},
    {"frontal", "ap"},
    {"frontal", "coronal"},
    {"mlo", "oblique"},
    {"mlo", "lateral"},
)
"""Planes and views that do not contradict each other."""

SIDES = {
    "left": "left, left sided, leftsided",
    "right": "right, right sided, rightsided",
    "both": "both, bilateral, bilaterally",
}
NOT_SIDES = (
    "right choice, right answer, right option, right one, right diagnosis, right ventricle, "
    "left ventricle, right atrium, left atrium, right ventricular, left ventricular, right heart, "
    "left heart, right atrial, left atrial, all right, is right, is left, left over, right away, "
    "right side of the image, left side of the image, right side of the picture, "
    "left side of the picture, image right, image left, right of the image, left of the image, "
    "to the left, to the right, from the left, from the right, the left side of the screen, "
    "side by side, right coronary, left coronary, left main, right heart border, "
    "left anterior descending, right side of the scan, left side of the scan, "
    "left to right, right to left, frontal lobe, frontal bone, frontal sinus, lateral ventricle, "
    "lateral meniscus, lateral condyle, lateral wall, lateral border, temporal lobe"
)
"""Phrases with a word of side or plane that say nothing of the side or plane."""

PARTS = {
    "head": ("", "head, cranium, cranial, intracranial, skull, calvarium"),
    "brain": (
        "head",
        "brain, cerebral, cerebrum, brain parenchyma, cerebellum, gyri, sulci, hemisphere, "
        "cerebral hemisphere, frontal lobe, temporal lobe, parietal lobe, occipital lobe, "
        "lateral ventricle, thalamus, brainstem, corpus callosum, basal ganglia, mca territory, "
        "cerebral convexity",
    ),
    "pituitary": ("brain", "pituitary"),
    "eye": ("head", "eye, ocular, orbit, orbital, eyeball"),
    "retina": ("eye", "retina, retinal, macula, macular, fundus, optic disc, fovea"),
    "face": ("head", "face, facial, sinus, sinuses, nose, nasal"),
    "jaw": ("head", "jaw, mandible, teeth, tooth, dental, maxilla"),
    "ear": ("head", "ear, temporal bone"),
    "neck": ("", "neck, cervical, cervical spine, larynx"),
    "thyroid": ("neck", "thyroid, thyroid gland, thyroid lobe"),
    "trachea": ("neck chest", "trachea, tracheal"),
    "chest": ("", "chest, thorax, thoracic, chest wall, hemithorax"),
    "lung": (
        "chest",
        "lung, pulmonary, lung field, lung zone, lung base, lung apex, upper zone, lower zone, "
        "pleura, pleural, right middle lobe, bronchus, bronchial, bronchi",
    ),
    "upper lobe": ("lung", "upper lobe, upper lobe of the lung"),
    "lower lobe": ("lung", "lower lobe"),
    "middle lobe": ("lung", "middle lobe"),
    "heart": ("chest", "heart, cardiac, cardiac silhouette, myocardium, myocardial, pericardium"),
    "mediastinum": ("chest", "mediastinum, mediastinal"),
    "rib": ("chest", "rib"),
    "breast": ("chest", "breast, breast tissue"),
    "esophagus": ("chest neck abdomen", "esophagus, esophageal"),
    "aorta": ("chest abdomen", "aorta, aortic"),
    "diaphragm": ("chest abdomen", "diaphragm, hemidiaphragm"),
    "abdomen": ("", "abdomen, abdominal, belly"),
    "liver": ("abdomen", "liver, hepatic"),
    "gallbladder": ("abdomen", "gallbladder, gall bladder"),
    "bile duct": ("abdomen", "bile duct, biliary"),
    "spleen": ("abdomen", "spleen, splenic"),
    "pancreas": ("abdomen", "pancreas, pancreatic"),
    "stomach": ("abdomen", "stomach, gastric, antrum, pylorus"),
    "bowel": ("abdomen pelvis", "bowel, intestine, intestinal, bowel loop, gut"),
    "colon": (
        "bowel",
        "colon, colonic, large intestine, large bowel, sigmoid, cecum, caecum, colonic mucosa",
    ),
    "small bowel": ("bowel", "small bowel, small intestine, jejunum, ileum"),
    "duodenum": ("small bowel", "duodenum, duodenal"),
    "appendix": ("bowel", "appendix"),
    "rectum": ("colon", "rectum, rectal"),
    "kidney": ("abdomen", "kidney, renal"),
    "adrenal": ("abdomen", "adrenal, adrenal gland"),
    "ureter": ("abdomen pelvis", "ureter, ureteral, ureteric"),
    "pelvis": ("", "pelvis, pelvic"),
    "bladder": ("pelvis abdomen", "bladder, urinary bladder"),
    "prostate": ("pelvis", "prostate, prostatic, prostate gland"),
    "uterus": ("pelvis", "uterus, uterine"),
    "cervix": ("uterus", "cervix, uterine cervix"),
    "ovary": ("pelvis", "ovary, ovarian"),
    "testis": ("pelvis", "testis, testicle, scrotum, testicular, scrotal"),
    "spine": ("neck chest abdomen pelvis", "spine, spinal, vertebra, vertebral, vertebrae"),
    "lumbar spine": ("spine", "lumbar spine, lumbar, lumbosacral spine, l spine"),
    "spinal cord": ("spine", "spinal cord"),
    "arm": ("", "arm, upper limb, upper extremity, humerus"),
    "shoulder": ("arm chest", "shoulder, clavicle, scapula, shoulder joint"),
    "elbow": ("arm", "elbow, elbow joint"),
    "forearm": ("arm", "forearm, radius, ulna, distal radius"),
    "wrist": ("arm", "wrist, carpal, carpal bone, scaphoid, wrist joint"),
    "hand": ("arm", "hand, finger, thumb, metacarpal"),
    "leg": ("", "leg, lower limb, lower extremity, tibia, fibula"),
    "hip": ("pelvis leg", "hip, hip joint, femoral head, acetabulum"),
    "femur": ("leg", "femur, thigh, femoral"),
    "knee": ("leg", "knee, patella, knee joint, femoral condyle, meniscus, menisci"),
    "ankle": ("leg", "ankle, ankle joint"),
    "foot": ("leg", "foot, feet, toe, heel, calcaneus, metatarsal"),
    "skin": ("", "skin, cutaneous, epidermis, dermis"),
    "lymph node": ("", "lymph node"),
}
"""Body part -> (the parts that it is in, its names). A part is in the parts of these, too."""
SAME_PLACE = ({"forearm", "wrist"}, {"wrist", "hand"}, {"ankle", "foot"}, {"hip", "femur"})
"""Neighbouring parts that an image of one of them also shows."""
PART_OF_MODALITY = {
    "fundus": "retina",
    "fluorescein": "retina",
    "oct": "retina",
    "dermoscopy": "skin",
    "mammography": "breast",
}
"""Modality -> the only body part that it shows."""

DEVICES = (
    "endotracheal tube, nasogastric tube, chest tube, pacemaker, central venous catheter, "
    "catheter, central line, picc line, stent, icd, tracheostomy tube, feeding tube, drain, "
    "prosthesis, "
    "surgical clip, screw, plate, implant, port, sternal wire, et tube, ng tube, pigtail catheter, "
    "defibrillator, shunt, tube"
)
SEVERITIES = (
    "mild, moderate, severe, small, large, massive, minimal, marked, extensive, trace, tiny, "
    "moderately, mildly, severely"
)

FINDINGS = {
    "effusion": ("", "effusion, pleural effusion, pleural fluid"),
    "pericardial effusion": ("", "pericardial effusion"),
    "pneumothorax": ("", "pneumothorax, pneumothoraces"),
    "consolidation": ("opacity", "consolidation, airspace disease"),
    "opacity": ("", "opacity, opacification, infiltrate, ground glass opacity, opacities"),
    "pneumonia": ("", "pneumonia, bronchopneumonia"),
    "atelectasis": ("", "atelectasis"),
    "edema": ("", "edema, pulmonary edema, macular edema"),
    "emphysema": ("", "emphysema"),
    "cardiomegaly": ("", "cardiomegaly, enlarged heart, cardiac enlargement"),
    "mass": ("lesion", "mass, masses"),
    "nodule": ("lesion", "nodule"),
    "tumor": ("mass", "tumor, neoplasm, malignancy"),
    "cervical cancer": ("cancer", "cervical cancer"),
    "cancer": ("tumor", "cancer, carcinoma, malignant tumor"),
    "adenocarcinoma": ("cancer", "adenocarcinoma"),
    "metastasis": ("tumor", "metastasis, metastases"),
    "lymphoma": ("tumor", "lymphoma"),
    "glioma": ("tumor", "glioma"),
    "glioblastoma": ("glioma", "glioblastoma, glioblastoma multiforme, gbm"),
    "meningioma": ("tumor", "meningioma"),
    "melanoma": ("cancer", "melanoma, malignant melanoma"),
    "basal cell carcinoma": ("cancer", "basal cell carcinoma"),
    "squamous cell carcinoma": ("cancer", "squamous cell carcinoma"),
    "nevus": ("", "nevus, nevi, naevus, melanocytic nevus, mole"),
    "seborrheic keratosis": ("", "seborrheic keratosis"),
    "lesion": ("", "lesion"),
    "cyst": ("lesion", "cyst"),
    "abscess": ("lesion", "abscess, abscesses"),
    "polyp": ("", "polyp"),
    "ulcer": ("", "ulcer, ulceration, gastric ulcer"),
    "fracture": ("", "fracture"),
    "dislocation": ("", "dislocation"),
    "hemorrhage": ("", "hemorrhage, bleeding, bleed, dot hemorrhage, intracranial hemorrhage"),
    "hematoma": ("hemorrhage", "hematoma"),
    "subdural hematoma": ("hematoma", "subdural hematoma, subdural hemorrhage"),
    "epidural hematoma": ("hematoma", "epidural hematoma, extradural hematoma"),
    "infarct": ("", "infarct, infarction, stroke, ischemia, ischemic stroke"),
    "hydrocephalus": ("", "hydrocephalus"),
    "stone": ("", "stone, calculus, calculi"),
    "gallstone": ("stone", "gallstone, cholelithiasis"),
    "kidney stone": ("stone", "kidney stone, renal stone, ureteral stone, nephrolithiasis"),
    "hydronephrosis": ("", "hydronephrosis"),
    "calcification": ("", "calcification"),
    "microcalcification": ("calcification", "microcalcification"),
    "microaneurysm": ("", "microaneurysm"),
    "exudate": ("", "exudate, hard exudate"),
    "cotton wool spot": ("", "cotton wool spot"),
    "drusen": ("", "drusen, druse"),
    "diabetic retinopathy": ("", "diabetic retinopathy"),
    "glaucoma": ("", "glaucoma"),
    "cataract": ("", "cataract"),
    "macular degeneration": ("", "macular degeneration, age related macular degeneration, amd"),
    "aneurysm": ("", "aneurysm"),
    "tear": ("", "tear, rupture"),
    "lymphadenopathy": ("", "lymphadenopathy, enlarged lymph node"),
    "thickening": ("", "wall thickening, pleural thickening"),
    "ascites": ("", "ascites, free fluid"),
    "free air": ("", "free air, pneumoperitoneum"),
    "obstruction": ("", "obstruction, bowel obstruction"),
    "scoliosis": ("", "scoliosis"),
    "cirrhosis": ("", "cirrhosis"),
    "steatosis": ("", "steatosis, fatty liver"),
    "dissection": ("", "dissection"),
    "embolism": ("", "embolism, embolus, pulmonary embolism"),
    "thrombosis": ("", "thrombosis, thrombus"),
    "stenosis": ("", "stenosis"),
    "hernia": ("", "hernia, herniation"),
    "osteoarthritis": ("", "osteoarthritis"),
    "inflammation": ("", "inflammation"),
    "midline shift": ("", "midline shift"),
}
"""Finding -> (the broader finding, "" for none; its names)."""
NOT_ABNORMAL = frozenset(("artifact", "motion artifact", "metal artifact", "mitosis", "injury"))
"""Findings that a normal image may have."""
ADJECTIVES = {
    ("heart", "enlarged"): "cardiomegaly",
    ("", "fractured"): "fracture",
    ("", "dislocated"): "dislocation",
}
"""(body part that has to be its subject, or "", and an adjective) -> the finding that it means."""

_SPELLINGS = (
    (re.compile("haem"), "hem"),
    (re.compile("oedema"), "edema"),
    (re.compile("tumour"), "tumor"),
    (re.compile("colour"), "color"),
    (re.compile("oesoph"), "esoph"),
    (re.compile("ischaem"), "ischem"),
    (re.compile("orrhoe"), "orrhe"),
)


def normalized(word: str) -> str:
    """A word in lower case with American spelling."""
    if "ae" in word or "oe" in word or "our" in word:
        for pattern, replacement in _SPELLINGS:
            word = pattern.sub(replacement, word)
    return word


def names(text: str) -> list[str]:
    """The names in a list with commas."""
    return [" ".join(name.split()) for name in text.split(",")]


@cache
def term_table() -> Mapping[str, tuple[str, str]]:
    """Name in lower case, words separated by one space -> (kind of term, value).

    The kinds are the letters that `marking` writes: M modality, V plane or view, S side, P body
    part, D device, G severity, F finding; X is a phrase to be ignored.
    """
    table: dict[str, tuple[str, str]] = {}
    for kind, terms in (("V", PLANES), ("S", SIDES)):
        for value, listed in terms.items():
            table |= dict.fromkeys(names(listed), (kind, value))
    table |= dict.fromkeys(names(NOT_SIDES), ("X", ""))
    for kind, groups in (("P", PARTS), ("F", FINDINGS)):
        for value, (_, listed) in groups.items():
            table |= dict.fromkeys(names(listed), (kind, value))
    table |= {name: ("D", name) for name in names(DEVICES)}
    table |= {name: ("G", name) for name in names(SEVERITIES)}
    for value, listed in MODALITIES.items():
        table |= {name: ("M", value) for name in names(listed) if name not in CODES}
    return {**dict(_further_names(table)), **table}


_KINDS = {"diagnosis": "F", "finding": "F", "device": "D", "organ": "P", "modality": "M"}
"""Kind in answers/vocabulary.tsv -> kind here."""


def _further_names(table: Mapping[str, tuple[str, str]]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Names in answers/vocabulary.tsv with kind and value, for a table that lacks them.

    A name with the name of a part or side in it, such as "liver mass", is left out, since its words
    are read one by one.
    """
    words = {name for name, (kind, _) in table.items() if kind in "PSV"}
    for row in _rows().values():
        kind = _KINDS.get(row["kind"], "")
        value = row["term"]
        listed = [value, *filter(None, row["synonyms"].split(" | "))]
        listed = [" ".join(re.findall(r"[a-z0-9]+", name)) for name in listed if name.islower()]
        if kind in ("P", "M"):
            value = _own_value(row["term"], kind, table)
        elif own := [table[name][1] for name in listed if table.get(name, ("",))[0] == kind]:
            value = own[0]
        for name in listed:
            if kind and value and len(name) > 3 and (kind == "P" or words.isdisjoint(name.split())):
                yield name, (kind, value)


@cache
def _rows() -> Mapping[str, Mapping[str, str]]:
    """Term -> its row in answers/vocabulary.tsv, for the kinds that are read here."""
    text = files("medr1.answers").joinpath("vocabulary.tsv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row["term"]: row for row in rows if row["kind"] in _KINDS}


def _broader_rows(term: str) -> list[str]:
    """A term of answers/vocabulary.tsv with its broader terms, the nearest first."""
    listed = [term]
    for name in listed:
        row = _rows().get(name)
        listed += [
            broader
            for broader in (row["broader"].split(" | ") if row else ())
            if broader and broader not in listed
        ]
    return listed


def _own_value(term: str, kind: str, table: Mapping[str, tuple[str, str]]) -> str:
    """The nearest part or modality of the tables here that a term is or belongs to; "" for none."""
    for broader in _broader_rows(term):
        entry = table.get(broader.replace("-", " "))
        if entry and entry[0] == kind:
            return entry[1]
    return ""


@cache
def modality_names() -> Mapping[str, str]:
    """Every name and code of a modality, as fields of items hold them -> the modality."""
    return {name: value for value, listed in MODALITIES.items() for name in names(listed)}


@cache
def wider_parts(part: str) -> frozenset[str]:
    """A body part with all parts that it is in: the lung, the chest."""
    parents = PARTS[part][0]
    # "lumbar spine" and the like are one name, and several parents are separated by spaces
    listed = [parents] if parents in PARTS else parents.split()
    return frozenset([part]).union(*(wider_parts(parent) for parent in listed))


@cache
def regions(part: str) -> frozenset[str]:
    """The regions of the body that a part is in: those of the parts that are in no other."""
    return frozenset(name for name in wider_parts(part) if not PARTS[name][0])


@cache
def broader_findings(finding: str) -> tuple[str, ...]:
    """A finding with its broader ones: epidural hematoma, hematoma, hemorrhage."""
    if finding in FINDINGS:
        parent = FINDINGS[finding][0]
        return (finding, *broader_findings(parent)) if parent else (finding,)
    listed = [finding]
    for name in _broader_rows(finding)[1:]:
        kind, value = term_table().get(name, ("", ""))
        listed += broader_findings(value) if kind == "F" and value in FINDINGS else [name]
    return tuple(dict.fromkeys(listed))


def same_group(first: str, second: str, groups: tuple[set[str], ...]) -> bool:
    """Whether two values are equal, or in one of the groups of values that go together.

    Args:
        first: A modality, plane or body part.
        second: Another of the same kind.
        groups: SIMILAR_MODALITIES, SIMILAR_PLANES or SAME_PLACE.
    """
    return first == second or any(first in group and second in group for group in groups)
