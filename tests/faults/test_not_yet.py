"""Faults of what is not part of the product yet (`catalogue.OTHERWISE`): what is true instead."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.config.check import check
from tests.e2e.harness import CHAT, Child, document, upstream, write
from tests.faults.stage import FIRST_WORDS, SECRETS, Stage, question
from tests.upstream import PATIENCE, FakeUpstream, Script


def remarks(stage: Stage) -> str:
    """What `failsoft check` and a start say of the configuration."""
    return "\n".join(map(str, check(stage.engine.live.snapshot)))


@pytest.mark.fault(60)
async def test_60_each_request_is_answered_by_itself(stage: Stage) -> None:
    """Also two at once with the same key, which reaches no upstream."""
    await stage.serve()
    same = {"idempotency-key": "order-7"}
    answers = await asyncio.gather(stage.ask(headers=same), stage.ask(stream=True, headers=same))
    assert [answer.text for answer in answers] == [FIRST_WORDS] * 2
    assert len(stage.one.seen) == 2
    assert not [seen for seen in stage.one.seen if "idempotency-key" in seen.headers]


@pytest.mark.fault(61)
async def test_61_nothing_has_to_be_mended_after_a_kill(tmp_path: Path) -> None:
    """Killed in the middle of a stream the process leaves nothing half written, and starts again at once."""
    async with FakeUpstream() as fake, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
        fake.script(Script(pauses={3: "never"}))
        file = str(write(document({"one": upstream(fake)}), tmp_path))
        state = {"FAILSOFT_STATE": str(tmp_path / "state")}
        killed = await Child.start("serve", file, environment=state)
        url = f"{await killed.url()}/v1/chat/completions"
        async with session.post(url, json=CHAT | {"stream": True}) as answer:
            assert await answer.content.readuntil(b"Hello")
            killed.process.kill()
            with pytest.raises(aiohttp.ClientError):
                await answer.content.read()
        await killed.ended()
        await fake.seen[0].closed()
        again = await Child.start("serve", file, environment=state)
        async with session.post(f"{await again.url()}/v1/chat/completions", json=CHAT) as answer:
            assert FIRST_WORDS in await answer.text()
        assert await again.stop() == 0
        assert not [line for line in (*killed.output, *again.output) if any(secret in line for secret in SECRETS)]


@pytest.mark.fault(61)
async def test_61_whenever_it_is_killed_it_serves_again(tmp_path: Path) -> None:
    """One state folder, four kills: between two requests, within a body, before an answer's head, within a reload."""
    async with FakeUpstream() as fake, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
        file = str(write(document({"one": upstream(fake, slots={"limit": 1})}), tmp_path))

        async def idle(_: Child, url: str) -> None: ...

        async def within_a_body(_: Child, url: str) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n"
            writer.write(head + b"content-length: 99\r\n\r\n{")
            assert b" 100 " in await reader.readline()
            writer.close()

        async def before_the_head(child: Child, url: str) -> None:
            fake.script(Script(before_head="never"))
            both = [asyncio.create_task(session.post(f"{url}/v1/chat/completions", json=CHAT)) for _ in range(2)]
            await fake.arrived(len(fake.seen) + 1)  # and the other waits for its slot
            child.process.kill()
            assert all(
                isinstance(end, aiohttp.ClientError) for end in await asyncio.gather(*both, return_exceptions=True)
            )

        async def within_a_reload(child: Child, _: str) -> None:
            child.process.send_signal(signal.SIGHUP)

        for point in (idle, within_a_body, before_the_head, within_a_reload, None):
            child = await Child.start("serve", file, environment={"FAILSOFT_STATE": str(tmp_path / "state")})
            url = await child.url()
            async with session.post(f"{url}/v1/chat/completions", json=CHAT) as answer:
                assert FIRST_WORDS in await answer.text()
            if point is None:
                assert await child.stop() == 0
            else:
                await point(child, url)
                if child.process.returncode is None:
                    child.process.kill()
                await child.ended()


@pytest.mark.fault(62)
async def test_62_no_disk_is_needed(stage: Stage) -> None:
    await stage.serve(storage={"ledger": "sqlite:////proc/no/such/folder/failsoft.db"})
    answers = await asyncio.gather(*(stage.ask(stream=number % 2 == 0) for number in range(4)))
    assert {answer.text for answer in answers} == {FIRST_WORDS}
    assert "requests are not yet recorded in a database" in remarks(stage)


@pytest.mark.fault(63)
async def test_63_no_redis_is_asked(stage: Stage) -> None:
    """Nothing connects to where it would be; that it has no effect is said."""
    knocks: list[Any] = []

    async def knock(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocks.append(writer.get_extra_info("peername"))
        writer.close()

    async with await asyncio.start_server(knock, "127.0.0.1", 0) as redis:
        await stage.serve(storage={"state": f"redis://127.0.0.1:{redis.sockets[0].getsockname()[1]}/0"})
        assert (await stage.ask()).text == FIRST_WORDS
    assert not knocks
    assert "counters are kept in memory" in remarks(stage)


@pytest.mark.fault(75)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_75_a_model_without_a_price_is_served(stage: Stage, stream: bool) -> None:
    """Also to who has a budget, which is not looked at; that is said."""
    plans = {"small": {"budget": "20 USD/month"}}
    tenants = {"them": {"plan": "small", "anonymous": True}}
    await stage.serve(plans=plans, tenants=tenants, prices={"one/another": {"input": 1, "output": 2}})
    assert (await stage.ask(stream)).text == FIRST_WORDS
    assert "money per period is not yet limited" in remarks(stage)


@pytest.mark.fault(73)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_73_an_answer_without_words_is_an_answer(stage: Stage, stream: bool) -> None:
    await stage.serve()
    stage.one.script(Script(deltas=()), times=None)
    for _ in range(20):
        answer = await stage.ask(stream)
        assert (answer.text, answer.headers["x-failsoft-upstream"]) == ("", "one")
    assert (await stage.health())["state"] == "closed"


@pytest.mark.fault(76)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_76_what_nobody_counts_is_estimated(stage: Stage, stream: bool) -> None:
    """Four bytes of the request, or characters of the answer, are a token; the record says that it is an estimate."""
    await stage.serve()
    stage.one.script(Script(usage=None))
    await stage.ask(stream)
    usage = stage.records[0].usage
    size = len(json.dumps(question(stream, {})))
    assert (usage.prompt, usage.completion, usage.source) == (-(-size // 4), -(-len(FIRST_WORDS) // 4), "counted")
