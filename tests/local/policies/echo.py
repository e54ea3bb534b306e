"""A server that answers with what it was asked, and who it is; a second port greets first, as SMTP does."""

import json
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ["PORT"])
GREETING = PORT + 1


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode("utf-8", "replace")
        seen = {name.lower(): value for name, value in self.headers.items()}
        said = json.dumps({"method": self.command, "path": self.path, "headers": seen, "body": body}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.send_header("x-served-by", os.environ["CLOVER_WORKLOAD"])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = answer

    def log_message(self, template, *values):
        print(f"{template % values} traceparent={self.headers.get('traceparent', '-')}", flush=True)


def greet():
    with socket.create_server(("", GREETING)) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 ready\r\n")


threading.Thread(target=greet, daemon=True).start()
sys.stdout.write(f"listening on {PORT}\n")
sys.stdout.flush()
ThreadingHTTPServer(("", PORT), Echo).serve_forever()
