"""Tasks of remote systems: seen, started, followed, cancelled, audited."""
