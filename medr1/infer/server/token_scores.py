"""The log-probability of each token of a completion, from what a server returns."""

from __future__ import annotations

from collections.abc import Sequence

from medr1.chat.responses import ChatResponse, Token
from medr1.infer.server.messages import CONTROL_TOKENS


def completion_tokens(response: ChatResponse) -> list[Token]:
    """The tokens of a completion without its end token; [] if the server does not return them."""
    tokens = list(response.tokens)
    while tokens and tokens[-1].token in ("", *CONTROL_TOKENS):
        del tokens[-1]
    return tokens


def logprobs_in_prompt(response: ChatResponse, tokens: Sequence[Token]) -> list[float] | None:
    """The log-probability of each token of a completion that was sent as the end of a prompt.

    Args:
        response: The answer to that prompt, with the log-probabilities of its tokens.
        tokens: The tokens of the completion as they were generated.

    Returns:
        One number for each token; None where the server reads the same text as other tokens, or
        does not return the texts of the prompt's tokens.
    """
    if not tokens:
        return []
    # With prompt_logprobs 0, the only entry of a row is the prompt's own token.
    ends = [entry for row in response.prompt_logprobs or [] for entry in (row or {}).values()]
    ends = ends[-len(tokens) :]
    if [entry.decoded_token for entry in ends] != [token.token for token in tokens]:
        return None
    return [entry.logprob for entry in ends]
