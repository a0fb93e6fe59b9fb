"""What a file says about routes, targets and the names that clients may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, field_validator, model_validator

from proxy.core.decision import Target
from proxy.core.quantities import parse_percent
from proxy.fields import Duration, Many, Section
from proxy.routing.matchers import MatchConfig

Order = Literal["listed", "cheapest", "fastest", "least_busy", "weighted"]

RouteName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Reference = Annotated[str, StringConstraints(pattern=r"^[^\s/][^\s]{0,199}$")]

Params = Annotated[dict[str, Any], Field(default_factory=dict)]


def _weight(value: Any) -> Any:
    return parse_percent(value) if isinstance(value, str) else value


Weight = Annotated[
    int | float,
    Field(gt=0, le=1_000_000),
    BeforeValidator(_weight),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\d+(\.\d+)? ?%$"}]}),
]


class TargetConfig(Section):
    """One place a route may send to; a plain text is the same as `{to: text}`."""

    to: Reference
    """`upstream/model`; `upstream/*` keeps the model that was asked for; a name from `models` stands for its
    targets."""
    weight: Weight = 1
    """This target's part under `order: weighted`: a whole number, or a percentage (then all of them must be, and make
    100%)."""
    params: Params
    """Fields of the request that are set, whatever the caller wrote; they win over the route's."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str) else value


class RetryConfig(Section):
    """How stubborn a route is."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    """Tries in all, over all targets."""
    base: Duration = 0.25
    """The longest pause before the first repetition at the same target; it doubles with each."""
    max: Duration = 4.0
    """The longest pause of all."""


class RouteCacheConfig(Section):
    """Answers may be kept and given again to the same tenant."""

    ttl: Duration
    """How long an answer is good."""
    stale_if_error: Duration = 0.0
    """How long after that it may still stand in when every upstream fails."""


class HedgeConfig(Section):
    """A second attempt at another target when the first is slow to begin; the first word wins.

    `true` is the same as an empty section, `false` as none."""

    after: Duration = 2.0
    """The shortest wait before the second attempt starts; it is longer where the first target usually is slower."""

    @model_validator(mode="before")
    @classmethod
    def _from_switch(cls, value: Any) -> Any:
        return {} if value is True else value


class RouteConfig(Section):
    """A rule: which requests it takes, and where they may go."""

    name: RouteName
    """The name in logs, headers and explanations; no two routes share one."""
    match: MatchConfig | None = None
    """The conditions. Without, the route takes everything, and a model that the caller named comes first."""
    use: Annotated[Many[TargetConfig], Field(min_length=1)]
    """The targets, the preferred first."""
    order: Order = "listed"
    """How the targets are ranked for each request."""
    when_throttled: Literal["local", "next"] = "local"
    """Who steps in for a cloud's model until the limit that it named is over: one's own machines first, or simply the
    next target."""
    params: Params
    """Fields of the request that are set, whatever the caller wrote."""
    deadline: Duration = 600.0
    """The longest time for the whole request, over all tries."""
    retry: RetryConfig = RetryConfig()
    """How stubborn the route is."""
    cache: RouteCacheConfig | None = None
    """Keep answers for repetition; off if not written."""
    midstream: Literal["error", "continue"] = "error"
    """When a streamed answer breaks after its first word: `error` reports it, `continue` has another target finish it
    where that can be done honestly."""
    offline: Literal["allow", "never"] = "allow"
    """Whether an answer made without any model may stand in when every target failed."""
    strict_translation: bool = False
    """Ask no target that would get less than the whole request, tuning knobs included; 400 if that leaves none."""
    hedge: HedgeConfig | None = None
    """Start a second attempt when the first is slow to begin, for at most 2 % of the requests and between clouds only;
    off if not written."""
    guards: Many[str] | None = None
    """The names of the guards that watch this route; all of them if not written."""

    @field_validator("hedge", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return None if value is False else value

    @model_validator(mode="after")
    def _weights_add_up(self) -> RouteConfig:
        shares = [target.weight for target in self.use if isinstance(target.weight, float)]
        if not shares:
            return self
        if len(shares) != len(self.use):
            raise ValueError("either all targets have a percentage as their weight, or none has")
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"the weights make {sum(shares):.4%}, not 100%")
        return self


class ModelConfig(Section):
    """A name that clients may ask for; a list is the same as `{use: list}`. Empty: the routes alone decide."""

    use: Many[TargetConfig] = ()
    """The targets it stands for, the preferred first."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, (list, tuple)) else value


Models = dict[Annotated[str, StringConstraints(pattern=r"^[^\s/*?]{1,128}$")], ModelConfig]
"""What stands under `models:`."""


@dataclass(frozen=True, slots=True)
class BoundRoute:
    """A route with its targets resolved: names from `models` expanded, upstreams bound, disabled ones among them.

    The model `*` of a target stands for the one that was asked for.
    """

    config: RouteConfig
    targets: tuple[Target, ...]

    @property
    def name(self) -> str:
        return self.config.name
