"""What goes wrong at the door."""

from regionmir.core.errors import RegionMirError


class SignInRefused(RegionMirError):
    """Nobody is signed in. The message goes to the user, `reason` to the audit trail: a short stable word."""

    def __init__(self, reason: str, message: str, *, status: int = 403) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


class TooManyAttempts(SignInRefused):
    """Too many failures lately: wait. Nothing was looked at."""

    def __init__(self, wait_s: int) -> None:
        minutes = -(-wait_s // 60)
        super().__init__("throttled", f"Too many failed attempts. Try again in {minutes} minutes.", status=429)
        self.wait_s = wait_s
