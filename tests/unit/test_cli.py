"""The command line as a whole: help, completion, and how errors end. Nothing here needs root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from cli import main, options
from datapath.errors import EbpfnetError, InvalidInput, NotFound
from datapath.labs import catalogue, lifecycle
from datapath.labs.loader import load

ROOT = Path(__file__).parents[2]
NOBODY = 65534
# What costs too much to be imported before it is needed.
HEAVY = {"bcc", "pyroute2", "tabulate", "yaml"}
# Runs a command as nobody. The checkout may be closed to them: commands are imported before.
AS_NOBODY = f"""\
import importlib, os
from cli import main
for module, _ in main.COMMANDS.values():
    importlib.import_module(f"cli.{{module}}")
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
main.main()
"""
NAMES_OF_HEAVY = f"""\
import sys
from cli import main
try:
    main.main()
finally:
    print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)
"""


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something."""
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child, name
        yield from leaves(child, (*path, name))


COMMANDS = list(leaves(main.cli))
# Those that read or change what belongs to root, with the arguments that they must have.
NEED_ROOT = {
    ("attach",): [],
    ("detach",): [],
    ("reload",): [],
    ("gc",): [],
    ("status",): [],
    ("endpoint", "list"): [],
    ("endpoint", "get"): ["x"],
    ("map", "list"): [],
    ("map", "dump"): ["x"],
    ("map", "lookup"): ["x", "1"],
    ("map", "watch"): ["x"],
    ("map", "check"): [],
    ("compare",): [],
    ("show",): ["links", "x"],
    ("neigh", "flush"): ["x"],
    ("link", "set"): ["x", "y", "--promisc", "on"],
    ("capture",): ["x"],
    ("diagnose",): ["x", "y"],
    ("lab", "list"): [],
    ("lab", "up"): ["bridge"],
    ("lab", "check"): [],
    ("lab", "exec"): ["x", "true"],
    ("lab", "down"): ["x"],
}


def run(
    *args: str, code: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line, or `code` with the same arguments."""
    python = [sys.executable, *(["-c", code] if code else ["-m", "cli"])]
    return subprocess.run(
        [*python, *args],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def one_line(stderr: str) -> str:
    """What is on stderr, if that is one line in the kit's own words."""
    assert stderr.startswith("ebpfnet: "), stderr
    assert stderr.count("\n") == 1, stderr
    assert stderr.endswith("\n")
    return stderr


def test_help_lists_every_command() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    assert shown.stderr == ""
    listed = shown.stdout.partition("\nCommands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(main.COMMANDS)
    for name in ("attach", "detach", "status", "gc", "doctor", "endpoint", "map", "compare"):
        assert name in main.COMMANDS


@pytest.mark.parametrize("args", [(), *((name,) for name in main.COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    shown = run(*args, "--help", code=NAMES_OF_HEAVY)
    assert shown.returncode == 0
    assert shown.stdout.startswith("Usage: ebpfnet")
    assert shown.stderr == "[]\n"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    shown = run(*path, "-h")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"Usage: ebpfnet {' '.join(path)}")
    assert f"ebpfnet {' '.join(path)}" in shown.stdout.partition("\n  Example")[2]


@pytest.mark.parametrize("group", ["endpoint", "map", "lab", "neigh", "link"])
def test_every_group_has_help_with_an_example(group: str) -> None:
    assert f"  ebpfnet {group} " in run(group, "-h").stdout.partition("\n  Examples:\n")[2]


@pytest.mark.parametrize("group", [(), ("endpoint",), ("map",)], ids=" ".join)
def test_without_a_command_it_shows_its_help(group: tuple[str, ...]) -> None:
    shown = run(*group)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == run(*group, "--help").stdout


def test_version_is_the_distributions_own() -> None:
    declared = (ROOT / "pyproject.toml").read_text().partition('\nversion = "')[2].split('"')[0]
    assert run("--version").stdout == f"ebpfnet, version {declared}\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["atach"], "atach"),
        (["attach", "--nonsense"], "--nonsense"),
        (["map", "nonsense"], "nonsense"),
        (["attach", "--hook", "nonsense"], "tcx"),
        (["attach", "--max-endpoints", "0"], "--max-endpoints"),
        (["status", "-o", "nonsense"], "json"),
        (["endpoint", "get"], "Missing argument"),
        (["completion"], "bash, zsh, fish"),
        (["compare", "--between", "a"], "requires 2 arguments; see `ebpfnet compare --help`"),
        (["attach", "--lab", "x", "--network", "y"], "--lab goes with --mode and --hook alone"),
        (["detach", "--lab", "x", "--network", "y"], "--lab takes neither"),
        (["detach", "--all", "--network", "y"], "--all takes no --network"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_exit_code_2(args: list[str], words: str) -> None:
    refused = run(*args)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert words in one_line(refused.stderr)
    assert "--help`" in refused.stderr


@pytest.mark.parametrize("path", NEED_ROOT, ids=" ".join)
def test_without_root_it_says_so_in_one_line(path: tuple[str, ...]) -> None:
    refused = run(*path, *NEED_ROOT[path], code=AS_NOBODY)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "root" in one_line(refused.stderr)


def test_every_command_was_tried_without_root() -> None:
    need_none = {("doctor",), ("completion",), ("lab", "show"), ("lab", "draw")}
    assert {*NEED_ROOT} == {*COMMANDS} - need_none


def ended(monkeypatch: pytest.MonkeyPatch, *args: str) -> object:
    """Run the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["ebpfnet", *args])
    with pytest.raises(SystemExit) as stop:
        main.main()
    return stop.value.code


def failing(error: BaseException) -> Callable[..., None]:
    def fail(**_: object) -> None:
        raise error

    return fail


def noted(error: EbpfnetError) -> EbpfnetError:
    error.add_note("veth0 could not be put back")
    return error


@pytest.mark.parametrize(
    ("error", "code", "stderr"),
    [
        (EbpfnetError("it broke"), 1, "ebpfnet: it broke\n"),
        (NotFound("no network x", remedy="make one"), 1, "ebpfnet: no network x; make one\n"),
        (InvalidInput("no such\nname"), 2, "ebpfnet: no such name\n"),
        (
            noted(EbpfnetError("it broke")),
            1,
            "ebpfnet: it broke\nebpfnet: veth0 could not be put back\n",
        ),
        (
            ValueError("a bug,\nlong"),
            1,
            "ebpfnet: internal error: ValueError: a bug, long; see all with --verbose\n",
        ),
    ],
    ids=["plain", "remedy", "input", "notes", "bug"],
)
def test_errors_become_lines_and_codes(
    error: Exception,
    code: int,
    stderr: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(main.cli, "main", failing(error))
    assert ended(monkeypatch, "status") == code
    assert capsys.readouterr() == ("", stderr)


def test_interrupted_by_a_person_it_ends_as_shells_expect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main.cli, "main", failing(KeyboardInterrupt()))
    assert ended(monkeypatch, "attach") == 130
    assert "interrupted" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("option", ["-v", "--verbose"])
def test_verbose_prints_the_detail_whole_after_the_line(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = "0: (b7) r0 = 0\n1: (95) exit"
    monkeypatch.setattr(main.cli, "main", failing(EbpfnetError("refused", detail=log)))
    assert ended(monkeypatch, "attach") == 1
    assert capsys.readouterr().err == "ebpfnet: refused\n"
    assert ended(monkeypatch, "attach", option) == 1
    assert capsys.readouterr().err == f"ebpfnet: refused\n{log}\n"


def test_verbose_shows_where_a_bug_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main.cli, "main", failing(ValueError("a bug")))
    monkeypatch.setattr(sys, "argv", ["ebpfnet", "attach", "-v"])
    with pytest.raises(ValueError, match="a bug"):
        main.main()


@pytest.mark.parametrize("args", [["--help"], ["completion", "bash"]], ids=" ".join)
def test_a_reader_that_has_gone_is_no_reason_to_complain(args: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *args],
            cwd=ROOT,
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write)
    assert done.stderr == b""
    assert done.returncode == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    shown = run("completion", shell)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"_EBPFNET_COMPLETE={shell}_complete" in shown.stdout
    if shutil.which(shell):
        read = subprocess.run(
            [shell, "-n"], input=shown.stdout, capture_output=True, text=True, check=False
        )
        assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.parametrize(
    ("shell", "word", "answer"),
    [
        ("bash", "1", "plain,attach\n"),
        ("zsh", "1", "plain\nattach\nJoin namespaces by eBPF, without a bridge.\n"),
        ("fish", "at", "plain,attach\tJoin namespaces by eBPF, without a bridge.\n"),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_completes_a_command(shell: str, word: str, answer: str) -> None:
    shown = run(_EBPFNET_COMPLETE=f"{shell}_complete", COMP_WORDS="ebpfnet at", COMP_CWORD=word)
    assert (shown.stdout, shown.stderr) == (answer, "")


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("ebpfnet map l", ["list", "lookup"]),
        ("ebpfnet attach --mode tc", ["tc", "tc-peer"]),
        ("ebpfnet compare br", ["bridge", "bridge-nf"]),
        ("ebpfnet compare --workload tcp_rr,tcp_s", ["tcp_rr,tcp_stream"]),
        ("ebpfnet status -o j", ["json"]),
        ("ebpfnet detach --al", ["--all"]),
    ],
)
def test_completes_what_comes_after_a_command(line: str, answers: list[str]) -> None:
    shown = run(_EBPFNET_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(line.count(" ")))
    assert shown.stderr == ""
    assert sorted(shown.stdout.split()) == [f"plain,{answer}" for answer in answers]


def test_completes_namespaces_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("web", "db", "worker"):
        (tmp_path / name).touch()
    monkeypatch.setattr(options, "_NETNS", tmp_path)
    context = click.Context(main.cli)
    found = options.complete_netns(context, click.Argument(["namespaces"]), "w")
    assert [item.value for item in found] == ["web", "worker"]


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("lab up na", ["plain,nat", "plain,nat-iptables"]),
        ("lab up min", ["file,min"]),
        ("lab up ./l", ["file,./l"]),
        ("lab show mi", ["plain,mine"]),
        ("lab draw ve", ["plain,veth-pair"]),
        ("lab draw x/", ["file,x/"]),
        ("lab exec ns", ["plain,ns0", "plain,ns1"]),
        ("lab exec h", ["plain,h2"]),
        ("lab exec mine-", ["plain,mine-h1", "plain,mine-h2"]),
        ("lab check m", ["plain,mine"]),
        ("lab down ", ["plain,mine", "plain,yours", "plain,veth-pair"]),
    ],
)
def test_completes_labs_and_nodes(
    line: str,
    answers: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    two = "title: t\nnodes: {h1: {}, NODE: {}}"
    monkeypatch.setattr(
        catalogue,
        "running",
        lambda: [
            load(two.replace("NODE", "h2"), "mine.yaml", "mine"),
            load(two.replace("NODE", "other"), "yours.yaml", "yours"),
            catalogue.declared("veth-pair"),
        ],
    )
    words = f"ebpfnet {line}"
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    monkeypatch.setenv("_EBPFNET_COMPLETE", "bash_complete")
    ended(monkeypatch)
    assert sorted(capsys.readouterr().out.split()) == sorted(answers)


def test_a_lab_that_does_not_go_keeps_no_other_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def down(name: str) -> None:
        if name != "b":
            raise EbpfnetError(f"lab {name} stays")

    monkeypatch.setattr(catalogue, "journalled", lambda: ["a", "b", "c"])
    monkeypatch.setattr(lifecycle, "down", down)
    assert ended(monkeypatch, "lab", "down", "--all") == 1
    said = ["lab b is down", "ebpfnet: lab a stays", "ebpfnet: lab c stays"]
    assert capsys.readouterr().err.splitlines() == said
