"""What a task's identifier, log lines and exit status mean; pure functions without input or output."""
