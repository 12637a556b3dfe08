"""The first screen of report.html: title, accuracy with its baselines, and the lowest groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from medr1.documents.metric import Metric
from medr1.documents.summary import Group, Summary
from medr1.report.pages.facets import Facets
from medr1.report.pages.sanitize import one_line, short_path
from medr1.report.pages.summary import forest_row, model_name, plot_x
from medr1.report.terminal.audit import PREDICTORS
from medr1.report.terminal.tables import percent

NUM_LOWEST = 3
"""The groups with the lowest accuracy that the first screen names."""
MIN_ITEMS = 20
"""A group with fewer items is not named there, unless there are too few larger ones."""


def page_title(summaries: Sequence[Summary]) -> str:
    """Model, data set and date, such as "tiny-vl on test.json, 2026-03-01".

    The date is that of the run, as far as it is known: today's date would change the page each time
    it is written.
    """
    models = list(dict.fromkeys(model_name(summary.meta) for summary in summaries))
    data = list(dict.fromkeys(filter(None, (_data_name(summary) for summary in summaries))))
    dates = sorted({summary.date[:10] for summary in summaries if summary.date})
    title = _few(models)
    if data:
        title += f" on {_few(data)}"
    if dates:
        title += f", {dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else "")
    return title


def _few(names: Sequence[str]) -> str:
    """At most three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _data_name(summary: Summary) -> str:
    """The data set, if all items are from one, else the file of the questions."""
    names = list(summary.groups.get("dataset", {}))
    return one_line(names[0], 60) if len(names) == 1 else short_path(summary.meta.get("data"))


def first_screen(summary: Summary, facets: Facets) -> dict[str, object]:
    """What stands beside the accuracy: its baselines, the lowest groups, and links to the items.

    Args:
        summary: The content of summary.json.
        facets: What the gallery can be filtered by.
    """
    rows = list(_baselines(summary))
    chance = next((row for row in rows if row["is_chance"]), None)
    blind = summary.blind.best.value if summary.blind is not None else None
    lowest = _lowest_groups(summary, facets)
    wrong = [kind for kind in facets.kinds() if kind != "right"]
    return {
        "rows": rows,
        "chance": chance["x"] if chance else None,
        "chance_text": chance["value"] if chance else "-",
        "blind": percent(blind),
        "has_blind": summary.blind is not None,
        "overall": plot_x(summary.metrics["accuracy"].value),
        "lowest": lowest,
        "wrong": facets.link(summary.results, "kind", wrong),
        "at_least": MIN_ITEMS if all(row["is_large"] for row in lowest) else None,
    }


def _baselines(summary: Summary) -> Iterator[dict[str, object]]:
    """The model, then the best predictor without the image, the model without it, and chance."""
    blind = summary.blind
    yield {**forest_row("this model", summary.metrics["accuracy"]), "is_chance": False}
    if blind is not None and blind.best.value is not None:
        name = PREDICTORS.get(blind.best_predictor or "", one_line(blind.best_predictor, 60))
        note = f"best predictor: {name}"
        yield {**forest_row("without the image", blind.best, note), "is_chance": False}
    for ablation in summary.ablations:
        note = f"images replaced: {one_line(ablation.ablation, 20)}"
        metric = ablation.accuracy_without_image
        yield {**forest_row("this model, no image", metric, note), "is_chance": False}
    if (chance := _chance(summary)) is not None:
        note = "random guessing"
        yield {**forest_row("chance", chance, note), "is_chance": True}


def _chance(summary: Summary) -> Metric | None:
    """The accuracy of random guessing on the items with options; None without such items."""
    blind = summary.blind
    if blind is not None and blind.chance is not None:
        return Metric(value=blind.chance, ci95=None, n=blind.best.n)
    counts = summary.groups.get("option_count", {})
    sizes = {int(name): group.n for name, group in counts.items() if name.isdecimal()}
    n = sum(k for size, k in sizes.items() if size)
    if not n:
        return None
    value = sum(k / size for size, k in sizes.items() if size) / n
    return Metric(value=value, ci95=None, n=n)


def _lowest_groups(summary: Summary, facets: Facets) -> list[dict[str, object]]:
    """The groups of any kind with the lowest accuracy, each with the link to its items.

    Groups with the same counts and interval, such as a data set with all questions of a type, are
    taken as the same items, and named once.
    """
    groups = [
        (kind, name, group)
        for kind, by_name in summary.groups.items()
        if len(by_name) > 1
        for name, group in by_name.items()
        if group.metrics["accuracy"].value is not None
    ]
    large = [entry for entry in groups if entry[2].n >= MIN_ITEMS]
    if len(large) < NUM_LOWEST:
        large = groups
    lowest: dict[tuple[object, ...], tuple[str, str, Group]] = {}
    for kind, name, group in sorted(large, key=lambda entry: _accuracy(entry[2])):
        accuracy = group.metrics["accuracy"]
        lowest.setdefault((group.n, accuracy.value, accuracy.ci95), (kind, name, group))
    rows = []
    for kind, name, group in list(lowest.values())[:NUM_LOWEST]:
        row = forest_row(name or "(empty)", replace(group.metrics["accuracy"], n=group.n))
        link = facets.link(summary.results, f"group {kind}", [name])
        label = one_line(kind.replace("_", " "), 60)
        rows.append({**row, "kind": label, "link": link, "is_large": group.n >= MIN_ITEMS})
    return rows


def _accuracy(group: Group) -> float:
    return group.metrics["accuracy"].value or 0.0
