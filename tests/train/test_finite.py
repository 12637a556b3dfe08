"""A run stops at the first loss, gradient or weight that is no finite number, and saves none."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from medr1.cli import cli
from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder
from medr1.errors import NonFiniteError

pytest.importorskip("trl")

import torch

from medr1.train.grpo import build_trainer
from medr1.train.monitoring.metrics_log import EveryNSteps
from medr1.train.run import train
from medr1.train.settings import settings_from

SMALL = {"max_steps": 3, "batch_size": 4, "num_generations": 4, "logging_steps": 2}
SMALL |= {"max_completion_length": 6, "warmup_steps": 0}
ITEM = r"\(items 'train_\d+-\w+'\)"
"""One prompt a batch, so that the one item at fault is named."""


@pytest.fixture
def questions():
    return read_questions(tiny_vqa_folder() / "train.json", limit=40)


def weight(model):
    return model.model.model.language_model.layers[0].self_attn.q_proj.weight


def settings(folder, **changed):
    return settings_from({**tiny_config(), **SMALL, **changed}, folder)


def assert_nothing_saved(folder):
    assert not list(folder.rglob("*.safetensors")) and not list(folder.glob("checkpoint-*"))


@pytest.mark.parametrize(("step", "says"), [(0, "in the checkpoint"), (1, "after step 1")])
def test_a_weight_that_is_nan_ends_the_run(step, says, model, questions, tmp_path):
    def write_nan(now):
        if now == step:
            weight(model).data[3, 5] = float("nan")

    with pytest.raises(NonFiniteError, match=rf"the weight \S*q_proj.weight .* {says}"):
        train(model, questions, settings(tmp_path), [EveryNSteps(1, write_nan)])
    assert_nothing_saved(tmp_path)


def test_a_weight_that_is_nan_is_not_saved(model, questions, tmp_path):
    trainer = build_trainer(model, questions, settings(tmp_path))
    weight(model).data[0, 0] = float("inf")
    with pytest.raises(NonFiniteError, match="the weight"):
        trainer.save_model(str(tmp_path))
    assert_nothing_saved(tmp_path)


def test_a_loss_that_is_nan_ends_the_run_with_its_item(model, questions, tmp_path):
    """Between two lines of metrics, where Trainer would put an average in its place."""
    before = {name: p.detach().clone() for name, p in model.model.named_parameters()}

    def overflow(module, args, output):
        return output * float("nan") if torch.is_grad_enabled() else output

    model.model.model.language_model.norm.register_forward_hook(overflow)
    with pytest.raises(NonFiniteError, match=rf"the loss is nan in step 1 {ITEM}; stopped before"):
        train(model, questions, settings(tmp_path))
    assert_nothing_saved(tmp_path)
    assert all((p == before[name]).all() for name, p in model.model.named_parameters())


def test_a_gradient_that_is_infinite_ends_the_run_before_the_update(model, questions, tmp_path):
    weight(model).register_hook(lambda gradient: gradient.sign() * float("inf"))
    accumulated = settings(tmp_path, gradient_accumulation_steps=2, max_grad_norm=0.0)
    with pytest.raises(NonFiniteError, match=r"the gradient norm is (nan|inf) in step 1 \(items "):
        train(model, questions, accumulated)
    assert all(p.isfinite().all() for p in model.model.parameters())
    assert_nothing_saved(tmp_path)


@pytest.mark.parametrize(("until", "ends_well"), [(2, True), (99, False)])
def test_a_scaler_may_find_its_scale_but_not_fail_for_ever(
    until, ends_well, model, questions, tmp_path
):
    """As in float16 on CUDA: a step whose scaled gradients overflow is left out, not the end."""
    calls = []

    def overflow(gradient):
        calls.append(1)
        return gradient * float("inf") if len(calls) <= until else gradient

    trainer = build_trainer(model, questions, settings(tmp_path, max_steps=5, logging_steps=1))
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    weight(model).register_hook(overflow)
    if ends_well:
        trainer.train()
        logged = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert ["grad_norm" in entry for entry in logged] == [False, False, True, True, True]
        assert trainer.accelerator.scaler.get_scale() == 2.0
    else:
        with pytest.raises(NonFiniteError, match=r"the gradient norm is (nan|inf) in step 4"):
            trainer.train()
    assert all(p.isfinite().all() for p in model.model.parameters())


@pytest.mark.parametrize(
    ("rate", "says"),
    [("1e39", "the weight"), ("1e37", "a probability of the next token is not finite in step 2")],
)
def test_on_the_command_line_it_is_one_sentence_and_code_7(rate, says, tmp_path):
    result = CliRunner().invoke(
        cli,
        [
            *("train", "--model-path", str(tiny_vl_folder()), "--data", str(tiny_vqa_folder())),
            *("--answer-types", "multiple_choice", "--device", "cpu", "--max-steps", "3"),
            *("--batch-size", "4", "--num-generations", "4", "--max-completion-length", "6"),
            *("--learning-rate", rate, "--output-dir", str(tmp_path / "out"), "--save-steps", "1"),
        ],
    )
    assert result.exit_code == 7, result.output
    said = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(said) == 1 and says in said[0] and "Traceback" not in result.stderr
    if says == "the weight":  # those of 1e37 are numbers still, when they are saved
        assert_nothing_saved(tmp_path / "out")


SCRIPT = """
import os, sys, torch
from pathlib import Path
from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config, tiny_vl_folder, tiny_vqa_folder
from medr1.errors import NonFiniteError
from medr1.models.loading import load_model
from medr1.train.run import train
from medr1.train.settings import settings_from

folder, fault, rank = Path(sys.argv[1]), sys.argv[2], os.environ["RANK"]
loaded = load_model(tiny_vl_folder(), device="cpu")
if fault == "loss" and rank == "1":
    loaded.model.model.language_model.norm.register_forward_hook(
        lambda module, args, out: out * float("nan") if torch.is_grad_enabled() else out
    )

def reward(completions, **columns):
    wrong = fault == "reward" and rank == "1"
    return [float("inf") if wrong else 0.5] * len(completions)

small = {"max_steps": 3, "batch_size": 4, "num_generations": 4, "max_completion_length": 6}
small |= {"gradient_accumulation_steps": 2, "rewards": ["accuracy", "__main__:reward"]}
questions = read_questions(tiny_vqa_folder() / "train.json", limit=40)
try:
    train(loaded, questions, settings_from({**tiny_config(), **small}, folder))
except NonFiniteError as error:
    (folder / f"said-{rank}").write_text(str(error))
    sys.exit(7)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("loss", "the loss is nan in step 1 (items 'train_"),
        ("reward", "the reward '__main__:reward' gave inf for item 'train_"),
    ],
)
def test_two_processes_end_together_with_the_same_sentence(fault, says, tmp_path):
    (tmp_path / "run.py").write_text(SCRIPT)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    command = [sys.executable, *launcher, str(tmp_path / "run.py"), str(tmp_path), fault]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode != 0
    said = [(tmp_path / f"said-{rank}").read_text() for rank in (0, 1)]
    assert said[0] == said[1] and says in said[0]
    assert_nothing_saved(tmp_path)
