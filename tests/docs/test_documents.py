"""What the README and the documents of the package show is run, and what they say about this repository is true."""

from __future__ import annotations

import ast
import os
import re
import runpy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fnmatch import fnmatch
from functools import partialmethod
from pathlib import Path

import pytest
from documents import DOCUMENTS, README, REPOSITORY, Block, blocks, document, examples, run, serving
from hypothesis import Phase, settings
from recordings import COMPARED, NAMES

import qbitsim.qemu_img.run as qemu_img
import qbitsim.qemu_io.parser as qemu_io
from qbitsim import Machine
from qbitsim.block.bitmap import DirtyBitmap
from qbitsim.cli import documents
from qbitsim.cli.main import main
from qbitsim.commands.hmp.offered import COMMANDS
from qbitsim.profiles import DEFAULT_PROFILE, PROFILES

RECORDED = runpy.run_path(str(REPOSITORY / "tests/conformance/test_recorded.py"))


def named(example: tuple[Block, ...]) -> str:
    return example[0].place


# -- what is shown


@pytest.mark.parametrize("example", examples(), ids=named)
def test_every_example_runs_and_prints_what_is_shown(example: tuple[Block, ...], tmp_path: Path) -> None:
    *servers, block = example
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(serving(server, tmp_path))
        printed = run(block, tmp_path)
    if block.expected is None:
        return
    at = 0
    for part in re.split(r"^\.\.\.\n", block.expected, flags=re.MULTILINE):
        assert part in printed[at:], printed
        at = printed.index(part, at) + len(part)
    if "...\n" not in block.expected:
        assert printed == block.expected


@pytest.fixture
def without_shrinking() -> Iterator[None]:
    """Let properties that are made now draw as for a reader, and end with the first example that fails."""
    settings.register_profile("without shrinking", settings(), max_examples=100, phases=[Phase.generate])
    settings.load_profile("without shrinking")
    yield
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture
def property_of_the_readme(without_shrinking: None, tmp_path: Path) -> Callable[[], None]:
    (block,) = (each for each in blocks() if "from hypothesis" in each.text)
    file = tmp_path / "property_of_the_readme.py"
    file.write_text(block.text)  # Hypothesis reads the source
    return runpy.run_path(str(file))["test_a_backup_loses_no_dirty_bit"]


def test_the_property_holds(property_of_the_readme: Callable[[], None]) -> None:
    property_of_the_readme()


def reclaim_without_new_writes(bitmap: DirtyBitmap, reclaim: Callable[[DirtyBitmap], None]) -> None:
    bits = bitmap.bits.copy()
    reclaim(bitmap)
    bitmap.bits = bits


MUTANTS = {
    "a failure forgets what was to be copied": ("reclaim", DirtyBitmap.abdicate),
    "a failure forgets what was written meanwhile": (
        "reclaim",
        partialmethod(reclaim_without_new_writes, DirtyBitmap.reclaim),
    ),
    "a success keeps what was copied": ("abdicate", DirtyBitmap.reclaim),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_property_fails_if(
    mutant: str, property_of_the_readme: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirtyBitmap, *MUTANTS[mutant])
    with pytest.raises((AssertionError, ExceptionGroup)):
        property_of_the_readme()


def test_examples_of_python_fit_120_columns() -> None:
    for block in blocks():
        if block.kind == "python":
            assert all(len(line) <= 120 for line in block.text.splitlines()), block.place


def test_the_picture_is_what_the_command_in_the_guide_makes(tmp_path: Path) -> None:
    (shown,) = set(re.findall(r"\]\((\S+\.svg)\)", README))
    (source,) = re.findall(r"^qbitsim report (\S+) -o \S+\.svg$", document("guide"), re.MULTILINE)
    file = tmp_path / "picture.svg"
    assert main(["report", str(REPOSITORY / source), "-o", str(file)]) == 0
    assert file.read_text() == (REPOSITORY / shown).read_text()
    assert file.stat().st_size < 16_000


# -- the releases


def test_the_profiles_are_those_that_there_are() -> None:
    names = [*PROFILES]
    others = [name for name in reversed(names) if name != DEFAULT_PROFILE.name]
    assert f"\n| | {' | '.join(names)} |\n" in document("guide")
    assert f"| versions | yes: {DEFAULT_PROFILE.name} (default), {', '.join(others)} |" in README


# -- shown in a terminal


@pytest.mark.parametrize("name", documents.names())
def test_a_document_is_shown_as_it_is_written(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", name]) == 0
    assert capsys.readouterr().out == document(name)


def test_the_help_names_every_document(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["reference", "--help"])
    assert ", ".join(documents.names()) in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["guid"], f"there is no document 'guid'; did you mean 'guide'? (there are {', '.join(documents.names())})"),
        (["guide", "--update", "README.md"], "--update is for the tables alone"),
    ],
)
def test_what_cannot_be_shown_is_refused(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", *words]) == 2
    assert capsys.readouterr().err == f"qbitsim: {text}\n"


# -- the two commands


def test_the_readme_opens_with_the_two_commands() -> None:
    opening = README.split("\n## ")[0]
    shown = re.findall(r"^```sh\n(.*?)\n```$", opening, re.MULTILINE | re.DOTALL)
    assert shown == ["pip install . && qbitsim demo", "pip install -q -e '.[test]' && pytest -n auto --dist worksteal"]


def test_ci_runs_the_readmes_test_command_word_for_word() -> None:
    lines = (REPOSITORY / ".ci/run").read_text().splitlines()
    assert lines.count("pip install -q -e '.[test]' && pytest -n auto --dist worksteal") == 1


# -- what is said


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 25_000


def test_the_readme_leads_to_every_document_and_says_how_to_show_it() -> None:
    assert sorted(re.findall(r"^\| \[\w+\]\(qbitsim/docs/(\w+)\.md\) \|", README, re.MULTILINE)) == documents.names()
    shown = re.findall(r"`qbitsim reference(?: (\w+))?` \|$", README, re.MULTILINE)
    assert sorted(name or "reference" for name in shown) == documents.names()


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_text_fits_120_columns(path: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", DOCUMENTS[path], flags=re.MULTILINE | re.DOTALL)
    assert [line for line in prose.splitlines() if len(line) > 120 and not line.startswith("|")] == []


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", DOCUMENTS[path]):
        file = (REPOSITORY / path.parent / target).resolve() if target else REPOSITORY / path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_files_and_directories_that_the_documents_name_exist() -> None:
    named = {
        name for text in DOCUMENTS.values() for name in re.findall(r"`((?:tests|qbitsim|benchmarks)/[\w./]*)`", text)
    }
    assert named
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []


def row(area: str) -> set[str]:
    """The names in the middle column of the table of what is supported."""
    (supported,) = re.findall(rf"^\| {area} \| ([^|]*) \|", README, re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", supported))


def test_the_readme_lists_the_commands_of_qemu_img_and_qemu_io() -> None:
    assert row("qemu-img") == set(qemu_img._MODULES)
    short = {"aio_*" if name.startswith("aio_") else name for name in qemu_io._READERS}
    assert row("qemu-io") == short


def test_the_readme_lists_the_lines_of_the_human_monitor() -> None:
    names = {name.removeprefix("info ") for name in COMMANDS}
    patterns = row("HMP") - {"human-monitor-command"}
    assert {name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert {pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in names)} == set()


def test_what_the_documents_call_on_a_machine_is_there() -> None:
    text = "\n".join(DOCUMENTS.values())
    assert {name for name in re.findall(r"`machine\.(\w+)", text) if not hasattr(Machine(), name)} == set()


def test_the_readme_says_how_many_scenarios_were_recorded() -> None:
    assert f" {len(COMPARED)} scenarios " in README
    assert (len(NAMES) - len(COMPARED), "Nine more, in which QEMU crashes," in README) == (9, True)


def test_the_readme_lists_the_scenarios_that_do_not_agree_yet() -> None:
    expected = RECORDED["NOT_YET"] | RECORDED["NOT_TO_THE_LETTER"]
    rows = sorted({f"- `{name}`: {reason}\n" for (_, name), reason in expected.items()})
    listed = README.partition("<!-- not-yet:begin -->\n")[2].partition("<!-- not-yet:end -->\n")[0]
    assert listed == ("".join(rows) or "There is none.\n")


def test_the_design_lists_the_folders_floor_by_floor_as_they_describe_themselves() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY / "tests/api")
        layers = runpy.run_path(str(REPOSITORY / "tests/api/test_layers.py"))
    rows = re.findall(r"^\| (\d+) \| (`.*`) \| (.*) \|$", document("design"), re.MULTILINE)
    assert [int(floor) for floor, *_ in rows] == sorted((int(floor) for floor, *_ in rows), reverse=True)
    listed = {name: int(floor) for floor, names, _ in rows for name in re.findall(r"`(\w+)`", names)}
    ground = {path.stem: 0 for path in layers["PACKAGE"].glob("*.py") if not path.stem.startswith("__")}
    assert listed == {**{name: floor for name, floor in layers["LEVELS"].items() if name}, **ground}
    for _, names, text in rows:
        if names.count("`") == 2:
            described = ast.get_docstring(ast.parse((layers["PACKAGE"] / names.strip("`") / "__init__.py").read_text()))
            assert described is not None
            assert described.splitlines()[0].rstrip(".").lower() == text.lower()


def test_the_benchmarks_have_a_place() -> None:
    speed = document("speed")
    assert speed.count("<!-- benchmarks:begin -->\n") == speed.count("<!-- benchmarks:end -->\n") == 1
