"""One entry of a result file, in anyone's spelling, to a Prediction.

An entry with all keys of medr1.results/1 is held against that schema; any other is read as the
readers of data sets read an item, with the model's output beside it, and its answer_type may be
OPEN or CLOSED in any case (data/items.py). An entry that says it failed is a prediction with an
error, so that it stays in every denominator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from medr1.data.items import GOLD_KEYS, IMAGE_KEYS, QUESTION_KEYS, answer_class_of, read_item
from medr1.errors import InputError
from medr1.records import ANSWER_TYPES, LETTERS, Failure, Prediction, prediction_from_dict

OUTPUT_KEYS = (
    "model_output",
    "raw_output",
    "prediction",
    "response",
    "output",
    "generated_text",
    "completion",
)
"""What a model's text is called where nobody says how; the first is ours."""
FIELD_ALIASES: dict[str, tuple[str, ...]] = {
    "prediction": OUTPUT_KEYS,
    "ground_truth": GOLD_KEYS,
    "question": QUESTION_KEYS,
    "image": IMAGE_KEYS,
    "id": ("id", "question_id"),
    "options": ("options",),
    "answer_type": ("answer_type",),
    "question_type": ("question_type",),
    "modality": ("modality", "modality_type"),
    "dataset": ("dataset",),
    "extracted_answer": ("extracted_answer",),
    "option_probs": ("option_probs",),
    "confidence": ("confidence",),
    "samples": ("samples",),
    "finish_reason": ("finish_reason",),
    "error": ("error",),
}
"""What --map can name, and the keys that each is read from otherwise."""
_OWN_KEYS = {"id", "images", "question", "answer_type", "model_output"}
_NOT_OF_THE_SAMPLE = {
    *OUTPUT_KEYS, "extracted_answer", "success", "error", "formatted_question", "finish_reason"
}  # fmt: skip
_TEXT, _NUMBER, _LIST, _OBJECT = (str,), (int, float), (list,), (dict,)
_NAMES = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
_NAMES |= {bool: "true or false", type(None): "null"}
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "question", "ground_truth", "answer_type", "question_type"), _TEXT),
    **dict.fromkeys(("modality", "dataset", "model_output", "extracted_answer"), _TEXT),
    **dict.fromkeys(("extraction", "reasoning", "finish_reason"), _TEXT),
    **dict.fromkeys(("images", "samples", "circular_answers", "image_notes"), _LIST),
    "dropout_probs": _LIST,
    **dict.fromkeys(("options", "metadata", "option_probs", "error"), _OBJECT),
    **dict.fromkeys(("confidence", "num_tokens"), _NUMBER),
}
_INNER: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("images", "samples", "circular_answers", "image_notes"), _TEXT),
    **dict.fromkeys(("options", "error"), _TEXT),
    "option_probs": _NUMBER,
    "dropout_probs": _OBJECT,
}


def require_known_columns(columns: Mapping[str, str]) -> None:
    """Refuse a --map that names something medr1 does not know."""
    for name in columns:
        if name not in FIELD_ALIASES:
            near = get_close_matches(name, FIELD_ALIASES, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InputError(
                f"--map {name}={columns[name]}: {name!r} is nothing that results have.{hint} "
                f"There are: {', '.join(FIELD_ALIASES)}. Any other column is kept as metadata."
            )
    for column in columns.values():
        names = [name for name in columns if columns[name] == column]
        if len(names) > 1:
            raise InputError(f"--map names {column!r} as {' and as '.join(names)}. Choose one.")


def table_names(header: Sequence[str], columns: Mapping[str, str], path: str) -> list[str]:
    """The names that a table's columns are read under, "" for one that --map replaces.

    A, B ... are options where nothing else holds those. Refused is a header that does not say what
    is what.
    """
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise InputError(f"{path}: the column {twice[0]!r} stands twice. Rename one.")
    names = list(header)
    for name, column in columns.items():
        if column not in header:
            raise missing_column(path, name, column, header)
        names = ["" if key in FIELD_ALIASES[name] else key for key in names]
    for name, column in columns.items():
        names[header.index(column)] = FIELD_ALIASES[name][0]
    outputs = [name for name in names if name in OUTPUT_KEYS]
    if len(outputs) > 1:
        raise _ambiguous(path, outputs)
    if "options" not in names and {"A", "B"} <= set(names):
        names = [f"option_{name}" if name in tuple(LETTERS) else name for name in names]
    return names


def read_entry(
    entry: Any, where: str, columns: Mapping[str, str], *, whole: bool, own: bool
) -> Prediction:
    """The prediction that an entry holds; `columns`: our name -> the key it has there.

    With `whole` it has its ground truth, its question unless it failed, and an id; without, a data
    set is to fill in what is missing, and its id may be "". `own`: it may be medr1.results/1.
    """
    if type(entry) is not dict:
        raise InputError(f"{where}: {_kind(entry)} where an object is expected.")
    if columns:
        entry = _renamed(entry, columns, where)
    if own and entry.keys() >= _OWN_KEYS and not answer_class_of(entry["answer_type"]):
        prediction = _own(entry, where)
    else:
        prediction = _foreign(entry, where, whole)
    if whole:
        require_gold(prediction, where)
    return prediction


def require_gold(prediction: Prediction, where: str) -> None:
    """Refuse a prediction that nothing can be held against."""
    if prediction.sample.ground_truth is None:
        raise InputError(
            f"{where}: has no ground truth, so its answer cannot be judged. "
            f"Add the key 'ground_truth' ({', '.join(GOLD_KEYS)} are read), name its key with "
            "--map ground_truth=KEY, or give the questions with --data."
        )


def _flat(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry with its question's keys beside its own; its own gold wins over one in there."""
    inner = entry.get("question")
    if type(inner) is not dict:
        return entry
    rest = {key: value for key, value in entry.items() if key != "question"}
    if any(rest.get(key) is not None for key in GOLD_KEYS):
        inner = {key: value for key, value in inner.items() if key not in GOLD_KEYS}
    return rest | inner


def _renamed(entry: Mapping[str, Any], columns: Mapping[str, str], where: str) -> dict[str, Any]:
    """The entry with our names for the keys that --map names, and without what they replace."""
    flat = _flat(entry)
    item = dict(flat)
    found = {}
    for name, key in columns.items():
        if key in flat:
            found[name] = flat[key]
        elif not _has_failed(flat):
            raise missing_column(where, name, key, flat)
        item.pop(key, None)
    for name, value in found.items():
        for alias in FIELD_ALIASES[name]:
            item.pop(alias, None)
        item[FIELD_ALIASES[name][0]] = value
    return item


def missing_column(where: str, name: str, key: str, there: Any) -> InputError:
    return InputError(
        f"{where}: has no {key!r}, which --map names as the {name}; there are: "
        f"{', '.join(map(str, there))[:200] or 'none'}. Name one of them."
    )


# --- medr1's own ------------------------------------------------------------------------------


def _own(entry: Mapping[str, Any], where: str) -> Prediction:
    """An item of medr1.results/1, its types checked."""
    for key, types in _TYPES.items():
        value = entry.get(key)
        if value is None:
            if key in ("id", "images", "question", "answer_type"):
                raise InputError(f"{where}: {key!r} is null where {_NAMES[types[0]]} is expected.")
            continue
        if type(value) not in types:
            _require(value, types, f"{where}: {key!r}")
        if value and key in _INNER:
            inner = _INNER[key]
            for part in value.values() if types is _OBJECT else value:
                if type(part) not in inner:
                    _require(part, inner, f"{where}: in {key!r} a value")
    length = entry.get("num_tokens")
    if length is not None and not (type(length) is int and 0 <= length < 2**63):
        raise InputError(f"{where}: 'num_tokens' is {str(length)[:40]}; it must count tokens.")
    if entry["answer_type"] not in ANSWER_TYPES:
        raise InputError(
            f"{where}: 'answer_type' is {entry['answer_type'][:40]!r}; "
            f"expected is one of {', '.join(ANSWER_TYPES)}."
        )
    if entry.get("error") is not None and entry["error"].keys() != {"code", "message"}:
        raise InputError(f"{where}: 'error' must have the keys 'code' and 'message'.")
    return prediction_from_dict(entry)


def _require(value: Any, types: tuple[type, ...], what: str) -> None:
    if not isinstance(value, types) or isinstance(value, bool):
        raise InputError(f"{what} is {_kind(value)} where {_NAMES[types[0]]} is expected.")


def _kind(value: Any) -> str:
    return _NAMES.get(type(value), f"a {type(value).__name__}")


# --- others' ----------------------------------------------------------------------------------


def _foreign(entry: Mapping[str, Any], where: str, whole: bool) -> Prediction:
    """{"question": item or text, "ground_truth", "model_output" or "raw_output", ...}."""
    entry = _flat(entry)
    failed = _has_failed(entry)
    output = _output(entry, where, failed)
    extracted = entry.get("extracted_answer")
    if extracted is not None and not isinstance(extracted, str):
        _require(extracted, _NUMBER, f"{where}: 'extracted_answer'")
        extracted = str(extracted)
    finish = entry.get("finish_reason")
    if finish is not None:
        _require(finish, _TEXT, f"{where}: 'finish_reason'")
    sure = parse_confidence(entry)
    item = {k: v for k, v in entry.items() if k not in _NOT_OF_THE_SAMPLE and k not in sure}
    golds = [key for key in GOLD_KEYS if item.get(key) is not None]
    for key in golds[1:]:
        del item[key]
    needs = ("question",) if whole and not failed else ()
    sample, failure = read_item(item, where, needs=needs, hashed=whole, open_is_class=True)
    if failure is not None:
        raise InputError(failure.message)
    return Prediction(
        sample,
        model_output=output,
        extracted_answer=extracted,
        finish_reason=finish,
        error=Failure("failed", _said(entry.get("error"))) if failed else None,
        **sure,
    )


def parse_confidence(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What says how sure the answer is, where it is of the type that ours has; else it is metadata.

    A table's confidence is text, and its blank cells say nothing.
    """
    found: dict[str, Any] = {}
    confidence, shares, samples = (entry.get(k) for k in ("confidence", "option_probs", "samples"))
    if (number := _as_number(confidence)) is not None:
        found["confidence"] = number
    if type(shares) is dict:
        known = {key: value for key, value in shares.items() if value is not None}
        if known and all(type(value) in _NUMBER for value in known.values()):
            found["option_probs"] = known
    if type(samples) is list and samples and all(type(one) is str for one in samples):
        found["samples"] = tuple(samples)
    return found


def _as_number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value if type(value) in _NUMBER else None


def _has_failed(entry: Mapping[str, Any]) -> bool:
    """Whether the entry says so; a table says it in words."""
    success = entry.get("success")
    said = isinstance(success, str) and success.strip().lower() == "false"
    return success is False or said or entry.get("error") is not None


def _output(entry: Mapping[str, Any], where: str, failed: bool) -> str | None:
    keys = [key for key in OUTPUT_KEYS if key in entry]
    if not keys:
        if failed:
            return None
        raise InputError(
            f"{where}: has no model output. Expected is the key 'model_output' (or "
            f"{', '.join(OUTPUT_KEYS[1:])}) with the model's text; there are: "
            f"{', '.join(map(str, entry))[:200] or 'none'}. Name it with --map prediction=KEY."
        )
    output = entry[keys[0]]
    for key in keys:
        if entry[key] is not None:
            _require(entry[key], _TEXT, f"{where}: {key!r}")
        if entry[key] != output:
            raise _ambiguous(where, [keys[0], key])
    return output


def _ambiguous(where: str, keys: Sequence[str]) -> InputError:
    return InputError(
        f"{where}: {keys[0]!r} and {keys[1]!r} could each be the model's output. Say which it is "
        f"with --map prediction={keys[0]}."
    )


def _said(error: Any) -> str:
    """The text of an error that others wrote."""
    if isinstance(error, Mapping):
        error = error.get("message")
    return str(error or "no reason given")[:500]
