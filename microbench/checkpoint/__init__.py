"""Checkpoints: what saving and loading the state of training costs, and what is left when it goes wrong."""
