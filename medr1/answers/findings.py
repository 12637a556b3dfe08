"""The findings that an open answer claims, with polarity, side and certainty; and how two differ.

"No effusion is seen" and "there is no effusion" claim the same; "effusion" and "right effusion" do
not. As in NegEx, a cue of negation applies to its clause, and to a list whose last item follows
"or". A word that the rules do not know has to be equal in both texts. A text that can be read in
two ways is unclear, and equal to no other. Texts are never equal because one resembles or contains
the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from medr1.answers.phrases import (
    CARRIER_WORDS,
    LIST_SEPARATORS,
    PLACEHOLDER,
    RELATION_WORDS,
    SCOPE_ENDS,
    SIDES,
    STATE_WORDS,
    UNCERTAIN_WORDS,
    VERB_WORDS,
    mark_phrases,
)
from medr1.text.normalization import fold

MAX_CHARACTERS = 1_000
"""The claims of a longer text are not compared."""
DIFFERENCES = ("content", "unclear", "polarity", "side", "uncertain")
"""How the claims of two texts can differ (`claim_differences`)."""

_TOKEN = re.compile(
    r"[A-Z]+|(?:(?<![\w)])[-+])?\d+(?:[.,:/x-]\d+)*|[^\W\d_]\w*(?:'\w+)?|[.;!?](?=\s|$)|\.|[^\w\s]"
)
_LEADING_YES_NO = re.compile(r"(yes|no)\s?(?:[,.;:!]|$)")
_SENTENCE_ENDS = frozenset(".;!?")
_IGNORED_SIGNS = frozenset("\"'`*_-.$[]{}")
_NEGATION_MARKS = frozenset(("NEG", "ISNOT", "ABSENT"))
_OTHER_MARKS = frozenset(("UNC", "DOUBLE"))
_FORMULA_SIGNS = frozenset("\\$={}^√")
"""A text with one of these is compared as a formula, by `equality`."""
_NUMBER = re.compile(
    r"[-+]?\d.*|[ivx]+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
)


@dataclass(frozen=True)
class Finding:
    """One thing that is claimed to be there, or not to be there."""

    words: tuple[str, ...]
    """Content words in the singular: sorted, or as written if their order has a meaning."""
    sides: tuple[str, ...] = ()
    """"left", "right" or both: sorted, or as written if their order has a meaning."""
    negated: bool = False
    """Whether the thing is claimed not to be there."""
    uncertain: bool = False
    """Whether the claim is only called possible or likely."""


@dataclass(frozen=True)
class Claims:
    """All findings that a text claims."""

    findings: frozenset[Finding]
    """The findings; of an unclear sentence, only its words."""
    clear: bool
    """Whether the text has one meaning. False if it contradicts itself, negates a negation, or can
    be read in two ways; then it claims the same as no other text."""


@dataclass
class _Clause:
    """The part of a sentence between two separators."""

    separator: str = ""
    """The kind of separator before it: "" at the start of the sentence, ",", "and", "or"; "hard"
    ends the scope of a negation."""
    words: list[str] = field(default_factory=list)
    """Content words in the singular."""
    sides: list[str] = field(default_factory=list)
    """"left", "right" and "both", in the order of the text."""
    cues: list[str] = field(default_factory=list)
    """Marks of negation (_NEGATION_MARKS)."""
    keeps_order: bool = False
    """Whether the order of its words has a meaning."""
    has_verb: bool = False
    has_words_after_verb: bool = False
    """Whether a content word follows the verb."""
    has_state: bool = False
    """Whether a word such as "present" or "absent" states that something is there or not."""
    negated: bool = False
    """Whether its findings are negated, by its own cue or by that of an earlier clause."""

    @property
    def is_empty(self) -> bool:
        """Whether it has no content word and no side."""
        return not self.words and not self.sides


@lru_cache(maxsize=4096)
def claims(text: str) -> Claims:
    """The findings that a text claims, each with words, sides, polarity and certainty."""
    if len(text) > MAX_CHARACTERS or not _FORMULA_SIGNS.isdisjoint(text):
        return Claims(frozenset(), clear=False)
    text = " ".join(fold(text).split())
    # "Yes, there is an effusion": the leading word claims nothing itself, but has to agree.
    leading = _LEADING_YES_NO.match(text.lower())
    if leading:
        text = text[leading.end() :]
    findings: list[Finding] = []
    clear = True
    for sentence, is_question in _sentences(mark_phrases(text.strip())):
        sentence_findings = _read_sentence(sentence, is_question)
        clear = clear and sentence_findings is not None
        findings += (
            sentence_findings if sentence_findings is not None else _findings_of_unclear(sentence)
        )
    if leading and any(finding.negated == (leading[1] == "yes") for finding in findings):
        clear = False
    return Claims(
        frozenset(findings), clear and bool(findings) and not _are_contradictory(findings)
    )


def claim_differences(answer: str, ground_truth: str) -> tuple[str, ...]:
    """How the claims of an answer differ from those of the ground truth.

    Args:
        answer: The extracted answer.
        ground_truth: The right answer.

    Returns:
        Some of DIFFERENCES; () if the claims are the same. `content` or `unclear` is then the only
        one: polarity, side and certainty are compared only if both texts name the same things. So
        an answer that differs in `polarity` or `side`, and is certain, contradicts the ground
        truth.
    """
    if not _may_be_same(answer, ground_truth):
        return ("content",)
    answer_claims, truth_claims = claims(answer), claims(ground_truth)
    # Words first: polarity or side can only be compared for the same thing.
    if {finding.words for finding in answer_claims.findings} != {
        finding.words for finding in truth_claims.findings
    }:
        return ("content",)
    if not answer_claims.clear or not truth_claims.clear:
        return ("unclear",)
    if len(answer_claims.findings) != len(truth_claims.findings):
        return ("content",)
    differences: set[str] = set()
    for finding, expected in zip(
        _sorted_findings(answer_claims), _sorted_findings(truth_claims), strict=True
    ):
        if finding.negated != expected.negated:
            differences.add("polarity")
        if finding.sides != expected.sides:
            differences.add("side" if finding.sides and expected.sides else "content")
        if finding.uncertain or expected.uncertain:
            differences.add("uncertain")
    return (
        ("content",)
        if "content" in differences
        else tuple(name for name in DIFFERENCES if name in differences)
    )


def _sorted_findings(text_claims: Claims) -> list[Finding]:
    return sorted(
        text_claims.findings, key=lambda finding: (finding.words, finding.sides, finding.negated)
    )


@lru_cache(maxsize=4096)
def _required_stems(ground_truth: str) -> tuple[str, ...]:
    """The stems that a text has to contain to claim the same as the ground truth."""
    words = {word for finding in claims(ground_truth).findings for word in finding.words} - {
        "present"
    }
    return tuple(word.rstrip("y_") for word in words)


def _may_be_same(answer: str, ground_truth: str) -> bool:
    """Whether an answer contains all words of the ground truth.

    A fast test, after which most wrong answers need not be parsed.
    """
    if len(answer) > MAX_CHARACTERS or len(ground_truth) > MAX_CHARACTERS:
        return False
    lowered = answer.lower() if answer.isascii() else fold(answer).lower()
    lowered = lowered.replace("non-", "non")
    return all(stem in lowered for stem in _required_stems(ground_truth))


# --- parsing ----------------------------------------------------------------------------------


def _sentences(text: str) -> Iterator[tuple[list[str], bool]]:
    """The tokens of each sentence, and whether it ends in a question mark."""
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        # A period ends a sentence only before a blank or the end: not in "T2.1" or "e.g.x".
        if token in _SENTENCE_ENDS and (
            token != "." or match.end() == len(text) or text[match.end()] == " "
        ):
            if tokens:
                yield tokens, token == "?"
            tokens = []
        elif token not in _IGNORED_SIGNS:
            tokens.append(token)
    if tokens:
        yield tokens, False


def _findings_of_unclear(sentence: list[str]) -> list[Finding]:
    """The words of an unclear sentence as findings, to compare its content with another text's."""
    clauses = _clauses(sentence)
    return [_finding(clause, negated=False, uncertain=False) for clause in clauses if clause.words]


def _read_sentence(tokens: list[str], is_question: bool) -> list[Finding] | None:
    """The findings of one sentence; None if it is unclear."""
    uncertain = is_question or "UNC" in tokens or not UNCERTAIN_WORDS.isdisjoint(tokens)
    if "DOUBLE" in tokens or _has_double_negation(tokens):
        return None
    clauses = _clauses_with_content(_clauses(tokens))
    # Two cues in one clause ("no effusion is absent") can be read in two ways.
    if clauses is None or any(len(clause.cues) > 1 or _is_number(clause) for clause in clauses):
        return None
    if not _negate(clauses):
        return None
    # "effusion or atelectasis" is certain of neither; "no effusion or atelectasis" denies both.
    has_alternative = any(clause.separator == "or" and not clause.negated for clause in clauses)
    return [
        _finding(clause, negated=clause.negated, uncertain=uncertain or has_alternative)
        for clause in clauses
        if not clause.is_empty or clause.has_state
    ]


def _is_number(clause: _Clause) -> bool:
    """Whether it has only numbers, as a part of "1 : 4" or "4 - 5", whose order would be lost."""
    return bool(clause.words) and all(map(_NUMBER.fullmatch, clause.words))


def _has_double_negation(tokens: list[str]) -> bool:
    """Whether a negation is itself negated: "not without", "is not free of"."""
    # After a negation a content word has to come before the next negation. ABSENT follows what it
    # negates ("effusion is absent"), so it expects nothing.
    expects_content = False
    for token in tokens:
        if token in _NEGATION_MARKS:
            if expects_content:
                return True
            expects_content = token != "ABSENT"
        elif token not in CARRIER_WORDS and token not in VERB_WORDS:
            expects_content = False
    return False


def _clauses(tokens: list[str]) -> list[_Clause]:
    """The sentence divided at its separators, and before a negation that follows content."""
    clauses = [_Clause()]
    for token in tokens:
        clause = clauses[-1]
        separator = LIST_SEPARATORS.get(token) or ("hard" if token in SCOPE_ENDS else "")
        if separator:
            clauses.append(_Clause(separator))
            if token == "nor":
                clauses[-1].cues.append("NEG")
        elif token in _NEGATION_MARKS:
            # "effusion, no pneumothorax": what was named before is not negated.
            if token == "NEG" and not clause.is_empty:
                clause = _Clause("hard")
                clauses.append(clause)
            clause.cues.append(token)
            clause.has_state |= token == "ABSENT"
            clause.has_verb |= token == "ISNOT"
        elif token in SIDES:
            # The placeholder keeps the place of a side among the words, if their order counts.
            clause.sides.append(SIDES[token])
            clause.words.append(PLACEHOLDER)
            clause.has_words_after_verb |= clause.has_verb
        elif token in STATE_WORDS:
            clause.has_state = clause.has_verb = True
        elif token in VERB_WORDS:
            clause.has_verb = True
        elif (
            token not in CARRIER_WORDS
            and token not in UNCERTAIN_WORDS
            and token not in _OTHER_MARKS
        ):
            clause.words.append(_singular(token))
            clause.has_words_after_verb |= clause.has_verb
            clause.keeps_order |= token in RELATION_WORDS
    return _without_empty_clauses(clauses)


def _without_empty_clauses(clauses: list[_Clause]) -> list[_Clause]:
    """The clauses without those that have no content, cue or state.

    Of two separators with nothing between them ("but,", ", or") the stronger one counts.
    """
    full_clauses: list[_Clause] = []
    skipped = ""
    for clause in clauses:
        if skipped == "hard" or (skipped == "or" and clause.separator == ","):
            clause.separator = skipped
        skipped = ""
        if clause.is_empty and not clause.cues and not clause.has_state:
            skipped = clause.separator
            continue
        # With two sides or two numbers it matters which word each belongs to.
        numbers = sum(map(bool, map(_NUMBER.fullmatch, clause.words)))
        clause.keeps_order |= {"left", "right"} <= set(clause.sides) or numbers > 1
        if not clause.keeps_order:
            clause.words = [word for word in clause.words if word != PLACEHOLDER]
        full_clauses.append(clause)
    return full_clauses


def _clauses_with_content(clauses: list[_Clause]) -> list[_Clause] | None:
    """The clauses with content, after those without are joined to them.

    A side as in "left and" is joined to the next clause; "none" in "pneumothorax: none" and "left"
    in "effusion, left" to the clause before. None (unclear) if there are several clauses before.
    """
    with_content: list[_Clause] = []
    pending: _Clause | None = None
    for clause in clauses:
        only_side = bool(clause.sides) and not clause.words
        if clause.separator == "hard" and (pending is not None or (only_side and with_content)):
            return None  # "no effusion except left"
        if pending is not None:
            clause.sides = pending.sides + clause.sides
            clause.cues = pending.cues + clause.cues
            if clause.separator == "or":
                pending.separator = "or"
            clause.separator, pending = pending.separator, None
            only_side = not clause.words
        if only_side and clause is not clauses[-1]:
            pending = clause  # "left" of "left and right lung"
        elif only_side and with_content:  # "effusion, left"
            if len(with_content) > 1 or clause.cues or with_content[0].keeps_order:
                return None
            with_content[0].sides += clause.sides
        elif not clause.is_empty:
            with_content.append(clause)
        elif clause.cues and with_content:  # a cue without content, after what it may belong to
            if len(with_content) > 1 or clause is not clauses[-1] or with_content[0].cues:
                return None
            with_content[0].cues += clause.cues
        elif clause.has_state and with_content:  # "effusion: present"
            if len(with_content) > 1:
                return None
            with_content[0].has_verb = True
        elif clause.cues or clause.has_state:
            with_content.append(clause)
    return with_content


def _negate(clauses: list[_Clause]) -> bool:
    """Set `negated` of all clauses; False if the scope of a negation can be read in two ways."""
    for i, clause in enumerate(clauses):
        if not clause.cues:
            continue
        clause.negated = True
        # These cues follow what they negate, so they may reach back: "A and B are absent".
        if clause.cues[0] in ("ABSENT", "ISNOT") and not _negate_earlier_clauses(clauses, i):
            return False
    i = 0
    while i < len(clauses):
        if not clauses[i].negated or not clauses[i].cues:
            i += 1
            continue
        end = i + 1
        while end < len(clauses) and not clauses[end].cues and clauses[end].separator != "hard":
            end += 1
        # "no A, B or C" negates all three; "no A, B" without "or" can be read in two ways, unless
        # B is a clause of its own with a verb ("no A is seen, B is present")
        inherits = [clause.separator == "or" for clause in clauses[i + 1 : end]]
        last = max((offset for offset, is_or in enumerate(inherits) if is_or), default=-1)
        for offset, clause in enumerate(clauses[i + 1 : end]):
            is_complete = clause.has_verb and (clauses[i].has_verb or clause.has_words_after_verb)
            if clause.negated:
                continue
            if offset <= last:
                clause.negated = True
            elif not is_complete:
                return False
            else:
                break
        i = end
    return True


def _negate_earlier_clauses(clauses: list[_Clause], i: int) -> bool:
    """Negate the clauses that share the verb: A in "A and B are absent".

    False (unclear) if it is not certain that they share it.
    """
    clause, first = clauses[i], i
    while first and clauses[first].separator not in ("", "hard"):
        previous = clauses[first - 1]
        # A clause with its own verb or cue does not share the verb of a later one.
        if previous.cues or previous.has_verb or previous.negated:
            break
        first -= 1
    if first == i:
        return True
    shares_verb = (
        clause.cues == ["ABSENT"] and clause.has_verb and clause.separator in ("and", "or")
    )
    if not shares_verb:
        return False
    for earlier in clauses[first:i]:
        earlier.negated = True
    return True


def _finding(clause: _Clause, *, negated: bool, uncertain: bool) -> Finding:
    # "None." names neither a thing nor a side: it is about the thing that was asked for.
    words, sides = clause.words or ["present"] * (not clause.sides), clause.sides
    if clause.keeps_order:
        return Finding(tuple(words), tuple(sides), negated, uncertain)
    side_set = {
        side for name in sides for side in (("left", "right") if name == "both" else (name,))
    }
    return Finding(tuple(sorted(words)), tuple(sorted(side_set)), negated, uncertain)


def _are_contradictory(findings: list[Finding]) -> bool:
    """Whether a thing is claimed both to be there and not to be there, on the same side or none."""
    negated_findings = [finding for finding in findings if finding.negated]
    for present in (finding for finding in findings if not finding.negated):
        for absent in negated_findings:
            shares_side = (
                not present.sides
                or not absent.sides
                or not set(present.sides).isdisjoint(absent.sides)
            )
            if present.words == absent.words and shares_side:
                return True
    return False


def _singular(word: str) -> str:
    """The word without its plural ending if that is certain: "masses", "biopsies", "nodules"."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is", "as", "os")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "xes", "ches", "shes")) else word[:-1]
