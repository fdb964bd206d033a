"""How often and how much a source is asked: every interval and limit of the poller, with its unit and reason."""

import random
from datetime import timedelta

ACTIVE = timedelta(seconds=1)
"""While something runs or is watched: a task's end is then seen within 1.5 s."""
IDLE = timedelta(seconds=5)
"""Nothing runs: twelve small requests a minute, and what starts shows soon enough."""
LINGER = timedelta(seconds=15)
"""Work comes in bursts: stay quick this long after the last task was seen running."""
MOST_BACKOFF = timedelta(minutes=2)
"""A source that comes back is seen again at the latest then."""
PERSON_BACKOFF = timedelta(minutes=1)
"""Only a person can mend it (401, certificate), and every 401 holds a worker of the node for 3 s."""

NODE_LIST = timedelta(seconds=10)
"""Between looks at a node's own list, which costs it a full scan (11 ms); gaps are noticed without it."""
LONG_NODE_LIST = timedelta(seconds=30)
"""The same when the list did not fit into one page."""
LIMITED_NODE_LIST = timedelta(seconds=2)
"""The same when the token cannot list the cluster: the node lists are then all we have."""
NODE_RETRY = timedelta(seconds=5)
"""A node that did not answer is left alone this long, twice as long each time, up to `MOST_BACKOFF`."""
INVENTORY = timedelta(seconds=15)
"""Names of guests and states of nodes; Proxmox itself renews them every 10 s."""
EMPTY_LIST = timedelta(seconds=30)
"""Rights are looked at again this soon when the cluster list has suddenly become empty."""
PERMISSIONS = timedelta(minutes=10)
"""Rights change rarely; a person who changed them has a button."""

PAGE_ROWS = 500
"""Rows of a node list in one request."""
PAGE_OVERLAP = 50
"""Rows asked for twice: a task that ends between two pages moves."""
MOST_PAGES = 200
"""Pages of one list or log in a row; a node keeps about 1,000 tasks, so this only ends a remote gone mad."""
SWEEP = timedelta(hours=1)
"""Between looks at all that a node has, two or three requests: finds what a clock set back put before the cursor."""
UNSURE = timedelta(minutes=10)
"""How long a node's list is read back to a task whose end is only estimated; it tells the true one within 10 s."""
PERIODS = timedelta(seconds=30)
"""How soon the harvest goes by a changed retention period."""
SINCE_MARGIN_SECONDS = 10
"""Reading starts this far before the cursor: under load a task is listed later than it started."""

STATUS_AGAIN = timedelta(seconds=2)
"""A task that runs though the cluster list lacks it (cut at 32 KiB a node) is asked for by itself this often."""
MISS_AGAIN = timedelta(seconds=30)
"""A task that the source does not know is asked for this often, until it is lost."""
STATUS_PER_PASS = 25
"""Single states in one pass, at about 10 ms each; the rest follow in the next."""

LOG_LINES = 1000
"""Lines of one log request."""
TAILS_PER_PASS = 9
"""Log requests for running tasks in a pass: with 100 moving tasks 5.4 a task and minute, beside 1 for all states."""
TAIL_PAGES = 4
"""Pages of one log in a pass while the task runs."""
TAIL_SECONDS = 0.6
"""No further log is begun after this long in a pass, so that a slow remote does not delay the states."""
DISKS = timedelta(minutes=2)
"""How long the sizes of a guest's disks are taken for true: many clones of one template ask once."""
ENDED_PER_PASS = 25
"""Logs of ended tasks read in one pass; their states are written before."""
ENDED_PAGES = 20
"""Pages of one ended task's log in a pass; a longer one is read on in the next."""
ENDED_TRIES = 5
"""Failed reads of an ended task's log before it is left to the slow search for missing logs."""
BACKLOG_IDLE_PER_PASS = 5
"""Logs of older tasks fetched in a pass while nothing runs."""
BACKLOG_BUSY = timedelta(seconds=10)
"""Between two logs of older tasks while something runs."""
BACKLOG_WINDOW = 500
"""Rows looked through at a time for tasks without a log."""
BACKLOG_ROWS = 20_000
"""Newest rows looked through: more than the nodes of a cluster keep."""
BACKLOG_AGAIN = timedelta(minutes=10)
"""Between two searches."""

LEASE = timedelta(seconds=5)
"""How long a claimed source stays claimed without being renewed: a killed loop's source is free after that."""
RENEW_SECONDS = 1.0
"""Between renewals of slot and leases."""
SLOT_LEASE = timedelta(seconds=4)
"""How long a slot stays taken without being renewed; below `LEASE`, so that the standby leads when leases run out."""
SUCCESSOR = timedelta(seconds=5)
"""How long an enqueued loop may take to start before it is enqueued again."""
TICK_SECONDS = 0.2
"""Between looks for due sources: what the wait adds to the detection of an end."""
STANDBY_TICK_SECONDS = 0.3
"""The same while another slot leads: what a change of leaders adds to the detection of an end."""
LOOK_AFTER_SECONDS = 2.0
"""Between a loop's looks at the other slots: a killed neighbour is enqueued again within this and its lease."""
ERRANDS_SECONDS = 3.0
"""Between looks for submissions and cancels that wait for a job; two small queries."""
SLICE_SECONDS = (22.0, 30.0)
"""Length of one slice, drawn at random so that two slots do not change at once; well below the job timeout of 60 s."""
THREADS = 16
"""Passes at the same time; 20 sources cost 3 % of a core (measured)."""

EVENTS_KEPT = timedelta(hours=1)
"""Events are for reconnecting browsers; an older page asks for itself again."""
WEBHOOKS_KEPT = timedelta(days=1)
"""Ids of webhooks that have been taken: a provider repeats one for minutes, and an old one is refused by its time."""


def backoff(failures: int, *, needs_person: bool = False, jitter: float | None = None) -> timedelta:
    """The wait after the `failures`-th failed pass in a row: 1, 2, 4 … 120 s, ± 20 % so that sources spread.

    `jitter` from 0 to 1 replaces chance.
    """
    wait: timedelta = min(MOST_BACKOFF, ACTIVE * 2 ** min(max(failures, 1) - 1, 10))
    if needs_person:
        wait = max(wait, PERSON_BACKOFF)
    chance = random.random() if jitter is None else jitter  # noqa: S311
    return min(MOST_BACKOFF, wait * (0.8 + 0.4 * chance))
