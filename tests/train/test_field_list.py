"""`medr1 train --fields`: each field of TRL's configurations, its type, default and reason."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("trl")

from click.testing import CliRunner

from medr1.cli import cli
from medr1.data.tiny import tiny_vl_folder
from medr1.documents.training import TrainingFields
from medr1.models.loading import load_outline
from medr1.train.field_list import field_list, type_text
from medr1.train.fields import (
    CONFIGS,
    DEFAULTS,
    REFUSED,
    convert_values,
    model_fields,
    trainer_fields,
)
from medr1.train.settings import settings_from, trainer_config


@pytest.mark.parametrize("method", CONFIGS)
def test_each_field_is_listed_once_and_with_the_reason_for_which_it_is_refused(method: str) -> None:
    fields = field_list(method).fields
    names = [field.name for field in fields]
    assert sorted(names) == sorted({*trainer_fields(method), *model_fields()})
    refused = {field.name: field.refused for field in fields if field.refused}
    assert refused == {name: reason for name, reason in REFUSED.items() if name in names}


@pytest.mark.parametrize("method", CONFIGS)
def test_a_default_is_the_value_of_a_run_that_does_not_set_the_field(
    method: str, tmp_path: Path
) -> None:
    outline = load_outline(tiny_vl_folder(), device="cpu")
    config = trainer_config(settings_from({"method": method}, tmp_path), outline)
    defaults = {field.name: field.default for field in field_list(method).fields}
    for name in (*DEFAULTS[method], "learning_rate", "num_train_epochs", "max_grad_norm"):
        assert getattr(config, name) == defaults[name], name
    assert defaults["bf16"] == "by --dtype"


@pytest.mark.parametrize("method", CONFIGS)
def test_a_default_is_accepted_as_a_value(method: str) -> None:
    for field in field_list(method).fields:
        # an empty text and an empty list are the same on the command line
        if field.default and not field.refused and not str(field.default).startswith("by --"):
            # TRL has such a text where true and false are also possible
            value = False if field.default == "no" and "bool" in field.type else field.default
            assert convert_values({field.name: field.default}, method) == {field.name: value}


@pytest.mark.parametrize(
    ("hint", "text"),
    [(float | None, "float | null"), (list[str], "list[str]"), (dict[str, int], "dict[str, int]")],
)
def test_types_as_text(hint: object, text: str) -> None:
    assert type_text(hint) == text


@pytest.mark.parametrize(
    "method", [["--method", "sft"], ["--config", "configs/sft.yaml"]], ids=["option", "file"]
)
def test_the_option_needs_no_other_and_follows_the_method(method: list[str]) -> None:
    root = Path(__file__).resolve().parents[2]
    method = [str(root / text) if text.endswith(".yaml") else text for text in method]
    result = CliRunner().invoke(cli, ["train", "--fields", "--json", *method])
    assert result.exit_code == 0, result.output
    assert msgspec.json.decode(result.stdout, type=TrainingFields) == field_list("sft")
    text = CliRunner().invoke(cli, ["train", *method, "--fields"]).stdout
    assert "max_length" in text and "num_generations" not in text
    refused = text.partition("cannot be set:")[2]
    assert all(reason in refused for reason in ("TRL packs only texts", "--data names a file"))


def test_without_trl_the_error_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    result = CliRunner().invoke(cli, ["train", "--fields"])
    assert result.exit_code == 2 and result.stdout == ""
    assert "trl" in result.stderr and "pip install" in result.stderr
