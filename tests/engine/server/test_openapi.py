"""The OpenAPI document against the service: what it allows works, what it forbids is refused, both as it says."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance

from engine.retriever import Retriever
from engine.server.app import make_app
from engine.server.settings import Settings, listen
from tests.engine.server.conftest import LIMITS

EXAMPLES = 12
OPERATIONS = ("health", "ready", "gallery", "metrics", "search", "image", "add", "remove")


@pytest.fixture(scope="module")
def document(checkpoint: Path, described: Path) -> Iterator[schemathesis.BaseSchema]:
    """The document of a service that listens on a port: schemathesis would start and stop one for every call."""
    settings = Settings(port=0, limits=LIMITS)
    app = make_app(Retriever(checkpoint, described, "cpu"), settings)
    with listen(settings) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{listening.getsockname()[1]}/openapi.json")
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_call_answers_as_documented(document: schemathesis.BaseSchema, operation: str) -> None:
    (call,) = (
        found
        for found in (result.ok() for result in document.get_all_operations())
        if found.definition.raw["operationId"] == operation
    )

    # Which texts are pictures, filters and ids, no schema can say: what it allows may still be refused, as documented.
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=call.as_strategy())
    def answers(case: Case) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    answers()


def test_every_operation_has_a_description_and_an_id(shared: TestClient) -> None:
    document = shared.get("/openapi.json").json()
    calls = [call for path in document["paths"].values() for call in path.values()]
    assert {call["operationId"] for call in calls} == set(OPERATIONS)
    assert all(call["description"] for call in calls)


@pytest.mark.parametrize("name", ["SearchRequest", "SearchAnswer", "ErrorOut"])
def test_the_main_forms_have_an_example(shared: TestClient, name: str) -> None:
    assert shared.get("/openapi.json").json()["components"]["schemas"][name]["examples"]


def test_the_documents_examples_are_answered(shared: TestClient) -> None:
    schemas = shared.get("/openapi.json").json()["components"]["schemas"]
    assert shared.post("/v1/search", json=schemas["SearchRequest"]["examples"][0]).json()["status"] == "ok"
    assert shared.post("/v1/search", json={"drawing": schemas["Drawing"]["examples"][0]}).json()["status"] == "ok"
