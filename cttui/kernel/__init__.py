"""Everything that talks to the kernel: netlink, rule sets, packet rings, links, sysctls."""
