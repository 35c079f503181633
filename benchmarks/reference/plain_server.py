"""A server as one writes it in an afternoon: the standard library's, a wav2vec 2.0 classifier, a request at a time.

python plain_server.py      # prints its port, then answers POSTs of a sound file
"""

import json
import tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import torch
from wav2vec2_base import make, predict_file


def serve(model: torch.nn.Module) -> HTTPServer:
    """A server on a free port of the loopback; it answers when `serve_forever` runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """The class of each 10 s of the body."""
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                file.write(self.rfile.read(int(self.headers["Content-Length"])))
                file.flush()
                answer = json.dumps(predict_file(model, file.name)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    return HTTPServer(("127.0.0.1", 0), Handler)


if __name__ == "__main__":
    torch.manual_seed(0)
    with serve(make()) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
