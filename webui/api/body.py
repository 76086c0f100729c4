"""Reading request bodies: JSON that cannot hurt, one picture from a body or a form. The gate minds the sizes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from backend.errors import InvalidParameter, UnreadableImage
from webui.api.replies import http_problem

_LONGEST_INTEGER = 18
"""Digits. Longer ones become floats, so that no later sum can overflow or take long."""


async def json_object(request: Request) -> dict[str, Any]:
    """The body as an object. Raises SignetError for anything else."""
    try:
        value = json.loads((await request.body()).decode(), parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise http_problem(400, "The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise http_problem(400, "The body must be a JSON object.")
    _storable(value.get("client_extras"))
    return value


def described(shape: type[BaseModel]) -> dict[str, Any]:
    """The body of a route for its OpenAPI description. Values are checked by the same code for every face."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": shape.model_json_schema()}}}}


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _storable(extras: Any) -> None:
    try:
        encoded = json.dumps(extras, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        hint = "Leave out NaN, infinities and lone surrogates."
        raise InvalidParameter("client_extras", "client_extras holds a value that cannot be stored.", hint) from error
    if b"\\u0000" in encoded:
        raise InvalidParameter("client_extras", "client_extras contains a NUL character.", "Remove it.")


async def picture(request: Request) -> bytes:
    """The bytes to verify: the raw body, or the field `file` of a form."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().casefold()
    body = await request.body()
    if kind == "multipart/form-data":
        body = await _form_file(request, body)
    if not body:
        raise UnreadableImage("The file is empty.")
    return body


async def _form_file(request: Request, body: bytes) -> bytes:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, chunks(), max_files=1, max_fields=8).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise http_problem(400, "The form cannot be read.", field="file") from error
    try:
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise http_problem(400, "The form has no file.", field="file", hint='Name the field "file".')
        return await sent.read()
    finally:
        await form.close()
