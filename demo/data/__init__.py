"""An invented past of the demo cluster: ninety days of tasks with their logs, made from a seed and nothing else.

Pure functions of seed and time; nothing here knows a portal, a database or the running cluster.
"""

from demo.data.history import DAYS, TASKS, make_history, note_of
from demo.data.work import PastTask

__all__ = ["DAYS", "TASKS", "PastTask", "make_history", "note_of"]
