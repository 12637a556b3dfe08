"""An unknown chat template is refused; allowed, it is tried where it can do no harm."""

from types import SimpleNamespace

import pytest

from medr1.checkpoints.templates import KNOWN_TEMPLATES, require_known_template, template_sha256
from medr1.data.tiny import tiny_vl_folder
from medr1.errors import InputError
from medr1.models.loading import load_model

MINE = "{% for m in messages %}{{ m.role }}: {{ m.content[1].text }}{% endfor %}"
HARMFUL = {
    "a loop without end": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
    "{% endfor %}",
    "two gigabytes": "{% set x = 'a' * 2000000000 %}{{ x | length }}",
    "an escape": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "another file": "{% include '/etc/passwd' %}",
    "no template": "{% if %}",
}


def require(template, **kwargs):
    processor = SimpleNamespace(chat_template=template)
    require_known_template(processor, "checkpoint x", **kwargs)


def test_the_embedded_templates_are_known():
    for name in ("tiny-vl", "tiny-vl-letters"):
        text = (tiny_vl_folder().parent / name / "chat_template.jinja").read_text()
        assert template_sha256(text + "\n\n") in KNOWN_TEMPLATES


def test_the_templates_that_trl_has_of_image_models_are_known():
    from pathlib import Path

    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    names = ["qwen2_5_vl", "qwen3_vl", "qwen3_5_think", "qwen3_5_nothink", "gemma3", "gemma4"]
    names += ["idefics3", "smolvlm", "llava_next", *(f"gemma4_v{n}" for n in range(2, 6))]
    known = [KNOWN_TEMPLATES[template_sha256((folder / f"{n}.jinja").read_text())] for n in names]
    assert known.count("Gemma 4") == 5 and known.count("Qwen3.5") == 2


def test_an_unknown_template_needs_to_be_allowed(copy):
    (copy / "chat_template.jinja").write_text(MINE)
    with pytest.raises(InputError, match="--allow-template"):
        load_model(copy, device="cpu")
    assert load_model(copy, device="cpu", allow_template=True).processor.chat_template == MINE


@pytest.mark.parametrize("what", HARMFUL)
def test_a_harmful_template_is_refused_even_so(what):
    with pytest.raises(InputError, match="did not render"):
        require(HARMFUL[what], allow=True)


def test_one_of_several_templates_is_enough_to_refuse():
    known = (tiny_vl_folder() / "chat_template.jinja").read_text()
    require({"default": known})
    with pytest.raises(InputError, match="--allow-template"):
        require({"default": known, "tool_use": MINE})
    with pytest.raises(InputError, match="no chat template"):
        require(None)
