"""Compute summary.json from judged predictions: every metric with its 95 % confidence interval.

Shares lie in [0, 1]. No item is left out: one that failed, or whose answer could not be read,
counts as wrong. A number that cannot be computed is null and has a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from medr1 import answers
from medr1.errors import InputError
from medr1.evaluate.estimates import (
    FEW_CLUSTERS,
    Metric,
    difference_metric,
    macro_metric,
    mean_metric,
    null,
)
from medr1.evaluate.groups import group_columns, require_clusters, sort_groups
from medr1.evaluate.judging import (
    CodedColumn,
    Judged,
    Mask,
    Settings,
    Values,
    judge_all,
    judge_prediction,
)
from medr1.evaluate.metrics import counts
from medr1.evaluate.metrics.blind import blind_summary
from medr1.evaluate.metrics.text import (
    BLEU_METRICS,
    Corpus,
    bleu_order_note,
    corpus_estimates,
    corpus_scores,
    item_scores,
)
from medr1.evaluate.trust.calibration import calibration
from medr1.evaluate.trust.mean_of_passes import dropout
from medr1.evaluate.trust.selective import DEFAULT_SELECTIVE, SelectiveConfig, selective
from medr1.evaluate.trust.uncertainty import uncertainty
from medr1.metrics.registry import METRICS, NAMES, TEXT_METRICS
from medr1.records import SUMMARY_SCHEMA, Prediction
from medr1.text.quantities import is_number

if TYPE_CHECKING:
    from medr1.data.audit import BlindPanel

Semantic = Callable[[list[str], list[str]], tuple[Values, str]]
"""BERTScore: answers and references -> a value for each pair, and a text on how it was computed."""
NOT_COMPUTED = ("hallucination", "reasoning")
"""Parts of summary.json that this version leaves null."""
SHORT_REFERENCE = 4
"""Mean reference length, in words, below which BLEU says little and a warning says so."""


def require_metric(name: str, option: str) -> str:
    """Check the name of a metric and return it in its spelling in NAMES.

    Args:
        name: The name, with dashes or underscores.
        option: The option that names it, for the message.

    Raises:
        InputError: There is no such metric.
    """
    metric = name.strip().replace("-", "_")
    if metric not in NAMES:
        similar = get_close_matches(metric, NAMES, n=1)
        hint = f"Did you mean {similar[0]}?" if similar else f"There are: {', '.join(NAMES)}."
        raise InputError(f"{option}: {metric!r} is not a metric. {hint}")
    return metric


def summarize(
    predictions: Sequence[Prediction],
    *,
    protocol: str = "default",
    blind: BlindPanel | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> dict[str, Any]:
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
    )
    return summary_of(judge_all(predictions, settings), blind=blind)


def summary_of(
    judged: Judged,
    *,
    blind: BlindPanel | None = None,
    metrics: Iterable[str] = NAMES,
    semantic: Semantic | None = None,
    held_out: Judged | None = None,
    selective_config: SelectiveConfig = DEFAULT_SELECTIVE,
) -> dict[str, Any]:
    """Compute the summary.json document of judged items.

    Args:
        judged: The items.
        blind: What blind predictors answer to the same items; None leaves the part `blind` null.
        metrics: Which of NAMES to compute; accuracy always is.
        semantic: Computes BERTScore, which is in no summary by default.
        held_out: Other items of the same model, judged too, on which temperature, referral
            threshold and conformal sets are fitted. Without them these have no value.
        selective_config: The target error and the conformal alpha of the part `selective`.

    Returns:
        The document, a dictionary that can be written as JSON. `definitions` says what each
        number is.

    Raises:
        InputError: No item has the key of --group-by or --cluster-by.
        ValueError: A metric of texts is asked for, and the items were judged without
            `Settings.texts`.
    """
    selected = {"accuracy", *metrics}
    names = tuple(name for name in NAMES if name in selected)
    require_clusters(judged)
    columns, notes = group_columns(judged)
    scores = _MetricScores(judged, names, semantic)
    metrics_of_all = scores.metrics()
    notes += scores.bleu_notes(metrics_of_all)
    contradictions = counts.contradictions(judged)
    notes += _contradiction_notes(contradictions)
    return {
        "schema": SUMMARY_SCHEMA,
        "protocol": judged.settings.protocol,
        "n": len(judged),
        "n_error": int(judged.outcomes.where(lambda outcome: outcome.failed).sum()),
        "n_unparsed": int(judged.unanswered.sum()),
        "n_refused": int(judged.refused.sum()),
        "n_undecided": int(judged.undecided.sum()),
        "n_truncated": int(judged.outcomes.where(lambda outcome: outcome.truncated).sum()),
        "clusters": {"unit": judged.unit, "n": len(judged.columns.clusters.values)},
        "intervals": judged.resampling,
        "metrics": metrics_of_all,
        "groups": {kind: _groups(scores, column) for kind, column in columns.items()},
        "macro": {kind: _macro(kind, scores, column) for kind, column in columns.items()},
        "protocols": {
            name: mean_metric(right.astype(np.float64), judged)
            for name, right in judged.columns.protocols.items()
        },
        "extraction": counts.extraction_methods(judged),
        "unanswered": counts.unanswered(judged),
        "undecided": counts.undecided(judged),
        "confusion": counts.confusion(judged),
        "confusion_text": counts.confusion(judged, as_text=True),
        "contradictions": contradictions,
        "findings": counts.findings(judged),
        "lengths": counts.lengths(judged),
        "blind": blind_summary(judged, blind),
        "image_ablation": None,
        "calibration": calibration(judged, held_out),
        "selective": selective(judged, held_out, selective_config),
        "uncertainty": uncertainty(judged),
        "dropout": dropout(judged),
        "ensemble": None,
        **{name: null("this version does not compute it") for name in NOT_COMPUTED},
        "warnings": [*_warnings(judged, names), *notes],
    }


def compare_accuracy(
    base: Sequence[Prediction],
    trained: Sequence[Prediction],
    *,
    protocol: str = "default",
    cluster_by: str = "image",
    seed: int = 0,
    num_resamples: int = 2000,
) -> dict[str, Metric]:
    """Accuracy of two runs on the same items, and their paired difference, each with its interval.

    Args:
        base: The predictions of the first run.
        trained: The predictions of the second run, on the same items in the same order.
        protocol: The rules of the verdict, one of `answers.PROTOCOLS`.
        cluster_by: What resamples draw: "image", or a key of the samples' metadata.
        seed: Seed of the bootstrap.
        num_resamples: Number of bootstrap resamples.

    Returns:
        The metrics "base", "trained" and "difference", which is trained less base.

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
    return {
        "base": mean_metric(judged_base.correct, judged_base),
        "trained": mean_metric(judged_trained.correct, judged_trained),
        "difference": difference_metric(
            judged_trained.correct, judged_base.correct, judged_trained
        ),
    }


def item_rows(
    predictions: Sequence[Prediction], *, protocol: str = "default"
) -> list[dict[str, Any]]:
    """The row of items.jsonl of each item, in order.

    Args:
        predictions: One for each item.
        protocol: The rules of the verdict, one of `answers.PROTOCOLS`.
    """
    return [
        item_row(prediction, judge_prediction(prediction, protocol)) for prediction in predictions
    ]


def item_row(prediction: Prediction, verdict: answers.Verdict | None) -> dict[str, Any]:
    """The row of items.jsonl of one item: ground truth, extracted answer and verdict.

    Args:
        prediction: What the model answered.
        verdict: Its verdict; None where there was no completion to judge.
    """
    extraction = verdict.extraction if verdict else None
    return {
        "id": prediction.sample.id,
        "answer_type": prediction.sample.answer_type,
        "ground_truth": prediction.sample.ground_truth,
        "extracted_answer": extraction.answer if extraction else None,
        "extraction": extraction.method if extraction else None,
        "trace": list(extraction.trace) if extraction else [],
        "correct": verdict is not None and verdict.correct,
        "undecided": verdict.undecided if verdict else None,
        "finish_reason": prediction.finish_reason,
        "error": prediction.error.code if prediction.error else None,
    }


# --- the metrics ------------------------------------------------------------------------------


class _MetricScores:
    """The selected metrics of judged items: scores per item, averaged over all or over a group.

    Texts are scored once here; `metrics` then averages them for each group.
    """

    def __init__(
        self, judged: Judged, names: Sequence[str], semantic: Semantic | None = None
    ) -> None:
        self.judged = judged
        self.names = names if semantic is None else (*names, "bertscore")
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
        if text_metrics or semantic is not None:
            self._score_texts(text_metrics, semantic)

    def _score_texts(self, names: Sequence[str], semantic: Semantic | None) -> None:
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
        if semantic is not None:
            scores["bertscore"] = semantic(candidates, references)
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
            metrics[name] = mean_metric(values, self.judged, mask & subset, reason)
            if name in self.signatures:
                metrics[name]["signature"] = self.signatures[name]
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
        values = {name: metrics[name]["value"] for name in BLEU_METRICS if name in metrics}
        if not values or not len(self.judged):
            return []
        (corpus,) = (
            corpus for corpus in self.corpora if not values.keys().isdisjoint(corpus.scorers)
        )
        weights = np.bincount(self.text_codes, minlength=len(corpus.rows)).astype(np.float64)
        note = bleu_order_note(corpus, weights, values)
        return [note] if note else []


def _groups(scores: _MetricScores, column: CodedColumn[str | None]) -> dict[str, Any]:
    """The metrics of each group of one kind: {"CT": {"n", "n_unparsed", "metrics"}, "MRI": ...}.

    An item without a value belongs to no group. A metric that applies to no item of a group is
    left out there.
    """
    code_of = {name: code for code, name in enumerate(column.values) if name is not None}
    groups = {}
    for name in sort_groups(code_of):
        where = column.codes == code_of[name]
        metrics = scores.metrics(where)
        groups[name] = {
            "n": int(where.sum()),
            "n_unparsed": int((where & scores.judged.unanswered).sum()),
            "metrics": {key: metric for key, metric in metrics.items() if metric["n"]},
        }
    return groups


def _macro(kind: str, scores: _MetricScores, column: CodedColumn[str | None]) -> Metric:
    """Macro accuracy over the groups of one kind, and under "metrics" each other macro mean.

    BLEU and chrF are not means over items, so they have none.
    """
    if not any(name is not None for name in column.values):
        return {**null(f"no item has a {kind}"), "metric": "accuracy", "metrics": {}}
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
    return {**metrics["accuracy"], "metric": "accuracy", "metrics": metrics}


# --- notes and warnings -----------------------------------------------------------------------


def _contradiction_notes(counts: Mapping[str, int]) -> list[str]:
    """A sentence with the numbers of `tallies.contradictions`; none where all are 0."""
    meanings = {
        "polarity": "say the opposite of the right answer",
        "side": "name the other side of the body",
    }
    parts = [f"{counts[kind]} {meaning}" for kind, meaning in meanings.items() if counts[kind]]
    if not parts:
        return []
    return [f"of {counts['n']} wrong open answers, {' and '.join(parts)}."]


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
    if undecided := int(judged.undecided.sum()):
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
        warnings.append(f"only {n_clusters} {judged.unit}s: bootstrap intervals are too narrow.")
    words = float(outcomes.map(lambda outcome: len(outcome.reference.split())).sum())
    if n and words / n < SHORT_REFERENCE and any(name.startswith("bleu") for name in metrics):
        warnings.append(
            f"references have {words / n:.1f} words on average: BLEU, and BLEU-4 most of all, "
            "says little about texts this short."
        )
    return warnings
