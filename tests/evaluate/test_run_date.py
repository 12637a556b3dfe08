"""The date of a run comes from the record beside the results, or from the file; never a guess."""

import json
from datetime import datetime

import pytest
from in_process import medr1

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder


def date_of(folder, name="r.json"):
    done = medr1("eval", name, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout).get("date")


def test_infer_records_when_it_started_and_the_report_says_so(tmp_path):
    arguments = [
        *("infer", "--model-path", tiny_vl_folder(), "--limit", "6", "--mode", "options"),
        *("--batch-file", tiny_vqa_folder() / "validation.json", "--output-file"),
    ]
    before = datetime.now().astimezone().replace(microsecond=0)
    assert medr1(*arguments, "r.json", cwd=tmp_path).returncode == 0
    record = json.loads((tmp_path / "r.json.run.json").read_text())
    started = datetime.fromisoformat(record["started"])
    assert started.utcoffset() is not None
    assert before <= started <= datetime.now().astimezone()
    assert record["started"] not in (tmp_path / "r.json").read_text()
    assert date_of(tmp_path) == record["started"]
    done = medr1("eval", "r.json", "--output-dir", "out", cwd=tmp_path)
    page = (tmp_path / "out" / "report.html").read_text()
    assert f", {record['started'][:10]}</bdi></h1>" in page and record["started"] in page
    assert done.returncode == 0
    # other results under the same name are not of that run
    (tmp_path / "r.json").write_text((tmp_path / "r.json").read_text().replace("tiny-vl", "other"))
    assert date_of(tmp_path) is None


@pytest.mark.parametrize(
    ("stated", "date"),
    [
        ("2026-03-01", "2026-03-01"),
        ("2026-03-01T10:00:00+02:00", "2026-03-01T10:00:00+02:00"),
        ("2026-02-31", None),
        ("<b>2026-03-01", None),
        ("yesterday", None),
        (20260301, None),
        (None, None),
    ],
)
def test_the_date_of_other_results_is_the_one_that_they_state(stated, date, tmp_path):
    items = [{"question": "q", "ground_truth": "yes", "model_output": "yes"}]
    (tmp_path / "r.json").write_text(json.dumps({"date": stated, "results": items}))
    assert date_of(tmp_path) == date
    for record in ("{", "[]", '{"started": "2026-01-01"}', '{"results_sha256": null}', "\0"):
        (tmp_path / "r.json.run.json").write_text(record)
        assert date_of(tmp_path) == date
