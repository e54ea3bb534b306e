"""
A server that answers with what it was asked, and who it is.

Beside PORT, where it speaks HTTP and WebSocket, it has ports for other protocols: PORT+1 greets first, as SMTP does;
PORT+2 is PORT with TLS of its own; PORT+3 gives back the bytes that it gets, and PORT+4 closes at once. With the
argument `alone` there is PORT only; with `tls` as well, and it speaks TLS.
"""

import base64
import hashlib
import json
import os
import socketserver
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = int(os.environ["PORT"])
CERTIFICATE = "credentials/inside"
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What RFC 6455 has a server add to the client's key."""


class Echo(BaseHTTPRequestHandler):
    """The path may ask for more: /status/503 for a status, /slow/2 for an answer after two seconds, /file/x for x."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def answer(self):
        if self.headers.get("upgrade", "").lower() == "websocket":
            self.talk()
            return
        kind, _, value = self.path.partition("?")[0][1:].partition("/")
        if kind == "slow":
            time.sleep(float(value))
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode("utf-8", "replace")
        seen = {name.lower(): value for name, value in self.headers.items()}
        said = json.dumps({"method": self.command, "path": self.path, "headers": seen, "body": body}).encode()
        if kind == "file":
            said = Path(value).read_bytes()
        self.send_response(int(value) if kind == "status" else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.send_header("x-served-by", os.environ["CLOVER_WORKLOAD"])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = answer

    def talk(self):
        """Become a WebSocket, and give back the first frame as it is."""
        key = self.headers["sec-websocket-key"].encode()
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(hashlib.sha1(key + WEBSOCKET).digest()).decode())
        self.end_headers()
        self.wfile.write(self.connection.recv(65536))
        self.close_connection = True

    def log_message(self, template, *values):
        print(f"{template % values} traceparent={getattr(self, 'headers', {}).get('traceparent', '-')}", flush=True)


class Greets(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"220 ready\r\n")


class GivesBack(socketserver.BaseRequestHandler):
    def handle(self):
        while piece := self.request.recv(65536):
            self.request.sendall(piece)


class Closes(socketserver.BaseRequestHandler):
    def handle(self):
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def beside(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()


def with_tls(server):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(f"{CERTIFICATE}/tls.crt", f"{CERTIFICATE}/tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


server = ThreadingHTTPServer(("", PORT), Echo)
if sys.argv[1:] == ["tls"]:
    with_tls(server)
elif not sys.argv[1:]:
    beside(Server(("", PORT + 1), Greets))
    beside(with_tls(ThreadingHTTPServer(("", PORT + 2), Echo)))
    beside(Server(("", PORT + 3), GivesBack))
    beside(Server(("", PORT + 4), Closes))
print(f"listening on {PORT}", flush=True)
server.serve_forever()
