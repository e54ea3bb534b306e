"""A server of your own: answers every request, and prints one line for each with the request's `traceparent`.

Clover needs nothing more than that header in a line to put the line into the request's trace.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "9180"))
"""The port that the chain file names; Clover passes it on as PORT."""


class Handler(BaseHTTPRequestHandler):
    """Says hello."""

    protocol_version = "HTTP/1.1"  # keeps connections open between requests

    def do_GET(self) -> None:  # noqa: D102
        body = f"hello from {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, template: str, *values: object) -> None:
        """Print the line of a request; `traceparent` says which trace it belongs to."""
        traceparent = self.headers.get("traceparent", "-") if hasattr(self, "headers") else "-"
        print(f"{template % values} traceparent={traceparent}", flush=True)


if __name__ == "__main__":
    print(f"listening on port {PORT}", flush=True)
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
