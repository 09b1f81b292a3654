"""What a benchmark runs on: definitions of clusters, this machine, accelerators by vendor, launchers.

`definition` reads and checks definitions/*.toml, `local` describes the machine at hand in the same
terms, `matching` holds the two against each other, `probe` writes a definition. Nothing here imports
torch before a device is really used.
"""
