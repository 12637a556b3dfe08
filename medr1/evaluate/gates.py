"""Checks for continuous integration: `medr1 eval` fails where a metric is too bad.

`--fail-under accuracy=0.8` sets a minimum, or a maximum for a metric where lower is better.
`--baseline FILE` fails where accuracy fell against earlier results or an earlier summary.json.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from msgspec import Struct, ValidationError, convert

from medr1.documents.metric import Metric, no_value
from medr1.documents.summary import Summary
from medr1.errors import InputError
from medr1.evaluate.comparing.comparison import compare
from medr1.evaluate.comparing.pairing import pairing_warnings
from medr1.evaluate.evaluation import Evaluation
from medr1.evaluate.metrics.summary import require_metric
from medr1.files import parse_json, read_text
from medr1.metrics.registry import METRICS

logger = logging.getLogger("medr1")


class Baseline(Struct, frozen=True, kw_only=True):
    """What is read of an earlier summary.json, of version 1 or 2."""

    schema: Literal["medr1.summary/1", "medr1.summary/2"]
    protocol: str
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class Gates:
    """The worst accepted value of each metric, and the baseline that accuracy is held against."""

    limits: Mapping[str, float]
    """Metric -> the worst share that passes, in [0, 1]."""
    baseline: Path | None
    """Earlier results, or an earlier summary.json."""
    baseline_summary: Baseline | None
    """The baseline's numbers, where it is a summary.json."""

    @classmethod
    def from_options(cls, thresholds: Iterable[str], baseline: str | None) -> Gates:
        """The checks that the options of `medr1 eval` ask for.

        Args:
            thresholds: Texts such as "accuracy=0.8", one for each --fail-under.
            baseline: Path of a file of results or a summary.json; None for no baseline.

        Raises:
            InputError: A threshold names no metric or no share, or the summary is of several files.
        """
        limits = dict(map(_threshold, thresholds))
        path = Path(baseline) if baseline else None
        return cls(limits, path, _summary(path) if path else None)

    def failures(self, path: Path, summary: Summary, evaluation: Evaluation) -> list[str]:
        """A sentence for each check that one result file fails.

        Args:
            path: The result file.
            summary: Its summary.json document.
            evaluation: How it was evaluated; a baseline of results is read and judged likewise.
        """
        sentences = [_under(name, share, summary) for name, share in self.limits.items()]
        if self.baseline_summary is not None:
            sentences.append(_below_summary(summary, self.baseline_summary))
        elif self.baseline is not None:
            sentences.append(_below_results(path, self.baseline, evaluation))
        return [f"{path}: {sentence}" for sentence in sentences if sentence]


def _threshold(text: str) -> tuple[str, float]:
    """The metric and the share of a text such as "accuracy=0.8"."""
    name, _, number = text.partition("=")
    metric = require_metric(name, f"--fail-under {text}")
    try:
        share = float(number)
    except ValueError:
        share = -1.0  # refused below, like a number outside of [0, 1]
    if not 0 <= share <= 1:
        raise InputError(
            f"--fail-under {text}: expected METRIC=SHARE with a share from 0 to 1, such as "
            f"{metric}=0.8."
        )
    return metric, share


def _under(name: str, share: float, summary: Summary) -> str | None:
    """The failure of a metric that is worse than its share; None where it passes."""
    metric = summary.metrics.get(name, no_value("--metrics leaves it out"))
    if metric.value is None:
        return f"{name} has no value ({metric.reason}), so it does not reach {share}"
    if METRICS[name].higher_is_better:
        is_worse, word = metric.value < share, "under"
    else:
        is_worse, word = metric.value > share, "over"
    return f"{name} is {metric.value:.4f}, {word} {share}" if is_worse else None


def _summary(path: Path) -> Baseline | None:
    """The numbers, where the file is a summary.json; None for any other file, such as results."""
    if path.suffix.lower() != ".json":
        return None
    document = parse_json(read_text(path), str(path))
    first = document[0] if isinstance(document, list) and document else document
    schema = first.get("schema") if isinstance(first, Mapping) else None
    if not isinstance(schema, str) or not schema.startswith("medr1.summary/"):
        return None
    if isinstance(document, list):
        raise InputError(
            f"{path} is the summary of {len(document)} files. Name that of a single one."
        )
    try:
        return convert(document, Baseline)
    except ValidationError as error:
        raise InputError(f"{path}: this summary.json cannot be read: {error}.") from None


def _below_results(path: Path, baseline: Path, evaluation: Evaluation) -> str | None:
    """The failure where accuracy is lower than the baseline's on the same items; None otherwise.

    It counts as lower where the whole confidence interval of the paired difference is below 0.
    """
    # only the accuracy over all items is needed, not its groups and other protocols
    settings = replace(evaluation.settings, group_by=(), protocols=())
    runs = {
        name: {name: evaluation.read(Path(name)).predictions} for name in (str(baseline), str(path))
    }
    if len(runs) < 2:
        raise InputError(f"{path} is its own baseline. Name the results of an earlier run.")
    document, _ = compare(runs, settings=settings, common_only=None, with_ensemble=False)
    for warning in pairing_warnings(document.paired_by):
        logger.warning("--baseline %s: %s", baseline, warning)
    difference = document.comparisons[0].difference
    if difference.value is None or difference.ci95 is None:
        return None
    low, high = difference.ci95
    if high >= 0:
        return None
    return (
        f"accuracy fell by {-difference.value:.4f} ({-high:.4f} to {-low:.4f}) against the "
        f"baseline {baseline}"
    )


def _below_summary(summary: Summary, baseline: Baseline) -> str | None:
    """The failure where accuracy is below the earlier interval; None otherwise.

    A summary.json holds no items, so the two runs cannot be compared item by item.
    """
    if summary.protocol != baseline.protocol:
        raise InputError(
            f"the baseline was made under the protocol {baseline.protocol}, this is under "
            f"{summary.protocol}. Add --protocol {baseline.protocol}."
        )
    now, before = summary.metrics["accuracy"], baseline.metrics["accuracy"]
    if now.value is None or not before.ci95 or now.value >= before.ci95[0]:
        return None
    low, high = before.ci95
    return f"accuracy is {now.value:.4f}, below the baseline's interval {low:.4f} to {high:.4f}"
