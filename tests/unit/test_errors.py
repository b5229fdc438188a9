import errno
import sys
from typing import Any

import click
import pytest

from cli import main
from datapath.errors import (
    AlreadyExists,
    Busy,
    CompileError,
    Conflict,
    EbpfnetError,
    InvalidInput,
    KernelError,
    LayoutMismatch,
    NotFound,
    Unsupported,
    VerifierError,
)
from datapath.kernel.net import links

# What the kernel says of a program that reads behind the packet, shortened in the middle.
LOG = """\
0: R1=ctx() R10=fp0
; void *data = (void *)(long)skb->data;
0: (61) r2 = *(u32 *)(r1 +76)         ; R1=ctx() R2_w=pkt(r=0)
1: (71) r0 = *(u8 *)(r2 +0)
invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)
R2 offset is outside of the packet
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0

"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (EbpfnetError("it is so"), "it is so"),
        (EbpfnetError("it is so", remedy="do this"), "it is so; do this"),
        (InvalidInput("no", remedy="yes"), "no; yes"),
        (NotFound("gone"), "gone"),
        (Conflict("taken", remedy="take another"), "taken; take another"),
        (Unsupported("tcx", "no tcx", remedy="use clsact"), "no tcx; use clsact"),
        (CompileError("no such field", detail="x.c:1"), "no such field"),
    ],
)
def test_an_error_reads_as_cause_and_remedy(error: EbpfnetError, line: str) -> None:
    assert str(error) == line


def test_the_detail_is_kept_apart() -> None:
    error = CompileError("cannot compile x.c", detail="two\nlines")
    assert (error.message, error.remedy, error.detail) == ("cannot compile x.c", "", "two\nlines")
    assert "two" not in str(error)


@pytest.mark.parametrize("kind", [AlreadyExists, Busy])
def test_special_conflicts_are_conflicts(kind: type[EbpfnetError]) -> None:
    assert issubclass(kind, Conflict)


def test_the_verifiers_reason_is_the_line_before_its_statistics() -> None:
    error = VerifierError("tc_peer", LOG, errno.EACCES)
    assert error.message == (
        "the kernel's verifier refused program tc_peer: R2 offset is outside of the packet"
    )
    assert "--verbose" in error.remedy
    assert error.detail == LOG
    assert (error.program, error.errno) == ("tc_peer", errno.EACCES)


@pytest.mark.parametrize(
    "log",
    ["", "\n \n", "processed 9 insns (limit 1000000)", "verification time 12 usec\nprocessed 9\n"],
)
def test_a_verifier_that_says_nothing_is_quoted_by_its_errno(log: str) -> None:
    assert str(VerifierError("f", log, errno.E2BIG)).startswith(
        "the kernel's verifier refused program f: Argument list too long;"
    )


def test_a_mismatch_names_map_path_field_and_both_layouts() -> None:
    error = LayoutMismatch("config", "/sys/fs/bpf/x/config", "value size", "36 bytes", "40 bytes")
    assert error.message == (
        "map config at /sys/fs/bpf/x/config was made by another version of ebpfnet: "
        "value size is 36 bytes there, 40 bytes here"
    )
    assert "ebpfnet gc --force" in error.remedy
    assert (error.map_name, error.field) == ("config", "value size")


@pytest.mark.parametrize(
    ("number", "options", "line", "detail"),
    [
        (errno.EPERM, {}, "a call: not permitted; run as root", "EPERM (Operation not permitted)"),
        (errno.EACCES, {}, "a call: not permitted; run as root", "EACCES (Permission denied)"),
        (errno.EBUSY, {}, "a call: it is in use", "EBUSY (Device or resource busy)"),
        (errno.ENOENT, {}, "a call: it does not exist", "ENOENT (No such file or directory)"),
        (errno.ERANGE, {}, "a call: numerical result out of range", None),
        (524, {}, "a call: unknown error 524", "524 (Unknown error 524)"),
        (errno.EPERM, {"remedy": "do that"}, "a call: not permitted; do that", None),
        (errno.EBUSY, {"detail": "netlink's own"}, "a call: it is in use", "netlink's own"),
    ],
)  # fmt: skip
def test_the_kernels_errno_is_translated(
    number: int, options: dict[str, Any], line: str, detail: str | None
) -> None:
    error = KernelError("a call", number, **options)
    assert str(error) == line
    assert (error.operation, error.errno) == ("a call", number)
    if detail:
        assert error.detail == detail


def with_note(error: BaseException) -> BaseException:
    error.add_note("undoing it failed too: busy; run `ebpfnet gc`")
    return error


def abort(cause: BaseException) -> click.Abort:
    """What click makes of ctrl-C."""
    error = click.Abort()
    error.__cause__ = cause
    return error


NOTE = "ebpfnet: undoing it failed too: busy; run `ebpfnet gc`\n"


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (InvalidInput("no", remedy="yes"), 2, "ebpfnet: no; yes\n"),
        (NotFound("a\n  b", detail="more"), 1, "ebpfnet: a b\n"),
        (with_note(Conflict("taken")), 1, f"ebpfnet: taken\n{NOTE}"),
        (
            abort(KeyboardInterrupt()),
            130,
            "ebpfnet: interrupted; what was begun is undone\n",
        ),
        (KeyboardInterrupt(), 130, "ebpfnet: interrupted; what was begun is undone\n"),
        (abort(with_note(KeyboardInterrupt())), 130, f"ebpfnet: interrupted\n{NOTE}"),
        (
            with_note(ZeroDivisionError("x")),
            1,
            f"ebpfnet: internal error: ZeroDivisionError: x; see all with --verbose\n{NOTE}",
        ),
    ],
    ids=["input", "lines", "note", "abort", "interrupt", "abort with note", "bug"],
)
def test_an_error_becomes_lines_and_a_code(
    error: BaseException,
    code: int,
    lines: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(**_options: object) -> None:
        raise error

    monkeypatch.setattr(main.cli, "main", fails)
    monkeypatch.setattr(sys, "argv", ["ebpfnet"])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == code
    assert capsys.readouterr() == ("", lines)


def test_verbose_adds_the_detail_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_options: object) -> None:
        raise VerifierError("f", LOG, errno.EACCES)

    monkeypatch.setattr(main.cli, "main", fails)
    monkeypatch.setattr(sys, "argv", ["ebpfnet", "attach", "--verbose"])
    with pytest.raises(SystemExit):
        main.main()
    first, _, rest = capsys.readouterr().err.partition("\n")
    assert first.startswith("ebpfnet: the kernel's verifier refused program f: R2 offset")
    assert rest == LOG + "\n"


def test_what_pyroute2_leaves_an_os_error_is_the_kernels_all_the_same() -> None:
    full = OSError(errno.ENOBUFS, "")
    message = "adding it: no buffer space available"
    with pytest.raises(KernelError, match=message), links.netlink_for("adding it"):
        raise full
