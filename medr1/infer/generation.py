"""The model's passes over a batch: the prompt once, then whatever is to be said after it.

    features  = the vision tower, once for each different picture
    prefix    = the prompt without its last token, as cached keys and values
    generate, sample, score: each goes on from the prefix and leaves it as it was

Shapes: B rows, P prompt tokens (left padded), T new tokens, R rows times samples, Q packed tokens,
K keys (prompt and packed), V vocabulary.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medr1.infer.inputs import Picture, Row
from medr1.infer.options import pack
from medr1.models import LoadedModel

if TYPE_CHECKING:
    import torch


class Features:
    """What the vision tower makes of each different picture of a batch, made once."""

    def __init__(self, loaded: LoadedModel, rows: Sequence[Row]) -> None:
        import torch

        self._place: dict[Picture, int] = {}
        pictures: list[Picture] = []
        for row in rows:
            for picture in row.pictures:
                if picture not in self._place:
                    self._place[picture] = len(pictures)
                    pictures.append(picture)
        self._features = None
        # transformers before 5.23 does not take them; there each row brings its own pixels
        given_apart = "mm_encoder_outputs" in inspect.signature(loaded.model.forward).parameters
        if pictures and given_apart:
            self._features = loaded.model.get_image_features(
                torch.cat([picture.patches for picture in pictures]).to(loaded.device),
                torch.cat([picture.grid for picture in pictures]).to(loaded.device),
                return_dict=True,
            )

    def inputs(self, rows: Sequence[Row], device: torch.device) -> dict[str, Any]:
        """The arguments by which the model sees the pictures of these rows."""
        import torch

        pictures = [picture for row in rows for picture in row.pictures]
        if not pictures:
            return {}
        if self._features is None:
            return {"pixel_values": torch.cat([picture.patches for picture in pictures]).to(device)}
        order = [self._place[picture] for picture in pictures]
        chosen = copy.copy(self._features)
        chosen.pooler_output = tuple(self._features.pooler_output[i] for i in order)
        if (layers := getattr(self._features, "deepstack_features", None)) is not None:
            chosen.deepstack_features = [tuple(layer[i] for i in order) for layer in layers]
        return {"mm_encoder_outputs": {"image": chosen}}


@dataclass
class Prefix:
    """The prompts of B rows, all but their last tokens in the cache."""

    ids_BP: torch.Tensor
    mask_BP: torch.Tensor
    last_B: torch.Tensor
    """Position of the last prompt token, the same on each axis of the rotary embedding."""
    deltas_B1: torch.Tensor
    """What the model adds to the count of tokens to have their positions."""
    cache: Any

    def trim(self) -> None:
        """Drop from the cache what was written behind the prompt."""
        surplus = self.cache.get_seq_length() - self.ids_BP.shape[1] + 1
        if surplus:
            self.cache.crop(-surplus)


def prefill(loaded: LoadedModel, rows: Sequence[Row], features: Features) -> Prefix:
    """Run the prompts through the model, each picture's features in its place."""
    import torch

    from medr1.caching import grow_in_blocks

    width = max(len(row.ids) for row in rows)
    pad = loaded.processor.tokenizer.pad_token_id
    ids_BP = torch.tensor([[pad] * (width - len(row.ids)) + row.ids for row in rows])
    mask_BP = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows])
    ids_BP, mask_BP = ids_BP.to(loaded.device), mask_BP.to(loaded.device)
    grids = [picture.grid for row in rows for picture in row.pictures]
    positions_3BP = (mask_BP.cumsum(-1) - 1).clamp(min=0).expand(3, -1, -1)
    deltas_B1 = torch.zeros((len(rows), 1), dtype=torch.long, device=loaded.device)
    inner = loaded.model.model
    if grids:
        grid = torch.cat(grids).to(loaded.device)
        is_image_BP = ((ids_BP == loaded.model.config.image_token_id) & (mask_BP == 1)).int()
        positions_3BP, deltas_B1 = inner.get_rope_index(
            ids_BP, image_grid_thw=grid, attention_mask=mask_BP, mm_token_type_ids=is_image_BP
        )
    seen = features.inputs(rows, loaded.device)
    if "pixel_values" in seen:
        seen["image_grid_thw"] = grid
    out = inner(
        input_ids=ids_BP[:, :-1],
        attention_mask=mask_BP[:, :-1],
        position_ids=positions_3BP[..., :-1],
        use_cache=True,
        **seen,
    )
    grow_in_blocks(out.past_key_values)
    return Prefix(ids_BP, mask_BP, positions_3BP[0, :, -1], deltas_B1, out.past_key_values)


def generate(
    loaded: LoadedModel, prefix: Prefix, max_new_tokens: int, **arguments: Any
) -> list[list[int]]:
    """The greedy completion of each row; its end token, where it has one, is its last."""
    loaded.model.model.rope_deltas = prefix.deltas_B1
    output = loaded.model.generate(
        input_ids=prefix.ids_BP,
        attention_mask=prefix.mask_BP,
        past_key_values=prefix.cache,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        temperature=None,
        top_k=None,
        top_p=None,
        # the checkpoint's repetition_penalty is left in force, as the field's evaluations leave it
        **arguments,
    )
    prefix.trim()
    return output[:, prefix.ids_BP.shape[1] :].tolist()


def sample(
    loaded: LoadedModel,
    prefix: Prefix,
    max_new_tokens: int,
    temperature: float,
    seeds: Sequence[Sequence[int]],
    **arguments: Any,
) -> list[list[list[int]]]:
    """Completions of each row, one for each of its seeds (as many in every row).

    A completion depends on its prompt and seed alone, not on what else is in the batch.
    """
    import torch
    from transformers import LogitsProcessorList

    n = len(seeds[0])
    draws_RT = torch.stack(
        [
            torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(seed))
            for row in seeds
            for seed in row
        ]
    ).to(loaded.device)
    repeated = Prefix(
        prefix.ids_BP.repeat_interleave(n, 0),
        prefix.mask_BP.repeat_interleave(n, 0),
        prefix.last_B.repeat_interleave(n, 0),
        prefix.deltas_B1.repeat_interleave(n, 0),
        copy.copy(prefix.cache),
    )
    # new layers over the same tensors: repeating replaces those of the copy
    repeated.cache.layers = [copy.copy(layer) for layer in prefix.cache.layers]
    repeated.cache.batch_repeat_interleave(n)
    drawer = _drawer(draws_RT, prefix.ids_BP.shape[1], temperature)
    processors = LogitsProcessorList([drawer])
    flat = generate(loaded, repeated, max_new_tokens, logits_processor=processors, **arguments)
    return [flat[start : start + n] for start in range(0, len(flat), n)]


def _drawer(draws_RT: torch.Tensor, prompt_length: int, temperature: float) -> Any:
    """A logits processor that leaves each row one token, drawn by the row's own numbers.

    The token is the one in whose share of the cumulated distribution the number falls.
    """
    import torch
    from transformers import LogitsProcessor

    class Drawer(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> Any:
            step = input_ids.shape[1] - prompt_length
            exact = torch.float32 if scores.device.type == "mps" else torch.float64
            shares_RV = (scores.to(exact) / temperature).softmax(-1)
            reached_RV = shares_RV.cumsum(-1)
            wanted_R1 = draws_RT[:, step : step + 1].to(exact) * reached_RV[:, -1:]
            chosen_R1 = torch.searchsorted(reached_RV, wanted_R1, right=True)
            chosen_R1 = chosen_R1.clamp(max=scores.shape[-1] - 1)
            return torch.full_like(scores, -torch.inf).scatter_(-1, chosen_R1, 0.0)

    return Drawer()


def score(
    loaded: LoadedModel,
    prefix: Prefix,
    reasoning: Sequence[Sequence[int]],
    strings: Sequence[Sequence[Sequence[int]]],
) -> list[list[float]]:
    """The log-probability of each string of each row, behind its prompt and reasoning (tokens)."""
    import torch

    if not any(strings):
        return [[] for _ in strings]
    last = prefix.ids_BP[:, -1].tolist()
    shared = [[token, *said] for token, said in zip(last, reasoning, strict=True)]
    packed = pack(shared, strings, loaded.processor.tokenizer.pad_token_id)
    device = loaded.device
    prompt_BQP = prefix.mask_BP[:, None, :-1].bool().expand(-1, packed.ids_BQ.shape[1], -1)
    visible_BQK = torch.cat([prompt_BQP, packed.visible_BQQ.to(device)], dim=-1)
    mask_BQK = torch.zeros(visible_BQK.shape, dtype=loaded.dtype, device=device)
    mask_BQK.masked_fill_(~visible_BQK, torch.finfo(loaded.dtype).min)
    positions_BQ = prefix.last_B[:, None] + packed.offsets_BQ.to(device)
    hidden_BQ = loaded.model.model(
        input_ids=packed.ids_BQ.to(device),
        attention_mask=mask_BQK[:, None],
        position_ids=positions_BQ.expand(3, -1, -1),
        past_key_values=prefix.cache,
        use_cache=True,
    ).last_hidden_state
    prefix.trim()
    logits = loaded.model.lm_head(hidden_BQ[packed.rows, packed.queries])
    logps = logits.float().log_softmax(-1)
    found = logps[range(len(packed.targets)), packed.targets].double().cpu()
    owners = torch.tensor(packed.strings)
    number = sum(map(len, strings))
    sums = torch.zeros(number, dtype=torch.double).index_add_(0, owners, found).tolist()
    return [[sums.pop(0) for _ in row] for row in strings]
