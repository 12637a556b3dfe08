"""What the report of an evaluation says of a review by experts."""

from __future__ import annotations

from collections.abc import Iterator

from medr1.documents.metric import Metric
from medr1.documents.review import ExpertReview
from medr1.report.terminal.layout import Row
from medr1.terminal import counted


def review_shares(review: ExpertReview) -> Iterator[tuple[str, str, Metric]]:
    """The key, the name and the value of each share."""
    yield "automatic_accuracy", "automatic accuracy, as reviewed", review.automatic_accuracy
    yield "corrected_accuracy", "accuracy corrected by experts", review.corrected_accuracy
    if review.rule:
        yield "rule_precision", "precision of the automatic verdict", review.rule.precision
        yield "rule_recall", "recall of the automatic verdict", review.rule.recall


def review_coefficients(review: ExpertReview) -> Iterator[tuple[str, str, Metric]]:
    """The same of what is no share; questions of the rubric that nobody answered are left out."""
    for question, agreement in review.questions.items():
        if any(agreement.counts.values()):
            alpha, ac1 = agreement.krippendorff_alpha, agreement.gwet_ac1
            yield f"krippendorff_alpha_{question}", f"alpha of readers: {question}", alpha
            yield f"gwet_ac1_{question}", f"AC1 of readers: {question}", ac1
    if review.rule:
        auroc = review.rule.confidence_auroc
        yield "confidence_auroc_experts", "AUROC of confidence, by experts", auroc


def coefficient_rows(review: ExpertReview) -> list[Row]:
    """The rows of the coefficients for the terminal: name, value, interval, n."""
    rows: list[Row] = []
    for _, name, metric in review_coefficients(review):
        if metric.value is None:
            rows.append((name, "-", metric.reason or "", ""))
        else:
            interval = " to ".join(f"{bound:.2f}" for bound in metric.ci95 or ())
            rows.append((name, f"{metric.value:.2f}", interval, str(metric.n)))
    return rows


def review_title(review: ExpertReview) -> str:
    """The title of the tables, which says where readers are simulated."""
    return "review by simulated readers" if review.is_simulated else "review by experts"


def review_note(review: ExpertReview) -> str:
    """Who judged how many cases, and what the numbers are about."""
    decided = review.n_adjudicated
    second = "" if decided is None else f", and an adjudicator decided {counted(decided, 'case')}"
    protocol = f" (protocol {review.protocol})" if review.protocol else ""
    reader = "simulated reader" if review.is_simulated else "expert"
    return (
        f"{counted(review.n_readers, reader)} judged {review.n_judged} of "
        f"{counted(review.n_cases, 'sampled case')}{second}. Accuracies, precision, recall and "
        f"AUROC are estimates for all items. The verdict that was reviewed{protocol} counts for "
        "precision and recall. alpha is Krippendorff's, AC1 is Gwet's: 1 is complete agreement, 0 "
        "what is expected by chance."
    )
