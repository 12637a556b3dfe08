"""Words that deny a thing without a "not", and words that say it under another name."""

from __future__ import annotations

from functools import lru_cache

from medr1.answers.prose.terms import stem, stems

_ANTONYMS = (
    ("normal", "abnormal enlarged dilated thickened fracture effaced widened reduced lost"),
    ("healthy", "abnormal diseased unhealthy"), ("abnormal", "normal unremarkable"),
    ("enlarged", "small normal atrophic shrunken collapsed contracted"), ("large", "small tiny"),
    ("small", "large enlarged"), ("benign", "malignant cancerous malignancy"),
    ("malignant", "benign"), ("malignancy", "benign"), ("cancer", "benign"),
    ("intact", "torn tear interrupted ruptured broken disrupted fractured discontinuity"),
    ("fracture", "intact"),
    ("torn", "intact"), ("displaced", "non-displaced aligned undisplaced anatomical"),
    ("non-displaced", "displaced"), ("midline", "deviated shifted displaced deviation shift"),
    ("deviated", "midline central"), ("shift", "midline"), ("acute", "chronic old"),
    ("chronic", "acute recent"), ("symmetric", "asymmetric asymmetry asymmetrical differ unequal"),
    ("asymmetric", "symmetric symmetrical"), ("unilateral", "bilateral both"),
    ("bilateral", "unilateral"), ("well-defined", "infiltrative irregular ill-defined spiculated"),
    ("ill-defined", "well-defined circumscribed smooth sharp"),
    ("smooth", "irregular spiculated nodular"),
    ("regular", "irregular"), ("irregular", "regular smooth"), ("sharp", "blunted blurred"),
    ("blunted", "sharp"), ("open", "effaced closed"), ("effaced", "open preserved"),
    ("solid", "cystic"), ("cystic", "solid"), ("solitary", "multiple several two three"),
    ("multiple", "single solitary one"), ("widened", "normal narrow"),
    ("homogeneous", "heterogeneous inhomogeneous"), ("heterogeneous", "homogeneous uniform"),
    ("hyperdense", "hypodense"), ("hypodense", "hyperdense"), ("hyperintense", "hypointense dark"),
    ("hypointense", "hyperintense bright"), ("bright", "dark"), ("dark", "bright"),
    ("erect", "supine"), ("supine", "upright erect"), ("confined", "extends invades beyond"),
    ("invade", "confined contained intact"), ("deep", "superficial"), ("proximal", "distal"),
    ("distal", "proximal"), ("upper", "lower"), ("lower", "upper"), ("anterior", "posterior"),
    ("posterior", "anterior"), ("low", "high"), ("high", "low"), ("elevated", "normal flattened"),
    ("satisfactory", "malposition malpositioned poor inadequate bronchus"), ("well", "poorly"),
    ("pedunculated", "sessile flat broad-based"), ("sessile", "pedunculated"),
    ("swollen", "sharp flat"),
    ("midline shift", "central midline centered"),
    ("patent", "occluded occluding occlusion thrombosed thrombus obstructed embolus"),
    ("occluded", "patent open"), ("contrast", "unenhanced noncontrast non-contrast"),
    ("contrast-enhanced", "unenhanced noncontrast non-contrast"), ("viable", "necrotic"),
    ("non-contrast", "opacified enhanced gadolinium contrast-enhanced"),
    ("intravenous contrast", "unenhanced noncontrast non-contrast"),
    ("inflated", "hyperinflated collapsed underinflated"), ("round", "irregular oval linear"),
)  # fmt: skip
"""What is asked -> words that deny it where they are asserted."""
_SAME = (
    ("contrast", "opacified enhanced enhancement gadolinium"),
    ("contrast-enhanced", "contrast opacified enhanced gadolinium"),
    ("intravenous contrast", "contrast opacified enhanced gadolinium"),
    ("intubated", "endotracheal"), ("chronic", "old"), ("acute", "recent new"),
    ("enlarged", "aneurysmal ectatic big hypertrophied larger"), ("swollen", "edematous swelling"),
    ("elevated", "raised higher"), ("symmetric", "equal symmetrical"), ("displaced", "angulated"),
    ("cancer", "carcinoma malignant malignancy"), ("malignant", "carcinoma cancer metastatic"),
    ("invade", "invasion extends infiltrates"), ("multiple", "several many numerous"),
    ("deviated", "shifted displaced pushed"), ("midline", "central centrally"),
    ("irregular", "spiculated"),
    ("tear", "rupture discontinuous discontinuity disrupted"),
    ("mass effect", "compressed displaced effaced pushed shifted"),
    ("well-defined", "circumscribed"),
)  # fmt: skip
"""What is asked -> words that say it here, though they are no names of one thing."""


def _by_name(table: tuple[tuple[str, str], ...]) -> dict[str, frozenset[str]]:
    words: dict[str, frozenset[str]] = {}
    for name, others in table:
        for key in (name, stem(name)):
            words[key] = words.get(key, frozenset()) | stems(others)
    return words


@lru_cache(maxsize=1)
def opposites() -> dict[str, frozenset[str]]:
    return _by_name(_ANTONYMS)


@lru_cache(maxsize=1)
def equals() -> dict[str, frozenset[str]]:
    return _by_name(_SAME)
