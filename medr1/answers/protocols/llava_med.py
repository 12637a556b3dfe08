"""LLaVA-Med's rules for VQA-RAD, SLAKE and PathVQA (microsoft/LLaVA-Med, tag v1.0.0).

They are `evaluate` in llava/eval/run_eval.py, with eval_metrics. Version 1.5 of LLaVA-Med has no
such script any more, only a comparison of two answers by GPT-4, which needs that model.

What is unusual in them, and repeated here:

- A closed answer is right if it contains the letters of the ground truth, and "yes" or "no": with
  both words in it, it is right for either, and "abnormal" is right for "no".
- A closed question that is not answered by yes or no is wrong, unless its answer also contains
  "yes" or "no".
- An open answer gets the share of the ground truth's words that it contains. Words of the answer
  count as often as the answer repeats them, so that repetition raises the share.
- "none" and "zero" are the number 0, and articles are left out.
- Only the first 32 periods are removed: a flag stands in the place of the number of replacements.

Their "open accuracy" needs the list of all answers of the training split, and is not computed.
run_eval_pvqa.py, for PathVQA, leaves wrong answers that contain yes or no out of the denominator;
this is not repeated. Questions with options are no part of these rules; they get no mark.
"""

from __future__ import annotations

import re
from collections import Counter

from medr1.answers.protocols.marks import ProtocolMark, ProtocolQuestion

_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_PERIOD = re.compile(r"\.(?!\d)")
_MAX_PERIODS = int(re.UNICODE)
_DIGIT_COMMA = re.compile(r"\d,\d")
_CONTRACTIONS = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's "
    "how'd how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've "
    "o'clock oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll "
    "someone's something'd something'll that's there'd there're there's they'd they'll they're "
    "they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's "
    "where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all "
    "you'd you'll you're you've"
)
_LONG_CONTRACTIONS = (
    "couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've "
    "someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll "
    "y'all'd've you'd've 'ow's'at"
)
"""Contractions with several apostrophes, of which one may be missing."""
_SPELLINGS = {word.replace("'", ""): word for word in _CONTRACTIONS.split()} | {
    word[: place.start()] + word[place.end() :]: word
    for word in _LONG_CONTRACTIONS.split()
    for place in re.finditer("'", word)
}
"""Word without an apostrophe -> the contraction that stands for it."""
_SPELLINGS["somebody'd"] = "somebodyd"


def mark(completion: str, question: ProtocolQuestion) -> ProtocolMark:
    """The mark of a completion.

    Args:
        completion: The text as the model wrote it.
        question: What was asked.
    """
    if question.options:
        return ProtocolMark(None, "no_rule", None)
    answer, truth = _normalize(completion.lower()), _normalize(question.ground_truth.lower())
    if question.closed or question.answer_type == "yes_no":
        words = [word for word in ("yes", "no") if word in answer]
        if not words:
            return ProtocolMark(None, "unparsed", 0.0)
        return ProtocolMark(" ".join(words), "contains", float(truth in answer))
    score = _word_recall(_normalize(answer), _normalize(truth))
    return ProtocolMark(answer or None, "words" if answer else "empty", score)


def _word_recall(answer: str, truth: str) -> float:
    """The share of the ground truth's words in the answer, counted as often as the answer does."""
    in_answer, in_truth = Counter(answer.split()), Counter(truth.split())
    right = sum(n for word, n in in_answer.items() if word in in_truth)
    missing = sum(n for word, n in in_truth.items() if word not in in_answer)
    return right / (right + missing) if right else 0.0


def _normalize(text: str) -> str:
    """The text with numbers in digits, without punctuation and articles (`normalize_word`)."""
    has_digit_comma = bool(_DIGIT_COMMA.search(text))
    plain = text
    for sign in _PUNCTUATION:
        at_blank = f"{sign} " in text or f" {sign}" in text
        plain = plain.replace(sign, "" if at_blank or has_digit_comma else " ")
    plain = _PERIOD.sub("", plain, count=_MAX_PERIODS)
    words = [_NUMBERS.get(word, word) for word in plain.lower().split()]
    return " ".join(_SPELLINGS.get(word, word) for word in words if word not in _ARTICLES)
