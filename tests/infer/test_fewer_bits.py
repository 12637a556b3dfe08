"""Answers of a language model in 4 and 8 bits, each against plain transformers."""

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from in_process import medr1
from safetensors.torch import load_file, save_file
from tiny_families import FAMILIES
from transformers import AutoModelForImageTextToText, AutoProcessor

from medr1.data.images import load_image
from medr1.data.roots import resolve_image
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.infer.local.engine import predict
from medr1.infer.options import answer_strings
from medr1.models.loading import load_model, read_checkpoint_info
from medr1.models.quantization import require_quantizing
from medr1.prompts import user_text
from medr1.records import Decoding

QUESTIONS = tiny_vqa_folder() / "validation.json"
BITS = pytest.mark.parametrize("bits", [4, 8])
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is in the extra qlora only"
)


@pytest.fixture(scope="module", params=["tiny-vl", "gemma3", "internvl", "smolvlm"])
def folder(request, tmp_path_factory):
    if request.param == "tiny-vl":
        return tiny_vl_folder()
    path = tmp_path_factory.mktemp("families") / request.param
    FAMILIES[request.param](path)
    return path


def infer(folder, output, *options, number=4):
    return medr1(
        *("infer", "--model-path", folder, "--batch-file", QUESTIONS, "--output-file", output),
        *("--limit", number, "--max-new-tokens", 8, "--device", "cpu", "--allow-template"),
        *options,
    )


def plain_model(folder, bits):
    """The model as transformers loads it in 4 or 8 bits, with the vision tower in full."""
    from transformers import BitsAndBytesConfig

    beside = ["visual", "vision_tower", "multi_modal_projector", "vision_model", "connector"]
    quantization = BitsAndBytesConfig(
        load_in_4bit=bits == 4,
        load_in_8bit=bits == 8,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=[*(f"model.{name}" for name in beside), "lm_head"],
    )
    model = AutoModelForImageTextToText.from_pretrained(
        folder, quantization_config=quantization, dtype=torch.float32, device_map={"": "cpu"}
    )
    for module in model.modules():
        module.support_avx512bf16_for_cpu = False  # kernels for bfloat16 on some CPUs
    return model.eval()


def plain_inputs(processor, sample, root, style, answer=""):
    images = [load_image(resolve_image(name, root)).image for name in sample.images]
    content = [{"type": "image"} for _ in images]
    content.append({"type": "text", "text": user_text(sample, "nothink", style)})
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return processor(
        text=[text + answer], images=[images], return_tensors="pt", add_special_tokens=False
    )


def plain_completion(processor, model, sample, root, style):
    inputs = plain_inputs(processor, sample, root, style)
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    tokens = output[0, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()


def plain_probabilities(processor, model, sample, root, style):
    length = plain_inputs(processor, sample, root, style)["input_ids"].shape[1]
    logps = []
    for string in answer_strings(sample, "nothink", style).values():
        inputs = plain_inputs(processor, sample, root, style, string)
        with torch.inference_mode():
            all_logps = model(**inputs).logits[0].double().log_softmax(-1)
        ids = inputs["input_ids"][0]
        logps.append(sum(all_logps[place - 1, ids[place]] for place in range(length, len(ids))))
    return torch.stack(logps).softmax(0).tolist()


@needs_bitsandbytes
@BITS
def test_completions_and_probabilities_are_those_of_transformers(
    folder, bits, tmp_path, validation
):
    output = tmp_path / "r.json"
    done = infer(folder, output, f"--load-in-{bits}bit", "--prompt", "nothink")
    assert done.returncode == 0, done.stderr
    model, document = plain_model(folder, bits), json.loads(output.read_text())
    kept = {name.split(".")[1] for name, p in model.named_parameters() if p.dtype.is_floating_point}
    assert kept & {"visual", "vision_tower", "vision_model"}
    assert {p.dtype for p in model.parameters()} & {torch.uint8, torch.int8}
    processor = AutoProcessor.from_pretrained(folder)
    style = read_checkpoint_info(folder).answer_style
    for sample, entry in zip(validation.samples, document["results"], strict=False):
        assert entry["error"] is None
        plain = (processor, model, sample, validation.image_root, style)
        # In 8 bits, what a token gets depends on the tokens that are processed with it
        # (`test_8_bits_differ_by_outliers_only`).
        if bits == 4:
            assert entry["model_output"] == plain_completion(*plain)
        if sample.options:
            probabilities = list(entry["option_probs"].values())
            limit = 2e-2 if bits == 8 else 2e-5
            assert probabilities == pytest.approx(plain_probabilities(*plain), abs=limit)
    meta = document["meta"]
    assert (meta["dtype"], meta["quantization"]) == ("float32", f"{bits}bit")
    assert meta["versions"]["bitsandbytes"]


@needs_bitsandbytes
def test_8_bits_differ_by_outliers_only(folder, validation):
    from transformers import BitsAndBytesConfig

    without = BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    loaded = load_model(folder, device="cpu", quantization=without, allow_template=True)
    samples = [sample for sample in validation.samples if sample.options][:3]
    root, style = validation.image_root, loaded.info.answer_style
    decoding = Decoding(max_new_tokens=8)
    predictions = predict(loaded, samples, image_root=root, prompt="nothink", decoding=decoding)
    for sample, prediction in zip(samples, predictions, strict=True):
        plain = (loaded.processor, loaded.model, sample, root, style)
        assert prediction.model_output == plain_completion(*plain)
        probabilities = list(prediction.option_probs.values())
        assert probabilities == pytest.approx(plain_probabilities(*plain), abs=2e-5)


@needs_bitsandbytes
def test_results_with_other_bits_are_another_run(tmp_path):
    output = tmp_path / "r.json"
    assert infer(tiny_vl_folder(), output).returncode == 0
    assert "quantization" not in json.loads(output.read_text())["meta"]
    for options in (["--load-in-4bit"], ["--load-in-8bit"]):
        refused = infer(tiny_vl_folder(), output, *options)
        assert refused.returncode == 2 and "quantization" in refused.stderr
        assert infer(tiny_vl_folder(), output, *options, "--overwrite").returncode == 0
        again = infer(tiny_vl_folder(), output, *options)
        assert again.returncode == 0 and "nothing to do" in again.stderr
    refused = infer(tiny_vl_folder(), output)
    assert refused.returncode == 2 and "quantization" in refused.stderr


@needs_bitsandbytes
def test_the_evaluation_tells_the_bits(tmp_path):
    output = tmp_path / "r.json"
    assert infer(tiny_vl_folder(), output, "--load-in-4bit").returncode == 0
    done = medr1("eval", output, "--data", QUESTIONS, "--output-dir", tmp_path / "eval")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "eval" / "report.html").read_text()
    assert "quantized to 4bit" in page


@needs_bitsandbytes
def test_batches_and_permuted_options_in_4_bits_are_those_of_one_at_a_time(tmp_path):
    probabilities = []
    for size in (1, 8):
        output = tmp_path / f"{size}.json"
        done = infer(
            *(tiny_vl_folder(), output, "--load-in-4bit", "--batch-size", size),
            *("--permute", 2, "--dtype", "float32"),
            number=8,
        )
        assert done.returncode == 0, done.stderr
        results = json.loads(output.read_text())["results"]
        probabilities.append([p for e in results for p in (e["option_probs"] or {}).values()])
    assert len(probabilities[0]) > 8
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-4)


@needs_bitsandbytes
def test_robustness_in_8_bits(tmp_path):
    done = medr1(
        *("robustness", "--model-path", tiny_vl_folder(), "--batch-file", QUESTIONS, "--limit", 2),
        *("--output-dir", tmp_path, "--mode", "options", "--perturbations", "jpeg"),
        *("--severities", "1", "--device", "cpu", "--load-in-8bit"),
    )
    assert done.returncode == 0, done.stderr
    meta = json.loads((tmp_path / "results.json").read_text())["meta"]
    assert meta["quantization"] == "8bit"


@needs_bitsandbytes
@BITS
def test_nan_is_refused_in_fewer_bits_too(bits, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_vl_folder(), copy, ignore=shutil.ignore_patterns("SHA256SUMS"))
    tensors = load_file(copy / "model.safetensors")
    name = next(key for key in tensors if "layers.0.mlp.down_proj" in key)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    refused = infer(copy, tmp_path / "r.json", f"--load-in-{bits}bit")
    assert refused.returncode == 2 and "holds NaN or infinity" in refused.stderr


@needs_bitsandbytes
def test_an_adapter_is_refused(adapter, tmp_path):
    refused = infer(adapter[0], tmp_path / "r.json", "--load-in-4bit")
    assert refused.returncode == 2
    assert "is an adapter, which cannot be merged into fewer bits" in refused.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--load-in-4bit", "--load-in-8bit"], "exclude each other"),
        (
            ["--load-in-8bit", "--engine", "openai", "--base-url", "http://127.0.0.1:1/v1"],
            "--load-in-8bit needs --engine local",
        ),
    ],
)
def test_what_does_not_fit_together_is_one_sentence(options, sentence, tmp_path):
    # No model is loaded: there is none of this name.
    batch = infer("no-such-model", tmp_path / "r.json", *options)
    asked = medr1(
        *("infer", "--model-path", "no-such-model", "--image-path", "x.png", "--question", "Why?"),
        *options,
    )
    perturbed = medr1(
        *("robustness", "--model-path", "no-such-model", "--batch-file", QUESTIONS),
        *("--output-dir", tmp_path, *options),
    )
    for refused in (batch, asked, perturbed):
        assert refused.returncode == 2 and sentence in refused.stderr


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_bitsandbytes_the_message_names_the_extra(tmp_path):
    refused = infer("no-such-model", tmp_path / "r.json", "--load-in-4bit")
    assert refused.returncode == 2 and "pip install -e '.[qlora]'" in refused.stderr


@needs_bitsandbytes
def test_kernels_from_a_hub_are_refused_on_mps(tmp_path, monkeypatch):
    if find_spec("kernels") is None and find_spec("bitsandbytes.backends.mps") is not None:
        require_quantizing(torch.device("mps"))
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    require_quantizing(torch.device("cpu"))
    with pytest.raises(InputError, match="on MPS"):
        require_quantizing(torch.device("mps"))
