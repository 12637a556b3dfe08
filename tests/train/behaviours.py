"""What TRL promises of its GRPOTrainer, as runs of two steps: settings, data, and what then holds.

`BEHAVIOURS` is all of it. Where a run is said to be unlike another, its setting has an effect.
"""

import asyncio
import math
from pathlib import Path

import pandas
import pytest
import torch
from both_trainers import Behaviour, length, letters, rows
from peft import LoraConfig, get_peft_model

from medr1.data.tiny import tiny_vl_folder
from medr1.rewards import message_text

# --- promises ----------------------------------------------------------------------------------


def all_moved(run):
    """Every weight has changed."""
    assert run.moved == run.before.keys()


def language_moved(run):
    """Every weight but those of the vision tower, which nothing asked."""
    assert run.moved == {name for name in run.before if ".visual." not in name}


def nothing_moved(run):
    assert run.moved == set()


def adapter_moved(run):
    """Every weight of the adapter has changed, and none of the model."""
    adapter = {n for n in run.before if "lora_" in n or "modules_to_save" in n}
    assert adapter and run.moved == {n for n in adapter if ".ref." not in n}


def logs(*names):
    """Every step says these numbers, and every weight has changed."""

    def promise(run):
        all_moved(run)
        assert all(math.isfinite(line[name]) for line in run.lines[:-1] for name in names)

    return promise


def logs_value(**expected):
    """The last step says these numbers."""

    def promise(run):
        found = {name: run.lines[-2][name] for name in expected}
        assert found == pytest.approx(expected, rel=1e-5)

    return promise


def entropy_bonus(run):
    """The loss is the policy's less the coefficient times the mean entropy of a token."""
    logs("policy_loss", "entropy_coef")(run)
    for line in run.lines[:-1]:
        bonus = line["policy_loss"] - line["loss"]
        assert bonus == pytest.approx(line["entropy_coef"] * line["entropy"], rel=1e-4)


def coefficient_grew(run):
    """Once a step, as the entropy is below its target."""
    all_moved(run)
    assert run.trainer.entropy_coef == pytest.approx(0.01 + 0.005 * run.trainer.state.global_step)


def reference_follows(run):
    """After the last step the reference is mixed of the policy and what both started as."""
    all_moved(run)
    followed = dict(run.trainer.ref_model.named_parameters())
    mixed = {n: 0.6 * w + 0.4 * run.before[n] for n, w in run.after.items()}
    assert max(float((followed[n] - w).detach().abs().max()) for n, w in mixed.items()) < 1e-6


def head_is_exact(run):
    assert "lm_head.weight" in run.moved
    assert run.trainer.model.lm_head.weight.dtype == torch.float32


def writes_completions(run):
    """A table of the completions is written for each step, with what rewards add to it."""
    files = sorted(Path(run.trainer.args.output_dir, "completions").glob("*.parquet"))
    assert len(files) == 2
    table = pandas.read_parquet(files[-1])
    assert {"prompt", "completion", "length", "advantage", "first"} <= set(table)
    assert len(table) == 8 and len(run.trainer._logs["images"]) == 8
    assert [line["given"] for line in run.lines[:-1]] == [0.75, 0.75]


def evaluates(times, has_advantages=True):
    """The results of an evaluation are logged so many times."""

    def promise(run):
        found = [line for line in run.lines if "eval_loss" in line]
        assert len(found) == times and all(math.isfinite(line["eval_loss"]) for line in found)
        assert all(line["eval_reward"] > 0 for line in found)
        assert any(line["eval_loss"] for line in found) == has_advantages

    return promise


def rolled_out(run):
    language_moved(run)
    assert set(run.completions) == {"Heart " * number for number in (1, 2, 3, 4)}


def keeps_no_images(run):
    assert len(run.trainer._logs["images"]) == 0 and len(run.completions) == 8


# --- rewards -----------------------------------------------------------------------------------


def nothing(completions, **columns):
    return [None] * len(completions)


def for_even_questions(completions, id, **columns):
    """None for the others."""
    scores = zip(length(completions), id, strict=True)
    return [score if int(number) % 2 == 0 else None for score, number in scores]


async def letters_later(completions, **columns):
    await asyncio.sleep(0.001)
    return letters(completions)


def one(completions, **columns):
    return [1.0] * len(completions)


def zero(completions, **columns):
    return [0.0] * len(completions)


def near_wanted(completions, wanted, **columns):
    """By a column of the data."""
    lengths = [len(message_text(said)) for said in completions]
    return [-abs(n - w) / 10 for n, w in zip(lengths, wanted, strict=True)]


def telling(completions, completion_ids, prompts, trainer_state, log_extra, log_metric, **columns):
    """What a reward is given besides completions, and what it can log."""
    assert len(completion_ids) == len(prompts) == len(completions)
    assert trainer_state.global_step in (0, 1)
    log_extra("first", [message_text(said)[:1] for said in completions])
    log_metric("given", 0.75)
    return length(completions)


telling.__name__ = "length"


def by_turns(completions, turns, **columns):
    """By what the rollout adds to the columns."""
    return [score * turn for score, turn in zip(length(completions), turns, strict=True)]


def rollout(prompts, trainer):
    """Answers that are given, in place of sampling, and a number for each."""
    tokenizer = trainer.processing_class.tokenizer
    answers = ["Heart " * (1 + number % 4) for number in range(len(prompts))]
    return {
        "prompt_ids": [tokenizer(message_text(prompt))["input_ids"] for prompt in prompts],
        "completion_ids": [tokenizer(answer)["input_ids"] for answer in answers],
        "logprobs": [[0.0] * len(tokenizer(answer)["input_ids"]) for answer in answers],
        "turns": [1 + number % 3 for number in range(len(prompts))],
    }


# --- the table ---------------------------------------------------------------------------------


def one_image():
    return rows().map(lambda row: {"image": row["images"][0]}, remove_columns="images")


def empty_images():
    return rows(images=(0,)).map(lambda row: {"images": []})


def placed_images():
    """A system message, and a question whose pictures stand within its text."""
    content = [
        {"type": "text", "text": "Compare"},
        {"type": "image", "text": ""},
        {"type": "text", "text": "with this:"},
        {"type": "image", "text": ""},
    ]
    system = [{"type": "text", "text": "You are brief."}]
    prompt = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    return rows(images=(2,)).map(lambda row: {"prompt": prompt})


def untied(model):
    """With a head that is not the embedding too, which TRL cannot cast in these models."""
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False
    return model


def frozen_vision(model):
    model.model.visual.requires_grad_(False)
    return model


def lora(**fields):
    return LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj"], **fields})


def filled(model):
    """With an adapter that is trained already."""
    model = get_peft_model(model, lora())
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model


ALL_NONE = "All reward functions returned None for the following kwargs:"
PLAIN, TWICE = {"unlike": "plain"}, {"unlike": "two updates"}
UPDATES = {"num_iterations": 2, "learning_rate": 0.3}

DATA = {
    "plain": Behaviour(holds=all_moved),
    "a model by its folder": Behaviour(
        others={"model": str(tiny_vl_folder()), "processing_class": None},
        holds=all_moved,
        like="plain",
    ),
    "a rollout of one's own": Behaviour(
        data=lambda: rows(images=(0,)),
        rewards=(by_turns,),
        others={"rollout_func": rollout},
        holds=rolled_out,
        falls_back="tools, environments and rollout functions",
    ),
    "text": Behaviour(data=lambda: rows(images=(0,), as_text=True), holds=language_moved, **PLAIN),
    "chat": Behaviour(data=lambda: rows(images=(0,)), holds=language_moved, unlike="text"),
    "no images in their column": Behaviour(data=empty_images, holds=language_moved, like="chat"),
    "several images": Behaviour(data=lambda: rows(images=(2,)), holds=all_moved, **PLAIN),
    "one to three images": Behaviour(data=lambda: rows(images=(1, 3, 2)), holds=all_moved, **PLAIN),
    "a column of one image": Behaviour(data=one_image, holds=all_moved, like="plain"),
    "images within the text": Behaviour(
        data=placed_images, holds=all_moved, unlike="several images"
    ),
    "template arguments": Behaviour(
        {"chat_template_kwargs": {"add_vision_id": True}},
        data=lambda: rows(images=(2,)),
        holds=all_moved,
        unlike="several images",
    ),
    "stream": Behaviour(data=lambda: rows().to_iterable_dataset(), holds=all_moved),
    "not shuffled": Behaviour({"shuffle_dataset": False}, holds=all_moved, **PLAIN),
    "loader workers": Behaviour({"dataloader_num_workers": 2}, holds=all_moved, like="plain"),
    "padding to a multiple": Behaviour({"pad_to_multiple_of": 7}, holds=all_moved, like="plain"),
}
LOSSES = {
    f"loss {loss}": Behaviour({**UPDATES, "loss_type": loss}, holds=all_moved, **TWICE)
    for loss in ("grpo", "dr_grpo", "cispo", "sapo", "vespo")
}
LOSSES |= {
    f"loss {loss} in passes": Behaviour(
        {**UPDATES, "loss_type": loss, "gradient_accumulation_steps": 2},
        holds=all_moved,
        unlike="" if loss in ("bnpo", "dapo") else "loss dapo in passes",
    )
    for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo")
}
LOSSES |= {
    "loss bnpo": Behaviour(  # that of dapo, where a generation is one pass
        {**UPDATES, "loss_type": "bnpo"}, holds=all_moved, like="two updates"
    ),
    "loss luspo": Behaviour(
        {**UPDATES, "loss_type": "luspo", "importance_sampling_level": "sequence"},
        holds=all_moved,
        unlike="sequence ratio",
    ),
    "temperatures of sapo": Behaviour(
        {**UPDATES, "loss_type": "sapo", "sapo_temperature_pos": 3.0, "sapo_temperature_neg": 0.5},
        holds=all_moved,
        unlike="loss sapo",
    ),
    "weights of vespo": Behaviour(
        {**UPDATES, "loss_type": "vespo", "vespo_k_neg": 0.2, "vespo_lambda_neg": 5.0},
        holds=logs("vespo/phi_seq_mean"),
        unlike="loss vespo",
    ),
}
LOSSES |= {
    f"loss {loss}, a group left out": Behaviour(
        {**UPDATES, "loss_type": loss, "max_steps": 4},
        rewards=(for_even_questions,),
        holds=all_moved,
    )
    for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo")
}
RATIOS = {
    "two updates": Behaviour(UPDATES, holds=logs("clip_ratio/region_mean"), **PLAIN),
    "part of a generation an update": Behaviour(
        {"steps_per_generation": 2}, holds=all_moved, **PLAIN
    ),
    "a generation by its size": Behaviour(
        {"generation_batch_size": 16}, holds=all_moved, like="part of a generation an update"
    ),
    "generations larger than a batch": Behaviour(
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}, holds=all_moved
    ),
    "batches of three halves of groups": Behaviour(
        {"per_device_train_batch_size": 6, "gradient_accumulation_steps": 2}, holds=all_moved
    ),
    "batches of one completion": Behaviour(
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}, holds=all_moved
    ),
    "sequence ratio": Behaviour(
        {**UPDATES, "loss_type": "grpo", "importance_sampling_level": "sequence"},
        holds=all_moved,
        unlike="loss grpo",
    ),
    "two-sided clipping": Behaviour({**UPDATES, "delta": 1.05}, holds=all_moved, **TWICE),
    "higher upper bound": Behaviour({**UPDATES, "epsilon_high": 2.0}, holds=all_moved, **TWICE),
    "lower bounds": Behaviour({**UPDATES, "epsilon": 0.01}, holds=all_moved, **TWICE),
    "off-policy mask": Behaviour(
        {**UPDATES, "off_policy_mask_threshold": 0.01}, holds=all_moved, **TWICE
    ),
}
REWARDS = {
    "several rewards": Behaviour(
        rewards=(length, letters),
        holds=logs("rewards/length/mean", "rewards/length/std", "rewards/letters/mean"),
        **PLAIN,
    ),
    "weights of rewards": Behaviour(
        {"reward_weights": [0.7, 0.3]},
        rewards=(length, letters),
        holds=all_moved,
        unlike="several rewards",
    ),
    "a reward that is never given": Behaviour(
        rewards=(length, nothing), holds=all_moved, like="plain"
    ),
    "a reward of some questions": Behaviour(
        rewards=(for_even_questions,), holds=all_moved, warns=ALL_NONE, **PLAIN
    ),
    "no reward at all": Behaviour(rewards=(nothing,), holds=nothing_moved, warns=ALL_NONE),
    "a reward in its own time": Behaviour(
        rewards=(length, letters_later), holds=all_moved, like="several rewards"
    ),
    "a reward by a column": Behaviour(
        data=lambda: rows(wanted=lambda i: 5 * i), rewards=(near_wanted,), holds=all_moved, **PLAIN
    ),
    "what a reward is told and logs": Behaviour(
        {"log_completions": True}, rewards=(telling,), holds=writes_completions, like="plain"
    ),
    "no images in the logs": Behaviour(
        {"log_completions": True, "log_multimodal": False}, holds=keeps_no_images, like="plain"
    ),
    "normalized before they are summed": Behaviour(
        {"multi_objective_aggregation": "normalize_then_sum"},
        rewards=(length, letters),
        holds=all_moved,
        unlike="several rewards",
    ),
}
REWARDS |= {
    f"weighted reward, {way}": Behaviour(
        {"reward_weights": [0.7, 0.3], "multi_objective_aggregation": way},
        rewards=(one, zero),
        holds=logs_value(reward=0.7, **{"rewards/one/mean": 1.0, "rewards/zero/mean": 0.0}),
    )
    for way in ("sum_then_normalize", "normalize_then_sum")
}
REWARDS |= {
    f"scaled by {scale}": Behaviour({"scale_rewards": scale}, holds=all_moved, **than)
    for scale, than in {
        **{"group": {"like": "plain"}, "batch": PLAIN, "none": PLAIN},
        **{True: {"like": "plain"}, False: {"like": "scaled by none"}},
    }.items()
}
NEEDS_ALL = {
    f"{name}, no group is left out": Behaviour(
        {**UPDATES, **fields}, rewards=(for_even_questions,), holds=all_moved
    )
    for name, fields in {
        "kl": {"beta": 0.5},
        "entropy bonus": {"entropy_coef": 0.5},
        "tokens of high entropy": {"top_entropy_quantile": 0.2},
    }.items()
}
KL = {
    "kl": Behaviour({**UPDATES, "beta": 0.5}, holds=logs("kl"), **TWICE),
    "kl without correction": Behaviour(
        {**UPDATES, "beta": 0.5, "use_bias_correction_kl": False}, holds=logs("kl"), unlike="kl"
    ),
    "kl with an adapter": Behaviour(
        {**UPDATES, "beta": 0.5}, peft=lora(), holds=adapter_moved, unlike="adapter, two updates"
    ),
    "reference that follows": Behaviour(
        {
            **{"beta": 0.5, "sync_ref_model": True},
            **{"ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.6},
        },
        holds=reference_follows,
    ),
}
ENTROPY = {
    f"entropy bonus, {loss}": Behaviour(
        {
            **{"loss_type": loss, "entropy_coef": 0.5},
            "importance_sampling_level": "sequence" if loss == "luspo" else "token",
        },
        holds=entropy_bonus,
        **PLAIN,
    )
    for loss in ("grpo", "dr_grpo", "dapo", "luspo")
}
ADAPTIVE = {"entropy_coef": 0.01, "use_adaptive_entropy": True, "entropy_target": 15.0}
ENTROPY |= {
    "adaptive entropy bonus": Behaviour(
        {**ADAPTIVE, "entropy_coef_delta": 0.005, "max_steps": 3}, holds=coefficient_grew
    ),
    "adaptive entropy bonus in passes": Behaviour(
        {**ADAPTIVE, "entropy_coef_delta": 0.005, "gradient_accumulation_steps": 2},
        holds=coefficient_grew,
    ),
    # a quantile that falls between tokens: of those with the same entropy, rounding decides
    "tokens of high entropy": Behaviour({"top_entropy_quantile": 0.45}, holds=all_moved, **PLAIN),
}
SAMPLING = {
    "temperature": Behaviour({"temperature": 1.5}, holds=all_moved, **PLAIN),
    "nucleus": Behaviour({"top_p": 0.8}, holds=all_moved, **PLAIN),
    "likeliest tokens": Behaviour({"top_k": 3}, holds=all_moved, **PLAIN),
    "least probability": Behaviour({"min_p": 0.3}, holds=all_moved, **PLAIN),
    "penalty for repetition": Behaviour({"repetition_penalty": 2.0}, holds=all_moved, **PLAIN),
    "other generation settings": Behaviour(
        {"generation_kwargs": {"no_repeat_ngram_size": 2, "typical_p": 0.7}}, holds=all_moved
    ),
    "beams": Behaviour(
        {"generation_kwargs": {"do_sample": True, "num_beams": 2, "length_penalty": -0.1}},
        holds=all_moved,
        falls_back="length_penalty, num_beams in generation_kwargs",
    ),
    "a static cache": Behaviour({"cache_implementation": "static"}, holds=all_moved, like="plain"),
    "another cache": Behaviour(
        {"cache_implementation": "dynamic"},
        holds=all_moved,
        falls_back="cache_implementation is dynamic, not static",
    ),
    "truncated completions do not count": Behaviour(
        {"max_completion_length": 5, "mask_truncated_completions": True},
        holds=all_moved,
        unlike="truncated completions",
    ),
    "truncated completions": Behaviour({"max_completion_length": 5}, holds=all_moved, **PLAIN),
    "all completions truncated": Behaviour(
        {"max_completion_length": 1, "mask_truncated_completions": True}, holds=nothing_moved
    ),
}
WEIGHTS = {
    "adapter": Behaviour(peft=lora(), holds=adapter_moved),
    "adapter on all layers": Behaviour(peft=lora(target_modules="all-linear"), holds=adapter_moved),
    "adapter, two updates": Behaviour(UPDATES, peft=lora(), holds=adapter_moved),
    "adapter with magnitudes": Behaviour(peft=lora(use_dora=True), holds=adapter_moved),
    "adapter and the head": Behaviour(peft=lora(modules_to_save=["lm_head"]), holds=adapter_moved),
    "adapter with dropout": Behaviour(
        peft=lora(lora_dropout=0.5), holds=adapter_moved, unlike="adapter", is_compared=False
    ),
    "adapter without its dropout": Behaviour(
        {"disable_dropout": True}, peft=lora(lora_dropout=0.5), holds=adapter_moved, like="adapter"
    ),
    "adapter that is there": Behaviour(prepared=filled, holds=adapter_moved),
    "adapter that is there, kl": Behaviour({"beta": 0.5}, prepared=filled, holds=adapter_moved),
    "frozen vision": Behaviour(prepared=frozen_vision, holds=language_moved, **PLAIN),
    "checkpointing": Behaviour({"gradient_checkpointing": True}, holds=all_moved, like="plain"),
    "checkpointing, reentrant": Behaviour(
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
        holds=all_moved,
        like="plain",
    ),
    "checkpointing with an adapter": Behaviour(
        {"gradient_checkpointing": True}, peft=lora(), holds=adapter_moved, like="adapter"
    ),
    "head in float32": Behaviour(
        {"cast_lm_head_to_fp32": True}, prepared=untied, holds=head_is_exact
    ),
    "weights in bfloat16, head in float32": Behaviour(
        {"cast_lm_head_to_fp32": True},
        prepared=lambda model: untied(model).to(torch.bfloat16),
        holds=head_is_exact,
        is_compared=False,
    ),
    "computed in bfloat16": Behaviour({"bf16": True}, holds=all_moved, is_compared=False),
}
EVALUATIONS = {
    "evaluation": Behaviour(
        {"eval_strategy": "steps", "eval_steps": 1},
        evaluated=lambda: rows(2),
        holds=evaluates(2),
    ),
    "one completion in evaluation": Behaviour(
        {"eval_strategy": "steps", "eval_steps": 2, "num_generations_eval": 1},
        evaluated=lambda: rows(8),
        holds=evaluates(1, has_advantages=False),
    ),
    "evaluation at the start": Behaviour(
        {"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True, "loss_type": "grpo"},
        evaluated=lambda: rows(2),
        holds=evaluates(2),
    ),
    "evaluation with a smaller last batch": Behaviour(
        {"eval_strategy": "steps", "eval_steps": 2},
        evaluated=lambda: rows(3),
        holds=evaluates(1),
    ),
}
BEHAVIOURS = {
    **{**DATA, **LOSSES, **RATIOS, **REWARDS, **NEEDS_ALL, **KL},
    **{**ENTROPY, **SAMPLING, **WEIGHTS, **EVALUATIONS},
}
