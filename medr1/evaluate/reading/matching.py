"""Completing the items of a result file from the data set whose questions were asked (--data).

For each item, the question of the data set that it answers is found, and what the item lacks (the
ground truth, the options, the modality ...) is filled in.
"""

from __future__ import annotations

import io
import pickle
import tempfile
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from medr1.answers.equality import same_text
from medr1.data.items import ground_truth_letter
from medr1.data.readers import Questions
from medr1.errors import InputError, OutputError
from medr1.evaluate.comparing.pairing import image_names
from medr1.files import TEMPORARY, lock, remove_locked, remove_unused
from medr1.records import Prediction, Sample

AMBIGUOUS = -1
"""In place of an index: several different questions have this key."""
_PREFIX = "medr1-data-"
"""Of the names of temporary files."""
_UNREAD = b"\0"
"""The first byte of these files: it is locked, and Windows lets no other process read it."""
_HARMLESS_FAILURES = ("no_image",)
"""Failures of a question that do not prevent judging its answer: the image is not needed for it."""


class Lookup:
    """Finds the questions of a data set by id, by images and question, or by row.

    Pickled, it is only the name of a temporary file, which each process reads once. Hundreds of
    chunks of a large result file are sent to worker processes, and each chunk refers to its lookup;
    the data set should not be sent with each.
    """

    def __init__(self, questions: Questions) -> None:
        self.samples, self.failures = questions.samples, questions.failures
        self.name = questions.name
        self._by_id = {sample.id: i for i, sample in enumerate(self.samples)}
        self._by_key: dict[tuple[object, ...], int] = {}
        for i, sample in enumerate(self.samples):
            # also by the question alone, for results that have no image or no earlier turns
            known = [sample, replace(sample, images=())]
            if sample.history:
                known += [replace(each, history=()) for each in known]
            for key in {key for each in known for key in _keys(each)}:
                first = self._by_key.setdefault(key, i)
                if first != i and not self._same_question(first, i):
                    self._by_key[key] = AMBIGUOUS
        self._file: io.FileIO | None = None
        self._file_name = ""

    def __reduce__(self) -> tuple[Callable[[str], Lookup], tuple[str]]:
        if self._file is None:
            for leftover in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*{TEMPORARY}"):
                remove_unused(leftover)  # of a run that was killed
            handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix=TEMPORARY)
            self._file, self._file_name = io.FileIO(handle, "r+"), name
            weakref.finalize(self, remove_locked, self._file, Path(name))
            with suppress(OutputError):  # a file system without locks
                lock(handle, Path(name))  # shows other runs that the file is in use
            with open(handle, "wb", closefd=False) as file:
                file.write(_UNREAD)
                pickle.dump({**vars(self), "_file": None}, file)
        return _from_file, (self._file_name,)

    def _same_question(self, first: int, second: int) -> bool:
        """Whether two samples with an equal key are one question, whatever their ids."""
        if first == AMBIGUOUS:
            return False
        a, b = self.samples[first], self.samples[second]
        if a.conversation != b.conversation:
            return False
        return (a.images, a.options, a.ground_truth) == (b.images, b.options, b.ground_truth)

    def find(self, sample: Sample, row: int | None) -> int | None:
        """The index of the data set's question that an item answers; None where there is none.

        It is found by the item's id, else by its images and question, in this order: the paths as
        written, the file names, and the question alone where the item names no image. A key that
        several different questions share finds nothing.

        Args:
            sample: What the item says about its question.
            row: The item's position in the file, from 0, for a file whose items have neither ids
                nor questions: it is the index. None to find by id and question.
        """
        if row is not None:
            if sample.id or sample.question or row >= len(self.samples):
                return None
            names = image_names(self.samples[row].images)
            return row if not sample.images or image_names(sample.images) == names else None
        if sample.id and (index := self._by_id.get(sample.id)) is not None:
            return index
        if not sample.question:
            return None
        for key in _keys(sample):
            if (index := self._by_key.get(key)) is not None:
                return None if index == AMBIGUOUS else index
        return None

    def fill(self, prediction: Prediction, index: int, where: str) -> Prediction:
        """The prediction, with what its sample lacks taken from the data set.

        What the item says itself wins, except for the ground truth, about which both have to agree.

        Args:
            prediction: As the result file has it.
            index: Of its question in the data set.
            where: Its place in the result file, for error messages.

        Raises:
            InputError: If both have different ground truths, or the question cannot be used.
        """
        own, data = prediction.sample, self.samples[index]
        failure = self.failures.get(index)
        if failure is not None and failure.code not in _HARMLESS_FAILURES:
            raise InputError(f"{where}: its question cannot be used. {failure.message}")
        options = own.options or data.options
        # Without a ground truth, the data set's type "open" is only a default.
        is_default_type = data.ground_truth is None and data.answer_type == "open"
        keep_own_type = own.options or is_default_type
        sample = Sample(
            id=own.id or data.id,
            images=own.images or data.images,
            question=own.question or data.question,
            options=options,
            ground_truth=self._ground_truth(own, data, options, where),
            answer_type=own.answer_type if keep_own_type else data.answer_type,
            question_type=own.question_type or data.question_type,
            modality=own.modality or data.modality,
            dataset=own.dataset or data.dataset,
            metadata={**data.metadata, **own.metadata},
            history=own.history or data.history,
        )
        return replace(prediction, sample=sample)

    def _ground_truth(
        self, own: Sample, data: Sample, options: Mapping[str, str], where: str
    ) -> str | None:
        """The ground truth, as a letter of the item's options where it has some.

        InputError where item and data set disagree. The item's options may be in another order than
        the data set's: "B" of {"A": "CT", "B": "MRI"} is "A" of {"A": "MRI", "B": "CT"}.
        """
        if data.ground_truth is None:
            return own.ground_truth
        expected = data.ground_truth
        if own.options:
            text = data.options.get(expected, expected)
            expected = ground_truth_letter(text, options, text_first=True) or text
        if own.ground_truth is None:
            stated = expected
        elif options and not own.options:
            # the item has a letter or a text, and only the data set has the options
            stated = (
                ground_truth_letter(own.ground_truth, options, text_first=False) or own.ground_truth
            )
        else:
            stated = own.ground_truth
        same = stated == expected if options else same_text(stated, expected)
        if not same or (options and expected not in options):
            raise InputError(
                f"{where}: item {(own.id or data.id)[:80]!r} has the ground truth "
                f"{str(own.ground_truth)[:60]!r}, and {self.name} has {data.ground_truth[:60]!r} "
                "for it. Correct one of them."
            )
        return expected


@lru_cache(maxsize=1)
def _from_file(name: str) -> Lookup:
    """The lookup that another process pickled into this file."""
    lookup = Lookup.__new__(Lookup)
    with open(name, "rb") as file:
        file.seek(len(_UNREAD))
        vars(lookup).update(pickle.load(file))
    return lookup


def _keys(sample: Sample) -> list[tuple[object, ...]]:
    """The keys by which a question is recognised without an id, the most specific first."""
    question = " ".join(sample.conversation.split())
    if not sample.images:
        return [("question", question)]
    return [
        ("paths", sample.images, question),
        ("names", image_names(sample.images), question),
    ]
