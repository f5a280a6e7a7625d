#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""server.py DIR [CERTIFICATE KEY]: a web server that behaves as its client's test needs it.

Prints its ports (plain, TLS or 0) in one line, then serves until it is killed. Below /files/ are the files of DIR; every
other path is one kind of misbehaviour. The content of all of those is CONTENT.
"""
import http.server
import os
import ssl
import sys
import threading
import time

CONTENT = bytes((i * 7 + i // 251) % 256 for i in range(100000))
counts = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self, content, **headers):
        self.head(200, Content_Length=len(content), **headers)
        self.wfile.write(content)

    def hang_up(self):
        self.close_connection = True
        self.wfile.flush()

    def asked_range(self, etag):
        """Where the client wants to go on, when it has the same file."""
        value = self.headers.get("Range", "")
        if self.headers.get("If-Range") == etag and value.startswith("bytes=") and value.endswith("-"):
            return int(value[6:-1])
        return None

    def do_GET(self):
        path = self.path
        counts[path] = counts.get(path, 0) + 1
        turn = counts[path]
        if path.startswith("/files/"):
            self.serve_file(path[len("/files/"):])
        elif path == "/ok":
            self.whole(CONTENT)
        elif path == "/empty":
            self.whole(b"")
        elif path == "/count":
            self.whole(str(counts.get("/cut", 0)).encode())
        elif path.startswith("/status/"):
            self.head(int(path[8:]), Content_Length=0)
        elif path == "/loop":
            self.head(302, Location="/loop", Content_Length=0)
        elif path == "/moved":
            self.head(302, Location="/ok", Content_Length=0)
        elif path == "/to-file":
            self.head(302, Location="file:///etc/passwd", Content_Length=0)
        elif path == "/to-plain":
            self.head(302, Location="http://127.0.0.1:%d/ok" % plain.server_port, Content_Length=0)
        elif path == "/large":
            self.whole(bytes(3 << 20))
        elif path == "/endless":
            self.head(200)
            self.close_connection = True
            while True:
                self.wfile.write(bytes(65536))
        elif path == "/silent":
            self.head(200, Content_Length=len(CONTENT))
            self.wfile.write(CONTENT[:1000])
            self.wfile.flush()
            time.sleep(60)
        elif path == "/trickle":
            self.head(200, Content_Length=len(CONTENT))
            for i in range(600):
                self.wfile.write(CONTENT[i:i + 1])
                self.wfile.flush()
                time.sleep(0.1)
        elif path == "/cut":
            # a third of the file with each connection
            start = self.asked_range('"v1"') or 0
            end = min(start + len(CONTENT) // 3 + 1, len(CONTENT))
            if start:
                self.head(206, ETag='"v1"', Content_Length=len(CONTENT) - start,
                          Content_Range="bytes %d-%d/%d" % (start, len(CONTENT) - 1, len(CONTENT)))
            else:
                self.head(200, ETag='"v1"', Content_Length=len(CONTENT))
            self.wfile.write(CONTENT[start:end])
            self.hang_up()
        elif path == "/cut-changes":
            # another file each time, until it comes whole
            if turn < 3:
                self.head(200, ETag='"v%d"' % turn, Content_Length=len(CONTENT))
                self.wfile.write(bytes(5000))
                self.hang_up()
            else:
                self.whole(CONTENT, ETag='"v%d"' % turn)
        elif path == "/cut-always":
            self.head(200, Content_Length=len(CONTENT))
            self.wfile.write(CONTENT[:1234])
            self.hang_up()
        elif path == "/wrong-range":
            if self.asked_range('"v1"') is None and turn > 1:
                self.whole(CONTENT)
            elif turn > 1:
                self.head(206, ETag='"v1"', Content_Length=10, Content_Range="bytes 7-16/%d" % len(CONTENT))
                self.wfile.write(CONTENT[7:17])
            else:
                self.head(200, ETag='"v1"', Content_Length=len(CONTENT))
                self.wfile.write(CONTENT[:4000])
                self.hang_up()
        elif path == "/busy-once":
            if turn == 1:
                self.head(503, Content_Length=0)
            else:
                self.whole(CONTENT)
        elif path == "/gzip":
            self.whole(CONTENT, Content_Encoding="gzip")
        else:
            self.head(404, Content_Length=0)

    def serve_file(self, name):
        try:
            with open(os.path.join(directory, name), "rb") as f:
                self.whole(f.read())
        except OSError:
            self.head(404, Content_Length=0)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


directory = sys.argv[1]
plain = Server(("127.0.0.1", 0), Handler)
tls_port = 0
if len(sys.argv) > 3:
    tls = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    tls.socket = context.wrap_socket(tls.socket, server_side=True)
    tls_port = tls.server_port
    threading.Thread(target=tls.serve_forever, daemon=True).start()
print(plain.server_port, tls_port, flush=True)
plain.serve_forever()
