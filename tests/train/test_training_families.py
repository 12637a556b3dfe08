"""Training models of other families, each against stock TRL with the same data and settings."""

import json
from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from in_process import medr1
from PIL import Image
from tiny_families import FAMILIES, OTHERS
from tiny_qwens import QWENS

from medr1.data.roots import ImageRoot
from medr1.data.tiny import tiny_vqa_folder
from medr1.errors import InputError
from medr1.infer.engine import InferencePlan
from medr1.infer.local.inputs import QuestionBuilder
from medr1.models.calls import token_ids
from medr1.models.families.batched import BatchedFamily
from medr1.models.families.family import prompt_inputs
from medr1.models.loading import load_model, load_outline
from medr1.models.parts import freeze_vision, lora_targets
from medr1.prompts import chat_messages, user_text
from medr1.records import Decoding, Turn

pytest.importorskip("trl")

from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
from trl.data_utils import prepare_multimodal_messages

from medr1.train import grpo, sft
from medr1.train.dry_run.prompt_lengths import prompt_lengths, render_prompt, require_room
from medr1.train.settings import settings_from

BUILDERS = {**FAMILIES, **OTHERS, **QWENS}
# Idefics 3 has the architecture of SmolVLM
RARE = ("idefics3", *QWENS)
EACH = [pytest.param(kind, marks=[pytest.mark.slow] if kind in RARE else []) for kind in BUILDERS]
SOME = [
    pytest.param(kind, marks=[] if kind in ("gemma3", "llava") else [pytest.mark.slow])
    for kind in BUILDERS
]
"""Of the commands, which take longer."""
NOT_SHARED = {"qwen3_vl_moe": "the load-balancing loss of experts"}
"""Why the prompts of a type are not shared, if the type is not the reason."""
SIZES = [(112, 84), (300, 40), (64, 250), (33, 57), (90, 30)]
ASKED = Turn("user", "Is the image sharp?"), Turn("assistant", "Yes, it is sharp.")
EARLIER = ((), ASKED, (Turn("system", "Answer briefly."), *ASKED, *ASKED), ())
"""The turns before each question."""
COMMON = {
    **{"max_steps": 1, "learning_rate": 0.01, "seed": 3, "logging_steps": 1},
    **{"save_strategy": "no", "per_device_train_batch_size": 4},
}
GRPO = {**COMMON, "num_generations": 2, "max_completion_length": 8}
STOCK = {
    **{"use_cpu": True, "bf16": False, "report_to": [], "disable_tqdm": True},
    **{"gradient_checkpointing": False, "remove_unused_columns": False},
}


def differs(completion_ids, **columns):
    """A reward that random completions differ in."""
    return [sum(ids) % 97 / 97 for ids in completion_ids]


# --- checkpoints and data -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Gives the folder of a tiny checkpoint, which is written once."""
    known = {}

    def folder(kind):
        if kind not in known:
            known[kind] = tmp_path_factory.mktemp("families") / kind
            BUILDERS[kind](known[kind])
        return known[kind]

    return folder


@pytest.fixture(params=EACH)
def folder(request, folders):
    return folders(request.param)


def fresh(folder):
    return load_model(folder, device="cpu", allow_template=True)


def begun(folder, kind, start):
    """A checkpoint whose tokenizer begins each text with a token, unless it is told not to."""
    BUILDERS[kind](folder)
    file, settings = folder / "tokenizer.json", folder / "tokenizer_config.json"
    document = json.loads(file.read_text())
    number = next(t["id"] for t in document["added_tokens"] if t["content"] == start)
    document["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": start, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"],
        "special_tokens": {start: {"id": start, "ids": [number], "tokens": [start]}},
    }
    file.write_text(json.dumps(document))
    changed_settings = {**json.loads(settings.read_text()), "bos_token": start}
    settings.write_text(json.dumps(changed_settings))
    return folder


@pytest.fixture
def questions(validation, tmp_path):
    """Four questions, each with an image of a size of its own, in PNG files."""
    chosen = [sample for sample in validation.samples if sample.options][:4]
    for number, size in enumerate(SIZES):
        Image.effect_noise(size, 90).convert("RGB").save(tmp_path / f"{number}.png")
    samples = [
        replace(sample, id=str(number), images=(f"{number}.png",), history=EARLIER[number])
        for number, sample in enumerate(chosen)
    ]
    return replace(validation, samples=samples, failures={}, image_root=ImageRoot(tmp_path))


def with_two_images(questions):
    """The same questions, the last with a second image."""
    *others, last = questions.samples
    return replace(questions, samples=[*others, replace(last, images=("3.png", "4.png"))])


def trainable(folder, questions):
    """The questions that TRL's GRPO can train this model on."""
    return questions if folder.name == "llava_onevision" else with_two_images(questions)


def messages_of(sample):
    """The messages as TRL takes them: earlier turns, then the prompt with the question."""
    turns = [(turn.role, turn.content) for turn in sample.history]
    turns.append(("user", user_text(sample, "nothink")))
    return [{"role": role, "content": text} for role, text in turns]


def images_of(sample, root):
    return [Image.open(root / name).convert("RGB") for name in sample.images]


# --- runs ---------------------------------------------------------------------------------------


def by_row(columns):
    """A data set that gives the columns as they are, images too."""
    number = len(next(iter(columns.values())))
    data = Dataset.from_dict({"index": list(range(number))})
    return data.with_transform(
        lambda batch: {name: [v[i] for i in batch["index"]] for name, v in columns.items()}
    )


def stock_grpo(loaded, questions, root, out, peft=None, **fields):
    """TRL's own trainer on the same questions."""
    samples = questions.samples
    rows = {
        "prompt": [messages_of(sample) for sample in samples],
        "images": [images_of(sample, root) for sample in samples],
        "solution": [sample.ground_truth for sample in samples],
    }
    return GRPOTrainer(
        model=loaded.model,
        reward_funcs=[differs],
        args=GRPOConfig(output_dir=str(out), **{**STOCK, **GRPO, **fields}),
        train_dataset=by_row(rows),
        processing_class=loaded.processor,
        peft_config=peft,
    )


def own_grpo(loaded, questions, out, monkeypatch, **values):
    """medr1's trainer, with the reward of these tests."""
    monkeypatch.setattr(grpo, "reward_functions", lambda *names, **limits: [differs])
    settings = settings_from({**GRPO, "rewards": ["accuracy"], **values}, out)
    return grpo.build_trainer(loaded, questions, settings)


def trained(trainer):
    """The line that is logged for the step, and the weights after it."""
    trainer.train()
    (line,) = (line for line in trainer.state.log_history if "loss" in line)
    return line, {name: weight.detach() for name, weight in trainer.model.named_parameters()}


def require_equal(own, stock):
    for name in ("loss", "grad_norm"):
        assert own[0][name] == stock[0][name]
    assert own[1].keys() == stock[1].keys()
    assert all(torch.equal(weight, stock[1][name]) for name, weight in own[1].items())


def changed(before, after):
    """The names of the weights that a step changed."""
    return {name for name, weight in after.items() if not torch.equal(weight, before[name])}


def copies(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def is_text(name):
    return "language_model" in name or "text_model" in name or "lm_head" in name


# --- GRPO ---------------------------------------------------------------------------------------


def test_a_step_of_grpo_is_that_of_stock_trl(folder, questions, tmp_path, monkeypatch):
    questions = trainable(folder, questions)
    loaded = fresh(folder)
    before = copies(loaded.model)
    own = trained(own_grpo(loaded, questions, tmp_path / "own", monkeypatch))
    stock = trained(stock_grpo(fresh(folder), questions, tmp_path, tmp_path / "stock"))
    require_equal(own, stock)
    assert own[0]["grad_norm"] > 0
    assert {is_text(name) for name in changed(before, own[1])} == {True, False}


def test_an_adapter_is_on_the_language_model_alone(folder, questions, tmp_path, monkeypatch):
    questions = trainable(folder, questions)
    values = {"use_peft": True, "lora_r": 4, "beta": 0.0}
    torch.manual_seed(0)  # the adapter begins with random numbers
    own = trained(own_grpo(fresh(folder), questions, tmp_path / "own", monkeypatch, **values))
    adapted = {name for name in own[1] if "lora_" in name}
    assert adapted and all(is_text(name) for name in adapted)
    loaded = fresh(folder)
    config = LoraConfig(
        r=4, lora_alpha=32, lora_dropout=0.05, target_modules=lora_targets(loaded.model)
    )
    torch.manual_seed(0)
    trainer = stock_grpo(loaded, questions, tmp_path, tmp_path / "stock", config)
    require_equal(own, trained(trainer))


def test_a_frozen_vision_tower_does_not_change(folder, questions, tmp_path, monkeypatch):
    loaded = fresh(folder)
    before = copies(loaded.model)
    trainer = own_grpo(loaded, questions, tmp_path / "own", monkeypatch, freeze_vision=True)
    names = changed(before, trained(trainer)[1])
    assert names and all(is_text(name) for name in names)


def test_a_tokenizer_that_begins_texts_is_trained_right(folders, questions, tmp_path, monkeypatch):
    """As the tokenizer of a published Gemma 3, whose template writes the same token."""
    folder = begun(tmp_path / "gemma3", "gemma3", "<bos>")
    loaded = fresh(folder)
    assert loaded.processor.tokenizer("<bos>a")["input_ids"][:2] == [2, 2]
    own = trained(own_grpo(loaded, questions, tmp_path / "own", monkeypatch))
    stock = stock_grpo(fresh(folders("gemma3")), questions, tmp_path, tmp_path / "stock")
    require_equal(own, trained(stock))
    lengths = prompt_lengths(loaded, questions.samples, questions.image_root, "nothink")
    expected = prompt_lengths(
        fresh(folders("gemma3")), questions.samples, questions.image_root, "nothink"
    )
    assert lengths == expected
    assert loaded.processor.tokenizer("<bos>a")["input_ids"][:2] == [2, 2]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "does not pass batch_num_images to a llava_onevision, which needs this for item 3"),
        ({"beta": 0.1}, "cannot compute log-probabilities of a llava_onevision before an update"),
        ({"num_iterations": 2}, "cannot compute log-probabilities"),
    ],
)
def test_what_trl_cannot_train_is_refused(folders, questions, tmp_path, values, sentence):
    if not values:
        questions = with_two_images(questions)
    loaded = load_outline(folders("llava_onevision"), device="cpu", allow_template=True)
    settings = settings_from({**GRPO, **values}, tmp_path / "out")
    with pytest.raises(InputError, match=sentence):
        grpo.fitting_samples(loaded, questions, settings)


# --- SFT ----------------------------------------------------------------------------------------


def answer_of(loaded, sample):
    """The right answer as the family's published checkpoints write it, up to its end."""
    end = {"gemma3": "<end_of_turn>", "smolvlm": "<end_of_utterance>"}
    end["idefics3"] = end["smolvlm"]
    kind = loaded.model.config.model_type
    space = " " if kind in ("smolvlm", "idefics3") else ""
    return f"{space}<answer> {sample.ground_truth} </answer>{end.get(kind, '<|im_end|>')}"


def test_a_step_of_sft_is_that_of_stock_trl(folder, questions, tmp_path):
    questions = with_two_images(questions)
    settings = settings_from({**COMMON, "method": "sft"}, tmp_path / "own")
    own = trained(sft.build_trainer(fresh(folder), questions, settings))
    loaded = fresh(folder)
    rows = {
        "prompt": [render_prompt(loaded, sample, "nothink") for sample in questions.samples],
        "completion": [answer_of(loaded, sample) for sample in questions.samples],
        "images": [images_of(sample, tmp_path) for sample in questions.samples],
    }
    stock = SFTTrainer(
        model=loaded.model,
        args=SFTConfig(output_dir=str(tmp_path), max_length=None, **{**STOCK, **COMMON}),
        train_dataset=by_row(rows),
        processing_class=loaded.processor,
    )
    require_equal(own, trained(stock))
    assert own[0]["grad_norm"] > 0


def test_an_answer_follows_the_ids_of_inference(tmp_path, questions):
    """Also where the tokenizer writes a start token, and the template does not."""
    folder = begun(tmp_path / "llava", "llava", "<|endoftext|>")
    loaded = fresh(folder)
    settings = settings_from({**COMMON, "method": "sft"}, tmp_path / "out")
    trainer = sft.build_trainer(loaded, questions, settings)
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(4)])
    for sample, ids, labels in zip(
        questions.samples, batch["input_ids"], batch["labels"], strict=True
    ):
        messages = prepare_multimodal_messages(messages_of(sample), images_of(sample, tmp_path))
        expected = prompt_inputs(loaded.processor, messages)["input_ids"][0].tolist()
        assert expected[0] == loaded.processor.tokenizer.bos_token_id
        assert ids[: len(expected)].tolist() == expected
        assert (labels != -100).nonzero()[0] == len(expected)
    lengths = prompt_lengths(loaded, questions.samples, questions.image_root, "nothink")
    assert lengths[-1].total == len(expected)


# --- prompts ------------------------------------------------------------------------------------


def test_prompts_are_those_of_trl_and_of_inference(folder, questions, tmp_path):
    """The ids are equal, and the lengths are theirs, with 0, 1 and 2 images of odd sizes."""
    loaded = fresh(folder)
    samples = [
        *questions.samples,
        replace(questions.samples[0], images=()),
        *(replace(questions.samples[1], images=(f"{n}.png", "1.png")) for n in range(5)),
    ]
    trainer = stock_grpo(loaded, questions, tmp_path, tmp_path / "out")
    lengths = prompt_lengths(loaded, samples, questions.image_root, "nothink")
    plan = InferencePlan([range(len(samples))], questions.image_root, decoding=Decoding(8))
    for number, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
        images = images_of(sample, tmp_path)
        prompt = prepare_multimodal_messages(messages_of(sample), images=images)
        (ids,) = trainer._tokenize_prompts([prompt])[0]
        assert length.total == len(ids)
        (rendered,) = token_ids(loaded.processor, [render_prompt(loaded, sample, "nothink")])
        assert length.text == len(rendered) - len(images)
        if isinstance(loaded.family, BatchedFamily):
            (question,), _ = QuestionBuilder(loaded, plan).batch([number], samples)
            assert question.rows[0].token_ids == ids
        else:
            inputs = prompt_inputs(loaded.processor, prompt)
            assert inputs["input_ids"][0].tolist() == ids
        texts = [message["content"][-1]["text"] for message in chat_messages(sample, "nothink")]
        assert texts == [message["content"] for message in messages_of(sample)]
    longest = max(length.total for length in lengths)
    require_room(loaded, samples, questions.image_root, "nothink", longest)
    remedy = "Shrink images with" if loaded.family.has_pixel_limits else "Shorten these questions"
    with pytest.raises(InputError, match=rf"have more than .* {remedy}"):
        require_room(loaded, samples, questions.image_root, "nothink", longest - 1)


def test_an_image_that_cannot_be_read_is_refused_before_a_run(folders, questions):
    loaded = load_outline(folders("internvl"), device="cpu", allow_template=True)
    first, second = questions.samples[:2]
    missing = replace(first, images=("missing.png",))
    message = r"^1 of 2 images cannot be read. The first: image 'missing.png': no such file"
    with pytest.raises(InputError, match=message):
        prompt_lengths(loaded, [second, missing], questions.image_root, "nothink")


# --- parts of a model ---------------------------------------------------------------------------


def test_the_parts_of_a_qwen_are_those_of_earlier_versions(model):
    expected = {n for n, _ in model.model.named_parameters() if not n.startswith("model.visual.")}
    freeze_vision(model.model)
    assert {n for n, weight in model.model.named_parameters() if weight.requires_grad} == expected
    assert lora_targets(model.model) == (
        r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    )


# --- the command --------------------------------------------------------------------------------


def command(folder, out, *more):
    data = ("--data", tiny_vqa_folder() / "validation.json", "--answer-types", "multiple_choice")
    sizes = ("--batch-size", 4, "--num-generations", 2, "--max-completion-length", 8)
    return medr1(
        *("train", "--model-path", folder, *data, "--output-dir", out, *sizes, "--max-steps", 1),
        *("--device", "cpu", *more),
    )


@pytest.mark.parametrize("folder", SOME, indirect=True)
def test_the_plan_says_what_the_family_cannot_do(folder, tmp_path):
    refused = command(folder, tmp_path / "out", "--dry-run")
    assert refused.returncode == 2 and "--allow-template" in refused.stderr
    has_limits = folder.name in QWENS
    limited = command(
        folder, tmp_path / "out", "--allow-template", "--dry-run", "--max-pixels", 5000
    )
    assert limited.returncode == (0 if has_limits else 2), limited.stderr
    assert has_limits or "--max-pixels cannot be set" in limited.stderr
    shown = command(folder, tmp_path / "out", "--allow-template", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert (
        NOT_SHARED.get(folder.name, f"no ({folder.name} is not one of qwen2_vl, ") in shown.stdout
    )
    assert has_limits == ("pixels per image" in shown.stdout)
    shown = command(folder, tmp_path / "out", "--allow-template", "--dry-run", "--json")
    plan = json.loads(shown.stdout)
    assert plan["shared_prefix"] is False and has_limits == ("min_pixels" in plan["prompts"])
    assert plan["prompts"]["prompt_tokens"]["min"] > plan["prompts"]["image_tokens"]["max"] > 0
    off = command(
        *(folder, tmp_path / "out", "--allow-template", "--dry-run", "--json"), "--no-shared-prefix"
    )
    assert "not_shared" not in json.loads(off.stdout)


def test_the_best_step_is_kept(folders, tmp_path):
    """A type that is asked one prompt at a time."""
    items = json.loads((tiny_vqa_folder() / "validation.json").read_text())
    (tmp_path / "images").symlink_to(tiny_vqa_folder() / "images")
    (tmp_path / "validation.json").write_text(json.dumps(items[:3]))
    done = command(
        *(folders("llava"), tmp_path / "out", "--allow-template", "--save-strategy", "no"),
        *("--eval-data", tmp_path / "validation.json", "--eval-steps", 1),
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert [line["eval_n"] for line in map(json.loads, lines) if "eval_n" in line] == [3, 3]
    assert fresh(tmp_path / "out" / "best").info.prompt == "nothink"


@pytest.mark.parametrize("folder", SOME, indirect=True)
def test_a_trained_checkpoint_is_asked(folder, tmp_path):
    out = tmp_path / "out"
    done = command(folder, out, "--allow-template", "--freeze-vision", "--save-strategy", "no")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("shared prefix is off") == 1
    plan = json.loads((out / "training.json").read_text())
    assert plan["shared_prefix"] is False
    assert NOT_SHARED.get(folder.name, folder.name) in plan["not_shared"]
    assert folder.name in QWENS or "pixels" not in (out / "training.html").read_text()
    assert {"generation_config.json", "processor_config.json"} <= {p.name for p in out.iterdir()}
    assert fresh(out).processor.chat_template == fresh(folder).processor.chat_template
    answered = medr1(
        *("infer", "--model-path", out, "--batch-file", tiny_vqa_folder() / "validation.json"),
        *("--output-file", tmp_path / "answers.json", "--limit", 2, "--max-new-tokens", 4),
        *("--allow-template", "--device", "cpu"),
    )
    assert answered.returncode == 0, answered.stderr
