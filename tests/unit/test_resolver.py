"""The resolver of labs: names that it knows, names that it does not, and what is no question."""

import dns.message
import dns.rcode
import pytest

from datapath.labs.resolver import answered

NAMES = {"db": "172.17.0.3"}


def ask(name: str, kind: str = "A") -> dns.message.Message:
    question = dns.message.make_query(name, kind)
    answer = answered(question.to_wire(), NAMES, "")
    assert answer
    message = dns.message.from_wire(answer)
    assert question.is_response(message)
    return message


@pytest.mark.parametrize("name", ["db", "db.", "DB"])
def test_a_known_name_has_its_address(name: str) -> None:
    (rrset,) = ask(name).answer
    assert [rdata.to_text() for rdata in rrset] == ["172.17.0.3"]


def test_a_known_name_has_no_address_of_another_family() -> None:
    answer = ask("db", "AAAA")
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])


def test_an_unknown_name_does_not_exist() -> None:
    assert ask("web").rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    "message",
    [b"", b"\x00", bytes(12), bytes(600), dns.message.make_query("db", "A", id=7).to_wire()[:-1]],
    ids=["nothing", "a byte", "no question", "zeros", "cut off"],
)
def test_what_is_no_question_gets_no_answer(message: bytes) -> None:
    assert answered(message, NAMES, "") is None


def test_an_answer_is_not_answered() -> None:
    response = dns.message.make_response(dns.message.make_query("db", "A"))
    assert answered(response.to_wire(), NAMES, "") is None


def test_nobody_upstream_is_no_answer() -> None:
    assert answered(dns.message.make_query("web", "A").to_wire(), NAMES, "127.0.0.99") is None
