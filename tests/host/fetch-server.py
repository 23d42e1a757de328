# SPDX-License-Identifier: GPL-2.0
"""Serve a folder with byte ranges, as a mirror does: FOLDER PORT-FILE REQUEST-LOG."""
import email.utils
import http.server
import os
import re
import sys

folder, port_file, log = sys.argv[1:]


class Mirror(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", headers=()):
        with open(log, "a", encoding="ascii") as out:
            out.write(f"{self.path} {status}\n")
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = os.path.join(folder, self.path.lstrip("/"))
        if not os.path.isfile(path):
            self.answer(404)
            return
        with open(path, "rb") as file:
            body = file.read()
        headers = [("Last-Modified", email.utils.formatdate(os.path.getmtime(path), usegmt=True))]
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not wanted:
            self.answer(200, body, headers)
            return
        start = int(wanted[1])
        if start >= len(body):
            self.answer(416, b"", [("Content-Range", f"bytes */{len(body)}")])
            return
        headers.append(("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}"))
        self.answer(206, body[start:], headers)

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("localhost", 0), Mirror)
with open(port_file + ".new", "w", encoding="ascii") as out:
    out.write(str(server.server_port))
os.rename(port_file + ".new", port_file)
server.serve_forever()
