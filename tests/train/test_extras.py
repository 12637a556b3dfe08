"""Packages that only some settings need: named before anything is loaded."""

import sys
from importlib.util import find_spec

import pytest
from click.testing import CliRunner
from in_process import medr1

from medr1.cli import cli
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder

pytest.importorskip("trl")

from medr1.train.extras import require_extras, required_packages

NEEDED = (
    *("--model-path", str(tiny_vl_folder()), "--data", str(tiny_vqa_folder() / "validation.json")),
    *("--device", "cpu", "--num-generations", "4", "--batch-size", "4"),
)


@pytest.mark.parametrize(
    ("fields", "packages"),
    [
        ({}, []),
        ({"use_peft": True, "load_in_4bit": True}, ["peft", "bitsandbytes"]),
        ({"optim": "paged_adamw_8bit"}, ["bitsandbytes"]),
        ({"optim": "adamw_torch_fused"}, []),
        ({"optim": "adamw_torch_8bit"}, []),
        ({"attn_implementation": "flash_attention_2"}, ["flash_attn"]),
        ({"attn_implementation": "sdpa"}, []),
        ({"use_vllm": True, "deepspeed": "zero.json"}, ["vllm", "deepspeed"]),
    ],
)
def test_what_fields_need(fields, packages):
    assert list(required_packages(fields, {})) == packages


def test_deepspeed_is_needed_where_accelerate_asks_for_it():
    assert list(required_packages({}, {"ACCELERATE_USE_DEEPSPEED": "true"})) == ["deepspeed"]


def test_the_first_that_is_missing_is_named():
    with pytest.raises(ModuleNotFoundError) as caught:
        require_extras({"attn_implementation": "flash_attention_3"}, {})
    assert caught.value.name == "flash_attn_interface"


@pytest.mark.parametrize(
    ("package", "flags", "install"),
    [
        ("vllm", ["--use-vllm", "--vllm-mode", "server"], "bash scripts/vllm_server.sh --help"),
        ("bitsandbytes", ["--use-peft", "--load-in-4bit"], "pip install -e '.[qlora]'"),
        ("deepspeed", ["--deepspeed", "zero.json"], "pip install -e '.[deepspeed]'"),
        ("flash_attn", ["--attn-implementation", "flash_attention_2"], "pip install flash-attn"),
        ("liger_kernel", ["--use-liger-kernel"], "pip install liger-kernel"),
    ],
)
def test_an_extra_that_is_missing_is_one_sentence(package, flags, install, tmp_path):
    if find_spec(package) is not None:
        pytest.skip(f"{package} is here")
    command = ["train", *NEEDED, *flags, "--output-dir", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2, result.output
    assert f"this needs the package {package}, which is not installed here." in result.stderr
    assert install in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture(params=["0.32.0+cpu", "0.31.0+cu129"])
def vllm_version(request, tmp_path, monkeypatch):
    """A package that is vLLM in name and version only; a real one needs other versions of torch."""
    folder = tmp_path / "site" / "vllm"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f'__version__ = "{request.param}"\n')
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    yield request.param
    sys.modules.pop("vllm", None)


def test_vllm_without_cuda_is_refused_and_its_version_is_compared(vllm_version, tmp_path):
    output = tmp_path / "out"
    result = medr1("train", *NEEDED, "--use-vllm", "--dry-run", "--output-dir", output)
    assert result.returncode == 2 and result.stdout == ""
    lines = result.stderr.splitlines()
    assert "use_vllm" in lines[-1] and "CUDA device" in lines[-1] and "on cpu" in lines[-1]
    warned = [line for line in lines[:-1] if "0.31.0" in line and vllm_version in line]
    assert len(warned) == (vllm_version == "0.32.0+cpu") == len(lines) - 1


def test_weights_of_few_bits_are_not_trained_themselves(tmp_path):
    command = ["train", *NEEDED, "--load-in-4bit", "--output-dir", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2 and "Add --use-peft." in result.stderr
