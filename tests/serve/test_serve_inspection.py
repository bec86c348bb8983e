"""Processes that read uploads: their end is an answer, not a failure of the server."""

import asyncio
import os
import time

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")

from kfine.serve.inspection import Inspectors


def test_the_end_interrupts_an_inspection():
    async def interrupted():
        inspectors = Inspectors()
        running = asyncio.create_task(inspectors.run(time.sleep, 60))
        while not any(process.is_alive() for process in (inspectors._pool._processes or {}).values()):
            await asyncio.sleep(0.1)
        inspectors.close()
        return await asyncio.wait_for(running, 30), await inspectors.run(dict)

    assert asyncio.run(interrupted()) == ({"error": "the server has ended"},) * 2


def test_a_process_that_ends_is_replaced():
    async def ended():
        inspectors = Inspectors()
        inspectors.start()
        try:
            return await inspectors.run(os._exit, 1), await inspectors.run(dict, [("a", 1)])
        finally:
            inspectors.close()

    first, second = asyncio.run(ended())
    assert "ended" in first["error"]
    assert second == {"a": 1}
