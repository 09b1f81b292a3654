"""Logs of other tools and device telemetry, turned into records. Nothing is here yet."""
