"""Where a service listens and who may call it."""

import socket
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.server.settings import SHORTEST_TOKEN, TOKEN_VARIABLE, Settings, listen, read_token

TOKEN = "x" * SHORTEST_TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_this_machines_addresses_need_no_token(host: str) -> None:
    assert Settings(host).local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "example.org", "localhost.example.org"])
def test_another_address_without_a_token_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="there is no token"):
        Settings(host)
    assert not Settings(host, token=TOKEN).local


@pytest.mark.parametrize("token", ["", "short", "x" * (SHORTEST_TOKEN - 1), "ü" * 20, "x" * 20 + "\n"])
def test_a_token_that_is_weak_or_no_header_can_carry_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="expected at least 16, printable ASCII"):
        Settings(token=token)


def test_the_token_is_in_no_message() -> None:
    assert TOKEN not in repr(Settings(token=TOKEN))


def test_a_tokens_file_goes_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from the file\n")
    environment = {TOKEN_VARIABLE: "from the environment"}
    assert read_token(file, environment) == "from the file"
    assert read_token(None, environment) == "from the environment"
    assert read_token(None, {}) is None


def test_a_tokens_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't read the token"):
        read_token(tmp_path / "none", {TOKEN_VARIABLE: TOKEN})


def test_the_packets_of_an_answer_do_not_wait_for_one_another() -> None:
    with listen(Settings(port=0)) as listening, socket.create_connection(listening.getsockname()[:2]):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
