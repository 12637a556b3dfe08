"""compare.html: runs on the same items, each compared with the first, as one page without a script.

It shows comparison.json. The items are not on it: items.jsonl and won_lost.csv have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from medr1.documents.comparison import (
    Comparison,
    Difference,
    PairComparison,
    Run,
    RunComparison,
)
from medr1.documents.metric import Metric
from medr1.report.pages.page import asset, csp_hash, template
from medr1.report.pages.sanitize import count_text, interval_of, one_line, short_path, visible
from medr1.report.pages.summary import MARGIN, PLOT_WIDTH, forest_row
from medr1.report.terminal.comparison import (
    PAIRS_NOTE,
    comparison_notes,
    detectable_sentence,
    is_significant,
    p_text,
    tokens_text,
)
from medr1.report.terminal.tables import percent

MAX_GROUPS = 60
"""The most groups of one kind; comparison.csv has all of them."""
_LIMITS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
"""What the plots of differences can reach to, on both sides of zero."""


def comparison_html(document: Comparison) -> str:
    """The page as HTML; `document` is the comparison (`evaluate.comparing.comparison.compare`)."""
    from medr1 import __version__

    style = asset("report.css")
    limit = _limit(document)
    others = [one_line(short_path(entry.run), 60) for entry in document.comparisons]
    base = one_line(short_path(document.base), 60)
    runs = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
    return template("comparison.html").render(
        title=f"{runs} with {base}",
        heading=f"{runs} compared with {base}",
        style=style,
        style_hash=csp_hash(style),
        n=count_text(document.n),
        clusters=f"{count_text(document.clusters.n)} {one_line(document.clusters.unit, 60)}s",
        protocol=one_line(document.protocol),
        base=base,
        runs=[_run(run) for run in document.runs],
        has_tokens=any(run.num_tokens for run in document.runs),
        pairs=[_pair(pair, limit) for pair in document.pairs],
        pairs_note=PAIRS_NOTE,
        has_seeds=any(run.seeds for run in document.runs),
        comparisons=[
            _comparison(entry, place, limit) for place, entry in enumerate(document.comparisons)
        ],
        ensemble=_ensemble(document),
        notes=[visible(note, 1000) for note in comparison_notes(document)],
        warnings=[visible(warning, 600) for warning in document.warnings[:40]],
        limit=f"{100 * limit:g}",
        version=__version__,
        plot_width=PLOT_WIDTH,
        margin=MARGIN,
    )


def _differences(document: Comparison) -> Iterator[Difference]:
    """The differences of all runs, on all items and by group."""
    for comparison in document.comparisons:
        yield comparison
        for groups in comparison.groups.values():
            yield from groups.values()
    yield from document.pairs


def _limit(document: Comparison) -> float:
    """The smallest of _LIMITS that all differences and their intervals are within."""
    bounds = [0.0]
    for entry in _differences(document):
        bounds += [abs(bound) for bound in entry.difference.ci95 or ()]
        bounds.append(abs(entry.difference.value or 0.0))
    return next((limit for limit in _LIMITS if limit >= max(bounds)), 1.0)


def _run(run: Run) -> dict[str, object]:
    """A run with its accuracy as a row of a forest plot, its files, and the spread of its seeds."""
    seeds = ""
    if run.seeds:
        low, high, sd = (100 * x for x in (run.seeds.min, run.seeds.max, run.seeds.sd))
        seeds = f"{low:.1f} to {high:.1f}, SD {sd:.1f} ({run.seeds.n} seeds)"
    files = ", ".join(short_path(file) for file in run.files)
    row = forest_row(short_path(run.name), run.accuracy)
    return {**row, "files": files, "seeds": seeds, "tokens": tokens_text(run)}


def _pair(pair: PairComparison, limit: float) -> dict[str, object]:
    """Two runs: a row as those of the base, with McNemar's p over all pairs."""
    name = f"{short_path(pair.run)} \u2212 {short_path(pair.base)}"
    return {
        **_row(name, pair, limit),
        "exact": p_text(pair.mcnemar.exact),
        "exact_holm": p_text(pair.mcnemar_holm),
    }


def _comparison(entry: RunComparison, place: int, limit: float) -> dict[str, object]:
    """One run against the base: the difference, by group, and what so many items can show."""
    mcnemar, over_seeds = entry.mcnemar, entry.over_seeds
    sentences = [
        f"Both are right on {count_text(entry.both_right)} items, both are wrong on "
        f"{count_text(entry.both_wrong)}."
    ]
    if mcnemar.exact is not None:
        exact, mid_p = p_text(mcnemar.exact), p_text(mcnemar.mid_p)
        sentences.append(f"McNemar's exact p is {exact}, its mid-p {mid_p}.")
    if over_seeds is not None and over_seeds.value is not None:
        interval = interval_of(over_seeds, signed=True) or one_line(over_seeds.reason, 200)
        sentences.append(
            "With a 95 % CI over seeds instead of images, the difference is "
            f"{100 * over_seeds.value:+z.1f} points ({interval})."
        )
    sentences.append(detectable_sentence(entry.minimum_detectable_difference))
    return {
        **_row(short_path(entry.run), entry, limit),
        "anchor": f"run-{place + 1}",
        "sentences": [visible(sentence, 600) for sentence in sentences],
        "groups": [
            _groups(kind, groups, limit) for kind, groups in entry.groups.items() if len(groups) > 1
        ],
    }


def _groups(kind: str, groups: Mapping[str, Difference], limit: float) -> dict[str, object]:
    """The rows of one kind of groups, such as modality."""
    rows = [_row(name or "(empty)", entry, limit) for name, entry in groups.items()]
    return {
        "kind": one_line(kind.replace("_", " "), 60),
        "rows": rows[:MAX_GROUPS],
        "left_out": len(rows) - MAX_GROUPS if len(rows) > MAX_GROUPS else 0,
    }


def _row(name: str, entry: Difference, limit: float) -> dict[str, object]:
    """A difference in percentage points, and where it and its interval lie in pixels."""
    value, ci95 = entry.difference.value, entry.difference.ci95
    return {
        "name": one_line(name),
        "value": f"{100 * value:+z.1f}" if value is not None else "-",
        "interval": interval_of(entry.difference, signed=True),
        "reason": "" if value is not None else one_line(entry.difference.reason, 300),
        "p": p_text(entry.p_holm),
        "is_significant": is_significant(entry),
        "won": count_text(entry.won),
        "lost": count_text(entry.lost),
        "n": count_text(entry.difference.n),
        "x": signed_x(value, limit) if value is not None else None,
        "x_low": signed_x(ci95[0], limit) if ci95 else None,
        "x_high": signed_x(ci95[1], limit) if ci95 else None,
    }


def signed_x(difference: float, limit: float) -> float:
    """The place of a difference in a row of a plot, in pixels; zero is in the middle.

    Args:
        difference: A difference of shares.
        limit: The difference at the right end of the plot.
    """
    share = (min(limit, max(-limit, difference)) + limit) / (2 * limit)
    return round(MARGIN + share * (PLOT_WIDTH - 2 * MARGIN), 1)


def _ensemble(document: Comparison) -> list[dict[str, object]]:
    """The rows of all files as one ensemble; empty without one."""
    ensemble = document.ensemble
    if ensemble is None:
        return []
    metrics: dict[str, Metric] = {
        f"majority of the answers of {len(ensemble.members)} files": ensemble.majority.accuracy,
        "all files give the same answer": ensemble.all_agree,
    }
    return [
        {"name": name, "value": percent(metric.value), "interval": interval_of(metric)}
        for name, metric in metrics.items()
        if metric.value is not None
    ]
