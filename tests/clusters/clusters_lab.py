"""A small, sound definition that tests bend."""

VALID = """\
name = "lab"
title = "two nodes of the lab"
accelerator = "rocm"
nodes = 2

[device]
name = "AMD Instinct MI300X"
vendor = "amd"
granularity = "GPU"
matches = ["AMD Instinct MI300X"]

[device.peaks.bfloat16]
value = 1307.4e12
unit = "FLOP/s"
basis = "dense"
source = "sheet"
disagrees = [{ value = 1300e12, source = "other" }]

[device.price]
low = 1.5
high = 2.5
when = "2026"
source = "sheet"

[node]
devices = 8

[node.link]
kind = "xGMI"
topology = "fully connected"
links = 7
per_link = { value = 64e9, unit = "B/s", basis = "one direction", source = "sheet" }
per_device = { value = 448e9, unit = "B/s", basis = "one direction", source = "sheet" }

[node.network]
kind = "Ethernet"
nics = 8
rate = { value = 50e9, unit = "B/s", basis = "one direction", source = "sheet" }
topology = "rails only"

[launch.environment]
NCCL_CROSS_NIC = "0"

[[reference]]
benchmark = "collectives.all_reduce"
rate = "busbw"
value = 315.9e9
unit = "B/s"
source = "other"
params = { ranks = 8 }

[sources]
sheet = "the vendor's data sheet"
other = "someone's table"
"""
