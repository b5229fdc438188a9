"""What cannot be done is said in one line that names cause and remedy, and nothing is changed.

The whole inventory is compared before and after all of it, and a part of it with every command.
"""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import hosts, inventory
from tests.support.crash import Judge, Launcher, Run

NO_PROCESS = "4194305"  # more than the kernel's PID_MAX_LIMIT


@pytest.fixture(scope="module", autouse=True)
def leaves_nothing_behind(kit: Launcher) -> Iterator[None]:
    """In place of the one for each test, which would take longer than the test."""
    before = inventory.take()
    yield
    assert inventory.left_behind(before) == []


@dataclass(frozen=True, slots=True)
class Scene:
    """`p` and `q` are prefixes of names, to be filled into command lines.

    Network {p}net, 10.7.7.0/29, holds {p}a (.2) and {p}b (.3). {p}ns1 and {p}ns2 are on a bridge at
    10.1.0.1 and .2, {q}ns0 and {q}ns1 are a direct pair. {p}dup has 10.7.7.2 already, {p}two has
    two veths, and {p}file is a file in /run/netns.
    """

    p: str
    q: str

    def fill(self, text: str) -> str:
        return text.format(p=self.p, q=self.q, me=os.getpid())


@pytest.fixture(scope="module")
def scene(kit: Launcher, leaves_nothing_behind: None) -> Iterator[Scene]:
    with ExitStack() as undo:
        made = Scene(*(hosts.unique_prefix() for _ in range(2)))
        undo.enter_context(hosts.bridge_by_hand(made.p))
        undo.enter_context(hosts.pair_by_hand(made.q))
        for netns, veths in ((f"{made.p}dup", "x"), (f"{made.p}two", "yz")):
            hosts.ip("netns", "add", netns)
            undo.callback(hosts.ip, "netns", "del", netns)
            for veth in veths:
                host = f"{made.p}{veth}"
                hosts.ip(
                    *("link", "add", host, "type", "veth"),
                    *("peer", "name", veth, "netns", netns),
                )
                undo.callback(hosts.run, "ip", "link", "del", host, check=False)
        hosts.ip("-n", f"{made.p}dup", "addr", "add", "10.7.7.2/29", "dev", "x")
        file = Path("/run/netns", f"{made.p}file")
        file.touch()
        undo.callback(file.unlink)
        undo.callback(kit.run, "detach", "--network", f"{made.p}net")
        kit.succeed(
            *("attach", f"{made.p}a", f"{made.p}b", "--network", f"{made.p}net"),
            *("--subnet", "10.7.7.0/29"),
        )
        hosts.settle(*(f"{made.p}{name}" for name in ("a", "b", "ns1", "ns2")))
        yield made


@pytest.fixture(scope="module")
def judge(scene: Scene) -> Iterator[Judge]:
    judge = Judge()
    yield judge
    assert inventory.left_behind(judge.inventory) == []


def refused(run: Run) -> str:
    """The one line that a run complained by; fails if it was not that."""
    assert run.code in (1, 2), run
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith("ebpfnet: ")
    assert "internal error" not in line
    return line


IN_NET = "--network {p}net"
LETTERS = "letters, digits"
AT_MOST = "; use at most 15"
CHOOSE_MODE = r"; choose one of tc-peer, tc, xdp, sockmap, netkit"

# Each command line with what its complaint has to say: the cause, then the remedy.
CASES = {
    "detach a namespace that is no endpoint": (
        f"detach {{p}}ns1 {IN_NET}",
        r"network {p}net has no endpoint {p}ns1; see `ebpfnet endpoint list --network {p}net`",
    ),
    "detach a namespace that does not exist": (
        f"detach {{p}}zz {IN_NET}",
        r"network {p}net has no endpoint {p}zz; see `ebpfnet endpoint list --network {p}net`",
    ),
    "detach a process that does not exist": (
        f"detach {NO_PROCESS} {IN_NET}",
        rf"network {{p}}net has no endpoint {NO_PROCESS}; see `ebpfnet endpoint list",
    ),
    "detach an unknown network": (
        "detach --network {p}zz",
        r"there is no network {p}zz; networks: .*{p}net",
    ),
    "detach all of some": ("detach --all {p}a", r"--all takes no NETNS; see `ebpfnet detach"),
    "get an unknown endpoint": (
        f"endpoint get {{p}}zz {IN_NET}",
        r"network {p}net has no endpoint {p}zz; see `ebpfnet endpoint list --network {p}net`",
    ),
    "list an unknown network": (
        "endpoint list --network {p}zz",
        r"there is no network {p}zz; networks: .*{p}net",
    ),
    "reload an unknown network": (
        "reload --network {p}zz",
        r"there is no network {p}zz; networks: .*{p}net",
    ),
    "dump an unknown map": (
        f"map dump nothing {IN_NET}",
        r"network {p}net has no map nothing; maps: config, ",
    ),
    "look up a key that is none": (
        f"map lookup endpoints_v4 10.7.7 {IN_NET}",
        r"'10.7.7' is not an IPv4 address",
    ),
    "unknown mode": ("attach {p}n --mode warp", rf"there is no mode 'warp'{CHOOSE_MODE}"),
    "baseline bridge": (
        "attach {p}n --mode bridge",
        rf"bridge is a baseline that `ebpfnet compare` builds.*{CHOOSE_MODE}$",
    ),
    "baseline veth": ("attach {p}n --mode veth", rf"veth is a baseline.*{CHOOSE_MODE}$"),
    "unknown hook": ("attach {p}n --hook xdq", r"'xdq' is not one of 'tcx', 'clsact'; see `ebpf"),
    "a hook that the mode has not": (
        "attach {p}n --network {p}new --mode xdp --hook tcx",
        r"mode xdp does not attach at tcx; choose xdp",
    ),
    "room for nobody": ("attach {p}n --max-endpoints 0", r"'--max-endpoints': 0 is not in.*; see"),
    "unknown option": ("attach --nonsense", r"No such option.*nonsense.*; see `ebpfnet attach --"),
    "unknown command": ("atach", r"No such command 'atach'.*; see `ebpfnet --help`"),
    # Names.
    "network of 16 characters": (
        "attach {p}n --network abcdefghijklmnop",
        rf"network name 'abcdefghijklmnop' has 16 characters{AT_MOST}",
    ),
    "network with a slash": ("attach {p}n --network a/b", rf"'a/b' cannot name.*; use {LETTERS}"),
    "network of two dots": ("attach {p}n --network ..", rf"'\.\.' cannot name.*; use {LETTERS}"),
    "network with a dot": ("attach {p}n --network a.b", rf"'a\.b' cannot name.*; use {LETTERS}"),
    "network like an option": ("attach {p}n --network=-x", rf"'-x' cannot name.*; use {LETTERS}"),
    "network with an umlaut": ("attach {p}n --network ä", rf"'ä' cannot name.*; use {LETTERS}"),
    "network with a substitution": (
        "attach {p}n --network $(x)",
        rf"'\$\(x\)' cannot name a network; use {LETTERS}",
    ),
    "network to detach with a slash": ("detach --network ../x", r"'\.\./x' cannot name a network"),
    "namespace of 16 characters": (
        "attach abcdefghijklmnop",
        rf"namespace name 'abcdefghijklmnop' has 16 characters{AT_MOST}",
    ),
    "namespace of 300 characters": (f"attach {'x' * 300}", rf"has 300 characters{AT_MOST}"),
    "namespace with a slash": ("attach a/b", r"a/b does not open a network namespace; give a name"),
    "namespace like an option": ("attach -- -x", rf"'-x' cannot name a namespace; use {LETTERS}"),
    "namespace of one dot": ("attach .", rf"'\.' cannot name a namespace; use {LETTERS}"),
    "namespace of two dots": ("attach ..", rf"'\.\.' cannot name a namespace; use {LETTERS}"),
    "namespace with an umlaut": ("attach nä", rf"'nä' cannot name a namespace; use {LETTERS}"),
    "namespace with a semicolon": ("attach a;b", rf"'a;b' cannot name a namespace; use {LETTERS}"),
    "namespace with a star": ("attach *", rf"'\*' cannot name a namespace; use {LETTERS}"),
    # Namespaces that cannot be endpoints.
    "a process that does not exist": (
        f"attach {NO_PROCESS}",
        rf"there is no process {NO_PROCESS}, and no namespace of that name; give another PID",
    ),
    "a file in /run/netns": (
        "attach {p}file",
        r"/run/netns/{p}file is a file, not a namespace; ip netns delete {p}file",
    ),
    "a path to a file": ("attach /etc/passwd", r"/etc/passwd does not open a network namespace; g"),
    "a path to nothing": ("attach /nowhere", r"/nowhere does not open a network namespace; give"),
    "a namespace of another kind": (
        "attach /proc/self/ns/uts",
        r"/proc/self/ns/uts does not open a network namespace; give",
    ),
    "the host by path": ("attach /proc/self/ns/net", r"is the host's own namespace.*; name anot"),
    "the host by PID": ("attach {me}", r"{me} is the host's own namespace.*; name another"),
    "a direct pair": (
        "attach {q}ns0 {q}ns1",
        r"the other end of {q}veth0 in {q}ns0 is not in the host's namespace.*; delete the pair",
    ),
    "two veths": ("attach {p}two", r"{p}two has 2 veths to the host \(.*\); leave one"),
    "an endpoint of another network": (
        "attach {p}a --network {p}new",
        r"{p}a is an endpoint of network {p}net already; ebpfnet detach {p}a --network {p}net",
    ),
    # Addresses.
    "two addresses for one": (
        f"attach {{p}}n --ip {{p}}n=10.7.7.4 --ip {{p}}n=10.7.7.5 {IN_NET}",
        r"{p}n is given two addresses, 10.7.7.4 and 10.7.7.5; give one",
    ),
    "one address for two": (
        f"attach {{p}}n {{p}}m --ip {{p}}n=10.7.7.4 --ip {{p}}m=10.7.7.4 {IN_NET}",
        r"address 10.7.7.4 of {p}m belongs to {p}n already; give another with --ip",
    ),
    "an address for somebody else": (
        f"attach {{p}}n --ip {{p}}m=10.7.7.4 {IN_NET}",
        r"--ip names {p}m, which is not among the namespaces to attach; attach {p}n {p}m",
    ),
    "an address for nobody": ("attach {p}n --ip 10.7.7.4", r"is not NETNS=ADDR; write ns0=10"),
    "an address that is none": ("attach {p}n --ip {p}n=10.7.7.400", r"'10.7.7.400' is not.*; wri"),
    "an IPv6 address": ("attach {p}n --ip {p}n=fd00::4", r"'fd00::4' is not an IPv4.*; write"),
    "an address outside the subnet": (
        f"attach {{p}}n --ip {{p}}n=10.7.8.4 {IN_NET}",
        r"address 10.7.8.4 is outside the subnet 10.7.7.0/29; choose one inside",
    ),
    "the subnet's own address": (
        f"attach {{p}}n --ip {{p}}n=10.7.7.0 {IN_NET}",
        r"10.7.7.0 is the address of subnet 10.7.7.0/29 itself.*; choose another",
    ),
    "the broadcast address": (
        f"attach {{p}}n --ip {{p}}n=10.7.7.7 {IN_NET}",
        r"10.7.7.7 is .* its broadcast address; choose another",
    ),
    "an address that is taken": (
        f"attach {{p}}n --ip {{p}}n=10.7.7.3 {IN_NET}",
        r"address 10.7.7.3 of {p}n belongs to {p}b already; give another",
    ),
    "another address than it has on the network": (
        f"attach {{p}}a --ip {{p}}a=10.7.7.4 {IN_NET}",
        r"{p}a is attached with 10.7.7.2 already; ebpfnet detach {p}a --network {p}net",
    ),
    "another address than it has itself": (
        "attach {p}ns1 --ip {p}ns1=10.1.0.9 --network {p}new",
        r"{p}ns1 has the address 10.1.0.1 already, not 10.1.0.9; leave --ip out",
    ),
    "foreign addresses": (
        f"attach {{p}}ns1 {IN_NET}",
        r"address 10.1.0.1 is outside the subnet 10.7.7.0/29; choose",
    ),
    "foreign addresses that are taken": (
        f"attach {{p}}dup {IN_NET}",
        r"address 10.7.7.2 of {p}dup belongs to {p}a already; give another",
    ),
    # Subnets and room.
    "a subnet too small": (
        "attach {p}n --network {p}new --subnet 10.7.7.0/31",
        r"10.7.7.0/31 cannot hold endpoints; use a /30 or larger",
    ),
    "a subnet with host bits": (
        "attach {p}n --network {p}new --subnet 10.7.7.1/24",
        r"'10.7.7.1/24' is not an IPv4 network.*; write it as",
    ),
    "an IPv6 subnet": (
        "attach {p}n --network {p}new --subnet fd00::/64",
        r"'fd00::/64' is not an IPv4 network.*; write it as",
    ),
    "a subnet that has no address left": (
        f"attach {{p}}n1 {{p}}n2 {{p}}n3 {{p}}n4 {IN_NET}",
        r"subnet 10.7.7.0/29 has no free address left; use a larger one",
    ),
    "a network too small": (
        "attach {p}n1 {p}n2 {p}n3 --network {p}new --max-endpoints 2",
        r"network {p}new has room for 2 endpoints, not for 3; make another",
    ),
    "another mode": (
        f"attach {{p}}n --mode tc {IN_NET}",
        r"network {p}net has mode tc-peer already; detach it first",
    ),
    "another hook": (
        f"attach {{p}}n --hook clsact {IN_NET}",
        r"network {p}net has hook tcx already; detach it first",
    ),
    "another subnet": (
        f"attach {{p}}n --subnet 10.9.0.0/16 {IN_NET}",
        r"network {p}net has subnet 10.7.7.0/29 already; detach it first",
    ),
    "other room": (
        f"attach {{p}}n --max-endpoints 3 {IN_NET}",
        r"network {p}net has room 16384 already; detach it first",
    ),
}


@pytest.mark.parametrize(("command", "says"), CASES.values(), ids=list(CASES))
def test_it_is_refused_in_one_line(
    kit: Launcher, scene: Scene, judge: Judge, command: str, says: str
) -> None:
    line = refused(kit.run(*(scene.fill(word) for word in command.split(" "))))
    assert re.search(scene.fill(says), line), line
    assert judge.differences() == []


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "\x1b[2J"])
@pytest.mark.parametrize("command", [["attach", "NAME"], ["attach", "{p}n", "--network", "NAME"]])
def test_names_that_a_shell_has_to_quote(
    kit: Launcher, scene: Scene, judge: Judge, command: list[str], name: str
) -> None:
    line = refused(kit.run(*(name if w == "NAME" else scene.fill(w) for w in command)))
    assert f"{name!r} cannot name a " in line
    assert line.isprintable()
    assert judge.differences() == []


def test_the_command_itself_says_no_more_than_that(scene: Scene) -> None:
    """What the other tests have a fork of one process do, once by a process from the beginning."""
    done = hosts.ebpfnet("attach", "a/b", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"ebpfnet: a/b does not open .*\n", done.stderr)


def test_a_namespace_with_an_odd_name_can_be_attached(kit: Launcher, scene: Scene) -> None:
    names = [f"{scene.p} é;", f"{scene.p} é,", f"{scene.p}{'x' * 50}"]
    try:
        for name in names:
            hosts.ip("netns", "add", name)
        kit.succeed("attach", *names, "--network", f"{scene.p}net")
        listed = kit.run("endpoint", "list", "--network", f"{scene.p}net")
        assert all(name in listed.stdout for name in names)
        kit.succeed("detach", *names, "--network", f"{scene.p}net")
    finally:
        for name in names:
            hosts.ip("netns", "del", name)
