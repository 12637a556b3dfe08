"""Fields of TRL's configurations: which there are, and what a value has to be."""

import pytest

from medr1.errors import InputError

pytest.importorskip("trl")

from medr1.train.fields import REFUSED, convert_values, model_fields, trainer_fields


def test_the_fields_are_those_of_trl():
    from dataclasses import fields

    from trl import GRPOConfig, ModelConfig, ScriptArguments

    assert set(trainer_fields()) == {entry.name for entry in fields(GRPOConfig)}
    others = {entry.name for kind in (ModelConfig, ScriptArguments) for entry in fields(kind)}
    assert others - set(model_fields()) <= {
        *("model_name_or_path", "dtype", "dataset_name", "datasets")
    }


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("learning_rate", "1e-6", 1e-6),
        ("learning_rate", 1, 1.0),
        ("seed", "5", 5),
        ("bf16", "true", True),
        ("gradient_checkpointing", "off", False),
        ("max_grad_norm", "0.5", 0.5),
        ("max_completion_length", "null", None),
        ("max_completion_length", 256, 256),
        ("report_to", "wandb", ["wandb"]),
        ("report_to", ["wandb", "tensorboard"], ["wandb", "tensorboard"]),
        ("reward_weights", "1,0.5", [1.0, 0.5]),
        ("save_strategy", "no", "no"),
        ("save_strategy", False, "no"),
        ("lr_scheduler_type", "linear", "linear"),
        ("gradient_checkpointing_kwargs", '{"use_reentrant": false}', {"use_reentrant": False}),
        ("lora_target_modules", "q_proj,v_proj", ["q_proj", "v_proj"]),
        ("lora_r", "16", 16),
        ("use_peft", "yes", True),
    ],
)
def test_a_value_is_read_in_its_fields_type(name, value, expected):
    found = convert_values({name: value})[name]
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("learning_rate", "fast", "learning_rate: 'fast' is not a number"),
        ("warmup_steps", True, "warmup_steps: True is not"),
        ("lora_r", 1.5, "lora_r: 1.5 is not a whole number"),
        ("bf16", "maybe", "bf16: 'maybe' is not true or false"),
        ("lr_scheduler_type", "liner", "is not one of linear"),
        ("reward_weights", "1,x", "reward_weights: '1,x' is not a list"),
        ("learning_rate", [1], "learning_rate: \\[1\\] is not a number"),
    ],
)
def test_another_type_is_refused_in_one_sentence(name, value, says):
    with pytest.raises(InputError, match=says):
        convert_values({name: value})


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_break_a_promise_is_refused(name):
    with pytest.raises(InputError, match="cannot be set"):
        convert_values({name: True})
