import json
import re
import shlex
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datapath.errors import InvalidInput, NotFound
from datapath.labs import catalogue, drawing, groups, picture, planning
from datapath.labs.loader import load
from datapath.labs.model import End, Lab, Target
from datapath.steps import decode
from datapath.steps.devices import AddRoute, MakeCable, MakeDevice

FILE = "mine.yaml"
PRESETS = catalogue.presets()
PAIR = """\
title: A pair
nodes:
  a:
    interfaces:
      eth0: 10.0.0.1/24
  b:
    interfaces:
      eth0: 10.0.0.2/24
links:
  - a:eth0 -- b:eth0
"""


def lab(text: str) -> Lab:
    return load(text, FILE, "mine")


# What replaces what in PAIR, the line that the message names, its field, and words of it.
BAD = [
    ("title: A pair\n", "", 1, "", "title is missing"),
    ("title: A pair", "title:", 1, "title", "nothing is written"),
    ("title: A pair", "title: [A, pair]", 1, "title", "a list where a single value"),
    ("title: A pair", "titel: A pair", 1, "titel", "no such field"),
    ("title: A pair", "title: A: pair", 1, None, "not YAML"),
    ("title: A pair", "title: A\ntitle: B", 2, "title", "twice"),
    ("title: A pair", "title: &x A", None, None, None),
    ("title: A pair", "title: !!python/name:os.system A", 1, None, "tag"),
    ("title: A pair", "title: A\nname: a b", 2, "name", "cannot name a lab"),
    ("title: A pair", f"title: A\nname: {'n' * 32}", 2, "name", "cannot name a lab"),
    ("title: A pair", "title: A\ntry: [{see: it}]", 2, "try[0]", "run is missing"),
    ("title: A pair", "title: A\n? [x]\n: y", 2, "", "the name of a field"),
    ("title: A pair", "title: A\n\tx: y", 2, None, "not YAML"),
    ("  a:", "  -a:", 3, "nodes.-a", "cannot name a node"),
    ("  a:", f"  {'a' * 16}:", 3, f"nodes.{'a' * 16}", "cannot name a node"),
    ("interfaces:", "interface:", 4, "nodes.a.interface", "known here: interfaces"),
    ("eth0: 10.0.0.1/24", "eth0: 10.0.0.300/24", 5, "nodes.a.interfaces.eth0", "not an address"),
    ("eth0: 10.0.0.1/24", "eth0: 10.0.0.1", 5, "nodes.a.interfaces.eth0", "no prefix length"),
    ("eth0: 10.0.0.1/24", "eth0: 224.0.0.1/24", 5, "nodes.a.interfaces.eth0", "own address"),
    ("eth0: 10.0.0.1/24", "lo: 10.0.0.1/24", 5, "nodes.a.interfaces.lo", "cannot name"),
    ("eth0: 10.0.0.1/24", "eth1: 10.0.0.1/24", 5, "nodes.a.interfaces.eth1", "no link ends here"),
    ("eth0: 10.0.0.1/24", "eth0: {mtu: 12}", 5, "nodes.a.interfaces.eth0.mtu", "out of range"),
    ("eth0: 10.0.0.1/24", "eth0: {mtu: 1e3}", 5, "nodes.a.interfaces.eth0.mtu", "whole number"),
    ("eth0: 10.0.0.1/24", "eth0: {up: maybe}", 5, "nodes.a.interfaces.eth0.up", "true nor false"),
    ("eth0: 10.0.0.1/24", "eth0: {type: wifi}", 5, "nodes.a.interfaces.eth0.type", "not known"),
    ("eth0: 10.0.0.1/24", "eth0: {mac: 1-2}", 5, "nodes.a.interfaces.eth0.mac", "not a MAC"),
    (
        *("eth0: 10.0.0.1/24", "eth0: {mac: '01:00:00:00:00:01'}", 5),
        *("nodes.a.interfaces.eth0.mac", "cannot be an interface's own"),
    ),
    (
        *("eth0: 10.0.0.1/24", "eth0: [10.0.0.1/24, 10.0.0.1/24]", 5),
        *("nodes.a.interfaces.eth0", "stands there twice"),
    ),
    ("eth0: 10.0.0.1/24", "eth0: {vlans: 10}", 5, "nodes.a.interfaces.eth0.vlans", "filters them"),
    (
        *("eth0: 10.0.0.1/24", "eth0: {vlans: 4095}", 5),
        *("nodes.a.interfaces.eth0.vlans", "is not a VLAN"),
    ),
    (
        *("eth0: 10.0.0.1/24", "eth0: {}\n      v: {type: vxlan}", 6),
        *("nodes.a.interfaces.v", "id is missing"),
    ),
    (
        *("eth0: 10.0.0.1/24", "eth0: {}\n      v: {type: vxlan, id: 16777216}", 6),
        *("nodes.a.interfaces.v.id", "out of range"),
    ),
    (
        *("eth0: 10.0.0.1/24", "eth0: {}\n      m: {type: macvlan, parent: eth9}", 6),
        *("nodes.a.interfaces.m.parent", "no interface a:eth9"),
    ),
    (
        *("eth0: 10.0.0.1/24", "eth0: {}\n      m: {type: macvlan, parent: m}", 6),
        *("nodes.a.interfaces.m.parent", "stands on itself"),
    ),
    (
        *("eth0: 10.0.0.1/24", "eth0: {}\n      br0: {type: bridge, ports: [eth1]}", 6),
        *("nodes.a.interfaces.br0.ports[0]", "no interface eth1"),
    ),
    (
        "eth0: 10.0.0.1/24",
        "eth0: {}\n      b0: {type: bridge, ports: eth0}\n      b1: {type: bridge, ports: eth0}",
        *(7, "nodes.a.interfaces.b1.ports", "a port of b0 already"),
    ),
    ("eth0: 10.0.0.1/24", "eth0: {}\n      t: {type: tun, mac: x}", 6, None, "no MAC"),
    ("a:eth0 -- b:eth0", "a:eth0 - b:eth0", 10, "links[0]", "does not name two ends"),
    ("a:eth0 -- b:eth0", "a:eth0 -- eth0", 10, "links[0]", "not NODE:INTERFACE"),
    ("a:eth0 -- b:eth0", "a:eth0 -- a:eth0", 10, "links[0]", "the same interface"),
    ("a:eth0 -- b:eth0", "a:eth0 -- c:eth0", 10, "links[0]", "no node c"),
    ("a:eth0 -- b:eth0", "a:eth0 -- b:eth 0", 10, "links[0]", "cannot name an interface"),
    (
        *("- a:eth0 -- b:eth0", "- a:eth0 -- b:eth0\n  - a:eth0 -- b:eth1", 11),
        *("links[1]", "the end of another link"),
    ),
    (
        *("- a:eth0 -- b:eth0", "- {ends: a:eth0 -- b:eth0, rate: 10}", 10),
        *("links[0].rate", "not a rate"),
    ),
    (
        *("- a:eth0 -- b:eth0", "- {ends: a:eth0 -- b:eth0, jitter: 1ms}", 10),
        *("links[0].jitter", "needs a delay"),
    ),
    (
        *("- a:eth0 -- b:eth0", "- {ends: a:eth0 -- b:eth0, loss: 101%}", 10),
        *("links[0].loss", "at most 100"),
    ),
    ("links:", "reach: {c: all}\nlinks:", 9, "reach.c", "no node c"),
    ("links:", "reach: {a: [c]}\nlinks:", 9, "reach.a[0]", "neither a node nor an address"),
    ("links:", "reach: {a: [10.0.0.9]}\nlinks:", 9, "reach.a[0]", "no node has the address"),
    ("links:", "reach: {a: ['10.0.0.2:0']}\nlinks:", 9, "reach.a[0]", "not a port"),
    ("links:", "reach: {a: some}\nlinks:", 9, "reach.a", "not known"),
    ("  b:\n", "    routes: default\n  b:\n", 6, "nodes.a.routes", "neither where to nor"),
    ("  b:\n", "    routes: x via 10.0.0.2\n  b:\n", 6, "nodes.a.routes", "not a network"),
    ("  b:\n", "    routes: default dev eth7\n  b:\n", 6, "nodes.a.routes", "no interface eth7"),
    ("  b:\n", "    routes: 10.1.0.0/16 via ::1\n  b:\n", 6, "nodes.a.routes", "no gateway to"),
    ("  b:\n", "    neighbours: 10.0.0.2\n  b:\n", 6, "nodes.a.neighbours", "no neighbour entry"),
    (
        *("  b:\n", "    fdb: 02:00:00:00:00:01 dev eth0\n  b:\n", 6),
        *("nodes.a.fdb", "no port of a bridge"),
    ),
    (
        *("  b:\n", "    sysctls: {kernel.panic: 1}\n  b:\n", 6),
        *("nodes.a.sysctls.kernel.panic", "no sysctl of a network namespace"),
    ),
    ("  b:\n", "    iptables: nat\n  b:\n", 6, "nodes.a.iptables", "begins no rule"),
    ("  b:\n", "    processes: 'a \"b'\n  b:\n", 6, "nodes.a.processes", "not a command"),
    ("links:", "ebpf: {mode: tc}\nlinks:", 9, "ebpf", "nodes is missing"),
    ("links:", "ebpf: {nodes: [a], mode: cable}\nlinks:", 9, "ebpf.mode", "not known"),
    ("links:", "ebpf: {nodes: [c]}\nlinks:", 9, "ebpf", "no node c"),
    ("links:", "ebpf: {nodes: [a, b]}\nlinks:", 9, "ebpf", "a has links to b, and programs sit"),
    ("links:", "  c:\nebpf: {nodes: [c]}\nlinks:", 10, "ebpf", "c has links to nobody"),
    ("links:", "ebpf: {nodes: [a], otherwise: no}\nlinks:", 9, "ebpf.otherwise", "not known"),
    ("  a:", "  host: {sysctls: {net.x: 1}}\n  a:", 3, "nodes.host.sysctls", "machine itself"),
    ("  a:", "  host: {interfaces: {t: {type: tun}}}\n  a:", 3, None, "somebody else's"),
]


@pytest.mark.parametrize(("old", "new", "line", "field", "words"), BAD)
def test_bad_yaml_is_refused_with_line_and_field(
    old: str, new: str, line: int | None, field: str | None, words: str | None
) -> None:
    assert old in PAIR
    text = PAIR.replace(old, new, 1)
    if words is None:
        lab(text)  # an anchor that nothing repeats does no harm
        return
    with pytest.raises(InvalidInput, match=re.escape(words)) as caught:
        lab(text)
    where = f"{FILE}:{line}: " if field in (None, "") else f"{FILE}:{line}: {field}: "
    assert caught.value.message.startswith(where)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "nothing is written"),
        ("# a comment", 1, "nothing is written"),
        ("- a", 1, "a list where a mapping"),
        ("just words", 1, "a single value where a mapping"),
        ("title: x\nnodes: {}\n", 2, "at least one node"),
        ("title: x\n---\ntitle: y\n", 2, "not YAML"),
        ("title: x\nnodes: &n {a: *n}\n", 2, "anchors and aliases"),
        ("title: x\nnodes: {a: &n {}, b: *n}\n", 2, "anchors and aliases"),
        ("title: 'x\n", None, "not YAML"),
        ("title: \x01\n", 1, "not YAML"),
        ("title: x\nnodes: " + "[" * 50 + "]" * 50, 2, "nested too deeply"),
        ("[" * 100_000, 1, "nested too deeply"),
        ("x" * (9 << 20), 1, "too long for a lab"),
        ("title: x\nnodes:\n" + "".join(f"  n{n}:\n" for n in range(4097)), 2, "4097 nodes are"),
    ],
)
def test_what_is_no_lab_at_all_is_refused(text: str, line: int | None, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        lab(text)
    assert caught.value.message.startswith(f"{FILE}:" if line is None else f"{FILE}:{line}: ")


WORDS = st.sampled_from(
    [
        *("title", "name", "nodes", "links", "reach", "try", "teaches", "interfaces", "routes"),
        *("neighbours", "fdb", "sysctls", "nft", "iptables", "commands", "processes", "type"),
        *("addresses", "mac", "mtu", "up", "promisc", "vlans", "parent", "ports", "id", "mode"),
        *("local", "remote", "ends", "rate", "delay", "loss", "run", "see", "a", "b", "host"),
        *("eth0", "eth1", "br0", "vx0", "bridge", "vxlan", "macvlan", "vlan", "tap", "all"),
        *("a:eth0 -- b:eth0", "a:eth0", "10.0.0.1/24", "10.0.0.2", "fd00::1/64", "default"),
        *("default via 10.0.0.1", "10.0.0.9 proxy dev eth0", "02:00:00:00:00:01", "1", "true"),
        *("02:00:00:00:00:01 dev vx0 dst 10.0.0.2", "10 pvid untagged", "10mbit", "5ms", "[::1]:1"),
    ]
)
VALUES = st.recursive(
    WORDS | st.text(max_size=8) | st.integers() | st.booleans() | st.none() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)
INTERFACES = st.dictionaries(WORDS, VALUES, max_size=4)
NODES = st.dictionaries(
    st.sampled_from(["a", "b", "host"]), st.fixed_dictionaries({"interfaces": INTERFACES}) | VALUES
)
DOCUMENTS = st.fixed_dictionaries(
    {"title": st.just("x") | VALUES, "nodes": NODES | VALUES},
    optional={"links": VALUES, "reach": VALUES, "try": VALUES},
)


def is_lab_or_refused_with_a_line(text: str) -> None:
    refusal = ""
    try:
        made = lab(text)
    except InvalidInput as error:
        refusal = error.message
    else:
        assert all(shlex.split(line) for line in planning.commands(made))
    assert not refusal or re.match(rf"{FILE}:\d+: ", refusal), refusal


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DOCUMENTS | VALUES)
def test_anything_in_yaml_is_a_lab_or_refused_with_a_line(value: object) -> None:
    is_lab_or_refused_with_a_line(yaml.safe_dump(value, allow_unicode=True))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PRESETS), st.data())
def test_a_preset_with_lines_lost_repeated_or_changed_is_a_lab_or_refused_with_a_line(
    preset: Lab, data: st.DataObject
) -> None:
    lines = preset.text.splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    words = lines[number].split(" ")
    word = data.draw(st.integers(0, len(words) - 1))
    changed = " ".join([*words[:word], data.draw(WORDS | st.text(max_size=4)), *words[word + 1 :]])
    lines[number : number + 1] = data.draw(st.sampled_from([[], [lines[number]] * 2, [changed]]))
    is_lab_or_refused_with_a_line("\n".join(lines))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_preset_explains_itself_and_can_be_journalled(preset: Lab) -> None:
    assert preset.teaches
    assert preset.tries
    assert preset.reach
    for step in planning.steps(preset, "mark"):
        fields = {name: getattr(step, name) for name in step.__dataclass_fields__}
        assert decode(type(step).__name__, json.loads(json.dumps(fields))) == step


def test_presets_that_others_point_at_are_there() -> None:
    assert {
        *("veth-pair", "bridge", "arp", "nat", "nat-iptables", "vlan", "vlan-8021q", "vxlan"),
        *("vxlan-learning", "macvlan-bridge", "macvlan-private", "macvlan-vepa"),
        *("macvlan-passthru", "ipvlan-l2", "ipvlan-l3", "tuntap", "promisc", "docker"),
        *("flannel-host-gw", "flannel-vxlan", "flannel-udp", "cilium", "routed"),
        "ipip",
    } <= {preset.name for preset in PRESETS}


def test_unknown_lab_and_unreadable_file_are_not_found() -> None:
    for source in ("no-such-lab", "./no-such-file.yaml", "/"):
        with pytest.raises(NotFound):
            catalogue.declared(source)


def test_by_default_everybody_reaches_everything_of_the_others() -> None:
    made = lab(PAIR)
    (of_a, of_b) = made.targets
    assert (of_a.node, of_b.node) == ("a", "b")
    assert made.reach == {"a": frozenset(made.targets), "b": frozenset(made.targets)}


def test_reach_names_nodes_addresses_and_ports() -> None:
    made = lab(PAIR + "reach: {a: [b, '10.0.0.2:80'], b: none}\n")
    assert [str(target) for target in made.targets] == ["10.0.0.1", "10.0.0.2", "10.0.0.2:80"]
    assert made.reach["a"] == frozenset(made.targets[1:])
    assert made.reach["b"] == frozenset()
    assert str(Target(made.targets[0].address.__class__("10.0.0.1"), 80)) == "10.0.0.1:80"


def test_the_end_on_the_host_comes_first_and_names_are_kept() -> None:
    text = PAIR.replace("a:eth0 -- b:eth0", "a:eth0 -- host:h0").replace(
        "nodes:", "nodes:\n  host: {interfaces: {br0: {type: bridge, ports: h0}}}"
    )
    text = text.replace("  b:\n    interfaces:\n      eth0: 10.0.0.2/24\n", "")
    (cable,) = (step for step in planning.steps(lab(text), "") if isinstance(step, MakeCable))
    assert cable.netns == ["", "/run/netns/mine-a"]
    assert cable.ifnames == ["h0", "eth0"]


def test_macs_are_the_same_each_time_and_differ_between_interfaces() -> None:
    made = lab(PAIR)
    ends = [End("a", "eth0"), End("b", "eth0")]
    first, second = (planning.mac_of(made, end) for end in ends)
    assert first != second
    assert first == planning.mac_of(lab(PAIR), ends[0])
    assert int(first[:2], 16) & 3 == 2  # locally administered, not a group


def test_what_stands_on_another_is_made_after_it() -> None:
    text = PAIR.replace(
        "eth0: 10.0.0.1/24",
        "v2: {type: vlan, id: 2, parent: v1}\n      v1: {type: vlan, id: 1, parent: eth0}",
    )
    made = [s.ifname for s in planning.steps(lab(text), "") if isinstance(s, MakeDevice)]
    assert made == ["v1", "v2"]


def test_scalars_are_read_as_written() -> None:
    text = PAIR.replace("  b:\n", "  no:\n").replace("b:eth0", "no:eth0")
    text = text.replace("eth0: 10.0.0.1/24", "eth0: {mac: 12:34:56:10:20:30}")
    made = lab(text)
    assert "no" in made.nodes
    assert made.nodes["a"].interfaces["eth0"].mac == "12:34:56:10:20:30"


def test_a_route_is_typed_as_it_is_written() -> None:
    text = PAIR.replace(
        "  b:\n",
        "    routes: 10.9.0.0/16 via 10.0.0.2 dev eth0 src 10.0.0.1 metric 5 onlink\n  b:\n",
    )
    (route,) = (step for step in planning.steps(lab(text), "") if isinstance(step, AddRoute))
    assert route.commands() == [
        "ip -n mine-a route add 10.9.0.0/16 via 10.0.0.2 dev eth0 src 10.0.0.1 metric 5 onlink"
    ]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("rate: 1gbit", "tbf rate 1000000000bit burst 1250000b latency 50ms"),
        ("rate: 64kbit", "tbf rate 64000bit burst 65536b latency 50ms"),
        ("delay: 5ms", "netem delay 5ms"),
        ("delay: 1s, jitter: 500us, loss: 0.5%", "netem delay 1000ms 0.5ms loss 0.5%"),
        ("loss: 1%, rate: 10mbit", "netem loss 1% rate 10000000bit"),
    ],
)
def test_a_link_is_shaped_by_tbf_for_a_rate_alone_and_netem_for_the_rest(
    shape: str, words: str
) -> None:
    made = lab(PAIR.replace("- a:eth0 -- b:eth0", f"- {{ends: a:eth0 -- b:eth0, {shape}}}"))
    assert made.links[0].shape
    assert " ".join(planning.qdisc(made.links[0].shape)) == words


def test_drawing_of_a_bridge() -> None:
    (bridge,) = (preset for preset in PRESETS if preset.name == "bridge")
    assert drawing.draw(bridge) == (
        "┌ ns1 ────────────────────┐\n"
        "│ veth1       10.1.0.1/24 ├───┐\n"
        "└─────────────────────────┘   │\n"
        "┌ ns2 ────────────────────┐   │\n"
        "│ veth2       10.1.0.2/24 ├─┐ │\n"
        "└─────────────────────────┘ │ │\n"
        "┌ host (this machine) ────┐ │ │\n"
        "│ br0         bridge      │ │ │\n"
        "│ ├ br-veth1              ├─┼─┘\n"
        "│ └ br-veth2              ├─┘\n"
        "└─────────────────────────┘"
    )


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_arc_of_a_drawing_ends_at_an_interface(preset: Lab) -> None:
    lines = drawing.draw(preset).splitlines()
    width = len(lines[0])
    assert all(len(line) >= width for line in lines)
    ends = sum(line[width - 1] == "├" for line in lines)
    assert ends == len({end for arc in drawing.arcs_of(preset) for end in arc})
    for turn in "┐┘":
        assert sum(line[width:].count(turn) for line in lines) <= len([*drawing.arcs_of(preset)])


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_picture_has_a_box_for_each_node_and_a_line_for_each_link(preset: Lab) -> None:
    space = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(picture.draw(preset))  # noqa: S314 our own
    boxes = [
        tuple(float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        for rect in root.iter(f"{space}rect")
    ]
    assert len(boxes) == len(preset.nodes)
    assert len([*root.iter(f"{space}path")]) == len([*drawing.arcs_of(preset)])
    for number, (x, y, width, height) in enumerate(boxes):
        for other_x, other_y, other_width, other_height in boxes[number + 1 :]:
            assert (
                *(x + width <= other_x or other_x + other_width <= x,),
                *(y + height <= other_y or other_y + other_height <= y,),
            ) != (False, False)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_what_a_preset_says_to_try_is_there_to_be_tried(preset: Lab) -> None:
    quoted = [line for each in preset.tries for line in re.findall("`(ebpfnet .*?)`", each.see)]
    namespaces = {planning.netns_name(preset.name, node) for node in preset.nodes}
    for line in [*(each.run for each in preset.tries), *quoted]:
        words = shlex.split(line)
        if words[:3] == ["ebpfnet", "lab", "exec"]:
            assert words[3] in preset.nodes, line
            assert words[4] == "--"
        elif words[:2] in (["ebpfnet", "show"], ["ebpfnet", "capture"]):
            assert words[-1].partition(":")[0] in namespaces, line
        elif "--lab" in words:
            assert words[words.index("--lab") + 1] == preset.name
            assert groups.switchable(preset)
        elif "--network" in words:
            declared = [group.network for group in groups.declared(preset)]
            assert words[words.index("--network") + 1] in declared


def test_the_machine_itself_may_be_in_several_labs(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "title: t\nnodes: {host: {}, a: {}}"
    labs = [load(text, FILE, name) for name in ("mine", "yours")]
    monkeypatch.setattr(catalogue, "running", lambda: labs)
    assert catalogue.namespace_of("host") == planning.namespace(labs[0], "host")
    with pytest.raises(InvalidInput, match="several labs have a node a; say mine-a or yours-a"):
        catalogue.namespace_of("a")


def test_subnet_of_a_group_is_that_of_the_links_it_hangs_by() -> None:
    """Whatever other addresses its members have, on tunnels of their own."""
    for name, subnets in (("tuntap", ["192.168.8.0/24"]), ("routed", ["10.65.1.0/29"])):
        made = catalogue.declared(name)
        found = [str(groups.subnet(made, group)) for group in groups.switchable(made)]
        assert found == subnets
