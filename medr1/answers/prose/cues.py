"""Words and phrases that deny, doubt, correct, conclude or refuse: the data of the rules.

`reading` applies those for texts, `sentences` those for single sentences. Without any one of the
lists, labelled verdicts change (`tests/test_prose_rules.py`).
"""

from __future__ import annotations

import re

from medr1.answers.prose.terms import phrases, word_set

LONGEST_TEXT = 8_000
"""Characters of a text that are read; the rest is ignored."""
ENUMERATION_LENGTH = 16
"""A text with this many pieces, nearly all without a verb, is a list of everything, no answer."""
SENTENCE_BREAK = re.compile(
    r"\n+|(?<=[.!?…])(?<!\bvs\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bDr\.)(?<!\bapprox\.)\s+(?!\d+\s*%)"
)
"""The white space between two sentences; not after "e.g." and the like."""
BULLET = re.compile(r"^\s*(?:[-*+#]+\s+|•\s*|\(?\d{1,2}[.)]\s+|\(?[a-h]\)\s*)")
"""The beginning of a line of a list: "- ", "1. ", "(a) "."""
MARKUP = re.compile(r"[*_`#|]+|✅|❌")
"""Characters of Markdown, and check marks."""
HEADING = re.compile(r"^\s*([^\W\d][\w /-]{1,40}?)\s*(?::|$)")
"""A possible heading at the start of a line: up to a colon, or the complete line."""
FINAL = re.compile(
    r"(?:final |overall |my |the )?(?:impression|conclusion|diagnos[ie]s|answer|assessment|summary"
    r"|opinion|interpretation|pathologic(?:al)? diagnosis|final report|verdict)s?|final",
    re.IGNORECASE,
)
"""Headings of a section that concludes."""
LESS_LIKELY = re.compile(
    r"(?:less|un)\s?likely.*|alternatives?|alternative diagnos[ie]s|differentials?"
    r"|differential diagnos[ie]s.*|other (?:possibilit\w+|considerations?|options?|diagnos\w+)"
    r"|possibilities|considerations?|possible (?:\w+ )?(?:a?etiolog\w+|diagnos\w+|causes?"
    r"|interpretations?)|against|(?:clinical )?(?:indication|history)|technique|comparison",
    re.IGNORECASE,
)
"""Headings of a section with less likely answers, or with circumstances such as the history."""
BODY = re.compile(
    r"(?:\w+ ){0,3}(?:findings?|description|examination|appearance|location|analysis|reasons?"
    r"|explanation|observations?|details?|main finding|features?|recommendations?|note"
    r"|for reference)",
    re.IGNORECASE,
)
"""Headings of a section that describes."""
CORRECTION = re.compile(
    r"(?:^|(?<=[.;:!?…,-])|(?<=\.\.\.)|(?<=\n))\s*(?:(?:hmm+|oh|but|so|and|no|sorry"
    r"|then)[,;. ]\s*)*"
    r"(?:(?:no[,.]? )?wait\b|actually\b|on (?:second|further) (?:thought|look|reflection"
    r"|inspection)"
    r"|on (?:a )?clos(?:er) (?:inspection|look|review)|correction\b|scratch that\b|my mistake\b"
    r"|my (?:apologies|bad|error)\b|let me (?:re-?\w+|check|double|correct|look|count)\b"
    r"|on (?:checking|reviewing|re-?reading|looking)\b|(?:looking|checking|counting"
    r"|following it|reading it|reviewing|thinking) (?:it )?(?:again|more)"
    r"|hold on\b|then again\b|i (?:have to|must|need to|will|'ll|should)? ?(?:correct"
    r"|revise|retract"
    r"|change|take (?:that|it) back|withdraw|amend)\b|i'd (?:correct|revise|change)\b"
    r"|sorry,? (?:i|that|no|the)\b|no,? sorry\b|hmm+\b|rather:|or rather\b|i mean\b)"
    r"|\bso i retract that\b"
    r"|\bi (?:(?:therefore|thus|hereby) )?(?:correct|change|revise) (?:my|this|that)\b"
    r"|\bi (?:was|am) (?:mistaken|wrong|in error)\b(?: and)?|\bthat (?:is|was) wrong\b"
    r"|\.\.\. ?no\b|\s-\s?no\b(?=\s*[,.:;!])|, no, ",
    re.IGNORECASE,
)
"""Phrases that withdraw the text before them: "Wait, ...", "Actually ...", "I was wrong"."""
FIRST_GUESS = re.compile(
    r"\b(?:at first(?: glance| sight)?|initially|first (?:guess|impression|thought|read"
    r"|reading)|i (?:first|originally)"
    r"|was going to say|looks? like .{0,60}\bbut\b|i thought|what i (?:took|labelled|labeled))\b",
    re.IGNORECASE,
)
"""Phrases of a sentence that reports a first guess, such as "at first glance"."""
REFUSAL = re.compile(
    r"^\W*(?:sorry\b|no answer\b|(?:it is )?not possible to\b|(?:i|we) (?:do not|don't) have\b"
    r"|(?:i am |i'm )?(?:not sure|unsure)\b)"
    r"|\b(?:i|we)(?:'m| am| are)? (?:sorry|unable|not able|not qualified|afraid)\b"
    r"|\b(?:i|we) (?:cannot|can ?not|can't|could not|couldn't|am unable|do not think i can"
    r"|don't think i can)"
    r"(?: \w+){0,2}? (?:determine|provide|diagnos\w*|assess|identify|interpret|say|tell|view|answer"
    r"|assist|infer|analy[sz]e|give|localise|localize|comment|evaluate|confirm|see enough"
    r"|make|help|count|quantify)\b"
    r"|\bas an ai\b|\b(?:unable|not possible|impossible|not able|too (?:low|poor"
    r"|blurry)(?: for me)?"
    r"|insufficient(?: \w+)?) to (?:\w+ )?(?:determine|provide|diagnose|assess|identify"
    r"|interpret|say"
    r"|tell|answer|give|establish|make|draw|be|count|quantify)\b"
    r"|\b(?:cannot|can't|can not|could not) be (?:\w+ )?(?:determined|answered|assessed|identified"
    r"|established|given|evaluated|made|drawn|localised|localized)\b"
    r"|\bno (?:\w+ )?(?:answer|conclusion|diagnosis|statement)s? (?:\w+ ){0,3}?(?:can|could) be\b"
    r"|\bthere is no way (?:to|of) (?:tell|know|say)|\bnot able to answer\b|\bi do not know\b"
    r"|\bi don't know\b|\bno idea\b",
    re.IGNORECASE,
)
"""Phrases that decline to answer: "I cannot determine", "As an AI"."""
PIVOT = re.compile(
    r"\b(?:that said|that being said|however|but|nevertheless|nonetheless|what i can (?:tell|say)"
    r"|from what can be seen|i can (?:describe|tell|see|say|offer)|based on"
    r"|having said (?:that|so|this)|in terms of|as for the"
    r"|still)\b",
    re.IGNORECASE,
)
"""Phrases after which a text that refused answers nevertheless: "However", "That said"."""
FAVORED = re.compile(
    r"\b(?:most (?:likely|probabl[ey]|consistent|in keeping|compatible|suggestive)"
    r"|favou?red|favou?rs?"
    r"|i favou?r|top of the list|heads the list|ranks first|leading (?:consideration|diagnosis)"
    r"|best explained|by far|diagnostic of"
    r"|is the (?:correct )?answer|is my answer|is more likely)\b",
    re.IGNORECASE,
)
"""Phrases that choose one of several possibilities: "most likely", "favored"."""
NOT_FAVORED = re.compile(
    r"(?:\bnot|\bcannot|n't|\bunable to|\bnone|\bno)\b(?: \w+){0,4} favou?r", re.IGNORECASE
)
"""Phrases that choose none of them: "does not favor"."""
CONCLUDING = re.compile(
    r"\b(?:therefore|thus|hence|in summary|in conclusion|overall|to conclude|so the|consequently"
    r"|accordingly|(?:the|my|final) answer(?: is|:)|is the answer)\b|^so\b",
    re.IGNORECASE,
)
"""Phrases that begin a conclusion: "Therefore", "The answer is"."""
FREE_SUFFIX = re.compile(r"\b([^\W\d_]+)-free\b")
"""A denial by suffix: "effusion-free"."""
IMAGE_SIDE = re.compile(
    r"\b(?:left|right)[ -](?:hand )?(?:side )?of the (?:image|picture|photo\w*|screen|figure"
    r"|frame)\b",
    re.IGNORECASE,
)
"""A side of the image: it is not the patient's, whose left is often on the right of the image."""
PRE_NEGATION = phrases(
    "mimicking | no | reversed | mimics | not | without | never | neither | nor | cannot | lack | "
    "lacks | lacking | absence | free of | free from | negative for | devoid of | "
    "no evidence of | no sign of | rather than | instead of | unlike | unlikely to | rules out | "
    "ruling out | excludes | excluding | exclude | denies | against | fails to | none | "
    "far from | other than | except for | rule out | differs from | different from | spares | "
    "sparing | history of | mimic of | mimicker of | simulates | simulating | imitates"
)
"""Phrases that deny the words after them in their clause: "no effusion"."""
POST_NEGATION = phrases(
    "absent | excluded | ruled out | unlikely | less likely | less probable | not seen | "
    "not present | not visible | not identified | not visualized | not visualised | "
    "not included | not evident | not observed | not detected | not demonstrated | not noted | "
    "not found | not favored | not favoured | not shown | not provided | not likely | "
    "not the case | not appreciated | least likely | not involved | not invaded | "
    "outside the field | not imaged | outside of the field | not covered | not within | "
    "not part of | not demonstrable | scarce | is out | are out | ranks second | ranks third | "
    "comes second | comes third | removed | taken out"
)
"""Phrases that deny the words before them in their clause: "effusion is absent"."""
NORMAL_CUES = phrases(
    "intact | normal | clear | unremarkable | spared | preserved | healthy | uninvolved | "
    "patent | well aerated | within normal limits | normally | unaffected | aerated | "
    "lies where it should | is where it should"
)
"""Phrases that call the things of their clause normal: "the lungs are clear"."""
HEDGE = phrases(
    "may | might | could | possible | possibly | perhaps | potentially | conceivably | either | "
    "differential | considerations | possibilities | cannot exclude | can't exclude | "
    "cannot be excluded | not excluded | cannot rule out | can't rule out | not be ruled out | "
    "uncertain | in theory | suspected | should be excluded | needs to be excluded | maybe | "
    "not be excluded | question of | one would | not be entirely excluded | if | whether | "
    "one considers | to consider | to weigh | should be considered | when present | "
    "when it is present | in the past | earlier scan | earlier film | previous scan | "
    "previous film | prior scan | previously | formerly | to mind | advance | a consideration | "
    "explanations"
)
"""Phrases that leave open whether the things of their clause are there: "may be a cyst"."""
GENERIC = phrases(
    "usually | mostly found | mostly seen | generally | often | commonly | sometimes | "
    "in general | can be caused | such as | for example | radiologists look for | refers to | "
    "is defined as | normally | for reference | can be used | are used | would usually | "
    "frequently | typically presents | typically appear | would typically | are caused by | "
    "includes conditions | can represent | threshold | means | is a condition | "
    "is an accumulation | is a technique | is the process | is one of the | is common in | "
    "known for | are the most common | consists of the | consist of the"
)
"""Phrases of a statement in general, not about this image: "cysts are usually round"."""
CLAUSE_ENDS = word_set(
    "but however although though yet while whereas except because since ; : . ? ! which where wh"
    "o"
    " therefore thus so suggesting indicating consistent causing"
)
"""Words and signs that end a clause."""
SUBORDINATE = word_set(
    "since as because although though while if when given in with based considering from at on"
)
"""First words of a sentence whose main clause follows a comma: "Since ..., it is a cyst"."""
DETECTION_VERBS = word_set(
    "seen identified appreciated noted visualized visualised observed found detected recognized"
    " recognised made excluded ruled confirmed described distinguished"
)
"""Words after "can be" with which it states a fact; "can be benign" is a general statement."""
UP_TO_COMMA = word_set("sparing unlike rather instead except excluding other")
"""Words that deny only up to the next comma: "sparing the apex, the opacity ..."."""
NAMING_VERBS = word_set("called known referred termed used described")
"""Words after "commonly" with which it states a fact: "commonly called a stone"."""
MOST_LIKELY = word_set("likely probable probably consistent compatible suggestive in of")
"""Words after a first "most" that is about this image: "Most likely a cyst", "Most of the lung"."""
MODALS = word_set("may might could can should would")
VERBS = word_set(
    "is are was were has have had shows show showed appears appear can demonstrates demonstrate"
    " reveals suggests suggest measures contains remains seems lies sits it there do does did looks"
    " look follows means makes see seen noted identified visible indicates points represents"
    " corresponds arises extends involves occupies surrounds compresses invades includes would"
    " projects courses enhances measuring terminates ends runs passes reaches continues favor"
    " favour favors favours"
)
"""Words that show that a group of words is a clause of its own."""
PREDICATES = VERBS - {"it", "there", "measuring"}
"""Verbs that continue a clause with the same subject: "it lies lower and is not seen"."""
RELATION = phrases(
    "adjacent to | lateral to | medial to | anterior to | posterior to | superior to | "
    "inferior to | just below | just above | just under | below | above | near | next to | "
    "behind | beneath | underneath | close to | abutting | abuts | in front of | away from | "
    "left of | right of | between | lying against | against the | well above | spaces of | "
    "compared to | as in | compared with | comparing with | level of the | indents the | "
    "overlying | overlie | overlies | toward | towards | by a | by an | displaces | displacing | "
    "compresses | compressing | pushes | relative to | distal to | proximal to | crosses | "
    "crosses the | like a | like an | reaching"
)
"""Phrases before a thing that is named only as a landmark or for comparison: "below the liver"."""
RELATION_REACH = 7
"""Number of words after such a phrase that it applies to, at most."""
DOUBLE_NEGATION = phrases(
    "no doubt | no question | not only | not uncommon | without doubt | not just | not necessarily"
)
"""Phrases with a negation that deny nothing."""
