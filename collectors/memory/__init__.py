"""Logs of tools that time memory and products."""
