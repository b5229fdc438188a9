"""Namespaces, links, addresses, neighbours, qdiscs, offloads and sysctls."""
