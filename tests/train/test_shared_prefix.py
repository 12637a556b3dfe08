"""Shared prompts against stock TRL: the same log-probabilities, gradients, tokens and weights."""

import copy
import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medr1.data.images import load_image
from medr1.data.readers import read_questions
from medr1.data.roots import resolve_image
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder
from medr1.models.loading import load_model
from medr1.prompts import chat_messages

pytest.importorskip("trl")

from peft import LoraConfig
from transformers import CompileConfig
from trl import GRPOConfig, GRPOTrainer

from medr1.train.grpo import build_trainer, training_set
from medr1.train.settings import settings_from
from medr1.train.shared_prefix import trainer as shared_trainer
from medr1.train.shared_prefix.packing import attention_layout
from medr1.train.shared_prefix.trainer import SharedPrefixTrainer

KINDS = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"]
SIZES = [(56, 84), (112, 56), (84, 84)]
G, C = 4, 16
EXACT = 1e-5
LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


# --- log-probabilities and gradients ----------------------------------------------------------


@dataclass
class Batch:
    """Three prompts with pictures of three sizes, four ragged completions each."""

    ids: torch.Tensor
    mask: torch.Tensor
    types: torch.Tensor
    pixels: torch.Tensor
    grids: torch.Tensor
    weights: torch.Tensor
    """What the loss of these tests multiplies log-probabilities and entropies with."""


@pytest.fixture(scope="module")
def batch(tiny_model, validation):
    processor = tiny_model.processor
    texts, images = [], []
    for sample, size in zip(validation.samples, SIZES, strict=False):
        messages = chat_messages(sample, "nothink", "text")
        texts.append(
            processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        )
        names = [resolve_image(name, validation.image_root) for name in sample.images]
        images.append([load_image(name).image.resize(size) for name in names])
    made = processor(text=texts, images=images, padding=True, return_tensors="pt")
    assert len(made["attention_mask"].sum(1).unique()) > 1  # some are padded on the left
    assert len(made["image_grid_thw"].unique(dim=0)) == 3
    draw = torch.Generator().manual_seed(1)
    completions = torch.randint(5, 600, (3 * G, C), generator=draw)
    lengths = torch.randint(3, C + 1, (3 * G,), generator=draw)
    said = (torch.arange(C) < lengths[:, None]).long()
    rows = {name: made[name].repeat_interleave(G, 0) for name in ("input_ids", "attention_mask")}
    types = made["mm_token_type_ids"].repeat_interleave(G, 0)
    return Batch(
        torch.cat([rows["input_ids"], completions], 1),
        torch.cat([rows["attention_mask"], said], 1),
        torch.cat([types, torch.zeros_like(completions)], 1),
        made["pixel_values"],
        made["image_grid_thw"],
        torch.randn(2, 3 * G, C, generator=draw),
    )


def no_reward(completions, **columns):
    return [0.0] * len(completions)


def trainer_of(kind, loaded, validation, folder, peft=None, reward=no_reward, **fields) -> Any:
    # the load-balancing loss of experts cannot be shared
    fields = {"router_aux_loss_coef": 0.0, **fields}
    config = GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        report_to=[],
        per_device_train_batch_size=3 * G,
        num_generations=G,
        max_completion_length=C,
        remove_unused_columns=False,
        bf16=False,
        gradient_checkpointing=fields.pop("gradient_checkpointing", False),
        **fields,
    )
    return kind(
        model=copy.deepcopy(loaded.model),
        reward_funcs=[reward],
        args=config,
        train_dataset=training_set(
            loaded, validation.samples[:4], validation.image_root, "nothink", "text"
        ),
        processing_class=loaded.processor,
        peft_config=peft,
    )


def stock_scores(trainer, batch):
    """Log-probabilities and entropies as TRL makes them: each row with its own pictures."""
    patches = batch.pixels.split(batch.grids.prod(-1).tolist())
    return trainer._get_per_token_logps_and_entropies(
        trainer.model,
        batch.ids,
        batch.mask,
        C,
        compute_entropy=True,
        pixel_values=torch.cat([part for part in patches for _ in range(G)]),
        image_grid_thw=batch.grids.repeat_interleave(G, 0),
        num_images=[1] * len(batch.ids),
        mm_token_type_ids=batch.types,
    )[:2]


def shared_scores(trainer, batch, batch_size=None):
    with trainer._sharing(G):
        return trainer._get_per_token_logps_and_entropies(
            trainer.model,
            batch.ids,
            batch.mask,
            C,
            batch_size=batch_size,
            compute_entropy=True,
            pixel_values=batch.pixels,
            image_grid_thw=batch.grids,
            num_images=[1] * len(batch.ids),
            mm_token_type_ids=batch.types,
        )[:2]


def error(found, expected):
    """The largest difference, relative to the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def worst_errors(stock, shared, batch):
    """The errors of log-probabilities and entropies, and the largest of any one gradient."""
    scores = []
    for trainer, made in ((stock, stock_scores), (shared, shared_scores)):
        trainer.model.train()
        trainer.model.zero_grad()
        logps, entropies = made(trainer, batch)
        (torch.stack([logps, entropies]) * batch.weights).sum().backward()
        scores.append((logps.detach(), entropies.detach()))
    expected = {name: p.grad for name, p in stock.model.named_parameters() if p.requires_grad}
    found = {name: p.grad for name, p in shared.model.named_parameters() if p.requires_grad}
    assert expected.keys() == found.keys() and len(expected) > 5
    gradients = [
        error(found[name], gradient) for name, gradient in expected.items() if gradient is not None
    ]
    assert all(found[name] is None for name, gradient in expected.items() if gradient is None)
    return error(scores[1][0], scores[0][0]), error(scores[1][1], scores[0][1]), max(gradients)


def freeze(trainer):
    trainer.model.model.visual.requires_grad_(False)


def fill_adapter(trainer):
    """Give the second matrices of an adapter values: they begin as zero."""
    torch.manual_seed(2)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)


def lora():
    return LoraConfig(r=4, target_modules=LORA_TARGETS)


VARIANTS = {
    "plain": {},
    "checkpointing": {"gradient_checkpointing": True},
    "lora": {"peft": lora()},
    "lora and checkpointing": {"peft": lora(), "gradient_checkpointing": True},
    "frozen vision": {},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_log_probs_and_every_gradient_are_those_of_stock_trl(
    kind, variant, batch, random_model, validation, tmp_path
):
    loaded, fields = random_model(kind), VARIANTS[variant]
    stock, shared = (
        trainer_of(made, loaded, validation, tmp_path, **fields)
        for made in (GRPOTrainer, SharedPrefixTrainer)
    )
    for trainer in (stock, shared):
        if variant == "frozen vision":
            freeze(trainer)
        fill_adapter(trainer)
    assert max(worst_errors(stock, shared, batch)) <= EXACT


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_either_attention_and_small_batches_are_exact(
    attention, batch, random_model, validation, tmp_path
):
    loaded = random_model("qwen2_5_vl")
    loaded.model.set_attn_implementation(attention)
    trainer = trainer_of(SharedPrefixTrainer, loaded, validation, tmp_path)
    assert trainer._shares
    with torch.no_grad():
        expected = stock_scores(trainer, batch)
        for batch_size in (None, G, 2 * G):
            found = shared_scores(trainer, batch, batch_size)
            assert max(map(error, found, expected)) <= EXACT


def shifted(groups, positions_3PN):
    made = real_pack(groups, positions_3PN)
    positions_3PT = made.positions_3PT.clone()
    positions_3PT[..., groups.prompt_ids_PN.shape[1] - 1 :] += 1
    return replace(made, positions_3PT=positions_3PT)


def padding_visible(groups, positions_3PN):
    made = real_pack(groups, positions_3PN)
    everything = torch.ones_like(groups.prompt_mask_PN[:, :-1]).bool()
    length = groups.completion_ids_PGC.shape[-1]
    return replace(made, layout=attention_layout(everything, made.blocks.tokens_PSL, length))


real_pack = shared_trainer.pack_by_image


@pytest.mark.parametrize("fault", [shifted, padding_visible])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_in_the_packing_is_seen(
    kind, fault, batch, random_model, validation, tmp_path, monkeypatch
):
    loaded = random_model(kind)
    trainer = trainer_of(SharedPrefixTrainer, loaded, validation, tmp_path)
    with torch.no_grad():
        expected = stock_scores(trainer, batch)
        monkeypatch.setattr(shared_trainer, "pack_by_image", fault)
        assert error(shared_scores(trainer, batch)[0], expected[0]) > 100 * EXACT


# --- generation -------------------------------------------------------------------------------


def prompts_of(loaded, samples, image_root):
    """The prompts as TRL has them, G rows of each, their pictures of several sizes."""
    rows = training_set(loaded, samples, image_root, "nothink", "text")[:]
    contents = [
        [
            *({"type": "image", "image": image.resize(size)} for image in images),
            {"type": "text", "text": prompt[0]["content"]},
        ]
        for prompt, images, size in zip(rows["prompt"], rows["images"], SIZES, strict=True)
    ]
    return [[{"role": "user", "content": content}] for content in contents for _ in range(G)]


def generated(trainer, prompts):
    """The token ids of a completion of each prompt, and how many images were processed."""
    torch.manual_seed(3)
    with trainer._sharing(G) if isinstance(trainer, SharedPrefixTrainer) else nullcontext():
        ids, images, fields = trainer._tokenize_prompts(prompts)
        said = trainer._generate_single_turn(ids, images, fields, G)[0]
    return said, len(fields["image_grid_thw"])


@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_tokens_are_generated(kind, do_sample, cache, random_model, validation, tmp_path):
    loaded = random_model(kind)
    prompts = prompts_of(loaded, validation.samples[:3], validation.image_root)
    said = []
    for made in (GRPOTrainer, SharedPrefixTrainer):
        trainer = trainer_of(made, loaded, validation, tmp_path)
        trainer.generation_config.do_sample = do_sample
        trainer.generation_config.repetition_penalty = 1.0 if do_sample else 2.0
        if made is SharedPrefixTrainer:
            trainer.generation_config.cache_implementation = cache
        completions, processed = generated(trainer, prompts)
        assert processed == (3 if made is SharedPrefixTrainer else 3 * G)
        said.append(completions)
    assert said[0] == said[1]
    assert len({tuple(one) for one in said[0]}) == (3 * G if do_sample else 3)
    assert all(len(set(one)) > 3 for one in said[0])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_ended_are_not_run_and_others_get_the_same_tokens(
    kind, random_model, validation, tmp_path
):
    loaded = random_model(kind)
    prompts = prompts_of(loaded, validation.samples[:3], validation.image_root)
    results = []
    for made in (GRPOTrainer, SharedPrefixTrainer):
        ends = list(range(5, 105))  # about one token in six
        trainer = trainer_of(
            *(made, loaded, validation, tmp_path), generation_kwargs={"eos_token_id": ends}
        )
        trainer.eos_token_ids = ends
        rows = []

        def count(module, args, kwargs, rows=rows):
            if kwargs["inputs_embeds"].shape[1] == 1:
                rows.append(len(kwargs["inputs_embeds"]))

        trainer.model.get_decoder().register_forward_pre_hook(count, with_kwargs=True)
        completions = generated(trainer, prompts)[0]
        results.append((completions, sum(rows), torch.rand(1)))
    (stock, stock_rows, stock_draw), (shared, shared_rows, shared_draw) = results
    assert shared == stock and shared_draw == stock_draw  # also what is drawn later
    lengths = [len(tokens) for tokens in shared]
    assert min(lengths) < max(lengths)
    # One row of a pass for each token. Stock TRL draws the first tokens in the prompts' pass.
    assert shared_rows == sum(lengths) < stock_rows == 3 * G * (max(lengths) - 1)


@pytest.mark.slow  # compiles the decoding step
def test_a_compiled_decoding_step_generates_the_same_tokens(random_model, validation, tmp_path):
    loaded, said = random_model("qwen2_5_vl"), {}
    for way in ("dynamic", "compiled"):
        trainer = trainer_of(SharedPrefixTrainer, loaded, validation, tmp_path)
        if way == "compiled":
            trainer.generation_config.cache_implementation = "static"
            trainer.generation_config.compile_config = CompileConfig(mode="default")
            trainer.generation_config.compile_config._compile_all_devices = True
        torch._dynamo.utils.counters.clear()
        said[way], graphs = [], []
        for start in (0, 3):  # prompts of other lengths: the same cache, compiled once
            samples = validation.samples[start : start + 3]
            prompts = prompts_of(loaded, samples, validation.image_root)
            said[way].append(generated(trainer, prompts)[0])
            graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
        assert graphs[0] == graphs[1] and (graphs[0] > 0) == (way == "compiled")
    assert said["compiled"] == said["dynamic"]


# --- whole runs -------------------------------------------------------------------------------

SMALL = {
    **{"max_steps": 3, "batch_size": 16, "num_generations": 4, "logging_steps": 1},
    **{"optim": "sgd", "learning_rate": 0.3, "lr_scheduler_type": "constant", "warmup_steps": 0},
}
RUNS = {
    "beta 0": {},
    "beta 0.04, vision trained": {"beta": 0.04, "freeze_vision": False},
    "two batches an update": {"batch_size": 8, "gradient_accumulation_steps": 2},
    "two updates a generation": {"num_iterations": 2, "loss_type": "grpo"},
    "static cache": {"cache_implementation": "static"},
}


@pytest.fixture
def questions():
    return read_questions(tiny_vqa_folder() / "train.json", limit=40).only(["multiple_choice"])


@dataclass
class Run:
    """What a run ends with, and what it logged on the way."""

    weights: dict[str, torch.Tensor]
    lines: list[dict[str, float]]


def run(questions, folder, **changed):
    config = {**tiny_config(), **SMALL, **changed}
    loaded = load_model(tiny_vl_folder(), device=changed.get("device", "cpu"), dtype="float32")
    trainer = build_trainer(loaded, questions, settings_from(config, folder))
    trainer.train()
    weights = {name: tensor.cpu() for name, tensor in trainer.model.state_dict().items()}
    return Run(weights, trainer.state.log_history)


def assert_same(one, other, batches=1):
    """The same weights, up to the last digits of float32, and the same logged values.

    `batches`: how many make an update.
    """
    start = load_model(tiny_vl_folder(), device="cpu").model.state_dict()
    moved = max(float((tensor - start[name]).abs().max()) for name, tensor in one.weights.items())
    apart = max(
        float((tensor - other.weights[name]).abs().max()) for name, tensor in one.weights.items()
    )
    assert moved > 1e-3 and apart < 1e-5 * moved, (moved, apart)
    assert len(one.lines) == len(other.lines) >= 3
    exact = ("reward", "reward_std", "completions/mean_length", "num_tokens")
    for line, expected in zip(one.lines, other.lines, strict=True):
        for name in {*exact, "loss", "grad_norm", "kl", "entropy"} & expected.keys():
            # TRL averages the means of an update's batches, and its batches hold other rows
            weighted = name == "entropy" and batches > 1
            close = pytest.approx(expected[name], rel=2e-2 if weighted else 1e-4, abs=1e-6)
            assert line[name] == (expected[name] if name in exact else close), name


@pytest.mark.parametrize("case", RUNS)
def test_a_run_ends_in_the_weights_of_stock_trl(case, questions, tmp_path):
    stock = run(questions, tmp_path / "stock", shared_prefix=False, **RUNS[case])
    shared = run(questions, tmp_path / "shared", **RUNS[case])
    assert_same(shared, stock, RUNS[case].get("gradient_accumulation_steps", 1))
    left_out = [line.get("frac_groups_left_out", 0) for line in shared.lines]
    assert max(left_out) < 1
    assert (sum(left_out) > 0) == ("beta" not in RUNS[case])


def some_reward(completions, **columns):
    return [float(len(completion[0]["content"]) % 3) for completion in completions]


def test_a_run_with_experts_ends_in_the_weights_of_stock_trl(random_model, validation, tmp_path):
    loaded = random_model("qwen3_vl_moe")
    fields = {"max_steps": 2, "logging_steps": 1, "optim": "sgd", "learning_rate": 0.1}
    weights = []
    for made in (GRPOTrainer, SharedPrefixTrainer):
        trainer = trainer_of(made, loaded, validation, tmp_path, reward=some_reward, **fields)
        trainer.train()
        assert trainer.state.log_history[0]["reward_std"] > 0
        weights.append(trainer.model.state_dict())
    assert trainer._shares
    start = loaded.model.state_dict()
    for part in ("experts.gate_up_proj", "mlp.gate.weight", "q_proj.weight"):
        names = [name for name in start if name.endswith(part)]
        moved = max(float((weights[0][name] - start[name]).abs().max()) for name in names)
        apart = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in names)
        assert apart < 1e-4 * moved and moved > 1e-5, (part, moved, apart)


def test_the_load_balancing_loss_of_experts_is_not_shared(
    random_model, validation, tmp_path, caplog
):
    loaded, fields = random_model("qwen3_vl_moe"), {"router_aux_loss_coef": None, "max_steps": 1}
    fields["logging_steps"] = 1
    trainer = trainer_of(SharedPrefixTrainer, loaded, validation, tmp_path, **fields)
    assert not trainer._shares and "router_aux_loss_coef to 0" in caplog.text
    trainer.train()
    assert trainer.state.log_history[0]["aux_loss"] > 0


def test_questions_without_images_are_trained_on_alike(questions, tmp_path):
    samples = [replace(sample, images=()) for sample in questions.samples]
    alone = replace(questions, samples=samples)
    stock = run(alone, tmp_path / "stock", shared_prefix=False)
    assert_same(run(alone, tmp_path / "shared"), stock)


def test_evaluation_gives_the_loss_of_stock_trl(questions, tmp_path):
    losses = []
    for shared in (False, True):
        config = {**tiny_config(), **SMALL, "per_device_eval_batch_size": 8}
        settings = settings_from({**config, "shared_prefix": shared}, tmp_path)
        trainer = build_trainer(load_model(tiny_vl_folder(), device="cpu"), questions, settings)
        torch.manual_seed(5)
        losses.append(trainer.evaluate(trainer.train_dataset.select(range(8)))["eval_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=EXACT) and losses[0] != 0


def test_the_attention_is_not_saved_with_the_checkpoint(questions, tmp_path):
    settings = settings_from({**tiny_config(), **SMALL}, tmp_path)
    trainer = build_trainer(load_model(tiny_vl_folder(), device="cpu"), questions, settings)
    assert trainer._shares
    trainer.save_model(str(tmp_path / "out"))
    assert "shared_prefix" not in (tmp_path / "out" / "config.json").read_text()
    again = load_model(tmp_path / "out", device="cpu").model.config
    assert again.get_text_config()._attn_implementation == "sdpa"


def launched(folder, launcher, **changed):
    """A run of `medr1 train` by several processes."""
    flags = [] if changed.pop("shared_prefix", True) else ["--no-shared-prefix"]
    values = {**tiny_config(), **SMALL, **changed, "output_dir": folder}
    values.pop("answer_types")
    command = [sys.executable, "-m", *launcher, "-m", "medr1", "train", *flags]
    for key, value in values.items():
        said = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        command += [f"--{key.replace('_', '-')}"] + ([] if value is True else [said])
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    weights = load_model(folder, device="cpu").model.state_dict()
    return Run(weights, [json.loads(line) for line in lines])


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.mark.slow
def test_two_processes_end_in_the_weights_of_stock_trl(tmp_path):
    stock = launched(tmp_path / "stock", TORCHRUN, shared_prefix=False)
    assert_same(launched(tmp_path / "shared", TORCHRUN), stock)


@pytest.mark.slow
def test_sharded_weights_give_the_same_gradients_and_tokens(tmp_path):
    script = Path(__file__).with_name("sharded_pass.py")
    command = [sys.executable, "-m", *TORCHRUN, str(script), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["difference"] <= EXACT and found["whole"] == found["sharded"]


@pytest.mark.gpu
def test_two_gpus_with_fsdp_end_in_the_weights_of_stock_trl(tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    fsdp = ("accelerate.commands.launch", "--num_processes", "2", "--use_fsdp", "--fsdp_version")
    fsdp += ("2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP")
    fsdp += ("--fsdp_state_dict_type", "FULL_STATE_DICT", "--main_process_port", "0")
    options = {"device": "cuda", "dtype": "float32"}
    stock = launched(tmp_path / "stock", fsdp, shared_prefix=False, **options)
    assert_same(launched(tmp_path / "shared", fsdp, **options), stock)


@pytest.mark.gpu
def test_a_gpu_ends_in_the_weights_of_stock_trl(questions, tmp_path):
    options = {"device": "cuda", "dtype": "float32"}
    stock = run(questions, tmp_path / "stock", shared_prefix=False, **options)
    assert_same(run(questions, tmp_path / "shared", **options), stock)


def test_images_and_prompts_are_run_once_for_each_group(questions, tmp_path):
    counts = {}
    for shared in (False, True):
        loaded = load_model(tiny_vl_folder(), device="cpu")
        config = {**tiny_config(), **SMALL, "max_steps": 1, "beta": 0.04}
        settings = settings_from({**config, "shared_prefix": shared}, tmp_path / str(shared))
        trainer = build_trainer(loaded, questions, settings)
        count = counts[shared] = {"encoded": 0, "processed": 0}

        def encoded(module, args, kwargs, count=count):
            count["encoded"] += len(kwargs["grid_thw"])

        def processed(images, processor=loaded.processor, count=count, **kwargs):
            count["processed"] += sum(map(len, images))
            return type(processor)._process_images(processor, images, **kwargs)

        for model in (trainer.model, trainer.ref_model):
            model.model.visual.register_forward_pre_hook(encoded, with_kwargs=True)
        loaded.processor._process_images = processed
        trainer.train()
    assert counts[False] == {"encoded": 3 * 16, "processed": 2 * 16}
    assert counts[True] == {"encoded": 3 * 4, "processed": 4}


@pytest.mark.parametrize(("size", "passes"), [(2, 8), (6, 4)])
def test_batches_smaller_than_a_group_run_a_prompt_once_for_each_part(
    size, passes, questions, tmp_path
):
    """Groups of four: generation and the reference run each prompt once."""
    rows = size * passes
    loaded = load_model(tiny_vl_folder(), device="cpu")
    config = {**tiny_config(), **SMALL, "max_steps": 1, "beta": 0.04, "batch_size": size}
    config = {**config, "gradient_accumulation_steps": passes, "num_generations": 4}
    trainer = build_trainer(loaded, questions, settings_from(config, tmp_path))
    assert trainer._shares
    counts = {}
    for name, model in (("policy", trainer.model), ("reference", trainer.ref_model)):
        counts[name] = []

        def encoded(module, args, kwargs, own=counts[name]):
            own.append(len(kwargs["grid_thw"]))

        model.model.visual.register_forward_pre_hook(encoded, with_kwargs=True)
    trainer.train()
    prompts, parts = rows // 4, rows // 2
    assert sum(counts["reference"]) == prompts
    # Parts of one prompt that fall into one batch share it, and no batch has more than its parts.
    assert prompts + prompts <= sum(counts["policy"]) <= prompts + parts
    assert max(counts["policy"][1:]) <= size // 2


def test_an_image_is_decoded_once_for_the_rows_of_its_group(tiny_model, questions):
    samples, root = questions.samples[:2], questions.image_root
    rows = training_set(tiny_model, samples, root, "nothink", "text")[[0, 0, 1]]
    assert rows["images"][0][0] is rows["images"][1][0]
    assert rows["images"][0][0] is not rows["images"][2][0]


# --- where it does not apply ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"batch_size": 6, "gradient_accumulation_steps": 2}, None),
        ({"cache_implementation": "dynamic"}, "cache_implementation is dynamic, not static"),
        ({"cache_implementation": "static"}, None),
        ({"shared_prefix": False}, None),
        ({}, None),
    ],
)
def test_the_stock_way_says_why_once(changed, says, questions, tmp_path, caplog):
    settings = settings_from({**tiny_config(), **SMALL, **changed}, tmp_path)
    trainer = build_trainer(load_model(tiny_vl_folder(), device="cpu"), questions, settings)
    said = [r.getMessage() for r in caplog.records if "shared prefix" in r.getMessage()]
    assert len(said) == (says is not None)
    if says:
        assert says in said[0] and not trainer._shares


def test_rows_that_are_no_groups_go_the_stock_way(questions, tmp_path, caplog):
    settings = settings_from({**tiny_config(), **SMALL}, tmp_path)
    trainer = build_trainer(load_model(tiny_vl_folder(), device="cpu"), questions, settings)
    rows = [{**trainer.train_dataset[i // 2]} for i in range(16)]  # twos, where G is 4
    for _ in range(2):
        batch = trainer._generate_and_score_completions(rows)
        assert batch["prompt_ids"].ndim == 2 and len(batch["image_grid_thw"]) == 16
    assert sum("16 rows has no complete groups of 4" in r.getMessage() for r in caplog.records) == 1
    assert torch.isfinite(trainer._compute_loss(trainer.model, batch))
