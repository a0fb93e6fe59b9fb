import pytest

from proxy.core.errors import ErrorKind
from proxy.core.family import Told
from proxy.routing.families import Families, Family, FamilyConfig, refusal
from tests.unit.routing.given import FAMILIES, Watched, facts, target

SHIPPED = Families(FAMILIES)


@pytest.mark.parametrize(
    ("model", "context"),
    [
        ("gpt-5.4-mini-2026-03-01", 272_000),
        ("gpt-5.4", 1_050_000),
        ("claude-sonnet-4-5-20250929", 200_000),
        ("claude-sonnet-5-5", 1_000_000),
        ("openai/gpt-oss-20b", 131_072),
        ("lmstudio-community/gpt-oss-20b-GGUF", 131_072),
        ("my-own-model", None),
    ],
)
def test_the_shipped_table(model: str, context: int | None) -> None:
    assert context == SHIPPED.of("anywhere", model).context


def test_every_row_names_its_source_and_can_be_reached() -> None:
    """A row that an earlier one hides would be a silent mistake of the table."""
    for row in FAMILIES["families"]:
        assert row["source"] in FAMILIES["sources"]
        for glob in row["models"]:
            found = SHIPPED.of("x", glob.replace("*", ""))
            fact = "context" if "context" in row else "price"
            assert row[fact] == getattr(found, fact), glob


@pytest.mark.parametrize(
    ("model", "chat_tools", "only_responses", "sampling", "default_effort", "lacking"),
    [
        ("gpt-6-astra", "no", False, "never", "medium", {"none", "minimal"}),
        ("gpt-6.1-sol-2026-10-01", "no", False, "never", "medium", {"none", "minimal"}),
        ("gpt-6-luna", "without_reasoning", False, "without_reasoning", "medium", {"minimal"}),
        ("gpt-5.6-sol", "without_reasoning", False, "without_reasoning", "medium", {"minimal", "max"}),
        ("gpt-5.5", "without_reasoning", False, "without_reasoning", "medium", {"minimal", "max"}),
        ("gpt-5.5-pro", "without_reasoning", True, "never", "medium", {"none", "minimal", "low", "max"}),
        ("gpt-5.4-pro-2026-03-01", "without_reasoning", True, "never", "medium", {"none", "minimal", "low", "max"}),
        ("gpt-5.4", "without_reasoning", False, "without_reasoning", "none", {"minimal", "max"}),
        ("gpt-5.4-nano", "without_reasoning", False, "without_reasoning", "none", {"minimal", "max"}),
        ("gpt-5.2", "yes", False, "without_reasoning", "none", {"minimal", "max"}),
        ("gpt-5.1", "yes", False, "without_reasoning", "none", {"minimal", "xhigh", "max"}),
        ("gpt-5-mini", "yes", False, "never", "medium", {"none", "xhigh", "max"}),
        ("deepseek-v4-pro", "yes", False, "without_reasoning", "high", {"minimal", "medium", "xhigh"}),
    ],
)
def test_how_a_model_wants_to_be_asked(
    model: str, chat_tools: str, only_responses: bool, sampling: str, default_effort: str, lacking: set[str]
) -> None:
    family = SHIPPED.of("anywhere", model)
    assert (family.chat_tools, family.only_responses, family.sampling) == (chat_tools, only_responses, sampling)
    assert family.default_effort == default_effort
    assert {"none", "minimal", "low", "medium", "high", "xhigh", "max"} - set(family.efforts or ()) == lacking


def test_the_configuration_comes_first() -> None:
    """Fact by fact: what an entry leaves out is taken from the next."""
    own = {
        "other/*": FamilyConfig(json_schema=False),
        "cloud/gpt-6*": FamilyConfig(context=10, tools=False),
        "mine-*": FamilyConfig(images=False),
    }
    families = Families(FAMILIES, own)

    gpt = families.of("cloud", "gpt-6-sol")
    assert (gpt.context, gpt.lacks) == (10, {"tools"})
    gpt = families.of("other", "gpt-6-sol")
    assert (gpt.context, gpt.lacks, gpt.no_forms) == (922_000, frozenset(), {"json_schema"})
    assert Family(lacks=frozenset({"images"})) == families.of("cloud", "mine-1")


def test_a_name_of_any_length_is_looked_up() -> None:
    assert Family() == SHIPPED.of("cloud", "gpt-6" * 1_000_000)


TOOLS = {"tools": [{"type": "function"}]}
IN_FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}


@pytest.mark.parametrize(
    ("family", "request_facts", "kind"),
    [
        (Family(), {"prompt": "x" * 1_000_000, "fields": TOOLS}, None),
        (Family(100), {"prompt": "x" * 1000}, ErrorKind.CONTEXT),
        (Family(1000), {"prompt": "x" * 1000}, None),
        (Family(lacks=frozenset({"tools"})), {"fields": TOOLS}, ErrorKind.BAD_REQUEST),
        (Family(lacks=frozenset({"images"})), {"fields": TOOLS}, None),
        (Family(no_forms=frozenset({"json_schema"})), {"fields": IN_FORM}, None),  # emulated
    ],
)
def test_refusals(family: Family, request_facts: dict[str, object], kind: ErrorKind | None) -> None:
    found = refusal(family, facts(**request_facts))  # type: ignore[arg-type]

    assert kind == (None if found is None else found.kind)


def test_a_small_request_is_not_read_to_see_that_it_fits() -> None:
    watched = Watched()
    assert refusal(Family(128_000), facts(watched=watched)) is None

    assert watched.read == 0


OWN = Families(FAMILIES, {"here/claude-sonnet-5": FamilyConfig(context=5000)})


@pytest.mark.parametrize(
    ("families", "upstream", "told", "context", "output"),
    [
        (SHIPPED, "here", Told(), 1_000_000, 128_000),
        (SHIPPED, "here", Told(context=300_000), 300_000, 128_000),
        (SHIPPED, "here", Told(output=1000), 1_000_000, 1000),
        (OWN, "here", Told(context=300_000, output=1000), 5000, 1000),
        (OWN, "there", Told(context=300_000), 300_000, 128_000),
    ],
)
def test_the_file_goes_before_the_vendor_and_the_vendor_before_the_table(families, upstream, told, context, output):
    family = families.of(upstream, "claude-sonnet-5", told)
    assert (family.context, family.output) == (context, output)


def test_a_vendor_may_know_of_features_and_efforts():
    told = Told(images=False, tools=True, efforts=("none", "low"), thinking="adaptive")
    family = SHIPPED.of("x", "claude-sonnet-5", told)
    assert family.lacks == {"images"}
    assert (family.efforts, family.thinking) == (("none", "low"), "adaptive")
    assert SHIPPED.of("x", "deepseek-v4-pro", Told(images=True)).lacks == frozenset()


def test_a_target_learns_what_its_upstream_says_and_keeps_what_it_knew_else():
    known = SHIPPED.known(target("cloud/claude-sonnet-5"))
    assert SHIPPED.known(known) is known
    assert SHIPPED.known(known, Told(context=7)).family.context == 7
