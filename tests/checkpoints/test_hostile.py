"""Loading a checkpoint runs nothing that is in it: each trap would leave a file behind."""

import json
import os
import pickle
import shutil

import pytest
from in_process import medr1
from PIL import Image

from medr1.data.tiny import tiny_vl_folder
from medr1.errors import InputError
from medr1.models.loading import load_model, load_processor


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


def pickled(canary):
    class Trap:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    return pickle.dumps(Trap())


def script(canary):
    return f"open({str(canary)!r}, 'w')\nclass Evil: pass\n"


def update(file, **values):
    held = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**held, **values}))


def set_auto_maps(folder, canary):
    (folder / "evil.py").write_text(script(canary))
    kinds = ("AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoProcessor")
    kinds += ("AutoTokenizer", "AutoImageProcessor", "AutoVideoProcessor")
    auto_map = dict.fromkeys(kinds, "evil.Evil")
    auto_map["AutoTokenizer"] = ["evil.Evil", "evil.Evil"]
    for name in ("config", "processor_config", "preprocessor_config", "tokenizer_config"):
        update(folder / f"{name}.json", auto_map=auto_map)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_pickled_weights_do_not_run(copy, canary, name):
    (copy / "model.safetensors").unlink()
    (copy / name).write_bytes(pickled(canary))
    with pytest.raises(InputError, match="cannot load"):
        load_model(copy, device="cpu")
    assert not canary.exists()


def test_pickles_and_programs_beside_the_weights_do_not_run(copy, canary):
    for name in ("training_args.bin", "optimizer.pt", "pytorch_model.bin", "adapter_model.bin"):
        (copy / name).write_bytes(pickled(canary))
    (copy / "custom_generate").mkdir()
    (copy / "custom_generate" / "generate.py").write_text(script(canary))
    load_model(copy, device="cpu")
    assert not canary.exists()


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "evil"])
def test_a_yes_on_stdin_does_not_run_code_that_auto_map_names(copy, canary, model_type, tmp_path):
    set_auto_maps(copy, canary)
    update(copy / "config.json", model_type=model_type)
    Image.new("RGB", (56, 56)).save(tmp_path / "x.png")
    asked = ("--image-path", tmp_path / "x.png", "--question", "Which? A)CT, B)MRI")
    few = ("--max-new-tokens", "2", "--device", "cpu", "--offline")
    done = medr1("infer", "--model-path", copy, *asked, *few, stdin="y\ny\ny\n")
    assert not canary.exists()
    # of a known architecture the code is not needed and not looked at, or it is refused
    assert done.returncode == (2 if model_type == "evil" else 0), done.stderr


def test_a_pickled_adapter_does_not_run(adapter, canary, tmp_path):
    folder = shutil.copytree(adapter[0], tmp_path / "lora")
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickled(canary))
    with pytest.raises(InputError, match=r"no adapter_model\.safetensors"):
        load_model(folder, device="cpu")
    assert not canary.exists()


def test_an_adapter_inside_a_checkpoint_is_an_adapter(copy, canary):
    update(copy / "adapter_config.json", peft_type="LORA", base_model_name_or_path="x", r=1)
    (copy / "adapter_model.bin").write_bytes(pickled(canary))
    with pytest.raises(InputError):
        load_model(copy, device="cpu")
    assert not canary.exists()


def test_the_traps_are_real(canary):
    """Else the tests above would hold of anything."""
    pickle.loads(pickled(canary))
    assert canary.exists()
    canary.unlink()
    exec(script(canary), {})
    assert canary.exists()


def test_a_processor_with_an_empty_size_is_refused(tmp_path):
    folder = tmp_path / "x"
    shutil.copytree(tiny_vl_folder(), folder)
    document = json.loads((folder / "processor_config.json").read_text())
    document["image_processor"]["size"] = []
    (folder / "processor_config.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="cannot load the checkpoint"):
        load_processor(folder, folder)
