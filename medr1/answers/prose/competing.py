"""Whether something else stands beside the gold, or in its place."""

from __future__ import annotations

from medr1.answers.prose.golds import OMITTABLE, STOP_WORDS, GroundTruth, Part
from medr1.answers.prose.mentions import (
    ADDITIVE,
    asserted_values,
    asserts_member,
    is_asserted,
    is_special_case,
    mentions_of,
    names_part,
    word_indices,
)
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import Term, forms_of, word_set, words_of

FINDINGS = frozenset(("finding", "diagnosis"))
MIN_SHARED_WORDS = 2
"""Words of the question in a sentence that answers it."""
OR_WORDS = frozenset(("or", "vs", "versus"))
_JOINS = frozenset((",", "and", "or", "/", "&", "plus", "versus", "vs"))
_BETWEEN = word_set(
    "a an the both also possible probable likely small large mild moderate severe acute chronic"
    " left right with"
)


def has_other_answer(gold: GroundTruth, sentences: list[Sentence], question: str) -> bool:
    """Whether a sentence that concludes, or that repeats the question, names another thing of the
    gold's kind and not the gold."""
    kinds = _kinds_of(gold)
    if not kinds or any(s.concluding or s.favored for s in sentences if _names_any(gold, s)):
        return False
    asked = {word.stem for word in words_of(question)} - STOP_WORDS - OMITTABLE
    echoes = [len(asked & {word.stem for word in sentence.words}) for sentence in sentences]
    named = [_names_any(gold, sentence) for sentence in sentences]
    most = max([MIN_SHARED_WORDS, *(e for e, own in zip(echoes, named, strict=True) if own)])
    for sentence, echo, own in zip(sentences, echoes, named, strict=True):
        if own or not (sentence.concluding or sentence.favored or echo >= most):
            continue
        for term in sentence.terms:
            if term.kind not in kinds or names_part(term, gold):
                continue
            if term.kind in ("finding", "diagnosis") and not (
                sentence.concluding or sentence.favored
            ):
                continue
            if asked & set(forms_of(term.kind, term.name)[0]):
                continue
            if is_asserted(word_indices(term), Part(term.kind, term.name), sentence):
                return True
    return False


def _kinds_of(gold: GroundTruth) -> set[str]:
    """The kinds of which another thing would be another answer."""
    kinds = {part.kind for part in gold.parts if part.needed} & ADDITIVE
    return kinds | FINDINGS if kinds & FINDINGS else kinds


def _names_any(gold: GroundTruth, sentence: Sentence) -> bool:
    """Whether the sentence asserts a member of the gold."""
    return any(asserts_member(member, sentence, gold) for member in gold.members)


def has_further_thing(gold: GroundTruth, sentences: list[Sentence]) -> bool:
    """Whether a further thing of the gold's kind is joined to it: "lungs and heart", "X or Y"."""
    kinds = _kinds_of(gold)
    holding = [s for s in sentences if _names_any(gold, s)]
    concluding = [s for s in holding if s.favored or s.concluding]
    if not concluding and "organ" in kinds and any(s.bullet for s in holding):
        leads = [
            s.terms[0]
            for s in sentences
            if s.bullet and s.terms and not s.negated[0] and not s.normal
        ]
        if any(term.kind == "organ" and not names_part(term, gold) for term in leads):
            return True
    for sentence in concluding or holding:
        own = sorted(
            {
                i
                for part in gold.parts
                for spot in mentions_of(part, sentence)
                if is_asserted(spot, part, sentence, related=gold.has_landmark)
                for i in spot
            }
        )
        if not own:
            continue  # only parts that the question says already
        low = [word.raw.lower() for word in sentence.words]
        if not gold.has_alternatives and any(
            low[i] in OR_WORDS and sentence.clause[i] == sentence.clause[own[0]]
            for i in range(own[0], own[-1])
        ):
            return True
        if not gold.has_alternatives and _is_alternative(own, gold, sentence):
            return True
        for term in sentence.terms:
            if (
                term.kind not in kinds
                or set(own) & set(word_indices(term))
                or names_part(term, gold)
            ):
                continue
            if not sentence.negated[term.start] and _is_joined(term, own, sentence, low):
                return True
    return False


def _is_alternative(own: list[int], gold: GroundTruth, sentence: Sentence) -> bool:
    """Whether the gold stands beside an "or" that offers something else than another name of it."""
    low = [word.raw.lower() for word in sentence.words]
    for i, step in ((own[-1] + 1, 1), (own[0] - 1, -1)):
        while 0 <= i < len(low) and (low[i] in _BETWEEN or low[i] == ","):
            i += step
        if 0 <= i < len(low) and low[i] in OR_WORDS and not sentence.negated[i]:
            other = [t for t in sentence.terms if abs(t.start - i) < 5 and (t.start - i) * step > 0]
            named_again = low[max(0, i - 1) : i] == [","] and low[own[-1] + 1 : own[-1] + 2] == [
                ","
            ]
            if not other and named_again:  # the slippage, or spondylolisthesis,
                continue
            if not other or not all(names_part(term, gold) for term in other):
                return True
    return False


def _is_joined(term: Term, own: list[int], sentence: Sentence, low: list[str]) -> bool:
    """Whether only a comma, "and", "or" and the like stand between a term and the gold."""
    before = [i for i in own if i < term.start][-1:]
    if before and "of" in low[max(before[0], term.start - 2) : term.start]:
        return False  # "the vitreous of the eye and ..."
    behind = [i for i in own if i >= term.end][:1]
    for end, start in ((before, [term.start]), ([term.end - 1], behind)):
        if end and start and sentence.clause[end[0]] == sentence.clause[start[0]]:
            between = low[end[0] + 1 : start[0]]
            listed = {"and", "or", ","} & set(low[term.end : term.end + 1])
            if start == [term.start] and between[:2] in ([",", "a"], [",", "an"]) and not listed:
                continue  # "lichen planus, an inflammatory disease"
            if not _JOINS.isdisjoint(between) and set(between) <= _JOINS | _BETWEEN:
                return True
    return False


def is_only_value(part: Part, gold: GroundTruth, sentences: list[Sentence], question: str) -> bool:
    """Whether the text's answer of that kind is the gold's value and no other."""
    wanted = {p.name for p in gold.parts if p.kind == part.kind}
    asked = {w.stem for w in words_of(question) if len(w.stem) > 3} - STOP_WORDS - OMITTABLE
    if len(gold.parts) == 1 or part.kind != "side":
        candidates = [s for s in sentences if asserted_values(part.kind, s) or mentions_of(part, s)]
        if not candidates:
            return True
        chosen = next((s for s in candidates if s.concluding or s.favored), None)
        if chosen is None and part.kind == "side":
            chosen = max(candidates, key=lambda s: len(asked & {w.stem for w in s.words}))
        sentence = chosen or candidates[0]
    else:
        members = [m for m in gold.members if part in m]
        holding = (s for s in sentences if all(asserts_member(m, s, gold) for m in members))
        sentence = next(holding, sentences[0])
    values = asserted_values(part.kind, sentence)
    mine = [spot for spot in mentions_of(part, sentence) if is_asserted(spot, part, sentence)]
    if not mine:
        return False
    first = min([spot[0] for spot in mine] + [v.start for v in values])
    if sentence.concluding or sentence.favored:
        first = mine[-1][0]
    clause = sentence.clause[first] if len(gold.parts) == 1 else sentence.clause[mine[0][0]]
    here = {v.name for v in values if sentence.clause[v.start] == clause}
    if wanted == {"bilateral"} and here <= {"left", "right", "bilateral"}:
        return "bilateral" in here or here == {"left", "right"}
    if wanted == {"left", "right"}:
        here -= {"bilateral"}  # "both the right and the left"
    others = {
        name for name in here if name not in wanted and not is_special_case(part.kind, name, wanted)
    }
    in_clause = any(sentence.clause[spot[0]] == clause for spot in mine)
    return in_clause and not others
