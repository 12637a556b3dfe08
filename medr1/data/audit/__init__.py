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
    "normal_option",
    "option_prior",
    "question_option_lookup",
]
