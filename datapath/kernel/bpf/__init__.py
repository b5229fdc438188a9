"""bpf(2): compiling, loading, pinning, attaching, and reading maps."""
