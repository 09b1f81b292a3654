"""The state of devices, hosts and network ports over time, as records."""
