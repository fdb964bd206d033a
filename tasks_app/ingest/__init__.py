"""The only writer of what was observed; everything here is idempotent."""
