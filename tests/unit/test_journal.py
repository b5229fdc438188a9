"""The journal against steps that only note what happens to them; no root, nothing is changed."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from datapath import journal as journals
from datapath import steps
from datapath.errors import AlreadyExists, Conflict, EbpfnetError, KernelError
from datapath.journal import NETWORK_OWNER, Entry, Journal
from datapath.kernel.net import netns


@dataclasses.dataclass(frozen=True)
class Note:
    """A step whose making and undoing are written to a list, and fail where they are told to."""

    name: str

    done: ClassVar[list[str]] = []
    failing: ClassVar[dict[str, BaseException]] = {}

    def commands(self) -> list[str]:
        return []

    def _happen(self, what: str) -> None:
        self.done.append(f"{what} {self.name}")
        if error := self.failing.get(f"{what} {self.name}"):
            raise error

    def apply(self) -> None:
        self._happen("apply")

    def revert(self) -> None:
        self._happen("revert")


class Together(Note):
    """The same, undone with its likes."""

    @staticmethod
    def revert_all(steps: Sequence[Note]) -> None:
        Note(" ".join(step.name for step in steps))._happen("revert all")


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A folder for journals of their own, and what happened to steps."""
    monkeypatch.setattr(journals, "FOLDER", tmp_path / "journals")
    kinds = {"Note": Note, "Together": Together}
    monkeypatch.setattr(steps, "decode", lambda kind, fields: kinds[kind](**fields))
    Note.done.clear()
    Note.failing.clear()
    yield Note.done
    open_files = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    assert [name for name in open_files if name.startswith(str(tmp_path))] == []


def lines(network: str = "net") -> list[dict[str, Any]]:
    """What a journal says, after the line that names its host."""
    path = journals.FOLDER / f"{network}.journal"
    host, *events = [json.loads(line) for line in path.read_text().splitlines()]
    assert host == {"host": netns.host_inode()}
    return events


def begin(*names: str, owner: int = 1, commit: bool = True) -> None:
    """A journal in which these steps were made."""
    with Journal("net") as journal:
        for name in names:
            journal.do(owner, Note(name))
        if commit:
            journal.commit()


def fail(*steps: Note, error: BaseException | None = None) -> None:
    """A transaction in which these are made, and which then raises."""
    with Journal("net") as journal, journal.transaction():
        for step in steps:
            journal.do(1, step)
        if error:
            raise error


def test_a_step_is_written_down_before_it_is_made(done: list[str]) -> None:
    seen = []

    class Reader(Note):
        def apply(self) -> None:
            seen.extend(lines())

    Reader.__name__ = "Note"
    with Journal("net") as journal:
        journal.do(3, Reader("a"))
    assert seen == [{"step": 1, "owner": 3, "kind": "Note", "fields": {"name": "a"}}]


def test_what_was_done_is_read_back(done: list[str]) -> None:
    begin("a", "b")
    begin("c", owner=2, commit=False)
    with Journal("net") as journal:
        assert journal.entries() == [
            Entry(1, 1, Note("a"), committed=True),
            Entry(2, 1, Note("b"), committed=True),
            Entry(3, 2, Note("c"), committed=False),
        ]
    assert done == ["apply a", "apply b", "apply c"]


def test_a_journal_in_which_nothing_stands_is_removed_with_its_folder(done: list[str]) -> None:
    with Journal("net") as journal:
        assert journals.networks() == ["net"]
        with Journal("other"):
            assert journals.networks() == ["net", "other"]
        journal.do(1, Note("a"))
        journal.undo(journal.entries())
    assert not journals.FOLDER.exists()


def test_the_folder_is_for_root_alone(done: list[str]) -> None:
    begin("a")
    assert journals.FOLDER.stat().st_mode & 0o777 == 0o700
    assert (journals.FOLDER / "net.journal").stat().st_mode & 0o777 == 0o600


def test_recovering_undoes_what_was_not_committed_newest_first(done: list[str]) -> None:
    begin("a")
    begin("b", "c", "d", commit=False)
    done.clear()
    with Journal("net") as journal:
        assert journal.recover() is True
    assert done == ["revert d", "revert c", "revert b"]
    with Journal("net") as journal:
        assert [entry.step for entry in journal.entries()] == [Note("a")]
        assert journal.recover() is False


def test_a_line_that_its_writer_did_not_live_to_finish_was_not_written(done: list[str]) -> None:
    begin("a")
    path = journals.FOLDER / "net.journal"
    whole = path.read_bytes()
    torn = json.dumps({"step": 2, "owner": 1, "kind": "Note", "fields": {"name": "b"}}).encode()
    for length in range(len(torn) + 1):
        path.write_bytes(whole + torn[:length])
        with Journal("net") as journal:
            assert [entry.step for entry in journal.entries()] == [Note("a")]
        assert path.read_bytes() == whole
    path.write_bytes(whole + torn + b"\n")
    with Journal("net") as journal:
        assert [entry.step for entry in journal.entries()] == [Note("a"), Note("b")]


def test_writing_goes_on_after_a_torn_line(done: list[str]) -> None:
    begin("a")
    with (journals.FOLDER / "net.journal").open("ab") as file:
        file.write(b'{"comm')
    begin("b")
    assert [next(iter(line)) for line in lines()] == ["step", "committed"] * 2


def test_a_transaction_that_raises_undoes_its_own_steps(done: list[str]) -> None:
    begin("a")
    with pytest.raises(ZeroDivisionError):
        fail(Note("b"), Note("c"), error=ZeroDivisionError())
    assert done[-2:] == ["revert c", "revert b"]
    with Journal("net") as journal:
        assert journal.entries() == [Entry(1, 1, Note("a"), committed=True)]


def test_a_step_that_fails_is_undone_too_for_it_may_be_half_made(done: list[str]) -> None:
    Note.failing["apply b"] = KernelError("doing b", 5)
    with pytest.raises(KernelError):
        fail(Note("a"), Note("b"))
    assert done == ["apply a", "apply b", "revert b", "revert a"]
    assert not journals.FOLDER.exists()


def test_a_step_that_finds_somebody_elses_object_is_not_undone(done: list[str]) -> None:
    Note.failing["apply b"] = AlreadyExists("b is there")
    with pytest.raises(AlreadyExists):
        fail(Note("a"), Note("b"))
    assert done == ["apply a", "apply b", "revert a"]


@pytest.mark.parametrize("error", [KernelError("undoing b", 16), OSError(16, "busy"), KeyError(1)])
def test_an_undoing_that_fails_stops_no_other_and_is_tried_again(
    done: list[str], error: Exception
) -> None:
    begin("a", "b", "c", commit=False)
    Note.failing["revert b"] = error
    with pytest.raises(type(error)), Journal("net") as journal:
        journal.recover()
    assert done[-3:] == ["revert c", "revert b", "revert a"]
    Note.failing.clear()
    with Journal("net") as journal:
        assert [entry.step for entry in journal.entries()] == [Note("b")]
        assert journal.recover()
    assert done[-1] == "revert b"
    assert not journals.FOLDER.exists()


def test_the_first_of_many_errors_is_raised(done: list[str]) -> None:
    begin("a", "b", commit=False)
    Note.failing.update({"revert a": KernelError("a", 1), "revert b": KernelError("b", 2)})
    with pytest.raises(KernelError, match=r"^b: "), Journal("net") as journal:
        journal.recover()


def test_a_transactions_error_is_not_hidden_by_one_of_its_clean_up(done: list[str]) -> None:
    Note.failing["revert a"] = OSError(16, "busy")
    with pytest.raises(EbpfnetError, match=r"^wrong") as raised:
        fail(Note("a"), error=EbpfnetError("wrong"))
    (note,) = raised.value.__notes__
    assert "busy" in note
    assert "ebpfnet gc" in note
    with Journal("net") as journal:
        assert [entry.committed for entry in journal.entries()] == [False]


def test_an_interrupt_between_a_line_and_its_step_leaves_nothing(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("a")
    append = Journal._append

    def interrupted(self: Journal, event: dict[str, Any]) -> None:
        append(self, event)
        if "step" in event:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "_append", interrupted)
    with Journal("net") as journal, pytest.raises(KeyboardInterrupt), journal.transaction():
        journal.do(1, Note("b"))
    assert lines_stand() == [1]


@pytest.mark.parametrize("written", [False, True])
def test_what_cannot_be_committed_is_undone(
    done: list[str], monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    append = Journal._append

    def interrupted(self: Journal, event: dict[str, Any]) -> None:
        if written or "committed" not in event:
            append(self, event)
        if "committed" in event:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "_append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fail(Note("a"), Note("b"))
    assert done[-2:] == ["revert b", "revert a"]
    assert not journals.FOLDER.exists()


def lines_stand() -> list[int]:
    """Numbers of the steps that a reader of the lines would still have to undo."""
    standing = {line["step"]: None for line in lines() if "step" in line}
    for line in lines():
        standing.pop(line.get("undone"), None)
    return list(standing)


def test_leaving_undoes_one_owners_steps_alone(done: list[str]) -> None:
    begin("network", owner=NETWORK_OWNER)
    begin("a1", "a2", owner=1)
    begin("b", owner=2)
    with Journal("net") as journal:
        journal.leave([1])
        assert [entry.step for entry in journal.entries()] == [Note("network"), Note("b")]
        assert journal.leaving == set()
    assert done[-2:] == ["revert a2", "revert a1"]


def test_a_leaving_that_was_cut_short_is_finished(done: list[str]) -> None:
    begin("a1", "a2", owner=1)
    begin("b", owner=2)
    Note.failing["revert a1"] = KernelError("undoing a1", 16)
    with pytest.raises(KernelError), Journal("net") as journal:
        journal.leave([1])
    Note.failing.clear()
    with Journal("net") as journal:
        assert journal.leaving == {1}
        assert journal.recover() is True
        assert [entry.step for entry in journal.entries()] == [Note("b")]


def test_an_id_that_left_may_come_back(done: list[str]) -> None:
    begin("a", owner=1)
    begin("b", owner=2)
    with Journal("net") as journal:
        journal.leave([2])
    begin("b again", owner=2)
    with Journal("net") as journal:
        assert journal.leaving == set()
        assert journal.recover() is False
        assert [entry.step for entry in journal.entries()] == [Note("a"), Note("b again")]
    assert "revert b again" not in done


def test_a_passing_step_is_undone_at_the_end_and_the_rest_stands(done: list[str]) -> None:
    with (
        Journal("net") as journal,
        journal.transaction(),
        journal.passing(NETWORK_OWNER, Note("passing")),
    ):
        journal.do(1, Note("a"))
    assert done == ["apply passing", "apply a", "revert passing"]
    with Journal("net") as journal:
        assert journal.entries() == [Entry(2, 1, Note("a"), committed=True)]


def test_a_passing_step_is_undone_when_its_block_raises(done: list[str]) -> None:
    def fail_in_passing() -> None:
        with (
            Journal("net") as journal,
            journal.transaction(),
            journal.passing(NETWORK_OWNER, Note("passing")),
        ):
            journal.do(1, Note("a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_passing()
    assert done[-2:] == ["revert a", "revert passing"]
    assert not journals.FOLDER.exists()


def test_likes_that_follow_one_another_are_undone_together(done: list[str]) -> None:
    with Journal("net") as journal:
        for step in (Note("a"), Together("b"), Together("c"), Note("d"), Together("e")):
            journal.do(1, step)
    done.clear()
    with Journal("net") as journal:
        journal.recover()
    assert done == ["revert all e", "revert d", "revert all c b", "revert a"]


def test_likes_that_cannot_be_undone_together_all_stay(done: list[str]) -> None:
    with Journal("net") as journal:
        for step in (Note("a"), Together("b"), Together("c")):
            journal.do(1, step)
    Note.failing["revert all c b"] = KernelError("undoing both", 16)
    with pytest.raises(KernelError), Journal("net") as journal:
        journal.recover()
    assert lines_stand() == [2, 3]


def test_a_journal_that_lives_long_stays_as_short_as_what_stands(done: list[str]) -> None:
    begin("network", owner=NETWORK_OWNER)
    path = journals.FOLDER / "net.journal"
    before = path.read_bytes()
    for _ in range(3):
        begin("a1", "a2", owner=1)
        with Journal("net") as journal:
            journal.leave([1])
        assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in journals.FOLDER.iterdir()] == ["net.journal"]


def test_what_is_not_yet_undone_outlives_the_rewriting(done: list[str]) -> None:
    begin("network", owner=NETWORK_OWNER)
    begin("a1", "a2", owner=1)
    Note.failing["revert a1"] = KernelError("undoing a1", 16)
    with Journal("net") as journal, pytest.raises(KernelError):
        journal.leave([1])
    assert [line.get("step") for line in lines()] == [1, 2, None, None]
    with Journal("net") as journal:
        assert journal.leaving == {1}
        assert [entry.committed for entry in journal.entries()] == [True, True]


def test_whoever_is_killed_while_rewriting_loses_nothing(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("a")
    path = journals.FOLDER / "net.journal"
    fresh = path.with_suffix(".fresh")
    fresh.write_text('{"step": 1, "own')
    with Journal("net") as journal:
        assert [entry.step for entry in journal.entries()] == [Note("a")]
    assert not fresh.exists()


def test_who_waits_for_a_journal_gets_the_rewritten_one(done: list[str]) -> None:
    begin("a", owner=1)
    begin("b", owner=2)
    with ThreadPoolExecutor() as pool:
        with Journal("net") as journal:
            waiting = pool.submit(begin, "c", owner=3)
            while not waiting.running():
                pass
            journal.leave([1])
        waiting.result()
    with Journal("net") as journal:
        assert [entry.step for entry in journal.entries()] == [Note("b"), Note("c")]


def test_two_journals_do_not_meddle(done: list[str]) -> None:
    begin("a")
    with Journal("other") as other:
        other.do(1, Note("x"))
        other.undo(other.entries())
    assert journals.networks() == ["net"]
    assert [line.get("step") for line in lines()] == [1, None]


def test_a_journal_is_held_by_one_at_a_time(done: list[str]) -> None:
    with Journal("net"), pytest.raises(Conflict, match="another process"):
        Journal("net", wait=False)
    with Journal("net", wait=False):
        pass


def test_a_journal_is_not_touched_in_another_network_namespace(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("a", commit=False)
    before = lines()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(netns, "host_inode", lambda: 1)
        with pytest.raises(Conflict, match="another network namespace") as raised:
            Journal("net")
    assert "nsenter" in raised.value.remedy
    assert lines() == before
    with Journal("net", wait=False) as journal:
        assert journal.recover()


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b'{"step": 2}',
        b'{"step": 2, "owner": 1, "kind": "NeverHeardOf", "fields": {}}',
        b'{"step": 2, "owner": 1, "kind": "Note", "fields": {"other": 1}}',
        b'{"unknown": 1}',
        b"\xff",
    ],
)
def test_a_journal_that_another_version_wrote_is_not_misread(done: list[str], line: bytes) -> None:
    begin("a")
    path = journals.FOLDER / "net.journal"
    written = path.read_bytes() + line + b"\n"
    path.write_bytes(written)
    with pytest.raises(EbpfnetError, match=r"net\.journal") as raised:
        Journal("net")
    assert raised.value.remedy
    assert path.read_bytes() == written
    with pytest.raises(EbpfnetError):  # and the lock is free: again this, not somebody's work
        Journal("net", wait=False)
    assert done == ["apply a"]


def test_every_step_of_the_kit_survives_being_written_down() -> None:
    from datapath.steps import interfaces, programs

    kinds = [
        kind
        for module in (interfaces, programs)
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and hasattr(kind, "revert")
    ]
    assert len(kinds) >= 10
    samples: dict[str, Any] = {"str": "x", "int": 1, "bool": True}
    for kind in kinds:
        fields = {field.name: samples.get(str(field.type)) for field in dataclasses.fields(kind)}
        step = kind(**fields)
        again = json.loads(json.dumps(dataclasses.asdict(step)))
        assert steps.decode(kind.__name__, again) == step
