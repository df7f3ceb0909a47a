"""How far the reader has come, saved in a small file between two visits.

The file is JSON: ``{"version": 1, "chapter": SLUG or null, "step": NUMBER, "seen": [SLUG, ...]}``, where ``step`` is
how many steps of ``chapter`` were seen. A file that cannot be read or written never stops the tour.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from qbitsim.records import record

VERSION = 1


class ProgressError(Exception):
    """The file is of no use; the text says why, in one line."""


@record
class Progress:
    """How far the reader has come.

    :ivar chapter: the slug of the chapter to go on in, None for the first one; :ivar step: how many of its steps were
        seen; :ivar seen: the slugs of chapters that were seen to their end.
    """

    chapter: str | None = None
    step: int = 0
    seen: tuple[str, ...] = ()


class ProgressFile:
    """Saves a progress, unless there is a reason not to.

    :ivar usable: whether the file is written; not after an error, and not if a newer qbitsim has written it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.usable = True

    def load(self) -> Progress:
        """What was saved; a new progress if there is no file.

        :raises ProgressError: there is one that cannot be read or understood.
        """
        try:
            saved = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Progress()
        except OSError as error:
            self.usable = False
            raise ProgressError(f"{self.path}: {error.strerror}; nothing is kept of this visit") from None
        except (ValueError, RecursionError):
            saved = None
        if isinstance(saved, dict) and type(saved.get("version")) is int and saved["version"] > VERSION:
            self.usable = False
            raise ProgressError(f"{self.path} was written by a newer qbitsim; nothing is kept of this visit")
        progress = _progress(saved)
        if progress is None:
            raise ProgressError(f"{self.path} could not be read and will be written anew")
        return progress

    def save(self, progress: Progress) -> None:
        """Save a progress.

        :raises ProgressError: that cannot be done, for the first time.
        """
        if not self.usable:
            return
        value = {"version": VERSION, "chapter": progress.chapter, "step": progress.step, "seen": [*progress.seen]}
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(value) + "\n", encoding="utf-8")
            beside.replace(self.path)
        except OSError as error:
            self.usable = False
            raise ProgressError(f"{self.path}: {error.strerror}; nothing is kept of this visit") from None


def _progress(saved: object) -> Progress | None:
    """What a file says, None if it is not one that the tour has written."""
    if not isinstance(saved, dict) or saved.get("version") != VERSION:
        return None
    chapter, step, seen = saved.get("chapter"), saved.get("step"), saved.get("seen")
    if not isinstance(chapter, str | None) or type(step) is not int or step < 0 or not isinstance(seen, list):
        return None
    if not all(isinstance(slug, str) for slug in seen):
        return None
    return Progress(chapter, step, tuple(seen))


def state_path(environment: Mapping[str, str]) -> Path:
    """Where the file is, unless the command line says so.

    :raises ProgressError: nobody knows where this user's files are.
    """
    given = environment.get("QBITSIM_TOUR_STATE")
    if given:
        return Path(given)
    base = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):  # the XDG specification has others ignored
        return Path(base, "qbitsim", "tour.json")
    try:
        return Path.home() / ".local" / "state" / "qbitsim" / "tour.json"
    except RuntimeError:
        raise ProgressError("there is no home directory to keep your progress in: choose a file with --state") from None
