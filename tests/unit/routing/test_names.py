import pytest

from proxy.core.errors import ErrorKind
from proxy.routing.names import Names, own_choice
from proxy.routing.view import StillView
from tests.unit.routing.given import UPSTREAMS, WELL, places, target

MODELS = {"auto": (), "fast": (target("local/small"), target("cloud/mini"))}
MENTIONED = [
    target("cloud/mini"),
    target("cloud/both"),
    target("other/both"),
    target("broken/lost"),
    target("broken/mini"),
    target("local/*"),
]
NAMES = Names(MODELS, UPSTREAMS, MENTIONED, {"free": ["fast", "cloud/m*"], "none": ["nothing"]})


def found(asked: str, view: StillView = WELL) -> tuple[list[str], str | None] | None:
    named = NAMES.find(asked, view)
    return None if named is None else (places(named.targets), named.kept)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("auto", ([], None)),
        ("fast", (["local/small", "cloud/mini"], None)),
        ("cloud/anything", (["cloud/anything"], "anything")),
        ("local/org/model", (["local/org/model"], "org/model")),
        ("mini", (["cloud/mini"], "mini")),
        ("lost", (["broken/lost"], "lost")),
        ("offline/rules", (["offline/rules"], None)),
        ("both", None),
        ("nobody", None),
        ("cloud/", None),
        ("cloud/*", None),
        ("cloud", None),
        ("", None),
        ("nowhere/model", None),
    ],
)
def test_what_a_name_stands_for(asked: str, expected: tuple[list[str], str | None] | None) -> None:
    assert expected == found(asked)


def test_lists_are_the_truth() -> None:
    """The one upstream that lists a model has it, whoever is mentioned with it in the file."""
    assert found("both", StillView(models={"other": frozenset({"both"})})) == (["other/both"], "both")
    assert found("mini", StillView(models={"other": frozenset({"mini"})})) == (["other/mini"], "mini")
    assert found("org/m", StillView(models={"other": frozenset({"org/m"})})) == (["other/org/m"], "org/m")


def test_two_lists_leave_it_to_the_file() -> None:
    listed = {"cloud": frozenset({"mini", "x"}), "other": frozenset({"mini", "x"})}

    assert found("mini", StillView(models=listed)) == (["cloud/mini"], "mini")
    assert found("x", StillView(models=listed)) is None


def test_a_disabled_upstream_lists_nothing() -> None:
    assert found("m", StillView(models={"broken": frozenset({"m"})})) is None


@pytest.mark.parametrize(
    ("plan", "asked", "expected"),
    [
        (None, "other/x", True),
        ("unheard", "other/x", True),
        ("free", "auto", True),
        ("none", "auto", True),
        ("free", "fast", True),
        ("none", "fast", False),
        ("free", "cloud/mini", True),
        ("free", "mini", True),
        ("free", "cloud/both", False),
        ("free", "other/x", False),
    ],
)
def test_plans(plan: str | None, asked: str, expected: bool) -> None:
    """A plan's patterns are for the name as written and for `upstream/model`; an alias is a name of its own."""
    assert expected == NAMES.permits(plan, asked, NAMES.find(asked, WELL))


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    error = NAMES.unknown(None, "fsat", WELL)

    assert ErrorKind.MODEL_NOT_FOUND is error.kind
    assert "`fsat`" in error.message
    assert "Did you mean `fast`?" in error.message
    assert "cloud/mini" in NAMES.unknown(None, "minni", WELL).message


def test_a_withheld_name_reads_like_an_unknown_one() -> None:
    """Nobody learns which models exist beyond its plan: no name of another plan is ever told."""
    view = StillView(models={"other": frozenset({"secret-1"})})
    withheld, unknown = (NAMES.unknown("free", name, view).message for name in ("other/secret-1", "other/secret-2"))

    assert withheld == unknown.replace("secret-2", "secret-1")
    assert "secret-2" not in withheld


def test_a_name_of_any_length_is_cut() -> None:
    assert len(NAMES.unknown(None, "x" * 10_000_000, WELL).message) < 1000


def test_visible_names() -> None:
    view = StillView(models={"other": frozenset({"b", "a"}), "broken": frozenset({"z"})})

    assert NAMES.visible(None, view) == ("auto", "fast", "other/a", "other/b", "cloud/mini", "cloud/both", "other/both")
    assert NAMES.visible("free", view) == ("auto", "fast", "cloud/mini")


def test_an_upstreams_own_choice() -> None:
    listed = StillView(models={name: frozenset({"an-embedder", "chat-2", "chat-1"}) for name in ("cloud", "third")})

    assert own_choice(UPSTREAMS["third"], listed) == "third-default"
    assert own_choice(UPSTREAMS["cloud"], listed) == "chat-1"
    assert own_choice(UPSTREAMS["cloud"], WELL) is None
