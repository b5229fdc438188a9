"""What is in a namespace, as tables; each veth with the node and interface at its other end."""
