"""Adapters: the only code that speaks to remotes. Plain Python on requests; no Django, no tables."""
