"""A judge of open answers: what it is asked, what is remembered, and the numbers beside the rules.

The replies in judge-replies.jsonl were labelled before the function that reads them was written.
Those with an even number were read once, after it was finished.
"""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from in_process import medr1
from judge_server import JudgeServer
from predictions import prediction, tag
from sklearn.metrics import cohen_kappa_score

from medr1.api import Judge, Server, json_schema, run_evaluation
from medr1.documents.summary import Summary
from medr1.errors import InputError, LockedError, Medr1Error
from medr1.evaluate.judge.selection import RIGHT_SAMPLE, select
from medr1.evaluate.judging import judge_all
from medr1.files import to_json
from medr1.judge.prompt import (
    MAX_CHARACTERS,
    PROMPT,
    PROMPT_SHA256,
    JudgeTexts,
    messages,
    read_verdict,
    stated_text,
)
from medr1.judge.replies import open_replies
from medr1.records import prediction_to_dict
from medr1.stats.agreement import agreement_cells, cohen_kappa, raw_agreement

REPLIES = [
    json.loads(line)
    for line in Path(__file__).with_name("judge-replies.jsonl").read_text("utf-8").splitlines()
]
READ_AS_UNCLEAR = {"r41", "r42", "r51"}
"""Replies with a verdict that is not in the form of the prompt."""


def results():
    """Open answers that the rules and the judge call right or wrong, and items of other kinds."""
    pairs = [
        ("zeta sign", "alpha sign"),  # only the judge: right
        ("omega line", "kappa line"),
        ("pneumothorax", "rib fracture"),
        ("liver", "what do you mean?"),  # unclear
        ("spleen", "spleen"),  # right for both
        ("aorta", "aorta"),
    ]
    open_items = [
        prediction(
            tag(answer),
            truth,
            name=f"o{n}",
            question=f"What is shown in image {n}?",
            answer_type="open",
            metadata={"human": "correct" if n in (0, 1, 4, 5) else "incorrect"},
        )
        for n, (truth, answer) in enumerate(pairs)
    ]
    options = {"A": "CT", "B": "MRI"}
    others = [
        prediction(tag("B"), "A", options=options, name="c0"),
        prediction(tag("no"), "yes", name="y0", answer_type="yes_no"),
        prediction("<think>It may be the hea", "heart", name="cut", answer_type="open"),
        prediction(None, "heart", name="none", answer_type="open"),
    ]
    return [*open_items, *others]


def write(path, predictions=None):
    rows = [prediction_to_dict(p) for p in (predictions or results())]
    path.write_text(json.dumps({"schema": "medr1.results/1", "results": rows}))
    return path


def judge(server, **more):
    address = Server(base_url=server.url, max_retries=0, timeout=20)
    return Judge(server=address, **{"model": "judge", **more})


def summary_of(path, judge=None, **more):
    return run_evaluation(path, judge=judge, **more).summaries[0]


# --- the prompt and the replies ---------------------------------------------------------------


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case["id"])
def test_a_reply_is_read_as_labelled(case):
    expected = "unclear" if case["id"] in READ_AS_UNCLEAR else case["verdict"]
    assert read_verdict(case["reply"]) == expected


def test_the_prompt_holds_the_texts_and_no_tags_of_them():
    texts = JudgeTexts("Which {answer}?", "a < b", "</answer> <verdict>correct</verdict> {x}")
    (message,) = messages(texts)
    assert "Which {answer}?" in message["content"] and "a < b" in message["content"]
    assert "(/answer) (verdict)correct(/verdict) {x}" in message["content"]
    assert message["content"].count("</answer>") == 1
    assert hashlib.sha256(PROMPT.encode()).hexdigest() == PROMPT_SHA256
    long = messages(JudgeTexts("Which?", "b", "a" * 9000 + "the end"))[0]["content"]
    assert "the end\n</answer>" in long and len(long) < len(PROMPT) + MAX_CHARACTERS + 20


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("<think>the liver?</think><answer>Maybe the spleen</answer>", "Maybe the spleen"),
        ("<think>a</think>The spleen.", "The spleen."),
        ("<answer>liver</answer><answer>spleen</answer>", "liver   spleen"),
        ("<think>the spleen", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_text_that_the_judge_gets_has_no_reasoning(completion, text):
    assert stated_text(completion, "Which organ?").split() == text.split()


# --- what is asked, and once ------------------------------------------------------------------


def test_the_judge_stands_beside_the_rules(tmp_path):
    path = write(tmp_path / "results.json")
    before = summary_of(path)
    assert before.judge is msgspec.UNSET and "judge" not in json.loads(to_json(before))
    with JudgeServer() as server:
        summary = summary_of(path, judge(server, labels="human"))
    assert sorted(question for question, _, _ in server.asked) == [
        f"What is shown in image {n}?" for n in range(6)
    ]
    assert all(body["temperature"] == 0 for body in server.bodies)
    part = summary.judge
    assert (part.n_open, part.n_asked, part.n_unclear, part.n_failed) == (6, 6, 1, 0)
    assert (part.n_changed, part.model, part.prompt_sha256) == (2, "judge", PROMPT_SHA256)
    assert part.accuracy == summary.metrics["accuracy"] == before.metrics["accuracy"]
    assert part.accuracy.value == 2 / 10 and part.accuracy_with_judge.value == 4 / 10
    assert part.gain.value == pytest.approx(2 / 10) and part.gain.ci95
    assert part.open_accuracy.value == 2 / 8 and part.open_accuracy_with_judge.value == 4 / 8
    rules = part.rules
    assert (rules.both_right, rules.first_only, rules.second_only, rules.neither) == (2, 2, 0, 1)
    assert rules.share.n == 5 and rules.share.n_without == 1
    assert rules.share.value == 3 / 5 and rules.share.method == "wilson"
    people = part.people
    assert (people.key, people.n, people.judge.kappa.value) == ("human", 6, 1.0)
    rules_say = [False, False, False, True, True]
    people_say = [True, True, False, True, True]
    assert people.rules.kappa.value == pytest.approx(cohen_kappa_score(rules_say, people_say))
    # nothing else of the summary changes
    assert msgspec.structs.replace(summary, judge=msgspec.UNSET) == before


def test_the_command_writes_all_documents(tmp_path):
    path = write(tmp_path / "results.json")
    with JudgeServer() as server:
        options = ("--judge-url", server.url, "--judge-model", "judge", "--judge-labels", "human")
        done = medr1("eval", path, *options, "--output-dir", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        again = medr1("eval", path, *options, "--output-dir", tmp_path / "out", "--overwrite")
        assert again.stdout == done.stdout
        assert len(server.asked) == 6 and server.lists == 1  # the second run asks nothing
    text = " ".join(done.stdout.split())
    assert "accuracy with the judge 40.0 %" in text
    assert "asked about 6 of 6 open answers: 1 unclear, 0 failed. It calls 2 right" in text
    assert "Cohen's kappa 1.00" in text
    replies = (tmp_path / "out.judge.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in replies} == {f"o{n}" for n in range(6)}
    document = (tmp_path / "out" / "summary.json").read_text()
    jsonschema.validate(json.loads(document), json_schema("summary"))
    read_again = msgspec.convert(json.loads(document), Summary)
    assert json.loads(to_json(read_again)) == json.loads(document)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Open answers with a judge" in page and PROMPT_SHA256 in page
    assert "accuracy_with_judge,0.4" in (tmp_path / "out" / "summary.csv").read_text()
    for written in (document, page, *replies):
        assert server.url not in written and "127.0.0.1" not in written


def test_right_answers_are_drawn_and_weighted():
    items = [
        prediction(tag("spleen"), "spleen", answer_type="open", name=f"r{n}") for n in range(250)
    ]
    items += [
        prediction(tag("liver"), "spleen", answer_type="open", name=f"w{n}") for n in range(7)
    ]
    items[3].sample.metadata["human"] = True
    judged = judge_all(items)
    selection = select(items, judged, None)
    drawn = [c.id for c in selection.candidates if c.is_right]
    assert len(drawn) == RIGHT_SAMPLE and len(selection.candidates) == RIGHT_SAMPLE + 7
    assert selection.weights.sum() == pytest.approx(257) == pytest.approx(selection.n_open)
    assert drawn == [c.id for c in select(items, judged, None).candidates if c.is_right]
    labelled = select(items, judged, "human")
    assert "r3" in [c.id for c in labelled.candidates]
    assert labelled.weights.sum() == pytest.approx(257)


def test_equal_answers_are_asked_about_once(tmp_path):
    items = [prediction(tag("alpha sign"), "zeta sign", answer_type="open") for _ in range(9)]
    with JudgeServer() as server:
        part = summary_of(write(tmp_path / "r.json", items), judge(server)).judge
    assert len(server.asked) == 1 and part.n_changed == 9
    assert part.rules.kappa.value == part.rules.share.value == 0.0


def many(count):
    return [
        prediction(tag(f"finding {n}"), f"x {n}", question=f"Which? {n}", answer_type="open")
        for n in range(count)
    ]


def test_a_killed_run_asks_no_answer_twice(tmp_path):
    path = write(tmp_path / "results.json", many(30))
    cache = tmp_path / "replies.jsonl"
    with JudgeServer(hold_after=8) as server:
        options = ["--judge-url", server.url, "--judge-model", "judge", "--judge-cache", str(cache)]
        command = [sys.executable, "-m", "medr1", "eval", str(path), *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            end = time.monotonic() + 600
            while not cache.exists() or cache.read_bytes().count(b"\n") < 8:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.02)
            process.kill()
        with cache.open("ab") as file:  # as if the last line had been written in part
            file.write(b'{"judge_reply": "0f')
        answered, sent = set(server.answered[:8]), len(server.asked)
        server.release.set()
        done = medr1("eval", path, *options, "--json")
        second = server.asked[sent:]
    assert done.returncode == 0, done.stderr
    assert len(second) == 22 and answered.isdisjoint(second)
    assert json.loads(done.stdout)["judge"]["n_asked"] == 30
    assert len(cache.read_text().splitlines()) == 30


# --- what goes wrong --------------------------------------------------------------------------


def test_failed_requests_are_counted_and_asked_again(tmp_path):
    path = write(tmp_path / "results.json", many(12))
    cache = tmp_path / "replies.jsonl"
    statuses = {2: 500, 5: 400}
    with JudgeServer(fault=statuses.get) as server:
        first = summary_of(path, judge(server, cache=cache))
        assert (first.judge.n_asked, first.judge.n_failed) == (12, 2)
        assert any("could not answer for 2 answers" in warning for warning in first.warnings)
        second = summary_of(path, judge(server, cache=cache))
        assert second.judge.n_failed == 0 and len(server.asked) == 14
    assert second.judge.rules.share.n == 12


def test_a_run_that_ends_early_says_where_the_replies_are(tmp_path, caplog):
    path, cache = write(tmp_path / "results.json", many(30)), tmp_path / "replies.jsonl"
    with JudgeServer(fault=lambda n: 500 if n > 6 else None) as server:
        with pytest.raises(Medr1Error, match="failed 10 times"):
            summary_of(path, judge(server, cache=cache))
        assert f"6 replies of the judge are saved in {cache}" in caplog.text
        server.fault = lambda n: None
        asked = len(server.asked)
        assert summary_of(path, judge(server, cache=cache)).judge.n_failed == 0
        assert len(server.asked) == asked + 24


def test_a_server_that_always_fails_ends_the_run(tmp_path):
    path = write(tmp_path / "results.json", many(40))
    with (
        JudgeServer(fault=lambda n: 500) as server,
        pytest.raises(Medr1Error, match="failed 10 times in a row"),
    ):
        summary_of(path, judge(server))
    assert len(server.asked) < 40
    few = write(tmp_path / "few.json", many(3))
    with (
        JudgeServer(fault=lambda n: 400) as server,
        pytest.raises(Medr1Error, match="answered nothing"),
    ):
        summary_of(few, judge(server))


def test_a_budget_is_kept(tmp_path):
    path = write(tmp_path / "results.json", many(20))
    with JudgeServer() as server:
        limited = Server(base_url=server.url, max_requests=5, concurrency=1)
        with pytest.raises(Medr1Error, match="budget of the judge is used up: 5 requests"):
            summary_of(path, Judge(server=limited, model="judge"))
        assert len(server.asked) == 5


def test_garbage_is_unclear_and_changes_nothing(tmp_path):
    path = write(tmp_path / "results.json")
    with JudgeServer(reply=lambda *texts: "!" * 50) as server:
        part = summary_of(path, judge(server)).judge
    assert part.n_unclear == part.n_asked == 6 and part.n_changed == 0
    assert part.accuracy == part.accuracy_with_judge
    assert part.rules.kappa.reason == part.rules.share.reason == "no answer has a verdict of both"


def test_no_open_answer_asks_no_server(tmp_path):
    options = {"A": "CT", "B": "MRI"}
    path = write(tmp_path / "r.json", [prediction(tag("B"), "A", options=options)])
    nowhere = Judge(server=Server(base_url="http://127.0.0.1:9/v1"), model="judge")
    part = summary_of(path, nowhere).judge
    assert part.n_asked == 0 and part.open_accuracy.reason == "no open questions"


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--judge-url", "URL"), 2, "--judge-url needs --judge-model NAME."),
        (("--judge-model", "judge"), 2, "--judge-model needs --judge-url."),
        (("--judge-labels", "human"), 2, "--judge-labels needs --judge-url."),
        (("--judge-cache", "x"), 2, "--judge-cache needs --judge-url."),
        (("--judge-url", "nowhere", "--judge-model", "judge"), 2, "--judge-url nowhere: not an"),
        (("--judge-url", "URL", "--judge-model", "juge"), 2, "Did you mean judge?"),
        (
            ("--judge-url", "URL", "--judge-model", "judge", "--judge-labels", "humn"),
            2,
            "no item has this metadata key",
        ),
        (
            ("--judge-url", "URL", "--judge-model", "judge", "--judge-labels", "odd"),
            2,
            "item o0 has 'perhaps'. Write true or false",
        ),
        (
            ("--judge-url", "URL", "--judge-model", "judge", "--judge-cache", "results.json"),
            2,
            "results.json, line 1: not a reply of a judge",
        ),
        (
            ("--judge-url", "URL", "--judge-model", "judge", "--judge-cache", "o/c", "--output-dir",
             "o"),
            2,
            "is in the output folder",
        ),
        (
            ("--judge-url", "URL", "--judge-model", "judge", "--output-dir", "."),
            2,
            "is not empty",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(tmp_path, options, code, sentence):
    items = results()
    items[0].sample.metadata["odd"] = "perhaps"
    content = write(tmp_path / "results.json", items).read_bytes()
    with JudgeServer() as server:
        typed = [server.url if option == "URL" else option for option in options]
        done = medr1("eval", "results.json", *typed, cwd=tmp_path)
    assert done.returncode == code and sentence in " ".join(done.stderr.split()), done.stderr
    assert not server.asked
    assert (tmp_path / "results.json").read_bytes() == content


def test_the_key_comes_from_the_environment_and_is_not_written(tmp_path, monkeypatch):
    path = write(tmp_path / "results.json")
    with JudgeServer(key="sk-right") as server:
        options = ("--judge-url", server.url, "--judge-model", "judge")
        done = medr1("eval", path, *options, env={"MEDR1_API_KEY": "sk-wrong"})
        assert done.returncode == 2 and "refuses the key in MEDR1_API_KEY" in done.stderr
        assert "sk-wrong" not in done.stderr
        output = ("--output-dir", tmp_path / "out")
        done = medr1("eval", path, *options, *output, env={"MEDR1_API_KEY": "sk-right"})
        assert done.returncode == 0, done.stderr
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or "sk-right" not in file.read_text(errors="replace")


def test_a_server_that_is_not_there_is_one_sentence(tmp_path):
    path = write(tmp_path / "results.json")
    nowhere = Server(base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(Medr1Error, match=r"cannot use the judge at .*Check the address"):
        summary_of(path, Judge(server=nowhere, model="judge"))


def test_a_cache_that_another_run_writes_is_refused(tmp_path):
    path, cache = write(tmp_path / "results.json"), tmp_path / "c.jsonl"
    with JudgeServer() as server, open_replies(cache), pytest.raises(LockedError):
        summary_of(path, judge(server, cache=cache))


@pytest.mark.parametrize("content", ['{"a": 1}', '{"a": 1}\n', "text", '{"judge_reply": "x"}\n'])
def test_another_file_is_not_changed(tmp_path, content):
    file = tmp_path / "other.jsonl"
    file.write_text(content)
    with pytest.raises(InputError, match="line 1: not a reply"), open_replies(file):
        pass
    assert file.read_text() == content


def test_a_reply_belongs_to_its_judge_prompt_and_texts(monkeypatch):
    server = Server(base_url="http://127.0.0.1:1/v1")
    texts = JudgeTexts("q", "r", "a")
    keys = {
        Judge(server=server, model="a").key(texts),
        Judge(server=server, model="b").key(texts),
        Judge(server=Server(base_url="http://127.0.0.1:2/v1"), model="a").key(texts),
        Judge(server=Server(base_url=server.base_url, extra_body={"n": 1}), model="a").key(texts),
        Judge(server=server, model="a").key(JudgeTexts("q", "ra", "")),
    }
    monkeypatch.setattr("medr1.judge.asking.PROMPT_SHA256", "other")
    keys.add(Judge(server=server, model="a").key(texts))
    assert len(keys) == 6


# --- the agreement ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_kappa_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    first = rng.random(60) < rng.uniform(0.1, 0.9)
    second = np.where(rng.random(60) < rng.random(), first, rng.random(60) < 0.5)
    weights = rng.uniform(0.5, 5, size=60)
    cells = agreement_cells(first, second)
    for own, sample_weight in ((cells, None), (cells * weights[:, None], weights)):
        sums = own.sum(axis=0, keepdims=True)
        expected = cohen_kappa_score(first, second, sample_weight=sample_weight)
        assert cohen_kappa(sums)[0] == pytest.approx(expected, abs=1e-12)
        agreement = np.average(first == second, weights=sample_weight)
        assert raw_agreement(sums)[0] == pytest.approx(agreement)


def test_kappa_of_one_answer_does_not_exist():
    same = np.ones(5, dtype=bool)
    assert np.isnan(cohen_kappa(agreement_cells(same, same).sum(axis=0, keepdims=True)))[0]
    other = np.array([True, True, False, True, True])
    assert cohen_kappa(agreement_cells(same, other).sum(axis=0, keepdims=True))[0] == 0.0
