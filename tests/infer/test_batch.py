"""A batch goes on where it was stopped, and ends as if nothing had been."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.infer import batch
from medr1.infer.batch import Outcome, manifest, run_batch
from medr1.infer.engine import Decoding

GREEDY = Decoding(max_new_tokens=12)


@pytest.fixture
def questions(validation):
    return replace(validation, samples=validation.samples[:10], failures={})


def run(model, questions, output, decoding=GREEDY, **more):
    meta = manifest(model, questions, data="q.json", prompt=None, decoding=decoding, seed=0)
    return run_batch(model, questions, output, meta, decoding=decoding, **more)


@pytest.mark.parametrize("decoding", [GREEDY, replace(GREEDY, do_sample=True)])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(
    tiny_model, questions, tmp_path, monkeypatch, caplog, decoding
):
    expected = tmp_path / "whole.json"
    assert run(tiny_model, questions, expected, decoding, batch_size=3) == Outcome(10, 0)
    assert list(tmp_path.glob("*journal*")) == []
    asked = []
    answer = batch.predict_batches

    def stopped(*args, **kwargs):
        for number, one in enumerate(answer(*args, **kwargs)):
            if number == 2:
                raise KeyboardInterrupt
            asked.append(list(one))
            yield one

    output = tmp_path / "cut.json"
    monkeypatch.setattr(batch, "predict_batches", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, questions, output, decoding, batch_size=3)
    assert not output.exists()
    run(tiny_model, questions, output, decoding, batch_size=3)
    assert asked == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert output.read_bytes() == expected.read_bytes()


def test_greedy_answers_do_not_depend_on_the_batch_size(tiny_model, questions, tmp_path):
    written = []
    for size in (1, 4, 10):
        run(tiny_model, questions, tmp_path / f"{size}.json", batch_size=size)
        written.append((tmp_path / f"{size}.json").read_bytes())
    assert written[0] == written[1] == written[2]


@pytest.mark.slow
def test_twenty_kills_of_the_command_change_no_byte(tmp_path):
    command = [
        *(sys.executable, "-m", "medr1", "infer", "--model-path", str(tiny_vl_folder())),
        *("--batch-file", str(tiny_vqa_folder() / "validation.json"), "--batch-size", "4"),
        *("--max-new-tokens", "12", "--quiet", "--output-file"),
    ]
    subprocess.run([*command, "whole.json"], cwd=tmp_path, check=True, timeout=300)
    kills, picker, began = 0, random.Random(0), time.monotonic()
    output, journal = tmp_path / "cut.json", tmp_path / "cut.json.journal.jsonl"
    while kills < 20:
        child = subprocess.Popen([*command, "cut.json"], cwd=tmp_path, stdout=subprocess.DEVNULL)
        while child.poll() is None and not journal.exists():
            time.sleep(0.05)
        time.sleep(picker.uniform(0, 1.5))
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        child.wait()
        if output.exists() and not journal.exists():
            assert output.read_bytes() == (tmp_path / "whole.json").read_bytes()
            output.unlink()
        assert time.monotonic() - began < 900
    subprocess.run([*command, "cut.json"], cwd=tmp_path, check=True, timeout=300)
    assert output.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert len(json.loads(output.read_text())["results"]) == 358
