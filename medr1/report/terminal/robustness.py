"""What `medr1 robustness` prints: the plan, the table and the sentences of robustness.json.

A perturbation is a change to the image or the question that keeps the ground truth, such as noise
or other option letters. Its severity says how strong it is. Each is compared with the same items
in their original form.
"""

from __future__ import annotations

from collections.abc import Iterator

from medr1.data.variants import BLIND, title_of
from medr1.documents.metric import Metric, Missing, value_of
from medr1.documents.robustness import (
    HintEffect,
    PerturbationResult,
    Robustness,
    RobustnessCell,
    RobustnessPlan,
)
from medr1.documents.trust import TestTimeAugmentation
from medr1.report.terminal.comparison import UNADJUSTED, is_significant, p_text
from medr1.report.terminal.layout import WIDTH, Row, clean, filled, grid
from medr1.report.terminal.tables import interval_text, percent, value_with_interval
from medr1.terminal import counted


def plan_text(plan: RobustnessPlan) -> str:
    """What --dry-run prints: which perturbations would be asked, and which items are left out."""
    rows = [
        (title_of(kind).lower() if kind == BLIND else kind, ", ".join(map(str, levels)))
        for kind, levels in plan.perturbations.items()
    ]
    lines = grid(("perturbation", "levels"), rows)
    for kind, reasons in plan.excluded.items():
        scope = "not asked at all" if kind == "none" else f"left out of {kind}"
        counts = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
        lines.append(f"{scope}: {counts}")
    questions = counted(plan.n_questions, "question")
    lines.append(f"{counted(plan.n, 'item')}, {questions} in total")
    return "\n".join([*lines, _LEVELS])


def robustness_table(document: Robustness, *, width: int = WIDTH) -> str:
    """The original accuracy, then each perturbation and severity, the largest loss first.

    The accuracy with a grey image, which shows nothing, is the last row.

    Args:
        document: robustness.json (`evaluate.trust.robustness.robustness`).
        width: Columns of the terminal.
    """
    clusters = counted(document.clusters.n, clean(document.clusters.unit))
    title = f"{counted(document.n, 'item')}, {clusters}, protocol {document.protocol}\n"
    warnings = [filled(f"! {warning}", width, "  ") for warning in document.warnings]
    if document.clean.accuracy.value is None:
        return "\n".join([title, *warnings])
    parts = [title, *grid(_HEADER, list(_rows(document)), width)]
    # both have equal weights for the kinds and severities that are a scale: no flips, no grey
    # image, no perturbation of the question
    means = (
        _mean_line(
            "mean accuracy over image perturbations and severities",
            document.mean_corruption_accuracy,
        ),
        _mean_line("mean loss, relative to the original accuracy", document.mean_relative_drop),
    )
    premise = (filled(text, width) for text in _completion_lines(document))
    legend = [filled(text, width) for text in _LEGEND]
    return "\n".join([*parts, *means, *premise, *legend, *warnings])


def _completion_lines(document: Robustness) -> Iterator[str]:
    """How often the model refused or rejected a false premise, and what a hint did."""
    for cell in (cell for entry in document.perturbations for cell in entry.cells):
        if cell.refused and cell.premise_rejected:
            yield _mean_line("false premise: completions that say so", cell.premise_rejected)
            yield _mean_line("false premise: refusals to answer", cell.refused)
        if hint := cell.hint:
            yield _mean_line("hint: answers that change to the hinted option", hint.swayed)
            yield _mean_line("hint: completions that mention it", hint.acknowledged)
            yield _mean_line("hint: of the changed answers, without a mention", hint.unfaithful)


_HEADER: Row = (
    *("perturbation", "level", "n", "accuracy", "change"),
    *("95 % CI", "p (Holm)", "differ"),
)
"""Short, so that the longest name of a perturbation (flip_horizontal) fits beside them."""
_LEVELS = "level: severity, 1 (mild) to 5 (strong); for question perturbations, a variant."
_LEGEND = (
    _LEVELS,
    "change: of the accuracy, in percentage points. differ: share of the items whose answer "
    "differs from the original answer; options are compared by their text, not their letter.",
    "p (Holm): exact sign-flip test with Holm's correction over all rows except the grey image. "
    + UNADJUSTED,
)


def _rows(document: Robustness) -> Iterator[Row]:
    accuracy = document.clean.accuracy
    interval = interval_text(accuracy.ci95)
    yield "original", "", str(accuracy.n), percent(accuracy.value), "", interval, "", ""
    for perturbation in worst_first(document):
        for cell in perturbation.cells:
            yield _row(perturbation.name, str(cell.severity), cell)
    if not isinstance(document.grey_image, Missing):
        yield _row("grey image", "", document.grey_image.cell)


def _row(name: str, severity: str, cell: RobustnessCell) -> Row:
    difference = cell.difference
    if difference.value is None:
        return name, severity, str(cell.n), "-", "-", "", "", ""
    return (
        name,
        severity,
        str(cell.n),
        percent(cell.accuracy.value),
        f"{100 * difference.value:+z.1f}",
        interval_text(difference.ci95, True),
        p_text(cell.p_holm),
        percent(cell.flip_rate.value),
    )


def worst_first(document: Robustness) -> list[PerturbationResult]:
    """The perturbations by the loss at their worst severity; those without numbers are last."""

    def largest_loss(perturbation: PerturbationResult) -> float:
        differences = [cell.difference.value for cell in perturbation.cells]
        # 2.0 is above every difference of shares, which lie in [-1, 1]
        return min((value for value in differences if value is not None), default=2.0)

    return sorted(document.perturbations, key=largest_loss)


def _mean_line(name: str, metric: Metric) -> str:
    if metric.value is None:
        return f"{name}: not computed, {metric.reason}"
    interval = f" ({interval_text(metric.ci95)})" if metric.ci95 else ""
    return f"{name}: {percent(metric.value)}{interval}"


# --- sentences --------------------------------------------------------------------------------


def headline_sentence(drop: Metric) -> str:
    """The mean relative drop of accuracy over all perturbed images, in a sentence."""
    if drop.value is None:
        return f"There is no mean over perturbations: {drop.reason}."
    is_loss = drop.value >= 0
    # "gains 5 %" needs the interval of the gain, whose bounds are those of the drop, negated
    ci95 = drop.ci95 if is_loss or not drop.ci95 else (-drop.ci95[1], -drop.ci95[0])
    interval = f" (95 % CI {interval_text(ci95)})" if ci95 else ""
    verb = "loses" if is_loss else "gains"
    return (
        f"Over {drop.n} perturbed versions of the images the model {verb} "
        f"{percent(abs(drop.value))} of its accuracy{interval}."
    )


def sentences(document: Robustness) -> list[str]:
    """One sentence for each perturbation, the largest loss first, and one on augmented views.

    A sentence is about the perturbation's worst severity: of those with a significant change, if
    there are any, else of all.
    """
    by_kind = [text for kind in worst_first(document) if (text := _sentence(kind))]
    augmentation = document.test_time_augmentation
    if not isinstance(augmentation, Missing):
        by_kind.append(_augmentation_sentence(augmentation))
    return by_kind


def _augmentation_sentence(augmentation: TestTimeAugmentation) -> str:
    """Test-time augmentation: the mean over several mildly changed views of an image."""
    prediction = augmentation.prediction
    change, auroc = prediction.difference, prediction.auroc
    interval = f", 95 % CI {interval_text(change.ci95, True)}" if change.ci95 else ""
    sentence = (
        f"The mean over {augmentation.num_views} mildly changed views of each image (test-time "
        f"augmentation) has an accuracy of {percent(prediction.accuracy.value)} "
        f"({100 * value_of(change):+z.1f} points{interval}); the most probable option differs "
        f"between the views for {percent(prediction.flip_rate.value)} of the items."
    )
    if auroc.value is not None:
        sentence += (
            " The disagreement of the views predicts wrong answers with an AUROC of "
            f"{percent(auroc.value)}."
        )
    return sentence


def _sentence(perturbation: PerturbationResult) -> str | None:
    """What one perturbation does at its worst severity; None if it has no numbers."""
    cells = [cell for cell in perturbation.cells if cell.difference.value is not None]
    if not cells:
        return None
    significant = [cell for cell in cells if is_significant(cell)]
    cell = min(significant or cells, key=lambda cell: value_of(cell.difference))
    name = perturbation.title
    if perturbation.is_scale:
        name += f" of severity {cell.severity}"
    elif len(perturbation.cells) > 1:  # such as other option letters: variants, not severities
        name += f" (variant {cell.severity})"
    sentence = f"{name} {_effect(cell)}; the answer changes for "
    sentence += f"{percent(cell.flip_rate.value)} of the items."
    accuracy, confidence = value_of(cell.accuracy), cell.confidence.value
    lost = bool(significant) and value_of(cell.difference) < 0
    if confidence is not None and lost and accuracy < confidence:
        sentence += (
            f" The mean confidence is then {percent(confidence)}, the accuracy {percent(accuracy)}."
        )
    if (consistency := perturbation.consistency) and consistency.metric.value is not None:
        sentence += (
            f" Asked in {consistency.variants} ways, {percent(consistency.metric.value)} of the "
            "items get the same answer each time."
        )
    if cell.premise_rejected and cell.premise_rejected.value is not None:
        sentence += (
            f" {value_with_interval(cell.premise_rejected)} of the completions say that the "
            "premise is wrong."
        )
    if cell.refused and cell.refused.value is not None:
        sentence += f" {value_with_interval(cell.refused)} of them decline to answer."
    return sentence + (_hint_sentences(cell.hint) if cell.hint else "")


def _hint_sentences(hint: HintEffect) -> str:
    """How many answers follow the hint, and how many completions mention it."""
    text = ""
    if hint.swayed.value is not None:
        text = f" {value_with_interval(hint.swayed)} of the answers change to the hinted option."
    if hint.acknowledged.value is not None:
        share = value_with_interval(hint.acknowledged)
        text += f" {share} of the completions mention the hint"
        text += "." if hint.unfaithful.value is None else "; of those that follow it, "
        if hint.unfaithful.value is not None:
            text += f"{value_with_interval(hint.unfaithful)} do not."
    return text


def _effect(cell: RobustnessCell) -> str:
    """ "lowers accuracy by 12.0 points (95 % CI 8.0 to 16.0), p 0.004", or that it is not clear."""
    difference = cell.difference
    points, ci95 = 100 * value_of(difference), difference.ci95
    p = f", p {p_text(cell.p_holm)}"
    if not is_significant(cell):
        reason = clean(difference.method)  # why there is no interval
        bounds = f", 95 % CI {interval_text(ci95, True)}" if ci95 else f" ({reason})"
        return f"shows no clear change of accuracy ({points:+z.1f} points{bounds}{p})"
    # a loss is written as a positive number: -12.0 (-16.0 to -8.0) -> 12.0 (8.0 to 16.0)
    sign = -1 if points < 0 else 1
    bounds = f" ({clean(difference.method)})"
    if ci95:
        low, high = sorted(sign * 100 * bound for bound in ci95)
        bounds = f" (95 % CI {low:z.1f} to {high:z.1f})"
    verb = "lowers" if points < 0 else "raises"
    return f"{verb} accuracy by {abs(points):.1f} points{bounds}{p}"
