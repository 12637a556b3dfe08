"""What stands below the tables of `medr1 eval`: words on rows, and why protocols differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medr1.documents.metric import Missing, value_of
from medr1.documents.protocols import ProtocolRow
from medr1.documents.summary import Summary
from medr1.report.protocol_words import RULES, difference_text
from medr1.terminal import counted

LARGE_DIFFERENCE = 0.05
"""A protocol whose accuracy is lower than that of `default` by this share gets a sentence."""
_REASONS = {
    "no_block": "no <answer> block",
    "several_blocks": "several <answer> blocks",
    "unreadable_block": "something else in the block",
    "other_answer": "not equal in this comparison",
    "undecided": "cannot be judged by these rules",
}
"""Key of `ProtocolDifference.reasons` -> why these answers are rejected."""


def protocol_sentences(summary: Summary) -> Iterator[str]:
    """Why the accuracy under a protocol is much lower than under `default`, for this file."""
    accuracies = {name: metric.value for name, metric in summary.protocols.items()}
    default = accuracies.get("default")
    for name, difference in summary.protocol_differences.items():
        value = accuracies.get(name)
        if default is None or value is None or default - value < LARGE_DIFFERENCE:
            continue
        reasons = ", ".join(f"{_REASONS[key]} ({n})" for key, n in difference.reasons.items())
        rejected = sum(difference.reasons.values())
        yield (
            f"{name} {RULES[name]}. Of {counted(difference.n_right, 'answer')} that default calls "
            f"right, it rejects {rejected}: {reasons}."
        )


def protocol_row_notes(rows: Mapping[str, ProtocolRow]) -> Iterator[str]:
    """What the columns of the table of all protocols are, and each protocol's differences.

    Args:
        rows: Protocol -> its row, from summary.json.
    """
    yield (
        "no answer: completions in which the protocol reads none. differ: verdicts that are not "
        "those of default. In what they differ, with the number of answers:"
    )
    for name, row in rows.items():
        if row.n_lost or row.n_gained or row.n_without_rule:
            yield f"- {name} {RULES[name]}. {difference_text(row)}."
    for name, row in rows.items():
        if row.score is not None:
            yield (
                f"{name} gives parts of a mark for open answers; only full marks are right here. "
                f"The mean of its marks is {100 * value_of(row.score):.1f} %."
            )


EXPLAIN = "What a metric is: medr1 eval --explain NAME, such as --explain token_f1."


def accuracy_notes(summary: Summary) -> Iterator[str]:
    """What the rows below the accuracy compare it with, as far as the table has them."""
    if summary.blind:
        yield (
            "best without image: the best of several predictors that see only the texts. Items "
            "that need an image: those that no such predictor above chance answers right."
        )
    if summary.ablations:
        yield (
            "image sensitivity: share of answers that change without the image. Hallucinated "
            "visual reasoning: share of completions that claim to see something in the image, with "
            "an answer that does not change without it."
        )
    if summary.reasoning_use:
        yield (
            "edited reasoning: the model answers again after its own reasoning, edited. Where the "
            "answer stays the same, it does not follow from the reasoning."
        )


def trust_notes(summary: Summary) -> Iterator[str]:
    """What the rows on confidence and agreement mean, as far as the table has them."""
    if not isinstance(summary.calibration, Missing):
        yield (
            "ece: mean distance of confidence and accuracy, 0 % is best. auroc: how well the "
            "confidence tells right from wrong answers, 50 % is chance."
        )
    if not isinstance(selective := summary.selective, Missing):
        yield "aurc: mean error rate if the least confident answers are left out, lower is better."
        if not isinstance(selective.conformal, Missing):
            yield "conformal coverage: share of items whose set of options has the right one."
    if not isinstance(summary.uncertainty, Missing):
        yield "samples: the further completions of each question (--num-samples)."
    if summary.token_uncertainty:
        yield (
            "AUROC of token variance and image shift: how well a wrong answer is told by uneven "
            "token probabilities, and by their small shift without the image; 50 % is chance."
        )
