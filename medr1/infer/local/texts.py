"""From a model's tokens to texts, and from answer strings to tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from medr1.models.loading import LoadedModel


class Completion(NamedTuple):
    """A completion without its end token and what follows."""

    text: str
    token_ids: list[int]
    finish_reason: str
    """stop, or length if it has no end token; "" if nothing was generated."""


def cut_at_end(loaded: LoadedModel, token_ids: list[int]) -> Completion:
    """A completion without its end token and what follows.

    Args:
        loaded: The model.
        token_ids: What it generated, with padding behind the end token.
    """
    stated = loaded.model.generation_config.eos_token_id
    end_tokens = set(stated if isinstance(stated, list) else [stated])
    stop = next((position for position, token in enumerate(token_ids) if token in end_tokens), None)
    text = _text(loaded, token_ids[:stop]).strip()
    return Completion(text, token_ids[:stop], "length" if stop is None else "stop")


def whole_text(loaded: LoadedModel, prefill: str, completion: Completion) -> str:
    """A completion with the beginning that it continues.

    Args:
        loaded: The model.
        prefill: The beginning of the completion; "" without one.
        completion: What the model generated.
    """
    if not prefill:
        return completion.text
    return (prefill + _text(loaded, completion.token_ids)).strip()


def prefill_tokens(loaded: LoadedModel, prefill: str) -> list[int]:
    """The token ids of the beginning of a completion; [] for "".

    Args:
        loaded: The model.
        prefill: The text; it has no control tokens.
    """
    if not prefill:
        return []
    ids: list[int] = loaded.processor.tokenizer(prefill, add_special_tokens=False)["input_ids"]
    return ids


def _text(loaded: LoadedModel, token_ids: list[int]) -> str:
    return str(loaded.processor.tokenizer.decode(token_ids, skip_special_tokens=True))


def reasoning_and_strings(
    loaded: LoadedModel, strings: Iterable[str], completion: Completion | None
) -> tuple[list[int], list[list[int]]]:
    """The tokens of the reasoning before the answer, and the tokens of each answer string.

    Where the completion has no <answer> tag, there is no place for an answer, and so no strings.

    Args:
        loaded: The model.
        strings: The answer strings.
        completion: The completion with the reasoning; None if the strings come right after the
            prompt, because it asks for no reasoning or nothing was generated.
    """
    lead = ""
    reasoning: list[int] = []
    if completion is not None:
        text, token_ids, _ = completion
        position = text.rfind("<answer>")
        if position < 0:
            return [], []
        decoded = _text(loaded, token_ids)
        # `text` is `decoded` without surrounding blanks, so its positions are smaller.
        position += len(decoded) - len(decoded.lstrip())
        # A token may hold both the end of the reasoning and the beginning of the tag, such as
        # " <". Take the most tokens whose text ends before the tag. What is left of the text
        # before the tag, here the blank, goes in front of each string.
        counts = range(len(token_ids) + 1)
        num_tokens = (
            bisect_right(counts, position, key=lambda n: len(_text(loaded, token_ids[:n]))) - 1
        )
        reasoning = token_ids[:num_tokens]
        lead = decoded[len(_text(loaded, reasoning)) : position]
    tokenizer = loaded.processor.tokenizer
    return reasoning, [
        tokenizer(lead + string, add_special_tokens=False)["input_ids"] for string in strings
    ]
