"""Sentences for the terminal on results: how images were changed, why items failed, what lacks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from medr1.terminal import counted

_OF_A_NOTE: tuple[tuple[str, str, str], ...] = (
    (
        r"windowed (?P<range>.+) \(percentiles (?P<kind>.+)\)",
        "scan",
        "Windowed {count} by the percentiles {kind}, because no window is stated (the first: "
        "{range}). --window sets one.",
    ),
    (
        r"window (?P<kind>\S+) not used: it is for CT",
        "image",
        "Used the own window of {count}: --window {kind} is for CT.",
    ),
    (
        r"(?:.+ )?slices? (?P<numbers>[\d,]+) of (?P<total>\d+)",
        "image",
        "Showed slices of a series, volume or clip in {count} (the first: {numbers} of {total}). "
        "--slices chooses others.",
    ),
    (
        r"windowed (?P<range>.+) \((?P<kind>.+)\)",
        "image",
        "Windowed {count} with {kind} pixels: the smallest value is shown black, the largest white "
        "(the first: {range}). If the scan has a window of its own, export it with that as PNG.",
    ),
    (
        r"constant .+ shown black",
        "image",
        "Shown black: {count} with the same value in every pixel.",
    ),
    (
        r"first_of_(?P<parts>\d+)_pictures",
        "file",
        "Read only the first image of {count} with several images (the first: {parts}).",
    ),
    (
        r"largest_of_(?P<parts>\d+)_levels",
        "pyramid",
        "Read only the largest level of {count} (the first: of {parts} levels).",
    ),
    (
        r"color16_high_byte",
        "image",
        "Read only the upper 8 of the 16 bits of each colour in {count}.",
    ),
    (
        r"nonfinite_pixels .+",
        "image",
        "Shown black: the pixels of {count} that are not finite numbers.",
    ),
)
"""Pattern of a note of `images.LoadedImage.notes`, what is counted, and the sentence for the notes
that differ in range and parts only. Other notes, such as on the orientation, have no sentence."""
MAX_REASONS = 10
"""Most reasons of failures that are told."""
_VARIABLE = re.compile(r"item \S+:|'[^']*'|\"[^\"]*\"|\d[\d,.]*")
"""What differs between two messages with the same reason: the item, names and numbers."""


def note_sentences(entries: Iterable[Mapping[str, object]]) -> list[str]:
    """One sentence for each kind of change that was made to images, with the number of images.

    Args:
        entries: Those of results.json, with `images` and `image_notes`.
    """
    images: dict[tuple[str, str], set[object]] = {}
    sentences: dict[tuple[str, str], tuple[str, str, dict[str, str]]] = {}
    for entry in entries:
        names, notes = entry.get("images"), entry.get("image_notes")
        if not isinstance(names, list | tuple) or not isinstance(notes, list | tuple):
            continue
        for place, note in enumerate(map(str, notes)):
            for pattern, noun, sentence in _OF_A_NOTE:
                if match := re.fullmatch(pattern, note):
                    values = match.groupdict()
                    key = sentence, values.get("kind", "")
                    sentences.setdefault(key, (sentence, noun, values))
                    # several questions may be about one image
                    images.setdefault(key, set()).add((*names, place))
                    break
    return [
        sentence.format(count=counted(len(images[key]), noun), **values)
        for key, (sentence, noun, values) in sentences.items()
    ]


def failure_sentences(errors: Iterable[Mapping[str, object]]) -> list[str]:
    """A sentence for each reason of failed items, the most frequent first, with the first message.

    Args:
        errors: The `error` of each failed item: `code` and `message`.
    """
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    for error in errors:
        message = str(error["message"])
        reason = str(error["code"]), _VARIABLE.sub("", message)
        counts[reason] += 1
        first.setdefault(reason, message)
    ranked = counts.most_common()
    sentences = [
        f"{counted(n, 'item')} failed{', the first of them' if n > 1 else ''}: {first[reason]}"
        for reason, n in ranked[:MAX_REASONS]
    ]
    if rest := ranked[MAX_REASONS:]:
        items = counted(sum(n for _, n in rest), "item")
        sentences.append(f"{items} failed for {counted(len(rest), 'other reason')}.")
    return sentences


def lacks_probabilities(entry: Mapping[str, object]) -> bool:
    """Whether a question with options has no probabilities, as its completion has no <answer> tag.

    Args:
        entry: An entry of results.json of a run with --mode both.
    """
    has_choices = bool(entry.get("options")) or entry.get("answer_type") == "yes_no"
    if not has_choices or entry.get("error") or "<answer>" in str(entry.get("model_output")):
        return False
    return not entry.get("option_probs") and not entry.get("option_bounds")


def probability_sentence(count: int) -> str:
    """The sentence for questions of which `lacks_probabilities` is true.

    Args:
        count: Their number, at least 1.
    """
    return (
        f"No option probabilities for {counted(count, 'question')}: they are computed behind the "
        "tag <answer>, which the completion lacks. Raise --max-new-tokens, or use --prompt nothink."
    )
