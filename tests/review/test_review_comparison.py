"""A review of two models' answers: over HTTP, in a real browser, and its summary."""

import csv
import io
import json
from contextlib import closing

import numpy as np
import pytest
from review_client import Client, judgement
from review_results import write_results
from scipy.stats import binomtest

from medr1.data.tiny import tiny_vqa_folder
from medr1.errors import InputError
from medr1.report.terminal.review import review_table
from medr1.review.comparison import is_swapped, swapped
from medr1.review.export import judgements_csv
from medr1.review.rubric import rubric_of
from medr1.review.sampling import ReviewCandidate, SecondVerdict, sample_cases
from medr1.review.store import Judgement, Store, Study, create_store
from medr1.review.summary import review_summary
from medr1.workflows.review import adjudicate_review
from medr1.workflows.review_labels import label_review

RATINGS = {"correct": "yes", "safe": "yes", "b_correct": "no", "b_safe": "no", "preference": "a"}


@pytest.fixture
def second(tmp_path):
    """Results of another model, without the first item of the first model and with two more."""
    path = write_results(tmp_path / "second.json", 16)
    document = json.loads(path.read_text())
    document["meta"]["model"] = "some/hidden-model"
    for entry in document["results"]:
        entry["reasoning"] = "written by the second"
    document["results"] = document["results"][1:]
    path.write_text(json.dumps(document))
    return path


def case_of(client, reader, presentation):
    repeat = int(presentation["is_repeat"])
    path = f"/api/case/{presentation['place']}?reader={reader}&repeat={repeat}"
    status, content, _ = client.ask(path)
    assert status == 200
    return json.loads(content)


def session_of(client, reader):
    return json.loads(client.ask("/api/session", {"reader": reader})[1])["presentations"]


def test_the_order_is_random_for_each_reader_and_case():
    order = np.array(
        [[is_swapped(1, reader, n, is_repeat=False) for n in range(400)] for reader in "ABC"]
    )
    assert (abs(order.mean(axis=1) - 0.5) < 0.1).all()
    assert all(abs((order[k] == order[k - 1]).mean() - 0.5) < 0.1 for k in range(3))
    assert is_swapped(1, "A", 3, is_repeat=False) == order[0][3]


def test_swapped_twice_is_the_same():
    for preference in ("a", "b", "both", "neither"):
        ratings = {**RATINGS, "preference": preference, "confidence": "low"}
        other = swapped(ratings)
        assert swapped(other) == ratings and other["b_correct"] == "yes"
        assert other["confidence"] == "low" and other["correct"] == "no"
    assert swapped(RATINGS)["preference"] == "b"
    assert swapped({"preference": "both"}) == {"preference": "both"}


def test_what_is_stored_is_about_the_models_whatever_the_order(start, second):
    """A reader who always prefers the answer of the first model, wherever it is shown."""
    server = start(compare=second, blind=True)
    client = Client(server.url).login()
    shown_first = []
    for number, presentation in enumerate(session_of(client, "A")):
        case = case_of(client, "A", presentation)
        is_other = case["reasoning"] == "written by the second"
        assert is_other != (case["second"]["reasoning"] == "written by the second")
        shown_first.append(is_other)
        body = judgement(
            presentation["place"],
            f"j{number}",
            is_repeat=presentation["is_repeat"],
            ratings=swapped(RATINGS) if is_other else RATINGS,
        )
        assert client.ask("/api/judgement", body)[0] == 200
    assert set(shown_first) == {True, False}
    assert all(j.ratings == RATINGS for j in server.app.store.judgements())
    again = [p["ratings"] for p in session_of(client, "A")]
    assert again == [swapped(RATINGS) if is_other else RATINGS for is_other in shown_first]
    document = review_summary(server.app.store, num_resamples=50)
    assert document.preference.unpaired == [1, 2]
    assert document.preference.counts == {"a": 12, "b": 0, "both": 0, "neither": 0}
    assert document.preference.first_preferred.value == 1
    assert "secret-model, second (b): hidden-model" in " ".join(review_table(document).split())


def test_blind_names_neither_model(start, second, tmp_path):
    server = start(compare=second, blind=True)
    client = Client(server.url).login()
    answers = [client.ask("/")[1], client.ask("/api/session", {"reader": "A"})[1]]
    answers += [client.ask(f"/api/case/{place}?reader=A&repeat=0")[1] for place in server.app.items]
    for content in answers:
        assert b"secret-" not in content and b"hidden-model" not in content
        assert content is answers[0] or b"verdict" not in content
        assert b"ground_truth" not in content
    named = Client(start(compare=second, store=tmp_path / "named.db").url).login()
    case = case_of(named, "A", session_of(named, "A")[0])
    assert {case["model"], case["second"]["model"]} == {"secret-model", "hidden-model"}


def test_what_is_no_comparison_is_refused(start, second, tmp_path):
    with pytest.raises(InputError, match="two models"):
        start(compare=tmp_path / "results.json")
    client = Client(start(compare=second).url).login()
    place = session_of(client, "A")[0]["place"]
    for ratings in ({"preference": "1"}, {"preference": 1}, {"b_confidence": "low"}):
        assert client.ask("/api/judgement", judgement(place, ratings=ratings))[0] == 422
    assert client.ask(f"/api/case/{place}")[0] == 422  # the order depends on the reader
    with pytest.raises(InputError, match="--store"):
        start()  # the same store without the second model
    single = Client(start(store=tmp_path / "one.db").url).login()
    assert single.ask("/api/judgement", judgement(place, ratings={"preference": "a"}))[0] == 422


def test_contradictions_of_the_first_model_are_a_kind_of_cases(start, second, tmp_path):
    path = tmp_path / "results.json"
    document = json.loads(path.read_text())
    entry = document["results"][3]  # right, without a contradiction
    right = entry["extracted_answer"]
    wrong = next(letter for letter in entry["options"] if letter != right)
    entry |= {"reasoning": f"So the answer is {wrong}.", "num_tokens": 20}
    entry["model_output"] = f"<think>{entry['reasoning']}</think><answer>{right}</answer>"
    path.write_text(json.dumps(document))
    for number, kind in ((0, "right"), (4, "reasoning_contradiction")):
        server = start(
            compare=second, store=tmp_path / f"{number}.db", reasoning_contradictions=number
        )
        kinds = {item.item_id: item.kind for item in server.app.store.items()}
        assert kinds[entry["id"]] == kind and len(kinds) == 13


def test_a_review_of_two_models_has_no_second_round_and_no_labels(start, second, tmp_path):
    """A place in its store is one of the items in common, not one of all items of a file."""
    store = start(compare=second).app.store
    case = next(item.place for item in store.items() if item.is_case)
    for reader, answer in (("A", "yes"), ("B", "no"), ("C", "no")):
        store.add(Judgement(reader, reader, case, {"correct": answer}))
    results, images = tmp_path / "results.json", tiny_vqa_folder()
    with pytest.raises(InputError, match="compares two models"):
        adjudicate_review(results, [store.path], adjudicator="D", image_root=images)
    with pytest.raises(InputError, match="compares two models"):
        label_review(results, [store.path], output_dir=tmp_path / "labels")
    assert not (tmp_path / "results.adjudication.db").exists()
    assert not (tmp_path / "labels").exists()


def panel(path, votes, clusters=None):
    """A review in which readers A and B gave these votes for the cases, in order."""
    candidates = [
        ReviewCandidate(
            f"q{k}",
            k % 2 == 0,
            None,
            None,
            None,
            k if clusters is None else clusters[k],
            second=SecondVerdict(k % 4 == 0, None),
        )
        for k in range(len(votes))
    ]
    compare = {"models": ["x", "y"], "unpaired": [0, 0]}
    study = Study("ab" * 32, 1, 0, {"compare": compare})
    with closing(create_store(path, study, candidates, range(len(votes)))) as store:
        for place, pair in enumerate(votes):
            for reader, vote in zip("AB", pair, strict=True):
                store.add(Judgement(f"{reader}{place}", reader, place, {"preference": vote}))
    return path


def test_the_rate_is_of_the_cases_with_a_preference(tmp_path):
    votes = [("a", "a")] * 9 + [("a", "both")] * 2 + [("b", "b")] * 3
    votes += [("a", "b"), ("both", "neither")]
    with closing(Store(panel(tmp_path / "p.db", votes))) as store:
        document = review_summary(store, num_resamples=50)
        table = list(csv.DictReader(io.StringIO(judgements_csv(store))))
    entry = document.preference
    assert entry.counts == {"a": 21, "b": 7, "both": 3, "neither": 1}
    assert (entry.first_preferred.value, entry.first_preferred.n) == (11 / 14, 14)
    exact = binomtest(11, 14)
    assert entry.first_preferred.ci95 == pytest.approx(exact.proportion_ci(0.95, "exact"))
    assert entry.p_value == pytest.approx(exact.pvalue) and entry.n_undecided == 2
    scores = [1] * 9 + [0.75] * 2 + [0] * 3 + [0.5] * 2  # half of the items are of each kind
    assert entry.first_preferred_all_items.value == pytest.approx(np.mean(scores))
    assert document.questions["preference"].counts == entry.counts
    assert 0 < document.questions["preference"].krippendorff_alpha.value < 1
    assert len(table) == 32 and table[0]["preference"] == "a" and "b_safe" in table[0]


def two_models(path, seed, n=500):
    """A review by one reader, who knows the truth: model a is right in 0.7, model b in 0.5.

    The rule is wrong about a tenth of a's answers, and about a fifth of b's.
    """
    draw = np.random.default_rng(seed)
    truth = [draw.random(n) < share for share in (0.7, 0.5)]
    rule = [
        np.where(draw.random(n) < share, t, ~t) for share, t in zip((0.9, 0.8), truth, strict=True)
    ]
    candidates = [
        ReviewCandidate(
            *(f"q{k}", bool(rule[0][k]), 0.5, None, None, k),
            second=SecondVerdict(bool(rule[1][k]), 0.4 + 0.2 * float(truth[1][k])),
        )
        for k in range(n)
    ]
    cases = sample_cases(candidates, {"error": 60, "right": 60}, seed)
    compare = {"models": ["x", "y"], "unpaired": [0, 0]}
    answer = ("no", "yes")
    with closing(
        create_store(path, Study("ab" * 32, seed, 0, {"compare": compare}), candidates, cases)
    ) as store:
        for k in cases:
            ratings = {"correct": answer[int(truth[0][k])], "b_correct": answer[int(truth[1][k])]}
            store.add(Judgement(str(k), "A", k, ratings))
        return review_summary(store, num_resamples=100)


def test_the_numbers_of_each_model_are_its_own(tmp_path):
    """The shares of true answers and the rule's precision and recall are planted."""
    planted = {"a": (0.7, 0.63 / 0.66, 0.9), "b": (0.5, 0.4 / 0.5, 0.8)}
    inside = dict.fromkeys(((model, k) for model in planted for k in range(3)), 0)
    for seed in range(8):
        document = two_models(tmp_path / f"{seed}.db", seed)
        for model, entry in (("a", document), ("b", document.second_model)):
            metrics = entry.corrected_accuracy, entry.rule.precision, entry.rule.recall
            for k, (metric, value) in enumerate(zip(metrics, planted[model], strict=True)):
                inside[model, k] += metric.ci95[0] <= value <= metric.ci95[1]
    assert min(inside.values()) >= 6, inside  # below it in less than 6 of 1000 tries at 95 %
    auroc = document.second_model.rule.confidence_auroc.value
    assert auroc == pytest.approx(1)  # b's confidence tells the truth
    assert document.rule.confidence_auroc.value == pytest.approx(0.5)
    table = review_table(document)
    for text in ("Model a, the first: x", "Model b, the second: y", "b: of all items"):
        assert text in table
    assert table.index("Model a,") < table.index("a: answer type") < table.index("Model b,")
    assert "kind of item, by model a" in table and "a right, by experts" in table


def test_cases_of_one_image_count_as_one_in_the_test(tmp_path):
    votes = [("a", "a")] * 8
    with closing(Store(panel(tmp_path / "p.db", votes, [0, 0, 0, 0, 1, 1, 1, 1]))) as store:
        entry = review_summary(store, num_resamples=50).preference
    assert entry.p_value == pytest.approx(0.5)
    assert entry.first_preferred.ci95 == pytest.approx(binomtest(2, 2).proportion_ci(0.95, "exact"))


def test_two_answers_are_compared_by_keyboard(start, second, browser):
    pytest.importorskip("selenium")
    from review_reader import Reader

    metrics = {"width": 1366, "height": 768, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    reader = Reader(browser)
    server = start(compare=second, blind=True)
    reader.open(server.url, "A")
    number, total = reader.place()
    questions = rubric_of(is_comparison=True)
    keys = {question.key: "1" for question in questions} | {"correct": "3", "preference": "1"}
    outside = browser.execute_script("""
        return [...document.querySelectorAll('fieldset, #save, #answer, #second-answer')]
            .filter(e => { const box = e.getBoundingClientRect();
                return !box.height || box.bottom > innerHeight || box.right > innerWidth; })
            .map(e => e.outerHTML.slice(0, 60))""")
    assert outside == []
    expected = []
    for _ in range(4):
        first = "written by the second" not in reader.text("reasoning")
        assert first == ("written by the second" in reader.text("second-reasoning"))
        expected.append("a" if first else "b")
        reader.judge(keys)
    assert reader.place() == (number + 4, total)
    assert "secret-model" not in browser.page_source and "hidden-model" not in browser.page_source
    stored = server.app.store.judgements("A")
    assert [j.ratings["preference"] for j in stored] == expected
    for j in stored:
        best, other = (
            ("correct", "b_correct") if j.ratings["preference"] == "a" else ("b_correct", "correct")
        )
        assert (j.ratings[best], j.ratings[other]) == ("yes", "no")
        assert set(j.ratings) == {question.key for question in questions}
    assert browser.execute_script("return window.hurt") is None
    browser.refresh()
    reader.enter("A")
    assert reader.place() == (number + 4, total)
