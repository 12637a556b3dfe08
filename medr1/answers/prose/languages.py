"""Which language a text is in, and the little that is read of Chinese: SLAKE asks in two languages.

Chinese has no blanks between words, so a gold is looked for as it is written: contained, not denied
right before it, and with no other side. Any other language is not read.
"""

from __future__ import annotations

import re

from medr1.answers.prose.outcomes import Outcome
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
_JOINTS = re.compile(r"[,\u3001;]|\u548c|\u4e0e|\u53ca")
_NO = re.compile(r"不|没|無|无|未|否|非|排除")
_YES = re.compile(r"是|有|对|存在|包含|可以|能|正确")
_DENIED = re.compile(r"(?:不是|没有|没|无|未见|不|非|排除|并非)[^,。;]{0,4}$")
_REACH = 8
"""Characters in which a denial stands whole."""
_YES_NO = word_set("是 是的 有 对 存在 包含 能 可以 正确 不是 没有 否 不 无 不存在 不包含 不能")
_LEFT, _RIGHT = "左", "右"


def language_of(text: str) -> str:
    """ENGLISH, also for single words of any Latin language; CHINESE; or OTHER."""
    if _CHINESE.search(text):
        return CHINESE
    letters = _LETTER.findall(text)
    if letters and len(_LATIN.findall(text)) < 0.7 * len(letters):
        return OTHER
    words = text.lower().split()
    foreign = sum(word in _OTHER_WORDS for word in words)
    return OTHER if foreign >= 2 and not _ENGLISH_WORDS & set(words) else ENGLISH


def judge_chinese(gold: str, answer: str) -> Outcome:
    """What an answer in Chinese comes to: yes or no by how it begins, anything else contained."""
    gold, answer = gold.strip(" .。"), answer.strip(" .。")
    if gold in _YES_NO:
        return _right_if(_polarity(gold) == _polarity(answer) is not None)
    members = {member.strip() for member in _JOINTS.split(gold) if member.strip()}
    if not members or not all(_is_asserted(member, answer) for member in members):
        return Outcome.WRONG
    for side, other in ((_LEFT, _RIGHT), (_RIGHT, _LEFT)):
        if side in gold and other not in gold and other in answer:
            return Outcome.WRONG
    return Outcome.RIGHT


def _right_if(condition: bool) -> Outcome:
    return Outcome.RIGHT if condition else Outcome.WRONG


def _polarity(text: str) -> bool | None:
    """Whether it begins with a yes or a no; None where it does neither."""
    head = text[:4]
    no, yes = _NO.search(head), _YES.search(head)
    if no and (not yes or no.start() <= yes.start()):
        return False
    return True if yes else None


def _is_asserted(member: str, answer: str) -> bool:
    """Whether the answer has the words, and does not deny them right before."""
    places = [match.start() for match in re.finditer(re.escape(member.lower()), answer.lower())]
    return any(not _DENIED.search(answer[max(0, place - _REACH) : place]) for place in places)
