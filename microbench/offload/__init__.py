"""Offloading: the disk and the paths to it, training with states on them, and the largest model that fits."""
