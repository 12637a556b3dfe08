"""The server of a review: the page, the cases of a reader, their images, and the judgements."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, ParamSpec, TypeVar

import uvicorn
from jinja2 import Environment, FunctionLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from medr1.data.roots import ImageRoot
from medr1.errors import InputError, ItemError, Medr1Error, OutputError
from medr1.records import Prediction
from medr1.review.cases import CaseImages, case_view
from medr1.review.comparison import SecondAnswers, is_swapped, swapped
from medr1.review.guard import Access, Guard
from medr1.review.rubric import PREFERENCE, SECOND, check_ratings, rubric_of
from medr1.review.sampling import reader_order
from medr1.review.scan_slices import CaseSlices
from medr1.review.store import MAX_COMMENT, MAX_NAME, Judgement, Store, StoredItem, reader_name

P = ParamSpec("P")
T = TypeVar("T")
_STATIC = {
    "review.js": "text/javascript",
    "earlier.js": "text/javascript",
    "viewer.js": "text/javascript",
    "review.css": "text/css",
}


@dataclass(frozen=True)
class Adjudication:
    """What the server of a second round needs."""

    adjudicator: str
    """The only reader whose judgements are taken."""
    earlier: Mapping[int, Sequence[Mapping[str, object]]]
    """Place -> the verdicts of the first round, from `rounds.earlier_verdicts`."""


@dataclass(frozen=True)
class ReviewApp:
    """The application: what is answered to each request that `Guard` lets through."""

    store: Store
    predictions: Sequence[Prediction]
    """All items of the results file; a place in the store is a place in this list."""
    images: CaseImages
    slices: CaseSlices
    access: Access
    blind: bool
    title: str
    """Name of the model; "" where it is hidden."""
    items: dict[int, StoredItem]
    """Place -> case."""
    second: SecondAnswers | None = None
    """The answers of the model that is compared, in the order of `predictions`."""
    adjudication: Adjudication | None = None

    def asgi(self) -> ASGIApp:
        """The application with its guard, as a server runs it."""
        routes = [
            Route("/", self.page),
            Route("/favicon.ico", self.no_icon),
            Route("/static/{name}", self.static),
            Route("/api/login", self.login, methods=["POST"]),
            Route("/api/session", self.session, methods=["POST"]),
            Route("/api/case/{place:int}", self.case),
            Route("/api/scan/{place:int}/{number:int}", self.scan),
            Route("/image/{place:int}/{number:int}", self.image),
            Route("/image/{place:int}/{number:int}/{slice:int}", self.slice),
            Route("/api/judgement", self.judge, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {Medr1Error: _error, HTTPException: _http_error}
        return Guard(Starlette(routes=routes, exception_handlers=handlers), self.access)

    async def page(self, request: Request) -> Response:
        """The page, which has no data of the review in it."""
        loader = FunctionLoader(_page_file)
        environment = Environment(autoescape=True, undefined=StrictUndefined, loader=loader)
        template = environment.get_template("review.html")
        return HTMLResponse(
            template.render(
                rubric=_questions_of_page(is_comparison=self.second is not None),
                is_comparison=self.second is not None,
                max_comment=MAX_COMMENT,
                max_name=MAX_NAME,
            )
        )

    async def static(self, request: Request) -> Response:
        """The script or the style of the page."""
        name = request.path_params["name"]
        if name not in _STATIC:
            raise HTTPException(404)
        return Response(_page_file(name), media_type=_STATIC[name])

    async def no_icon(self, request: Request) -> Response:
        """Nothing: browsers ask for an icon by themselves."""
        return Response(status_code=204)

    async def login(self, request: Request) -> Response:
        """The cookie, for the token."""
        body = await _json_of(request)
        if not self.access.is_token(body.get("token")):
            return JSONResponse({"error": "this address is not valid any more"}, 403)
        response = JSONResponse({"ok": True})
        response.set_cookie(
            self.access.cookie_name, self.access.cookie_value, httponly=True, samesite="strict"
        )
        return response

    async def session(self, request: Request) -> Response:
        """The presentations of one reader in their order, with what the reader judged so far."""
        reader = self._allowed(_reader_of(await _json_of(request)))
        study = self.store.study
        judgements = {
            (judgement.place, judgement.is_repeat): (number, judgement)
            for number, judgement in enumerate(
                await run_in_threadpool(self.store.judgements, reader)
            )
        }
        order = reader_order(sorted(self.items), reader, study.seed, study.repeats)
        presentations = []
        for presentation in order:
            key = (presentation.case, presentation.is_repeat)
            number, judgement = judgements.get(key, (None, None))
            presentations.append(
                {
                    "place": presentation.case,
                    "is_repeat": presentation.is_repeat,
                    "order": number,  # of its judgement, by time
                    "action": judgement.action if judgement else None,
                    "ratings": self._in_order(judgement) if judgement else {},
                    "comment": judgement.comment if judgement else "",
                }
            )
        return JSONResponse({"reader": reader, "model": self.title, "presentations": presentations})

    async def case(self, request: Request) -> Response:
        """One case."""
        item = self._item(request)
        prediction = self.predictions[item.place]
        view = case_view(prediction, is_right=item.is_right, blind=self.blind)
        if self.second is not None:
            view = self._pair(request, item, view, self.second)
        if self.adjudication:
            view["earlier"] = self.adjudication.earlier.get(item.place, [])
        return JSONResponse(view)

    def _pair(
        self, request: Request, item: StoredItem, view: dict[str, object], second: SecondAnswers
    ) -> dict[str, object]:
        """Both answers, in the order of the reader: `second` is the one that is shown second."""
        place = item.place
        other = case_view(
            second.predictions[place], is_right=second.is_right[place], blind=self.blind
        )
        pair = [view, other]
        if not self.blind:
            pair = [one | {"model": name} for one, name in zip(pair, second.titles, strict=True)]
        reader = reader_name(request.query_params.get("reader", ""))
        is_repeat = request.query_params.get("repeat") == "1"
        if is_swapped(self.store.study.seed, reader, place, is_repeat=is_repeat):
            pair.reverse()
        return pair[0] | {"second": pair[1]}

    async def image(self, request: Request) -> Response:
        """One image of a case, as PNG. The request has numbers, and no path."""
        name, _ = self._image(request)
        content = await _of_image(self.images.png, name)
        return Response(content, media_type="image/png")

    async def scan(self, request: Request) -> Response:
        """The number of slices and the windows of an image; null for one without them."""
        return JSONResponse(await _of_image(self.slices.described, *self._image(request)))

    async def slice(self, request: Request) -> Response:
        """One slice of a scan: its values, or PNG if it is in colour."""
        name, modality = self._image(request)
        number = request.path_params["slice"]
        content, media_type = await _of_image(self.slices.content, name, modality, number)
        return Response(content, media_type=media_type)

    def _image(self, request: Request) -> tuple[str, str]:
        """The name of the image that a request means, and the modality of its item; else 404."""
        sample = self.predictions[self._item(request).place].sample
        number = request.path_params["number"]
        if number >= len(sample.images):
            raise HTTPException(404)
        return sample.images[number], sample.modality or ""

    async def judge(self, request: Request) -> Response:
        """Store a judgement, and answer after it is on disk."""
        body = await _json_of(request)
        judgement = _judgement_of(body)
        self._allowed(judgement.reader)
        if self.second is not None:
            check_ratings(judgement.ratings, is_comparison=True)
            judgement = replace(judgement, ratings=self._in_order(judgement))
        added = await run_in_threadpool(self.store.add, judgement)
        return JSONResponse({"stored": True, "is_new": added})

    def _in_order(self, judgement: Judgement) -> dict[str, str]:
        """Ratings from the order of the models to the one that the reader sees, or back."""
        ratings = dict(judgement.ratings)
        if self.second is None:
            return ratings
        seed, place = self.store.study.seed, judgement.place
        is_other = is_swapped(seed, judgement.reader, place, is_repeat=judgement.is_repeat)
        return swapped(ratings) if is_other else ratings

    def _allowed(self, reader: str) -> str:
        """The reader; InputError for another one than the adjudicator of a second round."""
        if self.adjudication and reader != self.adjudication.adjudicator:
            raise InputError(
                "this round is for its adjudicator only. Enter the name that it was started with."
            )
        return reader

    def _item(self, request: Request) -> StoredItem:
        """The case that a request names; 404 for any other item."""
        item = self.items.get(request.path_params["place"])
        if item is None:
            raise HTTPException(404)
        return item


@dataclass
class ReviewServer:
    """A server that listens already; `serve` answers until it is stopped."""

    app: ReviewApp
    listener: socket.socket
    _server: uvicorn.Server = field(init=False)

    def __post_init__(self) -> None:
        """Make the server; nothing is answered yet."""
        config = uvicorn.Config(
            self.app.asgi(),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)

    @property
    def url(self) -> str:
        """The address to open in a browser, with the token."""
        return f"http://{self.app.access.address}/#token={self.app.access.token}"

    def serve(self) -> None:
        """Answer until the process is interrupted or `stop` is called from another thread."""
        self._server.run(sockets=[self.listener])

    def stop(self) -> None:
        """End `serve` after the requests that are being answered."""
        self._server.should_exit = True

    def close(self) -> None:
        """Free the port and close the store, after `serve` has ended or without it."""
        self.listener.close()
        self.app.store.close()


def review_server(
    store: Store,
    predictions: Sequence[Prediction],
    image_root: ImageRoot,
    *,
    title: str = "",
    blind: bool = False,
    second: SecondAnswers | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    adjudication: Adjudication | None = None,
) -> ReviewServer:
    """A server of a review, which listens already.

    Args:
        store: The store of the review.
        predictions: All items of the results file that the store was made from.
        image_root: Folder of the images.
        title: Name of the model, which the page shows; "" for none.
        blind: Whether the automatic verdict and the ground truth are hidden.
        second: The answers of a model to compare, in the order of `predictions`; None for none.
        host: IP address to listen on.
        port: Port to listen on; 0 for a free one.
        adjudication: The verdicts of the first round, for a second one.

    Raises:
        OutputError: The address is not one of this computer, or the port is in use or may not be
            used.
    """
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    try:
        listener = _without_delay(socket.create_server((host, port), family=family))
    except OSError as error:
        raise OutputError(
            f"cannot listen on {host}, port {port}: {error.strerror}. Choose another --port or "
            "--host."
        ) from None
    access = Access(secrets.token_urlsafe(32), listener.getsockname()[1], host)
    cases = {item.place: item for item in store.items() if item.is_case}
    app = ReviewApp(
        store,
        predictions,
        CaseImages(image_root),
        CaseSlices(image_root),
        access,
        blind,
        "" if blind or second else title,
        cases,
        second,
        adjudication,
    )
    return ReviewServer(app, listener)


def _without_delay(listener: socket.socket) -> socket.socket:
    """The same socket, stated to be TCP, so that asyncio turns off Nagle's algorithm.

    Otherwise each answer after the first one on a connection waits about 40 ms for an
    acknowledgement, because its head and its body are sent separately.
    """
    kind = listener.family, listener.type
    return socket.socket(*kind, socket.IPPROTO_TCP, fileno=listener.detach())


def _questions_of_page(*, is_comparison: bool) -> list[dict[str, object]]:
    """The questions as the page shows them: a is the answer that is shown first, b the second."""
    labels = {"a": "answer 1", "b": "answer 2", "both": "both good"}
    questions: list[dict[str, object]] = []
    for question in rubric_of(is_comparison=is_comparison):
        number = "2" if question.key.startswith(SECOND) else "1"
        has_number = is_comparison and question.is_about_case and question != PREFERENCE
        questions.append(
            {
                "key": question.key,
                "text": f"Answer {number}: {question.text}" if has_number else question.text,
                "categories": [(name, labels.get(name, name)) for name in question.categories],
            }
        )
    return questions


def _page_file(name: str) -> str:
    """The text of a file of the page."""
    return (files("medr1.review") / "page" / name).read_text(encoding="utf-8")


async def _of_image(read: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
    """What a function reads of an image, in another thread; 404 where it cannot be read."""
    try:
        return await run_in_threadpool(read, *arguments, **more)
    except ItemError:
        raise HTTPException(404) from None  # the message has the name of the file


async def _json_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request; InputError for anything else."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise InputError("the request is not valid JSON.") from None
    if not isinstance(body, dict):
        raise InputError("the request is not a JSON object.")
    return body


def _reader_of(body: dict[str, Any]) -> str:
    name = body.get("reader")
    return reader_name(name if isinstance(name, str) else "")


def _judgement_of(body: dict[str, Any]) -> Judgement:
    """The judgement that the page sent; InputError where it lacks something."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "id": str,
        "place": int,
        "is_repeat": bool,
        "action": str,
        "ratings": dict,
        "comment": str,
        "seconds": (int, float),
    }
    for key, kind in kinds.items():
        value = body.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"the judgement has no valid {key}.")
    if not 0 <= body["place"] < 2**53:
        raise InputError("the judgement is of no item.")
    return Judgement(reader=_reader_of(body), **{key: body[key] for key in kinds})


async def _error(request: Request, error: Exception) -> Response:
    """An error of medr1 as JSON: 422 for what was sent, 503 where it cannot be stored."""
    status = 422 if isinstance(error, InputError) else 503
    return JSONResponse({"error": str(error)}, status)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"error": "there is nothing here"}, status)
