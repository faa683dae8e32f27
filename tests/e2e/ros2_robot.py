"""A robot with nodes on DDS or Zenoh as ROS 2 has them, but without ROS: what the tests and the guide record.

It takes a list of publishers as JSON, prints a line for each sample that it sent, and lives until its input ends.
"""

import argparse
import hashlib
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

LOOPBACK = """<CycloneDDS><Domain>
  <General><Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces>
    <AllowMulticast>false</AllowMulticast><MaxMessageSize>65500B</MaxMessageSize></General>
  <Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>20</MaxAutoParticipantIndex>
    <Peers><Peer address="127.0.0.1"/></Peers></Discovery>
</Domain></CycloneDDS>"""
os.environ.setdefault("CYCLONEDDS_URI", LOOPBACK)

from cyclonedds.core import Policy, Qos  # noqa: E402
from cyclonedds.domain import DomainParticipant  # noqa: E402
from cyclonedds.idl import IdlStruct  # noqa: E402
from cyclonedds.idl.annotations import key  # noqa: E402
from cyclonedds.idl.types import float64, int32, int64, sequence, uint8, uint32, uint64  # noqa: E402
from cyclonedds.pub import DataWriter, Publisher  # noqa: E402
from cyclonedds.sub import DataReader  # noqa: E402
from cyclonedds.topic import Topic  # noqa: E402
from cyclonedds.util import duration  # noqa: E402

PATIENCE_SECONDS = 30
STEP_SECONDS = 0.01


@dataclass
class String(IdlStruct, typename="std_msgs::msg::dds_::String_"):
    data: str


@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    stamp: Time
    frame_id: str


@dataclass
class Image(IdlStruct, typename="sensor_msgs::msg::dds_::Image_"):
    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


@dataclass
class Vector3(IdlStruct, typename="geometry_msgs::msg::dds_::Vector3_"):
    x: float64
    y: float64
    z: float64


@dataclass
class Quaternion(IdlStruct, typename="geometry_msgs::msg::dds_::Quaternion_"):
    x: float64
    y: float64
    z: float64
    w: float64


@dataclass
class Transform(IdlStruct, typename="geometry_msgs::msg::dds_::Transform_"):
    translation: Vector3
    rotation: Quaternion


@dataclass
class TransformStamped(IdlStruct, typename="geometry_msgs::msg::dds_::TransformStamped_"):
    header: Header
    child_frame_id: str
    transform: Transform


@dataclass
class TFMessage(IdlStruct, typename="tf2_msgs::msg::dds_::TFMessage_"):
    transforms: sequence[TransformStamped]


@dataclass
class Tank(IdlStruct, typename="my_msgs::msg::dds_::Tank_"):
    """A type that no distribution knows."""

    litres: float64
    name: str


@dataclass
class Wheel(IdlStruct, typename="my_msgs::msg::dds_::Wheel_"):
    """A type with a key."""

    id: int32
    speed: float64
    key("id")


DESCRIPTIONS = "type_description_interfaces::msg::dds_"


@dataclass
class FieldType(IdlStruct, typename=f"{DESCRIPTIONS}::FieldType_"):
    type_id: uint8
    capacity: uint64
    string_capacity: uint64
    nested_type_name: str


@dataclass
class Field(IdlStruct, typename=f"{DESCRIPTIONS}::Field_"):
    name: str
    type: FieldType
    default_value: str


@dataclass
class IndividualTypeDescription(IdlStruct, typename=f"{DESCRIPTIONS}::IndividualTypeDescription_"):
    type_name: str
    fields: sequence[Field]


@dataclass
class TypeDescription(IdlStruct, typename=f"{DESCRIPTIONS}::TypeDescription_"):
    type_description: IndividualTypeDescription
    referenced_type_descriptions: sequence[IndividualTypeDescription]


@dataclass
class TypeSource(IdlStruct, typename=f"{DESCRIPTIONS}::TypeSource_"):
    type_name: str
    encoding: str
    raw_file_contents: str


@dataclass
class KeyValue(IdlStruct, typename=f"{DESCRIPTIONS}::KeyValue_"):
    key: str
    value: str


DESCRIPTION_TYPE = "type_description_interfaces::srv::dds_::GetTypeDescription_"


@dataclass
class DescriptionRequest(IdlStruct, typename=f"{DESCRIPTION_TYPE}Question_"):
    type_name: str
    type_hash: str
    include_type_sources: bool


@dataclass
class DescriptionResponse(IdlStruct, typename=f"{DESCRIPTION_TYPE}Answer_"):
    successful: bool
    failure_reason: str
    type_description: TypeDescription
    type_sources: sequence[TypeSource]
    extra_information: sequence[KeyValue]


@dataclass
class WrappedRequest(IdlStruct, typename=f"{DESCRIPTION_TYPE}Request_"):
    """A request as `rmw_cyclonedds` has it: who asks, and which request it is, in front."""

    guid: uint64
    seq: int64
    request: DescriptionRequest


@dataclass
class WrappedResponse(IdlStruct, typename=f"{DESCRIPTION_TYPE}Response_"):
    guid: uint64
    seq: int64
    response: DescriptionResponse


def description(types: dict[str, str], request: DescriptionRequest) -> DescriptionResponse:
    """Returns what a node says of a type."""
    source = types.get(request.type_name)
    number: Any = FieldType(11, 0, 0, "")
    fields: Any = [Field("litres", number, "")]
    nothing: Any = []
    described = TypeDescription(IndividualTypeDescription(request.type_name, fields), nothing)
    if source is None or not request.include_type_sources:
        return DescriptionResponse(False, f"no {request.type_name}", described, nothing, nothing)
    sources: Any = [TypeSource(request.type_name, "msg", source)]
    more: Any = [KeyValue("by", "a stand-in")]
    return DescriptionResponse(True, "", described, sources, more)


def header(number: int) -> Header:
    return Header(Time(1_700_000_000 + number, 5), "map")


def sample(kind: str, number: int, size: int) -> Any:
    """Returns the sample with a number; large ones have `size` bytes of pixels."""
    if kind == "String":
        return String(f"hello {number}" + "x" * size)
    if kind == "Image":
        pixels: Any = bytes([number % 256]) * size
        return Image(header(number), 1, size, "mono8", 0, size, pixels)
    if kind == "TFMessage":
        transform = Transform(Vector3(float(number), 0.0, 0.0), Quaternion(0.0, 0.0, 0.0, 1.0))
        transforms: Any = [TransformStamped(header(number), f"link_{number}", transform)]
        return TFMessage(transforms)
    if kind == "Tank":
        return Tank(number / 2, f"tank {number}")
    return Wheel(number % 4, float(number))


CLASSES: dict[str, type[IdlStruct]] = {
    "String": String,
    "Image": Image,
    "TFMessage": TFMessage,
    "Tank": Tank,
    "Wheel": Wheel,
}


def qos(spec: dict[str, Any]) -> Qos:
    policies = [
        Policy.Reliability.Reliable(duration(seconds=10))
        if spec.get("reliable", True)
        else Policy.Reliability.BestEffort,
        Policy.Durability.TransientLocal if spec.get("durable") else Policy.Durability.Volatile,
        Policy.History.KeepAll if not spec.get("depth") else Policy.History.KeepLast(spec["depth"]),
        Policy.DurabilityService(duration(seconds=0), Policy.History.KeepLast(1000), -1, -1, -1),
    ]
    if spec.get("hash"):
        policies.append(Policy.Userdata(f"typehash={spec['hash']};".encode()))
    return Qos(*policies)


lock = threading.Lock()
making = threading.Lock()


def say(**values: Any) -> None:
    with lock:
        print(json.dumps(values), flush=True)


def publish(
    participant: DomainParticipant, publisher: Publisher, spec: dict[str, Any], writers: list[DataWriter]
) -> None:
    """Publishes what a specification says: waits for somebody who listens, unless it is for those who come later."""
    topic, kind = spec["topic"], spec["type"]
    # DDS has no slash at the start.
    name = spec.get("dds_name", f"rt{topic}")
    # Cyclone refuses a type that another thread registers at the same time.
    with making:
        writer: DataWriter = DataWriter(publisher, Topic(participant, name, CLASSES[kind]), qos(spec))
    writers.append(writer)
    end = time.monotonic() + PATIENCE_SECONDS
    while spec.get("wait", True) and not writer.get_matched_subscriptions() and time.monotonic() < end:
        time.sleep(STEP_SECONDS)
    value = sample(kind, spec.get("first", 0), spec.get("size", 0))
    if spec.get("quiet"):
        # Whoever measures the recorder wants samples, not what it costs to make them: 40 ms of a core for a megabyte.
        made = value.serialize()
        value.serialize = lambda *_, **__: made
    begun = time.monotonic()
    for number in range(spec.get("first", 0), spec.get("first", 0) + spec["count"]):
        if not spec.get("quiet"):
            value = sample(kind, number, spec.get("size", 0))
        time_ns = time.time_ns()
        writer.write(value, timestamp=time_ns)
        if not spec.get("quiet"):
            data = value.serialize()
            say(topic=topic, time_ns=time_ns, bytes=len(data), sha256=hashlib.sha256(data[4:]).hexdigest())
        if spec.get("rate"):
            due = begun + (number + 1 - spec.get("first", 0)) / spec["rate"]
            time.sleep(max(0.0, due - time.monotonic()))
    if spec.get("reliable", True) and spec.get("wait", True):
        writer.wait_for_acks(duration(seconds=PATIENCE_SECONDS))
    say(done=topic, seconds=time.monotonic() - begun, cpu_seconds=time.process_time())


def describe(participant: DomainParticipant, node: str, types: dict[str, str]) -> None:
    """Answers what the types of a node are, until the program ends."""
    reliable = Qos(Policy.Reliability.Reliable(duration(seconds=10)), Policy.History.KeepAll)
    with making:
        requests = Topic(participant, f"rq{node}/get_type_descriptionRequest", WrappedRequest)
        responses = Topic(participant, f"rr{node}/get_type_descriptionReply", WrappedResponse)
    reader: DataReader[WrappedRequest] = DataReader(participant, requests, reliable)
    writer: DataWriter[WrappedResponse] = DataWriter(participant, responses, reliable)

    def answer() -> None:
        while True:
            for asked in reader.take(16):
                writer.write(WrappedResponse(asked.guid, asked.seq, description(types, asked.request)))
            time.sleep(STEP_SECONDS)

    threading.Thread(target=answer, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domain", type=int, default=0)
    parser.add_argument("--describe", type=json.loads, help="what the node says of types: sources by name")
    parser.add_argument("publishers", help="a list of publishers, in JSON")
    arguments = parser.parse_args()
    participant = DomainParticipant(arguments.domain)
    publisher = Publisher(participant)
    writers: list[DataWriter] = []
    if arguments.describe:
        describe(participant, "/talker", arguments.describe)
    threads = [
        threading.Thread(target=publish, args=(participant, publisher, spec, writers))
        for spec in json.loads(arguments.publishers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(done="")
    sys.stdin.read()


if __name__ == "__main__":
    main()
