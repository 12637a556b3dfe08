"""The figures of what a training run survives: kills, dead and hanging processes, full disks."""

import os
import subprocess

import pytest

pytest.importorskip("trl")

from fault_runs import LORA, command, run, running, same_run, steps_done, wait_until
from faults import (
    DEATHS,
    STOPPED,
    checkpoint_bytes,
    fail_second_process,
    kill_launcher,
    kill_repeatedly_in_subprocess,
    small_disk,
)

from medr1.train.recovery.checkpoint_manifest import (
    checkpoint_faults,
    checkpoints,
    newest_checkpoint,
    step_of,
)

pytestmark = pytest.mark.slow


def test_a_run_killed_twenty_times_half_of_them_while_saving_is_the_run_undisturbed(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    kill_repeatedly_in_subprocess(whole, 0, max_steps=60)
    found = kill_repeatedly_in_subprocess(broken, 20, max_steps=60)
    assert found.pop("most_steps_lost") <= 3  # a save interval, and the step of the next save
    assert found == {"kills": 20, "while_saving": 10}
    assert same_run(whole, broken)


@pytest.mark.parametrize("values", [{"beta": 0.04}, LORA], ids=["all weights", "adapter"])
def test_two_processes_go_on_exactly(values, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(whole, 2, **values).returncode == 0
    with running(command(broken, 2, **values), tmp_path / "log") as process:
        wait_until(lambda: steps_done(broken) >= 3 or process.poll() is not None)
        process.terminate()
        assert process.wait(timeout=600) != 0
    assert newest_checkpoint(broken) and not (broken / "SHA256SUMS").exists()
    result = run(broken, 2, **values)
    assert result.returncode == 0, result.stderr[-2000:]
    assert same_run(whole, broken)


def test_a_checkpoint_of_two_processes_goes_on_with_one_and_says_so(tmp_path):
    out = tmp_path / "out"
    with running(command(out, 2, batch_size=4), tmp_path / "log") as process:
        wait_until(lambda: steps_done(out) >= 3 or process.poll() is not None)
        process.terminate()
        process.wait(timeout=600)
    refused = run(out, batch_size=4)
    assert refused.returncode == 2 and "completions_per_step was 8, is 4" in refused.stderr
    result = run(out, batch_size=8)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "written by 2 processes and is resumed with 1" in " ".join(result.stderr.split())
    assert steps_done(out) == 8


@pytest.mark.parametrize("how", DEATHS)
def test_a_process_that_dies_ends_the_run_within_ten_seconds(how, tmp_path):
    found = fail_second_process(tmp_path / "out", DEATHS[how])
    assert found.code not in (0, None) and found.seconds < 10 and not found.processes_left
    assert step_of(newest_checkpoint(tmp_path / "out")) == 2


def test_a_process_that_hangs_ends_the_run_after_the_timeout(tmp_path):
    found = fail_second_process(tmp_path / "out", STOPPED, ddp_timeout=15)
    assert found.code not in (0, None) and found.seconds < 15 + 120 and not found.processes_left


def test_workers_follow_a_launcher_that_is_killed(tmp_path):
    found = kill_launcher(tmp_path / "out")
    assert found.seconds < 5 and not found.processes_left


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_disk_that_fills_during_a_save_ends_with_6_and_leaves_the_last_checkpoint(tmp_path):
    size = int(1.5 * checkpoint_bytes(tmp_path / "sized"))
    with small_disk(tmp_path / "disk", size) as disk:
        out = disk / "out"
        result = run(out, save_total_limit=1)
        assert result.returncode == 6, result.stderr[-2000:]
        assert "Traceback" not in result.stderr and "checkpoint-4" in result.stderr
        (saved,) = checkpoints(out)
        assert step_of(saved) == 2 and checkpoint_faults(saved) == []
        again = run(out, save_total_limit=1)
        assert again.returncode == 6 and "a checkpoint takes" in again.stderr
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert run(out).returncode == 6
        subprocess.run(["mount", "-o", "remount,rw,size=50m", disk], check=True)
        assert run(out, save_total_limit=1).returncode == 0
        assert run(tmp_path / "whole").returncode == 0
        assert same_run(out, tmp_path / "whole")


def test_a_checkpoint_that_the_system_does_not_take_ends_with_6(tmp_path):
    """As a quota does it: no file of more than 200 kB."""
    words = ["bash", "-c", 'ulimit -f 200; exec "$@"', "bash", *command(tmp_path / "out")]
    result = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert result.returncode == 6, result.stderr[-2000:]
    assert "checkpoint-2" in result.stderr and "Traceback" not in result.stderr
    assert not checkpoints(tmp_path / "out") and not (tmp_path / "out" / ".saving").exists()
