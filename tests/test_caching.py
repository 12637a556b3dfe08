"""The cache that makes room in blocks against transformers' own, whatever is done to them."""

import copy
import random

import pytest
import torch
from transformers import DynamicCache, Qwen2Config

from medr1.models.kv_cache import BLOCK, BlockwiseLayer, grow_in_blocks, repeated_in_static

LAYERS = 2


def added(caches, rows, tokens, draw):
    """What each layer of both caches gives back when tokens are added to it."""
    for layer in range(LAYERS):
        states = torch.randn(2, rows, 3, tokens, 4, generator=draw)
        ours, theirs = (cache.update(*states, layer) for cache in caches)
        assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("seed", range(8))
def test_it_holds_what_transformers_cache_holds(seed):
    choose, draw = random.Random(seed), torch.Generator().manual_seed(seed)
    theirs, rows = DynamicCache(), 2
    for layer in range(LAYERS):
        theirs.update(*torch.randn(2, rows, 3, 20, 4, generator=draw), layer)
    ours = copy.deepcopy(theirs)
    grow_in_blocks(ours)
    assert all(isinstance(layer, BlockwiseLayer) for layer in ours.layers)
    for _ in range(60):
        what = choose.choice(["one", "one", "one", "many", "crop", "repeat", "choose", "keep"])
        if what in ("one", "many"):
            added((ours, theirs), rows, 1 if what == "one" else choose.randrange(2, 90), draw)
        elif what == "crop" and theirs.get_seq_length() > 9:
            ours.crop(-5), theirs.crop(-5)
        elif what == "repeat" and rows < 5:
            ours.batch_repeat_interleave(2), theirs.batch_repeat_interleave(2)
            rows *= 2
        elif what == "choose" and rows > 2:
            kept = torch.tensor(sorted(choose.sample(range(rows), 2)))
            ours.batch_select_indices(kept), theirs.batch_select_indices(kept)
            rows = 2
        elif what == "keep" and rows > 2:
            added((ours, theirs), rows, 1, draw)  # so that its memory is its own
            rows -= 1
            kept = torch.tensor(choose.sample(range(rows + 1), rows))
            for layer in ours.layers:
                layer.keep_rows(kept)
            theirs.batch_select_indices(kept)
        assert ours.get_seq_length() == theirs.get_seq_length()
        for mine, other in zip(ours.layers, theirs.layers, strict=True):
            assert torch.equal(mine.keys, other.keys) and torch.equal(mine.values, other.values)


def test_it_copies_itself_once_a_block():
    cache = DynamicCache()
    cache.update(*torch.randn(2, 1, 1, 10, 4), 0)
    grow_in_blocks(cache)
    places = set()
    for _ in range(2 * BLOCK):
        cache.update(*torch.randn(2, 1, 1, 1, 4), 0)
        places.add(cache.layers[0].keys.data_ptr())
    assert len(places) == 2


def test_a_copy_of_its_layers_can_go_another_way():
    """As several samples go on from one prompt: what they write does not reach it."""
    cache = DynamicCache()
    cache.update(*torch.randn(2, 2, 1, 10, 4), 0)
    grow_in_blocks(cache)
    cache.update(*torch.randn(2, 2, 1, 1, 4), 0)
    before = cache.layers[0].keys.clone()
    other = copy.copy(cache)
    other.layers = [copy.copy(layer) for layer in cache.layers]
    other.batch_repeat_interleave(3)
    for _ in range(5):
        other.update(*torch.randn(2, 6, 1, 1, 4), 0)
    assert torch.equal(cache.layers[0].keys, before)


def test_a_static_cache_is_used_again_where_it_has_room():
    config = Qwen2Config(
        **{"hidden_size": 12, "num_attention_heads": 3, "num_key_value_heads": 3},
        **{"num_hidden_layers": LAYERS, "intermediate_size": 8, "vocab_size": 8},
    )

    def filled(rows, tokens):
        cache = DynamicCache()
        for layer in range(LAYERS):
            cache.update(*torch.randn(2, rows, 3, tokens, 4), layer)
        return cache

    def holds(static, dynamic, tokens):
        pairs = zip(static.layers, dynamic.layers, strict=True)
        return static.get_seq_length() == tokens and all(
            own.keys[:, :, :tokens].equal(layer.keys.repeat_interleave(2, 0))
            and own.values[:, :, :tokens].equal(layer.values.repeat_interleave(2, 0))
            and not own.keys[:, :, tokens:].any()
            for own, layer in pairs
        )

    long, short, more = filled(2, 90), filled(2, 50), filled(3, 50)
    first = repeated_in_static(long, 2, 100, config, None)
    assert holds(first, long, 90)
    keys = first.layers[0].keys
    again = repeated_in_static(short, 2, 120, config, first)
    assert again is first and again.layers[0].keys is keys and holds(again, short, 50)
    assert repeated_in_static(more, 2, 60, config, first) is not first
    longer = repeated_in_static(short, 2, 300, config, first)
    assert longer is not first and holds(longer, short, 50)
