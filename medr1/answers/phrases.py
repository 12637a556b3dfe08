"""The words and phrases of reports that negate, doubt, join, name a side, or have no content.

`findings` uses the word lists. `mark_phrases` replaces phrases of several words by marks in
capitals, such as NEG.
"""

from __future__ import annotations

import re


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


PLACEHOLDER = "_"
"""The place of a side among content words whose order has a meaning."""

SIDES = {
    **dict.fromkeys(("left", "leftward", "leftwards"), "left"),
    **dict.fromkeys(("right", "rightward", "rightwards"), "right"),
    **dict.fromkeys(("bilateral", "bilaterally", "both"), "both"),
}
LIST_SEPARATORS = {
    **dict.fromkeys((",", ":", "(", ")", "with"), ","),
    **dict.fromkeys(("and", "&", "plus"), "and"),
    **dict.fromkeys(("or", "nor", "vs", "versus"), "or"),
}
"""Word or sign that continues a list -> its kind."""
SCOPE_ENDS = _word_set(
    "but however although though yet while whereas except despite whilst otherwise"
)
"""Words that end the scope of a negation."""
RELATION_WORDS = _word_set(
    "to from than above below behind over under between beneath into onto through before after"
    " by against beside = / < > ≤ ≥ ± + % ° ^ √"
)
"""Words and signs of relation: the order of the words around them has a meaning."""
STATE_WORDS = _word_set(
    "present presents seen visible visualized visualised noted identified observed detected evident"
    " found demonstrated appreciated shown depicted"
)
"""Words which state that something is there."""
VERB_WORDS = _word_set(
    "is are was were be been being has have had do does did can shows show showing showed see"
    " demonstrates demonstrate demonstrating reveals reveal revealing depicts depict depicting"
    " displays display exhibits exhibit contains contain containing appears appear appearing"
    " looks look indicates indicate indicating represents represent"
)
"""Verbs without content of their own."""
CARRIER_WORDS = _word_set(
    "a an the there it this that these those which who any some its their also as we you of in on"
    " at within for located"
)
"""Words without content: articles, pronouns, prepositions."""
UNCERTAIN_WORDS = _word_set(
    "possible possibly probable probably likely unlikely may might could perhaps maybe suspected"
    " suspicious suspicion suspect questionable equivocal indeterminate presumed presumably seems"
    " seem seemingly potential potentially doubtful unsure uncertain unclear either if"
    " should would think believe guess compatible"
)
"""Words of doubt."""

_STATE = "|".join(sorted(STATE_WORDS))
_SHOW = "show|demonstrate|reveal|depict|display|exhibit|contain|indicate|have|see|include"
_SHOWS = "shows?|showed|demonstrates?|reveals?|depicts?|displays?|exhibits?|contains?|indicates?"
_UNSURE = "only|just|necessarily|clearly|definitely|certain(?:ly)?|sure"
_NOT_ALONE = rf"{_UNSURE}|{_STATE}|excluded|ruled out"
_IMAGE = (
    r"(?:images?|pictures?|photo(?:graph)?s?|figure|scans?|x-?rays?|radiographs?|films?|slides?"
    r"|micrographs?|views?)"
)
_MODALITY = rf"(?:{_IMAGE}|ct|mri|ultrasound|sonogram|mammogram|study|section|patients?)"
_ORGAN = (
    r"(?:lungs?|kidneys?|breasts?|eyes?|ears?|hands?|feet|foot|arms?|legs?|knees?|hips?|shoulders?"
    r"|elbows?|wrists?|ankles?|ovary|adrenal|femur|tibia|fibula|humerus|radius|ulna|clavicle"
    r"|hemithorax|hemisphere|(?:pleural )?effusion)"
)
_LETTER_SIDE = re.compile(rf"\b(?:(L|Lt|LT|lt)|(R|Rt|RT|rt))\.?(?= {_ORGAN}\b)")
_SUBJECT = re.compile(
    r"(?:^|(?<=[.;!?] ))(?:in |on )?(?:the |this |that |an? )?"
    r"(?:(?!(?:no|not|without|left|right|both|bilateral|absent|and|or|of)\b)[a-z-]+ ){0,3}?"
    rf"{_MODALITY},? (?:clearly )?(?=(?:{_SHOWS}|has|have|had|denies|does not|do not|can not)\b)"
)
_PHRASES = re.compile(
    "|".join(
        (
            # UNC: the clause is uncertain
            r"(?P<UNC>(?:can|could|may|might) not (?:be )?(?:entirely |completely |definitely )?"
            r"(?:exclude|excluded|rule out|ruled out)|not (?:be |been )?(?:excluded|ruled out)"
            r"|(?:to )?rules? out|suggest(?:s|ive|ing)?(?: of)?|suspicious (?:for|of)"
            r"|concern(?:s|ing)? for|compatible with|differential(?: diagnosis)?(?: includes?)?)",
            # DOUBLE: a negation of a word of doubt, not of a finding
            rf"(?P<DOUBLE>not (?:{_UNSURE})|(?:no|without) (?:doubt|question)"
            r"|can not (?:be )?den(?:y|ied))",
            # ABSENT: what is before or after it is not there
            rf"(?P<ABSENT>not (?:yet |be |been )*(?:{_STATE})|absent|ruled out|excluded)",
            # NEG: what follows is not there
            rf"(?P<NEG>(?:does |do |did |can )?not (?:{_SHOW})|absence of|lack of|lacks?|lacking"
            r"|free (?:of|from)|devoid of|clear of|negative for|den(?:ies|ied|y|ying)"
            r"|without|neither|never|none|no)",
            # ISNOT: the complete clause is negated
            r"(?P<ISNOT>(?:is|are|was|were|be|been|being|appears?|looks?|does|do|did|has|have|had"
            rf"|it|can) not(?: be)?(?! (?:yet |be |been )*(?:{_NOT_ALONE})))",
            r"(?P<NOT>not)",
            # DROP: words around a finding that have no content
            r"(?P<DROP>(?:evidence|signs?|indications?|presence|findings?) (?:of|for)"
            r"|consistent with|diagnostic of|characteristic of|(?:in|on) (?:the|this|that)"
            rf" (?:given |provided |shown )?{_IMAGE}(?: (?:shown|provided|given|above|below))?"
            r"|to the(?= (?:left|right)\b(?! of\b))|as well(?! as\b))",
            r"(?P<ALSO>as well as|along with|together with|accompanied by|associated with)",
        )
    ).join((r"\b(?:", r")\b"))
)
_MARK_OF_GROUP = {
    "UNC": " UNC ",
    "DOUBLE": " DOUBLE ",
    "ABSENT": " ABSENT ",
    "NEG": " NEG ",
    "NOT": " NEG ",
    "ISNOT": " ISNOT ",
    "DROP": " ",
    "ALSO": " , ",
}
_CONTRACTION = re.compile(r"\b(?:can't|cannot)\b|n't\b|(?:(?<=\bit)|(?<=that)|(?<=there))'s\b")
_LONG_FORMS = {"n't": " not", "'s": " is"}
_SIDE = re.compile(r"\b(left|right|both)(?:[ -]hand)?[ -]side[sd]?\b")
_FIRST_PERSON = re.compile(r"\bi (?=(?:do|can|could|see|think|believe|suspect|would)\b)")
_CAPITAL_WORD = re.compile(r"(?<=\w )A\b|\b(?:AS|IT|AN|AT)\b")
_PREFIX = re.compile(r"\bnon-(?=[a-z])")
_DASH = re.compile(r" - (?!\d)")
_UNLIKELY = re.compile(r"\b(?:un|not )likely\b")


def mark_phrases(text: str) -> str:
    """The text in lower case, with phrases replaced by marks in capitals (UNC, NEG ...).

    Capital words that look like an article or a preposition get a "_", so that they stay content:
    the A of "hepatitis A", AS for aortic stenosis.
    """
    if not text.isupper():
        text = _CAPITAL_WORD.sub(lambda match: match[0] + "_", text)
    text = _LETTER_SIDE.sub(lambda match: "left" if match[1] else "right", text).lower()
    text = _CONTRACTION.sub(lambda match: _LONG_FORMS.get(match[0], "can not"), text)
    text = _PREFIX.sub("non", _DASH.sub(" , ", text))
    text = _FIRST_PERSON.sub("", _SIDE.sub(r"\1", text))
    text = _SUBJECT.sub("", text)
    text = _UNLIKELY.sub("ABSENT UNC", text)
    return _PHRASES.sub(lambda match: _MARK_OF_GROUP[match.lastgroup or "DROP"], text)
