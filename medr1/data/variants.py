"""Plans a robustness run: which questions are asked under which perturbation.

First come all usable items without a change ("clean"). Then come, for each kind of perturbation or
rewording and each severity, all items whose right answer stays right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medr1.answers.sides import names_height, names_side
from medr1.data.perturbations import PERTURBATIONS
from medr1.data.readers import Questions
from medr1.data.rewordings import REWORDINGS, WrongTexts, wrong_texts
from medr1.errors import InputError, did_you_mean
from medr1.records import Sample

CLEAN = "none"
BLIND = "blank"
KINDS = (*PERTURBATIONS, *REWORDINGS)
DEFAULT_KINDS = (
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
"""The kinds of a run without --perturbations: one for each effect of acquisition or export."""
PERTURBATION_KEYS = ("perturbation", "perturbation_severity", "perturbation_of")
"""Metadata keys of each question of a run: the kind, the severity, and the id of the clean item."""

_COUNTS = re.compile(r"\bhow many\b|\bnumber of\b|\bcount\b", re.IGNORECASE)
_CUTS = ("rotation", "crop", "occlusion")
"""Kinds that may remove one of the things that a question asks to count."""


@dataclass(frozen=True)
class PerturbationPlan:
    """The questions of a robustness run."""

    questions: Questions
    """All questions: the clean ones first, then by kind, then by severity."""
    perturbations: dict[int, tuple[str, int]]
    """Index of a question -> (kind, severity) of the perturbation of its images."""
    severities: dict[str, tuple[int, ...]]
    """Kind -> its severities, in the order of the run; (1,) for a kind with only one."""
    excluded: dict[str, dict[str, int]]
    """Kind -> reason -> number of items that are not asked under it. Kind "none" has the items
    that are not asked at all."""
    num_clean: int
    """Number of clean items."""

    @property
    def clean(self) -> list[Sample]:
        """The items without a change."""
        return self.questions.samples[: self.num_clean]


def chosen_kinds(names: Sequence[str]) -> tuple[str, ...]:
    """The kinds that names choose, without BLIND: a name, a word of names ("noise"), or "all".

    Raises:
        InputError: If a name chooses no kind; the message has the most similar name.
    """
    chosen: list[str] = []
    for argument in names:
        name = argument.strip().casefold().replace("-", "_")
        matches = [kind for kind in KINDS if name in (kind, "all", *kind.split("_"))]
        if not matches or name == CLEAN:  # a word of none_of_the_above
            words = {word for kind in KINDS for word in (kind, *kind.split("_"))} - {CLEAN}
            hint = did_you_mean(name, sorted(words), f"There are: {', '.join(KINDS)}.")
            raise InputError(f"--perturbations: {argument.strip()!r} is no perturbation. {hint}")
        chosen += matches
    return tuple(kind for kind in KINDS if kind in chosen and kind != BLIND)


def plan_perturbations(
    questions: Questions,
    kinds: Sequence[str],
    severities: Sequence[int],
    *,
    seed: int = 0,
    options_only: bool = False,
) -> PerturbationPlan:
    """Plan the questions of a robustness run.

    Args:
        questions: The questions of the user's file.
        kinds: The kinds of perturbation, as `chosen_kinds` returns them. BLIND is added.
        severities: The severities to use. A kind that has only one is always used.
        seed: Seed of the rewordings.
        options_only: Whether to leave out items without options, for inference with --mode options.

    Returns:
        The plan. Its questions have PERTURBATION_KEYS in their metadata.

    Raises:
        InputError: If no item can be asked and judged, none can be asked under any of the kinds, or
            the items already have PERTURBATION_KEYS.
    """
    usable, reasons = _usable(questions, options_only)
    excluded = {CLEAN: dict(reasons)} if reasons else {}
    samples = [_labelled(sample, sample, CLEAN, 0) for sample in usable]
    perturbations: dict[int, tuple[str, int]] = {}
    severities_of: dict[str, tuple[int, ...]] = {}
    wrong = wrong_texts(usable)
    for kind in (*kinds, BLIND):
        missing: Counter[str] = Counter()
        available = _severities(kind)
        numbers = (
            available if len(available) == 1 else tuple(s for s in available if s in severities)
        )
        if not numbers:
            reason = f"that --severities leaves out; it has {available[0]} to {available[-1]}"
            excluded[kind] = {reason: len(usable)}
            continue
        for severity in numbers:
            for sample in usable:
                changed = _changed(kind, severity, sample, seed, wrong)
                if isinstance(changed, str):
                    missing[changed] += severity == numbers[0]
                    continue
                if kind in PERTURBATIONS:
                    perturbations[len(samples)] = kind, severity
                samples.append(_labelled(changed, sample, kind, severity))
        severities_of[kind] = numbers
        if missing:
            excluded[kind] = dict(missing)
    if kinds and severities_of.keys() == {BLIND}:
        problems = ", ".join(f"{kind} {reason}" for kind in kinds for reason in excluded[kind])
        raise InputError(f"nothing is asked: {problems}. Choose others.")
    all_questions = replace(questions, samples=samples, failures={})
    return PerturbationPlan(all_questions, perturbations, severities_of, excluded, len(usable))


def _severities(kind: str) -> tuple[int, ...]:
    """All severities of a perturbation, or the numbers of the variants of a rewording."""
    if kind in REWORDINGS:
        return tuple(range(1, REWORDINGS[kind].variants + 1))
    return PERTURBATIONS[kind].severities


def _usable(questions: Questions, options_only: bool) -> tuple[list[Sample], Counter[str]]:
    """The items that can be asked and judged, and how many others there are for each reason."""
    usable, reasons = [], Counter[str]()
    for index, sample in enumerate(questions.samples):
        if index in questions.failures:
            reasons[f"that cannot be used ({questions.failures[index].code})"] += 1
        elif sample.ground_truth is None:
            reasons["without ground_truth"] += 1
        elif options_only and not sample.options and sample.answer_type != "yes_no":
            reasons["without options, which --mode options needs"] += 1
        else:
            usable.append(sample)
    if not usable:
        problems = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
        raise InputError(
            f"{questions.name}: no item can be asked and judged: {problems}. Correct it."
        )
    if key := next(
        (key for key in PERTURBATION_KEYS if any(key in s.metadata for s in usable)), None
    ):
        raise InputError(
            f"{questions.name}: its items have a key {key!r}, which this command writes. "
            "Rename it in the file, or use the file of the unperturbed questions."
        )
    return usable, reasons


def _changed(
    kind: str, severity: int, sample: Sample, seed: int, wrong: WrongTexts
) -> Sample | str:
    """The sample as it is asked under a kind, or the reason (a text) why it is left out.

    It is left out if it cannot be changed so, or if its ground truth might become wrong.
    """
    if kind in REWORDINGS:
        rewording = REWORDINGS[kind]
        return rewording.reword(sample, severity, seed, wrong) or rewording.exclusion
    texts = (sample.question, sample.ground_truth or "", *sample.options.values())
    if kind.startswith("flip") and any(map(names_side, texts)):
        return "that name a side"
    if kind == "flip_vertical" and any(map(names_height, texts)):
        return "that name upper or lower"
    if kind in _CUTS and (sample.answer_type == "count" or _COUNTS.search(sample.question)):
        return "that ask for a number of things"
    return sample


def _labelled(changed: Sample, original: Sample, kind: str, severity: int) -> Sample:
    """The sample with its own id, and with PERTURBATION_KEYS in its metadata."""
    item_id = original.id if kind == CLEAN else f"{original.id}@{kind}-{severity}"
    label = dict(zip(PERTURBATION_KEYS, (kind, severity, original.id), strict=True))
    return replace(changed, id=item_id, metadata={**original.metadata, **label})


def title_of(kind: str) -> str:
    """The name of a kind in reports."""
    definitions = REWORDINGS if kind in REWORDINGS else PERTURBATIONS
    return definitions[kind].title


def is_scale(kind: str) -> bool:
    """Whether a higher severity of the kind is a stronger change, and not only another variant."""
    return kind in PERTURBATIONS and len(PERTURBATIONS[kind].values) > 1
