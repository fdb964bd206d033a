"""The audit trail: who asked for what, and what came of it."""
