"""The part `judge` of summary.json: what a model says about open answers, beside the rules."""

from __future__ import annotations

from msgspec import Struct

from medr1.documents.metric import Metric


class Agreement(Struct, frozen=True, kw_only=True):
    """How far two raters agree on whether answers are right.

    The counts are numbers of items. An item without a verdict of the judge is left out, and counted
    in `n_without` of the metrics.
    """

    both_right: int
    """Both call the answer right."""
    first_only: int
    """Only the first rater calls it right."""
    second_only: int
    neither: int
    share: Metric
    """The share of the items on which they agree."""
    kappa: Metric
    """Cohen's kappa."""


class JudgePeople(Struct, frozen=True, kw_only=True):
    """The judge and the rules against the labels of people, on the same items."""

    key: str
    """The metadata key of the labels."""
    n: int
    """Number of answers with a label."""
    judge: Agreement
    """First the judge, second the people."""
    rules: Agreement
    """First the rules, second the people."""


class JudgeResult(Struct, frozen=True, kw_only=True):
    """What the judge says. It changes no other number of the summary."""

    model: str
    """The name of the judge."""
    prompt_sha256: str
    """SHA-256 of its prompt."""
    n_open: int
    """Number of open questions whose answer has text: those that can be judged."""
    n_asked: int
    """Number of answers that the judge was asked about, in this run or in an earlier one."""
    n_unclear: int
    """Those of which the judge said unclear, or nothing that can be read."""
    n_failed: int
    """Those that the server could not answer. They count as the rules say."""
    n_changed: int
    """Number of answers that the rules do not call right, and the judge does."""
    accuracy: Metric
    """The accuracy by the rules, as in `metrics`."""
    accuracy_with_judge: Metric
    """The same, where an open answer is also right if the judge says so."""
    gain: Metric
    """accuracy_with_judge minus accuracy."""
    open_accuracy: Metric
    """The accuracy by the rules on all open questions."""
    open_accuracy_with_judge: Metric
    rules: Agreement
    """First the judge, second the rules, on the answers that were asked about."""
    rules_weighted: Agreement
    """The same as an estimate for all open answers: right answers are weighted by the inverse of
    the share of them that was drawn."""
    people: JudgePeople | None = None
    """None without labels."""
