"""Signals to a real run: what is saved, what is said, and the exit code."""

import signal

import pytest

pytest.importorskip("trl")

from fault_runs import run, same_run
from faults import send_signals, signal_while_saving

from medr1.train.recovery.checkpoint_manifest import checkpoint_faults, checkpoints, step_of

LONG = {"max_steps": 12, "save_steps": 100, "num_iterations": 2}


def test_a_scheduler_s_signal_saves_between_blocks_and_asks_to_be_run_again(tmp_path):
    found = send_signals(tmp_path / "out", signal.SIGUSR1, **LONG)
    assert found.code == 75, found.output
    (saved,) = checkpoints(tmp_path / "out")
    assert step_of(saved) % 2 == 0 and checkpoint_faults(saved) == []
    assert f"is saved in {saved}; the same command continues" in found.output


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_a_run_that_was_stopped_goes_on_exactly(signum, code, tmp_path):
    assert send_signals(tmp_path / "out", signum, **LONG).code == code
    assert run(tmp_path / "whole", **LONG).returncode == 0
    assert run(tmp_path / "out", **LONG).returncode == 0
    assert same_run(tmp_path / "whole", tmp_path / "out")


@pytest.mark.slow
def test_a_second_signal_ends_at_once_with_the_first_one_s_code(tmp_path):
    out, slow = tmp_path / "out", {**LONG, "max_completion_length": 256, "batch_size": 128}
    found = send_signals(out, signal.SIGUSR1, signal.SIGTERM, after=1, pause=0.1, **slow)
    assert found.code == 75, found.output
    assert "Ended at once: SIGTERM" in found.output and not checkpoints(out)


@pytest.mark.slow
def test_a_signal_while_saving_stops_after_that_save(tmp_path):
    out = tmp_path / "out"
    found = signal_while_saving(out, signal.SIGTERM, **{**LONG, "save_steps": 2})
    assert found.code == 143, found.output
    assert all(checkpoint_faults(found) == [] for found in checkpoints(out))
    assert step_of(checkpoints(out)[0]) in (2, 4)


@pytest.mark.slow
def test_an_interrupt_is_130_and_says_where_to_go_on(tmp_path):
    found = send_signals(tmp_path / "out", signal.SIGINT, **{**LONG, "save_steps": 2})
    assert found.code == 130 and "same command" in found.output
    assert "Traceback" not in found.output
