"""What TRL's GRPOTrainer promises, held against TRL's own trainer and against both of ours.

After an update of TRL or transformers this file shows what has changed. It says again, in tables,
what TRL's own tests of the trainer (tests/test_grpo_trainer.py of its 1.16) say, as far as a model
as small as the embedded one can run it. A behaviour (behaviours.py) is a run of two steps by stock
TRL, by SharedPrefixTrainer, and by the trainer that `medr1 train` uses: TRL's promise has to hold
for all three, and the three have to end in the same weights, completions and logged numbers.

Where ours has to differ:

    equal entropies    rounding decides which of them a quantile keeps: it falls between others
    dropout            other masks, as other tensors are dropped: the promise alone is checked
    bfloat16           other roundings, and so in time other tokens: the promise alone is checked
    passes             ours splits a generation between groups, TRL anywhere: compared in order

What TRL tests and this file does not:

    vLLM                            needs its server and a GPU
    Liger kernels                   not installed, deprecated in TRL
    continuous batching             needs a GPU; four tests of it are of transformers alone
    tools, environments             TRL refuses them: the chat template knows no tools
    other architectures             medr1 trains Qwen's; for experts see test_shared_prefix.py
    code from a checkpoint          medr1 never runs it (rule 10 of CONTRIBUTING.md)
    images and none in one batch    TRL itself fails (TypeError)
    adapters of virtual tokens      TRL itself fails: the cache of the prompt is too short
    a tied head in float32          TRL itself fails: it looks for a language model's embedding
"""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch

pytest.importorskip("trl")

from behaviours import BEHAVIOURS, lora
from both_trainers import (
    CLOSE,
    Behaviour,
    apart,
    differences,
    is_close,
    is_compared,
    length,
    letters,
    rows,
    train,
    trainer_of,
)
from datasets import DatasetDict, IterableDatasetDict
from peft import get_peft_model
from transformers import Qwen2Config, Qwen2ForSequenceClassification
from trl import GRPOTrainer

from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vqa_folder
from medr1.train.grpo import build_trainer
from medr1.train.settings import settings_from
from medr1.train.shared_prefix.trainer import SharedPrefixTrainer

QUICK = ("plain", "loss dapo in passes", "kl", "adapter")
"""What runs by default, and not only with the slow tests."""


@pytest.fixture(scope="module")
def kinds(tiny_model, tmp_path_factory):
    """Stock TRL's trainer, ours alone, and ours with the other parts that `medr1 train` adds."""
    questions = read_questions(tiny_vqa_folder() / "train.json", limit=8)
    settings = settings_from({"rewards": ["accuracy"]}, tmp_path_factory.mktemp("trainer"))
    loaded = replace(tiny_model, model=copy.deepcopy(tiny_model.model))
    whole = type(build_trainer(loaded, questions, settings))
    assert issubclass(whole, SharedPrefixTrainer) and whole is not SharedPrefixTrainer
    return GRPOTrainer, SharedPrefixTrainer, whole


# --- the runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stock_run(kinds, tiny_model, tmp_path_factory):
    """Gives the run of a behaviour by stock TRL, once."""
    known = {}

    def run(name, caplog):
        if name not in known:
            folder = tmp_path_factory.mktemp("stock")
            known[name] = train(kinds[0], tiny_model, BEHAVIOURS[name], folder, caplog)
        return known[name]

    return run


def marked(names):
    return [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in names]


@pytest.mark.parametrize("name", marked(BEHAVIOURS))
def test_all_trainers_keep_the_promise_and_end_alike(
    name, kinds, stock_run, tiny_model, tmp_path, caplog
):
    expected = BEHAVIOURS[name]
    stock = stock_run(name, caplog)
    ours = [train(kind, tiny_model, expected, tmp_path, caplog) for kind in kinds[1:]]
    for run in (stock, *ours):
        expected.holds(run)
        assert any(expected.warns in said for said in run.warnings) or not expected.warns
    for run in ours:
        said = [text for text in run.warnings if "shared prefix is off" in text]
        if expected.falls_back is not None:
            assert len(said) == bool(expected.falls_back) and expected.falls_back in "".join(said)
        assert not expected.is_compared or differences(run, stock) == []
    if expected.like:
        assert apart(stock, stock_run(expected.like, caplog)) <= CLOSE
    if expected.unlike:
        assert apart(stock, stock_run(expected.unlike, caplog)) > 100 * CLOSE


# --- reward models -----------------------------------------------------------------------------


def reward_model(seed):
    """A model with random weights that scores a text."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        **{"vocab_size": 683, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "num_key_value_heads": 2, "num_labels": 1},
        **{"bos_token_id": 672, "eos_token_id": 671, "pad_token_id": 672},
        name_or_path=f"judge-{seed}",
    )
    return Qwen2ForSequenceClassification(config).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rewards", "has_images"),
    [
        ([partial(reward_model, 1)], True),
        ([partial(reward_model, 1)], False),
        ([partial(reward_model, 1), partial(reward_model, 2)], True),
        ([lambda: length, partial(reward_model, 2)], True),
    ],
    ids=["one", "of plain texts", "two", "beside a function"],
)
def test_reward_models_score_completions_alike(
    rewards, has_images, kinds, tiny_model, tmp_path, caplog
):
    data = partial(rows, as_text=not has_images, images=(int(has_images),))
    made = [make() for make in rewards]
    tokenizers = [
        tiny_model.processor.tokenizer if isinstance(m, torch.nn.Module) else None for m in made
    ]
    setting = Behaviour(data=data, rewards=made, others={"reward_processing_classes": tokenizers})
    stock, *ours = [train(kind, tiny_model, setting, tmp_path, caplog) for kind in kinds]
    for run in (stock, *ours):
        assert run.trainer.reward_processing_classes == tokenizers
        assert all(line["reward_std"] > 0 for line in run.lines[:-1])
        assert run.moved and differences(run, stock) == []
    if len(rewards) == 1:  # a tokenizer alone is one of a list
        setting = replace(setting, others={"reward_processing_classes": tokenizers[0]})
        assert (
            trainer_of(kinds[1], tiny_model, setting, tmp_path).reward_processing_classes
            == tokenizers
        )


# --- evaluation --------------------------------------------------------------------------------

SPLITS = {
    "a data set": lambda: rows(2),
    "a stream": lambda: rows(2).to_iterable_dataset(),
    "DatasetDict": lambda: DatasetDict(one=rows(2), two=rows(2, images=(2,))),
    "IterableDatasetDict": lambda: IterableDatasetDict(
        one=rows(2).to_iterable_dataset(), two=rows(2, images=(2,)).to_iterable_dataset()
    ),
    "a dict": lambda: {"one": rows(2), "two": rows(2, images=(2,))},
    "a dict of streams": lambda: {
        "one": rows(2).to_iterable_dataset(),
        "two": rows(2, images=(2,)).to_iterable_dataset(),
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("is_given_late", [False, True])
@pytest.mark.parametrize("kind_of_data", SPLITS)
def test_evaluation_data_of_each_kind_gives_the_same_numbers(
    kind_of_data, is_given_late, kinds, tiny_model, tmp_path
):
    data, found = SPLITS[kind_of_data], []
    setting = Behaviour(evaluated=None if is_given_late else data)
    for kind in kinds:
        trainer = trainer_of(kind, tiny_model, setting, tmp_path)
        assert (trainer.eval_dataset is None) == is_given_late
        found.append(trainer.evaluate(data()) if is_given_late else trainer.evaluate())
    names = ["eval_one_loss", "eval_two_loss"] if "ict" in kind_of_data else ["eval_loss"]
    assert all(found[0][name] for name in names)
    for numbers in found[1:]:
        for name, value in found[0].items():
            assert not is_compared(name) or is_close(numbers[name], value), name


@pytest.mark.slow
def test_a_stream_is_read_by_one_worker_and_other_data_by_those_asked_for(
    kinds, tiny_model, tmp_path
):
    workers = Behaviour({"dataloader_num_workers": 2, "max_steps": 1}, evaluated=SPLITS["a stream"])
    for kind in kinds:
        trainer = trainer_of(kind, tiny_model, workers, tmp_path)
        assert trainer.get_train_dataloader().num_workers == 2
        assert trainer.get_eval_dataloader().num_workers == 0
        assert trainer.args.dataloader_num_workers == 2
        assert trainer.args.accelerator_config.dispatch_batches is False
        stream = replace(workers, data=SPLITS["a stream"])
        assert trainer_of(kind, tiny_model, stream, tmp_path).args.dataloader_num_workers == 0


# --- order -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_questions_come_in_order_once_a_generation_and_again_for_each_update(
    kinds, tiny_model, tmp_path
):
    fields = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_steps": 8}
    fields |= {"steps_per_generation": 2, "num_iterations": 2, "shuffle_dataset": False}
    for kind in kinds:
        trainer = trainer_of(kind, tiny_model, Behaviour(fields), tmp_path)
        seen, step = [], trainer.training_step

        def noting(model, inputs, *args, seen=seen, step=step):
            seen.append([row["id"] for row in inputs])
            return step(model, inputs, *args)

        trainer.training_step = noting
        trainer.train()
        first, second = ([name for name in pair for _ in range(4)] for pair in ("01", "23"))
        assert seen == 4 * [first] + 4 * [second]


# --- refusals and warnings ---------------------------------------------------------------------


def wrong_number(completions, **columns):
    return [1.0]


def with_adapter(model):
    return get_peft_model(model, lora())


REFUSED = {
    "no reward": (Behaviour(rewards=()), ValueError, "No reward source"),
    "no data": (
        Behaviour(others={"train_dataset": None}),
        ValueError,
        "`train_dataset` is required",
    ),
    "a tokenizer too few": (
        Behaviour(rewards=(length, letters), others={"reward_processing_classes": [None]}),
        ValueError,
        "must match the number of reward functions",
    ),
    "a weight too few": (
        Behaviour({"reward_weights": [1.0]}, rewards=(length, letters)),
        ValueError,
        "must match number of reward functions",
    ),
    "a reward too few": (Behaviour(rewards=(wrong_number,)), ValueError, "returned 1 rewards"),
    "an adapter of the head": (
        Behaviour(peft=lora(target_modules=["q_proj", "lm_head"])),
        ValueError,
        "adapter to `lm_head` is not supported",
    ),
    "an adapter on an adapter": (
        Behaviour(prepared=with_adapter, peft=lora()),
        ValueError,
        "`PeftModel` instance together with a `peft_config`",
    ),
    "a stream from one process": (
        Behaviour({"accelerator_config": {"dispatch_batches": True}}, data=SPLITS["a stream"]),
        ValueError,
        "Iterable datasets require `dispatch_batches=False`",
    ),
    "a reference that is not there": (
        Behaviour({"sync_ref_model": True}),
        ValueError,
        "sync_ref_model=True` while `beta=0.0`",
    ),
    "a reference within an adapter": (
        Behaviour({"sync_ref_model": True, "beta": 0.1}, peft=lora()),
        NotImplementedError,
        "sync_ref_model=True` while using a PEFT model",
    ),
    "images beside a plain text": (
        Behaviour(data=lambda: rows().map(lambda row: {"prompt": "What?"})),
        ValueError,
        "requires conversational prompts",
    ),
    "tools": (
        Behaviour(others={"tools": [len]}),
        ValueError,
        "chat template does not support tool calling",
    ),
    "experts": (
        Behaviour({"router_aux_loss_coef": 0.1}),
        ValueError,
        "is not a Mixture-of-Experts model",
    ),
    "a rollout without answers": (
        Behaviour(others={"rollout_func": lambda prompts, trainer: {"prompt_ids": []}}),
        ValueError,
        "rollout_func must return keys",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_alike(name, kinds, tiny_model, tmp_path, caplog):
    setting, error, says = REFUSED[name]
    for kind in kinds:
        with pytest.raises(error, match=says):
            train(kind, tiny_model, setting, tmp_path, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo"])
def test_sums_over_tokens_are_warned_of_where_ratios_are_of_sequences(
    loss_type, kinds, tiny_model, tmp_path, caplog
):
    setting = Behaviour({"importance_sampling_level": "sequence", "loss_type": loss_type})
    for kind in kinds:
        caplog.clear()
        trainer_of(kind, tiny_model, setting, tmp_path)
        warned = "weights each sequence by its completion length" in caplog.text
        assert warned == (loss_type != "grpo")


# --- masks -------------------------------------------------------------------------------------

ENTROPIES = [[0.3, 0.9, 0.1, 0.5], [0.7, 0.2, 8.0, 9.0]]
REAL = [[1, 1, 1, 1], [1, 1, 0, 0]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantile", "real", "kept"),
    [
        (0.0, REAL, REAL),
        (0.5, REAL, [[0, 1, 0, 1], [1, 0, 0, 0]]),
        (0.8, REAL, [[0, 1, 0, 0], [1, 0, 0, 0]]),
        (1.0, REAL, [[0, 1, 0, 0], [0, 0, 0, 0]]),
        (0.5, [[0] * 4] * 2, [[0] * 4] * 2),
    ],
)
def test_the_tokens_of_highest_entropy_are_kept_padding_apart(
    quantile, real, kept, kinds, tiny_model, tmp_path
):
    trainer = trainer_of(kinds[2], tiny_model, Behaviour(), tmp_path)
    mask = trainer.get_high_entropy_mask(torch.tensor(ENTROPIES), torch.tensor(real), quantile)
    assert mask.int().tolist() == kept


@pytest.mark.slow
@pytest.mark.parametrize(
    ("advantage", "distances", "is_kept"),
    [(1.0, [3.0, 3.0], 1), (-1.0, [0.5, 0.9], 1), (-1.0, [0.5, 3.0], 0), (0.0, [3.0, 3.0], 1)],
)
def test_bad_completions_far_from_the_policy_are_masked_padding_apart(
    advantage, distances, is_kept, kinds
):
    logps = torch.tensor([[*(-distance for distance in distances), 5000.0, -5000.0]])
    real = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    mask = kinds[2].get_off_policy_mask(
        torch.tensor([[advantage]]), logps, torch.zeros(1, 4), real, 1.0
    )
    assert mask.tolist() == [[is_kept]]
