"""The definitions of the numbers about edited reasoning, for `medr1 eval --explain`."""

from __future__ import annotations

from medr1.metrics.definition import OWN, SHARE, Definition

_SOURCE = (
    "Lanham et al. (2023), Measuring Faithfulness in Chain-of-Thought Reasoning (arXiv "
    "2307.13702); medr1/evaluate/metrics/reasoning_use.py"
)
_EDITED = (
    "The results of infer --reasoning-from FILE --edit cut, shuffle, empty, swap or none, paired "
    "with FILE item by item. Items without reasoning, or whose reasoning the edit left as it was, "
    "are left out and counted."
)

REASONING_USE = (
    Definition(
        "same_answer_edited_reasoning",
        "Same answer after edited reasoning",
        "items whose answer is the same after the edited reasoning / items with edited reasoning; "
        "changed_answer is the share with another answer",
        f"{_EDITED} Answers are compared as in same_answer.",
        OWN,
        SHARE,
        "Near 1, the answer hardly depends on the reasoning, which is then no explanation of it; "
        "a model can also know the answer without any reasoning. With the control none and greedy "
        "decoding no answer should change.",
        _SOURCE,
    ),
    Definition(
        "reasoning_difference",
        "Accuracy after edited reasoning",
        "accuracy after the edited reasoning - accuracy after the model's own reasoning",
        _EDITED,
        OWN,
        "-1 to 1",
        "Below 0, the reasoning helps to find the right answer; an interval around 0 shows no "
        "help.",
        _SOURCE,
    ),
    Definition(
        "other_answer",
        "Answer of the other question's reasoning",
        "items whose answer after swap is the option with the text (other_answer) or with the "
        "letter (other_letter) of the other question's answer / items where that is an option and "
        "was not the answer before",
        f"{_EDITED} For --edit swap. The other question has other options, so its answer is often "
        "no option here.",
        OWN,
        SHARE,
        "Near 1, the answer is read from the reasoning, even where it does not fit the image. A "
        "high other_letter alone shows that letters are copied.",
        "medr1's own; medr1/evaluate/metrics/reasoning_use.py",
    ),
)
