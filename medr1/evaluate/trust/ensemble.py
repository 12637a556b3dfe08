"""Several checkpoints asked the same questions: their vote, their mean, and how far they agree.

Shapes: M members, N items, K options (NaN where an item has fewer).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1 import answers
from medr1.evaluate.estimates import Metric, difference_metric, mean_metric, null, statistic_metric
from medr1.evaluate.judging import Judged, Outcome, Values
from medr1.evaluate.scores import pad_axes
from medr1.evaluate.trust.ranking import auroc_metric

Votes = NDArray[np.intp]
CLOSED = ("multiple_choice", "yes_no")
"""Kinds of questions with a fixed set of answers."""


def ensemble(members: Mapping[str, Judged]) -> dict[str, Any]:
    """The part `ensemble` of a summary or comparison, of files over the same items in one order."""
    judged = list(members.values())
    first = judged[0]
    votes = np.array(
        [alike(outcomes, first.settings.protocol) for outcomes in _by_item(judged)], dtype=np.intp
    ).T
    chosen = majority(votes)
    correct = np.stack([one.correct for one in judged])
    right = np.where(chosen >= 0, correct[chosen, np.arange(len(first))], 0.0)
    return {
        "members": list(members),
        "n": len(first),
        "majority": _against(right, members, np.ones(len(first), dtype=bool)),
        "mean_probabilities": _mean_probabilities(members),
        "all_agree": mean_metric(_agree(votes), first),
        "pairs": [
            {"members": [one, other], **mean_metric(_agree(votes[[i, j]]), first)}
            for (i, one), (j, other) in combinations(enumerate(members), 2)
        ],
        "kappa": {kind: _kappa(judged, kind) for kind in CLOSED},
    }


def _by_item(judged: Sequence[Judged]) -> Any:
    return zip(*(one.outcomes for one in judged), strict=True)


def alike(outcomes: Sequence[Outcome], protocol: str) -> list[int]:
    """For each member's answer the first member that gave an equal one; -1 for no answer."""
    found: list[int] = []
    for place, outcome in enumerate(outcomes):
        answer = outcome.answer
        if answer is None:
            found.append(-1)
            continue
        about = {"answer_type": outcome.answer_type, "protocol": protocol}
        options = dict(outcome.options)
        equal = (
            i
            for i in range(place)
            if found[i] == i
            and answers.same_answer(outcomes[i].answer or "", answer, options=options, **about)
        )
        found.append(next(equal, place))
    return found


def majority(votes: Votes) -> Votes:
    """The member (N) whose answer most members of `votes` (M, N) give; -1 where none has one.

    Of answers that are given equally often, that of the earlier member.
    """
    counts = np.array([(votes == member).sum(axis=0) for member in range(len(votes))])
    return np.where(counts.max(axis=0) > 0, counts.argmax(axis=0), -1)


def _agree(votes: Votes) -> Values:
    """1.0 for each item on which all of `votes` (M, N) are one answer."""
    return ((votes == votes[0]).all(axis=0) & (votes[0] >= 0)).astype(np.float64)


def _against(right: Values, members: Mapping[str, Judged], where: Any) -> dict[str, Any]:
    """The ensemble's accuracy, and how far it is from each member's on the same items."""
    first = next(iter(members.values()))
    return {
        **mean_metric(right, first, where, "no item has option_probs in every file"),
        "differences": {
            name: difference_metric(right, one.correct, first, where)
            for name, one in members.items()
            if where.any()
        },
    }


# --- probabilities ------------------------------------------------------------------------------

_DIGITS = 9
"""Decimals of nats: what is below them is rounding, and no order of items."""


def entropy(probabilities: Values) -> Values:
    """-Σ p ln p over the last axis, in nats; NaN is no option."""
    p = np.nan_to_num(probabilities)
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def mutual_information(probabilities: Values) -> Values:
    """Entropy of the members' mean less the mean of their entropies (N), of (M, N, K), in nats.

    What the members disagree about, and not what each is unsure of: Lakshminarayanan et al. (2017).
    """
    found = entropy(probabilities.mean(axis=0)) - entropy(probabilities).mean(axis=0)
    return np.maximum(0.0, found.round(_DIGITS))


def _mean_probabilities(members: Mapping[str, Judged]) -> dict[str, Any]:
    """The option that is most probable on average, where every member has probabilities."""
    judged = list(members.values())
    scores = [one.columns.scores for one in judged]
    first, width = judged[0], max(one.probabilities.shape[1] for one in scores)
    stacked = np.stack([pad_axes(one.probabilities, [width]) for one in scores])
    unknown = np.isnan(stacked)
    where = np.logical_and.reduce([one.has_options for one in scores])
    where &= (unknown == unknown[0]).all(axis=(0, 2))  # of the same options
    if not where.any():
        return null("no item has option_probs in every file")
    mean = np.nan_to_num(stacked.mean(axis=0), nan=-1.0)
    right = (mean.argmax(axis=1) == scores[0].right_index).astype(np.float64)
    information, total = mutual_information(stacked), entropy(stacked.mean(axis=0))
    return {
        **_against(right, members, where),
        "predictive_entropy": mean_metric(total, first, where, share=False),
        "expected_entropy": mean_metric(entropy(stacked).mean(axis=0), first, where, share=False),
        "mutual_information": mean_metric(information, first, where, share=False),
        "auroc": auroc_metric(information, right == 0, first, where),
        "auroc_entropy": auroc_metric(total, right == 0, first, where),
    }


# --- Fleiss' kappa ------------------------------------------------------------------------------


def fleiss_kappa(sums: Values) -> Values:
    """Fleiss' kappa of each row of sums over items of (agreement, 1, count of each category).

    (P - E) / (1 - E): P is the mean share of agreeing pairs of an item, E the sum of the squared
    shares of the categories. Fleiss (1971). NaN where only one category is used.
    """
    agreement, items, counts = sums[:, 0], sums[:, 1], sums[:, 2:]
    observed = agreement / items
    expected = ((counts / counts.sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
    same = expected > 1 - 1e-12
    return np.where(same, np.nan, (observed - expected) / np.where(same, 1.0, 1 - expected))


def kappa_sums(counts: Values) -> Values:
    """What `fleiss_kappa` takes the sums of (N, 2 + categories), of counts (N, categories)."""
    m = counts.sum(axis=1)
    agreement = ((counts**2).sum(axis=1) - m) / (m * (m - 1))
    return np.column_stack([agreement, np.ones(len(counts)), counts])


def _kappa(judged: Sequence[Judged], kind: str) -> Metric:
    """Of the items of one kind that every member answers: kinds differ in what chance gives."""
    first = judged[0]
    closed = first.outcomes.where(lambda o: _kind(o) == kind)
    given = [Counter(o.answer for o in outcomes) for outcomes in _by_item(judged)]
    where = closed & np.array([None not in counter for counter in given], dtype=bool)
    if not where.any():
        return null("every file answers no item of this kind")
    given = [counter for counter, kept in zip(given, where, strict=True) if kept]
    names = sorted({str(name) for counter in given for name in counter})
    counts = np.array([[counter[name] for name in names] for counter in given], dtype=np.float64)
    sums, clusters = kappa_sums(counts), first.clusters[where]
    if len(names) == 1:
        return null("every answer is the same")
    found = statistic_metric(
        sums, clusters, lambda drawn: np.nan_to_num(fleiss_kappa(drawn)), first
    )
    return {**found, "n_without": int(closed.sum()) - len(counts)}


def _kind(outcome: Outcome) -> str:
    return "multiple_choice" if outcome.options else outcome.answer_type
