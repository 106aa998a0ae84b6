"""The JSON API against its own OpenAPI: whatever fits the description, or nearly does, is answered and never a 5xx."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.api import Api, running_api, serving
from tests.support.films import synthetic_film
from tests.support.postgres import TestDatabases

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
EXAMPLES = 8


@pytest.fixture(scope="module")
def live(databases: TestDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, str]]:
    url = databases.migrated()
    films = [synthetic_film(seed, rows=64, columns=64) for seed in range(3)]
    with running_api(url, tmp_path_factory.mktemp("contract"), films) as api, serving(api.app) as address:
        yield api, f"{address}/api/v1"
    databases.drop(url)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_ends_in_a_5xx_or_in_an_answer_that_is_not_described(
    live: tuple[Api, str], mode: GenerationMode
) -> None:
    api, url = live
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not (list(operation.iter_parameters()) or operation.body):
            continue  # there is nothing to get wrong
        try:
            _try(operation, url, api.identified, mode)
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, operation.label  # its only parameter is any text of a path


def _try(operation: APIOperation, url: str, token: str, mode: GenerationMode) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        case.call_and_validate(url, checks=CHECKS, headers={"Authorization": f"Bearer {token}"})

    check()
