"""The model's forward passes over a batch: the prompts once, then completions and scores.

    features  = the vision tower's output, computed once for each different image
    prefix    = the prompts without their last tokens, as cached keys and values
    generate, sample_completions, score_tokens: each continues from the prefix, and leaves it
                as it was

Shapes: B rows, P prompt tokens (left padded), T new tokens, R rows times samples, Q packed tokens,
K keys (prompt and packed), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from medr1.infer.local.inputs import Row
from medr1.infer.local.packing import pack_strings
from medr1.models.calls import greedy_tokens
from medr1.models.families.batched import ImageFeatures, Positions, Prompts
from medr1.models.loading import LoadedModel, batched_family

_LOGITS_AT_ONCE = 512
"""Most positions whose logits over the vocabulary are in memory together, in `score_tokens`."""

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList
    from transformers.generation.streamers import BaseStreamer


class BatchFeatures:
    """The vision tower's output for the images of a batch, computed once."""

    def __init__(self, loaded: LoadedModel, rows: Sequence[Row]) -> None:
        # Rows with the same images have the same object; images compare by identity.
        images = list(dict.fromkeys(row.images for row in rows if row.images))
        self._encoded = [row_images.encoded.on_device(loaded.device) for row_images in images]
        computed: list[ImageFeatures] = []
        if images:
            computed = batched_family(loaded).image_features(loaded.model, self._encoded)
        self._position = {row_images: position for position, row_images in enumerate(images)}
        self._features = computed

    def prompts(self, rows: Sequence[Row], ids_BP: torch.Tensor, mask_BP: torch.Tensor) -> Prompts:
        """Prompts with the features of their images.

        Args:
            rows: Rows of the batch; several may have the same images.
            ids_BP: Their token ids.
            mask_BP: 1 for a token, 0 for padding.
        """
        positions = [self._position[row.images] for row in rows if row.images]
        return Prompts(
            ids_BP,
            mask_BP,
            [self._encoded[position] for position in positions],
            [self._features[position] for position in positions],
        )


@dataclass
class Prefix:
    """The prompts of B rows, with the keys and values of all but their last tokens.

    The last token is left out, because the model predicts the first new token from it.
    """

    ids_BP: torch.Tensor
    """Token ids, left padded."""
    mask_BP: torch.Tensor
    """1 for a token, 0 for padding."""
    positions: Positions
    """The positions of the prompt tokens."""
    cache: DynamicCache
    """transformers' cache of keys and values."""

    def trim(self) -> None:
        """Remove from the cache what was added after the prompt."""
        surplus = self.cache.get_seq_length() - self.ids_BP.shape[1] + 1
        if surplus:
            self.cache.crop(-surplus)


def prefill(loaded: LoadedModel, rows: Sequence[Row], features: BatchFeatures) -> Prefix:
    """Run the prompts through the model, and keep their keys and values.

    Args:
        loaded: The model.
        rows: The prompts.
        features: The features of the images of these rows.
    """
    import torch
    from transformers import DynamicCache

    from medr1.models.kv_cache import grow_in_blocks

    width = max(len(row.token_ids) for row in rows)
    pad = loaded.processor.tokenizer.pad_token_id
    ids_BP = torch.tensor([[pad] * (width - len(row.token_ids)) + row.token_ids for row in rows])
    mask_BP = torch.tensor(
        [[0] * (width - len(row.token_ids)) + [1] * len(row.token_ids) for row in rows]
    )
    prompts = features.prompts(rows, ids_BP.to(loaded.device), mask_BP.to(loaded.device))
    family = batched_family(loaded)
    positions = family.positions(loaded.model, prompts)
    # A cache without a configuration keeps all keys, also in layers with a sliding window: strings
    # are scored behind the prompt several times, each time from the same keys.
    cache = DynamicCache()
    inner = loaded.model.model  # the model without its output layer: no logits are needed here
    inner(
        **family.prompt_arguments(loaded.model, prompts.without_last()),
        attention_mask=prompts.mask_BP[:, :-1],
        position_ids=positions.ids[..., :-1],
        past_key_values=cache,
        use_cache=True,
    )
    # Otherwise each new token would copy the whole cache.
    grow_in_blocks(cache)
    return Prefix(prompts.ids_BP, prompts.mask_BP, positions, cache)


def generate(
    loaded: LoadedModel,
    prefix: Prefix,
    max_new_tokens: int,
    *,
    streamer: BaseStreamer | None = None,
) -> list[list[int]]:
    """Generate the greedy completion of each row.

    Args:
        loaded: The model.
        prefix: The prompts; unchanged afterwards.
        max_new_tokens: Most tokens of a completion.
        streamer: What receives the tokens while they are generated; None for nothing.

    Returns:
        Token ids of each completion. After its end token come padding tokens, up to the longest
        completion of the batch.
    """
    from medr1.models.kv_cache import branch

    own = replace(prefix, cache=branch(prefix.cache))
    return _continue(loaded, own, max_new_tokens, streamer, None)


def _continue(
    loaded: LoadedModel,
    prefix: Prefix,
    max_new_tokens: int,
    streamer: BaseStreamer | None,
    processors: LogitsProcessorList | None,
) -> list[list[int]]:
    """Continue prompts greedily, as `generate` does; the prefix's cache is used up.

    `processors` change the logits before the next token is chosen; None for nothing.
    """
    from medr1.models.ended_rows import end_tokens, leave_out_ended_rows

    batched_family(loaded).continue_from(loaded.model, prefix.positions)
    with leave_out_ended_rows(loaded.model, prefix.cache, end_tokens(loaded.model)):
        output = greedy_tokens(
            loaded.model,
            # All prompt tokens are given, and the one that the cache lacks, the last, is run.
            input_ids=prefix.ids_BP,
            attention_mask=prefix.mask_BP,
            past_key_values=prefix.cache,
            max_new_tokens=max_new_tokens,
            streamer=streamer,
            logits_processor=processors,
        )
    rows: list[list[int]] = output[:, prefix.ids_BP.shape[1] :].tolist()
    return rows


def sample_completions(
    loaded: LoadedModel,
    prefix: Prefix,
    max_new_tokens: int,
    temperature: float,
    seeds: Sequence[Sequence[int]],
    *,
    streamer: BaseStreamer | None = None,
) -> list[list[list[int]]]:
    """Sample completions of each row, one for each of its seeds.

    A completion depends on its prompt and seed only, not on the rest of the batch.

    Args:
        loaded: The model.
        prefix: The prompts; unchanged afterwards.
        max_new_tokens: Most tokens of a completion.
        temperature: The logits are divided by it; above 0.
        seeds: For each row as many seeds as completions, the same number in every row.
        streamer: As in `generate`.

    Returns:
        For each row, for each seed: token ids, as `generate` returns them.
    """
    import torch
    from transformers import LogitsProcessorList

    from medr1.models.kv_cache import branch

    num_samples = len(seeds[0])
    # One uniform number for each token, drawn on the CPU: the same on every device.
    draws_RT = torch.stack(
        [
            torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(seed))
            for row in seeds
            for seed in row
        ]
    ).to(loaded.device)
    repeated = Prefix(
        prefix.ids_BP.repeat_interleave(num_samples, 0),
        prefix.mask_BP.repeat_interleave(num_samples, 0),
        prefix.positions.repeat(num_samples),
        branch(prefix.cache),
    )
    repeated.cache.batch_repeat_interleave(num_samples)
    drawer = token_drawer(draws_RT, prefix.ids_BP.shape[1], temperature)
    processors = LogitsProcessorList([drawer])
    flat = _continue(loaded, repeated, max_new_tokens, streamer, processors)
    return [flat[start : start + num_samples] for start in range(0, len(flat), num_samples)]


def token_drawer(draws_RT: torch.Tensor, prompt_length: int, temperature: float) -> LogitsProcessor:
    """A logits processor that samples: it leaves each row one token, the drawn one.

    Greedy decoding then has no other choice. The token is drawn by inverting the cumulative
    distribution: with probabilities 0.5, 0.3, 0.2 the number 0.6 draws the second token.

    Args:
        draws_RT: A uniform number in [0, 1) for each token of each row.
        prompt_length: Number of tokens of the prompts.
        temperature: The logits are divided by it; above 0.
    """
    import torch
    from transformers import LogitsProcessor

    class TokenDrawer(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            step = input_ids.shape[1] - prompt_length
            # float64, so that the sum over the vocabulary is accurate; MPS does not have it.
            dtype = torch.float32 if scores.device.type == "mps" else torch.float64
            probabilities_RV = (scores.to(dtype) / temperature).softmax(-1)
            cumulative_RV = probabilities_RV.cumsum(-1)
            # The last cumulative value is 1 but for rounding.
            target_R1 = draws_RT[:, step : step + 1].to(dtype) * cumulative_RV[:, -1:]
            # The first token whose cumulative probability is above the target.
            chosen_R1 = torch.searchsorted(cumulative_RV, target_R1, right=True)
            chosen_R1 = chosen_R1.clamp(max=scores.shape[-1] - 1)
            return torch.full_like(scores, -torch.inf).scatter_(-1, chosen_R1, 0.0)

    return TokenDrawer()


def score_strings(
    loaded: LoadedModel,
    prefix: Prefix,
    reasoning: Sequence[Sequence[int]],
    strings: Sequence[Sequence[Sequence[int]]],
) -> list[list[float]]:
    """Compute the log-probability of each string after the prompt and reasoning of its row.

    Args:
        loaded: The model.
        prefix: The prompts; unchanged afterwards.
        reasoning: For each row the token ids between prompt and string; may be empty.
        strings: For each row the token ids of its strings.

    Returns:
        For each row, for each string: the sum of its tokens' log-probabilities (natural logarithm).
    """
    token_logps = score_tokens(loaded, prefix, reasoning, strings)
    return [[sum(logps) for logps in row] for row in token_logps]


def score_tokens(
    loaded: LoadedModel,
    prefix: Prefix,
    reasoning: Sequence[Sequence[int]],
    strings: Sequence[Sequence[Sequence[int]]],
) -> list[list[list[float]]]:
    """Compute the log-probability of each token of strings after the prompt of their row.

    All strings are scored in one forward pass (`packing`).

    Args:
        loaded: The model.
        prefix: As in `score_strings`.
        reasoning: As in `score_strings`.
        strings: As in `score_strings`; none is empty.

    Returns:
        For each row, for each string, for each token: its log-probability (natural logarithm).
    """
    import torch

    if not any(strings):
        return [[] for _ in strings]
    last_tokens = prefix.ids_BP[:, -1].tolist()
    shared = [[last, *tokens] for last, tokens in zip(last_tokens, reasoning, strict=True)]
    packed = pack_strings(shared, strings, loaded.processor.tokenizer.pad_token_id)
    device = loaded.device
    # Keys are the cached prompt, then the packed tokens.
    prompt_BQP = prefix.mask_BP[:, None, :-1].bool().expand(-1, packed.ids_BQ.shape[1], -1)
    visible_BQK = torch.cat([prompt_BQP, packed.visible_BQQ.to(device)], dim=-1)
    # Tokens are numbered within their text, as if each string alone followed the prompt.
    numbers_BP = prefix.mask_BP.cumsum(-1) - 1
    offsets_BQ = packed.offsets_BQ.to(device)
    numbers_BQ = numbers_BP[:, -1:] + offsets_BQ
    numbers_BK = torch.cat([numbers_BP[:, :-1], numbers_BQ], dim=-1)
    family = batched_family(loaded)
    hidden_BQ = loaded.model.model(
        input_ids=packed.ids_BQ.to(device),
        attention_mask=family.attention(loaded.model, visible_BQK, numbers_BQ, numbers_BK),
        position_ids=family.position_ids(prefix.positions.last_B[:, None] + offsets_BQ),
        past_key_values=prefix.cache,
        use_cache=True,
    ).last_hidden_state
    prefix.trim()
    token_logps: list[float] = []
    # Logits are computed only at the positions that predict a token of a string.
    for start in range(0, len(packed.targets), _LOGITS_AT_ONCE):
        part = slice(start, start + _LOGITS_AT_ONCE)
        hidden = hidden_BQ[packed.rows[part], packed.queries[part]]
        logps = loaded.model.get_output_embeddings()(hidden).float().log_softmax(-1)
        targets = packed.targets[part]
        token_logps += logps[range(len(targets)), targets].tolist()
    remaining = iter(token_logps)
    return [[[next(remaining) for _ in string] for string in row] for row in strings]
