"""What a user calls a checkpoint finds it, and only it."""

import re

import pytest

from medr1.checkpoints.finding import MED_R1_NAMES, find_checkpoint
from medr1.errors import InputError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("Med-R1/Qwen_2.5_3B_nothink/VQA_CT", "Med-R1/Qwen_2_2B/VQA_CT", "Med-R1/VQA_MR"):
        folder = tmp_path / "checkpoints" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    lora = tmp_path / "checkpoints" / "lora"
    lora.mkdir()
    (lora / "adapter_config.json").write_text("{}")


def test_a_folder_name_that_stands_once_is_enough(here):
    assert str(find_checkpoint("VQA_MR")) == "checkpoints/Med-R1/VQA_MR"
    assert str(find_checkpoint("lora")) == "checkpoints/lora"


def test_the_end_of_a_path_is_enough(here):
    found = find_checkpoint("Qwen_2.5_3B_nothink/VQA_CT")
    assert str(found) == "checkpoints/Med-R1/Qwen_2.5_3B_nothink/VQA_CT"


def test_a_name_that_stands_twice_lists_both(here):
    with pytest.raises(InputError, match=r"several.*3B_nothink/VQA_CT, .*2B/VQA_CT"):
        find_checkpoint("VQA_CT")


def test_a_name_that_is_not_there_lists_what_is_and_explains_med_r1(here):
    with pytest.raises(InputError) as refused:
        find_checkpoint("VQA_MRI")
    said = str(refused.value)
    assert "checkpoints/lora" in said and "checkpoints/Med-R1/VQA_MR" in said
    assert "VQA_CT = computed tomography" in said
    assert "VQA_MR = Modality Recognition, a question type; VQA_MRI is the modality" in said
    assert "Ultrasound" not in said and "VQA_US" not in said


@pytest.mark.parametrize("name", ["../checkpoints/lora/../nothing", "", "/nothing", "VQA"])
def test_no_other_name_is_guessed(here, name):
    with pytest.raises(InputError):
        find_checkpoint(name)


def test_offline_a_hub_id_is_not_fetched(here):
    with pytest.raises(InputError, match="Offline it is looked for among earlier downloads only"):
        find_checkpoint("nobody/nothing", offline=True)


def test_every_modality_and_question_type_has_its_name():
    assert len(MED_R1_NAMES) == 8 + 5


@pytest.mark.parametrize(
    ("name", "fetched"),
    [
        ("VQA_CT", "VQA_CT"),
        ("vqa_ct", "VQA_CT"),
        ("Med-R1/VQA_CT", "VQA_CT"),
        ("checkpoints/VQA_CT", "VQA_CT"),
        ("Qwen_2.5_3B_nothink/VQA_CT", "Qwen_2.5_3B_nothink/VQA_CT"),
        ("checkpoints/Med-R1/Qwen_2_2B/VQA_CT", "Qwen_2_2B/VQA_CT"),
    ],
)
def test_a_published_checkpoint_that_is_not_here_names_the_command_that_fetches_it(
    name, fetched, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f'run "medr1 fetch {re.escape(fetched)}"'):
        find_checkpoint(name)


def test_only_published_names_are_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "other/VQA_CT"):
        with pytest.raises(InputError) as error:
            find_checkpoint(name, offline=True)
        assert "medr1 fetch" not in str(error.value)
