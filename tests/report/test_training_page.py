"""training.html: what a run logged, whatever the method; whole, inert, and readable on a phone."""

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image
from test_page_browser import CONTRAST

from medr1.data.readers import Questions
from medr1.data.roots import ImageRoot
from medr1.errors import NonFiniteError
from medr1.records import Sample, Turn
from medr1.report.charts.training_curves import HEIGHT, LEFT, MAX_POINTS, WIDTH, curves
from medr1.report.pages.thumbnails import sample_thumbnails
from medr1.report.pages.training import by_step, training_html, write_training_page


def entry(step, **changes):
    """What TRL logs of a GRPO step with a reference model."""
    found = {"step": step, "seconds": 2.0 * step, "loss": 0.001 * step, "grad_norm": 1 / step}
    found |= {"learning_rate": 1e-6, "reward": 0.5 + 0.01 * step, "reward_std": 0.4, "kl": 0.02}
    found |= {"rewards/accuracy/mean": 0.01 * step, "rewards/format/mean": 1.0}
    found |= {"completions/mean_length": 90 - step, "completions/clipped_ratio": 0.25}
    return {**found, "frac_reward_zero_std": 0.125, **changes}


def validation(step, accuracy=0.5):
    low, high = accuracy - 0.1, accuracy + 0.1
    return {
        **{"step": step, "eval_accuracy": accuracy},
        **{"eval_accuracy_low": low, "eval_accuracy_high": high},
    }


PLAN = {
    **{"model": "/home/someone/models/Qwen2.5-VL-3B", "prompt": "think", "steps": 60},
    **{"rewards": ["accuracy", "format"], "samples": 1200, "trained_parameters": 3_000_000_000},
    **{"trainer_fields": {"beta": 0.04, "reward_weights": [1.0, 0.5]}, "versions": {"trl": "1.16"}},
    "prompts": {"first": "<|im_start|>user"},
}
COMPLETIONS = [
    {
        **{"step": step, "id": f"item-{step}", "question": "What is shown?", "ground_truth": "B"},
        **{"completion": f"<answer> B </answer> at {step}", "advantage": 0.7},
        "rewards": {"accuracy": 1.0, "format": 0.0},
    }
    for step in (1, 30, 60)
]
ALARM = {"step": 41, "alarm": "clipped", "sentence": "70% of the completions were cut off."}


def folder_of(tmp_path, metrics, **others):
    documents = {"metrics": metrics, **others}
    for name, entries in documents.items():
        text = "".join(json.dumps(one) + "\n" for one in entries)
        (tmp_path / f"{name}.jsonl").write_text(text)
    (tmp_path / "training.json").write_text(json.dumps(PLAN))
    return tmp_path


def text_of(page):
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def titles(page):
    return re.findall(r"<figcaption><b><bdi>(.*?)</bdi>", page)


def test_a_grpo_run_is_there_whole(tmp_path):
    metrics = [entry(step) for step in range(1, 61)]
    metrics[30:30] = [validation(30, 0.4)]
    folder = folder_of(
        tmp_path, [*metrics, validation(60, 0.62)], alarms=[ALARM], completions=COMPLETIONS
    )
    page = write_training_page(folder).read_text()
    assert titles(page) == [
        *("validation accuracy", "reward", "accuracy", "completion length"),
        *("gradient norm", "loss"),
    ]
    text = text_of(page)
    for said in (
        "These values did not change, or were logged once. format 1 mean reward",
        "KL divergence 0.02 from the reference model, per token",
        "Advantage 0.7 : a higher reward than its group on average",
        "62.0 % validation accuracy at step 60, 95 % CI 52.0 % to 72.0 %",
        "60 of 60 steps.",
        "Step 41. 70% of the completions were cut off.",
        "item-60",
        "<answer> B </answer> at 60",
        "models/Qwen2.5-VL-3B, prompt think",
        "3,000,000,000",
        "beta 0.04, reward_weights 1.0, 0.5",
        "<|im_start|>user",
        "0.51 at step 1, 1.1 at step 60; lowest 0.51 at step 1, highest 1.1 at step 60",
    ):
        assert said in text, said
    assert "item-30" not in text and "someone" not in page and "ended early" not in text
    assert "None" not in text and "nan" not in text


def test_the_cause_that_most_alarms_name_stands_first(tmp_path):
    causes = ("too large updates", "too hard questions", "too large updates")
    alarms = [{**ALARM, "cause": cause} for cause in causes]
    folder = folder_of(tmp_path, [entry(step) for step in range(1, 61)], alarms=alarms)
    text = text_of(write_training_page(folder).read_text())
    assert re.search(r"Most likely cause: too large updates.*2 of 3 alarms", text)
    assert text.index("Most likely cause") < text.index("Step 41.")


def test_a_run_of_sft_has_its_own_curves(tmp_path):
    metrics = [
        {"step": s, "loss": 3 / s, "mean_token_accuracy": 0.5, "learning_rate": 1e-5, "epoch": 1.0}
        for s in range(1, 9)
    ]
    page = training_html([*metrics, {"step": 8, "train_runtime": 3.0}], plan={})
    assert titles(page) == ["loss"]
    assert "token accuracy 0.5 on the training answers" in text_of(page)
    assert "0.375 loss at step 8" in text_of(page) and "no measure of success" not in page


def test_a_run_that_ended_early_says_why(tmp_path):
    folder = folder_of(tmp_path, [entry(step) for step in range(1, 8)])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "rew')  # killed while it wrote
    stopped = NonFiniteError("the loss is nan in step 8 (items 'a').")
    text = text_of(write_training_page(folder, stopped_by=stopped).read_text())
    assert "7 of 60 steps" in text and "ended early" in text
    assert "nan in step 8 (items 'a')" in text
    text = text_of(write_training_page(folder, stopped_by=KeyError("x")).read_text())
    assert "KeyError: 'x'" in text
    (tmp_path / "complete").mkdir()
    complete = folder_of(tmp_path / "complete", [entry(step) for step in range(1, 61)])
    text = text_of(write_training_page(complete, stopped_by=KeyError("x")).read_text())
    assert "60 of 60 steps." in text and "ended early" not in text and "KeyError" in text


def test_without_metrics_there_is_no_page(tmp_path):
    assert write_training_page(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text("")
    assert write_training_page(tmp_path) is None and not (tmp_path / "training.html").exists()


def test_steps_said_again_after_a_resume_count_once():
    metrics = [*(entry(s) for s in range(1, 8)), *(entry(s, reward=0.9) for s in range(5, 9))]
    (reward,) = [c for c in curves(by_step(metrics)) if c["title"] == "reward"]
    text = "0.9 at step 8; lowest 0.51 at step 1"
    assert len(reward["dots"]) == 8 and text in reward["description"]


def pairs(points):
    return [tuple(map(float, pair.split(","))) for pair in points.split()]


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-3e-7, 2e9], [1e-12, 2e-12], [-1, 0, 1]])
def test_every_point_lies_in_its_chart(values):
    history = [{"step": step, "loss": value} for step, value in enumerate(values, 1)]
    (chart,) = curves(history)
    points = pairs(chart["path"])
    assert len(points) == len(values) and 2 <= len(chart["ticks"]) <= 6
    assert all(LEFT <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    order = sorted(range(len(values)), key=lambda i: values[i])
    assert [points[i][1] for i in order] == sorted((y for _, y in points), reverse=True)


def test_a_long_run_is_thinned_and_keeps_its_extremes():
    history = [{"step": step, "kl": 3.0 if step == 7777 else 0.1} for step in range(1, 20_001)]
    (chart,) = curves(history)
    assert len(pairs(chart["path"])) <= MAX_POINTS and len(json.dumps(chart)) < 20_000
    top = min(y for _, y in pairs(chart["spread"]))
    assert top == min(y for y, _ in chart["ticks"])
    assert "highest 3 at step 7,777" in chart["description"]


def test_a_value_that_is_not_there_leaves_a_gap():
    history = [entry(1), entry(2, kl=None), entry(3)]
    (kl,) = [chart for chart in curves(history) if chart["title"] == "KL divergence"]
    assert len(kl["dots"]) == 2


def hostile(text):
    metrics = [{**entry(step), f"rewards/{text}/mean": 0.5, text: text} for step in range(1, 5)]
    completion = {"step": 4, "id": text, "question": text, "completion": text, "gold": text}
    return {
        "metrics": metrics,
        "plan": {"model": text, "prompt": text, "versions": {text: text}, "rewards": [text]}
        | {"prompts": {"first": text}, "steps": 9},
        "alarms": [{"step": 2, "alarm": text, "sentence": text, "cause": text}],
        "completions": [{**completion, "rewards": {text: 1.0}, "advantage": 0.1}],
        "stopped_by": text,
    }


class Tags(HTMLParser):
    """The names of tags and attributes, and where links lead."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.links = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value[0] for name, value in attrs if name in ("href", "src")}


def test_what_others_wrote_is_text(attack):
    page = training_html(**hostile(attack))
    found, harmless = Tags(page), Tags(training_html(**hostile("harmless")))
    assert "default-src 'none'" in page
    assert found.tags == harmless.tags and found.attributes == harmless.attributes
    assert found.links == {"#"} and not {"script", "img"} & found.tags
    assert "{{" not in attack or "{{ 7*7 }}" in text_of(page)
    page.encode("utf-8")


@pytest.fixture
def questions(tmp_path):
    """A training question with a red image, one whose image is gone, and others."""
    Image.new("RGB", (400, 200), "red").save(tmp_path / "1.png")
    options = {"A": "x-ray", "B": "MRI"}
    samples = [
        Sample(f"item-{n}", (f"{n}.png",), "What is shown?", options, "B", modality="Ultrasound")
        for n in (1, 2, 60)
    ]
    return Questions(samples, {}, ImageRoot(tmp_path), "0" * 64)


PROMPT = "What is shown? A)x-ray, B)MRI Give the right option inside <answer> </answer> tags."


def test_completions_have_their_images(tmp_path, questions):
    folder = folder_of(tmp_path, [entry(1), entry(60)], completions=COMPLETIONS)
    page = write_training_page(folder, questions=questions).read_text()
    assert page == write_training_page(folder, questions=questions).read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 1  # item-1
    assert '<p class="missing">image not found</p>' in page  # item-60
    assert "1 of 1 questions shown with their images" in page


def test_the_question_stands_apart_from_the_format_prompt(questions):
    completion = {**COMPLETIONS[0], "question": PROMPT}
    instructions = "Give the right option inside &lt;answer&gt; &lt;/answer&gt; tags."
    samples = {sample.id: sample for sample in questions.samples}
    for plan, known in (({}, samples), ({"prompt": "nothink"}, {})):
        page = training_html([entry(1)], plan=plan, completions=[completion], samples=known)
        assert '<p class="question" dir="auto">What is shown? A)x-ray, B)MRI</p>' in page
        assert f"<b>Format prompt:</b> {instructions}</p>" in page
    page = training_html([entry(1)], plan={"prompt": "mine.txt"}, completions=[completion])
    assert f'dir="auto">{html.escape(PROMPT)}</p>' in page and "Format prompt" not in page


def test_earlier_turns_are_shown(questions):
    turns = (Turn("user", "Is it a scan?"), Turn("assistant", "Yes."))
    sample = replace(questions.samples[0], history=turns)
    completion = {**COMPLETIONS[0], "question": PROMPT}
    page = training_html([entry(1)], plan={}, completions=[completion], samples={sample.id: sample})
    shown = "User: Is it a scan?\nAssistant: Yes.\nUser: What is shown? A)x-ray, B)MRI"
    assert f'<p class="question" dir="auto">{shown}</p>' in page


@pytest.mark.parametrize(
    ("advantage", "meaning"),
    [(-0.724, "makes it less probable"), (0.7, "makes it more probable"), (0.0, "as it is")],
)
def test_an_advantage_is_explained(advantage, meaning):
    completion = {**COMPLETIONS[0], "advantage": advantage}
    text = text_of(training_html([entry(1)], plan={}, completions=[completion]))
    assert re.search(rf"Advantage {advantage:.3g} : [^.]*{meaning}\.", text)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 420, 1366])
def test_a_browser_shows_it_quietly_without_sideways_scrolling(
    browser, tmp_path, questions, width, dark
):
    text = "</script><script>window.hurt=1</script>" + '"><img src=x onerror="window.hurt=1">'
    documents = hostile(text)
    documents["completions"] += COMPLETIONS
    samples = {sample.id: sample for sample in questions.samples}
    thumbnails, _ = sample_thumbnails(samples.values(), tmp_path)
    documents |= {"samples": samples, "thumbnails": thumbnails}
    page = tmp_path / "training.html"
    page.write_text(training_html(**documents), encoding="utf-8")
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": scheme})
    browser.get(page.as_uri())
    run = browser.execute_script
    assert run("return window.hurt") is None and browser.get_log("browser") == []
    assert run("return document.documentElement.scrollWidth") <= width
    addresses = run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in addresses if not name.startswith("data:")] == []
    assert run("return [...document.images].map(e => e.naturalWidth)") == [160]
    contrasts = run(CONTRAST)
    assert len(contrasts) > 50 and contrasts[0][0] >= 4.5, contrasts[:4]
    boxes = run("return [...document.querySelectorAll('.chart')].map(e => e.clientWidth)")
    assert len(boxes) == 5 and min(boxes) > 200
    line = run("return getComputedStyle(document.querySelector('.curve')).strokeWidth")
    assert line == "2px"
