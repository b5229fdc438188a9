"""What tests share: the machine's inventory, and the tools that a person has."""
