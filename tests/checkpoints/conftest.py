"""A copy of the embedded checkpoint to damage, and an adapter trained on nothing."""

import shutil

import pytest

from medr1.data.tiny import tiny_vl_folder


@pytest.fixture
def copy(tmp_path):
    ignore = shutil.ignore_patterns("SHA256SUMS")
    return shutil.copytree(tiny_vl_folder(), tmp_path / "model", ignore=ignore)


@pytest.fixture(scope="session")
def adapter(tmp_path_factory):
    """A folder with a LoRA adapter for tiny-vl, and the logits of it on its base, unmerged."""
    import torch
    from peft import LoraConfig, get_peft_model

    from medr1.models import load_model

    folder = tmp_path_factory.mktemp("lora") / "adapter"
    loaded = load_model(tiny_vl_folder(), device="cpu")
    torch.manual_seed(0)
    model = get_peft_model(
        loaded.model,
        LoraConfig(
            r=4,
            target_modules=r".*language_model.*(q_proj|down_proj)",
            init_lora_weights=False,
        ),
    ).eval()
    model.peft_config["default"].base_model_name_or_path = str(tiny_vl_folder())
    model.save_pretrained(folder)
    with torch.no_grad():
        return folder, model(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits
