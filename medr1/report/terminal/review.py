"""What `medr1 review summary` prints, and the CSV files of a review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medr1.documents.metric import Metric
from medr1.documents.review import (
    AdjudicationCounts,
    DisputedCase,
    PreferenceSummary,
    QuestionAgreement,
    ReviewSummary,
)
from medr1.report.csv_tables import csv_text
from medr1.report.terminal.layout import WIDTH, Row, filled, grid
from medr1.report.terminal.review_rule import rule_tables, share_row
from medr1.terminal import counted

_NOTE = (
    "alpha: Krippendorff's, ordinal. AC1: Gwet's. 1 is complete agreement, 0 what is expected by "
    "chance."
)

_KINDS = ("kind of item", "items", "judged", "right, by experts")
_KINDS_OF_FIRST = ("kind of item, by model a", "items", "judged", "a right, by experts")


def review_table(document: ReviewSummary, *, width: int = WIDTH) -> str:
    """The tables of a review: readers, agreement, and the accuracy that experts would find.

    Args:
        document: The content of review.json.
        width: Columns of the terminal.
    """
    title = (
        f"{counted(document.n_cases, 'case')} of {counted(document.n_items, 'item')}, "
        f"{counted(len(document.readers), 'reader')}, "
        f"{counted(len(document.disputed), 'answer')} on which they differ"
    )
    readers: list[Row] = [
        (
            reader.name,
            str(reader.n_judged),
            str(reader.n_skipped),
            str(reader.n_repeated),
            "" if reader.median_seconds is None else f"{reader.median_seconds:.1f}",
        )
        for reader in document.readers
    ]
    agreement = [_agreement_row(name, entry) for name, entry in document.questions.items()]
    kinds: list[Row] = [
        (
            name.replace("_", " "),
            str(kind.n_items),
            str(kind.n_judged),
            "" if kind.expert_mean is None else f"{100 * kind.expert_mean:.1f} %",
        )
        for name, kind in document.kinds.items()
        if kind.n_items
    ]
    if not any(kind.n_judged for kind in document.kinds.values()) and not document.readers:
        start = "The readers judge at the address that `medr1 review start` prints."
        text = filled(f"No judgements yet. {start}", width)
        return "\n\n".join(
            [filled(title, width), text, "\n".join(grid(_KINDS[:2], [k[:2] for k in kinds], width))]
        )
    within = [
        (name, _coefficient(entry.within_readers), str(entry.within_readers.n))
        for name, entry in document.questions.items()
        if entry.within_readers.value is not None
    ]
    parts = [
        [filled(title, width)],
        grid(("reader", "judged", "skipped", "twice", "median s"), readers, width),
        [
            *grid(("agreement", "alpha", "AC1", "n"), agreement, width),
            *(filled(f"- {text}", width, "  ") for text in _without_alpha(document.questions)),
            filled(_NOTE, width),
        ],
        grid(("same reader, second look", "alpha", "n"), within, width) if within else [],
        grid(_KINDS_OF_FIRST if document.second_model else _KINDS, kinds, width),
        *rule_tables(document, width=width),
        _preference_lines(document.preference, width) if document.preference else [],
    ]
    if document.adjudication:
        parts.append([filled(_adjudication(document.adjudication), width)])
    return "\n\n".join("\n".join(part) for part in parts if part)


def _preference_lines(entry: PreferenceSummary, width: int) -> list[str]:
    """The table of the preference between two models, and what it counts."""
    first, second = (name or letter for name, letter in zip(entry.models, "ab", strict=True))
    counts = entry.counts
    p_value = "" if entry.p_value is None else f", sign test p = {entry.p_value:.2g}"
    rows = [
        share_row("judged cases with a preference", entry.first_preferred),
        share_row("all items, ties one half", entry.first_preferred_all_items),
    ]
    return [
        *grid(("first model preferred", "value", "95 % CI", "n"), rows, width),
        filled(
            f"first model (a): {first}, second (b): {second}. Answers: a {counts['a']}, b "
            f"{counts['b']}, both good {counts['both']}, neither {counts['neither']}{p_value}. "
            f"Left out: {entry.unpaired[0]} and {entry.unpaired[1]} items without a partner. The "
            "cases are sampled by the verdicts on the first model, which the second row corrects.",
            width,
        ),
    ]


def _adjudication(counts: AdjudicationCounts) -> str:
    """The sentence about the second round."""
    names = f" by {', '.join(counts.adjudicators)}" if counts.adjudicators else ""
    return (
        f"Adjudication: {counts.n_judged} of {counted(counts.n_cases, 'case')} decided{names}; "
        f"{counted(counts.n_undecided, 'judged case')} without a final verdict. The agreement is "
        "that of the first round, the corrected accuracy that of the final verdicts."
    )


def _agreement_row(name: str, entry: QuestionAgreement) -> Row:
    """The row of one question of the rubric; with the reason where there is no agreement."""
    alpha = entry.krippendorff_alpha
    if alpha.value is None and entry.gwet_ac1.value is None:
        return name, "-", alpha.reason or "", ""
    n = entry.gwet_ac1.n if alpha.value is None else alpha.n
    return name, _coefficient(alpha), _coefficient(entry.gwet_ac1), str(n)


def _without_alpha(questions: Mapping[str, QuestionAgreement]) -> list[str]:
    """Why questions that have an AC1 have no alpha, which leaves a cell of their rows empty."""
    return [
        f"{name}, alpha: {entry.krippendorff_alpha.reason}"
        for name, entry in questions.items()
        if entry.krippendorff_alpha.value is None and entry.gwet_ac1.value is not None
    ]


def _coefficient(metric: Metric) -> str:
    """A coefficient of agreement with its interval, such as "0.62 (0.41 to 0.80)"."""
    if metric.value is None:
        return ""
    interval = f" ({metric.ci95[0]:.2f} to {metric.ci95[1]:.2f})" if metric.ci95 else ""
    return f"{metric.value:.2f}{interval}"


def disputed_csv(cases: Sequence[DisputedCase], readers: Sequence[str]) -> str:
    """disputed.csv: a row for each case and question, a column for each reader.

    Args:
        cases: The cases on which readers differ.
        readers: The names of all readers.
    """
    rows = [
        {"item_id": case.item_id, "question": case.question, **_named(case.ratings)}
        for case in cases
    ]
    return csv_text(rows, ("item_id", "question", *_named(dict.fromkeys(readers, ""))))


def _named(ratings: Mapping[str, str]) -> dict[str, str]:
    """Column of a reader -> answer. The prefix keeps a name apart from the other columns."""
    return {f"reader {name}": rating for name, rating in ratings.items()}
