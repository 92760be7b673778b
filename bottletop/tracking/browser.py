"""The user's web browser."""

import os
import sys
import webbrowser

SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # variables of which Linux has one where a browser can be shown


def show(address: str) -> bool:
    """Opens a page in the web browser where there is a screen, or where ``BROWSER`` names a command.

    Returns:
        Whether it was opened.
    """
    has_screen = sys.platform != "linux" or any(os.environ.get(name) for name in SCREENS)
    return has_screen and webbrowser.open(address)
