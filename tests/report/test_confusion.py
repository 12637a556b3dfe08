"""The heat table adds up whatever is left out of it; confusion.csv holds every cell, inert."""

import csv
import io

from msgspec.structs import replace

from medr1.csv_cells import unguard
from medr1.documents.summary import ConfusionCell
from medr1.report.pages.confusion import TOP, confusion_csv, heat_table


def cell(gold, said, count):
    return ConfusionCell(ground_truth=gold, predicted=said, count=count)


def test_letters_in_order_with_shares_of_the_row():
    table = heat_table(
        [cell("B", "B", 6), cell("B", "A", 3), cell("A", None, 5), cell("B", "E", 1)]
    )
    assert table["columns"] == ["A", "B", "E", "no answer"]
    assert [row["name"] for row in table["rows"]] == ["A", "B"]
    assert [[c["count"] for c in row["cells"]] for row in table["rows"]] == [
        [0, 0, 0, 5],
        [3, 6, 1, 0],
    ]
    assert [c["share"] for c in table["rows"][1]["cells"]] == [30, 60, 10, 0]
    assert [c["is_correct"] for c in table["rows"][1]["cells"]] == [False, True, False, False]
    assert [c["shade"] for c in table["rows"][1]["cells"]] == [3, 6, 1, 0]


def test_many_answers_are_top_and_other_and_add_up():
    cells = [cell(f"g{i}", f"g{(i * j) % 40}", i + j) for i in range(40) for j in range(5)]
    table = heat_table(cells)
    assert len(table["rows"]) == TOP + 1 and table["rows"][-1]["name"] == "other"
    assert table["columns"][-1] == "other" and table["left_out"] == 40 - TOP
    total = sum(c.count for c in cells)
    assert sum(row["total"] for row in table["rows"]) == total
    assert sum(c["count"] for row in table["rows"] for c in row["cells"]) == total
    assert not table["rows"][-1]["cells"][-1][
        "is_correct"
    ]  # two different rare answers are not right


def test_an_answer_called_other_is_not_the_rest():
    table = heat_table([cell("other", "no answer", 2), cell("other", None, 1)])
    assert table["columns"] == ["other", "no answer", "no answer"]
    assert [c["count"] for c in table["rows"][0]["cells"]] == [0, 2, 1]


def test_nothing_to_show():
    assert heat_table([]) is None


def test_csv_has_every_cell_and_runs_nothing(rich_summary):
    attack = '=HYPERLINK("http://x")'
    cells = [cell(attack, "-1+1", 3)]
    summary = replace(rich_summary, results="@SUM(1)", confusion=cells)
    rows = list(csv.DictReader(io.StringIO(confusion_csv([summary]))))
    assert len(rows) == 1 + len(rich_summary.confusion_text)
    assert rows[0]["ground_truth"] == "'" + attack and unguard(rows[0]["ground_truth"]) == attack
    assert rows[0]["predicted"] == "'-1+1" and rows[0]["results"] == "'@SUM(1)"
    assert rows[0]["by"] == "letter" and rows[1]["by"] == "text"
    assert sum(r["predicted"] == "" for r in rows) == 5
    assert all(r["count"].isdigit() for r in rows)
