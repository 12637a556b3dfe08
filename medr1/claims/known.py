"""What is known of an item: from its fields, its question, its ground truth and its own answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from medr1.claims.marking import Marked, mark
from medr1.claims.vocabulary import PART_OF_MODALITY, PLANES, modality_names, names
from medr1.records import Sample

MODALITY_KEYS = ("modality",)
PART_KEYS = ("body_part", "bodypart", "bodypartexamined", "organ", "anatomy", "region", "location")
SIDE_KEYS = ("laterality", "imagelaterality", "side")
PLANE_KEYS = ("viewposition", "view_position", "view", "plane", "orientation", "projection")
"""Keys of the metadata, in lower case. Those without an underscore are DICOM keywords."""

MAX_WORDS = 60
"""A longer ground truth, such as a report, tells only its findings."""
_NORMAL_TRUTH = re.compile(
    r"^(?:an? |the )?(?:normal|healthy|unremarkable|no (?:abnormalit(?:y|ies)|finding|findings|"
    r"disease|acute findings?|pathology)|none)\b"
)
_ASKS = {
    "modality": r"\b(?:modality|imaging (?:technique|method|type)|(?:type|kind) of (?:imag\w+|scan|"
    r"picture|photo)|how was this|technique)\b",
    "plane": r"\b(?:plane|orientation|projection|view|section|how was .* taken)\b",
    "part": r"\b(?:organ|body part|anatomical|structure|anatomy|tissue|part of the body|region)\b",
    "place": r"\b(?:where|which (?:part|lobe|lung|kidney|side|area|region)|location|located|"
    r"(?:which|what) (?:\w+ ){0,2}side)\b",
}
_ASKS_ONE_PART = re.compile(
    r"abnormal|affect|involv|enlarged|lesion|mass|tumou?r|cancer|arrow|largest|smallest|diseas|"
    r"injur|contain|damaged|invade|originat",
    re.IGNORECASE,
)
"""A question about one of several parts: the image shows others than the right one too."""
_ASKED_IMAGE = re.compile(
    r"^(?:is|are|was|were|does) (?:this|these|it|the (?:given |provided |present )?"
    r"(?:image|scan|picture|film|slide|study|view))"
    r"(?: (?:image|scan|picture|film|study|slide|view|slice|section))?"
    r"(?: (?:an?|of|in|the|taken|made|acquired|obtained|from|by|show|using|with))* "
    r"(?P<image>(?:[a-z0-9]+ )?(?:[MVPS]\d+ ?){1,4})"
)
"""A yes/no question that asks what the image is: "is this an axial CT?"."""
_QUALIFIED = re.compile(
    r"\b(?:more|multiple|several|other|new|another|only|single|larger?|smaller|bigger|increased|change|"
    r"enlarged|worse|any other|additional|than|G\d+)\b"
)
"""What is more than the finding itself: "no" to "more than one lesion?" denies no lesion."""
_NOT_NAMED = re.compile(
    r"\b(?:mass|lesion|abnormality|image|scan|picture|view|is|are|was|this|the|of|in|it)\b"
)
_STOP = (
    r"(?= ?(?:\?|\.|,|$)| (?:in|on|of|at|within|seen|visible|present|shown|noted|from|near|"
    r"identified|evident|here|around|to|over)\b)"
)
_PHRASE = r"(?P<phrase>(?:(?!\?)[^ ]+ ?){1,6}?)" + _STOP
_ASKED_FINDING = tuple(
    re.compile(pattern)
    for pattern in (
        r"^(?:is|are) there (?:any |an? |the |some )?"
        r"(?:evidence of |signs? of |presence of )?(?:any |an? )?" + _PHRASE,
        r"^do(?:es)? (?:this|the|these) (?:[^ ]+ ){1,6}?(?:show|have|contain|demonstrate|reveal|"
        r"suffer from|indicate|exhibit|display|depict) (?:any |an? |the |some )?"
        r"(?:evidence of |signs? of )?(?:any |an? )?" + _PHRASE,
        r"^(?:is|are) (?:the |this )?(?:[SV]\d+ )?P\d+ (?P<phrase>F\d+)",
        r"^(?:is|are) (?:an? |any )" + _PHRASE,
        r"^(?:is|are) (?P<phrase>[FD]\d+)(?= (?:present|seen|visible|shown))",
        r"^can (?:you |we |an? |any )?(?:see |identify )?(?:any |an? )?" + _PHRASE + " be seen",
    )
)
_ASKED_NORMAL = re.compile(
    r"^(?:is|are|does) (?:this |the |these |both )?(?P<subject>.*?) (?:look |appear )?"
    r"(?P<state>normal|clear|healthy|unremarkable|abnormal)\b"
)
_IMAGE_WORD = re.compile(r"M\d|image|scan|picture|slide|film|photo")
_ASKED_STATE = re.compile(
    r"^(?:is|are) (?:this |the )?(?:[SV]\d+ )?(?P<part>P\d+) "
    r"(?P<adjective>enlarged|fractured|dislocated)"
)
_STATES = {"enlarged": "cardiomegaly", "fractured": "fracture", "dislocated": "dislocation"}
_IMAGE_PHRASE = re.compile(
    r"\b(?:this|the|these|that|your) (?P<image>(?:(?!of\b|in\b|is\b|are\b|that\b)[^ ?.,]+ ){0,4}?"
    r"(?:M\d+|image|scan|picture|slide|photograph|photo|film|view|slice|section)"
    r"(?: (?:image|scan|view|slice))?(?: (?:of|from) (?:the |an? )?(?:S\d+ )?(?:P\d+)?)?)"
)


@dataclass(frozen=True)
class Facts:
    """What one source says of an item; an empty value says nothing."""

    modalities: frozenset[str] = frozenset()
    planes: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    """What the image shows."""
    exact_parts: bool = False
    """Whether the image shows these parts and no other organ of the same region."""
    places: frozenset[str] = frozenset()
    """Where the finding is."""
    side: str | None = None
    """The side that the finding is on."""
    laterality: str | None = None
    """The side of the body that the image shows."""
    present: frozenset[str] = frozenset()
    """Findings and devices that are there."""
    absent: frozenset[str] = frozenset()
    """Findings and devices that are not there."""
    subjects: frozenset[str] = frozenset()
    """The findings that `places` and `side` are about."""
    normal: bool | None = None
    normal_part: str = ""
    """What is normal, or is not: a body part, or "" for the image."""
    is_yes_no: bool = False
    """Whether the source is yes or no. "An effusion on the right? Yes" allows one on the left."""
    others: frozenset[str] = frozenset()
    """The findings that the other options name, where each option names another one."""

    def __bool__(self) -> bool:
        return self != Facts()


@dataclass(frozen=True)
class Known:
    """What is known of an item and of its own answer."""

    given: Facts = Facts()
    """From the fields, the metadata and the question."""
    truth: Facts = Facts()
    """From the ground truth."""
    answer: Facts = Facts()
    """From the answer that the completion ends with, read as if it were the ground truth."""
    question: str = ""
    extra: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Names of findings that only the question or an option has, as in `marking.mark`."""


def known_of(sample: Sample, answer: str | None = None) -> Known:
    """What is known of an item.

    Args:
        sample: The item.
        answer: The answer that was extracted from the completion: a letter or a text; None leaves
            contradictions with it out.
    """
    extra = _extra_names(sample)
    question = mark(sample.question, extra)
    fields = _given(sample, question)
    read = _AnswerReader(sample, question, extra)
    truth = read.facts(sample.ground_truth)
    if truth.modalities and not (truth.modalities & fields.modalities) and fields.modalities:
        fields = replace(
            fields, modalities=frozenset()
        )  # the fields disagree, so the answer key counts
    return Known(fields, truth, read.facts(answer), sample.question, extra)


# --- fields -----------------------------------------------------------------------------------


def _given(sample: Sample, question: Marked) -> Facts:
    """What the fields, the metadata and the question say."""
    metadata = {str(key).casefold(): value for key, value in sample.metadata.items()}

    def values(keys: tuple[str, ...]) -> list[str]:
        listed = [metadata.get(key) for key in keys]
        return [value for value in listed if isinstance(value, str) and value.strip()]

    texts = [sample.modality, *values(MODALITY_KEYS)]
    modalities = {_field_modality(text) for text in texts if text} - {None}
    parts = {part for text in values(PART_KEYS) for part in _field_parts(text)}
    planes = {plane for text in values(PLANE_KEYS) for plane in _field_planes(text)}
    sides = {_field_side(text) for text in values(SIDE_KEYS)} - {None}
    is_asked = (
        sample.answer_type == "yes_no"
        and _ASKED_IMAGE.search(question.text)
        and not _ASKED_NORMAL.search(question.text)
    )
    stated = [] if is_asked else list(_image_terms(question))
    if not modalities and not _asks(sample, "modality"):
        modalities = {value for term, value in stated if term == "M"}
    if not _asks(sample, "plane"):
        planes |= {value for term, value in stated if term == "V"}
    if not _asks(sample, "part") or parts:
        parts |= {value for term, value in stated if term == "P"}
    exact = {PART_OF_MODALITY[name] for name in modalities if name in PART_OF_MODALITY}
    return Facts(
        modalities=frozenset(name for name in modalities if name),
        planes=frozenset(planes),
        parts=frozenset(parts | exact),
        exact_parts=bool(exact or {"microscopy", "endoscopy"} & modalities),
        laterality=next(iter(sides)) if len(sides) == 1 else None,
    )


def _field_modality(text: str) -> str | None:
    """The modality that a field names, such as "CT(Computed Tomography)"; None if it is unknown."""
    table = modality_names()
    words = re.findall(r"[a-z0-9]+", re.sub(r"\(.*?\)", " ", text.casefold()))
    if words[:1] == ["vqa"]:
        words = words[1:]
    if value := table.get(" ".join(words)):
        return value
    values = {
        table[name]
        for start in range(len(words))
        for stop in range(start + 1, len(words) + 1)
        if (name := " ".join(words[start:stop])) in table
    }
    return values.pop() if len(values) == 1 else None


def _field_parts(text: str) -> list[str]:
    """The body parts that a field names: CHEST, "left knee", C-SPINE."""
    codes = {"cspine": "neck", "tspine": "spine", "lspine": "lumbar spine", "c spine": "neck"}
    name = " ".join(re.findall(r"[a-z]+", text.casefold()))
    if name in codes:
        return [codes[name]]
    return [term.value for term in mark(name).terms if term.kind == "P"]


def _field_planes(text: str) -> list[str]:
    """The planes or views that a field names."""
    codes = {name: plane for plane, listed in PLANES.items() for name in names(listed)}
    name = " ".join(re.findall(r"[a-z]+", text.casefold()))
    if name in codes:
        return [codes[name]]
    return [term.value for term in mark(name).terms if term.kind == "V"]


def _field_side(text: str) -> str | None:
    """The side that a field names; None for both sides or an unknown value."""
    return {"l": "left", "left": "left", "r": "right", "right": "right"}.get(
        text.strip().casefold()
    )


def _image_terms(question: Marked) -> Iterator[tuple[str, str]]:
    """Kind and value of the terms in phrases that name the image: "this axial CT of the head"."""
    for match in _IMAGE_PHRASE.finditer(question.text):
        for letter, index in re.findall(r"\b([MVP])(\d+)\b", match["image"]):
            yield letter, question.terms[int(index)].value


def _asks(sample: Sample, topic: str) -> bool:
    """Whether the question asks for a modality, plane, part or place."""
    return re.search(_ASKS[topic], sample.question.casefold()) is not None


# --- ground truth and answer ------------------------------------------------------------------


def _extra_names(sample: Sample) -> dict[str, tuple[str, str]]:
    """Names of findings in the question or in the options that the vocabulary does not have."""
    extra = {}
    if sample.answer_type == "yes_no":
        marked = mark(sample.question)
        phrase = _asked_phrase(marked)
        if phrase and not re.search(r"\b[A-Z]\d+\b", phrase) and not _NOT_NAMED.search(phrase):
            extra[phrase] = ("F", phrase)
    if sample.answer_type == "open" and not any(_asks(sample, topic) for topic in _ASKS):
        marked = mark(sample.ground_truth or "")
        words = " ".join(re.findall(r"[a-z]+", (sample.ground_truth or "").casefold()))
        names_more = re.search(r"\b[a-z]{4,}", marked.text) and "F" not in marked.text
        names_more = names_more and not re.search(r"\d", sample.ground_truth or "")
        if names_more and len(words.split()) <= 4 and not _NORMAL_TRUTH.search(words):
            extra[words] = ("F", words)  # "macular hole"
    for text in sample.options.values():
        marked = mark(text)
        words = marked.text.replace(" .", "")
        is_name = re.search(r"[a-z]{4}", words) and not re.search(r"\d", words)
        if (
            is_name
            and not marked.terms
            and 1 <= len(words.split()) <= 5
            and not _NORMAL_TRUTH.search(words)
        ):
            extra[words] = ("F", words)
    return extra


def _asked_phrase(question: Marked) -> str:
    """The finding that a yes/no question asks for, as marked text; "" if it asks for none."""
    for pattern in _ASKED_FINDING:
        if match := pattern.search(question.text):
            return match["phrase"].strip()
    return ""


@dataclass(frozen=True)
class _AnswerReader:
    """Reads a ground truth, or an answer in its place."""

    sample: Sample
    question: Marked
    extra: Mapping[str, tuple[str, str]]

    def facts(self, answer: str | None) -> Facts:
        """What an answer to the question says of the image."""
        if answer is None or not answer.strip():
            return Facts()
        text = self.sample.options.get(answer.strip().strip("().").upper(), answer)
        if self.sample.answer_type == "yes_no" or text.strip(" .").casefold() in ("yes", "no"):
            return self._yes_no(text.strip().casefold())
        return self._text(text)

    def _yes_no(self, answer: str) -> Facts:
        """What yes or no to the question says."""
        match = re.match(r"(yes|no)\b", answer)
        if not match:
            return Facts()
        is_yes = match[1] == "yes"
        if state := _ASKED_NORMAL.search(self.question.text):
            parts = [
                self.question.terms[int(i)].value for i in re.findall(r"\bP(\d+)", state["subject"])
            ]
            is_image = _IMAGE_WORD.search(state["subject"])
            normal = is_yes != (state["state"] == "abnormal")
            sides = [
                self.question.terms[int(i)].value for i in re.findall(r"\bS(\d+)", state["subject"])
            ]
            side = sides[0] if len(sides) == 1 and sides[0] != "both" else None
            rest = self.question.text[state.end() :]
            if is_image or (not parts and _IMAGE_WORD.search(rest)):
                return Facts(normal=normal)
            if len(parts) != 1:
                return Facts()
            return Facts(normal=normal, normal_part=parts[0], side=side, is_yes_no=True)
        if asked_image := _ASKED_IMAGE.search(self.question.text):
            return self._image_facts(asked_image["image"]) if is_yes else Facts()
        findings, places, sides = self._asked_finding()
        if len(findings) != 1 or _QUALIFIED.search(_asked_phrase(self.question)):
            return Facts()
        side = sides[0] if len(sides) == 1 else None
        return Facts(
            present=frozenset(findings if is_yes else ()),
            absent=frozenset(() if is_yes else findings),
            places=frozenset(places),
            side=side,
            subjects=frozenset(findings),
            is_yes_no=True,
        )

    def _image_facts(self, phrase: str) -> Facts:
        """What an image is that a question asks about with this marked phrase."""
        values = {
            letter: frozenset(
                self.question.terms[int(i)].value for i in re.findall(rf"\b{letter}(\d+)", phrase)
            )
            for letter in "MVP"
        }
        return Facts(modalities=values["M"], planes=values["V"], parts=values["P"], is_yes_no=True)

    def _asked_finding(self) -> tuple[list[str], list[str], list[str]]:
        """The findings, body parts and sides that a yes/no question is about."""
        text, terms = self.question.text, self.question.terms
        if match := _ASKED_STATE.search(text):
            part = terms[int(match["part"][1:])].value
            finding = _STATES[match["adjective"]]
            is_known = finding != "cardiomegaly" or part == "heart"
            return ([finding], [part], []) if is_known else ([], [], [])
        phrase = _asked_phrase(self.question)
        findings = [terms[int(i)].value for i in re.findall(r"\b[FD](\d+)\b", phrase)]
        image = "".join(match["image"] for match in _IMAGE_PHRASE.finditer(text))
        places, sides = (
            [
                terms[int(i)].value
                for i in re.findall(rf"\b{letter}(\d+)\b", text)
                if f"{letter}{i}" not in image.split()
            ]
            for letter in "PS"
        )
        return findings, places, sides

    def _text(self, text: str) -> Facts:
        """What an answer in words says."""
        marked = mark(text, self.extra)
        values = {
            kind: [term.value for term in marked.terms if term.kind == kind] for kind in "MVPSFD"
        }
        is_long = len(text.split()) > MAX_WORDS
        is_normal = _NORMAL_TRUTH.search(marked.text) is not None and not values["F"]
        negations = re.search(r"\b(?:no|not|without)\b", marked.text)
        present = frozenset() if negations else frozenset(values["F"] + values["D"])
        sides = set(values["S"]) - {"both"}
        # "liver, left kidney": the side belongs to one of two places
        one_place = "," not in marked.text and " and " not in marked.text
        one_side = len(sides) == 1 and "both" not in values["S"] and not is_long and one_place
        asks_part = bool(values["M"]) or (
            _asks(self.sample, "part") and not _ASKS_ONE_PART.search(self.sample.question)
        )
        subjects = present or frozenset(t.value for t in self.question.terms if t.kind == "F")
        if _asks(self.sample, "place") and not negations and (values["P"] or values["S"]):
            present |= subjects  # "where is the mass?" says that there is one
        places = frozenset() if is_long or negations else frozenset(values["P"])
        return Facts(
            modalities=frozenset(values["M"] if len(set(values["M"])) == 1 and not is_long else ()),
            planes=frozenset(values["V"] if _asks(self.sample, "plane") else ()),
            parts=places if asks_part and not present else frozenset(),
            exact_parts=asks_part,
            places=places,
            side=next(iter(sides)) if one_side else None,
            present=present,
            subjects=subjects,
            normal=True if is_normal else None,
            others=self._others(present) if present else self._others(frozenset(), is_normal),
        )

    def _others(self, own: frozenset[str], is_normal: bool = False) -> frozenset[str]:
        """The findings of the other options, where every option names one, or is normal."""
        if not self.sample.options or not (own or is_normal):
            return frozenset()
        listed = set()
        for text in self.sample.options.values():
            marked = mark(text, self.extra)
            findings = {term.value for term in marked.terms if term.kind == "F"}
            if not findings and not _NORMAL_TRUTH.search(marked.text):
                return frozenset()
            if not findings & own:
                listed |= findings
        return frozenset(listed - own)
