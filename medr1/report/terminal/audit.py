"""What `medr1 data audit` prints: defects, leaks and shortcuts of a question file, and their CSV.

The words used here. A leak: an item or image of the audited file that is in a training file too. A
blind predictor: a simple rule or classifier that answers without the image. A shortcut: such a
predictor is more often correct than chance. The image-needed subset: the items that no blind
predictor answers correctly where it is above chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import structs

from medr1.documents.audit import (
    Audit,
    AuditedFile,
    AuditGroup,
    BlindPredictors,
    FlaggedItem,
    GroupAboveChance,
    ShuffledLabels,
)
from medr1.documents.metric import Missing
from medr1.report.csv_tables import csv_text
from medr1.report.terminal.layout import WIDTH, Row, clean, filled, grid
from medr1.report.terminal.tables import interval_text, percent
from medr1.terminal import counted

PREDICTORS = {
    "majority_letter": "the most frequent correct letter",
    "longest_option": "the longest option",
    "option_prior": "the option texts (prior)",
    "question_option_lookup": "a look-up of question and option",
    "text_classifier": "a text classifier",
}
"""Blind predictor -> its name in tables and sentences."""
LEAKS = {
    "same_image": "same image path",
    "same_image_by_case": "same path, other capitals or spaces",
    "same_bytes": "image file with the same bytes",
    "near_image": "image that looks the same",
    "same_patient": "same patient",
    "same_series": "same series or study",
    "same_image_and_question": "same image and question",
    "near_question": "same image, nearly the same question",
    "same_image_and_answer": "same image and ground truth",
}
"""Kind of leak -> its name in tables."""
WORDINGS = {
    "same_question": "same wording, any image",
    "same_question_and_options": "same wording and options, any image",
    "near_question": "one word differs, any image",
}
"""Kind of repeated wording, which is no leak -> its name in tables."""
MAX_NAMED = 6
"""The most groups that a sentence names for one predictor; audit.json has them all."""


def audit_table(document: Audit, *, width: int = WIDTH) -> str:
    """What the command prints: the file, its defects and leaks, and the blind predictors.

    Args:
        document: audit.json.
        width: Columns of the terminal.
    """
    parts = [*_title_lines(document, width), "", *_defect_lines(document, width)]
    if document.against:
        parts += ["", *_leak_lines(document, width)]
    parts += ["", *grid(_BLIND_HEADER, list(_blind_rows(document.blind)), width)]
    parts += [filled(note, width) for note in _control_note(document.blind)]
    parts += ["", filled(needed_sentence(document), width)]
    if not isinstance(document.image_needed, Missing) and document.image_needed.n:
        parts.append(filled(NEEDED_MEANING, width))
    best = document.blind.best
    if best is not None and any(document.groups.values()):
        parts += ["", f"By group, answered without the image by {PREDICTORS[best]}:"]
        for kind, groups in document.groups.items():
            if groups:
                parts += ["", *_group_lines(kind, groups, best, width)]
    if document.notes:
        parts.append("")
    parts += [filled(f"! {clean(note)}", width, "  ") for note in document.notes]
    return "\n".join(parts)


def _title_lines(document: Audit, width: int) -> list[str]:
    """The file's name, its size, how many items have how many options, and the letters."""
    options = ", ".join(f"{k}: {n:,}" for k, n in document.option_counts.items())
    size = f"{counted(document.file.n, 'item')}, {counted(document.file.n_images, 'image')}"
    size += f"; items by number of options: {options}"
    return [clean(document.file.path), size, filled(balance_sentence(document), width)]


def balance_sentence(document: Audit) -> str:
    """How often each letter is the ground truth, and a test of whether that could be chance."""
    letters = ", ".join(f"{letter} {n:,}" for letter, n in document.letters.items())
    test = document.letter_balance
    if test.p is None:
        return "No item has options and a ground truth."
    p = "p < 0.001" if test.p < 0.001 else f"p = {test.p:.3f}"
    return (
        f"Correct letters: {letters}. {p} for equal frequencies of the letters among items with "
        f"the same number of options (chi-squared {test.chi2:.1f} and df {test.df} are sums "
        "over the numbers of options)."
    )


def _defect_lines(document: Audit, width: int) -> list[str]:
    """The kinds of defects that occur, with a column for each file, and what the columns are."""
    files = [document.file, *document.against]
    # None: could not be checked, such as corrupt images where no images were found
    kinds = [kind for kind in document.file.defects if any(f.defects[kind] for f in files)]
    header: Row = ("items with defects", *_column_names(files))
    rows: list[Row] = [
        (kind.replace("_", " "), *(_count(file.defects[kind]) for file in files)) for kind in kinds
    ]
    checked = [kind for kind, n in document.file.defects.items() if n is not None]
    none = [f"defects: none ({len(checked)} kinds checked)"]
    lines = grid(header, rows, width) if rows else none
    return [*lines, *_legend(files)]


def _column_names(files: Sequence[AuditedFile]) -> list[str]:
    return ["audited", *(f"[{place}]" for place in range(1, len(files)))]


def _legend(files: Sequence[AuditedFile]) -> list[str]:
    """Which training file is meant by each numbered column."""
    return [
        f"[{place}] {clean(file.path)}, {counted(file.n, 'item')}"
        for place, file in enumerate(files[1:], start=1)
    ]


def _leak_lines(document: Audit, width: int) -> list[str]:
    """How many audited items each training file contains, and how many any of them contains."""
    files = document.against
    several = len(files) > 1
    header: Row = (
        "leaks: audited items",
        *(f"in file [{place}]" for place in range(1, len(files) + 1)),
        *(["in any file"] if several else []),
        "share",
    )
    rows: list[Row] = []
    for kind, name in LEAKS.items():
        by_file = [file.leakage[kind] for file in files]
        entry = document.leakage[kind]
        leaks = (*by_file, *([entry] if several else []))
        counts = [_count(leak.items) for leak in leaks]
        share = "" if entry.items is None else percent(entry.share)
        rows.append((name, *counts, share))
    for kind, name in WORDINGS.items():
        counts = [_count(file.wordings[kind].items) for file in files]
        rows.append((f"({name})", *counts, *([""] if several else []), ""))
    lines = grid(header, rows, width)
    note = "Rows in parentheses are not leaks: both files use the same question templates."
    return [*lines, filled(note, width)]


def _count(value: int | None) -> str:
    """A number of items; "n/a" if it could not be counted, since "-" is a row without numbers."""
    return "n/a" if value is None else f"{value:,}"


_BLIND_HEADER: Row = ("answered without the image by", "accuracy", "95 % CI", "shuffled labels")


def _blind_rows(blind: BlindPredictors) -> Iterator[Row]:
    """Chance, then each blind predictor with its control."""
    if blind.chance is not None:
        yield "chance", percent(blind.chance), "", ""
    for name, label in PREDICTORS.items():
        predictor = blind.predictors[name]
        metric = predictor.accuracy
        if metric.value is None:
            yield label, "-", metric.reason or "", ""
            continue
        yield (
            label,
            percent(metric.value),
            interval_text(metric.ci95),
            control_text(predictor.shuffled_labels),
        )


def control_text(control: ShuffledLabels | None) -> str:
    """The accuracy with shuffled training labels, and its range over the shuffles.

    Such as "30.1 % (20.9 to 38.9)"; empty if it was not computed.
    """
    if control is None or control.value is None:
        return ""
    return f"{percent(control.value)} ({interval_text(control.range)})"


def _control_note(blind: BlindPredictors) -> Iterator[str]:
    """What the column of shuffled labels is, if a predictor has a number there."""
    controls = [predictor.shuffled_labels for predictor in blind.predictors.values()]
    if draws := max((control.draws for control in controls if control), default=0):
        yield (
            "Shuffled labels: accuracy of the predictor after fitting on training answers in "
            f"random order, mean and range of {draws} shuffles; to be compared with chance. "
            "Empty: the predictor is not fitted."
        )


def needed_sentence(document: Audit) -> str:
    """How many items need their image, and which predictors answer the other items, and where."""
    needed = document.image_needed
    if isinstance(needed, Missing):
        return f"Image-needed subset: not known, {needed.reason}."
    if needed.lucky is None:
        return "Image-needed subset: no item has options and a ground truth."
    if not needed.predictors and not needed.in_groups:
        return (
            f"Image-needed subset: all {needed.n:,} items, because no predictor that reads the "
            "options is above chance, on all items or in a group."
        )
    on_all = [f"{PREDICTORS[name]} (all items)" for name in needed.predictors]
    names = "; ".join([*on_all, *_predictors_in_groups(needed.in_groups)])
    others = f"{needed.n - needed.items:,}"
    return (
        f"Image-needed subset: {needed.items:,} of {needed.n:,} items "
        f"({percent(needed.share)}). The others ({others}) are answered correctly without the "
        "image by a predictor that is above chance on all items or in a group of them: "
        f"{names}. About {needed.lucky:.0f} of the {others} are expected to be correct by "
        "chance."
    )


NEEDED_MEANING = (
    "What the subset means: no predictor that is named here answers these items correctly where it "
    "is above chance. That does not prove that only the image gives the answer: other predictors, "
    "or the knowledge of a large model, may do it. Where a model's accuracy on the subset is far "
    "below its accuracy on all items, shortcuts explain part of the accuracy."
)


def group_name(kind: str, group: str) -> str:
    """A group in a sentence, such as "modality CT".

    Args:
        kind: What the items are grouped by, such as "question_type".
        group: The group's value.
    """
    return f"{kind.replace('_', ' ')} {clean(group)}"


def _predictors_in_groups(entries: Sequence[GroupAboveChance]) -> Iterator[str]:
    """Each predictor with the groups in which it is above chance, the first MAX_NAMED named."""
    # predictor -> names of its groups: a predictor is named once, with all its groups
    groups: dict[str, list[str]] = {}
    for entry in entries:
        name = group_name(entry.kind, entry.group)
        groups.setdefault(entry.predictor, []).append(name)
    for predictor, names in groups.items():
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        yield f"{PREDICTORS[predictor]} ({', '.join(names[:MAX_NAMED])}{more})"


def _group_lines(kind: str, groups: Mapping[str, AuditGroup], best: str, width: int) -> list[str]:
    """The best blind predictor in each group of a kind, such as each modality."""
    header: Row = (
        f"by {kind.replace('_', ' ')}",
        *("accuracy", "95 % CI", "chance", "n", "image needed"),
    )
    rows: list[Row] = [
        (
            name,
            percent(group.blind[best].value),
            interval_text(group.blind[best].ci95),
            percent(group.chance),
            f"{group.n:,}",
            f"{group.image_needed:,}",
        )
        for name, group in groups.items()
    ]
    return grid(header, rows, width)


def items_csv(items: Sequence[FlaggedItem]) -> str:
    """items.csv: a row for each item with a defect or leak, and for each kind of it."""
    return csv_text(map(structs.asdict, items), FlaggedItem.__struct_fields__)
