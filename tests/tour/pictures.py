"""The last picture of each chapter, as it was looked at and kept in ``pictures``.

To renew them after a chapter has changed: ``python tests/tour/pictures.py``, and look at what is different.
"""

from __future__ import annotations

from pathlib import Path

from qbitsim.terminal.picture import Style
from qbitsim.tour.chapters import CHAPTERS
from qbitsim.tour.lesson import Chapter
from qbitsim.tour.player import Player
from qbitsim.tour.reader import Reader

PLACE = Path(__file__).parent / "pictures"


def last_picture(chapter: Chapter) -> str:
    """Play the chapter; its last picture in a plain terminal of 80 columns."""
    player = Player(chapter, "10.0", Style(80), lambda _: None)
    player.play(Reader())
    return player.scene.last_picture + "\n"


def kept(chapter: Chapter) -> Path:
    """Where the chapter's last picture is kept."""
    return PLACE / f"{chapter.slug}.txt"


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)
    for each in CHAPTERS:
        kept(each).write_text(last_picture(each))
