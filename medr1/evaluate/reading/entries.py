"""One entry of a result file, in medr1's own or another format, to a `Prediction`.

An entry is a dictionary: an object of a JSON file, or a row of a table. Two kinds are read:

- medr1's own (schema medr1.results/1), recognised by its required keys: the types of its values
  are checked.
- any other: the question is read as the readers of data sets read an item (data/items.py), under
  any of the key names in FIELD_ALIASES. Its answer_type may be OPEN or CLOSED, in any case.

An entry that says it failed becomes a prediction with an error, not a missing one, so that it
counts in every denominator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medr1.data.columns import map_options
from medr1.data.conversations import read_history
from medr1.data.items import FIELD_KEYS, GROUND_TRUTH_KEYS, answer_class_of, read_item
from medr1.errors import InputError, ItemError, did_you_mean
from medr1.evaluate.reading.tools import vlmevalkit
from medr1.records import ANSWER_TYPES, Failure, Prediction, prediction_from_dict

OUTPUT_KEYS = (
    "model_output",
    "raw_output",
    "prediction",
    "response",
    "output",
    "generated_text",
    "completion",
)
"""Keys under which a model's output is found without --map; the first is medr1's own."""
FIELD_ALIASES: dict[str, tuple[str, ...]] = {
    "prediction": OUTPUT_KEYS,
    **FIELD_KEYS,
    "extracted_answer": ("extracted_answer",),
    "option_probs": ("option_probs",),
    "confidence": ("confidence",),
    "samples": ("samples",),
    "finish_reason": ("finish_reason",),
    "error": ("error",),
}
"""Field, as --map names it -> the keys that it is read from without --map.

The first key is the name that the field gets inside this module.
"""
_OWN_KEYS = {"id", "images", "question", "answer_type", "model_output"}
"""An entry with all of these keys is in medr1's own format."""
_PREDICTION_KEYS = {
    *OUTPUT_KEYS, "extracted_answer", "success", "error", "formatted_question",
    "finish_reason", vlmevalkit.THINKING
}  # fmt: skip
"""Keys of a foreign entry that belong to the prediction and not to the question."""
_TEXT, _NUMBER, _LIST, _OBJECT = (str,), (int, float), (list,), (dict,)
_TYPE_NAMES = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
_TYPE_NAMES |= {bool: "true or false", type(None): "null"}
"""JSON types as messages name them."""
_FIELD_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "question", "ground_truth", "answer_type", "question_type"), _TEXT),
    **dict.fromkeys(("modality", "dataset", "model_output", "extracted_answer"), _TEXT),
    **dict.fromkeys(("extraction", "reasoning", "reasoning_from", "finish_reason"), _TEXT),
    **dict.fromkeys(("images", "samples", "circular_answers", "image_notes", "history"), _LIST),
    **dict.fromkeys(("dropout_probs", "token_logprobs", "token_logprobs_without_image"), _LIST),
    **dict.fromkeys(("options", "metadata", "option_probs", "error"), _OBJECT),
    **dict.fromkeys(("confidence", "num_tokens"), _NUMBER),
}
"""Key of medr1's own format -> the Python types that its value may have."""
_ELEMENT_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("images", "samples", "circular_answers", "image_notes"), _TEXT),
    **dict.fromkeys(("options", "error"), _TEXT),
    **dict.fromkeys(("option_probs", "token_logprobs", "token_logprobs_without_image"), _NUMBER),
    **dict.fromkeys(("dropout_probs", "history"), _OBJECT),
}
"""Key of a list or object -> the types that its elements or values may have."""


def require_known_columns(columns: Mapping[str, str]) -> None:
    """Check the --map options (field -> column).

    InputError for a field that does not exist, and for a column that is named twice.
    """
    for name in columns:
        if name not in FIELD_ALIASES and columns[name] in FIELD_ALIASES:
            raise InputError(
                f"--map {name}={columns[name]}: the column comes last. Write "
                f"{map_options({columns[name]: name})}."
            )
        if name not in FIELD_ALIASES:
            hint = did_you_mean(name, FIELD_ALIASES, "Check the spelling.")
            raise InputError(
                f"--map {name}={columns[name]}: results have no field {name!r}. {hint} "
                f"The fields are: {', '.join(FIELD_ALIASES)}. Any other column is kept as metadata."
            )
    for column in columns.values():
        names = [name for name in columns if columns[name] == column]
        if len(names) > 1:
            raise InputError(f"--map names {column!r} as {' and as '.join(names)}. Choose one.")


def table_names(
    header: Sequence[str], columns: Mapping[str, str], matched: Mapping[str, str], path: str
) -> list[str]:
    """The key under which each column of a table is read; "" for a column that is ignored.

    With the header ["pic", "image", "A"], --map {"image": "pic"} and matched {"option_A": "A"} the
    keys are ["image", "", "option_A"]: --map replaces the column that is called "image".

    Args:
        header: The names of the columns.
        columns: The --map options: field -> column.
        matched: Field -> column, from the table of usual names.
        path: The file, for error messages.

    Raises:
        InputError: If a mapped column does not exist.
    """
    names = list(header)
    for name, column in columns.items():
        if column not in header:
            raise _missing_column(path, name, column, header)
        names = ["" if key in FIELD_ALIASES[name] else key for key in names]
    for name, column in columns.items():
        names[header.index(column)] = FIELD_ALIASES[name][0]
    for name, column in matched.items():
        names[header.index(column)] = own_key(name)
    return names


def require_clear_header(header: Sequence[str], columns: Mapping[str, str], path: str) -> None:
    """Check the names of the columns of a table.

    Args:
        header: The names.
        columns: The --map options: field -> column.
        path: The file, for error messages.

    Raises:
        InputError: If a name occurs twice, or two columns could be the model's output.
    """
    if repeated := sorted({name for name in header if name and header.count(name) > 1}):
        raise InputError(f"{path}: the column {repeated[0]!r} occurs twice. Rename one.")
    outputs = [name for name in header if name in OUTPUT_KEYS and name not in columns.values()]
    if len(outputs) > 1 and "prediction" not in columns:
        raise _ambiguous(path, outputs)


def own_key(field: str) -> str:
    """The key under which a field is read in this module, such as model_output for prediction."""
    return FIELD_ALIASES[field][0] if field in FIELD_ALIASES else field


def is_own(entry: Mapping[str, object]) -> bool:
    """Whether an entry is in medr1's own format.

    answer_type CLOSED or OPEN is a data set's spelling, which medr1's own results do not have.
    """
    return entry.keys() >= _OWN_KEYS and not answer_class_of(entry["answer_type"])


def read_entry(
    entry: object,
    where: str,
    columns: Mapping[str, str],
    matched: Mapping[str, str],
    *,
    complete: bool,
    may_be_own: bool,
) -> Prediction:
    """One entry of a result file as a prediction.

    Args:
        entry: What the file holds there; anything but a dictionary is refused.
        where: Its place, for error messages: "r.jsonl, line 3".
        columns: The --map options: field -> key of the entry.
        matched: Field -> key, from the table of usual names; an entry may lack the key.
        complete: Whether the entry has to hold all that is judged: a ground truth, an id, and a
            question unless it failed. If False, a data set will complete it; its id may be "".
        may_be_own: Whether the entry can be in medr1's own format (rows of a table cannot).

    Raises:
        InputError: If a key is missing or has a value of the wrong type.
    """
    if type(entry) is not dict:
        raise InputError(f"{where}: {_type_name(entry)} where an object is expected.")
    if columns:
        entry = _renamed(entry, columns, where)
    if may_be_own and is_own(entry):
        prediction = _read_own(entry, where)
    else:
        if matched:
            entry = _with_own_keys(flattened(entry), matched)
        prediction = _read_foreign(entry, where, complete)
    if complete:
        require_ground_truth(prediction, where)
    return prediction


def require_ground_truth(prediction: Prediction, where: str) -> None:
    """Refuse a prediction without a ground truth.

    Args:
        prediction: What is to be judged.
        where: Its place in the file, for the message.

    Raises:
        InputError: If it has none.
    """
    if prediction.sample.ground_truth is None:
        raise InputError(
            f"{where}: has no ground truth, so its answer cannot be judged. "
            f"Add the key 'ground_truth' (or {' or '.join(GROUND_TRUTH_KEYS[1:])}), name its key "
            "with --map ground_truth=KEY; medr1 eval and compare also take --data QUESTIONS."
        )


def flattened(entry: Mapping[str, object]) -> Mapping[str, object]:
    """The entry with the keys of a nested question beside its own.

    {"question": {"image": ..., "question": ...}, "model_output": ...}, as the authors'
    inference.py writes it -> {"image": ..., "question": ..., "model_output": ...}. A ground truth
    of the entry itself wins over one of the question.
    """
    nested = entry.get("question")
    if type(nested) is not dict:
        return entry
    rest = {key: value for key, value in entry.items() if key != "question"}
    if any(rest.get(key) is not None for key in GROUND_TRUTH_KEYS):
        nested = {key: value for key, value in nested.items() if key not in GROUND_TRUTH_KEYS}
    return rest | nested


def _with_own_keys(entry: Mapping[str, object], matched: Mapping[str, str]) -> dict[str, object]:
    """The entry with its matched keys renamed; a model's answer that is a number becomes text."""
    keys = {key: own_key(field) for field, key in matched.items()}
    item = {keys.get(key, key): value for key, value in entry.items()}
    output = item.get(OUTPUT_KEYS[0])
    if "prediction" in matched and type(output) in _NUMBER:
        item[OUTPUT_KEYS[0]] = str(output)
    return item


def _renamed(
    entry: Mapping[str, object], columns: Mapping[str, str], where: str
) -> dict[str, object]:
    """The entry with the keys that --map names renamed to medr1's, and without other aliases.

    With --map prediction=text, {"text": "A", "response": "B"} -> {"model_output": "A"}.
    """
    flat = flattened(entry)
    item = dict(flat)
    mapped = {}
    # first all values are taken out, then put in: a key may be mapped to a name that another has
    for name, key in columns.items():
        if key in flat:
            mapped[name] = flat[key]
        elif not has_failed(flat):
            raise _missing_column(where, name, key, flat)
        item.pop(key, None)
    for name, value in mapped.items():
        for alias in FIELD_ALIASES[name]:
            item.pop(alias, None)
        item[FIELD_ALIASES[name][0]] = value
    return item


def _missing_column(where: str, name: str, key: str, available: Iterable[object]) -> InputError:
    """The error that a column or key named by --map does not exist."""
    return InputError(
        f"{where}: has no {key!r}, which --map names as the {name}; there are: "
        f"{', '.join(map(str, available))[:200] or 'none'}. Name one of them."
    )


# --- medr1's own ------------------------------------------------------------------------------


def _read_own(entry: Mapping[str, object], where: str) -> Prediction:
    """An entry of medr1.results/1 as a prediction; InputError for a value of the wrong type."""
    for key, types in _FIELD_TYPES.items():
        value = entry.get(key)
        if value is None:
            if key in ("id", "images", "question", "answer_type"):
                raise InputError(
                    f"{where}: {key!r} is null where {_TYPE_NAMES[types[0]]} is expected."
                )
            continue
        if type(value) not in types:  # saves the call for most values
            _require_type(value, types, f"{where}: {key!r}")
        if value and key in _ELEMENT_TYPES:
            element_types = _ELEMENT_TYPES[key]
            elements = value if isinstance(value, list) else ()
            for element in value.values() if isinstance(value, dict) else elements:
                if type(element) not in element_types:
                    _require_type(element, element_types, f"{where}: in {key!r} a value")
    num_tokens = entry.get("num_tokens")
    if num_tokens is not None and not (type(num_tokens) is int and 0 <= num_tokens < 2**63):
        raise InputError(
            f"{where}: 'num_tokens' is {str(num_tokens)[:40]}; it must be a whole number of tokens."
        )
    if entry["answer_type"] not in ANSWER_TYPES:
        raise InputError(
            f"{where}: 'answer_type' is {str(entry['answer_type'])[:40]!r}; "
            f"expected is one of {', '.join(ANSWER_TYPES)}."
        )
    error = entry.get("error")
    if isinstance(error, dict) and error.keys() != {"code", "message"}:
        raise InputError(f"{where}: 'error' must have the keys 'code' and 'message'.")
    try:
        read_history(entry.get("history"))
    except ItemError as wrong:
        raise InputError(f"{where}: {wrong}") from None
    return prediction_from_dict(entry)


def _require_type(value: object, types: tuple[type, ...], what: str) -> None:
    """InputError if the value has none of these types; true and false are no numbers."""
    if not isinstance(value, types) or isinstance(value, bool):
        raise _wrong_type(value, types, what)


def _text_or_none(value: object, what: str) -> str | None:
    """The value if it is a text or None; InputError otherwise."""
    if value is None or isinstance(value, str):
        return value
    raise _wrong_type(value, _TEXT, what)


def _wrong_type(value: object, types: tuple[type, ...], what: str) -> InputError:
    """The error that a value has none of these types."""
    return InputError(f"{what} is {_type_name(value)} where {_TYPE_NAMES[types[0]]} is expected.")


def _type_name(value: object) -> str:
    """The type of a value as a message names it: "a list"."""
    return _TYPE_NAMES.get(type(value), f"a {type(value).__name__}")


# --- other formats ----------------------------------------------------------------------------


def _read_foreign(entry: Mapping[str, object], where: str, complete: bool) -> Prediction:
    """An entry of any other format: {"question": item or text, "ground_truth", "response", ...}."""
    entry = flattened(entry)
    failed = has_failed(entry)
    output = _output(entry, where, failed)
    if vlmevalkit.is_failure(output):
        failed, output, entry = True, None, {"error": output, **entry}
    output = vlmevalkit.with_thinking(entry, output)
    extracted = entry.get("extracted_answer")
    if extracted is not None and not isinstance(extracted, str):
        _require_type(extracted, _NUMBER, f"{where}: 'extracted_answer'")
        extracted = str(extracted)
    finish_reason = _text_or_none(entry.get("finish_reason"), f"{where}: 'finish_reason'")
    confidence = _parse_confidence(entry)
    item = {k: v for k, v in entry.items() if k not in _PREDICTION_KEYS | confidence.keys()}
    # several spellings of the ground truth can stand side by side: the first is read
    ground_truth_keys = [key for key in GROUND_TRUTH_KEYS if item.get(key) is not None]
    for key in ground_truth_keys[1:]:
        del item[key]
    needs = ("question",) if complete and not failed else ()
    sample, failure = read_item(
        item, where, required=needs, with_hash_id=complete, open_is_class=True
    )
    if failure is not None:
        raise InputError(failure.message)
    return Prediction(
        sample,
        model_output=output,
        extracted_answer=extracted,
        finish_reason=finish_reason,
        error=Failure("failed", _error_text(entry.get("error"))) if failed else None,
        confidence=confidence.confidence,
        option_probs=confidence.option_probs,
        samples=confidence.samples,
    )


@dataclass(frozen=True)
class _Confidence:
    """What an entry says about how sure the model was; None and () where it says nothing."""

    confidence: float | None
    option_probs: Mapping[str, float] | None
    samples: tuple[str, ...]

    def keys(self) -> set[str]:
        """The keys of the entry that were read."""
        return {key for key, value in vars(self).items() if value is not None and value != ()}


def _parse_confidence(entry: Mapping[str, object]) -> _Confidence:
    """The fields confidence, option_probs and samples, where they have the types of medr1's own.

    A value of another type is left out here, and so is kept as metadata. The cells of a table are
    text, so a confidence may be a number in text; empty cells are ignored.
    """
    shares, samples = entry.get("option_probs"), entry.get("samples")
    option_probs: dict[str, float] | None = None
    if type(shares) is dict:
        present = {key: value for key, value in shares.items() if value is not None}
        if present and all(type(value) in _NUMBER for value in present.values()):
            option_probs = present
    has_texts = type(samples) is list and all(type(text) is str for text in samples)
    texts = tuple(samples) if type(samples) is list and has_texts else ()
    return _Confidence(_as_number(entry.get("confidence")), option_probs, texts)


def _as_number(value: object) -> float | None:
    """A number, or a text that is one; None for anything else."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def has_failed(entry: Mapping[str, object]) -> bool:
    """Whether the entry says that it failed; in a table "false" is a text."""
    success = entry.get("success")
    is_false_text = isinstance(success, str) and success.strip().lower() == "false"
    return success is False or is_false_text or entry.get("error") is not None


def _output(entry: Mapping[str, object], where: str, failed: bool) -> str | None:
    """The model's text; InputError where there is none, or where two keys hold different texts."""
    keys = [key for key in OUTPUT_KEYS if key in entry]
    if not keys:
        if failed:
            return None
        raise InputError(
            f"{where}: has no model output. Expected is the key 'model_output' (or "
            f"{', '.join(OUTPUT_KEYS[1:])}) with the model's text; there are: "
            f"{', '.join(map(str, entry))[:200] or 'none'}. Name it with --map prediction=KEY."
        )
    outputs = []
    for key in keys:
        outputs.append(_text_or_none(entry[key], f"{where}: {key!r}"))
        if outputs[-1] != outputs[0]:
            raise _ambiguous(where, [keys[0], key])
    return outputs[0]


def _ambiguous(where: str, keys: Sequence[str]) -> InputError:
    """The error that two keys or columns could be the model's output."""
    return InputError(
        f"{where}: {keys[0]!r} and {keys[1]!r} could each be the model's output. Say which it is "
        f"with --map prediction={keys[0]}."
    )


def _error_text(error: object) -> str:
    """The text of an entry's error, which may be an object with a message."""
    if isinstance(error, Mapping):
        error = error.get("message")
    return str(error or "no reason given")[:500]
