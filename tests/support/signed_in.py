"""Visitors who have signed in, as the sign-in makes them."""

from dataclasses import dataclass

from fastapi import Request

from regionmir.core.records import Caller, Disclosure, Rights
from regionmir.web.visitors import WEB_AE, Visitor

TOKEN = "a token of this session"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Everybody is `reader`, and an administrator if told so; forms must carry the token."""

    is_admin: bool = False
    disclosure: Disclosure = Disclosure.PSEUDONYMOUS

    def visitor(self, request: Request) -> Visitor:
        caller = Caller(WEB_AE, "127.0.0.1", Rights(find=True), self.disclosure, registered=True)
        return Visitor(caller, "reader", may_write=True, is_admin=self.is_admin)

    def csrf_token(self, request: Request) -> str:
        return TOKEN

    def is_own_form(self, request: Request, token: str) -> bool:
        return token == TOKEN
