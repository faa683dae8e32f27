"""A robot with nodes on Zenoh as `rmw_zenoh` has them, and its router, without ROS; see `ros2_robot.py`."""

import argparse
import hashlib
import json
import os
import struct
import sys
import threading
import time
from typing import Any

import zenoh
import zenoh.ext
from ros2_robot import CLASSES, DESCRIPTION_TYPE, DescriptionRequest, description, sample, say

ZID = "aac3178e146ba6f1fc6e6a4085e77f21"


def session(mode: str, endpoint: str) -> zenoh.Session:
    config = zenoh.Config()
    config.insert_json5("mode", json.dumps(mode))
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("timestamping/enabled", "true")
    config.insert_json5("listen/endpoints" if mode == "router" else "connect/endpoints", json.dumps([endpoint]))
    if mode != "router":
        config.insert_json5("listen/endpoints", "[]")
    return zenoh.open(config)


def attachment(spec: dict[str, Any], number: int, time_ns: int, gid: bytes) -> bytes:
    """Returns what is attached to a sample; versions up to 0.2.3 name each field."""
    fields = {"sequence_number": struct.pack("<q", number), "source_timestamp": struct.pack("<q", time_ns)}
    fields["source_gid"] = bytes([len(gid)]) + gid
    if not spec.get("labelled"):
        return b"".join(fields.values())
    return b"".join(bytes([len(name)]) + name.encode() + field for name, field in fields.items())


def publish(own: zenoh.Session, domain: int, index: int, spec: dict[str, Any], kept: list[Any]) -> None:
    """Publishes what a specification says."""
    topic, kind = spec["topic"], spec["type"]
    type_name = str(CLASSES[kind].__idl_typename__)  # type: ignore[attr-defined]
    type_hash = spec.get("hash", "TypeHashNotSupported")
    key = f"{domain}{topic}/{type_name}/{type_hash}"
    qos = (
        f"{'' if spec.get('reliable', True) else 2}:{1 if spec.get('durable') else ''}:,{spec.get('depth', 10)}:,:,:,,"
    )
    token = f"@ros2_lv/{domain}/{ZID}/0/{index}/MP/%/%/talker/{topic.replace('/', '%')}/{type_name}/{type_hash}/{qos}"
    gid = os.urandom(16)
    if spec.get("durable"):
        cache = zenoh.ext.CacheConfig(max_samples=spec.get("depth", 10))
        publisher: Any = zenoh.ext.declare_advanced_publisher(own, key, cache=cache, publisher_detection=True)
    else:
        publisher = own.declare_publisher(key, congestion_control=zenoh.CongestionControl.BLOCK)
    kept += [publisher, own.liveliness().declare_token(token) if spec.get("token", True) else None]
    begun = time.monotonic()
    # There are no acknowledgements; who comes later gets what a durable publisher keeps.
    waits = spec.get("wait", True) and not spec.get("durable")
    while waits and not publisher.matching_status.matching and time.monotonic() < begun + 30:
        time.sleep(0.01)
    begun = time.monotonic()
    first = spec.get("first", 0)
    for number in range(first, first + spec["count"]):
        data = sample(kind, number, spec.get("size", 0)).serialize()
        time_ns = time.time_ns()
        # Numbers that are missing stand for samples that did not arrive.
        if number - first not in spec.get("missing", []):
            publisher.put(data, attachment=attachment(spec, number + 1, time_ns, gid))
            if not spec.get("quiet"):
                say(topic=topic, time_ns=time_ns, bytes=len(data), sha256=hashlib.sha256(data[4:]).hexdigest())
        if spec.get("rate"):
            time.sleep(max(0.0, begun + (number + 1 - first) / spec["rate"] - time.monotonic()))
    say(done=topic, seconds=time.monotonic() - begun, cpu_seconds=time.process_time())


def describe(own: zenoh.Session, domain: int, types: dict[str, str]) -> Any:
    """Answers what the types of a node are."""

    def answer(query: zenoh.Query) -> None:
        assert query.payload is not None and query.attachment is not None
        asked: Any = DescriptionRequest.deserialize(bytes(query.payload))
        # The attachment says who asked, and which request it was.
        query.reply(key, description(types, asked).serialize(), attachment=query.attachment)

    key = f"{domain}/talker/get_type_description/{DESCRIPTION_TYPE}/RIHS01_{'1' * 64}"
    return own.declare_queryable(key, answer, complete=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domain", type=int, default=0)
    parser.add_argument("--endpoint", default="tcp/127.0.0.1:7447")
    parser.add_argument("--router", action="store_true", help="be the router, and nothing else")
    parser.add_argument("--describe", type=json.loads, help="what the node says of types: sources by name")
    parser.add_argument("publishers", nargs="?", default="[]", help="a list of publishers, in JSON")
    arguments = parser.parse_args()
    own = session("router" if arguments.router else "client", arguments.endpoint)
    kept: list[Any] = []
    if arguments.describe:
        kept.append(describe(own, arguments.domain, arguments.describe))
    threads = [
        threading.Thread(target=publish, args=(own, arguments.domain, index, spec, kept))
        for index, spec in enumerate(json.loads(arguments.publishers))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(done="")
    sys.stdin.read()
    own.close()


if __name__ == "__main__":
    main()
