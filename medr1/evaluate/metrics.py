"""Predictions in, summary.json out: every metric with its 95 % interval, nobody dropped.

Shares lie in [0, 1]. An item that failed or whose answer could not be read is wrong and counts;
what cannot be computed is null with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from medr1 import answers
from medr1.errors import InputError
from medr1.evaluate import tallies
from medr1.evaluate.baselines import blind_summary
from medr1.evaluate.estimates import (
    FEW_CLUSTERS,
    Metric,
    difference_metric,
    macro_metric,
    mean_metric,
    null,
)
from medr1.evaluate.groups import group_columns, in_order, require_clusters
from medr1.evaluate.judging import (
    Coded,
    Judged,
    Mask,
    Settings,
    Values,
    judge_all,
    verdict,
)
from medr1.evaluate.texts import (
    BLEU_METRICS,
    CORPUS_METRICS,
    ITEM_METRICS,
    TEXT_METRICS,
    Corpus,
    bleu_order_note,
    corpus_estimates,
    corpus_scores,
    item_scores,
)
from medr1.evaluate.trust.calibration import calibration
from medr1.evaluate.trust.passes import dropout
from medr1.evaluate.trust.selective import DEFAULT_SELECTIVE, SelectiveConfig, selective
from medr1.evaluate.trust.uncertainty import uncertainty
from medr1.quantities import is_number
from medr1.records import SUMMARY_SCHEMA, Prediction

if TYPE_CHECKING:
    from medr1.data.audit import BlindPanel

METRICS = (
    *("accuracy", "exact_match", "counting_accuracy", "closed_accuracy"),
    *(*ITEM_METRICS, *CORPUS_METRICS),
)
"""Every metric's name, in the order in which they are shown."""
Semantic = Callable[[list[str], list[str]], tuple[Values, str]]
LATER = ("hallucination", "reasoning")
"""Parts of summary.json that this version leaves null."""
SHORT_REFERENCE = 4
"""Mean reference length in words under which BLEU says little."""


def known_metric(name: str, where: str) -> str:
    """The metric's name, with dashes or underscores; InputError for one that is none."""
    known = name.strip().replace("-", "_")
    if known not in METRICS:
        near = get_close_matches(known, METRICS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(METRICS)}."
        raise InputError(f"{where}: {known!r} is no metric. {hint}")
    return known


def summarize(
    predictions: Sequence[Prediction],
    *,
    protocol: str = "default",
    blind: BlindPanel | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> dict[str, Any]:
    """The summary.json document of one run's predictions under one protocol: see summary_of."""
    settings = Settings(
        protocol,
        protocols=answers.SHOWN_PROTOCOLS,
        seed=seed,
        num_resamples=num_resamples,
        texts=True,
    )
    return summary_of(judge_all(predictions, settings), blind=blind)


def summary_of(
    judged: Judged,
    *,
    blind: BlindPanel | None = None,
    metrics: Iterable[str] = METRICS,
    semantic: Semantic | None = None,
    held_out: Judged | None = None,
    selective_config: SelectiveConfig = DEFAULT_SELECTIVE,
) -> dict[str, Any]:
    """The summary.json document of judged items, with those of METRICS that are asked for.

    `semantic` (BERTScore) gives predicted and reference texts a value for each pair and says how.
    On `held_out` items temperature, threshold and conformal sets are fitted. ValueError where a
    metric of texts is asked for, and the items were judged without `Settings.texts`.
    """
    wanted = {"accuracy", *metrics}
    asked = tuple(name for name in METRICS if name in wanted)
    require_clusters(judged)
    columns, notes = group_columns(judged)
    scored = _Scored(judged, asked, semantic)
    metrics_of_all = scored.metrics()
    notes += scored.bleu_notes(metrics_of_all)
    contradictions = tallies.contradictions(judged)
    notes += _contradicting(contradictions)
    return {
        "schema": SUMMARY_SCHEMA,
        "protocol": judged.settings.protocol,
        "n": len(judged),
        "n_error": int(judged.outcomes.where(lambda o: o.failed).sum()),
        "n_unparsed": int(judged.unanswered.sum()),
        "n_refused": int(judged.refused.sum()),
        "n_undecided": int(judged.undecided.sum()),
        "n_truncated": int(judged.outcomes.where(lambda o: o.truncated).sum()),
        "clusters": {"unit": judged.unit, "n": len(judged.columns.clusters.values)},
        "intervals": judged.drawn,
        "metrics": metrics_of_all,
        "groups": {kind: _groups(scored, column) for kind, column in columns.items()},
        "macro": {kind: _macro(kind, scored, column) for kind, column in columns.items()},
        "protocols": {
            name: mean_metric(right.astype(np.float64), judged)
            for name, right in judged.columns.protocols.items()
        },
        "extraction": tallies.extraction_methods(judged),
        "unanswered": tallies.unanswered(judged),
        "undecided": tallies.undecided(judged),
        "confusion": tallies.confusion(judged),
        "confusion_text": tallies.confusion(judged, as_text=True),
        "contradictions": contradictions,
        "findings": tallies.findings(judged),
        "lengths": tallies.lengths(judged),
        "blind": blind_summary(judged, blind),
        "image_ablation": None,
        "calibration": calibration(judged, held_out),
        "selective": selective(judged, held_out, selective_config),
        "uncertainty": uncertainty(judged),
        "dropout": dropout(judged),
        "ensemble": None,
        **{name: null("this version does not compute it") for name in LATER},
        "warnings": [*_warnings(judged, asked), *notes],
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
    """Accuracy of two runs on the same items, and trained minus base with its paired interval.

    Intervals draw images, or with `cluster_by` what shares that key of the samples' metadata.
    """
    if [p.sample.id for p in base] != [p.sample.id for p in trained]:
        raise InputError(
            "the two results do not hold the same items in the same order, so they cannot be "
            "compared item by item. Run both on the same questions."
        )
    settings = Settings(protocol, cluster_by, seed=seed, num_resamples=num_resamples)
    first, second = (judge_all(predictions, settings) for predictions in (base, trained))
    return {
        "base": mean_metric(first.correct, first),
        "trained": mean_metric(second.correct, second),
        "difference": difference_metric(second.correct, first.correct, second),
    }


def item_rows(
    predictions: Sequence[Prediction], *, protocol: str = "default"
) -> list[dict[str, Any]]:
    """One row per item, in order: what was asked for, what was found and how, and the verdict."""
    return [item_row(prediction, verdict(prediction, protocol)) for prediction in predictions]


def item_row(prediction: Prediction, found: answers.Verdict | None) -> dict[str, Any]:
    """The verdict on one item and the trace of how its answer was found."""
    extraction = found.extraction if found else None
    return {
        "id": prediction.sample.id,
        "answer_type": prediction.sample.answer_type,
        "ground_truth": prediction.sample.ground_truth,
        "extracted_answer": extraction.answer if extraction else None,
        "extraction": extraction.method if extraction else None,
        "trace": list(extraction.trace) if extraction else [],
        "correct": found is not None and found.correct,
        "undecided": found.undecided if found else None,
        "finish_reason": prediction.finish_reason,
        "error": prediction.error.code if prediction.error else None,
    }


# --- the metrics ------------------------------------------------------------------------------


class _Scored:
    """The asked metrics of judged items: all of them, or those of a mask."""

    def __init__(
        self, judged: Judged, asked: Sequence[str], semantic: Semantic | None = None
    ) -> None:
        self.judged = judged
        self.asked = asked if semantic is None else (*asked, "bertscore")
        correct, closed = judged.correct, judged.columns.closed
        is_number_gold = judged.outcomes.where(lambda o: is_number(o.ground_truth))
        self.means: dict[str, Values] = {
            "accuracy": correct,
            "counting_accuracy": correct,
            "closed_accuracy": correct,
        }
        self.among: dict[str, tuple[Mask, str]] = {
            "counting_accuracy": (is_number_gold, "no item has a number as its ground truth"),
            "closed_accuracy": (closed, "no question is closed"),
            "open_recall": (~closed, "no question is open"),
        }
        """Of a metric that is not over all items: over which, and why there may be none."""
        self.signatures: dict[str, str] = {}
        self.corpora: list[Corpus] = []
        self.text_codes = np.zeros(0, dtype=np.intp)
        names = [name for name in asked if name in TEXT_METRICS]
        if names or semantic is not None:
            self._score_texts(names, semantic)

    def _score_texts(self, names: Sequence[str], semantic: Semantic | None) -> None:
        """Add the metrics of texts; each different pair of texts is scored once."""
        texts = self.judged.columns.texts
        if texts is None:
            raise ValueError(
                "a metric of texts needs items that are judged by Settings(texts=True)"
            )
        candidates = [pair.answer or "" for pair in texts.values]
        references = [pair.reference for pair in texts.values]
        has_answer = np.array([pair.answer is not None for pair in texts.values], dtype=bool)
        if "exact_match" in names:
            self.means["exact_match"] = texts.map(lambda pair: pair.is_exact)
        scores = item_scores(candidates, references, names)
        if semantic is not None:
            scores["bertscore"] = semantic(candidates, references)
        for name, (values, settings) in scores.items():
            self.means[name] = np.where(has_answer, values, 0.0)[texts.codes]
            self.signatures[name] = settings
        self.corpora = corpus_scores(candidates, references, names)
        self.text_codes = texts.codes

    def metrics(self, where: Any = None) -> dict[str, Metric]:
        """Every asked metric by its name."""
        kept = np.ones(len(self.judged), dtype=bool) if where is None else where
        found: dict[str, Metric] = {}
        for name, values in self.means.items():
            among, reason = self.among.get(name, (True, "no items"))
            found[name] = mean_metric(values, self.judged, kept & among, reason)
            if name in self.signatures:
                found[name]["signature"] = self.signatures[name]
        for corpus in self.corpora:
            found |= corpus_estimates(
                replace(corpus, rows=corpus.rows[self.text_codes[kept]]),
                self.judged.clusters[kept],
                unit=self.judged.unit,
                **self.judged.drawn,
            )
        return {name: found[name] for name in self.asked}

    def bleu_notes(self, metrics: Mapping[str, Metric]) -> list[str]:
        """Why BLEU of a higher order is above one of a lower order, where that is so."""
        values = {name: metrics[name]["value"] for name in BLEU_METRICS if name in metrics}
        if not values or not len(self.judged):
            return []
        (corpus,) = (one for one in self.corpora if not values.keys().isdisjoint(one.scorers))
        weights = np.bincount(self.text_codes, minlength=len(corpus.rows)).astype(np.float64)
        note = bleu_order_note(corpus, weights, values)
        return [note] if note else []


def _groups(scored: _Scored, column: Coded[str | None]) -> dict[str, Any]:
    """{"CT": {"n", "n_unparsed", "metrics": {"accuracy": ...}}} for modality, dataset and so on.

    Items that do not say belong to no group; a metric that none of a group's items has is left out.
    """
    index = {name: i for i, name in enumerate(column.values) if name is not None}
    found = {}
    for name in in_order(index):
        where = column.codes == index[name]
        metrics = scored.metrics(where)
        found[name] = {
            "n": int(where.sum()),
            "n_unparsed": int((where & scored.judged.unanswered).sum()),
            "metrics": {key: metric for key, metric in metrics.items() if metric["n"]},
        }
    return found


def _macro(kind: str, scored: _Scored, column: Coded[str | None]) -> Metric:
    """The unweighted mean of the groups' accuracies with its interval, and of the other means."""
    if not any(name is not None for name in column.values):
        return {**null(f"no item has a {kind}"), "metric": "accuracy", "metrics": {}}
    missing = np.array([name is None for name in column.values], dtype=bool)
    codes = np.where(missing[column.codes], -1, column.codes)
    metrics = {
        name: macro_metric(
            scored.means[name],
            scored.judged,
            np.where(scored.among[name][0], codes, -1) if name in scored.among else codes,
        )
        for name in scored.asked
        if name in scored.means
    }
    return {**metrics["accuracy"], "metric": "accuracy", "metrics": metrics}


# --- what to know of them ---------------------------------------------------------------------


def _contradicting(found: Mapping[str, int]) -> list[str]:
    said = {"polarity": "the opposite", "side": "the other side"}
    counted = [f"{found[kind]} say {what}" for kind, what in said.items() if found[kind]]
    if not counted:
        return []
    return [f"of {found['n']} wrong open answers, {' and '.join(counted)} of the right one."]


def _warnings(judged: Judged, asked: Sequence[str]) -> list[str]:
    """What a reader of the numbers has to know, a sentence each."""
    n, outcomes = len(judged), judged.outcomes
    found = []
    if failed := int(outcomes.where(lambda o: o.failed).sum()):
        found.append(f"{failed} of {n} items failed before an answer; they count as wrong.")
    if unparsed := int(judged.unanswered.sum()):
        found.append(f"no answer could be read from {unparsed} of {n} outputs; they are wrong.")
    if refused := int(judged.refused.sum()):
        found.append(f"the model declined to answer {refused} of {n} items; they are wrong.")
    if undecided := int(judged.undecided.sum()):
        found.append(
            f"{undecided} of {n} answers are undecided: rules cannot say whether they are right. "
            "They count as wrong, so accuracy may be higher; items.jsonl says which they are."
        )
    if choice := judged.settings.protocol_choice:
        found.append(f"authors: their rule {choice.protocol} was chosen, since {choice.reason}.")
    if truncated := int(outcomes.where(lambda o: o.truncated).sum()):
        found.append(f"{truncated} of {n} outputs were cut off at the token limit.")
    if n and not judged.columns.says_finish.any():
        found.append("the file does not say which outputs were cut off at the token limit.")
    if unfit := int(judged.columns.scores.unfit.sum()):
        found.append(
            f"option_probs or confidence of {unfit} of {n} items are no probabilities (0 to 1, "
            "those of all options at most 1 together); they count as not known."
        )
    repeated = n - len(set(judged.ids))
    if repeated:
        found.append(f"{repeated} of {n} items repeat the id of an earlier one; all are counted.")
    n_clusters = len(judged.columns.clusters.values)
    if 0 < n_clusters < min(n, FEW_CLUSTERS):
        found.append(f"only {n_clusters} {judged.unit}s: bootstrap intervals are too narrow.")
    words = float(outcomes.map(lambda o: len(o.reference.split())).sum())
    if n and words / n < SHORT_REFERENCE and any(name.startswith("bleu") for name in asked):
        found.append(
            f"references have {words / n:.1f} words on average: BLEU, and BLEU-4 most of all, "
            "says little about texts this short."
        )
    return found
