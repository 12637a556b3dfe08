"""robustness.json as text: what each perturbation costs, the worst first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from medr1.report.comparison import UNADJUSTED, is_shown, p_text
from medr1.report.tables import Row, clean, grid, interval_text, percent

Document = Mapping[str, Any]


def plan_text(plan: Document) -> str:
    """What would be asked, and what not, for --dry-run."""
    rows = [(kind, ", ".join(map(str, n))) for kind, n in plan["perturbations"].items()]
    lines = grid(("perturbation", "severities"), rows, 80, False)
    for kind, why in plan["left_out"].items():
        where = "not asked at all" if kind == "none" else f"left out of {kind}"
        lines.append(f"{where}: {', '.join(f'{n} {reason}' for reason, n in why.items())}")
    lines.append(f"{plan['n']} items, {plan['n_questions']} questions in all")
    return "\n".join(lines)


def robustness_table(document: Document, *, width: int = 80, color: bool = False) -> str:
    """Accuracy as it is and blind, then each perturbation and severity, the costliest first."""
    about = (
        f"{document['n']} items, {document['clusters']['n']} {clean(document['clusters']['unit'])}s"
        f", protocol {document['protocol']}\n"
    )
    warnings = [
        textwrap.fill(f"! {clean(one)}", width, subsequent_indent="  ")
        for one in document["warnings"]
    ]
    if document["clean"]["accuracy"]["value"] is None:
        return "\n".join([about, *warnings])
    parts = [about, *grid(_HEADER, list(_rows(document)), width, color)]
    for name, key in _OVERALL:
        parts.append(_overall(name, document[key]))
    parts.append(textwrap.fill(UNADJUSTED, width))
    return "\n".join([*parts, *warnings])


_HEADER: Row = (
    *("perturbation", "severity", "n", "right", "change"),
    *("95 % interval", "p (Holm)", "flips"),
)
_OVERALL = (
    ("mean corruption accuracy", "mean_corruption_accuracy"),
    ("mean relative drop", "mean_relative_drop"),
)


def _rows(document: Document) -> Iterator[Row]:
    accuracy = document["clean"]["accuracy"]
    interval = interval_text(accuracy["ci95"])
    yield "as they are", "", str(accuracy["n"]), percent(accuracy["value"]), "", interval, "", ""
    for one in worst_first(document):
        for cell in one["cells"]:
            yield _row(one["name"], str(cell["severity"]), cell)
    if document["blind"].get("accuracy"):
        yield _row("grey picture", "", document["blind"])


def _row(name: str, severity: str, cell: Document) -> Row:
    difference = cell["difference"]
    if difference["value"] is None:
        return name, severity, str(cell["n"]), "-", "-", "", "", ""
    return (
        name,
        severity,
        str(cell["n"]),
        percent(cell["accuracy"]["value"]),
        f"{100 * difference['value']:+z.1f}",
        interval_text(difference["ci95"], True),
        p_text(cell["p_holm"]) if "p_holm" in cell else "",
        percent(cell["flip_rate"]["value"]),
    )


def worst_first(document: Document) -> list[Document]:
    """The perturbations by the loss at their costliest severity; those without numbers last."""

    def loss(one: Document) -> float:
        found = [cell["difference"]["value"] for cell in one["cells"]]
        return min((value for value in found if value is not None), default=2.0)

    return sorted(document["perturbations"], key=loss)


def _overall(name: str, metric: Document) -> str:
    if metric["value"] is None:
        return f"{name}: not given, {metric['reason']}"
    around = f" ({interval_text(metric['ci95'])})" if metric["ci95"] else ""
    return f"{name}: {percent(metric['value'])}{around}"


# --- sentences --------------------------------------------------------------------------------


def headline_sentence(document: Document) -> str:
    """What the whole comes to."""
    drop = document["mean_relative_drop"]
    if drop["value"] is None:
        return f"No mean over perturbations is given: {drop['reason']}."
    bounds = f" (95 % interval {interval_text(drop['ci95'], True)})" if drop["ci95"] else ""
    change = "loses" if drop["value"] >= 0 else "gains"
    return (
        f"Over {drop['n']} perturbed versions of the pictures the model {change} "
        f"{percent(abs(drop['value']))} of what it had right{bounds}."
    )


def sentences(document: Document) -> list[str]:
    """One for each perturbation, the worst first: its costliest severity, and changed answers.

    Of the severities whose change is shown, where there are any.
    """
    found = [said for one in worst_first(document) if (said := _sentence(one))]
    return [*found, *_views_sentence(document.get("views") or {})]


def _views_sentence(views: Document) -> Iterator[str]:
    """What several mild views of a picture, taken as one answer, change."""
    if views.get("value") is None:
        return
    change, area = views["difference"], views["auroc"]
    around = f" [{interval_text(change['ci95'], True)}]" if change["ci95"] else ""
    said = (
        f"The mean over {views['num_views']} mild views of each picture (test-time augmentation) "
        f"is right for {percent(views['value'])} ({100 * change['value']:+z.1f} points{around}); "
        f"the most probable option differs in a view for {percent(views['flip_rate']['value'])}."
    )
    if area["value"] is not None:
        said += (
            f" Their disagreement tells wrong answers with an AUROC of {percent(area['value'])}."
        )
    yield said


def _sentence(one: Document) -> str | None:
    cells = [cell for cell in one["cells"] if cell["difference"]["value"] is not None]
    if not cells:
        return None
    shown = [cell for cell in cells if is_shown(cell)]
    cell = min(shown or cells, key=lambda cell: cell["difference"]["value"])
    name = one["title"]
    if one["is_scale"]:
        name += f" of severity {cell['severity']}"
    elif len(one["cells"]) > 1:
        name += f" (variant {cell['severity']})"
    said = f"{name} {_cost(cell)}; the answer changes for "
    said += f"{percent(cell['flip_rate']['value'])} of the items."
    right, sure = cell["accuracy"]["value"], cell["confidence"]["value"]
    lost = bool(shown) and cell["difference"]["value"] < 0
    if sure is not None and lost and right < sure:
        said += f" It is then {percent(sure)} sure on average, and right in {percent(right)}."
    if (same := one["consistency"]) and same["value"] is not None:
        said += (
            f" Asked in {same['variants']} ways, {percent(same['value'])} of the items get the "
            "same answer each time."
        )
    return said


def _cost(cell: Document) -> str:
    """ "costs 12.0 points [8.0 to 16.0], p 0.004", or that nothing is shown."""
    difference = cell["difference"]
    value, ci95 = 100 * difference["value"], difference["ci95"]
    p = f", p {p_text(cell['p_holm'])}"
    if not is_shown(cell):
        bounds = f" [{interval_text(ci95, True)}]" if ci95 else f" ({clean(difference['method'])})"
        return f"shows no clear change ({value:+z.1f} points{bounds}{p})"
    sign = -1 if value < 0 else 1
    bounds = f" ({clean(difference['method'])})"
    if ci95:
        low, high = sorted(sign * 100 * bound for bound in ci95)
        bounds = f" [{low:z.1f} to {high:z.1f}]"
    return f"{'costs' if value < 0 else 'gains'} {abs(value):.1f} points{bounds}{p}"
