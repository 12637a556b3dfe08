"""Passes with dropout on: cases with a known answer, and the library's own training mode."""

import json
import shutil

import numpy as np
import pytest
import torch
from test_options import plain_probabilities

from medr1.data.tiny import tiny_vl_folder
from medr1.errors import InputError
from medr1.infer.local.dropout import require_dropout
from medr1.infer.local.engine import predict
from medr1.models.loading import load_model
from medr1.records import Decoding, prediction_from_dict, prediction_to_dict


@pytest.fixture
def lora(adapter, tmp_path):
    """Loads the adapter beside its base, with this share dropped."""

    def load(share, merge=False):
        folder = tmp_path / f"lora-{share}"
        shutil.copytree(adapter[0], folder, dirs_exist_ok=True)
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "lora_dropout": share}))
        return load_model(folder, device="cpu", merge=merge)

    return load


def with_attention_dropout(folder, share, base="tiny-vl"):
    base = tiny_vl_folder().with_name(base)
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("SHA256SUMS"))
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["text_config"]["attention_dropout"] = share
    file.write_text(json.dumps(config))
    return load_model(folder, device="cpu")


def asked(loaded, questions, samples, *, batch_size=1, seed=0, prompt=None, **decoding):
    return predict(
        loaded,
        samples,
        image_root=questions.image_root,
        batch_size=batch_size,
        seed=seed,
        prompt=prompt,
        decoding=Decoding(**{"mode": "options", **decoding}),
    )


def rows(predictions):
    return np.array([[list(one.values()) for one in p.dropout_probs] for p in predictions])


def test_an_adapter_that_is_all_dropped_leaves_its_base(lora, tiny_model, validation):
    samples = [s for s in validation.samples if s.options][:3]
    found = asked(lora(1 - 1e-7), validation, samples, dropout_samples=2, permute=2)
    base = asked(tiny_model, validation, samples, permute=2)
    for prediction, plain in zip(found, base, strict=True):
        for one in prediction.dropout_probs:
            assert one == pytest.approx(plain.option_probs, abs=2e-6)
        assert prediction.option_probs != pytest.approx(plain.option_probs, abs=1e-3)


def test_the_one_answer_is_that_of_the_merged_adapter(lora, validation):
    samples = [s for s in validation.samples if s.options][:4]
    beside = asked(lora(0.5), validation, samples, mode="both", dropout_samples=1)
    merged = asked(lora(0.5, merge=True), validation, samples, mode="both")
    for one, other in zip(beside, merged, strict=True):
        assert one.option_probs == pytest.approx(other.option_probs, abs=1e-4)
        assert one.model_output == other.model_output and other.dropout_probs == ()


def test_the_passes_spread_like_the_librarys_training_mode(lora, validation):
    loaded, n = lora(0.5), 80
    sample = next(s for s in validation.samples if s.options)
    ours = rows(asked(loaded, validation, [sample], prompt="nothink", dropout_samples=n))[0]
    loaded.model.train()
    torch.manual_seed(0)
    theirs = np.array(
        [plain_probabilities(loaded, validation, sample, "nothink") for _ in range(n)]
    )
    errors = np.sqrt((ours.var(0, ddof=1) + theirs.var(0, ddof=1)) / n)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * errors).all()
    ratio = ours.std(0, ddof=1) / theirs.std(0, ddof=1)
    assert ((ratio > 0.6) & (ratio < 1.7)).all() and (ours.std(0) > 1e-3).all()


def test_a_pass_depends_on_seed_item_and_number_alone(tmp_path, validation):
    loaded = with_attention_dropout(tmp_path / "model", 0.3)
    samples = [s for s in validation.samples if len(s.options) == 4][:5]
    torch.manual_seed(7)
    before = torch.get_rng_state()
    alone = rows(asked(loaded, validation, samples, dropout_samples=3))
    together = asked(loaded, validation, samples, dropout_samples=3, batch_size=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(rows(together), alone)
    assert np.array_equal(rows(asked(loaded, validation, samples[3:], dropout_samples=2))[0],
                          alone[3][:2])  # fmt: skip
    other = rows(asked(loaded, validation, samples, dropout_samples=3, seed=1))
    assert np.abs(other - alone).max() > 0.01
    assert np.ptp(alone, axis=1).max() > 0.01 and not loaded.model.training
    # the answer itself is asked without
    without = asked(loaded, validation, samples, batch_size=5)
    assert [p.option_probs for p in without] == [p.option_probs for p in together]
    record = json.loads(json.dumps(prediction_to_dict(together[0])))
    assert prediction_from_dict(record) == together[0]


def test_behind_reasoning_each_pass_reasons_anew(tmp_path, validation):
    loaded = with_attention_dropout(tmp_path / "model", 0.1, "tiny-vl-letters")
    samples = [s for s in validation.samples if s.options][:48]
    found = asked(
        loaded, validation, samples, mode="both", prompt="think", batch_size=24, seed=3,
        max_new_tokens=40, do_sample=True, temperature=1.0, dropout_samples=2,
    )  # fmt: skip
    kept = [p for p in found if p.dropout_probs]
    assert 0 < len(kept) < sum(p.option_probs is not None for p in found)  # whole, or none
    for prediction in kept:
        first, second = prediction.dropout_probs
        assert first != second and sum(first.values()) == pytest.approx(1, abs=1e-5)


def test_only_the_answer_is_written_and_watched(lora, validation):
    class Counter:
        ends = 0

        def put(self, ids):
            pass

        def end(self):
            self.ends += 1

    watched = Counter()
    sample = next(s for s in validation.samples if s.options)
    (found,) = predict(
        lora(0.5),
        [sample],
        image_root=validation.image_root,
        decoding=Decoding(max_new_tokens=8, num_samples=2, dropout_samples=3),
        streamer=watched,
    )
    assert watched.ends == 1 and len(found.samples) == 2 and len(found.dropout_probs) == 3


def test_without_dropout_there_is_nothing_to_sample(lora, tiny_model):
    require_dropout(lora(0.1))
    for loaded in (tiny_model, lora(0.0), lora(0.1, merge=True)):
        with pytest.raises(InputError, match="no dropout to sample"):
            require_dropout(loaded)


@pytest.mark.parametrize("share", [1.0, -0.1, "0.1", True])
def test_a_share_that_is_none_is_refused(lora, share):
    with pytest.raises(InputError, match="lora_dropout must be a number"):
        lora(share)
