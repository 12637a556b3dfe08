"""What each protocol gives on the same completions: the table of `medr1 eval --protocol all`."""

from __future__ import annotations

from collections import Counter

import numpy as np

from medr1.answers import PUBLISHED
from medr1.documents.metric import Metric
from medr1.documents.protocols import ProtocolRow
from medr1.evaluate.coded import CodedColumn, Mask
from medr1.evaluate.estimates import mean_metric
from medr1.evaluate.judging import Judged
from medr1.evaluate.protocol_outcomes import NO_RULE, ProtocolOutcome


def protocol_accuracy(judged: Judged, protocol: str) -> Metric:
    """The accuracy under a further protocol, over the questions that it has a rule for.

    Args:
        judged: The items.
        protocol: One of the protocols that the items were judged with.
    """
    right = judged.columns.right_under(protocol).astype(np.float64)
    has_rule = judged.columns.protocols[protocol].where(lambda outcome: outcome.has_rule)
    return mean_metric(right, judged, has_rule, "the protocol has no rule for these questions")


def protocol_rows(judged: Judged) -> dict[str, ProtocolRow]:
    """A row for each protocol, in order; empty unless a published protocol is among them."""
    columns = judged.columns.protocols
    if not set(PUBLISHED) & set(columns) or "default" not in columns:
        return {}
    right = judged.columns.right_under("default")
    return {name: _row(name, column, right, judged) for name, column in columns.items()}


def _row(
    name: str, column: CodedColumn[ProtocolOutcome], right: Mask, judged: Judged
) -> ProtocolRow:
    has_rule = column.where(lambda outcome: outcome.has_rule)
    is_right = column.where(lambda outcome: outcome.correct)
    lost, gained = right & ~is_right & has_rule, is_right & ~right
    scores = column.map(lambda outcome: outcome.score or 0.0)
    has_parts = bool(((scores > 0) & (scores < 1)).any())
    return ProtocolRow(
        accuracy=protocol_accuracy(judged, name),
        score=mean_metric(scores, judged, has_rule) if has_parts else None,
        n_without_rule=int((~has_rule).sum()),
        n_without_answer=int((has_rule & column.where(lambda o: not o.has_answer)).sum()),
        n_lost=int(lost.sum()),
        n_gained=int(gained.sum()),
        lost=_methods(name, column, lost),
        gained=_methods(name, column, gained),
    )


def _methods(name: str, column: CodedColumn[ProtocolOutcome], where: Mask) -> dict[str, int]:
    outcomes = (column.values[code] for code in column.codes[where])
    is_published = name in PUBLISHED
    counts = Counter(
        outcome.method if is_published or outcome.correct else outcome.reason
        for outcome in outcomes
    )
    return dict(counts.most_common())


def protocol_notes(judged: Judged) -> list[str]:
    """What a reader has to know of the published protocol that the items were judged by."""
    name, n = judged.settings.protocol, len(judged)
    notes = []
    if without := int(judged.outcomes.where(lambda o: o.undecided == NO_RULE).sum()):
        notes.append(
            f"the protocol {name} has no rule for {without} of {n} questions; they count as wrong."
        )
    is_open = judged.outcomes.where(lambda o: o.answer_type in ("open", "count") and not o.options)
    if name == "medevalkit" and is_open.any():
        notes.append(
            "MedEvalKit's published tables judge open answers, and all answers of SLAKE, with a "
            "language model. Here only its rules are applied: an open answer has to equal the "
            "ground truth."
        )
    if name == "llava-med" and is_open.any():
        notes.append(
            "LLaVA-Med reports the share of the ground truth's words for open questions. Accuracy "
            "counts only answers with all of them; --protocol all shows the mean of the marks."
        )
    return notes
