"""What was found about the replies of a conversation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from qbitsim.jsontypes import Json
from qbitsim.profiles import Profile


@dataclass(slots=True)
class Judgement:
    """What was found.

    :ivar profile: of the machine that it was compared with.
    :ivar expected: the replies that were expected instead of those that came, by their places in the conversation; of
        queries only what is otherwise in them.
    :ivar agreed: how many replies were as expected.
    :ivar unjudged: how many were not judged, by the reason.
    """

    profile: Profile
    expected: dict[int, Json] = field(default_factory=dict)
    agreed: int = 0
    unjudged: Counter[str] = field(default_factory=Counter)

    def notes(self, name: str = "") -> Iterator[str]:
        """What a reader must know, in sentences.

        :param name: of the conversation, if there are several.
        """
        begin = f"{name}: " if name else ""
        if self.expected:
            yield f"{begin}{_counted(len(self.expected))} not what QEMU {self.profile.name} answers."
        reasons = ", ".join(f"{count} {why}" for why, count in self.unjudged.most_common())
        unjudged = f"; {_counted(self.unjudged.total())} not judged ({reasons})" if reasons else ""
        yield f"{begin}{_counted(self.agreed)} what QEMU {self.profile.name} answers{unjudged}."


def _counted(count: int) -> str:
    return "1 reply is" if count == 1 else f"{count} replies are"
