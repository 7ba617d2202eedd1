"""Violations of the WebSocket protocol (RFC 6455) against /stream, as a generated table.

    python3 tests/api/websocket_table.py      needs HADAL_BINARY or build/dev/hadal

Every case opens a connection, sends bytes and says what must come back: a close frame with a code,
an answer, or the end of the connection. Afterwards the server must still answer, and its memory must
be where it was. Only the standard library is used.
"""
import base64
import os
import socket
import struct
import sys

import run

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
# A message that is answered at once, with an error of ours and no work for the model.
ASK = b'{"prompt": 5}'
RESIDENT_GROWTH = 48 << 20


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, form=None, mask=b"\x01\x02\x03\x04", claim=None):
    """One frame; `form` 126 or 127 forces that length form, `claim` lies about the length."""
    length = len(payload) if claim is None else claim
    if form is None:
        form = length if length < 126 else 126 if length < 65536 else 127
    second = form | (0x80 if masked else 0)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, second])
    if form == 126:
        head += struct.pack(">H", length)
    elif form == 127:
        head += struct.pack(">Q", length)
    if masked:
        head += mask
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload)) if len(payload) < 70000 else apply_mask(payload, mask)
    return head + payload


def apply_mask(payload, mask):
    key = int.from_bytes((mask * (len(payload) // 4 + 1))[:len(payload)], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(len(payload), "big")


def close_body(code, reason=b""):
    return struct.pack(">H", code) + reason


class Peer:
    """A connection that speaks bytes."""

    def __init__(self, port, head=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.sendall(head or handshake(port))
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                break
            self.buffer += data
        self.head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # the server may have closed already; what it said counts

    def read(self, count):
        while len(self.buffer) < count:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self.buffer += data
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def next(self):
        """(opcode, payload) of the next frame; None at the end of the connection."""
        head = self.read(2)
        if head is None:
            return None
        if head[0] & 0x70 or head[1] & 0x80:
            raise AssertionError("the server's frame has reserved bits or a mask")
        length = head[1] & 127
        if length == 126:
            length = struct.unpack(">H", self.read(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self.read(8))[0]
        payload = self.read(length)
        return None if payload is None else (head[0] & 15, payload)


def handshake(port, drop=(), method="GET", version="HTTP/1.1", path="/stream", **changes):
    fields = {"Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade",
              "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()}
    fields.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = [f"{method} {path} {version}"] + [f"{n}: {v}" for n, v in fields.items() if n not in drop]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


# Expectations: each gets the peer and gives a problem or None.

def closes(*codes, after_answers=False):
    """A close frame with one of the codes, then the end. 1005: a close frame without a code. An answer to
    a message before it may come or not: it is made while the next frame is read."""
    def check(peer):
        while True:
            got = peer.next()
            if got is None:
                return f"the connection ended without a close frame, expected {codes}"
            if got[0] == CLOSE:
                code = struct.unpack(">H", got[1][:2])[0] if len(got[1]) >= 2 else 1005
                if code not in codes:
                    return f"close code {code}, expected {codes}"
                peer.send(frame(CLOSE, got[1]))
                return None if peer.next() is None else "something came after the close frame"
            if got[0] == TEXT and not after_answers:
                return f"an answer came, expected close {codes}: {got[1][:80]!r}"
    return check


def answers(count=1):
    """So many of our error messages, and the connection stays open."""
    def check(peer):
        for _ in range(count):
            got = peer.next()
            if got is None or got[0] != TEXT or b'"error"' not in got[1]:
                return f"no answer but {got!r}"
        peer.send(frame(PING, b"still here"))
        got = peer.next()
        return None if got == (PONG, b"still here") else f"no pong but {got!r}"
    return check


def pongs(payload):
    def check(peer):
        got = peer.next()
        return None if got == (PONG, payload) else f"no pong with {payload!r} but {got!r}"
    return check


def ends(peer):
    """The connection ends, with or without a close frame; it does not hang."""
    while peer.next() is not None:
        pass
    return None


GOOD_UTF8 = ["aé", "κόσμε", "\u0080", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff", "\ud7ff", "\ue000",
             "\ufffd", "\ufffe", "\ufdd0", "世界", "👩‍👩‍👧", "\U0001fffe", "\U0010fffe", "\u200b", "\ufeff", "a\u0000b"]
BAD_UTF8 = [b"\x80", b"\xbf", b"\x80\xbf", b"\x80" * 7, b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf",
            b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf",
            b"\xf8\x87\xbf\xbf\xbf", b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xed\xa0\x80", b"\xed\xad\xbf",
            b"\xed\xae\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80",
            b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xfe", b"\xff", b"\xfe\xfe\xff\xff",
            b"\xc3", b"\xe4\xb8", b"\xf0\x9f\x91", b"\xc3 ", b"\xe4\xb8 ", b"\xf0\x9f\x91 ", b"\xc3\xc3\xa9", b"\xe4\x28\xa1",
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"]


def opcode_cases():
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]:
        for fin in (True, False):
            for payload in (b"", b"x" * 20):
                bad = frame(opcode, payload, fin=fin)
                yield f"opcode {opcode} fin {fin} size {len(payload)}", bad, closes(1002)
                yield f"opcode {opcode} fin {fin} size {len(payload)} amid a message", frame(TEXT, b"{", fin=False) + bad, closes(1002)


def reserved_bit_cases():
    for rsv in range(1, 8):
        for opcode in (TEXT, BINARY, CLOSE, PING, PONG):
            payload = close_body(1000) if opcode == CLOSE else b"{}"
            yield f"reserved bits {rsv} on opcode {opcode}", frame(opcode, payload, rsv=rsv), closes(1002)
        yield f"reserved bits {rsv} on a continuation", frame(TEXT, b"{", fin=False) + frame(0, b"}", rsv=rsv), closes(1002)


def control_cases():
    for opcode in (CLOSE, PING, PONG):
        for size in (0, 2, 125):
            yield f"fragmented control {opcode} size {size}", frame(opcode, b"\x03\xe8" + b"x" * (size - 2) if size else b"", fin=False), closes(1002)
        for size in (126, 200, 65535, 65536):
            yield f"control {opcode} of {size} bytes", frame(opcode, b"\x03\xe8" + b"x" * (size - 2)), closes(1002)
        yield f"control {opcode} with a long length form", frame(opcode, b"\x03\xe8", form=126), closes(1002)
    for size in (0, 1, 64, 125):
        yield f"ping of {size} bytes", frame(PING, b"p" * size), pongs(b"p" * size)
        yield f"pong of {size} bytes nobody asked for", frame(PONG, b"p" * size) + frame(TEXT, ASK), answers()
    yield "ping amid a message", frame(TEXT, ASK[:3], fin=False) + frame(PING, b"mid") + frame(0, ASK[3:]), pongs(b"mid")
    yield "pings of any bytes", frame(PING, bytes(range(125))), pongs(bytes(range(125)))
    yield "a flood of pings", frame(PING) * 400, ends


def mask_cases():
    for opcode in (TEXT, BINARY, CLOSE, PING, PONG):
        for payload in (b"", b"\x03\xe8", b"\x03\xe8" + b"x" * 100):
            yield f"no mask on opcode {opcode} size {len(payload)}", frame(opcode, payload, masked=False), closes(1002)
    yield "no mask on a continuation", frame(TEXT, b"{", fin=False) + frame(0, b"}", masked=False), closes(1002)
    for mask in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1"):
        yield f"mask {mask.hex()}", frame(TEXT, ASK, mask=mask), answers()


def length_cases():
    for size in (0, 1, 13, 125):
        text = ASK.ljust(size)[:size]
        yield f"{size} bytes in 2 length bytes", frame(TEXT, text, form=126), closes(1002)
        yield f"{size} bytes in 8 length bytes", frame(TEXT, text, form=127), closes(1002)
    for size in (126, 1000, 65535):
        yield f"{size} bytes in 8 length bytes", frame(TEXT, ASK.ljust(size), form=127), closes(1002)
    for claim in (1 << 63, (1 << 64) - 1, (1 << 63) + 5):
        yield f"a length of {claim}", frame(TEXT, b"{", form=127, claim=claim), closes(1002, 1009)
    for claim in ((1 << 20) + 1, 1 << 24, 1 << 31, 1 << 32, 1 << 40, (1 << 63) - 1):
        yield f"a message of {claim} bytes announced", frame(TEXT, b"{", form=127, claim=claim), closes(1009)
    for size in (125, 126, 127, 65535, 65536, 100000):
        yield f"a message of {size} bytes", frame(TEXT, ASK.ljust(size)), answers()
    yield "a message at the limit", frame(TEXT, ASK.ljust(1 << 20)), answers()
    yield "a message over the limit", frame(TEXT, ASK.ljust((1 << 20) + 1)), closes(1009)
    yield "two fragments over the limit", frame(TEXT, b" " * 900000, fin=False) + frame(0, b" " * 900000), closes(1009)


def fragment_cases():
    for fin in (True, False):
        for payload in (b"", b"x", ASK):
            yield f"a continuation of nothing, fin {fin} size {len(payload)}", frame(0, payload, fin=fin), closes(1002)
            yield f"a continuation after a whole message, fin {fin} size {len(payload)}", \
                frame(TEXT, ASK) + frame(0, payload, fin=fin), closes(1002, after_answers=True)
            for opcode in (TEXT, BINARY):
                yield f"opcode {opcode} amid a message, fin {fin} size {len(payload)}", \
                    frame(TEXT, b"{", fin=False) + frame(opcode, payload, fin=fin), closes(1002)
    for parts in (2, 3, 7, 13):
        cuts = [ASK[len(ASK) * i // parts:len(ASK) * (i + 1) // parts] for i in range(parts)]
        frames = [frame(0 if i else TEXT, part, fin=i + 1 == parts) for i, part in enumerate(cuts)]
        yield f"a message in {parts} fragments", b"".join(frames), answers()
        yield f"the same with empty fragments, {parts}", frames[0] + frame(0, fin=False) + b"".join(frames[1:]), answers()
        yield f"the same with pongs between, {parts}", frame(PONG).join(frames), answers()
    yield "1000 fragments of a byte", frame(TEXT, b" ", fin=False) + frame(0, b" ", fin=False) * 1000, closes(1008)
    yield "two messages at once", frame(TEXT, ASK) * 2, answers(2)


def utf8_cases():
    for text in GOOD_UTF8:
        message = b'{"prompt": 5, "x": "' + text.encode("utf-8", "surrogatepass").replace(b"\0", b"\\u0000") + b'"}'
        yield f"text with {text!r}", frame(TEXT, message), answers()
        for cut in range(20, len(message) - 2):
            yield f"text with {text!r} cut at {cut}", frame(TEXT, message[:cut], fin=False) + frame(0, message[cut:]), answers()
    for bad in BAD_UTF8:
        message = b'{"prompt": 5, "x": "' + bad + b'"}'
        yield f"text with {bad!r}", frame(TEXT, message), closes(1007)
        yield f"text that is {bad!r}", frame(TEXT, bad), closes(1007)
        cut = 20 + len(bad) // 2
        yield f"text with {bad!r} in fragments", frame(TEXT, message[:cut], fin=False) + frame(0, message[cut:]), closes(1007)


def close_cases():
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]:
        yield f"close {code}", frame(CLOSE, close_body(code)), closes(code, 1000)
        yield f"close {code} with a reason", frame(CLOSE, close_body(code, "世界".encode())), closes(code, 1000)
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999]:
        yield f"close {code}", frame(CLOSE, close_body(code)), closes(1002)
    for code in [5000, 9999, 65535]:  # nobody's: both are in order
        yield f"close {code}", frame(CLOSE, close_body(code)), closes(1002, code)
    yield "close without a code", frame(CLOSE), closes(1005, 1000)
    yield "close of one byte", frame(CLOSE, b"\x03"), closes(1002)
    yield "close with the longest reason", frame(CLOSE, close_body(1000, b"r" * 123)), closes(1000)
    for bad in BAD_UTF8[:10]:
        yield f"close with reason {bad!r}", frame(CLOSE, close_body(1000, bad)), closes(1007, 1002)
    yield "close amid a message", frame(TEXT, b"{", fin=False) + frame(CLOSE, close_body(1000)), closes(1000)
    yield "a message after close", frame(CLOSE, close_body(1000)) + frame(TEXT, ASK), closes(1000)
    yield "close twice", frame(CLOSE, close_body(1000)) * 2, closes(1000)


def binary_cases():
    for payload in (b"", ASK, b"\xff\xfe", b"x" * 1000):
        yield f"a binary message of {len(payload)} bytes", frame(BINARY, payload), closes(1003)


def frame_cases():
    for group in (opcode_cases, reserved_bit_cases, control_cases, mask_cases, length_cases, fragment_cases, utf8_cases,
                  close_cases, binary_cases):
        yield from group()


def handshake_cases(port):
    """(name, head, statuses): the upgrade must be refused with one of these."""
    for name in ("Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key"):
        yield f"no {name}", handshake(port, drop=(name,)), (400, 426)
    yield "no Host", handshake(port, drop=("Host",)), (400,)
    for version in ("12", "8", "0", "14", "x", "", "13, 8"):
        yield f"version {version!r}", handshake(port, Sec_WebSocket_Version=version), (400, 426)
    for key in ("", "AAAA", "!" * 24, "A" * 500):
        yield f"key {key[:30]!r}", handshake(port, Sec_WebSocket_Key=key), (400, 426, 101)
    yield "Upgrade: h2c", handshake(port, Upgrade="h2c"), (426,)
    yield "Connection: close", handshake(port, Connection="close"), (400, 426)
    yield "POST", handshake(port, method="POST", Content_Length="0"), (405, 426)
    yield "HTTP/1.0", handshake(port, version="HTTP/1.0"), (400, 426)
    yield "another path", handshake(port, path="/health"), (200,)
    yield "a path that is none", handshake(port, path="/nothing"), (404,)
    yield "Origin of another site", handshake(port, Origin="http://evil.example"), (403,)
    yield "Host of another name", handshake(port, Host="evil.example"), (421,)
    yield "frames before the answer", handshake(port) + frame(TEXT, ASK), (101, 426)


def run_frames(port):
    passed, problems = 0, []
    for name, data, check in frame_cases():
        for chopped in ((False, True) if len(data) < 40 and name.startswith(("a message in", "close 1", "opcode 3")) else (False,)):
            peer = Peer(port)
            if not peer.head.startswith(b"HTTP/1.1 101"):
                problems.append(f"{name}: no upgrade: {peer.head[:60]!r}")
                continue
            if chopped:
                for i in range(len(data)):
                    peer.send(data[i:i + 1])
            else:
                peer.send(data)
            try:
                problem = check(peer)
            except (AssertionError, OSError) as failure:
                problem = f"{type(failure).__name__}: {failure}"
            peer.socket.close()
            if problem:
                problems.append(f"{name}{' byte by byte' if chopped else ''}: {problem}")
            else:
                passed += 1
    return passed, problems


def run_cut_off(port):
    """Connections that end in the middle of every kind of frame."""
    for data in (frame(TEXT, ASK), frame(PING, b"x" * 100), frame(CLOSE, close_body(1000)), frame(TEXT, ASK, fin=False),
                 frame(TEXT, ASK.ljust(70000))):
        for size in {0, 1, 2, 3, 5, 6, 8, len(data) // 2, len(data) - 1}:
            peer = Peer(port)
            peer.send(data[:size])
            peer.socket.close()


def run_handshakes(port):
    passed, problems = 0, []
    for name, head, statuses in handshake_cases(port):
        peer = Peer(port, head)
        words = peer.head.split(b" ", 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else None
        peer.socket.close()
        if status in statuses:
            passed += 1
        else:
            problems.append(f"handshake, {name}: {peer.head[:60]!r}, expected {statuses}")
    return passed, problems


def main():
    with run.serving("--model", "nano", "--log-level", "error") as (port, process):
        Peer(port).socket.close()
        before = run.resident_bytes(process.pid)
        results = [run_frames(port), run_handshakes(port)]
        run_cut_off(port)
        grown = run.resident_bytes(process.pid) - before
        problems = [line for _, lines in results for line in lines]
        passed = sum(count for count, _ in results)
        peer = Peer(port)
        peer.send(frame(TEXT, ASK))
        if answers()(peer) or process.poll() is not None:
            problems.append("the server does not answer any more")
        if grown > RESIDENT_GROWTH:
            problems.append(f"memory grew by {grown >> 20} MiB")
    for problem in problems:
        print("FAILED", problem)
    print(f"{passed} passed, {len(problems)} failed, 0 skipped")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
