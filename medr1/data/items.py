"""One item of a data set, in any of the spellings that are read, to a Sample.

The guide's {"image", "question", "question_type"?, "ground_truth"?}; the published splits'
{"image", "problem", "solution"}; OmniMedVQA's raw records with option_A .. and gt_answer; and
what medr1 itself writes. Keys may mix; those that mean nothing here become metadata.

VQA-RAD and SLAKE write OPEN or CLOSED as answer_type: whether the answer is from a closed set. That
goes to the metadata as `answer_class`, and the answer_type is what gold and options say, as where
none is given: a CLOSED question may be answered by yes, a number or "left".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from medr1.answers.options import answer_type_of, parse_problem, parse_solution
from medr1.errors import ItemError
from medr1.records import ANSWER_TYPES, LETTERS, Failure, Sample, sample_id

IMAGE_KEYS = ("image", "images", "image_path")
QUESTION_KEYS = ("question", "problem")
GOLD_KEYS = ("ground_truth", "solution", "gt_answer")
ANSWER_CLASSES = ("open", "closed")
ANSWER_CLASS = "answer_class"
"""The metadata key of an item's class, one of ANSWER_CLASSES, where its file states it."""
MAX_QUESTION = 20_000
"""Characters of question and options together, and of a gold answer."""
MAX_METADATA_DEPTH = 20

_GUIDE_TYPES = ("open", "multiple_choice", "yes_no")
_OPTION_KEY = re.compile(r"option_([A-Z])", re.IGNORECASE)
_LETTERED = re.compile(r"\(?([A-Ha-h])\s*[).:]\s*(.*)", re.DOTALL)


class Reading:
    """One item while it is read: the keys not used yet, and the first thing found wrong."""

    def __init__(self, item: Mapping[str, Any], where: str) -> None:
        self.rest = {key: value for key, value in item.items() if value is not None}
        self.where = where
        self.failure: Failure | None = None

    def fail(self, code: str, message: str) -> None:
        if self.failure is None:
            self.failure = Failure(code, f"{self.where}: {message}")

    def take(self, *keys: str) -> tuple[str, Any]:
        """The first of the keys that is there, and its value, which then counts as used."""
        for key in keys:
            if key in self.rest:
                return key, self.rest.pop(key)
        return "", None

    def text(self, key: str, value: Any, code: str = "bad_type") -> str | None:
        """A text, or a number as text; None for blank. Any other type is a failure."""
        if type(value) is str:  # nearly always: a million items are read in a minute
            return value.strip() or None
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is None or isinstance(value, str):
            return (value or "").strip() or None
        self.fail(code, f"{key!r} is {_kind(value)}; write it as text.")
        return None

    def take_text(self, *keys: str) -> str | None:
        for key in keys:
            if key in self.rest:
                return self.text(key, self.rest.pop(key))
        return None


def read_item(
    item: Any,
    where: str,
    *,
    needs: Sequence[str] = ("image", "question"),
    hashed: bool = False,
    open_is_class: bool = False,
) -> tuple[Sample, Failure | None]:
    """The sample that an item holds, and why it cannot be used (None where it can).

    `where` names the item in messages, such as "test.json, item 3". The sample's id is "" where
    the item brings none, or with `hashed` its sample_id; a sample with a failure holds what could
    be read. Only what the item `needs` may not be missing. `open_is_class`: the answer_type "open"
    is a class as OPEN is, and not medr1's own type of that name.
    """
    if type(item) is not dict and not isinstance(item, Mapping):
        failure = Failure("bad_item", f"{where}: {_kind(item)} where an object is expected.")
        return Sample("", (), ""), failure
    reading = Reading(item, where)
    given_id = reading.take_text("id", "question_id") or ""
    images = _images(reading, "image" in needs)
    answer_class = _answer_class(reading, open_is_class)
    declared = _declared_type(reading)
    question, options = _question(reading, declared, "question" in needs)
    gold = _gold(reading, options)
    if options and declared not in (None, "multiple_choice"):
        reading.fail("bad_type", f"has options, but is declared {declared}; drop one of them.")
    if hashed and not given_id:
        given_id = sample_id(images, question, options)
    sample = Sample(
        id=given_id,
        images=images,
        question=question,
        options=options,
        ground_truth=gold,
        answer_type=declared or answer_type_of(gold, options),
        question_type=reading.take_text("question_type"),
        modality=reading.take_text("modality", "modality_type"),
        dataset=reading.take_text("dataset"),
        metadata=_metadata(reading, answer_class),
    )
    return sample, reading.failure


def sample_from_question(
    question: str,
    images: tuple[str, ...],
    question_type: str | None = None,
    options: Sequence[str] = (),
) -> Sample:
    """The sample of a question typed by hand, options apart or inlined; ItemError if unusable."""
    item = {"question": question, "images": list(images), "question_type": question_type}
    try:
        "".join((question, *options, *images)).encode()
    except UnicodeEncodeError:
        raise ItemError("bad_type", "the question or a path is not UTF-8 text.") from None
    if options:
        item["options"] = list(options)
    sample, failure = read_item(item, "the question")
    if failure is not None:
        raise ItemError(failure.code, failure.message)
    return with_id(sample, sample_id(sample.images, sample.question, sample.options))


def with_id(sample: Sample, name: str) -> Sample:
    return Sample(**{**vars(sample), "id": name})


def _kind(value: Any) -> str:
    """What JSON calls it."""
    names = {dict: "an object", list: "a list", bool: "true or false", str: "a text"}
    return names.get(type(value), "null" if value is None else "a number")


def _images(reading: Reading, needed: bool) -> tuple[str, ...]:
    key, value = reading.take(*IMAGE_KEYS)
    if isinstance(value, str) and value.strip():
        return (value,)
    names = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(name, str) for name in names) and value is not None:
        reading.fail("bad_type", f"{key!r} is no path or list of paths; name the image files.")
        return ()
    found = tuple(name for name in names if name and name.strip())
    listed = isinstance(value, list | tuple)
    if (needed and not found) or (listed and len(found) < len(names)):
        reading.fail("no_image", "names no image; add the key 'image' with the path of a file.")
    return found


def answer_class_of(value: Any, *, open_is_class: bool = False) -> str | None:
    """The class that an answer_type states; None for any other value.

    "open" in lower case is medr1's own answer_type, unless `open_is_class`.
    """
    said = value.strip() if isinstance(value, str) else ""
    if said == "open" and not open_is_class:
        return None
    return said.lower() if said.lower() in ANSWER_CLASSES else None


def state_classes(items: Iterable[Any]) -> bool:
    """Whether the answer_type of a file's items is their class: "closed" is no type of medr1's."""
    types = (item.get("answer_type") for item in items if isinstance(item, Mapping))
    return any(answer_class_of(value) == "closed" for value in types)


def _answer_class(reading: Reading, open_is_class: bool) -> str | None:
    found = answer_class_of(reading.rest.get("answer_type"), open_is_class=open_is_class)
    if found is not None:
        del reading.rest["answer_type"]
    return found


def _declared_type(reading: Reading) -> str | None:
    """The answer_type that the item states; another use of that key stays metadata."""
    for key, known in (("answer_type", ANSWER_TYPES), ("question_type", _GUIDE_TYPES)):
        value = reading.rest.get(key)
        if isinstance(value, str) and value.strip().lower() in known:
            return str(reading.rest.pop(key)).strip().lower()
    return None


def _question(reading: Reading, declared: str | None, needed: bool) -> tuple[str, dict[str, str]]:
    """The stem and the options, given by themselves or inlined."""
    key, value = reading.take(*QUESTION_KEYS)
    text = reading.text(key, value)
    given = _given_options(reading)
    if text is None:
        if needed:
            reading.fail("no_question", "has no question; add the key 'question' with its text.")
        return "", given or {}
    if len(text) + sum(map(len, (given or {}).values())) > MAX_QUESTION:
        reading.fail("question_too_long", f"longer than {MAX_QUESTION:,} characters; shorten it.")
        return text[:MAX_QUESTION], {}
    if given is not None or declared not in (None, "multiple_choice"):
        return text, given or {}
    stem, options = parse_problem(text)
    if not stem:
        reading.fail("no_question", "has options and no question; add its text.")
    return stem, dict(options)


def _given_options(reading: Reading) -> dict[str, str] | None:
    """The options of `options` (an object, a list, a text "A)x, B)y") or of option_A ..; None
    where the item has no such key."""
    _, value = reading.take("options")
    keys = [key for key in reading.rest if key[:1] in "oO" and _OPTION_KEY.fullmatch(key)]
    separate = {key[-1]: reading.rest.pop(key) for key in keys}
    if isinstance(value, str):
        value = (parse_problem(value)[1] or [value]) if value.strip() else None
    if isinstance(value, list | tuple):
        value = dict(zip(ascii_uppercase, value, strict=False))
    if value is None:
        value = separate or None
    if value is None:
        return None
    if not isinstance(value, Mapping):
        reading.fail("bad_options", f"options are {_kind(value)}; write an object or a list.")
        return {}
    read = {str(k).upper(): reading.text("options", v, "bad_options") for k, v in value.items()}
    options = {letter: text for letter, text in sorted(read.items()) if text is not None}
    if len(read) < len(value):
        reading.fail("bad_options", "two options have the same letter; give each its own.")
        return {}
    if options and (len(options) < 2 or tuple(options) != tuple(LETTERS[: len(options)])):
        reading.fail("bad_options", f"options must be two to {len(LETTERS)}, from A without gap.")
        return {}
    return options


def _gold(reading: Reading, options: Mapping[str, str]) -> str | None:
    """The gold answer: a letter where there are options, else text; None where none is given."""
    key, value = reading.take(*GOLD_KEYS)
    text = reading.text(key, value, "bad_ground_truth")
    if text is None:
        return None
    gold = parse_solution(text) if len(text) <= MAX_QUESTION else ""
    if not gold:
        reading.fail("bad_ground_truth", f"{key!r} is empty or too long; correct it.")
        return None
    if not options:
        return gold
    letter = gold_letter(gold, options, text_first=key == "gt_answer")
    if letter is None:
        reading.fail(
            "bad_ground_truth", f"{key!r} ({gold[:60]!r}) is not one of the options; correct it."
        )
    return letter


def gold_letter(gold: str, options: Mapping[str, str], *, text_first: bool) -> str | None:
    """The letter that a gold answer means: written "C", "C)", "C) CT" or as the option's text."""
    named = [gold.upper()] if gold.upper() in options else []
    if (match := _LETTERED.fullmatch(gold)) and match[1].upper() in options:
        letter = match[1].upper()
        if not match[2] or _folded(match[2]) == _folded(options[letter]):
            named.append(letter)
    if named and not text_first:
        return named[0]
    exact = [letter for letter, text in options.items() if text == gold]
    alike = [letter for letter, text in options.items() if _folded(text) == _folded(gold)]
    found = [*exact, *alike, *named]
    return found[0] if found else None


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold().rstrip(".")


def _metadata(reading: Reading, answer_class: str | None) -> dict[str, Any]:
    """The keys not used, those of an object `metadata` and the class, as plain JSON values."""
    inner = reading.rest.get("metadata")
    rest = dict(reading.rest)
    if isinstance(inner, Mapping):
        rest = {**inner, **{key: value for key, value in rest.items() if key != "metadata"}}
    if answer_class is not None:
        rest[ANSWER_CLASS] = answer_class
    try:
        return {str(key): _plain(value, MAX_METADATA_DEPTH) for key, value in rest.items()}
    except OverflowError:
        reading.fail("bad_metadata", f"nested more than {MAX_METADATA_DEPTH} deep; flatten it.")
        return {}


def _plain(value: Any, depth: int) -> Any:
    """The value as JSON can hold it; OverflowError where it is nested deeper than `depth`."""
    if depth < 0:
        raise OverflowError
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v, depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, depth - 1) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | int | float):
        return value
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)
