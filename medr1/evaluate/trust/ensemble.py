"""An ensemble: several checkpoints that answered the same questions.

The answers are combined in two ways, by majority vote and by the mean of the options'
probabilities. The members' disagreement is measured by their pairs, by Fleiss' kappa and by the
mutual information.

Shapes: M members, N items, K options (NaN where an item has fewer options).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from medr1 import answers
from medr1.documents.metric import Metric, Missing, no_value
from medr1.documents.trust import Ensemble, EnsembleAccuracy, MeanProbabilities, MemberPair
from medr1.evaluate.coded import Mask, Values
from medr1.evaluate.estimates import difference_metric, mean_metric, statistic_metric
from medr1.evaluate.judging import Judged, Outcome
from medr1.evaluate.scores import pad_axes
from medr1.evaluate.trust.ranking import auroc_metric

Votes = NDArray[np.intp]
"""Codes of answers, (M, N); see `vote_codes`."""
CLOSED = ("multiple_choice", "yes_no")
"""Kinds of questions with a fixed set of answers."""


def ensemble(members: Mapping[str, Judged]) -> Ensemble:
    """The section `ensemble` of a summary or comparison.

    `members` maps the name of each file to its items, the same items in the same order.
    """
    judged = list(members.values())
    first = judged[0]
    votes = np.array(
        [vote_codes(outcomes, first.settings.protocol) for outcomes in _by_item(judged)],
        dtype=np.intp,
    ).T
    chosen = majority(votes)
    correct = np.stack([member.correct for member in judged])
    # an item that no member answers is wrong
    right = np.where(chosen >= 0, correct[chosen, np.arange(len(first))], 0.0)
    return Ensemble(
        members=list(members),
        n=len(first),
        majority=EnsembleAccuracy(
            accuracy=mean_metric(right, first),
            differences=_differences(right, members, np.ones(len(first), dtype=bool)),
        ),
        mean_probabilities=_mean_probabilities(members),
        all_agree=mean_metric(_agree(votes), first),
        pairs=[
            MemberPair(members=(a, b), agreement=mean_metric(_agree(votes[[i, j]]), first))
            for (i, a), (j, b) in combinations(enumerate(members), 2)
        ],
        kappa={kind: _kappa(judged, kind) for kind in CLOSED},
    )


def _by_item(judged: Sequence[Judged]) -> Iterator[tuple[Outcome, ...]]:
    """For each item the outcomes of all members."""
    return zip(*(member.outcomes for member in judged), strict=True)


def vote_codes(outcomes: Sequence[Outcome], protocol: str) -> list[int]:
    """For each member the index of the first member with an equal answer; -1 for no answer.

    The answers "Yes", "no", "yes", None give [0, 1, 0, -1].

    Args:
        outcomes: The members' outcomes for one item.
        protocol: How answers are compared, one of `answers.PROTOCOLS`.
    """
    codes: list[int] = []
    for member, outcome in enumerate(outcomes):
        answer = outcome.answer
        if answer is None:
            codes.append(-1)
            continue
        comparison = {"answer_type": outcome.answer_type, "protocol": protocol}
        options = dict(outcome.options)
        # each answer is compared with the first member of every different answer so far
        equal = (
            i
            for i in range(member)
            if codes[i] == i
            and answers.same_answer(outcomes[i].answer or "", answer, options=options, **comparison)
        )
        codes.append(next(equal, member))
    return codes


def majority(votes: Votes) -> Votes:
    """The first member with the most frequent answer of each item, shape (N,); -1 for no answer.

    `votes` (M, N) are `vote_codes`. Of equally frequent answers that of the earlier member wins.
    """
    counts = np.array([(votes == member).sum(axis=0) for member in range(len(votes))])
    return np.where(counts.max(axis=0) > 0, counts.argmax(axis=0), -1)


def _agree(votes: Votes) -> Values:
    """1.0 for each item on which all members of `votes` (M, N) give one answer, else 0.0."""
    agree: Mask = (votes == votes[0]).all(axis=0) & (votes[0] >= 0)
    return agree.astype(np.float64)


def _differences(right: Values, members: Mapping[str, Judged], where: Mask) -> dict[str, Metric]:
    """Member -> the ensemble's accuracy minus that of the member, over the items of `where`."""
    first = next(iter(members.values()))
    return {
        name: difference_metric(right, member.correct, first, where)
        for name, member in members.items()
    }


# --- probabilities ------------------------------------------------------------------------------

_DIGITS = 9
"""Decimals of nats that are kept: smaller differences are rounding, and must not rank items."""


def entropy(probabilities: Values) -> Values:
    """The entropy -Σ p ln p over the last axis, in nats; an option that is NaN adds nothing.

    Agrees with scipy (`scipy.stats.entropy`).
    """
    p = np.nan_to_num(probabilities)
    nats: Values = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)
    return nats


def mutual_information(probabilities: Values) -> Values:
    """The entropy of the members' mean less the mean of their entropies, in nats, at least 0.

    It measures what the members disagree about, apart from what each of them is unsure of.

    Maps probabilities (M, N, K) to (N,). Source: Lakshminarayanan et al. (2017).
    """
    information: Values = entropy(probabilities.mean(axis=0)) - entropy(probabilities).mean(axis=0)
    return np.maximum(0.0, information.round(_DIGITS))


def _mean_probabilities(members: Mapping[str, Judged]) -> MeanProbabilities | Missing:
    """The answers by the mean of the probabilities, on items where every member has them."""
    judged = list(members.values())
    scores = [member.columns.scores for member in judged]
    first, width = judged[0], max(member.probabilities.shape[1] for member in scores)
    stacked = np.stack([pad_axes(member.probabilities, [width]) for member in scores])
    unknown = np.isnan(stacked)
    where = np.logical_and.reduce([member.has_options for member in scores])
    where &= (unknown == unknown[0]).all(axis=(0, 2))  # all members have the same options
    if not where.any():
        return Missing(reason="no item has option_probs in every file")
    mean = np.nan_to_num(stacked.mean(axis=0), nan=-1.0)
    right = (mean.argmax(axis=1) == scores[0].right_index).astype(np.float64)
    information, total = mutual_information(stacked), entropy(stacked.mean(axis=0))
    return MeanProbabilities(
        accuracy=mean_metric(right, first, where),
        differences=_differences(right, members, where),
        predictive_entropy=mean_metric(total, first, where, share=False),
        expected_entropy=mean_metric(entropy(stacked).mean(axis=0), first, where, share=False),
        mutual_information=mean_metric(information, first, where, share=False),
        auroc=auroc_metric(information, right == 0, first, where),
        auroc_entropy=auroc_metric(total, right == 0, first, where),
    )


# --- Fleiss' kappa ------------------------------------------------------------------------------


def fleiss_kappa(sums: Values) -> Values:
    """Fleiss' kappa (P - E) / (1 - E), for each row of sums; 1 full agreement, 0 as by chance.

    P is the mean share of agreeing pairs of members of an item, E the sum of the squared shares of
    the answers. Maps sums of `kappa_contributions`, (rows, 2 + answers), to (rows,); NaN where only
    one answer occurs.

    Source: Fleiss (1971). Agrees with statsmodels (`fleiss_kappa`).
    """
    agreement, items, counts = sums[:, 0], sums[:, 1], sums[:, 2:]
    observed = agreement / items
    expected = ((counts / counts.sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
    one_answer = expected > 1 - 1e-12
    return np.where(
        one_answer, np.nan, (observed - expected) / np.where(one_answer, 1.0, 1 - expected)
    )


def kappa_contributions(counts: Values) -> Values:
    """What each item adds to the sums of `fleiss_kappa`: agreement, 1, and its counts.

    Maps counts (N, answers), how many members give each answer, to (N, 2 + answers).
    """
    m = counts.sum(axis=1)
    agreement = ((counts**2).sum(axis=1) - m) / (m * (m - 1))
    return np.column_stack([agreement, np.ones(len(counts)), counts])


def _kappa(judged: Sequence[Judged], kind: str) -> Metric:
    """Fleiss' kappa of the items of one kind that every member answers.

    Each kind by itself, because chance agreement differs: two answers to yes/no questions, more to
    multiple choice.
    """
    first = judged[0]
    of_kind = first.outcomes.where(lambda o: _kind(o) == kind)
    answer_counts = [Counter(o.answer for o in outcomes) for outcomes in _by_item(judged)]
    where = of_kind & np.array([None not in counter for counter in answer_counts], dtype=bool)
    if not where.any():
        return no_value("no item of this kind has an answer in every file")
    answer_counts = [
        counter for counter, included in zip(answer_counts, where, strict=True) if included
    ]
    names = sorted({str(name) for counter in answer_counts for name in counter})
    counts = np.array(
        [[counter[name] for name in names] for counter in answer_counts], dtype=np.float64
    )
    sums, clusters = kappa_contributions(counts), first.clusters[where]
    if len(names) == 1:
        return no_value("every answer is the same")
    metric = statistic_metric(
        sums, clusters, lambda resampled: np.nan_to_num(fleiss_kappa(resampled)), first
    )
    return replace(metric, n_without=int(of_kind.sum()) - len(counts))


def _kind(outcome: Outcome) -> str:
    """The kind of the question, as in CLOSED: anything with options is multiple choice."""
    return "multiple_choice" if outcome.options else outcome.answer_type
