"""Runs on the same items: how far apart they are, and whether that could be chance.

A run is one result file or several seeds of it, which count as one result: an item's score is the
share of seeds that got it right. The interval and the p value draw images, for the seeds at hand:
they speak of new images and not of new seeds. How far seeds lie apart stands beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medr1.errors import InputError
from medr1.evaluate.estimates import FEW_CLUSTERS, Metric, difference_metric, mean_metric
from medr1.evaluate.groups import group_columns, in_order, require_clusters
from medr1.evaluate.judging import Coded, Judged, Settings, Values, judge_all
from medr1.evaluate.pairing import pair_items, pairing_warnings
from medr1.evaluate.trust.ensemble import ensemble
from medr1.records import COMPARISON_SCHEMA, Prediction
from medr1.significance import (
    holm,
    interval_over_seeds,
    mcnemar_exact,
    mcnemar_mid_p,
    minimum_detectable_difference,
    sign_flip_test,
)

Runs = Mapping[str, Mapping[str, Sequence[Prediction]]]
"""Run -> file -> predictions; several files of one run are its seeds."""


def compare(
    runs: Runs,
    *,
    settings: Settings,
    common_only: bool | None = False,
    as_one: bool = True,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The comparison document of each later run against the first, and a row for each item.

    With `as_one` also what all files together say (ensemble.py).
    Rows say what each run got right (the share of its seeds) and who won.
    """
    if len(runs) < 2:
        raise InputError("a comparison takes at least two runs. Name a second result file.")
    keys = {(run, file): rows for run, files in runs.items() for file, rows in files.items()}
    labels = _labels(list(keys))
    paired = pair_items({labels[key]: rows for key, rows in keys.items()}, common_only=common_only)
    settings = settings.resolved(p.sample.ground_truth or "" for p in paired.first)
    members = {label: judge_all(found, settings) for label, found in paired.predictions.items()}
    judged = next(iter(members.values()))
    require_clusters(judged)
    groups, notes = group_columns(judged)
    correct = {
        run: np.stack([members[labels[run, file]].correct for file in files])
        for run, files in runs.items()
    }
    base = next(iter(runs))
    several = any(len(rows) > 1 for rows in correct.values())
    compared = [_compared(name, base, correct, judged, groups) for name in list(runs)[1:]]
    _correct_for_several(compared)
    document = {
        "schema": COMPARISON_SCHEMA,
        "protocol": settings.protocol,
        "paired_by": paired.paired_by,
        "n": len(paired.first),
        "n_clusters": len(np.unique(judged.clusters)),
        "clusters": f"{judged.unit}s",
        "base": base,
        "runs": [
            {
                "name": name,
                "files": list(runs[name]),
                "accuracy": mean_metric(rows.mean(axis=0), judged),
                "seeds": spread(rows.mean(axis=1)),
            }
            for name, rows in correct.items()
        ],
        "comparisons": compared,
        "ensemble": ensemble(members) if as_one else None,
        "meaning": _meaning(judged.unit, several),
        "warnings": [
            *pairing_warnings(paired.paired_by),
            *_warnings(judged, paired.left_out, not several),
            *notes,
        ],
    }
    return document, _rows(paired.first, correct)


def _labels(keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What an error calls each file: its own name, or with its run where files stand twice."""
    files = [file for _, file in keys]
    return {key: key[1] if files.count(key[1]) == 1 else ": ".join(key) for key in keys}


def _compared(
    name: str,
    base: str,
    correct: Mapping[str, Values],
    judged: Judged,
    groups: Mapping[str, Coded[str | None]],
) -> dict[str, Any]:
    """One run against the base: overall, and in each group with at least one item."""
    everything = np.ones(len(judged.clusters), dtype=bool)
    found = {
        "run": name,
        "base": base,
        **_difference(correct[name], correct[base], judged, everything),
        "over_seeds": _over_seeds(correct[name].mean(axis=1), correct[base].mean(axis=1)),
    }
    found["groups"] = {}
    for kind, column in groups.items():
        index = {group: i for i, group in enumerate(column.values) if group is not None}
        inside = {
            group: _difference(correct[name], correct[base], judged, column.codes == index[group])
            for group in in_order(index)
        }
        adjusted = holm([entry["p"] for entry in inside.values()])
        found["groups"][kind] = {
            group: {**entry, "p_holm": p}
            for (group, entry), p in zip(inside.items(), adjusted, strict=True)
        }
    return found


def _difference(run: Values, base: Values, judged: Judged, where: Any) -> dict[str, Any]:
    """Run minus base over some items, with everything that says how sure that is."""
    a, b = run.mean(axis=0), base.mean(axis=0)
    metric = difference_metric(a, b, judged, where)
    a, b, clusters = a[where], b[where], judged.clusters[where]
    won, lost = int((a > b).sum()), int((a < b).sum())
    single = len(run) == len(base) == 1
    detectable = minimum_detectable_difference(a - b, clusters)
    return {
        **metric,
        "p": sign_flip_test(a - b, clusters),
        "test": f"sign flips over {judged.unit}s",
        "won": won,
        "lost": lost,
        "both_right": int(((a == 1) & (b == 1)).sum()),
        "both_wrong": int(((a == 0) & (b == 0)).sum()),
        "mcnemar": {"exact": mcnemar_exact(won, lost), "mid_p": mcnemar_mid_p(won, lost)}
        if single
        else {"exact": None, "mid_p": None, "reason": "several seeds have no single verdict"},
        "minimum_detectable_difference": {
            "value": detectable.value,
            "reason": detectable.reason,
            "power": 0.8,
            "alpha": 0.05,
            "discordance": detectable.discordance,
            "design_effect": detectable.design_effect,
        },
    }


def _correct_for_several(compared: list[dict[str, Any]]) -> None:
    """Put Holm's correction over all runs compared with the base beside each p."""
    for entry, p in zip(compared, holm([entry["p"] for entry in compared]), strict=True):
        entry["p_holm"] = p


def spread(accuracies: Values) -> dict[str, Any] | None:
    """How far a run's seeds lie apart; None for a single one."""
    if len(accuracies) < 2:
        return None
    return {
        "n": len(accuracies),
        "accuracies": accuracies.tolist(),
        "mean": float(accuracies.mean()),
        "sd": float(accuracies.std(ddof=1)),
        "min": float(accuracies.min()),
        "max": float(accuracies.max()),
    }


def _over_seeds(run: Values, base: Values) -> Metric | None:
    """The difference with an interval over seeds instead of images; None for single seeds."""
    if len(run) == len(base) == 1:
        return None
    interval = interval_over_seeds(run.tolist(), base.tolist())
    metric: Metric = {
        "value": float(run.mean() - base.mean()),
        "ci95": list(interval) if interval else None,
        "n": max(len(run), len(base)),
        "method": "t over seeds, the items as they are",
    }
    return metric if interval else {**metric, "reason": "the seeds do not differ"}


def _meaning(unit: str, seeds: bool) -> str:
    """What the intervals and p values generalise over, in words."""
    said = f"Intervals and p draw {unit}s: they speak of other {unit}s of this kind"
    if seeds:
        return (
            f"{said} and these very seeds. What other seeds would give, the spread over seeds "
            "and the interval over seeds say."
        )
    return f"{said} and these very runs, not of runs with other seeds."


def _warnings(judged: Judged, left_out: int, single: bool) -> list[str]:
    found = []
    if left_out:
        found.append(f"{left_out} items are in some files only and were left out.")
    n, n_clusters = len(judged.clusters), len(np.unique(judged.clusters))
    if n_clusters < n and single:
        found.append(
            f"{n} items are about {n_clusters} {judged.unit}s: McNemar's p takes them for "
            f"independent and is too small; the other p flips whole {judged.unit}s."
        )
    if n_clusters < min(n, FEW_CLUSTERS):
        found.append(f"only {n_clusters} {judged.unit}s: bootstrap intervals are too narrow.")
    return found


def _rows(first: Sequence[Prediction], correct: Mapping[str, Values]) -> list[dict[str, Any]]:
    """One row per item: its groups, what each run got right, and who won against the base."""
    means = {name: rows.mean(axis=0) for name, rows in correct.items()}
    base = next(iter(means))
    rows = []
    for i, prediction in enumerate(first):
        sample = prediction.sample
        outcomes = {
            name: _outcome(values[i], means[base][i])
            for name, values in means.items()
            if name != base
        }
        rows.append(
            {
                "id": sample.id,
                "images": list(sample.images),
                "modality": sample.modality,
                "question_type": sample.question_type,
                "ground_truth": sample.ground_truth,
                "correct": {name: float(values[i]) for name, values in means.items()},
                "outcome": outcomes,
            }
        )
    return rows


def _outcome(run: float, base: float) -> str:
    """won, lost, both right, both wrong; equal where seeds share an item alike."""
    if run != base:
        return "won" if run > base else "lost"
    return {1.0: "both right", 0.0: "both wrong"}.get(float(run), "equal")
