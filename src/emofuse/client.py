"""Predictions of a server (`emofuse serve`) as if they were made here (extra ``client``)."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from emofuse.errors import ConfigError, DataError, EmofuseError
from emofuse.prediction import Timeline

DEFAULT_URL = "http://127.0.0.1:8000"
TRIES = 5
"""Times that a request is sent to a server that is busy, each after as long as it says."""

POLL_S = 0.5


class ServerError(EmofuseError):
    """The server cannot be reached, is busy, or failed; the message says which."""


class Client:
    """A server, ready to predict.

    ::

        with emofuse.Client("http://speech.example:8000", token="...") as client:
            timeline = client.predict("talk.mp4")
            job = client.submit("day.mp4")
            timeline = job.wait()
    """

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, timeout_s: float = 130.0) -> None:
        """Nothing is sent yet.

        Args:
            url: The server's address.
            token: Bearer token; None: that of the environment variable ``EMOFUSE_TOKEN``, if there is one.
            timeout_s: Longest time without anything from the server.

        Raises:
            ConfigError: httpx is not installed, or the address or the token cannot be one.
        """
        try:
            import httpx
        except ImportError:
            raise ConfigError('the client needs httpx: pip install "emofuse[client]"') from None
        self._failure = (httpx.HTTPError, httpx.InvalidURL)
        self.url = url.rstrip("/")
        token = token or os.environ.get("EMOFUSE_TOKEN")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ConfigError("the token holds characters that no token has")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s)
        except httpx.InvalidURL as error:
            raise ConfigError(f"{url}: {error}") from None

    def predict(
        self,
        media: str | Path | None = None,
        text: str | None = None,
        *,
        segments: str | Path | None = None,
        transcript: str | Path | None = None,
        whole: bool = False,
        asr: bool = False,
    ) -> Timeline:
        """What `emofuse.Predictor.predict` gives, made by the server.

        Args:
            media: Sound or video file, sent piece by piece; None: the text alone is judged.
            text: The words of the whole recording, which is then one utterance.
            segments: File of annotated times: csv, RTTM, TextGrid or ELAN.
            transcript: File of words: SRT, WebVTT, Whisper's JSON or text.
            whole: Take the recording as one utterance.
            asr: Have the words recognised, where the server can.

        Raises:
            DataError: The server cannot use what it was sent, or a file cannot be read; the message says why.
            ServerError: It cannot be reached, is busy, or failed.
        """
        answer = self._send("/v1/predict", _files(media, segments, transcript), _fields(text, whole, asr))
        return Timeline.from_dict(answer)

    def submit(
        self,
        media: str | Path | None = None,
        text: str | None = None,
        *,
        segments: str | Path | None = None,
        transcript: str | Path | None = None,
        whole: bool = False,
        asr: bool = False,
    ) -> "RemoteJob":
        """Send what needs longer than a request may take; arguments and errors as of `predict`."""
        answer = self._send("/v1/jobs", _files(media, segments, transcript), _fields(text, whole, asr))
        return RemoteJob(self, answer["id"])

    def job(self, job_id: str) -> "RemoteJob":
        """A job that was submitted before, also by another program."""
        return RemoteJob(self, job_id)

    def models(self) -> list[dict[str, Any]]:
        """What predicts there: name, classes, modalities, model card."""
        return self.request("GET", "/v1/models").json()

    def is_ready(self) -> bool:
        """Whether the server takes requests now."""
        try:
            return self._http.get("/readyz").status_code == 200
        except self._failure:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def request(self, method: str, path: str, **settings: Any) -> Any:
        """One request, and its answer if that is a good one.

        Raises:
            DataError, ServerError: As `predict`.
        """
        try:
            answer = self._http.request(method, path, **settings)
        except self._failure as error:
            raise ServerError(f"{self.url}: {error or type(error).__name__}") from None
        if answer.is_success and "text/html" in answer.headers.get("content-type", "") and "html" not in str(settings):
            raise ServerError(f"{self.url}: answered with a web page: is that an emofuse server?")
        if answer.is_success:
            return answer
        raise _refusal(self.url, answer)

    def _send(self, path: str, files: Mapping[str, Path], fields: Mapping[str, str]) -> dict[str, Any]:
        """Post files; again, from their beginning, where the server is busy."""
        for attempt in range(TRIES):
            with ExitStack() as stack:
                opened: dict[str, tuple[str, IO[bytes]]] = {}
                for name, file in files.items():
                    opened[name] = (file.name, stack.enter_context(_open(file)))
                try:
                    return self.request("POST", path, files=opened or None, data=dict(fields)).json()
                except _BusyError as busy:
                    if attempt == TRIES - 1:
                        raise
                    wait_s = busy.retry_s
            time.sleep(wait_s)
        raise AssertionError


class RemoteJob:
    """A job on a server.

    Attributes:
        id: Its name there.
    """

    def __init__(self, client: Client, job_id: str) -> None:
        """The server is not asked yet."""
        self._client, self.id = client, job_id

    def status(self) -> dict[str, Any]:
        """``state``, ``doing``, ``progress``, ``error``, ``result`` and times, as the server's documentation has them.

        Raises:
            DataError: There is no such job any more.
        """
        return self._client.request("GET", f"/v1/jobs/{self.id}").json()

    def wait(self, on_progress: Callable[[str, float], None] | None = None, timeout_s: float | None = None) -> Timeline:
        """The result, when it is there.

        Args:
            on_progress: Called with what is being done and the share of it that is.
            timeout_s: How long to wait; None: as long as it takes.

        Raises:
            DataError: The job failed, or is not there any more.
            ServerError: It has taken too long, or the server cannot be reached.
        """
        began = time.monotonic()
        for status in self._statuses():
            if status["state"] == "done":
                return Timeline.from_dict(status["result"])
            if status["state"] == "failed":
                raise DataError(status["error"])
            if on_progress is not None and status["doing"] is not None:
                on_progress(status["doing"], status["progress"] or 0.0)
            if timeout_s is not None and time.monotonic() - began > timeout_s:
                raise ServerError(f"{self._client.url}: job {self.id} is not done after {timeout_s:g} s")
        raise AssertionError

    def result(self, format: str = "json") -> str:
        """The result of a job that is done, as a file's content: json, text, csv, textgrid, eaf, srt or html.

        Raises:
            DataError: It is not done, or the format cannot hold it.
        """
        return self._client.request("GET", f"/v1/jobs/{self.id}/result", params={"format": format}).text

    def delete(self) -> None:
        """Stop it if it runs, and forget it and what was sent."""
        self._client.request("DELETE", f"/v1/jobs/{self.id}")

    def _statuses(self) -> Iterator[dict[str, Any]]:
        while True:
            try:
                yield self.status()
            except _BusyError as busy:  # the job goes on all the same
                time.sleep(busy.retry_s)
            time.sleep(POLL_S)


class _BusyError(ServerError):
    """A 503, and when to come again."""

    def __init__(self, message: str, retry_s: float) -> None:
        super().__init__(message)
        self.retry_s = retry_s


def _refusal(url: str, answer: Any) -> EmofuseError:
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"answered {answer.status_code}"
    if answer.status_code == 503:
        retry = answer.headers.get("retry-after", "")
        return _BusyError(f"{url}: {detail}", min(float(retry), 60.0) if retry.isdigit() else 1.0)
    if 400 <= answer.status_code < 500 and answer.status_code not in (401, 403):
        return DataError(detail)
    return ServerError(f"{url}: {detail}")


def _files(media: str | Path | None, segments: str | Path | None, transcript: str | Path | None) -> dict[str, Path]:
    given = {"media": media, "segments": segments, "transcript": transcript}
    return {name: Path(file) for name, file in given.items() if file is not None}


def _fields(text: str | None, whole: bool, asr: bool) -> dict[str, str]:
    flags = {"whole": whole, "asr": asr}
    return ({} if text is None else {"text": text}) | {name: "true" for name, on in flags.items() if on}


def _open(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from None
