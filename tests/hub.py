"""A model hub for tests: the few addresses of it that huggingface_hub asks to find and fetch an encoder."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """One repository.

    Attributes:
        revisions: Commit to the files of it by name.
        refs: Name of a branch or pull request to its commit.
        changes: Pull requests: {"num", "author", "title", "made_of"}.
        url: Where it is served.
        asked: Paths that were asked for.
    """

    name: str
    revisions: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    changes: list[dict[str, object]] = field(default_factory=list)
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, object, dict[str, str]]:
        """Status, body (bytes, or what becomes JSON) and headers of a request."""
        api = f"/api/models/{self.name}"
        if path == f"{api}/discussions":
            items = [
                {
                    "num": change["num"], "title": change["title"], "author": {"name": change["author"]},
                    "createdAt": "2024-01-01T00:00:00.000Z", "status": "open", "isPullRequest": True,
                    "repo": {"name": self.name, "type": "model"},
                }
                for change in self.changes
            ]  # fmt: skip
            return 200, {"discussions": items, "count": len(items), "start": 0}, {}
        if path.startswith(f"{api}/commits/"):
            ref = path.removeprefix(f"{api}/commits/")
            parents = [str(change["made_of"]) for change in self.changes if ref == f"refs/pr/{change['num']}"]
            commits = [self.refs[ref], *parents]
            told = {"title": "", "message": "", "authors": [], "date": "2024-01-01T00:00:00.000Z"}
            return 200, [{"id": commit, **told} for commit in commits], {}
        if path.startswith(f"{api}/tree/"):
            files = self.revisions[path.removeprefix(f"{api}/tree/")]
            return 200, [{"type": "file", "path": n, "size": len(b), "oid": n} for n, b in files.items()], {}
        if path == api or path.startswith(f"{api}/revision/"):
            ref = path.removeprefix(f"{api}/revision/") if path != api else "main"
            commit = self.refs.get(ref, ref)
            if commit in self.revisions:
                files = [{"rfilename": name} for name in self.revisions[commit]]
                return 200, {"id": self.name, "sha": commit, "siblings": files, "private": False}, {}
        if path.startswith(f"/{self.name}/resolve/"):
            commit, _, name = path.removeprefix(f"/{self.name}/resolve/").partition("/")
            body = self.revisions[commit][name]
            return 200, body, {"X-Repo-Commit": commit, "ETag": f'"{sha256(body).hexdigest()}"'}
        return 404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"}


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(path)
            status, said, headers = hub.answer(path)
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
