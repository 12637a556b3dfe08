"""Rollouts by a server, compared with local sampling; what is noticed of a server that is wrong."""

import json

import pytest
import torch
from rollout_server import RESETS, RolloutServerHere
from steps import STEP, fresh_model, mixed_questions, run_steps, trainer_for

from medr1.errors import InputError, Medr1Error
from medr1.train.grpo import build_trainer
from medr1.train.rollouts.messages import PngEncoder, chat_request, require_same_images
from medr1.train.rollouts.weights import FOLDER
from medr1.train.settings import settings_from

THREE = {**STEP, "max_steps": 3, "max_completion_length": 8}
LORA = {"use_peft": True, "lora_r": 4, "lora_dropout": 0.0, "learning_rate": 0.05}


def trainer_by(server, questions, folder, **changed):
    """A trainer whose completions the server samples."""
    values = {**THREE, **changed, "rollout_url": server.url}
    return build_trainer(fresh_model(), questions, settings_from(values, folder / "server"))


def replay(server, questions, folder, **changed):
    """A trainer that takes the completions which the server has sampled, and no log-probs."""
    trainer = trainer_for(fresh_model(), questions, folder / "local", **{**THREE, **changed})

    def generate(prompt_ids, images, fields, num_generations, **_):
        rows = enumerate(prompt_ids)
        return [server.completions[tuple(ids)][row % num_generations] for row, ids in rows], None

    trainer._generate_single_turn = generate
    return trainer


@pytest.mark.parametrize("changed", [{}, LORA, {"beta": 0.04}], ids=["weights", "lora", "beta"])
def test_three_steps_equal_those_of_local_sampling(tmp_path, changed):
    questions = mixed_questions(tmp_path)
    with RolloutServerHere() as server:
        trainer = trainer_by(server, questions, tmp_path, **changed)
        assert trainer._shares
        steps = run_steps(trainer)
    local = replay(server, questions, tmp_path, **changed)
    expected = run_steps(local)
    assert len(steps) == len(expected) == 3
    for step, other in zip(steps, expected, strict=True):
        assert step.loss == pytest.approx(other.loss, abs=3e-5)
        assert step.gradients.keys() == other.gradients.keys()
        for name, gradient in step.gradients.items():
            torch.testing.assert_close(gradient, other.gradients[name], rtol=1e-3, atol=5e-5)
    start = dict(expected[0].weights)
    moved = 0.0
    for name, weight in trainer.model.named_parameters():
        torch.testing.assert_close(
            weight, dict(local.model.named_parameters())[name], atol=1e-4, rtol=1e-3
        )
        moved = max(moved, float((weight - start[name]).detach().abs().max()))
    assert moved > 1e-3  # there was something to load
    logs = [log for log in trainer.state.log_history if "loss" in log]
    for log in logs:
        assert log["sampling/sampling_logp_difference/max"] < 1e-4
        assert log["sampling/sampling_logp_difference/p99"] < 1e-4
        assert log["sampling/sequences_beyond_bounds"] == 0
    names = [call.split("/")[-1] for call in server.calls]
    resets = [route[1:] for route in RESETS]
    # the first resets are those of the probe
    assert names == [*resets, *(name for step in range(3) for name in (*resets, f"step-{step}"))]
    assert not (tmp_path / "server" / FOLDER).exists()


def test_a_resumed_run_gives_its_weights_to_the_server_first(tmp_path):
    """The second server starts with the first weights, as one that was started anew."""
    questions = mixed_questions(tmp_path)
    saved = {"save_strategy": "steps", "save_steps": 2}
    with RolloutServerHere() as server:
        trainer = trainer_by(server, questions, tmp_path, **saved)
        trainer.train()
    with RolloutServerHere() as server:
        resumed = trainer_by(server, questions, tmp_path, **saved)
        resumed.train(resume_from_checkpoint=str(tmp_path / "server" / "checkpoint-2"))
    folders = [call for call in server.calls if call not in RESETS]
    assert [call.split("/")[-1] for call in folders] == ["step-2"]
    weights = dict(resumed.model.named_parameters())
    for name, weight in trainer.model.named_parameters():
        torch.testing.assert_close(weights[name], weight, atol=1e-6, rtol=1e-4)


def test_a_server_that_never_reloads_raises_the_alarm(tmp_path):
    questions = mixed_questions(tmp_path)
    alarms = {}
    for reloads in (True, False):
        folder = tmp_path / str(reloads)
        with RolloutServerHere(reloads=reloads) as server:
            trainer_by(server, questions, folder, max_steps=4, learning_rate=0.3).train()
        file = folder / "server" / "alarms.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        alarms[reloads] = {e["alarm"]: e for e in map(json.loads, lines)}
    assert "sampler_apart" not in alarms[True]
    assert alarms[False]["sampler_apart"]["causes"][0] == "stale_weights"


def test_another_prompt_on_the_server_ends_the_run(tmp_path):
    with RolloutServerHere(added_text=" Think.") as server:
        trainer = trainer_by(server, mixed_questions(tmp_path), tmp_path)
        with pytest.raises(
            InputError, match=r"step 1: item '\d': .* \d+ tokens, .* \d+; token \d+"
        ):
            trainer.train()


def test_an_image_token_ends_the_run(tmp_path):
    with RolloutServerHere() as server:
        trainer = trainer_by(server, mixed_questions(tmp_path), tmp_path)
        image_token = trainer.model.config.image_token_id
        sample = server.chat
        server.chat = lambda body: sample({**body, "logit_bias": {str(image_token): 100}})
        with pytest.raises(InputError, match=f"the token {image_token}, which stands for an image"):
            trainer.train()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"routes": False}, "has no route /reset_prefix_cache.*VLLM_SERVER_DEV_MODE=1"),
        ({"obeys_bias": False}, "ignores logit_bias"),
        ({"missing": "token_ids"}, "does not return the token ids"),
        ({"missing": "logprobs"}, "does not return the token ids"),
    ],
    ids=["routes", "bias", "ids", "logprobs"],
)
def test_what_a_server_lacks_is_told_before_the_run(tmp_path, fault, message):
    with (
        RolloutServerHere(**fault) as server,
        pytest.raises(InputError, match=message),
    ):
        trainer_by(server, mixed_questions(tmp_path), tmp_path)


def test_a_failed_reload_ends_the_run(tmp_path):
    with RolloutServerHere(fails=True) as server:
        trainer = trainer_by(server, mixed_questions(tmp_path), tmp_path)
        with pytest.raises(Medr1Error, match="cannot load"):
            trainer.train()
    assert not (tmp_path / "server" / FOLDER).exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_vllm": True}, "Leave one of the two out"),
        ({"generation_kwargs": {"top_k": 3}}, "generation_kwargs"),
        ({"vllm_importance_sampling_correction": False}, "old weights is not noticed"),
        ({"loss_type": "vespo"}, "token_truncate or token_mask"),
        ({"dynamic_sampling": 2}, "Leave --dynamic-sampling out"),
    ],
    ids=["vllm", "kwargs", "correction", "vespo", "draws"],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, monkeypatch, values, message):
    monkeypatch.setattr("medr1.train.settings.require_extras", lambda fields: None)
    settings = settings_from({**THREE, **values, "rollout_url": "http://127.0.0.1:1/v1"}, tmp_path)
    with pytest.raises(InputError, match=message):
        build_trainer(fresh_model(), mixed_questions(tmp_path), settings)


def test_the_pixels_that_are_sent_are_compared(tmp_path):
    from PIL import Image

    image, other = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (30, 20), "blue")
    prompt = [{"role": "user", "content": [{"type": "image", "image": image}]}]
    messages, hashes = chat_request(prompt, PngEncoder())
    assert messages[0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    require_same_images("1", hashes, [image.copy()])
    with pytest.raises(InputError, match="item '1': the server was sent images with the SHA-256"):
        require_same_images("1", hashes, [other])
