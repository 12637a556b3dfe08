"""Sample logs of lmms-eval: converts their entries to ones that `entries` reads.

lmms-eval is another evaluation toolkit; with --log_samples it writes the answers to each question.

- Since version 0.2.2: a file `*_samples_<task>.jsonl`, each line
  {"doc_id", "target", "filtered_resps", "resps"?, "input", the task's metrics}.
- Before: a file `<task>.json` with {"args", "model_configs", "logs": [{"doc_id", "doc", "target",
  "arguments", "resps", "filtered_resps", ...}]}.

`resps` is the model's output, `filtered_resps` the answer that a filter extracted from it. `resps`
is absent where both are equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

from medr1.data.items import QUESTION_KEYS
from medr1.errors import InputError
from medr1.evaluate.reading.tools.chat_texts import without_instruction

_FILE = re.compile(r"_samples_(.+)\.jsonl?$")
_CONVERTED = {
    "doc_id",
    "doc",
    "target",
    "arguments",
    "input",
    "input_media",
    "resps",
    "filtered_resps",
}
"""Keys of an entry that `item_of` converts; the others are kept as metadata."""
_HASHES = {"doc_hash", "prompt_hash", "target_hash", "token_counts"}
"""Keys that are dropped."""


def is_sample_log(entry: object) -> TypeGuard[dict[str, object]]:
    """Whether this is an entry of a sample log."""
    return type(entry) is dict and "filtered_resps" in entry and "doc_id" in entry


def task_of(path: Path, meta: Mapping[str, object]) -> str | None:
    """The name of a sample log's task; None where neither content nor name holds one.

    Args:
        path: The file; since version 0.2.2 its name holds the task.
        meta: The file's content beside its entries; before, it held the task.
    """
    config = meta.get("model_configs")
    task = config.get("task") if isinstance(config, Mapping) else None
    if isinstance(task, str) and task:
        return task
    match = _FILE.search(path.name)
    return match[1] if match else None


def item_of(entry: Mapping[str, object], where: str, task: str | None) -> dict[str, object]:
    """An entry of a sample log as an item of a data set, with the model's output beside it.

    Args:
        entry: As lmms-eval wrote it.
        where: Its place, for error messages.
        task: The name of the task, which becomes the data set's name where the item has none.

    Raises:
        InputError: If the output is no text.
    """
    doc = entry.get("doc")
    item = dict(doc) if isinstance(doc, Mapping) else {}
    item |= {k: v for k, v in entry.items() if k not in _CONVERTED and k not in _HASHES}
    if not any(item.get(key) for key in (*QUESTION_KEYS,)):
        item["question"] = _prompt(entry)
    if item.get("id") is None and item.get("question_id") is None:
        item["id"] = entry["doc_id"]
    if item.get("dataset") is None:
        item["dataset"] = task
    item["ground_truth"] = entry.get("target")
    # An "image" that is no text is not a path. Then the paths are in `input_media`, where an
    # embedded image is a data: URL.
    media = entry.get("input_media")
    if not any(isinstance(item.get(key), str) for key in ("image", "image_path")):
        item.pop("image", None)
        if isinstance(media, list) and media and all(isinstance(name, str) for name in media):
            item["images"] = [name for name in media if not name.startswith("data:")]
    filtered = _texts(entry["filtered_resps"], where, "filtered_resps")
    raw = _texts(entry["resps"], where, "resps") if entry.get("resps") is not None else filtered
    item["model_output"] = raw[0]
    if filtered[0] != raw[0]:  # the filter extracted an answer
        item["extracted_answer"] = filtered[0]
    return item


def _prompt(entry: Mapping[str, object]) -> str | None:
    """The question as the model was given it, without instruction; None where there is none."""
    arguments = entry.get("arguments")
    text = entry.get("input")
    if text is None and isinstance(arguments, list) and arguments:
        text = arguments[0][0] if isinstance(arguments[0], list) and arguments[0] else arguments[0]
    return without_instruction(text) if isinstance(text, str) else None


def _texts(value: object, where: str, key: str) -> list[str]:
    """The texts of one question's answers, from "text", ["text", ...] or [["text", ...]].

    Several texts are repeats of one request. InputError for anything else, such as the numbers of a
    task that scores the likelihood of each option.
    """
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
        return texts
    raise InputError(
        f"{where}: {key!r} is not a text that a model wrote. Results of options scored by their "
        "likelihood are not read; run a task that generates its answers."
    )
