"""Option probabilities: a softmax over the log-probabilities of the options' answer strings.

An answer string is the text by which the model would give an answer, such as
"<answer> C </answer>". It comes after the prompt, or after the reasoning that the model has
generated. All strings of a row are scored in one forward pass over the cached keys and values of
the prompt. For that they are packed one after the other, and the attention mask and the positions
make each string see what it would see alone:

    tokens:    [last prompt token + reasoning][string of A, less its last token][string of B ...]
    mask:      the prompt, the shared tokens up to itself, its own string up to itself
    position:  as if its own string alone followed the shared tokens

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
    """The string by which a model would give each possible answer.

    Args:
        sample: The question.
        prompt: The prompt template: its name, its file or its text. If it asks for <answer> tags,
            the string has them.
        answer_style: letter or text: how the checkpoint names an option.

    Returns:
        Answer -> string: {"A": "<answer> CT </answer>", ...}. The answers are those of
        `prompts.answer_texts`; {} where there are none to choose from.
    """
    pattern = _BLOCK if "<answer>" in template(prompt) else "{}"
    texts = answer_texts(sample, answer_style)
    return {answer: pattern.replace("{}", text) for answer, text in texts.items()}


def reasons_first(prompt: str) -> bool:
    """Whether the prompt asks for reasoning before the answer."""
    text = template(prompt)
    return 0 <= text.find("<think>") < text.find("<answer>")


@dataclass(frozen=True)
class PackedStrings:
    """The answer strings of B rows, packed for one forward pass.

    The last four lists have one entry for each token of each string. The model's output at
    (row, query) is its prediction of the target token, which belongs to one of the strings.
    """

    ids_BQ: torch.Tensor
    """Token ids."""
    offsets_BQ: torch.Tensor
    """Position of each token, relative to the last prompt token, which has 0."""
    visible_BQQ: torch.Tensor
    """Whether a query (second axis) attends to a key (third axis). Padding attends to itself."""
    rows: list[int]
    queries: list[int]
    targets: list[int]
    strings: list[int]
    """The number of the string, counted over all rows."""


def pack_strings(
    shared: Sequence[Sequence[int]], strings: Sequence[Sequence[Sequence[int]]], pad: int
) -> PackedStrings:
    """Pack the answer strings of each row after the tokens that they share.

    Shared tokens [1, 2] with the strings [4, 5, 6] and [7] are packed as [1, 2, 4, 5]. Tokens 4 and
    7 are predicted at token 2, token 5 at token 4, and token 6 at token 5.

    Args:
        shared: For each row the token ids before the answer, one at least.
        strings: For each row the token ids of each of its strings.
        pad: Token id of the padding.
    """
    import torch

    # The last token of a string is only predicted and never an input.
    lengths = [
        len(prefix) + sum(len(s) - 1 for s in row_strings)
        for prefix, row_strings in zip(shared, strings, strict=True)
    ]
    width = max(lengths)
    token_ids = torch.full((len(shared), width), pad)
    offsets = torch.zeros((len(shared), width), dtype=torch.long)
    # Padding sees itself: a row that sees nothing would be nan.
    visible = torch.eye(width, dtype=torch.bool).repeat(len(shared), 1, 1)
    rows: list[int] = []
    queries: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    number = 0
    for row, (prefix, row_strings) in enumerate(zip(shared, strings, strict=True)):
        start = width - lengths[row]
        position = start + len(prefix)
        token_ids[row, start:position] = torch.tensor(prefix)
        offsets[row, start:position] = torch.arange(len(prefix))
        # First every token sees all shared tokens; then the shared tokens themselves are causal.
        visible[row, start:, start:position] = True
        visible[row, start:position, start:position] = _causal(len(prefix))
        last_shared = position - 1
        for string in row_strings:
            end = position + len(string) - 1
            token_ids[row, position:end] = torch.tensor(string[:-1])
            # Every string continues at the same offset, right after the shared tokens.
            offsets[row, position:end] = torch.arange(len(prefix), len(prefix) + len(string) - 1)
            visible[row, position:end, position:end] = _causal(len(string) - 1)
            # The first token is predicted at the last shared token, each further one at the
            # token before it.
            rows += [row] * len(string)
            queries += [last_shared, *range(position, end)]
            targets += string
            owners += [number] * len(string)
            number += 1
            position = end
    return PackedStrings(token_ids, offsets, visible, rows, queries, targets, owners)


def _causal(size: int) -> torch.Tensor:
    """A causal mask (size, size): True where the key is not after the query."""
    import torch

    return torch.ones(size, size, dtype=torch.bool).tril()


def normalized_probabilities(logps: Mapping[str, float]) -> dict[str, float] | None:
    """The softmax of log-probabilities, which sums to 1; None where a number is not finite."""
    from math import exp, isfinite

    if not all(map(isfinite, logps.values())):
        return None
    top = max(logps.values())
    weights = {answer: exp(logp - top) for answer, logp in logps.items()}
    total = sum(weights.values())
    return {answer: weight / total for answer, weight in weights.items()}


def mean_probabilities(distributions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean probability of each answer over several distributions with the same answers."""
    return {
        answer: sum(probabilities[answer] for probabilities in distributions) / len(distributions)
        for answer in distributions[0]
    }


def most_probable(probabilities: Mapping[str, float]) -> str:
    """The most probable answer; the first of equals."""
    return max(probabilities, key=lambda answer: probabilities[answer])
