"""How many test questions reuse a wording of the training file, about any image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

from medr1.data.audit.blind import normalized_option, normalized_question
from medr1.documents.audit import Wording
from medr1.records import Sample

_BASE, _PRIME = 0x1D3F5B79A8C6E421, (1 << 61) - 1
"""Of the polynomial hash of a sequence of words."""


def wordings(train: Sequence[Sample], test: Sequence[Sample]) -> dict[str, Wording]:
    """Count test items whose wording is in the training items: the same, or nearly the same.

    Two wordings are nearly the same where adding, dropping, replacing or moving one word turns one
    into the other. An item that reuses a wording is no leak: where questions come from templates,
    all of them do.

    Args:
        train: Training items.
        test: Items to count.

    Returns:
        The counts for "same_question", "same_question_and_options" and "near_question". The near
        ones do not include the same ones.
    """
    train_wordings = {normalized_question(sample.question) for sample in train}
    with_options = {_with_options(sample) for sample in train if sample.options}
    test_wordings = [normalized_question(sample.question) for sample in test]
    # Each of the four changes leaves two wordings that agree once a word is dropped from one or
    # from both. "is it CT" and "is it MRI" both become "is it".
    shortened = {key for wording in train_wordings for key in _one_word_less(wording)}
    same = [wording for wording in test_wordings if wording and wording in train_wordings]
    near = [
        wording
        for wording in test_wordings
        if wording
        and wording not in train_wordings
        and any(key in shortened for key in _one_word_less(wording))
    ]
    same_options = sum(
        bool(sample.options) and _with_options(sample) in with_options for sample in test
    )
    return {
        "same_question": Wording(items=len(same), wordings=len(set(same))),
        "same_question_and_options": Wording(items=same_options),
        "near_question": Wording(items=len(near), wordings=len(set(near))),
    }


def _with_options(sample: Sample) -> tuple[str, frozenset[str]]:
    """The wording of the question and of its options, whatever their order."""
    options = frozenset(map(normalized_option, sample.options.values()))
    return normalized_question(sample.question), options


def _one_word_less(wording: str) -> Iterator[int]:
    """Hashes of the wording as it is, and without each of its words in turn.

    A polynomial hash, so that dropping a word costs a few multiplications and no second pass:
    hash(w1 w2 w3) = w1 * BASE^2 + w2 * BASE + w3, modulo PRIME.
    """
    codes = [_code(word) for word in wording.split()]
    heads = [0]  # heads[n]: the hash of the first n words
    for code in codes:
        heads.append((heads[-1] * _BASE + code) % _PRIME)
    full_hash = heads[-1]
    yield full_hash
    # From the last word to the first: `power` is BASE to the number of words after this one.
    power = 1
    for position in range(len(codes) - 1, -1, -1):
        tail = (full_hash - heads[position + 1] * power) % _PRIME
        yield (heads[position] * power + tail) % _PRIME
        power = power * _BASE % _PRIME


@lru_cache(maxsize=200_000)
def _code(word: str) -> int:
    """A word as a number of 64 bits, the same in every run."""
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())
