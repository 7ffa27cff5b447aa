"""A small Hugging Face Hub on this machine, for tests: real HTTP, as far as the hub's library needs it.

    with HubStub() as hub:
        hub.add("timm/vit_small", {"model.safetensors": weights, "LICENSE.md": text})
        run(..., env={**os.environ, **hub.environment(home)})

The library reads its environment variables when it is imported, so it has to run in a process of its own.
"""

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

WRITER, READER = "hf_writer", "hf_reader"
"""Tokens (HF_TOKEN): of somebody who may write every repository, and of somebody who may write none."""

_LARGE = (".safetensors", ".png")  # what git LFS keeps


@dataclass
class Faults:
    """What goes wrong, from now on.

    gated: the files want the user's consent on the hub's page. error: the HTTP status of every answer, or 0; only where
    the path contains error_in. cut: bytes after which downloads of large files break off, or 0. wrong: large files come
    with a wrong byte. hang: requests get no answer. instead: the text of every answer, of another server in the hub's
    place. renewed: the owner puts these files into a repository as soon as somebody has listed it.
    """

    gated: bool = False
    error: int = 0
    error_in: str = "/"
    cut: int = 0
    wrong: bool = False
    hang: bool = False
    instead: str | None = None
    renewed: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request as it came. token: of the login that it carried, or ""."""

    method: str
    path: str
    range: str
    token: str


class HubStub:
    """The hub. repositories: files by repository and name. requests: all that came. private: repositories made so."""

    def __init__(self):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.faults = Faults()
        self.requests: list[Request] = []
        self.uploads: dict[str, bytes] = {}  # by SHA-256
        self._commits: dict[str, dict[str, bytes]] = {}
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))

    def __enter__(self) -> "HubStub":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def storage(self) -> str:
        """Where large files lie: another host, as far as logins are concerned."""
        return f"http://localhost:{self._server.server_port}/storage"

    def add(self, repository: str, files: dict[str, bytes | str]) -> None:
        """Put files into a repository "owner/name", which is made if there is none."""
        content = {name: data.encode("utf-8") if isinstance(data, str) else data for name, data in files.items()}
        self.repositories.setdefault(repository, {".gitattributes": b"*.safetensors filter=lfs\n"}).update(content)

    def add_folder(self, repository: str, folder: Path) -> None:
        """Put a folder's files into a repository."""
        paths = [path for path in folder.rglob("*") if path.is_file()]
        self.add(repository, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Environment variables for a process that shall use this hub, with its cache below `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            **({"HF_TOKEN": token} if token else {}),
        }

    def commit(self, repository: str) -> str:
        """The name of a repository's state, which can be asked for from now on."""
        files = self.repositories[repository]
        digest = hashlib.sha1(repository.encode())
        for name, data in sorted(files.items()):
            digest.update(name.encode() + hashlib.sha1(data).digest())
        self._commits[digest.hexdigest()] = dict(files)
        return digest.hexdigest()

    def at(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a branch (there is one, "main") or commit; None if there is none of that name."""
        commit = self.commit(repository) if revision == "main" else revision
        return (commit, self._commits[commit]) if commit in self._commits else None

    def stored(self, sha256: str) -> bytes | None:
        files = (data for files in (*self.repositories.values(), *self._commits.values()) for data in files.values())
        return next((data for data in files if hashlib.sha256(data).hexdigest() == sha256), None)

    def wait_for_release(self) -> None:
        self._released.wait(60)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*_)  # a client that ends in the middle is what tests are about


class _Handler(BaseHTTPRequestHandler):
    hub: HubStub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815  the base class' names

    def _serve(self) -> None:
        path, hub = unquote(urlsplit(self.path).path), self.hub
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        hub.requests.append(Request(self.command, path, self.headers.get("Range", ""), self._token))
        if hub.faults.hang:
            hub.wait_for_release()
            self.close_connection = True
            return None
        if hub.faults.instead is not None:
            return self._send(200, hub.faults.instead.encode("utf-8"), {})
        if hub.faults.error and hub.faults.error_in in path:
            return self._answer(hub.faults.error, {"error": "broken"})
        method = "GET" if self.command == "HEAD" else self.command
        for verb, pattern, action in _ROUTES:
            if verb == method and (match := re.fullmatch(pattern, path)):
                return action(self, *match.groups())
        return self._answer(404, {"error": f"no route {self.command} {path}"})

    # what is read

    def _info(self, repository: str) -> None:
        if (files := self._files(repository)) is None:
            return
        siblings, commit = [], self.hub.commit(repository)
        for name, data in files.items():
            entry = {"rfilename": name, "size": len(data), "blobId": _git_id(data)}
            siblings.append(entry | ({"lfs": {"sha256": _sha256(data)} | _pointer(data)} if _is_large(name) else {}))
        self.hub.add(repository, self.hub.faults.renewed)
        self._answer(200, {"id": repository, "sha": commit, "siblings": siblings, "tags": []})

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        if self._files(repository) is None:
            return
        if (found := self.hub.at(repository, revision)) is None:
            return self._answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
        if self.hub.faults.gated:
            return self._answer(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        commit, files = {"X-Repo-Commit": found[0]}, found[1]
        if name not in files:
            return self._answer(404, {}, {"X-Error-Code": "EntryNotFound", **commit})
        data = files[name]
        if not _is_large(name):
            return self._send(200, data, {"ETag": f'"{_git_id(data)}"', **commit})
        linked = {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{_sha256(data)}"'}
        return self._answer(302, None, {"Location": f"{self.hub.storage}/{_sha256(data)}", **linked, **commit})

    def _storage(self, sha256: str) -> None:
        data, faults = self.hub.stored(sha256), self.hub.faults
        if data is None:
            return self._answer(404)
        start, status, headers = 0, 200, {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start, status = int(match[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if faults.wrong:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self._send(status, data[start:], headers, cut=faults.cut)
        return None

    def _files(self, repository: str) -> dict[str, bytes] | None:
        """The files, or None after an answer that says that there are none; private ones are for who may write."""
        if repository in self.hub.repositories and (repository not in self.hub.private or self._token == WRITER):
            return self.hub.repositories[repository]
        self._answer(404 if self._token else 401, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"})
        return None

    # what is written

    def _create(self) -> None:
        request = json.loads(self._body)
        repository = f"{request.get('organization') or 'writer'}/{request['name']}"
        if self._may_write():
            exists = repository in self.hub.repositories
            if not exists and (request.get("private") or request.get("visibility") == "private"):
                self.hub.private.add(repository)
            self.hub.add(repository, {})
            self._answer(409 if exists else 200, {"url": f"{self.hub.url}/{repository}", "error": "exists already"})

    def _validate_yaml(self) -> None:
        self._answer(200, {"errors": [], "warnings": []})

    def _preupload(self, repository: str) -> None:
        if self._may_write() and self._files(repository) is not None:
            names = [file["path"] for file in json.loads(self._body)["files"]]
            modes = [
                {"path": name, "uploadMode": "lfs" if _is_large(name) else "regular", "shouldIgnore": False}
                for name in names
            ]
            self._answer(200, {"files": modes})

    def _batch(self, repository: str) -> None:
        if self._may_write() and self._files(repository) is not None:
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{self.hub.storage}/{wanted['oid']}", "header": {}}}}
                for wanted in json.loads(self._body)["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})

    def _upload(self, sha256: str) -> None:
        self.hub.uploads[sha256] = self._body
        self._answer(200)

    def _commit(self, repository: str) -> None:
        if not self._may_write() or (files := self._files(repository)) is None:
            return
        for line in self._body.splitlines():
            operation = json.loads(line)
            kind, value = operation["key"], operation["value"]
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            elif kind == "deletedFile":
                del files[value["path"]]
        commit = self.hub.commit(repository)
        url = f"{self.hub.url}/{repository}/commit/{commit}"
        self._answer(200, {"success": True, "commitOid": commit, "commitUrl": url, "pullRequestUrl": None})

    def _may_write(self) -> bool:
        if self._token == WRITER:
            return True
        self._answer(403 if self._token == READER else 401, {"error": "no"}, {"X-Error-Message": "You may not do that"})
        return False

    # answers

    def _answer(self, status: int, value: Any = None, headers: dict[str, str] | None = None) -> None:
        body = b"" if value is None else json.dumps(value).encode("utf-8")
        self._send(status, body, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int = 0) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut] if cut else body)
        if cut and cut < len(body):
            self.wfile.flush()
            self.close_connection = True


_REPOSITORY = r"([\w.-]+/[\w.-]+)"
_ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", rf"/api/models/{_REPOSITORY}(?:/revision/main)?", _Handler._info),
    ("GET", rf"/{_REPOSITORY}/resolve/([^/]+)/(.+)", _Handler._resolve),
    ("GET", r"/storage/([0-9a-f]{64})", _Handler._storage),
    ("POST", r"/api/repos/create", _Handler._create),
    ("POST", r"/api/validate-yaml", _Handler._validate_yaml),
    ("POST", rf"/api/models/{_REPOSITORY}/preupload/[^/]+", _Handler._preupload),
    ("POST", rf"/{_REPOSITORY}\.git/info/lfs/objects/batch", _Handler._batch),
    ("PUT", r"/storage/([0-9a-f]{64})", _Handler._upload),
    ("POST", rf"/api/models/{_REPOSITORY}/commit/[^/]+", _Handler._commit),
]


def _is_large(name: str) -> bool:
    return name.endswith(_LARGE)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _pointer(data: bytes) -> dict[str, int]:
    return {"size": len(data), "pointerSize": 134}
