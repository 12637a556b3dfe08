"""The store of judgements: nothing is lost, whoever is killed; nothing is counted twice."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from medr1.errors import InputError, OutputError, StateError
from medr1.review.sampling import ReviewCandidate, SecondVerdict
from medr1.review.store import Judgement, Store, Study, create_store, reader_name

STUDY = Study("ab" * 32, 7, 2, {"protocol": "default"})
WRITER = Path(__file__).with_name("review_writer.py")


@pytest.fixture
def store(tmp_path):
    """60 items, of which the first 50 are cases."""
    candidates = [ReviewCandidate(f"q{n}", n % 2 == 0, 0.5, "CT", None, n // 2) for n in range(60)]
    with closing(create_store(tmp_path / "review.db", STUDY, candidates, range(50))) as opened:
        yield opened


def judgement(name="a", place=3, reader="Dr. A", **more):
    return Judgement(name, reader, place, more.pop("ratings", {"correct": "yes"}), **more)


def test_the_study_and_its_items_are_read_back(store):
    with closing(Store(store.path)) as again:
        assert again.study == STUDY
        items = again.items()
    assert [item.is_case for item in items] == [True] * 50 + [False] * 10
    assert (items[1].item_id, items[1].kind, items[1].is_right) == ("q1", "error", False)
    if os.name == "posix":
        assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    with pytest.raises(InputError, match="exists already"):
        create_store(store.path, STUDY, [], [])


def test_judgements_are_durable_in_every_connection(store):
    for setting, expected in (("journal_mode", "wal"), ("synchronous", 2)):
        assert store._rows(f"PRAGMA {setting}") == [(expected,)]


def test_the_last_judgement_counts_and_undo_removes_it(store):
    assert store.add(judgement("a"))
    assert not store.add(judgement("a", ratings={"correct": "no"}))  # sent again
    assert store.add(judgement("b", ratings={"correct": "no", "harm": "mild"}, comment="<b>no"))
    (last,) = store.judgements("Dr. A")
    assert (last.id, last.ratings) == ("b", {"correct": "no", "harm": "mild"})
    assert last.comment == "<b>no" and last.written_at.endswith("Z")
    store.add(judgement("c", ratings={}, action="skip", place=4))
    store.add(judgement("d", is_repeat=True))
    store.add(judgement("f", ratings={}, action="undo"))
    assert [j.id for j in store.judgements()] == ["c", "d"]
    assert store.judgements("somebody else") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"place": 55},
        {"place": -1},
        {"place": 1000},
        {"ratings": {"correct": "maybe"}},
        {"ratings": {"colour": "yes"}},
        {"ratings": {"correct": 1}},
        {"ratings": {}},
        {"action": "erase"},
        {"action": "skip"},
        {"comment": "x" * 4001},
        {"reader": ""},
        {"reader": "a\x1b[2J"},
        {"reader": "x" * 61},
        {"name": ""},
        {"seconds": -1.0},
        {"seconds": float("nan")},
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused_and_changes_nothing(store, wrong):
    with pytest.raises(InputError):
        store.add(judgement(**wrong))
    assert store.judgements() == []


def test_a_store_that_cannot_be_opened_is_told(store, tmp_path):
    """SQLite opens no path of more than 512 bytes; a file of another user fails in the same way."""
    folder = tmp_path / ("a" * 200) / ("b" * 200) / ("c" * 200)
    folder.mkdir(parents=True)
    copy = folder / "long.review.db"
    copy.write_bytes(store.path.read_bytes())
    with pytest.raises(OutputError, match="cannot use"):
        Store(copy)


def test_a_readers_name_has_one_form():
    assert reader_name("  Zoe\u0308   B ") == "Zo\u00eb B"


def start_writer(path, reader, number):
    command = [sys.executable, str(WRITER), str(path), reader, str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_no_judgement_is_lost_when_writers_are_killed(store):
    """Four readers write at once; two of them are killed in the middle of their work."""
    number = {"A": 10**9, "B": 10**9, "C": 250, "D": 250}
    writers = {name: start_writer(store.path, name, number[name]) for name in "ABCD"}
    confirmed = {}
    for name in "AB":
        confirmed[name] = [writers[name].stdout.readline().strip() for _ in range(40)]
        writers[name].send_signal(signal.SIGKILL)
    for name, process in writers.items():
        lines = process.stdout.read().split("\n")[:-1]  # half a line of a killed one: not told
        confirmed[name] = confirmed.get(name, []) + lines
        process.wait(timeout=600)
        process.stdout.close()
    assert [len(confirmed[name]) for name in "CD"] == [250, 250]
    assert [writers[name].returncode for name in "AB"] == [-signal.SIGKILL] * 2
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = {name for (name,) in connection.execute("SELECT id FROM judgements")}
    expected = {name for names in confirmed.values() for name in names}
    assert expected <= stored
    assert len(stored - expected) <= 2  # written, but its writer was killed before it could say so
    assert {j.comment for j in store.judgements("D")} == {f"comment {n}" for n in range(200, 250)}


def test_stores_are_put_together(store, tmp_path):
    store.add(judgement("a"))
    other_path = tmp_path / "other.db"
    with closing(sqlite3.connect(store.path)) as source:
        source.execute("VACUUM INTO ?", (str(other_path),))
    with closing(Store(other_path)) as other:
        other.add(judgement("b", reader="B"))
        other.add(judgement("c", reader="B", place=9))
    assert store.import_from(other_path) == 2
    assert store.import_from(other_path) == 0
    assert [j.id for j in store.judgements()] == ["a", "b", "c"]
    assert [j.reader for j in store.judgements()] == ["Dr. A", "B", "B"]


def test_other_studies_and_other_files_are_refused(store, tmp_path):
    other = Study("cd" * 32, 7, 2)
    create_store(
        tmp_path / "other.db", other, [ReviewCandidate("q", True, None, None, None, 0)], [0]
    ).close()
    with pytest.raises(InputError, match="other cases"):
        store.import_from(tmp_path / "other.db")
    with pytest.raises(InputError, match="no such file"):
        Store(tmp_path / "missing.db")
    (tmp_path / "text.db").write_text("results " * 1000)
    with pytest.raises(StateError, match="damaged"):
        Store(tmp_path / "text.db")
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as connection:
        connection.execute("CREATE TABLE study (a)")
    before = (tmp_path / "foreign.db").read_bytes()
    with pytest.raises(InputError, match="not the store"):
        Store(tmp_path / "foreign.db")
    assert (tmp_path / "foreign.db").read_bytes() == before
    with pytest.raises(OutputError):
        create_store(tmp_path / "text.db" / "x.db", STUDY, [], [])


def test_an_item_is_read_back_with_its_type_and_its_second_model(tmp_path):
    candidates = [
        ReviewCandidate("a", True, 0.5, None, None, 0, answer_type="yes_no"),
        ReviewCandidate("b", True, None, None, None, 1, second=SecondVerdict(False, 0.25)),
        ReviewCandidate("c", True, None, None, None, 2, second=SecondVerdict(True, None)),
    ]
    with closing(create_store(tmp_path / "typed.db", STUDY, candidates, [0])) as opened:
        items = opened.items()
    assert [item.answer_type for item in items] == ["yes_no", "open", "open"]
    assert [item.second for item in items] == [candidate.second for candidate in candidates]


def test_a_store_of_an_older_version_is_refused_and_not_changed(store):
    store.close()
    with closing(sqlite3.connect(store.path)) as connection, connection:
        older = ('"medr1.review/1"',)
        connection.execute("UPDATE study SET value = ? WHERE key = 'schema'", older)
    before = store.path.read_bytes()
    with pytest.raises(
        InputError, match=r"medr1\.review/1, and .* reads medr1\.review/2\. Use the"
    ):
        Store(store.path)
    assert store.path.read_bytes() == before


def test_a_store_with_foreign_judgements_is_not_imported(store, tmp_path):
    """A store from others may have been changed by another program."""
    store.add(judgement("a"))
    store.close()
    changed = tmp_path / "changed.db"
    shutil.copy(store.path, changed)
    with closing(sqlite3.connect(changed)) as connection, connection:
        connection.execute("UPDATE judgements SET id = 'z', ratings = '{\"correct\": \"<b>\"}'")
    with closing(Store(store.path)) as opened:
        with pytest.raises(InputError, match="<b>"):
            opened.import_from(changed)
        assert [j.id for j in opened.judgements()] == ["a"]
