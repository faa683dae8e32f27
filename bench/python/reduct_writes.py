"""One run of writing into ReductStore with its own SDK, one record at a time or in batches. Prints one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time

from reduct import Batch, Client


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, default=0, help="records per batch; 0 writes them one by one")
    arguments = parser.parse_args()
    half = arguments.size // 2
    payloads = [
        os.urandom(half) + bytes(arguments.size - half) for _ in range(max(4, min(4096, 4_000_000 // arguments.size)))
    ]
    # One session for all, which keeps its connection.
    async with Client(f"http://127.0.0.1:{arguments.port}") as client:
        bucket = await client.create_bucket(f"bench-{time.time_ns()}")
        start, cpu, first_us = time.perf_counter(), time.process_time(), time.time_ns() // 1000
        if arguments.batch == 0:
            for i in range(arguments.records):
                await bucket.write("bench", payloads[i % len(payloads)], timestamp=first_us + i)
        else:
            for begin in range(0, arguments.records, arguments.batch):
                batch = Batch()
                for i in range(begin, min(begin + arguments.batch, arguments.records)):
                    batch.add(first_us + i, payloads[i % len(payloads)])
                errors = await bucket.write_batch("bench", batch)
                if errors:
                    raise RuntimeError(f"not written: {errors}")
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        await bucket.remove()
    print(json.dumps({"messages": arguments.records, "seconds": seconds, "cpu_seconds": cpu_seconds}))


asyncio.run(main())
