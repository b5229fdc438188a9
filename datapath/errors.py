"""The errors of the kit: each names a cause and, where there is one, the remedy.

Every error carries `message` (one line for people), `remedy` (what to type or change, may be empty)
and `detail` (the kernel's, the compiler's or the verifier's own words, whole). The CLI turns them
into one line on stderr in one place; library users read the fields.
"""

from __future__ import annotations

import errno as errno_codes
import os


class EbpfnetError(Exception):
    """Base of all errors that the kit raises on purpose."""

    def __init__(self, message: str, *, remedy: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class InvalidInput(EbpfnetError):
    """A name, address or option that cannot be meant; nothing was done."""


class NotFound(EbpfnetError):
    """A network, endpoint, namespace, interface or map that is not there."""


class Conflict(EbpfnetError):
    """What was asked for contradicts what exists (address taken, interface in use, map full)."""


class AlreadyExists(Conflict):
    """Somebody else's object has the name; the step that found it made nothing."""


class Busy(Conflict):
    """Another process works on the network; its own end is all that helps."""


class Unsupported(EbpfnetError):
    """The kernel or the machine lacks something; `feature` names it."""

    def __init__(self, feature: str, message: str, *, remedy: str = "", detail: str = "") -> None:
        super().__init__(message, remedy=remedy, detail=detail)
        self.feature = feature


class CompileError(EbpfnetError):
    """bcc could not compile a program; `detail` is clang's output."""


# What the verifier's words ask of whoever wrote the program.
_VERIFIER_ADVICE = {
    "map_value_or_null": "compare what lookup() returned with NULL before using it",
    "invalid access to packet": "compare with data_end before each read of the packet",
    "back-edge": "give the loop a bound that the verifier can see",
    "infinite loop": "give the loop a bound that the verifier can see",
    "read from stack": "set the whole variable before handing it to a helper",
    "R0 !read_ok": "return a verdict on every path",
    "unknown func": "this kernel has no such helper",
    "cannot use helper": "this helper is for programs of another type",
    "too large": "make the program smaller, or its loops real ones",
}


class VerifierError(EbpfnetError):
    """The kernel refused a program; `detail` is the verifier's log."""

    def __init__(self, program: str, log: str, errno: int) -> None:
        lines = [line for line in log.splitlines() if line.strip()]
        # The last line only counts instructions; the one before says what is wrong.
        verdicts = [line for line in lines if not line.startswith(("processed ", "verification "))]
        reason = verdicts[-1] if verdicts else os.strerror(errno)
        advice = [advice for words, advice in _VERIFIER_ADVICE.items() if words in reason][:1]
        super().__init__(
            f"the kernel's verifier refused program {program}: {reason}",
            remedy="; ".join([*advice, "see the whole log with --verbose"]),
            detail=log,
        )
        self.program = program
        self.errno = errno


class LayoutMismatch(EbpfnetError):
    """A pinned map that another version of the kit made; `field` is the first that differs."""

    def __init__(self, map_name: str, path: str, field: str, pinned: object, ours: object) -> None:
        super().__init__(
            f"map {map_name} at {path} was made by another version of ebpfnet: "
            f"{field} is {pinned} there, {ours} here",
            remedy="remove it with the version that made it, "
            "or take the network down with `ebpfnet gc --force`",
        )
        self.map_name = map_name
        self.field = field


# What the kernel means by an errno, in the words of this field.
_REASONS = {
    errno_codes.EPERM: "not permitted",
    errno_codes.EACCES: "not permitted",
    errno_codes.EEXIST: "it exists already",
    errno_codes.ENOENT: "it does not exist",
    errno_codes.ENODEV: "the interface is gone",
    errno_codes.E2BIG: "the map is full",
    errno_codes.ENOSPC: "no space left",
    errno_codes.EOPNOTSUPP: "this kernel does not support it",
    errno_codes.EBUSY: "it is in use",
}
_REMEDIES = {
    errno_codes.EPERM: "run as root",
    errno_codes.EACCES: "run as root",
    errno_codes.ENODEV: "see `ebpfnet map check`, then `ebpfnet gc`",
}


class KernelError(EbpfnetError):
    """A system call or a netlink request that failed: `operation` says which, `errno` why."""

    def __init__(self, operation: str, errno: int, *, remedy: str = "", detail: str = "") -> None:
        reason = _REASONS.get(errno) or os.strerror(errno).lower()
        code = errno_codes.errorcode.get(errno, str(errno))
        super().__init__(
            f"{operation}: {reason}",
            remedy=remedy or _REMEDIES.get(errno, ""),
            detail=detail or f"{code} ({os.strerror(errno)})",
        )
        self.operation = operation
        self.errno = errno
