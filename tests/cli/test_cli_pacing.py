"""``qbitsim serve --pacing``."""

from __future__ import annotations

import pytest
from test_cli_serve import ready, serving, unix_client

from qbitsim.cli.main import main

SLOW = {"device": "drive0", "target": "t.img", "sync": "full", "speed": 65536, "auto-dismiss": False}


def test_with_immediate_pacing_a_slow_job_is_over_at_once(tmp_path):
    path = tmp_path / "qmp"
    with serving("--qmp", f"unix:{path}", "--disk", "drive0=64M", "--pacing", "immediate") as process:
        ready(process)
        client = unix_client(path)
        client.command("human-monitor-command", **{"command-line": 'qemu-io drive0 "write 0 8M"'})
        assert client.command("drive-backup", **SLOW) == {"return": {}}
        assert [job["status"] for job in client.command("query-jobs")["return"]] == ["concluded"]
        client.close()


def test_with_manual_pacing_a_job_stands_still(tmp_path):
    path = tmp_path / "qmp"
    with serving("--qmp", f"unix:{path}", "--disk", "drive0=64M", "--pacing", "manual") as process:
        ready(process)
        client = unix_client(path)
        client.command("drive-backup", **SLOW)
        jobs = [client.command("query-jobs") for _ in range(20)]
        assert jobs == [jobs[0]] * 20
        assert jobs[0]["return"][0]["status"] == "running"
        client.close()


@pytest.mark.parametrize("text", ["fast", "realtime:0"])
def test_an_unknown_pacing_is_refused_with_the_choices(capsys, text):
    assert main(["serve", "--qmp", "unix:/nowhere/qmp", "--pacing", text]) == 2
    assert capsys.readouterr().err == (
        f"qbitsim: --pacing: unknown pacing {text!r}: choose manual, immediate, realtime or realtime:FACTOR\n"
    )
