"""How anything is measured and recorded: units, records, statistics, timing, registry, worker, store."""
