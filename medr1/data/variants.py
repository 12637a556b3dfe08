"""Which question is asked under which perturbation, and which cannot be: the plan of a run.

clean      every usable item as it is
then       for each kind, for each severity: every item whose right answer stays right
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from medr1.answers.sides import names_height, names_side
from medr1.data.perturbations import PERTURBATIONS
from medr1.data.readers import Questions
from medr1.data.rewordings import REWORDINGS, WrongTexts, wrong_texts
from medr1.errors import InputError
from medr1.records import Sample

CLEAN = "none"
BLIND = "blank"
KINDS = (*PERTURBATIONS, *REWORDINGS)
DEFAULT = (
    "gaussian_blur",
    "gaussian_noise",
    "contrast",
    "brightness",
    "jpeg",
    "downscale",
    "rotation",
    "occlusion",
    "option_order",
)
"""What is looked at where nothing is chosen: one of each sort that acquisition or export brings."""
KEYS = ("perturbation", "perturbation_severity", "perturbation_of")
"""What an item's metadata says of it: the kind, the severity, the id of the item as it is."""

_COUNTS = re.compile(r"\bhow many\b|\bnumber of\b|\bcount\b", re.IGNORECASE)
_CUTS = ("rotation", "crop", "occlusion")
"""What may take away one of the things that are to be counted."""


@dataclass(frozen=True)
class Plan:
    """All questions of a run: the clean ones first, then kind by kind, severity by severity."""

    questions: Questions
    perturbed: dict[int, tuple[str, int]]
    """Index of a question -> the kind and severity by which its pictures are perturbed."""
    severities: dict[str, tuple[int, ...]]
    """Of each kind, in the order of the run; a kind without a scale has 1."""
    left_out: dict[str, dict[str, int]]
    """Kind -> why an item is not asked under it -> how many; `none`: not asked at all."""
    n: int
    """How many items are asked as they are."""

    @property
    def clean(self) -> list[Sample]:
        """The items as they are."""
        return self.questions.samples[: self.n]


def chosen_kinds(names: Sequence[str]) -> tuple[str, ...]:
    """The kinds that are meant, without BLIND: by name, by a part of one (noise), or all.

    InputError for a name that is none, with the nearest that is one.
    """
    found: list[str] = []
    for given in names:
        name = given.strip().casefold().replace("-", "_")
        meant = [kind for kind in KINDS if name in (kind, "all", *kind.split("_"))]
        if not meant:
            words = {word for kind in KINDS for word in (kind, *kind.split("_"))}
            near = get_close_matches(name, sorted(words), n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(KINDS)}."
            raise InputError(f"--perturbations: {given.strip()!r} is no perturbation. {hint}")
        found += meant
    return tuple(kind for kind in KINDS if kind in found and kind != BLIND)


def plan(
    questions: Questions,
    kinds: Sequence[str],
    severities: Sequence[int],
    *,
    seed: int = 0,
    options_only: bool = False,
) -> Plan:
    """The questions as they are and under each kind; `options_only` leaves others out.

    An item keeps its metadata, with KEYS added. InputError where no item can be asked.
    """
    kept, why_not = _usable(questions, options_only)
    left_out = {CLEAN: dict(why_not)} if why_not else {}
    samples = [_named(sample, sample, CLEAN, 0) for sample in kept]
    perturbed: dict[int, tuple[str, int]] = {}
    asked: dict[str, tuple[int, ...]] = {}
    wrong = wrong_texts(kept)
    for kind in (*kinds, BLIND):
        missing: Counter[str] = Counter()
        there = _numbers(kind)
        numbers = there if len(there) == 1 else tuple(s for s in there if s in severities)
        if not numbers:
            reason = f"that --severities leaves out, there being {there[0]} to {there[-1]}"
            left_out[kind] = {reason: len(kept)}
            continue
        for severity in numbers:
            for sample in kept:
                changed = _under(kind, severity, sample, seed, wrong)
                if isinstance(changed, str):
                    missing[changed] += severity == numbers[0]
                    continue
                if kind in PERTURBATIONS:
                    perturbed[len(samples)] = kind, severity
                samples.append(_named(changed, sample, kind, severity))
        asked[kind] = numbers
        if missing:
            left_out[kind] = dict(missing)
    if kinds and asked.keys() == {BLIND}:
        said = ", ".join(f"{kind} {reason}" for kind in kinds for reason in left_out[kind])
        raise InputError(f"nothing is asked: {said}. Give others.")
    planned = replace(questions, samples=samples, failures={})
    return Plan(planned, perturbed, asked, left_out, len(kept))


def _numbers(kind: str) -> tuple[int, ...]:
    """The severities, or variants, that there are of a kind."""
    if kind in REWORDINGS:
        return tuple(range(1, REWORDINGS[kind].variants + 1))
    return PERTURBATIONS[kind].severities


def _usable(questions: Questions, options_only: bool) -> tuple[list[Sample], Counter[str]]:
    """The items that can be asked and judged, and why how many of the others cannot."""
    kept, why_not = [], Counter[str]()
    for index, sample in enumerate(questions.samples):
        if index in questions.failures:
            why_not[f"that cannot be used ({questions.failures[index].code})"] += 1
        elif sample.ground_truth is None:
            why_not["without ground_truth"] += 1
        elif options_only and not sample.options and sample.answer_type != "yes_no":
            why_not["without options, which --mode options needs"] += 1
        else:
            kept.append(sample)
    if not kept:
        reasons = ", ".join(f"{n} {reason}" for reason, n in why_not.items())
        raise InputError(
            f"{questions.name}: no item can be asked and judged: {reasons}. Correct it."
        )
    if taken := next((key for key in KEYS if any(key in s.metadata for s in kept)), None):
        raise InputError(
            f"{questions.name}: its items have a key {taken!r}, which this command writes. "
            "Rename it there, or give the questions as they were before they were perturbed."
        )
    return kept, why_not


def _under(kind: str, severity: int, sample: Sample, seed: int, wrong: WrongTexts) -> Sample | str:
    """The sample as it is asked under a kind; in words where it cannot, or not with this gold."""
    if kind in REWORDINGS:
        found = REWORDINGS[kind]
        return found.make(sample, severity, seed, wrong) or found.left_out
    texts = (sample.question, sample.ground_truth or "", *sample.options.values())
    if kind.startswith("flip") and any(map(names_side, texts)):
        return "that name a side"
    if kind == "flip_vertical" and any(map(names_height, texts)):
        return "that name upper or lower"
    if kind in _CUTS and (sample.answer_type == "count" or _COUNTS.search(sample.question)):
        return "that ask for a number of things"
    return sample


def _named(changed: Sample, original: Sample, kind: str, severity: int) -> Sample:
    """The sample with an id of its own and KEYS in its metadata."""
    name = original.id if kind == CLEAN else f"{original.id}@{kind}-{severity}"
    added = dict(zip(KEYS, (kind, severity, original.id), strict=True))
    return replace(changed, id=name, metadata={**original.metadata, **added})


def title_of(kind: str) -> str:
    """What a kind is called where people read."""
    known = REWORDINGS if kind in REWORDINGS else PERTURBATIONS
    return known[kind].title


def is_scale(kind: str) -> bool:
    """Whether a higher severity is more of the same, and not just another variant."""
    return kind in PERTURBATIONS and len(PERTURBATIONS[kind].values) > 1
