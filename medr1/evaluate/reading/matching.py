"""What a data set knows of the items of a result file: which sample each is, and what it lacks."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from medr1.answers.equality import same_text
from medr1.data.items import gold_letter
from medr1.data.readers import Questions
from medr1.errors import InputError
from medr1.evaluate.pairing import image_names
from medr1.files import TEMPORARY, lock, remove_unused
from medr1.records import Prediction, Sample

AMBIGUOUS = -1
_PREFIX = "medr1-data-"
_WITHOUT_IMAGE = ("no_image",)
"""What may be wrong with a sample of the data whose answer is judged all the same."""


class Lookup:
    """The samples of a data set, found by id, by images and question, or by row.

    Pickled, it is the name of a file that each process reads once: chunks of a large result file
    go to workers by the hundred, and a data set should not go with each.
    """

    def __init__(self, questions: Questions) -> None:
        self.samples, self.failures = questions.samples, questions.failures
        self.name = questions.name
        self._by_id = {sample.id: i for i, sample in enumerate(self.samples)}
        self._by_key: dict[tuple[Any, ...], int] = {}
        for i, sample in enumerate(self.samples):
            for key in {*_keys(sample), *_keys(replace(sample, images=()))}:
                first = self._by_key.setdefault(key, i)
                if first != i and not self._alike(first, i):
                    self._by_key[key] = AMBIGUOUS
        self._file: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file is None:
            for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*{TEMPORARY}"):
                remove_unused(left)  # of a run that was killed
            self._file = tempfile.NamedTemporaryFile(prefix=_PREFIX, suffix=TEMPORARY)  # noqa: SIM115
            lock(self._file.fileno(), Path(self._file.name))
            pickle.dump({**vars(self), "_file": None}, self._file)
            self._file.flush()
        return _from_file, (self._file.name,)

    def _alike(self, first: int, second: int) -> bool:
        """Whether two samples are the same question, whatever their ids."""
        if first == AMBIGUOUS:
            return False
        a, b = self.samples[first], self.samples[second]
        return (a.images, a.options, a.ground_truth) == (b.images, b.options, b.ground_truth)

    def find(self, sample: Sample, row: int | None) -> int | None:
        """The place in the data of the sample that an item is about; None where none is.

        By its id, else by its images and question: the paths as written, then the files' names,
        and the question alone where it names no image, if there is just one such sample. With
        `row` by that, for a file whose items bring neither.
        """
        if row is not None:
            if sample.id or sample.question or row >= len(self.samples):
                return None
            names = image_names(self.samples[row].images)
            return row if not sample.images or image_names(sample.images) == names else None
        if sample.id and (found := self._by_id.get(sample.id)) is not None:
            return found
        if not sample.question:
            return None
        for key in _keys(sample):
            if (found := self._by_key.get(key)) is not None:
                return None if found == AMBIGUOUS else found
        return None

    def fill(self, prediction: Prediction, place: int, where: str) -> Prediction:
        """The prediction with what its sample lacks and the data has; what it has stays.

        Refused are a gold answer that contradicts the data's, and a sample that cannot be used.
        """
        own, data = prediction.sample, self.samples[place]
        failure = self.failures.get(place)
        if failure is not None and failure.code not in _WITHOUT_IMAGE:
            raise InputError(f"{where}: its question cannot be used. {failure.message}")
        options = own.options or data.options
        # without a gold answer the data's type is "open" for want of anything that says more
        unknown = data.ground_truth is None and data.answer_type == "open"
        says_type = own.options or unknown
        sample = Sample(
            id=own.id or data.id,
            images=own.images or data.images,
            question=own.question or data.question,
            options=options,
            ground_truth=self._gold(own, data, options, where),
            answer_type=own.answer_type if says_type else data.answer_type,
            question_type=own.question_type or data.question_type,
            modality=own.modality or data.modality,
            dataset=own.dataset or data.dataset,
            metadata={**data.metadata, **own.metadata},
        )
        return replace(prediction, sample=sample)

    def _gold(
        self, own: Sample, data: Sample, options: Mapping[str, str], where: str
    ) -> str | None:
        """The gold answer in the item's own options, where item and data agree about it."""
        if data.ground_truth is None:
            return own.ground_truth
        known = data.ground_truth
        if own.options:  # the same options may stand in another order
            text = data.options.get(known, known)
            known = gold_letter(text, options, text_first=True) or text
        if own.ground_truth is None:
            stated = known
        elif options and not own.options:
            stated = gold_letter(own.ground_truth, options, text_first=False) or own.ground_truth
        else:
            stated = own.ground_truth
        same = stated == known if options else same_text(stated, known)
        if not same or (options and known not in options):
            raise InputError(
                f"{where}: item {(own.id or data.id)[:80]!r} has the ground truth "
                f"{str(own.ground_truth)[:60]!r}, and {self.name} has {data.ground_truth[:60]!r} "
                "for it. Correct one of them, or leave --data out."
            )
        return known


@lru_cache(maxsize=1)
def _from_file(name: str) -> Lookup:
    """The lookup that another process wrote."""
    lookup = Lookup.__new__(Lookup)
    vars(lookup).update(pickle.loads(Path(name).read_bytes()))
    return lookup


def _keys(sample: Sample) -> list[tuple[Any, ...]]:
    """What an item may be recognised by, the surest first."""
    question = " ".join(sample.question.split())
    if not sample.images:
        return [("question", question)]
    return [
        ("paths", sample.images, question),
        ("names", image_names(sample.images), question),
    ]
