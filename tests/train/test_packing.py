"""Packed tokens, by hand and against a mask written out token by token."""

import pytest
import torch

from medr1.train.shared_prefix.groups import (
    GradientSplit,
    Groups,
    groups_to_rows,
    rows_to_groups,
)
from medr1.train.shared_prefix.packing import (
    IGNORED,
    attention_layout,
    block_layout,
    pack,
    unpack,
)


def groups():
    """Two prompts of three and two tokens, two completions each, the longest of two tokens."""
    return Groups(
        prompt_ids_PN=torch.tensor([[11, 12, 13], [0, 14, 15]]),
        prompt_mask_PN=torch.tensor([[1, 1, 1], [0, 1, 1]]),
        is_image_PN=torch.zeros(2, 3, dtype=torch.long),
        completion_ids_PGC=torch.tensor([[[1, 2], [3, 0]], [[4, 0], [5, 6]]]),
        completion_mask_PGC=torch.tensor([[[1, 1], [1, 0]], [[1, 0], [1, 1]]]),
        patches=[torch.zeros(4, 1), torch.ones(8, 1)],
        grids=[torch.tensor([[1, 2, 2]]), torch.tensor([[1, 2, 4]])],
    )


def test_the_completions_stand_behind_the_prompt_from_its_last_token():
    """One block of three tokens would be longer than the prompt, so each completion has its own."""
    positions_3PN = torch.tensor([[0, 1, 2], [0, 0, 1]]).expand(3, -1, -1)
    packed = pack(groups(), positions_3PN)
    # the longest completion comes first, and the shorter one has padding
    assert packed.ids_PT.tolist() == [[11, 12, 13, 1, 13, 13], [0, 14, 15, 5, 15, 15]]
    assert packed.positions_3PT[2].tolist() == [[0, 1, 2, 3, 2, 2], [0, 0, 1, 2, 1, 1]]
    none = IGNORED
    assert packed.labels_PT.tolist() == [
        [none, none, 1, 2, 3, none],
        [none, none, 5, 6, 4, none],
    ]
    assert unpack(packed.labels_PT, packed).tolist() == [[[1, 2], [3, 0]], [[4, 0], [5, 6]]]


def mask_of(lengths_PG):
    """The mask of completions with these lengths, with one more column of padding."""
    return (torch.arange(max(map(max, lengths_PG)) + 1) < torch.tensor(lengths_PG)[..., None]).int()


@pytest.mark.parametrize(
    ("lengths", "shared", "shape"),
    [
        ([[2, 2, 2, 2]], 9, (1, 8)),
        ([[4, 4, 4, 4]], 9, (2, 8)),
        ([[5, 5, 5]], 3, (3, 5)),  # a completion may be longer than the prompt
        ([[5, 1, 1, 1, 1, 1]], 5, (2, 5)),  # not six blocks of five tokens
        ([[7, 6, 1], [2, 2, 2]], 8, (2, 7)),  # all prompts have the same blocks
        ([[0, 3], [0, 0]], 8, (1, 3)),
        ([[0, 0]], 8, (1, 1)),
    ],
)
def test_completions_are_put_into_few_tokens(lengths, shared, shape):
    mask = mask_of(lengths)
    blocks = block_layout(mask, shared)
    assert blocks.tokens_PSL.shape[1:] == shape
    length = mask.shape[-1]
    for prompt, row in enumerate(lengths):
        tokens = blocks.tokens_PSL[prompt].flatten().tolist()
        held = sorted(token for token in tokens if token >= 0)
        assert held == [g * length + c for g, size in enumerate(row) for c in range(size)]
        for completion, size in enumerate(row):
            places = blocks.places_PGC[prompt, completion].tolist()
            assert places[size:] == [-1] * (length - size)
            assert [tokens[place] for place in places[:size]] == [
                completion * length + step for step in range(size)
            ]
            assert len({place // shape[1] for place in places[:size]}) <= 1  # one block


@pytest.mark.parametrize("pads", [0, 2])
@pytest.mark.parametrize(
    "lengths", [[[2, 2, 2, 2]] * 2, [[4, 4, 4, 4]] * 2, [[6, 1, 3], [2, 4, 5]], [[7, 1], [1, 0]]]
)
def test_a_completion_sees_the_prompt_and_itself(lengths, pads):
    shared = 9
    visible_PK = torch.tensor([[True] * shared, [False] * pads + [True] * (shared - pads)])
    mask = mask_of(lengths)
    length = mask.shape[-1]
    tokens_PSL = block_layout(mask, shared).tokens_PSL
    made = attention_layout(visible_PK, tokens_PSL, length)
    assert (made.num_shared, made.num_blocks) == (shared, tokens_PSL.shape[1])
    assert (made.prompt_mask_PKK is None) == (pads == 0)
    for prompt, visible in enumerate(visible_PK.tolist()):
        if made.prompt_mask_PKK is not None:
            expected = [
                [q == k or (visible[k] and k < q) for k in range(shared)] for q in range(shared)
            ]
            assert made.prompt_mask_PKK[prompt].tolist() == expected
        for block, tokens in enumerate(tokens_PSL[prompt].tolist()):
            one = 0 if len(made.block_mask_BLM) == 1 else prompt * made.num_blocks + block
            for query, token in enumerate(tokens):
                own = [
                    k <= query and other // length == token // length
                    for k, other in enumerate(tokens)
                ]
                assert made.block_mask_BLM[one, query].tolist() == [*visible, *own]


def test_some_groups_lose_what_is_padding_in_all_of_them():
    second = groups().select([1])
    assert second.prompt_ids_PN.tolist() == [[14, 15]]
    assert second.completion_ids_PGC.tolist() == [[[4, 0], [5, 6]]]
    assert [len(part) for part in second.patches] == [8]
    both = groups().select([1, 0])
    assert both.prompt_ids_PN.tolist() == [[0, 14, 15], [11, 12, 13]]
    assert [grid.tolist() for grid in both.grids] == [[[1, 2, 4]], [[1, 2, 2]]]


def test_rows_become_groups_and_rows_again():
    batch = {
        "prompt_ids": torch.arange(12).view(4, 3),
        "advantages": torch.arange(4),
        "num_items_in_batch": torch.tensor(7),
        "pixel_values": torch.zeros(6, 2),
        "image_grid_thw": torch.tensor([[1, 1, 2], [1, 2, 2]]),
        "num_images": [1, 1, 1, 1],
        "ref_per_token_logps": None,
    }
    grouped = rows_to_groups(batch, 2)
    assert grouped["prompt_ids"].shape == (2, 2, 3) and grouped["num_images"] == [1, 1]
    assert grouped["pixel_values"] is batch["pixel_values"]
    rows = groups_to_rows(grouped)
    assert rows.keys() == batch.keys()
    for name, value in batch.items():
        same = value == rows[name]
        assert same.all() if isinstance(value, torch.Tensor) else same, name


def test_values_with_and_without_a_gradient_are_merged_by_group():
    with_QGC = torch.rand(2, 2, 2, requires_grad=True)
    without_RGC = torch.rand(1, 2, 2)
    merged = GradientSplit([0, 2], [1]).merge(with_QGC, without_RGC)
    assert merged[[0, 2]].equal(with_QGC) and merged[1].equal(without_RGC[0])
    (gradient,) = torch.autograd.grad(merged.sum(), with_QGC)
    assert (gradient == 1).all()
    every_PGC = torch.rand(3, 2, 2)  # a process in which all groups need a gradient
    assert GradientSplit([0, 1, 2], [0]).merge(every_PGC, torch.zeros(1, 2, 2)).equal(every_PGC)
