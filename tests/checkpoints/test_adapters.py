"""A LoRA adapter loads onto its base, whole or not at all, and runs nothing."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from medr1.checkpoints.integrity import CHECKSUMS, checkpoint_sha256, checksum_faults
from medr1.data.tiny import tiny_vl_folder
from medr1.errors import InputError
from medr1.models.loading import load_model, read_checkpoint_info, write_merged


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits


@pytest.fixture
def lora(adapter, tmp_path):
    return shutil.copytree(adapter[0], tmp_path / "lora")


def settings(folder, **values):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def tensors(folder, change):
    file = folder / "adapter_model.safetensors"
    held = change(load_file(file))
    save_file({name: tensor.contiguous() for name, tensor in held.items()}, file)


def test_merged_it_answers_like_the_adapter_on_its_base_and_so_does_what_is_written(
    adapter, tmp_path, tiny_model
):
    folder, unmerged = adapter
    loaded = load_model(folder, device="cpu")
    merged = logits(loaded.model)
    assert torch.allclose(merged, unmerged, atol=1e-4)
    assert not torch.allclose(merged, logits(tiny_model.model), atol=1e-1)
    assert (loaded.path, loaded.info.prompt) == (folder, "nothink")

    whole = tmp_path / "whole"
    write_merged(loaded, whole)
    again = load_model(whole, device="cpu")
    assert torch.equal(logits(again.model), merged)
    assert checksum_faults(whole) == [] and not (whole / "adapter_config.json").exists()
    assert read_checkpoint_info(whole) == loaded.info
    document = json.loads((whole / "medr1.json").read_text())
    assert document["base_sha256"] == checkpoint_sha256(tiny_vl_folder())
    assert document["adapter_sha256"] == checkpoint_sha256(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    with pytest.raises(InputError, match="not empty"):
        write_merged(loaded, whole)
    write_merged(loaded, whole, overwrite=True)
    assert (tmp_path / "whole.bak" / CHECKSUMS).is_file()


def test_older_names_of_its_tensors_are_understood(lora, adapter):
    tensors(
        lora,
        lambda held: {n.replace(".language_model.layers", ".layers"): t for n, t in held.items()},
    )
    assert torch.allclose(logits(load_model(lora, device="cpu").model), adapter[1], atol=1e-4)


def test_the_base_may_lie_beside_it(lora):
    shutil.copytree(tiny_vl_folder(), lora.parent / "base")
    settings(lora, base_model_name_or_path="../base")
    assert load_model(lora, device="cpu").path == lora


MISFITS = {
    "missing": lambda held: dict(list(held.items())[1:]),
    "left over": lambda held: {**held, "base_model.model.lm_head.lora_C.weight": torch.ones(1)},
    "elsewhere": lambda held: {n.replace("layers.1", "layers.7"): t for n, t in held.items()},
    "mis-shaped": lambda held: {
        n: torch.ones(t.shape[0], 7) if "lora_A" in n else t for n, t in held.items()
    },
}


@pytest.mark.parametrize("how", MISFITS)
def test_an_adapter_for_another_base_names_both(lora, how):
    tensors(lora, MISFITS[how])
    with pytest.raises(InputError) as refused:
        load_model(lora, device="cpu")
    assert str(lora) in str(refused.value) and str(tiny_vl_folder()) in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        {"peft_type": "PROMPT_TUNING"},
        {"eva_config": {"rho": 2}},
        {"trust_remote_code": True},
        {"init_lora_weights": "pissa"},
        {"r": 10**9},
        {"r": "4"},
        {"lora_alpha": None},
        {"alpha_pattern": {"(a+)+$": 1}},
        {"modules_to_save": "x"},
        {"base_model_name_or_path": None},
        {"base_model_name_or_path": "nowhere"},
        {"base_model_name_or_path": "."},
        {"bias": 7},
    ],
)
def test_settings_that_are_not_plain_lora_are_refused(lora, values):
    settings(lora, **values)
    with pytest.raises(InputError):
        load_model(lora, device="cpu", offline=True)


def test_names_for_other_code_are_never_followed(lora, adapter):
    settings(
        lora,
        auto_mapping={"base_model_class": "system", "parent_library": "os"},
        target_modules="(.+)+!",
        megatron_core="evil",
    )
    assert torch.allclose(logits(load_model(lora, device="cpu").model), adapter[1], atol=1e-4)
