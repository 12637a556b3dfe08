"""The doctor finds what is wrong, and says nothing is where nothing is."""

import json

import pytest
import torch
from chat_server import ChatServer
from in_process import medr1

from medr1.doctor import agreement, attention
from medr1.doctor.examination import check_libraries, check_memory
from medr1.doctor.machine import ChosenSettings, Device, MachineFacts, Memory

CPU = torch.device("cpu")
SDPA = torch.nn.functional.scaled_dot_product_attention


def doctor(tmp_path, *args, **env):
    return medr1("doctor", *args, cwd=tmp_path, env=env)


def test_a_machine_that_is_right_is_one_document(tmp_path):
    done = doctor(tmp_path, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] and document["chosen"]["device"] == "cpu"
    by_check = {check["check"]: check for check in document["checks"]}
    assert by_check["attention"]["status"] == by_check["embedded model"]["status"] == "ok"
    assert "20 cases" in by_check["attention"]["message"]
    assert document["devices"][-1]["kind"] == "cpu"
    assert document["libraries"]["torch"]["installed"]


def test_a_failed_check_is_exit_code_1_and_says_what_to_do(tmp_path):
    done = doctor(tmp_path, "--device", "cpu", PYTORCH_MPS_HIGH_WATERMARK_RATIO="0.0", NO_COLOR="1")
    assert done.returncode == 1 and done.stderr.startswith("Error: 1 of ")
    lines = done.stdout.splitlines()
    (failed,) = [line for line in lines if line.startswith("FAIL")]
    assert "PYTORCH_MPS_HIGH_WATERMARK_RATIO" in failed
    assert "-> unset" in done.stdout
    assert max(map(len, lines)) <= 100 and "\x1b" not in done.stdout
    assert {"version", "libraries", "device", "chosen", "memory", "ok", "FAIL"} <= {
        line.split()[0] for line in lines if line
    }


def test_a_device_that_is_not_there_is_exit_code_2(tmp_path):
    done = doctor(tmp_path, "--device", "mps")
    if not torch.backends.mps.is_available():
        assert done.returncode == 2 and "mps is not available" in done.stderr and not done.stdout


def leaks(query, key, value, **given):
    """Fused attention that sees the future, as one on record does."""
    return SDPA(query, key, value, **{**given, "is_causal": False})


def mixes_strides(query, key, value, **given):
    """Fused attention that reads strided tensors as if they were contiguous."""

    def misread(tensor):
        return tensor if tensor.is_contiguous() else tensor.transpose(1, 2).reshape(tensor.shape)

    return SDPA(misread(query), misread(key), misread(value), **given)


def gives_nan(query, key, value, **given):
    """Fused attention that divides by nothing in a row that sees nothing."""
    out, mask = SDPA(query, key, value, **given), given.get("attn_mask")
    if mask is None:
        return out
    return out.masked_fill(~mask.any(-1, keepdim=True), float("nan"))


def forgets_heads(query, key, value, **given):
    """Fused attention whose grouped heads take turns instead of standing side by side."""
    if key.shape[1] != query.shape[1]:
        times = query.shape[1] // key.shape[1]
        key, value = key.repeat(1, times, 1, 1), value.repeat(1, times, 1, 1)
    return SDPA(query, key, value, **given)


@pytest.mark.parametrize(
    ("fault", "n"), [(leaks, 5), (mixes_strides, 2), (gives_nan, 1), (forgets_heads, 8)]
)
def test_each_fault_on_record_is_found_where_it_is(fault, n, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", fault)
    apart = {name: a for name, _, a in attention.attention_differences(CPU, ("float32",))}
    found = [name for name, a in apart.items() if not a <= attention.TOLERANCE["float32"]]
    assert len(apart) == len(attention.CASES) and len(found) == n, found


def test_every_case_holds_in_every_dtype_on_the_cpu():
    for name, dtype, apart in attention.attention_differences(CPU, tuple(attention.TOLERANCE)):
        assert apart <= attention.TOLERANCE[dtype] / 2, (name, dtype)


def test_a_padded_mask_is_causal_and_no_row_is_empty():
    case = next(case for case in attention.CASES if case.mask == "padded" and case.queries > 1)
    mask = attention.visible_keys(case)
    assert bool(mask.any(-1).all()) and not bool(mask[0].triu(1).any())
    assert not bool(mask[2, 0, 20, :17].any()) and bool(mask[2, 0, 3, 3])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_embedded_model_agrees_with_itself(dtype):
    apart, same = agreement.compare_with_cpu(CPU, dtype, "sdpa")
    assert apart <= agreement.TOLERANCE[dtype] and same


def test_a_wrong_attention_shows_in_the_embedded_model(monkeypatch):
    def wrong(query, key, value, **given):
        return SDPA(query, key.roll(1, -2), value, **given)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", wrong)
    apart, _ = agreement.compare_with_cpu(CPU, "float32", "sdpa")
    assert apart > agreement.TOLERANCE["float32"]


def test_an_old_or_missing_library_fails_and_another_is_a_warning():
    def found(**its):
        library = {"installed": "2.15.0+cpu", "tried": "2.15.0", "needs": ">=2.11", **its}
        return [(f.status, f.todo) for f in check_libraries({"torch": library})]

    assert found() == [("ok", "")]
    assert found(installed="2.5.1")[0] == ("FAIL", "pip install -U 'torch>=2.11'")
    assert found(installed=None)[0][0] == "FAIL"
    assert found(installed="2.16.0")[0][0] == "warn"


@pytest.mark.parametrize(
    ("free", "status", "todo"),
    [(40e9, "ok", ""), (12e9, "warn", "--dtype bfloat16"), (4e9, "warn", "up to 1.7B")],
)
def test_too_little_memory_says_what_fits(free, status, todo):
    facts = MachineFacts(
        medr1="1.0",
        python="3.11.7",
        system="Linux",
        is_mac=False,
        libraries={},
        devices=[Device("cpu", "x86_64", memory=None, free=None)],
        chosen=ChosenSettings("cpu", "float32", "sdpa"),
        memory=Memory(total=int(64e9), available=int(free)),
        disk_free=int(1e9),
        extras={},
    )
    memory, disk = check_memory(facts)
    assert memory.status == status and todo in memory.todo
    assert disk.status == "warn" and "--output-dir" in disk.todo


def test_a_server_tells_what_it_can_do(tmp_path):
    with ChatServer(prompt_logprobs=False, models=("one", "two")) as server:
        assert "It has: one, two." in medr1("doctor", "--base-url", server.url).stderr
        shown = medr1("doctor", "--base-url", server.url, "--model-path", "two")
        document = json.loads(
            medr1("doctor", "--base-url", server.url, "--model-path", "two", "--json").stdout
        )
    assert shown.returncode == 0
    assert "vllm 0.1" in shown.stdout and "20 most probable tokens" not in shown.stdout
    assert "8 most probable tokens" in shown.stdout
    assert document["option_probabilities"] == "letter"
    assert document["facts"]["models"] == ["one", "two"]
    none = medr1("doctor", "--base-url", f"{server.url}/wrong")
    assert none.returncode == 1 and "no connection" in none.stderr
    assert medr1("doctor", "--model-path", "two").returncode == 2
