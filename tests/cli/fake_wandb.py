"""A loopback server that speaks what wandb's client (0.31) asks of W&B: our reading of it, not the service.

It keeps what arrives (runs, history, summaries, files, artifacts), and can be told to fail, to hang and to vanish.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

KEY = "0123456789" * 4
"""What stands for an API key: forty characters."""


class Run:
    """What the server knows of one run."""

    def __init__(self, project, name):
        self.project, self.name = project, name
        self.display_name = self.group = self.job_type = ""
        self.tags, self.config, self.summary = [], {}, {}
        self.rows = {}  # line number -> row
        self.exit_code = None

    @property
    def history(self):
        """Rows of metrics in order."""
        return [self.rows[number] for number in sorted(self.rows)]

    def curve(self, key, axis="clips_seen"):
        """One metric over one axis."""
        return [(row[axis], row[key]) for row in self.history if key in row]

    def axes(self):
        """Which metric, or glob of metrics, is drawn over which, as ``define_metric`` said."""
        metrics = self.config["_wandb"]["value"]["m"]
        axes = {}
        for metric in metrics:
            over = metric.get("5")
            axes[metric.get("1") or metric.get("2")] = metrics[over - 1]["1"] if over else None
        return axes

    def value(self, dotted):
        """A value of the configuration, ``run.pretext`` for example."""
        first, *others = dotted.split(".")
        value = self.config[first]["value"]
        for key in others:
            value = value[key]
        return value


class FakeWandb:
    """The server; ``with FakeWandb() as server`` starts it, ``environment`` makes a client talk to it alone."""

    def __init__(self, port=0):
        self.port = port
        self.runs: dict[str, Run] = {}
        self.files: dict[str, bytes] = {}  # path -> what was put there
        self.artifacts: dict[str, dict] = {}  # id -> type, name, digest, state, manifest, made_by, used_by
        self.views: list[dict] = []  # saved workspaces
        self.calls: list[str] = []
        self.others: list[str] = []  # paths asked for that are none of the above
        self.failing = self.failed = 0  # that many answers will be, and were, a 500
        self.answering = threading.Event()  # while it is not set, requests are taken and not answered
        self.answering.set()
        self._server = None
        self.lock = threading.RLock()

    def __enter__(self):
        fake = self

        class Handler(_Handler):
            server_of = fake

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.vanish()

    def vanish(self):
        """Close the port: nobody answers any more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self):
        """What a client needs to talk to this server and to no other."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def run(self, name):
        """The run of this display name."""
        found = [run for run in self.runs.values() if run.display_name == name]
        assert len(found) == 1, (name, [run.display_name for run in self.runs.values()])
        return found[0]

    def answer(self, query, variables):
        """The data of one GraphQL operation."""
        operation = re.search(r"(?:query|mutation)\s+(\w+)", query).group(1)
        self.calls.append(operation)
        return getattr(self, f"on_{operation}", lambda _: None)(variables)

    def on_ServerFeaturesQuery(self, _):
        return {"serverInfo": {"features": []}}

    def on_Viewer(self, _):
        return {
            "viewer": {"id": "me", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
        }

    def on_GetDefaultEntity(self, _):
        return {"viewer": {"id": "me", "entity": "me"}}

    def on_UpsertView2(self, asked):
        self.views.append({**asked, "spec": json.loads(asked["spec"])})
        return {"upsertView": {"view": {"id": f"view-{len(self.views)}", "name": asked["name"]}, "inserted": True}}

    def on_RunResumeStatus(self, asked):
        run = self.runs.get(asked["name"])
        bucket = run and {
            **self._bucket(run),
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "tags": run.tags,
            "notes": "",
            "wandbConfig": json.dumps({"t": run.config["_wandb"]["value"]["t"]}),  # without it no run is resumed
        }
        return {"model": {"id": "p", "name": asked["project"], "entity": {"id": "me", "name": "me"}, "bucket": bucket}}

    def on_UpsertBucket(self, asked):
        inserted = asked["name"] not in self.runs
        run = self.runs.setdefault(asked["name"], Run(asked["project"], asked["name"]))
        given = {"display_name": "displayName", "group": "groupName", "job_type": "jobType", "tags": "tags"}
        for attribute, key in given.items():
            if asked.get(key):
                setattr(run, attribute, asked[key])
        if asked.get("config"):
            run.config = json.loads(asked["config"])
        if asked.get("summaryMetrics"):
            run.summary = json.loads(asked["summaryMetrics"])
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    def _bucket(self, run):
        project = {"id": "p", "name": run.project, "entity": {"id": "me", "name": "me"}}
        return {
            "id": f"bucket-{run.name}",
            "name": run.name,
            "displayName": run.display_name,
            "description": "",
            "config": json.dumps(run.config),
            "sweepName": None,
            "project": project,
            "historyLineCount": max(run.rows, default=-1) + 1,
        }

    def on_CreateRunFiles(self, asked):
        files = [{"name": name, "uploadUrl": f"{self.url}/put/{asked['run']}/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def on_ArtifactType(self, asked):
        found = [a for a in self.artifacts.values() if a["name"] == asked["name"].partition(":")[0]]
        return {"project": {"artifact": {"artifactType": {"name": found[0]["type"]}} if found else None}}

    def on_CreateArtifact(self, asked):
        given = asked["input"]
        name = given["artifactCollectionName"]
        same = [a for a in self.artifacts.values() if (a["name"], a["digest"]) == (name, given["digest"])]
        found = same[0] if same else {"id": f"artifact-{len(self.artifacts)}", "state": "PENDING", "used_by": []}
        if not same:
            about = json.loads(given.get("metadata") or "{}")
            found |= {"name": name, "digest": given["digest"], "type": given["artifactTypeName"], "about": about}
            self.artifacts[found["id"]] = found | {"made_by": given["runName"]}
        latest = {"latestArtifact": {"id": found["id"]} if same else None}
        artifact = {"id": found["id"], "state": found["state"], "artifactSequence": latest}
        return {"createArtifact": {"artifact": artifact}}

    def on_CreateArtifactManifest(self, asked):
        file = {"id": "file", "uploadUrl": f"{self.url}/put/manifest/{asked['artifactID']}", "uploadHeaders": []}
        manifest = {"id": f"manifest-{asked['artifactID']}", "file": file}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def on_CreateArtifactFiles(self, asked):
        nodes = [
            {
                "storagePath": f"{file['artifactID']}/{file['name']}",
                "uploadUrl": f"{self.url}/put/artifact/{file['artifactID']}/{file['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": file["artifactID"]},
            }
            for file in asked["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def on_CommitArtifact(self, asked):
        found = self.artifacts[asked["artifactID"]]
        found["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": found["id"], "digest": found["digest"]}}}

    def on_UseArtifact(self, asked):
        given = asked["input"]
        self.artifacts[given["artifactID"]]["used_by"].append(given["runName"])
        return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}

    def stream(self, name, sent):
        """Take one request of a run's file stream: lines of history from an offset on, the summary as a whole."""
        run = self.runs[name]
        for file, part in (sent.get("files") or {}).items():
            if file == "wandb-history.jsonl":
                for number, line in enumerate(part["content"], part["offset"]):
                    run.rows[number] = json.loads(line)
            elif file == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]
        return {"exitcode": None, "limits": {}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        """A client that hangs up is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: FakeWandb

    def log_message(self, *_):
        pass

    def _handle(self):
        fake = self.server_of
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if fake._server is not self.server:  # vanished: connections that are still open are cut, too
            self.close_connection = True
            return None
        fake.answering.wait()
        if fake.failing > 0:
            fake.failing -= 1
            fake.failed += 1
            return self._reply({"errors": [{"message": "a bad day"}]}, 500)
        with fake.lock:
            return self._reply(self._take(fake, body))

    def _take(self, fake, body):
        path = self.path.partition("?")[0]
        if path == "/graphql":
            asked = json.loads(body)
            return {"data": fake.answer(asked["query"], asked.get("variables") or {})}
        if path.endswith("/file_stream"):
            return fake.stream(path.split("/")[-2], json.loads(body))
        if path.startswith("/put/"):
            fake.files[unquote(path.removeprefix("/put/"))] = body
        else:
            fake.others.append(path)
        return {}

    def _reply(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _handle
