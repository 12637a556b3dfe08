"""A checkpoint loads completely or not at all."""

import json
import re
import shutil

import pytest
from safetensors.torch import load_file, save_file

from medr1.data.tiny import tiny_vl_folder
from medr1.errors import InputError
from medr1.models import (
    choose_device,
    find_checkpoint,
    load_model,
    prompt_record,
    read_checkpoint_info,
)


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(tiny_vl_folder(), tmp_path / "model")


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
        ({"prompt_text": TEXT + " Now."}, "prompt_text is not the text of which prompt_sha256"),
        ({"prompt_sha256": None}, "prompt_text is not the text of which prompt_sha256"),
        ({"prompt_text": "Say it."}, "prompt_text does not hold {problem} once"),
        ({"prompt_text": 3}, "prompt_text does not hold"),
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
