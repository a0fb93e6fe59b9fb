"""What is loaded and unloaded, and when: the rules of `policy/residence.py` on a clock that moves when told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.clock import FakeClock
from proxy.core.local import Instance, Keep, LocalModel
from proxy.policy.residence import (
    SHORTEST,
    TRUST,
    Absent,
    Ask,
    Full,
    Load,
    Ready,
    Residence,
    Unload,
    Wait,
    length_for,
)

A, B = LocalModel("a", longest=32768), LocalModel("b", longest=32768)
KEEP = Keep(ttl=600.0)


class House:
    """A residence with its clock, and a server that does what is asked of it."""

    def __init__(self, *models: LocalModel, keep: Keep = KEEP) -> None:
        self.clock = FakeClock(1000.0)
        self.keep = keep
        self.models = {model.name: model for model in models or (A, B)}
        self.residence = Residence()
        self.began = 0.0
        self.look()

    def look(self) -> None:
        self.residence.observe(self.models.values(), self.clock.now)

    def step(self, model: str = "a", *, crowded: bool = False) -> object:
        return self.residence.step(model, self.keep, self.clock.now, since=self.began, crowded=crowded)

    def load(self, model: str = "a", context: int | None = SHORTEST) -> None:
        self.residence.settle(model, Instance(model, context), self.clock.now)

    def use(self, model: str = "a") -> None:
        """From the first to the last byte, in no time."""
        self.residence.join(model)
        self.residence.enter(model)
        self.residence.leave(model, self.clock.now)

    def due(self) -> list[str]:
        return [unload.model for unload in self.residence.due(self.keep, self.clock.now)]


def test_nothing_is_known_before_the_server_was_asked() -> None:
    assert Residence().step("a", KEEP, 0.0, since=0.0) == Ask()


def test_a_model_is_loaded_and_then_ready() -> None:
    house = House()
    assert house.step() == Load(SHORTEST)
    house.load()
    assert house.step() == Ready()
    assert house.residence.loaded == house.residence.owned == {"a"}


def test_what_the_server_said_is_believed_for_a_while() -> None:
    house = House()
    house.load()
    house.clock.advance(TRUST)
    assert house.step() == Ready()
    house.clock.advance(0.001)
    assert house.step() == Ask()
    house.look()  # it was unloaded by somebody else
    assert house.step() == Load(SHORTEST)


def test_nothing_is_changed_on_old_knowledge() -> None:
    """Somebody may have loaded the model a moment ago: to load it again would make a second copy."""
    house = House()
    house.clock.advance(0.001)
    house.began = house.clock.now
    assert house.step() == Ask()
    house.models["a"] = LocalModel("a", (Instance("a"),))
    house.look()
    assert house.step() == Ready()


def test_a_doubt_is_a_reason_to_ask() -> None:
    house = House()
    house.load()
    house.residence.doubt()
    assert house.step() == Ask()


def test_an_unknown_model_is_absent() -> None:
    assert House().step("c") == Absent()


def test_names_of_the_same_model_share_it() -> None:
    residence = Residence(lambda name: name.removesuffix(":latest"))
    residence.observe([LocalModel("a:latest", (Instance("a:latest"),))], 0.0)
    assert residence.step("a", KEEP, 0.0, since=0.0) == Ready()
    residence.join("a")
    assert residence.is_busy("a:latest")


def test_an_instances_own_id_is_a_name_too() -> None:
    house = House(LocalModel("a", (Instance("a:2", 8192),)))
    assert house.step("a:2") == Ready()


def test_old_knowledge_must_do_while_the_server_is_at_work() -> None:
    house = House()
    assert not house.residence.is_at_hand("a", KEEP)
    house.load(context=SHORTEST)
    house.clock.advance(10 * TRUST)
    assert house.residence.is_at_hand("a", KEEP)
    assert not house.residence.is_at_hand("b", KEEP)
    house.residence.join("a", 2 * SHORTEST)
    assert not house.residence.is_at_hand("a", KEEP), "too short for who waits"
    house.residence.quit("a")
    house.residence.doubt()
    assert not house.residence.is_at_hand("a", KEEP)


@pytest.mark.parametrize(
    ("asked", "told", "is_another"),
    [
        ("v/a", "v/b", True),
        ("v/a", "b-two", True),
        ("a-two", "v/b", True),
        ("v/a@q8", "v/b@q4", True),
        ("v/a", "v/a", False),
        ("v/a", "a-two", False),
        ("a-two", "v/a", False),
        ("v/a@q8", "v/a@q4", False),
        ("v/a", "alias", False),
        ("alias", "v/b", False),
        ("v/a", "", False),
    ],
)
def test_another_model_is_one_that_the_server_knows_by_another_name(asked: str, told: str, is_another: bool) -> None:
    models = (LocalModel("v/a", (Instance("v/a"), Instance("a-two"))), LocalModel("v/b", (Instance("b-two"),)))
    assert House(*models).residence.is_another(asked, told) is is_another


class TestTimeToLive:
    def test_idle_models_of_ours_are_due_once(self) -> None:
        house = House()
        house.load()
        house.use()
        assert house.residence.next_due(KEEP) == house.clock.now + 600
        house.clock.advance(599.9)
        assert house.due() == []
        house.clock.advance(0.1)
        assert house.due() == ["a"]
        house.residence.gone("a")
        assert house.due() == []
        assert house.residence.next_due(KEEP) is None

    def test_every_use_begins_it_anew_at_its_end(self) -> None:
        house = House()
        house.load()
        house.residence.join("a")
        house.residence.enter("a")
        house.clock.advance(5000)
        assert house.due() == []
        house.residence.leave("a", house.clock.now)
        house.clock.advance(599)
        assert house.due() == []
        house.clock.advance(1)
        assert house.due() == ["a"]

    def test_who_waits_for_a_model_keeps_it(self) -> None:
        house = House()
        house.load()
        house.clock.advance(700)
        house.residence.join("a")
        assert house.due() == []
        house.residence.quit("a")
        assert house.due() == ["a"]

    def test_what_others_loaded_is_none_of_ours(self) -> None:
        house = House(LocalModel("a", (Instance("a"),)), B)
        house.use()
        house.clock.advance(10_000)
        assert house.due() == []

    def test_a_server_that_says_busy_is_believed(self) -> None:
        house = House()
        house.load()
        house.models["a"] = LocalModel("a", (Instance("a", is_busy=True),))
        house.look()
        house.clock.advance(10_000)
        assert house.due() == []

    def test_without_one_nothing_is_ever_due(self) -> None:
        house = House(keep=Keep())
        house.load()
        house.clock.advance(1e9)
        assert house.due() == []

    def test_what_could_not_be_unloaded_is_put_off(self) -> None:
        house = House()
        house.load()
        house.clock.advance(600)
        house.residence.put_off("a", house.clock.now)
        assert house.due() == []
        assert house.residence.next_due(KEEP) == house.clock.now + 600


class TestRoom:
    def test_the_longest_unused_of_ours_makes_room(self) -> None:
        house = House(A, B, LocalModel("c"))
        house.load("a")
        house.load("b")
        house.clock.advance(60)
        house.use("a")
        assert self.crowd(house) == Unload("b", Instance("b", SHORTEST))

    def crowd(self, house: House, model: str = "c") -> object:
        house.models |= {name: LocalModel(name, (Instance(name, SHORTEST),)) for name in house.residence.loaded}
        house.look()
        return house.step(model, crowded=True)

    def test_a_model_stays_for_a_while_so_that_two_callers_cannot_thrash(self) -> None:
        house = House(keep=Keep(min_stay=60.0))
        house.load()
        house.use()
        assert self.crowd(house, "b") == Wait(house.clock.now + 60)
        house.clock.advance(60)
        assert self.crowd(house, "b") == Unload("a", Instance("a", SHORTEST))

    def test_a_busy_model_is_not_evicted(self) -> None:
        house = House(keep=Keep(min_stay=0.0))
        house.load()
        house.residence.join("a")
        house.residence.enter("a")
        house.clock.advance(10_000)
        assert self.crowd(house, "b") == Wait(None)
        house.residence.leave("a", house.clock.now)
        assert self.crowd(house, "b") == Unload("a", Instance("a", SHORTEST))

    def test_others_models_make_no_room(self) -> None:
        house = House(LocalModel("a", (Instance("a"),)), B)
        assert house.step("b", crowded=True) == Full()

    def test_our_own_limit(self) -> None:
        house = House(keep=Keep(most=1, min_stay=0.0))
        house.load()
        assert house.step("b") == Unload("a", Instance("a", SHORTEST))
        house.residence.gone("a")
        assert house.step("b") == Load(SHORTEST)


class TestContext:
    def test_it_grows_by_doubling(self) -> None:
        assert length_for(0, None) == SHORTEST
        assert length_for(3000, None) == 8192
        assert length_for(3000, 16) == SHORTEST
        assert length_for(10_000, 1000) == 16384

    def test_the_longest_wish_counts_and_the_model_is_the_limit(self) -> None:
        house = House()
        house.residence.join("a", 100)
        house.residence.join("a", 10_000)
        house.residence.join("a", 500)
        assert house.step() == Load(16384)
        house.residence.join("a", 1_000_000)
        assert house.step() == Load(32768)

    def test_too_short_and_ours_is_loaded_anew_when_nobody_uses_it(self) -> None:
        house = House()
        house.load()
        house.residence.join("a")
        house.residence.enter("a")
        house.residence.join("a", 10_000)
        assert house.step() == Wait(None)
        house.residence.leave("a", house.clock.now)
        assert house.step() == Unload("a", Instance("a", SHORTEST))
        house.residence.gone("a")
        assert house.step() == Load(16384)

    def test_short_ones_of_others_are_left_alone(self) -> None:
        house = House(LocalModel("a", (Instance("a", 2048),), 32768))
        house.residence.join("a", 10_000)
        assert house.step() == Ready()

    def test_a_written_length_wins_up_to_the_models_own(self) -> None:
        assert House(keep=Keep(context=6000)).step() == Load(6000)
        assert House(keep=Keep(context=1_000_000)).step() == Load(32768)

    def test_where_nothing_is_known_the_server_chooses(self) -> None:
        house = House(LocalModel("a"))
        house.residence.join("a", 100_000)
        assert house.step() == Load(None)

    def test_what_a_server_does_not_repeat_is_remembered(self) -> None:
        house = House()
        house.load()
        house.models["a"] = LocalModel("a", (Instance("a"),), 32768)
        house.look()
        house.residence.join("a", 10_000)
        assert house.step() == Unload("a", Instance("a", SHORTEST))


class TestClaims:
    def test_what_we_asked_for_and_did_not_wait_for_is_ours(self) -> None:
        house = House()
        house.residence.claim("a", house.clock.now + 300)
        assert house.residence.has_claims
        house.clock.advance(100)
        house.models["a"] = LocalModel("a", (Instance("a"),))
        house.look()
        assert house.residence.owned == {"a"}
        assert not house.residence.has_claims

    def test_but_not_for_ever_and_not_if_it_was_refused(self) -> None:
        late, refused = House(), House()
        late.residence.claim("a", late.clock.now + 300)
        refused.residence.claim("a", refused.clock.now + 300)
        refused.residence.disclaim("a")
        for house in (late, refused):
            house.clock.advance(300)
            house.models["a"] = LocalModel("a", (Instance("a"),))
            house.look()
            assert house.residence.owned == frozenset()
            assert not house.residence.has_claims


class World:
    """A server, callers and time; `c` is in memory because somebody else put it there."""

    def __init__(self, keep: Keep) -> None:
        self.keep = keep
        self.clock = FakeClock()
        self.residence = Residence()
        self.memory = {"c": Instance("c")}
        self.using: list[str] = []

    def wait(self, _model: str, seconds: float) -> None:
        self.clock.advance(seconds)

    def look(self, *_: object) -> None:
        held = {name: (self.memory[name],) if name in self.memory else () for name in "abc"}
        self.residence.observe([LocalModel(name, held[name], 8192) for name in "abc"], self.clock.now)

    def sweep(self, *_: object) -> None:
        self.look()
        for due in self.residence.due(self.keep, self.clock.now):
            self.unload(due)

    def done(self, model: str, _: float) -> None:
        if model in self.using:
            self.using.remove(model)
            self.residence.leave(model, self.clock.now)

    def want(self, model: str, _: float) -> None:
        self.residence.join(model)
        step = self.follow(model)
        if isinstance(step, Ready):
            assert model in self.memory
            self.residence.enter(model)
            self.using.append(model)
        else:
            assert isinstance(step, Wait)
            self.residence.quit(model)

    def follow(self, model: str) -> object:
        """Do what is said until there is nothing to do."""
        while True:
            step = self.residence.step(model, self.keep, self.clock.now, since=self.clock.now)
            if isinstance(step, Ask):
                self.look()
            elif isinstance(step, Unload):
                self.unload(step)
            elif isinstance(step, Load):
                assert model not in self.memory, "a second copy"
                self.memory[model] = Instance(model, step.context)
                self.residence.settle(model, self.memory[model], self.clock.now)
            else:
                return step

    def unload(self, step: Unload) -> None:
        assert step.model not in self.using
        assert step.model != "c"
        del self.memory[step.model]
        self.residence.gone(step.instance.id)


ACTIONS = st.tuples(
    st.sampled_from([World.want, World.done, World.wait, World.look, World.sweep]),
    st.sampled_from("abc"),
    st.floats(0, 100),
)
KEEPS = st.sampled_from([Keep(50.0, most=1), Keep(20.0, min_stay=10.0), Keep(None, most=2, min_stay=0.0)])


@given(st.lists(ACTIONS, max_size=60), KEEPS)
@settings(max_examples=150, deadline=None)
def test_laws(actions: list[tuple[Callable[[World, str, float], None], str, float]], keep: Keep) -> None:
    """Whatever happens in whatever order: never two copies, never more than our limit, nothing in use is unloaded."""
    world = World(keep)
    for action, model, seconds in actions:
        action(world, model, seconds)
        ours = world.memory.keys() - {"c"}
        assert len(ours) <= (keep.most or 2)
        assert world.residence.owned <= ours
