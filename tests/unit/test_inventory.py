import pytest

from tests.support.inventory import SESSION_VARIABLE, Inventory, difference, not_ours

BEFORE: Inventory = {
    "link": {"veth0": {"mtu": "1500", "rx-gro": "off"}, "veth1": {"mtu": "1500"}},
    "pin": {"/sys/fs/bpf/a": {}},
}


def test_equal_inventories_do_not_differ() -> None:
    assert difference(BEFORE, {**BEFORE}) == []


def test_a_change_names_what_changed_only() -> None:
    after: Inventory = {
        **BEFORE,
        "link": {**BEFORE["link"], "veth0": {"mtu": "9000", "rx-gro": "off"}},
    }
    assert difference(BEFORE, after) == ["~ link veth0: mtu 1500 -> 9000"]


def test_an_attribute_may_come_and_go() -> None:
    old: Inventory = {"link": {"veth0": {"master": "br0"}}}
    new: Inventory = {"link": {"veth0": {"xdp": "7"}}}
    assert difference(old, new) == ["~ link veth0: master br0 -> (none), xdp (none) -> 7"]


def test_what_comes_and_goes_in_either_direction() -> None:
    after: Inventory = {
        "link": {"veth0": BEFORE["link"]["veth0"]},
        "route": {"default": {"dev": "a"}},
    }
    assert difference(BEFORE, after) == [
        "- link veth1: mtu 1500",
        "- pin /sys/fs/bpf/a",
        "+ route default: dev a",
    ]
    assert [line[0] for line in difference(after, BEFORE)] == ["+", "+", "-"]


def test_a_thing_without_attributes_is_seen() -> None:
    assert difference({}, {"run": {"/run/x": {}}}) == ["+ run /run/x"]
    assert difference({"run": {"/run/x": {}}}, {}) == ["- run /run/x"]


def test_long_lines_are_cut_and_keep_their_beginning() -> None:
    (line,) = difference({}, {"link": {"veth0": {f"feature-{n}": "on" for n in range(90)}}})
    assert line.startswith("+ link veth0: feature-0 on, feature-1 on,")
    assert line.endswith(" ...")
    assert len(line) <= 240


def test_ignored_things_do_not_count() -> None:
    after: Inventory = {"link": {"eth9": {}, "veth0": {}}}
    ignored = difference(
        {}, after, lambda category, key, _entry: (category, key) == ("link", "eth9")
    )
    assert ignored == ["+ link veth0"]


def test_only_processes_of_the_session_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SESSION_VARIABLE, "7")
    after: Inventory = {
        "process": {"1": {"session": ""}, "2": {"session": "6"}, "3": {"session": "7"}},
        "pin": {"/sys/fs/bpf/a": {}},
    }
    assert difference({}, after, not_ours) == ["+ pin /sys/fs/bpf/a", "+ process 3: session 7"]
