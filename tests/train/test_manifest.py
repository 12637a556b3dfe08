"""Which of a run's checkpoints is taken, and which are let go."""

import logging

import pytest

from medr1.errors import StateError
from medr1.train.recovery.checkpoint_manifest import (
    COMPLETE,
    checkpoint_faults,
    checkpoints,
    newest_checkpoint,
    remove_older,
    resume_hint,
    step_of,
    write_manifest,
)


def checkpoint(output, step):
    folder = output / f"checkpoint-{step}"
    (folder / "global_step").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights" * step)
    (folder / "global_step" / "shard.pt").write_bytes(b"shard")
    write_manifest(folder, step=step, processes=1)
    return folder


def steps(output):
    return [step_of(folder) for folder in checkpoints(output)]


def test_the_newest_by_its_step_is_taken_and_other_folders_are_none(tmp_path):
    for step in (2, 10, 9):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-12x").mkdir()
    (tmp_path / "checkpoint-11").write_text("a file")
    assert steps(tmp_path) == [10, 9, 2]
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert newest_checkpoint(tmp_path / "nothing") is None


@pytest.mark.parametrize("name", ["model.safetensors", "global_step/shard.pt", COMPLETE])
@pytest.mark.parametrize("harm", ["gone", "cut", "flipped"])
def test_a_checkpoint_with_a_damaged_file_is_passed_over(name, harm, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("medr1"), "propagate", True)
    good, bad = checkpoint(tmp_path, 2), checkpoint(tmp_path, 4)
    content = (bad / name).read_bytes()
    if harm == "gone":
        (bad / name).unlink()
    else:
        changed = content[:-3] if harm == "cut" else bytes([content[0] ^ 1]) + content[1:]
        (bad / name).write_bytes(changed)
    with caplog.at_level(logging.WARNING, "medr1"):
        assert newest_checkpoint(tmp_path) == good
    assert "checkpoint-4" in caplog.text and name in caplog.text
    (good / "model.safetensors").unlink()
    with pytest.raises(StateError, match="none of its 2 checkpoints is complete"):
        newest_checkpoint(tmp_path)


def test_a_checkpoint_under_another_ones_name_is_none_of_it(tmp_path):
    checkpoint(tmp_path, 2).rename(tmp_path / "checkpoint-3")
    (fault,) = checkpoint_faults(tmp_path / "checkpoint-3")
    assert "COMPLETE.json" in fault and "another checkpoint" in fault


def test_older_ones_go_and_the_best_and_what_is_newer_stay(tmp_path):
    for step in (2, 4, 6, 8, 10):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-6" / COMPLETE).unlink()
    remove_older(tmp_path / "checkpoint-8", 2, best=tmp_path / "checkpoint-2")
    assert steps(tmp_path) == [10, 8, 4, 2]
    remove_older(tmp_path / "checkpoint-8", 1)
    assert steps(tmp_path) == [10, 8]


def test_what_to_do_is_said_with_the_step(tmp_path):
    assert "No checkpoint was saved" in resume_hint(tmp_path)
    checkpoint(tmp_path, 4)
    assert f"tep 4 is saved in {tmp_path / 'checkpoint-4'}" in resume_hint(tmp_path)
