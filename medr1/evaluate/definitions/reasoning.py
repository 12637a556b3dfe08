"""The definitions of the part `reasoning` of summary.json, for `medr1 eval --explain`."""

from __future__ import annotations

from medr1.metrics.definition import OWN, SHARE, Definition

_RULES = (
    "Rules for English read the text in <think>, or the reasoning that a server returns. The last "
    "option that is asserted counts; what is ruled out, weighed or taken back does not. Only items "
    "with a reasoning."
)
_PACKAGE = "medr1/reasoning"

REASONING = (
    Definition(
        "names_option",
        "Reasonings that name an option",
        "reasonings that name an option by letter, text or another name / reasonings",
        f"{_RULES} Without options: those that say yes or no, a number, or what the answer says.",
        OWN,
        SHARE,
        "Only such reasonings can be compared with the answer.",
        _PACKAGE,
    ),
    Definition(
        "reasoning_consistent",
        "Reasonings that conclude with the answer",
        "reasonings whose conclusion is the extracted answer / reasonings",
        _RULES,
        OWN,
        SHARE,
        "An answer that is the conclusion need not have been caused by the reasoning. Read it "
        "together with the accuracy of these items.",
        _PACKAGE,
    ),
    Definition(
        "reasoning_contradicts",
        "Reasonings that contradict the answer",
        "reasonings whose conclusion is another answer than the extracted one / reasonings",
        f"{_RULES} The precision and recall of the rules are in medr1/reasoning/README.md.",
        OWN,
        SHARE,
        "Such an answer does not follow from the reasoning that is shown with it.",
        _PACKAGE,
    ),
    Definition(
        "reasoning_unclear",
        "Reasonings without a clear conclusion",
        "reasonings that name options and conclude with none or with several / reasonings",
        _RULES,
        OWN,
        SHARE,
        "The rules prefer this outcome where they are not sure.",
        _PACKAGE,
    ),
    Definition(
        "accuracy_consistent",
        "Accuracy where the reasoning is consistent",
        "right items with a consistent reasoning / items with a consistent reasoning",
        "The same for accuracy_contradicts and contradicting reasonings.",
        OWN,
        SHARE,
        "The two groups hold other items, so the difference may come from the questions too.",
        _PACKAGE,
    ),
    Definition(
        "arithmetic_errors",
        "Reasonings with a wrong arithmetic step",
        "reasonings with a wrong step / reasonings with a step that could be computed",
        "Equations and counted lists, with exact fractions and units. A rounded result is right; "
        "equations with variables are left out.",
        OWN,
        SHARE,
        "n is the number of reasonings with a step, which is often small.",
        "medr1/reasoning/arithmetic.py",
    ),
    Definition(
        "repetition",
        "Repetition (seq-rep-4)",
        "the mean over reasonings of 1 - distinct 4-grams / 4-grams",
        "Words in lower case; a Chinese or Japanese character is a word. 0 below four words.",
        OWN,
        SHARE,
        "Long texts have more of it than short ones. Above about 0.5 a text mostly repeats itself.",
        "Welleck et al. (2020), arXiv 1908.04319, seq-rep-4",
    ),
    Definition(
        "reasoning_loops",
        "Reasonings with a loop",
        "reasonings that have the same words at least four times in a row / reasonings",
        "At least 12 words, and at most 60 for one round.",
        OWN,
        SHARE,
        "A degenerate text, which often ends at the token limit.",
        "medr1/reasoning/style.py",
    ),
    Definition(
        "language_switches",
        "Reasonings that change the language",
        "reasonings in two scripts, or with sentences in two languages / reasonings",
        "Latin letters in a Chinese text count only from five words in a row on. English is told "
        "from other languages in Latin letters by frequent words.",
        OWN,
        SHARE,
        "Training by rewards for the answer alone can make models mix languages.",
        "medr1/reasoning/style.py; DeepSeek-R1 (arXiv 2501.12948) on language mixing",
    ),
)
