"""`medr1 export`: a folder for another engine, which medr1 and transformers read as before."""

import json
import os
import shutil

import pytest
import torch
from architectures import ARCHITECTURES
from in_process import medr1

from medr1.api import export_checkpoint
from medr1.checkpoints.flat_config import flat_config
from medr1.checkpoints.integrity import checkpoint_sha256, checksum_faults, loaded_files
from medr1.checkpoints.writing import link_or_copy
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.models.loading import load_model, read_checkpoint_info

LETTERS = tiny_vl_folder().with_name("tiny-vl-letters")


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits


def configuration(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("engine", ["mlx", "vllm"])
def test_the_export_is_the_same_model_in_a_complete_checkpoint(engine, tmp_path):
    folder = export_checkpoint(LETTERS, engine=engine, output_dir=tmp_path / "out").folder
    ours, theirs = load_model(folder, device="cpu"), load_model(LETTERS, device="cpu")
    assert torch.equal(logits(ours.model), logits(theirs.model))
    for part in ("text_config", "vision_config"):
        pair = [getattr(loaded.model.config, part).to_dict() for loaded in (ours, theirs)]
        assert pair[0] == pair[1], part
    assert ours.info == theirs.info
    assert checksum_faults(folder) == []
    names = {path.name for path in loaded_files(LETTERS)} | {"medr1.json", "SHA256SUMS"}
    assert {path.name for path in folder.iterdir()} == names
    record = json.loads((folder / "medr1.json").read_text())
    assert record["exported_for"] == engine and record["exported_from"] == "tiny-vl-letters"
    assert record["exported_from_sha256"] == checkpoint_sha256(LETTERS)


def test_only_mlx_has_a_flat_configuration(tmp_path):
    nested = configuration(tiny_vl_folder())
    for engine in ("mlx", "vllm"):
        export_checkpoint(tiny_vl_folder(), engine=engine, output_dir=tmp_path / engine)
    flat = configuration(tmp_path / "mlx")
    assert flat == flat_config(nested) and configuration(tmp_path / "vllm") == nested
    assert (
        "hidden_size" not in nested and flat["hidden_size"] == nested["text_config"]["hidden_size"]
    )
    assert flat["rope_scaling"]["type"] == "mrope" and "model_type" not in flat["vision_config"]
    export_checkpoint(tmp_path / "mlx", engine="mlx", output_dir=tmp_path / "again")
    assert configuration(tmp_path / "again") == flat


def test_the_weights_are_not_copied_and_the_source_is_not_changed(tmp_path):
    source = shutil.copytree(tiny_vl_folder(), tmp_path / "source")
    before = checkpoint_sha256(source)
    folder = export_checkpoint(source, engine="mlx", output_dir=tmp_path / "out").folder
    weights = "model.safetensors"
    assert os.path.samefile(source / weights, folder / weights)
    assert checkpoint_sha256(source) == before and checksum_faults(source) == []


def test_without_hard_links_the_files_are_copied(tmp_path, monkeypatch):
    def link(*_):
        raise PermissionError

    (tmp_path / "file").write_text("text")
    (tmp_path / "symbolic").symlink_to("file")
    link_or_copy(tmp_path / "symbolic", tmp_path / "linked")
    monkeypatch.setattr(os, "link", link)
    link_or_copy(tmp_path / "symbolic", tmp_path / "copied")
    for name, is_same in (("linked", True), ("copied", False)):
        path = tmp_path / name
        assert path.read_text() == "text" and not path.is_symlink()
        assert os.path.samefile(path, tmp_path / "file") == is_same


def test_the_answers_of_infer_are_the_same(tmp_path):
    def results(model, name):
        done = medr1(
            *("infer", "--model-path", model, "--batch-file", tiny_vqa_folder() / "test.json"),
            *("--limit", 8, "--batch-size", 8, "--max-new-tokens", 16, "--device", "cpu"),
            *("--output-file", tmp_path / name),
        )
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / name).read_text())["results"]

    folder = export_checkpoint(tiny_vl_folder(), engine="mlx", output_dir=tmp_path / "out").folder
    assert results(folder, "a.json") == results(tiny_vl_folder(), "b.json")


@pytest.mark.parametrize("engine", ["mlx", "vllm"])
def test_an_adapter_is_merged(engine, adapter, tmp_path):
    output = tmp_path / "out"
    folder = export_checkpoint(adapter[0], engine=engine, output_dir=output, offline=True).folder
    merged = load_model(adapter[0], device="cpu")
    assert torch.equal(logits(load_model(folder, device="cpu").model), logits(merged.model))
    assert checksum_faults(folder) == [] and not (folder / "adapter_config.json").exists()
    assert read_checkpoint_info(folder) == merged.info
    record = json.loads((folder / "medr1.json").read_text())
    assert record["method"] == "merge" and record["exported_from"] == adapter[0].name
    assert ("hidden_size" in configuration(folder)) == (engine == "mlx")


def test_the_command_prints_the_folder_and_how_to_serve_it(tmp_path):
    options = ("--output-dir", tmp_path / "my model", "--offline")
    done = medr1("export", "tiny-vl", "--for", "vllm", *options)
    folder, command = done.stdout.splitlines()
    assert done.returncode == 0 and folder == str(tmp_path / "my model")
    assert command == f"vllm serve '{folder}' --served-model-name 'my model'"
    again = medr1("export", "tiny-vl", "--for", "mlx", *options)
    assert again.returncode == 2 and "is not empty" in again.stderr and not again.stdout
    third = medr1("export", "tiny-vl", "--for", "mlx", *options, "--overwrite", "--json")
    document = json.loads(third.stdout)
    assert document["folder"] == folder
    assert document["command"].startswith(f"python -m mlx_vlm.server --model '{folder}' ")
    assert (tmp_path / "my model.bak" / "config.json").is_file()


def test_what_cannot_be_exported_is_one_sentence(tmp_path, copy):
    def refusal(checkpoint, engine):
        done = medr1("export", checkpoint, "--for", engine, "--output-dir", tmp_path / "out")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert not (tmp_path / "out").exists()
        return done.stderr

    assert "nothing-here" in refusal("nothing-here", "vllm")
    assert (
        "is not one of 'mlx', 'vllm'"
        in medr1(*("export", copy, "--for", "sglang", "--output-dir", tmp_path / "out")).stderr
    )
    with pytest.raises(InputError, match="engine"):
        export_checkpoint(copy, engine="sglang", output_dir=tmp_path / "out")
    changed = {**configuration(copy), "model_type": "llama"}
    (copy / "config.json").write_text(json.dumps(changed))
    assert "model_type 'llama' is not one that medr1 loads" in refusal(copy, "vllm")


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_mlx_can_have_the_architectures_whose_configuration_medr1_knows(
    kind, random_model, tmp_path
):
    loaded = random_model(kind)
    source = tmp_path / "source"
    loaded.model.save_pretrained(source)
    loaded.processor.save_pretrained(source)
    export_checkpoint(source, engine="vllm", output_dir=tmp_path / "vllm")
    if kind in ("qwen3_vl", "qwen3_vl_moe"):
        with pytest.raises(InputError, match=rf"is a {kind}\. mlx-vlm needs another config"):
            export_checkpoint(source, engine="mlx", output_dir=tmp_path / "mlx")
        assert not (tmp_path / "mlx").exists()
        return
    folder = export_checkpoint(source, engine="mlx", output_dir=tmp_path / "mlx").folder
    pair = [logits(load_model(path, device="cpu").model) for path in (source, folder)]
    assert torch.equal(*pair)
    assert configuration(folder)["hidden_size"] > 0
