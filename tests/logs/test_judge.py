"""Replies that a faithful machine would not have given are found, and nothing else is said to be wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from qbitsim.logs.conversation import Conversation
from qbitsim.logs.judge import judged
from qbitsim.logs.judgement import Judgement
from qbitsim.logs.reading import read_log

DATA = Path(__file__).parent / "data"
LIBVIRT = (DATA / "libvirtd.log").read_text()
QMPBACKUP = (DATA / "qmpbackup.log").read_text()
REFUSED = {"error": {"class": "GenericError", "desc": "Not today"}}


def conversation(text: str, name: str) -> Conversation:
    log = read_log(text)
    assert log is not None
    return next(each for each in log.conversations if each.name == name)


def with_reply(text: str, number: str, reply: dict[str, Any]) -> str:
    """The log in which the request with that id was answered otherwise."""
    line = re.compile(rf'^(.* mon=0x7efe0c5334e0 reply=).*"id": "{number}"}}$', re.MULTILINE)
    changed, count = line.subn(lambda found: found[1] + json.dumps({**reply, "id": number}), text)
    assert count == 1
    return changed


def number_of(text: str, command: str, place: int = 0) -> str:
    """The id of a request of the domain mail."""
    sent = re.findall(rf'mon=0x7efe0c5334e0 msg={{"execute":"{command}".*"id":"(libvirt-\d+)"}}$', text, re.MULTILINE)
    return str(sent[place])


def judge_mail(text: str) -> Judgement:
    return judged(conversation(text, "mail"))


def test_all_that_real_qemu_answered_is_what_was_expected() -> None:
    for text, name, agreed in ((LIBVIRT, "mail", 38), (LIBVIRT, "web", 25), (QMPBACKUP, "night", 11)):
        judgement = judged(conversation(text, name))
        assert (judgement.expected, judgement.agreed) == ({}, agreed)
        assert set(judgement.unjudged) == {"about other things than disks, bitmaps and jobs"}
    assert judge_mail(LIBVIRT).profile.name == "10.0"


def test_a_refusal_without_a_cause_is_found() -> None:
    number = number_of(LIBVIRT, "blockdev-del")
    judgement = judge_mail(with_reply(LIBVIRT, number, REFUSED))
    ((place, expected),) = judgement.expected.items()
    assert expected == {"return": {}}
    said = conversation(LIBVIRT, "mail").said[place]
    assert isinstance(said.message, dict)
    assert said.message["id"] == number
    assert next(iter(judgement.notes("mail"))) == "mail: 1 reply is not what QEMU 10.0 answers."


def test_another_text_of_a_refusal_is_found() -> None:
    text, number = LIBVIRT, number_of(LIBVIRT, "query-jobs")
    text = text.replace(
        f'"execute":"query-jobs","id":"{number}"', f'"execute":"job-dismiss","arguments":{{"id":"x"}},"id":"{number}"'
    )
    right = {"error": {"class": "GenericError", "desc": "Job not found"}}
    assert judge_mail(with_reply(text, number, right)).expected == {}
    made = text.replace('"arguments":{"id":"x"}', '"arguments":{"id":"create-libvirt-2-format"}')
    judgement = judge_mail(with_reply(made, number, {"error": {"class": "GenericError", "desc": "Job is tired"}}))
    assert [*judgement.expected.values()] == [{"return": {}}]


def test_a_job_that_is_told_to_be_elsewhere_is_found() -> None:
    jobs = [{"type": "create", "id": "create-libvirt-2-format", "status": "pending"}]
    judgement = judge_mail(with_reply(LIBVIRT, number_of(LIBVIRT, "query-jobs"), {"return": jobs}))
    assert [*judgement.expected.values()] == [
        {"return": {"create-libvirt-2-format": {"type": "create", "status": "concluded"}}}
    ]


def test_a_bitmap_that_is_told_otherwise_is_found() -> None:
    pattern = re.compile(r'("name": "mon", [^}]*)"persistent": true|"persistent": true([^}]*"name": "mon")')
    changed = pattern.sub(lambda found: f'{found[1] or ""}"persistent": false{found[2] or ""}', LIBVIRT)
    assert changed != LIBVIRT
    expected = [*judge_mail(changed).expected.values()]
    assert expected
    for each in expected:
        assert each["return"]["libvirt-1-format"]["mon"]["persistent"] is True


@pytest.mark.parametrize(
    ("desc", "why"),
    [
        ("Could not open '/srv/out/mail.full': Permission denied", "that the host's files may have caused"),
        ('Failed to get "write" lock', "that the host's files may have caused"),
        ("Duplicate nodes with node-name='libvirt-2-storage'", "about what may have been there before"),
    ],
)
def test_what_the_host_or_others_may_have_caused_is_not_judged(desc: str, why: str) -> None:
    refusal = {"error": {"class": "GenericError", "desc": desc}}
    judgement = judge_mail(with_reply(LIBVIRT, number_of(LIBVIRT, "blockdev-add"), refusal))
    assert judgement.expected == {}
    assert judgement.unjudged[why] == 1


def test_what_follows_another_way_is_not_judged() -> None:
    number = number_of(LIBVIRT, "transaction")
    judgement = judge_mail(with_reply(LIBVIRT, number, REFUSED))
    assert [*judgement.expected.values()] == [{"return": {}}]
    assert judgement.unjudged["about what went another way before"] > 0


def test_behind_a_command_that_is_cut_off_nothing_is_judged() -> None:
    number = number_of(LIBVIRT, "blockdev-create")
    cut = re.sub(
        rf'(?m)^(.*SEND_MSG: mon=0x7efe0c5334e0 msg={{"execute":"blockdev-create").*"{number}"}}$', r"\1", LIBVIRT
    )
    judgement = judge_mail(cut)
    assert judgement.expected == {}
    assert judgement.unjudged["behind a message that is cut off in the log"] > 20


def test_a_query_that_is_cut_off_does_no_harm() -> None:
    number = number_of(LIBVIRT, "query-named-block-nodes", 2)
    cut = re.sub(rf'(?m)^(.*RECV_REPLY: mon=0x7efe0c5334e0 reply=.{{200}}).*"{number}"}}$', r"\1", LIBVIRT)
    assert cut != LIBVIRT
    judgement = judge_mail(cut)
    assert (judgement.expected, judgement.agreed) == ({}, 37)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"major": 10', '"major": 12', "as qbitsim does not know QEMU 12.0"),
        ('Line [{"QMP"', 'Line [{"NO"', "as it is not known which QEMU it is"),
        ('"virtual-size"', '"size"', "as it is not known which disks there were"),
    ],
)
def test_what_is_not_known_is_said(old: str, new: str, why: str) -> None:
    judgement = judge_mail(LIBVIRT.replace(old, new))
    assert (judgement.expected, judgement.agreed) == ({}, 0)
    assert judgement.unjudged[why] > 30


def test_behind_a_migration_nothing_is_judged() -> None:
    number = number_of(LIBVIRT, "blockdev-add")
    text = re.sub(
        rf'(?m)msg={{"execute":"blockdev-add".*"{number}"}}$', f'msg={{"execute":"migrate","id":"{number}"}}', LIBVIRT
    )
    judgement = judge_mail(text)
    assert judgement.expected == {}
    assert judgement.unjudged["behind migrate"] > 20


def test_damaged_replies_are_judged_without_trouble() -> None:
    text = LIBVIRT
    odd: list[dict[str, Any]] = [
        *({"return": None}, {"error": 3}, {"return": [1, {"id": 2}]}, {"error": {}}, {}),
        {"return": [{"node-name": "libvirt-1-format", "dirty-bitmaps": [{"name": {}}, 1]}, {"inserted": 1, "id": []}]},
    ]
    for place, reply in enumerate(odd):
        for command in ("query-jobs", "query-named-block-nodes", "job-dismiss", "blockdev-add"):
            text = with_reply(text, number_of(text, command, place), reply)
    assert judge_mail(text).unjudged
