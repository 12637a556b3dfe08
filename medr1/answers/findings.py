"""What an open answer claims: findings with polarity, side and certainty, and how two differ.

"No effusion is seen" and "there is no effusion" claim the same; "effusion" and "right effusion" do
not. In the style of NegEx a cue negates within its clause and along a list that "or" closes. What
is not understood stays a word that has to be equal, and what could be read in two ways is unclear
and equal to nothing: never fuzzy, never containment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from medr1.answers.phrases import (
    CARRIERS,
    HARD,
    LISTING,
    PLACEHOLDER,
    RELATIONS,
    SIDES,
    STATES,
    UNCERTAIN,
    VERBS,
    mark_phrases,
)
from medr1.normalization import fold

LONGEST = 1_000
"""A text of more characters is an essay, whose claims are not compared."""
DIFFERENCES = ("content", "unclear", "polarity", "side", "uncertain")

_TOKEN = re.compile(
    r"[A-Z]+|(?:(?<![\w)])[-+])?\d+(?:[.,:/x-]\d+)*|[^\W\d_]\w*(?:'\w+)?|[.;!?](?=\s|$)|\.|[^\w\s]"
)
_LEAD = re.compile(r"(yes|no)\s?(?:[,.;:!]|$)")
_ENDS = frozenset(".;!?")
_QUIET = frozenset("\"'`*_-.$[]{}")
_CUES = frozenset(("NEG", "ISNOT", "ABSENT"))
_MARKS = frozenset(("UNC", "DOUBLE"))
_FORMULA = frozenset("\\$={}^√")
"""What has one of these is for `equality`."""
_NUMBER = re.compile(
    r"[-+]?\d.*|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
)


@dataclass(frozen=True)
class Finding:
    """One thing that is claimed to be there, or not to be there."""

    words: tuple[str, ...]
    """Content words in the singular: sorted, or as written where their order says something."""
    sides: tuple[str, ...] = ()
    """"left", "right" or both, sorted; where the order says something, as written."""
    negated: bool = False
    uncertain: bool = False


@dataclass(frozen=True)
class Claims:
    """What a text claims; nothing equals it where it is not clear."""

    findings: frozenset[Finding]
    clear: bool
    """False where the text contradicts itself, negates twice, or can be read in two ways."""


@dataclass
class _Clause:
    """What stands between two separators of a sentence."""

    before: str = ""
    """The separator in front: "", a comma, "and", "or"."""
    words: list[str] = field(default_factory=list)
    sides: list[str] = field(default_factory=list)
    cues: list[str] = field(default_factory=list)
    ordered: bool = False
    verb: bool = False
    after_verb: bool = False
    """Whether a word of content follows the verb."""
    state: bool = False
    negated: bool = False

    @property
    def empty(self) -> bool:
        return not self.words and not self.sides


@lru_cache(maxsize=4096)
def claims(text: str) -> Claims:
    """What a text claims: findings, each with words, sides, polarity and certainty."""
    if len(text) > LONGEST or not _FORMULA.isdisjoint(text):
        return Claims(frozenset(), clear=False)
    text = " ".join(fold(text).split())
    lead = _LEAD.match(text.lower())
    if lead:
        text = text[lead.end() :]
    found: list[Finding] = []
    clear = True
    for sentence, asked in _sentences(mark_phrases(text.strip())):
        read = _read_sentence(sentence, asked)
        clear = clear and read is not None
        found += read if read is not None else _unread(sentence)
    if lead and any(f.negated == (lead[1] == "yes") for f in found):
        clear = False
    return Claims(frozenset(found), clear and bool(found) and not _contradictory(found))


def difference(answer: str, gold: str) -> tuple[str, ...]:
    """How an answer's claims differ from the gold's, of DIFFERENCES; () where they are the same.

    `content` stands alone: what else differs is only looked at between texts that name the same
    things. So an answer that differs in `polarity` or `side` and is certain contradicts the gold.
    """
    if not _may_be_same(answer, gold):
        return ("content",)
    stated, expected = claims(answer), claims(gold)
    if {f.words for f in stated.findings} != {f.words for f in expected.findings}:
        return ("content",)
    if not stated.clear or not expected.clear:
        return ("unclear",)
    if len(stated.findings) != len(expected.findings):
        return ("content",)
    found: set[str] = set()
    for one, other in zip(_by_words(stated), _by_words(expected), strict=True):
        if one.negated != other.negated:
            found.add("polarity")
        if one.sides != other.sides:
            found.add("side" if one.sides and other.sides else "content")
        if one.uncertain or other.uncertain:
            found.add("uncertain")
    return ("content",) if "content" in found else tuple(d for d in DIFFERENCES if d in found)


def _by_words(stated: Claims) -> list[Finding]:
    return sorted(stated.findings, key=lambda f: (f.words, f.sides, f.negated))


@lru_cache(maxsize=4096)
def _stems(gold: str) -> tuple[str, ...]:
    """What a text has to contain to claim the same as the gold."""
    words = {word for f in claims(gold).findings for word in f.words} - {"present"}
    return tuple(word.rstrip("y_") for word in words)


def _may_be_same(answer: str, gold: str) -> bool:
    """A quick look that spares most wrong answers the reading."""
    if len(answer) > LONGEST or len(gold) > LONGEST:
        return False
    lowered = answer.lower() if answer.isascii() else fold(answer).lower()
    lowered = lowered.replace("non-", "non")
    return all(stem in lowered for stem in _stems(gold))


# --- reading ----------------------------------------------------------------------------------


def _sentences(text: str) -> Iterator[tuple[list[str], bool]]:
    """The tokens of each sentence, and whether it ends in a question mark."""
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in _ENDS and (
            token != "." or match.end() == len(text) or text[match.end()] == " "
        ):
            if tokens:
                yield tokens, token == "?"
            tokens = []
        elif token not in _QUIET:
            tokens.append(token)
    if tokens:
        yield tokens, False


def _unread(sentence: list[str]) -> list[Finding]:
    """The words of a sentence that is not clear, for saying what differs."""
    clauses = _clauses(sentence)
    return [_finding(c, negated=False, uncertain=False) for c in clauses if c.words]


def _read_sentence(tokens: list[str], asked: bool) -> list[Finding] | None:
    """The findings of one sentence; None where it is not clear."""
    uncertain = asked or "UNC" in tokens or not UNCERTAIN.isdisjoint(tokens)
    if "DOUBLE" in tokens or _cue_on_cue(tokens):
        return None
    clauses = _joined(_clauses(tokens))
    if clauses is None or any(len(clause.cues) > 1 or _is_number(clause) for clause in clauses):
        return None
    if not _negate(clauses):
        return None
    hedged = any(c.before == "or" and not c.negated for c in clauses)
    return [
        _finding(c, negated=c.negated, uncertain=uncertain or hedged)
        for c in clauses
        if not c.empty or c.state
    ]


def _is_number(clause: _Clause) -> bool:
    """Whether it is a piece of "1 : 4" or "4 - 5", whose order would be lost."""
    return bool(clause.words) and all(map(_NUMBER.fullmatch, clause.words))


def _cue_on_cue(tokens: list[str]) -> bool:
    """Whether a negation is itself negated: "not without", "is not free of"."""
    pending = False
    for token in tokens:
        if token in _CUES:
            if pending:
                return True
            pending = token != "ABSENT"
        elif token not in CARRIERS and token not in VERBS:
            pending = False
    return False


def _clauses(tokens: list[str]) -> list[_Clause]:
    """The sentence cut at its separators, and where a negation follows what stands for itself."""
    clauses = [_Clause()]
    for token in tokens:
        clause = clauses[-1]
        separator = LISTING.get(token) or ("hard" if token in HARD else "")
        if separator:
            clauses.append(_Clause(separator))
            if token == "nor":
                clauses[-1].cues.append("NEG")
        elif token in _CUES:
            if token == "NEG" and not clause.empty:
                clause = _Clause("hard")
                clauses.append(clause)
            clause.cues.append(token)
            clause.state |= token == "ABSENT"
            clause.verb |= token == "ISNOT"
        elif token in SIDES:
            clause.sides.append(SIDES[token])
            clause.words.append(PLACEHOLDER)
            clause.after_verb |= clause.verb
        elif token in STATES:
            clause.state = clause.verb = True
        elif token in VERBS:
            clause.verb = True
        elif token not in CARRIERS and token not in UNCERTAIN and token not in _MARKS:
            clause.words.append(_singular(token))
            clause.after_verb |= clause.verb
            clause.ordered |= token in RELATIONS
    return _settled(clauses)


def _settled(clauses: list[_Clause]) -> list[_Clause]:
    """The clauses that say anything. Where nothing stands between two separators ("but,", ", or")
    the one that says more is kept."""
    kept: list[_Clause] = []
    passed = ""
    for clause in clauses:
        if passed == "hard" or (passed == "or" and clause.before == ","):
            clause.before = passed
        passed = ""
        if clause.empty and not clause.cues and not clause.state:
            passed = clause.before
            continue
        numbers = sum(map(bool, map(_NUMBER.fullmatch, clause.words)))
        clause.ordered |= {"left", "right"} <= set(clause.sides) or numbers > 1
        if not clause.ordered:
            clause.words = [word for word in clause.words if word != PLACEHOLDER]
        kept.append(clause)
    return kept


def _joined(clauses: list[_Clause]) -> list[_Clause] | None:
    """The clauses with content: "left and" goes to what follows, "pneumothorax: none" and
    "effusion, left" to the one thing before. None where that is not one thing."""
    found: list[_Clause] = []
    held: _Clause | None = None
    for clause in clauses:
        only_side = bool(clause.sides) and not clause.words
        if clause.before == "hard" and (held is not None or (only_side and found)):
            return None  # "no effusion except left"
        if held is not None:
            clause.sides = held.sides + clause.sides
            clause.cues = held.cues + clause.cues
            if clause.before == "or":
                held.before = "or"
            clause.before, held = held.before, None
            only_side = not clause.words
        if only_side and clause is not clauses[-1]:
            held = clause
        elif only_side and found:
            if len(found) > 1 or clause.cues or found[0].ordered:
                return None
            found[0].sides += clause.sides
        elif not clause.empty:
            found.append(clause)
        elif clause.cues and found:  # a cue without content, behind what it may belong to
            if len(found) > 1 or clause is not clauses[-1] or found[0].cues:
                return None
            found[0].cues += clause.cues
        elif clause.state and found:
            if len(found) > 1:
                return None
            found[0].verb = True
        elif clause.cues or clause.state:
            found.append(clause)
    return found


def _negate(clauses: list[_Clause]) -> bool:
    """Set `negated` along each list; False where a scope can be read in two ways."""
    for i, clause in enumerate(clauses):
        if not clause.cues:
            continue
        clause.negated = True
        if clause.cues[0] in ("ABSENT", "ISNOT") and not _negate_back(clauses, i):
            return False
    i = 0
    while i < len(clauses):
        if not clauses[i].negated or not clauses[i].cues:
            i += 1
            continue
        run = i + 1
        while run < len(clauses) and not clauses[run].cues and clauses[run].before != "hard":
            run += 1
        inherits = [clause.before == "or" for clause in clauses[i + 1 : run]]
        last = max((k for k, is_or in enumerate(inherits) if is_or), default=-1)
        for k, clause in enumerate(clauses[i + 1 : run]):
            complete = clause.verb and (clauses[i].verb or clause.after_verb)
            if clause.negated:
                continue
            if k <= last:
                clause.negated = True
            elif not complete:
                return False
            else:
                break
        i = run
    return True


def _negate_back(clauses: list[_Clause], i: int) -> bool:
    """Negate what shares the verb: "A and B are absent". False where it may not be shared."""
    clause, first = clauses[i], i
    while first and clauses[first].before not in ("", "hard"):
        before = clauses[first - 1]
        if before.cues or before.verb or before.negated:
            break
        first -= 1
    if first == i:
        return True
    shared = clause.cues == ["ABSENT"] and clause.verb and clause.before in ("and", "or")
    if not shared:
        return False
    for earlier in clauses[first:i]:
        earlier.negated = True
    return True


def _finding(clause: _Clause, *, negated: bool, uncertain: bool) -> Finding:
    words, sides = clause.words or ["present"] * (not clause.sides), clause.sides
    if clause.ordered:
        return Finding(tuple(words), tuple(sides), negated, uncertain)
    both = {side for name in sides for side in (("left", "right") if name == "both" else (name,))}
    return Finding(tuple(sorted(words)), tuple(sorted(both)), negated, uncertain)


def _contradictory(found: list[Finding]) -> bool:
    """Whether one thing is claimed to be there and not, on no side or on a side they share."""
    denied = [f for f in found if f.negated]
    for f in (f for f in found if not f.negated):
        for d in denied:
            shared = not f.sides or not d.sides or not set(f.sides).isdisjoint(d.sides)
            if f.words == d.words and shared:
                return True
    return False


def _singular(word: str) -> str:
    """The word without the plural that is safe to take off: "masses", "biopsies", "nodules"."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is", "as", "os")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "xes", "ches", "shes")) else word[:-1]
