"""Names and addresses from outside: what is accepted is safe, what is not is said in one line."""

import os
import re
import shlex
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datapath import names
from datapath.errors import Conflict, InvalidInput, NotFound
from datapath.kernel.net import netns
from datapath.names import Target

Result = TypeVar("Result")

# What people and attackers type: plain names, names with something in them, and anything at all.
SPECIAL = st.sampled_from(
    [*" ./-_:;&|$`'\"\\*?[]{}()<>!#~%@=,^\t\n\0\x7f", "ä", "²", "\u0661", "\u202e"]
)
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=SPECIAL, max_size=20),
    st.builds("".join, st.lists(st.one_of(SPECIAL, st.sampled_from("aZ09")), max_size=20)),
    st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True),
)
EXAMPLES = [
    "",
    ".",
    "..",
    "-x",
    "a/b",
    "../a",
    "a b",
    "a;b",
    "$(reboot)",
    "a\n",
    "é",
    "1²",
    "a" * 16,
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /run/netns."""
    monkeypatch.setattr(netns, "FOLDER", tmp_path)
    return tmp_path


def is_safe(name: str) -> bool:
    """Good as a file's name, an interface's, and a word of a command, whatever comes before it."""
    return (
        1 <= len(name.encode()) <= 15
        and Path("/somewhere", name).parent == Path("/somewhere")
        and shlex.quote(name) == name
        and not name.startswith("-")
        and not re.search(r"[\s/:]", name)
    )


def with_examples(test: Callable[..., None]) -> Callable[..., None]:
    for text in EXAMPLES:
        test = example(text)(test)
    return test


def accepted(parse: Callable[[str], Result], text: str) -> Result | None:
    """What a text is taken for; None where it is refused, which is to be said in one line."""
    try:
        return parse(text)
    except (InvalidInput, NotFound) as error:
        refusal = error
    assert refusal.remedy
    assert str(refusal).isprintable()
    return None


@with_examples
@given(HOSTILE)
def test_no_network_has_an_unsafe_name(text: str) -> None:
    if name := accepted(names.network_name, text):
        assert name == text
        assert is_safe(name)
        assert "." not in name  # which bpffs keeps for itself


@with_examples
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=HOSTILE)
def test_no_namespace_is_made_under_an_unsafe_name(folder: Path, text: str) -> None:
    if target := accepted(names.target, text):
        if target.netns is None:
            assert target.label == text
            assert is_safe(text)
            assert not text.isdigit()  # a PID
        else:  # a process of this machine, in a namespace of its own
            assert text.isdigit()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("text", ["default", "a", "lab2", "A-b_c", "0", "x" * 15])
def test_plain_network_names_are_accepted(text: str) -> None:
    assert names.network_name(text) == text


@pytest.mark.parametrize("text", ["ns0", "a.b", "A-b_c", "0x", "x" * 15])
def test_plain_new_namespaces_are_accepted(folder: Path, text: str) -> None:
    assert names.target(text) == Target(text, None)


def test_too_long_a_name_is_told_its_length() -> None:
    with pytest.raises(InvalidInput, match=r"16 characters; use at most 15"):
        names.network_name("x" * 16)


@pytest.mark.parametrize("length", [16, 255, 256, 5000])
def test_too_long_a_namespace_is_told_its_length(folder: Path, length: int) -> None:
    with pytest.raises(InvalidInput, match=rf"{length} characters; use at most 15"):
        names.target("x" * length)


def test_a_file_is_no_namespace(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(InvalidInput, match=r"is a file, not a namespace; ip netns delete file"):
        names.target("file")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/nowhere", "/", "a/b", "./a", "/proc/self/ns/uts", "/proc/self/ns/mnt"]
)
def test_other_paths_are_no_namespaces(path: str) -> None:
    with pytest.raises(InvalidInput, match="does not open a network namespace") as raised:
        names.target(path)
    assert path in raised.value.message


def test_a_process_that_is_not_there_is_not_found(folder: Path) -> None:
    with pytest.raises(NotFound, match="no process 4194305"):  # more than PID_MAX_LIMIT
        names.target("4194305")


@pytest.mark.parametrize("text", ["/proc/self/ns/net", "/proc/{pid}/ns/net", "{pid}", "host"])
def test_the_hosts_own_namespace_is_refused_whatever_it_is_called(folder: Path, text: str) -> None:
    (folder / "host").symlink_to("/proc/self/ns/net")
    with pytest.raises(InvalidInput, match="is the host's own namespace, which is never"):
        names.target(text.format(pid=os.getpid()))


@pytest.mark.parametrize("text", ["10.1.1.0/24", "192.168.7.4/30", "10.0.0.0/8"])
def test_subnets_with_room_are_accepted(text: str) -> None:
    assert names.subnet(text) == IPv4Network(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "10.1.1.0/33", "10.1.1.5/24", "10.1.1/24", "10.1.1.0/-1", "fd00::/64"),
        *("10.1.1.0", "10.1.1.0/32", "10.1.1.0/31", "224.0.0.0/24", "127.0.0.0/8"),
        *("10.1.1.0/24 ", "10.1.1.0/24\n", "10.1.1.0/24; reboot", "\u0661\u0660.1.1.0/24"),
    ],
)
def test_other_subnets_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        names.subnet(text)
    assert raised.value.remedy


@given(st.text(max_size=30))
def test_no_text_is_taken_for_a_subnet_that_does_not_print_as_one(text: str) -> None:
    try:
        subnet = names.subnet(text)
    except InvalidInput:
        return
    assert subnet.num_addresses >= 4


def test_an_address_is_given_to_a_namespace() -> None:
    assert names.address_of("ns0=10.1.1.5") == ("ns0", IPv4Address("10.1.1.5"))
    assert names.address_of("/proc/1/ns/net=10.1.1.5") == (
        "/proc/1/ns/net",
        IPv4Address("10.1.1.5"),
    )


@pytest.mark.parametrize(
    "text",
    [
        *("", "ns0", "ns0=", "=10.1.1.5", "10.1.1.5", "ns0:10.1.1.5", "ns0=10.1.1.256"),
        *("ns0=fd00::2", "ns0=10.1.1.5,10.1.1.6", "ns0=host", "ns0=10.1.1.5=x"),
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        names.address_of(text)
    assert raised.value.remedy


@pytest.mark.parametrize("address", ["10.1.2.1", "10.1.0.255", "0.0.0.1", "10.1.1.0", "10.1.1.255"])
def test_an_endpoint_has_an_address_inside_its_subnet(address: str) -> None:
    with pytest.raises(Conflict, match=re.escape(address)) as raised:
        names.check_host_address(IPv4Address(address), IPv4Network("10.1.1.0/24"))
    assert raised.value.remedy


@pytest.mark.parametrize("address", ["10.1.1.1", "10.1.1.254"])
def test_the_first_and_the_last_address_may_be_an_endpoints(address: str) -> None:
    names.check_host_address(IPv4Address(address), IPv4Network("10.1.1.0/24"))
