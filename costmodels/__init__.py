"""What things should take: models of operations and, later, of steps, runs and plans.

Pure: nothing here reads a file, imports torch or knows a store. A model takes a definition, a curve
or a measurement and gives seconds; every number that comes from here has the origin `modelled`.

`datasheet` times one operation on a declared cluster, with `deratings` (how much of a peak is
reached) and `alphabeta` (how a collective's time follows from latency and bandwidth). `segments` goes the other
way: latency, bandwidth and breakpoints of a measured curve.
"""
