"""A syslog server on loopback as a process that can be killed: `python -m tests.integration.audit.receiver --help`.

Takes messages framed by their length (RFC 5425), one connection at a time, and appends each to a file as one line of
JSON {"connection", "text"} before it takes the next. A message that is cut off is not written.
"""

import argparse
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fakepve.certs import make_cert

UP_WITHIN_SECONDS = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--certificate", nargs=2, help="files of certificate and key; without: plain TCP")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds after each message")
    parser.add_argument("--leaves-without-farewell", action="store_true", help="as many servers do")
    parser.add_argument("--deaf", action="store_true", help="accepts connections and reads nothing")
    options = parser.parse_args()
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.certificate)
    listener = socket.create_server(("127.0.0.1", options.port))
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    with options.out.open("a", encoding="utf-8") as out:
        number = 0
        while True:
            connection, _ = listener.accept()
            number += 1
            try:
                _serve(connection, context, number, out, options)
            except OSError:
                connection.close()


def _serve(
    connection: socket.socket,
    context: ssl.SSLContext | None,
    number: int,
    out: Any,
    options: argparse.Namespace,
) -> None:
    connection.settimeout(60)
    if options.deaf:
        time.sleep(60)
    if context is not None:
        connection = context.wrap_socket(connection, server_side=True)
    with connection:
        for text in _messages(connection):
            out.write(json.dumps({"connection": number, "text": text}) + "\n")
            out.flush()
            time.sleep(options.pause)
        if isinstance(connection, ssl.SSLSocket) and not options.leaves_without_farewell:
            connection.unwrap()


def _messages(connection: socket.socket) -> Iterator[str]:
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
        while (blank := data.find(b" ")) > 0:
            end = blank + 1 + int(data[:blank])
            if len(data) < end:
                break
            yield data[blank + 1 : end].decode()
            data = data[end:]


class Receiver:
    """The process, its certificate (`ca_pem`), its port, which stays the same, and what it has received."""

    def __init__(self, folder: Path, *options: str, is_tls: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self._out, self._options = folder / "received.jsonl", options
        self._out.touch()
        self.ca_pem = ""
        self.certificate: list[str] = []
        if is_tls:
            self.use_certificate_of(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"syslog+{'tls' if is_tls else 'tcp'}://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None

    def use_certificate_of(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        certificate, key, _ = make_cert(str(folder))
        self.certificate = ["--certificate", certificate, key]
        self.ca_pem = self.ca_pem or Path(certificate).read_text()

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "tests.integration.audit.receiver", "--port", str(self.port)]
        command += ["--out", str(self._out), *self.certificate, *self._options, *options]
        self._process = subprocess.Popen(
            command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "listening\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @property
    def received(self) -> list[tuple[int, str]]:
        """Connection and text of each message, in the order of their arrival."""
        lines = [json.loads(line) for line in self._out.read_text(encoding="utf-8").splitlines()]
        return [(line["connection"], line["text"]) for line in lines]

    def wait_for(self, count: int) -> None:
        until = time.monotonic() + UP_WITHIN_SECONDS
        while len(self.received) < count:
            assert time.monotonic() < until, f"{len(self.received)} of {count} messages"
            time.sleep(0.02)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()
    main()
