"""The kernel's side: `bpf` alone speaks to bcc and libbpf, `net` alone to netlink and ethtool."""
