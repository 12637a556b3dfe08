"""Sum up a review: agreement between and within readers, corrected accuracy, disputed cases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median

import numpy as np

from medr1.documents.metric import Metric, no_value
from medr1.documents.review import (
    AdjudicationCounts,
    DisputedCase,
    ExpertReview,
    QuestionAgreement,
    ReaderReview,
    ReviewedKind,
    ReviewSummary,
    SecondModel,
)
from medr1.review.final import final_answers
from medr1.review.preference import preference_summary
from medr1.review.rounds import first_looks
from medr1.review.rubric import SECOND, VALUE_OF_CORRECT, RubricQuestion, rubric_of
from medr1.review.rule_check import rule_check
from medr1.review.sampling import KINDS
from medr1.review.store import Judgement, Store, StoredItem
from medr1.stats.intervals import bootstrap_mean, named_interval
from medr1.stats.prediction_powered import corrected_mean
from medr1.stats.raters import (
    Level,
    Weighting,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    rating_codes,
    weighted_kappa,
)

Looks = Mapping[tuple[str, int], Judgement]
"""(reader, place of the case) -> judgement."""


def review_summary(
    store: Store, adjudication: Store | None = None, *, seed: int = 0, num_resamples: int = 2000
) -> ReviewSummary:
    """The summary of all judgements in a store.

    Args:
        store: The store of the review.
        adjudication: The store of its second round; None without one.
        seed: Of the bootstrap intervals.
        num_resamples: Number of resamples of each interval.
    """
    items, judgements = store.items(), store.judgements()
    judged = [j for j in judgements if j.action == "judge"]
    first = first_looks(judgements)
    second = {(j.reader, j.place): j for j in judged if j.is_repeat}
    readers = sorted({judgement.reader for judgement in judgements})
    rubric = rubric_of(is_comparison=store.study.is_comparison)
    questions = [question for question in rubric if question.is_about_case]
    verdicts = _expert_verdicts(first, "correct")
    counts = None
    if adjudication:
        decided = first_looks(adjudication.judgements())
        final = final_answers(first, decided, "correct")
        verdicts |= {k: VALUE_OF_CORRECT[f.answer] for k, f in final.items() if f.answer}
        counts = AdjudicationCounts(
            adjudicators=sorted({reader for reader, _ in decided}),
            n_cases=sum(item.is_case for item in adjudication.items()),
            n_judged=len({place for _, place in decided}),
            n_undecided=sum(f.answer is None for f in final.values()),
        )
    return ReviewSummary(
        results_sha256=store.study.results_sha256,
        n_items=len(items),
        n_cases=sum(item.is_case for item in items),
        readers=[_reader(name, judgements, first, second) for name in readers],
        questions={
            question.key: _agreement(question, readers, items, first, second, seed, num_resamples)
            for question in questions
        },
        kinds={kind: _kind([i for i in items if i.kind == kind], verdicts) for kind in KINDS},
        automatic_accuracy=_automatic_accuracy(items, seed, num_resamples),
        corrected_accuracy=_corrected_accuracy(items, verdicts),
        preference=preference_summary(store, first, seed=seed, num_resamples=num_resamples),
        disputed=[case for question in questions for case in _disputed(question, items, first)],
        adjudication=counts,
        rule=rule_check(items, verdicts, seed=seed, num_resamples=num_resamples),
        second_model=_second_model(items, first, seed, num_resamples),
    )


def expert_review(
    store: Store, adjudication: Store | None = None, *, seed: int = 0
) -> ExpertReview:
    """What summary.json has of a review of one model: no name of a reader.

    Args:
        store: The store of the review.
        adjudication: The store of its second round; None without one.
        seed: Of the bootstrap intervals.
    """
    document = review_summary(store, adjudication, seed=seed)
    return ExpertReview(
        n_cases=document.n_cases,
        n_judged=sum(kind.n_judged for kind in document.kinds.values()),
        n_readers=len(document.readers),
        is_simulated=bool(store.study.settings.get("simulated")),
        n_adjudicated=document.adjudication.n_judged if document.adjudication else None,
        protocol=store.study.settings.get("protocol"),
        questions=document.questions,
        automatic_accuracy=document.automatic_accuracy,
        corrected_accuracy=document.corrected_accuracy,
        rule=document.rule,
    )


def _automatic_accuracy(items: Sequence[StoredItem], seed: int, num_resamples: int) -> Metric:
    """The share of all items that the automatic verdict calls right."""
    right = np.array([item.is_right for item in items], dtype=np.float64)
    clusters = [item.cluster for item in items]
    interval, method = named_interval(
        bootstrap_mean(right, clusters, seed=seed, num_resamples=num_resamples), "cluster"
    )
    return Metric(value=float(right.mean()), ci95=interval, n=len(items), method=method)


def _corrected_accuracy(items: Sequence[StoredItem], verdicts: Mapping[int, float]) -> Metric:
    """The accuracy that experts would find on all items."""
    return corrected_mean(
        [float(item.is_right) for item in items],
        [verdicts.get(item.place, np.nan) for item in items],
        [item.kind for item in items],
        [item.cluster for item in items],
    )


def _second_model(
    items: Sequence[StoredItem], first: Looks, seed: int, num_resamples: int
) -> SecondModel | None:
    """The second of two models; the kinds, by which items were sampled, are those of the first."""
    others = [
        replace(item, is_right=item.second.is_right, confidence=item.second.confidence)
        for item in items
        if item.second
    ]
    if not others:
        return None
    verdicts = _expert_verdicts(first, f"{SECOND}correct")
    return SecondModel(
        automatic_accuracy=_automatic_accuracy(others, seed, num_resamples),
        corrected_accuracy=_corrected_accuracy(others, verdicts),
        rule=rule_check(others, verdicts, seed=seed, num_resamples=num_resamples),
    )


def _expert_verdicts(first: Looks, question: str) -> dict[int, float]:
    """Place of a case -> the mean of the readers' verdicts on whether a model is right.

    `question` is the rubric's key: correct, or b_correct for the second model.
    """
    values: dict[int, list[float]] = defaultdict(list)
    for (_, place), judgement in first.items():
        if question in judgement.ratings:
            values[place].append(VALUE_OF_CORRECT[judgement.ratings[question]])
    return {place: fmean(of_readers) for place, of_readers in values.items()}


def _reader(
    name: str, judgements: Sequence[Judgement], first: Looks, second: Looks
) -> ReaderReview:
    """The counts of one reader."""
    own = [judgement for judgement in judgements if judgement.reader == name]
    seconds = [judgement.seconds for judgement in own if judgement.action == "judge"]
    return ReaderReview(
        name=name,
        n_judged=sum(reader == name for reader, _ in first),
        n_skipped=sum(j.action == "skip" and not j.is_repeat for j in own),
        n_repeated=sum(reader == name and (reader, place) in first for reader, place in second),
        median_seconds=median(seconds) if seconds else None,
    )


def _agreement(
    question: RubricQuestion,
    readers: Sequence[str],
    items: Sequence[StoredItem],
    first: Looks,
    second: Looks,
    seed: int,
    num_resamples: int,
) -> QuestionAgreement:
    """The agreement on one question."""
    cases = [item for item in items if item.is_case]
    ratings = [[_rating(first, name, c.place, question) for name in readers] for c in cases]
    codes = rating_codes(ratings, question.categories).reshape(len(cases), len(readers))
    clusters = [case.cluster for case in cases]
    number = len(question.categories)
    level: Level = "ordinal" if question.is_ordered else "nominal"
    weighting: Weighting = "quadratic" if question.is_ordered else "none"
    counts = Counter(rating for row in ratings for rating in row)
    both_looks = [key for key in second if key in first]
    looks = [
        [_rating(first, *key, question), _rating(second, *key, question)] for key in both_looks
    ]
    cluster_of = {case.place: case.cluster for case in cases}

    return QuestionAgreement(
        counts={category: counts[category] for category in question.categories},
        krippendorff_alpha=krippendorff_alpha(
            codes, number, level, clusters=clusters, seed=seed, num_resamples=num_resamples
        ),
        fleiss_kappa=fleiss_kappa(
            codes, number, clusters=clusters, seed=seed, num_resamples=num_resamples
        ),
        gwet_ac1=gwet_ac1(codes, number, clusters=clusters, seed=seed, num_resamples=num_resamples),
        cohen_kappa=weighted_kappa(
            codes, number, weighting, clusters=clusters, seed=seed, num_resamples=num_resamples
        )
        if len(readers) == 2
        else no_value(f"Cohen's kappa is of two readers, not of {len(readers)}"),
        within_readers=krippendorff_alpha(
            rating_codes(looks, question.categories).reshape(len(looks), 2),
            number,
            level,
            clusters=[cluster_of[place] for _, place in both_looks],
            seed=seed,
            num_resamples=num_resamples,
        ),
    )


def _rating(looks: Looks, reader: str, place: int, question: RubricQuestion) -> str | None:
    judgement = looks.get((reader, place))
    return judgement.ratings.get(question.key) if judgement else None


def _kind(items: Sequence[StoredItem], verdicts: Mapping[int, float]) -> ReviewedKind:
    """The counts of one kind of items."""
    values = [verdicts[item.place] for item in items if item.place in verdicts]
    return ReviewedKind(
        n_items=len(items),
        n_cases=sum(item.is_case for item in items),
        n_judged=len(values),
        expert_mean=fmean(values) if values else None,
    )


def _disputed(
    question: RubricQuestion, items: Sequence[StoredItem], first: Looks
) -> list[DisputedCase]:
    """The cases on which readers gave different answers to a question."""
    of_place: dict[int, dict[str, str]] = defaultdict(dict)
    for (reader, place), judgement in sorted(first.items()):
        if question.key in judgement.ratings:
            of_place[place][reader] = judgement.ratings[question.key]
    return [
        DisputedCase(item_id=item.item_id, question=question.key, ratings=of_place[item.place])
        for item in items
        if len(set(of_place.get(item.place, {}).values())) > 1
    ]
