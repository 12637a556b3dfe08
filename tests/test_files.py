"""Whole files: strict JSON with the place of the fault, and writing that is all or nothing."""

import json
from pathlib import Path

import pytest
from measured import at_most

from medr1.errors import InputError, OutputError
from medr1.files import parse_json, prepare_folder, read_text, sha256_of, to_json, write_atomic


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ('{"a": [1,\n  NaN]}', "line 2, column 3", "NaN"),
        ("[-Infinity]", "line 1, column 2", "-Infinity"),
        ("[1, 1e999]", "line 1, column 5", "too large"),
        ("[-1e999]", "line 1, column 2", "too large"),
        ("[\n" + "9" * 5000 + "]", "line 2, column 1", "too large"),
        ('{"a": 1,\n "b": {"a": 2}, "a" : 3}', "line 2, column 17", "'a' is twice"),
        ('{"a": 1, "\\u0061": 2}', "line 1, column 10", "'a' is twice"),
        ('["\\ud83d\\ude00 \\\\ud800", "y\\ud800"]', "line 1, column 28", "surrogate"),
        ('["\\udc00\\ud800"]', "line 1, column 3", "surrogate"),
        ('["NaN {[", {"x": "x"}, NaN]', "line 1, column 24", "NaN"),
        ("[" * 100_000, "line 1, column 501", "deep"),
        ('{"a":' * 100_000, "line 1, column 2501", "deep"),
        ("[1,]", "line 1, column", "not valid"),
        ("", "line 1, column 1", "not valid"),
        ("{}\n{}", "line 2, column 1", ".jsonl"),
        ('["a\nb"]', "line 1, column 4", "control character"),
        ("{'a': 1}", "line 1, column 2", "not valid"),
        ("\ufeff[]", "line 1, column 1", "BOM"),
    ],
)
def test_json_faults_have_a_place(text, place, said):
    with at_most(50), pytest.raises(InputError) as caught:
        parse_json(text, "f.json")
    assert str(caught.value).startswith(f"f.json, {place}")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"x": 1}, "b": {"x": 2}, "c": [{"x": 3}, {"x": 4}]}',
        '["\\ud83d\\ude00", "\\\\ud800", "\\u00e9", "NaN", "1e999"]',
        "[1e308, -0.0, 12345678901234567890]",
        " \n null \n",
        '{"": "", " ": 0}',
    ],
)
def test_json_that_is_right(text):
    assert parse_json(text, "f.json") == json.loads(text)


def test_lines_are_counted_on():
    with pytest.raises(InputError, match=r"f\.jsonl, line 7, column 2"):
        parse_json("[NaN]", "f.jsonl", first_line=7)


def test_read_text(tmp_path):
    path = tmp_path / "f.txt"
    path.write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\n")
    assert read_text(path) == "café\n"
    path.write_bytes(b"one\ntwo\ncaf\xe9")
    with pytest.raises(InputError, match="line 3: not UTF-8"):
        read_text(path)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError):
            read_text(missing)


def test_write_atomic(tmp_path):
    path = tmp_path / "new" / "f.json"
    write_atomic(path, to_json({"é": [1.5]}))
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": [1.5]}
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["f.json"]


def test_write_that_fails_leaves_the_old(tmp_path: Path, monkeypatch):
    path = tmp_path / "f.json"
    write_atomic(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medr1.files.os.fsync", full)
    with pytest.raises(OutputError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]
    with pytest.raises(OutputError):
        write_atomic(path / "below", "x")


def test_to_json_refuses_nan():
    with pytest.raises(ValueError):
        to_json([float("nan")])


def test_sha256_of(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    whole = sha256_of(tmp_path)
    assert sha256_of(tmp_path / "a") != sha256_of(tmp_path / "b")
    (tmp_path / "b").rename(tmp_path / "c")
    assert sha256_of(tmp_path) != whole


def test_a_folder_that_is_in_use_is_never_moved_aside(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "q.json").write_text("[]")
    monkeypatch.chdir(tmp_path / "data")
    for folder in (Path(), Path(".."), tmp_path, tmp_path / "data"):
        with pytest.raises(InputError, match="contains the current folder"):
            prepare_folder(folder, overwrite=True)
    monkeypatch.chdir(tmp_path.parent)
    assert (tmp_path / "data" / "q.json").read_text() == "[]"
    prepare_folder(tmp_path / "data", overwrite=True)
    assert not any((tmp_path / "data").iterdir())
