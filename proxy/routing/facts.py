"""What rules may know of a request: the only thing matchers read; dear facts are worked out once, when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from proxy.core.request import Inbound
from proxy.routing.contents import MOST_TOKENS_PER_BYTE, Contents
from proxy.routing.tasks import Complexity, Task, Verdict, Words, parse_stated

AUTO = "auto"
"""The name by which a caller leaves the choice to the routes."""

_GROUP_HEADER = "x-conversation-id"


class Classifier(Protocol):
    """Tells what a request is about; `tasks.Classifier` is one."""

    def classify(self, words: Words) -> Verdict: ...

    def believe(self, stated: Verdict, words: Words) -> Verdict: ...


class Facts:
    """The facts of one request.

    Plain ones are attributes; `contents` (what the body holds), `tokens`, `features`, `task`, `complexity` and `now`
    are computed at the first question. `model` is what the caller asked for, or its tenant's own choice instead of
    `auto`. `read` reads a body, `wall` tells the time, `classifier` the task.
    """

    __slots__ = (
        "_classifier",
        "_contents",
        "_has_listened",
        "_now",
        "_read",
        "_stated",
        "_verdict",
        "_wall",
        "endpoint",
        "headers",
        "inbound",
        "metadata",
        "model",
        "plan",
        "stream",
        "tenant",
    )

    def __init__(
        self,
        inbound: Inbound,
        read: Callable[[bytes], Contents],
        wall: Callable[[], datetime],
        classifier: Classifier,
    ) -> None:
        peek, tenant = inbound.peek, inbound.tenant
        self.inbound = inbound
        self.model: str = peek.model if peek.model != AUTO else str(tenant.defaults.get("model", AUTO))
        self.stream = peek.stream
        self.metadata: Mapping[str, str] = peek.metadata
        self.headers = inbound.headers
        self.endpoint = inbound.endpoint
        self.tenant = tenant.name
        self.plan = tenant.plan
        self._read = read
        self._wall = wall
        self._classifier = classifier
        self._contents: Contents | None = None
        self._now: datetime | None = None
        self._stated: Verdict | None = None
        self._has_listened = False
        self._verdict: Verdict | None = None

    @property
    def contents(self) -> Contents:
        if self._contents is None:
            self._contents = self._read(self.inbound.body)
        return self._contents

    @property
    def tokens(self) -> int:
        """The estimated length of the prompt."""
        return self.contents.tokens

    @property
    def most_tokens(self) -> float:
        """The prompt cannot be longer, whatever the body holds; known without a look inside."""
        return len(self.inbound.body) * MOST_TOKENS_PER_BYTE

    @property
    def features(self) -> frozenset[str]:
        return self.contents.features

    @property
    def now(self) -> datetime:
        """The time of this decision, aware; the same for all rules."""
        if self._now is None:
            self._now = self._wall()
        return self._now

    @property
    def task(self) -> Task:
        stated = self._said()
        return stated.task if stated is not None else self.verdict.task

    @property
    def complexity(self) -> Complexity:
        return self.verdict.complexity

    @property
    def verdict(self) -> Verdict:
        """Task, complexity and the evidence; what the caller says is believed."""
        if self._verdict is None:
            stated = self._said()
            if stated is None:
                self._verdict = self._classifier.classify(self._words())
            elif stated.states_complexity:
                self._verdict = stated
            else:
                self._verdict = self._classifier.believe(stated, self._words())
        return self._verdict

    @property
    def group(self) -> str:
        """What stays together under a weighted order: the caller's user or conversation, else this request alone."""
        peek = self.inbound.peek
        return (
            peek.user
            or self.headers.get(_GROUP_HEADER)
            or self.contents.group
            or self.metadata.get("user_id")
            or self.metadata.get("conversation_id")
            or self.inbound.id
        )

    def known(self) -> dict[str, object]:
        """The facts that a record keeps: the plan, and of the dear ones those that somebody has asked for."""
        known: dict[str, object] = {} if self.plan is None else {"plan": self.plan}
        if self._contents is not None:
            known["tokens"] = self._contents.tokens
            known["has"] = sorted(self._contents.features)
        if (said := self._verdict or self._stated) is not None:
            known["task"] = said.task
        if self._verdict is not None:
            known["complexity"] = self._verdict.complexity
        return known

    def _words(self) -> Words:
        contents = self.contents
        return Words(contents.system, contents.last_user, contents.turns, contents.chars)

    def _said(self) -> Verdict | None:
        """The task in the caller's own words: the header, then `metadata.task`; names we do not know say nothing."""
        if not self._has_listened:
            said = (self.headers.get("x-failsoft-task"), self.metadata.get("task"))
            known = (parse_stated(text) for text in said if text)
            self._stated = next((verdict for verdict in known if verdict is not None), None)
            self._has_listened = True
        return self._stated
