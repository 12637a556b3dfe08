"""Antonyms and synonyms of the words in yes/no questions.

"Is the heart enlarged?": "The heart is small" denies it without a "not", and "The heart is
hypertrophied" affirms it in another word.
"""

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
"""(word of the question, words that deny it if the answer asserts them)."""
_SYNONYMS = (
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
"""(word of the question, words that affirm it in an answer).

The vocabulary does not have these pairs, because they do not mean the same in other questions.
"""


def _stems_by_name(table: tuple[tuple[str, str], ...]) -> dict[str, frozenset[str]]:
    """The table with each word of the question, also stemmed, as a key, and stems as values."""
    stems_by_name: dict[str, frozenset[str]] = {}
    for name, listed_words in table:
        for key in (name, stem(name)):
            stems_by_name[key] = stems_by_name.get(key, frozenset()) | stems(listed_words)
    return stems_by_name


@lru_cache(maxsize=1)
def antonyms() -> dict[str, frozenset[str]]:
    """Word of a question -> stems of the words that deny it."""
    return _stems_by_name(_ANTONYMS)


@lru_cache(maxsize=1)
def synonyms() -> dict[str, frozenset[str]]:
    """Word of a question -> stems of the words that affirm it."""
    return _stems_by_name(_SYNONYMS)
