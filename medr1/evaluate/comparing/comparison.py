"""Compare runs on the same items: the difference in accuracy, and whether chance explains it.

A run is one result file, or several files of the same training with different seeds. Several seeds
count as one run: an item's score is the share of seeds that answered it correctly. The confidence
interval and the p value resample images and keep the seeds, so they hold for new images and not
for new seeds. The spread over seeds, and an interval over seeds, are given beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from msgspec.structs import asdict, replace

from medr1.documents.comparison import (
    ComparedItem,
    Comparison,
    DetectableDifference,
    Difference,
    McNemar,
    PairComparison,
    Run,
    RunComparison,
    SeedSpread,
)
from medr1.documents.metric import Clusters, Metric
from medr1.errors import InputError
from medr1.evaluate.coded import CodedColumn, Mask, Values
from medr1.evaluate.comparing.pairing import pair_items, pairing_warnings
from medr1.evaluate.estimates import FEW_CLUSTERS, difference_metric, mean_metric
from medr1.evaluate.groups import group_columns, require_clusters, sort_groups
from medr1.evaluate.judging import Judged, Settings, judge_all
from medr1.evaluate.trust.ensemble import ensemble
from medr1.records import Prediction
from medr1.stats.significance import (
    holm,
    interval_over_seeds,
    mcnemar_exact,
    mcnemar_mid_p,
    minimum_detectable_difference,
    sign_flip_test,
)

Runs = Mapping[str, Mapping[str, Sequence[Prediction]]]
"""Name of the run -> file -> predictions; several files of one run are its seeds."""


def compare(
    runs: Runs,
    *,
    settings: Settings,
    common_only: bool | None = False,
    with_ensemble: bool = True,
) -> tuple[Comparison, list[ComparedItem]]:
    """Compare every later run with the first one, which is the base.

    Args:
        runs: At least two runs, the base first.
        settings: How answers are judged, clustered and grouped.
        common_only: True compares the items that all files have. False refuses files with
            different items, and the message offers --common-only. None refuses them without that
            offer, for commands that do not have the option.
        with_ensemble: Whether to add the majority vote of all files (trust/ensemble.py).

    Returns:
        The comparison, and for each item the share of each run's seeds that are right and which
        run won.

    Raises:
        InputError: There are fewer than two runs, or the files are not about the same items.
    """
    if len(runs) < 2:
        raise InputError("a comparison takes at least two runs. Name a second result file.")
    by_file = {(run, file): rows for run, files in runs.items() for file, rows in files.items()}
    labels = _labels(list(by_file))
    paired = pair_items(
        {labels[key]: rows for key, rows in by_file.items()}, common_only=common_only
    )
    settings = settings.resolve_authors(
        prediction.sample.ground_truth or "" for prediction in paired.first
    )
    members = {
        label: judge_all(predictions, settings) for label, predictions in paired.predictions.items()
    }
    judged = next(iter(members.values()))  # clusters and groups are those of the first file
    require_clusters(judged)
    groups, notes = group_columns(judged)
    # Run -> (seeds, items), 1 where that seed is right. The mean over seeds is an item's score, the
    # mean over items a seed's accuracy.
    correct = {
        run: np.stack([members[labels[run, file]].correct for file in files])
        for run, files in runs.items()
    }
    base = next(iter(runs))
    has_seeds = any(len(rows) > 1 for rows in correct.values())
    comparisons = [
        _compare_with_base(name, base, correct, judged, groups) for name in list(runs)[1:]
    ]
    document = Comparison(
        protocol=settings.protocol,
        paired_by=paired.paired_by,
        n=len(paired.first),
        clusters=Clusters(unit=judged.unit, n=len(np.unique(judged.clusters))),
        base=base,
        runs=[
            Run(
                name=name,
                files=list(runs[name]),
                accuracy=mean_metric(rows.mean(axis=0), judged),
                seeds=seed_spread(rows.mean(axis=1)),
                num_tokens=_mean_tokens([members[labels[name, file]] for file in runs[name]]),
            )
            for name, rows in correct.items()
        ],
        comparisons=_with_holm(comparisons),
        pairs=_pairs(correct, judged) if len(correct) > 2 else [],
        ensemble=ensemble(members) if with_ensemble else None,
        meaning=_meaning(judged.unit, has_seeds),
        warnings=[
            *pairing_warnings(paired.paired_by),
            *_warnings(judged, paired.num_left_out, not has_seeds),
            *notes,
        ],
    )
    return document, _compared_items(paired.first, correct)


def _labels(keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(run, file) -> the file's name in errors; "run: file" where several runs name that file."""
    files = [file for _, file in keys]
    return {key: key[1] if files.count(key[1]) == 1 else ": ".join(key) for key in keys}


def _compare_with_base(
    name: str,
    base: str,
    correct: Mapping[str, Values],
    judged: Judged,
    groups: Mapping[str, CodedColumn[str | None]],
) -> RunComparison:
    """The comparison of one run with the base: over all items, and in each group.

    `correct` has an array (seeds, items) for each run. p_holm over all items is not there yet: it
    needs the p values of all runs.
    """
    differences_by_kind: dict[str, dict[str, Difference]] = {}
    for kind, column in groups.items():
        code_of = {group: code for code, group in enumerate(column.values) if group is not None}
        differences = {
            group: _difference(correct[name], correct[base], judged, column.codes == code_of[group])
            for group in sort_groups(code_of)
        }
        adjusted = holm([difference.p for difference in differences.values()])
        differences_by_kind[kind] = {
            group: replace(difference, p_holm=p)
            for (group, difference), p in zip(differences.items(), adjusted, strict=True)
        }
    all_items = np.ones(len(judged.clusters), dtype=bool)
    return RunComparison(
        **asdict(_difference(correct[name], correct[base], judged, all_items)),
        run=name,
        base=base,
        over_seeds=_over_seeds(correct[name].mean(axis=1), correct[base].mean(axis=1)),
        groups=differences_by_kind,
    )


def _pairs(correct: Mapping[str, Values], judged: Judged) -> list[PairComparison]:
    """Each run compared with each earlier one over all items, corrected over all these pairs."""
    all_items = np.ones(len(judged.clusters), dtype=bool)
    pairs = [
        (run, base, _difference(correct[run], correct[base], judged, all_items))
        for base, run in combinations(correct, 2)
    ]
    p_holm = holm([difference.p for _, _, difference in pairs])
    mcnemar_holm = holm([difference.mcnemar.exact for _, _, difference in pairs])
    return [
        PairComparison(
            **asdict(replace(difference, p_holm=p)), run=run, base=base, mcnemar_holm=exact
        )
        for (run, base, difference), p, exact in zip(pairs, p_holm, mcnemar_holm, strict=True)
    ]


def _mean_tokens(seeds: Sequence[Judged]) -> Metric | None:
    """The mean length of a run's completions, over the items of which all seeds have one."""
    num_tokens = np.stack([judged.columns.num_tokens for judged in seeds]).astype(np.float64)
    is_known: Mask = np.all(num_tokens >= 0, axis=0)
    if not is_known.any():
        return None
    return mean_metric(num_tokens.mean(axis=0), seeds[0], is_known, share=False)


def _with_holm(comparisons: Sequence[RunComparison]) -> list[RunComparison]:
    """The comparisons with p_holm: their p after Holm's correction over all of them."""
    adjusted = holm([comparison.p for comparison in comparisons])
    return [
        replace(comparison, p_holm=p) for comparison, p in zip(comparisons, adjusted, strict=True)
    ]


def _difference(run: Values, base: Values, judged: Judged, where: Mask) -> Difference:
    """Accuracy of the run less that of the base over some items, with its interval and tests.

    `run` and `base` are arrays (seeds, items); `where` is the mask of the items. p_holm is not
    there yet: it needs the p values of the other comparisons.
    """
    a, b = run.mean(axis=0), base.mean(axis=0)  # for each item the share of seeds that are right
    metric = difference_metric(a, b, judged, where)
    a, b, clusters = a[where], b[where], judged.clusters[where]
    won, lost = int((a > b).sum()), int((a < b).sum())
    single_seeds = len(run) == len(base) == 1  # McNemar's test needs right or wrong, not shares
    detectable = minimum_detectable_difference(a - b, clusters)
    return Difference(
        difference=metric,
        p=sign_flip_test(a - b, clusters),
        test=f"sign flips over {judged.unit}s",
        won=won,
        lost=lost,
        both_right=int(((a == 1) & (b == 1)).sum()),
        both_wrong=int(((a == 0) & (b == 0)).sum()),
        mcnemar=McNemar(exact=mcnemar_exact(won, lost), mid_p=mcnemar_mid_p(won, lost))
        if single_seeds
        else McNemar(exact=None, mid_p=None, reason="several seeds have no single verdict"),
        minimum_detectable_difference=DetectableDifference(
            value=detectable.value,
            reason=detectable.reason,
            power=0.8,
            alpha=0.05,
            discordance=detectable.discordance,
            design_effect=detectable.design_effect,
        ),
    )


def seed_spread(accuracies: Values) -> SeedSpread | None:
    """The mean, standard deviation and range of a run's accuracies, one for each seed.

    None for a single seed.
    """
    if len(accuracies) < 2:
        return None
    return SeedSpread(
        n=len(accuracies),
        accuracies=accuracies.tolist(),
        mean=float(accuracies.mean()),
        sd=float(accuracies.std(ddof=1)),
        min=float(accuracies.min()),
        max=float(accuracies.max()),
    )


def _over_seeds(run: Values, base: Values) -> Metric | None:
    """The difference in accuracy with an interval over seeds instead of images.

    `run` and `base` hold one accuracy for each seed. None where both have a single seed.
    """
    if len(run) == len(base) == 1:
        return None
    interval = interval_over_seeds(run.tolist(), base.tolist())
    return Metric(
        value=float(run.mean() - base.mean()),
        ci95=interval,
        n=max(len(run), len(base)),
        method="t over seeds, the items as they are",
        reason=None if interval else "the seeds do not differ",
    )


def _meaning(unit: str, has_seeds: bool) -> str:
    """A sentence that says to what the intervals and p values generalise."""
    sentence = f"Intervals and p values resample {unit}s: they hold for other {unit}s of this kind"
    if has_seeds:
        return (
            f"{sentence} and for the same seeds. For other seeds, see the spread over seeds and "
            "the interval over seeds."
        )
    return f"{sentence} and for the same runs, not for runs with other seeds."


def _warnings(judged: Judged, num_left_out: int, single_seeds: bool) -> list[str]:
    warnings = []
    if num_left_out:
        items = "1 item is" if num_left_out == 1 else f"{num_left_out} items are"
        warnings.append(f"{items} in some files only, and left out.")
    n, n_clusters = len(judged.clusters), len(np.unique(judged.clusters))
    if n_clusters < n and single_seeds:
        warnings.append(
            f"the {n} items belong to {n_clusters} {judged.unit}{'s' * (n_clusters != 1)}. "
            "McNemar's p assumes independent items and may be too small; use p (Holm), whose test "
            f"keeps all items of one {judged.unit} together."
        )
    if n_clusters < min(n, FEW_CLUSTERS):
        clusters = f"{n_clusters} {judged.unit}{'s' * (n_clusters != 1)}"
        warnings.append(f"only {clusters}: bootstrap intervals are too narrow.")
    return warnings


def _compared_items(
    first: Sequence[Prediction], correct: Mapping[str, Values]
) -> list[ComparedItem]:
    """Each item with its groups, each run's score, and whether the run beat the base on it."""
    means = {name: rows.mean(axis=0) for name, rows in correct.items()}
    base = next(iter(means))
    items = []
    for i, prediction in enumerate(first):
        sample = prediction.sample
        outcomes = {
            name: _outcome(values[i], means[base][i])
            for name, values in means.items()
            if name != base
        }
        items.append(
            ComparedItem(
                id=sample.id,
                images=list(sample.images),
                modality=sample.modality,
                question_type=sample.question_type,
                ground_truth=sample.ground_truth,
                correct={name: float(values[i]) for name, values in means.items()},
                outcome=outcomes,
            )
        )
    return items


def _outcome(run: float, base: float) -> str:
    """How a run's score of one item compares with the base's.

    "equal" is for several seeds: the same share of both, neither 0 nor 1, is right.
    """
    if run != base:
        return "won" if run > base else "lost"
    return {1.0: "both right", 0.0: "both wrong"}.get(float(run), "equal")
