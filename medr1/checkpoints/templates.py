"""Checking a checkpoint's chat template before it is used.

A chat template turns messages into the text of a prompt. It is a Jinja program that comes with the
checkpoint, so it can be malicious. Templates with a known hash are accepted. Others are used only
if the user allows it, after a trial in a child process with limited time and memory.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

from medr1.errors import InputError
from medr1.processes import require_forks

if TYPE_CHECKING:
    from transformers import ProcessorMixin

KNOWN_TEMPLATES = {
    # Qwen2-VL and Qwen2.5-VL ship the same: transformers tests/models/qwen2_vl/
    # test_processing_qwen2_vl.py (v4.53), and TRL 1.16 trl/chat_templates/qwen2_5_vl.jinja
    "a0bc6f6fc7a29a80017a433e8f03a1cc1236e838a944a2d034295a60c4f2fddb": "Qwen2-VL, Qwen2.5-VL",
    # TRL 1.16 trl/chat_templates/qwen3_vl.jinja
    "9d879ef91075acbfb2df7e441fd79d60bacfca989cf6d511d2af45c681e94f10": "Qwen3-VL",
    # TRL 1.16 trl/chat_templates: gemma3, idefics3, smolvlm, llava_next, gemma4 and gemma4_v2 to
    # _v5, qwen3_5_think and qwen3_5_nothink, as the published checkpoints ship them
    "8d9e3a3c114fb2053ec500184677af4f7e5f8ec2582443cd535834e68b3ade29": "Gemma 3",
    "0d7e56ca41705b79932de707b22bc855c3cfcefae62f1ac5e458560654883d2e": "Idefics3",
    "830005085ddd94cec605b6e21b885b28ffad6e3f82ee6a212c523533e8f04f01": "SmolVLM",
    "2c17243a977fd0643fb549a509a8e2684f45517df0f9f608d5893b719f16569f": "LLaVA-NeXT",
    "33204f1acb5bd0002713e16a593847f24ceeafe711ed88bda2a352dc996a3373": "Gemma 4",
    "55572b8d3c8342044e25874c73fe5234b661fa0a57a57f6ef75b58e03d7d959a": "Gemma 4",
    "781d10940fbc44be40064b5d43a056fc486c84ceaa55538226368b57314132bf": "Gemma 4",
    "2f1b4d75d067bae3fe44e676721c7f077d243bc007156cb9c2f8b5836613d082": "Gemma 4",
    "603a42db292c25278e9b23d94c7abbe77453f13e26a053c43c5c2f900b4136f7": "Gemma 4",
    "a4aee8afcf2e0711942cf848899be66016f8d14a889ff9ede07bca099c28f715": "Qwen3.5",
    "273d8e0e683b885071fb17e08d71e5f2a5ddfb5309756181681de4f5a1822d80": "Qwen3.5",
    # transformers tests/models/llava_onevision/test_processing_llava_onevision.py (v5)
    "fbf77862dcdda46840b6da02767d651eadad3582310e40fed04dc7594a0a80dd": "LLaVA-OneVision",
    # transformers src/transformers/models/internvl/convert_internvl_weights_to_hf.py (v4.52), with
    # <IMG_CONTEXT> for <image>, which the processor has expected since
    "b3e3fa7cdeceec1d3dfe0d17b77724baf3857714e688f3a700261567e96140eb": "InternVL3",
    # checkpoints/tiny-vl and tiny-vl-letters
    "dbd9b010a433e97abefe83cb9f358824def2d8cce79c78f6ada5bf39eac47194": "medr1",
}
"""SHA-256 of a template without surrounding white space -> the model family that ships it."""

_SECONDS = 2
"""Processor time for the trial."""
_MEGABYTES = 512
"""Memory for the trial."""
_TIMEOUT = 120
"""Wall-clock seconds for the child process; its start can be slow on a busy machine."""

# The program of the child process. The limits are set after the imports, on top of the time and
# memory that those took.
_TRIAL_CODE = """
import contextlib, resource, sys
from transformers.utils.chat_template_utils import render_jinja_template
template = sys.stdin.read()
content = [{"type": "image"}, {"type": "text", "text": "What is shown? A) x, B) y"}]
messages = [{"role": "user", "content": content}]
used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
seconds = int(used + SECONDS) + 1
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
with contextlib.suppress(OSError):
    pages = int(open("/proc/self/statm").read().split()[0])
    size = pages * resource.getpagesize() + MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
rendered = render_jinja_template([messages], chat_template=template, add_generation_prompt=True)
text = rendered[0][0] if isinstance(rendered, tuple) else rendered[0]
sys.exit(0 if len(text) < 100_000 else 3)
"""


def template_sha256(template: str) -> str:
    """The SHA-256 of a template, without surrounding white space."""
    return hashlib.sha256(template.strip().encode()).hexdigest()


def require_known_template(processor: ProcessorMixin, where: str, *, allow: bool = False) -> None:
    """Refuse a checkpoint whose chat template is not known.

    Args:
        processor: Of the checkpoint.
        where: Names the checkpoint in messages.
        allow: Whether an unknown template is accepted if it renders within the limits.

    Raises:
        InputError: If there is no template, or it is not accepted.
    """
    template = processor.chat_template  # one text, or several by name
    templates = template.values() if isinstance(template, dict) else [template] if template else []
    if not templates or not all(isinstance(text, str) for text in templates):
        raise InputError(f"{where} holds no chat template. Fetch the checkpoint again.")
    for text in templates:
        if template_sha256(text) in KNOWN_TEMPLATES:
            continue
        if not allow:
            raise InputError(
                f"{where}: its chat template ({template_sha256(text)[:12]}) is not one that "
                "medr1 knows. If you have read it and trust it, add --allow-template."
            )
        _try(text, where)


def _try(template: str, where: str) -> None:
    """Render the template once in a child process with limits; InputError if that fails."""
    require_forks("A test of a chat template")
    if (reason := _failure(template)) is not None:
        raise InputError(
            f"{where}: its chat template did not render within {_SECONDS} s and {_MEGABYTES} MB "
            f"({reason[:200]}). Use the template of the base model."
        )


@cache
def _failure(template: str) -> str | None:
    """Why a template does not render in a child process with limits; None if it does."""
    code = _TRIAL_CODE.replace("SECONDS", str(_SECONDS)).replace("MEGABYTES", str(_MEGABYTES))
    try:
        process = subprocess.run(
            [sys.executable, "-c", code],
            input=template,
            capture_output=True,
            encoding="utf-8",
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return "out of time"
    if process.returncode == 0:
        return None
    return (process.stderr.strip().splitlines() or ["out of time or memory"])[-1]
