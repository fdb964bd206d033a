"""The web process: uvicorn, stopped in an order that lets open streams end cleanly.

uvicorn alone waits for open responses, and a live stream never ends by itself (measured: it hangs).
"""

import signal
import socket

import uvicorn

from portal.asgi import Application

# Pages in work get this long to answer; streams end at once.
STOP_SECONDS = 2
PING_SECONDS = 20.0
MESSAGE_BYTES = 4096  # nothing is expected from who listens on a socket


class WebServer(uvicorn.Server):
    """Ends the streams first, then stops as uvicorn does."""

    def __init__(self, application: Application, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                host=host,
                port=port,
                lifespan="on",
                ws="websockets-sansio",
                ws_max_size=MESSAGE_BYTES,
                ws_per_message_deflate=False,  # objects are small, and its windows are memory of every socket
                ws_ping_interval=PING_SECONDS,  # also what keeps proxies from cutting a silent connection
                ws_ping_timeout=PING_SECONDS,
                log_config=None,  # Django's settings decide
                log_level="warning",
                access_log=False,
                server_header=False,
                # PORTAL_BEHIND_PROXY decides whose word is taken, not the peer's address.
                proxy_headers=False,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self._hub = application.hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._hub.close()
        await super().shutdown(sockets)


def run_web(host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Exits the process when the port is taken."""
    from portal.asgi import application
    from tasks_app.live.parts import warm_up

    warm_up()
    server = WebServer(application, host, port)
    # uvicorn puts back these handlers when it has stopped and raises the signal again: so that ends here, without
    # a traceback and with exit status 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    server.run()
