"""The store of a review: a study with its cases, and the judgements of the readers, in SQLite.

Judgements are only ever added. The last one of a reader about a presentation of a case counts, so
an undone judgement is one that says so. Each has an id that the page makes: a judgement that is
sent or imported twice is stored once. `Store.add` returns after the judgement is on disk (SQLite in
WAL mode with synchronous=FULL): neither a killed process nor a power failure loses it.

Texts and images of the items are not in the store, only their ids.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medr1.errors import InputError, LockedError, OutputError, StateError
from medr1.review.rubric import check_ratings
from medr1.review.sampling import ReviewCandidate, SecondVerdict

SCHEMA = "medr1.review/2"
MAX_NAME = 60
"""Longest name of a reader, in characters."""
MAX_COMMENT = 4000
"""Longest comment, in characters."""
_BUSY_MS = 30_000
"""How long a writer waits for another one."""
_TABLES = """
CREATE TABLE study (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE items (
    place INTEGER PRIMARY KEY, item_id TEXT NOT NULL, kind TEXT NOT NULL,
    is_right INTEGER NOT NULL, confidence REAL, cluster INTEGER NOT NULL,
    is_case INTEGER NOT NULL, answer_type TEXT NOT NULL,
    second_is_right INTEGER, second_confidence REAL
) STRICT;
CREATE TABLE judgements (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, reader TEXT NOT NULL,
    place INTEGER NOT NULL REFERENCES items (place), is_repeat INTEGER NOT NULL,
    action TEXT NOT NULL, ratings TEXT NOT NULL, comment TEXT NOT NULL,
    seconds REAL NOT NULL, written_at TEXT NOT NULL
) STRICT;
CREATE INDEX judgements_of_reader ON judgements (reader, place);
"""
_ITEM_COLUMNS = (
    "place, item_id, kind, is_right, confidence, cluster, is_case, answer_type, second_is_right, "
    "second_confidence"
)
_COLUMNS = "id, reader, place, is_repeat, action, ratings, comment, seconds, written_at"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ACTIONS = ("judge", "skip", "undo")


@dataclass(frozen=True)
class Study:
    """What makes a review the same review: which file, which cases, which order."""

    results_sha256: str
    seed: int
    repeats: int = 0
    """Number of cases that each reader is shown twice."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further settings, as JSON values: the protocol, the numbers of cases of each kind."""

    @property
    def is_comparison(self) -> bool:
        """Whether the answers of two models are compared."""
        return "compare" in self.settings


@dataclass(frozen=True)
class Judgement:
    """What one reader said about one presentation of a case."""

    id: str
    """A random text that the page makes, the same when it is sent again."""
    reader: str
    place: int
    """The place of the case among the items of the results file."""
    ratings: Mapping[str, str]
    """Question of the rubric -> answer; empty for a case that was skipped."""
    comment: str = ""
    seconds: float = 0.0
    """Time that the reader took."""
    is_repeat: bool = False
    action: str = "judge"
    """One of ACTIONS."""
    written_at: str = ""
    """Time in UTC at which it was stored; set by the store."""


@dataclass(frozen=True)
class StoredItem:
    """One item of the results file, as the store has it."""

    place: int
    item_id: str
    kind: str
    is_right: bool
    confidence: float | None
    cluster: int
    is_case: bool
    """Whether it was sampled for the review."""
    answer_type: str = "open"
    """One of records.ANSWER_TYPES."""
    second: SecondVerdict | None = None
    """The second model; None in a review of one model."""


class Store:
    """An open store. It may be used from several threads, and opened by several processes.

    Args:
        path: The file, which `create_store` has made.

    Raises:
        InputError: The file is missing, or is no store of a review.
        OutputError: The file cannot be opened, such as one of another user.
        StateError: The file is damaged.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file. Check the path.")
        self.path = path
        self._lock = threading.Lock()
        with _errors(path):
            self._connection = sqlite3.connect(
                path, check_same_thread=False, timeout=_BUSY_MS / 1000
            )
        with ExitStack() as if_it_fails:
            if_it_fails.callback(self._connection.close)
            with _errors(path):
                self.study = _read_study(self._connection, path)
                _set_up(self._connection)
            if_it_fails.pop_all()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def items(self) -> list[StoredItem]:
        """All items of the results file, in order."""
        return [
            _item(row) for row in self._rows(f"SELECT {_ITEM_COLUMNS} FROM items ORDER BY place")
        ]

    def add(self, judgement: Judgement) -> bool:
        """Store a judgement; it is on disk when this returns.

        Returns:
            False if a judgement with its id is there already, so that nothing was changed.

        Raises:
            InputError: The judgement is of no case of this study, or not one of the rubric.
            OutputError: It could not be written.
        """
        row = _row_of(judgement, self.study)
        with self._lock, _errors(self.path), self._connection:
            case = self._connection.execute(
                "SELECT 1 FROM items WHERE place = ? AND is_case", (judgement.place,)
            ).fetchone()
            if case is None:
                raise InputError(f"item {judgement.place} is no case of this review.")
            added = self._connection.execute(
                f"INSERT INTO judgements ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, "
                "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) ON CONFLICT (id) DO NOTHING",
                row,
            )
        return added.rowcount == 1

    def judgements(self, reader: str | None = None) -> list[Judgement]:
        """The judgements that count, in the order of their times: the last of each presentation.

        Judgements that were undone are not among them; skipped cases are.

        Args:
            reader: Whose judgements; by default those of all readers.
        """
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM judgements WHERE ? IS NULL OR reader = ? "
            "ORDER BY written_at, number",
            (reader, reader),
        )
        last: dict[tuple[str, int, bool], Judgement] = {}
        for row in rows:
            judgement = _judgement(row)
            key = (judgement.reader, judgement.place, judgement.is_repeat)
            last.pop(key, None)  # so that the order is that of the last one
            last[key] = judgement
        return [judgement for judgement in last.values() if judgement.action != "undo"]

    def import_from(self, path: Path) -> int:
        """Add the judgements of another store of the same study; those that are here stay.

        Returns:
            How many were added.

        Raises:
            InputError: The other file is no store, or of another study.
        """
        other = Store(path)
        with closing(other):
            if other.study != self.study:
                raise InputError(
                    f"{path} is a review of other cases than {self.path}. Only stores that "
                    "were made from the same results with the same settings can be put together."
                )
            rows = [
                (*_row_of(_judgement(row), self.study), _checked_time(row[-1]))
                for row in other._rows(f"SELECT {_COLUMNS} FROM judgements ORDER BY number")
            ]
        with self._lock, _errors(self.path), self._connection:
            before = self._connection.total_changes
            self._connection.executemany(
                f"INSERT INTO judgements ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO NOTHING",
                rows,
            )
            return self._connection.total_changes - before

    def copy_to(self, path: Path) -> None:
        """Write all that is stored to a new file.

        Raises:
            OutputError: The file exists or cannot be written.
        """
        with self._lock, _errors(self.path):
            self._connection.execute("VACUUM INTO ?", (str(path),))

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock, _errors(self.path):
            return self._connection.execute(query, values).fetchall()


def create_store(
    path: Path, study: Study, candidates: Sequence[ReviewCandidate], cases: Sequence[int]
) -> Store:
    """Make the store of a new study, and open it.

    Args:
        path: The file, which must not exist.
        study: The study.
        candidates: All items of the results file.
        cases: The places of the items that are reviewed.

    Raises:
        InputError: The file exists.
        OutputError: The file cannot be written.
    """
    chosen = set(cases)
    if path.exists():
        raise InputError(f"{path} exists already. Open it to go on, or choose another name.")
    settings = {
        "schema": SCHEMA,
        "results_sha256": study.results_sha256,
        "seed": study.seed,
        "repeats": study.repeats,
        "settings": study.settings,
    }
    temporary = path.with_name(f".{path.name}.new")
    with _errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # for its user only
        with closing(sqlite3.connect(temporary)) as connection:
            connection.executescript(_TABLES)
            with connection:
                connection.executemany(
                    "INSERT INTO study VALUES (?, ?)",
                    [(key, json.dumps(value)) for key, value in settings.items()],
                )
                connection.executemany(
                    f"INSERT INTO items ({_ITEM_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [_item_row(place, c, place in chosen) for place, c in enumerate(candidates)],
                )
        temporary.rename(path)
    return Store(path)


def _item_row(place: int, candidate: ReviewCandidate, is_case: bool) -> tuple[object, ...]:
    """The row of an item, with `_ITEM_COLUMNS`."""
    second = candidate.second
    return (
        place,
        candidate.item_id,
        candidate.kind,
        candidate.is_right,
        candidate.confidence,
        candidate.cluster,
        is_case,
        candidate.answer_type,
        second.is_right if second else None,
        second.confidence if second else None,
    )


def _item(row: tuple[Any, ...]) -> StoredItem:
    """The item of a row with `_ITEM_COLUMNS`."""
    place, item_id, kind, right, confidence, cluster, case, answer_type, second, confidence_2 = row
    return StoredItem(
        place,
        item_id,
        kind,
        bool(right),
        confidence,
        cluster,
        bool(case),
        answer_type,
        None if second is None else SecondVerdict(bool(second), confidence_2),
    )


def reader_name(text: str) -> str:
    """The name or code of a reader, in one form for each: without spaces around it, in NFC.

    Raises:
        InputError: It is empty, too long, or has control characters.
    """
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InputError(f"a reader's name has 1 to {MAX_NAME} printable characters.")
    return name


def _row_of(judgement: Judgement, study: Study) -> tuple[object, ...]:
    """The columns of a judgement but its time; InputError for one that cannot be stored."""
    ratings = check_ratings(judgement.ratings, is_comparison=study.is_comparison)
    if judgement.action not in ACTIONS:
        raise InputError("a judgement has an unknown action.")
    if (judgement.action == "judge") != bool(ratings):
        raise InputError("a judgement needs an answer to a question of the rubric.")
    if len(judgement.comment) > MAX_COMMENT or not _is_text(judgement.comment):
        raise InputError(f"a comment is text of at most {MAX_COMMENT} characters.")
    if (
        not 0 < len(judgement.id) <= 100
        or not _is_text(judgement.id)
        or not 0 <= judgement.seconds < 1e9
    ):
        raise InputError("a judgement has no id, or an impossible time.")
    return (
        judgement.id,
        reader_name(judgement.reader),
        judgement.place,
        int(judgement.is_repeat),
        judgement.action,
        json.dumps(ratings),
        judgement.comment,
        judgement.seconds,
    )


def _is_text(text: str) -> bool:
    """Whether a text can be stored: a part of a character from JSON cannot."""
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def _judgement(row: tuple[Any, ...]) -> Judgement:
    """The judgement of a row with `_COLUMNS`."""
    name, reader, place, repeat, action, ratings, comment, seconds, written_at = row
    return Judgement(
        id=name,
        reader=reader,
        place=place,
        ratings=_ratings(ratings),
        comment=comment,
        seconds=seconds,
        is_repeat=bool(repeat),
        action=action,
        written_at=written_at,
    )


def _ratings(text: str) -> dict[str, str]:
    """The ratings of a row."""
    try:
        ratings = json.loads(text)
    except ValueError:
        raise StateError("the store is damaged: ratings are no JSON.") from None
    if not isinstance(ratings, dict):
        raise StateError("the store is damaged: ratings are no JSON object.")
    return ratings


def _checked_time(text: str) -> str:
    """A time as `Store.add` writes it, of another store; InputError for any other text."""
    if not _TIME.fullmatch(text):
        raise InputError("a judgement of the other store has no valid time.")
    return text


def _set_up(connection: sqlite3.Connection) -> None:
    """Set what makes a judgement durable. WAL mode changes the file, so it has to be a store."""
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")


def _read_study(connection: sqlite3.Connection, path: Path) -> Study:
    """The study of a store; InputError for a file that is none."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not {"study", "items", "judgements"} <= tables:
        raise InputError(
            f"{path} is not the store of a review. Name the file that `medr1 review start` wrote."
        )
    values = {
        key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM study")
    }
    if values.get("schema") != SCHEMA:
        raise InputError(
            f"{path} has the form {values.get('schema')}, and this version of medr1 reads "
            f"{SCHEMA}. Use the version that made it."
        )
    return Study(values["results_sha256"], values["seed"], values["repeats"], values["settings"])


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """SQLite's errors as those of medr1."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise LockedError(f"{path} is in use by another program. Try again.") from None
        raise OutputError(f"cannot use {path}: {error}.") from None
    except sqlite3.IntegrityError as error:
        raise InputError(f"{path}: {error}.") from None
    except sqlite3.DatabaseError as error:
        raise StateError(
            f"{path} is damaged, or is not the store of a review ({error}). Name the file that "
            "`medr1 review start` wrote."
        ) from None
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror}.") from None
