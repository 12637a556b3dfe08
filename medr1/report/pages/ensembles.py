"""The part of report.html on several answers combined into one.

Three kinds: test-time augmentation (views of an image), passes with dropout, and several
checkpoints or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from medr1.documents.metric import Metric, Missing
from medr1.documents.summary import Summary
from medr1.documents.trust import Ensemble, MeanPrediction, MeanProbabilities
from medr1.report.charts.shares import (
    Cell,
    difference_text,
    number_cell,
    reason_cell,
    share_cell,
)
from medr1.report.pages.sanitize import count_text, one_line, short_path
from medr1.report.terminal.tables import percent

Part = dict[str, object]
"""A part of the page: a title, a sentence and the rows of a table."""
Row = tuple[str, str, Cell]
"""A row's name, a note beside it, and its cell."""


def ensembles_view(summary: Summary) -> list[Part]:
    """A part of the page for each kind of combined answers that the summary has numbers of."""
    augmentation = summary.robustness and summary.robustness.test_time_augmentation
    dropout, parts = summary.dropout, []
    if augmentation and not isinstance(augmentation, Missing):
        n = augmentation.num_views
        title = f"Test-time augmentation: {n} mildly changed views of each image"
        parts.append(_passes(title, "views", augmentation.prediction))
    if not isinstance(dropout, Missing):
        title = f"Monte Carlo dropout: {dropout.num_samples} passes with the model's dropout on"
        parts.append(_passes(title, "passes", dropout.prediction))
    if summary.ensemble:
        parts.append(_ensemble(summary.ensemble))
    return parts


def _passes(title: str, name: str, prediction: MeanPrediction) -> Part:
    """The mean over views or passes (`name`) beside a single pass."""
    accuracy, difference = prediction.accuracy, prediction.difference
    rows = (
        (f"mean of the {name}", "accuracy", share_cell(accuracy)),
        ("single pass", "accuracy, on the same questions", share_cell(prediction.single_pass)),
        ("difference", "in accuracy", share_cell(difference, signed=True)),
        (f"the {name} differ", "not all choose the same option", share_cell(prediction.flip_rate)),
        *_uncertainty_rows(prediction, name),
    )
    sentence = _verdict(f"The mean of the {name}", accuracy, difference, "a single pass")
    return {"title": title, "sentence": sentence, "rows": _table_rows(rows)}


def _ensemble(section: Ensemble) -> Part:
    """Several files as one; the first of them is the file that the page is about."""
    this_file, *other_files = section.members
    majority, mean = section.majority, section.mean_probabilities
    gain = majority.differences[this_file]
    of_mean = reason_cell(mean.reason) if isinstance(mean, Missing) else share_cell(mean.accuracy)
    rows: list[Row] = [
        ("majority of the answers", "accuracy", share_cell(majority.accuracy)),
        ("mean of the probabilities", "accuracy", of_mean),
        ("gain of the majority over this file", "in accuracy", share_cell(gain, signed=True)),
        ("all files give the same answer", "share of questions", share_cell(section.all_agree)),
    ]
    rows += [
        (
            f"Fleiss' kappa, {kind.replace('_', ' ')}",
            "1: all agree, 0: as by chance",
            number_cell(kappa),
        )
        for kind, kappa in section.kappa.items()
        if kappa.value is not None
    ]
    if not isinstance(mean, Missing):
        rows += _uncertainty_rows(mean, "files")
    names = ", ".join(one_line(short_path(name)) for name in other_files)
    return {
        "title": f"Ensemble: this file with {names}",
        "sentence": _verdict("The majority of the files", majority.accuracy, gain, "this file"),
        "rows": _table_rows(rows),
    }


def _verdict(name: str, accuracy: Metric, difference: Metric, reference: str) -> str:
    """The accuracy, and whether its difference from the reference has an interval beside zero."""
    low, high = difference.ci95 or (0.0, 0.0)
    # better or worse only if the whole interval lies on one side of zero
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "no clear difference from"
    if difference.ci95 is None:
        verdict = "compared with"
    return (
        f"{name} is correct for {percent(accuracy.value)} of {count_text(accuracy.n)} questions: "
        f"{verdict} {reference} ({difference_text(difference)})."
    )


def _uncertainty_rows(part: MeanPrediction | MeanProbabilities, name: str) -> Iterator[Row]:
    """How far the views, passes or files disagree, and how well that predicts wrong answers."""
    yield (
        "mutual information",
        f"disagreement of the {name}, in nats",
        number_cell(part.mutual_information),
    )
    yield (
        "entropy of the mean",
        "total uncertainty, in nats",
        number_cell(part.predictive_entropy),
    )
    note = "for predicting wrong answers"
    yield "AUROC of the mutual information", note, share_cell(part.auroc)
    yield "AUROC of the entropy", note, share_cell(part.auroc_entropy)


def _table_rows(rows: Iterable[Row]) -> list[Cell]:
    return [{"name": name, "note": note, **cell} for name, note, cell in rows]
