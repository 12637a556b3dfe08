"""The audit of a data set: what a score on it is worth.

It looks for defects of single items, for test items that are also in the training data (leakage),
and for questions that can be answered without their image (shortcuts).
"""

from __future__ import annotations

from medr1.data.audit.blind import (
    BlindPredictions,
    answerable,
    blind_accuracy,
    blind_predictions,
    chance,
    correct,
    longest_option,
    majority_letter,
    normalized_option,
    option_prior,
    question_option_lookup,
)
from medr1.data.audit.shortcuts import BlindPanel, blind_panel

__all__ = [
    "BlindPanel",
    "BlindPredictions",
    "answerable",
    "blind_accuracy",
    "blind_panel",
    "blind_predictions",
    "chance",
    "correct",
    "longest_option",
    "majority_letter",
    "normalized_option",
    "option_prior",
    "question_option_lookup",
]
