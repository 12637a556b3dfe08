"""Generation settings on shared prompts: stock TRL's tokens, or stock TRL's way."""

import pytest
import torch

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_config, tiny_vqa_folder

pytest.importorskip("trl")

from medr1.train.grpo import build_trainer
from medr1.train.settings import settings_from
from medr1.train.shared_prefix.groups import groups_to_rows
from medr1.train.shared_prefix.trainer import SUPPORTED_GENERATION_KWARGS

G = 4
MANY = list(range(5, 300))
"""Half of the vocabulary, which random weights draw from nearly evenly."""
SHARP = {"temperature": 0.02}
ENDS = {"eos_token_id": MANY}
CASES = {
    "temperature": (0.02, {}),
    "top_k": (5, {}),
    "top_p": (0.3, {}),
    "min_p": (0.9, {}),
    "top_h": (0.4, {}),
    "typical_p": (0.3, {}),
    "epsilon_cutoff": (0.0015, {}),
    "eta_cutoff": (0.9, {"temperature": 0.2}),
    "do_sample": (False, {}),
    "repetition_penalty": (3.0, SHARP),
    "encoder_repetition_penalty": (3.0, SHARP),
    "no_repeat_ngram_size": (1, {"top_k": 3}),
    "encoder_no_repeat_ngram_size": (1, {}),
    "bad_words_ids": ([[token] for token in MANY], {}),
    "suppress_tokens": (MANY, {}),
    "begin_suppress_tokens": (MANY, {}),
    "forced_eos_token_id": (7, {}),
    "sequence_bias": ([[[100], 50.0]], {}),
    "exponential_decay_length_penalty": ([2, 50.0], {"eos_token_id": 100}),
    "min_length": (1000, ENDS),
    "min_new_tokens": (6, ENDS),
    "max_new_tokens": (3, {}),
    "eos_token_id": (MANY, {}),
}


@pytest.fixture(scope="module")
def questions():
    return read_questions(tiny_vqa_folder() / "train.json", limit=8).only(["multiple_choice"])


def tokens(loaded, questions, folder, shared, generation_kwargs):
    """The completions of two prompts, and whether these were shared."""
    if suppressed := generation_kwargs.get("suppress_tokens"):  # else TRL's own, of image tokens
        more = [*suppressed, loaded.model.config.image_token_id]
        generation_kwargs = {**generation_kwargs, "suppress_tokens": more}
    values = {**tiny_config(), "batch_size": 2 * G, "num_generations": G, "freeze_vision": False}
    values |= {"shared_prefix": shared, "generation_kwargs": generation_kwargs}
    trainer = build_trainer(loaded, questions, settings_from(values, folder))
    rows = [{**trainer.train_dataset[i // G]} for i in range(2 * G)]
    trainer.model.train()
    torch.manual_seed(3)
    batch = trainer._generate_and_score_completions(rows)
    shares = batch["prompt_ids"].ndim == 3
    return (groups_to_rows(batch) if shares else batch)["completion_ids"].tolist(), shares


def test_each_setting_that_is_let_through_is_tried():
    assert CASES.keys() == SUPPORTED_GENERATION_KWARGS


@pytest.mark.parametrize("name", CASES)
def test_a_setting_gives_the_tokens_of_stock_trl(name, random_model, questions, tmp_path):
    loaded = random_model("qwen2_5_vl")
    value, others = CASES[name]
    without, _ = tokens(loaded, questions, tmp_path, False, others)
    expected, _ = tokens(loaded, questions, tmp_path, False, {**others, name: value})
    found, shares = tokens(loaded, questions, tmp_path, True, {**others, name: value})
    assert shares and found == expected != without


@pytest.mark.parametrize(
    "asked",
    [{"num_beams": 2}, {"use_cache": False}, {"cache_implementation": "static"}],
    ids=lambda asked: next(iter(asked)),
)
def test_other_rows_or_another_cache_go_the_stock_way(
    asked, random_model, questions, tmp_path, caplog
):
    loaded = random_model("qwen2_5_vl")
    expected, _ = tokens(loaded, questions, tmp_path, False, asked)
    found, shares = tokens(loaded, questions, tmp_path, True, asked)
    assert not shares and found == expected
    said = [r.getMessage() for r in caplog.records if "shared prefix is off" in r.getMessage()]
    assert len(said) == 1 and f"{next(iter(asked))} in generation_kwargs" in said[0]
