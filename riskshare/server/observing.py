"""What every request of every listener goes through: an id, errors made problems, metrics, the access log.

The access log has the route's template, never the path, and no query string. What is no request at all, so that no
route and no middleware sees it, is answered in the same form (`Observer.refused`).
"""

from __future__ import annotations

import re
import secrets
from time import perf_counter
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from riskshare.errors import AskRefused, RiskshareError
from riskshare.logs import Log, get_log
from riskshare.metrics import Metrics
from riskshare.server.problems import Problem, internal, problem_of, problem_of_http

REQUEST_ID: Final = web.RequestKey("request_id", str)
UNMATCHED: Final = "unmatched"
"""The route of a request that matched none."""

_HEADER: Final = "X-Request-Id"
# Long and of one form: a number that somebody takes for an id, such as a card's, does not fit.
_GIVEN: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def request_id(given: str | None) -> str:
    """The id that the client gave if it is 32 hex digits or a UUID in lower case, else a new one."""
    return given if given is not None and _GIVEN.fullmatch(given) else secrets.token_hex(16)


def id_of(request: web.Request) -> str:
    """The request's id, made when it is first needed."""
    name = request.get(REQUEST_ID)
    if name is None:
        name = request[REQUEST_ID] = request_id(request.headers.get(_HEADER))
    return name


def route_of(request: web.Request) -> str:
    """The template of the route that matched, or `unmatched`."""
    resource = request.match_info.route.resource
    return UNMATCHED if resource is None else resource.canonical


class Observer:
    """What looks at all requests of one listener.

    Responses on the routes in `quiet` are not logged unless they are errors: each answered ask has its receipt, which
    is the better log. On those in `public`, which strangers ask, only our own faults are: nobody fills a log
    by asking often or wrongly. All are counted all the same.
    """

    def __init__(
        self,
        listener: str,
        metrics: Metrics,
        *,
        quiet: frozenset[str] = frozenset(),
        public: frozenset[str] = frozenset(),
    ) -> None:
        self._listener = listener
        self._metrics = metrics
        self._logged_from = {**dict.fromkeys(quiet, 400), **dict.fromkeys(public, 500)}
        self._log: Log = get_log(listener=listener)

    def application(self, **options: Any) -> web.Application:
        """An application that this observes; `options` are those of `web.Application`."""
        app = web.Application(middlewares=[self._middleware()], **options)
        app[OBSERVER] = self
        return app

    def _middleware(self) -> Middleware:

        @web.middleware
        async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
            began = perf_counter()
            response = await self._answer(request, handler)
            route = route_of(request)
            quiet = response.status < self._logged_from.get(route, 0)
            if not response.prepared:
                response.headers["Server"] = "riskshare"
                if not quiet:
                    response.headers[_HEADER] = id_of(request)
            seconds = perf_counter() - began
            self._metrics.responded(self._listener, route, response.status, seconds)
            if not quiet:
                self._write(request, route, response.status, seconds)
            return response

        return observe

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RiskshareError as error:
            problem = problem_of(error)
            if isinstance(error, AskRefused):
                self._metrics.refusals.labels(error.code).inc()
            if problem.status == 500:
                self._log.error("request failed", request=id_of(request), exc_info=error)
        except web.HTTPException as error:
            problem = problem_of_http(error)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - a supervisor: one request must not take the listener down
            self._log.error("request failed", request=id_of(request), exc_info=error)
            problem = internal()
        return problem.response()

    def refused(self, request: web.BaseRequest, problem: Problem, error: BaseException | None = None) -> web.Response:
        """The response to what never came to a route: bytes that are no HTTP, or an expectation that nobody meets.

        What was sent is neither repeated nor logged; strangers send such things, so only a fault of ours, `error`, is
        logged where an operator looks.
        """
        response = problem.response()
        name = request_id(request.headers.get(_HEADER))
        response.headers["Server"] = "riskshare"
        response.headers[_HEADER] = name
        self._metrics.responded(self._listener, UNMATCHED, problem.status, 0.0)
        if problem.status < 500:
            self._log.debug("request refused", request=name, status=problem.status)
        else:
            self._log.error("request failed", request=name, exc_info=error)
        return response

    def _write(self, request: web.Request, route: str, status: int, seconds: float) -> None:
        """One line of the access log."""
        self._log.info(
            "request",
            request=id_of(request),
            method=request.method if request.method in _METHODS else "other",
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
        )


OBSERVER: Final = web.AppKey("observer", Observer)
"""The observer of an application, for its listener."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
