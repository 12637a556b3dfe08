"""Counts over the answers: confusion, contradictions, missing answers, findings, lengths.

Each is a part of summary.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from medr1.answers import PUBLISHED, claim_differences
from medr1.documents.items import ConfusionPair
from medr1.documents.metric import Metric
from medr1.documents.summary import (
    ConfusionCell,
    Contradictions,
    FindingMetrics,
    Length,
    Lengths,
    ProtocolDifference,
    Undecided,
)
from medr1.evaluate.coded import CodedColumn, Mask
from medr1.evaluate.estimates import mean_metric
from medr1.evaluate.judging import Judged, Outcome
from medr1.text.normalization import fold

MIN_ITEMS_PER_FINDING = 5
"""A finding gets a row only if it has so many positive and so many negative items."""
MAX_FINDINGS = 40
"""Largest number of rows of findings; the most frequent ones are kept."""


def unanswered(judged: Judged) -> dict[str, int]:
    """Why completions have no answer: {reason: number of items}, the most frequent first.

    A reason is a method of `answers.Extraction`, or "truncated" for a completion that was cut off.
    """
    counts: Counter[str] = Counter()
    for outcome, n in _with_counts(judged):
        if outcome.answer is None and not (outcome.failed or outcome.undecided):
            counts["truncated" if outcome.truncated else outcome.method] += n
    return dict(counts.most_common())


def undecided(judged: Judged) -> Undecided:
    """Answers that rules cannot judge, by reason, and the share that they can judge."""
    counts: Counter[str] = Counter()
    for outcome, n in _with_counts(judged):
        if outcome.undecided is not None:
            counts[outcome.undecided] += n
    is_decided = (~judged.undecided).astype(np.float64)
    coverage = mean_metric(is_decided, judged)
    return Undecided(reasons=dict(counts.most_common()), coverage=coverage)


def extraction_methods(judged: Judged) -> dict[str, int]:
    """How answers were extracted: {method: number of items}, the most frequent first."""
    counts: Counter[str] = Counter()
    for outcome, n in _with_counts(judged):
        if outcome.answer is not None:
            counts[outcome.method] += n
    return dict(counts.most_common())


def protocol_differences(judged: Judged) -> dict[str, ProtocolDifference]:
    """Why items that are right under `default` are wrong under the other protocols, if any are."""
    columns = judged.columns
    if "default" not in columns.protocols:
        return {}
    right = columns.right_under("default")
    differences = {}
    for name, column in columns.protocols.items():
        if name in PUBLISHED:  # `protocol_rows` says more of them
            continue
        reasons = Counter(column.values[code].reason for code in column.codes[right])
        del reasons[""]
        if reasons:
            differences[name] = ProtocolDifference(
                n_right=int(right.sum()), reasons=dict(reasons.most_common())
            )
    return differences


def confusion(judged: Judged, *, as_text: bool = False) -> list[ConfusionCell]:
    """How often each answer was given for each ground truth, over items that are not open.

    Args:
        judged: The items.
        as_text: Whether letters are replaced by their options' texts. "Yes", "no" and numbers are
            the same in both forms.

    Returns:
        One cell for each pair that occurs, the most frequent first.
    """
    counts: Counter[ConfusionPair] = Counter()
    for outcome, n in _with_counts(judged):
        if (pair := confusion_pair(outcome, as_text=as_text)) is not None:
            counts[pair] += n
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return [
        ConfusionCell(ground_truth=ground_truth, predicted=answer, count=n)
        for (ground_truth, answer), n in ordered
    ]


def confusion_pair(outcome: Outcome, *, as_text: bool = False) -> ConfusionPair | None:
    """Ground truth and answer of an item, the cell of `confusion` that it is in; None if open.

    Args:
        outcome: The item's answer and verdict.
        as_text: As in `confusion`.
    """
    if outcome.answer_type == "open":
        return None
    if as_text:
        ground_truth, answer = outcome.reference, outcome.predicted
    else:
        ground_truth, answer = outcome.ground_truth, outcome.answer
    # letters in capitals, all other answers in lower case
    upper = outcome.answer_type == "multiple_choice" and not as_text
    return _plain(ground_truth, upper), None if answer is None else _plain(answer, upper)


def contradictions(judged: Judged) -> Contradictions:
    """Number of wrong open answers, and how many of them contradict the ground truth.

    Contradictions are of polarity ("no effusion" for "effusion") or of side ("left" for "right"),
    by `answers.claim_differences`. An answer with other differences, or an uncertain one ("possible
    effusion"), is in n only.
    """
    counts: Counter[str] = Counter()
    for outcome, n in _with_counts(judged):
        if outcome.answer_type != "open" or outcome.correct or outcome.answer is None:
            continue
        counts["n"] += n
        kinds = claim_differences(outcome.answer, outcome.ground_truth)
        if "content" not in kinds and "uncertain" not in kinds:
            for kind in ("polarity", "side"):
                counts[kind] += n * (kind in kinds)
    return Contradictions(n=counts["n"], polarity=counts["polarity"], side=counts["side"])


def findings(judged: Judged) -> list[FindingMetrics]:
    """Sensitivity, specificity, PPV and NPV: of yes/no questions, and of options' texts.

    The first row is of all yes/no questions together. Then follow each yes/no question that is
    asked often, and each option's text against the other options it was offered with. An item
    without an answer counts as wrong: it lowers sensitivity or specificity. PPV and NPV are over
    the answered items.
    """
    outcomes = judged.outcomes
    yes_no = outcomes.where(_is_yes_no)
    is_yes = outcomes.where(_has_ground_truth_yes)
    answered_yes, answered_no = (outcomes.where(_answers(word)) for word in ("yes", "no"))
    rows = []
    if yes_no.any():
        name = "all yes/no questions"
        rows.append(_finding(name, "yes", is_yes, answered_yes, answered_no, yes_no, judged))
    questions = judged.columns.questions
    for code in _frequent(questions.codes[yes_no & is_yes], yes_no & ~is_yes, questions.codes):
        name = questions.values[code]
        # "" is for questions whose two options are yes and no: they count in the first row only
        if name:
            where = questions.codes == code
            rows.append(_finding(name, "yes", is_yes, answered_yes, answered_no, where, judged))
    if len(rows) == 2 and rows[1].n == rows[0].n:
        rows = rows[1:]  # a single question: its row says all
    return [*rows, *_option_findings(judged)][: MAX_FINDINGS + 1]


def _option_findings(judged: Judged) -> list[FindingMetrics]:
    """A row for each option's text that is often the right one.

    Positive items are those where it is right. Negative ones offer it and have another right
    option: "CT" against "MRI" and "X-ray" in questions on the modality.
    """
    outcomes = judged.outcomes
    has_options = outcomes.where(lambda outcome: bool(outcome.options) and not _is_yes_no(outcome))
    right_texts = CodedColumn.from_items(_plain(outcome.reference) for outcome in outcomes.values)
    codes = right_texts.codes[outcomes.codes]
    rows = []
    for code in _frequent(codes[has_options], None, codes):
        name = right_texts.values[code]
        offered = has_options & outcomes.where(
            lambda outcome, name=name: name in {_plain(text) for _, text in outcome.options}  # type: ignore[misc]
        )
        is_right = codes == code
        if (offered & ~is_right).sum() < MIN_ITEMS_PER_FINDING:
            continue
        answered = outcomes.where(_answers(name))
        answered_other = outcomes.where(lambda outcome: outcome.answer is not None) & ~answered
        rows.append(_finding(name, name, is_right, answered, answered_other, offered, judged))
        if len(rows) == MAX_FINDINGS:
            break
    return rows


def _finding(
    name: str,
    positive: str,
    is_positive: Mask,
    answered_positive: Mask,
    answered_negative: Mask,
    where: Mask,
    judged: Judged,
) -> FindingMetrics:
    """One row over the items of `where`; an item in neither `answered` mask counts as unanswered.

    `positive` is the answer that means the finding is there: "yes", or an option's text.
    """

    def share(selected: Mask, among: Mask, reason: str) -> Metric:
        return mean_metric(selected.astype(np.float64), judged, among, reason)

    no_answer = ~answered_positive & ~answered_negative
    return FindingMetrics(
        finding=name,
        positive=positive,
        n=int(where.sum()),
        n_positive=int((where & is_positive).sum()),
        n_unanswered=int((where & no_answer).sum()),
        prevalence=share(is_positive, where, "no items"),
        sensitivity=share(answered_positive, where & is_positive, "no item has it"),
        specificity=share(answered_negative, where & ~is_positive, "every item has it"),
        ppv=share(is_positive, where & answered_positive, "it was never answered"),
        npv=share(~is_positive, where & answered_negative, "the opposite was never answered"),
    )


def lengths(judged: Judged) -> Lengths:
    """How long the completions are, in tokens and in characters; None where it is not sizes."""
    columns = judged.columns
    return Lengths(num_tokens=_length(columns.num_tokens), characters=_length(columns.characters))


def _length(values: NDArray[np.int64]) -> Length | None:
    """Mean, quantiles and histogram of lengths; -1 is unknown."""
    sizes = values[values >= 0]
    if not len(sizes):
        return None
    counts, edges = np.histogram(sizes, bins=min(20, int(sizes.max() - sizes.min()) + 1))
    return Length(
        n=len(sizes),
        mean=float(sizes.mean()),
        median=float(np.median(sizes)),
        p95=float(np.quantile(sizes, 0.95)),
        max=int(sizes.max()),
        histogram=[
            (float(low), float(high), int(n))
            for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
        ],
    )


def _with_counts(judged: Judged) -> Iterable[tuple[Outcome, int]]:
    """Each distinct outcome with its number of items."""
    counts = np.bincount(judged.outcomes.codes, minlength=len(judged.outcomes.values))
    return zip(judged.outcomes.values, counts.tolist(), strict=True)


def _frequent(
    positive_codes: NDArray[np.intp], negative: Mask | None, all_codes: NDArray[np.intp]
) -> list[int]:
    """The codes with enough positive items for a row, the most frequent first.

    `positive_codes` are the codes of the positive items. With `negative`, the mask of the negative
    items in `all_codes`, a code needs enough of those as well.
    """
    counts = np.bincount(positive_codes, minlength=1)
    is_enough = counts >= MIN_ITEMS_PER_FINDING
    if negative is not None:
        # a code above the largest positive one has no positive item, so it is cut off
        negative_counts = np.bincount(all_codes[negative], minlength=len(counts))[: len(counts)]
        is_enough &= negative_counts >= MIN_ITEMS_PER_FINDING
    ordered = np.argsort(-counts, kind="stable")
    return [int(code) for code in ordered if is_enough[code]][:MAX_FINDINGS]


def _is_yes_no(outcome: Outcome) -> bool:
    """Whether the question is answered by yes or no, also as its two options."""
    return outcome.answer_type == "yes_no" or (
        len(outcome.options) == 2 and {_plain(text) for _, text in outcome.options} == {"yes", "no"}
    )


def _has_ground_truth_yes(outcome: Outcome) -> bool:
    return _plain(outcome.reference) == "yes"


def _answers(text: str) -> Callable[[Outcome], bool]:
    """The condition that an outcome's answer is this text."""
    return lambda outcome: outcome.answer is not None and _plain(outcome.predicted or "") == text


def _plain(text: str, upper: bool = False) -> str:
    """The text in the form in which texts are compared: one case, no final period."""
    plain = fold(text).strip().casefold().removesuffix(".")
    return plain.upper() if upper else plain
