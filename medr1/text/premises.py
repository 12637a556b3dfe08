"""Detect completions that say that the premise of a question is wrong.

The premise is what the question claims that the image shows. It is rejected by a sentence about the
premise itself ("the premise is wrong"), or by one that denies it ("the image does not show ...",
"a CT rather than an MRI"). English only. The precision and recall are in evaluate/trust/README.md.
"""

from __future__ import annotations

import re

from medr1.text.sentences import sentences, without_question

_SOURCE = r"(?:premise|question|statement|claim|assumption|description|prompt)"
_WRONG = (
    r"(?:wrong|false|incorrect|mistaken|untrue|invalid|inaccurate|misleading|unfounded|"
    r"unsupported|contradicted)"
)
_ABOUT_PREMISE = re.compile(
    "|".join(
        (
            rf"\b{_SOURCE}\b[^.;]{{0,80}}\b(?:is|are|was|be|seems?|appears?)\s+(?:\w+ly\s+)?{_WRONG}\b",
            rf"\b{_SOURCE}\b[^.;]{{0,80}}(?:\bcannot|n't|\bnot)\s+(?:be\s+)?"
            r"(?:true|correct|right|accurate|match|fit|hold|supported)\b",
            rf"\b{_WRONG}\s+{_SOURCE}\b",
            rf"\bcontrary\s+to\s+(?:the|what\s+the|this)\s+(?:\w+\s+)?{_SOURCE}\b",
            rf"\bdespite\s+(?:the|what\s+the)\s+(?:\w+\s+)?{_SOURCE}\b",
            rf"\b(?:disagree\s+with|reject|correct|question)\s+the\s+(?:\w+\s+)?{_SOURCE}\b",
            rf"\b(?:although|though|while)\s+the\s+{_SOURCE}\b",
            rf"\b{_SOURCE}\s+(?:says?|states?|claims?|assumes?|mentions?|presupposes?|suggests?)\b"
            r"[^.;]{0,80}\bbut\b",
            r"^\s*(?:no,\s+)?actually,\s+(?:this|it|the\s+(?:image|scan|organ|modality))\b",
            r"\b(?:image|scan|picture|this|it)\s+actually\s+(?:shows?|is|depicts?)\b",
        )
    ),
    re.IGNORECASE,
)
_DENIED_BEFORE = (
    r"(?:(?:\b(?:is|are|was|were|does|do|did|can|could|has|have)\s*n[o']t|\bcan(?:not|'t))\s+"
    r"(?:(?:show|contain|depict|see|find|detect|display|taken|be|made|an?\s+image\s+of|by|with|"
    r"any|actually|really|appear\s+to\s+be)\s+)*|"
    r",\s+not\s+|\brather\s+than\s+|\binstead\s+of\s+|\bno\s+(?:evidence\s+of\s+|signs?\s+of\s+)?|"
    r"\binconsistent\s+with\s+|\bexcludes?\s+|\brules?\s+out\s+)(?:an?\s+|the\s+|any\s+)?"
)
_DENIED_AFTER = (
    r"\s+(?:(?:is|are|was|were)\s+(?:absent|missing|excluded|ruled\s+out|"
    r"not\s+(?:visible|seen|present|shown|there|found|depicted|in\s+(?:the|this))\b)|"
    r"(?:is|are)n't\s+(?:visible|seen|present|shown|there)\b)"
)
_ARTICLE = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)


def rejects_premise(text: str, premise: str, question: str = "") -> bool:
    """Whether a text says that the premise is wrong, or denies that the image shows it.

    Args:
        text: A completion with its reasoning.
        premise: What the question claims that the image shows, such as "a bicycle".
        question: The question; where the text repeats it, this says nothing.
    """
    words = _ARTICLE.sub("", premise.strip().rstrip("."))
    name = r"\s+".join(map(re.escape, words.split()))
    denied = re.compile(
        rf"{_DENIED_BEFORE}{name}(?!\w)|(?<!\w){name}{_DENIED_AFTER}", re.IGNORECASE
    )
    return any(
        _ABOUT_PREMISE.search(sentence) or (words and denied.search(sentence))
        for sentence in sentences(without_question(text, question))
        if not sentence.endswith("?")
    )
