"""What most tests need: the embedded model, loaded once, and the embedded questions."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # as medr1.cli.main has it
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that spin slow other processes down

import architectures
import pytest

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder


@pytest.fixture(scope="session")
def tiny_model():
    from medr1.models.loading import load_model

    return load_model(tiny_vl_folder(), device="cpu")


@pytest.fixture(scope="session")
def validation():
    return read_questions(tiny_vqa_folder() / "validation.json")


@pytest.fixture(scope="session")
def letters_model():
    from medr1.models.loading import load_model

    return load_model(tiny_vl_folder().with_name("tiny-vl-letters"), device="cpu")


@pytest.fixture(scope="session")
def random_model(tiny_model):
    """Makes a model of a class with random weights, of the embedded one's sizes and tokens."""
    return lambda kind: architectures.random_model(kind, tiny_model)


@pytest.fixture(scope="session")
def adapter(tmp_path_factory):
    """A folder with a LoRA adapter for tiny-vl, and the logits of it on its base, unmerged."""
    import torch
    from peft import LoraConfig, get_peft_model

    from medr1.models.loading import load_model

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
