"""Logs of inspect_ai: a .json file, or an .eval file, which inspect_ai itself has to read.

A log is {"version", "status", "eval": {"model", "task", "created", ...}, "samples": [...]}. A
sample is {"id", "epoch", "input", "choices", "target", "output", "metadata", "error", ...}. The
answers of several epochs to one question become its samples, and the first one is judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

from medr1.data.items import IMAGE_KEYS
from medr1.errors import InputError
from medr1.evaluate.reading.tools.chat_texts import image_paths, last_question

_FINISH_REASONS = {"stop": "stop", "max_tokens": "length", "model_length": "length"}
"""inspect_ai's reason why an answer ended -> medr1's finish_reason."""


def is_eval_file(path: Path) -> bool:
    """Whether this is a log in inspect_ai's own format, by its name."""
    return path.suffix.lower() == ".eval"


def is_log(document: object) -> TypeGuard[dict[str, object]]:
    """Whether a JSON document is a log of inspect_ai."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("eval"), dict)
        and {"version", "status"} <= document.keys()
    )


def read_eval_file(path: Path) -> dict[str, object]:
    """The document of an .eval file.

    Raises:
        InputError: If inspect_ai is not installed, or cannot read the file.
    """
    try:
        from inspect_ai.log import read_eval_log
    except ImportError:
        raise InputError(
            f"{path}: a log of inspect_ai in its own format. Install inspect_ai beside medr1 (pip "
            "install inspect-ai), or write it as JSON: inspect log convert --to json "
            f"--output-dir json {path}."
        ) from None
    try:
        document: dict[str, object] = read_eval_log(str(path)).model_dump(mode="json")
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{path} cannot be read by inspect_ai ({reason}).") from None
    return document


def items_of(document: Mapping[str, object], path: Path) -> tuple[dict[str, object], list[object]]:
    """(what the log says about its run, its samples as items with the model's output).

    Args:
        document: The log.
        path: The file, for error messages.

    Raises:
        InputError: If the log has no samples.
    """
    samples = document.get("samples")
    if not isinstance(samples, list) or not samples:
        raise InputError(
            f"{path}: the log has no samples (its status is {document.get('status')}). Run the "
            "evaluation again without --no-log-samples."
        )
    run = document["eval"]
    names = {"model": "model", "task": "task", "created": "date"}
    meta = {own: run[name] for name, own in names.items() if isinstance(run, dict) and name in run}
    items: dict[str, dict[str, object]] = {}
    answers: dict[str, list[str]] = {}
    for number, sample in enumerate(samples, start=1):
        if not isinstance(sample, Mapping):
            raise InputError(f"{path}, sample {number}: not an object. Write the log again.")
        item = _item({"id": number, **sample})
        key = str(item["id"])
        items.setdefault(key, item)
        if isinstance(item.get("model_output"), str):
            answers.setdefault(key, []).append(str(item["model_output"]))
    for key, texts in answers.items():
        if len(texts) > 1:
            items[key]["samples"] = texts
    return meta, list(items.values())


def _item(sample: Mapping[str, object]) -> dict[str, object]:
    """A sample as an item of a data set, with the model's output beside it."""
    metadata = sample.get("metadata")
    item = dict(metadata) if isinstance(metadata, Mapping) else {}
    messages = sample.get("input")
    question = messages if isinstance(messages, str) else None
    if isinstance(messages, list):
        question = last_question(messages)
        if not any(item.get(key) for key in IMAGE_KEYS):
            item["images"] = _images(messages)
    # the metadata of medr1's own samples have the question without the instruction
    item.setdefault("question", question)
    item.setdefault("options", sample.get("choices") or None)
    target = sample.get("target")
    targets = target if isinstance(target, list) else [target]
    item |= {"id": str(sample.get("id")), "ground_truth": targets[0] if targets else None}
    if len(targets) > 1:
        item["targets"] = targets
    error = sample.get("error")
    if error is not None:
        return {key: value for key, value in item.items() if value is not None} | {"error": error}
    text, reason = _answer(sample.get("output"))
    item |= {"model_output": text, "finish_reason": reason}
    return {key: value for key, value in item.items() if value is not None}


def _images(messages: Sequence[object]) -> list[str]:
    """The images of the messages that are files; in a log they are most often embedded."""
    parts = [
        part
        for message in messages
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        for part in message["content"]
    ]
    return image_paths([part.get("image") for part in parts if isinstance(part, Mapping)])


def _answer(output: object) -> tuple[str, str | None]:
    """(the text of the first choice, why it ended); reasoning stands in a <think> block."""
    choices = output.get("choices") if isinstance(output, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping):
        return "", None
    message = choice.get("message")
    content = message.get("content") if isinstance(message, Mapping) else ""
    reason = _FINISH_REASONS.get(str(choice.get("stop_reason")))
    if isinstance(content, str):
        return content, reason
    parts = [part for part in content or [] if isinstance(part, Mapping)]
    reasoning = [str(p["reasoning"]) for p in parts if isinstance(p.get("reasoning"), str)]
    text = "\n".join(str(part["text"]) for part in parts if isinstance(part.get("text"), str))
    if reasoning:
        text = "<think>" + "\n".join(reasoning) + f"</think>\n{text}"
    return text, reason
