"""How many questions reuse a wording of the training file, whatever they are asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from medr1.data.audit.blind import normal_option, normal_question
from medr1.records import Sample

_BASE, _PRIME = 0x1D3F5B79A8C6E421, (1 << 61) - 1


def wordings(train: Sequence[Sample], test: Sequence[Sample]) -> dict[str, Any]:
    """Items of test whose wording is in train: the same, with the same options, nearly the same.

    Nearly the same are two wordings of which one becomes the other when a word is added, dropped,
    replaced or moved. Of no item does this say that it leaks: where questions come from templates,
    all reuse them.
    """
    known = {normal_question(sample.question) for sample in train}
    with_options = {_with_options(sample) for sample in train if sample.options}
    stems = [normal_question(sample.question) for sample in test]
    reach = {key for stem in known for key in _one_word_less(stem)}
    same = [stem for stem in stems if stem and stem in known]
    near = [
        stem
        for stem in stems
        if stem and stem not in known and any(key in reach for key in _one_word_less(stem))
    ]
    return {
        "same_question": {"items": len(same), "wordings": len(set(same))},
        "same_question_and_options": {
            "items": sum(bool(s.options) and _with_options(s) in with_options for s in test)
        },
        "near_question": {"items": len(near), "wordings": len(set(near))},
    }


def _with_options(sample: Sample) -> tuple[str, frozenset[str]]:
    return normal_question(sample.question), frozenset(map(normal_option, sample.options.values()))


def _one_word_less(stem: str) -> Iterator[int]:
    """Hashes of the wording as it is, and without each of its words: a few steps for each word."""
    codes = [_code(word) for word in stem.split()]
    heads = [0]
    for code in codes:
        heads.append((heads[-1] * _BASE + code) % _PRIME)
    whole = heads[-1]
    yield whole
    power = 1
    for place in range(len(codes) - 1, -1, -1):  # the words behind keep their places, counted back
        tail = (whole - heads[place + 1] * power) % _PRIME
        yield (heads[place] * power + tail) % _PRIME
        power = power * _BASE % _PRIME


@lru_cache(maxsize=200_000)
def _code(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())
