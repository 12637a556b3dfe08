"""Results and rollouts of ms-swift.

- `swift infer` writes infer_result/<time>.jsonl; a line is {"response", "labels", "logprobs",
  "messages", "images", and the other columns of the data}.
- `swift rlhf --rlhf_type grpo --log_completions true` writes completions.jsonl; a line is one
  step, {"step": [...], "prompt": [...], "completion": [...], the rewards and other columns}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeGuard

from medr1.errors import InputError
from medr1.evaluate.reading.tools.chat_texts import (
    image_paths,
    last_question,
    last_user_turn,
    question_of,
)

_RESULT_KEYS = {"response", "labels", "messages"}
_ROLLOUT_KEYS = {"step", "prompt", "completion"}
_CONVERTED = {*_RESULT_KEYS, "logprobs", "images"}


def is_result(entry: object) -> TypeGuard[dict[str, object]]:
    """Whether this is a line of `swift infer`."""
    return (
        type(entry) is dict and entry.keys() >= _RESULT_KEYS and isinstance(entry["messages"], list)
    )


def is_rollouts(entry: object) -> TypeGuard[dict[str, list[object]]]:
    """Whether this is a line of completions.jsonl: columns of lists of one length."""
    return (
        type(entry) is dict
        and entry.keys() >= _ROLLOUT_KEYS
        and all(isinstance(entry[key], list) for key in _ROLLOUT_KEYS)
    )


def item_of(entry: Mapping[str, object]) -> dict[str, object]:
    """A line of `swift infer` as an item of a data set, with the model's output beside it."""
    messages = entry["messages"]
    item = {key: value for key, value in entry.items() if key not in _CONVERTED}
    question = last_question(messages if isinstance(messages, list) else [])
    if not item.get("question") and question is not None:
        item["question"] = question_of(question)
    item["images"] = image_paths(entry.get("images"))
    item["ground_truth"] = entry["labels"]
    item["model_output"] = entry["response"]
    return item


def items_of_rollouts(entry: Mapping[str, list[object]], where: str) -> Iterator[dict[str, object]]:
    """The questions of a step of training, each with all completions that were sampled for it.

    Two questions may have the same prompt about two images, so a question is told by its prompt,
    its ground truth and, if the line has them, its images.

    Args:
        entry: A line of completions.jsonl.
        where: Its place, for error messages.

    Raises:
        InputError: If the columns have several lengths, or a completion is no text.
    """
    columns = {key: value for key, value in entry.items() if isinstance(value, list)}
    if len({len(column) for column in columns.values()}) > 1:
        raise InputError(f"{where}: its columns have several lengths. Write it again.")
    groups: dict[tuple[str, str, str], dict[str, object]] = {}
    samples: dict[tuple[str, str, str], list[str]] = {}
    for row in zip(*columns.values(), strict=True):
        cells = dict(zip(columns, row, strict=True))
        prompt, completion = cells.pop("prompt"), cells.pop("completion")
        if not isinstance(prompt, str) or not isinstance(completion, str):
            raise InputError(f"{where}: a prompt or completion is not a text. Write it again.")
        solution = cells.get("solution", cells.get("ground_truth"))
        item = {"question": question_of(last_user_turn(prompt)), "step": cells["step"]}
        item |= {"ground_truth": solution, "model_output": completion}
        if images := image_paths(cells.get("images")):
            item["images"] = images
        key = prompt, repr(solution), repr(cells.get("images"))
        groups.setdefault(key, item)
        samples.setdefault(key, []).append(completion)
    for key, item in groups.items():
        yield item | ({"samples": samples[key]} if len(samples[key]) > 1 else {})
