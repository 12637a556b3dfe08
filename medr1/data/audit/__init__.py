"""What a score on a data set is worth: its defects, its leaks, and what needs no image."""

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
    normal_option,
    option_prior,
    question_option_lookup,
)

__all__ = [
    "BlindPredictions",
    "answerable",
    "blind_accuracy",
    "blind_predictions",
    "chance",
    "correct",
    "longest_option",
    "majority_letter",
    "normal_option",
    "option_prior",
    "question_option_lookup",
]
