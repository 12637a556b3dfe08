"""The probability of each option: a softmax over the log-probabilities of their answer strings.

The strings stand where an answer stands: after the prompt, or after the reasoning that the model
has written. All options of a row are scored in one forward pass over the prompt's cached keys:

    packed:    [last prompt token + reasoning][string of A, less its last token][string of B ...]
    visible:   the prompt, the shared tokens up to oneself, one's own string up to oneself
    position:  as if one's own string alone followed the shared tokens

Shapes: B rows, P prompt tokens (left padded), Q packed tokens (left padded), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medr1.prompts import answer_texts, template
from medr1.records import Sample

if TYPE_CHECKING:
    import torch

_BLOCK = "<answer> {} </answer>"
"""How the published splits write an answer, and how their checkpoints were trained to."""


def answer_strings(sample: Sample, prompt: str, answer_style: str) -> dict[str, str]:
    """Answer -> the string that gives it, in the form that the prompt asks for.

    The answers are those of `answer_texts`; `answer_style`, letter | text, is the checkpoint's.
    """
    form = _BLOCK if "<answer>" in template(prompt) else "{}"
    texts = answer_texts(sample, answer_style)
    return {answer: form.replace("{}", text) for answer, text in texts.items()}


def reasons_first(prompt: str) -> bool:
    """Whether the prompt asks for reasoning before the answer."""
    text = template(prompt)
    return 0 <= text.find("<think>") < text.find("<answer>")


@dataclass(frozen=True)
class Packed:
    """The answer strings of B rows beside each other."""

    ids_BQ: torch.Tensor
    offsets_BQ: torch.Tensor
    """Position of each token, counted from the last prompt token, which has 0."""
    visible_BQQ: torch.Tensor
    """Whether a query (second axis) sees a key (third axis); padding sees itself alone."""
    rows: list[int]
    queries: list[int]
    targets: list[int]
    """At (row, query) the model says how probable the target token is."""
    strings: list[int]
    """Which string, counted over all rows, each of these belongs to."""


def pack(
    shared: Sequence[Sequence[int]], strings: Sequence[Sequence[Sequence[int]]], pad: int
) -> Packed:
    """Lay out the strings of each row behind the tokens that they share (one at least)."""
    import torch

    lengths = [
        len(head) + sum(len(s) - 1 for s in tails)
        for head, tails in zip(shared, strings, strict=True)
    ]
    width = max(lengths)
    ids = torch.full((len(shared), width), pad)
    offsets = torch.zeros((len(shared), width), dtype=torch.long)
    visible = torch.eye(width, dtype=torch.bool).repeat(len(shared), 1, 1)
    rows: list[int] = []
    queries: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    number = 0
    for row, (head, tails) in enumerate(zip(shared, strings, strict=True)):
        start = width - lengths[row]
        place = start + len(head)
        ids[row, start:place] = torch.tensor(head)
        offsets[row, start:place] = torch.arange(len(head))
        visible[row, start:, start:place] = True
        visible[row, start:place, start:place] = _causal(len(head))
        last = place - 1
        for tail in tails:
            end = place + len(tail) - 1
            ids[row, place:end] = torch.tensor(tail[:-1])
            offsets[row, place:end] = torch.arange(len(head), len(head) + len(tail) - 1)
            visible[row, place:end, place:end] = _causal(len(tail) - 1)
            rows += [row] * len(tail)
            queries += [last, *range(place, end)]
            targets += tail
            owners += [number] * len(tail)
            number += 1
            place = end
    return Packed(ids, offsets, visible, rows, queries, targets, owners)


def _causal(size: int) -> torch.Tensor:
    import torch

    return torch.ones(size, size, dtype=torch.bool).tril()


def shares(scores: Mapping[str, float]) -> dict[str, float] | None:
    """Log-probabilities as probabilities that sum to 1; None where one is not a number."""
    from math import exp, isfinite

    if not all(map(isfinite, scores.values())):
        return None
    top = max(scores.values())
    weights = {letter: exp(score - top) for letter, score in scores.items()}
    total = sum(weights.values())
    return {letter: weight / total for letter, weight in weights.items()}


def mean_shares(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of probabilities by letter."""
    return {key: sum(one[key] for one in several) / len(several) for key in several[0]}


def most_probable(probabilities: Mapping[str, float]) -> str:
    """The letter of the most probable option, the first of equals."""
    return max(probabilities, key=lambda letter: probabilities[letter])
