"""Reads yes or no from an answer in prose, by what it says of the thing that was asked.

A yes or no at the beginning answers. Otherwise each sentence votes on the question's proposition:
whether something is there, is normal, is enlarged, is on the left. A "no" elsewhere has no effect
in itself. If the votes do not decide, the answer is undecided.
"""

from __future__ import annotations

import re

from medr1.answers.prose.comparing import read_comparison
from medr1.answers.prose.golds import STOP_WORDS, Part, parts_of_name
from medr1.answers.prose.mentions import (
    EXCLUSIVE,
    THINGS,
    asserted_values,
    is_asserted,
    mentions_of,
    word_indices,
)
from medr1.answers.prose.opposites import antonyms, synonyms
from medr1.answers.prose.propositions import Proposition, parse_question
from medr1.answers.prose.reading import Prose, read_prose
from medr1.answers.prose.sentences import Sentence
from medr1.answers.prose.terms import stems

YES, NO = "yes", "no"
_OPPOSITE = {YES: NO, NO: YES}
_LEADING = re.compile(
    r"(?:(?:well|hmm|ok|okay|so|answer:|final answer:|my answer is|the answer is|i think"
    r"|i would say|i believe|here|overall),?\s+)*"
    r"(?:(?P<yes>yes\b|yeah\b|yep\b|yup\b|(?:correct|true|affirmative|positive|present|indeed|absolutely"
    r"|certainly|definitely|exactly|agreed|right|of course|that is (?:right|correct|true)"
    r"|that's (?:right|correct|true)|it is|it does|there is|there are|they are)"
    r"(?=\s*(?:[.,;:!]|$)))"
    r"|(?P<no>no(?=\s*(?:[.,;:!?(-]|$|\n)|\s+(?:the|there|it|this|that|i|because|not|these|they|an?)\b)"
    r"|nope\b|not really\b|not at all\b|negative(?=\s*(?:[.,;:!]|$))|(?:absent|false|incorrect|none"
    r"|not (?:seen|present|visible|identified|evident|correct))(?=\s*(?:[.,;:!]|$))"
    r"|it is not\b(?=\s*[.,;]|$)"
    r"|it does not\b(?=\s*[.,;]|$)))",
    re.IGNORECASE,
)
"""A yes or no at the beginning of an answer, or words that mean the same there."""
_BARE = re.compile(
    r"(?:the answer is |answer: ?)?(yes|no)(?=\s*(?:[.,;:!-]|$)|(?: \S+){1,3}\s*$)", re.IGNORECASE
)
"""A yes or no itself; the only one that is read without a question."""
_FILLER = re.compile(
    r"(?:yes|no problem|sure),? (?:i'd be|i would be|i can help|happy to|let me)", re.I
)
"""A beginning that is polite and answers nothing: "Sure, I can help"."""
_BOTH = re.compile(r"\b(?:yes (?:and|or) no|no (?:and|or) yes|neither yes nor no)\b", re.IGNORECASE)
"""A beginning that answers yes and no at once."""
_INNER = re.compile(
    r"(?:\bso,? |\banswer (?:is|should be|would be|must be|to the question is)\s*:?\s*"
    r"|\banswer:\s*|,\s+|:\s*"
    r"|^\s*|\bthat is a\s+)[\"'*]*(yes|no)\b[\"'*]*(?=\s*(?:[.,;:!-]|$))",
    re.IGNORECASE,
)
"""A yes or no that stands as an answer inside a text: "..., so yes."."""


def read_polarity(question: str, text: str) -> tuple[str | None, str]:
    """Read yes or no from an answer in prose.

    Args:
        question: The question. Without one (no letter or digit), only a yes or no itself is read.
        text: The text that answers.

    Returns:
        ("yes" or "no", how it is stated): "leading" if the text says yes or no itself, "statement"
        if its sentences affirm or deny what the question asks. (None, why) if there is no answer:
        "refused"; "ambiguous", as "yes or no"; "unparsed", nothing to read; or "polarity", the
        rules cannot say.
    """
    if _BOTH.search(text[:60]):
        return None, "refused" if read_prose(text).refused else "ambiguous"
    prose = read_prose(text)
    if not prose.sentences:
        return None, "refused" if prose.refused else "unparsed"
    has_question = bool(re.search(r"\w", question))
    if leading := _leading_answer(prose, has_question):
        if has_question and _is_withdrawn(leading, parse_question(question), prose):
            return None, "polarity"
        return leading, "leading"
    if prose.refused:
        return None, "refused"
    if inner := _inner_answer(prose):
        return inner, "leading"
    if not has_question:
        return None, "unparsed"
    return _judge_proposition(parse_question(question), prose)


def _leading_answer(prose: Prose, has_question: bool) -> str | None:
    """The yes or no that begins the text; with a question also words such as correct or absent."""
    text = prose.opening.lstrip(" \"'(*_.-")
    if not has_question:
        bare = _BARE.match(text)
        return bare[1].lower() if bare else None
    match = None if _FILLER.match(text) else _LEADING.match(text)
    if not match:
        return None
    return YES if match["yes"] else NO


def _is_withdrawn(leading: str, proposition: Proposition, prose: Prose) -> bool:
    """Whether a text begins with yes and denies what was asked: "Yes, a line, but no tube"."""
    if leading == NO or not proposition.presence or not proposition.predicate:
        return False
    target = proposition.predicate[-1]
    denials = [
        any(sentence.negated[i] for i in mention)
        for sentence in prose.sentences
        for mention in _mentions_of_target(target, sentence)
        if not any(sentence.generic[i] for i in mention)
    ]
    return bool(denials) and all(denials)


def _inner_answer(prose: Prose) -> str | None:
    """The yes or no that stands as an answer inside the text.

    If there are several that differ, only a text that corrected itself has an answer: the last.
    """
    answers = [
        match[1].lower()
        for sentence in prose.sentences
        if not _FILLER.match(sentence.text)
        for match in _INNER.finditer(sentence.text)
    ]
    return answers[-1] if answers and (prose.corrected or len(set(answers)) == 1) else None


def _judge_proposition(proposition: Proposition, prose: Prose) -> tuple[str | None, str]:
    """Whether the section that concludes, or else the rest, affirms the proposition."""
    if proposition.compares:
        return (
            (verdict, "statement")
            if (verdict := read_comparison(proposition, prose))
            else (None, "polarity")
        )
    decide = _vote_on_normality if proposition.normality else _strongest_vote
    for section in (prose.sentences, prose.body):
        sentences = [
            sentence for sentence in section if not sentence.less_likely or sentence.favored
        ]
        if sentences and (verdict := decide(proposition, sentences)):
            return verdict, "statement"
    return None, "polarity"


def _strongest_vote(proposition: Proposition, sentences: list[Sentence]) -> str | None:
    """The vote of the sentences that speak most directly of the proposition; None if they differ.

    A sentence that concludes, or that names the thing in the subject, counts as more direct.
    """
    if not proposition.predicate:
        return None
    votes: list[tuple[int, str]] = []
    for sentence in sentences:
        vote, strength = _vote(proposition, sentence)
        if vote:
            strength += 2 * (sentence.concluding or sentence.favored)
            things = [part for part in proposition.subject if part.kind in THINGS]
            strength += 2 * any(mentions_of(part, sentence) for part in things)
            votes.append((strength, vote))
    max_strength = max((strength for strength, _ in votes), default=0)
    strongest_votes = {vote for strength, vote in votes if strength == max_strength}
    return strongest_votes.pop() if len(strongest_votes) == 1 else None


def _vote(proposition: Proposition, sentence: Sentence) -> tuple[str | None, int]:
    """The vote of a sentence on the proposition, and its strength from 1 to 3; (None, 0) if none.

    If several things are asked ("Is this an axial CT?"), one no is enough.
    """
    if proposition.presence:
        return _vote_on(proposition.predicate[-1], proposition, sentence)
    votes = [_vote_on(target, proposition, sentence) for target in proposition.predicate]
    no_votes = [vote for vote in votes if vote[0] == NO]
    return max(no_votes or votes, key=lambda vote: (vote[0] is not None, vote[1]))


def _vote_on(target: Part, proposition: Proposition, sentence: Sentence) -> tuple[str | None, int]:
    """The vote of a sentence on one part that is asked for, and its strength.

    A mention of the target decides, even one that leaves it open. Without a mention, other words
    of the sentence may: another value of the same kind, an antonym, or a word such as normal.
    """
    about_subject = _is_about(proposition, sentence)
    if _asks_both_sides(proposition) and _vote_on_both_sides(sentence) == NO:
        return NO, 3
    if proposition.relation and proposition.relation not in [
        word.raw.lower() for word in sentence.words
    ]:
        return None, 0
    is_doubtful = False
    for mention in _mentions_of_target(target, sentence):
        if any(sentence.generic[i] for i in mention):
            continue
        hedged = any(sentence.hedged[i] for i in mention)
        if hedged and sentence.clause[mention[0]] not in sentence.favored_clauses:
            is_doubtful = True
            continue
        denied = any(sentence.negated[i] for i in mention)
        # "Is this the liver?": "below the liver" says nothing of what is seen
        if target.kind == "organ" and any(sentence.landmark[i] for i in mention) and not denied:
            continue
        if mismatch := _mismatch(target, proposition, mention, sentence):
            if denied:
                continue  # "no effusion on the right" leaves the left open
            return NO, mismatch
        if about_subject or _is_about(proposition, sentence, sentence.clause[mention[0]]):
            return (NO if denied else YES), 3 - _omits_place(target, proposition, sentence)
    if is_doubtful:
        return None, 0
    if (
        about_subject
        and target.kind in EXCLUSIVE
        and (values := asserted_values(target.kind, sentence))
    ):
        return (YES if target.name in {value.name for value in values} else NO), 2
    if about_subject and (vote := _vote_by_other_words(target, sentence)):
        return vote, 2
    if _asks_both_sides(proposition) and (vote := _vote_on_both_sides(sentence)):
        return vote, 1
    if (
        proposition.presence
        and target.kind in ("finding", "diagnosis", "")
        and _says_normal(proposition, sentence)
    ):
        return NO, 1
    if target.kind == "device" and _denies_any(_DEVICES, sentence):
        return NO, 1
    if (
        not proposition.presence
        and target.kind in ("organ", "place")
        and _lies_elsewhere(proposition, sentence)
    ):
        return NO, 1
    # "Is this the liver?": another organ is named
    if not proposition.presence and not proposition.subject and target.kind == "organ":
        organs = [
            term
            for term in sentence.terms
            if term.kind == "organ" and not sentence.negated[term.start]
        ]
        return (NO, 1) if organs else (None, 0)
    return None, 0


_IN_WORDS = frozenset(("in", "within", "into", "at"))


def _lies_elsewhere(proposition: Proposition, sentence: Sentence) -> bool:
    """Whether the sentence says that the subject is in another organ or place."""
    things = [part for part in proposition.subject if part.kind in THINGS]
    if not any(mentions_of(part, sentence) for part in things):
        return False
    return any(
        term.kind in ("organ", "place")
        and not _IN_WORDS.isdisjoint(
            word.raw.lower() for word in sentence.words[max(0, term.start - 3) : term.start]
        )
        and is_asserted(word_indices(term), Part(term.kind, term.name), sentence)
        for term in sentence.terms
    )


def _asks_both_sides(proposition: Proposition) -> bool:
    return any(part.name == "bilateral" for part in (*proposition.subject, *proposition.predicate))


def _vote_on_both_sides(sentence: Sentence) -> str | None:
    """Yes if the sentence names both sides, no if it names only one with "only", otherwise None."""
    lower_words = [word.raw.lower() for word in sentence.words]
    only_clause = sentence.clause[lower_words.index("only")] if "only" in lower_words else None
    sides = {
        term.name
        for term in sentence.terms
        if term.kind == "side"
        and not sentence.negated[term.start]
        and only_clause in (None, sentence.clause[term.start])
    }
    if "bilateral" in sides or {"left", "right"} <= sides:
        return YES
    return NO if sides and only_clause is not None else None


_UNSPECIFIC = stems(
    "heart bone size line sign space cavity disease syndrome change limits silhouette lung air wall"
    " tissue area shadow dilatation enlargement thickening angle"
)
"""Last words of names that alone do not mean the thing: a disease need not be Crohn's disease."""


def _mentions_of_target(target: Part, sentence: Sentence) -> list[tuple[int, ...]]:
    """The mentions of what is asked for; without any, the last word of its name: "the tube".

    A last word that belongs to a longer name does not count. Of a device it counts only with an
    article or the like before it, and if the sentence names no device.
    """
    if mentions := mentions_of(target, sentence):
        return mentions
    if target.kind not in THINGS or (
        target.kind == "device" and any(term.kind == "device" for term in sentence.terms)
    ):
        return []
    preferred_forms = [
        form for form in target.forms[:1] if len(form) > 1 and STOP_WORDS.isdisjoint(form)
    ]
    last_stems = {form[-1] for form in preferred_forms if len(form[-1]) > 3} - _UNSPECIFIC
    indices_in_names = {
        i
        for term in sentence.terms
        for i in word_indices(term)
        if term.kind in THINGS and term.end - term.start > 1
    }
    words = sentence.words
    return [
        (i,)
        for i, word in enumerate(words)
        if word.stem in last_stems
        and i not in indices_in_names
        and (target.kind != "device" or (i and words[i - 1].raw.lower() in ("the", "this", "its")))
    ]


def _omits_place(target: Part, proposition: Proposition, sentence: Sentence) -> int:
    """1 if the sentence does not name every side and place that was asked, otherwise 0."""
    places = [
        part
        for part in (*proposition.subject, *proposition.predicate)
        if part != target and part.kind in ("side", "place")
    ]
    return int(not all(mentions_of(part, sentence) for part in places))


def _mismatch(
    target: Part, proposition: Proposition, mention: tuple[int, ...], sentence: Sentence
) -> int:
    """The strength of a no because a mention is of another side, place or sort than was asked.

    2 for the other side, or for an antonym: "benign" if a malignant mass is asked for. 1 for
    another place in the same clause. 0 if nothing differs.
    """
    other_parts = [
        part for part in (*proposition.subject, *proposition.predicate) if part != target
    ]
    sides = [part for part in other_parts if part.kind == "side" and part.name in ("left", "right")]
    if sides and _is_on_other_side(sides[0], mention, sentence):
        return 2
    for part in other_parts:
        if part.kind in ("organ", "place", "side") or mentions_of(part, sentence):
            continue
        if _vote_by_other_words(part, sentence) == NO:
            return 2
    places = [part for part in other_parts if part.kind in ("place", "organ")]
    if proposition.presence and places and not any(mentions_of(part, sentence) for part in places):
        place_kinds = {part.kind for part in places}
        other_places = [term for term in sentence.terms if term.kind in place_kinds]
        if any(sentence.clause[term.start] == sentence.clause[mention[0]] for term in other_places):
            return 1
    return 0


def _is_about(proposition: Proposition, sentence: Sentence, clause: int | None = None) -> bool:
    """Whether the sentence is about the subject: it names the subject, or no other organ.

    With `clause`, organs in the other clauses do not count.
    """
    subject = [part for part in proposition.subject if part.kind in ("organ", "place", "device")]
    stems = {word.stem for word in sentence.words}
    if not subject or any(
        mentions_of(part, sentence) or any(form[-1] in stems for form in part.forms)
        for part in subject
    ):
        return True
    predicate_names = {part.name for part in proposition.predicate}
    return not any(
        term.kind == "organ"
        and term.name not in predicate_names
        and clause in (None, sentence.clause[term.start])
        for term in sentence.terms
    )


def _is_on_other_side(side: Part, mention: tuple[int, ...], sentence: Sentence) -> bool:
    """Whether the side nearest to the mention is the other one.

    Sides in the clause of the mention count, and places whose name begins with a side.
    """
    distances = [
        (min(abs(term.start - i) for i in mention), term.name)
        for term in sentence.terms
        if term.kind == "side" and sentence.clause[term.start] == sentence.clause[mention[0]]
    ]
    distances += [
        (min(abs(term.start - i) for i in mention), name)
        for term in sentence.terms
        for name in ("left", "right")
        if term.kind == "place" and term.name.startswith(name)
    ]
    return bool(distances) and min(distances)[1] not in (side.name, "bilateral")


def _vote_by_other_words(target: Part, sentence: Sentence) -> str | None:
    """No if the sentence asserts an antonym of the target, yes if it asserts a synonym.

    If the word is denied it is the other way round. Antonyms are searched first.
    """
    for table, meaning in ((antonyms(), NO), (synonyms(), YES)):
        names = {
            target.name, *target.forms[0], *(form[0] for form in target.forms if len(form) == 1),
        }  # fmt: skip
        listed_stems = frozenset().union(*(table.get(name, frozenset()) for name in names))
        for i, word in enumerate(sentence.words):
            if word.stem not in listed_stems or sentence.generic[i]:
                continue
            if sentence.hedged[i] and not sentence.favored:
                continue
            return _OPPOSITE[meaning] if sentence.negated[i] else meaning
    return None


_DEVICES = stems("device line tube catheter hardware support")


def _denies_any(stems: frozenset[str], sentence: Sentence) -> bool:
    """Whether the sentence denies one of these words: "No lines or tubes are seen"."""
    return any(word.stem in stems and sentence.negated[i] for i, word in enumerate(sentence.words))


def _says_normal(proposition: Proposition, sentence: Sentence) -> bool:
    """Whether the sentence calls the place that was asked about normal, and asserts no finding."""
    places = [part for part in proposition.subject if part.kind in ("organ", "place")]
    target = proposition.predicate[-1]
    # the organ may be in the name of the finding: the lung of "lung nodule"
    inner_parts = [
        inner for part in parts_of_name(target.forms[0]) for inner in parts_of_name(part.forms[0])
    ]
    places += [part for part in inner_parts if part.kind in ("organ", "place")]
    organs = [term for term in sentence.terms if term.kind == "organ"]
    if places and organs and not any(mentions_of(part, sentence) for part in places):
        return False
    return sentence.normal and not any(
        term.kind in ("finding", "diagnosis")
        and is_asserted(word_indices(term), Part(term.kind, term.name), sentence)
        for term in sentence.terms
    )


def _vote_on_normality(proposition: Proposition, sentences: list[Sentence]) -> str | None:
    """Whether the text asserts anything abnormal, or else calls it normal; None if neither."""
    normal = abnormal = False
    subject = [part for part in proposition.subject if part.kind != "modality"]
    for sentence in sentences:
        organs = [term for term in sentence.terms if term.kind == "organ"]
        if subject and organs and not any(mentions_of(part, sentence) for part in subject):
            continue
        sides = {term.name for term in sentence.terms if term.kind == "side"} & {"left", "right"}
        if sides and any(part.kind == "side" and part.name not in sides for part in subject):
            continue
        for term in sentence.terms:
            mention = word_indices(term)
            if any(sentence.generic[i] for i in mention):
                continue
            denied = any(sentence.negated[i] for i in mention)
            if any(sentence.hedged[i] for i in mention) and not sentence.favored:
                continue
            if term.kind == "state" and term.name in ("normal", "abnormal"):
                # "not normal" is abnormal, "not abnormal" is normal
                normal |= (term.name == "normal") != denied
                abnormal |= (term.name == "normal") == denied
            elif term.kind in ("finding", "diagnosis"):
                normal |= denied
                abnormal |= not denied
            elif term.kind == "state" and term.name in ("enlarged", "displaced", "malignant"):
                abnormal |= not denied
        asserted_stems = {
            word.stem for i, word in enumerate(sentence.words) if not sentence.negated[i]
        }
        abnormal |= not _ABNORMAL_SIGNS.isdisjoint(asserted_stems)
        normal |= sentence.normal
    if abnormal:
        return NO if proposition.asks_normal else YES
    if normal:
        return YES if proposition.asks_normal else NO
    return None


_ABNORMAL_SIGNS = stems(
    "mass lesion opacity nodule wedge lost swelling tumor shadow irregular collapse"
    " density infiltrate thickened blunted torn too"
)
"""Words for something abnormal, which need not be names of the vocabulary: "too large"."""
