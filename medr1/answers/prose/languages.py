"""The language of a text, and simple rules for answers in Chinese.

The data set SLAKE has questions in English and Chinese. Chinese has no blanks between words, so a
ground truth is right if the answer contains it as it is written, does not deny it right before it,
and does not name the other side. Answers in any other language are not read.
"""

from __future__ import annotations

import re

from medr1.answers.prose.outcomes import ProseOutcome
from medr1.answers.prose.terms import word_set

ENGLISH, CHINESE, OTHER = "English", "Chinese", "other"

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")
_LATIN = re.compile(r"[a-zA-Z\u00c0-\u024f]")
_ENGLISH_WORDS = word_set("the is are in on of and it this there image shows with no yes an a")
_OTHER_WORDS = word_set(
    "der die das ist nicht ein eine und im auf les une est dans avec pas il elle el los las una es"
    " en con del por que no hay della sono nella"
)
_MEMBER_SEPARATORS = re.compile(r"[,\u3001;]|\u548c|\u4e0e|\u53ca")
_NO = re.compile(r"不|没|無|无|未|否|非|排除")
_YES = re.compile(r"是|有|对|存在|包含|可以|能|正确")
_DENIED = re.compile(r"(?:不是|没有|没|无|未见|不|非|排除|并非)[^,。;]{0,4}$")
_DENIAL_REACH = 8
"""Characters before a name that are searched for a denial; `_DENIED` matches at most 6."""
_YES_NO = word_set("是 是的 有 对 存在 包含 能 可以 正确 不是 没有 否 不 无 不存在 不包含 不能")
_LEFT, _RIGHT = "左", "右"


def language_of(text: str) -> str:
    """The language of a text: ENGLISH, CHINESE or OTHER.

    A text in Latin letters is OTHER only if it has two foreign words and no English one: a single
    term, such as "pneumonia", is the same in several languages, and is read as English.
    """
    if _CHINESE.search(text):
        return CHINESE
    letters = _LETTER.findall(text)
    if letters and len(_LATIN.findall(text)) < 0.7 * len(letters):
        return OTHER
    words = text.lower().split()
    n_foreign = sum(word in _OTHER_WORDS for word in words)
    return OTHER if n_foreign >= 2 and not _ENGLISH_WORDS & set(words) else ENGLISH


def judge_chinese(ground_truth: str, answer: str) -> ProseOutcome:
    """Judge an answer in Chinese.

    Yes or no is read from the first characters of the answer. Any other ground truth is right if
    the answer contains each of its members, denies none, and names no other side.

    Args:
        ground_truth: The right answer, after `normalization.fold`.
        answer: The text of the model's answer.
    """
    ground_truth, answer = ground_truth.strip(" .。"), answer.strip(" .。")
    if ground_truth in _YES_NO:
        return _right_if(_polarity(ground_truth) == _polarity(answer) is not None)
    members = {
        member.strip() for member in _MEMBER_SEPARATORS.split(ground_truth) if member.strip()
    }
    if not members or not all(_is_asserted(member, answer) for member in members):
        return ProseOutcome.WRONG
    for side, other_side in ((_LEFT, _RIGHT), (_RIGHT, _LEFT)):
        if side in ground_truth and other_side not in ground_truth and other_side in answer:
            return ProseOutcome.WRONG
    return ProseOutcome.RIGHT


def _right_if(condition: bool) -> ProseOutcome:
    return ProseOutcome.RIGHT if condition else ProseOutcome.WRONG


def _polarity(text: str) -> bool | None:
    """True if the first four characters have a yes, False if a no; None if neither.

    If they have both, the first one counts: 不是 ("is not") begins with a no.
    """
    beginning = text[:4]
    no, yes = _NO.search(beginning), _YES.search(beginning)
    if no and (not yes or no.start() <= yes.start()):
        return False
    return True if yes else None


def _is_asserted(member: str, answer: str) -> bool:
    """Whether the answer contains the member at least once without a denial right before it."""
    starts = [match.start() for match in re.finditer(re.escape(member.lower()), answer.lower())]
    return any(
        not _DENIED.search(answer[max(0, start - _DENIAL_REACH) : start]) for start in starts
    )
