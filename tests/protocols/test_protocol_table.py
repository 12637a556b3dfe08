"""The page of the protocols: its table is made by a script, and it names every protocol."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medr1.answers import ALL_PROTOCOLS, PUBLISHED
from medr1.data.tiny import tiny_vqa_folder

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "protocol_table.py"
PAGE = (ROOT / "medr1" / "answers" / "protocols" / "README.md").read_text(encoding="utf-8")


def table_of(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_script_writes_a_row_for_each_protocol(tmp_path):
    items = json.loads((tiny_vqa_folder() / "test.json").read_text(encoding="utf-8"))[:20]
    results = [{**item, "model_output": "CT"} for item in items]
    (tmp_path / "results.json").write_text(json.dumps(results))
    rows = table_of(tmp_path / "results.json").splitlines()[2:]
    assert [re.match(r"\| `([^`]+)`", row)[1] for row in rows if "authors" not in row] == [
        name for name in ALL_PROTOCOLS if "authors" not in name
    ]


def test_the_page_has_every_protocol_and_names_the_versions():
    for name in PUBLISHED:
        assert PAGE.count(f"| `{name}` |") >= 2
    assert {"9b12e3b", "a3163b1", "v1.0.0", "bd2999a"} <= set(re.findall(r"[\w.]+", PAGE))


@pytest.mark.slow
def test_the_table_of_the_page_is_that_of_the_embedded_model():
    assert table_of() in PAGE
