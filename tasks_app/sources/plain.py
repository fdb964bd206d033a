"""Connections without TLS, for generation servers on a trusted network: the same deadlines and typed failures."""

import socket
import time
from typing import Any

from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

from tasks_app.sources.tls import NotSent


class PlainDeadlineSocket(socket.socket):
    """A socket on which a whole answer has an end, as `tls.DeadlineSocket` has it."""

    deadline: float | None = None

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if self.deadline is not None:
            left_seconds = self.deadline - time.monotonic()
            if left_seconds <= 0:
                raise TimeoutError("the whole answer took too long")
            timeout = self.gettimeout()
            self.settimeout(left_seconds if timeout is None else min(timeout, left_seconds))
        return super().recv_into(buffer, nbytes, flags)


def build_plain_pool_class(total_seconds: float) -> type[HTTPConnectionPool]:
    """A pool whose connections end every answer after `total_seconds`; what was never sent raises NotSent."""

    class PlainConnection(HTTPConnection):
        def connect(self) -> None:
            try:
                super().connect()
            except Exception as error:
                self.close()
                raise NotSent(error) from None
            timeout = self.sock.gettimeout()
            wrapped = PlainDeadlineSocket(fileno=self.sock.detach())
            wrapped.settimeout(timeout)
            self.sock = wrapped

        def request(self, *args: Any, **kwargs: Any) -> None:
            if self.sock is None:
                self.connect()  # else only sending would, and the first answer had no end
            if isinstance(self.sock, PlainDeadlineSocket):
                self.sock.deadline = time.monotonic() + total_seconds
            super().request(*args, **kwargs)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    return PlainPool
