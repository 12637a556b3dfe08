"""`medr1 compare` with three files of one model that differ in their prompt."""

import csv
import json

import msgspec
import pytest
from click.testing import CliRunner
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from medr1.cli import cli
from medr1.documents.comparison import Comparison

# 1 for a right answer of each of 60 items
RIGHT = {
    "think": [i % 5 != 0 for i in range(60)],
    "nothink": [i % 3 != 0 for i in range(60)],
    "think-after": [i % 2 == 0 for i in range(60)],
}
TOKENS = {"think": 200, "nothink": 8, "think-after": 150}


def write(folder, prompt, *, name=None, **meta):
    results = [
        {
            "id": f"q{i}",
            "images": [f"q{i}.png"],
            "question": "Is it CT?",
            "options": {},
            "ground_truth": "yes",
            "answer_type": "yes_no",
            "model_output": "yes" if right else "no",
            "num_tokens": TOKENS[prompt] + i % 2,
        }
        for i, right in enumerate(RIGHT[prompt])
    ]
    meta = {"model": "m", "prompt": prompt, "prompt_sha256": prompt, "seed": 0, **meta}
    path = folder / f"{name or 'results-' + prompt}.json"
    path.write_text(json.dumps({"schema": "medr1.results/1", "meta": meta, "results": results}))
    return str(path)


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path, prompt) for prompt in RIGHT]


def run(*arguments):
    result = CliRunner().invoke(cli, ["compare", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def compared(*arguments):
    return msgspec.json.decode(run(*arguments, "--json"), type=Comparison)


def test_each_pair_has_a_difference_and_exact_p_values_corrected_over_the_pairs(files):
    document = compared(*files)
    names = [(pair.run, pair.base) for pair in document.pairs]
    assert names == [("nothink", "think"), ("think-after", "think"), ("think-after", "nothink")]
    expected = []
    for run_name, base in names:
        rows = list(zip(RIGHT[run_name], RIGHT[base], strict=True))
        table = [[rows.count((a, b)) for b in (True, False)] for a in (True, False)]
        expected.append(mcnemar(table, exact=True).pvalue)
    assert [pair.mcnemar.exact for pair in document.pairs] == pytest.approx(expected)
    corrected = multipletests(expected, method="holm")[1]
    assert [pair.mcnemar_holm for pair in document.pairs] == pytest.approx(list(corrected))
    by_signs = multipletests([pair.p for pair in document.pairs], method="holm")[1]
    assert [pair.p_holm for pair in document.pairs] == pytest.approx(list(by_signs))
    last = document.pairs[-1].difference
    assert last.value == pytest.approx(0.5 - 2 / 3) and last.ci95[0] < last.value < last.ci95[1]


def test_rows_are_called_by_the_prompt_and_have_the_mean_number_of_tokens(files, tmp_path):
    document = compared(*files)
    assert [one.name for one in document.runs] == list(RIGHT)
    assert [one.num_tokens.value for one in document.runs] == [200.5, 8.5, 150.5]
    out = tmp_path / "out"
    table = run(*files, "--output-dir", out)
    assert "think-after - nothink" in table and "tokens" in table and "150.5" in table
    page = (out / "compare.html").read_text()
    assert "Each pair of runs" in page and "think-after \u2212 nothink" in page
    rows = list(csv.DictReader((out / "comparison.csv").open()))
    pairs = [one for one in rows if one["scope"] == "pair"]
    assert len(pairs) == 3 and all(float(one["mcnemar_holm"]) <= 1 for one in pairs)


def test_names_of_the_user_and_other_differences_keep_the_names_of_the_files(files, tmp_path):
    assert compared(f"a={files[0]}", *files[1:]).runs[0].name == "a"
    other = write(tmp_path, "nothink", name="other", model="n")
    assert [one.name for one in compared(files[0], other).runs] == ["results-think", "other"]


def test_two_runs_have_no_table_of_pairs(files):
    document = compared(*files[:2])
    assert document.pairs == [] and len(document.comparisons) == 1
    assert "each pair" not in run(*files[:2])


def test_several_seeds_have_pairs_without_mcnemars_test(files, tmp_path):
    seed = write(tmp_path, "think", name="seed1", seed=1)
    document = compared(files[0], seed, *files[1:])
    assert [one.name for one in document.runs] == list(RIGHT)
    assert document.pairs[0].mcnemar.exact is None and document.pairs[0].mcnemar_holm is None
    assert document.pairs[0].p_holm is not None
    assert document.pairs[2].mcnemar.exact is not None
