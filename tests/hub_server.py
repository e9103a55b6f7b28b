"""A stand-in for the Hugging Face Hub: the part of its HTTP API that creating, committing and downloading take.

It keeps files in memory. Repositories are made by POST /api/repos/create; files go by the preupload call either into
the commit itself or through Git LFS's batch protocol, as on the Hub itself for binary files; downloads are by
/USER/NAME/resolve/REVISION/FILE with the headers that huggingface_hub reads. Xet storage is not there.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_standInForTests"


class HubServer(ThreadingHTTPServer):
    """Its repositories, as name -> file -> content, and what was asked of it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.uploads: dict[str, bytes] = {}
        """Git LFS objects by their SHA-256"""
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, name: str) -> str:
        """Return the hash of a repository's content."""
        files = self.repositories[name]
        return hashlib.sha1(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """Serve on a free port of this machine."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        path, body = self._begin()
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid credentials"}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            known = name in self.server.repositories
            self.server.repositories.setdefault(name, {})
            return self._answer({"url": f"{self.server.address}/{name}", "id": name}, 409 if known else 200)
        if parts[-3:] == ["lfs", "objects", "batch"]:
            objects = [self._upload_action(one) for one in json.loads(body)["objects"]]
            return self._answer({"transfer": "basic", "objects": objects})
        name = "/".join(parts[2:4])
        if name not in self.server.repositories:
            return self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if parts[4] == "preupload":
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".onnx") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for one in json.loads(body)["files"]
            ]
            return self._answer({"files": files})
        for entry in map(json.loads, body.splitlines()):
            value = entry["value"]
            if entry["key"] == "file":
                self.server.repositories[name][value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                self.server.repositories[name][value["path"]] = self.server.uploads[value["oid"]]
        commit = self.server.commit(name)
        return self._answer({"commitUrl": f"{self.server.address}/{name}/commit/{commit}", "commitOid": commit})

    def do_PUT(self) -> None:
        path, body = self._begin()
        oid = path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != oid:
            return self._answer({"error": "another content"}, 400)
        self.server.uploads[oid] = body
        return self._answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _ = self._begin()
        name, _, rest = path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        files = self.server.repositories.get(name)
        if files is None:
            return self._answer({}, 404, {"X-Error-Code": "RepoNotFound"})
        commit = self.server.commit(name)
        if revision not in ("main", commit):
            return self._answer({}, 404, {"X-Error-Code": "RevisionNotFound"})
        if file not in files:
            return self._answer({}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        etag = hashlib.sha256(files[file]).hexdigest()
        return self._send(files[file], 200, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    def _begin(self) -> tuple[str, bytes]:
        self.server.requests.append(f"{self.command} {self.path}")
        return self.path.partition("?")[0], self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _upload_action(self, asked: dict[str, Any]) -> dict[str, Any]:
        upload = {"href": f"{self.server.address}/lfs/{asked['oid']}"}
        return {"oid": asked["oid"], "size": asked["size"], "actions": {"upload": upload}}

    def _answer(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(content).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
