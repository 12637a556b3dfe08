"""The part `judge` of summary.json: accuracy with the judge, and its agreement with others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from medr1.documents.judge import Agreement, JudgePeople, JudgeResult
from medr1.documents.metric import Metric, no_value
from medr1.evaluate.coded import Mask, Values
from medr1.evaluate.estimates import difference_metric, mean_metric, statistic_metric
from medr1.evaluate.judge.selection import AnswersToJudge, open_questions
from medr1.evaluate.judging import Judged
from medr1.judge.prompt import PROMPT_SHA256, VerdictWord
from medr1.stats.agreement import Floats, agreement_cells, cohen_kappa, raw_agreement


def judge_result(
    model: str,
    label_key: str | None,
    selection: AnswersToJudge,
    verdicts: Sequence[VerdictWord | None],
    judged: Judged,
) -> JudgeResult:
    """The numbers of a judge beside those of the rules.

    Args:
        model: The name of the judge.
        label_key: Metadata key of the labels of people; None without labels.
        selection: The answers that the judge was asked about.
        verdicts: Its verdict on each of them; None where the server could not answer.
        judged: All items, judged by the rules.
    """
    candidates = selection.candidates
    places = np.array([candidate.position for candidate in candidates], dtype=np.intp)
    says_right = np.array([verdict == "correct" for verdict in verdicts], dtype=bool)
    decided = np.array([verdict in ("correct", "incorrect") for verdict in verdicts], dtype=bool)
    rules = judged.correct[places] == 1.0
    with_judge = judged.correct.copy()
    with_judge[places[says_right]] = 1.0
    is_open = open_questions(judged)

    def agreement(
        first: Mask, second: Mask, where: Mask, weights: Values | None = None
    ) -> Agreement:
        used = where & decided
        cells = agreement_cells(first[used], second[used])
        n_without = int(where.sum() - used.sum())
        return _agreement(
            cells, weights[used] if weights is not None else None, places[used], n_without, judged
        )

    everything = np.ones(len(candidates), dtype=bool)
    people = None
    if label_key is not None:
        labelled = np.array([candidate.label is not None for candidate in candidates], dtype=bool)
        labels = np.array([bool(candidate.label) for candidate in candidates], dtype=bool)
        people = JudgePeople(
            key=label_key,
            n=int(labelled.sum()),
            judge=agreement(says_right, labels, labelled),
            rules=agreement(rules, labels, labelled),
        )
    return JudgeResult(
        model=model,
        prompt_sha256=PROMPT_SHA256,
        n_open=selection.n_open,
        n_asked=len(candidates),
        n_unclear=sum(verdict == "unclear" for verdict in verdicts),
        n_failed=sum(verdict is None for verdict in verdicts),
        n_changed=int((says_right & ~rules).sum()),
        accuracy=mean_metric(judged.correct, judged),
        accuracy_with_judge=mean_metric(with_judge, judged),
        gain=difference_metric(with_judge, judged.correct, judged),
        open_accuracy=mean_metric(judged.correct, judged, is_open, "no open questions"),
        open_accuracy_with_judge=mean_metric(with_judge, judged, is_open, "no open questions"),
        rules=agreement(says_right, rules, everything),
        rules_weighted=agreement(says_right, rules, everything, selection.weights),
        people=people,
    )


def _agreement(
    cells: Floats,
    weights: Values | None,
    places: NDArray[np.intp],
    n_without: int,
    judged: Judged,
) -> Agreement:
    """The agreement of two raters, from the cell of each item in their 2 x 2 table.

    `places` are the places of these items among all, `n_without` counts those that are left out.
    """
    counts = [int(count) for count in cells.sum(axis=0)]
    clusters = judged.clusters[places]
    if not len(cells):
        share = kappa = no_value("no answer has a verdict of both")
    elif weights is None:
        agree, where = np.zeros(len(judged)), np.zeros(len(judged), dtype=bool)
        agree[places], where[places] = cells[:, 0] + cells[:, 3], True
        share, kappa = mean_metric(agree, judged, where), _kappa(cells, clusters, judged)
    else:
        cells = cells * weights[:, None]
        share = statistic_metric(cells, clusters, raw_agreement, judged)
        kappa = _kappa(cells, clusters, judged)
    return Agreement(
        both_right=counts[0],
        first_only=counts[1],
        second_only=counts[2],
        neither=counts[3],
        share=replace(share, n_without=n_without),
        kappa=replace(kappa, n_without=n_without),
    )


def _kappa(cells: Floats, clusters: NDArray[np.intp], judged: Judged) -> Metric:
    """Cohen's kappa with its interval; resamples in which it does not exist count as 0."""
    if np.isnan(cohen_kappa(cells.sum(axis=0, keepdims=True)))[0]:
        return no_value("both call all answers right, or all of them wrong")
    return statistic_metric(cells, clusters, lambda sums: np.nan_to_num(cohen_kappa(sums)), judged)
