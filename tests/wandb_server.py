"""A stand-in for W&B's server on the loopback: what the client sends is kept, and a test may make it fail.

    with wandb_server() as server:
        ... WANDB_BASE_URL=server.url, WANDB_API_KEY=server.key ...
        server.runs["a1b2c3d4"].history          # rows of the curves, in order

It speaks as much of the protocol as wandb-core 0.2x and 0.3x use for a run: GraphQL operations by name (viewer, upsert,
resume status, signed URLs, artifacts), the file stream, and uploads. It says where it differs from the real one:
`unknown` lists operations that it does not know, which a test can hold to be empty.
"""

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef" * 2 + "01234567"
"""Forty hex digits, as W&B's keys were until 2025: the client looks at the length."""
ENTITY = "observatory"


@dataclass
class Run:
    """One run as the server has it."""

    fields: dict[str, Any] = field(default_factory=dict)
    """Of the last upsert that gave them: groupName, jobType, tags, notes, displayName, commit."""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)
    upserts: int = 0


@dataclass
class Artifact:
    """One version of an artifact."""

    name: str
    type: str
    aliases: list[str]
    metadata: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    committed: bool = False


@dataclass
class Server:
    """What has been received, and how to fail."""

    url: str = ""
    key: str = KEY
    runs: dict[str, Run] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    requests: int = 0
    refuse: str | None = None
    """``500``: every request fails; ``drop``: the connection ends in the middle of the answer; None: all is well."""

    def run_named(self, name: str) -> Run:
        return self.runs.setdefault(name, Run())


@contextmanager
def wandb_server() -> Iterator[Server]:
    """A server on a free port of the loopback, until the end of the block."""
    state = Server()
    handler = type("Handler", (_Handler,), {"state": state})
    http = _Loopback(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Loopback(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client closes connections as it likes; what goes wrong in an answer is in `Server.unknown`."""


class _Handler(BaseHTTPRequestHandler):
    state: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body()
        if self._fails():
            return
        if self.path.startswith("/storage/"):
            self._store(body)
        elif not self._authorised():
            self._answer({"errors": [{"message": "user is not logged in"}]}, status=401)
        elif self.path == "/graphql":
            request = json.loads(body)
            self._answer(_graphql(self.state, request))
        elif self.path.endswith("/file_stream"):
            _, _, _, _, run, _ = self.path.split("/")
            _file_stream(self.state.run_named(run), json.loads(body))
            self._answer({})
        else:
            self.state.unknown.append(self.path)
            self._answer({}, status=404)

    do_GET = do_PUT = do_POST

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _fails(self) -> bool:
        self.state.requests += 1
        if self.state.refuse == "500":
            self._answer({"errors": [{"message": "the server is broken"}]}, status=500)
        elif self.state.refuse == "drop":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            self.close_connection = True
        return self.state.refuse is not None

    def _authorised(self) -> bool:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        return scheme == "Basic" and base64.b64decode(value).decode().endswith(f":{self.state.key}")

    def _store(self, body: bytes) -> None:
        _, _, kind, owner, name = self.path.split("/", 4)
        if kind == "run":
            self.state.run_named(owner).files[name] = body
        else:
            self.state.artifacts[int(owner)].files[name] = body
        self._answer({})

    def _answer(self, content: dict[str, Any], *, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _graphql(state: Server, request: dict[str, Any]) -> dict[str, Any]:
    name = request.get("operationName") or request["query"].split("(")[0].split("{")[0].split()[-1]
    answer = ANSWERS.get(name)
    if answer is None:
        state.unknown.append(name)
        return {"errors": [{"message": f"unknown operation {name}"}]}
    try:
        return {"data": answer(state, request.get("variables") or {})}
    except (KeyError, TypeError) as error:
        state.unknown.append(f"{name} without {error} in {request}")
        return {"errors": [{"message": f"{name}: {error}"}]}


def _viewer(state: Server, variables: dict[str, Any]) -> dict[str, Any]:
    team = {"edges": [{"node": {"name": ENTITY}}]}
    return {
        "viewer": {"id": "1", "entity": ENTITY, "username": "astronomer", "email": "", "flags": "{}", "teams": team}
    }


def _features(state: Server, variables: dict[str, Any]) -> dict[str, Any]:
    return {"serverInfo": {"features": []}}


def _resume_status(state: Server, variables: dict[str, Any]) -> dict[str, Any]:
    run = state.runs.get(variables["name"])
    bucket = None
    if run is not None and run.upserts:
        history, events = run.lines.get("wandb-history.jsonl", []), run.lines.get("wandb-events.jsonl", [])
        bucket = {
            "id": variables["name"],
            "name": variables["name"],
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.fields.get("displayName"),
            "logLineCount": len(run.lines.get("output.log", [])),
            "historyLineCount": len(history),
            "eventsLineCount": len(events),
            "historyTail": json.dumps(history[-1:]),
            "eventsTail": json.dumps(events[-1:]),
            "config": json.dumps(run.config),
            "tags": run.fields.get("tags") or [],
            "notes": run.fields.get("notes"),
            "wandbConfig": json.dumps({"t": 1}),
        }
    return {"model": {"id": "p", "name": variables["project"], "entity": _entity(), "bucket": bucket}}


def _upsert(state: Server, variables: dict[str, Any]) -> dict[str, Any]:
    name = variables["name"]
    run = state.run_named(name)
    run.upserts += 1
    run.fields |= {key: value for key, value in variables.items() if value is not None}
    if variables.get("config"):
        run.config |= json.loads(variables["config"])
    if variables.get("summaryMetrics"):
        run.summary |= json.loads(variables["summaryMetrics"])
    bucket = {
        "id": name,
        "name": name,
        "displayName": run.fields.get("displayName"),
        "description": None,
        "config": json.dumps(run.config),
        "sweepName": None,
        "project": {"id": "p", "name": variables.get("project") or "project", "entity": _entity()},
        "historyLineCount": len(run.lines.get("wandb-history.jsonl", [])),
    }
    return {"upsertBucket": {"bucket": bucket, "inserted": run.upserts == 1}}


def _entity() -> dict[str, str]:
    return {"id": "1", "name": ENTITY}


def _run_files(state: Server, variables: dict[str, Any]) -> dict[str, Any]:
    run = variables["run"]
    files = [{"name": name, "uploadUrl": f"{state.url}/storage/run/{run}/{name}"} for name in variables["files"]]
    return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}


def _create_artifact(state: Server, variables: dict[str, Any]) -> dict[str, Any]:
    given = variables["input"]
    name, metadata = given["artifactCollectionName"], json.loads(given["metadata"] or "{}")
    aliases = [alias["alias"] for alias in given["aliases"]]
    state.artifacts.append(Artifact(name, given["artifactTypeName"], aliases, metadata))
    artifact = {
        "id": str(len(state.artifacts) - 1),
        "state": "PENDING",
        "artifactSequence": {"id": name, "latestArtifact": None},
    }
    return {"createArtifact": {"artifact": artifact}}


def _create_manifest(state: Server, variables: dict[str, Any]) -> dict[str, Any]:
    index = variables["artifactID"]
    upload = {"id": index, "name": "m", "uploadUrl": f"{state.url}/storage/artifact/{index}/MANIFEST"}
    manifest = {"id": index, "file": upload | {"uploadHeaders": [], "displayName": "manifest"}}
    return {"createArtifactManifest": {"artifactManifest": manifest}}


def _artifact_files(state: Server, variables: dict[str, Any]) -> dict[str, Any]:
    edges = []
    for spec in variables["input"]["artifactFiles"]:
        index, name = spec["artifactID"], spec["name"]
        node = {
            "id": name,
            "name": name,
            "displayName": name,
            "uploadUrl": f"{state.url}/storage/artifact/{index}/{name}",
            "uploadHeaders": [],
            "storagePath": name,
            "uploadMultipartUrls": None,
            "artifact": {"id": index},
        }
        edges.append({"node": node})
    return {"createArtifactFiles": {"files": {"edges": edges}}}


def _commit_artifact(state: Server, variables: dict[str, Any]) -> dict[str, Any]:
    index = variables["artifactID"]
    state.artifacts[int(index)].committed = True
    return {"commitArtifact": {"artifact": {"id": index, "digest": ""}}}


ANSWERS = {
    "Viewer": _viewer,
    "ServerFeaturesQuery": _features,
    "RunResumeStatus": _resume_status,
    "UpsertBucket": _upsert,
    "CreateRunFiles": _run_files,
    "CreateArtifact": _create_artifact,
    "CreateArtifactManifest": _create_manifest,
    "CreateArtifactFiles": _artifact_files,
    "CommitArtifact": _commit_artifact,
    "ArtifactType": lambda state, variables: {"project": {"artifact": None}},
    "OrganizationCoreWeaveOrganizationID": lambda state, variables: {"entity": {"organization": None}},
    "MarkRunFilesUploaded": lambda state, variables: {"markRunFilesUploaded": {"success": True}},
    "RunStoppedStatus": lambda state, variables: {"project": {"run": {"stopped": False}}},
}


def _file_stream(run: Run, content: dict[str, Any]) -> None:
    """Lines come with the offset at which they belong; what is sent twice is there once."""
    for name, chunk in (content.get("files") or {}).items():
        lines = run.lines.setdefault(name, [])
        offset = chunk["offset"]
        if name == "wandb-summary.json":
            run.summary = json.loads(chunk["content"][-1])
            continue
        lines[offset : offset + len(chunk["content"])] = chunk["content"]
    run.history = [json.loads(line) for line in run.lines.get("wandb-history.jsonl", [])]
    if content.get("complete"):
        run.exit_codes.append(content.get("exitcode", 0))
