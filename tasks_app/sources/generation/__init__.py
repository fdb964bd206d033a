"""Remote task APIs that generate videos and images: one contract, one adapter for each dialect."""
