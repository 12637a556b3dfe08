"""Signals to a real run: what is saved, what is said, and the exit code."""

import re
import signal
import time

import pytest

pytest.importorskip("trl")

from fault_runs import command, run, running, same_run, steps_done, wait_until

from medr1.train.manifest import checkpoint_faults, checkpoints, step_of

LONG = {"max_steps": 12, "save_steps": 100, "num_iterations": 2}


def stopped(out, *signals, after=3, pause=0.0, **values):
    """The exit code of a run that got these signals after some steps, and what it said."""
    log = out.parent / "log"
    with running(command(out, **{**LONG, **values}), log) as process:
        wait_until(lambda: steps_done(out) >= after or process.poll() is not None)
        for signum in signals:
            process.send_signal(signum)
            time.sleep(pause)
        return process.wait(timeout=120), log.read_text()


def test_a_scheduler_s_signal_saves_between_blocks_and_asks_to_be_run_again(tmp_path):
    code, said = stopped(tmp_path / "out", signal.SIGUSR1)
    assert code == 75, said
    (saved,) = checkpoints(tmp_path / "out")
    assert step_of(saved) % 2 == 0 and checkpoint_faults(saved) == []
    assert f"steps are saved in {saved}; the same command goes on" in said


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_a_run_that_was_stopped_goes_on_exactly(signum, code, tmp_path):
    assert stopped(tmp_path / "out", signum)[0] == code
    assert run(tmp_path / "whole", **LONG).returncode == 0
    assert run(tmp_path / "out", **LONG).returncode == 0
    assert same_run(tmp_path / "whole", tmp_path / "out")


@pytest.mark.slow
def test_a_second_signal_ends_at_once_with_the_first_one_s_code(tmp_path):
    out, slow = tmp_path / "out", {"max_completion_length": 256, "batch_size": 128}
    code, said = stopped(out, signal.SIGUSR1, signal.SIGTERM, after=1, pause=0.1, **slow)
    assert code == 75, said
    assert re.search("Ended at once: SIGTERM once more", said) and not checkpoints(out)


@pytest.mark.slow
def test_a_signal_while_saving_stops_after_that_save(tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    with running(command(out, **{**LONG, "save_steps": 2}), log) as process:
        wait_until(lambda: (out / ".saving").is_dir())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 143
    assert all(checkpoint_faults(found) == [] for found in checkpoints(out))
    assert step_of(checkpoints(out)[0]) in (2, 4)


@pytest.mark.slow
def test_an_interrupt_is_130_and_says_where_to_go_on(tmp_path):
    code, said = stopped(tmp_path / "out", signal.SIGINT, save_steps=2)
    assert code == 130 and "the same command goes on from there" in said
    assert "Traceback" not in said
