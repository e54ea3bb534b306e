"""An authorizer as `envoyExtAuthzHttp` means it: whoever asks with `x-may: yes` may, and is called ann."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Authorizer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        may = self.headers.get("x-may") == "yes"
        self.send_response(200 if may else 401)
        self.send_header("x-user" if may else "x-reason", "ann" if may else f"{self.path} is not for you")
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = answer


ThreadingHTTPServer(("", int(os.environ["PORT"])), Authorizer).serve_forever()
