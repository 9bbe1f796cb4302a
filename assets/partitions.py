"""The one partition of the data chain: ingest batches, keys b000001, b000002, ... (1,000 to 10,000 clips each, never one per clip)."""

import dagster as dg

INGEST_BATCHES = "ingest_batches"
ingest_batches = dg.DynamicPartitionsDefinition(name=INGEST_BATCHES)

# One batch per run: its data version, its gate and its failure stand for that batch alone.
ONE_BATCH_PER_RUN = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)
