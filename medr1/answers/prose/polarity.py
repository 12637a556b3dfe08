"""Yes or no: what a text says of the thing that was asked, and not whether it has a "no" in it.

A leading yes or no answers. Otherwise each sentence is held against the question's proposition:
what is asked to be there, to be normal, enlarged, on the left. Where that cannot be done, the
answer is undecided.
"""

from __future__ import annotations

import re

from medr1.answers.prose.comparing import read_comparison
from medr1.answers.prose.golds import STOP_WORDS, Part, parts_of_name
from medr1.answers.prose.mentions import (
    EXCLUSIVE,
    asserted_values,
    is_asserted,
    mentions_of,
    word_indices,
)
from medr1.answers.prose.opposites import antonyms, synonyms
from medr1.answers.prose.propositions import THINGS, Proposition, parse_question
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
_BARE = re.compile(
    r"(?:the answer is |answer: ?)?(yes|no)(?=\s*(?:[.,;:!-]|$)|(?: \S+){1,3}\s*$)", re.IGNORECASE
)
_FILLER = re.compile(
    r"(?:yes|no problem|sure),? (?:i'd be|i would be|i can help|happy to|let me)", re.I
)
_BOTH = re.compile(r"\b(?:yes (?:and|or) no|no (?:and|or) yes|neither yes nor no)\b", re.IGNORECASE)
_STATED = re.compile(
    r"(?:\bso,? |\banswer (?:is|should be|would be|must be|to the question is)\s*:?\s*"
    r"|\banswer:\s*|,\s+|:\s*"
    r"|^\s*|\bthat is a\s+)[\"'*]*(yes|no)\b[\"'*]*(?=\s*(?:[.,;:!-]|$))",
    re.IGNORECASE,
)


def read_polarity(question: str, text: str) -> tuple[str | None, str]:
    """(yes, no or None, why there is none or how it is given): "leading", "statement", "refused",
    "ambiguous", "polarity", "unparsed"."""
    if _BOTH.search(text[:60]):
        return None, "refused" if read_prose(text).refused else "ambiguous"
    prose = read_prose(text)
    if not prose.sentences:
        return None, "refused" if prose.refused else "unparsed"
    asked = bool(re.search(r"\w", question))
    if leading := _leading(prose, asked):
        if asked and _takes_it_back(leading, parse_question(question), prose):
            return None, "polarity"
        return leading, "leading"
    if prose.refused:
        return None, "refused"
    if stated := _stated(prose):
        return stated, "leading"
    if not asked:
        return None, "unparsed"
    return _held_against(parse_question(question), prose)


def _leading(prose: Prose, asked: bool) -> str | None:
    """The yes or no that begins the text; where the question is known, also "correct", "absent"."""
    text = prose.opening.lstrip(" \"'(*_.-")
    if not asked:
        bare = _BARE.match(text)
        return bare[1].lower() if bare else None
    match = None if _FILLER.match(text) else _LEADING.match(text)
    if not match:
        return None
    return YES if match["yes"] else NO


def _takes_it_back(leading: str, asked: Proposition, prose: Prose) -> bool:
    """Whether a text that begins with yes denies the thing asked: "Yes, a line is seen, but no
    tube"."""
    if leading == NO or not asked.presence or not asked.predicate:
        return False
    head = asked.predicate[-1]
    spots = [
        any(sentence.negated[i] for i in spot)
        for sentence in prose.sentences
        for spot in _mentions(head, sentence)
        if not any(sentence.generic[i] for i in spot)
    ]
    return bool(spots) and all(spots)


def _stated(prose: Prose) -> str | None:
    """The last yes or no that stands as an answer inside the text."""
    words = [
        m[1].lower()
        for s in prose.sentences
        if not _FILLER.match(s.text)
        for m in _STATED.finditer(s.text)
    ]
    return words[-1] if words and (prose.corrected or len(set(words)) == 1) else None


def _held_against(asked: Proposition, prose: Prose) -> tuple[str | None, str]:
    """The verdict of the section that concludes, else of the rest."""
    if asked.compares:
        return (
            (verdict, "statement")
            if (verdict := read_comparison(asked, prose))
            else (None, "polarity")
        )
    decide = _normality if asked.normality else _proposition
    for part in (prose.sentences, prose.body):
        sentences = [s for s in part if not s.less_likely or s.favored]
        if sentences and (verdict := decide(asked, sentences)):
            return verdict, "statement"
    return None, "polarity"


def _proposition(asked: Proposition, sentences: list[Sentence]) -> str | None:
    """The vote of the sentence that speaks of it most directly."""
    if not asked.predicate:
        return None
    votes: list[tuple[int, str]] = []
    for sentence in sentences:
        vote, strength = _vote(asked, sentence)
        if vote:
            strength += 2 * (sentence.concluding or sentence.favored)
            things = [part for part in asked.subject if part.kind in THINGS]
            strength += 2 * any(mentions_of(part, sentence) for part in things)
            votes.append((strength, vote))
    best = max((strength for strength, _ in votes), default=0)
    strongest = {vote for strength, vote in votes if strength == best}
    return strongest.pop() if len(strongest) == 1 else None


def _vote(asked: Proposition, sentence: Sentence) -> tuple[str | None, int]:
    """What a sentence says of the proposition, and how directly: 1 to 3. One no is enough."""
    if asked.presence:
        return _vote_on(asked.predicate[-1], asked, sentence)
    votes = [_vote_on(head, asked, sentence) for head in asked.predicate]
    against = [vote for vote in votes if vote[0] == NO]
    return max(against or votes, key=lambda vote: (vote[0] is not None, vote[1]))


def _vote_on(head: Part, asked: Proposition, sentence: Sentence) -> tuple[str | None, int]:
    """What a sentence says of one thing that is asked."""
    about = _is_about(asked, sentence)
    if _asks_both(asked) and _of_both(sentence) == NO:
        return NO, 3
    if asked.relation and asked.relation not in [w.raw.lower() for w in sentence.words]:
        return None, 0
    doubtful = False
    for spot in _mentions(head, sentence):
        if any(sentence.generic[i] for i in spot):
            continue
        in_doubt = any(sentence.hedged[i] for i in spot)
        if in_doubt and sentence.clause[spot[0]] not in sentence.favored_clauses:
            doubtful = True
            continue
        denied = any(sentence.negated[i] for i in spot)
        if head.kind == "organ" and any(sentence.landmark[i] for i in spot) and not denied:
            continue
        if differs := _differs(head, asked, spot, sentence):
            if denied:
                continue
            return NO, differs
        if about or _is_about(asked, sentence, sentence.clause[spot[0]]):
            return (NO if denied else YES), 3 - _leaves_open(head, asked, sentence)
    if doubtful:
        return None, 0
    if about and head.kind in EXCLUSIVE and (values := asserted_values(head.kind, sentence)):
        return (YES if head.name in {v.name for v in values} else NO), 2
    if about and (vote := _by_words(head, sentence)):
        return vote, 2
    if _asks_both(asked) and (vote := _of_both(sentence)):
        return vote, 1
    if (
        asked.presence
        and head.kind in ("finding", "diagnosis", "")
        and _says_normal(asked, sentence)
    ):
        return NO, 1
    if head.kind == "device" and _denies_any(_DEVICES, sentence):
        return NO, 1
    if not asked.presence and head.kind in ("organ", "place") and _lies_elsewhere(asked, sentence):
        return NO, 1
    if not asked.presence and not asked.subject and head.kind == "organ":
        organs = [t for t in sentence.terms if t.kind == "organ" and not sentence.negated[t.start]]
        return (NO, 1) if organs else (None, 0)
    return None, 0


_IN = frozenset(("in", "within", "into", "at"))


def _lies_elsewhere(asked: Proposition, sentence: Sentence) -> bool:
    """Whether the sentence says that the thing asked for is in another place."""
    things = [part for part in asked.subject if part.kind in THINGS]
    if not any(mentions_of(part, sentence) for part in things):
        return False
    return any(
        term.kind in ("organ", "place")
        and not _IN.isdisjoint(
            w.raw.lower() for w in sentence.words[max(0, term.start - 3) : term.start]
        )
        and is_asserted(word_indices(term), Part(term.kind, term.name), sentence)
        for term in sentence.terms
    )


def _asks_both(asked: Proposition) -> bool:
    return any(p.name == "bilateral" for p in (*asked.subject, *asked.predicate))


def _of_both(sentence: Sentence) -> str | None:
    """Yes where the sentence speaks of both sides, no where of one alone."""
    low = [w.raw.lower() for w in sentence.words]
    only = sentence.clause[low.index("only")] if "only" in low else None
    sides = {
        t.name
        for t in sentence.terms
        if t.kind == "side"
        and not sentence.negated[t.start]
        and only in (None, sentence.clause[t.start])
    }
    if "bilateral" in sides or {"left", "right"} <= sides:
        return YES
    return NO if sides and only is not None else None


_NO_NAME = stems(
    "heart bone size line sign space cavity disease syndrome change limits silhouette lung air wall"
    " tissue area shadow dilatation enlargement thickening angle"
)


def _mentions(head: Part, sentence: Sentence) -> list[tuple[int, ...]]:
    """Where the sentence names what is asked, also by its last word alone: "the tube"."""
    if spots := mentions_of(head, sentence):
        return spots
    if head.kind not in THINGS or (
        head.kind == "device" and any(t.kind == "device" for t in sentence.terms)
    ):
        return []
    plain = [form for form in head.forms[:1] if len(form) > 1 and STOP_WORDS.isdisjoint(form)]
    last = {form[-1] for form in plain if len(form[-1]) > 3} - _NO_NAME
    taken = {
        i
        for t in sentence.terms
        for i in word_indices(t)
        if t.kind in THINGS and t.end - t.start > 1
    }
    words = sentence.words
    return [
        (i,)
        for i, word in enumerate(words)
        if word.stem in last
        and i not in taken
        and (head.kind != "device" or (i and words[i - 1].raw.lower() in ("the", "this", "its")))
    ]


def _leaves_open(head: Part, asked: Proposition, sentence: Sentence) -> int:
    """1 where a side or place that was asked is not named in the sentence, else 0."""
    others = [
        p for p in (*asked.subject, *asked.predicate) if p != head and p.kind in ("side", "place")
    ]
    return int(not all(mentions_of(p, sentence) for p in others))


def _differs(head: Part, asked: Proposition, spot: tuple[int, ...], sentence: Sentence) -> int:
    """How directly a mention is of another side, place or sort than asked; 0 where it is not."""
    others = [p for p in (*asked.subject, *asked.predicate) if p != head]
    sides = [p for p in others if p.kind == "side" and p.name in ("left", "right")]
    if sides and _other_side(sides[0], spot, sentence):
        return 2
    for part in others:
        if part.kind in ("organ", "place", "side") or mentions_of(part, sentence):
            continue
        if _by_words(part, sentence) == NO:
            return 2
    places = [p for p in others if p.kind in ("place", "organ")]
    if asked.presence and places and not any(mentions_of(p, sentence) for p in places):
        here = [t for t in sentence.terms if t.kind in {p.kind for p in places}]
        if any(sentence.clause[t.start] == sentence.clause[spot[0]] for t in here):
            return 1
    return 0


def _is_about(asked: Proposition, sentence: Sentence, clause: int | None = None) -> bool:
    """Whether the sentence, or one clause of it, names the subject, or no other organ."""
    subject = [p for p in asked.subject if p.kind in ("organ", "place", "device")]
    stems = {word.stem for word in sentence.words}
    if not subject or any(
        mentions_of(p, sentence) or any(form[-1] in stems for form in p.forms) for p in subject
    ):
        return True
    heads = {p.name for p in asked.predicate}
    return not any(
        t.kind == "organ" and t.name not in heads and clause in (None, sentence.clause[t.start])
        for t in sentence.terms
    )


def _other_side(side: Part, spot: tuple[int, ...], sentence: Sentence) -> bool:
    """Whether the nearest side in the clause is the other one."""
    here = [
        (min(abs(t.start - i) for i in spot), t.name)
        for t in sentence.terms
        if t.kind == "side" and sentence.clause[t.start] == sentence.clause[spot[0]]
    ]
    here += [
        (min(abs(t.start - i) for i in spot), name)
        for t in sentence.terms
        for name in ("left", "right")
        if t.kind == "place" and t.name.startswith(name)
    ]
    return bool(here) and min(here)[1] not in (side.name, "bilateral")


def _by_words(head: Part, sentence: Sentence) -> str | None:
    """What other words of the sentence say of it: an antonym no, a word that says the same yes."""
    for table, meaning in ((antonyms(), NO), (synonyms(), YES)):
        names = {head.name, *head.forms[0], *(form[0] for form in head.forms if len(form) == 1)}
        words = frozenset().union(*(table.get(name, frozenset()) for name in names))
        for i, word in enumerate(sentence.words):
            if word.stem not in words or sentence.generic[i]:
                continue
            if sentence.hedged[i] and not sentence.favored:
                continue
            return _OPPOSITE[meaning] if sentence.negated[i] else meaning
    return None


_DEVICES = stems("device line tube catheter hardware support")


def _denies_any(stems: frozenset[str], sentence: Sentence) -> bool:
    """Whether the sentence denies things of that sort: "No lines or tubes are seen"."""
    return any(w.stem in stems and sentence.negated[i] for i, w in enumerate(sentence.words))


def _says_normal(asked: Proposition, sentence: Sentence) -> bool:
    """Whether it calls what was asked about normal, and asserts no finding."""
    places = [p for p in asked.subject if p.kind in ("organ", "place")]
    head = asked.predicate[-1]
    inner = [
        piece for part in parts_of_name(head.forms[0]) for piece in parts_of_name(part.forms[0])
    ]
    places += [part for part in inner if part.kind in ("organ", "place")]
    organs = [t for t in sentence.terms if t.kind == "organ"]
    if places and organs and not any(mentions_of(p, sentence) for p in places):
        return False
    return sentence.normal and not any(
        t.kind in ("finding", "diagnosis")
        and is_asserted(word_indices(t), Part(t.kind, t.name), sentence)
        for t in sentence.terms
    )


def _normality(asked: Proposition, sentences: list[Sentence]) -> str | None:
    """Whether the text calls it normal, or asserts anything abnormal."""
    normal = abnormal = False
    about = [p for p in asked.subject if p.kind != "modality"]
    for sentence in sentences:
        organs = [t for t in sentence.terms if t.kind == "organ"]
        if about and organs and not any(mentions_of(p, sentence) for p in about):
            continue
        here = {t.name for t in sentence.terms if t.kind == "side"} & {"left", "right"}
        if here and any(p.kind == "side" and p.name not in here for p in about):
            continue
        for term in sentence.terms:
            spot = word_indices(term)
            if any(sentence.generic[i] for i in spot):
                continue
            negative = any(sentence.negated[i] for i in spot)
            if any(sentence.hedged[i] for i in spot) and not sentence.favored:
                continue
            if term.kind == "state" and term.name in ("normal", "abnormal"):
                normal |= (term.name == "normal") != negative
                abnormal |= (term.name == "normal") == negative
            elif term.kind in ("finding", "diagnosis"):
                normal |= negative
                abnormal |= not negative
            elif term.kind == "state" and term.name in ("enlarged", "displaced", "malignant"):
                abnormal |= not negative
        asserted = {w.stem for i, w in enumerate(sentence.words) if not sentence.negated[i]}
        abnormal |= not _SIGNS.isdisjoint(asserted)
        normal |= sentence.normal
    if abnormal:
        return NO if asked.asks_normal else YES
    if normal:
        return YES if asked.asks_normal else NO
    return None


_SIGNS = stems(
    "mass lesion opacity nodule wedge lost swelling tumor shadow irregular collapse"
    " density infiltrate thickened blunted torn too"
)
