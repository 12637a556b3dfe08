"""Decoding without rows that ended, against the tokens that the same rows get without an end."""

import pytest
import torch
from tiny_families import FAMILIES
from tiny_qwens import QWENS

from medr1.infer.engine import InferencePlan
from medr1.infer.local.generation import BatchFeatures, generate, prefill, sample_completions
from medr1.infer.local.inputs import QuestionBuilder, prepare_batches
from medr1.models.ended_rows import end_tokens
from medr1.models.families.choice import BATCHED_TYPES
from medr1.models.loading import load_model
from medr1.records import Decoding

TOKENS = 9
BUILDERS = {name: build for name, build in {**FAMILIES, **QWENS}.items() if name in BATCHED_TYPES}


@pytest.fixture(scope="module", params=BUILDERS)
def loaded(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("ended") / request.param
    BUILDERS[request.param](path)
    return load_model(path, device="cpu", allow_template=True)


def completions(loaded, prefix, samples):
    """Two completions of each prompt if they are sampled, else one."""
    if not samples:
        return generate(loaded, prefix, TOKENS)
    seeds = [[10 * row, 10 * row + 1] for row in range(len(prefix.ids_BP))]
    sampled = sample_completions(loaded, prefix, TOKENS, 1.0, seeds)
    return [tokens for row in sampled for tokens in row]


@pytest.mark.parametrize("sampled", [False, True])
def test_rows_end_with_the_tokens_they_had_without_an_end(loaded, sampled, validation):
    samples = [sample for sample in validation.samples if sample.options][:5]
    plan = InferencePlan([range(5)], validation.image_root, decoding=Decoding())
    ((questions, failed),) = prepare_batches(QuestionBuilder(loaded, plan), samples)
    assert not failed
    rows = [question.rows[0] for question in questions]
    config, passes = loaded.model.generation_config, []

    with torch.inference_mode():
        prefix = prefill(loaded, rows, BatchFeatures(loaded, rows))
        before = [layer.keys.clone() for layer in prefix.cache.layers]
        config.eos_token_id = None
        endless = completions(loaded, prefix, sampled)
        # One row ends at its second token and one at its fifth; others may have these tokens too.
        config.eos_token_id = [endless[0][1], endless[-1][4]]
        handle = loaded.model.get_decoder().register_forward_pre_hook(
            lambda module, args, kwargs: passes.append(len(kwargs["inputs_embeds"])),
            with_kwargs=True,
        )
        try:
            ended = completions(loaded, prefix, sampled)
        finally:
            handle.remove()
    lengths = []
    for row, tokens in zip(endless, ended, strict=True):
        ends = [step for step, token in enumerate(row) if token in config.eos_token_id]
        lengths.append(1 + (ends[0] if ends else TOKENS - 1))
        assert tokens[: lengths[-1]] == row[: lengths[-1]]
        assert set(tokens[lengths[-1] :]) <= {config.pad_token_id}
    assert len(set(lengths)) > 1
    assert sum(passes) == sum(lengths)  # each token is predicted by one row of one pass
    assert all(map(torch.equal, before, [layer.keys for layer in prefix.cache.layers]))


def test_end_tokens_are_those_of_the_given_configuration_first(tiny_model):
    from transformers import GenerationConfig

    model = tiny_model.model
    own = end_tokens(model)
    assert own and all(isinstance(token, int) for token in own)
    assert end_tokens(model, GenerationConfig()) == own
    assert end_tokens(model, GenerationConfig(eos_token_id=7)) == [7]
    assert end_tokens(model, GenerationConfig(eos_token_id=[7, 8])) == [7, 8]
