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
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from copy import copy
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from jumok import __version__
from jumok.config import SearchConfig
from jumok.engine import Engine, WholeSearch
from jumok.errors import ConfigError, InputError, JumokError, Overdue
from jumok.explain import Units, render_fragment
from jumok.prediction import Prediction
from jumok.predictor import LanguageModel, Predictor, check_prefixes
from jumok.serving.batcher import Asked, Batcher
from jumok.serving.guard import OPEN, Guard, check_keys
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
from jumok.text import HALF, pieces

_LOG = logging.getLogger("jumok.serving")
_LONGEST_MESSAGE = 1_000
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
    check_keys(keys)
    if isinstance(hosts, str):
        raise ConfigError("Hosts must be a list of names, but one string came. Put it into a list")
    server = _Server(predictor, name, limits or Limits())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.batcher.open()  # also where the application was ended before
        yield
        await run_in_threadpool(server.batcher.close, server.limits.seconds)

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
    for path, answer in (("/", _page), ("/health", _health)):  # as those ask who watch a server
        app.head(path, include_in_schema=False)(answer)
    app.get("/metrics", response_class=Response)(server.show_metrics)
    app.get("/model", response_model=ModelInfo)(server.model)
    app.post("/predict", response_model=Outputs)(server.predict)
    app.post("/score", response_model=Outputs)(server.score)
    app.post("/explain", response_model=Explanation)(server.explain)
    streamed: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
    app.post("/generate", response_model=Outputs, responses=streamed)(server.generate)
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
        self.name, self.limits = name, limits
        self.predictor = copy(predictor)
        self.predictor.engine = _Stoppable(predictor.engine, lambda: self.batcher.wanted)
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
        text, kind = self.metrics.render()
        return Response(text, headers={"content-type": kind})

    async def predict(self, asked: PredictRequest, request: Request) -> Response:
        """Outputs for texts, with their attention."""
        self._must_read("POST /generate writes texts")
        found = await self._within_time(self._ask_outputs(asked), request)
        return _json(_outputs(found))

    async def score(self, asked: ScoreRequest, request: Request) -> Response:
        """Given outputs with their probabilities and their attention."""
        self.limits.check_texts(len(asked.pairs))
        for index, pair in enumerate(asked.pairs):
            self.limits.check_length(pair.source, index)
            self.limits.check_length(pair.target, index)
        want = _Want("score", self._search(asked.search)[0])
        pairs = [(pair.source, pair.target) for pair in asked.pairs]
        waiting = self.batcher.submit(want, pairs, self._weight_of_pairs(pairs))
        return _json(_outputs(await self._within_time(waiting, request)))

    async def explain(self, asked: ExplainRequest, request: Request) -> Response:
        """One output, and its attention map as a part of a web page."""
        self._must_read("It looks at no source while it writes")
        self.limits.check_length(asked.text)
        self.limits.check_length(asked.target or "")
        search, settings = self._search(asked.search)
        if asked.target is None:
            kind, weight = "predict", self._weight([asked.text], settings)
        else:
            kind, weight = "score", self._weight_of_pairs([(asked.text, asked.target)])
        want = _Want(kind, search, drawn=(asked.units, asked.head))
        waiting = self.batcher.submit(want, [(asked.text, asked.target)], weight)
        [found] = await self._within_time(waiting, request)
        return _json(found)

    async def generate(self, asked: GenerateRequest, request: Request) -> Response:
        """Texts of a language model; with ``stream`` told while they are drawn."""
        if not isinstance(self.predictor, LanguageModel):
            raise InputError(
                "This server's model writes outputs for sources and is no language model: ask with "
                "POST /predict"
            )
        self.limits.check_texts(asked.n)
        self.limits.check_outputs(asked.n, self.predictor.config.search)
        self.limits.check_length(asked.prompt)
        settings = self.predictor.drawing(asked.n, asked.search)
        self._check_search({**asked.search, "n_best": asked.n}, settings)
        if asked.stream:
            return self._stream(asked)
        waiting = self.batcher.submit(_Drawing(asked, None), range(asked.n))
        return _json(_outputs(await self._within_time(waiting, request)))

    def _must_read(self, instead: str) -> None:
        if isinstance(self.predictor, LanguageModel):
            raise InputError(f"This server's model is a language model. {instead}")

    def _search(self, asked: dict[str, Any], phrases: int = 0) -> tuple[str, SearchConfig]:
        """Checked, with so many other phrases in the request: as JSON, and what comes of it."""
        settings = self.predictor.settings(asked)
        self._check_search(asked, settings, phrases)
        return json.dumps(asked, sort_keys=True), settings

    def _check_search(
        self, asked: dict[str, Any], settings: SearchConfig, phrases: int = 0
    ) -> None:
        self.limits.check_search(asked, settings, self.predictor.config.search)
        told = (*settings.required, *settings.forbidden)
        self.limits.check_phrases(len(told) + phrases)
        for phrase in told:
            self.limits.check_length(phrase)
        self._check_table(told)

    def _check_table(self, texts: Iterable[str]) -> None:
        """Phrases or prefixes, before a table is made of them."""
        target = self.predictor.target_tokenizer
        self.limits.check_table(pieces(target, text) for text in texts)

    def _ask_outputs(self, asked: PredictRequest) -> Asked:
        self.limits.check_texts(len(asked.texts))
        for index, text in enumerate(asked.texts):
            self.limits.check_length(text, index)
        if isinstance(asked.prefix, str):
            asked.prefix = [asked.prefix] * len(asked.texts)
        prefixes = asked.prefix or []
        choices, dictionary = asked.choices or [], asked.dictionary or {}
        for text in (*prefixes, *choices, *dictionary, *dictionary.values()):
            self.limits.check_length(text)
            try:
                text.encode()
            except UnicodeEncodeError:  # what a dictionary has is written without a tokenizer
                raise InputError(HALF) from None
        search, settings = self._search(asked.search, len(choices) + len(dictionary))
        check_prefixes(asked.prefix, asked.texts)
        self._check_table(prefixes)
        target = self.predictor.target_tokenizer
        self.limits.check_table(target.encode_ids([choice])[0] for choice in choices)
        own: Sequence[str | None] = [None] * len(asked.texts)
        if asked.prefix is not None:
            own = asked.prefix
        want = _Want(
            "predict",
            search,
            None if asked.choices is None else tuple(choices),
            None if asked.dictionary is None else tuple(sorted(dictionary.items())),
            asked.prefix is not None,
        )
        more = max(map(len, (*prefixes, *choices)), default=0)
        weight = self._weight(asked.texts, settings, more)
        return self.batcher.submit(want, list(zip(asked.texts, own, strict=True)), weight)

    def _weight(self, texts: Sequence[str], settings: SearchConfig, more: int = 0) -> int:
        """What texts count in a batch, where an output may have so many tokens ``more``."""
        lengths = [len(ids) + 1 for ids in self.predictor.source_tokenizer.encode_ids(texts)]
        longest = settings.max_length_offset + more
        rows = settings.n_best if settings.sample else settings.beam
        cells = (length * (int(settings.max_length_ratio * length) + longest) for length in lengths)
        return self._weight_of(len(texts), sum(cells), max(rows, settings.n_best * self._maps))

    def _weight_of_pairs(self, pairs: Sequence[tuple[str, str]]) -> int:
        sides = zip(*pairs, strict=True) if pairs else ((), ())
        tokenizers = (self.predictor.source_tokenizer, self.predictor.target_tokenizer)
        sources, targets = (
            [len(ids) + 1 for ids in tokenizer.encode_ids(side)]
            for tokenizer, side in zip(tokenizers, sides, strict=True)
        )
        cells = sum(s * t for s, t in zip(sources, targets, strict=True))
        return self._weight_of(len(pairs), cells, self._maps)

    def _weight_of(self, texts: int, cells: int, rows: int) -> int:
        """All that waits as one batch needs no more attention than one request may."""
        self.limits.check_attention(cells * rows)
        share = self.limits.attention / self.predictor.config.search.batch_size
        return max(texts, math.ceil(cells * rows / share))

    @property
    def _maps(self) -> int:
        """Attention maps in an output: the heads', where there are several, and their mean."""
        heads = self.predictor.config.model.attention.heads
        return 1 if heads == 1 else 1 + heads

    def _answer(self, want: _Want | _Drawing, items: list[Any]) -> list[str]:
        """What the batcher's thread does: answers as JSON, for attention is long to write."""
        if isinstance(want, _Drawing):
            assert isinstance(self.predictor, LanguageModel)
            asked = want.request
            found = self.predictor.generate(asked.prompt, asked.n, want.watch, **asked.search)
        elif want.kind == "score":
            found = self.predictor.score(items, **json.loads(want.search))
        else:
            prefixes = [prefix for _, prefix in items] if want.prefix else None
            self._check_table(prefixes or ())  # one table: too much together, each is told alone
            found = self.predictor.predict(
                [text for text, _ in items],
                prefix=prefixes,
                choices=want.choices,
                dictionary=None if want.dictionary is None else dict(want.dictionary),
                **json.loads(want.search),
            )
        if isinstance(want, _Want) and want.drawn is not None:
            return [_explained(one, *want.drawn) for one in found]
        return [_written(one.to_dict()) for one in found]

    async def _within_time(self, asked: Asked, request: Request) -> list[Any]:
        """The answer, if it is there in time and somebody still wants it."""
        answer = asyncio.wrap_future(asked)
        gone = asyncio.ensure_future(_disconnected(request.receive))
        both: set[asyncio.Future[Any]] = {answer, gone}
        seconds = self.limits.seconds
        try:
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise _Gone
        finally:
            answer.cancel()  # so that nobody misses what may still come
            asked.drop()
            gone.cancel()
        raise Overdue(
            f"The answer was not there within {seconds:g} s. Ask for less, or start "
            "the server with a higher --timeout"
        )

    def _stream(self, asked: GenerateRequest) -> Response:
        """Server-sent events: ``text`` as texts grow, and at the end ``done``, or ``error``."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

        def tell(kind: str, what: str) -> None:
            loop.call_soon_threadsafe(events.put_nowait, (kind, what))

        def watch(number: int, text: str) -> None:
            tell("text", _written({"number": number, "text": text}))

        def ended(found: Future[list[Any]]) -> None:
            if drawn.cancelled() or drawn.dropped:
                return
            error = found.exception()
            if error is None:
                tell("done", _outputs(found.result()))
            else:
                if not isinstance(error, JumokError):
                    _LOG.error("A text could not be drawn", exc_info=error)
                tell("error", _written(_problem(error)))

        drawn = self.batcher.submit(_Drawing(asked, watch), range(asked.n))
        drawn.add_done_callback(ended)

        async def lines() -> AsyncIterator[str]:
            kind, deadline = "text", loop.time() + self.limits.seconds
            while kind == "text":
                try:  # around this alone: a timeout would break off whoever sends a line, too
                    async with asyncio.timeout_at(deadline):
                        kind, what = await events.get()
                except TimeoutError:
                    seconds = f"{self.limits.seconds:g} s"
                    late = Overdue(f"The texts were not there within {seconds}")
                    kind, what = "error", _written(_problem(late))
                yield f"event: {kind}\ndata: {what}\n\n"

        return _Events(lines(), drawn)


class _Events(StreamingResponse):
    """Lines for as long as they are read; then nobody wants what they tell of.

    Servers differ in how they say that a reader has gone, so both ways are listened to.
    """

    def __init__(self, lines: AsyncIterator[str], drawn: Asked) -> None:
        headers = {"cache-control": "no-store"}
        super().__init__(lines, media_type="text/event-stream", headers=headers)
        self._drawn = drawn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        sending = asyncio.ensure_future(self.stream_response(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        both: set[asyncio.Future[Any]] = {sending, gone}
        try:
            with suppress(OSError):  # the reader has gone
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
        finally:
            self._drawn.drop()
            sending.cancel()
            gone.cancel()


class _Stoppable:
    """An engine that goes no step further once nobody wants the answer.

    A search as a whole (`WholeSearch`) is one call and is finished; it is short by `Limits`.
    """

    def __init__(self, engine: Engine, wanted: Callable[[], bool]) -> None:
        self._engine, self._wanted = engine, wanted
        self.target_vocab, self.attends = engine.target_vocab, engine.attends
        if isinstance(engine, WholeSearch):
            self.whole_search = engine.whole_search

    def start(self, *arguments: Any) -> Any:
        """`Engine.start`."""
        self._check()
        return self._engine.start(*arguments)

    def step(self, *arguments: Any) -> Any:
        """`Engine.step`."""
        self._check()
        return self._engine.step(*arguments)

    def _check(self) -> None:
        if not self._wanted():
            raise _Gone


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


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _failure(
    status: int,
    kind: str,
    message: str,
    index: int | None = None,
    more: Mapping[str, str] | None = None,
) -> Response:
    if len(message) > _LONGEST_MESSAGE:  # it may quote what came
        message = f"{message[:_LONGEST_MESSAGE]}..."
    message = message.encode("utf-8", "backslashreplace").decode()  # halves of surrogate pairs
    error = {"kind": kind, "message": message, "index": index}
    headers = {"cache-control": "no-store", **(more or {})}
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
    told = "; ".join(_where(item) for item in error.errors()[:5])
    return _failure(
        422, "NotUnderstood", f"The request is not as /openapi.json describes it: {told}"
    )


def _where(item: Any) -> str:
    if item["type"] == "json_invalid":
        return f"no JSON at character {item['loc'][-1]}: {item['ctx']['error']}"
    place = ".".join(map(str, item["loc"][1:])) or "the body"
    return f"{place}: {item['msg'][0].lower()}{item['msg'][1:]}"


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "NotFound", 405: "NotAllowed", 408: "TooSlow", 413: "TooLarge"}
    message = {
        404: "There is nothing at this path. GET /openapi.json tells what there is",
        405: "This path is not asked in this way. GET /openapi.json tells how",
    }.get(error.status_code, str(error.detail))
    told = kind.get(error.status_code, "NotUnderstood")
    return _failure(error.status_code, told, message, more=error.headers)


_BUG = "The server failed at this request, which is its own fault; its log says why"


async def _nobody(_: Request, error: Exception) -> Response:
    return Response(status_code=499)  # for the counts: it cannot be sent


async def _bug(_: Request, error: Exception) -> Response:
    # outside the guard
    return _failure(500, "Bug", _BUG, more={"x-content-type-options": "nosniff"})


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
