"""A checkpoint loads completely or not at all."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from medr1.data.tiny import tiny_vl_folder
from medr1.errors import InputError
from medr1.models import choose_device, find_checkpoint, load_model


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
