"""Checks the reasoning before an answer: its conclusion, its arithmetic, repetition, language.

Every check is a rule on the text, without a model. `consistency` compares the answer with what the
reasoning concludes; `arithmetic` recomputes the equations in it; `style` measures its length,
repetition and changes of language. None of them says how good a reasoning is.
"""

from __future__ import annotations

from medr1.reasoning.arithmetic import Step, arithmetic_steps
from medr1.reasoning.consistency import OUTCOMES, AnswerConsistency, consistency, consistency_of
from medr1.reasoning.style import Style, style

__all__ = [
    "OUTCOMES",
    "AnswerConsistency",
    "Step",
    "Style",
    "arithmetic_steps",
    "consistency",
    "consistency_of",
    "style",
]
