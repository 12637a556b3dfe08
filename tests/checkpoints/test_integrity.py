"""The fingerprint covers what loading reads, and SHA256SUMS finds a flipped byte."""

import shutil
import subprocess

import pytest

from medr1.checkpoints.integrity import (
    CHECKSUMS,
    checkpoint_sha256,
    checksum_faults,
    write_checksums,
)
from medr1.errors import InputError


def flip(file):
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)


def test_the_fingerprint_is_of_what_loading_reads(copy):
    before = checkpoint_sha256(copy)
    (copy / "README.md").write_text("other")
    (copy / "optimizer.pt").write_text("other")
    (copy / "trainer_state.json").write_text("{}")
    write_checksums(copy)
    assert checkpoint_sha256(copy) == before
    flip(copy / "model.safetensors")
    assert checkpoint_sha256(copy) != before


def test_an_adapters_fingerprint_covers_its_base(copy, adapter, tmp_path):
    lora = shutil.copytree(adapter[0], tmp_path / "lora")
    config = lora / "adapter_config.json"
    before = checkpoint_sha256(lora)
    assert before == checkpoint_sha256(adapter[0])
    text = config.read_text()
    config.write_text(text.replace(str(adapter_base(text)), str(copy)))
    with_copy = checkpoint_sha256(lora)
    flip(copy / "model.safetensors")
    assert len({before, with_copy, checkpoint_sha256(lora)}) == 3


def adapter_base(text):
    import json

    return json.loads(text)["base_model_name_or_path"]


def test_checksums_find_what_is_bad_missing_and_extra(copy):
    assert checksum_faults(copy) is None
    write_checksums(copy)
    assert checksum_faults(copy) == []
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "--quiet", CHECKSUMS], cwd=copy, check=True)
    flip(copy / "model.safetensors")
    (copy / "generation_config.json").unlink()
    (copy / "extra.json").write_text("{}")
    assert checksum_faults(copy) == [
        "generation_config.json is missing",
        "model.safetensors has changed",
        "extra.json is extra",
    ]


@pytest.mark.parametrize("line", ["nonsense", "0" * 64 + "  ../x", "0" * 64 + "  /etc/passwd"])
def test_checksums_of_files_elsewhere_are_refused(copy, line):
    (copy / CHECKSUMS).write_text(line + "\n")
    with pytest.raises(InputError, match="line 1"):
        checksum_faults(copy)
