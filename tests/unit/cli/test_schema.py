import json
from pathlib import Path

import jsonschema
import pytest

from proxy.cli.main import main
from proxy.config.document import parse


def test_the_schema_takes_the_shipped_file_and_not_a_slip(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    file = parse((Path(__file__).parents[3] / "routes.yaml").read_bytes(), "f")[0].value

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(file, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**file, "rutes": []}, schema)
