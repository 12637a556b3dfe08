"""What inspect_ai finds when medr1 is installed beside it: the task medr1/vqa and its scorer.

    inspect eval medr1/vqa -T data=questions.json --model openai/NAME

inspect_ai imports this module by the entry point of medr1. `medr1 eval` reads the log.
"""

from __future__ import annotations

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState, generate

from medr1.bridges.scoring import read_sample, score
from medr1.bridges.task_files import inspect_row
from medr1.data.readers import read_questions
from medr1.data.scans.options import ScanOptions


@task
def vqa(
    data: str,
    prompt: str = "nothink",
    protocol: str = "default",
    image_root: str | None = None,
) -> Task:
    """The questions of a file, with medr1's prompt and accuracy.

    Args:
        data: File of questions in any format that medr1 reads, or a folder with test.json.
        prompt: Prompt template, as for `medr1 infer`.
        protocol: The rules that decide whether an answer is right, as for `medr1 eval`.
        image_root: Folder with the images; without it, the folder of the file.
    """
    root = Path(image_root) if image_root else None
    questions = read_questions(data, root, scans=ScanOptions())
    rows = [inspect_row(questions, sample, prompt) for sample in questions.require_complete()]
    samples = [Sample.model_validate(row) for row in rows]
    return Task(
        dataset=MemoryDataset(samples, name=data),
        solver=generate(),
        scorer=medr1_accuracy(protocol),
    )


@scorer(metrics=[accuracy(), stderr()])
def medr1_accuracy(protocol: str = "default") -> Scorer:
    """Whether an answer is right by the rules of `medr1 eval`.

    Args:
        protocol: The rules, one of those of `medr1 eval --protocol`.
    """

    async def judge(state: TaskState, target: Target) -> Score:
        item = {**state.metadata, "ground_truth": target.text}
        result = score(read_sample(item), state.output.completion, protocol)
        return Score(
            value=CORRECT if result.correct else INCORRECT,
            answer=result.answer,
            explanation=result.method,
        )

    return judge
