"""Logs of other tools and device telemetry, turned into records.

`sources` gives the lines of files, standard input and folders; `cleaning` takes from a line what launchers and
terminals put around it; `reading` hands lines and JSON values to the kinds of `kinds`, one module each, which give
records to a `parser.Sink`.
"""
