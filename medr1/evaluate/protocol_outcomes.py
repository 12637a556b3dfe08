"""The verdict on one item under a further protocol, and why it is wrong there."""

from __future__ import annotations

from dataclasses import dataclass

from medr1 import answers
from medr1.records import Prediction

NO_RULE = "no_rule"


@dataclass(frozen=True, slots=True)
class ProtocolOutcome:
    """What one protocol says of one item."""

    reason: str
    """Why the item is wrong; "" for a right one. no_completion, undecided, no_rule, other_answer
    (the answer was found, and is another), several_blocks, no_block (no <answer>...</answer>) and
    unreadable_block (its content is not what the protocol reads)."""
    method: str
    """How the answer was read, or why there is none (`answers.Extraction.method`)."""
    has_answer: bool
    score: float | None = None
    """The mark of a published protocol, from 0 to 1; None for other protocols."""

    @property
    def correct(self) -> bool:
        """Whether the item is right."""
        return not self.reason

    @property
    def has_rule(self) -> bool:
        """Whether the protocol has a rule for this type of question."""
        return self.reason != NO_RULE


def protocol_outcome(prediction: Prediction, verdict: answers.Verdict | None) -> ProtocolOutcome:
    """What the verdict on a prediction says.

    Args:
        prediction: What the model answered.
        verdict: The verdict under the protocol; None where there was no completion to judge.
    """
    if verdict is None:
        return ProtocolOutcome("no_completion", "empty", False)
    extraction = verdict.extraction
    reason = _why_wrong(prediction, verdict)
    return ProtocolOutcome(reason, extraction.method, extraction.answer is not None, verdict.score)


def _why_wrong(prediction: Prediction, verdict: answers.Verdict) -> str:
    if verdict.correct:
        return ""
    if verdict.undecided:
        return NO_RULE if verdict.undecided == NO_RULE else "undecided"
    if verdict.extraction.answer is not None:
        return "other_answer"
    if verdict.extraction.method == "several_tags":
        return "several_blocks"
    text = prediction.model_output or ""
    return "unreadable_block" if "<answer>" in text and "</answer>" in text else "no_block"
