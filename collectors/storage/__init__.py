"""Logs of tools that time disks and the loading of data."""
