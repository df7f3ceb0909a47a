"""Draws command lines of qemu-img and qemu-io, right ones and wrong ones, for the files of a folder."""

from __future__ import annotations

import random

from qbitsim.profiles import Profile

_VALUES = {
    "f": ("qcow2", "qcow2", "raw"),
    "F": ("qcow2", "qcow2", "raw"),
    "O": ("qcow2", "raw"),
    "T": ("none", "writeback", "unsafe"),
    "t": ("none", "writeback", "unsafe"),
    "output": ("json", "human"),
    "r": ("leaks", "all"),
    "s": ("0", "64k"),
    "l": ("64k", "s1", "snapshot.name=s1"),
    "S": ("0", "4k", "64k"),
    "o": ("compat=0.10", "compat=1.1", "cluster_size=4k", "lazy_refcounts=on", "size=2M", "refcount_bits=8", "help"),
    "b": ("b.qcow2", "a.qcow2", "r.raw"),
    "B": ("b.qcow2",),
    "g": ("64k", "512"),
    "merge": ("b0", "b1"),
    "preallocation": ("off", "full"),
    "m": ("1", "8"),
    "c": ("s1", "s2"),
    "a": ("s1",),
    "d": ("s1", "4"),
    "size": ("1M",),
    "i": ("threads",),
    "pattern": ("5",),
    "flush-interval": ("200",),
}
_WRONG_VALUES = ("bogus", "-1", "x", "1", "none.qcow2", "99999", "")
_WORDS = {"bitmap": (2, 1, 3), "compare": (2, 1, 3), "convert": (2, 1, 3), "resize": (2, 1, 3), "create": (2, 1, 3)}
_NOT_DRAWN = {"h", "object", "image-opts", "target-image-opts"}
_REQUESTS = (
    *("write -P 7 0 64k", "write -z 64k 64k", "write -z -u 0 128k", "discard 0 1M", "read 0 512", "read -P 7 0 4k"),
    *("read -v 0 32", "length", "map", "alloc 0 1M", "truncate 2M", "flush", "info", "reopen -r", "close", "write 0"),
    *("bogus", "read x 1", "write -P 300 0 1", "aio_flush", "readv 0 512 512", "quit", "-q"),
    *("writev 0 512 4k", "open a.qcow2", "open -r b.qcow2", "open -Z b", "help read_", "sleep 1", "write -c 0 4k"),
)


class CommandLines:
    """Draws command lines.

    :param profile: whose options they have.
    """

    def __init__(self, rng: random.Random, profile: Profile) -> None:
        self.rng = rng
        self.profile = profile
        self.spoilt = False

    def draw(self, program: str) -> tuple[list[str], str | None]:
        """A command line, and what is on its standard input; at most one thing of it is wrong on purpose."""
        self.spoilt = False
        return self._qemu_io() if program == "qemu-io" else (self._qemu_img(), None)

    def _file(self) -> str:
        return self.rng.choice(("a.qcow2", "a.qcow2", "b.qcow2", "c.qcow2", "r.raw", "none.qcow2"))

    def _qemu_img(self) -> list[str]:
        rng = self.rng
        if rng.random() < 0.06:
            return [
                "qemu-img",
                *rng.choice(([], ["--version"], ["-V"], ["bogus"], ["--bogus"], ["-Z"], ["info", "-Z"])),
            ]
        command = rng.choice(sorted(self.profile.qemu_img_options))
        argv = ["qemu-img", command]
        specs = [word.split(",") for word in self.profile.qemu_img_options[command].split()]
        specs = [names for names in specs if names[0].rstrip(":") not in _NOT_DRAWN]
        # A long option that forgets the value of its short one makes QEMU read nowhere.
        specs = [[name for name in names if name.endswith(":") == names[0].endswith(":")] for names in specs]
        for names in rng.sample(specs, min(len(specs), rng.choice((0, 1, 1, 2, 3)))):
            argv += self._option(command, names)
        if command == "amend" and rng.random() < 0.7:
            argv += ["-o", rng.choice(_VALUES["o"])]
        argv += self._words(command)
        if not self.spoilt and rng.random() < 0.05:
            argv.append(rng.choice(("--bogus", "-Z", "--force-share=1", "-f")))
        return argv

    def _option(self, command: str, names: list[str]) -> list[str]:
        name = self.rng.choice(names)
        plain, takes_value = name.rstrip(":"), name.endswith(":")
        key = names[0].rstrip(":")
        value = self.rng.choice(_VALUES.get(key, ("1",)))
        if command == "bench" and key == "s" and not self.profile.qemu_img_commands_complain:
            value = "64k"  # requests of no bytes do not end
        if not self.spoilt and self.rng.random() < 0.15:
            # At a rate of a few bytes a second, nothing ends.
            wrong = [each for each in _WRONG_VALUES if not (each.isdigit() and "rate-limit:" in names)]
            self.spoilt, value = True, self.rng.choice(wrong)
        if len(plain) == 1:
            return [f"-{plain}", value] if takes_value else [f"-{plain}"]
        if not takes_value:
            return [f"--{plain}"]
        return [f"--{plain}={value}"] if self.rng.random() < 0.5 else [f"--{plain}", value]

    def _words(self, command: str) -> list[str]:
        rng = self.rng
        usual, *others = _WORDS.get(command, (1, 0, 2))
        if self.spoilt or rng.random() < 0.85:
            count = usual
        else:
            self.spoilt, count = True, rng.choice(others)
        if command == "dd":
            words = [f"if={self._file()}", "of=d.qcow2", f"bs={rng.choice(('512', '64k'))}", "count=3"]
            return words[: count + 1]
        words = [self._file() for _ in range(count)]
        if command == "bitmap":
            words[1:2] = [rng.choice(("b0", "b1", "b2"))] if count > 1 else []
        elif command in {"create", "resize"}:
            shrink = "-512" if command == "resize" else "0"  # what looks like options comes first to other commands
            words[1:2] = [rng.choice(("1M", "+64k", "3M", shrink, "1000"))] if count > 1 else []
        elif command == "convert":
            words[-1:] = [rng.choice(("d.qcow2", "c.qcow2"))] if count else []
        return words

    def _qemu_io(self) -> tuple[list[str], str | None]:
        rng = self.rng
        argv = ["qemu-io"]
        argv += rng.sample(("-r", "-n", "-U", "-k", "-m", "-C"), rng.choice((0, 0, 0, 1, 2)))
        if rng.random() < 0.6:
            argv += ["-f", rng.choice(("qcow2", "qcow2", "qcow2", "raw", "bogus"))]
        if rng.random() < 0.3:
            argv += rng.choice(
                (["-t", "none"], ["-t", "x"], ["-d", "on"], ["-d", "x"], ["--cache=unsafe"], ["-i", "x"])
            )
        requests = [rng.choice(_REQUESTS) for _ in range(rng.randrange(0, 4))]
        given = None
        if rng.random() < 0.3:
            given = "".join(f"{request}\n" for request in requests)
        else:
            argv += [word for request in requests for word in ("-c", request)]
        if rng.random() < 0.9:
            argv.append(self._file())
        if rng.random() < 0.04:
            argv.append(rng.choice(("two", "-Z", "--bogus", "--read-only=1", "-c")))
        return argv, given
