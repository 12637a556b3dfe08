"""Dynamic sampling: which groups are replaced, by what, and that all the rest is as before."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

from fault_runs import TINY, same_run
from steps import as_rows, fresh_model, mixed_questions, rows_of, samples_of, trainer_for
from test_processes import trained
from test_resume import go
from trl import GRPOConfig

from medr1.errors import InputError
from medr1.rewards import message_text
from medr1.train.dynamic_sampling import have_equal_rewards, question_at, require_complete_groups
from medr1.train.grpo import build_trainer
from medr1.train.settings import settings_from

FIELDS = ("draws", "frac_groups_replaced", "sampled_per_used", "first_draw_reward")
LOUD = {**TINY, "dynamic_sampling": 2, "logging_steps": 1}


def by_question(columns: dict[str, Any], is_flat: Callable[[str], bool]) -> list[float]:
    """1 for each completion of some questions, and a reward by its length for the others."""
    pairs = zip(columns["completions"], columns["id"], strict=True)
    return [1.0 if is_flat(i) else len(message_text(text)) / 100 for text, i in pairs]


def even_are_flat(**columns: Any) -> list[float]:
    return by_question(columns, lambda i: int(i) % 2 == 0)


def all_are_flat(**columns: Any) -> list[float]:
    return by_question(columns, lambda i: True)


def batches(trainer: Any) -> list[list[tuple[tuple[int, ...], list[int]]]]:
    """Train, and return the rows (prompt ids, completion ids) of each loss."""
    seen, loss_of = [], trainer._compute_loss

    def loss(model: Any, inputs: Any) -> Any:
        seen.append(rows_of(as_rows(inputs)))
        return loss_of(model, inputs)

    trainer._compute_loss = loss
    trainer.train()
    return seen


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "stock"])
def test_questions_with_equal_rewards_are_replaced(shared: bool, tmp_path: Path) -> None:
    loaded, questions = fresh_model(), mixed_questions(tmp_path)
    samples = samples_of(loaded, questions)
    changed = {"rewards": ["test_dynamic_sampling:even_are_flat"], "reward_weights": None}
    changed |= {"dynamic_sampling": 20, "shared_prefix": shared}
    trainer = trainer_for(loaded, questions, tmp_path, **changed)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    for rows in batches(trainer):
        ids = [samples[prompt].id for prompt, _ in rows]
        assert all(int(i) % 2 for i in ids)
        assert all(ids.count(i) % 4 == 0 for i in ids)
    lines = [line for line in trainer.state.log_history if "loss" in line]
    num_groups, sampled = 2, 0
    for line in lines:
        values = {name: line[f"dynamic_sampling/{name}"] for name in FIELDS}
        sampled += round(values["sampled_per_used"] * 4 * num_groups)
        assert line["num_completions"] == sampled
        assert line["frac_reward_zero_std"] == 0
        assert (values["draws"] > 0) == (values["frac_groups_replaced"] > 0)
        assert values["sampled_per_used"] >= 1 + values["draws"] / num_groups
    assert any(line["dynamic_sampling/draws"] for line in lines)
    after = dict(trainer.model.named_parameters())
    assert any(not torch.equal(weight, after[name]) for name, weight in before.items())


def test_sharing_and_stock_make_the_same_run(tmp_path: Path) -> None:
    questions, runs = mixed_questions(tmp_path), []
    for shared in (True, False):
        changed = {"rewards": ["test_dynamic_sampling:even_are_flat"], "reward_weights": None}
        changed |= {"dynamic_sampling": 3, "shared_prefix": shared, "beta": 0.04, "max_steps": 3}
        # here completions are sampled, so the order of random draws counts too
        settings = settings_from({**TINY, **changed, "logging_steps": 1}, tmp_path / str(shared))
        trainer = build_trainer(fresh_model(), questions, settings)
        rows = batches(trainer)
        runs.append((rows, [line for line in trainer.state.log_history if "loss" in line]))
    (rows, lines), (stock_rows, stock_lines) = runs
    # TRL shuffles rows, and sharing shuffles groups
    assert [sorted(batch) for batch in rows] == [sorted(batch) for batch in stock_rows]
    assert any(line["dynamic_sampling/draws"] for line in lines)
    for line, stock in zip(lines, stock_lines, strict=True):
        for name in (*(f"dynamic_sampling/{field}" for field in FIELDS), "loss", "grad_norm", "kl"):
            assert line[name] == pytest.approx(stock[name], rel=1e-4, abs=1e-6), name


def test_the_draws_end_after_the_number_that_was_given(tmp_path: Path) -> None:
    changed = {"rewards": ["test_dynamic_sampling:all_are_flat"], "reward_weights": None}
    trainer = trainer_for(
        fresh_model(), mixed_questions(tmp_path), tmp_path, dynamic_sampling=2, **changed
    )
    trainer.train()
    for number, line in enumerate(trainer.state.log_history[:-1]):
        assert line["dynamic_sampling/draws"] == 2
        assert line["dynamic_sampling/frac_groups_replaced"] == 0
        assert line["dynamic_sampling/sampled_per_used"] == 3
        assert line["num_completions"] == (number + 1) * 24
        assert line["frac_reward_zero_std"] == 1


def test_without_equal_rewards_nothing_changes(tmp_path: Path) -> None:
    logs = []
    for number in (0, 5):
        questions = mixed_questions(tmp_path)
        questions.samples[:] = questions.samples[1::2]
        changed = {"rewards": ["test_dynamic_sampling:even_are_flat"], "reward_weights": None}
        trainer = trainer_for(
            fresh_model(), questions, tmp_path, dynamic_sampling=number, **changed
        )
        trainer.train()
        lines = [line for line in trainer.state.log_history if "loss" in line]
        logs.append([(line["loss"], line["grad_norm"], line["reward"]) for line in lines])
    assert logs[0] == logs[1]


def test_a_resumed_run_is_the_undisturbed_one(tmp_path: Path) -> None:
    shared = {"shared": LOUD, "max_steps": 4, "save_steps": 2}
    whole = go(tmp_path / "whole", **shared)
    broken = go(tmp_path / "broken", until=3, **shared)
    go(broken, **shared)
    assert same_run(whole, broken)
    logs = [
        [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        for folder in (whole, broken)
    ]
    lines, others = [[line for line in log if "loss" in line] for log in logs]
    for name in (*(f"dynamic_sampling/{field}" for field in FIELDS), "num_completions"):
        assert [line[name] for line in lines] == [line[name] for line in others]
    assert any(line["dynamic_sampling/draws"] for line in lines)
    numbers = [line["num_completions"] for line in lines]
    assert numbers == sorted(set(numbers))


def test_completions_jsonl_has_the_final_batch(tmp_path: Path) -> None:
    changed = {"rewards": ["test_dynamic_sampling:even_are_flat"], "reward_weights": None}
    trainer = trainer_for(
        fresh_model(), mixed_questions(tmp_path), tmp_path, dynamic_sampling=20, **changed
    )
    trainer.train()
    entries = trainer.samples()
    assert entries and all(int(str(entry["id"])) % 2 for entry in entries)
    for entry in entries:
        length = len(str(entry["completion"])) / 100
        assert list(entry["rewards"].values()) == [pytest.approx(length)]  # type: ignore[attr-defined]
        assert entry["question"].startswith(str(entry["id"])) or str(entry["id"]) in str(
            entry["question"]
        )
    written = [json.loads(line) for line in (tmp_path / "out/completions.jsonl").open()]
    assert all(int(line["id"]) % 2 for line in written)


def test_equal_rewards() -> None:
    rows = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.5], [torch.nan] * 2, [1.0, 2.0]]
    assert have_equal_rewards(torch.tensor(rows), 2).tolist() == [True, False, True]
    assert have_equal_rewards(torch.full((2, 1), torch.nan), 2).tolist() == [True]


def test_the_order_is_a_permutation_for_each_pass() -> None:
    passes = [[question_at(start + i, 9, seed=3) for i in range(9)] for start in (0, 9, 18)]
    assert all(sorted(order) == list(range(9)) for order in passes)
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != [question_at(i, 9, seed=4) for i in range(9)]


def config(batch: int, passes: int) -> GRPOConfig:
    """Groups of 8 in two processes, which TRL accepts if both together have complete groups."""
    made = GRPOConfig("out", per_device_train_batch_size=8, num_generations=8, use_cpu=True)
    made.per_device_train_batch_size, made.steps_per_generation = batch, passes
    return made


def test_groups_that_processes_share_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="each process samples 12 completions"):
        require_complete_groups(config(batch=4, passes=3))
    require_complete_groups(config(batch=4, passes=2))
    with pytest.raises(InputError, match="below 0"):
        settings_from({**TINY, "dynamic_sampling": -1}, tmp_path)


@pytest.mark.slow
def test_two_processes_need_different_numbers_of_draws(tmp_path: Path) -> None:
    samples = [asdict(sample) for sample in mixed_questions(tmp_path).samples]
    file = tmp_path / "questions.json"
    file.write_text(json.dumps([{**s, "images": list(s["images"])} for s in samples]))
    run = {"rewards": ["test_dynamic_sampling:even_are_flat"], "reward_weights": None}
    run |= {"dynamic_sampling": 20, "batch_size": 8, "max_steps": 4}
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    lines = trained(tmp_path / "both", file, {"run": run}, *launcher)["run"]["logs"]
    for line in lines:
        assert line["frac_reward_zero_std"] == 0
        assert line["dynamic_sampling/sampled_per_used"] >= 1
    shares = {line["dynamic_sampling/frac_groups_replaced"] for line in lines}
    assert shares & {0.25, 0.75}, "of four groups, one process had more to replace than the other"
