"""The shell's own commands, on a machine of its own: what they do, and all that they show."""

from __future__ import annotations

import json
import re
import signal

import pytest

from qbitsim.drivers.driver import DRIVERS
from qbitsim.injection.faults import KINDS
from qbitsim.shell import meta, timing


def shown(text):
    """The lines without the indentation of this file."""
    return "".join(f"{line[8:]}\n" for line in text.splitlines()[1:-1])


@pytest.fixture
def shell(new_shell, say):
    """A disk of 16 MiB with a bitmap, and 2 MiB of it dirty, which a job copies in two steps."""
    shell = new_shell(drive0="16M")
    say(shell, "block-dirty-bitmap-add node=drive0 name=bitmap0", ":write drive0 0 2M")
    return shell


BACKUP = "drive-backup device=drive0 bitmap=bitmap0 sync=incremental target=t format=qcow2 job-id=job0"


def state(shell):
    return json.loads(json.dumps(shell.machine.state()))


def test_show_draws_disks_and_bitmaps(shell, say):
    assert say(shell, ":show") == shown(
        """
          drive0              16 MiB
           bitmap0          ████····························  2 MiB dirty
        """
    )


def test_show_draws_successors_and_jobs_and_says_what_is_due(shell, say):
    say(shell, BACKUP, ":write drive0 8M 1M")
    assert say(shell, ":show drive0") == shown(
        """
          drive0              16 MiB
           bitmap0          ████····························  2 MiB dirty, busy
            successor       ················██··············  1 MiB dirty
          job0              ································  running, 0 of 2 MiB
          due: job0: copy 0+1048576 and 1 more
        """
    )


def test_show_names_the_drive_that_is_meant(shell, say):
    assert say(shell, ":show drive1") == "column 7: there is no drive 'drive1'; did you mean 'drive0'?\n"


def test_show_on_draws_after_each_change_and_only_then(shell, say):
    before = say(shell, ":show on")
    assert say(shell, "block-dirty-bitmap-clear node=drive0 name=bitmap0") == shown(
        """
        {}
          drive0              16 MiB
           bitmap0          ································  0 dirty
        """
    )
    assert before.endswith("2 MiB dirty\n")
    assert say(shell, "query-jobs") == "[]\n"
    assert say(shell, ":show off", ":write drive0 0 1") == ""


def test_a_job_moves_only_in_steps(shell, say):
    say(shell, BACKUP)
    assert say(shell, ":step") == "1 step, t = 0 s, 1 due\n"
    assert say(shell, ":step 100") == shown(
        """
        event JOB_STATUS_CHANGE status=waiting id=job0
        event JOB_STATUS_CHANGE status=pending id=job0
        event BLOCK_JOB_COMPLETED device=job0 len=2097152 offset=2097152 speed=0
              type=backup
        event JOB_STATUS_CHANGE status=concluded id=job0
        event JOB_STATUS_CHANGE status=null id=job0
        1 step, t = 0 s, 0 due
        """
    )
    assert say(shell, ":step") == "0 steps, t = 0 s, 0 due\n"


def test_a_command_that_comes_too_early_is_told_that_nothing_moves_by_itself(shell, say):
    say(shell, "drive-mirror device=drive0 target=m sync=full job-id=m")
    assert say(shell, "block-job-complete device=m") == shown(
        """
        GenericError: Job 'm' in state 'running' cannot accept command verb 'complete'
        job 'm' is running still: nothing moves until told, and 2 things are due: ':step' or ':run'
        """
    )
    assert "due" not in say(shell, "job-dismiss id=nope")


def test_a_bitmap_that_a_filter_hides_is_found_by_its_node(shell, say):
    say(shell, "drive-backup device=drive0 target=t sync=full job-id=j")
    assert say(shell, "block-dirty-bitmap-clear node=drive0 name=bitmap0") == (
        "GenericError: Dirty bitmap 'bitmap0' not found\n"
        "node 'drive0-node' has a bitmap 'bitmap0'; while a job runs, its filter is above that node, and "
        "the drive means the filter\n"
    )
    say(shell, ":run")
    assert say(shell, "block-dirty-bitmap-clear node=drive0 name=b") == "GenericError: Dirty bitmap 'b' not found\n"


def test_why_tells_what_made_a_granule_dirty(shell, say):
    say(shell, BACKUP, ":run")
    shown_of_it = say(shell, ":why bitmap0 1M")
    assert shown_of_it.startswith("bitmap0 of drive0, 64 KiB at 1048576: clean\n  clean since moment ")
    assert "the guest writes 2097152 bytes at 0 of drive0\n" in shown_of_it
    assert "backup job0 (sync=incremental, to t):" in shown_of_it
    assert say(shell, ":why bitmap0 1M drive0-node") == shown_of_it


def test_why_knows_the_reasons_of_what_was_undone(shell, say):
    say(shell, "block-dirty-bitmap-clear node=drive0 name=bitmap0", ":undo")
    shown_of_it = say(shell, ":why bitmap0 0")
    assert "the machine is what it was before\n" in shown_of_it
    assert "the guest writes 2097152 bytes at 0 of drive0\n" in shown_of_it


def test_why_needs_a_bitmap_that_there_is(shell, say):
    assert say(shell, ":why bitmap0") == ":why needs BITMAP OFFSET, such as ':why bitmap0 1M'\n"
    assert say(shell, ":why b 0") == "GenericError: there is no bitmap 'b'\n"


def test_run_lets_everything_happen(shell, say):
    say(shell, BACKUP)
    assert say(shell, ":run").splitlines()[-1] == "2 steps, t = 0 s, 0 due"
    assert say(shell, "query-jobs") == "[]\n"


def test_a_job_with_a_speed_limit_waits_for_time(shell, say):
    say(shell, f"{BACKUP} speed=1M")
    assert say(shell, ":run") == "1 step, t = 0 s, 0 due; the next thing is due at t = 1.00001 s (':advance')\n"
    assert say(shell, ":advance 2.5").splitlines()[-1] == "2 steps, t = 2.5 s, 0 due"


def test_with_immediate_pacing_a_job_ends_with_its_command(new_shell, say):
    shell = new_shell(pacing="immediate")
    say(shell, "block-dirty-bitmap-add node=drive0 name=bitmap0", ":write drive0 0 64k")
    lines = say(shell, BACKUP).splitlines()
    assert lines.index("{}") < lines.index("event JOB_STATUS_CHANGE status=null id=job0")


def test_another_pacing_can_be_chosen_but_not_the_clock_on_the_wall(shell, say):
    assert say(shell, "x-qbitsim-set-pacing pacing=immediate") == "{}\n"
    assert shell.machine.pacing == "immediate"
    assert say(shell, "x-qbitsim-set-pacing pacing=realtime") == (
        "a machine of the shell's own is never realtime; it stays immediate\n{}\n"
    )


def test_write_takes_sizes_and_a_byte(shell, say):
    assert say(shell, ":write drive0 0x800000 1k 0x42") == ""
    assert shell.machine.drive("drive0").read(0x800000, 1025) == b"B" * 1024 + b"\0"


def test_a_fault_strikes_and_is_listed_and_lifted(shell, say):
    say(shell, BACKUP)
    assert say(shell, ":fault drive0:read:0+64k:EIO:once") == "error0: 'x-qbitsim-lift id=error0' ends it\n"
    assert say(shell, ":fault") == "error0: drive0: reads that touch 0+65536 fail with EIO, once\n"
    assert "error=Input/output error" in say(shell, ":run").replace("\n      ", " ").replace('"', "")
    assert say(shell, ":fault") == "error0: drive0: reads that touch 0+65536 fail with EIO, no more\n"
    assert say(shell, "x-qbitsim-lift id=error0", ":fault") == "{}\nthere are no faults\n"


def test_a_fault_of_any_kind_is_written_with_the_arguments_of_its_command(shell, say):
    said = say(shell, ":fault delay-io where=drive0 operation=read seconds=2 offset=64k", ":fault")
    assert said == (
        "delay0: 'x-qbitsim-lift id=delay0' ends it\ndelay0: drive0: reads that touch 65536+1 of jobs take 2 s\n"
    )
    assert say(shell, ":fault foreign-job id=j").splitlines()[-1] == "j: 'x-qbitsim-end-foreign-job id=j' ends it"
    assert say(shell, ":fault limit-capacity file=t capacity=64k") == ""
    assert say(shell, ":fault hold-reply command=stop wher=5").startswith("column 32: hold-reply has no 'wher'")


def test_requests_that_a_fault_holds_up_are_counted(shell, say):
    say(shell, "x-qbitsim-stall-io where=drive0 operation=read id=s", BACKUP, ":run")
    assert say(shell, ":fault") == "s: drive0: reads of jobs wait (2 waiting)\n"


def test_a_file_can_be_full(shell, say):
    assert say(shell, BACKUP, ":fault t=0", ":run").count("No space left on device") == 1
    assert say(shell, ":fault") == "t: room for 0 bytes of data; ':fault t=none' ends it\n"
    assert say(shell, ":fault t=none", ":fault") == "there are no faults\n"
    assert shell.machine.images.lookup("t").file.capacity is None


@pytest.mark.parametrize(
    "line",
    [
        "block-dirty-bitmap-remove node=drive0 name=bitmap0",
        ":write drive0 8M 64k",
        ":fault drive0:read:*:EIO",
        ":fault drive0.qcow2=0",
        ":advance 3",
        BACKUP,
        "transaction( block-dirty-bitmap-clear node=drive0 name=bitmap0 )",
        '{"execute": "stop"}',
        "x-qbitsim-crash restart=on",
    ],
)
def test_undo_makes_the_machine_what_it_was(shell, say, line):
    before = state(shell)
    say(shell, line)
    after = state(shell)
    assert say(shell, ":undo").startswith("undone: ")
    assert state(shell) == before
    assert after != before or line.startswith(":fault drive0:")


def test_undo_goes_back_several_levels_and_says_what_was_undone(shell, say):
    before = state(shell)
    say(shell, BACKUP, ":step", "query-jobs", ":write drive0 0 1")
    assert say(shell, ":undo 3") == f"undone: :write drive0 0 1\nundone: :step\nundone: {BACKUP}\n"
    assert state(shell) == before


def test_what_was_undone_can_be_done_again(shell, say):
    say(shell, BACKUP, ":step")
    once = state(shell)
    say(shell, ":undo 2", BACKUP, ":step")
    assert state(shell) == once


def test_what_was_refused_or_changed_nothing_is_not_to_be_undone(shell, say):
    levels = len(shell.undo)
    say(shell, "block-dirty-bitmap-remove node=drive0 name=fish", ":write fish 0 1", ":run", ":step", "query-block")
    assert len(shell.undo) == levels


def test_there_may_be_nothing_to_undo(new_shell, say):
    assert say(new_shell(), ":undo") == "there is nothing to undo\n"


def test_more_cannot_be_undone_than_was_done(shell, say):
    assert say(shell, ":undo 7") == "column 7: only 2 can be undone\n"


def test_events_are_listed_and_can_be_kept_off_the_screen(shell, say):
    assert say(shell, ":events") == "there were no events\n"
    assert say(shell, ":events off", "stop") == "{}\n"
    assert say(shell, ":events list") == "event STOP\n"
    assert say(shell, ":events on", "cont") == "event RESUME\n{}\n"


def test_who_waits_on_a_machine_that_does_not_move_is_told_what_moves_it(shell, say):
    say(shell, ":write drive0 0 4M", f"{BACKUP} speed=65536")
    assert say(shell, ":wait BLOCK_JOB_COMPLETED") == (
        "GenericError: no BLOCK_JOB_COMPLETED came: nothing moves here by itself, and something is due: "
        "':step' or ':run'\n"
    )
    say(shell, ":run")
    assert re.fullmatch(
        "GenericError: no BLOCK_JOB_COMPLETED came: no time passes here by itself, and something is due "
        r"at t = [\d.]+ s: ':advance'\n",
        say(shell, ":wait BLOCK_JOB_COMPLETED"),
    )


def test_wait_finds_what_has_come_and_says_what_has_not(shell, say):
    assert say(shell, "stop", ":wait STOP") == "event STOP\n{}\n"
    assert say(shell, ":wait STOP") == "GenericError: no STOP came, and nothing is due\n"
    assert say(shell, ":wait STOPP") == "column 7: there is no event 'STOPP'; did you mean 'STOP'?\n"


def test_json_shows_the_last_reply_as_it_was_sent(shell, say):
    assert say(shell, ":json") == '{"return": {}}\n'
    assert say(shell, ":json on", "query-jobs", "stop").splitlines()[0] == '{"return": []}'
    assert say(shell, ":json off", "query-jobs") == "[]\n"


def test_there_may_be_no_reply_to_show(new_shell, say):
    assert say(new_shell(), ":json") == "there was no reply\n"


def test_a_file_of_lines_is_run(shell, say, tmp_path):
    file = tmp_path / "lines"
    file.write_text("# a comment\nstop\n\ncont\n")
    assert say(shell, f":source {file}") == "event STOP\n{}\nevent RESUME\n{}\n"
    assert say(shell, ":source no-such-file") == "no-such-file: No such file or directory\n"


def test_help_says_what_a_command_takes_and_since_when(shell, say):
    assert say(shell, ":help block-dirty-bitmap-merge") == shown(
        """
        block-dirty-bitmap-merge: command, since QEMU 4.0
          also an action of a transaction
          node     text, needed
          target   text, needed
          bitmaps  [text or {...}, ...], needed
        """
    )
    assert say(shell, ":help abort") == "abort: action of a transaction, since QEMU 1.6\n  no arguments\n"
    assert "  returns [{...}, ...]\n" in say(shell, ":help query-block")


def test_help_says_which_variants_there_are(shell, say):
    lines = say(shell, ":help blockdev-add").splitlines()
    first, second, *_ = sorted(DRIVERS)
    assert f"  driver          {first}|{second}|..., needed" in lines
    assert "  driver=qcow2: file= [backing=] [lazy-refcounts=] [pass-discard-request=]" in [
        line[: len("  driver=qcow2: file= [backing=] [lazy-refcounts=] [pass-discard-request=]")] for line in lines
    ]


def test_help_lists_the_commands_of_the_shell(shell, say):
    text = say(shell, ":help")
    assert all(f":{name}" in text for name in meta.METAS)
    assert say(shell, ":help :undo") == ":undo [N]\nundo what changed the machine last, or the last N\n"
    assert (
        say(shell, ":help blockdev-ad") == "column 7: nothing is called 'blockdev-ad'; did you mean 'blockdev-add'?\n"
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (":shwo", "column 1: there is no ':shwo'; did you mean ':show'? (try ':help')"),
        (":", "column 1: there is no ':' (try ':help')"),
        (":step x", "column 7: 'x' is no number of steps"),
        (":step 0", "column 7: '0' is no number of steps"),
        (":step 1 2", "column 9: '2' is too much: write :step [N]"),
        (":advance", ":advance needs SECONDS, such as ':advance 0.5'"),
        (":advance soon", "column 10: 'soon' is no number of seconds"),
        (":advance -1", "column 10: time goes forward, by at most 1e9 seconds"),
        (":advance nan", "column 10: time goes forward, by at most 1e9 seconds"),
        (":write drive0", ":write needs DRIVE OFFSET LENGTH, such as ':write drive0 1M 64k'"),
        (":write drive0 0 much", "column 17: 'much' is no size: write a number of bytes, such as 64k or 1M"),
        (":write drive0 0 1 300", "column 19: '300' is no byte"),
        (":write drive0 0 1 A", "column 19: 'A' is no byte"),
        (":write drive9 0 1", "GenericError: there is no drive 'drive9'"),
        (":write drive0 16M 1", "GenericError: 16777216+1 goes beyond the end of 'drive0', which has 16777216 bytes"),
        (
            ":fault drive0:read",
            "'drive0:read': write WHERE:OPERATION:OFFSET+LENGTH:ERRNO[:once], such as drive1:read:0+64k:EIO:once",
        ),
        (":fault drive0.qcow2=some", ("'drive0.qcow2=some': invalid size 'some': write a number of bytes, or one with "
         "a suffix k, M, G, T or P")),
        (":fault fish:read:*:EIO", "GenericError: no drive with a medium, no node and no image file is called 'fish'"),
        (":fault nope x=1", f"column 8: there is no kind of fault 'nope': they are {', '.join(KINDS)}"),
        (":events often", "column 9: 'often' is neither on, off nor list"),
        (":json maybe", "column 7: 'maybe' is neither on nor off"),
        (":wait", ":wait needs an EVENT, such as ':wait BLOCK_JOB_COMPLETED 10'"),
        (":source", ":source needs a FILE"),
        ("nonsense", "CommandNotFound: The command nonsense has not been found"),
        (
            "help",
            """GenericError: qbitsim does not emulate the help of all commands
':help' says what the shell knows, ':help NAME' what a command takes""",
        ),
        (
            "query-blok",
            "CommandNotFound: The command query-blok has not been found\ndid you mean 'query-block'?",
        ),
        ("guest-ping a", "column 12: 'a' is no argument: write key=value"),
        ("transaction(\nabort x\n)", "line 2, column 7: 'x' is no argument: write key=value"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_a_line_and_changes_nothing(shell, say, line, complaint):
    before = state(shell)
    assert say(shell, line) == f"{complaint}\n"
    assert state(shell) == before


def test_the_second_interrupt_is_not_deferred():
    with timing.deferred_interrupt() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_run_stops_between_two_steps_at_an_interrupt(shell, say, monkeypatch):
    say(shell, BACKUP)
    monkeypatch.setattr(timing, "_STEPS_AT_ONCE", 1)
    execute = shell.monitor.execute

    def interrupting(name, *arguments, **more):
        if name == "x-qbitsim-step":
            signal.raise_signal(signal.SIGINT)
        return execute(name, *arguments, **more)

    monkeypatch.setattr(shell.monitor, "execute", interrupting)
    assert say(shell, ":run").splitlines()[-1] == "interrupted after 1 steps"
    assert [job.id for job in shell.machine.jobs.jobs] == ["job0"]


def test_a_command_that_is_interrupted_is_undone(shell, say, terminal, monkeypatch):
    before = state(shell)

    def interrupted(clock, seconds):
        shell.machine.drive("drive0").write(0, b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(shell.machine.clock), "advance_to", interrupted)
        with pytest.raises(KeyboardInterrupt):
            shell.run(":advance 1")
    shell.interrupted()
    assert terminal.take() == "interrupted, and undone: :advance 1\n"
    assert state(shell) == before


def test_after_quit_the_shell_is_over(shell, say):
    assert say(shell, "quit").splitlines()[-2:] == ["{}", "the machine has ended"]
    assert shell.over


def test_after_a_crash_the_shell_goes_on_with_the_new_machine(shell, say):
    assert say(shell, "x-qbitsim-crash restart=true") == "{}\nthe machine was started anew\n"
    assert say(shell, "query-jobs") == "[]\n"


def test_a_reply_that_is_held_back_does_not_hold_up_the_shell(shell, say):
    say(shell, "x-qbitsim-hold-reply command=query-jobs")
    assert say(shell, "query-jobs") == (
        "no reply to query-jobs in 0 seconds\nthe machine holds it back; the shell connects to the machine anew\n"
    )
    assert say(shell, "query-jobs") == "[]\n"


def test_what_qemu_prints_is_shown(shell, say):
    line = "human-monitor-command command-line='qemu-io drive0 \"read -P 0x41 0 1k\"'"
    assert say(shell, line).startswith("read 1024/1024 bytes at offset 0\n")
