"""Packed tokens, by hand and against a mask written out token by token."""

import pytest
import torch

from medr1.train.shared_prefix.packing import (
    IGNORED,
    GradientSplit,
    Groups,
    attention_layout,
    groups_to_rows,
    pack,
    rows_to_groups,
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
    positions_3PN = torch.tensor([[0, 1, 2], [0, 0, 1]]).expand(3, -1, -1)
    packed = pack(groups(), positions_3PN)
    assert packed.ids_PT.tolist() == [[11, 12, 13, 1, 13, 3], [0, 14, 15, 4, 15, 5]]
    assert packed.positions_3PT[2].tolist() == [[0, 1, 2, 3, 2, 3], [0, 0, 1, 2, 1, 2]]
    none = IGNORED
    assert packed.labels_PT.tolist() == [
        [none, none, 1, 2, 3, none],
        [none, none, 4, none, 5, 6],
    ]
    assert unpack(packed.labels_PT, groups()).tolist() == [
        [[1, 2], [3, none]],
        [[4, none], [5, 6]],
    ]


def written_out(prompt, generations, length):
    """Which key (column) each packed token (row) sees, one pair at a time."""
    shared = len(prompt)

    def sees(query, key):
        if query == key:
            return True
        if key < shared:
            return prompt[key] and key < query
        own = query >= shared and (query - shared) // length == (key - shared) // length
        return own and key < query

    size = shared + generations * length
    return [[bool(sees(q, k)) for k in range(size)] for q in range(size)]


@pytest.mark.parametrize(
    ("shared", "pads", "generations", "length", "blocks"),
    [(9, 0, 4, 2, 1), (9, 2, 4, 2, 1), (9, 3, 4, 4, 2), (3, 0, 4, 2, 4), (3, 1, 3, 5, 3)],
)
def test_a_completion_sees_the_prompt_and_itself(shared, pads, generations, length, blocks):
    visible_PK = torch.tensor([[True] * shared, [False] * pads + [True] * (shared - pads)])
    made = attention_layout(visible_PK, generations, length)
    assert (made.num_shared, made.num_blocks) == (shared, blocks)
    assert (made.prompt_mask_PKK is None) == (pads == 0)
    size = generations // blocks * length
    for prompt in range(2):
        expected = torch.tensor(written_out(visible_PK[prompt].tolist(), generations, length))
        if made.prompt_mask_PKK is not None:
            assert (made.prompt_mask_PKK[prompt] == expected[:shared, :shared]).all()
        for block in range(blocks):
            one = 0 if len(made.block_mask_BLM) == 1 else prompt * blocks + block
            start = shared + block * size
            rows = expected[start : start + size]
            own = rows[:, start : start + size]
            assert (made.block_mask_BLM[one] == torch.cat([rows[:, :shared], own], 1)).all()
            assert rows.sum() == made.block_mask_BLM[one].sum()  # and nothing else


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
