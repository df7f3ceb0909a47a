"""A session at a keyboard: keys go in, and what the shell shows is read."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from qbitsim import Machine
from qbitsim.cli.against import SocketChannel
from qbitsim.cli.serve import Address
from qbitsim.shell.prompt import Keyboard, history_file, open_history
from qbitsim.shell.screen import Screen
from qbitsim.shell.shell import Shell

UP, TAB, CTRL_C, CTRL_D = "\x1b[A", "\t", "\x03", "\x04"


@pytest.fixture
def typed(terminal, tmp_path):
    """Type keys at a shell; what it has shown."""

    def run(shell, keys, state=tmp_path / "state"):
        terminal.take()
        with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
            pipe.send_text(keys)
            Keyboard(shell, {"XDG_STATE_HOME": str(state)}).run()
        return terminal.take()

    return run


def test_a_line_is_run_and_ctrl_d_leaves(new_shell, typed):
    assert typed(new_shell(), f"query-jobs\r{CTRL_D}") == "[]\n"


@pytest.mark.parametrize(
    "lines",
    [
        ["(QEMU) query-jobs", '{"return": []}', "(QEMU) query-jobs", "(QEMU)"],
        ['-> {"execute": "query-jobs"}', '<- {"return": []}', '-> {"execute":', '"query-jobs"}'],
        ["(qemu) info jobs", "query-jobs", "query-jobs"],
    ],
)
def test_lines_that_are_pasted_together_are_run_one_by_one(new_shell, typed, lines):
    pasted = "\n".join(lines)
    shown = typed(new_shell(), f"\x1b[200~{pasted}\x1b[201~\r{CTRL_D}")
    assert shown.count("[]\n") == 2


def test_what_is_pasted_ends_with_what_is_refused(new_shell, typed):
    shown = typed(new_shell(), f"\x1b[200~query-jobs\nnonsense\nquery-jobs\x1b[201~\r{CTRL_D}")
    assert shown == "[]\nCommandNotFound: The command nonsense has not been found\n"


def test_quit_leaves(new_shell, typed):
    assert typed(new_shell(), ":quit\r") == ""


def test_tab_completes_what_only_one_thing_can_be(new_shell, terminal, tmp_path):
    shell = new_shell()
    terminal.take()
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        keyboard = Keyboard(shell, {"XDG_STATE_HOME": str(tmp_path)})

        def type_slowly():
            for keys, line in (
                (f"block-dirty-bitmap-ad{TAB}", "block-dirty-bitmap-add"),
                (f" nod{TAB}", "block-dirty-bitmap-add node="),
                (f"drive0-{TAB}", "block-dirty-bitmap-add node=drive0-node"),
            ):
                pipe.send_text(keys)
                deadline = time.monotonic() + 10
                while keyboard._session.default_buffer.text != line and time.monotonic() < deadline:
                    time.sleep(0.005)
            pipe.send_text(f" name=b0\r{CTRL_D}")

        thread = threading.Thread(target=type_slowly)
        thread.start()
        keyboard.run()
        thread.join(10)
    assert terminal.take() == "{}\n"
    assert [bitmap.name for bitmap in shell.machine.drive("drive0").node.bitmaps] == ["b0"]


def test_a_line_that_is_not_complete_goes_on(new_shell, typed):
    keys = f"transaction(\rblock-dirty-bitmap-add node=drive0 name=b0\r)\r{CTRL_D}"
    assert typed(new_shell(), keys) == "{}\n"


def test_ctrl_c_drops_the_line_and_keeps_the_shell(new_shell, typed):
    assert typed(new_shell(), f"stop{CTRL_C}query-jobs\r{CTRL_D}") == "[]\n"


def test_the_history_is_there_in_the_next_session(new_shell, typed):
    typed(new_shell(), f"query-jobs\r{CTRL_D}")
    assert typed(new_shell(), f"{UP}\r{CTRL_D}") == "[]\n"


def test_the_history_is_kept_where_xdg_says_and_for_oneself(new_shell, typed, tmp_path):
    typed(new_shell(), f"query-jobs\r{CTRL_D}")
    file = tmp_path / "state" / "qbitsim" / "shell-history"
    assert file.read_text().endswith("+query-jobs\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert history_file({"HOME": "/ignored"}).parts[-4:] == (".local", "state", "qbitsim", "shell-history")


def test_a_history_that_cannot_be_kept_is_said_and_the_shell_goes_on(new_shell, typed, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    complaint, reply = typed(new_shell(), f"query-jobs\r{CTRL_D}", state=blocked).splitlines()
    assert complaint == f"the history is not kept: {blocked}/qbitsim: Not a directory"
    assert reply == "[]"


def test_a_history_that_can_no_longer_be_written_is_said_once(tmp_path):
    said = []
    history = open_history({"XDG_STATE_HOME": str(tmp_path)}, said.append)
    os.remove(history_file({"XDG_STATE_HOME": str(tmp_path)}))
    os.mkdir(history_file({"XDG_STATE_HOME": str(tmp_path)}))
    history.store_string("one")
    history.store_string("two")
    assert said == [f"the history is not kept: {tmp_path}/qbitsim/shell-history: Is a directory"]


def test_events_are_shown_while_a_line_is_edited(terminal, typed, tmp_path):
    machine = Machine()
    with machine.serve() as server:
        screen = Screen(terminal, {"TERM": "xterm", "NO_COLOR": "1"})
        shell = Shell(lambda: SocketChannel(Address("unix", str(server.path))), screen, patience=10)
        shell.connect()
        elsewhere = server.add_monitor()
        came = threading.Event()
        shell.screen.event = lambda event: (terminal.write(event["event"]), came.set())
        with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
            pipe.send_text("query-")

            def stop_the_guest():
                with socket.socket(socket.AF_UNIX) as other, other.makefile("rwb") as lines:
                    other.connect(elsewhere)
                    lines.readline()
                    for name in ("qmp_capabilities", "stop"):
                        other.sendall(f'{{"execute": "{name}"}}\n'.encode())
                        lines.readline()
                came.wait(10)
                pipe.send_text(f"jobs\r{CTRL_D}")

            thread = threading.Thread(target=stop_the_guest)
            thread.start()
            Keyboard(shell, {"XDG_STATE_HOME": str(tmp_path)}).run()
            thread.join(10)
        shell.monitor.close()
    assert terminal.take() == "STOP[]\n"


@pytest.mark.parametrize(
    ("lines", "prompt"),
    [
        ([], "qbitsim 10.0> "),
        (
            [":write drive0 0 1M", "drive-backup device=drive0 sync=full target=t format=qcow2 job-id=j"],
            "qbitsim 10.0 [1 due]> ",
        ),
    ],
)
def test_the_prompt_says_how_much_is_due(new_shell, say, tmp_path, lines, prompt):
    shell = new_shell()
    say(shell, *lines)
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        assert Keyboard(shell, {"XDG_STATE_HOME": str(tmp_path)})._prompt() == prompt
