"""Which tests of the other folders each kernel runs."""

# Few, for they are slow: one of each thing that asks something else of the kernel, on the older one
# for choice. Whoever adds one keeps the two machines, which work side by side, equally long at it.
EVERYWHERE = (
    "tests/vm/inside.py::test_every_mode_and_workload_is_available_but_for_what_came_later",
    "tests/vm/inside.py::test_every_lab_is_available",
)
HEALTHY = tuple(
    f"tests/kernel/test_diagnose_labs.py::test_no_false_alarm[{lab}]"
    for lab in ("ipip", "ipvlan-l2", "ipvlan-l3", "vlan-8021q")
)
FAULTY = tuple(
    f"tests/kernel/test_diagnose_tunnels.py::test_a_fault_is_named_and_its_remedy_mends_it[{fault}]"
    for fault in (
        "ipip-to-another-machine",
        "ipip-from-another-machine",
        "sub-interface-of-another-vlan",
    )
)
SELECTED = {
    "6.1": (
        *EVERYWHERE,
        "tests/kernel/test_adopt.py::test_namespaces_on_a_bridge_go_by_ebpf_and_back[tc-peer]",
        "tests/kernel/test_bridge_port.py::test_vlans_come_back_as_they_were",
        "tests/kernel/test_compare.py::test_what_a_killed_run_leaves_is_undone_by_gc"
        "[ebpf-apply AttachProgram]",
        "tests/kernel/test_modes.py::test_pings_of_every_kind[tc-peer-clsact]",
        "tests/kernel/test_modes.py::test_tcp_both_ways[xdp]",
        "tests/kernel/test_traffic.py::test_counters_are_exact[tc-peer]",
        "tests/kernel/test_offloads.py::test_what_was_changed_is_put_back_exactly",
        *HEALTHY,
        *FAULTY,
    ),
    "6.12": (
        *EVERYWHERE,
        "tests/kernel/test_modes.py::test_pings_of_every_kind[tc-peer-tcx]",
        "tests/kernel/test_modes.py::test_what_is_for_no_endpoint_is_left_to_a_bridge[netkit]",
        "tests/kernel/test_endpoint_list.py::test_list_shows_what_ip_shows",
        "tests/kernel/test_compare.py::test_workloads_cross_modes[tcp_rr-us-modes2]",
        "tests/kernel/test_compare_modes.py::test_a_lab_of_it_moves_data_both_ways[ipvlan:l2]",
        "tests/kernel/test_compare_modes.py::test_a_lab_of_it_moves_data_both_ways[ipvlan:l3]",
        "tests/kernel/test_compare_modes.py::test_a_lab_of_it_moves_data_both_ways[netkit]",
        "tests/kernel/test_labs.py::test_every_lab_works_beside_all_others_or_says_what_is_missing",
        "tests/kernel/test_labs.py::test_a_delayed_link_delays_both_ways",
        "tests/kernel/test_diagnose_labs.py::test_who_is_not_to_reach_learns_why"
        "[vlan-a1-b2-vlan-mismatch-]",
    ),
}
