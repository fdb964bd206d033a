"""Measurements of the portal, one module each; `python -m bench` runs them. See docs/performance.md."""
