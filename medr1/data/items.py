"""Reads one item of a data set, with any of the known field names, into a Sample.

Known are the field names of

- the guide: image, question, question_type (optional), ground_truth
- the published splits of Med-R1: image, problem, solution
- OmniMedVQA's raw records: image_path, question, option_A .., gt_answer
- medr1's own files: the fields of Sample

An item may mix them. Keys without a meaning for medr1 become metadata. `conversations` reads the
earlier turns of a conversation.

VQA-RAD and SLAKE write OPEN or CLOSED as answer_type. This is a class: it tells whether the answer
is from a closed set. It goes into the metadata as `answer_class`. The answer_type of such an item
follows from its ground truth and options, as for an item without an answer_type: the answer to a
CLOSED question may be yes, a number or "left".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase

from medr1.answers.options import answer_type_of, parse_problem, parse_solution
from medr1.data.conversations import (
    HISTORY_KEY,
    is_conversation,
    read_conversation,
    read_history,
    written_turns,
)
from medr1.errors import ItemError
from medr1.records import ANSWER_TYPES, LETTERS, Failure, Sample, Turn, sample_id

IMAGE_KEYS = ("image", "images", "image_path")
QUESTION_KEYS = ("question", "problem")
GROUND_TRUTH_KEYS = ("ground_truth", "solution", "gt_answer")
FIELD_KEYS: dict[str, tuple[str, ...]] = {
    "ground_truth": GROUND_TRUTH_KEYS,
    "question": QUESTION_KEYS,
    "image": IMAGE_KEYS,
    "id": ("id", "question_id"),
    "options": ("options",),
    "answer_type": ("answer_type",),
    "question_type": ("question_type",),
    "modality": ("modality", "modality_type"),
    "dataset": ("dataset",),
}
"""Field of a question -> the keys that it is read from. `columns` has the usual names besides."""
ANSWER_CLASSES = ("open", "closed")
ANSWER_CLASS = "answer_class"
"""The metadata key of an item's class, one of ANSWER_CLASSES, if its file states it."""
MAX_QUESTION = 20_000
"""Largest number of characters of question and options together, and of a ground truth."""
MAX_METADATA_DEPTH = 20
"""Largest number of objects and lists within each other in the metadata."""

_GUIDE_TYPES = ("open", "multiple_choice", "yes_no")
_OPTION_KEY = re.compile(r"option_([A-Z])", re.IGNORECASE)
_LETTERED = re.compile(r"\(?([A-Ha-h])\s*[).:]\s*(.*)", re.DOTALL)


class ItemReader:
    """Takes the values out of one item, and keeps the first problem that is found.

    Attributes:
        unread: The keys that are not read yet, with their values. Keys with null are left out.
        place: Where the item is, for messages, such as "test.json, item 3".
        failure: The first problem; None if there is none so far.
    """

    def __init__(self, item: Mapping[str, object], place: str) -> None:
        self.unread = {key: value for key, value in item.items() if value is not None}
        self.place = place
        self.failure: Failure | None = None

    def fail(self, code: str, message: str) -> None:
        """Record a problem, unless there is one already.

        Args:
            code: The code of the Failure, such as "bad_type".
            message: What is wrong and what to do, without the place.
        """
        if self.failure is None:
            self.failure = Failure(code, f"{self.place}: {message}")

    def pop_first(self, *keys: str) -> tuple[str, object]:
        """Remove the first of the keys that the item has; that key and its value."""
        for key in keys:
            if key in self.unread:
                return key, self.unread.pop(key)
        return "", None

    def as_text(self, key: str, value: object, code: str = "bad_type") -> str | None:
        """A text without surrounding blanks, or a number as text; None if blank.

        Args:
            key: The key of the value, for the message.
            value: A value of any type.
            code: The code of the failure that is recorded if it is neither a text nor a number.
        """
        if type(value) is str:  # the usual case first: a file may have a million items
            return value.strip() or None
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is None or isinstance(value, str):
            return (value or "").strip() or None
        self.fail(code, f"{key!r} is {_json_type(value)}; write it as text.")
        return None

    def pop_text(self, *keys: str) -> str | None:
        """Remove the first of the keys that the item has; its value as text."""
        for key in keys:
            if key in self.unread:
                return self.as_text(key, self.unread.pop(key))
        return None


def read_item(
    item: object,
    place: str,
    *,
    required: Sequence[str] = ("image", "question"),
    with_hash_id: bool = False,
    open_is_class: bool = False,
) -> tuple[Sample, Failure | None]:
    """Read an item into a sample.

    Args:
        item: The item, as its file has it.
        place: Where the item is, for messages, such as "test.json, item 3".
        required: What the item must have: "image", "question", both or none.
        with_hash_id: Whether an item without an id gets its `sample_id`; otherwise the id is "".
        open_is_class: Whether the answer_type "open" is a class, as OPEN is, and not the
            answer_type of medr1 with this name.

    Returns:
        The sample, and why it cannot be used (None if it can). A sample that cannot be used has
        the values that could be read.
    """
    if type(item) is not dict and not isinstance(item, Mapping):
        failure = Failure("bad_item", f"{place}: {_json_type(item)} where an object is expected.")
        return Sample("", (), ""), failure
    reader = ItemReader(item, place)
    item_id = reader.pop_text(*FIELD_KEYS["id"]) or ""
    images = _images(reader, "image" in required)
    answer_class = _answer_class(reader, open_is_class)
    stated_type = _stated_type(reader)
    history = _history(reader)
    question, options = _question(reader, stated_type, "question" in required)
    ground_truth = _ground_truth(reader, options)
    if options and stated_type not in (None, "multiple_choice"):
        reader.fail("bad_type", f"has options, but is declared {stated_type}; drop one of them.")
    sample = Sample(
        id=item_id,
        images=images,
        question=question,
        options=options,
        ground_truth=ground_truth,
        answer_type=stated_type or answer_type_of(ground_truth, options),
        question_type=reader.pop_text("question_type"),
        modality=reader.pop_text(*FIELD_KEYS["modality"]),
        dataset=reader.pop_text("dataset"),
        metadata=_metadata(reader, answer_class),
        history=history,
    )
    if with_hash_id and not item_id:
        sample = with_id(sample, sample_id(sample))
    return sample, reader.failure


def sample_from_question(
    question: str,
    images: tuple[str, ...],
    question_type: str | None = None,
    options: Sequence[str] = (),
) -> Sample:
    """The sample of a question from the command line.

    Args:
        question: The question, which may contain its options ("... A)CT, B)MRI").
        images: The paths of its images.
        question_type: A category of the question, or one of open, multiple_choice and yes_no.
        options: The texts of the options, if they are not in the question.

    Raises:
        ItemError: If the question cannot be used, such as one without an image.
    """
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
    return with_id(sample, sample_id(sample))


def with_id(sample: Sample, item_id: str) -> Sample:
    """The same sample with another id.

    Args:
        sample: A sample.
        item_id: Its new id.
    """
    return Sample(**{**vars(sample), "id": item_id})


def _json_type(value: object) -> str:
    """The type of the value in words of JSON, such as "a list"."""
    names = {dict: "an object", list: "a list", bool: "true or false", str: "a text"}
    return names.get(type(value), "null" if value is None else "a number")


def _images(reader: ItemReader, required: bool) -> tuple[str, ...]:
    """The paths of the item's images."""
    key, value = reader.pop_first(*IMAGE_KEYS)
    if isinstance(value, str) and value.strip():
        return (value,)
    names: Sequence[object] = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(name, str) for name in names) and value is not None:
        reader.fail("bad_type", f"{key!r} is not a path or a list of paths; name the image files.")
        return ()
    paths = tuple(name for name in names if isinstance(name, str) and name.strip())
    is_list = isinstance(value, list | tuple)
    if (required and not paths) or (is_list and len(paths) < len(names)):
        reader.fail("no_image", "names no image; add the key 'image' with the path of a file.")
    return paths


def answer_class_of(value: object, *, open_is_class: bool = False) -> str | None:
    """The class (open or closed) that a value of `answer_type` states; None for any other value.

    Args:
        value: The value of the key answer_type, of any type.
        open_is_class: Whether "open" in lower case is a class too. Otherwise it is an answer_type
            of medr1.
    """
    stated_class = value.strip() if isinstance(value, str) else ""
    if stated_class == "open" and not open_is_class:
        return None
    return stated_class.lower() if stated_class.lower() in ANSWER_CLASSES else None


def have_answer_classes(items: Iterable[object]) -> bool:
    """Whether the items of a file have classes as answer_type.

    One item with "closed" decides: it is a class, and not an answer_type of medr1.
    """
    types = (item.get("answer_type") for item in items if isinstance(item, Mapping))
    return any(answer_class_of(value) == "closed" for value in types)


def _answer_class(reader: ItemReader, open_is_class: bool) -> str | None:
    """The class that the item's answer_type states, if it states one."""
    answer_class = answer_class_of(reader.unread.get("answer_type"), open_is_class=open_is_class)
    if answer_class is not None:
        del reader.unread["answer_type"]
    return answer_class


def _history(reader: ItemReader) -> tuple[Turn, ...]:
    """The turns before the question. The question is left behind as a text."""
    key = next((key for key in QUESTION_KEYS if key in reader.unread), "")
    try:
        history = read_history(reader.unread.pop(HISTORY_KEY, None))
        value = written_turns(reader.unread.get(key))
        if not is_conversation(value):
            return history
        turns, reader.unread[key] = read_conversation(value)
    except ItemError as error:
        reader.fail(error.code, str(error))
        return ()
    if history and turns:
        reader.fail("bad_turns", f"has earlier turns in 'history' and in {key!r}; drop one.")
    return turns or history


def _stated_type(reader: ItemReader) -> str | None:
    """The answer_type that the item states; any other value of these keys is not read here."""
    for key, types in (("answer_type", ANSWER_TYPES), ("question_type", _GUIDE_TYPES)):
        value = reader.unread.get(key)
        if isinstance(value, str) and value.strip().lower() in types:
            return str(reader.unread.pop(key)).strip().lower()
    return None


def _question(
    reader: ItemReader, stated_type: str | None, required: bool
) -> tuple[str, dict[str, str]]:
    """The question without its options, and the options: from their own keys or the question."""
    key, value = reader.pop_first(*QUESTION_KEYS)
    question = reader.as_text(key, value)
    separate_options = _separate_options(reader)
    if question is None:
        if required:
            reader.fail("no_question", "has no question; add the key 'question' with its text.")
        return "", separate_options or {}
    if len(question) + sum(map(len, (separate_options or {}).values())) > MAX_QUESTION:
        reader.fail("question_too_long", f"longer than {MAX_QUESTION:,} characters; shorten it.")
        return question[:MAX_QUESTION], {}
    if separate_options is not None or stated_type not in (None, "multiple_choice"):
        return question, separate_options or {}
    stem, options = parse_problem(question)
    if not stem:
        reader.fail("no_question", "has options and no question; add its text.")
    return stem, dict(options)


def _separate_options(reader: ItemReader) -> dict[str, str] | None:
    """The options from the key `options` or from option_A ..; None if the item has no such key.

    The value of `options` may be an object, a list, or a text such as "A)x, B)y".
    """
    _, value = reader.pop_first("options")
    keys = [key for key in reader.unread if key[:1] in "oO" and _OPTION_KEY.fullmatch(key)]
    lettered = {key[-1]: reader.unread.pop(key) for key in keys}
    if isinstance(value, str):
        value = (parse_problem(value)[1] or [value]) if value.strip() else None
    if isinstance(value, list | tuple):
        value = dict(zip(ascii_uppercase, value, strict=False))
    if value is None:
        value = lettered or None
    if value is None:
        return None
    if not isinstance(value, Mapping):
        reader.fail("bad_options", f"options are {_json_type(value)}; write an object or a list.")
        return {}
    texts = {str(k).upper(): reader.as_text("options", v, "bad_options") for k, v in value.items()}
    options = {letter: text for letter, text in sorted(texts.items()) if text is not None}
    if len(texts) < len(value):
        reader.fail("bad_options", "two options have the same letter; give each its own.")
        return {}
    options = _without_labels(options)
    if options and (len(options) < 2 or tuple(options) != tuple(LETTERS[: len(options)])):
        reader.fail("bad_options", f"options must be two to {len(LETTERS)}, from A without gap.")
        return {}
    return options


def _without_labels(options: Mapping[str, str]) -> dict[str, str]:
    """The options without their own letters, if each begins with it: "A. CT", " B:MRI", "(C) PET".

    MedEvalKit and PMC-VQA write their options so.
    """
    matches = {letter: _LETTERED.fullmatch(text.strip()) for letter, text in options.items()}
    if all(match and match[1] == letter and match[2] for letter, match in matches.items()):
        return {letter: match[2] for letter, match in matches.items() if match}
    return dict(options)


def _ground_truth(reader: ItemReader, options: Mapping[str, str]) -> str | None:
    """The right answer: a letter if there are options, else text; None if the item has none."""
    key, value = reader.pop_first(*GROUND_TRUTH_KEYS)
    text = reader.as_text(key, value, "bad_ground_truth")
    if text is None:
        return None
    ground_truth = parse_solution(text) if len(text) <= MAX_QUESTION else ""
    if not ground_truth:
        reader.fail("bad_ground_truth", f"{key!r} is empty or too long; correct it.")
        return None
    if not options:
        return ground_truth
    letter = ground_truth_letter(ground_truth, options, text_first=key == "gt_answer")
    if letter is None:
        reader.fail(
            "bad_ground_truth",
            f"{key!r} ({ground_truth[:60]!r}) is not one of the options; correct it.",
        )
    return letter


def ground_truth_letter(
    ground_truth: str, options: Mapping[str, str], *, text_first: bool
) -> str | None:
    """The letter of the option that a ground truth means; None if it is not one of the options.

    Args:
        ground_truth: The right answer: "C", "C)", "C) CT", or the text of the option.
        options: Letter -> text of the option.
        text_first: Whether a ground truth that is a letter and also the text of an option means
            the text. OmniMedVQA's gt_answer is the text.
    """
    by_letter = [ground_truth.upper()] if ground_truth.upper() in options else []
    if (match := _LETTERED.fullmatch(ground_truth)) and match[1].upper() in options:
        letter = match[1].upper()
        if not match[2] or _folded(match[2]) == _folded(options[letter]):
            by_letter.append(letter)
    if by_letter and not text_first:
        return by_letter[0]
    exact = [letter for letter, text in options.items() if text == ground_truth]
    alike = [letter for letter, text in options.items() if _folded(text) == _folded(ground_truth)]
    letters = [*exact, *alike, *by_letter]
    return letters[0] if letters else None


def _folded(text: str) -> str:
    """The text for comparisons: in lower case, with single blanks, without a final period."""
    return " ".join(text.split()).casefold().rstrip(".")


def _metadata(reader: ItemReader, answer_class: str | None) -> dict[str, object]:
    """The unread keys, those of an object `metadata` and the class, as plain JSON values."""
    inner = reader.unread.get("metadata")
    metadata = dict(reader.unread)
    if isinstance(inner, Mapping):
        metadata = {**inner, **{key: value for key, value in metadata.items() if key != "metadata"}}
    if answer_class is not None:
        metadata[ANSWER_CLASS] = answer_class
    try:
        return {str(key): _plain(value, MAX_METADATA_DEPTH) for key, value in metadata.items()}
    except OverflowError:
        reader.fail("bad_metadata", f"nested more than {MAX_METADATA_DEPTH} deep; flatten it.")
        return {}


def _plain(value: object, depth: int) -> object:
    """The value as JSON can hold it; OverflowError if it is nested deeper than `depth`."""
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
