"""A batch goes on where it was stopped, and ends as if nothing had been."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import chain

import pytest
from in_process import medr1

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.infer import batch
from medr1.infer.batch import BatchOutcome, manifest, run_batch
from medr1.infer.local.engine import LocalEngine
from medr1.journal import Journal
from medr1.records import Decoding

GREEDY = Decoding(max_new_tokens=12)


@pytest.fixture
def questions(validation):
    return replace(validation, samples=validation.samples[:10], failures={})


def run(model, questions, output, decoding=GREEDY, **more):
    engine = LocalEngine(model)
    meta = manifest(
        engine.identity(), questions, data="q.json", prompt=None, decoding=decoding, seed=0
    )
    return run_batch(engine, questions, output, meta, decoding=decoding, **more)


def command(output, *more):
    return [
        *(sys.executable, "-m", "medr1", "infer", "--model-path", str(tiny_vl_folder())),
        *("--batch-file", str(tiny_vqa_folder() / "validation.json"), "--batch-size", "4"),
        *("--max-new-tokens", "12", "--output-file", output, *more),
    ]


def begun(journal):
    """Wait until a run has finished some items."""
    until = time.monotonic() + 600
    while time.monotonic() < until:
        if journal.exists() and journal.read_bytes().count(b"\n") > 3:
            return
        time.sleep(0.02)
    raise AssertionError("nothing was begun")


@pytest.mark.parametrize("decoding", [GREEDY, replace(GREEDY, do_sample=True)])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(
    tiny_model, questions, tmp_path, monkeypatch, caplog, decoding
):
    expected = tmp_path / "whole.json"
    assert run(tiny_model, questions, expected, decoding, batch_size=3) == BatchOutcome(10, 0)
    assert list(tmp_path.glob("*journal*")) == []
    asked = []
    answer = LocalEngine.predict

    def stopped(*args, **kwargs):
        for number, one in enumerate(answer(*args, **kwargs)):
            if number == 2:
                raise KeyboardInterrupt
            asked.append(list(one))
            yield one

    output = tmp_path / "cut.json"
    monkeypatch.setattr(LocalEngine, "predict", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, questions, output, decoding, batch_size=3)
    assert not output.exists()
    run(tiny_model, questions, output, decoding, batch_size=3)
    assert sorted(map(len, asked)) == [1, 3, 3, 3]
    assert sorted(chain.from_iterable(asked)) == list(range(10))
    assert output.read_bytes() == expected.read_bytes()


def without_probabilities(document):
    return {
        **document,
        "results": [
            {k: v for k, v in entry.items() if k not in ("option_probs", "confidence")}
            for entry in document["results"]
        ],
    }


def test_answers_do_not_depend_on_the_batch_size(tiny_model, questions, tmp_path):
    decoding = replace(GREEDY, num_samples=2, temperature=1.0)
    written = []
    for size in (1, 4, 10):
        run(tiny_model, questions, tmp_path / f"{size}.json", decoding, batch_size=size)
        written.append(json.loads((tmp_path / f"{size}.json").read_text()))
    assert without_probabilities(written[0]) == without_probabilities(written[1])
    assert without_probabilities(written[0]) == without_probabilities(written[2])
    for entries in zip(*(document["results"] for document in written), strict=True):
        for letter in entries[0]["option_probs"]:
            shares = [entry["option_probs"][letter] for entry in entries]
            assert max(shares) - min(shares) <= 1e-4


def test_a_run_goes_on_with_another_number_of_processes(tiny_model, questions, tmp_path):
    """What two processes left is taken over by one: nothing is asked again, nothing is lost."""
    expected, output = tmp_path / "whole.json", tmp_path / "cut.json"
    run(tiny_model, questions, expected, batch_size=3)
    entries = json.loads(expected.read_text())["results"]
    identity = LocalEngine(tiny_model).identity()
    meta = manifest(identity, questions, data="q.json", prompt=None, decoding=GREEDY, seed=0)
    marked = {i: {**entry, "reasoning": "kept"} for i, entry in enumerate(entries)}
    for rank, indices in enumerate(([1, 4], [0, 7, 8])):
        with Journal(batch._journal_path(output, rank), meta.document(), len(entries)) as journal:
            journal.append({i: marked[i] for i in indices})
    run(tiny_model, questions, output, batch_size=3)
    found = json.loads(output.read_text())["results"]
    assert found == [marked[i] if i in (0, 1, 4, 7, 8) else entries[i] for i in range(10)]
    assert list(tmp_path.glob("*journal*")) == []


def test_circular_consistency_is_counted(tiny_model, questions, tmp_path):
    outcome = run(tiny_model, questions, tmp_path / "r.json", replace(GREEDY, permute=9))
    entries = json.loads((tmp_path / "r.json").read_text())["results"]
    orders = [entry["circular_answers"] for entry in entries]
    assert [len(order) for order in orders] == [len(entry["options"]) for entry in entries]
    assert outcome.n_circular == 10
    assert outcome.n_consistent == sum(len(set(order)) == 1 for order in orders)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_a_batch(tmp_path, processes):
    arguments = [
        *("-m", "medr1", "infer", "--model-path", str(tiny_vl_folder()), "--limit", "41"),
        *("--batch-file", str(tiny_vqa_folder() / "validation.json"), "--batch-size", "4"),
        *("--max-new-tokens", "12", "--output-file"),
    ]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    several = [*launch, "--nproc-per-node", str(processes), *arguments, "many.json"]
    done = subprocess.run(several, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["many.json"]
    subprocess.run([sys.executable, *arguments, "one.json"], cwd=tmp_path, check=True)
    many, one = (json.loads((tmp_path / n).read_text()) for n in ("many.json", "one.json"))
    assert without_probabilities(many) == without_probabilities(one)
    assert json.loads((tmp_path / "many.json.run.json").read_text())["processes"] == processes
    assert list(tmp_path.glob("*journal*")) == []


@pytest.mark.slow
def test_twenty_kills_of_the_command_change_no_byte(tmp_path):
    subprocess.run(command("whole.json", "--quiet"), cwd=tmp_path, check=True, timeout=600)
    kills, picker = 0, random.Random(0)
    output, journal = tmp_path / "cut.json", tmp_path / "cut.json.journal.jsonl"
    while kills < 20:
        child = subprocess.Popen(
            command("cut.json", "--quiet"), cwd=tmp_path, stdout=subprocess.DEVNULL
        )
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
    subprocess.run(command("cut.json", "--quiet"), cwd=tmp_path, check=True, timeout=600)
    assert output.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert len(json.loads(output.read_text())["results"]) == 358


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_within_two_batches_and_it_goes_on(tmp_path, sent, code):
    output, journal = tmp_path / "cut.json", tmp_path / "cut.json.journal.jsonl"
    child = subprocess.Popen(
        command("cut.json"), cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    begun(journal)
    child.send_signal(signal.SIGSTOP)  # while it is counted
    before = len(journal.read_bytes().splitlines()) - 1
    child.send_signal(sent)
    child.send_signal(signal.SIGCONT)
    said, complained = child.communicate(timeout=600)
    assert (child.returncode, said) == (code, "")
    assert "run the same command again" in complained and "Traceback" not in complained
    kept = len(journal.read_bytes().splitlines()) - 1
    assert before <= kept <= before + 2 * 4  # batches
    done = subprocess.run(command("cut.json"), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and f"{kept} of 358" in done.stderr
    assert not journal.exists() and len(json.loads(output.read_text())["results"]) == 358


@pytest.mark.slow
def test_a_second_run_on_the_same_output_is_refused_at_once_and_disturbs_nothing(tmp_path):
    first = subprocess.Popen(command("r.json", "--quiet"), cwd=tmp_path, stdout=subprocess.DEVNULL)
    begun(tmp_path / "r.json.journal.jsonl")
    asked = ("--model-path", "no-model", "--batch-file", "no-file.json", "--output-file", "r.json")
    second = medr1("infer", *asked, cwd=tmp_path)  # refused before anything is read
    assert second.returncode == 5 and "another run" in second.stderr
    assert first.wait(timeout=600) == 0
    assert len(json.loads((tmp_path / "r.json").read_text())["results"]) == 358


@pytest.mark.slow
def test_a_full_disk_ends_a_run_with_6_and_it_goes_on_when_there_is_room(tmp_path):
    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))

    full = subprocess.run(
        command("r.json"), cwd=tmp_path, capture_output=True, text=True, preexec_fn=little_room
    )
    assert full.returncode == 6, full.stderr
    assert "r.json.journal.jsonl" in full.stderr and "Traceback" not in full.stderr
    assert not (tmp_path / "r.json").exists()
    for name in ("r.json", "whole.json"):
        subprocess.run(command(name, "--quiet"), cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "r.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_a_closed_pipe_ends_a_run_without_a_traceback(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command("r.json", "--limit", "2"), cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert done.returncode == 141 and b"Traceback" not in done.stderr
    assert len(json.loads((tmp_path / "r.json").read_text())["results"]) == 2


def test_a_finished_run_over_fewer_items_is_another_run(tiny_model, questions, tmp_path):
    few = replace(questions, samples=questions.samples[:2])
    run(tiny_model, few, tmp_path / "r.json")
    with pytest.raises(InputError, match=r"\(different: number of items\)"):
        run(tiny_model, questions, tmp_path / "r.json")


def test_journals_that_a_kill_left_beside_a_complete_output_are_removed(
    tiny_model, questions, tmp_path, caplog
):
    few = replace(questions, samples=questions.samples[:2])
    run(tiny_model, few, tmp_path / "r.json")
    written = (tmp_path / "r.json").read_bytes()
    (tmp_path / "r.json.journal.1.jsonl").write_text("left\n")
    assert run(tiny_model, few, tmp_path / "r.json") == BatchOutcome(2)
    assert list(tmp_path.glob("*journal*")) == []
    assert (tmp_path / "r.json").read_bytes() == written


def test_names_that_are_not_utf_8_do_not_end_a_run(tiny_model, questions, tmp_path):
    few = replace(questions, samples=questions.samples[:1])
    engine = LocalEngine(tiny_model)
    meta = manifest(
        engine.identity(), few, data="q\udce9.json", prompt=None, decoding=GREEDY, seed=0
    )
    run_batch(engine, few, tmp_path / "r.json", meta, decoding=GREEDY)
    assert json.loads((tmp_path / "r.json").read_text())["meta"]["data"] == "q\ufffd.json"
