"""The published protocols by name, and the question that each of them is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from medr1.answers.protocols import llava_med, medevalkit, medvlthinker, omnimedvqa
from medr1.answers.protocols.marks import ProtocolMark, ProtocolQuestion

MARKS: Mapping[str, Callable[[str, ProtocolQuestion], ProtocolMark]] = {
    "medevalkit": medevalkit.mark,
    "medvlthinker": medvlthinker.mark,
    "medvlthinker-regrade": medvlthinker.mark_regrade,
    "llava-med": llava_med.mark,
    "omnimedvqa": omnimedvqa.mark,
}
"""Name, one of `names.PUBLISHED` -> the function of a completion and a question."""
