"""lmms-eval's sample logs: an entry of theirs to one that `entries` reads.

`*_samples_<task>.jsonl` has {"doc_id", "target", "filtered_resps", "resps"?, "input", the task's
metrics}; before version 0.2.2 one `<task>.json` had {"args", "model_configs", "logs": [{"doc_id",
"doc", "target", "arguments", "resps", "filtered_resps", ...}]}. `resps` is what the model said and
is left out where it equals `filtered_resps`, what a filter made of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medr1.data.items import QUESTION_KEYS
from medr1.errors import InputError

_FILE = re.compile(r"_samples_(.+)\.jsonl?$")
_OPTION_LINE = re.compile(r"^[ \t]*([A-H])[.)][ \t]", re.MULTILINE)
_USED = {"doc_id", "doc", "target", "arguments", "input", "input_media", "resps", "filtered_resps"}
_HASHES = {"doc_hash", "prompt_hash", "target_hash", "token_counts"}


def is_sample_log(entry: Any) -> bool:
    """Whether this is an entry of a sample log."""
    return type(entry) is dict and "filtered_resps" in entry and "doc_id" in entry


def task_of(path: Path, meta: Mapping[str, Any]) -> str | None:
    """The task that a sample log is of, by what stands in it or by its name."""
    config = meta.get("model_configs")
    task = config.get("task") if isinstance(config, Mapping) else None
    if isinstance(task, str) and task:
        return task
    match = _FILE.search(path.name)
    return match[1] if match else None


def item_of(entry: Mapping[str, Any], where: str, task: str | None) -> dict[str, Any]:
    """The entry in the spelling of a data set's item, with the model's output beside it."""
    doc = entry.get("doc")
    item = dict(doc) if isinstance(doc, Mapping) else {}
    item |= {k: v for k, v in entry.items() if k not in _USED and k not in _HASHES}
    if not any(item.get(key) for key in (*QUESTION_KEYS,)):
        item["question"] = _prompt(entry)
    if item.get("id") is None and item.get("question_id") is None:
        item["id"] = entry["doc_id"]
    if item.get("dataset") is None:
        item["dataset"] = task
    item["ground_truth"] = entry.get("target")
    media = entry.get("input_media")
    if not any(isinstance(item.get(key), str) for key in ("image", "image_path")):
        item.pop("image", None)
        if isinstance(media, list) and media and all(isinstance(name, str) for name in media):
            item["images"] = [name for name in media if not name.startswith("data:")]
    filtered = _texts(entry["filtered_resps"], where, "filtered_resps")
    raw = _texts(entry["resps"], where, "resps") if entry.get("resps") is not None else filtered
    item["model_output"] = raw[0]
    if filtered[0] != raw[0]:
        item["extracted_answer"] = filtered[0]
    return item


def _prompt(entry: Mapping[str, Any]) -> str | None:
    """What the model was asked; behind options, a line each, the instruction is left out."""
    arguments = entry.get("arguments")
    text = entry.get("input")
    if text is None and isinstance(arguments, list) and arguments:
        text = arguments[0][0] if isinstance(arguments[0], list) and arguments[0] else arguments[0]
    if not isinstance(text, str):
        return None
    options = list(_OPTION_LINE.finditer(text))
    if len(options) < 2:
        return text
    end = text.find("\n", options[-1].end())
    return text if end < 0 else text[:end]


def _texts(value: Any, where: str, key: str) -> list[str]:
    """The answers to one question; lists within lists are one request's repeats.

    A question that was asked once for each option has log-likelihoods in place of a text.
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
