"""The definitions of what a review by experts adds to summary.json, for `medr1 eval --explain`."""

from __future__ import annotations

from medr1.metrics.definition import OWN, SHARE, Definition

_WEIGHTS = (
    "An answer that experts call partly correct counts one half; several readers are averaged, and "
    "an adjudicated answer replaces them. Each kind of items is sampled at its own rate: a judged "
    "item stands for as many items as its kind has for each judged one."
)

REVIEW = (
    Definition(
        "corrected_accuracy",
        "Accuracy corrected by experts",
        "mean(f) + sum over kinds h of W_h mean_h(y - f): f the automatic verdict of all items, y "
        "the experts' verdict of the judged ones, W_h the share of the items that are of kind h",
        f"--review names the judgements of `medr1 review`. {_WEIGHTS}",
        OWN,
        SHARE,
        "The accuracy that experts would find on all items. Its interval is narrow where the "
        "automatic verdict is close to theirs. Cases that readers skip because they are hard bias "
        "it.",
        "prediction-powered inference: Angelopoulos et al. (2023), Science 382:669",
        ("numpy", "scipy"),
    ),
    Definition(
        "rule_precision",
        "Precision of the automatic verdict",
        "the share of the answers that the automatic verdict calls right which experts call right",
        _WEIGHTS,
        OWN,
        SHARE,
        "Below 1, the automatic verdict calls wrong answers right. By answer type, the interval is "
        "Korn and Graubard's.",
        "medr1/review/rule_check.py",
        ("numpy",),
    ),
    Definition(
        "rule_recall",
        "Recall of the automatic verdict",
        "the share of the answers that experts call right which the automatic verdict calls right",
        _WEIGHTS,
        OWN,
        SHARE,
        "Below 1, the automatic verdict rejects right answers, and the accuracy is too low.",
        "medr1/review/rule_check.py",
        ("numpy",),
    ),
    Definition(
        "krippendorff_alpha",
        "Krippendorff's alpha",
        "1 - D_o / D_e: the observed disagreement of readers over that of the same answers in "
        "random order, with ordinal distances",
        "For each question of the rubric, the answers at the first look at a case; cases that some "
        "readers have not judged count too.",
        OWN,
        "1 full agreement, 0 as by chance, negative below that",
        "It is low where nearly all answers are equal, even if readers agree. Gwet's AC1 beside it "
        "is not.",
        "Krippendorff (2011), medr1/stats/raters.py",
        ("numpy",),
    ),
    Definition(
        "gwet_ac1",
        "Gwet's AC1",
        "(P - E) / (1 - E): P the share of pairs of readers who agree, E = sum over K answers of "
        "p_k (1 - p_k) / (K - 1), p_k the mean share of answer k",
        "As krippendorff_alpha, without the order of the answers.",
        OWN,
        "1 full agreement, 0 as by chance, negative below that",
        "It stays high where nearly all answers are equal, and is 1 where all are.",
        "Gwet (2008), medr1/stats/raters.py",
        ("numpy",),
    ),
)
