import sys
import webbrowser

import pytest

from bottletop.tracking import browser


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are opened, on Linux without a screen."""
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) is None)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in browser.SCREENS:
        monkeypatch.delenv(name, raising=False)
    return addresses


@pytest.mark.parametrize("name", ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"])
def test_a_page_is_opened_where_there_is_a_screen_or_a_command_is_named(
    name: str, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    assert browser.show("file:///report.html")
    assert opened == ["file:///report.html"]


def test_a_page_is_opened_on_macos_without_any_variable(opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert browser.show("file:///report.html")


def test_no_page_is_opened_without_a_screen(opened: list[str]) -> None:
    assert not browser.show("file:///report.html")
    assert opened == []
