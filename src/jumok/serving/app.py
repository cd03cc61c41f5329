"""The web application: what may be asked, and how it is answered.

    GET  /           a page to try the model and see its attention
    GET  /model      what the model is, its search settings and the server's limits
    POST /predict    outputs for texts            POST /score     given outputs, scored
    POST /explain    one attention map as HTML    POST /generate  texts of a language model
    GET  /health     whether it answers           GET  /metrics   counts, for Prometheus

An answer has the keys of `jumok predict --format jsonl`; whatever goes wrong is
``{"error": {"kind", "message", "index"}}`` with the error's HTTP status.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from jumok import __version__
from jumok.errors import InputError, JumokError, Overdue
from jumok.explain import Units, render_fragment
from jumok.prediction import Prediction
from jumok.predictor import LanguageModel, Predictor, check_prefixes
from jumok.serving.batcher import Batcher
from jumok.serving.guard import OPEN, Guard
from jumok.serving.limits import Limits
from jumok.serving.metrics import Metrics
from jumok.serving.schemas import (
    ExplainRequest,
    Explanation,
    Failure,
    GenerateRequest,
    ModelInfo,
    Outputs,
    PredictRequest,
    ScoreRequest,
)

_LARGEST_MAP = 40_000
"""Cells of an attention map: more than a page can show, or a browser wants to draw."""
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; img-src data:; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Want(NamedTuple):
    """What the texts of one batch have in common."""

    kind: str
    search: str
    """JSON, for one search asks in one way."""
    choices: tuple[str, ...] | None = None
    dictionary: tuple[tuple[str, str], ...] | None = None
    prefix: bool = False
    drawn: tuple[Units, int | None] | None = None
    """Units and head of an attention map, where it is wanted."""


@dataclass(frozen=True, eq=False)  # so that no other is equal, and it is a batch of its own
class _Drawing:
    """Texts of a language model."""

    request: GenerateRequest
    watch: Callable[[int, str], None] | None


class _Gone(Exception):  # noqa: N818 - not a failure
    """Nobody waits for the answer any more."""


def create_app(
    predictor: Predictor,
    name: str = "model",
    limits: Limits | None = None,
    hosts: Iterable[str] | None = None,
    keys: Sequence[str] = (),
) -> FastAPI:
    """An ASGI application that answers with a model; any ASGI server can run it.

    Args:
        predictor: the model, with search settings of its own that requests may change.
        name: what ``/model`` and the page call it.
        limits: what a request may ask for.
        hosts: names that the server may be asked by; None: any.
        keys: one of them must come with every request; none: no key is asked for.
    """
    server = _Server(predictor, name, limits or Limits())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(server.batcher.close)

    # the usual pages for trying an API load their scripts from elsewhere; ours asks nobody
    app = FastAPI(
        title="jumok",
        version=__version__,
        summary="An RNN encoder-decoder with attention",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": Failure}, "5XX": {"model": Failure}},
    )
    app.add_exception_handler(JumokError, _jumok_error)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(_Gone, _nobody)
    app.add_exception_handler(Exception, _bug)
    app.get("/", include_in_schema=False)(_page)
    app.get("/assets/{file}", include_in_schema=False)(_asset)
    app.get("/health")(_health)
    app.get("/metrics", response_class=Response)(server.show_metrics)
    app.get("/model", response_model=ModelInfo)(server.model)
    app.post("/predict", response_model=Outputs)(server.predict)
    app.post("/score", response_model=Outputs)(server.score)
    app.post("/explain", response_model=Explanation)(server.explain)
    app.post("/generate", response_model=Outputs)(server.generate)
    allowed = None if hosts is None else frozenset(host.lower() for host in hosts)
    app.add_middleware(
        Guard,
        limits=server.limits,
        hosts=allowed,
        keys=list(keys),
        fail=_failure,
        told=server.metrics.request,
    )
    return app


class _Server:
    """What the routes share."""

    def __init__(self, predictor: Predictor, name: str, limits: Limits) -> None:
        self.predictor, self.name, self.limits = predictor, name, limits
        self.metrics = Metrics(
            {*OPEN, "/model", "/predict", "/score", "/explain", "/generate", "/metrics"},
            lambda: self.batcher.waiting,
        )
        self.batcher: Batcher[_Want | _Drawing] = Batcher(
            self._answer, predictor.config.search.batch_size, limits.waiting, self.metrics.batch
        )

    def model(self) -> ModelInfo:
        """What the model is, its search settings, and the limits of the server."""
        config = self.predictor.config
        attention = config.model.attention
        limits = {key: getattr(self.limits, key) for key in Limits.__dataclass_fields__}
        return ModelInfo(
            name=self.name,
            kind=config.model.kind,
            version=__version__,
            attention=attention.attends,
            heads=attention.heads,
            search=config.search.model_dump(),
            limits=limits,
        )

    def show_metrics(self) -> Response:
        """Counts, in Prometheus' text format."""
        return Response(self.metrics.render(), media_type="text/plain; version=0.0.4")

    async def predict(self, asked: PredictRequest, request: Request) -> Response:
        """Outputs for texts, with their attention."""
        self._must_read("POST /generate writes texts")
        found = await self._within_time(self._ask_outputs(asked), request)
        return _json(_outputs(found))

    async def score(self, asked: ScoreRequest, request: Request) -> Response:
        """Given outputs with their probabilities and their attention."""
        self.limits.check_texts(asked.pairs)
        for index, pair in enumerate(asked.pairs):
            self.limits.check_length(pair.source, index)
            self.limits.check_length(pair.target, index)
        want = _Want("score", self._search(asked.search))
        pairs = [(pair.source, pair.target) for pair in asked.pairs]
        found = await self._within_time(self.batcher.submit(want, pairs), request)
        return _json(_outputs(found))

    async def explain(self, asked: ExplainRequest, request: Request) -> Response:
        """One output, and its attention map as a part of a web page."""
        self._must_read("It looks at no source while it writes")
        self.limits.check_length(asked.text)
        self.limits.check_length(asked.target or "")
        kind = "predict" if asked.target is None else "score"
        want = _Want(kind, self._search(asked.search), drawn=(asked.units, asked.head))
        waiting = self.batcher.submit(want, [(asked.text, asked.target)])
        [found] = await self._within_time(waiting, request)
        return _json(found)

    async def generate(self, asked: GenerateRequest, request: Request) -> Response:
        """Texts of a language model; with ``stream`` told while they are drawn."""
        if not isinstance(self.predictor, LanguageModel):
            raise InputError(
                "This server's model writes outputs for sources and is no language model: ask with "
                "POST /predict"
            )
        self.limits.check_texts(range(asked.n))
        self.limits.check_length(asked.prompt)
        self._search({"sample": True, **asked.search})
        if asked.stream:
            return self._stream(asked)
        found = await self._within_time(self._draw(asked, None), request)
        return _json(_outputs(found))

    def _must_read(self, instead: str) -> None:
        if isinstance(self.predictor, LanguageModel):
            raise InputError(f"This server's model is a language model. {instead}")

    def _search(self, asked: dict[str, Any]) -> str:
        """Checked and as JSON."""
        own = self.predictor.config.search
        settings = self.predictor.settings(asked)
        self.limits.check_search(asked, settings, own)
        self.limits.check_phrases(len(settings.required) + len(settings.forbidden))
        return json.dumps(asked, sort_keys=True)

    def _ask_outputs(self, asked: PredictRequest) -> Future[list[Any]]:
        self.limits.check_texts(asked.texts)
        for index, text in enumerate(asked.texts):
            self.limits.check_length(text, index)
        prefixes = [asked.prefix] if isinstance(asked.prefix, str) else asked.prefix or []
        for text in (*prefixes, *(asked.choices or ())):
            self.limits.check_length(text)
        self.limits.check_phrases(len(asked.choices or ()) + len(asked.dictionary or ()))
        check_prefixes(asked.prefix, asked.texts)
        own: Sequence[str | None] = [None] * len(asked.texts)
        if asked.prefix is not None:
            one = isinstance(asked.prefix, str)
            own = prefixes * len(asked.texts) if one else prefixes
        want = _Want(
            "predict",
            self._search(asked.search),
            None if asked.choices is None else tuple(asked.choices),
            None if asked.dictionary is None else tuple(sorted(asked.dictionary.items())),
            asked.prefix is not None,
        )
        return self.batcher.submit(want, list(zip(asked.texts, own, strict=True)))

    def _draw(
        self, asked: GenerateRequest, watch: Callable[[int, str], None] | None
    ) -> Future[list[Any]]:
        return self.batcher.submit(_Drawing(asked, watch), range(asked.n))

    def _answer(self, want: _Want | _Drawing, items: list[Any]) -> list[str]:
        """What the batcher's thread does: answers as JSON, for attention is long to write."""
        if isinstance(want, _Drawing):
            assert isinstance(self.predictor, LanguageModel)
            asked = want.request
            found = self.predictor.generate(asked.prompt, asked.n, want.watch, **asked.search)
        elif want.kind == "score":
            found = self.predictor.score(items, **json.loads(want.search))
        else:
            found = self.predictor.predict(
                [text for text, _ in items],
                prefix=[prefix for _, prefix in items] if want.prefix else None,
                choices=want.choices,
                dictionary=None if want.dictionary is None else dict(want.dictionary),
                **json.loads(want.search),
            )
        if isinstance(want, _Want) and want.drawn is not None:
            return [_explained(one, *want.drawn) for one in found]
        return [_written(one.to_dict()) for one in found]

    async def _within_time(self, asked: Future[list[Any]], request: Request) -> list[Any]:
        """The answer, if it is there in time and somebody still wants it."""
        answer = asyncio.wrap_future(asked)
        gone = asyncio.ensure_future(_disconnected(request))
        both: set[asyncio.Future[Any]] = {answer, gone}
        try:
            seconds = self.limits.seconds
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise _Gone
        finally:
            answer.cancel()
            gone.cancel()
        raise Overdue(
            f"The answer was not there within {self.limits.seconds:g} s. Ask for less, or start "
            "the server with a higher --timeout"
        )

    def _stream(self, asked: GenerateRequest) -> Response:
        """Server-sent events: ``text`` as texts grow, and at the end ``done``, or ``error``."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        stopped = threading.Event()

        def tell(kind: str, what: str) -> None:
            loop.call_soon_threadsafe(events.put_nowait, (kind, what))

        def watch(number: int, text: str) -> None:
            if stopped.is_set():
                raise _Gone
            tell("text", _written({"number": number, "text": text}))

        def ended(found: Future[list[Any]]) -> None:
            if found.cancelled():
                return
            error = found.exception()
            if error is None:
                tell("done", _outputs(found.result()))
            elif not isinstance(error, _Gone):
                tell("error", _written(_problem(error)))

        drawn = self._draw(asked, watch)
        drawn.add_done_callback(ended)

        async def lines() -> AsyncIterator[str]:
            kind, deadline = "text", loop.time() + self.limits.seconds
            try:
                while kind == "text":
                    try:  # around this alone: a timeout would break off whoever sends a line, too
                        async with asyncio.timeout_at(deadline):
                            kind, what = await events.get()
                    except TimeoutError:
                        seconds = f"{self.limits.seconds:g} s"
                        late = Overdue(f"The texts were not there within {seconds}")
                        kind, what = "error", _written(_problem(late))
                    yield f"event: {kind}\ndata: {what}\n\n"
            finally:  # also where the client has gone: no more tokens are drawn
                stopped.set()
                drawn.cancel()

        return StreamingResponse(
            lines(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _explained(found: Prediction, units: Units, head: int | None) -> str:
    attention = found.attention_map(head, units)
    if attention.weights.size > _LARGEST_MAP:
        rows, columns = attention.weights.shape
        raise InputError(
            f"An attention map may have {_LARGEST_MAP:,} cells here, but {rows} by {columns} came. "
            "Send a shorter text, ask for units word, or draw the attention of POST /predict"
        )
    return _written({"prediction": found.to_dict(), "html": render_fragment(attention)})


def _outputs(found: Sequence[str]) -> str:
    return f'{{"predictions": [{", ".join(found)}]}}'


def _json(text: str) -> Response:
    return Response(text, media_type="application/json", headers={"cache-control": "no-store"})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _failure(status: int, kind: str, message: str, index: int | None = None) -> Response:
    error = {"kind": kind, "message": message, "index": index}
    headers = {"cache-control": "no-store"}
    if status == 503:
        headers["retry-after"] = "1"
    return JSONResponse({"error": error}, status, headers)


def _problem(error: BaseException) -> dict[str, Any]:
    known = isinstance(error, JumokError)
    message = str(error) if known else _BUG
    kind = type(error).__name__ if known else "Bug"
    return {"kind": kind, "message": message, "index": getattr(error, "index", None)}


async def _jumok_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, JumokError)
    return _failure(error.http_status, **_problem(error))


async def _not_understood(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = [
        f"{'.'.join(map(str, item['loc'][1:])) or 'the body'}: "
        f"{item['msg'][0].lower()}{item['msg'][1:]}"
        for item in error.errors()[:5]
    ]
    told = "; ".join(said)
    return _failure(
        422, "NotUnderstood", f"The request is not as /openapi.json describes it: {told}"
    )


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "NotFound", 405: "NotAllowed", 408: "TooSlow", 413: "TooLarge"}
    message = {
        404: "There is nothing at this path. GET /openapi.json tells what there is",
        405: "This path is not asked in this way. GET /openapi.json tells how",
    }.get(error.status_code, str(error.detail))
    return _failure(error.status_code, kind.get(error.status_code, "NotUnderstood"), message)


_BUG = "The server failed at this request, which is its own fault; its log says why"


async def _nobody(_: Request, error: Exception) -> Response:
    return Response(status_code=499)  # for the counts: it cannot be sent


async def _bug(_: Request, error: Exception) -> Response:
    return _failure(500, "Bug", _BUG)


async def _health() -> dict[str, str]:
    """Whether the server answers."""
    return {"status": "ok"}


async def _page() -> Response:
    headers = {"content-security-policy": _PAGE_POLICY, "referrer-policy": "no-referrer"}
    return Response(_file("serving", "page.html"), media_type="text/html", headers=headers)


async def _asset(file: str) -> Response:
    homes = {"page.css": "serving", "page.js": "serving", "attention.js": "explain"}
    if file not in homes:
        raise HTTPException(404)
    kind = "text/css" if file.endswith(".css") else "text/javascript"
    return Response(_file(homes[file], file), media_type=kind)


def _file(home: str, name: str) -> bytes:
    return (resources.files(f"jumok.{home}") / "assets" / name).read_bytes()
