"""What the answers were: confusion, contradictions, why there is none, findings, lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.answers import difference
from medr1.evaluate.estimates import Metric, mean_metric
from medr1.evaluate.judging import Coded, Judged, Mask, Outcome
from medr1.normalization import fold

FEWEST_OF_A_FINDING = 5
"""A finding with fewer items that have it, or that have it not, gets no row of its own."""
MOST_FINDINGS = 40


def unanswered(judged: Judged) -> dict[str, int]:
    """Why there is no answer, the most frequent reason first; `truncated` where it was cut off."""
    counts: Counter[str] = Counter()
    for outcome, n in _counted(judged):
        if outcome.answer is None and not (outcome.failed or outcome.undecided):
            counts["truncated" if outcome.truncated else outcome.method] += n
    return dict(counts.most_common())


def undecided(judged: Judged) -> dict[str, Any]:
    """On how many items rules cannot say what is right, by reason, and the share they decide."""
    counts: Counter[str] = Counter()
    for outcome, n in _counted(judged):
        if outcome.undecided is not None:
            counts[outcome.undecided] += n
    decided = (~judged.undecided).astype(np.float64)
    return {"reasons": dict(counts.most_common()), "coverage": mean_metric(decided, judged)}


def extraction_methods(judged: Judged) -> dict[str, int]:
    """How the answers that there are were found, the most frequent way first."""
    counts: Counter[str] = Counter()
    for outcome, n in _counted(judged):
        if outcome.answer is not None:
            counts[outcome.method] += n
    return dict(counts.most_common())


def confusion(judged: Judged, *, as_text: bool = False) -> list[dict[str, Any]]:
    """Gold against answer (null: none) of the closed questions, most frequent first.

    By letter, or `as_text` by the options' texts; a yes, a no or a number is itself in both.
    """
    counts: Counter[tuple[str, str | None]] = Counter()
    for outcome, n in _counted(judged):
        if outcome.answer_type == "open":
            continue
        if as_text:
            gold, said = outcome.reference, outcome.predicted
        else:
            gold, said = outcome.ground_truth, outcome.answer
        upper = outcome.answer_type == "multiple_choice" and not as_text
        counts[_plain(gold, upper), None if said is None else _plain(said, upper)] += n
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return [{"ground_truth": g, "predicted": said, "count": n} for (g, said), n in ordered]


def contradictions(judged: Judged) -> dict[str, int]:
    """Wrong open answers, and how many of them say the opposite, or the other side, of the gold.

    `answers.difference` says which; one that leaves it open ("possible effusion") is not counted.
    """
    counts = Counter({"n": 0, "polarity": 0, "side": 0})
    for outcome, n in _counted(judged):
        if outcome.answer_type != "open" or outcome.correct or outcome.answer is None:
            continue
        counts["n"] += n
        found = difference(outcome.answer, outcome.ground_truth)
        if "content" not in found and "uncertain" not in found:
            for kind in ("polarity", "side"):
                counts[kind] += n * (kind in found)
    return dict(counts)


def findings(judged: Judged) -> list[dict[str, Any]]:
    """Sensitivity, specificity, PPV and NPV of yes/no questions and of options' texts.

    All yes/no questions together, each of them that is asked often, then each option's text
    against the others it was offered with. An item without an answer is a wrong one: it lowers
    sensitivity or specificity, and PPV and NPV are of what was answered.
    """
    outcomes = judged.outcomes
    yes_no = outcomes.where(_is_yes_no)
    gold, said = outcomes.where(_gold_yes), outcomes.where(_said("yes"))
    said_no = outcomes.where(_said("no"))
    rows = []
    if yes_no.any():
        rows.append(_finding("all yes/no questions", "yes", gold, said, said_no, yes_no, judged))
    questions = judged.columns.questions
    for code in _frequent(questions.codes[yes_no & gold], yes_no & ~gold, questions.codes):
        if questions.values[code]:
            where = questions.codes == code
            name = questions.values[code]
            rows.append(_finding(name, "yes", gold, said, said_no, where, judged))
    if len(rows) == 2 and rows[1]["n"] == rows[0]["n"]:
        rows = rows[1:]
    return [*rows, *_option_findings(judged)][: MOST_FINDINGS + 1]


def _option_findings(judged: Judged) -> list[dict[str, Any]]:
    """A row for each option's text that is often right, against the others offered with it."""
    outcomes = judged.outcomes
    closed = outcomes.where(lambda o: bool(o.options) and not _is_yes_no(o))
    golds = Coded.of(_plain(o.reference) for o in outcomes.values)
    codes = golds.codes[outcomes.codes]
    rows = []
    for code in _frequent(codes[closed], None, codes):
        name = golds.values[code]
        offered = closed & outcomes.where(
            lambda o, name=name: name in {_plain(text) for _, text in o.options}  # type: ignore[misc]
        )
        gold = codes == code
        if (offered & ~gold).sum() < FEWEST_OF_A_FINDING:
            continue
        said = outcomes.where(_said(name))
        other = outcomes.where(lambda o: o.answer is not None) & ~said
        rows.append(_finding(name, name, gold, said, other, offered, judged))
        if len(rows) == MOST_FINDINGS:
            break
    return rows


def _finding(
    name: str, positive: str, gold: Mask, said: Mask, said_no: Mask, where: Mask, judged: Judged
) -> dict[str, Any]:
    """One row, over the items of `where`; `said_no` has the items answered with the opposite."""

    def share(of: Mask, among: Mask, reason: str) -> Metric:
        return mean_metric(of.astype(np.float64), judged, among, reason)

    return {
        "finding": name,
        "positive": positive,
        "n": int(where.sum()),
        "n_positive": int((where & gold).sum()),
        "n_unanswered": int((where & ~said & ~said_no).sum()),
        "prevalence": share(gold, where, "no items"),
        "sensitivity": share(said, where & gold, "no item has it"),
        "specificity": share(said_no, where & ~gold, "every item has it"),
        "ppv": share(gold, where & said, "it was never answered"),
        "npv": share(~gold, where & said_no, "the opposite was never answered"),
    }


def lengths(judged: Judged) -> dict[str, Any]:
    """How long the outputs are, in tokens and in characters; null where the file does not say."""
    columns = judged.columns
    return {
        "num_tokens": _length(columns.num_tokens),
        "characters": _length(columns.characters),
    }


def _length(values: NDArray[np.int64]) -> dict[str, Any] | None:
    known = values[values >= 0]
    if not len(known):
        return None
    counts, edges = np.histogram(known, bins=min(20, int(known.max() - known.min()) + 1))
    return {
        "n": len(known),
        "mean": float(known.mean()),
        "median": float(np.median(known)),
        "p95": float(np.quantile(known, 0.95)),
        "max": int(known.max()),
        "histogram": [
            [float(low), float(high), int(n)]
            for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
        ],
    }


def _counted(judged: Judged) -> Iterable[tuple[Outcome, int]]:
    counts = np.bincount(judged.outcomes.codes, minlength=len(judged.outcomes.values))
    return zip(judged.outcomes.values, counts.tolist(), strict=True)


def _frequent(codes: NDArray[np.intp], others: Mask | None, every: NDArray[np.intp]) -> list[int]:
    """The codes that stand often enough in `codes` (and among `others`), most frequent first."""
    counts = np.bincount(codes, minlength=1)
    enough = counts >= FEWEST_OF_A_FINDING
    if others is not None:
        enough &= np.bincount(every[others], minlength=len(counts))[: len(counts)] >= (
            FEWEST_OF_A_FINDING
        )
    ordered = np.argsort(-counts, kind="stable")
    return [int(code) for code in ordered if enough[code]][:MOST_FINDINGS]


def _is_yes_no(outcome: Outcome) -> bool:
    return outcome.answer_type == "yes_no" or (
        len(outcome.options) == 2 and {_plain(text) for _, text in outcome.options} == {"yes", "no"}
    )


def _gold_yes(outcome: Outcome) -> bool:
    return _plain(outcome.reference) == "yes"


def _said(name: str) -> Any:
    return lambda outcome: outcome.answer is not None and _plain(outcome.predicted or "") == name


def _plain(text: str, upper: bool = False) -> str:
    plain = fold(text).strip().casefold().removesuffix(".")
    return plain.upper() if upper else plain
