"""A checkpoint loads completely or not at all."""

import json
import re
import shutil

import pytest
from safetensors.torch import load_file, save_file

from medr1.checkpoints.structure import resolved_configuration
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.infer.local.engine import predict
from medr1.models.loading import (
    choose_device,
    find_checkpoint,
    load_model,
    load_outline,
    outline,
    prompt_record,
    read_checkpoint_info,
)
from medr1.records import Decoding


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(tiny_vl_folder(), tmp_path / "model")


@pytest.fixture
def sample(validation):
    return validation.samples[0]


def damage(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_the_embedded_model_loads(tiny_model):
    assert not tiny_model.model.training
    assert tiny_model.processor.tokenizer.padding_side == "left"
    assert (tiny_model.info.prompt, tiny_model.info.answer_style) == ("nothink", "text")


def test_a_missing_tensor_is_refused(copy):
    damage(copy, lambda tensors: tensors.pop(sorted(tensors)[3]))
    with pytest.raises(InputError, match="1 missing"):
        load_model(copy, device="cpu")


def test_a_tensor_too_many_is_refused(copy):
    damage(copy, lambda tensors: tensors.update(extra=next(iter(tensors.values())).clone()))
    with pytest.raises(InputError, match="1 unexpected"):
        load_model(copy, device="cpu")


def test_nan_is_refused(copy):
    damage(copy, lambda tensors: tensors[sorted(tensors)[3]].fill_(float("nan")))
    with pytest.raises(InputError, match="NaN"):
        load_model(copy, device="cpu")


def test_a_cut_file_is_refused(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot load"):
        load_model(copy, device="cpu")


def test_pickled_weights_are_not_read(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot load"):
        load_model(copy, device="cpu")


def test_a_folder_without_a_config_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        find_checkpoint(str(tmp_path))


def test_a_device_that_is_not_there_is_refused():
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="cuda is not available"):
            choose_device("cuda")


TEXT = "Look. {problem} Say {answer}."


def recorded(folder, **values):
    (folder / "medr1.json").write_text(json.dumps(values))
    return read_checkpoint_info(folder).prompt


def test_a_recorded_prompt_is_its_name_or_the_text_that_it_was(tmp_path):
    (tmp_path / "mine.txt").write_text(TEXT)
    for prompt, found in (
        ("think", "think"),
        (str(tmp_path / "mine.txt"), TEXT),
        (TEXT, TEXT),
        (None, None),
    ):
        record = prompt_record(prompt)
        assert recorded(tmp_path, **record) == found
        assert prompt_record(recorded(tmp_path, **record)).get("prompt_sha256") == record.get(
            "prompt_sha256"
        )
    another = {**prompt_record(TEXT), "prompt": "think"}
    assert recorded(tmp_path, **another) == TEXT
    assert recorded(tmp_path, prompt="nothink") == "nothink"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"prompt_text": TEXT + " Now."}, "prompt_sha256 is not the hash of prompt_text"),
        ({"prompt_sha256": None}, "prompt_sha256 is not the hash of prompt_text"),
        ({"prompt_text": "Say it."}, "prompt_text must hold {problem} exactly once"),
        ({"prompt_text": 3}, "prompt_text must hold"),
        ({"prompt_text": None}, "unknown prompt 'template'"),
        ({"prompt_text": None, "prompt": ["think"]}, "unknown prompt ['think']"),
    ],
)
def test_a_recorded_prompt_that_was_changed_is_refused(tmp_path, values, says):
    with pytest.raises(InputError, match=re.escape(says)):
        recorded(tmp_path, **{**prompt_record(TEXT), **values})


OLDER = {"model.visual.": "visual.", "model.language_model.": "model."}


@pytest.mark.parametrize("names", ["older", "newer"])
def test_both_spellings_of_the_tensors_load_completely(copy, tiny_model, names):
    def rename(tensors):
        for name in list(tensors):
            new = name
            for today, before in OLDER.items():
                if new.startswith(today):
                    new = before + new.removeprefix(today)
            if names == "newer" and new.startswith("visual."):
                new = "model." + new
            elif names == "newer" and new.startswith("model."):
                new = "model.language_model." + new.removeprefix("model.")
            tensors[new] = tensors.pop(name)
        prefix = "model.visual." if names == "newer" else "visual."
        assert any(name.startswith(prefix) for name in tensors)

    import torch

    damage(copy, rename)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        loaded = load_model(copy, device="cpu").model(input_ids=ids).logits
        assert torch.equal(loaded, tiny_model.model(input_ids=ids).logits)
    pictures = torch.linspace(-1, 1, 16 * 1176).reshape(16, 1176)
    grid = torch.tensor([[1, 4, 4]])
    seen = [
        model.model.visual(pictures, grid_thw=grid).last_hidden_state
        for model in (load_model(copy, device="cpu").model, tiny_model.model)
    ]
    assert torch.equal(*seen)


# --- what a checkpoint asks for beside its weights ---------------------------------------------


def rewrite(file, **values):
    held = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**held, **values}))


KERNEL = "evil-org/evil-kernel"


@pytest.mark.parametrize("part", [None, "text_config", "vision_config"])
@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
@pytest.mark.parametrize("value", [KERNEL, "flash_attention_2", "eager", {"": KERNEL}, 7])
def test_the_attention_is_chosen_here_and_not_by_the_checkpoint(copy, part, key, value):
    config = json.loads((copy / "config.json").read_text())
    (config[part] if part else config)[key] = value
    rewrite(copy / "config.json", **config)
    try:
        config = load_model(copy, device="cpu").model.config
    except InputError as error:  # what is no name of an attention may be refused
        assert not isinstance(value, str) and "config.json is not valid" in str(error)
        return
    parts = (config, config.text_config, config.vision_config)
    assert [one._attn_implementation for one in parts] == ["sdpa"] * 3
    resolved = resolved_configuration(copy, "sdpa")
    parts = (resolved, resolved.text_config, resolved.vision_config)
    assert [one._attn_implementation for one in parts] == ["sdpa"] * 3
    outlined = load_outline(copy, device="cpu").model.config
    assert outlined.text_config._attn_implementation == "eager"


def test_a_kernel_from_a_hub_is_not_run_by_request_either(copy):
    with pytest.raises(InputError, match="is a kernel from a hub"):
        load_model(copy, device="cpu", attention="kernels-community/flash-attn2")


HOSTILE = {
    "encoder_repetition_penalty": -1,
    "stop_strings": ["the"],
    "guidance_scale": 9,
    "assistant_early_exit": 1,
    "return_dict_in_generate": True,
    "dola_layers": "high",
    "forced_eos_token_id": 10**9,
    "is_assistant": True,
    "token_healing": True,
    "constraints": ["x"],
    "force_words_ids": [[1]],
    "num_beams": 4,
    "cache_implementation": "static",
    "output_hidden_states": True,
    "min_length": 20,
    "suppress_tokens": [5, 6, 7],
    "\x1b]0;title\x07": 1,
}


@pytest.mark.parametrize("key", HOSTILE)
def test_only_what_is_known_is_taken_of_the_generation_settings(
    copy, key, tiny_model, sample, caplog
):
    rewrite(copy / "generation_config.json", **{key: HOSTILE[key]})
    loaded = load_model(copy, device="cpu")
    (warning,) = caplog.messages
    assert "generation_config.json: medr1 does not use " in warning and warning.isprintable()
    assert key in warning or not key.isprintable()
    decoding = Decoding(max_new_tokens=4)
    found, usual = (
        predict(model, [sample], image_root=tiny_vqa_folder(), decoding=decoding)
        for model in (loaded, tiny_model)
    )
    assert found == usual


def test_all_that_is_left_out_is_one_warning(copy, caplog):
    rewrite(copy / "generation_config.json", **HOSTILE)
    load_model(copy, device="cpu")
    (warning,) = caplog.messages
    assert "return_dict_in_generate" in warning and "and 7 more;" in warning


@pytest.mark.parametrize(
    ("file", "key", "values"),
    [
        ("generation_config.json", "repetition_penalty", [0, -1, "1", True, 1e300, [1]]),
        ("generation_config.json", "eos_token_id", [10**9, -1, 683, "x", [1, 10**9], [[1]], 1.5]),
        ("generation_config.json", "pad_token_id", [10**9, [1]]),
        ("generation_config.json", "temperature", [-1, "x"]),
        ("generation_config.json", "top_k", [0.5, -1]),
        ("generation_config.json", "do_sample", [2, "yes"]),
        ("config.json", "image_token_id", [10**9, -1, "x", 5]),
        ("config.json", "video_token_id", [10**9]),
        ("config.json", "pad_token_id", [10**9]),
    ],
)
def test_a_value_that_cannot_be_right_is_one_sentence(copy, file, key, values):
    for value in values:
        before = (copy / file).read_text()
        rewrite(copy / file, **{"do_sample": True, key: value})
        with pytest.raises(InputError) as caught:
            load_model(copy, device="cpu")
        assert "\n" not in str(caught.value) and str(copy) in str(caught.value)
        (copy / file).write_text(before)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"text_config": {"rope_parameters": {"mrope_section": [10**9]}}}),
        ("config.json", {"text_config": {"output_hidden_states": [[1]]}}),
        ("config.json", {"is_encoder_decoder": True}),
        ("processor_config.json", {"image_processor": {"image_std": "x"}}),
        ("processor_config.json", {"image_processor": {"image_std": [1, 1, ["x"]]}}),
        ("processor_config.json", {"image_processor": {"resample": {"a": 1}}}),
        ("processor_config.json", {"chat_template": 7}),
        ("processor_config.json", {"processor_class": "Qwen2Tokenizer"}),
        ("tokenizer_config.json", {"model_max_length": [1]}),
        ("tokenizer.json", {"normalizer": 3}),
        ("tokenizer.json", {"decoder": "x"}),
        ("tokenizer.json", {"added_tokens": []}),
    ],
)
def test_what_would_fail_at_every_answer_fails_when_it_is_loaded(copy, file, change):
    document = json.loads((copy / file).read_text())

    def merge(held, new):
        for key, value in new.items():
            if isinstance(value, dict) and isinstance(held.get(key), dict):
                merge(held[key], value)
            else:
                held[key] = value

    merge(document, change)
    (copy / file).write_text(json.dumps(document))
    with pytest.raises(InputError):
        load_model(copy, device="cpu", allow_template=True)


def test_the_settings_that_are_taken(copy, caplog):
    given = {"repetition_penalty": 2, "eos_token_id": [5, 6], "do_sample": True, "top_p": 0.5}
    rewrite(copy / "generation_config.json", temperature=1e-6, num_beams=1, max_length=9, **given)
    found = load_model(copy, device="cpu").model.generation_config
    assert {name: getattr(found, name) for name in given} == given
    assert (found.temperature, found.pad_token_id, found.max_length) == (1e-6, 672, None)
    assert isinstance(found.repetition_penalty, float)
    (copy / "generation_config.json").unlink()
    assert load_model(copy, device="cpu").model.generation_config.eos_token_id == 671
    assert not caplog.messages


def test_an_outline_leaves_a_model_s_attention_as_it_is(tiny_model):
    chosen = tiny_model.model.config._attn_implementation
    outline(tiny_model.model.config, tiny_model.dtype)
    assert tiny_model.model.config._attn_implementation == chosen == "sdpa"


def test_a_tokenizer_with_a_token_that_the_model_has_not_is_refused(copy):
    """Its end of a turn is renamed: the one that the chat template writes is then a new token."""
    text = (copy / "tokenizer.json").read_text()
    (copy / "tokenizer.json").write_text(text.replace('"<|im_end|>"', '"linear"', 1))
    with pytest.raises(InputError, match="its tokenizer has a token 683, its model does not"):
        load_model(copy, device="cpu")


@pytest.mark.parametrize("file", ["processor_config.json", "tokenizer.json"])
def test_a_processor_without_one_of_its_files_is_refused(copy, file):
    (copy / file).unlink()
    with pytest.raises(InputError, match=rf"is not complete: it has no {file}.*Copy the file"):
        load_model(copy, device="cpu")
