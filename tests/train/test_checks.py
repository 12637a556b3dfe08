"""Settings that TRL or a library refuses in mid-run: refused before the weights are read."""

from dataclasses import replace

import pytest
from in_process import medr1

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config, tiny_config_file, tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.models.loading import load_model, load_outline

pytest.importorskip("trl")

from transformers import SchedulerType
from transformers.training_args import OptimizerNames

from medr1.train.fields import COMPARED, choices
from medr1.train.run import METHODS, resolve_plan
from medr1.train.settings import settings_from

STEP = {"batch_size": 8, "num_generations": 4, "max_completion_length": 8, "max_steps": 1}
OF_SFT = ("prompt", "seed", "max_steps", "batch_size", "save_strategy", "learning_rate")


@pytest.fixture(scope="module")
def questions():
    return read_questions(tiny_vqa_folder() / "train.json", limit=16).only(["multiple_choice"])


@pytest.fixture(scope="module")
def outline():
    return load_outline(tiny_vl_folder(), device="cpu")


def settings_of(folder, method="grpo", **changed):
    values = {**tiny_config(), **STEP}
    if method == "sft":
        values = {name: values[name] for name in OF_SFT}
    return settings_from({**values, "method": method, **changed}, folder)


def train_a_step(questions, settings):
    loaded = load_model(tiny_vl_folder(), device="cpu")
    trainer = METHODS[settings.method].build_trainer(loaded, questions, settings)
    trainer.train()
    assert trainer.state.global_step == 1


REFUSED = [
    ({"loss_type": "ppo"}, "loss_type: 'ppo' is not one of bnpo, cispo, dapo"),
    ({"scale_rewards": "std"}, "scale_rewards: 'std' is not one of batch, group, none"),
    ({"importance_sampling_level": "word"}, "'word' is not one of sequence, token"),
    ({"multi_objective_aggregation": "sum"}, "not one of normalize_then_sum, sum_then_normalize"),
    ({"vllm_mode": "local"}, "not one of colocate, server"),
    ({"vllm_importance_sampling_mode": "token"}, "not one of sequence_mask, sequence_truncate"),
    ({"attn_implementation": "fast"}, "attn_implementation: 'fast' is not one of eager"),
    ({"log_level": "loud"}, "log_level: 'loud' is not one of"),
    ({"train_sampling_strategy": "sorted"}, "not one of random"),
    ({"num_generations": 0}, "num_generations is 0; it has to be at least 2"),
    ({"max_steps": -3}, "max_steps is -3; it has to be at least 1"),
    ({"max_steps": 0}, "max_steps is 0; it has to be at least 1"),
    ({"batch_size": 7}, "7 completions per step .* not a multiple of --num-generations 4"),
    ({"batch_size": 2, "steps_per_generation": 3}, r"generation_batch_size \(6\)"),
    ({"batch_size": 0}, "per_device_train_batch_size is 0"),
    ({"steps_per_generation": 0}, "steps_per_generation is 0"),
    ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0"),
    ({"max_completion_length": 0}, "max_completion_length is 0"),
    ({"rewards": ["soft-overlong:cache=99"]}, "cache=99, which is more than its max_length=8"),
    ({"rewards": ["soft-overlong:cash=4"]}, "no parameter 'cash'. Did you mean cache"),
    ({"rewards": ["accuracy", "accuracy"]}, "'accuracy' is given twice"),
    ({"temperature": 0.0}, "temperature is 0; it has to be above 0"),
    ({"top_k": -1}, "top_k is -1"),
    ({"min_p": 2.0}, "min_p is 2; it has to be at least 0 and at most 1"),
    ({"repetition_penalty": 0.0}, "repetition_penalty is 0"),
    ({"top_entropy_quantile": -1.0}, "top_entropy_quantile is -1"),
    ({"loss_type": "sapo", "sapo_temperature_pos": 0.0}, "sapo_temperature_pos is 0"),
    ({"dataloader_num_workers": -1}, "dataloader_num_workers is -1"),
    ({"seed": -1}, "seed is -1; it has to be at least 0 and at most 4294967295"),
    ({"reward_weights": [1.0]}, "reward_weights has length 1, .* 2 rewards"),
    ({"sync_ref_model": True}, "sync_ref_model .* beta 0"),
    ({"sync_ref_model": True, "beta": 0.1, "ref_model_sync_steps": 0}, "ref_model_sync_steps is 0"),
    ({"sync_ref_model": True, "beta": 0.1, "use_peft": True}, "sync_ref_model .* --use-peft"),
    ({"use_transformers_continuous_batching": True}, "is for models without images"),
    ({"router_aux_loss_coef": 0.1}, "router_aux_loss_coef is for a mixture of experts"),
    ({"cast_lm_head_to_fp32": True}, "cast_lm_head_to_fp32 is for a model"),
    ({"save_strategy": "best"}, "save_strategy best is not supported"),
    ({"accelerator_config": {"dispatch_batches": True}}, "dispatch_batches separates images"),
    ({"dataloader_persistent_workers": True}, "need dataloader_num_workers"),
    ({"torch_compile_backend": "gcc"}, "torch_compile_backend: 'gcc' is not one of"),
    ({"torch_compile_mode": "fast"}, "torch_compile_mode: 'fast' is not one of default"),
    (
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"early": 1}},
        "gradient_checkpointing_kwargs refused: .*'early'",
    ),
    ({"learning_rate": -1.0}, "schedule refused: Invalid learning rate: -1.0"),
    ({"adam_beta1": 1.5}, "Invalid beta parameter"),
    ({"optim": "galore_adamw"}, "schedule refused: .*galore_torch"),
    ({"lr_scheduler_type": "cosine_with_min_lr"}, "min_lr or min_lr_rate should be set"),
    ({"lr_scheduler_type": "warmup_stable_decay"}, "'num_decay_steps'"),
    ({"lr_scheduler_kwargs": {"power": 1}}, "unexpected keyword argument 'power'"),
    ({"cache_implementation": "large"}, "generation settings refused: .*\\(large\\)"),
    ({"generation_kwargs": "num_beams"}, "generation_kwargs: 'num_beams' is not a mapping"),
    ({"generation_kwargs": {"top_pp": 1}}, "top_pp cannot be set. Did you mean top_p?"),
    ({"generation_kwargs": {"disable_compile": False}}, "disable_compile cannot be set"),
    ({"generation_kwargs": {"guidance_scale": 2}}, "guidance_scale runs the prompt again"),
    ({"generation_kwargs": {"num_return_sequences": 2}}, "one completion for each row"),
    ({"generation_kwargs": {"return_dict_in_generate": True}}, "one completion for each row"),
    ({"generation_kwargs": {"prompt_lookup_num_tokens": 3}}, "generation settings refused"),
    ({"generation_kwargs": {"penalty_alpha": 0.6, "top_k": 4, "do_sample": False}}, "Contrastive"),
    ({"generation_kwargs": {"stop_strings": ["e"]}}, "stop strings"),
    ({"use_peft": True, "lora_r": 0}, "lora_r is 0"),
    ({"use_peft": True, "lora_dropout": 1.5}, "lora_dropout is 1.5"),
    ({"use_peft": True, "lora_target_modules": ["q"]}, "adapter refused: Target modules"),
    ({"use_peft": True, "lora_target_modules": ["lm_head"]}, "lora_target_modules has lm_head"),
    ({"method": "sft", "loss_type": "dapo"}, "loss_type: 'dapo' is not one of dft, nll"),
    ({"method": "sft", "router_aux_loss_coef": 0.1}, "mixture of experts"),
    ({"method": "sft", "pad_token": "<none>"}, "pad_token: '<none>' is not a token of"),
    ({"method": "sft", "activation_offloading": True}, "this run has none"),
    ({"method": "sft", "train_sampling_strategy": "group_by_length"}, "group_by_length needs"),
    ({"method": "sft", "gradient_checkpointing_kwargs": {"selective": True}}, "selective needs"),
]


@pytest.mark.parametrize(("changed", "says"), REFUSED, ids=lambda one: str(one)[:50])
def test_what_would_end_a_run_later_is_refused_by_the_plan(
    changed, says, questions, outline, tmp_path
):
    with pytest.raises(InputError, match=says):
        resolve_plan(outline, questions, settings_of(tmp_path, **changed))


def test_a_dry_run_says_it_in_one_sentence(tmp_path):
    command = ["train", "--config", str(tiny_config_file()), "--output-dir", str(tmp_path / "out")]
    command += ["--model-path", str(tiny_vl_folder()), "--data", str(tiny_vqa_folder())]
    result = medr1(*command, "--dry-run", "--loss-type", "ppo")
    assert result.returncode == 2 and not result.stdout
    assert "loss_type: 'ppo' is not one of" in result.stderr and "Traceback" not in result.stderr


def of_trainer(method):
    return [
        (method, name, text)
        for name in COMPARED[method]
        if not name.startswith("vllm")
        for text in choices(method)[name]
    ]


def test_trl_compares_each_of_these_texts_with_two_at_least():
    for method, names in COMPARED.items():
        assert all(len(choices(method).get(name, ())) > 1 for name in names)


@pytest.mark.parametrize(("method", "name", "text"), of_trainer("grpo") + of_trainer("sft"))
def test_each_text_that_is_let_through_trains(method, name, text, questions, outline, tmp_path):
    settings = settings_of(tmp_path, method, **{name: text})
    resolve_plan(outline, questions, settings)
    train_a_step(questions, settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("optim", one.value) for one in OptimizerNames),
        *(("lr_scheduler_type", one.value) for one in SchedulerType),
    ],
)
def test_an_optimizer_or_schedule_is_refused_or_trains(name, text, questions, outline, tmp_path):
    try:
        settings = settings_of(tmp_path, **{name: text})
        resolve_plan(outline, questions, settings)
    except (InputError, ModuleNotFoundError):
        return
    train_a_step(questions, settings)


@pytest.mark.parametrize("shared", [True, False])
def test_items_with_and_without_images_are_refused_for_grpo(shared, questions, outline, tmp_path):
    samples = [replace(s, images=()) if i % 2 else s for i, s in enumerate(questions.samples)]
    mixed = replace(questions, samples=samples)
    with pytest.raises(InputError, match=f"item {samples[1].id} has no image and others have"):
        resolve_plan(outline, mixed, settings_of(tmp_path, shared_prefix=shared))


@pytest.mark.parametrize("each", [1, 2])
def test_sft_trains_on_items_without_images(each, questions, outline, tmp_path):
    samples = [s if i % each else replace(s, images=()) for i, s in enumerate(questions.samples)]
    chosen = replace(questions, samples=samples)
    resolve_plan(outline, chosen, settings_of(tmp_path, "sft"))
    train_a_step(chosen, settings_of(tmp_path, "sft"))


def test_the_checks_draw_no_random_number(questions, outline, tmp_path):
    import torch

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    resolve_plan(outline, questions, settings_of(tmp_path))
    assert torch.rand(1) == expected
