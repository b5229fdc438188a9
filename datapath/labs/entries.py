"""Entries of a node's tables, each a line in the words of `ip` and `bridge`."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network

from datapath.labs import values
from datapath.labs.document import Item
from datapath.labs.model import Forwarding, Neighbour, Route


def _words(item: Item, first: str, options: Iterable[str], flags: Iterable[str]) -> dict[str, str]:
    """`FIRST [option VALUE]... [flag]...` as a mapping; flags map to themselves."""
    words = item.text().split()
    found = {first: words.pop(0)}
    while words:
        word = words.pop(0)
        if word in found:
            item.refuse(f"{word} stands there twice")
        if word in flags:
            found[word] = word
        elif word in options:
            if not words:
                item.refuse(f"nothing follows {word}")
            found[word] = words.pop(0)
        else:
            item.refuse(f"{word!r} is not known", remedy=f"known: {', '.join([*options, *flags])}")
    return found


def route(item: Item) -> Route:
    """As "10.1.0.0/16 via 10.0.0.1 dev eth0 src 10.0.0.2 metric 5 onlink"."""
    words = _words(item, "to", ("via", "dev", "src", "metric"), ("onlink",))
    via = values.plain_address(words["via"], item) if "via" in words else None
    if words["to"] == "default":
        to = ip_network("::/0") if via and via.version == 6 else IPv4Network("0.0.0.0/0")
    else:
        try:
            to = ip_network(words["to"])
        except ValueError as error:
            item.refuse(f"{words['to']!r} is not a network: {error}", remedy="write 10.1.0.0/16")
    if via is None and "dev" not in words:
        item.refuse(
            "it says neither where to nor over what", remedy="add via ADDRESS or dev INTERFACE"
        )
    if via and via.version != to.version:
        item.refuse(f"{via} is no gateway to {to}: one is IPv4, the other IPv6")
    if "onlink" in words and "dev" not in words:
        item.refuse("onlink needs a dev", remedy="add dev INTERFACE")
    metric = words.get("metric", "0")
    if not (metric.isascii() and metric.isdigit() and len(metric) < 10):
        item.refuse(f"{metric!r} is not a metric", remedy="write a whole number")
    return Route(
        to,
        via,
        words.get("dev", ""),
        values.plain_address(words["src"], item) if "src" in words else None,
        "onlink" in words,
        int(metric) or None,
    )


def neighbour(item: Item) -> Neighbour:
    """As "10.1.1.3 lladdr 02:00:00:00:00:03 dev eth0", or "10.1.1.9 proxy dev eth0"."""
    words = _words(item, "address", ("lladdr", "dev"), ("proxy",))
    if "dev" not in words or ("lladdr" in words) == ("proxy" in words):
        item.refuse(
            "it is no neighbour entry",
            remedy="write ADDRESS lladdr MAC dev IF, or ADDRESS proxy dev IF",
        )
    mac = values.mac(words["lladdr"].lower(), item) if "lladdr" in words else ""
    return Neighbour(values.plain_address(words["address"], item), words["dev"], mac)


def forwarding(item: Item) -> Forwarding:
    """As "02:00:00:00:00:03 dev vx0 dst 192.168.0.2", or, of a bridge port, without dst."""
    words = _words(item, "mac", ("dst", "dev"), ())
    if "dev" not in words:
        item.refuse("it names no interface", remedy="write MAC dev IF [dst ADDRESS]")
    dst = values.plain_address(words["dst"], item) if "dst" in words else None
    return Forwarding(values.mac(words["mac"].lower(), item), words["dev"], dst)
