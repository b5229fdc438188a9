#!/usr/bin/env bash
# Makes a Debian or Ubuntu machine ready for ebpfnet: packages, a virtual environment, bpffs.
# The one set-up script: Vagrant, make and .ci/run all call it. Run again, it only mends.
set -euo pipefail

usage() {
  cat <<'END'
Usage: provision.sh [--dev | --vm] [--link] [--venv DIR]

  --dev       install what the tests and the linters need as well
  --vm        and what tests on other kernels need: an emulator, and kernels under /var/cache
  --link      put ebpfnet on everyone's PATH, as /usr/local/bin/ebpfnet
  --venv DIR  where the virtual environment goes (default: .venv in the checkout)
END
}

say() { printf 'set-up: %s\n' "$*"; }

fail() {
  printf 'set-up: %s\n' "$*" >&2
  exit 1
}

# Runs a command whose output matters only when it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || {
    printf '%s\n' "$output" >&2
    return 1
  }
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
flavour=user
link=
while (($#)); do
  case $1 in
    --dev) flavour=dev ;;
    --vm) flavour=vm ;;
    --link) link=/usr/local/bin/ebpfnet ;;
    --venv)
      venv=$(realpath -m -- "${2:?--venv needs a folder}")
      shift
      ;;
    --help)
      usage
      exit
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done

((EUID == 0)) || fail "this needs root, to install packages and mount bpffs: run it again as root"

# Only the distribution's own tools: its bcc is built for its /usr/bin/python3, not for any other.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
python=/usr/bin/python3
kernel=$(uname -r)

# What the virtual environment is made from and for: when that changes, it is made anew.
fingerprint() {
  {
    cat "$root/pyproject.toml" "$root/vagrant/provision.sh"
    echo "$root $kernel $(readlink -f "$python")"
  } | sha256sum
}
stamp=$venv/provisioned-$flavour
anew=yes
if [[ -e $stamp && $(<"$stamp") == "$(fingerprint)" ]]; then
  anew=
fi

# What is missing. A need is a list of packages, best first, of which one is enough; an empty last
# one means that ebpfnet can do without.
needs=()
need_tools() { # COMMAND and the need that brings it, COMMAND and need, ...
  while (($#)); do
    command -v "$1" >/dev/null || needs+=("$2")
    shift 2
  done
}
need_tools \
  ip iproute2 ping iputils-ping ethtool ethtool modprobe kmod sysctl procps \
  iperf3 iperf3 sockperf sockperf tcpdump tcpdump nft nftables iptables iptables \
  bpftool "bpftool|linux-tools-$kernel|linux-tools-generic"
if [[ $flavour != user ]]; then
  need_tools arp net-tools arping arping brctl bridge-utils shellcheck shellcheck \
    chromium 'chromium|chromium-browser'
  [[ ! $anew ]] || need_tools vagrant 'vagrant|'
fi
if [[ $flavour == vm ]]; then
  need_tools qemu-system-x86_64 qemu-system-x86
  # Any other busybox is not static, as that of an initramfs has to be.
  dpkg-query --show busybox-static >/dev/null 2>&1 || needs+=(busybox-static)
fi

for module in bcc ensurepip; do
  probe="import importlib.util as u, sys; sys.exit(not u.find_spec('$module'))"
  if ! "$python" -c "$probe" 2>/dev/null; then
    case $module in
      bcc) needs+=(python3-bpfcc) ;;
      ensurepip) needs+=(python3-venv) ;;
    esac
  fi
done

# The datapath uses only what is stable between kernels: any headers will do, the running kernel's
# own for choice.
if [[ ! -e /lib/modules/$kernel/build ]]; then
  if ! compgen -G '/usr/src/linux-headers-*' >/dev/null; then
    needs+=("linux-headers-$kernel|linux-headers-$(dpkg --print-architecture)|linux-headers-generic")
  elif [[ $anew ]]; then
    needs+=("linux-headers-$kernel|")
  fi
fi

packages=()
if ((${#needs[@]})); then
  command -v apt-get >/dev/null || fail "there is no apt-get here: install by hand ${needs[*]}"
  say "asking apt for its current package lists"
  quietly apt-get update -q || fail "apt-get update failed: is the network up?"
fi
for need in "${needs[@]}"; do
  IFS='|' read -ra names <<<"$need"
  for name in "${names[@]}"; do
    if apt-cache show "$name" >/dev/null 2>&1; then
      packages+=("$name")
      continue 2
    fi
  done
  [[ $need == *'|' ]] || fail "apt knows no ${need//|/ or }: is a package source switched off?"
  say "going on without ${names[0]}, which apt does not have"
done
if ((${#packages[@]})); then
  say "installing ${packages[*]}"
  quietly env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "${packages[@]}" || fail "apt-get install failed, see above"
fi

if [[ $anew ]]; then
  if [[ -e $venv && ! -e $venv/pyvenv.cfg && -n $(ls -A "$venv") ]]; then
    fail "$venv is neither a virtual environment nor empty: name another folder with --venv"
  fi
  extra=
  [[ $flavour == user ]] || extra="[$flavour]"
  say "making the virtual environment $venv"
  quietly "$python" -m venv --clear --system-site-packages "$venv" ||
    fail "python3 -m venv failed, see above"
  say "installing ebpfnet$extra and what it imports into it"
  quietly "$venv/bin/python" -m pip install --quiet --editable "$root$extra" ||
    fail "pip install failed, see above"
  quietly "$venv/bin/python" -c 'import bcc' || fail "bcc is installed but cannot be imported"
  for each in user dev vm; do # which has what those before it have
    fingerprint >"$venv/provisioned-$each"
    [[ $each != "$flavour" ]] || break
  done
fi

if [[ $flavour == vm ]]; then
  say "looking for the kernels to test on"
  env -C "$root" "$venv/bin/python" -m tests.vm.kernels || fail "no kernels: is the network up?"
fi

if [[ $(stat -f -c %T /sys/fs/bpf 2>/dev/null) != bpf_fs ]]; then
  say "mounting bpffs at /sys/fs/bpf"
  quietly mount -t bpf bpf /sys/fs/bpf ||
    fail "cannot mount bpffs: is /sys mounted, and does root hold CAP_SYS_ADMIN?"
fi

if [[ $link && $(readlink "$link") != "$venv/bin/ebpfnet" ]]; then
  [[ -L $link || ! -e $link ]] || fail "$link is there and not a link: move it away first"
  say "linking $link to $venv/bin/ebpfnet"
  ln -sfn "$venv/bin/ebpfnet" "$link"
fi

say "ready: $venv/bin/ebpfnet"
