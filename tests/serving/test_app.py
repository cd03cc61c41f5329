"""The web application with tiny random models: what it answers is what the predictor answers."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ALPHABET, MECHANISMS, tiny_language_model, tiny_predictor, tokenizers

from jumok.config import TokenizerConfig, resolve
from jumok.engine import EnsembleEngine
from jumok.errors import ConfigError, JumokError
from jumok.predictor import LanguageModel, Predictor, load
from jumok.serving import Limits, create_app
from jumok.serving.schemas import Explanation, ModelInfo, Outputs
from jumok.text import train_tokenizer

TEXTS = ["abc", "가각 d", "", "eeee dcba", "a", "bcd e"]


@contextmanager
def client(
    predictor: Predictor, limits: Limits | None = None, **options: Any
) -> Iterator[TestClient]:
    app = create_app(predictor, "tiny", limits, **options)
    with TestClient(app, "http://localhost:8000", raise_server_exceptions=False) as found:
        yield found


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return tiny_predictor("luong2015", 3)


@pytest.fixture(scope="module")
def web(predictor: Predictor) -> Iterator[TestClient]:
    with client(predictor) as found:
        yield found


@pytest.fixture(scope="module")
def writer() -> LanguageModel:
    return tiny_language_model(tokenizers(resolve())[0], 5)


def plain(predictions: list[Any]) -> Any:
    return json.loads(json.dumps([one.to_dict() for one in predictions]))


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"kind", "message", "index"}
    return error


# --- answers -----------------------------------------------------------------------------------


ASKED: list[dict[str, Any]] = [
    {},
    {"search": {"beam": 3, "n_best": 2, "length_penalty": "gnmt"}},
    {"prefix": "x"},
    {"prefix": ["x", "", "y z", "z", "", "w"]},
    {"choices": ["x y z", "y x", "z w v u"]},
    {"search": {"replace_unknown": True}, "dictionary": {"a": "A"}},
    {"search": {"sample": True, "n_best": 3, "seed": 7, "temperature": 1.5}},
    {"search": {"beam": 4, "required": ["w"], "forbidden": ["x"]}},
]


@pytest.mark.parametrize("asked", ASKED, ids=[json.dumps(asked) for asked in ASKED])
def test_outputs_are_the_predictors(
    predictor: Predictor, web: TestClient, asked: dict[str, Any]
) -> None:
    given = {key: value for key, value in asked.items() if key != "search"}
    expected = plain(predictor.predict(TEXTS, **given, **asked.get("search", {})))
    answer = web.post("/predict", json={"texts": TEXTS, **asked})
    assert answer.status_code == 200
    assert answer.json() == {"predictions": expected}
    Outputs.model_validate_json(answer.content, strict=True)  # as the OpenAPI document says


@pytest.mark.parametrize("name", ["lecture", "sutskever2014", *MECHANISMS])
def test_every_kind_of_model_has_the_shape_that_is_documented(name: str) -> None:
    with client(tiny_predictor(name, 4)) as web:
        body = {"texts": TEXTS, "search": {"beam": 2, "n_best": 2}}
        Outputs.model_validate_json(web.post("/predict", json=body).content, strict=True)
        ModelInfo.model_validate_json(web.get("/model").content, strict=True)


def test_scores_are_the_predictors(predictor: Predictor, web: TestClient) -> None:
    pairs = [("abc", "x y"), ("가각", "z"), ("", ""), ("eee", "w w w w")]
    body: dict[str, Any] = {"pairs": [{"source": s, "target": t} for s, t in pairs]}
    answer = web.post("/score", json=body)
    assert answer.json() == {"predictions": plain(predictor.score(pairs))}
    Outputs.model_validate_json(answer.content, strict=True)
    body["search"] = {"length_penalty": "average"}
    expected = plain(predictor.score(pairs, length_penalty="average"))
    assert web.post("/score", json=body).json() == {"predictions": expected}
    body["search"] = {"beam": 7}
    answer = web.post("/score", json=body)
    assert answer.status_code == 400 and "search.beam is of no use" in answer.text


@pytest.mark.parametrize("engine", ["onnx", "onnx-int8"])
def test_a_bundle_without_torch_answers_too(engine: Any, exported: Callable[[str], Path]) -> None:
    predictor = load(exported("luong2015"), engine=engine)
    with client(predictor) as web:
        body = {"texts": TEXTS, "search": {"beam": 3}}
        expected = plain(predictor.predict(TEXTS, beam=3))
        assert web.post("/predict", json=body).json() == {"predictions": expected}


def test_models_that_decide_together_answer_too(predictor: Predictor) -> None:
    other = tiny_predictor("luong2015", 8)
    judge = tiny_language_model(predictor.target_tokenizer, 5)
    together = Predictor(
        EnsembleEngine([predictor.engine, other.engine]),
        predictor.source_tokenizer,
        predictor.target_tokenizer,
        predictor.config,
        judge.engine,
    )
    search = {"lm_weight": 0.4, "beam": 3}
    with client(together.with_search(search)) as web:
        expected = plain(together.predict(TEXTS, **search))
        assert web.post("/predict", json={"texts": TEXTS}).json() == {"predictions": expected}
        pairs = [("abc", "x y"), ("가각", "z")]
        body = {"pairs": [{"source": source, "target": target} for source, target in pairs]}
        expected = plain(together.score(pairs, lm_weight=0.4))
        assert web.post("/score", json=body).json() == {"predictions": expected}


def test_an_explanation_is_the_drawing_that_a_notebook_shows(
    predictor: Predictor, web: TestClient
) -> None:
    found = predictor.predict("가각 d", beam=2)
    body = {"text": "가각 d", "search": {"beam": 2}}
    answer = web.post("/explain", json=body)
    Explanation.model_validate_json(answer.content, strict=True)
    assert answer.json() == {"prediction": plain([found])[0], "html": found._repr_html_()}
    [forced] = predictor.score([("abc", "z z")])
    answer = web.post("/explain", json={"text": "abc", "target": "z z"})
    assert answer.json()["html"] == forced._repr_html_()


def test_heads_and_units_of_an_explanation() -> None:
    predictor = tiny_predictor("heads in a predicted window, sparse", 4)
    with client(predictor) as web:
        assert web.get("/model").json()["heads"] == 4
        drawn = [
            web.post("/explain", json={"text": "ab 가각", "units": units, "head": head}).json()
            for units in ("token", "word")
            for head in (None, 1, 4)
        ]
        assert len({one["html"] for one in drawn}) == 6
        error = error_of(web.post("/explain", json={"text": "ab", "head": 5}))
        assert "numbered from 1 to 4, but 5 came" in error["message"]


def test_texts_in_an_explanation_are_escaped(web: TestClient) -> None:
    html = web.post("/explain", json={"text": "<img src=x onerror=alert(1)>ab"}).json()["html"]
    assert "<img" not in html and "&lt;img" in html


# --- one batch of many requests ----------------------------------------------------------------


@contextmanager
def held(predictor: Predictor) -> Iterator[tuple[threading.Event, threading.Event, list[int]]]:
    """The predictor's engine waits at its start until it is let go; and sizes of batches."""
    begun, go, sizes = threading.Event(), threading.Event(), []
    start = predictor.engine.start

    def waits(source: Any, *rest: Any) -> Any:
        begun.set()
        assert go.wait(30)
        sizes.append(len(source))
        return start(source, *rest)

    predictor.engine.start = waits  # type: ignore[method-assign]
    try:
        yield begun, go, sizes
    finally:
        go.set()
        del predictor.engine.start


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def asking(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Asks the application, and ends it, so that its thread is not at work any more: where types
    are checked it draws random numbers, which Hypothesis does not want while it draws."""
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as web,
    ):
        yield web


@asynccontextmanager
async def busy(
    predictor: Predictor, app: Any
) -> AsyncIterator[tuple[httpx2.AsyncClient, asyncio.Task[Any], threading.Event, list[int]]]:
    """A client of an application whose first request is answered once it is let go."""
    async with asking(app) as web:
        with held(predictor) as (begun, go, sizes):
            first = asyncio.ensure_future(web.post("/predict", json={"texts": ["a"]}))
            await until(begun.is_set)
            yield web, first, go, sizes


REQUEST = st.tuples(
    st.lists(st.text(ALPHABET, max_size=8), min_size=1, max_size=4),
    st.sampled_from([{}, {"beam": 3}, {"beam": 3, "n_best": 2}, {"sample": True, "seed": 4}]),
)


@settings(max_examples=15, deadline=None)
@given(requests=st.lists(REQUEST, min_size=2, max_size=12))
def test_what_is_asked_at_one_time_is_answered_as_if_alone(
    requests: list[tuple[list[str], dict[str, Any]]],
) -> None:
    predictor = tiny_predictor("luong2015", 3, {"search.batch_size": 8})
    expected = [plain(predictor.predict(texts, **search)) for texts, search in requests]

    async def ask() -> tuple[list[Any], str]:
        app = create_app(predictor)
        async with busy(predictor, app) as (web, first, go, _):
            rest = [
                asyncio.ensure_future(web.post("/predict", json={"texts": texts, "search": search}))
                for texts, search in requests
            ]
            count = sum(len(texts) for texts, _ in requests)
            await until(lambda: f"waiting_texts {count}.0" in metrics(app))
            go.set()
            await first
            answers = [(await one).json()["predictions"] for one in rest]
            return answers, metrics(app)

    answers, counts = asyncio.run(ask())
    for one, other in zip(answers, expected, strict=True):
        assert_same(one, other)
    batches = float(re.findall(r"jumok_batch_texts_count (\S+)", counts)[0])
    kinds = {json.dumps(search) for _, search in requests}
    if len(requests) > len(kinds) and sum(len(texts) for texts, _ in requests) <= 8:
        assert batches == 1 + len(kinds)  # what was alike was one batch


def metrics(app: Any) -> str:
    with_server = next(r for r in app.routes if getattr(r, "path", "") == "/metrics")
    return with_server.endpoint().body.decode()


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal, but for the last digits of numbers: a batch of another size may round otherwise."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, abs=1e-9)
    else:
        assert ours == theirs


def test_a_bad_text_is_refused_to_its_sender_alone() -> None:
    predictor = tiny_predictor(
        "luong2015", 3, {"search.max_source_length": 5, "search.batch_size": 8}
    )

    async def ask() -> list[httpx2.Response]:
        app = create_app(predictor)
        async with busy(predictor, app) as (web, first, go, _):
            texts = [["ab"], ["abc", "abcdef"], ["c"], ["abc"]]
            rest = [
                asyncio.ensure_future(web.post("/predict", json={"texts": some})) for some in texts
            ]
            await until(lambda: "waiting_texts 5.0" in metrics(app))
            go.set()
            await first
            answers = [await one for one in rest]
            assert "jumok_batch_texts_sum 6.0" in metrics(app)
            assert "jumok_batch_texts_count 2.0" in metrics(app)
            return answers

    answers = asyncio.run(ask())
    assert [one.status_code for one in answers] == [200, 422, 200, 200]
    error = error_of(answers[1])
    assert error["kind"] == "InputError" and error["index"] == 1
    assert "max_source_length=5" in error["message"]


# --- limits, time, errors ----------------------------------------------------------------------


def test_a_search_that_nobody_waits_for_goes_no_further() -> None:
    """By steps, and the next request has its turn at once."""
    predictor = tiny_predictor("luong2015", 3, {"search.min_length": 9_000})
    steps = 0
    step = predictor.engine.step

    def counted(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return step(*arguments)

    predictor.engine.step = counted  # type: ignore[method-assign]
    with client(predictor, Limits(seconds=0.3)) as web:
        assert web.post("/predict", json={"texts": ["a"]}).status_code == 504
        soon = steps
        body = {"pairs": [{"source": "a", "target": "x"}]}
        assert web.post("/score", json=body).status_code == 200
        assert 10 < soon < 8_000 and steps < soon + 10


def test_a_late_answer_is_told_and_what_waits_behind_it_is_not_begun() -> None:
    predictor = tiny_predictor("luong2015", 3)

    async def ask() -> tuple[list[httpx2.Response], list[int]]:
        app = create_app(predictor, limits=Limits(seconds=0.3))
        async with busy(predictor, app) as (web, first, go, sizes):
            second = await web.post("/predict", json={"texts": ["b", "c"]})
            late = [await first, second]
            go.set()
            late.append(await web.post("/predict", json={"texts": ["d"]}))
            return late, sizes

    answers, sizes = asyncio.run(ask())
    assert [one.status_code for one in answers] == [504, 504, 200]
    assert "not there within 0.3 s" in error_of(answers[0])["message"]
    assert sizes == [1, 1]  # the first and the last


def test_too_much_waiting_is_told_with_when_to_come_again() -> None:
    predictor = tiny_predictor("luong2015", 3)

    async def ask() -> list[httpx2.Response]:
        app = create_app(predictor, limits=Limits(waiting=2))
        async with busy(predictor, app) as (web, first, go, _):
            waits = asyncio.ensure_future(web.post("/predict", json={"texts": ["b", "c"]}))
            await until(lambda: "waiting_texts 2.0" in metrics(app))
            refused = await web.post("/predict", json={"texts": ["d"]})
            go.set()
            return [await first, await waits, refused]

    answers = asyncio.run(ask())
    assert [one.status_code for one in answers] == [200, 200, 503]
    assert answers[-1].headers["retry-after"] == "1"
    assert "lets 2 texts wait, and 2 do" in error_of(answers[-1])["message"]


async def by_hand(
    app: Any,
    path: str,
    body: bytes,
    then: AsyncIterator[dict[str, Any]],
    fails: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """A POST where the messages after the body are given."""
    sent: list[dict[str, Any]] = []
    first: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return first.pop() if first else await anext(then)

    async def send(message: dict[str, Any]) -> None:
        if fails():
            raise OSError("nobody is there")
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


def test_who_goes_is_not_answered_and_not_searched_for() -> None:
    predictor = tiny_predictor("luong2015", 3)

    async def ask() -> tuple[str, list[int]]:
        app = create_app(predictor)
        leave = asyncio.Event()

        async def then() -> AsyncIterator[dict[str, Any]]:
            await leave.wait()
            yield {"type": "http.disconnect"}

        async with busy(predictor, app) as (_, first, go, sizes):
            body = json.dumps({"texts": ["b", "c"]}).encode()
            gone = asyncio.ensure_future(by_hand(app, "/predict", body, then()))
            await until(lambda: "waiting_texts 2.0" in metrics(app))
            leave.set()
            await gone
            assert "waiting_texts 0.0" in metrics(app)
            go.set()
            await first
            return metrics(app), sizes

    counts, sizes = asyncio.run(ask())
    assert 'jumok_requests_total{route="/predict",status="499"} 1.0' in counts
    assert sizes == [1]


def test_a_body_that_does_not_end_is_given_up() -> None:
    async def ask() -> list[dict[str, Any]]:
        app = create_app(tiny_predictor("luong2015", 3), limits=Limits(seconds=0.2))
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        parts = [{"type": "http.request", "body": b'{"te', "more_body": True}]
        sent: list[dict[str, Any]] = []

        async def receive() -> Any:
            return parts.pop() if parts else await never

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/predict", "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }  # fmt: skip
        await app(scope, receive, send)
        return sent

    head, body = asyncio.run(ask())
    assert head["status"] == 408
    assert "within 0.2 s" in json.loads(body["body"])["error"]["message"]


def test_a_body_that_is_too_large_is_not_read() -> None:
    limits = Limits(texts=1, characters=10)
    large = b'{"texts": ["' + b"a" * limits.body + b'"]}'

    def parts() -> Iterator[bytes]:
        yield from (large[i : i + 1000] for i in range(0, len(large), 1000))

    with client(tiny_predictor("luong2015", 3), limits) as web:
        head = {"content-type": "application/json"}
        told = web.post("/predict", content=large, headers=head)  # says how long it is
        chunked = web.post("/predict", content=parts(), headers=head)  # does not
    for answer in (told, chunked):
        assert answer.status_code == 413
        assert f"may have {limits.body:,} bytes" in error_of(answer)["message"]


def test_the_largest_text_fits_into_a_body() -> None:
    limits = Limits(texts=3, characters=200)
    texts = ["\U0001f600" * 200] * 3  # written as two escapes each
    with client(tiny_predictor("luong2015", 3), limits) as web:
        content = json.dumps({"texts": texts}, ensure_ascii=True)
        head = {"content-type": "application/json"}
        assert web.post("/predict", content=content, headers=head).status_code == 200


LIMITS = Limits(texts=2, characters=6, phrases=2, beam=4)
REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("/predict", {"texts": ["a", "b", "c"]}, 422, "2 texts, but 3 came"),
    ("/predict", {"texts": ["a", "abcdefg"]}, 422, "6 characters, but one of 7 came"),
    ("/predict", {"texts": ["a"], "prefix": "x y z x"}, 422, "6 characters"),
    ("/predict", {"texts": ["a"], "prefix": ["x", "y"]}, 422, "each of the 1 texts"),
    ("/predict", {"texts": ["a"], "choices": ["x", "y", "z"]}, 422, "2 phrases"),
    ("/predict", {"texts": ["a"], "choices": ["x y z x y"]}, 422, "6 characters"),
    ("/predict", {"texts": ["a"], "search": {"required": ["x", "y"], "forbidden": ["z"]}}, 422,
     "2 phrases"),
    ("/predict", {"texts": ["a"], "search": {"forbidden": ["x y z x"]}}, 422, "6 characters"),
    ("/predict", {"texts": ["a"], "choices": ["x", "y"], "search": {"forbidden": ["z"]}}, 422,
     "2 phrases"),
    ("/predict", {"texts": ["a"], "dictionary": {"abcdefg": "x"}}, 422, "6 characters"),
    ("/predict", {"texts": ["a"], "dictionary": {"a": "abcdefg"}}, 422, "6 characters"),
    ("/predict", {"texts": ["a"], "dictionary": {"a": 3}}, 422, "what stands at 'a'"),
    ("/predict", {"texts": ["a"], "choices": ["x", 3]}, 422, "what stands at 1"),
    ("/predict", {"texts": ["a"], "search": {"beam": 5}}, 422, "search.beam may be at most 4"),
    ("/predict", {"texts": ["a"], "search": {"sample": True, "n_best": 5, "beam": 1}}, 422,
     "search.n_best may be at most 4"),
    ("/predict", {"texts": ["a"], "search": {"min_length": 5}}, 422, "min_length may be at most 4"),
    ("/predict", {"texts": ["a"], "search": {"max_length_offset": 5000}}, 422, "the server's own"),
    ("/predict", {"texts": ["a"], "search": {"batch_size": 1}}, 422, "the server's own"),
    ("/predict", {"texts": ["a"], "search": {"beem": 2}}, 400, "Did you mean 'search.beam'?"),
    ("/predict", {"texts": ["a"], "search": {"beam": 2, "n_best": 3}}, 400, "Set search.beam"),
    ("/predict", {"texts": ["a"], "search": {"lm_weight": 0.3}}, 400, "none came"),
    ("/predict", {"texts": ["a", 3]}, 422, "texts.1: input should be a valid string"),
    ("/predict", {"texts": "a"}, 422, "texts: input should be a valid list"),
    ("/predict", {"text": ["a"]}, 422, "texts: field required"),
    ("/predict", {}, 422, "texts: field required"),
    ("/score", {"pairs": [{"source": "a"}]}, 422, "pairs.0.target: field required"),
    ("/score", {"pairs": [{"target": "x"}] * 3}, 422, "2 texts, but 3 came"),
    ("/score", {"pairs": [{"source": "a", "target": "x y z x y"}]}, 422, "6 characters"),
    ("/score", {"pairs": [], "search": {"beam": 9}}, 422, "search.beam may be at most 4"),
    ("/explain", {"text": "abcdefg"}, 422, "6 characters"),
    ("/explain", {"text": ""}, 422, "the text is empty"),
    ("/explain", {"text": "a", "units": "letter"}, 422, "units: input should be 'token'"),
    ("/generate", {"prompt": "a"}, 422, "no language model: ask with POST /predict"),
    ("/predict", {"texts": ["a"], "search": {"b" * 9_000: 1}}, 400, "bbb..."),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "message"), REFUSED)
def test_what_is_refused(path: str, body: Any, status: int, message: str) -> None:
    with client(tiny_predictor("luong2015", 3), LIMITS) as web:
        answer = web.post(path, json=body)
        assert answer.status_code == status, answer.text
        assert message in error_of(answer)["message"]
        assert web.post("/predict", json={"texts": ["a"]}).status_code == 200


def test_half_a_character_in_a_message_can_be_told(web: TestClient) -> None:
    head = {"content-type": "application/json"}
    body = b'{"texts": ["a"], "search": {"\\ud83d": 1}}'
    answer = web.post("/predict", content=body, headers=head)
    assert answer.status_code == 400 and "\\ud83d" in error_of(answer)["message"]


@pytest.mark.parametrize("entry", [{"a": "\ud800"}, {"\ud800": "a"}])
def test_half_a_character_in_a_dictionary_is_refused(
    web: TestClient, entry: dict[str, str]
) -> None:
    body = {"texts": ["a"], "dictionary": entry, "search": {"replace_unknown": True}}
    head = {"content-type": "application/json"}
    answer = web.post("/predict", content=json.dumps(body), headers=head)
    assert answer.status_code == 422
    assert "half of a surrogate pair" in error_of(answer)["message"]


MISTAKES = [1] * 300_000


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"texts": MISTAKES}, 422),
        ({"texts": [{}] * 300_000}, 422),
        ({"texts": [], "choices": MISTAKES}, 422),
        ({"texts": [], "prefix": MISTAKES}, 422),
        ({"texts": [], "dictionary": dict.fromkeys(map(str, range(150_000)), 1)}, 422),
        ({"texts": [], "search": {"required": [{}] * 300_000}}, 400),
        ({"texts": [], "search": {"forbidden": [{}] * 300_000}}, 400),
    ],
    ids=["texts", "objects", "choices", "prefixes", "dictionary", "required", "forbidden"],
)
def test_a_million_mistakes_are_one(web: TestClient, body: dict[str, Any], status: int) -> None:
    content = json.dumps(body)  # a client's own work, which takes as long as the server's
    begun = time.process_time()
    answer = web.post("/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status and len(answer.content) < 1_000
    assert time.process_time() - begun < 1  # it took eleven seconds to make a sentence of each


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'{"texts": ["\\ud83d"]}', b"\xff\xfe"])
def test_what_is_no_request(web: TestClient, body: bytes) -> None:
    answer = web.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    error_of(answer)


def test_what_there_is_not(web: TestClient) -> None:
    assert error_of(web.get("/nothing"))["kind"] == "NotFound"
    assert error_of(web.get("/predict"))["kind"] == "NotAllowed"
    assert error_of(web.get("/assets/app.py"))["kind"] == "NotFound"
    assert web.get("/assets/..%2Fapp.py").status_code == 404


def test_texts_need_no_more_attention_than_there_is_room_for() -> None:
    predictor = tiny_predictor("heads in a predicted window, sparse", 4)
    # 5 source tokens, </s> counted, and outputs of up to 5 + 4 tokens
    with client(predictor, Limits(attention=5 * 9 * 5 * 2)) as web:
        for search, status in (({"beam": 10}, 200), ({"beam": 11}, 422), ({}, 200),
                               ({"n_best": 2}, 200), ({"n_best": 3}, 422)):  # fmt: skip
            answer = web.post("/predict", json={"texts": ["abcd"], "search": search})
            assert answer.status_code == status, search
        assert "450 numbers of attention" in error_of(answer)["message"]
        for count, status in ((2, 200), (3, 422)):  # four heads and their mean
            answer = web.post("/predict", json={"texts": ["abcd"] * count})
            assert answer.status_code == status
        pairs = [{"source": "abcd", "target": " ".join("x" * 17)}]
        assert web.post("/score", json={"pairs": pairs}).status_code == 200
        assert web.post("/score", json={"pairs": pairs * 2}).status_code == 422
        answer = web.post("/explain", json={"text": "abcd", "search": {"beam": 11}})
        assert answer.status_code == 422
    with client(tiny_predictor("sutskever2014", 3), Limits(attention=100)) as web:
        assert web.post("/predict", json={"texts": ["abcd"]}).status_code == 200


@pytest.mark.parametrize("kind", ["char", "jamo", "word"])
def test_phrases_need_no_larger_table_than_there_is_room_for(kind: Any) -> None:
    syllables = [chr(0xAC00 + i) for i in range(2_000)]
    apart = " " if kind == "word" else ""
    many = [apart.join(syllables[i:] + syllables[:i])[:2_000] for i in range(40)]
    few = [f"{i:04} {chr(97 + i % 26)} 가나다" for i in range(1_000)]
    target = train_tokenizer([*many, *few], TokenizerConfig(kind=kind, vocab_size=9_000))
    between = (tokenizers(resolve())[0], target)
    predictor = tiny_predictor("luong2015", 3, between=between)
    with client(predictor) as web:
        for asked in ({"search": {"forbidden": many}}, {"search": {"required": many}},
                      {"choices": many}, {"prefix": many}):  # fmt: skip
            begun = time.process_time()
            answer = web.post("/predict", json={"texts": ["a"] * 40, **asked})
            assert answer.status_code == 422, asked.keys()
            assert "different. Send fewer or shorter ones" in error_of(answer)["message"]
            assert web.post("/predict", json={"texts": ["a"]}).status_code == 200
            assert time.process_time() - begun < 2
        body = {"texts": ["a"], "search": {"forbidden": few}}
        assert web.post("/predict", json=body).status_code == 200


def test_prefixes_that_are_too_much_together_are_searched_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictor = tiny_predictor("luong2015", 3)
    monkeypatch.setattr("jumok.serving.limits._TABLE", 3 * (64 + 2))
    app = create_app(predictor)

    async def ask() -> list[httpx2.Response]:
        async with busy(predictor, app) as (web, first, go, _):
            bodies = [{"texts": ["a"], "prefix": prefix} for prefix in ("x", "y", "x y z")]
            rest = [asyncio.ensure_future(web.post("/predict", json=body)) for body in bodies]
            await until(lambda: "waiting_texts 2.0" in metrics(app) and rest[2].done())
            go.set()
            await first
            return [await one for one in rest]

    assert [one.status_code for one in asyncio.run(ask())] == [200, 200, 422]


def test_an_application_can_be_started_again(predictor: Predictor) -> None:
    app = create_app(predictor)
    for _ in range(2):
        with TestClient(app, "http://localhost") as web:
            assert web.post("/predict", json={"texts": ["a"]}).status_code == 200
        with TestClient(app, "http://localhost") as web:
            assert web.get("/health").json() == {"status": "ok"}


def test_who_watches_a_server(web: TestClient) -> None:
    assert web.head("/health").status_code == web.head("/").status_code == 200
    answer = web.put("/health")
    assert answer.status_code == 405 and "GET" in answer.headers["allow"]


def test_a_models_own_settings_may_be_beyond_the_limits() -> None:
    predictor = tiny_predictor("luong2015", 3, {"search.beam": 6, "search.min_length": 9})
    with client(predictor, LIMITS) as web:
        body = {"texts": ["a"], "search": {"n_best": 3}}
        assert web.post("/predict", json=body).status_code == 200


def test_a_large_map_is_not_drawn() -> None:
    predictor = tiny_predictor("luong2015", 3, {"search.min_length": 250})
    with client(predictor) as web:
        error = error_of(web.post("/explain", json={"text": "a" * 200}))
        assert "40,000 cells" in error["message"]
        assert web.post("/predict", json={"texts": ["a" * 200]}).status_code == 200


def test_a_bug_is_told_without_what_is_inside(
    web: TestClient, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(predictor.engine, "start", broken)
        answer = web.post("/predict", json={"texts": ["a"]})
    assert answer.status_code == 500
    assert error_of(answer)["kind"] == "Bug" and "secret" not in answer.text
    assert web.post("/predict", json={"texts": ["a"]}).status_code == 200


def every_error(kind: type[JumokError] = JumokError) -> Iterator[type[JumokError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from every_error(below)


def test_every_error_has_an_http_status_of_its_own_kind() -> None:
    for kind in every_error():
        assert 400 <= kind.http_status < 600


# --- who may ask -------------------------------------------------------------------------------


def test_only_by_its_own_names(predictor: Predictor) -> None:
    with client(predictor, hosts=["localhost", "Jumok.Example"]) as web:
        for host in ("localhost", "127.0.0.1:8000", "[::1]", "[::1]:8000", "jumok.example:80",
                     "JUMOK.example", "192.168.0.7:8000"):  # fmt: skip
            assert web.get("/health", headers={"host": host}).status_code == 200, host
        for host in ("evil.example", "localhost.evil.example", "evil.example:8000", "", "127.1.x"):
            answer = web.get("/health", headers={"host": host})
            assert answer.status_code == 421, host
            assert error_of(answer)["kind"] == "ForeignHost"


def test_a_string_is_no_list_of_names_or_keys(predictor: Predictor) -> None:
    for wrong in ({"hosts": "localhost"}, {"keys": "k" * 30}, {"keys": ["k" * 15]}, {"keys": [""]}):
        with pytest.raises(ConfigError):
            create_app(predictor, **wrong)


def test_a_key_is_asked_for_where_anything_of_the_model_is(predictor: Predictor) -> None:
    keys = ["k" * 16, "열쇠" * 8]
    with client(predictor, keys=keys) as web:
        for path in ("/", "/health", "/assets/page.js"):
            assert web.get(path).status_code == 200
        body = {"texts": ["a"]}
        for wrong in ({}, {"authorization": "Bearer"}, {"authorization": f"Basic {keys[0]}"},
                      {"authorization": f"Bearer {keys[0]}x"}):  # fmt: skip
            for path in ("/predict", "/nothing"):
                answer = web.post(path, json=body, headers=wrong)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
            for path in ("/model", "/metrics", "/openapi.json"):
                assert web.get(path, headers=wrong).status_code == 401
        for key in keys:
            head = {"authorization": f"Bearer {key}".encode()}
            assert web.post("/predict", json=body, headers=head).status_code == 200  # type: ignore[arg-type]
        assert (
            keys[0] not in web.get("/metrics", headers={"authorization": f"bearer {keys[0]}"}).text
        )


def test_no_other_page_may_read_answers(web: TestClient) -> None:
    answer = web.post("/predict", json={"texts": ["a"]}, headers={"origin": "http://evil.example"})
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert answer.headers["x-content-type-options"] == "nosniff"
    # what a page may send elsewhere without asking first is no request here
    body = json.dumps({"texts": ["a"]})
    for kind in ({"content-type": "text/plain"}, {}, {"content-type": "multipart/form-data"}):
        answer = web.post("/predict", content=body, headers=kind)
        assert answer.status_code == 415
        assert "content-type: application/json" in error_of(answer)["message"]
    kind = {"content-type": "Application/JSON; charset=utf-8"}
    assert web.post("/predict", content=body, headers=kind).status_code == 200


# --- counts ------------------------------------------------------------------------------------


def test_counts_say_nothing_of_texts(predictor: Predictor) -> None:
    with client(predictor) as web:
        web.post("/predict", json={"texts": ["a", "bc"]})
        web.post("/predict", json={"texts": 3})
        web.get("/secret-path")
        web.get("/secret-path-2")
        text = web.get("/metrics").text
    assert 'jumok_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'jumok_requests_total{route="/predict",status="422"} 1.0' in text
    assert 'jumok_requests_total{route="other",status="404"} 2.0' in text
    assert 'jumok_request_seconds_count{route="/predict"} 2.0' in text
    assert "jumok_batch_texts_sum 2.0" in text and "secret" not in text


# --- language models ---------------------------------------------------------------------------


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        kind, data = block.split("\n")
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_texts_of_a_language_model(writer: LanguageModel) -> None:
    search = {"seed": 3, "temperature": 0.8, "top_k": 4}
    expected = plain(writer.generate("ab", 3, **search))
    with client(writer) as web:
        body = {"prompt": "ab", "n": 3, "search": search}
        answer = web.post("/generate", json=body)
        assert answer.json() == {"predictions": expected}
        Outputs.model_validate_json(answer.content, strict=True)
        streamed = web.post("/generate", json={**body, "stream": True})
        assert streamed.headers["content-type"].startswith("text/event-stream")
        *growing, last = events(streamed.text)
        assert last == ("done", {"predictions": expected})
        assert {kind for kind, _ in growing} == {"text"}
        for number, one in enumerate(expected):
            texts = [told["text"] for _, told in growing if told["number"] == number]
            assert texts[-1] == one["text"]
            assert all(later.startswith(sooner) for sooner, later in pairwise(texts))
        assert error_of(web.post("/predict", json={"texts": ["a"]}))["kind"] == "InputError"
        assert "language model" in error_of(web.post("/explain", json={"text": "a"}))["message"]
        scored = web.post("/score", json={"pairs": [{"target": "abc"}]}).json()["predictions"]
        assert scored == plain(writer.score([("", "abc")]))


def test_what_a_language_model_refuses(writer: LanguageModel) -> None:
    with client(writer, LIMITS) as web:
        for stream in (False, True):
            for body, status, message in (
                ({"n": 3}, 422, "2 texts, but 3 came"),
                ({"n": 10**20}, 422, "2 texts, but 1" + "0" * 20 + " came"),
                ({"prompt": "abcabca"}, 422, "6 characters"),
                ({"search": {"top_k": 0}}, 400, "search.top_k"),
                ({"search": {"max_length_offset": 9999}}, 422, "the server's own"),
                ({"search": {"n_best": 2}}, 400, "leave search.n_best out"),
            ):
                answer = web.post("/generate", json={**body, "stream": stream})
                assert answer.status_code == status
                assert message in error_of(answer)["message"]
        with client(writer, Limits(beam=4)) as wide:
            answer = wide.post("/generate", json={"search": {"sample": False, "beam": 5}})
            assert "search.beam may be at most 4" in error_of(answer)["message"]
            answer = wide.post("/generate", json={"n": 5})
            assert answer.status_code == 422
            assert error_of(answer)["message"].startswith("n may be at most 4")
        [(kind, told)] = events(web.post("/generate", json={"prompt": "zz", "stream": True}).text)
        assert kind == "error" and told["kind"] == "InputError"


@pytest.mark.parametrize("tells", ["receive", "send", "before"])
def test_a_text_that_nobody_waits_for_is_drawn_no_further(
    writer: LanguageModel, tells: str
) -> None:
    """Whether the server says so by a message, or its ``send`` fails, at once or later."""
    endless = writer.with_search({"min_length": 5_000, "max_length_offset": 5_000})
    steps = 0
    step = writer.engine.step

    def counted(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return step(*arguments)

    async def ask() -> None:
        app = create_app(endless)

        async def then() -> AsyncIterator[dict[str, Any]]:
            await until(lambda: steps > 20 and tells == "receive")
            yield {"type": "http.disconnect"}

        def fails() -> bool:
            return tells == "before" or (tells == "send" and steps > 20)

        await by_hand(app, "/generate", b'{"stream": true}', then(), fails=fails)
        soon = steps
        await asyncio.sleep(0.2)
        assert steps <= soon + 2  # the step that was being made, and one begun before it was told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endless.engine, "step", counted)
        asyncio.run(ask())
    assert (tells == "before" or steps > 20) and steps < 4_000


def test_a_bug_in_a_stream_is_logged(
    writer: LanguageModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(writer.engine, "start", broken)
    with client(writer) as web:
        answer = web.post("/generate", json={"stream": True})
    [(kind, told)] = events(answer.text)
    assert kind == "error" and told["kind"] == "Bug" and "secret" not in answer.text
    assert "ZeroDivisionError: secret" in caplog.text


def test_a_late_text_is_told_in_the_stream(writer: LanguageModel) -> None:
    endless = writer.with_search({"min_length": 9_000, "max_length_offset": 9_000})
    with client(endless, Limits(seconds=0.3)) as web:
        *growing, last = events(web.post("/generate", json={"stream": True}).text)
    assert growing and last[0] == "error" and last[1]["kind"] == "Overdue"


# --- page and document -------------------------------------------------------------------------


def test_the_page_asks_nobody_else(web: TestClient) -> None:
    page = web.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "http" not in policy
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
        assert web.get(path).status_code == 200, path
    script = web.get("/assets/page.js").text
    assert "http://" not in page.text + script and "https://" not in page.text + script
    assert "/assets/attention.js" in script
    for path in re.findall(r'(?:ask|fetch)\("(/[^"]+)"', script):
        assert path in web.get("/openapi.json").json()["paths"]


def test_the_page_lets_as_much_be_asked_as_the_server(web: TestClient) -> None:
    script = web.get("/assets/page.js").text
    for field, setting in (("beam", "beam"), ("outputs", "n_best")):
        most = f"Math.max(model.limits.beam, model.search.{setting})"
        assert f'at("{field}").max = {most};' in script


def test_the_page_says_everything_in_both_languages() -> None:
    assets = resources.files("jumok.serving") / "assets"
    page = (assets / "page.html").read_text(encoding="utf-8")
    script = (assets / "page.js").read_text(encoding="utf-8")
    words = {}
    for language in ("en", "ko"):
        block = re.search(rf"\n  {language}: \{{(.*?)\n  \}},", script, re.DOTALL)
        assert block is not None
        words[language] = set(re.findall(r'(\w+): "[^"]+"', block[1]))
    assert words["en"] == words["ko"]
    said = re.findall(r'data-say="(\w+)"', page) + re.findall(r'\bsay\("(\w+)"\)', script)
    assert set(said) <= words["en"]


def test_the_document_tells_all(web: TestClient) -> None:
    document = web.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/predict", "/score", "/explain", "/generate", "/model", "/health", "/metrics",
    }  # fmt: skip
    search = document["components"]["schemas"]["PredictRequest"]["properties"]["search"]
    assert "beam" in search["properties"]
    assert search["properties"]["beam"]["description"].startswith("Hypotheses kept")
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["responses"]["4XX"]["content"]["application/json"]["schema"] == {
                "$ref": "#/components/schemas/Failure"
            }
