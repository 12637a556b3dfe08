"""The figures of what a training run survives: kills, dead and hanging processes, full disks."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("trl")

import fault_runs
from fault_runs import (
    FAILING,
    LORA,
    command,
    fails_in_rank_1,
    processes_of,
    run,
    running,
    same_run,
    steps_done,
    wait_until,
)

from medr1.train.manifest import checkpoint_faults, checkpoints, newest_checkpoint, step_of

pytestmark = pytest.mark.slow


def test_a_run_killed_twenty_times_half_of_them_while_saving_is_the_run_undisturbed(tmp_path):
    values = json.dumps({"max_steps": 60})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    found = {}
    for out, kills in ((whole, 0), (broken, 20)):
        arguments = [sys.executable, fault_runs.__file__, str(out), str(kills), "0", values]
        result = subprocess.run(arguments, capture_output=True, text=True, timeout=900)
        assert result.returncode == 0, result.stderr[-2000:]
        found[out] = json.loads(result.stdout)
    assert found[broken] | {"most_steps_lost": 0} == {
        "kills": 20, "while_saving": 10, "most_steps_lost": 0,
    }  # fmt: skip
    assert found[broken]["most_steps_lost"] <= 3  # a save interval, and the step of the next save
    assert same_run(whole, broken)


@pytest.mark.parametrize("values", [{"beta": 0.04}, LORA], ids=["all weights", "adapter"])
def test_two_processes_go_on_exactly(values, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(whole, 2, **values).returncode == 0
    with running(command(broken, 2, **values), tmp_path / "log") as process:
        wait_until(lambda: steps_done(broken) >= 3 or process.poll() is not None)
        process.terminate()
        assert process.wait(timeout=60) != 0
    assert newest_checkpoint(broken) and not (broken / "SHA256SUMS").exists()
    result = run(broken, 2, **values)
    assert result.returncode == 0, result.stderr[-2000:]
    assert same_run(whole, broken)


def test_a_checkpoint_of_two_processes_goes_on_with_one_and_says_so(tmp_path):
    out = tmp_path / "out"
    with running(command(out, 2, batch_size=4), tmp_path / "log") as process:
        wait_until(lambda: steps_done(out) >= 3 or process.poll() is not None)
        process.terminate()
        process.wait(timeout=60)
    refused = run(out, batch_size=4)
    assert refused.returncode == 2 and "completions_per_step was 8, is 4" in refused.stderr
    result = run(out, batch_size=8)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "is of 2 processes and goes on with 1" in result.stderr
    assert steps_done(out) == 8


@pytest.mark.parametrize(
    "how", ["os.kill(os.getpid(), signal.SIGKILL)", "raise RuntimeError('broken')", "os._exit(0)"]
)
def test_a_process_that_dies_ends_the_run_within_ten_seconds(how, tmp_path):
    out, env = tmp_path / "out", fails_in_rank_1(tmp_path, how)
    arguments = command(out, 2, rewards=FAILING)
    with running(arguments, tmp_path / "log", env) as process:
        wait_until(lambda: steps_done(out) >= 2 or process.poll() is not None)
        started = time.monotonic()
        assert process.wait(timeout=60) != 0
        assert time.monotonic() - started < 10
    assert not processes_of(out)
    assert step_of(newest_checkpoint(out)) == 2


def test_a_process_that_hangs_ends_the_run_after_the_timeout(tmp_path):
    out = tmp_path / "out"
    env = fails_in_rank_1(tmp_path, "os.kill(os.getpid(), signal.SIGSTOP)")
    arguments = command(out, 2, rewards=FAILING, ddp_timeout=15)
    with running(arguments, tmp_path / "log", env) as process:
        wait_until(lambda: steps_done(out) >= 2 or process.poll() is not None)
        started = time.monotonic()
        assert process.wait(timeout=120) != 0
        assert time.monotonic() - started < 15 + 35
    assert not processes_of(out)


def test_workers_follow_a_launcher_that_is_killed(tmp_path):
    out = tmp_path / "out"
    with running(command(out, 2, max_steps=200), tmp_path / "log") as process:
        wait_until(lambda: steps_done(out) >= 2 or process.poll() is not None)
        assert sum(not is_launcher for is_launcher in processes_of(out).values()) == 2
        process.kill()
        process.wait()
        assert wait_until(lambda: not processes_of(out), 10) < 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_disk_that_fills_during_a_save_ends_with_6_and_leaves_the_last_checkpoint(tmp_path):
    assert run(tmp_path / "sized", max_steps=2).returncode == 0
    checkpoint = sum(p.stat().st_size for p in (tmp_path / "sized/checkpoint-2").iterdir())
    disk = tmp_path / "disk"
    disk.mkdir()
    size = f"size={int(1.5 * checkpoint)}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", disk], check=True)
    try:
        result = run(disk / "out", save_total_limit=1)
        assert result.returncode == 6, result.stderr[-2000:]
        assert "Traceback" not in result.stderr and "checkpoint-4" in result.stderr
        (saved,) = checkpoints(disk / "out")
        assert step_of(saved) == 2 and checkpoint_faults(saved) == []
        again = run(disk / "out", save_total_limit=1)
        assert again.returncode == 6 and "a checkpoint takes" in again.stderr
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert run(disk / "out").returncode == 6
        subprocess.run(["mount", "-o", "remount,rw,size=50m", disk], check=True)
        assert run(disk / "out", save_total_limit=1).returncode == 0
        assert run(tmp_path / "whole").returncode == 0
        assert same_run(Path(disk / "out"), tmp_path / "whole")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
