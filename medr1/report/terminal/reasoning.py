"""The numbers on the reasoning as rows of tables, for the terminal, report.html and summary.csv."""

from __future__ import annotations

from collections.abc import Iterator

from medr1.documents.metric import Metric
from medr1.documents.reasoning import ReasoningChecks


def reasoning_shares(checks: ReasoningChecks) -> Iterator[tuple[str, str, Metric]]:
    """The key, the label and the value of each number that is a share.

    Args:
        checks: The part `reasoning` of summary.json.
    """
    yield "names_option", "names an option", checks.names_option
    yield "reasoning_consistent", "concludes with the answer", checks.consistent
    yield "accuracy_consistent", "  accuracy of these", checks.accuracy_consistent
    yield "reasoning_contradicts", "concludes with another answer", checks.contradicts
    yield "accuracy_contradicts", "  accuracy of these", checks.accuracy_contradicts
    yield "reasoning_unclear", "no clear conclusion", checks.unclear
    yield "arithmetic_errors", "a wrong arithmetic step", checks.arithmetic_errors
    yield "repetition", "repeated 4-grams", checks.repetition
    yield "reasoning_loops", "loops", checks.loops
    yield "language_switches", "changes the language", checks.language_switches


def reasoning_note(checks: ReasoningChecks) -> str:
    """What was counted, in a sentence.

    Args:
        checks: The part `reasoning` of summary.json.
    """
    steps = f"{checks.n_wrong_steps} of {checks.n_steps} arithmetic steps are wrong"
    return (
        f"{checks.n} items have a reasoning, of {checks.words.value or 0:.0f} words on average; "
        f"{steps}. What the rules read, and how often they are right: medr1/reasoning/README.md."
    )
