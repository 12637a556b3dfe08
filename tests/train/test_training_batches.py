"""What the trainer puts to the model in a batch is what one row by itself would be."""

import random
import shutil

import pytest
import torch
from architectures import ARCHITECTURES, random_model
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from medr1.cli import cli
from medr1.data.tiny import tiny_vl_folder
from medr1.models.loading import load_processor
from medr1.train.dry_run.prompt_lengths import pixel_limits
from medr1.train.run import train
from medr1.train.settings import settings_from

pytest.importorskip("trl")

from steps import (
    STEP,
    fresh_model,
    mixed_questions,
    plain_logps,
    rows_of,
    run_steps,
    samples_of,
    trainer_for,
)

G = 2
TIGHT = 2e-5


@pytest.fixture
def questions(tmp_path):
    return mixed_questions(tmp_path)


def model_of(kind):
    return fresh_model() if kind == "embedded" else random_model(kind, fresh_model())


def batches_of(trainer, order):
    """The batches of one generation over these samples, shuffled and split as in training."""
    rows = [{**trainer.train_dataset[index]} for index in order for _ in range(G)]
    trainer.model.train()
    trainer._prepare_inputs(rows)
    return trainer._buffered_inputs


@torch.no_grad()
def trainer_logps(trainer, batch, **changed):
    """Log-probabilities of a batch's completions by the trainer's own function, row by row."""
    batch = {**batch, **changed}
    names = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids", "batch_size")
    logps_BT, _, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model,
        torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
        torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
        batch["completion_ids"].shape[1],
        **{name: batch[name] for name in names if name in batch},
    )
    return [
        logps_T[mask_T.bool()]
        for logps_T, mask_T in zip(logps_BT, batch["completion_mask"], strict=True)
    ]


@torch.no_grad()
def deviations(loaded, questions, batch, found):
    """How far each row's log-probabilities are from those of the row alone, unpadded."""
    sample_of = samples_of(loaded, questions)
    alone = [
        plain_logps(loaded, questions, sample_of[prompt], completion)
        for prompt, completion in rows_of(batch)
    ]
    return [float((a - b).abs().max()) for a, b in zip(found, alone, strict=True)]


@pytest.mark.parametrize("kind", ["embedded", *ARCHITECTURES])
def test_a_batch_is_its_rows_one_by_one(kind, questions, tmp_path):
    loaded = model_of(kind)
    accumulated = {"batch_size": 8, "gradient_accumulation_steps": 2, "num_generations": G}
    accumulated["shared_prefix"] = False  # rows as TRL has them; test_shared_prefix.py has the rest
    trainer = trainer_for(loaded, questions, tmp_path, **accumulated)
    order = random.Random(kind).sample(range(8), 8)
    first, second = batches_of(trainer, order)
    assert sorted([*first["num_images"], *second["num_images"]]) == [1] * 14 + [2] * 2
    rows = [row for batch in (first, second) for row in rows_of(batch)]
    wanted = {s.id for s in questions.samples for _ in range(G)}
    sample_of = samples_of(loaded, questions)
    assert {sample_of[prompt].id for prompt, _ in rows} == wanted
    assert len({len(prompt) for prompt, _ in rows}) > 4 and len({len(c) for _, c in rows}) > 4
    for batch in (first, second):
        found = trainer_logps(trainer, batch)
        assert max(deviations(loaded, questions, batch, found)) < TIGHT
        for size in (1, 3):
            split = trainer_logps(trainer, batch, batch_size=size)
            assert all((a - b).abs().max() < TIGHT for a, b in zip(found, split, strict=True))


@pytest.mark.parametrize("kind", ["embedded", "qwen3_vl"])
def test_images_tiled_as_the_original_tiled_them_are_seen_to_be_wrong(kind, tmp_path):
    """Its `pixel_values.repeat(G, 1)` beside `repeat_interleave`d prompts; sizes are equal."""
    questions = mixed_questions(tmp_path, equal_sizes=True)
    loaded = model_of(kind)
    given = {"num_generations": 4, "batch_size": 8, "shared_prefix": False}
    trainer = trainer_for(loaded, questions, tmp_path, **given)
    trainer.model.train()
    rows = [{**trainer.train_dataset[index]} for index in (0, 1) for _ in range(4)]
    batch = trainer._generate_and_score_completions(rows)
    assert max(deviations(loaded, questions, batch, trainer_logps(trainer, batch))) < TIGHT
    patches = len(batch["pixel_values"]) // 8
    one_of_each = torch.cat([batch["pixel_values"][:patches], batch["pixel_values"][-patches:]])
    tiled = trainer_logps(trainer, batch, pixel_values=one_of_each.repeat(4, 1))
    far = [d > 0.1 for d in deviations(loaded, questions, batch, tiled)]
    assert far == [False, True, False, True, True, False, True, False]


def test_the_most_pixels_are_those_of_the_batch_and_of_the_checkpoint(questions, tmp_path):
    grids = []
    for limit in (None, 4 * 784):
        given = {"max_steps": 1} if limit is None else {"max_steps": 1, "max_pixels": limit}
        loaded = fresh_model()
        (step,) = run_steps(trainer_for(loaded, questions, tmp_path, **given))
        (batch,) = step.batches
        tokens = (batch["image_grid_thw"].prod(-1) // 4).tolist()
        image = loaded.processor.image_token_id
        assert int((batch["prompt_ids"][::4] == image).sum()) == sum(tokens)
        grids.append(max(tokens))
    assert grids[0] > 4 >= grids[1]
    settings = settings_from({**STEP, "max_steps": 1, "max_pixels": 4 * 784}, tmp_path / "run")
    folder = train(fresh_model(), questions, settings)
    assert pixel_limits(load_processor(folder, folder))[1] == 4 * 784


def test_a_prompt_too_long_is_refused_before_the_weights_are_read(tmp_path):
    """The weights here are none that could be loaded: who is told of them waited for nothing."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(tiny_vl_folder(), checkpoint)
    (checkpoint / "SHA256SUMS").unlink()
    weights = load_file(checkpoint / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] * float("nan")}, checkpoint / "model.safetensors")
    command = [
        *("train", "--config", str(tiny_vl_folder().parents[1] / "configs" / "tiny.yaml")),
        *("--model-path", str(checkpoint), "--data", str(tiny_vl_folder().parents[1] / "data")),
    ]
    command[-1] += "/tiny_vqa_ds"
    for extra in ((), ("--dry-run",)):
        output = ["--output-dir", str(tmp_path / "out"), *extra]
        result = CliRunner().invoke(cli, [*command, *output, "--max-prompt-length", "60"])
        assert result.exit_code == 2 and "prompts have more than 60 tokens" in result.stderr
        assert result.stdout == "" and not (tmp_path / "out").exists()
    result = CliRunner().invoke(cli, [*command, "--output-dir", str(tmp_path / "out")])
    assert result.exit_code == 2 and "holds NaN" in result.stderr


def test_rewards_are_given_the_columns_of_their_own_row(questions, tmp_path, monkeypatch):
    """Every answer type, shuffled, several groups a device: each column beside its own prompt."""
    (tmp_path / "seen_rewards.py").write_text(
        "ROWS = []\n"
        "def seen(completions, prompts, id, solution, options, answer_type, images, **columns):\n"
        "    rows = zip(prompts, completions, id, solution, options, answer_type, images)\n"
        "    ROWS.extend(rows)\n"
        "    return [float(len(c[0]['content'])) for c in completions]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    given = {"rewards": ["seen_rewards:seen", "accuracy"], "reward_weights": [0.0, 1.0]}
    trainer = trainer_for(fresh_model(), questions, tmp_path, **given, batch_size=16, max_steps=4)
    run_steps(trainer)
    from seen_rewards import ROWS

    by_id = {sample.id: sample for sample in questions.samples}
    assert len(ROWS) == 4 * 16
    assert {identifier for _, _, identifier, *_ in ROWS} == set(by_id)
    in_file_order = [sample.id for sample in questions.samples for _ in range(4)] * 2
    assert [identifier for _, _, identifier, *_ in ROWS] != in_file_order
    for prompt, _, identifier, solution, options, answer_type, images in ROWS:
        sample = by_id[identifier]
        assert prompt[-1]["content"][-1]["text"].startswith(f"{identifier}: ")
        assert (solution, answer_type) == (sample.ground_truth, sample.answer_type)
        assert dict(options) == dict(sample.options) and len(images) == len(sample.images)
