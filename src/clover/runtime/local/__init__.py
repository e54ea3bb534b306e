"""The local backend: namespaces, links, nftables and processes on this machine. It knows plans and nothing else."""
