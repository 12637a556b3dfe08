"""What an update is made from: the policy that sampled, the reference, and the whole batch."""

import json
import shutil

import pytest
import torch

pytest.importorskip("trl")

from steps import (
    as_rows,
    fresh_model,
    mixed_questions,
    plain_logps,
    rows_of,
    run_steps,
    samples_of,
    trainer_for,
)

from medr1.data.tiny import tiny_vl_folder
from medr1.errors import InputError
from medr1.models.loading import load_model


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return mixed_questions(tmp_path_factory.mktemp("questions"))


def recorded_logps(trainer):
    """Filled while training: (log-probabilities, mask) of the completions of every update."""
    found, logps_of = [], trainer._get_per_token_logps_and_entropies

    def recording(model, ids, mask, keep, **named):
        output = logps_of(model, ids, mask, keep, **named)
        if torch.is_grad_enabled():
            found.append((output[0].detach().clone(), mask[:, -keep:].bool()))
        return output

    trainer._get_per_token_logps_and_entropies = recording
    return found


def test_the_ratio_is_1_at_the_first_update_of_a_generation_and_not_at_the_second(
    questions, tmp_path
):
    given = {"num_iterations": 2, "gradient_accumulation_steps": 2, "batch_size": 4}
    given |= {"max_steps": 3, "learning_rate": 0.01}
    trainer = trainer_for(fresh_model(), questions, tmp_path, **given)
    updates = recorded_logps(trainer)
    steps = run_steps(trainer)
    batches = [batch for step in steps for batch in step.batches]
    far = [
        float(((logps - batch["old_per_token_logps"])[mask].exp() - 1).abs().max())
        for (logps, mask), batch in zip(updates, batches, strict=True)
    ]
    first, second = [*far[:2], *far[4:]], far[2:4]
    assert max(first) < 1e-5 and min(second) > 0.1


def test_with_one_update_a_generation_the_policy_is_the_one_that_sampled(questions, tmp_path):
    """TRL then takes rho as 1: the weights at the update have to be those at the sampling."""
    loaded = fresh_model()
    sample_of = samples_of(loaded, questions)
    trainer = trainer_for(loaded, questions, tmp_path, learning_rate=0.01)
    sampled, scored = [], trainer._generate_and_score_completions

    def scoring(rows):
        batch = scored(rows)
        with torch.no_grad():
            sampled.append(
                {
                    (prompt, *ids): plain_logps(loaded, questions, sample_of[prompt], ids)
                    for prompt, ids in rows_of(as_rows(batch))
                }
            )
        return batch

    trainer._generate_and_score_completions = scoring
    updates = recorded_logps(trainer)
    steps = run_steps(trainer)
    assert len(steps) == len(sampled) == len(updates) == 2
    for (logps_BT, mask_BT), step, known in zip(updates, steps, sampled, strict=True):
        assert "old_per_token_logps" not in step.batches[0]
        rows = rows_of(step.batches[0])
        for (prompt, ids), logps_T, mask_T in zip(rows, logps_BT, mask_BT, strict=True):
            assert torch.allclose(logps_T[mask_T], known[prompt, *ids], atol=1e-5)


def test_what_is_sampled_has_the_probabilities_of_the_policy(questions, tmp_path):
    """Whatever the checkpoint's generation settings say: Qwen's own, and worse ones."""
    checkpoint = shutil.copytree(tiny_vl_folder(), tmp_path / "model")
    settings = json.loads((checkpoint / "generation_config.json").read_text())
    qwen = {"top_k": 1, "top_p": 0.001, "temperature": 1e-6, "repetition_penalty": 1.05}
    worse = {"min_p": 0.5, "typical_p": 0.1, "no_repeat_ngram_size": 2, "eta_cutoff": 0.1}
    settings = {**settings, **qwen, **worse, "do_sample": True}
    (checkpoint / "generation_config.json").write_text(json.dumps(settings))
    loaded = load_model(checkpoint, device="cpu")
    trainer = trainer_for(loaded, questions, tmp_path, temperature=0.7, shared_prefix=False)
    del trainer._generate_single_turn
    trainer.generation_config.output_scores = True
    trainer.generation_config.return_dict_in_generate = True
    outputs, generate = [], loaded.model.generate

    def keeping(**named):
        outputs.append(generate(**named))
        return outputs[-1].sequences

    loaded.model.generate = keeping
    trainer.model.train()
    rows = [{**trainer.train_dataset[index]} for index in (0, 3, 6) for _ in range(4)]
    batch = trainer._generate_and_score_completions(rows)
    logps_BTV = torch.stack(outputs[0].scores, 1).log_softmax(-1)
    sample_of = samples_of(loaded, questions)
    for (prompt, ids), logps_TV in zip(rows_of(batch), logps_BTV, strict=True):
        drawn_T = logps_TV[torch.arange(len(ids)), ids]
        with torch.no_grad():
            own_T = plain_logps(loaded, questions, sample_of[prompt], ids, 0.7)
        assert torch.allclose(drawn_T, own_T, atol=2e-5)


def test_the_reference_is_loaded_as_the_model_is(questions, tmp_path):
    checkpoint = shutil.copytree(tiny_vl_folder(), tmp_path / "model")

    def rewrite(name, **values):
        held = json.loads((checkpoint / name).read_text())
        (checkpoint / name).write_text(json.dumps({**held, **values}))

    rewrite("config.json", _attn_implementation="evil-org/evil-kernel")
    rewrite("generation_config.json", early_stopping="x", watermarking_config={"bias": "x"})
    loaded = load_model(checkpoint, device="cpu")
    trainer = trainer_for(loaded, questions, tmp_path / "out", beta=0.04, shared_prefix=False)
    assert trainer.ref_model.config._attn_implementation == "sdpa"
    assert trainer.args.model_init_kwargs is None
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(trainer.ref_model.state_dict()[name], tensor)
    rewrite("config.json", _attn_implementation=None, architectures=["AutoTokenizer"])
    with pytest.raises(InputError, match="architectures"):
        trainer_for(load_model(checkpoint, device="cpu"), questions, tmp_path / "o", beta=0.04)


@pytest.mark.parametrize("extra", [{}, {"use_peft": True, "lora_r": 4}])
def test_the_reference_is_the_model_at_the_start_and_stays_so(extra, questions, tmp_path):
    rate = 1.0 if extra else 0.05
    given = {"beta": 0.04, "max_steps": 3, "learning_rate": rate, **extra}
    trainer = trainer_for(fresh_model(), questions, tmp_path, **given)
    assert (trainer.ref_model is None) == bool(extra), "with an adapter, no second model is held"
    steps = run_steps(trainer)
    base = fresh_model()
    sample_of = samples_of(base, questions)
    for step in steps:
        (batch,) = step.batches
        for (prompt, ids), ref_T in zip(rows_of(batch), batch["ref_per_token_logps"], strict=True):
            with torch.no_grad():
                own_T = plain_logps(base, questions, sample_of[prompt], ids)
            assert torch.allclose(ref_T[: len(ids)], own_T, atol=1e-5)
    kl = [entry["kl"] for entry in trainer.state.log_history if "kl" in entry]
    assert abs(kl[0]) < 1e-6 and kl[2] > 1e-3


def test_a_run_from_an_adapter_trains_all_weights_and_is_its_own_reference_only_when_merged(
    questions, tmp_path
):
    """TRL would take the base, without the adapter, for the model that the run starts from; so
    would whoever loads an adapter trained there."""
    first = {"use_peft": True, "lora_r": 4, "learning_rate": 1.0, "max_steps": 1}
    trainer = trainer_for(fresh_model(), questions, tmp_path, **first)
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == str(tiny_vl_folder())
    loaded = load_model(tmp_path / "adapter", device="cpu")
    for given in ({"beta": 0.04}, {"use_peft": True}, {"use_peft": True, "beta": 0.04}):
        with pytest.raises(InputError, match=r"is an adapter\. Merge it first with medr1 merge"):
            trainer_for(loaded, questions, tmp_path, **given)
    steps = run_steps(trainer_for(loaded, questions, tmp_path, max_steps=1))
    assert steps[0].gradients.keys() == steps[0].weights.keys()


SPLITS = [(8, 1), (2, 4)]


def final_weights(questions, folder, batch_size, accumulation, **config):
    given = {"batch_size": batch_size, "gradient_accumulation_steps": accumulation}
    trainer = trainer_for(fresh_model(), questions, folder, **given, **config)
    losses = [step.loss for step in run_steps(trainer)]
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged == pytest.approx(losses, abs=1e-7)
    return losses, {name: p.detach() for name, p in trainer.model.named_parameters()}


def furthest(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize(
    ("loss_type", "beta"),
    [pytest.param("grpo", 0.04, marks=pytest.mark.slow), ("dapo", 0.0), ("bnpo", 0.0)],
)
def test_however_a_batch_is_split_the_step_is_the_same(loss_type, beta, questions, tmp_path):
    """But for bnpo, whose denominator is by definition that of each pass (and which shows here
    that a difference would be seen)."""
    config = {"loss_type": loss_type, "beta": beta, "scale_rewards": "none", "max_steps": 2}
    (losses, weights), (other_losses, other_weights) = [
        final_weights(questions, tmp_path, *split, **config) for split in SPLITS
    ]
    assert furthest(weights, dict(fresh_model().model.named_parameters())) > 1e-3
    if loss_type == "bnpo":
        assert furthest(weights, other_weights) > 1e-4
    else:
        assert other_losses == pytest.approx(losses, abs=1e-5)
        assert furthest(weights, other_weights) < 2e-6


def test_gradient_checkpointing_changes_neither_gradients_nor_the_use_of_the_cache(
    questions, tmp_path
):
    """The original's took the cache from generation, which then ran over the prompt each token."""
    found = []
    for is_on in (False, True):
        given = {"gradient_checkpointing": is_on, "max_steps": 1}
        (step,) = run_steps(trainer_for(fresh_model(), questions, tmp_path, **given))
        found.append(step)
    assert found[0].loss == pytest.approx(found[1].loss, abs=1e-7)
    for name, gradient in found[0].gradients.items():
        assert torch.allclose(gradient, found[1].gradients[name], rtol=1e-4, atol=1e-7)
    given = {"gradient_checkpointing": True, "max_steps": 1}
    trainer = trainer_for(fresh_model(), questions, tmp_path, **given)
    del trainer._generate_single_turn
    calls, layer = [], trainer.model.model.language_model.layers[0]
    layer.input_layernorm.register_forward_pre_hook(
        lambda _, args: calls.append((torch.is_grad_enabled(), args[0].shape[1]))
    )
    trainer.train()
    generation = [width for is_update, width in calls if not is_update]
    assert generation[0] > 1 and set(generation[1:]) == {1}
    assert len(calls) - len(generation) == 2, "the update runs each layer again going back"
