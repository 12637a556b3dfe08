"""Letters of results: two share one if and only if they are not different."""

import itertools
import random

from medr1.stats.letters import compact_letters


def sets_of(texts):
    """The letters of each text: "a2b" is a2 and b."""
    letters = []
    for text in texts:
        own = []
        for character in text:
            own = [*own[:-1], own[-1] + character] if character.isdigit() else [*own, character]
        letters.append(set(own))
    return letters


def test_known_displays():
    assert compact_letters(1, []) == ["a"]
    assert compact_letters(3, []) == ["a", "a", "a"]
    assert compact_letters(3, [(0, 2)]) == ["a", "ab", "b"]
    assert compact_letters(3, [(0, 1), (0, 2), (1, 2)]) == ["a", "b", "c"]
    # Piepho (2004) has such a case: the second is like both neighbours, which differ
    assert compact_letters(4, [(0, 2), (0, 3), (1, 3)]) == ["a", "ab", "bc", "c"]


def test_letters_agree_with_the_pairs_and_none_is_superfluous():
    rng = random.Random(0)
    for _ in range(200):
        n = rng.randint(2, 9)
        pairs = list(itertools.combinations(range(n), 2))
        different = {pair for pair in pairs if rng.random() < rng.choice([0.1, 0.5, 0.9])}
        letters = sets_of(compact_letters(n, different))
        for a, b in pairs:
            assert bool(letters[a] & letters[b]) == ((a, b) not in different)
        members = {
            name: {i for i in range(n) if name in letters[i]} for name in set().union(*letters)
        }
        for one, other in itertools.permutations(members.values(), 2):
            assert not one <= other


def test_many_groups_have_more_letters_than_the_alphabet():
    n = 30
    letters = compact_letters(n, itertools.combinations(range(n), 2))
    assert letters[0] == "a" and letters[25] == "z" and letters[26] == "a2"
    assert len(set(letters)) == n


def test_too_many_letters_are_no_display():
    # ten pairs that differ only within themselves have 2 ** 10 largest groups without a difference
    assert compact_letters(20, [(2 * i, 2 * i + 1) for i in range(10)]) is None
