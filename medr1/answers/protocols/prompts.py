r"""The exact prompts of the published protocols, which an evaluation has to repeat as well.

Sources: get_multiple_choice_prompt, get_judgement_prompt, get_close_ended_prompt and
get_open_ended_prompt in utils/question_formats.py of alibaba-damo-academy/MedEvalKit (9b12e3b; the
boxed ones are those with REASONING=True); build_messages in eval/run_offline_inference.py of
UCSC-VLAA/MedVLThinker (a3163b1), whose \n before "Write" is a backslash and an n; and
MedicalDataset in task_datasets/medical_datasets.py of OpenGVLab/Multi-Modality-Arena (bd2999a).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_CHOICE = "\nQuestion: {question}\nOptions: \n{options}\n"
TEMPLATES: Mapping[str, str] = {
    "medevalkit-mcq": _CHOICE + "Answer with the option's letter from the given choices directly.",
    "medevalkit-yes-no": "{question}\nPlease output 'yes' or 'no'(no extra output).",
    "medevalkit-closed": "{question}\nAnswer the question using a single word or phrase.",
    "medevalkit-open": "{question}\nPlease answer the question concisely.",
    "medevalkit-mcq-boxed": _CHOICE + "Answer with the option's letter from the given choices and "
    'put the letter in one "\\boxed{}".',
    "medevalkit-yes-no-boxed": '{question}\nPlease output "yes" or "no" and put the answer in one '
    '"\\boxed{}".',
    "medevalkit-closed-boxed": "{question}\nAnswer the question using a single word or phrase and "
    'put the answer in one "\\boxed{}".',
    "medevalkit-open-boxed": "{question}\nPlease answer the question concisely and put the answer "
    'in one "\\boxed{}".',
    "medvlthinker": "You will solve a problem/request. You should provide your thoughts within "
    "<think> </think> tags before providing the answer.\\nWrite your final answer within <answer> "
    "</answer> tags.\n\nQuestion: {question}\n\nOptions:{paragraphs}",
    "omnimedvqa": "{question}Here are {count} candidate answers:{list} Only return what you think "
    "is the correct answer from the candidate answers, do not return any other irrelevant text!",
}
"""Name -> template. {question} is the question without options; {options}, {paragraphs}, {list}
and {count} are the options in lines, in paragraphs, as a list of Python, and their number."""
_PLACEHOLDER = re.compile(r"\{(?:question|options|paragraphs|list|count)\}")
_KINDS = ("mcq", "yes-no", "closed", "open")
BY_TYPE: Mapping[str, Mapping[str, str]] = {
    "medevalkit": {kind: f"medevalkit-{kind}" for kind in _KINDS},
    "medevalkit-boxed": {kind: f"medevalkit-{kind}-boxed" for kind in _KINDS},
}
"""Prompt that depends on the type of the question -> type -> name in TEMPLATES."""
PROMPT_NAMES = (*BY_TYPE, *TEMPLATES)
"""The names of all prompts here."""


def template_text(name: str) -> str:
    """The template of a prompt; of one that depends on the type, all its templates.

    Args:
        name: One of PROMPT_NAMES.
    """
    return TEMPLATES.get(name) or "\n\n".join(TEMPLATES[part] for part in BY_TYPE[name].values())


def prompt_text(
    name: str, question: str, options: Mapping[str, str], *, yes_no: bool, closed: bool
) -> str:
    """The text that a published protocol asks a question with.

    Args:
        name: One of PROMPT_NAMES.
        question: The question without its options.
        options: Letter -> text; empty for a question without options.
        yes_no: Whether the question is answered by yes or no.
        closed: Whether the file calls the question closed.
    """
    kind = "mcq" if options else "yes-no" if yes_no else "closed" if closed else "open"
    template = TEMPLATES[BY_TYPE[name][kind] if name in BY_TYPE else name]
    lines = [f"{letter}. {text}" for letter, text in options.items()]
    parts = {
        "{options}": "\n".join(lines),
        "{paragraphs}": "".join(f"\n\n{line}" for line in lines),
        "{list}": str(list(options.values())),
        "{count}": str(len(options)),
    }
    parts["{question}"] = question
    return _PLACEHOLDER.sub(lambda match: parts[match[0]], template)
