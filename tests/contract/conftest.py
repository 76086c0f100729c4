"""The API in front of a fake desk."""

from tests.support.front import api, client, desk

__all__ = ["api", "client", "desk"]
