"""How figures are shown, alike in tables, pages and plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datapath.compare.report import Report


def digits(value: float) -> str:
    """Three or four digits that count: 0.52, 14.4, 996, 912,300."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def interval(low: float, high: float) -> str:
    """Both ends of an interval: "14.2 to 14.9"."""
    return f"{digits(low)} to {digits(high)}"


def described(report: Report) -> dict[str, Mapping[str, Any]]:
    """What the report says of each mode, by name; a report from elsewhere may say anything."""
    modes = report.environment.get("modes")
    if not isinstance(modes, Mapping):
        return {}
    return {name: mode for name, mode in modes.items() if isinstance(mode, Mapping)}


def ebpf_modes(report: Report) -> set[str]:
    """The modes in which eBPF programs forward."""
    return {name for name, mode in described(report).items() if mode.get("hook")}
