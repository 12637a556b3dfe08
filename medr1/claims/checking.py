"""Compare the claims of a text with what is known of its item: contradicted, confirmed, unchecked.

A claim about which nothing is known is unchecked, and never a contradiction. Where a claim and a
fact can both be true, nothing is contradicted: another finding than that of the ground truth, say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from medr1.claims.known import Facts, Known
from medr1.claims.reading import Claim, correction_start, read_claims
from medr1.claims.vocabulary import (
    NOT_ABNORMAL,
    PARTS,
    SAME_PLACE,
    SIMILAR_MODALITIES,
    SIMILAR_PLANES,
    broader_findings,
    names,
    regions,
    same_group,
    wider_parts,
)

KINDS = ("modality", "body_part", "side", "plane", "finding", "own_answer")
"""The kinds of contradiction."""
SEVERITIES = ("catastrophic", "critical", "attribute", "minor")
"""The severities, the worst first."""
SEVERITY = {
    "body_part": "catastrophic",
    "finding": "critical",
    "own_answer": "critical",
    "side": "attribute",
    "modality": "minor",
    "plane": "minor",
}
"""Kind -> severity, after the hierarchy of Med-HallMark (Chen et al., 2024, arXiv 2406.10185).

Wrong organs are catastrophic there, wrong pathologies critical, wrong locations attribute errors,
and wrong modalities or ways of acquisition minor. It has no class for a text that contradicts its
own answer; that is critical here, since either the text or the answer is wrong."""

_PAIRED = frozenset(
    names(
        "breast, lung, kidney, eye, retina, ear, shoulder, elbow, forearm, wrist, hand, hip, "
        "femur, knee, ankle, foot, arm, leg, ovary, testis, adrenal"
    )
)
"""Parts of which the body has two."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A claim that what is known of the item rules out."""

    kind: str
    """One of KINDS."""
    sentence: str
    start: int
    """Where the claim stands in the text, in characters."""
    end: int
    claimed: str
    """What the text says, such as "mri" or "no effusion"."""

    @property
    def severity(self) -> str:
        """One of SEVERITIES."""
        return SEVERITY[self.kind]


@dataclass(frozen=True)
class CheckedText:
    """All claims of a text, compared with what is known."""

    claims: tuple[Claim, ...]
    checked: tuple[tuple[str, int], ...]
    """Kind and number of the claims that could be compared; own_answer counts claims that are
    counted under another kind too."""
    n_checked: int
    """Number of claims that could be compared with something other than the own answer, or with
    it."""
    contradictions: tuple[Contradiction, ...]


def contradictions(text: str, known: Known) -> list[Contradiction]:
    """The claims of a text that contradict what is known, one for each kind and sentence.

    Args:
        text: A completion with its reasoning, in English.
        known: What is known, from `known.known_of`.
    """
    return list(check(text, known).contradictions)


def check(text: str, known: Known) -> CheckedText:
    """Read the claims of a text and compare each with what is known of its item.

    Args:
        text: A completion with its reasoning, in English.
        known: What is known, from `known.known_of`.
    """
    claims = read_claims(text, known.question, known.extra)
    checker = _Checker(known)
    counts = dict.fromkeys(KINDS, 0)
    n_checked, withdrawn = 0, correction_start(text)
    listed: list[Contradiction] = []
    present = {claim.value for claim in claims if claim.certain and not claim.negated}
    for claim in claims:
        # "a fracture of the left clavicle, and none of the right": the denial is about one place
        is_local = claim.negated and bool(claim.sides or claim.parts) and claim.value in present
        verdicts = [] if is_local else list(checker.verdicts(claim))
        n_checked += bool(verdicts)
        for kind in {kind for kind, _ in verdicts}:
            counts[kind] += 1
        for kind, contradicts in verdicts:
            # "an MRI ... wait, it is a CT" takes the first claim back
            if contradicts and claim.start >= withdrawn:
                listed.append(_contradiction(kind, claim))
    distinct = {(item.kind, item.sentence): item for item in reversed(listed)}
    ordered = sorted(distinct.values(), key=lambda item: (item.start, KINDS.index(item.kind)))
    checked = tuple((kind, count) for kind, count in counts.items() if count)
    return CheckedText(tuple(claims), checked, n_checked, tuple(ordered))


def _contradiction(kind: str, claim: Claim) -> Contradiction:
    claimed = claim.value or "the image"
    if claim.kind == "normal":
        claimed += " is normal"
    if claim.negated:
        claimed = f"no {claimed}"
    return Contradiction(kind, claim.sentence, claim.start, claim.end, claimed)


@dataclass(frozen=True)
class _Checker:
    """Compares single claims with what is known."""

    known: Known

    def verdicts(self, claim: Claim) -> Iterable[tuple[str, bool]]:
        """(kind, whether it contradicts) for each thing that the claim can be compared with."""
        if not claim.certain:
            return
        own = self.known.answer
        for kind, verdict in self._about_image(claim, own):
            yield kind, verdict
        place = self.known.truth.places
        for facts, is_own in ((self.known.truth, False), (own, True)):
            for kind, verdict in _about_findings(claim, facts, self.known.given.parts, place):
                yield ("own_answer" if is_own else kind), verdict
        if own.others and claim.kind == "finding" and not claim.negated:
            chain = broader_findings(claim.value)
            if not own.present.intersection(chain) and own.others.intersection(chain):
                yield "own_answer", True

    def _about_image(self, claim: Claim, own: Facts) -> Iterable[tuple[str, bool]]:
        """Modality, plane, body part and side of the image."""
        fields, truth = self.known.given, self.known.truth
        if claim.kind == "modality":
            for facts, kind in (
                (fields.modalities | truth.modalities, "modality"),
                (own.modalities, "own_answer"),
            ):
                if facts:
                    yield kind, not _any_similar(claim.value, facts, SIMILAR_MODALITIES)
        elif claim.kind == "plane":
            for facts, kind in (
                (fields.planes | truth.planes, "plane"),
                (own.planes, "own_answer"),
            ):
                if facts:
                    yield kind, not _any_similar(claim.value, facts, SIMILAR_PLANES)
        elif claim.kind == "body_part":
            exact = fields.exact_parts or (bool(truth.parts) and truth.exact_parts)
            parts = fields.parts | truth.parts or truth.places
            if parts:
                yield "body_part", not _any_compatible(claim.value, parts, exact=exact)
            if own.parts:
                yield (
                    "own_answer",
                    not _any_compatible(claim.value, own.parts, exact=own.exact_parts),
                )
        elif claim.kind == "side" and fields.laterality and claim.sides == {claim.value}:
            part = next(iter(claim.parts), "")
            if part in _PAIRED and _any_compatible(part, fields.parts, exact=True):
                yield "side", claim.value != fields.laterality


def _about_findings(
    claim: Claim, facts: Facts, parts: frozenset[str], places: frozenset[str]
) -> Iterable[tuple[str, bool]]:
    """Findings with their side and place, and what is normal."""
    if claim.kind in ("finding", "device"):
        yield from _finding_verdicts(claim, facts, places)
    elif claim.kind == "side" and facts.side and claim.affected and claim.sides == {claim.value}:
        yield "side", claim.value != facts.side
    elif claim.kind == "normal":
        if facts.side and claim.sides and claim.sides.isdisjoint((facts.side, "both")):
            return
        is_same = claim.value == facts.normal_part or not claim.value
        shows_only_it = bool(claim.value) and parts == {claim.value}
        if facts.normal is not None and (is_same or shows_only_it):
            yield "finding", facts.normal == claim.negated
        elif (
            facts.present
            and not claim.negated
            and not claim.sides
            and (not claim.value or shows_only_it)
        ):
            yield "finding", True


def _finding_verdicts(
    claim: Claim, facts: Facts, places: frozenset[str]
) -> Iterable[tuple[str, bool]]:
    """A finding or device against those that are present, absent, or excluded by normality."""
    chain = broader_findings(claim.value)
    sides = claim.sides - {"both"}
    other_side = bool(facts.side and sides and facts.side not in sides)
    elsewhere = bool(
        facts.places
        and claim.parts
        and not any(_any_compatible(p, facts.places) for p in claim.parts)
    )
    is_same = any(claim.value in broader_findings(name) or name in chain for name in facts.subjects)
    if claim.negated:
        if not other_side and not elsewhere:
            if any(claim.value in broader_findings(name) for name in facts.present):
                yield "finding", True
            if facts.absent.intersection(chain) or facts.normal:
                yield "finding", False
        return
    if facts.side and not facts.is_yes_no and is_same and len(claim.sides) == 1:
        yield "side", other_side
    if facts.places and not facts.is_yes_no and is_same and claim.parts and places:
        yield "body_part", elsewhere
    if not other_side and not elsewhere:
        if facts.absent.intersection(chain):
            yield "finding", True
        elif facts.present.intersection(chain):
            yield "finding", False
    if (
        facts.normal is not None
        and not other_side
        and claim.kind == "finding"
        and claim.value not in NOT_ABNORMAL
    ):
        at_part = not facts.normal_part or any(
            _any_compatible(part, frozenset([facts.normal_part])) for part in claim.parts
        )
        if at_part:
            yield "finding", facts.normal


def _any_similar(value: str, facts: frozenset[str], groups: tuple[set[str], ...]) -> bool:
    return any(same_group(value, fact, groups) for fact in facts)


def _any_compatible(part: str, facts: frozenset[str], *, exact: bool = True) -> bool:
    """Whether an image of one of the facts may be said to show the part."""
    return any(_are_compatible(part, fact, exact=exact) for fact in facts)


def _are_compatible(first: str, second: str, *, exact: bool) -> bool:
    """Whether two parts are in each other or in one organ, or, unless `exact`, in one region."""
    shared = wider_parts(first) & wider_parts(second)
    if first in shared or second in shared or same_group(first, second, SAME_PLACE):
        return True
    if any(PARTS[name][0] for name in shared):  # both are in one organ, such as lobes of the lung
        return True
    return not exact and bool(regions(first) & regions(second))
