"""Ordering machines and cloning guests."""

from ninja import Router

router = Router(tags=["Submit"])
