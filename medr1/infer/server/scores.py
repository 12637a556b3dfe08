"""Option probabilities from the log-probabilities that a server returns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from medr1.chat.responses import ChatResponse, Token
from medr1.infer.options import normalized_probabilities

Bounds = dict[str, tuple[float, float]]
"""Answer -> (lowest, highest) probability."""

_AROUND = " \n\t(\"'*:"
"""Characters that may stand in one token with a letter."""


def probabilities_of_strings(
    responses: Mapping[str, ChatResponse],
) -> dict[str, float] | None:
    """The probability of each answer from the log-probabilities of its whole answer string.

    Each response is that to the prompt followed by an answer string. The tokens at the beginning
    that all of them share are left out: they contribute the same to each answer.

    Args:
        responses: Answer -> response with prompt log-probabilities.

    Returns:
        Answer -> probability; None if a log-probability is missing.
    """
    tokens = {answer: _prompt_tokens(response) for answer, response in responses.items()}
    if not all(tokens.values()):
        return None
    shared = _shared_length([[token_id for token_id, _ in row] for row in tokens.values()])
    return normalized_probabilities(
        {answer: math.fsum(logp for _, logp in row[shared:]) for answer, row in tokens.items()}
    )


def _shared_length(rows: Sequence[Sequence[str]]) -> int:
    """How many tokens at the beginning are the same in all rows."""
    columns = enumerate(zip(*rows, strict=False))
    return next((n for n, ids in columns if len(set(ids)) > 1), min(map(len, rows)))


def _prompt_tokens(response: ChatResponse) -> list[tuple[str, float]]:
    """(id, log-probability) of each token of the prompt but the first, which has none."""
    rows = (response.prompt_logprobs or [])[1:]
    # With prompt_logprobs 0, the only entry of a row is the prompt's own token.
    return [(token_id, token.logprob) for row in rows if row for token_id, token in row.items()]


def probabilities_of_letters(
    response: ChatResponse, answers: Sequence[str]
) -> tuple[dict[str, float] | None, Bounds | None]:
    """The probability of each answer from the most probable tokens in the place of the answer.

    An answer that is not among these tokens is at most as probable as the least probable of them,
    and as all tokens together that were not returned. Its probability is then only bounded, and
    with it that of the others.

    Args:
        response: The completion, with the most probable tokens of each place.
        answers: The possible answers: letters, or yes and no.

    Returns:
        (answer -> probability, None) if all answers are among the tokens; (None, bounds) if some
        are; (None, None) if the completion has no answer of this kind, or the server returned no
        tokens for its place.
    """
    token = _answer_token(response.tokens, answers)
    if token is None or not token.top_logprobs:
        return None, None
    # The other answers are looked for in the same form, such as with a blank before the letter.
    text = token.token.strip(_AROUND)
    logps = {top.token: top.logprob for top in (*token.top_logprobs, token)}
    listed = {}
    for answer in answers:
        written = answer.capitalize() if text[:1].isupper() else answer
        form = token.token.replace(text, written)
        if form in logps:
            listed[answer] = math.exp(logps[form])
    total = sum(listed.values())
    if len(listed) == len(answers):
        return {answer: probability / total for answer, probability in listed.items()}, None
    rest = max(0.0, 1.0 - math.fsum(map(math.exp, logps.values())))
    highest = min(rest, math.exp(min(logps.values())))
    missing = len(answers) - len(listed)
    bounds = {}
    for answer in answers:
        if answer in listed:
            low, high = listed[answer] / (total + missing * highest), listed[answer] / total
        else:
            low, high = 0.0, highest / (total + highest)
        bounds[answer] = (low, high)
    return None, bounds


def _answer_token(tokens: Sequence[Token], answers: Sequence[str]) -> Token | None:
    """The token that is the answer: the first after <answer>, or of the completion without it."""
    texts = [token.token for token in tokens]
    whole = "".join(texts)
    start = whole.rfind("<answer>")
    position, start = 0, start + len("<answer>") if start >= 0 else 0
    for token in tokens:
        position += len(token.token)
        if position <= start:
            continue
        if text := token.token.strip(_AROUND):
            is_answer = text in answers or text.lower() in answers
            return token if is_answer else None
    return None
