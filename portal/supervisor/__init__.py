"""Starts, watches and stops the portal's processes; knows nothing about tasks."""
