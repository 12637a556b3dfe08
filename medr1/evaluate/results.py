"""Result files to predictions: medr1's own, the original's, the guide's, in JSON or JSONL.

A file is read completely or refused: an InputError names the file, the item and the key. An item
that says it failed is a prediction with an error, so that it stays in every denominator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medr1.data.items import GOLD_KEYS, IMAGE_KEYS, read_item
from medr1.errors import InputError
from medr1.files import parse_json, read_text
from medr1.records import (
    ANSWER_TYPES,
    RESULTS_SCHEMA,
    Failure,
    Prediction,
    Sample,
    prediction_from_dict,
    sample_id,
)

OUTPUT_KEYS = ("model_output", "raw_output")
_OWN_KEYS = {"id", "images", "question", "answer_type", "model_output"}
_NOT_OF_THE_SAMPLE = {*OUTPUT_KEYS, "extracted_answer", "success", "error", "formatted_question"}
_TEXT, _NUMBER, _LIST, _OBJECT = (str,), (int, float), (list,), (dict,)
_NAMES = {str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
_NAMES |= {bool: "true or false", type(None): "null"}
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "question", "ground_truth", "answer_type", "question_type"), _TEXT),
    **dict.fromkeys(("modality", "dataset", "model_output", "extracted_answer"), _TEXT),
    **dict.fromkeys(("extraction", "reasoning", "finish_reason"), _TEXT),
    **dict.fromkeys(("images", "samples", "image_notes"), _LIST),
    **dict.fromkeys(("options", "metadata", "option_probs", "error"), _OBJECT),
    **dict.fromkeys(("confidence", "num_tokens"), _NUMBER),
}
_INNER: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("images", "samples", "image_notes", "options", "error"), _TEXT),
    "option_probs": _NUMBER,
}
_READ = (
    'medr1\'s results.json, {"results": [...]} as the original and its inference.py write it, '
    "a list of such items, or one item a line in .jsonl"
)


@dataclass(frozen=True)
class ResultFile:
    """What a result file holds."""

    meta: dict[str, Any]
    """What it says about its run: medr1's `meta`, else whatever stands beside `results`."""
    predictions: list[Prediction]


def read_results(path: Path) -> ResultFile:
    """Read a result file in any known form; every item has its ground truth."""
    path = Path(path)
    if path.suffix.lower() in (".csv", ".tsv", ".parquet", ".xlsx"):
        raise InputError(f"{path}: results in {path.suffix} are not read. Read are: {_READ}.")
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        meta: dict[str, Any] = {}
        entries = list(_lines(path))
    else:
        meta, found = _document(path)
        entries = [(f"{path}, item {i}", entry) for i, entry in enumerate(found, start=1)]
    if not entries:
        raise InputError(f"{path} holds no results. Check that its run was finished.")
    return ResultFile(meta, _with_ids([_prediction(entry, where) for where, entry in entries]))


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    """(where, value) of each line that is not blank."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", parse_json(line, str(path), first_line=number)


def _document(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """(meta, entries) of a JSON file."""
    document = parse_json(read_text(path), str(path))
    if isinstance(document, list):
        return {}, document
    if not isinstance(document, dict) or not isinstance(document.get("results"), list):
        hint = ""
        if isinstance(document, dict):
            hint = f" It is an object with the keys: {', '.join(document)[:200] or 'none'}."
        raise InputError(f"{path} holds no list of results.{hint} Read are: {_READ}.")
    schema = document.get("schema", RESULTS_SCHEMA)
    if schema != RESULTS_SCHEMA:
        raise InputError(
            f"{path}: the schema {str(schema)[:80]!r} is not known; {RESULTS_SCHEMA!r} is. "
            "Use the version of medr1 that wrote the file."
        )
    rest = {key: value for key, value in document.items() if key not in ("results", "schema")}
    meta = rest.get("meta") if "schema" in document else rest
    return meta if isinstance(meta, dict) else {}, document["results"]


def _prediction(entry: Any, where: str) -> Prediction:
    if not isinstance(entry, Mapping):
        raise InputError(f"{where}: {_kind(entry)} where an object is expected.")
    own = entry.keys() >= _OWN_KEYS
    prediction = _own(entry, where) if own else _foreign(entry, where)
    if prediction.sample.ground_truth is None:
        raise InputError(
            f"{where}: has no ground truth, so its answer cannot be judged. "
            f"Add the key 'ground_truth' ({', '.join(GOLD_KEYS)} are read)."
        )
    return prediction


# --- medr1's own ------------------------------------------------------------------------------


def _own(entry: Mapping[str, Any], where: str) -> Prediction:
    """An item of medr1.results/1, its types checked."""
    for key, types in _TYPES.items():
        value = entry.get(key)
        if value is None:
            if key in ("id", "images", "question", "answer_type"):
                raise InputError(f"{where}: {key!r} is null where {_NAMES[types[0]]} is expected.")
            continue
        _require(value, types, f"{where}: {key!r}")
        if key in _INNER:
            inner = value.values() if isinstance(value, Mapping) else value
            for part in inner:
                _require(part, _INNER[key], f"{where}: in {key!r} a value")
    if entry["answer_type"] not in ANSWER_TYPES:
        raise InputError(
            f"{where}: 'answer_type' is {entry['answer_type'][:40]!r}; "
            f"expected is one of {', '.join(ANSWER_TYPES)}."
        )
    if entry.get("error") is not None and entry["error"].keys() != {"code", "message"}:
        raise InputError(f"{where}: 'error' must have the keys 'code' and 'message'.")
    empty: dict[str, Any] = {key: {} for key in ("options", "metadata") if entry.get(key) is None}
    return prediction_from_dict({**entry, **empty})


def _require(value: Any, types: tuple[type, ...], what: str) -> None:
    if not isinstance(value, types) or isinstance(value, bool):
        raise InputError(f"{what} is {_kind(value)} where {_NAMES[types[0]]} is expected.")


def _kind(value: Any) -> str:
    return _NAMES[type(value)]


# --- others' ----------------------------------------------------------------------------------


def _foreign(entry: Mapping[str, Any], where: str) -> Prediction:
    """{"question": item or text, "ground_truth", "model_output" or "raw_output", ...}."""
    failed = entry.get("success") is False or entry.get("error") is not None
    output = _output(entry, where, failed)
    extracted = entry.get("extracted_answer")
    if extracted is not None and not isinstance(extracted, str):
        _require(extracted, _NUMBER, f"{where}: 'extracted_answer'")
        extracted = str(extracted)
    return Prediction(
        _foreign_sample(entry, where, failed),
        model_output=output,
        extracted_answer=extracted,
        error=Failure("failed", _said(entry.get("error"))) if failed else None,
    )


def _output(entry: Mapping[str, Any], where: str, failed: bool) -> str | None:
    key = next((key for key in OUTPUT_KEYS if key in entry), None)
    if key is None:
        if failed:
            return None
        raise InputError(
            f"{where}: has no model output. Expected is the key 'model_output' (or 'raw_output') "
            f"with the model's text; there are: {', '.join(map(str, entry))[:200] or 'none'}."
        )
    if entry[key] is not None:
        _require(entry[key], _TEXT, f"{where}: {key!r}")
    return entry[key]


def _said(error: Any) -> str:
    """The text of an error that others wrote."""
    if isinstance(error, Mapping):
        error = error.get("message")
    return str(error or "no reason given")[:500]


def _foreign_sample(entry: Mapping[str, Any], where: str, failed: bool) -> Sample:
    """The question as the readers of data sets read it; the gold beside it wins over one in it."""
    item = {key: value for key, value in entry.items() if key not in _NOT_OF_THE_SAMPLE}
    if isinstance(item.get("question"), Mapping):
        item |= item.pop("question")
    gold = next((entry[key] for key in GOLD_KEYS if entry.get(key) is not None), None)
    if gold is not None:
        item = {key: value for key, value in item.items() if key not in GOLD_KEYS}
        item["ground_truth"] = gold
    has_image = any(item.get(key) for key in IMAGE_KEYS)
    if not has_image:  # a result needs none
        item["image"] = "none"
    sample, failure = read_item(item, where)
    if failure is not None and not (failed and failure.code == "no_question"):
        raise InputError(failure.message)
    return sample if has_image else replace(sample, images=())


def _with_ids(predictions: list[Prediction]) -> list[Prediction]:
    """A hash for each item that brought no id; the second of equal ones gets "-2"."""
    seen: dict[str, int] = {}
    found = []
    for prediction in predictions:
        sample = prediction.sample
        if not sample.id:
            name = sample_id(sample.images, sample.question, sample.options)
            times = seen[name] = seen.get(name, 0) + 1
            sample = replace(sample, id=name if times == 1 else f"{name}-{times}")
            prediction = replace(prediction, sample=sample)
        found.append(prediction)
    return found
