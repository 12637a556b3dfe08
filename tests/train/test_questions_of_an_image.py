"""Several questions about one image: its prefix is run once, with the numbers of stock TRL."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from medr1.data.images import load_image
from medr1.data.roots import resolve_image
from medr1.prompts import chat_messages

pytest.importorskip("trl")

from trl import GRPOConfig, GRPOTrainer

from medr1.train.grpo import training_set
from medr1.train.shared_prefix.trainer import SharedPrefixTrainer

KINDS = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"]
G, C = 2, 6
EXACT = 1e-5
IMAGES = [0, 1, 0, 2, 0, 1]
"""The image of each of six prompts: one image has three questions, one two, one a single one."""
SIZES = [(56, 84), (112, 56), (84, 84)]


def no_reward(completions, **columns):
    return [0.0] * len(completions)


def trainer_of(kind, loaded, data, folder, **fields) -> Any:
    config = GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to=[],
        per_device_train_batch_size=len(IMAGES) * G,
        num_generations=G,
        max_completion_length=C,
        remove_unused_columns=False,
        router_aux_loss_coef=0.0,
        **{"gradient_checkpointing": False, **fields},
    )
    return kind(
        model=copy.deepcopy(loaded.model),
        reward_funcs=[no_reward],
        args=config,
        train_dataset=data,
        processing_class=loaded.processor,
    )


@pytest.fixture(scope="module")
def pictures(validation):
    """Three images of different sizes."""
    names = [
        resolve_image(validation.samples[i].images[0], validation.image_root) for i in (0, 1, 2)
    ]
    return [load_image(name).image.resize(size) for name, size in zip(names, SIZES, strict=True)]


@pytest.fixture(scope="module")
def batch(tiny_model, validation, pictures):
    """Six prompts about three images, with two completions each of different lengths."""
    processor = tiny_model.processor
    texts = [
        processor.apply_chat_template(
            chat_messages(sample, "nothink", "text"), add_generation_prompt=True, tokenize=False
        )
        for sample in validation.samples[: len(IMAGES)]
    ]
    images = [[pictures[number]] for number in IMAGES]
    made = processor(text=texts, images=images, padding=True, return_tensors="pt")
    assert len(made["attention_mask"].sum(1).unique()) > 2  # some are padded on the left
    draw = torch.Generator().manual_seed(1)
    completions = torch.randint(5, 600, (len(IMAGES) * G, C), generator=draw)
    lengths = torch.randint(1, C + 1, (len(completions),), generator=draw)
    mask = (torch.arange(C) < lengths[:, None]).long()
    rows = {
        name: made[name].repeat_interleave(G, 0)
        for name in ("input_ids", "attention_mask", "mm_token_type_ids")
    }
    return {
        "input_ids": torch.cat([rows["input_ids"], completions], 1),
        "attention_mask": torch.cat([rows["attention_mask"], mask], 1),
        "mm_token_type_ids": torch.cat([rows["mm_token_type_ids"], 0 * completions], 1),
        "pixel_values": made["pixel_values"],
        "image_grid_thw": made["image_grid_thw"],
    }


def scores(trainer, batch):
    """Log-probabilities and entropies of all completions, and how many images were encoded."""
    encoded = []
    visual = trainer.model.model.visual
    handle = visual.register_forward_pre_hook(
        lambda module, args, kwargs: encoded.append(len(kwargs["grid_thw"])), with_kwargs=True
    )
    inputs = dict(batch)
    shares = isinstance(trainer, SharedPrefixTrainer)
    if not shares:  # TRL has the images of each row
        patches = inputs["pixel_values"].split(inputs["image_grid_thw"].prod(-1).tolist())
        inputs["pixel_values"] = torch.cat([part for part in patches for _ in range(G)])
        inputs["image_grid_thw"] = inputs["image_grid_thw"].repeat_interleave(G, 0)
    with trainer._sharing(G) if shares else nullcontext():
        logps, entropies, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            inputs.pop("input_ids"),
            inputs.pop("attention_mask"),
            C,
            compute_entropy=True,
            num_images=[1] * len(IMAGES) * G,
            **inputs,
        )
    handle.remove()
    return torch.stack([logps, entropies]), sum(encoded)


def error(value, expected):
    """The largest difference, relative to the largest value."""
    return float((value - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    ("attention", "checkpointing"), [("sdpa", False), ("sdpa", True), ("eager", False)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_run_once_and_every_gradient_is_that_of_stock_trl(
    kind, attention, checkpointing, batch, random_model, validation, tmp_path
):
    loaded = random_model(kind)
    loaded.model.set_attn_implementation(attention)
    data = training_set(loaded, validation.samples[:4], validation.image_root, "nothink", "text")
    # A random weight for each value, and none for padding: stock TRL computes values there too.
    weights = torch.randn(2, len(IMAGES) * G, C, generator=torch.Generator().manual_seed(4))
    weights = weights * batch["attention_mask"][:, -C:]
    values, gradients, encoded = [], [], []
    for trainer_class in (GRPOTrainer, SharedPrefixTrainer):
        trainer = trainer_of(
            *(trainer_class, loaded, data, tmp_path), gradient_checkpointing=checkpointing
        )
        trainer.model.train()
        scored, count = scores(trainer, batch)
        (scored * weights).sum().backward()
        values.append(scored.detach() * (weights != 0))
        encoded.append(count)
        gradients.append({n: p.grad for n, p in trainer.model.named_parameters()})
    assert encoded == [len(IMAGES) * G, len(set(IMAGES))]
    assert error(values[1], values[0]) <= EXACT
    for name, expected in gradients[0].items():
        if expected is None or not expected.any():  # such as a layer of an image that is not read
            assert gradients[1][name] is None or not gradients[1][name].any()
        else:
            assert error(gradients[1][name], expected) <= EXACT, name
    assert any("visual" in name for name, gradient in gradients[0].items() if gradient is not None)


def prompts_of(loaded, samples, image_root, pictures):
    """The prompts as TRL has them, G rows of each."""
    rows = training_set(loaded, samples, image_root, "nothink", "text")[:]
    contents = [
        [
            {"type": "image", "image": pictures[number]},
            {"type": "text", "text": prompt[0]["content"]},
        ]
        for prompt, number in zip(rows["prompt"], IMAGES, strict=True)
    ]
    return [[{"role": "user", "content": content}] for content in contents for _ in range(G)]


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_run_once_to_generate_the_tokens_of_stock_trl(
    kind, do_sample, random_model, validation, pictures, tmp_path
):
    loaded = random_model(kind)
    samples = validation.samples[: len(IMAGES)]
    data = training_set(loaded, samples, validation.image_root, "nothink", "text")
    prompts = prompts_of(loaded, samples, validation.image_root, pictures)
    results = []
    for trainer_class in (GRPOTrainer, SharedPrefixTrainer):
        trainer = trainer_of(trainer_class, loaded, data, tmp_path)
        trainer.generation_config.do_sample = do_sample
        trainer.generation_config.repetition_penalty = 1.0 if do_sample else 2.0
        encoded = []
        trainer.model.model.visual.register_forward_pre_hook(
            lambda module, args, kwargs, encoded=encoded: encoded.append(len(kwargs["grid_thw"])),
            with_kwargs=True,
        )
        torch.manual_seed(3)
        with trainer._sharing(G) if trainer_class is SharedPrefixTrainer else nullcontext():
            ids, images, fields = trainer._tokenize_prompts(prompts)
            tokens = trainer._generate_single_turn(ids, images, fields, G)[0]
        results.append((tokens, sum(encoded)))
    (stock, stock_encoded), (shared, shared_encoded) = results
    assert shared == stock
    assert (stock_encoded, shared_encoded) == (len(IMAGES) * G, len(set(IMAGES)))
    assert len({tuple(row) for row in shared}) > len(IMAGES) * (G if do_sample else 1) // 2
