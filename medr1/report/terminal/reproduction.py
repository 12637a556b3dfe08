"""What `medr1 reproduce` prints."""

from __future__ import annotations

from collections.abc import Iterator

from medr1.documents.metric import Metric
from medr1.documents.reproduction import ComparedFact, Reproduction
from medr1.report.terminal.layout import WIDTH, clean, filled, grid
from medr1.report.terminal.tables import interval_text, percent

_HASHES = ("questions", "images", "weights", "prompt", "training questions")


def reproduction_table(document: Reproduction, *, width: int = WIDTH) -> str:
    """The number on the card and now, the answers that differ, and a sentence for each change.

    Args:
        document: The content of reproduction.json.
        width: Columns of the terminal.
    """
    rows = [
        ("accuracy", *_number(document.accuracy)),
        ("accuracy now", *_number(document.accuracy_now)),
    ]
    lines = [*grid((clean(document.card), "value", "95 % CI", "n"), rows, width), ""]
    if (answers := document.answers) is None:
        lines += filled("The card has no items, so answers were not compared.", width).split("\n")
    else:
        lines += [
            f"other answers   {answers.n_other_answer:,} of {answers.n_both:,}",
            f"other verdicts  {answers.n_other_verdict:,} of {answers.n_both:,}",
        ]
    lines.append("")
    for sentence in sentences(document):
        lines += filled(sentence, width).split("\n")
    return "\n".join(lines) + "\n"


def sentences(document: Reproduction) -> Iterator[str]:
    """What is the same, what changed, and what could not be compared.

    Args:
        document: The content of reproduction.json.
    """
    same = [fact.name for fact in document.facts if fact.is_known and not fact.differs]
    decisive = [fact.name for fact in document.facts if fact.decides and fact.name in same]
    if decisive:
        yield f"The same: {', '.join(decisive)}."
    answers = document.answers
    if answers and not answers.n_card == answers.n_now == answers.n_both:
        yield (
            f"The items changed: the card has {answers.n_card:,}, now there are "
            f"{answers.n_now:,}, and {answers.n_both:,} are in both."
        )
    for fact in document.facts:
        if fact.differs:
            yield _change(fact)
    missing = [fact.name for fact in document.facts if fact.decides and not fact.is_known]
    if missing:
        yield f"Not recorded on one side, so not compared: {', '.join(missing)}."
    for note in document.notes:
        yield clean(note[:1].upper() + note[1:])


def _change(fact: ComparedFact) -> str:
    """ "The questions changed: SHA-256 0123456789ab on the card, ba9876543210 now." """
    is_hash = fact.name in _HASHES
    sides = (str(side)[:12] if is_hash else clean(side)[:200] for side in (fact.card, fact.now))
    before, after = sides
    verb = "changed" if fact.decides else "differs"
    return (
        f"The {clean(fact.name)} {verb}: {'SHA-256 ' if is_hash else ''}{before} on the card, "
        f"{after} now."
    )


def failure(document: Reproduction) -> str:
    """Why a card was not reproduced, as the message of the exit code.

    Args:
        document: The content of reproduction.json, which is not `equal`.
    """
    answers = document.answers
    changed = [fact.name for fact in document.facts if fact.decides and fact.differs]
    reasons = []
    if answers and answers.n_other_answer:
        reasons.append(f"{answers.n_other_answer:,} of {answers.n_both:,} answers differ")
    if answers and not answers.n_card == answers.n_now == answers.n_both:
        reasons.append("the items are not the same")
    if changed:
        reasons.append(f"other than on the card: {', '.join(changed)}")
    return "; ".join(reasons) or "the accuracy or its interval differs"


def _number(metric: Metric) -> tuple[str, str, str]:
    if metric.value is None:
        return "-", metric.reason or "", str(metric.n)
    return percent(metric.value), interval_text(metric.ci95), str(metric.n)
