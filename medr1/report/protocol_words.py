"""What each protocol accepts, and in what it differs from `default`, in words."""

from __future__ import annotations

from collections.abc import Mapping

from medr1.documents.protocols import ProtocolRow

RULES = {
    "default": "accepts any clear answer",
    "strict": "accepts exactly one <answer> block that holds just the answer",
    "authors-vqa": "accepts one word in an <answer> block, if it is the ground truth's letter",
    "authors-nothink": "accepts one word in an <answer> block, if it is written as the ground "
    "truth (where the word answer does not occur, the whole completion)",
    "authors-counting": "accepts a whole number in an <answer> block",
    "authors-geometry": "compares the whole completion with the ground truth as a formula",
    "medevalkit": "accepts the letter, else the option with the most similar letters; yes or no "
    "anywhere in the text; an open answer that is equal (its judge model is not asked)",
    "medvlthinker": "accepts the letter or the option's text, and nothing else, in the first "
    "<answer> block or as the whole completion",
    "medvlthinker-regrade": "accepts the letter or the option's text, and nothing else, in the "
    'last <answer> block or after "answer:", "answer is" or "is:"',
    "llava-med": "accepts a closed answer that contains yes or no, and the ground truth; gives an "
    "open answer the share of the ground truth's words in it",
    "omnimedvqa": "takes the option whose text has the letters most similar to the whole "
    "completion",
}
"""Protocol -> which answers it accepts, as the rest of a sentence about it."""
_METHODS = {
    "letter": "its letter",
    "option_text": "its text",
    "nearest_option": "the option with the most similar letters",
    "contains": "yes or no anywhere in it",
    "exact": "compared as a text",
    "words": "compared word by word",
    "empty": "no text",
    "ambiguous": "both yes and no in it",
    "unparsed": "no answer in its form",
    "no_completion": "no completion",
    "no_block": "no <answer> block",
    "several_blocks": "several <answer> blocks",
    "unreadable_block": "something else in the block",
    "other_answer": "another answer in this comparison",
    "undecided": "cannot be judged by these rules",
    "tag": "the one <answer> block",
    "authors": "the first <answer> block",
}
"""Key of `ProtocolRow.lost` and `gained` -> how the answer was read, in a few words."""
_MAX_REASONS = 3


def difference_text(row: ProtocolRow) -> str:
    """In what a protocol differs from `default`, with counts: "12 wrong: its letter (12)"."""
    parts = [
        f"{number} {side}: {_reasons(methods)}"
        for number, side, methods in (
            (row.n_lost, "wrong", row.lost),
            (row.n_gained, "right", row.gained),
        )
        if number
    ]
    if row.n_without_rule:
        parts.append(f"{row.n_without_rule} without a rule")
    return "; ".join(parts) or "none"


def _reasons(methods: Mapping[str, int]) -> str:
    words = [f"{_METHODS.get(key, key)} ({n})" for key, n in methods.items()]
    more = len(words) - _MAX_REASONS
    return ", ".join(words[:_MAX_REASONS] + ([f"{more} more reasons"] if more > 0 else []))
