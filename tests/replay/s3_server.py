"""An S3 server on this machine, moto's, with faults to plant where a version is committed.

moto looks whether an object is there and puts it some lines later, in a thread a request; S3 does both at once. So
commits take turns here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Literal

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Fault = Literal["none", "refuse", "lose the answer"]


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        pass


class S3Server:
    """Serves buckets until `close`; ``on_commit`` is told whose commit comes, by its access key, and may harm it."""

    def __init__(self) -> None:
        self.conditional = True  # whether If-None-Match holds
        self.on_commit: Callable[[str], Fault] = lambda key: "none"
        self.after_commit: Callable[[str], None] = lambda key: None
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._turn = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def environment(self, key: str = "writer") -> dict[str, str]:
        """What a process needs to come here as ``key``, and to go nowhere else."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "of-no-use",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }

    def make_bucket(self, name: str) -> None:
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="owner",
            aws_secret_access_key="of-no-use",
        )
        client.create_bucket(Bucket=name)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "PUT" or "/_versions/" not in environ["PATH_INFO"]:
            return self._moto(environ, start_response)
        key = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0]
        fault = self.on_commit(key)
        if fault == "refuse":
            return _failed(start_response)
        with self._turn:
            if not self.conditional:
                environ.pop("HTTP_IF_NONE_MATCH", None)
            if fault == "lose the answer":
                list(self._moto(environ, lambda *_: None))
                self.after_commit(key)
                return _failed(start_response)
            return list(self._moto(environ, start_response))


def _failed(start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("500 Internal Server Error", [("Content-Length", "0")])
    return [b""]
