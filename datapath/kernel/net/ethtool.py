"""Offload features and counters of interfaces, by the kernel's names ("rx-gro").

A feature is requested (what a person asked for) and active (what the kernel makes of it). They may
differ: an XDP program at one end of a veth turns segmentation off at the other for as long as it is
there. What is to be put back later is therefore what was requested. Functions act in the network
namespace of the calling thread.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from fnmatch import fnmatchcase
from typing import Any

from pyroute2.ethtool.ioctl import OFF_FLAG_DEF, IoctlEthtool, NoSuchDevice, NotSupportedError

from datapath.errors import KernelError, NotFound, Unsupported

_NAME_LENGTH = 15  # a longer name would be cut, and mean another interface


def get_features(ifname: str, names: Iterable[str]) -> dict[str, bool]:
    """Which features are active; names that this kernel does not know are left out.

    Raises NotFound where there is no such interface, KernelError.
    """
    with _opened(ifname) as device:
        features = device.get_features()
    return {name: _is_active(features, name) for name in names if name in features}


def requested(ifname: str, names: Iterable[str]) -> dict[str, bool]:
    """Which features are asked for: what to give to set_features in order to restore them.

    One that is always on counts as asked for. Names that this kernel does not know are left out.
    Raises NotFound where there is no such interface, KernelError.
    """
    with _opened(ifname) as device:
        features = device.get_features()
    return {name: _is_requested(features, name) for name in names if name in features}


def set_features(ifname: str, wanted: Mapping[str, bool]) -> None:
    """Ask for features, all in one request. One that depends on what is off now is active later.

    What cannot be changed is no error where it is as wanted, or will be once nothing masks it.
    Raises NotFound where there is no such interface, Unsupported where a feature cannot be as
    wanted (then nothing was changed), KernelError.
    """
    with _opened(ifname) as device:
        features = device.get_features()
        for name, value in wanted.items():
            if name in features and features.is_available(name):
                features[name] = value
            elif value not in (_is_active(features, name), _is_requested(features, name)):
                raise Unsupported(
                    name,
                    f"{ifname} cannot have {name} turned {'on' if value else 'off'}",
                    remedy=f"see `ethtool -k {ifname}`",
                )
        # What the library makes of ETHTOOL_F_WISH: noted by the kernel, but not active yet.
        with suppress(NotSupportedError):
            device.set_features(features)


def command(ifname: str, features: Mapping[str, bool], netns: str | None = None) -> str:
    """What a person would type in place of set_features, with ethtool's short names.

    Some of those cover several features ("tx" every tx-checksum-...): they are used unless the
    features differ.
    """
    words: dict[str, str] = {}
    for name, value in features.items():
        flag = next((f for f in OFF_FLAG_DEF if fnmatchcase(name, f.kernel_name)), None)
        alike = flag and all(
            other == value
            for sibling, other in features.items()
            if fnmatchcase(sibling, flag.kernel_name)
        )
        words[flag.short_name if flag and alike else name] = "on" if value else "off"
    inside = f"ip netns exec {netns} " if netns else ""
    settings = " ".join(f"{word} {state}" for word, state in words.items())
    return f"{inside}ethtool -K {ifname} {settings}"


def statistics(ifname: str) -> dict[str, int]:
    """The driver's own counters, by its names (`ethtool -S`); none where it keeps none.

    Raises NotFound where there is no such interface, KernelError.
    """
    with _opened(ifname) as device:
        try:
            return {name: int(value) for name, value in device.get_statistics()}
        except NotSupportedError:
            return {}


@contextmanager
def _opened(ifname: str) -> Iterator[Any]:
    """ethtool's ioctl on the interface, whose errors come out as the kit's."""
    missing = NotFound(f"interface {ifname} does not exist", remedy="see `ip link`")
    if len(ifname) > _NAME_LENGTH:
        raise missing
    operation = f"offloads of {ifname}"
    try:
        with closing(IoctlEthtool(ifname)) as device:
            yield device
    except NoSuchDevice as error:
        raise missing from error
    except NotSupportedError as error:
        raise KernelError(operation, errno.EOPNOTSUPP) from error
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise missing from error
        raise KernelError(operation, error.errno or errno.EIO) from error


def _is_active(features: Any, name: str) -> bool:
    return name in features and bool(features.is_active(name))


def _is_requested(features: Any, name: str) -> bool:
    """Whether it is asked for; nobody can ask for what is on and cannot be changed."""
    if name not in features:
        return False
    fixed_on = features.is_active(name) and not features.is_available(name)
    return bool(features.is_requested(name) or fixed_on)
