"""The pytest plugin, tried in runs of pytest inside of pytest."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from contextlib import suppress

import pytest

import qbitsim
from qbitsim.profiles import PROFILES

pytest_plugins = ["pytester"]

ASK = """
    import json, socket

    def ask(server, *requests):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(server.path)
            with connection.makefile("rwb") as file:
                file.readline()
                return [answer(file, request) for request in ({"execute": "qmp_capabilities"}, *requests)][1:]

    def answer(file, request):
        file.write(json.dumps(request).encode() if isinstance(request, dict) else request)
        file.flush()
        while "event" in (message := json.loads(file.readline())):
            pass
        return message
"""


@pytest.fixture(scope="module", autouse=True)
def all_modules_are_there():
    """A run inside of this one forgets the modules that it was the first to import, and what is declared is so once."""
    for each in pkgutil.walk_packages(qbitsim.__path__, "qbitsim."):
        if not each.name.endswith("__main__"):
            with suppress(ImportError):  # of an extra
                importlib.import_module(each.name)


@pytest.fixture
def run(pytester):
    """Run pytest with the plugin, and warnings as errors, on a module."""

    def run_module(source, *arguments):
        pytester.makepyfile(ask=ASK, test_it=source)
        imported = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"  # by this very process
        return pytester.runpytest("-p", "qbitsim.testing.plugin", "-W", "error", "-W", imported, *arguments)

    return run_module


def test_a_machine_in_process_is_a_fixture(run):
    run(
        """
        from qbitsim import Machine

        def test_it(qmp_machine):
            assert isinstance(qmp_machine, Machine)
            assert qmp_machine.profile.name == "10.0"
            assert qmp_machine.pacing == "manual"
            assert qmp_machine == Machine()

        def test_each_test_has_its_own(qmp_machine):
            qmp_machine.add_disk("drive0", "1M")
        """
    ).assert_outcomes(passed=2)


def test_a_served_machine_is_a_fixture(run):
    run(
        """
        import os
        from ask import ask

        paths = []

        def test_it(qmp_server):
            assert ask(qmp_server, {"execute": "query-jobs"}) == [{"return": []}]
            assert qmp_server.pacing == "realtime"
            paths.append(qmp_server.path)

        def test_then_it_is_gone():
            assert not os.path.exists(paths[0])

        def test_both_are_two_machines(qmp_server, qmp_machine):
            qmp_machine.add_disk("drive0", "1M")
            assert qmp_server.run(lambda machine: list(machine.graph.drives)) == []
        """
    ).assert_outcomes(passed=3)


def test_a_mark_says_what_the_machines_are(run):
    run(
        """
        import pytest
        from qbitsim import Machine

        pytestmark = pytest.mark.qbitsim(profile="2.5", disks={"d": 1 << 20})

        @pytest.mark.qbitsim(
            profile="7.2",
            pacing="immediate",
            disks={"drive0": "64M", "drive1": {"size": "1G", "format": "raw", "node_name": "n1"}},
            faults=[
                "drive0:read:0+64k:EIO:once",
                {"where": "drive1", "operation": "write", "offset": 4096, "length": 512},
            ],
        )
        @pytest.mark.parametrize("served", [False, True])
        def test_it(served, request):
            if served:
                server = request.getfixturevalue("qmp_server")
                assert server.pacing == "immediate"
                server.run(check)
            else:
                check(request.getfixturevalue("qmp_machine"))

        def check(machine):
            assert machine.profile.name == "7.2"
            assert machine.pacing == "immediate"
            assert list(machine.graph.drives) == ["drive0", "drive1"]
            for drive, place, error in (("drive0", 100, "read"), ("drive1", 4096, "write")):
                with pytest.raises(OSError):
                    machine.drive(drive).write(place, b"x") if error == "write" else machine.drive(drive).read(0, 512)
            assert machine.drive("drive0").read(0, 512) == bytes(512)

        @pytest.mark.qbitsim(profile="10.0")
        def test_what_is_closer_counts_more(qmp_machine):
            assert qmp_machine.profile.name == "10.0"
            assert list(qmp_machine.graph.drives) == ["d"]
        """
    ).assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('profil="7.2"', "unknown argument 'profil': choose among profile, pacing, disks, faults"),
        ('"7.2"', "takes only arguments with a name: profile, pacing, disks, faults"),
        ('profile="7.3"', f"profile: no profile '7.3': choose one of {', '.join(PROFILES)}"),
        ("profile=7.2", "profile: expected a text, not 7.2"),
        ('pacing="fast"', "pacing: unknown pacing 'fast': choose manual, immediate, realtime or realtime:FACTOR"),
        ('disks="64M"', "disks: expected {id: size}, not '64M'"),
        ('disks={"drive0": "64X"}', "disks: invalid size '64X'"),
        ('disks={"drive0": None}', "disks: disk 'drive0' is a size or the arguments of Machine.add_disk, not None"),
        ('disks={0: "64M"}', "disks: the id of a disk is a text, not 0"),
        ('disks={"drive0": {"length": 3}}', "disk 'drive0': unknown argument 'length': choose among size, format"),
        ('faults="drive0:read"', "faults: expected a list, not 'drive0:read'"),
        ("faults=[3]", "faults: a fault is a text or the arguments of Machine.inject_error, not 3"),
        ('faults=[{"wher": "d"}]', "fault {'wher': 'd'}: unknown argument 'wher': choose among where, operation"),
    ],
)
def test_a_mark_with_a_typo_is_refused_before_any_test_runs(run, arguments, text):
    result = run(
        f"""
        import pytest

        def test_innocent():
            pass

        @pytest.mark.qbitsim({arguments})
        def test_it(qmp_machine):
            pass
        """
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.errlines if line.startswith("ERROR: "))
    assert line.startswith("ERROR: test_it.py::test_it: @pytest.mark.qbitsim")
    assert text in line


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('disks={"d": "64M"}, faults=["d:raed:0+64k:EIO"]', "fault 'd:raed:0+64k:EIO': *raed"),
        ('faults=["hat:read:0+64k:EIO"]', "fault 'hat:read:0+64k:EIO'*hat"),
        ('faults=[{"where": "hat", "operation": "read"}]', "fault {*}: *'hat'"),
        ('disks={"drive0": {"backing": "no.img"}}', "disk 'drive0': *no.img"),
    ],
)
def test_a_disk_or_a_fault_that_cannot_be_made_fails_the_test_and_says_so(run, arguments, text):
    result = run(
        f"""
        import pytest

        @pytest.mark.qbitsim({arguments})
        def test_it(qmp_machine):
            pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"@pytest.mark.qbitsim: {text.replace('[', '[[]')}*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_options_are_for_what_is_not_marked(run):
    result = run(
        """
        import pytest

        def test_it(qmp_machine, qmp_server):
            assert (qmp_machine.profile.name, qmp_machine.pacing) == ("7.2", "immediate")
            assert qmp_server.run(lambda machine: machine.profile.name) == "7.2"
            assert qmp_server.pacing == "immediate"

        @pytest.mark.qbitsim(profile="10.0", pacing="manual")
        def test_marked(qmp_machine, qmp_server):
            assert (qmp_machine.profile.name, qmp_machine.pacing) == ("10.0", "manual")
            assert qmp_server.pacing == "manual"
        """,
        "--qbitsim-profile=7.2",
        "--qbitsim-pacing=immediate",
    )
    result.assert_outcomes(passed=2)


def test_the_ini_file_is_for_what_no_option_says(pytester, run):
    pytester.makeini("[pytest]\nqbitsim_profile = 2.5\nqbitsim_pacing = realtime:100\n")
    source = """
        def test_it(qmp_machine, qmp_server, pytestconfig):
            assert qmp_machine.profile.name == (pytestconfig.getoption("--qbitsim-profile") or "2.5")
            assert qmp_machine.pacing == "manual"
            assert qmp_server.pacing == "realtime:100"
        """
    run(source).assert_outcomes(passed=1)
    run(source, "--qbitsim-profile=7.2").assert_outcomes(passed=1)


@pytest.mark.parametrize("place", ["option", "ini"])
@pytest.mark.parametrize(
    ("name", "said", "text"),
    [
        ("profile", "7.3", f"no profile '7.3': choose one of {', '.join(PROFILES)}"),
        ("pacing", "realtime:0", "unknown pacing 'realtime:0': choose manual, immediate, realtime or realtime:FACTOR"),
    ],
)
def test_an_option_with_a_typo_is_a_usage_error(pytester, run, place, name, said, text):  # noqa: PLR0917
    if place == "ini":
        pytester.makeini(f"[pytest]\nqbitsim_{name} = {said}\n")
    result = run("", *([f"--qbitsim-{name}={said}"] if place == "option" else []))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    where = f"qbitsim_{name}" if place == "ini" else f"--qbitsim-{name}"
    result.stderr.fnmatch_lines([f"ERROR: {where}: {text}"])


def test_a_failed_test_shows_what_was_said_and_the_state(run):
    result = run(
        """
        import pytest

        @pytest.mark.qbitsim(disks={"drive0": "1M"})
        def test_it(qmp_machine):
            qmp_machine.qmp("block-dirty-bitmap-add", node="drive0", name="b0")
            qmp_machine.drive("drive0").write(0x20000, b"x")
            qmp_machine.qmp("drive-backup", device="drive0", job_id="job", target="t", sync="none")
            with pytest.raises(Exception):
                qmp_machine.qmp("job-hat")
            qmp_machine.stop()
            assert False
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- said to qmp_machine -*",
            '-> {"execute": "block-dirty-bitmap-add", "arguments": {"node": "drive0", "name": "b0"}}',
            '<- {"return": {}}',
            '-> {"execute": "drive-backup", *',
            '[*][*] 1447192343.000000 JOB_STATUS_CHANGE {"status": "created", "id": "job"}',
            '<- {"return": {}}',
            '-> {"execute": "job-hat", "arguments": {}}',
            '<- {"error": {"class": "CommandNotFound", "desc": "The command job-hat has not been found"}}',
            "[*][*] 1447192343.000000 STOP",
            "*- state of qmp_machine -*",
            "QEMU 10.0 after 0.000000 s, paused",
            "node *(qcow2, 1048576 bytes)",
            "  bitmap b0, granularity 65536: dirty 0x20000+0x10000",
            "job job (backup) is running, 0 of * bytes",
        ]
    )


def test_a_failed_test_shows_what_was_said_to_a_server_by_whom(run):
    result = run(
        """
        import pytest
        from ask import ask

        @pytest.mark.qbitsim(pacing="manual")
        def test_it(qmp_server):
            ask(qmp_server, {"execute": "query-jobs"})
            ask(qmp_server, b'{"execute": #}', b"3")
            qmp_server.run(lambda machine: machine.qmp("stop"))
            assert False
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- said to qmp_server -*",
            'monitor 1 -> {"execute": "qmp_capabilities"}',
            'monitor * -> {"execute": "query-jobs"}',
            'monitor * <- {"return": [[]]}',
            "monitor * -> something that is no JSON",
            'monitor * <- {"error": {"class": "GenericError", "desc": "JSON parse error, *',
            '-> {"execute": "stop", "arguments": {}}',
            "[*][*] * STOP",
            "*- state of qmp_server -*",
            "no jobs",
        ]
    )


def test_the_conversation_is_shown_from_its_end_and_lines_are_cut(run):
    result = run(
        """
        def test_it(qmp_machine):
            for _ in range(1000):
                qmp_machine.qmp("query-jobs")
            qmp_machine.qmp("query-commands")
            assert False
        """
    )
    result.stdout.fnmatch_lines(
        ["*- said to qmp_machine -*", "(1802 lines before)", '<- {"return": [[]{"name": *... (* characters)']
    )


def test_a_failure_in_a_fixture_that_uses_a_machine_is_shown_with_it_too(run):
    result = run(
        """
        import pytest

        @pytest.fixture
        def backup(qmp_machine):
            qmp_machine.qmp("query-jobs")
            raise RuntimeError

        def test_it(backup):
            pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*- said to qmp_machine -*", '-> {"execute": "query-jobs", "arguments": {}}'])


def test_a_bug_of_the_served_machine_is_an_error_and_what_was_said_is_shown_once(run):
    result = run(
        """
        import pytest
        from ask import ask

        def test_it(qmp_server):
            qmp_server.run(lambda machine: machine.jobs.jobs.append(None))
            with pytest.raises(ValueError):
                ask(qmp_server, {"execute": "query-jobs"})

        def test_failing_too(qmp_server):
            qmp_server.run(lambda machine: machine.jobs.jobs.append(None))
            ask(qmp_server, {"execute": "query-jobs"})
        """
    )
    result.assert_outcomes(passed=1, failed=1, errors=2)
    result.stdout.fnmatch_lines(
        ["*- said to qmp_server -*", 'monitor 1 -> {"execute": "query-jobs"}', "cannot be shown: AttributeError*"]
    )
    assert sum("said to qmp_server" in line for line in result.outlines) == 2


def test_a_test_that_passes_or_is_expected_to_fail_shows_nothing(run):
    result = run(
        """
        import pytest

        def test_good(qmp_machine):
            qmp_machine.qmp("query-jobs")

        @pytest.mark.xfail
        def test_bad(qmp_machine):
            assert 0
        """,
        "-rA",
    )
    result.assert_outcomes(passed=1, xfailed=1)
    result.stdout.no_fnmatch_line("*said to*")


def test_two_machines_that_differ_are_explained(run):
    result = run(
        """
        from qbitsim import Machine

        def test_it(qmp_machine):
            other = Machine("10.0")
            for machine in (qmp_machine, other):
                machine.add_disk("drive0", "1M", node_name="n0")
                machine.qmp("block-dirty-bitmap-add", node="n0", name="b0")
            other.drive("drive0").write(0, b"x")
            other.stop()
            assert qmp_machine == other
        """,
        "-vv",
    )
    result.stdout.fnmatch_lines(
        [
            "E * assert <Machine 10.0 drives=[[]'drive0'] jobs=[[]]> == <Machine 10.0 drives=[[]'drive0'] jobs=[[]]>",
            "E * run-state: 'running' != 'paused'",
            "E * nodes.n0.bitmaps[[]0].dirty: [[]] != [[](0, 65536)]",
            "E * events[[]0]: only in the second: *STOP*",
        ]
    )


def test_other_comparisons_are_left_to_pytest(run):
    result = run("def test_it(qmp_machine):\n    assert [1, 2] == [1, 3]")
    result.stdout.fnmatch_lines(["E * At index 1 diff: 2 != 3"])


@pytest.mark.parametrize("name", ["qbitsim.testing.plugin", "qbitsim"])
def test_it_costs_nothing_where_it_is_not_used(pytester, name):
    pytester.makepyfile(
        """
        import sys

        def test_it(pytestconfig):
            assert pytestconfig.getoption("--qbitsim-profile") is None
            loaded = {name for name in sys.modules if name.startswith(("qbitsim", "bitarray"))}
            assert loaded == {"qbitsim", "qbitsim.testing", "qbitsim.testing.plugin"}
            assert not pytestconfig.pluginmanager.has_plugin("qbitsim-report")
        """
    )
    if name == "qbitsim" and not _installed():
        pytest.skip("the package is not installed with its entry points")
    result = pytester.runpytest_subprocess("-p", name, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_the_module_of_the_plugin_imports_nothing_but_pytest():
    program = "import sys, pytest; old = {*sys.modules}; import qbitsim.testing.plugin; print({*sys.modules} - old)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert ast.literal_eval(shown) == {"qbitsim", "qbitsim.testing", "qbitsim.testing.plugin"}


def _installed():
    from importlib.metadata import entry_points  # noqa: PLC0415

    return "qbitsim" in entry_points(group="pytest11").names


def test_a_page_for_each_machine_of_a_failed_test_is_written_if_asked_for(run, pytester):
    result = run(
        """
        import pytest
        from ask import ask

        @pytest.mark.parametrize("name", ["a/b", "c"])
        def test_bad(qmp_machine, name):
            qmp_machine.qmp("query-jobs")
            assert name == "c"

        @pytest.mark.qbitsim(disks={"drive0": "1M"})
        def test_served(qmp_server):
            add = {"node": "drive0", "name": "b0"}
            ask(qmp_server, {"execute": "block-dirty-bitmap-add", "arguments": add})
            assert 0
        """,
        "--qbitsim-report",
        "pages",
    )
    result.assert_outcomes(passed=1, failed=2)
    pages = sorted(page.name for page in (pytester.path / "pages").iterdir())
    assert pages == ["test_it.py-test_bad-a-b-qmp_machine.html", "test_it.py-test_served-qmp_server.html"]
    result.stdout.fnmatch_lines(
        [
            "*- picture of qmp_machine -*",
            f"{pytester.path / 'pages' / pages[0]}",
            "*- said to qmp_server -*",
            'monitor 1 -> {"execute": "block-dirty-bitmap-add"*',
            f"{pytester.path / 'pages' / pages[1]}",
        ]
    )


def test_a_page_that_cannot_be_written_is_said_and_the_rest_is_shown(pytester, run):
    pytester.makeini("[pytest]\nqbitsim_report = test_it.py/pages\n")
    result = run("def test_bad(qmp_machine):\n    assert 0\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- state of qmp_machine -*", "*- picture of qmp_machine -*", "cannot be shown: *"])
