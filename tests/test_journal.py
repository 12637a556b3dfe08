"""The journal loses nothing that was finished, and says what is wrong with one it cannot use."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest

from medr1.errors import InputError, LockedError, OutputError, StateError
from medr1.journal import Journal, require_unlocked

META = {"model_sha256": "a" * 64, "seed": 0, "decoding": {"max_new_tokens": 8}}
N = 20


def entry(index):
    return {"id": f"q{index}", "model_output": f'é "{index}" \n, "crc32": "', "option_probs": None}


def fill(path, indices, meta=META, n=N):
    with Journal(path, meta, n) as journal:
        for index in indices:
            journal.append({index: entry(index)})


def read(path, meta=META, n=N):
    with Journal(path, meta, n) as journal:
        return [item for _, item in journal.items()]


def test_what_was_appended_is_there_again_in_order(tmp_path):
    path = tmp_path / "new" / "j.jsonl"
    fill(path, [3, 0])
    fill(path, [1])
    assert read(path) == [entry(0), entry(1), entry(3)]
    assert all(json.loads(line) for line in path.read_text("utf-8").splitlines())
    with Journal(path, META, N) as journal:
        assert (set(journal), len(journal)) == ({0, 1, 3}, 3)


def test_half_a_line_at_the_end_is_cut_off_wherever_it_was_torn(tmp_path):
    path = tmp_path / "j.jsonl"
    fill(path, range(3))
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        assert read(path) == [entry(0), entry(1)]
        fill(path, [2])
        assert path.read_bytes() == whole


def test_a_kill_before_the_header_was_whole_begins_anew(tmp_path):
    path = tmp_path / "j.jsonl"
    fill(path, [])
    header = path.read_bytes()
    for cut in range(len(header)):
        path.write_bytes(header[:cut])
        assert read(path) == []
        assert path.read_bytes() == header


def test_damage_that_no_kill_leaves_is_named_by_its_line_and_nothing_is_touched(tmp_path):
    path = tmp_path / "j.jsonl"
    fill(path, range(3))
    damaged = path.read_bytes().replace(b'"q1"', b'"qi"')
    path.write_bytes(damaged)
    with pytest.raises(StateError, match="line 3"):
        read(path)
    assert path.read_bytes() == damaged


def test_another_run_is_refused_by_the_name_of_what_changed(tmp_path):
    path = tmp_path / "j.jsonl"
    fill(path, [0])
    for change, name in (
        ({"seed": 1}, "seed"),
        ({"model_sha256": "b" * 64}, "content of the model"),
        ({"new": 1}, "new"),
    ):
        with pytest.raises(InputError, match=rf"\(different: {name}\)"):
            read(path, {**META, **change})
    with pytest.raises(InputError, match="number of items"):
        read(path, n=N + 1)
    assert read(path) == [entry(0)]


def test_something_else_is_no_journal(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"some": "file"}\n{"of": "others"}\n')
    with pytest.raises(StateError):
        read(path)
    assert "others" in path.read_text()


def test_two_writers_do_not_mix(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal(path, META, N) as journal:
        journal.append({0: entry(0)})
        with pytest.raises(LockedError, match="another run"):
            Journal(path, META, N)
        journal.append({1: entry(1)})
    assert read(path) == [entry(0), entry(1)]


def test_a_look_whether_a_journal_is_in_use_does_not_keep_it_locked(tmp_path):
    path = tmp_path / "j.jsonl"
    require_unlocked(path)
    fill(path, [0])
    require_unlocked(path)
    with Journal(path, META, N), pytest.raises(LockedError):
        require_unlocked(path)


def test_a_full_disk_is_one_sentence_and_what_was_finished_stays(tmp_path):
    path = tmp_path / "j.jsonl"
    fill(path, [0])
    room = path.stat().st_size + 30
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OutputError, match="finished items are saved"):
            fill(path, [1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.stat().st_size == room
    fill(path, [1])
    assert read(path) == [entry(0), entry(1)]


def test_a_folder_in_the_journals_place(tmp_path):
    with pytest.raises(OutputError):
        Journal(tmp_path, META, N)


STUB = """
import sys, time
from pathlib import Path
from medr1.journal import Journal
path, log, n = Path(sys.argv[1]), open(sys.argv[2], "a", buffering=1), int(sys.argv[3])
with Journal(path, {"seed": 0}, n) as journal:
    for start in range(0, n, 4):
        batch = [i for i in range(start, start + 4) if i not in set(journal)]
        if batch:
            print(*batch, file=log)
            time.sleep(0.001)
            journal.append({i: {"id": i, "text": "x" * (i % 300)} for i in batch})
    print("\\n".join(str(item) for _, item in journal.items()))
"""


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing_and_do_nothing_twice(tmp_path):
    n, kills, picker = 400, 0, random.Random(0)
    expected = [str({"id": i, "text": "x" * (i % 300)}) for i in range(n)]
    for run in range(1000):
        path, log = tmp_path / f"{run}.jsonl", tmp_path / f"{run}.log"
        command = [sys.executable, "-c", STUB, str(path), str(log), str(n)]
        killed = 0
        while True:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            time.sleep(picker.uniform(0.05, 0.25))
            if child.poll() is None:
                os.kill(child.pid, signal.SIGKILL)
            said, _ = child.communicate()
            if child.returncode == 0:
                break
            killed += 1
        assert said.splitlines() == expected
        done = sum(len(line.split()) for line in log.read_text().splitlines())
        assert done <= n + 4 * killed  # a kill costs one batch
        kills += killed
        if kills >= 200:
            return
    raise AssertionError(f"only {kills} kills")
