"""Compute summary.json from judged predictions: every metric with its 95 % confidence interval.

Shares lie in [0, 1]. No item is left out: one that failed, or whose answer could not be read,
counts as wrong. A number that cannot be computed is a metric without a value, with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from medr1 import answers
from medr1.claims import CheckedText
from medr1.documents.demo import PairedAccuracy
from medr1.documents.items import ItemRow
from medr1.documents.metric import Clusters, Intervals, Metric, no_value
from medr1.documents.summary import Contradictions, Group, Macro, Summary
from medr1.errors import InputError, did_you_mean
from medr1.evaluate.coded import CodedColumn, Mask, Values
from medr1.evaluate.estimates import (
    FEW_CLUSTERS,
    difference_metric,
    macro_metric,
    mean_metric,
)
from medr1.evaluate.groups import group_columns, require_clusters, sort_groups
from medr1.evaluate.item_claims import item_contradictions
from medr1.evaluate.judging import Judged, Settings, judge_all, judge_prediction
from medr1.evaluate.metrics import counts
from medr1.evaluate.metrics.blind import blind_summary
from medr1.evaluate.metrics.hallucination import hallucination
from medr1.evaluate.metrics.protocols import protocol_accuracy, protocol_notes, protocol_rows
from medr1.evaluate.metrics.reasoning import reasoning_checks
from medr1.evaluate.metrics.text import (
    BLEU_METRICS,
    Corpus,
    bleu_order_note,
    corpus_estimates,
    corpus_scores,
    item_scores,
)
from medr1.evaluate.protocol_outcomes import NO_RULE
from medr1.evaluate.trust.calibration import calibration
from medr1.evaluate.trust.mean_of_passes import dropout
from medr1.evaluate.trust.selective import DEFAULT_SELECTIVE, SelectiveConfig, selective
from medr1.evaluate.trust.token_uncertainty import token_uncertainty
from medr1.evaluate.trust.uncertainty import uncertainty
from medr1.metrics.registry import METRICS, NAMES, SELECTABLE, TEXT_METRICS
from medr1.records import Prediction
from medr1.terminal import counted
from medr1.text.quantities import is_number

if TYPE_CHECKING:
    from medr1.data.audit import BlindPanel

Semantic = Callable[[list[str], list[str]], tuple[Values, str]]
"""A score by a model: answers and references -> a value for each pair, and how it was computed."""
SHORT_REFERENCE = 4
"""Mean reference length, in words, below which BLEU says little and a warning says so."""


def require_metric(name: str, option: str) -> str:
    """Check the name of a metric and return it in its spelling in SELECTABLE.

    Args:
        name: The name, with dashes or underscores.
        option: The option that names it, for the message.

    Raises:
        InputError: There is no such metric.
    """
    metric = name.strip().replace("-", "_")
    if metric not in SELECTABLE:
        hint = did_you_mean(metric, SELECTABLE, f"There are: {', '.join(SELECTABLE)}.")
        raise InputError(f"{option}: {metric!r} is not a metric. {hint}")
    return metric


def summarize(
    predictions: Sequence[Prediction],
    *,
    protocol: str = "default",
    blind: BlindPanel | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Summary:
    """Judge one run's predictions and compute the summary.json document with all metrics.

    Args:
        predictions: One for each item.
        protocol: The rules of the verdict, one of `answers.PROTOCOLS`.
        blind: What blind predictors answer to the same items, for the part `blind`.
        seed: Seed of the bootstrap intervals.
        num_resamples: Number of bootstrap resamples.

    Returns:
        The document; see `summary_of`.

    Raises:
        InputError: An item has no ground truth.
    """
    settings = Settings(
        protocol,
        protocols=answers.SUMMARY_PROTOCOLS,
        seed=seed,
        num_resamples=num_resamples,
        texts=True,
        reasoning=True,
        claims=True,
    )
    return summary_of(judge_all(predictions, settings), blind=blind)


def summary_of(
    judged: Judged,
    *,
    blind: BlindPanel | None = None,
    metrics: Iterable[str] = NAMES,
    semantic: Mapping[str, Semantic] | None = None,
    held_out: Judged | None = None,
    selective_config: SelectiveConfig = DEFAULT_SELECTIVE,
) -> Summary:
    """Compute the summary.json document of judged items.

    Args:
        judged: The items.
        blind: What blind predictors answer to the same items; None leaves the part `blind` None.
        metrics: Which of NAMES to compute; accuracy always is.
        semantic: Metric -> what computes it, for those that need a model: bertscore and
            semantic_similarity. They are in no summary by default.
        held_out: Other items of the same model, judged too, on which temperature, deferral
            threshold and conformal sets are fitted. Without them these have no value.
        selective_config: The target error and the conformal alpha of the part `selective`.

    Returns:
        The document. `definitions` says what each number is.

    Raises:
        InputError: No item has the key of --group-by or --cluster-by.
        ValueError: A metric of texts is asked for, and the items were judged without
            `Settings.texts`.
    """
    selected = {"accuracy", *metrics}
    names = tuple(name for name in NAMES if name in selected)
    require_clusters(judged)
    columns, notes = group_columns(judged)
    scores = _MetricScores(judged, names, semantic or {})
    metrics_of_all = scores.metrics()
    notes += scores.bleu_notes(metrics_of_all)
    contradictions = counts.contradictions(judged)
    notes += _contradiction_notes(contradictions)
    return Summary(
        protocol=judged.settings.protocol,
        n=len(judged),
        n_error=int(judged.outcomes.where(lambda outcome: outcome.failed).sum()),
        n_unparsed=int(judged.unanswered.sum()),
        n_refused=int(judged.refused.sum()),
        n_undecided=int(judged.undecided.sum()),
        n_truncated=int(judged.outcomes.where(lambda outcome: outcome.truncated).sum()),
        clusters=Clusters(unit=judged.unit, n=len(judged.columns.clusters.values)),
        intervals=Intervals(**judged.resampling),
        metrics=metrics_of_all,
        groups={kind: _groups(scores, column) for kind, column in columns.items()},
        macro={kind: _macro(kind, scores, column) for kind, column in columns.items()},
        protocols={name: protocol_accuracy(judged, name) for name in judged.columns.protocols},
        protocol_rows=protocol_rows(judged) or msgspec.UNSET,
        protocol_differences=counts.protocol_differences(judged),
        extraction_methods=counts.extraction_methods(judged),
        unanswered=counts.unanswered(judged),
        undecided=counts.undecided(judged),
        confusion=counts.confusion(judged),
        confusion_text=counts.confusion(judged, as_text=True),
        contradictions=contradictions,
        hallucination=hallucination(judged),
        findings=counts.findings(judged),
        lengths=counts.lengths(judged),
        blind=blind_summary(judged, blind),
        calibration=calibration(judged, held_out),
        selective=selective(judged, held_out, selective_config),
        uncertainty=uncertainty(judged),
        dropout=dropout(judged),
        reasoning=reasoning_checks(judged),
        token_uncertainty=token_uncertainty(judged),
        warnings=[*_warnings(judged, names), *notes],
    )


def compare_accuracy(
    base: Sequence[Prediction],
    trained: Sequence[Prediction],
    *,
    protocol: str = "default",
    cluster_by: str = "image",
    seed: int = 0,
    num_resamples: int = 2000,
) -> PairedAccuracy:
    """Accuracy of two runs on the same items, and their paired difference, each with its interval.

    Args:
        base: The predictions of the first run.
        trained: The predictions of the second run, on the same items in the same order.
        protocol: The rules of the verdict, one of `answers.PROTOCOLS`.
        cluster_by: What resamples draw: "image", or a key of the samples' metadata.
        seed: Seed of the bootstrap.
        num_resamples: Number of bootstrap resamples.

    Returns:
        The accuracies, and the difference trained minus base.

    Raises:
        InputError: The items differ, or have no ground truth.
    """
    base_ids, trained_ids = ([p.sample.id for p in rows] for rows in (base, trained))
    if base_ids != trained_ids:
        raise InputError(
            "the two results do not hold the same items in the same order, so they cannot be "
            "compared item by item. Run both on the same questions."
        )
    settings = Settings(protocol, cluster_by, seed=seed, num_resamples=num_resamples)
    judged_base, judged_trained = (judge_all(rows, settings) for rows in (base, trained))
    return PairedAccuracy(
        base=mean_metric(judged_base.correct, judged_base),
        trained=mean_metric(judged_trained.correct, judged_trained),
        difference=difference_metric(judged_trained.correct, judged_base.correct, judged_trained),
    )


def item_rows(predictions: Sequence[Prediction], *, protocol: str = "default") -> list[ItemRow]:
    """The row of items.jsonl of each item, in order.

    Args:
        predictions: One for each item.
        protocol: The rules of the verdict, one of `answers.PROTOCOLS`.
    """
    return [
        item_row(prediction, judge_prediction(prediction, protocol)) for prediction in predictions
    ]


def item_row(
    prediction: Prediction,
    verdict: answers.Verdict | None,
    results: str | None = None,
    checked: CheckedText | UnsetType | None = UNSET,
) -> ItemRow:
    """The row of items.jsonl of one item: ground truth, extracted answer and verdict.

    Args:
        prediction: What the model answered.
        verdict: Its verdict; None where there was no completion to judge.
        results: The results file.
        checked: Its claims, None without a completion; UNSET leaves `contradictions` out.
    """
    extraction = verdict.extraction if verdict else None
    return ItemRow(
        results=results,
        id=prediction.sample.id,
        answer_type=prediction.sample.answer_type,
        ground_truth=prediction.sample.ground_truth,
        extracted_answer=extraction.answer if extraction else None,
        extraction=extraction.method if extraction else None,
        trace=list(extraction.trace) if extraction else [],
        correct=verdict is not None and verdict.correct,
        undecided=verdict.undecided if verdict else None,
        finish_reason=prediction.finish_reason,
        error=prediction.error.code if prediction.error else None,
        contradictions=UNSET if isinstance(checked, UnsetType) else item_contradictions(checked),
    )


# --- the metrics ------------------------------------------------------------------------------


class _MetricScores:
    """The selected metrics of judged items: scores per item, averaged over all or over a group.

    Texts are scored once here; `metrics` then averages them for each group.
    """

    def __init__(
        self, judged: Judged, names: Sequence[str], semantic: Mapping[str, Semantic]
    ) -> None:
        self.judged = judged
        self.names = (*names, *semantic)
        """The metrics to report, in order."""
        closed = judged.columns.closed
        has_number = judged.outcomes.where(lambda outcome: is_number(outcome.ground_truth))
        parts = {
            "with a number": (has_number, "no item has a number as its ground truth"),
            "closed": (closed, "no question is closed"),
            "open": (~closed, "no question is open"),
        }
        self.item_scores: dict[str, Values] = {
            name: judged.correct for name in names if METRICS[name].function == "verdict"
        }
        """Metric that is a mean over items -> its value for each item."""
        self.subsets: dict[str, tuple[Mask, str]] = {
            name: parts[metric.items] for name, metric in METRICS.items() if metric.items in parts
        }
        """Metric that is not over all items -> its items, and the reason where there are none."""
        self.signatures: dict[str, str] = {}
        """Metric of texts -> how it was computed, such as versions and options."""
        self.corpora: list[Corpus] = []
        """The counts of BLEU and chrF, one row for each distinct pair of texts."""
        self.text_codes = np.zeros(0, dtype=np.intp)
        """For each item the row of its pair of texts in `corpora`."""
        text_metrics = [name for name in names if name in TEXT_METRICS]
        if text_metrics or semantic:
            self._score_texts(text_metrics, semantic)

    def _score_texts(self, names: Sequence[str], semantic: Mapping[str, Semantic]) -> None:
        """Compute the metrics of texts; each distinct pair of texts is scored once."""
        texts = self.judged.columns.texts
        if texts is None:
            raise ValueError(
                "a metric of texts needs items that are judged by Settings(texts=True)"
            )
        candidates = [pair.answer or "" for pair in texts.values]
        references = [pair.reference for pair in texts.values]
        has_answer = np.array([pair.answer is not None for pair in texts.values], dtype=bool)
        for name in names:
            if METRICS[name].function == "is_exact":
                self.item_scores[name] = texts.map(lambda pair: pair.is_exact)
        scores = item_scores(candidates, references, names)
        for name, score in semantic.items():
            scores[name] = score(candidates, references)
        for name, (values, signature) in scores.items():
            # a missing answer was scored as "", and has the worst value whatever the metric gave
            worst = 0.0 if METRICS[name].higher_is_better else 1.0
            self.item_scores[name] = np.where(has_answer, values, worst)[texts.codes]
            self.signatures[name] = signature
        self.corpora = corpus_scores(candidates, references, names)
        self.text_codes = texts.codes

    def metrics(self, where: Mask | None = None) -> dict[str, Metric]:
        """Every selected metric by its name, over the items of `where` (all by default)."""
        mask = np.ones(len(self.judged), dtype=bool) if where is None else where
        metrics: dict[str, Metric] = {}
        for name, values in self.item_scores.items():
            subset, reason = self.subsets.get(name, (True, "no items"))
            metric = mean_metric(values, self.judged, mask & subset, reason)
            metrics[name] = msgspec.structs.replace(metric, signature=self.signatures.get(name))
        for corpus in self.corpora:
            # the corpus score of the selected items: one row of counts for each of them
            metrics |= corpus_estimates(
                replace(corpus, rows=corpus.rows[self.text_codes[mask]]),
                self.judged.clusters[mask],
                unit=self.judged.unit,
                **self.judged.resampling,
            )
        return {name: metrics[name] for name in self.names}

    def bleu_notes(self, metrics: Mapping[str, Metric]) -> list[str]:
        """A note on why BLEU of a higher order is above BLEU of a lower one, where it is."""
        values = {
            name: value
            for name in BLEU_METRICS
            if name in metrics and (value := metrics[name].value) is not None
        }
        if not values:
            return []
        (corpus,) = (
            corpus for corpus in self.corpora if not values.keys().isdisjoint(corpus.scorers)
        )
        weights = np.bincount(self.text_codes, minlength=len(corpus.rows)).astype(np.float64)
        note = bleu_order_note(corpus, weights, values)
        return [note] if note else []


def _groups(scores: _MetricScores, column: CodedColumn[str | None]) -> dict[str, Group]:
    """The metrics of each group of one kind: {"CT": ..., "MRI": ...}.

    An item without a value belongs to no group. A metric that applies to no item of a group is
    left out there.
    """
    code_of = {name: code for code, name in enumerate(column.values) if name is not None}
    groups = {}
    for name in sort_groups(code_of):
        where = column.codes == code_of[name]
        metrics = scores.metrics(where)
        groups[name] = Group(
            n=int(where.sum()),
            n_unparsed=int((where & scores.judged.unanswered).sum()),
            metrics={key: metric for key, metric in metrics.items() if metric.n},
        )
    return groups


def _macro(kind: str, scores: _MetricScores, column: CodedColumn[str | None]) -> Macro:
    """The macro means over the groups of one kind: of accuracy, and of every other metric.

    BLEU and chrF are not means over items, so they have none.
    """
    if not any(name is not None for name in column.values):
        return Macro(accuracy=no_value(f"no item has a {kind}"), metrics={})
    # macro_metric takes -1 for an item of no group
    is_missing = np.array([name is None for name in column.values], dtype=bool)
    codes = np.where(is_missing[column.codes], -1, column.codes)
    metrics = {
        name: macro_metric(
            scores.item_scores[name],
            scores.judged,
            np.where(scores.subsets[name][0], codes, -1) if name in scores.subsets else codes,
        )
        for name in scores.names
        if name in scores.item_scores
    }
    return Macro(accuracy=metrics["accuracy"], metrics=metrics)


# --- notes and warnings -----------------------------------------------------------------------


def _contradiction_notes(counts: Contradictions) -> list[str]:
    """A sentence with the numbers of contradictions; none where all are 0."""
    meanings = {
        "say the opposite of the right answer": counts.polarity,
        "name the other side of the body": counts.side,
    }
    parts = [f"{n} {meaning}" for meaning, n in meanings.items() if n]
    if not parts:
        return []
    return [f"of {counts.n} wrong open answers, {' and '.join(parts)}."]


def _warnings(judged: Judged, metrics: Sequence[str]) -> list[str]:
    """Sentences that a reader of the numbers has to know."""
    n, outcomes = len(judged), judged.outcomes
    warnings = []
    if failed := int(outcomes.where(lambda outcome: outcome.failed).sum()):
        warnings.append(f"{failed} of {n} items failed before an answer; they count as wrong.")
    if unparsed := int(judged.unanswered.sum()):
        warnings.append(
            f"no answer could be read from {unparsed} of {n} completions; they count as wrong."
        )
    if refused := int(judged.refused.sum()):
        warnings.append(
            f"the model declined to answer {refused} of {n} items; they count as wrong."
        )
    warnings += protocol_notes(judged)
    if undecided := int(judged.outcomes.where(lambda o: o.undecided not in (None, NO_RULE)).sum()):
        warnings.append(
            f"{undecided} of {n} answers are undecided: rules cannot say whether they are right. "
            "They count as wrong, so accuracy may be higher; items.jsonl says which they are."
        )
    if choice := judged.settings.protocol_choice:
        warnings.append(
            f"Med-R1's own rules (protocol authors) are {choice.protocol} for this file, because "
            f"{choice.reason}."
        )
    if truncated := int(outcomes.where(lambda outcome: outcome.truncated).sum()):
        warnings.append(f"{truncated} of {n} completions were cut off at the token limit.")
    if n and not judged.columns.has_finish_reason.any():
        warnings.append("the file does not say which completions were cut off at the token limit.")
    if invalid := int(judged.columns.scores.invalid.sum()):
        warnings.append(
            f"option_probs or confidence of {invalid} of {n} items are no probabilities (each "
            "from 0 to 1, those of all options at most 1 in total); they are ignored."
        )
    repeated = n - len(set(judged.ids))
    if repeated:
        warnings.append(
            f"{repeated} of {n} items repeat the id of an earlier one; all are counted."
        )
    n_clusters = len(judged.columns.clusters.values)
    if 0 < n_clusters < min(n, FEW_CLUSTERS):
        clusters = counted(n_clusters, judged.unit)
        warnings.append(f"only {clusters}: bootstrap intervals are too narrow.")
    words = float(outcomes.map(lambda outcome: len(outcome.reference.split())).sum())
    if n and words / n < SHORT_REFERENCE and any(name.startswith("bleu") for name in metrics):
        warnings.append(
            f"references have {words / n:.1f} words on average: BLEU, and BLEU-4 most of all, "
            "says little about texts this short."
        )
    return warnings
