"""The part of report.html on several samples of each question: agreement, pass@k, stability."""

from __future__ import annotations

from collections.abc import Sequence

from medr1.documents.metric import Missing, value_of
from medr1.documents.trust import PassAtK, Uncertainty
from medr1.report.charts.shares import difference_text, share_cell, x_of, y_of, y_ticks
from medr1.report.charts.training_curves import svg_points
from medr1.report.pages.sanitize import count_text, one_line
from medr1.report.terminal.tables import percent


def self_consistency_view(section: Uncertainty | Missing) -> dict[str, object] | None:
    """The part of the page, from the summary's `uncertainty`; None if nothing was sampled."""
    if isinstance(section, Missing):
        return None
    fewest, most = section.num_samples
    return {
        "samples": f"{fewest}" if fewest == most else f"{fewest} to {most}",
        "n": count_text(section.n),
        "sentence": _sentence(section),
        "curve": _pass_at_k_curve(section.pass_at_k),
        "agreement": [
            {
                "name": one_line(band.agreement),
                "n": count_text(band.n),
                "accuracy": share_cell(band.accuracy),
            }
            for band in section.by_agreement
        ],
        "rows": _rows(section),
    }


def _sentence(section: Uncertainty) -> str:
    """The majority of the samples against the single answer, and accuracy by agreement."""
    consistency, bands = section.self_consistency, section.by_agreement
    sentence = (
        f"The accuracy of the majority of the samples is "
        f"{percent(consistency.majority_accuracy.value)}, that of the single answer "
        f"{percent(consistency.accuracy.value)} "
        f"({difference_text(consistency.difference)})."
    )
    if len(bands) > 1:  # from most to least agreement
        most, least = bands[0], bands[-1]
        sentence += (
            f" Where {one_line(most.agreement)} samples agree, the single answer is correct for "
            f"{percent(most.accuracy.value)} of the questions; where only "
            f"{one_line(least.agreement)} agree, for {percent(least.accuracy.value)}."
        )
    return sentence


def _rows(section: Uncertainty) -> list[dict[str, str]]:
    entropy, stability = section.entropy, section.stability
    agreement = section.self_consistency.agreement
    rows = (
        ("mean agreement", "share of samples with the most frequent answer", agreement),
        ("entropy of the answers", "0 %: all the same, 100 %: all different", entropy.mean),
        ("AUROC of the entropy", "for predicting wrong answers", entropy.auroc),
        ("all samples agree", "share of questions", stability.all_agree),
        ("two samples agree", "of two drawn at random", stability.pairwise_agreement),
        ("accuracy from run to run", "standard deviation", stability.between_run_sd),
    )
    return [{"name": name, "note": note, **share_cell(metric)} for name, note, metric in rows]


def _pass_at_k_curve(by_k: Sequence[PassAtK]) -> dict[str, object]:
    """pass@k for k from one to all samples, with its interval, in pixels."""
    max_k = by_k[-1].k
    xs = [x_of((point.k - 1) / max(max_k - 1, 1)) for point in by_k]
    values = [value_of(point.metric) for point in by_k]
    intervals = [
        point.metric.ci95 or (value, value) for point, value in zip(by_k, values, strict=True)
    ]
    upper = [(x, y_of(high)) for x, (_, high) in zip(xs, intervals, strict=True)]
    lower = [(x, y_of(low)) for x, (low, _) in zip(xs, intervals, strict=True)]
    dots = [(x, y_of(value)) for x, value in zip(xs, values, strict=True)]
    # labels at the first, the middle and the last k: more would overlap
    labelled = {1, (max_k + 1) // 2, max_k}
    first, last = percent(values[0]), percent(values[-1])
    return {
        "path": svg_points(dots),
        "dots": dots,
        "spread": svg_points([*upper, *reversed(lower)]),
        "x_ticks": [
            (x, str(point.k)) for x, point in zip(xs, by_k, strict=True) if point.k in labelled
        ],
        "y_ticks": y_ticks(),
        "description": f"{first} with one sample, {last} with {max_k}",
    }
