"""The tiny checkpoints of Qwen3-VL with experts and of Qwen3.5; medr1's passes with experts."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_qwens import QWENS

from medr1.data.images import load_image
from medr1.data.roots import resolve_image
from medr1.infer.engine import InferencePlan, all_predictions
from medr1.infer.local.engine import LocalEngine
from medr1.infer.local.generic import GenericEngine
from medr1.models.families.family import prompt_inputs
from medr1.models.loading import load_model
from medr1.records import Decoding


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("qwens")
    for name, write_checkpoint in QWENS.items():
        write_checkpoint(root / name)
    return root


@pytest.mark.parametrize("name", QWENS)
def test_the_image_matters_and_answers_have_several_tokens(name, folders, validation):
    loaded = load_model(folders / name, device="cpu", allow_template=True)
    logits, completions = [], set()
    for sample in [sample for sample in validation.samples if sample.images][:3]:
        image = load_image(resolve_image(sample.images[0], validation.image_root)).image
        content = [{"type": "image", "image": image}, {"type": "text", "text": "What is it?"}]
        inputs = prompt_inputs(loaded.processor, [{"role": "user", "content": content}])
        with torch.inference_mode():
            logits.append(loaded.model(**inputs).logits[0, -1])
            output = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)
        completions.add(tuple(output[0, inputs["input_ids"].shape[1] :].tolist()))
    assert min(float((one - logits[0]).abs().max()) for one in logits[1:]) > 0.01
    assert max(len(set(completion)) for completion in completions) > 3


@pytest.mark.parametrize("batch_size", [1, 6])
def test_experts_give_the_answers_of_the_generic_engine(batch_size, folders, validation):
    """The generic engine is compared with plain transformers in `test_families`."""
    loaded = load_model(folders / "qwen3_vl_moe", device="cpu", allow_template=True)
    several = [sample for sample in validation.samples if sample.options][:4]
    opened = next(sample for sample in validation.samples if not sample.options)
    samples = [*several, opened, replace(several[0], id="none", images=())]
    decoding = Decoding(max_new_tokens=8, num_samples=2, temperature=1.5)
    results = []
    for engine, size in ((GenericEngine, 1), (LocalEngine, batch_size)):
        batches = [range(start, start + size) for start in range(0, len(samples), size)]
        plan = InferencePlan(batches, validation.image_root, decoding=decoding)
        results.append(all_predictions(engine(loaded), samples, plan))
    for expected, prediction in zip(*results, strict=True):
        assert prediction.error is None
        assert prediction.model_output == expected.model_output
        assert prediction.samples == expected.samples
        if expected.option_probs is not None:
            assert prediction.option_probs == pytest.approx(expected.option_probs, abs=2e-5)


def test_experts_are_read_in_the_published_layout_too(folders, tmp_path):
    """In Qwen's files, the matrices of experts are those of transformers, transposed."""
    source, copy = folders / "qwen3_vl_moe", tmp_path / "copy"
    shutil.copytree(source, copy)
    weights = load_file(source / "model.safetensors")
    names = [name for name in weights if ".experts." in name]
    assert len(names) == 4 and all(len(set(weights[name].shape)) == 3 for name in names)
    weights |= {name: weights[name].transpose(1, 2).contiguous() for name in names}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    expected, state = (
        load_model(path, device="cpu", allow_template=True).model.state_dict()
        for path in (source, copy)
    )
    assert all(torch.equal(tensor, state[name]) for name, tensor in expected.items())
