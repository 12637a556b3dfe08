"""Predictions in, summary.json out: every metric with its 95 % interval, nobody dropped.

Shares lie in [0, 1]. An item that failed or whose answer could not be read is wrong and counts;
what cannot be computed is null with a reason. Items about one image are not independent, so
intervals draw images, not items (`intervals`). Definitions: reference metrics.md 2.2.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medr1 import answers
from medr1.errors import InputError
from medr1.evaluate.texts import corpus_metrics, item_metrics
from medr1.intervals import Interval, bootstrap_mean, cluster_codes, paired_difference, wilson
from medr1.normalization import fold, normalize
from medr1.quantities import is_number
from medr1.records import SUMMARY_SCHEMA, Prediction

if TYPE_CHECKING:
    from medr1.data.audit import BlindPredictions

GROUPS = ("modality", "question_type", "dataset")
LATER = ("calibration", "selective", "hallucination", "reasoning")
"""Parts of summary.json that this version leaves null."""
SHORT_REFERENCE = 4
"""Mean reference length in words under which BLEU says little."""
FEW_IMAGES = 30
"""Under so many images a bootstrap interval is too narrow."""

Metric = dict[str, Any]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Predictions with the protocol's verdicts; the arrays have one entry per prediction."""

    predictions: Sequence[Prediction]
    verdicts: Sequence[answers.Verdict | None]
    """None where there is no output to judge."""
    clusters: NDArray[np.intp]
    """Items that are not independent, such as those about one image, share a code."""
    unit: str = "image"
    """What a cluster is."""
    seed: int = 0
    num_resamples: int = 2000

    @cached_property
    def correct(self) -> Values:
        """1.0 where the verdict is right."""
        return np.array([float(v is not None and v.correct) for v in self.verdicts])

    @cached_property
    def answers(self) -> list[str | None]:
        """What was extracted, None where nothing was."""
        return [v.extraction.answer if v else None for v in self.verdicts]


def summarize(
    predictions: Sequence[Prediction],
    *,
    protocol: str = "default",
    blind: BlindPredictions | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
) -> dict[str, Any]:
    """The summary.json document (DESIGN 5) of one run's predictions under one protocol."""
    judged = judge_all(predictions, protocol=protocol, seed=seed, num_resamples=num_resamples)
    groups = {kind: _groups(judged, kind) for kind in GROUPS}
    metrics = _metrics(judged)
    return {
        "schema": SUMMARY_SCHEMA,
        "protocol": protocol,
        "n": len(predictions),
        "n_error": sum(p.error is not None for p in predictions),
        "n_unparsed": int(_unparsed(judged).sum()),
        "n_truncated": sum(p.finish_reason == "length" for p in predictions),
        "metrics": metrics,
        "groups": groups,
        "macro": {kind: _macro(kind, groups[kind]) for kind in GROUPS},
        "confusion": _confusion(judged),
        "blind": _blind(judged, blind),
        **{name: _null("this version does not compute it") for name in LATER},
        "warnings": _warnings(judged),
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
    first, second = (
        judge_all(
            predictions,
            protocol=protocol,
            cluster_by=cluster_by,
            seed=seed,
            num_resamples=num_resamples,
        )
        for predictions in (base, trained)
    )
    return {
        "base": mean_metric(first.correct, first),
        "trained": mean_metric(second.correct, second),
        "difference": difference_metric(second.correct, first.correct, second),
    }


def item_rows(
    predictions: Sequence[Prediction], *, protocol: str = "default"
) -> list[dict[str, Any]]:
    """One row per item, in order: what was asked for, what was found and how, and the verdict."""
    judged = judge_all(predictions, protocol=protocol)
    return [
        {
            "id": p.sample.id,
            "ground_truth": p.sample.ground_truth,
            "extracted_answer": verdict.extraction.answer if verdict else None,
            "extraction": verdict.extraction.method if verdict else None,
            "correct": verdict is not None and verdict.correct,
            "error": p.error.code if p.error else None,
        }
        for p, verdict in zip(judged.predictions, judged.verdicts, strict=True)
    ]


def judge_all(
    predictions: Sequence[Prediction],
    *,
    protocol: str = "default",
    cluster_by: str = "image",
    seed: int = 0,
    num_resamples: int = 2000,
) -> Judged:
    """Ask `answers` for every verdict; an item with an error or without output has none."""
    verdicts = [_judge(prediction, protocol) for prediction in predictions]
    clusters = cluster_codes(_cluster_of(prediction, cluster_by) for prediction in predictions)
    return Judged(predictions, verdicts, clusters, cluster_by, seed, num_resamples)


def _judge(prediction: Prediction, protocol: str) -> answers.Verdict | None:
    sample = prediction.sample
    if sample.ground_truth is None:
        raise InputError(
            f"item {sample.id} has no ground_truth, so its answer cannot be judged. "
            "Add it to the results, or leave the item out."
        )
    if prediction.error is not None or prediction.model_output is None:
        return None
    return answers.judge(
        prediction.model_output,
        ground_truth=sample.ground_truth,
        options=sample.options,
        answer_type=sample.answer_type,
        protocol=protocol,
    )


def _cluster_of(prediction: Prediction, cluster_by: str) -> Hashable:
    """The item's images, or what its metadata has there; an item without stands for itself."""
    sample = prediction.sample
    found = sample.images if cluster_by == "image" else sample.metadata.get(cluster_by)
    return ("", sample.id) if found in (None, ()) else found


def _unparsed(judged: Judged) -> NDArray[np.bool_]:
    """Where the model did answer but no answer was found."""
    failed = np.array([p.error is not None for p in judged.predictions], dtype=bool)
    none = np.array([answer is None for answer in judged.answers], dtype=bool)
    return none & ~failed


def _null(reason: str) -> Metric:
    return {"value": None, "ci95": None, "n": 0, "reason": reason}


def mean_metric(
    values: Values, judged: Judged, where: NDArray[np.bool_] | None = None, reason: str = "no items"
) -> Metric:
    """The mean of `values` (over the items of `where`) with the interval that fits them.

    Right/wrong items that are all about different images: Wilson. Otherwise the bootstrap over
    images; where that has no width, because all items are equally right, Wilson over images.
    (Images, or whatever else the items are clustered by.)
    """
    clusters, unit = judged.clusters, judged.unit
    if where is not None:
        values, clusters = values[where], clusters[where]
    n, n_clusters = len(values), len(np.unique(clusters))
    if n == 0:
        return _null(reason)
    mean = float(np.mean(values))
    binary = bool(np.isin(values, (0.0, 1.0)).all())
    if binary and n_clusters == n:
        interval, method = wilson(int(values.sum()), n), "wilson"
    elif binary and mean in (0.0, 1.0):
        interval, method = wilson(int(mean * n_clusters), n_clusters), f"wilson over {unit}s"
    else:
        interval = bootstrap_mean(
            values, clusters, seed=judged.seed, num_resamples=judged.num_resamples
        )
        method = f"bootstrap over {unit}s" if interval else f"one {unit} only: no interval"
    ci95 = list(interval) if interval else None
    return {"value": mean, "ci95": ci95, "n": n, "method": method}


def difference_metric(
    a: Values,
    b: Values,
    judged: Judged,
    where: NDArray[np.bool_] | None = None,
    reason: str = "no items",
) -> Metric:
    """mean(a) - mean(b) over the same items (of `where`), with its interval over images."""
    kept = np.ones(len(a), dtype=bool) if where is None else where
    clusters, unit = judged.clusters[kept], judged.unit
    found = paired_difference(
        a[kept], b[kept], clusters, seed=judged.seed, num_resamples=judged.num_resamples
    )
    if found is None:
        return _null(reason)
    value, interval = found
    method = f"paired bootstrap over {unit}s" if interval else f"one {unit} only: no interval"
    if value in (-1.0, 0.0, 1.0) and bool((a[kept] - b[kept] == value).all()):
        interval, method = _constant_difference(value, clusters), f"wilson over {unit}s"
    ci95 = list(interval) if interval else None
    return {"value": value, "ci95": ci95, "n": int(kept.sum()), "method": method}


def _constant_difference(value: float, clusters: NDArray[np.intp]) -> Interval:
    """Where all items differ alike a bootstrap has no width: Wilson of "all of so many"."""
    n_clusters = len(np.unique(clusters))
    low, high = wilson(n_clusters, n_clusters) or (0.0, 1.0)
    if value == 0:
        return low - high, high - low
    return (low, high) if value > 0 else (-high, -low)


def _metrics(judged: Judged) -> dict[str, Metric]:
    """Every metric by its name."""
    numbers = [is_number(p.sample.ground_truth or "") for p in judged.predictions]
    counted = np.array(numbers, dtype=bool)
    found = {
        "accuracy": mean_metric(judged.correct, judged),
        "exact_match": mean_metric(_exact_matches(judged), judged),
        "counting_accuracy": mean_metric(
            judged.correct, judged, counted, "no item has a number as its ground truth"
        ),
    }
    predicted, references = _answer_texts(judged)
    answered = np.array([answer is not None for answer in judged.answers], dtype=bool)
    for name, (values, settings) in item_metrics(predicted, references).items():
        metric = mean_metric(np.where(answered, values, 0.0), judged)
        found[name] = {**metric, "signature": settings}
    found |= corpus_metrics(
        predicted, references, judged.clusters, seed=judged.seed, num_resamples=judged.num_resamples
    )
    return found


def _answer_texts(judged: Judged) -> tuple[list[str], list[str]]:
    """Predicted and reference texts: of a letter its option's text, of no answer the empty text."""
    predicted, references = [], []
    for p, answer in zip(judged.predictions, judged.answers, strict=True):
        options, gold = p.sample.options, p.sample.ground_truth or ""
        predicted.append(options.get(answer, answer) if answer is not None else "")
        references.append(options.get(gold, gold))
    return predicted, references


def _exact_matches(judged: Judged) -> Values:
    """1.0 where letters are equal, or texts after SQuAD's normalisation; no answer matches none.

    Where that leaves nothing of the gold ("A", "+"), the folded texts are compared.
    """

    def equal(answer: str | None, prediction: Prediction) -> bool:
        gold = prediction.sample.ground_truth or ""
        if answer is None:
            return False
        if prediction.sample.answer_type == "multiple_choice" or not normalize(gold):
            return fold(answer).strip().casefold() == fold(gold).strip().casefold()
        return normalize(answer) == normalize(gold)

    pairs = zip(judged.answers, judged.predictions, strict=True)
    return np.array([float(equal(answer, prediction)) for answer, prediction in pairs])


def _groups(judged: Judged, kind: str) -> dict[str, Any]:
    """{"CT": {"n", "n_unparsed", "metrics": {"accuracy": ...}}} for modality, dataset and so on.

    Items that do not say belong to no group.
    """
    names = [getattr(p.sample, kind) for p in judged.predictions]
    index = {name: i for i, name in enumerate(sorted({n for n in names if n is not None}))}
    codes = np.array([index.get(name, -1) for name in names])
    correct, unparsed = judged.correct, _unparsed(judged)
    return {
        name: {
            "n": int((codes == i).sum()),
            "n_unparsed": int(unparsed[codes == i].sum()),
            "metrics": {"accuracy": mean_metric(correct, judged, codes == i)},
        }
        for name, i in index.items()
    }


def _macro(kind: str, groups: dict[str, Any]) -> Metric:
    """The unweighted mean of the groups' accuracies; n counts groups."""
    if not groups:
        return {**_null(f"no item has a {kind}"), "metric": "accuracy"}
    values = [group["metrics"]["accuracy"]["value"] for group in groups.values()]
    return {"value": sum(values) / len(values), "n": len(values), "metric": "accuracy"}


def _confusion(judged: Judged) -> list[dict[str, Any]]:
    """Gold against answer (null: none) of the closed questions, most frequent first."""
    counts: Counter[tuple[str, str | None]] = Counter()
    for p, answer in zip(judged.predictions, judged.answers, strict=True):
        if p.sample.answer_type == "open":
            continue
        said = fold(answer).strip().casefold() if answer is not None else None
        gold = fold(p.sample.ground_truth or "").strip().casefold()
        if p.sample.answer_type == "multiple_choice":
            gold, said = gold.upper(), said.upper() if said is not None else None
        counts[gold, said] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return [{"ground_truth": g, "predicted": said, "count": n} for (g, said), n in ordered]


def _blind(judged: Judged, blind: BlindPredictions | None) -> dict[str, Any] | None:
    """What answering without the image gives, and the model's gain on the items with options."""
    if blind is None:
        return None
    right = np.array(blind.right, dtype=np.float64)
    where = np.array([bool(p.sample.options) for p in judged.predictions], dtype=bool)
    if len(right) != len(where):
        raise ValueError(f"{len(right)} blind and {len(where)} predictions")
    why = "no item has options"
    return {
        "chance": blind.chance if math.isfinite(blind.chance) else None,
        "option_prior": mean_metric(right, judged, where, why),
        "image_gain": difference_metric(judged.correct, right, judged, where, why),
    }


def _warnings(judged: Judged) -> list[str]:
    """What a reader of the numbers has to know, a sentence each."""
    predictions, n = judged.predictions, len(judged.predictions)
    found = []
    failed = sum(p.error is not None for p in predictions)
    if failed:
        found.append(f"{failed} of {n} items failed before an answer; they count as wrong.")
    if unparsed := int(_unparsed(judged).sum()):
        found.append(f"no answer could be read from {unparsed} of {n} outputs; they are wrong.")
    if truncated := sum(p.finish_reason == "length" for p in predictions):
        found.append(f"{truncated} of {n} outputs were cut off at the token limit.")
    repeated = n - len({p.sample.id for p in predictions})
    if repeated:
        found.append(f"{repeated} of {n} items repeat the id of an earlier one; all are counted.")
    n_images = len(np.unique(judged.clusters))
    if 0 < n_images < min(n, FEW_IMAGES):
        found.append(f"only {n_images} images: bootstrap intervals are too narrow.")
    for kind in GROUPS:
        missing = sum(getattr(p.sample, kind) is None for p in predictions)
        if 0 < missing < n:
            found.append(f"{missing} of {n} items have no {kind} and are in none of its groups.")
    _, references = _answer_texts(judged)
    words = sum(len(reference.split()) for reference in references)
    if n and words / n < SHORT_REFERENCE:
        found.append(
            f"references have {words / n:.1f} words on average: BLEU, and BLEU-4 most of all, "
            "says little about texts this short."
        )
    return found
