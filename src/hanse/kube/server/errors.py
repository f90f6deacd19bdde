"""Failures as answers: every error becomes a Kubernetes `Status` with its HTTP status.

One aiohttp middleware, so that nothing else renders errors. A failure that is nobody's intention is logged
with its traceback and answered with 500 without details. Next: `hanse.kube.model.status`.
"""

from __future__ import annotations

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from hanse.errors import HanseError, InternalError, InvalidArgumentError, NotFoundError, leaves
from hanse.kube.model.status import METHOD_NOT_ALLOWED, REQUEST_TOO_LARGE, to_status
from hanse.kube.server.negotiation import JSON
from hanse.kube.server.representation import warning_headers
from hanse.kube.server.request import CALL

_log = structlog.get_logger(__name__)


def failure(error: HanseError) -> web.Response:
    """Return the answer for an error."""
    code, status = to_status(error)
    headers = {"Content-Type": JSON}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if code == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="hanse"'
    return web.Response(body=orjson.dumps(status), status=code, headers=headers)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Render what a handler raises."""
    try:
        return await handler(request)
    except HanseError as error:
        return _warned(request, failure(error))
    except ExceptionGroup as group:
        return _warned(request, failure(_first(group) or _unexpected(request, group)))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return failure(_from_http(error))
    except ConnectionResetError:
        raise
    except Exception as error:  # noqa: BLE001 - the edge: a defect must not close the connection
        return failure(_unexpected(request, error))


def _warned(request: web.Request, answer: web.Response) -> web.Response:
    """Return an answer with what was to be said of the request before it failed."""
    call = request.get(CALL)
    for name, value in warning_headers(call.warnings) if call is not None else ():
        answer.headers.add(name, value)
    return answer


def _first(group: ExceptionGroup[Exception]) -> HanseError | None:
    """Return the first of Hanse's errors in a group: concurrent steps of one request may fail together."""
    return next((error for error in leaves(group) if isinstance(error, HanseError)), None)


def _unexpected(request: web.Request, error: Exception) -> HanseError:
    _log.error("a request failed", method=request.method, path=request.path, exc_info=error)
    return InternalError(f"an internal error occurred: {type(error).__name__}; the server's log says more")


def _from_http(error: web.HTTPException) -> HanseError:
    if error.status == 404:
        return NotFoundError("the server could not find the requested resource")
    if error.status == 405:
        return InvalidArgumentError("the server does not allow this method there", reason=METHOD_NOT_ALLOWED)
    if error.status == 413:
        return InvalidArgumentError("Request entity too large", reason=REQUEST_TOO_LARGE)
    return InvalidArgumentError(error.reason)
