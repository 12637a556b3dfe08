"""Aligned lines for the terminal: widths, texts from files, and no dependence on the terminal."""

import json
import os
import subprocess
import sys

import pytest
from in_process import medr1

from medr1.evaluate.metrics.summary import summarize
from medr1.records import Prediction, Sample
from medr1.report.terminal.layout import aligned, filled, grid, text_width, truncated
from medr1.report.terminal.row_notes import protocol_sentences
from medr1.report.terminal.tables import summary_table

HEADER = ("name", "value", "n")


def test_names_stand_left_and_numbers_right():
    assert grid(HEADER, [("a", "1.0 %", "5"), ("  bc", "100.0 %", "12")]) == [
        "name    value   n",
        "a       1.0 %   5",
        "  bc  100.0 %  12",
    ]


def test_east_asian_characters_take_two_columns_and_accents_none():
    rows = [("肺炎 CT", "1", "2"), ("lésion", "10", "20"), ("le\u0301sion", "10", "20")]
    lines = grid(HEADER, rows)
    assert {text_width(line) for line in lines} == {text_width(lines[0])} == {18}
    assert text_width("肺炎") == 4 and truncated("肺炎肺炎", 5) == "肺炎…"


def test_texts_from_files_are_no_markup_and_send_no_control_character():
    names = ["[bold]x[/bold]", "[/nothing]", ":smile: 10.0.0.1 'a'", "\\["]
    lines = grid(HEADER, [(name, "1", "2") for name in (*names, "\x1b[31mred\x07\n\u202e")])
    assert [line[:20].rstrip() for line in lines[1:]] == [*names, "[31mred"]


def test_a_row_without_a_value_has_its_reason_below_the_table():
    rows = [("a", "-", "no item", "0"), ("b", "1 %", "0 to 2", "5"), ("c", "-", "no item", "0")]
    assert grid(("name", "value", "95 % CI", "n"), rows) == [
        "name  value  95 % CI  n",
        "a         -           0",
        "b       1 %   0 to 2  5",
        "c         -           0",
        "- a, c: no item",
    ]
    long = grid(("name", "value", "95 % CI", "n"), [("a", "-", "why " * 30, "0")])
    assert max(map(len, long)) <= 80 and " ".join(" ".join(long).split()).count("why") == 30


def test_a_name_that_is_too_long_is_shortened_and_a_text_is_wrapped():
    (_, line) = grid(HEADER, [("x" * 100, "1", "2")])
    assert line == "x" * 39 + "…" + "      1  2"
    (_, line) = grid(HEADER, [("x" * 100, "1", "2")], 30)
    assert len(line) == 30 and "…  " in line
    wrapped = aligned([("a", "word " * 40)], justify="ll", gives_way=1, wraps=True)
    assert len(wrapped) == 3 and all(line.startswith("   word") for line in wrapped[1:])
    assert filled("word " * 40, 30, "  ").count("\n  word") == 7


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results file with letters as ground truths, and three forms of right completions."""
    completions = [
        *["<answer> A </answer>"] * 10,
        *["The answer is A."] * 12,
        *["<answer> A) CT </answer>"] * 5,
        *["<answer>A</answer> so <answer>A</answer>"] * 3,
        *["<answer> B </answer>"] * 10,
    ]
    items = [
        {
            "id": str(n),
            "image": f"{n}.png",
            "question": "Which?",
            "options": {"A": "CT", "B": "MRI"},
            "ground_truth": "A",
            "model_output": completion,
        }
        for n, completion in enumerate(completions)
    ]
    file = tmp_path_factory.mktemp("layout") / "results.json"
    file.write_text(json.dumps(items))
    return file


def test_a_protocol_that_differs_much_says_why_for_this_file(results):
    shown = " ".join(medr1("eval", results).stdout.split())
    assert (
        "strict accepts exactly one <answer> block that holds just the answer. Of 30 answers "
        "that default calls right, it rejects 20: no <answer> block (12), something else in the "
        "block (5), several <answer> blocks (3)." in shown
    )
    assert (
        "authors-vqa accepts one word in an <answer> block, if it is the ground truth's letter. Of "
        "30 answers that default calls right, it rejects 17: no <answer> block (12), something "
        "else in the block (5)." in shown
    )
    document = json.loads(medr1("eval", results, "--json").stdout)
    assert document["protocol_differences"]["strict"] == {
        "n_right": 30,
        "reasons": {"no_block": 12, "unreadable_block": 5, "several_blocks": 3},
    }
    assert "default" not in document["protocol_differences"]


def test_a_protocol_that_differs_little_has_no_sentence():
    def prediction(n, completion):
        sample = Sample(str(n), (f"{n}.png",), "Which?", {"A": "CT", "B": "MRI"}, "A")
        return Prediction(sample, completion)

    items = [prediction(n, "<answer>A</answer>") for n in range(99)]
    summary = summarize([*items, prediction(99, "A")], num_resamples=20)
    assert summary.protocol_differences["strict"].reasons == {"no_block": 1}
    assert list(protocol_sentences(summary)) == []
    assert "rejects" not in summary_table(summary)


def test_the_table_does_not_depend_on_the_terminal(results):
    """In a pipe, whatever the environment says of colours and widths."""
    arguments = ("eval", str(results), "--metrics", "accuracy")
    command = [sys.executable, "-m", "medr1", *arguments]
    environments = [
        {"NO_COLOR": "1", "COLUMNS": "40"},
        {"FORCE_COLOR": "1", "COLUMNS": "200", "TERM": "dumb"},
    ]
    shown = {
        subprocess.run(command, env=os.environ | more, capture_output=True, text=True).stdout
        for more in environments
    }
    (table,) = shown
    assert table == medr1(*arguments).stdout
    assert "\x1b" not in table and 60 < max(map(len, table.splitlines()[1:])) <= 80
