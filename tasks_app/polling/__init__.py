"""The clock acts: claim a source, fetch, ingest, move the cursor last."""
