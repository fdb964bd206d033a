"""Submitting videos, images and workflows."""

from ninja import Router

router = Router(tags=["Submit"])
