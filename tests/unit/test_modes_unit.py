"""Modes as they are declared: names, variants, paths, and what they would do; no root needed."""

import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from datapath import modes
from datapath.attaching import Request, plan
from datapath.errors import Conflict, InvalidInput, VerifierError
from datapath.kernel.bpf import compiler, features
from datapath.kernel.net import netkit
from datapath.kernel.net.firewall import Ruleset
from datapath.modes import user
from datapath.modes.base import EbpfMode
from datapath.records import HookId, ModeId
from datapath.steps import decode
from datapath.steps.firewall import AddRules
from datapath.steps.kinds import MakeNetkit, MakeParent, StackInterface

SUBNET = "198.18.0.0/24"
NETKIT = MakeNetkit(
    "/run/netns/ns1", "eth0", "02:00:00:00:00:01", "h-ns1", "02:00:00:00:00:02", ["10.1.1.2/24"]
)
STEPS = [
    NETKIT,
    MakeParent(["p-x", "q-x"], ["02:00:00:00:00:03", "02:00:00:00:00:04"]),
    StackInterface("macvlan", "bridge", "p-x", "/run/netns/ns1", "eth0", "02:00:00:00:00:05", []),
    AddRules("nft", "ebpfnet-1", SUBNET, 3, conntrack=True),
]


@pytest.mark.parametrize("name", modes.LISTED)
def test_a_path_leads_from_the_sender_to_the_receiver(name: str) -> None:
    mode = modes.get(name)
    order = ["sender", "host", "receiver"]
    places = [order.index(station.where) for station in mode.path]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, 2)
    assert any(station.hook for station in mode.path) == isinstance(mode, EbpfMode)
    assert mode.summary


@pytest.mark.parametrize(
    ("name", "hook", "label"),
    [
        ("tc:tcx", HookId.TCX, "tcx ingress"),
        ("tc-peer:clsact", HookId.CLSACT, "clsact ingress"),
        ("xdp:native", HookId.XDP, "native XDP"),
        ("xdp:generic", HookId.XDP_GENERIC, "generic XDP"),
    ],
)
def test_a_hook_that_was_chosen_is_in_the_path(name: str, hook: HookId, label: str) -> None:
    mode = modes.get(name)
    assert isinstance(mode, EbpfMode)
    assert mode.hooks == (hook,)
    assert label in [station.hook for station in mode.path]


def test_a_kernel_without_tcx_lacks_the_variant_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "has", lambda what: what is not features.TCX)
    assert "tcx" in modes.get("tc:tcx").missing()
    assert modes.get("tc:clsact").missing() == modes.get("tc").missing() == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bridge-nf:legacy", "legacy says how rules are made, and there are none"),
        ("routed:nft,legacy,rules=1", "nft and legacy exclude each other"),
        ("bridge-nf:rules=10001", "rules is a number from 0 to 10000"),
        ("bridge:rules=1", "bridge has no option 'rules'"),
        ("macvlan:vepa", "macvlan has no option 'vepa'"),
        ("ipvlan:l2,l3", "l2 and l3 exclude each other"),
        ("xdp:tcx", "xdp has no option 'tcx'"),
    ],
)
def test_variants_that_cannot_be_are_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        modes.get(name)


@pytest.mark.parametrize("name", ["bridge-nf", "routed"])
def test_rules_are_told_in_summary_and_path(name: str) -> None:
    mode = modes.get(f"{name}:rules=7,conntrack,legacy")
    told = "7 rules and conntrack (legacy)"
    assert told in mode.summary
    assert any(told in station.label for station in mode.path)
    assert "rules" not in modes.get(name).summary


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("conntrack", [False, True])
def test_every_rule_is_for_an_address_that_nobody_has(backend: Any, conntrack: bool) -> None:
    commands = Ruleset(backend, "ebpfnet-1", SUBNET, 300, conntrack).commands()
    dropping = [command for command in commands if "drop" in command.lower()]
    assert len(dropping) == len(set(dropping)) == 300
    assert all(" 240.0." in command for command in dropping)
    assert sum("ct state" in command or "conntrack" in command for command in commands) == conntrack
    assert [command for command in commands if SUBNET in command] == commands[-1:]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_steps_survive_the_journal(step: Any) -> None:
    fields = json.loads(json.dumps(asdict(step)))
    assert decode(type(step).__name__, fields) == step


def test_steps_are_told_as_commands() -> None:
    assert NETKIT.commands()[0] == (
        "ip link add h-ns1 address 02:00:00:00:00:02 type netkit mode l2 "
        "peer name eth0 address 02:00:00:00:00:01 netns ns1"
    )
    assert STEPS[2].commands() == [
        "ip link add link p-x name eth0 address 02:00:00:00:00:05 netns ns1"
        " type macvlan mode bridge",
        "ip -n ns1 link set eth0 up",
    ]
    assert STEPS[3].commands()[0] == "nft 'create table ip ebpfnet-1'"


def test_a_netkit_request_is_what_the_kernel_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []
    monkeypatch.setattr(netkit, "exchange", lambda operation, sent: requests.extend(sent))
    netkit.create(
        *("nk0", "02:00:00:00:00:02", "eth0", Path("/proc/self/ns/net")),
        peer_mac="02:00:00:00:00:01",
    )
    data = attribute(attribute(requests[0].data[32:], 18), 2)  # IFLA_LINKINFO, IFLA_INFO_DATA
    assert attribute(data, 5) == bytes(4)  # IFLA_NETKIT_MODE: L2
    peer = attribute(data, 1)[16:]  # IFLA_NETKIT_PEER_INFO, behind struct ifinfomsg
    assert attribute(peer, 3) == b"eth0\0"  # IFLA_IFNAME
    assert attribute(peer, 1) == bytes.fromhex("020000000001")  # IFLA_ADDRESS
    assert attribute(peer, 28)  # IFLA_NET_NS_FD


def attribute(data: bytes, wanted: int) -> bytes:
    """The value of a netlink attribute (struct nlattr: length, type, value, aligned to 4)."""
    while data:
        length, kind = struct.unpack_from("=HH", data)
        if kind & 0x3FFF == wanted:
            return data[4:length]
        data = data[(length + 3) & ~3 :]
    raise LookupError(wanted)


def test_a_users_own_mode_is_a_file_and_a_function(tmp_path: Path) -> None:
    file = tmp_path / "prog.c"
    file.touch()
    mode = modes.get(f"mine={file}:forward")
    assert isinstance(mode, EbpfMode)
    assert (mode.name, mode.program.source, mode.program.function) == ("mine", str(file), "forward")
    assert mode.hooks == (HookId.TCX, HookId.CLSACT)
    assert modes.ebpf(mode.text) == mode


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mine=/nowhere/prog.c:forward", "there is no file /nowhere/prog.c"),
        ("mine=bpf/example.c", "is no mode; write NAME=FILE.c:FUNCTION"),
        ("mine=bpf/example.c:", "is no mode"),
        ("mine=bpf/example.c:2nd", "is no mode"),
        ("=bpf/example.c:forward", "is no mode"),
        ("mine=:forward", "is no mode"),
        ("my mode=bpf/example.c:forward", "is no mode"),
        ("mine=bpf:forward", "there is no file bpf"),
        ("mine=\0:forward", "is no mode"),
    ],
)
def test_what_is_no_mode_of_the_users_is_refused(text: str, message: str) -> None:
    assert user.is_meant(text)
    with pytest.raises(InvalidInput, match=message):
        modes.get(text)


def test_a_network_of_a_users_program_is_no_network_to_work_on() -> None:
    with pytest.raises(Conflict, match="`ebpfnet compare` measures for a user"):
        modes.by_id(ModeId.USER)
    example = compiler.source_folder() / "example.c"
    with pytest.raises(InvalidInput, match="measured by `ebpfnet compare` alone"):
        plan(Request(mode=f"mine={example}:forward"))


def test_options_are_not_taken_for_a_users_own_mode() -> None:
    assert not any(map(user.is_meant, ("bridge-nf:rules=1", "tc:clsact", "veth", "")))


def test_the_example_is_short_enough_to_learn_from() -> None:
    assert len((compiler.source_folder() / "example.c").read_text().splitlines()) <= 30


def test_headers_beside_a_program_come_first(tmp_path: Path) -> None:
    (tmp_path / "mine.h").write_text("#define MINE 1\n")
    program = tmp_path / "prog.c"
    program.write_text('#include "mine.h"\n#include "verdicts.h"\n')
    text = compiler.join(program)
    assert f'#line 1 "{tmp_path}/mine.h"\n#define MINE 1' in text
    assert "enum drop_reason" in text


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("R0 invalid mem access 'map_value_or_null'", "with NULL before"),
        ("invalid access to packet, off=14 size=4, R1(id=0,off=14,r=0)", "with data_end before"),
        ("something new", "see the whole log"),
    ],
)
def test_the_verifiers_words_come_with_advice(said: str, advice: str) -> None:
    error = VerifierError("forward", f"0: R1=ctx()\n{said}\nprocessed 3 insns\n", 13)
    assert said in error.message
    assert error.remedy.startswith(advice) or advice in error.remedy
