"""What `medr1 compare` shows: the accuracy of runs, and each run's difference from the base run.

As a table for the terminal and as CSV. A difference is called significant by its p value alone,
corrected for all comparisons together with Holm's method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medr1.documents.comparison import (
    ComparedItem,
    Comparison,
    DetectableDifference,
    Difference,
    PairComparison,
    Run,
    RunComparison,
)
from medr1.documents.metric import Missing, value_of
from medr1.documents.robustness import GroupDifference, RobustnessCell
from medr1.documents.trust import Ensemble
from medr1.report.csv_tables import csv_text
from medr1.report.terminal.layout import WIDTH, Row, clean, filled, grid
from medr1.report.terminal.tables import interval_text, percent
from medr1.terminal import counted

_COLUMNS = (
    *("run", "base", "scope", "group", "n", "value", "lo", "hi", "p", "p_holm"),
    *("won", "lost", "both_right", "both_wrong", "mcnemar_exact", "mcnemar_mid_p"),
    *("minimum_detectable_difference", "mcnemar_holm"),
)


LEVEL = 0.05
"""A difference is significant if its p value, corrected by Holm's method, is below this."""
UNADJUSTED = (
    "Each 95 % CI is for one comparison and is not adjusted for the others. A difference is "
    f"significant if p (Holm) is below {LEVEL}, whatever its interval."
)
"""Why p decides and not the interval: Holm's p is exact and holds for all comparisons together, and
the interval only says how large one difference may be. Of thirty such intervals one or two exclude
zero by chance. Simultaneous intervals are wider than Holm's steps need, so they too would sometimes
disagree with p."""


def is_significant(entry: Difference | GroupDifference | RobustnessCell) -> bool:
    """Whether a difference has a p value, corrected for all comparisons, below LEVEL."""
    return entry.p_holm is not None and entry.p_holm < LEVEL


PAIRS_NOTE = (
    "Each pair: the first run minus the second, on the same items. McNemar: the exact p of two "
    "single runs. (Holm): corrected over all pairs."
)
_SHARE_HEADER: Row = ("value", "95 % CI")


def comparison_table(document: Comparison, *, width: int = WIDTH) -> str:
    """What `medr1 compare` prints: each run's accuracy, then its difference from the base.

    Args:
        document: The comparison (`evaluate.comparison.compare`).
        width: Columns of the terminal.
    """
    clusters = counted(document.clusters.n, clean(document.clusters.unit))
    items = counted(document.n, "item")
    parts = [f"{items}, {clusters}, protocol {document.protocol}\n"]
    header, rows = _run_columns(document)
    parts += grid(header, rows, width)
    if document.pairs:
        parts += ["", *_pair_lines(document, width)]
    for comparison in document.comparisons:
        parts += ["", *_difference_lines(comparison, width)]
    if document.ensemble:
        parts += ["", *_ensemble_lines(document.ensemble, width)]
    parts += ["", *(filled(note, width) for note in comparison_notes(document))]
    parts += [filled(f"! {warning}", width, "  ") for warning in document.warnings]
    return "\n".join(parts)


def comparison_notes(document: Comparison) -> list[str]:
    """What the columns are, which test gives the p values, and to what they generalise."""
    return [_outcome_note(document), _significance_note(document), document.meaning]


def _run_columns(document: Comparison) -> tuple[Row, list[Row]]:
    """The header and the row of each run; without tokens or seeds if no run has them."""
    columns = [("accuracy", "value", "95 % CI"), *(_run_row(run)[:3] for run in document.runs)]
    if any(run.num_tokens for run in document.runs):
        cells = ["tokens", *(tokens_text(run) for run in document.runs)]
        columns = [(*row, cell) for row, cell in zip(columns, cells, strict=True)]
    if any(run.seeds for run in document.runs):
        cells = ["spread over seeds", *(_run_row(run)[3] for run in document.runs)]
        columns = [(*row, cell) for row, cell in zip(columns, cells, strict=True)]
    return columns[0], list(columns[1:])


def tokens_text(run: Run) -> str:
    """The mean length of a run's completions in tokens, such as "212.4"; "" if it is not known."""
    tokens = run.num_tokens
    return "" if tokens is None or tokens.value is None else f"{tokens.value:.1f}"


def _pair_lines(document: Comparison, width: int) -> Iterator[str]:
    """Each run with each other one: the difference, and the p values over all pairs."""
    rows = [
        (
            f"{pair.run} - {pair.base}",
            _points(value_of(pair.difference)),
            interval_text(pair.difference.ci95, True),
            p_text(pair.p_holm),
            p_text(pair.mcnemar.exact),
            p_text(pair.mcnemar_holm),
        )
        for pair in document.pairs
    ]
    header = ("each pair", "points", "95 % CI", "p (Holm)", "McNemar", "(Holm)")
    yield from grid(header, rows, width)
    yield filled(PAIRS_NOTE, width)


def _run_row(run: Run) -> Row:
    """A run's accuracy, and how far it varies over seeds if the run has several."""
    accuracy, seeds = run.accuracy, run.seeds
    seed_range, name = "", run.name
    if seeds:
        name = f"{name} ({seeds.n} seeds)"
        low, high = f"{100 * seeds.min:.1f}", f"{100 * seeds.max:.1f}"
        seed_range = f"{low} to {high}, SD {100 * seeds.sd:.1f}"
    return name, percent(accuracy.value), interval_text(accuracy.ci95), seed_range


def _difference_lines(comparison: RunComparison, width: int) -> Iterator[str]:
    """One run against the base: the difference, by group, and what so many items can show."""
    title = f"{clean(comparison.run)} - {clean(comparison.base)}"
    rows = [_difference_row("all items", comparison)]
    for kind, groups in comparison.groups.items():
        if len(groups) > 1:  # one group alone adds little to the row of all items
            rows.append((f"by {kind}", "", "", "", "", ""))
            rows += [_difference_row(f"  {name}", entry) for name, entry in groups.items()]
    header = (title, "points", "95 % CI", "p (Holm)", "won", "lost")
    yield from grid(header, rows, width)
    # McNemar's test is for two single runs; with several seeds of a run it is None
    mcnemar = comparison.mcnemar
    counts = f"both correct {comparison.both_right}, both wrong {comparison.both_wrong}"
    if mcnemar.exact is not None:
        counts += f"; McNemar's exact p {p_text(mcnemar.exact)}, mid-p {p_text(mcnemar.mid_p)}"
    yield filled(counts, width)
    over_seeds = comparison.over_seeds
    if over_seeds and over_seeds.value is not None:
        interval = interval_text(over_seeds.ci95, True) or over_seeds.reason
        yield filled(
            f"difference, 95 % CI over seeds instead of images: {_points(over_seeds.value)} "
            f"({interval})",
            width,
        )
    yield filled(detectable_sentence(comparison.minimum_detectable_difference), width)


def _ensemble_lines(ensemble: Ensemble, width: int) -> Iterator[str]:
    """All files as one ensemble: their majority vote, their mean, and how far they agree."""
    mean = ensemble.mean_probabilities
    metrics = [
        ("majority of the answers", ensemble.majority.accuracy),
        ("all files give the same answer", ensemble.all_agree),
    ]
    if not isinstance(mean, Missing):
        metrics.insert(1, ("mean of the probabilities", mean.accuracy))
    rows = [
        (name, percent(metric.value), interval_text(metric.ci95))
        for name, metric in metrics
        if metric.value is not None
    ]
    title = f"ensemble of {len(ensemble.members)} files"
    yield from grid((title, *_SHARE_HEADER), rows, width)
    sentences = []
    for kind, kappa in ensemble.kappa.items():
        if kappa.value is not None:
            low, high = kappa.ci95 or (kappa.value, kappa.value)
            name = f"Fleiss' kappa, {kind.replace('_', ' ')}"
            sentences.append(f"{name}: {kappa.value:.2f} ({low:.2f} to {high:.2f})")
    if not isinstance(mean, Missing) and mean.auroc.value is not None:
        sentences.append(
            f"AUROC of {percent(mean.auroc.value)} for predicting, from the disagreement of the "
            "files, that the mean of the probabilities is wrong"
        )
    if sentences:
        yield filled("; ".join(sentences), width)


def _difference_row(name: str, entry: Difference) -> Row:
    difference = entry.difference
    if difference.value is None:
        return name, "-", "", "", "", ""
    interval = interval_text(difference.ci95, True) or "none"
    counts = (str(entry.won), str(entry.lost))
    return name, _points(difference.value), interval, p_text(entry.p_holm), *counts


def _points(value: float) -> str:
    """A difference of shares in percentage points, such as "+2.0"."""
    return f"{100 * value:+z.1f}"


def detectable_sentence(detectable: DetectableDifference) -> str:
    """A sentence on the smallest true difference that is found in four of five such comparisons."""
    if detectable.value is None:
        return f"Smallest detectable difference: not known, {detectable.reason}"
    return (
        f"Smallest difference detectable with {100 * detectable.power:.0f} % power (two-sided "
        f"alpha {detectable.alpha}): {100 * detectable.value:.1f} percentage points. "
        f"Assumed, as in these results: verdicts differ in {percent(detectable.discordance)} of "
        f"the items; design effect {detectable.design_effect:.1f} (clustering of items)."
    )


def _outcome_note(document: Comparison) -> str:
    """What the columns of points, of items won and of items lost are."""
    outcomes = "won: items correct in the run only; lost: items correct in the base only."
    if any(run.seeds for run in document.runs):
        outcomes = "won, lost: items whose mean verdict over seeds is higher, or lower, in the run."
    return f"points: run minus base, in percentage points. {outcomes}"


def _significance_note(document: Comparison) -> str:
    """Which test gives the p values, and what they are corrected for."""
    several = len(document.comparisons) > 1
    all_items = "with Holm's correction over the runs" if several else "not corrected"
    return (
        f"p (Holm): exact sign-flip test over {clean(document.clusters.unit)}s; all items: "
        f"{all_items}; groups: with Holm's correction over the groups of the same kind. "
        f"{UNADJUSTED}"
    )


def p_text(p: float | None) -> str:
    """A p value with three decimals, such as "0.050"; "<0.001" below that, a dash for None."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def comparison_csv(document: Comparison) -> str:
    """comparison.csv, long form: a row for each run against the base, on all items and by group."""
    rows = []
    for comparison in document.comparisons:
        rows.append(_csv_row(comparison, "all", "", comparison))
        for kind, groups in comparison.groups.items():
            rows += [_csv_row(comparison, kind, group, entry) for group, entry in groups.items()]
    for pair in document.pairs:
        rows.append({**_csv_row(pair, "pair", "", pair), "mcnemar_holm": pair.mcnemar_holm})
    return csv_text(rows, _COLUMNS)


def _csv_row(
    comparison: RunComparison | PairComparison, scope: str, group: str, entry: Difference
) -> dict[str, object]:
    """The row of the difference `entry`: over all items, or in one group of the kind `scope`."""
    low, high = entry.difference.ci95 or (None, None)
    return {
        "run": comparison.run,
        "base": comparison.base,
        "scope": scope,
        "group": group,
        "n": entry.difference.n,
        "value": entry.difference.value,
        "lo": low,
        "hi": high,
        "p": entry.p,
        "p_holm": entry.p_holm,
        "won": entry.won,
        "lost": entry.lost,
        "both_right": entry.both_right,
        "both_wrong": entry.both_wrong,
        "mcnemar_exact": entry.mcnemar.exact,
        "mcnemar_mid_p": entry.mcnemar.mid_p,
        "minimum_detectable_difference": entry.minimum_detectable_difference.value,
    }


def won_lost_csv(items: Sequence[ComparedItem]) -> str:
    """CSV with a row for each item and run whose answer was won or lost against the base."""
    columns = ("id", "run", "outcome", "modality", "question_type", "ground_truth", "images")
    changes = [
        {
            "id": item.id,
            "run": run,
            "outcome": outcome,
            "modality": item.modality,
            "question_type": item.question_type,
            "ground_truth": item.ground_truth,
            "images": " ".join(item.images),
        }
        for item in items
        for run, outcome in item.outcome.items()
        if outcome in ("won", "lost")
    ]
    return csv_text(changes, columns)
