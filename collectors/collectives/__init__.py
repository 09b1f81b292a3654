"""Logs of tools that time collectives and links."""
