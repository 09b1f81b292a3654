"""Logs of training jobs."""
