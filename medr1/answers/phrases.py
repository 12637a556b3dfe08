"""The words of reports that carry no finding, and those that negate, doubt, join or give a side.

Data for `findings`, and one pass that turns phrases of several words into marks in capitals.
"""

from __future__ import annotations

import re


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


PLACEHOLDER = "_"
"""Where a side stands among words whose order says something."""

SIDES = {
    **dict.fromkeys(("left", "leftward", "leftwards"), "left"),
    **dict.fromkeys(("right", "rightward", "rightwards"), "right"),
    **dict.fromkeys(("bilateral", "bilaterally", "both"), "both"),
}
LISTING = {
    **dict.fromkeys((",", ":", "(", ")", "with"), ","),
    **dict.fromkeys(("and", "&", "plus"), "and"),
    **dict.fromkeys(("or", "nor", "vs", "versus"), "or"),
}
"""A word or sign that goes on with a list, and its kind."""
HARD = _words("but however although though yet while whereas except despite whilst otherwise")
"""What ends the scope of a negation."""
RELATIONS = _words(
    "to from than above below behind over under between beneath into onto through before after"
    " by against beside = / < > ≤ ≥ ± + % ° ^ √"
)
"""The order of the words around these says something."""
STATES = _words(
    "present presents seen visible visualized visualised noted identified observed detected evident"
    " found demonstrated appreciated shown depicted"
)
VERBS = _words(
    "is are was were be been being has have had do does did can shows show showing showed see"
    " demonstrates demonstrate demonstrating reveals reveal revealing depicts depict depicting"
    " displays display exhibits exhibit contains contain containing appears appear appearing"
    " looks look indicates indicate indicating represents represent"
)
CARRIERS = _words(
    "a an the there it this that these those which who any some its their also as we you of in on"
    " at within for located"
)
UNCERTAIN = _words(
    "possible possibly probable probably likely unlikely may might could perhaps maybe suspected"
    " suspicious suspicion suspect questionable equivocal indeterminate presumed presumably seems"
    " seem seemingly potential potentially doubtful unsure uncertain unclear either if"
    " should would think believe guess compatible"
)

_STATE = "|".join(sorted(STATES))
_SHOW = "show|demonstrate|reveal|depict|display|exhibit|contain|indicate|have|see|include"
_SHOWS = "shows?|showed|demonstrates?|reveals?|depicts?|displays?|exhibits?|contains?|indicates?"
_UNSURE = "only|just|necessarily|clearly|definitely|certain(?:ly)?|sure"
_NOT_ALONE = rf"{_UNSURE}|{_STATE}|excluded|ruled out"
_PICTURE = (
    r"(?:images?|pictures?|photo(?:graph)?s?|figure|scans?|x-?rays?|radiographs?|films?|slides?"
    r"|micrographs?|views?)"
)
_MODALITY = rf"(?:{_PICTURE}|ct|mri|ultrasound|sonogram|mammogram|study|section|patients?)"
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
            # what is not said with certainty
            r"(?P<UNC>(?:can|could|may|might) not (?:be )?(?:entirely |completely |definitely )?"
            r"(?:exclude|excluded|rule out|ruled out)|not (?:be |been )?(?:excluded|ruled out)"
            r"|(?:to )?rules? out|suggest(?:s|ive|ing)?(?: of)?|suspicious (?:for|of)"
            r"|concern(?:s|ing)? for|compatible with|differential(?: diagnosis)?(?: includes?)?)",
            # a negation that negates something else
            rf"(?P<DOUBLE>not (?:{_UNSURE})|(?:no|without) (?:doubt|question)"
            r"|can not (?:be )?den(?:y|ied))",
            # nothing before or after is there
            rf"(?P<ABSENT>not (?:yet |be |been )*(?:{_STATE})|absent|ruled out|excluded)",
            # what follows is not there
            rf"(?P<NEG>(?:does |do |did |can )?not (?:{_SHOW})|absence of|lack of|lacks?|lacking"
            r"|free (?:of|from)|devoid of|clear of|negative for|den(?:ies|ied|y|ying)"
            r"|without|neither|never|none|no)",
            # the clause is denied as a whole
            r"(?P<ISNOT>(?:is|are|was|were|be|been|being|appears?|looks?|does|do|did|has|have|had"
            rf"|it|can) not(?: be)?(?! (?:yet |be |been )*(?:{_NOT_ALONE})))",
            r"(?P<NOT>not)",
            # what carries a finding and is none
            r"(?P<DROP>(?:evidence|signs?|indications?|presence|findings?) (?:of|for)"
            r"|consistent with|diagnostic of|characteristic of|(?:in|on) (?:the|this|that)"
            rf" (?:given |provided |shown )?{_PICTURE}(?: (?:shown|provided|given|above|below))?"
            r"|to the(?= (?:left|right)\b(?! of\b))|as well(?! as\b))",
            r"(?P<ALSO>as well as|along with|together with|accompanied by|associated with)",
        )
    ).join((r"\b(?:", r")\b"))
)
_MARKS = {
    "UNC": " UNC ",
    "DOUBLE": " DOUBLE ",
    "ABSENT": " ABSENT ",
    "NEG": " NEG ",
    "NOT": " NEG ",
    "ISNOT": " ISNOT ",
    "DROP": " ",
    "ALSO": " , ",
}
_CONTRACTED = re.compile(r"\b(?:can't|cannot)\b|n't\b|(?:(?<=\bit)|(?<=that)|(?<=there))'s\b")
_SPELLED_OUT = {"n't": " not", "'s": " is"}
_SIDE = re.compile(r"\b(left|right|both)(?:[ -]hand)?[ -]side[sd]?\b")
_I = re.compile(r"\bi (?=(?:do|can|could|see|think|believe|suspect|would)\b)")
_NO_ARTICLE = re.compile(r"(?<=\w )A\b|\b(?:AS|IT|AN|AT)\b")
_PREFIX = re.compile(r"\bnon-(?=[a-z])")
_DASH = re.compile(r" - (?!\d)")
_UNLIKELY = re.compile(r"\b(?:un|not )likely\b")


def mark_phrases(text: str) -> str:
    """The text in lower case, with marks in capitals for what negates, doubts or carries.

    The A of "hepatitis A" and the AS of an aortic stenosis get a "_", since they are no articles.
    """
    if not text.isupper():
        text = _NO_ARTICLE.sub(lambda word: word[0] + "_", text)
    text = _LETTER_SIDE.sub(lambda side: "left" if side[1] else "right", text).lower()
    text = _CONTRACTED.sub(lambda said: _SPELLED_OUT.get(said[0], "can not"), text)
    text = _PREFIX.sub("non", _DASH.sub(" , ", text))
    text = _I.sub("", _SIDE.sub(r"\1", text))
    text = _SUBJECT.sub("", text)
    text = _UNLIKELY.sub("ABSENT UNC", text)
    return _PHRASES.sub(lambda phrase: _MARKS[phrase.lastgroup or "DROP"], text)
