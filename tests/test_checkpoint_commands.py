"""`medr1 verify` and `medr1 merge`, as they are typed."""

import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from medr1.checkpoints.integrity import write_checksums
from medr1.cli import cli
from medr1.data.tiny import tiny_vl_folder


@pytest.fixture
def copy(tmp_path):
    ignore = shutil.ignore_patterns("SHA256SUMS")
    return shutil.copytree(tiny_vl_folder(), tmp_path / "model", ignore=ignore)


def run(*args):
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def verdicts(folder):
    result = run("verify", folder, "--json", "--offline")
    document = json.loads(result.stdout)
    assert result.exit_code == (0 if document["ok"] else 2), result.output
    return {check["check"]: check["ok"] for check in document["checks"]}


def test_a_whole_checkpoint_passes_and_says_what_could_not_be_checked(copy):
    assert all(verdicts(tiny_vl_folder()).values())
    result = run("verify", copy)
    assert result.exit_code == 0, result.output
    assert "tensors in 1 file\n" in result.stdout
    assert "?      bytes: there is no SHA256SUMS" in result.stdout
    assert verdicts(copy)["bytes"] is None
    write_checksums(copy)
    assert all(verdicts(copy).values())


def test_a_flipped_byte_is_found(copy):
    write_checksums(copy)
    file = copy / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1001] ^= 1
    file.write_bytes(data)
    result = run("verify", copy)
    assert result.exit_code == 2
    assert "FAILED bytes: model.safetensors has changed" in result.stdout


def test_each_fault_fails_its_own_check(copy):
    (copy / "chat_template.jinja").write_text("{{ messages[0].content[1].text }}")
    assert [name for name, ok in verdicts(copy).items() if ok is False] == ["template"]
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    found = verdicts(copy)
    assert not any(found[name] for name in ("configuration", "headers", "values", "loading"))


def test_merge_writes_what_verify_passes(copy, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model

    from medr1.models.loading import load_model

    torch.manual_seed(0)
    settings = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    model = get_peft_model(load_model(copy, device="cpu").model, settings)
    model.peft_config["default"].base_model_name_or_path = "../model"
    model.save_pretrained(tmp_path / "lora")
    assert False not in verdicts(tmp_path / "lora").values()

    args = ("merge", tmp_path / "lora", "--output-dir", tmp_path / "whole", "--offline")
    result = run(*args)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'whole'}\n"
    assert all(verdicts(tmp_path / "whole").values())
    again = run(*args)
    assert again.exit_code == 2 and "not empty" in again.stderr
    whole = run("merge", tmp_path / "whole", "--output-dir", tmp_path / "more")
    assert whole.exit_code == 2 and "no adapter_config.json" in whole.stderr

    code = "import sys; sys.modules['peft'] = None; from medr1.cli import main; main()"
    command = [sys.executable, "-c", code, "merge", tmp_path / "lora", "--output-dir"]
    bare = subprocess.run([*command, tmp_path / "bare"], capture_output=True, text=True)
    assert bare.returncode == 2 and "pip install -e '.[train]'" in bare.stderr, bare.stderr


def test_what_is_not_taken_of_the_generation_settings_is_said(copy):
    assert "ok     generation: all settings are used" in run("verify", copy).stdout
    file = copy / "generation_config.json"
    held = json.loads(file.read_text())
    file.write_text(json.dumps({**held, "stop_strings": ["the"], "is_assistant": True}))
    result = run("verify", copy)
    assert result.exit_code == 0, result.output
    said = f"{file}: medr1 does not use stop_strings, is_assistant;"
    assert f"?      generation: {said}" in result.stdout
    assert said in result.stderr  # the warning of every command that loads it
    file.write_text(json.dumps({**held, "repetition_penalty": 0}))
    result = run("verify", copy)
    assert result.exit_code == 2 and "FAILED generation: " in result.stdout
    assert "repetition_penalty is '0', expected a number from 0.01 to 100" in result.stdout
    file.write_text(json.dumps(held))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "image_token_id": 10**9}))
    result = run("verify", copy)
    assert result.exit_code == 2 and "FAILED configuration: " in result.stdout
    assert "image_token_id is 1000000000, of 683 tokens" in result.stdout
