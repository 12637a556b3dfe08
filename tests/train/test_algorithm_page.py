"""The algorithm on medr1/train/README.md beside the trainer: the same tokens, and weights."""

import copy
from dataclasses import replace

import algorithm
import pytest
import torch

pytest.importorskip("trl")

from steps import STEP, fresh_model, mixed_questions, plain_inputs

from medr1.rewards import reward_functions
from medr1.train.grpo import build_trainer
from medr1.train.settings import settings_from

SETTINGS = {
    **STEP,
    **{"rewards": ("accuracy", "edit-similarity", "format"), "reward_weights": [1.0, 0.7, 0.5]},
    **{"batch_size": 4, "num_generations": 4, "max_steps": 3, "max_completion_length": 12},
    **{"optim": "sgd", "learning_rate": 0.1},  # AdamW's first steps enlarge rounding errors
    **{"max_grad_norm": 1.0, "temperature": 1.2},
}


def reward_of(loaded, sample):
    """The weighted sum of the rewards of one completion's token ids."""
    functions = reward_functions(SETTINGS["rewards"], "nothink")

    def reward(completion_T):
        text = loaded.processor.tokenizer.decode(completion_T, skip_special_tokens=True)
        columns = {"solution": [sample.ground_truth], "options": [sample.options]}
        columns["answer_type"] = [sample.answer_type]
        values = [function(completions=[text], **columns)[0] for function in functions]
        weights = SETTINGS["reward_weights"]
        return sum(weight * value for weight, value in zip(weights, values, strict=True))

    return reward


@pytest.mark.parametrize("changed", [{}, {"beta": 0.04, "loss_type": "grpo"}], ids=str)
def test_three_updates_end_in_the_weights_of_the_trainer(changed, tmp_path):
    page = algorithm.from_page()
    questions = mixed_questions(tmp_path, equal_sizes=True)
    start = fresh_model()
    loaded = replace(start, model=copy.deepcopy(start.model))
    settings = settings_from({**SETTINGS, **changed}, tmp_path / "out")
    trainer = build_trainer(loaded, questions, settings)
    generate, rollouts = trainer._generate_single_turn, []

    def recorded(prompt_ids, *args, **kwargs):
        state = torch.get_rng_state()
        completions, logps = generate(prompt_ids, *args, **kwargs)
        rollouts.append((state, tuple(prompt_ids[0]), completions))
        return completions, logps

    trainer._generate_single_turn = recorded
    trainer.train()
    assert len(rollouts) == 3 and len({prompt for _, prompt, _ in rollouts}) == 3

    prompts = {}
    for sample in questions.samples:
        prompt = plain_inputs(start, questions, sample)
        prompts[tuple(prompt["input_ids"][0].tolist())] = prompt, reward_of(start, sample)
    config = page.Config(
        **{name: SETTINGS[name] for name in ("num_generations", "max_completion_length")},
        **{name: SETTINGS[name] for name in ("temperature", "max_grad_norm")},
        **changed,
    )
    model = copy.deepcopy(start.model)
    optimizer = torch.optim.SGD(model.parameters(), SETTINGS["learning_rate"])
    end = start.processor.tokenizer.eos_token_id
    for state, prompt, completions in rollouts:
        torch.set_rng_state(state)
        group = page.roll_out(
            model, start.model, *prompts[prompt], end, [start.model.config.image_token_id], config
        )
        assert [completion_T.tolist() for completion_T in group.completions] == completions
        page.update(model, optimizer, [group], config)

    ours, theirs, before = (
        torch.cat([p.detach().flatten() for p in m.parameters()])
        for m in (model, trainer.model, start.model)
    )
    moved, apart = (ours - before).abs().max(), (ours - theirs).abs().max()
    assert moved > 1e-2 and apart < 1e-4 * moved
