"""`medr1 train` into a folder that is there: gone on with, finished, refused, started anew."""

import json
import logging
import shutil
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

pytest.importorskip("trl")

import fault_runs
from fault_runs import TINY, few_questions, same_run

from medr1.cli import cli
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.documents.training import TrainingRecord
from medr1.errors import InputError, OutputError
from medr1.journal import locked_file
from medr1.train.recovery.checkpoint_manifest import checkpoints, step_of
from medr1.train.recovery.run_state import (
    LOCK,
    configuration,
    inspect_run_folder,
    require_space,
)
from medr1.train.settings import settings_from

STEPS = {"max_steps": 4, "warmup_steps": 1}


def medr1(out, *more, **values):
    typed = fault_runs.command(out, **{**STEPS, **values})[3:]
    return CliRunner().invoke(cli, [*typed, *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "out"
    result = medr1(out)
    assert result.exit_code == 0, result.stderr
    return out


@pytest.fixture
def run_folder(finished, tmp_path):
    """A run that was killed while the last checkpoint was being saved."""
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "SHA256SUMS").unlink()
    (out / ".saving").mkdir()
    (out / "checkpoint-4").rename(out / ".saving" / "checkpoint-4")
    return out


def test_the_same_command_goes_on_and_then_has_nothing_to_do(run_folder, finished):
    result = medr1(run_folder, "--save-total-limit", "1")
    assert result.exit_code == 0, result.stderr
    assert f"resuming from {run_folder / 'checkpoint-2'}" in result.stderr
    assert same_run(run_folder, finished)
    assert [step_of(c) for c in checkpoints(run_folder)] == [4] and not (
        run_folder / ".saving"
    ).exists()
    before = (run_folder / "model.safetensors").stat().st_mtime_ns
    again = medr1(run_folder, "--json")
    assert again.exit_code == 0 and json.loads(again.stdout) == {"output_dir": str(run_folder)}
    assert f"{run_folder} is finished" in again.stderr
    assert (run_folder / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"beta": 0.04}, "beta was not given, is 0.04"),
        ({"learning_rate": 1e-4}, "learning_rate was 0.001, is 0.0001"),
        ({"prompt": "think"}, "prompt was nothink, is think"),
        ({"batch_size": 8}, "completions_per_step was 4, is 8"),
        ({"use_peft": True}, "use_peft was not given, is True"),
        # a record without it, as older versions write, is that of a run without it
        ({"dynamic_sampling": 2}, "dynamic_sampling was not given, is 2"),
        ({"group_by_image": True}, "group_by_image was not given, is True"),
        ({"group_by_length": True}, "group_by_length was not given, is True"),
        ({"model_path": tiny_vl_folder().with_name("tiny-vl-letters")}, "model_sha256 was"),
        ({"eval_data": tiny_vqa_folder()}, "eval_data_sha256 was not given"),
    ],
)
def test_another_configuration_is_refused_with_what_differs(values, says, finished):
    result = medr1(finished, **values)
    assert result.exit_code == 2
    assert "belongs to another run" in result.stderr and says in result.stderr


def test_a_run_without_a_whole_checkpoint_ends_with_4_and_stays_as_it_is(run_folder):
    (run_folder / "checkpoint-2" / "optimizer.pt").unlink()
    before = sorted(run_folder.rglob("*"))
    result = medr1(run_folder)
    assert result.exit_code == 4
    assert "optimizer.pt is missing" in result.stderr and "--overwrite" in result.stderr
    assert sorted(run_folder.rglob("*")) == before


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_record_is_never_a_fresh_start(text, run_folder):
    (run_folder / "training.json").write_text(text)
    assert medr1(run_folder).exit_code == (4 if text == "{" else 2)


def test_a_folder_of_something_else_is_refused_and_one_at_work_is_locked(finished, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result = medr1(tmp_path)
    assert result.exit_code == 2 and "is not empty" in result.stderr
    with locked_file(finished / LOCK):
        result = medr1(finished, "--overwrite")
    assert result.exit_code == 5 and "being written by another run" in result.stderr


def test_overwrite_starts_anew_and_keeps_the_old(run_folder):
    result = medr1(run_folder, "--overwrite", max_steps=1)
    assert result.exit_code == 0, result.stderr
    assert [step_of(c) for c in checkpoints(run_folder)] == [1]
    assert (run_folder.with_name("out.bak") / "checkpoint-2").is_dir()


def test_a_configuration_counts_completions_however_they_are_dealt_out(monkeypatch, tmp_path):
    def counted(**values):
        settings = settings_from({**TINY, **values}, tmp_path)
        found = configuration(settings, tiny_vl_folder(), few_questions())
        return found["completions_per_step"], found["completions_per_generation"]

    assert counted(batch_size=8, gradient_accumulation_steps=2, save_steps=7) == (16, 16)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert counted(batch_size=8) == (16, 16)
    assert counted(batch_size=4, gradient_accumulation_steps=2, steps_per_generation=4) == (16, 32)
    assert counted(batch_size=4, gradient_accumulation_steps=2, generation_batch_size=8) == (16, 8)


def test_a_disk_without_room_for_a_checkpoint_is_found_before_the_first_step(
    finished, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("medr1"), "propagate", True)
    plan = msgspec.json.decode((finished / "training.json").read_bytes(), type=TrainingRecord)

    def required(parameters, **more):
        base, found = tiny_vl_folder(), msgspec.structs.replace(plan, parameters=parameters, **more)
        require_space(finished, found, base, "steps", None)

    required(plan.parameters)
    free = shutil.disk_usage(finished).free
    with pytest.raises(OutputError, match="needed"):
        required(free // 4)
    required(1000, trained_parameters=free // 12)
    assert "disk is full" in caplog.text


def test_the_estimate_of_a_checkpoint_is_near_its_size(finished, monkeypatch):
    plan = msgspec.json.decode((finished / "training.json").read_bytes(), type=TrainingRecord)
    held_by_files = sum(p.stat().st_size for p in (finished / "checkpoint-4").iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 0))
    with pytest.raises(OutputError, match=rf"takes {held_by_files / 1e6:.2g}"):
        require_space(finished, plan, tiny_vl_folder(), "steps", None)


def test_a_folder_of_version_0_1_is_resumed(tmp_path):
    output = shutil.copytree(Path(__file__).with_name("version-0.1"), tmp_path / "out")
    old = json.loads((output / "training.json").read_text())["configuration"]
    state = inspect_run_folder(output, old, overwrite=False, first=True)
    assert state.checkpoint == output / "checkpoint-2"
    with pytest.raises(InputError, match=r"another run: beta was 0\.0, is 0\.1"):
        inspect_run_folder(output, {**old, "beta": 0.1}, overwrite=False, first=True)


def test_a_record_of_another_form_is_refused_in_one_sentence(tmp_path):
    output = shutil.copytree(Path(__file__).with_name("version-0.1"), tmp_path / "out")
    record = json.loads((output / "training.json").read_text())
    configuration = record.pop("configuration")
    (output / "training.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="missing required field `configuration`"):
        inspect_run_folder(output, configuration, overwrite=False, first=True)
