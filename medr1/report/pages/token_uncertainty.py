"""The part of report.html on the probabilities of the completions' tokens."""

from __future__ import annotations

from msgspec import UnsetType

from medr1.documents.trust import TokenUncertainty
from medr1.report.charts.shares import number_cell, share_cell
from medr1.report.pages.sanitize import count_text
from medr1.report.terminal.tables import percent


def token_uncertainty_view(section: TokenUncertainty | UnsetType) -> dict[str, object] | None:
    """The part of the page, from the summary's `token_uncertainty`; None without one."""
    if isinstance(section, UnsetType):
        return None
    rows = (
        ("token variance", "of the log-probabilities, mean", number_cell(section.variance)),
        ("shift without the image", "in nats, mean over tokens", number_cell(section.image_shift)),
        (
            "AUROC of the variance",
            "a high variance predicts a wrong answer",
            share_cell(section.auroc_variance),
        ),
        (
            "AUROC of the shift",
            "a small shift predicts a wrong answer",
            share_cell(section.auroc_image_shift),
        ),
        (
            "AUROC of both",
            "z-score of the variance less that of the shift",
            share_cell(section.auroc_combined),
        ),
    )
    return {
        "n": count_text(section.n),
        "n_without": section.n_without,
        "sentence": _sentence(section),
        "rows": [{"name": name, "note": note, **cell} for name, note, cell in rows],
    }


def _sentence(section: TokenUncertainty) -> str:
    """Whether the two numbers together tell wrong answers from right ones."""
    area = section.auroc_combined
    if area.value is None:
        return f"Whether they tell wrong answers from right ones is not known: {area.reason}."
    if area.ci95 is None or area.ci95[0] <= 0.5 <= area.ci95[1]:
        verdict = "do not clearly tell wrong answers from right ones"
    elif area.value > 0.5:
        verdict = "tell wrong answers from right ones better than chance"
    else:
        verdict = "are higher for right answers than for wrong ones, against expectation"
    return f"Both together {verdict} (AUROC {percent(area.value)}, 50 % is chance)."
