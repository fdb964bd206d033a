"""The portal's own task API."""
