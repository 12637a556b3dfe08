"""The definitions of the numbers in `medr1.evaluate.judge`, for `medr1 eval --explain`."""

from __future__ import annotations

from medr1.metrics.definition import OWN, SHARE, Definition

_DECIDED = "An answer of which the judge says unclear, or nothing, is left out and counted."

JUDGE = (
    Definition(
        "accuracy_with_judge",
        "Accuracy with the judge",
        "the share of items that the rules call right or, for open questions, the judge calls "
        "correct",
        "The model of --judge-url gets the question, the ground truth and the text of the answer "
        "without reasoning (the last 4,000 characters), at temperature 0. It is asked about the "
        "open answers with text that the chosen protocol does not call right, all with a label of "
        "--judge-labels, and at most 100 right ones, drawn with --seed. No question with options, "
        "no yes/no question and no count is asked. Unclear or failed counts as the rules say. The "
        "prompt is in medr1/judge/prompt.py; its SHA-256 is in the summary.",
        "the model that is named in the summary",
        SHARE,
        "It is never below the accuracy by the rules, because the judge cannot make a right answer "
        "wrong. A lenient judge raises it, so read it together with the agreement.",
        "medr1/evaluate/judge/result.py",
    ),
    Definition(
        "judge_agreement",
        "Agreement with the judge",
        "the share of answers that two raters (judge and rules, judge and people, rules and "
        "people) both call right, or both call wrong",
        f"rules: the answers that were asked about. rules_weighted: the same for all open "
        f"answers, each drawn right one weighted by the number of right ones that it stands for. "
        f"people: the answers with a label. {_DECIDED}",
        OWN,
        SHARE,
        "Among the answers that were asked about, most are wrong by the rules, so rules_weighted "
        "is the number for the whole file. High agreement can come from chance alone, which "
        "cohen_kappa takes out.",
        "medr1/stats/agreement.py",
        ("numpy",),
    ),
    Definition(
        "cohen_kappa",
        "Cohen's kappa",
        "(P - E) / (1 - E): P the share of answers on which two raters agree, E the share expected "
        "of raters that call as many right and do not depend on each other",
        f"As judge_agreement. {_DECIDED} Resamples in which it does not exist count as 0.",
        OWN,
        "1 full agreement, 0 as by chance, negative below that",
        "Compare the kappa of the judge and people with that of the rules and people: they are "
        "about the same answers. The rules that are measured are those of --protocol.",
        "Cohen (1960); agrees with scikit-learn, cohen_kappa_score",
        ("numpy",),
    ),
)
