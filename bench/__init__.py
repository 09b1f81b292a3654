"""The command line: composes the other rooms, and is the only one that may."""
