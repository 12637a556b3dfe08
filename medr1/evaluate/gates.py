"""What a summary has to reach, for CI: shares of metrics, and an earlier result."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medr1.errors import InputError
from medr1.evaluate.comparison import compare
from medr1.evaluate.evaluation import Evaluation
from medr1.evaluate.metrics import known_metric
from medr1.evaluate.pairing import pairing_warnings
from medr1.files import parse_json, read_text
from medr1.records import SUMMARY_SCHEMA

logger = logging.getLogger("medr1")


@dataclass(frozen=True)
class Gates:
    """The least that each metric has to be, and what accuracy must not fall below."""

    least: Mapping[str, float]
    baseline: Path | None
    earlier: Mapping[str, Any] | None
    """The baseline, where it is a summary.json."""

    @classmethod
    def of(cls, thresholds: Iterable[str], baseline: str | None) -> Gates:
        """From texts such as "accuracy=0.8", and a file of results or a summary.json."""
        least = dict(map(_threshold, thresholds))
        path = Path(baseline) if baseline else None
        return cls(least, path, _summary(path) if path else None)

    def failed(self, path: Path, summary: Mapping[str, Any], evaluation: Evaluation) -> list[str]:
        """A sentence for each gate that the results at `path`, so summed up, do not pass."""
        said = [_under(name, share, summary) for name, share in self.least.items()]
        if self.earlier is not None:
            said.append(_below_summary(summary, self.earlier))
        elif self.baseline is not None:
            said.append(_below_results(path, self.baseline, evaluation))
        return [f"{path}: {sentence}" for sentence in said if sentence]


def _threshold(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    metric = known_metric(name, f"--fail-under {text}")
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError(
            f"--fail-under {text}: expected is METRIC=SHARE with a share from 0 to 1, such as "
            f"{metric}=0.8."
        )
    return metric, share


def _under(name: str, share: float, summary: Mapping[str, Any]) -> str | None:
    metric = summary["metrics"].get(name, {"value": None, "reason": "--metrics leaves it out"})
    if metric["value"] is None:
        return f"{name} has no value ({metric['reason']}), so it does not reach {share}"
    return f"{name} is {metric['value']:.4f}, under {share}" if metric["value"] < share else None


def _summary(path: Path) -> Mapping[str, Any] | None:
    """An earlier summary.json of one results file; None for a file that is something else."""
    if path.suffix.lower() != ".json":
        return None
    document = parse_json(read_text(path), str(path))
    first = document[0] if isinstance(document, list) and document else document
    if not isinstance(first, Mapping) or first.get("schema") != SUMMARY_SCHEMA:
        return None
    if isinstance(document, list):
        raise InputError(f"{path} sums up {len(document)} files. Name the summary of a single one.")
    return first


def _below_results(path: Path, baseline: Path, evaluation: Evaluation) -> str | None:
    """Whether accuracy fell on the same items: the whole interval of the difference is below 0."""
    settings = replace(evaluation.settings, group_by=(), protocols=())
    runs = {
        name: {name: evaluation.read(Path(name)).predictions} for name in (str(baseline), str(path))
    }
    if len(runs) < 2:
        raise InputError(f"{path} is its own baseline. Name the results of an earlier run.")
    document, _ = compare(runs, settings=settings, common_only=None, as_one=False)
    for said in pairing_warnings(document["paired_by"]):
        logger.warning("--baseline %s: %s", baseline, said)
    difference = document["comparisons"][0]
    if not difference["ci95"] or difference["ci95"][1] >= 0:
        return None
    low, high = difference["ci95"]
    return (
        f"accuracy fell by {-difference['value']:.4f} ({-high:.4f} to {-low:.4f}) against the "
        f"baseline {baseline}"
    )


def _below_summary(summary: Mapping[str, Any], earlier: Mapping[str, Any]) -> str | None:
    """Whether accuracy lies below the interval that it had; the items are not at hand."""
    if summary["protocol"] != earlier["protocol"]:
        raise InputError(
            f"the baseline was made under the protocol {earlier['protocol']}, this is under "
            f"{summary['protocol']}. Add --protocol {earlier['protocol']}."
        )
    now, before = summary["metrics"]["accuracy"], earlier["metrics"]["accuracy"]
    if now["value"] is None or not before["ci95"] or now["value"] >= before["ci95"][0]:
        return None
    low, high = before["ci95"]
    return f"accuracy is {now['value']:.4f}, below the baseline's interval {low:.4f} to {high:.4f}"
