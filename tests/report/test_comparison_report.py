"""A comparison as a table and as CSV: whole, within the width, and harmless."""

import csv
import io
import random

import pytest
from msgspec.structs import replace

from medr1.evaluate.comparing.comparison import compare
from medr1.evaluate.judging import Settings
from medr1.records import Prediction, Sample
from medr1.report.terminal.comparison import comparison_csv, comparison_table, p_text, won_lost_csv

NASTY = "=1+1\x1b[31m<b>|$_{%"


def document(runs=3, names=("CT", NASTY), n=120, seeds=1):
    rng = random.Random(0)

    def predictions(share):
        samples = [
            Sample(f"@{i}", (f"{i}.png",), "Which?", {}, "yes", "yes_no", modality=names[i % 2])
            for i in range(n)
        ]
        said = ["yes" if rng.random() < share else "no" for _ in samples]
        return [Prediction(s, word) for s, word in zip(samples, said, strict=True)]

    files = {
        f"run {k} {NASTY}": {f"{k}.{s}": predictions(0.5 + k / 10) for s in range(seeds)}
        for k in range(runs)
    }
    return compare(files, settings=Settings(num_resamples=100))


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_table_keeps_its_width_and_has_no_escape(width, seeds):
    table = comparison_table(document(names=("CT", NASTY * 5), seeds=seeds)[0], width=width)
    assert "\x1b" not in table
    grids = [line for line in table.splitlines() if "  " in line]
    assert max(map(len, grids)) <= width and len(table.splitlines()) > 15


def test_the_table_says_everything():
    found, _ = document(runs=2)
    table = comparison_table(found)
    entry = found.comparisons[0]
    assert f"{100 * entry.difference.value:+.1f}" in table and p_text(entry.p_holm) in table
    assert f"both correct {entry.both_right}, both wrong {entry.both_wrong}" in table
    detectable = entry.minimum_detectable_difference.value
    sentences = " ".join(table.split())
    assert "80 % power" in sentences and f"{100 * detectable:.1f} percentage points" in sentences
    assert "all items: not corrected" in sentences and "in the run only" in sentences
    assert "McNemar's exact p" in table and "other seeds" in table
    several = comparison_table(document(runs=2, seeds=3)[0])
    assert "(3 seeds)" in several and "SD" in several and "over seeds instead of images" in several
    assert "McNemar" not in several and "won, lost: items whose mean" in several
    runs = " ".join(comparison_table(document(runs=3)[0]).split())
    assert "all items: with Holm's correction over the runs" in runs


def test_one_of_a_thing_is_in_the_singular():
    found, _ = document(runs=2, n=30)
    single = replace(found, n=1, clusters=replace(found.clusters, n=1))
    first = comparison_table(single).splitlines()[0]
    assert first.startswith("1 item, 1 image, protocol")


def test_csv_has_a_row_for_each_difference():
    found, compared_items = document()
    read = list(csv.DictReader(io.StringIO(comparison_csv(found))))
    assert len(read) == 2 * (1 + 2) + 3
    first = found.comparisons[0]
    assert float(read[0]["value"]) == first.difference.value
    assert float(read[0]["lo"]) == first.difference.ci95[0]
    assert float(read[0]["mcnemar_exact"]) == first.mcnemar.exact
    assert {row["scope"] for row in read} == {"all", "modality", "pair"}
    assert all(not row["group"].startswith("=") and "\x1b" not in row["group"] for row in read)
    items = list(csv.DictReader(io.StringIO(won_lost_csv(compared_items))))
    won = [row for row in items if row["outcome"] == "won"]
    assert len(won) == sum(entry.won for entry in found.comparisons)
    assert all(row["id"].startswith("'@") for row in items)


def test_p_for_people():
    assert [p_text(p) for p in (None, 1, 0.0496, 0.001, 0.00099, 1e-12)] == [
        "-", "1.000", "0.050", "0.001", "<0.001", "<0.001",
    ]  # fmt: skip
