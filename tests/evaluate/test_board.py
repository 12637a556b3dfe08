"""A board: which cards are in one table, and which of them cannot be told apart."""

import json
import random

import msgspec
import pytest
from in_process import medr1
from msgspec.structs import replace

from medr1.documents.board import Board
from medr1.evaluate.cards.board import board_tables
from medr1.evaluate.cards.items import item_columns
from medr1.report.terminal.board import board_sentences, board_table
from medr1.stats.significance import holm, mcnemar_exact
from medr1.workflows.card import read_card

N = 120
SHARES = {"best": 0.9, "good": 0.85, "fair": 0.6, "poor": 0.3}
META = {"data": "test.json", "data_sha256": "ab" * 32, "prompt": "nothink"}


def write_results(path, model, share, *, n=N, data="ab" * 32, images=None):
    """A results file of a model that answers a share of the questions right."""
    rng = random.Random(model)
    items = [
        {
            "id": f"q{number}",
            "images": [f"{number if images is None else number % images}.png"],
            "question": f"Question {number}?",
            "options": {"A": "CT", "B": "MRI"},
            "ground_truth": "A",
            "answer_type": "multiple_choice",
            "model_output": f"<answer> {'A' if rng.random() < share else 'B'} </answer>",
        }
        for number in range(n)
    ]
    meta = {**META, "model": model, "data_sha256": data}
    path.write_text(json.dumps({"schema": "medr1.results/1", "meta": meta, "results": items}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with cards of four models on the same questions."""
    folder = tmp_path_factory.mktemp("board")
    for model, share in SHARES.items():
        write_results(folder / f"{model}.json", model, share)
    files = [f"{model}.json" for model in SHARES]
    done = medr1("eval", *files, "--metrics", "accuracy", "--card", "cards", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def cards(folder):
    return {path.name: read_card(path) for path in sorted((folder / "cards").glob("*.json"))}


def board(folder, name="cards", *options):
    done = medr1("board", name, "--json", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Board), done.stderr


def test_models_are_ranked_and_those_without_a_difference_share_a_letter(folder, cards):
    document, _ = board(folder)
    (table,) = document.tables
    assert [row.model for row in table.rows] == ["best", "good", "fair", "poor"]
    letters = {row.model: set(row.groups) for row in table.rows}
    assert letters["best"] & letters["good"] and not letters["best"] & letters["fair"]
    assert not letters["fair"] & letters["poor"]
    # each image is in one item, so the test is McNemar's
    columns = {name: item_columns(card.items, name) for name, card in cards.items()}
    p_values = []
    for pair in table.pairs:
        a, b = columns[pair.first].correct, columns[pair.second].correct
        won, lost = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
        assert pair.test == "paired" and pair.p == pytest.approx(mcnemar_exact(won, lost))
        assert pair.difference == pytest.approx((won - lost) / N)
        p_values.append(pair.p)
    assert [pair.p_holm for pair in table.pairs] == pytest.approx(holm(p_values))
    printed = medr1("board", "cards", cwd=folder).stdout
    assert "1 of the 3 others cannot be told apart" in " ".join(printed.split())
    assert "All pairs were tested on the same items." in printed
    (table,) = document.tables
    rows = [replace(row, groups=letter) for row, letter in zip(table.rows, "abcd", strict=True)]
    (said, _) = board_sentences(replace(table, rows=rows))
    assert said.endswith("its difference from each of the others is significant.")


def test_long_names_of_models_stay_apart_in_80_columns(folder):
    document, _ = board(folder)
    (table,) = document.tables
    names = [f"some/model-with-a-very-long-name-of-many-words-{n}" for n in range(4)]
    rows = [replace(row, model=name) for row, name in zip(table.rows, names, strict=True)]
    text = board_table(replace(document, tables=[replace(table, rows=rows)]))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("many-words-" in line and " %" in line for line in lines) == 4
    assert all(any(f"words-{n} " in line for line in lines) for n in range(4))
    rows = [replace(row, model="one") for row in table.rows]
    text = board_table(replace(document, tables=[replace(table, rows=rows)]))
    assert all(f"\n{row.card} " in text for row in table.rows)  # equal names: those of the cards


def test_items_of_one_image_are_flipped_together(tmp_path):
    """Forty questions about one image are worth less than forty images."""
    p_values = []
    for images, name in ((None, "apart"), (6, "together")):
        (tmp_path / name).mkdir()
        for model, share in (("good", 0.85), ("fair", 0.6)):
            write_results(tmp_path / name / f"{model}.json", model, share, images=images)
        done = medr1("eval", name, "--metrics", "accuracy", "--card", f"of-{name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (table,) = board(tmp_path, f"of-{name}")[0].tables
        p_values.append(table.pairs[0].p)
    assert p_values[0] < 0.001 < p_values[1]


def test_other_questions_or_protocols_are_other_tables(folder, cards):
    best, good = cards["best.json"], cards["good.json"]
    other_data = replace(good, data=replace(good.data, sha256="cd" * 32))
    fewer = replace(good, data=replace(good.data, n=N - 1))
    other_rules = replace(good, protocol="strict")
    for other in (other_data, fewer, other_rules):
        tables = board_tables({"a": best, "b": other})
        assert [len(table.rows) for table in tables] == [1, 1]
        assert [table.pairs for table in tables] == [[], []]
    # without a hash of the data, the items tell the questions
    unknown = [replace(card, data=replace(card.data, sha256=None)) for card in (best, good)]
    assert len(board_tables(dict(zip("ab", unknown, strict=True)))) == 1
    alone = [replace(card, items=None) for card in unknown]
    assert len(board_tables(dict(zip("ab", alone, strict=True)))) == 2


def test_cards_without_items_are_tested_as_independent(cards, folder, tmp_path):
    poor = replace(cards["poor.json"], items=None)
    (table,) = board_tables({**cards, "poor.json": poor})
    tests = {frozenset((pair.first, pair.second)): pair for pair in table.pairs}
    assert {pair.test for names, pair in tests.items() if "poor.json" in names} == {"unpaired"}
    assert {pair.test for names, pair in tests.items() if "poor.json" not in names} == {"paired"}
    pair = tests[frozenset(("best.json", "poor.json"))]
    assert pair.p < 1e-6 and pair.difference == pytest.approx(
        cards["best.json"].accuracy.value - poor.accuracy.value
    )
    without = replace(poor, accuracy=replace(poor.accuracy, ci95=None))
    (table,) = board_tables({"best.json": cards["best.json"], "poor.json": without})
    assert table.pairs[0].test == "none" and [row.groups for row in table.rows] == ["a", "a"]
    for name, card in (("best.json", cards["best.json"]), ("poor.json", without)):
        (tmp_path / name).write_bytes(msgspec.json.encode(card))
    printed = " ".join(medr1("board", tmp_path).stdout.split())
    assert "0 of 1 pairs were tested on the same items" in printed
    assert "1 pairs could not be tested, because a card has no interval" in printed


def test_what_is_no_card_or_twice_is_left_out(folder, tmp_path):
    for name in ("best.json", "good.json"):
        text = (folder / "cards" / name).read_text()
        (tmp_path / name).write_text(text)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "best.json").write_text((tmp_path / "best.json").read_text())
    (tmp_path / "good.reproduced").mkdir()
    (tmp_path / "good.reproduced" / "card.json").write_text((tmp_path / "good.json").read_text())
    (tmp_path / "good.reproduced.bak.2").mkdir()
    text = (folder / "cards" / "poor.json").read_text()
    (tmp_path / "good.reproduced.bak.2" / "card.json").write_text(text)
    (tmp_path / "summary.json").write_text('{"schema": "medr1.summary/2"}')
    text = (folder / "cards" / "fair.json").read_text()
    (tmp_path / "damaged.json").write_text(text.replace('"n": 120', '"n": "x"'))
    (tmp_path / "cut.json").write_text(text[:900])
    document, messages = board(tmp_path, ".")
    assert [row.card for row in document.tables[0].rows] == ["again/best.json", "good.json"]
    assert [note.split()[0] for note in document.notes] == ["best.json", "cut.json", "damaged.json"]
    assert all(note in messages for note in document.notes)


def test_a_folder_without_cards_is_one_sentence(tmp_path):
    for name, says in ((".", "has no cards. Make some"), ("none", "is not a folder")):
        done = medr1("board", name, cwd=tmp_path)
        assert done.returncode == 2 and says in done.stderr


def test_the_page_and_the_document_are_written(folder):
    done = medr1("board", "cards", "--output-dir", "out", cwd=folder)
    assert done.returncode == 0 and "Board: " in done.stdout
    document = msgspec.json.decode((folder / "out" / "board.json").read_bytes(), type=Board)
    assert document == board(folder)[0]
    page = (folder / "out" / "board.html").read_text()
    assert all(f"<bdi>{model}</bdi>" in page for model in SHARES)
    done = medr1("board", "cards", "--output-dir", "out", cwd=folder)
    assert done.returncode == 2 and "--overwrite" in done.stderr
