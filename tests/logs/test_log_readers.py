"""Logs of clients: their conversations, and whatever else a log may be."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from qbitsim.logs.conversation import Log
from qbitsim.logs.reading import DeafLogError, read_log

DATA = Path(__file__).parent / "data"
"""Excerpts of real logs: libvirt 11.3, qmpbackup 0.67 and qemu.qmp 0.0.6, with QEMU 10.0 and 7.2."""

LIBVIRT = (DATA / "libvirtd.log").read_text()
QMPBACKUP = (DATA / "qmpbackup.log").read_text()
QEMU_QMP = (DATA / "qemu_qmp.log").read_text()

HEAD = "2026-11-28 03:00:00.250+0000: 7: info : qemuMonitorSend:836 : "
SENT = f'{HEAD}QEMU_MONITOR_SEND_MSG: mon=0xa msg={{"execute":"query-jobs","id":"libvirt-1"}}\n fd=-1\n'
HEARD = f'{HEAD}QEMU_MONITOR_RECV_REPLY: mon=0xa reply={{"return": [], "id": "libvirt-1"}}\n'


def read(text: str) -> Log:
    log = read_log(text)
    assert log is not None
    return log


def shape(log: Log) -> list[tuple[str, str, str]]:
    """Each conversation: its name, its domain, and the first letters of the kinds of what was said."""
    return [(each.name, each.domain, "".join(said.kind[:3] for said in each.said)) for each in log.conversations]


def test_domains_that_are_mixed_in_a_log_of_libvirt_are_told_apart() -> None:
    log = read(LIBVIRT)
    assert (log.program, log.notes) == ("libvirt", [])
    mail, web = log.conversations
    assert (mail.name, mail.domain, web.name, web.domain) == ("mail", "mail", "web", "web")
    assert mail.version() == (10, 0, 13)
    kinds = [said.kind for said in mail.said]
    assert kinds[:3] == ["greeting", "request", "reply"]
    assert [kinds.count(kind) for kind in ("request", "reply", "event", "remark")] == [42, 42, 46, 2]
    words = [said.message for said in mail.said if said.kind == "remark"]
    assert words[1] == "libvirt: invalid argument: store '/srv/out/mail.incr' for backup of 'vda' exists"


def test_a_conversation_is_in_the_order_of_the_log() -> None:
    for conversation in read(LIBVIRT).conversations:
        times = [said.at for said in conversation.said[1:] if said.at is not None]
        assert times == sorted(times)


def test_qmpbackup_names_the_machine_and_its_clock_is_told_by_events() -> None:
    (night,) = read(QMPBACKUP).conversations
    assert (night.name, night.domain, night.version()) == ("night", "night", (7, 2, 22))
    events = [said for said in night.said if said.kind == "event"]
    for said in events:  # the log is in the time of Berlin
        assert isinstance(said.message, dict)
        assert said.at is not None
        assert abs(said.at // 1_000_000_000 - said.message["timestamp"]["seconds"]) <= 1
    assert [said.message for said in night.said if said.kind == "remark"] == [
        "ERROR - backup  Block job [qmpbackup.d1.d1.qcow2] failed.",
        (
            "CRITICAL - main  Error executing backup: Block job failed for device [qmpbackup.d1.d1.qcow2]: "
            "Reason: [No space left on device]"
        ),
    ]


def test_clients_of_qemu_qmp_are_told_apart_by_their_names() -> None:
    day, night = read(QEMU_QMP).conversations
    assert (day.name, night.name) == ("day", "night")
    assert {said.at for said in (*day.said, *night.said)} == {None}
    assert night.said[-1].message == "ERROR:root:day is over: Bitmap already exists: b0"


def test_colours_are_no_part_of_a_log() -> None:
    coloured = "\n".join(f"\x1b[32m{line}\x1b[0m" for line in QMPBACKUP.split("\n"))
    assert shape(read(coloured)) == shape(read(QMPBACKUP))


def test_ends_of_lines_may_be_those_of_dos() -> None:
    for text in (LIBVIRT, QMPBACKUP, QEMU_QMP):
        assert shape(read(text.replace("\n", "\r\n"))) == shape(read(text))


def test_a_journal_has_its_own_words_before_a_line() -> None:
    text = "\n".join(f"Nov 28 04:00:00 host libvirtd[12]: {line}" for line in LIBVIRT.split("\n") if line != " fd=-1")
    assert [(name, kinds.count("rep")) for name, _, kinds in shape(read(text))] == [("mail", 42), ("web", 29)]


def test_a_message_may_be_wrapped() -> None:
    text = SENT + HEARD.replace('"return"', '"re\nturn"')
    assert shape(read(text)) == [("monitor-0xa", "", "reqrep")]


def test_of_a_message_that_is_cut_off_the_beginning_is_kept() -> None:
    log = read(SENT + HEARD[:-30] + "\n" + SENT)
    (conversation,) = log.conversations
    assert [type(said.message) for said in conversation.said] == [dict, str, dict]
    assert log.notes == ["1 message is cut off in the log; only its beginning is shown."]


def test_each_connection_is_a_conversation() -> None:
    start = SENT.replace("query-jobs", "qmp_capabilities")
    close = f"{HEAD}QEMU_MONITOR_CLOSE: mon=0xa\n"
    assert [name for name, *_ in shape(read(start + HEARD + start + HEARD))] == ["monitor-0xa/1", "monitor-0xa/2"]
    assert len(read(SENT + HEARD + close + SENT).conversations) == 2
    assert len(read(QMPBACKUP + QMPBACKUP).conversations) == 2


def test_a_domain_is_known_by_the_path_of_its_monitor() -> None:
    path = '{"return": [{"filename": "unix:/run/domain-12-web-1/monitor.sock,server=on"}], "id": "libvirt-1"}'
    text = f"{HEAD}QEMU_MONITOR_RECV_REPLY: mon=0xa reply={path}\n"
    assert read(text).conversations[0].domain == "web-1"


def test_conversations_are_chosen_by_name_or_domain() -> None:
    probe = SENT.replace("0xa", "0xb").replace("query-jobs", "query-qmp-schema")
    log = read(LIBVIRT + probe)
    assert [each.name for each in log.chosen([])] == ["mail", "web"]
    assert [each.name for each in log.chosen(["web"])] == ["web"]
    assert [each.name for each in log.chosen(["monitor-0xb", "mail"])] == ["mail", "monitor-0xb"]
    assert [each.name for each in read(probe).chosen([])] == ["monitor-0xb"]
    with pytest.raises(KeyError, match=r"^'db'$"):
        log.chosen(["db"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-11-28 03:00:00.250+0000: 7: info : libvirt version: 11.3.0\n", "log_filters"),
        ("[2026-11-28 20:57:24,774]    INFO - main  Version: 0.67 Arguments: qmpbackup\n", "--debug"),
    ],
)
def test_a_log_without_messages_says_how_to_get_one_with_them(text: str, why: str) -> None:
    with pytest.raises(DeafLogError, match=why):
        read_log(text)


@pytest.mark.parametrize(
    "text", ["", "x", "{}", "-->", "QEMU_MONITOR_SEND_MSG", '{"execute": "quit"}\n', "disk d=1M\n"]
)
def test_other_texts_are_no_logs(text: str) -> None:
    assert read_log(text) is None


@pytest.mark.parametrize("text", [LIBVIRT, QMPBACKUP, QEMU_QMP])
def test_damage_of_any_kind_leaves_the_rest(text: str) -> None:
    drawn = random.Random(14)
    for _ in range(15):
        damaged = list(text)
        for _ in range(drawn.randrange(1, 60)):
            place = drawn.randrange(len(damaged))
            damaged[place : place + drawn.randrange(200)] = drawn.choice(
                ["", "\0", "\n", "}", "{", '"', "\ufffd", "--> {"]
            )
        log = read_log("".join(damaged))
        assert log is None or all(each.said for each in log.conversations)
    assert read_log(text[:-100]) is not None


def test_reading_is_linear_in_the_size() -> None:
    for text in (
        "x" * 1_000_000 + "\n" + SENT,
        SENT + "\n" * 100_000,
        SENT * 3_000,
        HEAD + 'QEMU_MONITOR_SEND_MSG: mon=0xa msg={"a":' + "[" * 300_000,
        "--> {\n" * 50_000,
        "--> {\n" + '  "a": 1,\n' * 50_000,
    ):
        begin = time.process_time()
        read_log(text)
        assert time.process_time() - begin < 5
