"""For tests: pytest fixtures, Hypothesis strategies, state machines and laws.

With pytest, as soon as qbitsim is installed::

    @pytest.mark.qbitsim(profile="7.2", disks={"drive0": "64M"}, faults=["drive0:read:0+64k:EIO:once"])
    def test_my_software_tries_again(qmp_server):    # or qmp_machine, without a socket
        my_software.back_up(qmp_server.path)

With Hypothesis: plug in a backup client, and let it be tried in every order of things. The guest writes, disks fail and
fill up, another client comes in; the laws of incremental backup are checked all the time::

    from qbitsim.testing import BackupClientMachine

    class MyClientMachine(BackupClientMachine):
        actions = ("full", "incremental")    # methods of the client

        def client(self, machine):
            return MyClient(machine)

    TestMyClient = MyClientMachine.TestCase

A client's methods are generators: they ``yield execute("query-jobs")`` to run a command and get its reply, and ``yield
NEXT_EVENT`` to wait for an event. Its ``chains()`` tells which files make up its backups, as :class:`Chain`. What is
wrong with a client is a :class:`LawBrokenError`, with the story of how it came to it.

Tests of your own kind are made of ``strategies``: commands, valid and invalid, disks, guests, faults and orders.

Complete clients, honest ones and such with the mistakes that clients make, are installed as
``share/doc/qbitsim/examples`` below ``sys.prefix``; in the sources they are ``tests/examples``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qbitsim.testing import strategies
    from qbitsim.testing.clients import NEXT_EVENT, BackupClient, Chain, Sleep, execute
    from qbitsim.testing.laws import LawBrokenError
    from qbitsim.testing.stateful import BackupClientMachine
else:
    _HOMES = {
        "NEXT_EVENT": "qbitsim.testing.clients",
        "BackupClient": "qbitsim.testing.clients",
        "BackupClientMachine": "qbitsim.testing.stateful",
        "Chain": "qbitsim.testing.clients",
        "LawBrokenError": "qbitsim.testing.laws",
        "Sleep": "qbitsim.testing.clients",
        "execute": "qbitsim.testing.clients",
        "strategies": "qbitsim.testing",
    }

    def __getattr__(name: str) -> object:
        """What is exported is imported when it is first wanted: the plugin must cost nothing where it is not used."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - wanted once

        home = _HOMES[name]
        found = import_module(f"{home}.{name}") if home == __name__ else getattr(import_module(home), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})


__all__ = [
    "NEXT_EVENT",
    "BackupClient",
    "BackupClientMachine",
    "Chain",
    "LawBrokenError",
    "Sleep",
    "execute",
    "strategies",
]
