"""`python -m cli`: the same as the console script `ebpfnet`."""

from cli.main import main

main()
