"""The human monitor's commands about the machine as a whole (monitor/hmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands import monitor
from qbitsim.commands.hmp.declaration import execute, hmp

if TYPE_CHECKING:
    from qbitsim.commands.context import Context


@hmp("stop", help="stop emulation")
def stop(context: Context) -> None:
    """Stop the guest."""
    execute(context, monitor.stop)


@hmp("cont", help="resume emulation")
def cont(context: Context) -> None:
    """Let the guest run."""
    execute(context, monitor.cont)


@hmp("quit", help="quit the emulator")
def quit_(context: Context) -> None:
    """End the machine cleanly."""
    execute(context, monitor.quit_)


@hmp("system_reset", help="reset the system")
def system_reset(context: Context) -> None:
    """Reset the guest."""
    execute(context, monitor.system_reset)


@hmp("system_powerdown", help="send system power down event")
def system_powerdown(context: Context) -> None:
    """Press the guest's power button."""
    execute(context, monitor.system_powerdown)


@hmp("info status", help="show the current VM status (running|paused)")
def info_status(context: Context) -> str:
    """Whether the guest runs."""
    status = execute(context, monitor.query_status)
    state = status["status"]
    details = f" ({state})" if state not in ("running", "paused") else ""
    return f"VM status: {'running' if status['running'] else 'paused'}{details}\n"


@hmp("info name", help="show the current VM name")
def info_name(context: Context) -> str:
    """The guest's name, if it has one."""
    name = execute(context, monitor.query_name).get("name")
    return "" if name is None else f"{name}\n"


@hmp("info uuid", help="show the current VM UUID")
def info_uuid(context: Context) -> str:
    """The guest's UUID."""
    return f"{execute(context, monitor.query_uuid)['UUID']}\n"


@hmp("info kvm", help="show KVM information")
def info_kvm(context: Context) -> str:
    """Whether KVM accelerates the guest."""
    kvm = execute(context, monitor.query_kvm)
    state = ("enabled" if kvm["enabled"] else "disabled") if kvm["present"] else "not compiled"
    return f"kvm support: {state}\n"


@hmp("info version", help="show the version of QEMU")
def info_version(context: Context) -> str:
    """The QEMU release that the machine is."""
    version = execute(context, monitor.query_version)
    number = version["qemu"]
    return f"{number['major']}.{number['minor']}.{number['micro']}{version['package']}\n"
