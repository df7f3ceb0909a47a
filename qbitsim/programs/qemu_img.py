"""``qemu-img`` as a program, on the files of the host."""

from __future__ import annotations

from qbitsim.images.host.store import HostImageStore
from qbitsim.programs.process import end_on_interrupt, now, save, standard_streams
from qbitsim.qemu_img.run import run_on
from qbitsim.serving.socket_network import SocketNetwork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from qbitsim.profiles import Profile


def main(argv: Sequence[str], profile: Profile) -> int:
    """Run it in the current directory; the exit status."""
    end_on_interrupt()
    store = HostImageStore(".")
    store.network = SocketNetwork(store.network)
    streams = standard_streams()
    status = run_on(streams, store, argv, profile, now())
    save(store, "qemu-img", streams)
    return status
