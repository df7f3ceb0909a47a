"""Leads a reader through chapters, and remembers how far."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qbitsim.profiles import profile
from qbitsim.terminal.narrator import Narrator
from qbitsim.terminal.picture import UNKNOWN, Style
from qbitsim.tour.chapters import CHAPTERS
from qbitsim.tour.lesson import Chapter
from qbitsim.tour.player import Player
from qbitsim.tour.progress import Progress, ProgressError, ProgressFile
from qbitsim.tour.reader import LeftError, Reader

_END = (
    "That was the tour. To try things of your own: 'qbitsim shell' is a QMP shell on such a machine, 'qbitsim play' "
    "plays a file of commands, and 'qbitsim serve' is a QEMU for your own backup software."
)


class Guide:
    """Plays chapters, one after the other.

    :param release: which QEMU the machines are.
    :param write: is given each line, or several of them.
    :param progress_file: remembers the progress; nothing does if not given.
    """

    def __init__(
        self, release: str, style: Style, write: Callable[[str], None], progress_file: ProgressFile | None = None
    ) -> None:
        self.narrator = Narrator(style, write)
        self._release = profile(release)
        self._write = write
        self._file = progress_file
        self._progress = Progress()

    def welcome(self) -> tuple[Sequence[Chapter], int]:
        """Tell where the tour goes on; the chapters from there, and the first step."""
        self._progress = self._load("; the tour begins at the start")
        slug = self._progress.chapter
        chapter = find(slug) if slug is not None else None
        if chapter is None:
            if slug is not None:
                self.narrator.say(f"(Your progress: there is no chapter '{slug}'; the tour begins at the start.)")
            again = len(self._progress.seen) == len(CHAPTERS)
            self.narrator.say(
                "You have seen the whole tour; here it is again."
                if again
                else f"A tour of dirty bitmaps, on a live machine that is QEMU {self._release.name}: "
                f"{len(CHAPTERS)} chapters, half an hour. At each prompt Enter goes on and q leaves; the next "
                "'qbitsim tour' goes on where you left."
            )
            return CHAPTERS, 0
        step = min(self._progress.step, len(chapter.steps))
        self.narrator.say(
            f"You left in chapter {number(chapter)}, after step {step} of {len(chapter.steps)}. "
            "('qbitsim tour 1' begins at the beginning.)"
        )
        return CHAPTERS[CHAPTERS.index(chapter) :], step

    def begin(self, chapter: Chapter) -> Sequence[Chapter]:
        """The chapters from this one on."""
        self._progress = self._load()
        return CHAPTERS[CHAPTERS.index(chapter) :]

    def lead(self, reader: Reader, chapters: Sequence[Chapter], start: int = 0) -> None:
        """Play chapters, the first one from a step on.

        :raises FalseClaimError: the machine does not do what a chapter claims.
        """
        try:
            for chapter in chapters:
                self._lead_through(reader, chapter, start)
                start = 0
        except (LeftError, KeyboardInterrupt) as error:
            if self._file is None:  # nobody has asked the reader, so this is Ctrl-C in the middle
                raise KeyboardInterrupt from error
            self.narrator.say("Goodbye. 'qbitsim tour' goes on here." if self._file.usable else "Goodbye.")
            self.narrator.blank()
            return
        if chapters and chapters[-1] is CHAPTERS[-1]:
            self.narrator.say(_END)
            self.narrator.blank()

    def _lead_through(self, reader: Reader, chapter: Chapter, start: int) -> None:
        self.narrator.heading(f"{number(chapter)}. {chapter.title}")
        if not self._release.offers(chapter.since):
            self.narrator.say(
                f"This chapter is left out: QEMU {self._release.name} has no {chapter.lacks}. "
                f"That came with {chapter.since}."
            )
            return
        self.narrator.say(_legend(self.narrator.style), "dim")
        self._save(chapter.slug, start)
        player = Player(chapter, self._release.name, self.narrator.style, self._write)
        player.play(reader, start, lambda step: self._save(chapter.slug, step + 1))
        following = CHAPTERS[CHAPTERS.index(chapter) + 1 :]
        self._save(following[0].slug if following else None, 0, chapter.slug)

    # -- progress

    def _save(self, chapter: str | None, step: int, finished: str | None = None) -> None:
        """Save where the reader is, and the chapter that was seen to its end just now."""
        if self._file is None:
            return
        seen = [slug for slug in self._progress.seen if slug != finished]
        self._progress = Progress(chapter, step, (*seen, finished) if finished is not None else tuple(seen))
        try:
            self._file.save(self._progress)
        except ProgressError as error:
            self.narrator.say(f"(Your progress: {error}.)")

    def _load(self, then: str = "") -> Progress:
        """What was saved.

        :param then: what comes of it if that cannot be read.
        """
        if self._file is None:
            return Progress()
        try:
            return self._file.load()
        except ProgressError as error:
            self.narrator.say(f"(Your progress: {error}{then}.)")
            return Progress()


def _legend(style: Style) -> str:
    """What the pictures mean."""
    nothing, part, whole = style.levels
    return (
        f"In the pictures: a letter is what is stored in a cell, {nothing} is nothing. In a bitmap {nothing} is clean, "
        f"{whole} dirty, {part} partly dirty, {UNKNOWN} unknown (it is inconsistent). "
        "^ is what has changed since the last picture. -> goes to QEMU, <- comes from it; .. is the guest, $ a shell, "
        "** the tour itself."
    )


def find(text: str) -> Chapter | None:
    """The chapter of that slug or number."""
    return next((chapter for chapter in CHAPTERS if text in (chapter.slug, str(number(chapter)))), None)


def number(chapter: Chapter) -> int:
    """Chapters are counted from 1."""
    return CHAPTERS.index(chapter) + 1


def contents(progress: Progress, style: Style) -> list[str]:
    """A line for each chapter: its number, whether it was seen (``x``) or begun (``>``), its slug and its title."""
    lines = []
    for chapter in CHAPTERS:
        mark = (
            ">" if chapter.slug == progress.chapter and progress.step else "x" if chapter.slug in progress.seen else " "
        )
        first = f"{mark} {number(chapter):>2} {chapter.slug:<12}"
        lines += style.wrap(chapter.title, first, " " * len(first)).splitlines()
    return lines
