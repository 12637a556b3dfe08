"""A configuration made to exhaust the machine is refused before anything is allocated."""

import json
import subprocess
import sys

import pytest
from measured import at_most

from medr1.checkpoints.structure import require_sound, weight_files
from medr1.errors import InputError
from medr1.models.families.qwen import QwenFamily, count_parameters


def change(file, **values):
    document = json.loads(file.read_text())
    for path, value in values.items():
        inner = document
        *above, last = path.split("__")
        for key in above:
            inner = inner[key]
        inner[last] = value
    file.write_text(json.dumps(document))


BOMBS = {
    "text_config__num_hidden_layers": [10**6, 1000, 0, -1, "2", True, 2.5],
    "text_config__hidden_size": [10**9, 1 << 15],
    "text_config__vocab_size": [10**9, 1 << 21],
    "text_config__num_attention_heads": [0, 5],
    "text_config__num_key_value_heads": [0, 3],
    "text_config__intermediate_size": [1 << 19],
    "text_config": ["x", [1]],
    "vision_config__depth": [10**6, 1000],
    "vision_config__num_heads": [0, 7],
    "vision_config__patch_size": [0],
    "vision_config": [7],
    "eos_token_id": [[1] * 10**6],
    "model_type": ["bert", "evil", 7, None],
    "quantization_config": [{"bits": 4}],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in BOMBS.items() for value in values]
)
def test_a_configuration_bomb_is_refused_at_once(copy, key, value):
    from transformers import AutoConfig  # noqa: F401 - its import is not what is timed

    change(copy / "config.json", **{key: value})
    with at_most(100), pytest.raises(InputError, match=r"config\.json"):
        require_sound(copy)


def test_what_is_left_out_does_not_become_a_model_of_72_billion(copy):
    (copy / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    with pytest.raises(InputError, match="the files hold"):
        require_sound(copy)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("generation_config.json", {"eos_token_id": [1] * 10**6}),
        ("processor_config.json", {"image_processor__size__longest_edge": 10**12}),
        ("processor_config.json", {"image_processor__max_pixels": 10**12}),
        ("processor_config.json", {"image_processor__patch_size": 0}),
    ],
)
def test_the_other_files_are_held_to_bounds_too(copy, file, values):
    change(copy / file, **values)
    with pytest.raises(InputError, match=file.replace(".", r"\.")):
        require_sound(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"model_type": NaN}', "\x00"])
def test_a_damaged_configuration_is_one_sentence(copy, text):
    (copy / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        require_sound(copy)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "x.bin", "gone.safetensors"]
)
def test_an_index_names_files_of_its_folder_alone(copy, name):
    (copy / "model.safetensors").rename(copy.parent / "model.safetensors")
    index = {"weight_map": {"a": name}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"index\.json"):
        weight_files(copy)


def sizes(kind, **text):
    from transformers import Qwen2_5_VLConfig, Qwen2VLConfig, Qwen3VLConfig, Qwen3VLMoeConfig

    wide = text.get("hidden_size")
    if kind == "qwen2_vl":
        return Qwen2VLConfig(**text, vision_config={"hidden_size": wide} if wide else None)
    if kind == "qwen2_5_vl":
        vision = {"hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": wide}
        return Qwen2_5_VLConfig(**text, vision_config=vision if wide else None)
    if kind == "qwen3_vl_moe":
        vision = {"out_hidden_size": wide or 2048}
        return Qwen3VLMoeConfig(text_config=text, vision_config=vision)
    return Qwen3VLConfig()


TWO = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28}
THREE = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36}
EXPERTS = {"num_experts": 128, "moe_intermediate_size": 768, "num_attention_heads": 32}
HEADS = {"num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("qwen2_vl", {}),
        ("qwen2_5_vl", {}),
        ("qwen3_vl", {}),
        ("qwen2_vl", {**TWO, **HEADS, "num_attention_heads": 12}),
        ("qwen2_5_vl", {**THREE, **HEADS, "num_attention_heads": 16}),
        ("qwen3_vl_moe", {**EXPERTS, "num_hidden_layers": 48}),
        ("qwen3_vl_moe", {**EXPERTS, "num_hidden_layers": 6, "mlp_only_layers": [1]}),
        ("qwen3_vl_moe", {**EXPERTS, "num_hidden_layers": 5, "decoder_sparse_step": 2}),
    ],
)
def test_the_estimate_is_what_transformers_builds(kind, text):
    import torch
    from transformers import AutoModelForImageTextToText

    config = sizes(kind, **text)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    built = sum(parameter.numel() for parameter in model.parameters())
    assert count_parameters(config) == pytest.approx(built, rel=0.01)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ({"num_experts": 4, "num_experts_per_tok": 5}, "cannot have 5 of 4 experts"),
        ({"num_experts": 0}, "of 0 experts"),
        ({"moe_intermediate_size": 0}, "moe_intermediate_size is 0"),
        ({"decoder_sparse_step": 0}, "decoder_sparse_step is 0"),
    ],
)
def test_experts_that_no_model_can_have_are_refused(text, says):
    with pytest.raises(ValueError, match=says):
        QwenFamily().require_valid(sizes("qwen3_vl_moe", **text))


LOOKED_AT_IN_A_PROCESS = """
import json, pathlib, resource, sys
import transformers.models.qwen2_5_vl.modeling_qwen2_5_vl
from medr1.errors import InputError
from medr1.models.loading import load_model
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
folder = pathlib.Path(sys.argv[1])
load_model(folder, device="cpu")
before = peak()
for name, keys, value in json.load(sys.stdin):
    file = folder / name
    text = file.read_text()
    inner = document = json.loads(text)
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = value
    file.write_text(json.dumps(document))
    try:
        load_model(folder, device="cpu")
    except InputError as error:
        assert "\\n" not in str(error), error
    else:
        print("accepted:", name, keys, value)
    file.write_text(text)
print(peak() - before)
"""


def test_a_bomb_is_refused_before_it_takes_memory(copy):
    """In a process of its own: the peak of its memory above that of loading the checkpoint."""
    bombs = [
        ("config.json", path.split("__"), value)
        for path, values in BOMBS.items()
        for value in values
    ]
    text, vision = ["text_config"], ["vision_config"]
    bombs += [("config.json", [*text, key], 10**9) for key in ("head_dim", "bos_token_id")]
    bombs += [("config.json", [*vision, key], 10**9) for key in ("window_size", "in_channels")]
    bombs += [("config.json", [*vision, "spatial_merge_size"], 10**12)]
    bombs += [("config.json", [*text, "layer_types"], ["full_attention"] * 10**6)]
    bombs += [("config.json", [key], 10**9) for key in ("image_token_id", "video_token_id")]
    bombs += [("generation_config.json", ["eos_token_id"], list(range(10**6)))]
    for key in ("max_pixels", "min_pixels", "patch_size", "merge_size", "temporal_patch_size"):
        bombs += [("processor_config.json", ["image_processor", key], 10**12)]
    for key in ("shortest_edge", "longest_edge"):
        bombs += [("processor_config.json", ["image_processor", "size", key], 10**12)]
    bombs += [("processor_config.json", ["image_processor", "size", "shortest_edge"], 10**9)]
    done = subprocess.run(
        [sys.executable, "-c", LOOKED_AT_IN_A_PROCESS, str(copy)],
        input=json.dumps(bombs), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < 100, done.stdout
