"""Web and database addresses as they may be shown: without their secrets."""

import re

MASK = "***"
# A password may hold a slash, so the second form looks beyond one; a colon before digits and a slash is a port's.
_USER_INFO = re.compile(r"(?<=://)(?:[^\s/?#]*|[^\s/?#:@]*:(?!\d+/)[^\s@]*)@")
_VALUE = re.compile(r"([?&;#][^\s=&;#?]+=)[^\s&;#'\"<>()]+")


def masked(text: str) -> str:
    """Returns an address, or a message that holds addresses, without user names, passwords and values of queries.

    All values of a query are masked, because a name such as ``X-Amz-Signature`` or ``token`` does not reliably tell
    the secret ones from the others.
    """
    return _VALUE.sub(rf"\1{MASK}", _USER_INFO.sub(f"{MASK}@", text))
