"""Detect texts that claim to see the image of the question, such as "the image shows a mass".

Only explicit claims count: the sentence names the image, or an act of seeing. "The lungs are
clear" names neither. A claim that something is absent ("no fracture is visible in this film")
counts, since it needs the image too. English only. The precision and recall are in
evaluate/metrics/README.md.
"""

from __future__ import annotations

import re

from medr1.text.sentences import sentences, without_question, without_quotations

_NOUN = (
    r"(?:images?|imaging|pictures?|photos?|photographs?|scans?|slides?|slices?|figures?|films?|"
    r"radiographs?|x-?rays?|mammograms?|sonograms?|ultrasounds?|angiograms?|echocardiograms?|"
    r"micrographs?|tomograms?|cts?|mris?|oct|pet|views?)\b"
)
_IMAGE = (
    r"\b(?:the|this|these|that|your|both)\s+(?:(?!(?:typical|classic|usual|common|average|the|an?|"
    r"this|that|your|what|which|whether|asks?|says?|shows?|is|are|of|in|on|to|with|for)\b)"
    rf"[\w-]+\s+){{0,4}}?{_NOUN}(?:\s+{_NOUN})?"
)
"""One certain image, such as "the given CT scan"; not "CT scans", which may be knowledge."""
_SHOWS = (
    r"(?:show(?:s|ed)?|demonstrate(?:s|d)?|reveal(?:s|ed)?|depict(?:s|ed)?|display(?:s|ed)?|"
    r"indicate(?:s|d)?|suggest(?:s|ed)?|presents?|contains?|features?|exhibits?|appears?|seems?|has|"
    r"have|highlights?|illustrates?|(?:is|are)\s+(?:an?|of|from|taken|consistent)\b)"
)
_SEEN = (
    r"(?:visible|seen|shown|depicted|present|presented|observed|noted|visuali[sz]ed|evident|"
    r"identified|displayed|apparent|demonstrated|pictured|marked|highlighted)"
)
_PART = (
    r"(?:features?|findings?|appearances?|regions?|areas?|signals?|structures?|lesions?|spots?|"
    r"opacit(?:y|ies)|mass(?:es)?|nodules?|evidence|arrows?|patterns?|parts?|portions?|corners?|"
    r"sides?|cent(?:er|re)|colou?rs?|shapes?|textures?|tissues?|organs?)"
)
_CLAIM = re.compile(
    "|".join(
        (
            rf"{_IMAGE}(?:\s+(?:here|above|below|provided|of(?:\s+\w+){{1,4}}?))?\s+(?:\w+ly\s+)?"
            rf"(?:(?:does|do|did)(?:\s+not|n't)\s+)?{_SHOWS}\b",
            r"\b(?:i|we|one|you)(?:\s+(?:can|could|do|did|also|clearly|not|cannot|can't|don't))*\s+"
            r"(?:see|saw|observed?|noticed?|spot|detect|discern)\b(?!,|\.|\s+(?:why|how|what|"
            rf"(?:(?:the|an?|any|no|your)\s+)?(?:{_NOUN}|question|options?|problem)))",
            rf"\b{_SEEN}(?:\s+\w+){{0,3}}?\s+(?:in|on|within|by|from)\s+{_IMAGE}",
            r"\b(?:as|is|are|was)\s+(?:seen|shown|depicted)\s+here\b",
            rf"(?:^|[,;:]\s*|\band\s+)(?:in|on|within)\s+{_IMAGE}[^,.;]{{0,40}},",
            rf"\b(?:based\s+on|from|judging\s+(?:by|from)|according\s+to|looking\s+at|(?:up)?on\s+"
            r"(?:examining|reviewing|viewing|inspecting)|(?:after\s+|by\s+)?(?:examining|reviewing|"
            rf"viewing|inspecting|analy[sz]ing))\s+{_IMAGE}[^,.;]{{0,40}},",
            rf"\bthere\s+(?:is|are|was|were)\b[^.;]{{0,150}}\b(?:in|on|within)\s+{_IMAGE}",
            rf"\b{_PART}(?:\s+\w+){{0,4}}?\s+(?:in|on|of|within)\s+{_IMAGE}",
            rf"\b(?:this|it|these)\s+(?:is|are|appears?\s+to\s+be|looks?\s+like)\s+(?:an?\s+|the\s+)?"
            rf"(?:[\w-]+\s+){{0,4}}?{_NOUN}\s+(?:of|from|showing|with|in)\b",
        )
    ),
    re.IGNORECASE,
)
_NOT_ASSERTED = re.compile(
    r"\b(?:if|whether|questions?|users?|asks?|asked|asking|task|options?|choices?|wants?|need\s+to|"
    r"needs\s+to|have\s+to|has\s+to|let\s+(?:me|us)|let's|should|would|to\s+(?:answer|determine|"
    r"identify|decide|find\s+out))\b",
    re.IGNORECASE,
)
"""What stands before a claim that is a condition, a plan, or a repetition of the question."""
_NO_IMAGE = re.compile(
    r"(?:not|n't|unable\s+to|cannot|able\s+to)\s+(?:\w+ly\s+)?(?:see|view|access|open|look\s+at|"
    r"display|interpret|process|analy[sz]e)\s+"
    rf"(?:(?:the|an?|any|your|this|these)\s+)?(?:\w+\s+)?{_NOUN}|"
    rf"\b(?:no|without)\s+(?:(?:the|an?|any|access\s+to)\s+)*(?:\w+\s+)?{_NOUN}\s*"
    r"(?:,|\.|$|(?:is|was|were|has\s+been)\s+(?:provided|given|attached|available|visible)|"
    r"attached|provided|available|here)|"
    r"\bno\s+access\s+to\b|"
    rf"{_NOUN}\s+(?:is|was|are|were)(?:\s+not|n't)\s+(?:visible|provided|available|attached|"
    r"included|shown)\b",
    re.IGNORECASE,
)


def claims_to_see(text: str, question: str = "") -> bool:
    """Whether a text claims to see something in the image of the question.

    Questions, quotations, conditions, plans and sentences that say that no image can be seen are
    no claims.

    Args:
        text: A completion with its reasoning, or any English text.
        question: The question; where the text repeats it, this is no claim.
    """
    text = without_question(without_quotations(text), question)
    return any(map(_is_claim, sentences(text)))


def _is_claim(sentence: str) -> bool:
    """Whether one sentence claims to see something."""
    if sentence.endswith("?") or _NO_IMAGE.search(sentence):
        return False
    claim = _CLAIM.search(sentence)
    return claim is not None and not _NOT_ASSERTED.search(sentence[: claim.start()])
