"""Builders of the commands that start ranks. They start nothing themselves."""
