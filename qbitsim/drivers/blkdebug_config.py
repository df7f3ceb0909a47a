"""The file with rules that ``blkdebug:CONFIG:FILE`` names (read_config, block/blkdebug.c, QEMU 10.0)."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

from qbitsim.drivers.options import Options
from qbitsim.errors import QmpError, UnsupportedError

if TYPE_CHECKING:
    from qbitsim.images.store import ImageStore
    from qbitsim.profiles import Profile

_GROUP = r"\[([^\]\s]+)(?: \"[^\"]*\")?\]"
_OPTION = r"\s*(\S+)\s*=\s*\"([^\"]*)\""
_WORD = r"\s*([^\s\0]{1,63})()"
"""What stands alone in a line has an empty value, as sscanf() says that it has found it (qemu_config_foreach)."""

_NUMBERS = {"state", "errno", "sector", "new_state", "delay-ns"}
_SWITCHES = {"once", "immediately"}
_OPTIONS = {
    "inject-error": {"event", "state", "iotype", "errno", "sector", "once", "immediately", "delay-ns"},
    "set-state": {"event", "state", "new_state"},
}


def read_config(images: ImageStore, name: str, profile: Profile) -> Options:
    """The rules in a file, as the options ``inject-error`` and ``set-state`` of a node.

    :raises QmpError: there is no such file, or it is none with rules.
    """
    try:
        source = None if name == os.devnull else images.file(name).bytes_read
        text = "" if source is None else source.read_at(0, source.length).decode(errors="surrogateescape")
    except OSError as error:
        opened = f"open '{name}'" if profile.blkdebug_names_config else "read blkdebug config file"
        cannot = "Cannot read config file" if error.errno == errno.EISDIR else f"Could not {opened}"
        raise QmpError(f"{cannot}: {error.strerror}") from None
    rules: Options = {"inject-error": [], "set-state": []}
    rule: Options | None = None
    for line in text.rstrip("\0").splitlines() or ["\0"] * bool(text):
        if not line or line.startswith("#"):
            continue
        if found := re.match(_GROUP, line):
            group, rule = found[1], {}
            if group not in rules:
                raise QmpError(f"There is no option group '{group}'")
            rules[group].append(rule)
        elif found := re.match(_OPTION, line) or re.match(_WORD, line):
            if rule is None:
                raise QmpError("no group defined")
            rule[found[1]] = _value(group, found[1], found[2])
        else:
            raise QmpError("parse error")
    for rule in (*rules["inject-error"], *rules["set-state"]):
        if "event" not in rule:
            raise QmpError("Missing event name for rule")
    return rules


def _value(group: str, name: str, text: str) -> object:
    if name not in _OPTIONS[group]:
        raise QmpError(f"Invalid parameter '{name}'")
    if name in _NUMBERS:
        try:
            return int(text, 0)
        except ValueError:
            raise QmpError(f"Parameter '{name}' expects a number") from None
    if name in _SWITCHES:
        if text not in ("on", "off"):
            raise UnsupportedError(f"'{name}={text}' in a file of blkdebug")
        return text == "on"
    return text
